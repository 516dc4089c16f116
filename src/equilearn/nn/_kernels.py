"""Convolution kernels that turn with a finite group of plane rotations and reflections."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.groups import Cyclic, Dihedral, Group

RING_WIDTH = 0.6
"""Standard deviation of a Gaussian ring, in pixels (as in escnn and Weiler & Cesa 2019, section 2.8)."""


def plane_group(group: object) -> Cyclic | Dihedral:
    """`group` if it is C_n or D_n, the groups that group convolutions carry."""
    if not isinstance(group, Cyclic | Dihedral):
        advice = " Use Cyclic(n) or Dihedral(n), for instance Cyclic(8) in place of SO(2)."
        raise InputTypeError(f"A group convolution needs C_n or D_n, got {group!r}.{advice}")
    return group


def rotations(group: Cyclic | Dihedral) -> int:
    """The `n` of C_n and D_n."""
    order = group.order or 1
    return order // 2 if isinstance(group, Dihedral) else order


def quotients(group: Group) -> Int[Tensor, "G G"]:
    """`q[g, h]`, the index of `g^-1 h`."""
    g = group.elements()
    return group.index_of(group.compose(group.inverse(g)[:, None], g[None, :]))


def turned_positions(group: Cyclic | Dihedral, size: int) -> Float[Tensor, "G P 2"]:
    """Where each pixel of a `size x size` kernel comes from: `g^-1 p` for every element and pixel.

    Pixels are in row-major order; positions are `(x, y)` with x to the right and y up, in pixels
    from the centre, so that a positive angle turns counter-clockwise as seen.
    """
    steps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    row, column = torch.meshgrid(steps, steps, indexing="ij")
    position = torch.stack([column, -row], dim=-1).reshape(-1, 2)
    matrix = group.plane_matrix(group.inverse(group.elements()))
    return torch.einsum("gij,pj->gpi", matrix, position)


def pixel_basis(group: Cyclic | Dihedral, size: int) -> Float[Tensor, "G M P"]:
    """Free weights on each pixel: the basis for groups of quarter turns, which move pixels onto pixels."""
    source = (turned_positions(group, size) + (size - 1) / 2).round().long()
    x, y = source[..., 0], size - 1 - source[..., 1]
    basis = torch.nn.functional.one_hot(y * size + x, size * size)  # (G, P, M)
    return basis.transpose(1, 2).double()


def ring_basis(group: Cyclic | Dihedral, size: int, max_frequency: int | None = None) -> Float[Tensor, "G M P"]:
    """Gaussian rings times circular harmonics, sampled at the turned positions.

    On the ring of radius r, frequencies up to 2r: what a pixel grid resolves (band limit). The
    basis is orthonormal on average over the group.
    """
    position = turned_positions(group, size)
    radius, angle = position.norm(dim=-1), torch.atan2(position[..., 1], position[..., 0])
    outer = (size - 1) / 2
    functions = []
    for ring in torch.linspace(outer % 1, outer, int(outer) + 1, dtype=torch.float64).tolist():
        profile = torch.exp(-0.5 * ((radius - ring) / RING_WIDTH) ** 2)
        limit = math.floor(2 * ring + 1e-9)
        for k in range(min(limit, limit if max_frequency is None else max_frequency) + 1):
            functions.append(profile * torch.cos(k * angle))
            if k:
                functions.append(profile * torch.sin(k * angle))
    basis = _with_turning_moments(group, torch.stack(functions, dim=1), size)
    return _orthonormal_on_average(basis)


def _with_turning_moments(group: Cyclic | Dihedral, basis: Float[Tensor, "G M P"], size: int) -> Float[Tensor, "G M P"]:
    """Correct sampled functions, as little as possible, so that their moments turn exactly.

    Sampling on few pixels aliases: `cos 4 theta` has a mean of its own, of a sign that a turn by
    45 degrees changes. What a kernel makes of a smooth image is decided by its moments
    `sum_p b(p) q(p)` against the polynomials `q` of degree below `size`. They are set to what
    turning demands, the mean over the group of the moments turned back, by the change of least norm.
    """
    degrees = [(i, j) for i in range(size) for j in range(size - i)]

    def polynomials(position: Float[Tensor, "*batch P 2"]) -> Float[Tensor, "*batch Q P"]:
        return torch.stack([position[..., 0] ** i * position[..., 1] ** j for i, j in degrees], dim=-2)

    scale = max((size - 1) / 2, 0.5)
    here = polynomials(turned_positions(group, size)[0] / scale)  # (Q, P), the identity comes first
    pinv = torch.linalg.pinv(here)  # (P, Q)
    back = polynomials(turned_positions(group, size) / scale) @ pinv  # (G, Q, Q): q(g^-1 p) = back q(p)
    forth = back[group.index_of(group.inverse(group.elements()))]
    moments = basis @ here.T  # (G, M, Q)
    mean = torch.einsum("gmq,grq->mr", moments, back) / len(basis)
    return basis + (torch.einsum("mr,gqr->gmq", mean, forth) - moments) @ pinv.T


def _orthonormal_on_average(basis: Float[Tensor, "G M P"]) -> Float[Tensor, "G M P"]:
    """Mix the functions by the inverse square root of their mean Gram matrix.

    The symmetric root is unique, whatever signs an eigenvalue routine picks: weights saved on one
    machine mean the same kernel on another.
    """
    gram = torch.einsum("gmp,gnp->mn", basis, basis) / len(basis)
    value, vector = torch.linalg.eigh(gram)
    root = vector @ torch.diag(value.clamp_min(1e-6 * float(value[-1])).rsqrt()) @ vector.T
    return torch.einsum("mn,gnp->gmp", root, basis)


def kernel_basis(group: Cyclic | Dihedral, size: int, max_frequency: int | None = None) -> Float[Tensor, "G M P"]:
    """A basis of kernels and its turned copies: entry `[g, m, p]` is `b_m(g^-1 p)`.

    Exact for every quarter turn and flip in the group; other turns are exact up to the band
    limit of the grid. Pixels are free where the group has quarter turns only.
    """
    positive_int(size, "kernel_size")
    if max_frequency is not None:
        require(max_frequency >= 0, f"max_frequency must be >= 0, got {max_frequency}.")
    if 4 % rotations(group) == 0 and max_frequency is None:
        return pixel_basis(group, size)
    return ring_basis(group, size, max_frequency)
