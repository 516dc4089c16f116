"""Kernels of vectors: what dense layers and activations do to a Gram matrix, block by block, in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError
from equilearn.kernels._kernel import row_blocks
from equilearn.kernels.neural._layers import Activation, Dense, Spread

BLOCK = 1 << 16
"""Entries that are worked on at a time: a few buffers of them stay in the second-level cache."""
FILL = 1 << 19
"""Entries of one matrix product: fewer rows at a time would make it slow."""

Fill = Callable[[Tensor, slice, slice], None]
"""`fill(block, rows, columns)` writes the covariances that the first of the layers is given."""


@dataclass(frozen=True)
class Scan:
    """What layers do to every point alone.

    Attributes:
        radii: the standard deviation before each layer.
        nngp, theta: the kernels of a point with itself after the last.
    """

    radii: tuple[Spread, ...]
    nngp: Tensor
    theta: Tensor


class Scratch:
    """Memory for blocks, used again for the next."""

    def __init__(self, like: Tensor, buffers: int):
        self.memory = like.new_empty(buffers, 0)

    def views(self, *shape: int) -> list[Tensor]:
        """The buffers, contiguous of this shape."""
        count = torch.Size(shape).numel()
        if count > self.memory.shape[1]:
            self.memory = self.memory.new_empty(len(self.memory), count)
        return [buffer[:count].view(shape) for buffer in self.memory]


def scan(layers: Sequence[Dense | Activation], nngp: Tensor, theta: Tensor) -> Scan:
    """The kernels of points with themselves, from those before the first layer, `(N,)` each."""
    radii, radius = [], nngp.sqrt()
    for layer in layers:
        radii.append(Spread.of(radius))
        if isinstance(layer, Dense):
            radius = torch.hypot(layer.W_std * radius, radius.new_tensor(layer.b_std))
            theta = radius.square() + layer.W_std**2 * theta
        else:
            q = radius.square()
            theta = layer.slope(q) * theta
            radius = layer.variance(q).sqrt()
    found = Scan(tuple(radii), radius.square(), theta)
    in_range(found.nngp, found.theta)
    return found


def in_range(*values: Tensor) -> None:
    """Refuse kernels that overflowed: finite inputs have been asked for before."""
    for value in values:
        if not bool(torch.isfinite(value).all()):
            raise InputError(
                f"The inputs are so large that their kernel overflows {value.dtype}. Scale them down, or use float64."
            )


def affine_(
    k: Tensor, theta: Tensor | None, W_std: float, b_std: float, shares: float = 1.0, first: bool = False
) -> None:
    """`k <- W^2 k + b^2`, then `theta <- k + W^2 theta`; sums of `1 / shares` terms become means on the way.

    Args:
        first: `theta` is 0 as yet, whatever its memory holds.
    """
    weight = W_std**2 * shares
    torch.add(k.new_tensor(b_std**2), k, alpha=weight, out=k)
    if theta is not None and first:
        theta.copy_(k)
    elif theta is not None:
        torch.add(k, theta, alpha=weight, out=theta)


def run_layers_(
    layers: Sequence[Dense | Activation],
    k: Float[Tensor, "n m"],
    theta: Float[Tensor, "n m"] | None,
    left: Sequence[Spread],
    right: Sequence[Spread],
    work: Sequence[Tensor],
    first: bool,
) -> None:
    """A block through all layers; `left` `(n, 1)` and `right` `(m,)` are the radii before each."""
    for index, (layer, r1, r2) in enumerate(zip(layers, left, right, strict=True)):
        if isinstance(layer, Dense):
            affine_(k, theta, layer.W_std, layer.b_std, first=first and index == 0)
        else:
            layer.pair_(k, theta, r1, r2, (work[0], work[1]))


def gram_(
    layers: Sequence[Dense | Activation],
    fill: Fill,
    left: Scan,
    right: Scan,
    nngp: Float[Tensor, "n m"] | None,
    theta: Float[Tensor, "n m"] | None,
    *,
    symmetric: bool = False,
    first: bool = False,
) -> None:
    """Fill Gram matrices row block by row block; with `symmetric`, the upper half, mirrored, its diagonal exact.

    Args:
        nngp, theta: where the kernels are wanted, one of them at least; `theta` holds the tangent kernel of the
            layers before these.
        first: there are none before: `theta` starts from 0.
    """
    target = theta if nngp is None else nngp
    if target is None or target.numel() == 0:
        return
    n, m = target.shape
    covariances, scratch = Scratch(target, 1), Scratch(target, 2)
    for rows in row_blocks(n, m, FILL):
        columns = slice(rows.start if symmetric else 0, m)
        k = covariances.views(rows.stop - rows.start, m - columns.start)[0] if nngp is None else nngp[rows, columns]
        t = None if theta is None else theta[rows, columns]
        fill(k, rows, columns)
        if first and not layers and t is not None:
            t.zero_()
        radii = [r.at(columns) for r in right.radii]
        for part in row_blocks(k.shape[0], k.shape[1], BLOCK):
            there = slice(rows.start + part.start, rows.start + part.stop)
            run_layers_(
                layers,
                k[part],
                None if t is None else t[part],
                [r.at(there, None) for r in left.radii],
                radii,
                scratch.views(*k[part].shape),
                first,
            )
        if symmetric:
            for whole in (nngp, theta):
                if whole is not None:
                    mirror_(whole, rows)
    if symmetric:
        for whole, diagonal in ((nngp, left.nngp), (theta, left.theta)):
            if whole is not None:
                whole.diagonal().copy_(diagonal)


def mirror_(whole: Float[Tensor, "n n"], rows: slice) -> None:
    """Copy what stands right of the diagonal in `rows` to below it."""
    whole[rows.stop :, rows] = whole[rows, rows.stop :].mT
    square = whole[rows, rows]
    square.copy_(square.triu() + square.triu(1).mT)


def inner_products(x: Float[Tensor, "n D"], z: Float[Tensor, "m D"] | None) -> tuple[Fill, Tensor, Tensor]:
    """`<x, z> / D` block by block, and `|x|^2 / D`, `|z|^2 / D`."""
    scale = x.shape[1] ** -0.5
    # With z, the scale of both goes into x: z holds whole orbits, and is read only.
    left = x * (scale if z is None else scale * scale)
    other = left if z is None else z

    def fill(block: Tensor, rows: slice, columns: slice) -> None:
        torch.mm(left[rows], other[columns].mT, out=block)

    q = (torch.linalg.vector_norm(left, dim=1) / (1 if z is None else scale)).square()
    return fill, q, q if z is None else (torch.linalg.vector_norm(other, dim=1) * scale).square()
