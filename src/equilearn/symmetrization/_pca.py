"""Frames of a point cloud from its principal axes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import require
from equilearn.symmetrization._base import generator_device

MAX_AXES = 10
"""Largest dimension whose signs are enumerated: 2^10 poses."""


def gap_tolerance(dtype: torch.dtype) -> float:
    """Relative eigenvalue gap below which axes count as degenerate: the square root of the rounding
    unit, where the axes themselves are still known to as many digits as the gap is wide."""
    return math.sqrt(torch.finfo(dtype).eps) if dtype.is_floating_point else 1e-8


def principal_axes(
    points: Float[Tensor, "B N d"],
) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"]]:
    """Orthonormal axes as columns, widest first, and the second moments along them; float64.

    The points are taken as they are: centre them first where the origin means nothing.
    O(B (N d^2 + d^3)).
    """
    p = points.to(torch.float64)
    return _sorted_axes(p.transpose(-1, -2) @ p)


def _sorted_axes(moments: Float[Tensor, "B d d"]) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"]]:
    values, vectors = torch.linalg.eigh(moments)
    return vectors.flip(-1), values.flip(-1)


def _split_axes(
    points: Float[Tensor, "B N d"], tolerance: float
) -> tuple[Float[Tensor, "B d d"], Bool[Tensor, "B d d"], Bool[Tensor, "B"]]:
    """`principal_axes`, their `degenerate_blocks`, and gradients through the axes of those inputs only
    whose moments all differ: of the others the axes are no function, and their derivative is infinite."""
    p = points.to(torch.float64)
    moments = p.transpose(-1, -2) @ p
    axes, values = _sorted_axes(moments.detach())
    same, degenerate = degenerate_blocks(values, tolerance)
    if not moments.requires_grad:
        return axes, same, degenerate
    # A mask on the result would not do: zero times an infinite derivative is not a number.
    stand_in = torch.diag(torch.arange(values.shape[-1], 0, -1, dtype=moments.dtype, device=moments.device))
    flagged = degenerate[:, None, None]
    smooth, _ = _sorted_axes(torch.where(flagged, stand_in, moments))
    return torch.where(flagged, axes, smooth), same, degenerate


def degenerate_blocks(
    values: Float[Tensor, "B d"], tolerance: float
) -> tuple[Bool[Tensor, "B d d"], Bool[Tensor, "B"]]:
    """Which pairs of axes share an eigenspace (`same`), and which inputs have any such pair."""
    scale = values.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    split = (values[:, :-1] - values[:, 1:]) > tolerance * scale
    label = torch.cat((torch.zeros_like(values[:, :1]), split.cumsum(-1).to(values.dtype)), -1)
    same = label[:, :, None] == label[:, None, :]
    return same, ~split.all(-1)


def axis_gap(points: Float[Tensor, "B N d"]) -> Float[Tensor, "B"]:
    """The smallest difference of second moments along the principal axes, as a share of the largest: where
    it is zero the axes jump. Infinite in one dimension."""
    values = principal_axes(points.detach())[1]
    if values.shape[-1] < 2:
        return torch.full_like(values.sum(-1), math.inf)
    scale = values[:, 0].abs().clamp_min(torch.finfo(values.dtype).tiny)
    return (values[:, :-1] - values[:, 1:]).amin(-1) / scale


def pca_frame(
    points: Float[Tensor, "B N d"],
    *,
    proper: bool,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
) -> tuple[Float[Tensor, "B k d d"], Bool[Tensor, "B"]]:
    """All orthogonal matrices whose columns are the principal axes, up to sign.

    `k = 2^d`, or `2^(d-1)` rotations where `proper`. The set moves with the points, `F(Rx) = R F(x)`,
    so that averaging over it is exact (Puny et al. 2022, section 3.1) as long as the second moments
    differ. Where some agree, the axes inside that eigenspace are drawn from its Haar measure,
    independently for each of the `k` poses, which keeps the *law* of the frame equivariant; those
    inputs are flagged, and their poses carry no gradient.

    Returns:
        The frames, float64, and which inputs are degenerate.
    """
    size, _, d = points.shape
    require(d <= MAX_AXES, f"A frame in {d} dimensions has 2^{d} poses; at most {MAX_AXES} dimensions are enumerated.")
    axes, same, degenerate = _split_axes(points, gap_tolerance(points.dtype) if tolerance is None else tolerance)
    count = 2 ** (d - 1) if proper else 2**d
    frames = axes[:, None].expand(size, count, d, d)
    if bool(degenerate.any()):
        frames = frames @ _random_within_blocks(same, count, generator)
    return frames * _signs(frames, proper).unsqueeze(-2), degenerate


def _signs(frames: Float[Tensor, "B k d d"], proper: bool) -> Float[Tensor, "B k d"]:
    """Every combination of signs; where `proper`, the last one makes the determinant one."""
    size, count, d, _ = frames.shape
    free = d - 1 if proper else d
    bits = torch.arange(count, device=frames.device)[:, None] >> torch.arange(free, device=frames.device)
    signs = (1 - 2 * (bits & 1)).to(frames.dtype).expand(size, count, free)
    if not proper:
        return signs
    last = torch.linalg.det(frames.detach()).sign() * signs.prod(-1)
    return torch.cat((signs, last.unsqueeze(-1)), -1)


def _random_within_blocks(
    same: Bool[Tensor, "B d d"], count: int, generator: torch.Generator | None
) -> Float[Tensor, "B k d d"]:
    """Haar-random rotations inside every eigenspace, the identity on simple axes.

    The QR factors of a block-diagonal Gaussian matrix are block-diagonal; with the diagonal of R
    made positive each block is Haar (Mezzadri 2007), and a 1x1 block set to one stays one.
    """
    size, d, _ = same.shape
    where = generator_device(generator, same.device)
    gauss = torch.randn(size, count, d, d, generator=generator, device=where, dtype=torch.float64).to(same.device)
    simple = same.sum(-1) == 1
    gauss = torch.where(same[:, None], gauss, torch.zeros_like(gauss))
    gauss = torch.where(torch.diag_embed(simple)[:, None], torch.ones_like(gauss), gauss)
    q, r = torch.linalg.qr(gauss)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def skewness(coordinates: Float[Tensor, "*batch N d"]) -> Float[Tensor, "*batch d"]:
    """Third moment along each coordinate over the 3/2 power of the second, up to sqrt(N) in size.

    A coordinate in which the points hardly extend counts as zero: there it is rounding that leans.
    """
    c = coordinates.to(torch.float64)
    second, third = c.square().sum(-2), c.pow(3).sum(-2)
    floor = gap_tolerance(coordinates.dtype) * second.sum(-1, keepdim=True)
    scale = (second + floor).clamp_min(1e-200).pow(1.5)  # whose power is still a number above zero
    return third / scale * math.sqrt(max(c.shape[-2], 1))
