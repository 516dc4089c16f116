"""Kernels of images: what convolutions do to covariances over pairs of pixels.

A pair of pixels is written as a pixel p and a displacement: the covariance of x at p with z *shifted by d* at p. A
convolution moves both pixels together, so each displacement goes through all layers alone: a few of them at a time
stay in the cache, and the whole P x P tensor of a pair of images never exists. Flattening needs no displacement but 0;
averaging over pixels needs them all; the kernels of shifted images are the displacements themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.kernels.neural._dense import Scratch, affine_, in_range, mirror_
from equilearn.kernels.neural._layers import Activation, Conv, Spread

BLOCK = 1 << 16
"""Entries (pixel, image, shifted image) that are worked on at a time."""
COLUMNS = 128
"""Shifted images that are worked on at a time, at most, where one image has more shifts."""

Sums = Callable[[slice, slice, slice, Tensor, Tensor | None], None]
"""`store(i, d, j, nngp, theta)` takes means over pixels, `(i, d, j)` each."""


@dataclass(frozen=True)
class PixelScan:
    """Images, samples last, their spread before each activation; with themselves, pixel by pixel, after the last.

    Attributes:
        images: `(C, H, W, N)`, scaled so that products over channels sum to their mean.
        radii: `(H, W, N)` for each activation.
        nngp, theta: `(H, W, N)`.
    """

    images: Tensor
    radii: tuple[Spread, ...]
    nngp: Tensor
    theta: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    def flattened(self) -> tuple[Tensor, Tensor]:
        """The kernels of each image with itself behind a flattening head, `(N,)` each."""
        return self.nngp.mean((0, 1)), self.theta.mean((0, 1))

    def shifted(self, samples: slice, pixels: Int[Tensor, "H W D"]) -> tuple[Tensor, list[Spread]]:
        """Some of the images and radii at other pixels: `(C, H, W, 1, D, J)`, and `(H, W, 1, D, J)` each."""
        images = torch.stack([_at_pixels(channel, samples, pixels) for channel in self.images])
        return images, [Spread(*(_at_pixels(a, samples, pixels) for a in r)) for r in self.radii]


def _at_pixels(values: Tensor, samples: slice, pixels: Tensor) -> Tensor:
    """`(H, W, 1, D, J)` from `(H, W, N)`."""
    flat = values[..., samples].flatten(0, 1)
    if flat.shape[1] == 1:  # several times faster from a vector
        flat = flat[:, 0].contiguous()
    return flat.index_select(0, pixels.flatten()).view(*pixels.shape[:2], 1, pixels.shape[2], -1)


def pixel_scan(layers: Sequence[Conv | Activation], x: Float[Tensor, "N C H W"]) -> PixelScan:
    """The variances of every pixel through the layers: O(N H W) a layer."""
    images = (x * x.shape[1] ** -0.5).permute(1, 2, 3, 0).contiguous()
    q = images.square().sum(0)
    theta = torch.zeros_like(q)
    in_range(q)
    radii = []
    for layer in layers:
        if isinstance(layer, Conv):
            work = torch.empty_like(q)
            for values in (q, theta):
                box_(values, work, layer)
            affine_(q, theta, layer.W_std, layer.b_std, 1 / layer.size**2)
        else:
            radii.append(Spread.of(q.sqrt()))
            theta = layer.slope(q) * theta
            q = layer.variance(q)
    in_range(q, theta)
    return PixelScan(images, tuple(radii), q, theta)


def box_(k: Tensor, work: Tensor, conv: Conv, masks: tuple[list[Tensor], list[Tensor]] | None = None) -> None:
    """Sums over the window of a convolution around every pixel, axes 0 and 1 of `k`, in place: rows, then columns.

    Args:
        masks: for zero padding between an image and shifted images, where the moved pixel of the second is still
            inside; for each axis, one for each offset -h, .., -1, 1, .., h.
    """
    half = conv.size // 2
    offsets = [*range(-half, 0), *range(1, half + 1)]
    for axis, (source, target) in enumerate(((k, work), (work, k))):
        if not offsets:
            target.copy_(source)
        for index, offset in enumerate(offsets):
            base = target if index else source  # the pixel itself along with the first that is added to it
            mask = None if masks is None or conv.is_circular else masks[axis][index]
            _add_moved(target, base, source, axis, offset, conv.is_circular, mask)


def _add_moved(
    target: Tensor, base: Tensor, source: Tensor, axis: int, offset: int, circular: bool, mask: Tensor | None
) -> None:
    """`target[p] = base[p] + source[p + offset]` along an axis; outside, `source` wraps or is 0."""
    length = source.shape[axis]
    offset = offset % length if circular else max(-length, min(length, offset))
    start, stay = max(0, -offset), length - abs(offset)
    here, there = (axis, start, stay), (axis, start + offset, stay)
    if mask is None:
        torch.add(base.narrow(*here), source.narrow(*there), out=target.narrow(*here))
    else:
        torch.addcmul(base.narrow(*here), source.narrow(*there), mask.narrow(*here), out=target.narrow(*here))
    edge = (axis, 0 if start else stay, length - stay)
    if circular and offset:
        torch.add(base.narrow(*edge), source.narrow(axis, 0, offset), out=target.narrow(*edge))
    elif base is not target and offset:
        target.narrow(*edge).copy_(base.narrow(*edge))


def seams(conv: Conv, shifts: Int[Tensor, "D 2"], size: tuple[int, int], like: Tensor) -> tuple[list[Tensor], ...]:
    """The masks of `box_` for images shifted by `shifts`: `(H, 1, 1, D, 1)` and `(1, W, 1, D, 1)`, 1 and 0."""
    half = conv.size // 2
    found = []
    for axis, length in enumerate(size):
        there = (torch.arange(length)[:, None] - shifts[:, axis].cpu()) % length  # where the pixel came from
        moved = (there + o for o in (*range(-half, 0), *range(1, half + 1)))
        shape = (length, 1, 1, -1, 1) if axis == 0 else (1, length, 1, -1, 1)
        found.append([((m >= 0) & (m < length)).to(like).reshape(shape) for m in moved])
    return tuple(found)


def all_shifts(height: int, width: int) -> Int[Tensor, "D 2"]:
    """Every circular shift of an image, rows first."""
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))


def came_from(shifts: Int[Tensor, "D 2"], height: int, width: int) -> Int[Tensor, "H W D"]:
    """The flat index of the pixel that a circular shift, `torch.roll`, takes to each pixel."""
    rows = (torch.arange(height)[:, None] - shifts[:, 0].cpu()) % height
    columns = (torch.arange(width)[:, None] - shifts[:, 1].cpu()) % width
    return rows[:, None] * width + columns


def pair_means(
    layers: Sequence[Conv | Activation],
    left: PixelScan,
    right: PixelScan,
    shifts: Int[Tensor, "D 2"],
    store: Sums,
    *,
    tangent: bool,
    pairs: str = "all",
) -> None:
    """Means over pixels of the kernels of every image of `left` with every shift of every image of `right`.

    Args:
        shifts: circular shifts of the second image, in pixels.
        store: is given the means, block by block.
        tangent: whether the tangent kernel is wanted as well.
        pairs: `"all"`; `"upper"` for at least those with i <= j; `"same"` for i = j alone.

    Cost: O(depth k H W D) for a pair, memory O(BLOCK).
    """
    height, width = left.size
    n, m, count = left.images.shape[3], right.images.shape[3], len(shifts)
    scratch = Scratch(left.images, 4)
    still = not bool(shifts.any())
    for j, d in _column_blocks(m, count, one_by_one=pairs == "same"):
        part = shifts[d]
        pixels = came_from(part, height, width).to(left.images.device)
        images, radii = right.shifted(j, pixels)
        masks = [
            seams(layer, part, left.size, left.images)
            if isinstance(layer, Conv) and not layer.is_circular and not still
            else None
            for layer in layers
        ]
        rows = {"all": slice(0, n), "upper": slice(0, j.stop), "same": j}[pairs]
        for i in _row_blocks(rows, BLOCK // max(1, pixels.numel() * (j.stop - j.start))):
            shape = (height, width, i.stop - i.start, pixels.shape[2], j.stop - j.start)
            k, theta, *work = scratch.views(*shape)
            _products(left.images[..., i], images, k)
            t = None if not tangent else theta if layers else theta.zero_()
            _run(layers, k, t, [r.at(..., i, None, None) for r in left.radii], radii, masks, (work[0], work[1]))
            store(i, d, j, _pixel_mean(k), None if t is None else _pixel_mean(t))


def _products(x: Tensor, z: Tensor, out: Tensor) -> None:
    """Sums over channels of `(C, H, W, I)` times `(C, H, W, 1, D, J)`."""
    x = x[..., None, None]
    torch.mul(x[0], z[0], out=out)
    for a, b in zip(x[1:], z[1:], strict=True):
        out.addcmul_(a, b)


def _pixel_mean(k: Tensor) -> Tensor:
    pixels = k.shape[0] * k.shape[1]
    ones = k.new_full((1, pixels), 1 / pixels)
    return torch.mm(ones, k.view(pixels, -1)).view(k.shape[2:])


def _run(
    layers: Sequence[Conv | Activation],
    k: Tensor,
    theta: Tensor | None,
    left: Sequence[Spread],
    right: Sequence[Spread],
    masks: Sequence[tuple[list[Tensor], ...] | None],
    work: tuple[Tensor, Tensor],
) -> None:
    """A block `(H, W, I, D, J)` through all layers, in place."""
    first = True
    spreads = zip(left, right, strict=True)
    for layer, mask in zip(layers, masks, strict=True):
        if isinstance(layer, Conv):
            seam = None if mask is None else (mask[0], mask[1])
            box_(k, work[0], layer, seam)
            if theta is not None and not first:
                box_(theta, work[0], layer, seam)
            affine_(k, theta, layer.W_std, layer.b_std, 1 / layer.size**2, first)
            first = False
        else:
            layer.pair_(k, theta, *next(spreads), work)


def _column_blocks(images: int, shifts: int, one_by_one: bool) -> Iterator[tuple[slice, slice]]:
    """Images and shifts that together make about `COLUMNS` shifted images."""
    step_d = min(shifts, COLUMNS)
    step_j = 1 if one_by_one else max(1, COLUMNS // max(shifts, 1))
    for j in range(0, images, step_j):
        for d in range(0, shifts, step_d):
            yield slice(j, min(j + step_j, images)), slice(d, min(d + step_d, shifts))


def _row_blocks(rows: slice, step: int) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, max(1, step)):
        yield slice(start, min(start + max(1, step), rows.stop))


# --- heads ------------------------------------------------------------------------------------


def flattened(
    layers: Sequence[Conv | Activation], left: PixelScan, right: PixelScan, *, tangent: bool, symmetric: bool
) -> tuple[Tensor, Tensor | None]:
    """The kernels behind a flattening head, `(n, m)`: the mean over equal pixels."""
    nngp, theta = _empty_pair(left, right, tangent)

    def store(i: slice, d: slice, j: slice, k: Tensor, t: Tensor | None) -> None:
        nngp[i, j] = k[:, 0]
        if theta is not None and t is not None:
            theta[i, j] = t[:, 0]

    none = torch.zeros(1, 2, dtype=torch.int64)
    pair_means(layers, left, right, none, store, tangent=tangent, pairs="upper" if symmetric else "all")
    _mirror_all(symmetric, nngp, theta)
    return nngp, theta


def pooled(
    layers: Sequence[Conv | Activation], left: PixelScan, right: PixelScan, *, tangent: bool, symmetric: bool
) -> tuple[Tensor, Tensor | None]:
    """The kernels behind the mean over pixels, `(n, m)`: the mean over all pairs of pixels."""
    nngp, theta = _empty_pair(left, right, tangent)
    shifts = all_shifts(*left.size)

    def store(i: slice, d: slice, j: slice, k: Tensor, t: Tensor | None) -> None:
        nngp[i, j] += k.sum(1) / len(shifts)
        if theta is not None and t is not None:
            theta[i, j] += t.sum(1) / len(shifts)

    pair_means(layers, left, right, shifts, store, tangent=tangent, pairs="upper" if symmetric else "all")
    _mirror_all(symmetric, nngp, theta)
    return nngp, theta


def pooled_diagonal(layers: Sequence[Conv | Activation], images: PixelScan) -> tuple[Tensor, Tensor]:
    """The kernels of each image with itself behind the mean over pixels, `(n,)` each."""
    shifts = all_shifts(*images.size)
    found = images.images.new_zeros(2, images.images.shape[3])

    def store(i: slice, d: slice, j: slice, k: Tensor, t: Tensor | None) -> None:
        for row, values in enumerate((k, t)):
            if values is not None:
                found[row, i] += values.sum((1, 2)) / len(shifts)

    pair_means(layers, images, images, shifts, store, tangent=True, pairs="same")
    return found[0], found[1]


def _empty_pair(left: PixelScan, right: PixelScan, tangent: bool) -> tuple[Tensor, Tensor | None]:
    nngp = left.images.new_zeros(left.images.shape[3], right.images.shape[3])
    return nngp, torch.zeros_like(nngp) if tangent else None


def _mirror_all(symmetric: bool, *wholes: Tensor | None) -> None:
    for whole in wholes:
        if whole is not None and symmetric:
            mirror_(whole, slice(0, len(whole)))
