"""Weighted frames of a point cloud: poses with weights that change continuously with the cloud."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import require
from equilearn.symmetrization._base import generator_device
from equilearn.symmetrization._gram_schmidt import completion

MAX_DIMENSION = 3
"""Largest dimension: the number of poses grows as N^(d-1)."""


def pose_total(count: int, dimension: int, proper: bool) -> int:
    """How many poses `weighted_frame` gives for `count` points."""
    steps = _steps(dimension, proper)
    return math.perm(max(count, steps), steps) * (2 if not proper and dimension > 1 else 1)


def _steps(dimension: int, proper: bool) -> int:
    """How many axes are read from points; on a line the only one, unless it has to point forwards."""
    return max(dimension - 1, 0 if proper else 1)


def weighted_frame(
    points: Float[Tensor, "B N d"],
    *,
    proper: bool,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-8,
) -> tuple[Float[Tensor, "B k d d"], Float[Tensor, "B k"], Bool[Tensor, "B"]]:
    """Orthonormal frames from every choice of `d - 1` points in turn, with weights.

    The first axis points at `x_i`, with weight `|x_i| / sum |x|`; the second along what `x_j` has across
    it, `r_j`, with weight `|r_j| / sum |r|`; the last axis is fixed by the orientation, or taken with both
    signs. The weights vanish where a direction is undefined, so that averages of `g f(g^-1 x)` are
    continuous in `x`: also where second moments agree, where any choice of principal axes jumps, and where
    points meet or pass through the origin. Weights of one step add up to one *for each choice before*;
    were they normalised together, the first axis would jump when the cloud becomes a line.

    A cloud that is fixed by some rotations (all points on one line through the origin in space, or at the
    origin) leaves axes open; they are drawn from the Haar measure of what is left, independently for
    each pose, and the cloud is flagged.

    Args:
        points: as they are; centre them first where the origin means nothing.
        proper: rotations only.
        tolerance: share of the cloud's size below which a direction counts as undefined.

    Returns:
        `N (N-1) ... (N-d+2)` frames (twice that unless `proper`), float64, their weights, and which clouds
        have frames that had to be drawn.

    Source: Dym, Lawrence and Siegel 2024 (weighted frames, section 3), with weights normalised in turn.
    Cost: O(B k d^2).
    """
    d = points.shape[-1]
    require(
        d <= MAX_DIMENSION,
        f"Weighted frames are known for up to {MAX_DIMENSION} dimensions, got {d}: they have N^(d-1) poses. "
        "Use principal axes (weighted=False).",
    )
    steps = _steps(d, proper)
    # Points at the origin have no weight: they only make sure that there is one for every step.
    p = torch.nn.functional.pad(points.to(torch.float64), (0, 0, 0, max(steps - points.shape[1], 0)))
    size, count, _ = p.shape
    whole = p.square().sum((-1, -2)).detach().sqrt()
    scale = torch.where(whole > 0, whole, 1)
    axes = p.new_zeros(size, 1, d, 0)
    weight = p.new_ones(size, 1)
    used = torch.zeros(size, 1, count, dtype=torch.bool, device=p.device)
    degenerate = torch.zeros(size, dtype=torch.bool, device=p.device)
    for _ in range(steps):
        across = _across(p, axes)
        norm = torch.where(used, 0.0, _safe_norm(across))
        total = norm.sum(-1)
        open_ = total <= tolerance * scale.unsqueeze(-1)
        degenerate |= (open_ & (weight > 0)).any(-1)
        share = _shares(norm, total, used, open_)
        direction = _direction(across, norm, axes, open_, tolerance * scale, generator)
        axes, weight, used = _extended(axes, weight, used, direction, share)
    frames, weight = _closed(axes, weight, proper)
    return frames, weight, degenerate


def _across(p: Float[Tensor, "B N d"], axes: Float[Tensor, "B k d s"]) -> Float[Tensor, "B k N d"]:
    """What each point has across the axes so far."""
    x = p.unsqueeze(1).expand(-1, axes.shape[1], -1, -1)
    for _ in range(2):  # twice is enough (Kahan): the first leaves rounding along the axes
        x = x - (x @ axes) @ axes.mT
    return x


def _safe_norm(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """The length, with derivative zero at the origin."""
    square = x.square().sum(-1)
    return torch.where(square > 0, square, 1).sqrt() * (square > 0)


def _shares(norm: Tensor, total: Tensor, used: Tensor, open_: Tensor) -> Float[Tensor, "B k N"]:
    free = (~used).to(norm.dtype)
    even = free / free.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(open_.unsqueeze(-1), even, norm / torch.where(open_, 1, total).unsqueeze(-1))


def _direction(
    across: Float[Tensor, "B k N d"],
    norm: Float[Tensor, "B k N"],
    axes: Float[Tensor, "B k d s"],
    open_: Bool[Tensor, "B k"],
    least: Float[Tensor, "B"],
    generator: torch.Generator | None,
) -> Float[Tensor, "B k N d"]:
    """Unit vectors along what is across; random ones, across the axes, where there is nothing."""
    # A point of next to no weight has a direction made of rounding: any unit vector does for it.
    tiny = torch.finfo(torch.float64).eps * least.clamp_min(torch.finfo(torch.float64).tiny)
    undefined = open_.unsqueeze(-1) | (norm <= tiny[:, None, None])
    unit = across / torch.where(undefined, 1, norm).unsqueeze(-1)
    if not bool(undefined.any()):
        return unit
    where = generator_device(generator, across.device)
    drawn = torch.randn(across.shape, generator=generator, device=where, dtype=torch.float64).to(across.device)
    for _ in range(2):
        drawn = drawn - (drawn @ axes) @ axes.mT
    drawn = drawn / drawn.norm(dim=-1, keepdim=True)
    return torch.where(undefined.unsqueeze(-1), drawn.detach(), unit)


def _extended(
    axes: Tensor, weight: Tensor, used: Tensor, direction: Tensor, share: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Every frame with every point that it has not used as its next axis."""
    size, k, d, s = axes.shape
    count = direction.shape[2]
    wide = torch.cat((axes.unsqueeze(2).expand(size, k, count, d, s), direction.unsqueeze(-1)), -1)
    marked = used.unsqueeze(2) | torch.eye(count, dtype=torch.bool, device=axes.device)
    keep = ~used
    more = k * (count - s)
    return (
        wide[keep].reshape(size, more, d, s + 1),
        (weight.unsqueeze(-1) * share)[keep].reshape(size, more),
        marked[keep].reshape(size, more, count),
    )


def _closed(
    axes: Float[Tensor, "B k d s"], weight: Float[Tensor, "B k"], proper: bool
) -> tuple[Float[Tensor, "B m d d"], Float[Tensor, "B m"]]:
    """The last axis, at right angles to the others: of positive orientation, or with both signs."""
    d, s = axes.shape[-2:]
    if s == d:
        return axes, weight
    last = completion(axes)
    whole = torch.cat((axes, last.unsqueeze(-1)), -1)
    if proper:
        return whole, weight
    flipped = torch.cat((axes, -last.unsqueeze(-1)), -1)
    return torch.cat((whole, flipped), 1), torch.cat((weight, weight), 1) / 2
