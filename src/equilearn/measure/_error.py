"""How far a model is from being equivariant, in one written-down norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import one_of, positive_int, require
from equilearn.actions import Data, first_leaf
from equilearn.actions import batch_size as count_samples
from equilearn.groups import Element
from equilearn.measure._bootstrap import excess_interval, ratio, ratio_interval, signed_root
from equilearn.measure._evaluate import (
    Model,
    cast,
    check_inputs,
    difference,
    evaluate,
    evaluation,
    inner,
    isolated_randomness,
    join,
    leaves,
    model_dtype,
    move_input,
    number,
    squared,
    squared_difference,
    take,
)
from equilearn.measure._floor import grid_floor, rounding_floor
from equilearn.measure._labels import choose_elements, describe
from equilearn.measure._results import (
    ABSENT_SHARE,
    ROUNDING_MARGIN,
    ElementError,
    EquivarianceError,
    Verdict,
)
from equilearn.symmetry import Symmetry

_STOCHASTIC = 100.0
"""Two calls on one input that differ by more than so many unit roundoffs: the model draws random numbers."""

_REPEATS, _REPEATED_INPUTS = 8, 8
"""Further calls that look for randomness, and the inputs that they are made on."""

_CALLS = 32
"""Calls over which the inputs of a stochastic model are spread: what it draws may be the same for all
inputs of a call, so that calls, not inputs, are independent."""


@dataclass(frozen=True)
class _Sums:
    """Squared norms, one row an element, one column an input."""

    difference: Float[Tensor, "G B"]
    unit: Float[Tensor, "G B"]  # what errors are relative to
    unrelated: Float[Tensor, "G B"]
    excess: Float[Tensor, "G B"] | None  # the difference without the model's own randomness; may be negative


def equivariance_error(
    model: Model,
    symmetry: Symmetry,
    x: Data,
    *,
    samples: int = 8,
    elements: Element | None = None,
    generator: torch.Generator | None = None,
    confidence: float = 0.95,
    batch_size: int = 256,
    normalisation: Literal["norm", "variance"] = "norm",
) -> EquivarianceError:
    r"""How far `f(g x) = rho(g) f(x)` is from holding on the inputs `x`.

    At every element the relative L2 error over all inputs,

        e(g) = sqrt( sum_b |f(g x_b) - rho(g) f(x_b)|^2 / sum_b |rho(g) f(x_b)|^2 ),

    or with `normalisation="variance"` the error as a share of the spread of the outputs, the square
    root of `E|f(gx) - rho(g) f(x)|^2 / (2 E|f - E f|^2)` over transformed inputs: 0 where exact, 1 for
    unrelated outputs, blind to a constant that is added to `f`. Transformations are computed in float64:
    `x` is promoted, moved and cast to the model's precision, outputs are promoted before `rho(g)` and
    all norms. The model is called in evaluation mode, and left as it was.

    The *verdict* is "exact" where the largest `e(g)` is at most 10 noise floors; else "absent" where the
    mean is at least half of what outputs of *unrelated* inputs would give (`chance`); else "approximate".

    A *stochastic* model, one that averages over random elements say, is off by its own randomness even where
    it is equivariant in law. It is called a second time on every `g x`, so that products of independent
    differences, `<f(gx) - rho(g) f(x), f'(gx) - rho(g) f'(x)>`, estimate the squared error of its mean without
    bias: the `excess`. The verdict is "stochastic" where the interval of the excess reaches down to the noise
    floor (an equivariant model is denied this with probability `(1 - confidence) / 2`); else the excess
    decides between "absent" and "approximate", in place of the mean.

    *Floors*: `floor` is the difference that rounding makes: the outputs on `g x` against those of a float64
    copy of the model (`floor_method` says what was done where no copy can be made). `interpolation_floor`,
    for grids: how much the outputs change when the inputs go there and back, `f(g^-1 (g x))` against `f(x)`,
    together with the same for an interpolated output action. `resampling`: two calls on the same inputs.

    Args:
        model: any module or callable on `x`, batch first; outputs a tensor or a tuple of tensors.
        symmetry: the group and its actions.
        x: inputs `(B, ...)` or a tuple of them.
        samples: how many elements to draw where the group has more than 32.
        elements: measure at these instead, batch shape `(G,)`.
        generator: draws elements and the bootstrap; with it, a stochastic model repeats too.
        confidence: level of the interval, a percentile bootstrap over inputs (of a stochastic model over
            calls, since it may draw the same for all inputs of one; and over elements, where these were drawn).
        batch_size: most inputs in one call of the model.
        normalisation: "norm" or "variance".

    Raises:
        InputError: `x` empty, not finite or not fitting the input action; outputs of another batch
            size, not finite, or not fitting the output action; an element outside the group.

    Source: equivariance error against resampling error, Kim et al. 2023.

    Cost: G + 2 evaluations of the model on `x` and a few on 256 inputs for the floor; for an
    interpolated action 2 G + 2. For a stochastic model twice that, in 32 calls each.

    Example:
        >>> import torch, equilearn as eq
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> gen = torch.Generator().manual_seed(0)
        >>> x = torch.rand(64, 1, 8, 8, generator=gen)
        >>> total = eq.measure.equivariance_error(lambda x: x.sum((2, 3)), turns, x, generator=gen)
        >>> total.verdict
        'exact'
        >>> corner = eq.measure.equivariance_error(lambda x: x[:, :, 0, 0], turns, x, generator=gen)
        >>> corner.verdict, [e.label for e in corner.per_element]
        ('absent', ['quarter turn', 'half turn', 'three-quarter turn'])
    """
    one_of(normalisation, ("norm", "variance"), "normalisation")
    limit = positive_int(batch_size, "batch_size")
    require(0.0 < confidence < 1.0, f"confidence must lie between 0 and 1, got {confidence}.")
    check_inputs(symmetry, x)
    single = count_samples(x) == 1
    require(not (single and normalisation == "variance"), 'normalisation="variance" needs at least two inputs.')
    device, dtype = first_leaf(x).device, model_dtype(model, x)
    g, exhaustive = elements_to_measure(symmetry, elements, samples, generator, device)
    with evaluation(model), isolated_randomness(generator, device):
        start = cast(x, dtype)
        plain = evaluate(model, start, limit=limit, what="x")
        symmetry.output.check(plain)
        second = evaluate(model, start, limit=limit, what="x")
        again = float(squared_difference(second, plain).mean()) ** 0.5
        stochastic = _is_stochastic(model, start, plain, again, dtype, limit)
        if stochastic:
            limit = min(limit, -(-count_samples(x) // _CALLS))
            plain, second = (evaluate(model, start, limit=limit, what="x") for _ in range(2))
            again = float(squared_difference(second, plain).mean()) ** 0.5
        second = second if stochastic else None
        sums = _measure(model, symmetry, x, plain, second, g, dtype, limit, normalisation)
        errors = ratio(sums.difference, sums.unit)
        unit = float(sums.unit.mean())
        floor, method = rounding_floor(
            model,
            symmetry,
            x,
            symmetry.group.take(g, errors.argsort(descending=True).to(device)),
            dtype=dtype,
            unit=unit,
            stochastic=stochastic,
            limit=limit,
        )
        grid = grid_floor(model, symmetry, x, plain, g, dtype=dtype, unit=unit, limit=limit, again=second)
    resampled = _by_call(sums, limit) if stochastic else sums
    interval = ratio_interval(
        resampled.difference, resampled.unit, confidence=confidence, generator=generator, resample_rows=not exhaustive
    )
    chance = None if single else float(ratio(sums.unrelated, sums.unit).mean())
    mean, maximum = float(errors.mean()), float(errors.max())
    excess, ends = _excess(resampled, confidence, generator, exhaustive)
    verdict = (
        _verdict(mean, maximum, floor, chance)
        if excess is None
        else _verdict_beyond(excess, ends, float(errors.square().mean()), floor, chance)
    )
    return EquivarianceError(
        mean=mean,
        interval=interval,
        maximum=maximum,
        per_element=_label(symmetry, g, errors),
        floor=floor,
        floor_method=method,
        interpolation_floor=grid,
        resampling=again / unit**0.5 if unit > 0 else 0.0,
        excess=excess,
        excess_interval=ends,
        chance=chance,
        variation=None if single else _variation(plain),
        verdict=verdict,
        exhaustive=exhaustive,
        inputs=count_samples(x),
        confidence=confidence,
        normalisation=normalisation,
        dtype=str(dtype).removeprefix("torch."),
        invariance=symmetry.is_invariance,
    )


def _is_stochastic(model: Model, x: Data, plain: Data, again: float, dtype: torch.dtype, limit: int) -> bool:
    """Whether calls on the same input differ: two on all inputs, which differed by `again`, and more on a
    few of them, since a model that draws one of four turns a call repeats itself in one of four."""
    least = _STOCHASTIC * torch.finfo(dtype).eps
    if again > least * float(squared(plain).mean()) ** 0.5:
        return True
    piece = take(x, slice(0, min(_REPEATED_INPUTS, limit)))
    first, *others = (evaluate(model, piece, limit=limit, what="x") for _ in range(_REPEATS))
    apart = max(float(squared_difference(other, first).mean()) for other in others) ** 0.5
    return apart > least * float(squared(first).mean()) ** 0.5


def elements_to_measure(
    symmetry: Symmetry,
    elements: Element | None,
    samples: int,
    generator: torch.Generator | None,
    device: torch.device,
) -> tuple[Element, bool]:
    """The given elements, checked, or all, or `samples` drawn ones; and whether the choice is not random."""
    group = symmetry.group
    if elements is None:
        return choose_elements(group, positive_int(samples, "samples"), generator, device)
    batch = group.batch_shape(elements)
    require(
        len(batch) == 1 and batch[0] > 0,
        f"elements must hold at least one element of {group}, batch shape (G,); got batch shape {tuple(batch)}.",
    )
    group.validate(elements)
    return group.to(elements, device=device), True


def _measure(
    model: Model,
    symmetry: Symmetry,
    x: Data,
    plain: Data,
    again: Data | None,
    g: Element,
    dtype: torch.dtype,
    limit: int,
    normalisation: str,
) -> _Sums:
    """All squared norms, one evaluation of the model an element; two where `again`, the second outputs on
    `x` of a stochastic model, are given."""
    (count,) = symmetry.group.batch_shape(g)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    beyond: list[Tensor] = []
    before = plain
    for i in range(count):
        element = symmetry.group.take(g, i)
        moved = _evaluate_moved(model, symmetry, element, x, dtype, limit)
        target = symmetry.act_output(element, plain)
        apart = squared_difference(moved, target)
        if normalisation == "variance":
            # Outputs of two independent transformed inputs differ by twice the variance, on average.
            unit = _distance_to_others(moved, before, squared_difference(moved, before))
        else:
            unit = squared(target)
            unit = unit if float(unit.sum()) > 0 else squared(moved)
        rows.append((apart, unit, _distance_to_others(moved, target, apart)))
        before = moved
        if again is not None:
            repeated = _evaluate_moved(model, symmetry, element, x, dtype, limit)
            beyond.append(_products((moved, repeated), (target, symmetry.act_output(element, again))))
    apart, unit, unrelated = (torch.stack(column).cpu() for column in zip(*rows, strict=True))
    return _Sums(apart, unit, unrelated, torch.stack(beyond).cpu() if beyond else None)


def _by_call(sums: _Sums, limit: int) -> _Sums:
    """The same with one column for every `limit` inputs, which went through the model together."""

    def added(t: Tensor) -> Tensor:
        return torch.stack([part.sum(1) for part in t.split(limit, dim=1)], dim=1)

    excess = None if sums.excess is None else added(sums.excess)
    return _Sums(added(sums.difference), added(sums.unit), added(sums.unrelated), excess)


def _products(y: tuple[Data, Data], targets: tuple[Data, Data]) -> Tensor:
    """Products of independent differences, over both ways to pair them: unbiased for `|E y - E target|^2`."""
    straight = inner(difference(y[0], targets[0]), difference(y[1], targets[1]))
    crossed = inner(difference(y[0], targets[1]), difference(y[1], targets[0]))
    return (straight + crossed) / 2


def _evaluate_moved(model: Model, symmetry: Symmetry, g: Element, x: Data, dtype: torch.dtype, limit: int) -> Data:
    """`f(g x)`, batch by batch, so that the transformed inputs never lie in memory all at once."""
    what = f"x moved by {describe(symmetry.group, g)!r}"
    parts = []
    for start in range(0, count_samples(x), limit):
        piece = move_input(symmetry, g, take(x, slice(start, start + limit)), dtype)
        parts.append(evaluate(model, piece, limit=limit, what=what))
    return join(parts)


def _distance_to_others(y: Data, others: Data, own: Tensor) -> Tensor:
    """Mean over all other inputs `c` of `|y_b - others_c|^2`, from means instead of pairs; `own` is the
    term `c = b`, which does not count. Zero for a single input."""
    size = count_samples(y)
    if size < 2:
        return torch.zeros_like(own)
    total = torch.zeros_like(own)
    for left, right in zip(map(number, leaves(y)), map(number, leaves(others)), strict=True):
        middle = right.mean(0, keepdim=True)
        total = total + squared(left - middle) + squared(right - middle).mean()
    return (size * total - own).clamp(min=0.0) / (size - 1)


def _variation(y: Data) -> float:
    """`|f - mean f| / |f|`."""
    centred = tuple(leaf - leaf.mean(0, keepdim=True) for leaf in map(number, leaves(y)))
    return float(ratio(squared(centred), squared(y)))


def _verdict(mean: float, maximum: float, floor: float, chance: float | None) -> Verdict:
    if maximum <= ROUNDING_MARGIN * floor:
        return "exact"
    # Without a second input, take unrelated outputs to be as far apart as centred ones: sqrt(2).
    level = 2**0.5 if chance is None else chance
    return "absent" if mean >= ABSENT_SHARE * level else "approximate"


def _excess(
    sums: _Sums, confidence: float, generator: torch.Generator | None, exhaustive: bool
) -> tuple[float | None, tuple[float, float] | None]:
    """The error beyond the model's own randomness, and its interval; None for a deterministic model."""
    if sums.excess is None:
        return None, None
    top, bottom = sums.excess.sum(-1), sums.unit.sum(-1)
    squares = torch.where(bottom > 0, top / bottom, torch.zeros_like(top))
    ends = excess_interval(
        sums.excess, sums.unit, confidence=confidence, generator=generator, resample_rows=not exhaustive
    )
    return signed_root(float(squares.mean())), ends


def _verdict_beyond(
    excess: float, ends: tuple[float, float] | None, total: float, floor: float, chance: float | None
) -> Verdict:
    """The verdict on a stochastic model; `total` is the mean squared error, randomness included."""
    noise = max(total - math.copysign(excess**2, excess), 0.0)
    # Of a single input there is no interval: there an excess has to outdo the randomness itself.
    reached = ends[0] <= ROUNDING_MARGIN * floor if ends is not None else excess <= noise**0.5
    if reached:
        return "stochastic"
    level = 2**0.5 if chance is None else max(chance**2 - noise, 0.0) ** 0.5
    return "absent" if excess >= ABSENT_SHARE * level else "approximate"


def _label(symmetry: Symmetry, g: Element, errors: Tensor) -> tuple[ElementError, ...]:
    group = symmetry.group
    found = []
    for i, error in enumerate(errors.tolist()):
        element = group.take(g, i)
        found.append(ElementError(describe(group, element), error, element))
    return tuple(found)
