"""Is a layer what an equivariant layer should be?"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError
from equilearn.actions import Data, batch_size, map_data
from equilearn.groups import Element, Group
from equilearn.symmetry import Symmetry
from equilearn.testing._failed import CheckFailed

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest relative error of an exact layer. An error that stays at 1e-6 in float64 is a bug, not rounding."""

SAMPLED_ELEMENTS = 6


def check_layer(
    layer: nn.Module,
    symmetry: Symmetry,
    x: Data,
    *,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
) -> None:
    """Check that a layer is equivariant and behaves like a `torch.nn.Module` should.

    * `layer(g x) = g layer(x)` for the generators and for random elements, in float32 to 1e-4 and
      in float64 to 1e-10 (relative L2; the data are transformed in float64);
    * batches of zero and of one work, and samples do not influence each other in evaluation;
    * every parameter and floating-point input gets a finite gradient, and it agrees with finite
      differences along a random direction;
    * copies after an evaluation with gradients work; state keys are the same in training and
      evaluation; a state saved with safetensors and loaded gives the same outputs, also in a
      layer that had been evaluated before.

    Arguments:
        layer: works on copies of it; the layer itself is left as it is.
        symmetry: what it should commute with.
        x: at least two samples, of generic values.
        generator: for the sampled elements and directions; default a fixed seed.
        tolerance: of the equivariance, for both precisions. Needed where the action interpolates.

    Raises `CheckFailed` with the law that is broken, by how much, and where; `InputError` where
    the check itself cannot be made.

    Cost: some thirty forward passes of `x`.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
        >>> eq.testing.check_layer(eq.nn.EquivariantLinear(2 * V, V), eq.Symmetry(eq.SO(3), 2 * V, V), x)
        >>> try:
        ...     eq.testing.check_layer(torch.nn.Linear(6, 3), eq.Symmetry(eq.SO(3), 2 * V, V), x)
        ... except eq.testing.CheckFailed as error:
        ...     print(str(error)[:51])
        Linear is not equivariant under SO3: relative error
    """
    if not isinstance(layer, nn.Module):
        raise InputTypeError(f"check_layer takes a torch.nn.Module, got {type(layer).__name__}.")
    symmetry.input.check(x)
    if batch_size(x) < 2:
        raise InputError(f"check_layer needs at least two samples, got {batch_size(x)}.")
    if tolerance is None and not symmetry.input.is_exact(x):
        raise InputError(
            f"{symmetry.input.name} interpolates under {symmetry.group}: say how large an error may be, with tolerance."
        )
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    _equivariance(layer, symmetry, x, generator, tolerance)
    _batches(_copied(layer, torch.float64).eval(), _cast(x, torch.float64))
    _gradients(_without_dropout(_copied(layer, torch.float64).train()), _cast(x, torch.float64), generator)
    _state(_copied(layer, torch.float32), _cast(x, torch.float32), generator)


# --- equivariance ---------------------------------------------------------------------------


def _equivariance(
    layer: nn.Module, symmetry: Symmetry, x: Data, generator: torch.Generator, tolerance: float | None
) -> None:
    exact_x = _cast(x, torch.float64)
    for dtype, default in TOLERANCES.items():
        model = _copied(layer, dtype).eval()
        bound = default if tolerance is None else tolerance
        with torch.no_grad():
            plain = _cast(model(_cast(exact_x, dtype)), torch.float64)
            _all_finite(model, plain)
            for label, g in _elements(symmetry.group, generator):
                moved = _cast(model(_cast(symmetry.act_input(g, exact_x), dtype)), torch.float64)
                error = _relative(moved, symmetry.act_output(g, plain))
                if not error <= bound:
                    raise CheckFailed(
                        f"{type(layer).__name__} is not equivariant under {symmetry.group}: relative error "
                        f"{error:.2g} in {_name(dtype)} (at most {bound:g}) at {label}."
                    )


def _elements(group: Group, generator: torch.Generator) -> list[tuple[str, Element]]:
    """Labelled elements of batch `()`: the discrete generators, then random ones."""
    found = []
    for kind, batch in (("generator", group.generators()), ("random element", None)):
        g = group.sample(SAMPLED_ELEMENTS, generator=generator) if batch is None else batch
        found += [(f"{kind} {i}", group.take(g, i)) for i in range(group.batch_shape(g)[0])]
    return found


def _relative(a: Data, b: Data) -> float:
    """`|a - b| / |b|`; the absolute difference where `b` vanishes."""
    if _shapes(a) != _shapes(b):
        raise CheckFailed(
            f"The output of a transformed input has shape {_shapes(a)}, the transformed output {_shapes(b)}."
        )
    a_flat, b_flat = _flat(a), _flat(b)
    scale = float(b_flat.norm())
    return float((a_flat - b_flat).norm()) / (scale if scale > 0 else 1.0)


# --- batches ----------------------------------------------------------------------------------


def _batches(model: nn.Module, x: Data) -> None:
    with torch.no_grad():
        together = model(x)
        for size in (0, 1):
            part = _run(model, map_data(lambda t, n=size: t[:n], x), f"a batch of {size}")
            expected = map_data(lambda t, n=size: t[:n], together)
            if _shapes(part) != _shapes(expected):
                raise CheckFailed(f"{type(model).__name__} gives shape {_shapes(part)} for a batch of {size}.")
            if size and not _relative(part, expected) <= 1e-9:
                raise CheckFailed(
                    f"{type(model).__name__} gives another output for a sample on its own than among others: "
                    f"relative difference {_relative(part, expected):.2g} in evaluation."
                )


def _run(model: nn.Module, x: Data, what: str) -> Data:
    try:
        return model(x)
    except Exception as error:
        raise CheckFailed(f"{type(model).__name__} fails on {what}: {type(error).__name__}: {error}") from error


# --- gradients --------------------------------------------------------------------------------


def _gradients(model: nn.Module, x: Data, generator: torch.Generator) -> None:
    leaves = _leaves(x)
    inputs = [t.clone().requires_grad_() if t.is_floating_point() else t for t in leaves]
    weights = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    probe: list[Tensor] = []

    def loss(parts: list[Tensor]) -> Tensor:
        out = _flat(model(_unflatten(x, iter(parts))))
        if not probe:
            probe.append(torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out))
        return (out * probe[0]).sum()

    value = loss(inputs)
    if not value.requires_grad:
        raise CheckFailed(f"The output of {type(model).__name__} has no gradient: it was computed outside autograd.")
    value.backward()
    moving = [(f"input {i}", t) for i, t in enumerate(inputs) if t.is_floating_point()] + weights
    for name, t in moving:
        if t.grad is None or not bool(torch.isfinite(t.grad).all()):
            what = "no" if t.grad is None else "a non-finite"
            raise CheckFailed(f"{name} of {type(model).__name__} gets {what} gradient.")
    _against_differences(model, loss, inputs, [t for _, t in moving], generator)


def _without_dropout(model: nn.Module) -> nn.Module:
    """Finite differences need the same function twice; all else stays as in training."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def _against_differences(
    model: nn.Module, loss: object, inputs: list[Tensor], moving: list[Tensor], generator: torch.Generator
) -> None:
    """Along one random direction in inputs and weights together, by central differences."""
    step = 1e-6
    directions = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in moving]
    slope = sum(float((t.grad * d).sum()) for t, d in zip(moving, directions, strict=True) if t.grad is not None)
    size = math.sqrt(
        sum(
            float((t.grad.norm() * d.norm()) ** 2)
            for t, d in zip(moving, directions, strict=True)
            if t.grad is not None
        )
    )
    with torch.no_grad():
        values = []
        for sign in (1, -2):
            for t, d in zip(moving, directions, strict=True):
                t.add_(d, alpha=sign * step)
            values.append(float(loss(inputs)))  # type: ignore[operator]
    measured = (values[0] - values[1]) / (2 * step)
    if abs(measured - slope) > 1e-4 * (size + abs(slope)) + 1e-8:
        raise CheckFailed(
            f"The gradient of {type(model).__name__} is wrong: {slope:.8g} along a random direction, "
            f"finite differences give {measured:.8g}."
        )


# --- state ------------------------------------------------------------------------------------


def _state(model: nn.Module, x: Data, generator: torch.Generator) -> None:
    from safetensors.torch import load, save

    name = type(model).__name__
    fresh = copy.deepcopy(model).eval()
    model.train()
    model(x)
    keys = set(model.state_dict())
    model.eval()
    model(x)  # gradients on: a cache made here must not hinder copies
    if set(model.state_dict()) != keys:
        raise CheckFailed(
            f"{name} has other state keys in evaluation than in training: {keys ^ set(model.state_dict())}."
        )
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise CheckFailed(f"{name} cannot be copied after an evaluation: {type(error).__name__}: {error}") from error
    with torch.no_grad():
        if not _same(model(x), twin(x)):
            raise CheckFailed(f"A copy of {name} gives other outputs.")
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p), alpha=0.1)
        changed = model(x)
        stored = {key: value.contiguous() for key, value in model.state_dict().items()}
        for other in (twin, fresh):
            other.load_state_dict(load(save(stored)))
        if not _same(changed, fresh(x)) or not _same(changed, twin(x)):
            raise CheckFailed(
                f"{name} gives other outputs after its state was saved and loaded: something that matters is not in "
                "the state, or a cache outlives the weights it was made from."
            )


# --- parts ------------------------------------------------------------------------------------


def _copied(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(layer).to(dtype)


def _cast(x: Data, dtype: torch.dtype) -> Data:
    return map_data(lambda t: t.detach().to(dtype) if t.is_floating_point() else t, x)


def _leaves(x: Data) -> list[Tensor]:
    return [leaf for part in x for leaf in _leaves(part)] if isinstance(x, tuple | list) else [x]


def _unflatten(like: Data, parts: object) -> Data:
    return map_data(lambda _: next(parts), like)  # type: ignore[call-overload]


def _flat(x: Data) -> Tensor:
    return torch.cat([leaf.flatten() for leaf in _leaves(x)])


def _shapes(x: Data) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in _leaves(x)]


def _same(a: Data, b: Data) -> bool:
    return all(torch.allclose(s, t, rtol=1e-5, atol=1e-6) for s, t in zip(_leaves(a), _leaves(b), strict=True))


def _all_finite(model: nn.Module, y: Data) -> None:
    bad = int((~torch.isfinite(_flat(y))).sum())
    if bad:
        raise CheckFailed(f"{type(model).__name__} gives {bad} outputs that are NaN or infinite.")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
