"""`symmetrize`: any model and a symmetry in, a symmetric model out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, require
from equilearn.actions import Data, batch_size, map_data
from equilearn.symmetrization._base import Elements, Samples, Strategy, make_strategy
from equilearn.symmetrization._carry import carry
from equilearn.symmetrization._moving import copies, move_copies, repeat
from equilearn.symmetry import Symmetry


class Symmetrized(nn.Module):
    """`phi(x) = sum_i w_i g_i f(g_i^-1 x)`, with `g_i, w_i` chosen for each input by a strategy.

    Every sample of every input goes through `f` in one batched call. A call keeps nothing: the
    chosen elements are returned on request, never stored.

    Args:
        model: any module or callable on a tensor (or tuple of tensors), batch first.
        symmetry: the group, its action on inputs and on outputs.
        strategy: how the elements are chosen.
    """

    def __init__(self, model: Callable[..., Any], symmetry: Symmetry, strategy: Strategy):
        super().__init__()
        self.model = model
        self.symmetry = symmetry
        self.strategy = strategy

    def forward(
        self,
        x: Data,
        *,
        k: Samples = None,
        generator: torch.Generator | None = None,
        return_std: bool = False,
        return_elements: bool = False,
    ) -> Any:
        """The symmetrized output, one batched call of the model on `B k` inputs.

        Args:
            x: inputs, batch first; a tensor or a tuple of tensors.
            k: elements per input; `"all"` for an exact enumeration; default the strategy's own.
            generator: where randomness comes from; None for torch's default generator.
            return_std: also return the standard error of each output, from the spread over the
                `k` samples taken as independent. It is told for each input on its own: zero for
                those whose result is exact, and infinite for those whose poses all come from one
                random choice (a frame of a degenerate input), whose error their spread does not tell.
            return_elements: also return the `Elements` that were used.

        Returns:
            `y`, or a tuple `(y[, std][, elements])`.

        Raises:
            InputError: `x` does not fit the action, or `return_std` is asked of a single random sample an input.
        """
        self.symmetry.input.check(x)
        elements = self.strategy.sample(self.symmetry, x, k, generator)
        outputs = self.evaluate(x, elements)
        y = map_data(lambda t: _weighted_sum(elements.weight, t), outputs)
        extras: list[Any] = []
        if return_std:
            asked = self.strategy._samples(k)
            extras.append(map_data(lambda t: _standard_error(elements, t, asked), outputs))
        if return_elements:
            extras.append(elements)
        return (y, *extras) if extras else y

    def forward_with_penalty(
        self, x: Data, *, k: Samples = None, generator: torch.Generator | None = None
    ) -> tuple[Any, Float[Tensor, ""]]:
        """The output, and what the strategy adds to the loss: a learned distribution its weighted
        entropy and prior, the others zero. `training.fit` calls this where a model has it.

        Args:
            x: inputs, batch first.
            k: elements per input; default the strategy's own.
            generator: where randomness comes from.
        """
        self.symmetry.input.check(x)
        elements = self.strategy.sample(self.symmetry, x, k, generator)
        y = map_data(lambda t: _weighted_sum(elements.weight, t), self.evaluate(x, elements))
        return y, self.strategy.penalty(self.symmetry, x, elements)

    def evaluate(self, x: Data, elements: Elements) -> Data:
        """`g f(g^-1 x)` for each of the given elements, shape `(B, k, ...)`; one call of the model."""
        size, count = batch_size(x), elements.count
        if self.symmetry.input.is_trivial:
            seen = repeat(x, count)
        else:
            seen = copies(self.symmetry.input, self.symmetry.group.inverse(elements.g), x, shared=elements.shared)
            seen = carry(self.symmetry.input, elements, seen, inverse=True)
        y = self.model(seen)
        if not self.symmetry.output.is_trivial:
            y = move_copies(self.symmetry.output, elements.g, y, shared=elements.shared)
            y = carry(self.symmetry.output, elements, y, inverse=False)
        return map_data(lambda t: t.reshape(size, count, *t.shape[1:]), y)

    def is_exact(self, x: Data | None = None) -> bool:
        """Whether this is symmetric up to rounding: the strategy is exact, and the action on `x` is."""
        interpolated = x is not None and not self.symmetry.input.is_exact(x)
        return not interpolated and self.strategy.is_exact(self.symmetry, x)

    def forward_passes(self) -> int:
        """Evaluations of the model per input: what the symmetry costs at run time."""
        return self.strategy.forward_passes(self.symmetry)

    def extra_repr(self) -> str:
        return f"symmetry={self.symmetry!r}"


def symmetrize(
    model: Callable[..., Any],
    symmetry: Symmetry,
    strategy: str | Strategy = "average",
    *,
    example: Data | None = None,
    **options: Any,
) -> Symmetrized:
    """Give any model a symmetry, without touching the model.

    Args:
        model: any module or callable on a tensor (or tuple of tensors), batch first.
        symmetry: the group, its action on inputs and on outputs.
        strategy: `"average"` (over all elements or random ones), `"frames"` (over the few poses
            computed from the input), `"canonicalize"` (one pose), `"learned"` (poses drawn from a
            small network's distribution), or a `Strategy` object.
        example: a few inputs, from which `"learned"` sees how wide a network it needs, and with which
            it checks a network of yours. The other strategies need none.
        **options: for the strategy's constructor, where a name is given.

    Returns:
        A module with `model`'s parameters (and the strategy's, where it has any), equivariant up
        to rounding where `is_exact` says so and on average otherwise.

    Raises:
        InputError: an unknown strategy, or one that cannot serve this symmetry; the message says
            which can.

    Source: averaging over the Haar measure, classical; frames: Puny et al. 2022; canonicalization:
    Kaba et al. 2023; their common form: Kim et al. 2023.

    Cost: one call of the model on `B k` inputs, where `k` is `forward_passes()`.

    Example:
        >>> import torch, equilearn as eq
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
        >>> model = eq.symmetrize(net, turns, "average")
        >>> x = torch.arange(36.0).reshape(1, 1, 6, 6) / 36
        >>> torch.allclose(model(x), model(torch.rot90(x, 1, (2, 3))), atol=1e-6)
        True
        >>> model.forward_passes()
        4
    """
    if not callable(model):
        raise InputTypeError(f"model must be a module or another callable, got {type(model).__name__}.")
    if not isinstance(symmetry, Symmetry):
        raise InputTypeError(f"symmetry must be a Symmetry(group, input, output), got {type(symmetry).__name__}.")
    made = make_strategy(strategy, **options)
    made.check(symmetry)
    if example is not None:
        symmetry.input.check(example)
    return Symmetrized(model, symmetry, made.prepare(symmetry, example))


# --- reductions over samples ------------------------------------------------------------------


def _aligned(weight: Tensor, t: Tensor) -> Tensor:
    weight = weight.to(t.dtype) if t.is_floating_point() or t.is_complex() else weight
    return weight.reshape(*weight.shape, *(1,) * (t.ndim - 2))


def _weighted_sum(weight: Tensor, t: Tensor) -> Tensor:
    """`(B, k)` weights and `(B, k, ...)` outputs to `(B, ...)`."""
    if t.shape[1] == 1 and not weight.requires_grad:
        return t[:, 0]
    return (_aligned(weight, t) * t).sum(1)


def _random_inputs(elements: Elements, asked: Samples) -> tuple[Bool[Tensor, "B"], Bool[Tensor, "B"]]:
    """For which inputs the weighted sum is an estimate, and which of these have a single draw: all their
    poses hang on it."""
    used = elements.weight.detach() > 0
    some = torch.ones_like(used[:, 0])
    if elements.exact:
        return ~some, ~some
    random, told = elements.random, elements.aux.get("random", some)
    if random is None and asked == elements.count:  # perhaps drawn from more poses; of fewer than that all are there
        random = used.all(1) | told
    elif random is None and "random" in elements.aux and bool(told.any()):  # a whole frame, where chance chose one
        return told, told
    random = some if random is None else random
    return random, random & (used.sum(1) < 2)


def _standard_error(elements: Elements, t: Tensor, asked: Samples = None) -> Tensor:
    """Standard error of the weighted mean, blocks of samples taken as independent: with weights `w` of the
    blocks summing to one, `sqrt(sum w^2 (t - mean)^2 / (1 - sum w^2))`; for equal weights `std / sqrt(k)`.
    Zero for inputs that are not random, infinite for those with a single draw."""
    random, single = _random_inputs(elements, asked)
    if not bool(random.any()):
        return torch.zeros_like(t[:, 0])
    _require_blocks(elements)
    w = _aligned(elements.weight.detach(), t)
    if elements.block > 1:
        weighted = (w * t).unflatten(1, (-1, elements.block)).sum(2)
        w = w.unflatten(1, (-1, elements.block)).sum(2)
        t = weighted / w
    mean = (w * t).sum(1, keepdim=True)
    w2 = w.square()
    spread = (w2 * (t - mean).abs().square()).sum(1)
    error = (spread / (1 - w2.sum(1)).clamp_min(torch.finfo(w.dtype).tiny)).sqrt()
    column = (-1, *(1,) * (error.ndim - 1))
    return error.masked_fill(single.reshape(column), math.inf).masked_fill(~random.reshape(column), 0)


def _require_blocks(elements: Elements) -> None:
    k, block = elements.count, elements.block
    require(
        k > 1,
        f"A standard error needs at least two samples per input, got k={k}. Call the model with k=2 or more.",
    )
    require(
        k > block,
        f"A standard error needs at least two independent draws per input, but these {k} samples were drawn together "
        f"(antithetic). Call the model with k={2 * block} or more, or give the strategy antithetic=False.",
    )
