"""From scattered points to a lattice and back: convolutions with a set, equivariant under its shifts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from equilearn._check import InputError, positive_int, require

MOST_CELLS = 1 << 24
"""Cells of the lattices of a batch together."""
LEAST_EXPONENT = -40.0
"""Weights fall to exp(-40) and no further: below, numbers would be denormal, which processors multiply slowly."""
READ_REACH = 6
"""Cells within which a lattice is read: weights are tapered to 0, so that nothing depends on cells farther off."""
GATHER = 8
"""How many times the cells around a point a lattice must have, for reading these alone to be faster."""
NO_DENSITY = 1e-8
"""Where the density is much less than this, no point is near."""
CHUNK = 1 << 24
"""Numbers of the largest temporary."""


@dataclass(frozen=True)
class Lattice:
    """A piece of the lattice of multiples of `spacing`, one piece a set of a batch, all of one size.

    Args:
        first: the least multiple in each dimension, `(B, X)`.
        sizes: cells in each dimension.
        spacing: between cells.
    """

    first: Int[Tensor, "B X"]
    sizes: tuple[int, ...]
    spacing: float

    def axes(self, dtype: torch.dtype) -> list[Float[Tensor, "B n"]]:
        """Coordinates of the cells in each dimension."""
        return [
            (first[:, None] + torch.arange(size, device=first.device)).to(dtype) * self.spacing
            for first, size in zip(self.first.unbind(1), self.sizes, strict=True)
        ]

    def locations(self, dtype: torch.dtype) -> Float[Tensor, "B *sizes X"]:
        """Where the cells are."""
        axes, batch = self.axes(dtype), len(self.first)
        shapes = [[batch, *(n if d == e else 1 for e, n in enumerate(self.sizes))] for d in range(len(axes))]
        columns = [axis.view(shape) for axis, shape in zip(axes, shapes, strict=True)]
        return torch.stack([column.expand(batch, *self.sizes) for column in columns], -1)

    def union(self) -> tuple[Lattice, Int[Tensor, "B X"]]:
        """The one piece that holds all pieces, and where in it each begins."""
        least = self.first.amin(0, keepdim=True)
        offset = self.first - least
        sizes = [n + int(most) for n, most in zip(self.sizes, offset.amax(0), strict=True)]
        return Lattice(least, tuple(sizes), self.spacing), offset


def lattice_around(
    parts: list[tuple[Float[Tensor, "B N X"], Bool[Tensor, "B N"]]], spacing: float, margin: int, multiple: int = 1
) -> Lattice:
    """The pieces of the lattice that hold all observed points with a margin.

    They snap to absolute multiples of `multiple * spacing`, so that sets that are shifted by such a multiple get pieces
    that are shifted by as much, whatever else is in the batch.

    Args:
        parts: locations and masks; what is masked does not count.
        margin: cells beyond the outermost points on each side.
        multiple: of which first cells and sizes are multiples, as networks that pool need it.

    Raises:
        InputError: more than sixteen million cells in all.
    """
    require(0 < spacing < math.inf, f"spacing must be positive, got {spacing}.")
    infinity = torch.full((), math.inf, dtype=parts[0][0].dtype, device=parts[0][0].device)
    low = _extreme([torch.where(mask[..., None], x, infinity) for x, mask in parts], largest=False)
    high = _extreme([torch.where(mask[..., None], x, -infinity) for x, mask in parts], largest=True)
    empty = low > high
    low, high = torch.where(empty, 0, low), torch.where(empty, 0, high)
    if len(low) == 0:
        return Lattice(torch.zeros(0, low.shape[1], dtype=torch.int64), (multiple,) * low.shape[1], spacing)
    reach = (high - low).amax(0)
    cells = [float(n) / spacing + 2 * margin + multiple for n in reach]
    require(
        len(low) * math.prod(cells) <= MOST_CELLS and float(low.abs().amax()) / spacing < 2**62,
        f"Points that reach over {[round(float(n), 3) for n in reach]} in one of {len(low)} tasks need lattices of "
        f"{len(low) * math.prod(cells):.2g} cells at a spacing of {spacing:g}; at most {MOST_CELLS:,} are allowed. Use "
        "a larger spacing, smaller patches, fewer tasks at a time, or other units.",
    )
    first = multiple * torch.floor((torch.floor(low / spacing) - margin) / multiple).long()
    last = torch.ceil(high / spacing).long() + margin
    longest = (last - first).amax(0) + 1
    sizes = tuple(multiple * math.ceil(int(n) / multiple) for n in longest)
    return Lattice(first, sizes, spacing)


def _extreme(parts: list[Tensor], largest: bool) -> Float[Tensor, "B X"]:
    ends = [part.amax(1) if largest else part.amin(1) for part in parts if part.shape[1] > 0]
    if not ends:
        x = parts[0]
        return x.new_full((len(x), x.shape[2]), -math.inf if largest else math.inf)
    return torch.stack(ends).amax(0) if largest else torch.stack(ends).amin(0)


class SetConv(nn.Module):
    """Weights that fall with distance, `exp(-|x - x'|^2 / (2 l^2))`, with a learned length l.

    `to_lattice` smooths the values of scattered points onto a lattice, with a channel that says how many points are
    near; `to_points` reads a lattice off anywhere, from the cells within six of a point. Both commute with shifts of
    points and lattice together, and with the turns and mirrors that keep the lattice.

    Arguments:
        length: initial length.

    The weights of a cell are a product over dimensions, so that no (points x cells) table is made:
    `to_lattice` costs O(N C cells) in products of matrices and O(C N cells^(1 - 1/X)) memory, `to_points` as much.

    Source: Gordon et al. 2020, Convolutional Conditional Neural Processes, section 4.

    Example:
        >>> conv = SetConv(0.2)
        >>> x = torch.tensor([[[0.0], [1.0]]])
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> lattice = lattice_around([(x, mask)], spacing=0.5, margin=0)
        >>> seen = conv.to_lattice(x, torch.tensor([[[3.0], [5.0]]]), mask, lattice)
        >>> seen[0, 1].detach().round(decimals=3)
        tensor([3., 4., 5.])
    """

    initial: Tensor

    def __init__(self, length: float):
        super().__init__()
        require(0 < length < math.inf, f"The length must be positive, got {length}.")
        # What is learned is the logarithm of a ratio, so that weight decay knows no unit of length.
        self.register_buffer("initial", torch.tensor(float(length)))
        self.log_ratio = nn.Parameter(torch.zeros(()))

    @property
    def length(self) -> Tensor:
        """As it is now."""
        return self.initial * self.log_ratio.exp()

    def weights(self, x: Float[Tensor, "B N X"], lattice: Lattice) -> list[Float[Tensor, "B N n"]]:
        """For each dimension the weights of each cell for each point."""
        scale = math.sqrt(0.5) / self.length.to(x.dtype)
        return [
            torch.exp(((x[..., d, None] - axis[:, None, :]) * scale).square().neg().clamp_min(LEAST_EXPONENT))
            for d, axis in enumerate(lattice.axes(x.dtype))
        ]

    def to_lattice(
        self, x: Float[Tensor, "B N X"], y: Float[Tensor, "B N Y"], mask: Bool[Tensor, "B N"], lattice: Lattice
    ) -> Float[Tensor, "B C *sizes"]:
        """The density of points and, for each value, its mean weighted by nearness (0 where no point is near)."""
        ones = mask.to(y.dtype)[..., None]
        sums = torch.cat([ones, y * ones], -1).mT  # (B, C, N)
        *others, last = self.weights(x, lattice)
        for weight in others:
            shape = [len(x), *[1] * (sums.ndim - 2), weight.shape[2], weight.shape[1]]
            sums = sums.unsqueeze(-2) * weight.mT.view(shape)
        sums = sums.flatten(1, -2) @ last
        sums = sums.view(len(x), 1 + y.shape[2], *lattice.sizes)
        density, sums = sums[:, :1], sums[:, 1:]
        return torch.cat([density, sums / (density + NO_DENSITY)], 1)

    def to_points(
        self, field: Float[Tensor, "B C *sizes"], lattice: Lattice, x: Float[Tensor, "B N X"]
    ) -> Float[Tensor, "B N C"]:
        """The field at points: the mean over cells, weighted by nearness."""
        if x.shape[1] == 0:
            return field.new_zeros(len(x), 0, field.shape[1])
        window = (2 * READ_REACH + 1) ** len(lattice.sizes)
        if math.prod(lattice.sizes) > GATHER * window:
            read, cost = self._read_near, field.shape[1] * window
        else:
            read, cost = self._read, field.shape[1] * math.prod(lattice.sizes[:-1])
        step = max(1, CHUNK // max(1, len(x) * cost))
        return torch.cat([read(field, lattice, part) for part in x.split(step, 1)], 1)

    def _read(self, field: Tensor, lattice: Lattice, x: Tensor) -> Tensor:
        """From tables of weights of all cells, dimension by dimension."""
        *others, last = [
            weight * _taper((x[..., d, None] - axis[:, None, :]) / (READ_REACH * lattice.spacing))
            for d, (weight, axis) in enumerate(zip(self.weights(x, lattice), lattice.axes(x.dtype), strict=True))
        ]
        total = last.sum(-1)
        found = (field.flatten(1, -2) @ last.mT).view(*field.shape[:-1], x.shape[1])
        for weight in reversed(others):
            shape = [len(x), *[1] * (found.ndim - 3), weight.shape[2], weight.shape[1]]
            found = (found * weight.mT.view(shape)).sum(-2)
            total = total * weight.sum(-1)
        return (found / total[:, None].clamp_min(_least(x.dtype))).mT

    def _read_near(self, field: Tensor, lattice: Lattice, x: Tensor) -> Tensor:
        """From the cells around each point alone: O(N C 13^X), where lattices are large."""
        around = torch.arange(-READ_REACH, READ_REACH + 1, device=x.device)
        scale = math.sqrt(0.5) / self.length.to(x.dtype)
        flat = torch.zeros(*x.shape[:2], 1, dtype=torch.int64, device=x.device)
        weight = x.new_ones(*x.shape[:2], 1)
        for d, size in enumerate(lattice.sizes):
            middle = (x[..., d] / lattice.spacing).round().long()
            cell = middle[..., None] + around  # (B, N, 13)
            apart = x[..., d, None] - cell.to(x.dtype) * lattice.spacing
            each = torch.exp((apart * scale).square().neg().clamp_min(LEAST_EXPONENT))
            place = cell - lattice.first[:, d, None, None]
            each = each * _taper(apart / (READ_REACH * lattice.spacing)) * ((place >= 0) & (place < size))
            flat = (flat[..., None] * size + place.clamp(0, size - 1)[..., None, :]).flatten(-2)
            weight = (weight[..., None] * each[..., None, :]).flatten(-2)
        cells = field.flatten(2).mT  # (B, cells, C)
        rows = torch.arange(len(x), device=x.device)[:, None, None]
        found = weight.unsqueeze(-2) @ cells[rows, flat]
        return found.squeeze(-2) / weight.sum(-1, keepdim=True).clamp_min(_least(x.dtype))

    def extra_repr(self) -> str:
        return f"length={float(self.length.detach()):.3g}"


def _least(dtype: torch.dtype) -> float:
    """Of a sum of weights by which one divides: in three dimensions tiny lengths let all weights vanish."""
    return torch.finfo(dtype).tiny


def _taper(r: Tensor) -> Tensor:
    """1 at 0, falling smoothly to 0 at `|r| = 1`."""
    return (1 - r.square()).clamp_min(0).square()


def conv_class(dims: int) -> type[nn.Module]:
    """`Conv1d`, `Conv2d` or `Conv3d`."""
    if positive_int(dims, "dims") > 3:
        raise InputError(f"Lattices of {dims} dimensions are not supported; use at most 3, or attention (TETNP).")
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
