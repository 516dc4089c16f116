"""Random pieces of gridded fields, of whose cells some are seen and others to be predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.data.fields._sets import FieldTask, PointSet

ROUNDS = 200
"""How often places are drawn anew where too little was observed, before giving up."""

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""Locations `(n, P, X)` and values `(n, P, C)` of n random patches."""


def range_of(value: int | tuple[int, int], name: str, least: int = 0) -> tuple[int, int]:
    """`(least, most)` of a number or a range of numbers."""
    ends = tuple(value) if isinstance(value, tuple | list) else (value, value)
    require(len(ends) == 2, f"{name} must be a number or (least, most), got {value!r}.")
    low, high = ends
    low, high = positive_int(low, name, least), positive_int(high, name, least)
    require(low <= high, f"{name} must be (least, most) with least <= most, got {value}.")
    return low, high


def observed_patches(draw: Draw, batch: int, needed: int) -> tuple[Tensor, Tensor, Tensor]:
    """`batch` patches with at least `needed` observed cells each, others drawn again; and which cells are observed.

    Raises:
        InputError: such patches are too rare, or there are none.
    """
    x, y = draw(batch)
    seen = _observed(x, y)
    for _ in range(ROUNDS):
        poor = (seen.sum(1) < needed).nonzero().flatten()
        if len(poor) == 0:
            return x, y, seen
        x[poor], y[poor] = draw(len(poor))
        seen[poor] = _observed(x[poor], y[poor])
    poor = seen.sum(1) < needed
    if not bool(poor.any()):
        return x, y, seen
    raise InputError(
        f"Patches with {needed} observed values or more are too rare: {int(poor.sum())} of {batch} still have fewer "
        f"after {ROUNDS} draws (of {x.shape[1]} cells). Take larger patches, fewer context points, or other times."
    )


def _observed(x: Tensor, y: Tensor) -> Tensor:
    return torch.isfinite(x).all(-1) & ~torch.isnan(y).any(-1)


def divide(
    x: Float[Tensor, "B P X"],
    y: Float[Tensor, "B P C"],
    seen: Bool[Tensor, "B P"],
    context: tuple[int, int],
    target: tuple[int, int] | None,
    generator: torch.Generator,
) -> FieldTask:
    """Random context and target cells among those observed, each task with numbers of its own.

    At least one observed cell is left for the target. Without a range, all that are not context are the target.
    """
    b, p = seen.shape
    made = {"generator": generator, "device": generator.device}
    order = torch.where(seen.to(generator.device), torch.rand(b, p, **made), 2.0).argsort(1).to(x.device)
    observed = seen.sum(1, keepdim=True)
    n = torch.randint(context[0], context[1] + 1, (b, 1), **made).to(x.device).clamp_max(observed - 1)
    m = observed - n
    if target is not None:
        m = torch.randint(target[0], target[1] + 1, (b, 1), **made).to(x.device).minimum(m)
    place = torch.arange(p, device=x.device)
    most = int(n.max())
    width = int(m.max())
    later = (n + place[:width]).clamp_max(p - 1)
    parts = [(order[:, :most], place[:most] < n), (order.gather(1, later), place[:width] < m)]
    return FieldTask(*(PointSet(_pick(x, index), _pick(y, index), mask) for index, mask in parts))


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
