"""Does a symmetrizer keep its promises?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from equilearn.actions import Data, batch_size, first_leaf, map_data
from equilearn.groups import SO, Element, O
from equilearn.symmetrization import Strategy, Symmetrized, symmetrize
from equilearn.symmetry import Symmetry
from equilearn.testing._failed import CheckFailed

REPEATS = 64
"""Calls over which a stochastic symmetrizer's mean outputs are compared."""

MAX_T = 7.0
"""Largest t statistic that passes. With 64 calls and 10,000 outputs a false alarm has probability < 1e-4."""


def check_symmetrizer(
    strategy: str | Strategy,
    symmetry: Symmetry,
    make_model: Callable[[], nn.Module],
    x: Data,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Check a symmetrization strategy on a model and inputs of your choice.

    The laws: elements lie in the group and weights sum to one; the model is called once, on `B k`
    inputs; a call changes nothing and repeats under the same seed; the result is equivariant, up to
    rounding where `is_exact` says so and otherwise on average (a t test over repeated calls, whose
    spread is the resampling error); gradients reach every parameter of the model, and the parameters of
    the strategy where it has some; deep copies and reloaded state dictionaries give the same outputs; a batch of
    one works.

    Where the action on `x` interpolates (images under SO(2), O(2)), equivariance is checked at
    quarter turns, which are exact; for other interpolated actions it is not checked.

    Args:
        strategy: a name that `symmetrize` knows, or a strategy.
        symmetry: the group and its actions.
        make_model: builds a fresh model, every parameter of which affects the output.
        x: inputs in general position, at least two.
        generator: where randomness comes from.

    Raises:
        CheckFailed: says which law is broken, and by how much.

    Example:
        >>> import torch, equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        >>> check_symmetrizer("average", eq.Symmetry(eq.SO(3), input=V), lambda: torch.nn.Linear(3, 2), x)
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    seed = int(torch.randint(0, 2**31, (), generator=generator))
    made = symmetrize(make_model(), symmetry, copy.deepcopy(strategy), example=x)
    _check_gradients(made, x, seed)
    made.eval()
    with torch.no_grad():
        _check_elements(made, x, seed)
        _check_one_call(made, x, seed)
        _check_pure(made, x, seed)
        _check_copies(made, make_model, x, seed)
        _check_single(made, x, seed)
        _check_equivariant(made, x, seed)


def _call(model: Symmetrized, x: Data, seed: int, **options: Any) -> Any:
    device = first_leaf(x).device
    return model(x, generator=torch.Generator(device).manual_seed(seed), **options)


# --- the single laws ----------------------------------------------------------------------------------


def _check_elements(model: Symmetrized, x: Data, seed: int) -> None:
    _, elements = _call(model, x, seed, return_elements=True)
    size = batch_size(x)
    group = model.symmetry.group
    batch = tuple(group.batch_shape(elements.g))
    if elements.weight.shape[0] != size or batch != tuple(elements.weight.shape):
        raise CheckFailed(
            f"Elements have batch shape {batch} and weights {tuple(elements.weight.shape)}; both must be (B, k), "
            f"with B = {size}."
        )
    gap = float((elements.weight.sum(1) - 1).abs().max())
    if not gap < 1e-5:
        raise CheckFailed(f"Weights must sum to one for every input; they are off by up to {gap:.3g}.")
    inside = group.contains(elements.g, 1e-6)
    if not bool(inside.all()):
        raise CheckFailed(f"{int((~inside).sum())} of {inside.numel()} chosen elements do not lie in {group}.")


def _check_one_call(model: Symmetrized, x: Data, seed: int) -> None:
    seen: list[int] = []
    inner = model.model

    def counted(data: Data) -> Any:
        seen.append(batch_size(data))
        return inner(data)

    _, elements = _call(Symmetrized(counted, model.symmetry, model.strategy), x, seed, return_elements=True)
    if seen != [batch_size(x) * elements.count]:
        raise CheckFailed(
            f"The model must be called once, on B k = {batch_size(x) * elements.count} inputs; "
            f"it was called {len(seen)} times, on {seen}."
        )


def _check_pure(model: Symmetrized, x: Data, seed: int) -> None:
    before = _snapshot(model)
    first = _call(model, x, seed)
    _call(model, map_data(lambda t: t.flip(0), x), seed + 1)
    after = _snapshot(model)
    second = _call(model, x, seed)
    if not _equal(first, second):
        raise CheckFailed("Two calls with the same seed differ: something is remembered, or drawn from elsewhere.")
    changed = sorted(k for k in before.keys() | after.keys() if not _equal(before.get(k), after.get(k)))
    if changed:
        raise CheckFailed(f"A call must change nothing, but it changed {', '.join(changed)}.")


def _check_gradients(model: Symmetrized, x: Data, seed: int) -> None:
    model.train()
    y = _call(model, x, seed)
    parameters = dict(model.model.named_parameters()) if isinstance(model.model, nn.Module) else {}
    if not parameters:
        return
    leaves = _leaves(y)
    loss = sum((leaf.square().sum() + leaf.sum() for leaf in leaves), torch.zeros((), device=leaves[0].device))
    own = [p for p in model.strategy.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, [*parameters.values(), *own], allow_unused=True)
    dead = [n for n, g in zip(parameters, grads, strict=False) if g is None or not bool(torch.isfinite(g).all())]
    if dead:
        raise CheckFailed(f"No finite gradient reaches these parameters of the model: {', '.join(dead)}.")
    reached = [g for g in grads[len(parameters) :] if g is not None]
    if own and not any(bool(g.any()) for g in reached):
        raise CheckFailed(f"No gradient reaches the parameters of the strategy {type(model.strategy).__name__}.")
    if not all(bool(torch.isfinite(g).all()) for g in reached):
        raise CheckFailed(f"The gradient of the strategy {type(model.strategy).__name__} is not finite.")


def _check_copies(model: Symmetrized, make_model: Callable[[], nn.Module], x: Data, seed: int) -> None:
    expected = _call(model, x, seed)
    if not _equal(expected, _call(copy.deepcopy(model), x, seed)):
        raise CheckFailed("A deep copy gives other outputs.")
    fresh = Symmetrized(make_model(), model.symmetry, copy.deepcopy(model.strategy)).eval()
    for parameter in fresh.parameters():
        parameter.zero_()
    fresh.load_state_dict(model.state_dict())
    if not _equal(expected, _call(fresh, x, seed)):
        raise CheckFailed("A model loaded from the state dictionary gives other outputs.")


def _check_single(model: Symmetrized, x: Data, seed: int) -> None:
    one = map_data(lambda t: t[:1], x)
    y, whole = _call(model, one, seed), _call(model, x, seed)
    for a, b in zip(_leaves(y), _leaves(whole), strict=True):
        if a.shape != (1, *b.shape[1:]):
            raise CheckFailed(f"A batch of one gives shape {tuple(a.shape)}, need {(1, *b.shape[1:])}.")
    if model.strategy.is_exact(model.symmetry, x):
        gap, scale = _gap(y, map_data(lambda t: t[:1], whole))
        if gap > _tolerance(x) * scale:
            raise CheckFailed(f"An input alone and in a batch give outputs that differ by {gap:.3g}.")


def _check_equivariant(model: Symmetrized, x: Data, seed: int) -> None:
    g = _test_elements(model.symmetry, x, seed)
    if g is None:
        return
    moved = model.symmetry.act_input(g, x)
    if model.strategy.is_exact(model.symmetry, x):
        y = _call(model, moved, seed + 1)
        gap, scale = _gap(y, model.symmetry.act_output(g, _call(model, x, seed)))
        if not gap <= _tolerance(x) * scale:
            raise CheckFailed(
                f"{type(model.strategy).__name__} says that it is exact, but f(gx) and g f(x) differ by {gap:.3g} "
                f"where outputs are of size {scale:.3g}."
            )
        return
    differences = []
    for repeat in range(REPEATS):
        there = _call(model, moved, seed + 2 * repeat)
        here = model.symmetry.act_output(g, _call(model, x, seed + 2 * repeat + 1))
        differences.append(
            torch.cat([(a - b).double().flatten() for a, b in zip(_leaves(there), _leaves(here), strict=True)])
        )
    d = torch.stack(differences)
    scale = float(d.abs().max())
    spread = d.std(0) / math.sqrt(REPEATS) + 1e-6 * scale + 1e-300
    t = float((d.mean(0).abs() / spread).max())
    if t > MAX_T:
        raise CheckFailed(
            f"{type(model.strategy).__name__} is not equivariant on average: over {REPEATS} calls the mean of "
            f"f(gx) - g f(x) is {t:.1f} times its standard error, so it is more than resampling noise."
        )


# --- helpers --------------------------------------------------------------------------------------------


def _test_elements(symmetry: Symmetry, x: Data, seed: int) -> Element | None:
    """Elements at which the action on `x` is exact; None where there are none to be had."""
    group, size, leaf = symmetry.group, batch_size(x), first_leaf(x)
    if symmetry.input.is_exact(x):
        g = group.sample((size,), generator=torch.Generator().manual_seed(seed))
        return group.to(g, device=leaf.device)
    if group in (SO(2), O(2)) and leaf.shape[-1] == leaf.shape[-2]:
        quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64, device=leaf.device)
        return torch.stack([torch.linalg.matrix_power(quarter, 1 + i % 3).round() for i in range(size)])
    return None


def _tolerance(x: Data) -> float:
    return 1e-8 if first_leaf(x).dtype == torch.float64 else 2e-3


def _leaves(y: Any) -> list[Tensor]:
    return [leaf for part in y for leaf in _leaves(part)] if isinstance(y, tuple | list) else [y]


def _gap(a: Any, b: Any) -> tuple[float, float]:
    pairs = list(zip(_leaves(a), _leaves(b), strict=True))
    gap = max(float((p - q).abs().max()) if p.numel() else 0.0 for p, q in pairs)
    return gap, max(max(float(q.abs().max()) if q.numel() else 0.0 for _, q in pairs), 1e-12)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(_equal(p, q) for p, q in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    return a is b or (type(a) is type(b) and isinstance(a, int | float | str | None) and a == b)


def _snapshot(model: nn.Module) -> dict[str, Any]:
    """State dictionary and every plain attribute of every module, tensors copied."""
    found: dict[str, Any] = {f"state_dict[{k}]": v.clone() for k, v in model.state_dict().items()}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if not key.startswith("_"):
                found[f"{name}.{key}".lstrip(".")] = _frozen(value)
    return found


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return dict(value) if isinstance(value, dict) else value
