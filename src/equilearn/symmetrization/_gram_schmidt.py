"""An orthogonal element from a few vectors that move with the input."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import require
from equilearn.symmetrization._base import generator_device


def gram_schmidt(
    vectors: Float[Tensor, "*batch d d"],
    *,
    proper: bool = False,
    generator: torch.Generator | None = None,
    noise: float = 0.0,
) -> Float[Tensor, "*batch d d"]:
    """The orthogonal matrix that Gram-Schmidt makes of the columns: `GS(R K) = R GS(K)`.

    Turns `d` equivariant vectors, say from a network, into an element of O(d), or of SO(d) where
    `proper`: then the last column is the one that makes the determinant one, so that the last vector
    plays no part and the result is continuous wherever the others are independent.

    Args:
        vectors: the vectors as columns.
        proper: whether to give a rotation.
        generator: for the noise.
        noise: standard deviation, relative to the largest entry, of an isotropic Gaussian added
            first. Columns that depend on each other then span a random frame instead of one that
            rounding picks; the law stays equivariant.

    Returns:
        Matrices of the dtype of `vectors`.

    Raises:
        InputError: the last two axes differ.

    Source: Kim et al. 2023 (there the determinant multiplies the first column, which jumps
    where the last vector crosses the span of the others). Cost: one batched QR, O(d^3).

    Example:
        >>> gram_schmidt(torch.tensor([[3.0, 1.0], [0.0, 2.0]])).round().abs()
        tensor([[1., 0.],
                [0., 1.]])
    """
    require(
        vectors.ndim >= 2 and vectors.shape[-1] == vectors.shape[-2],
        f"gram_schmidt needs d vectors of dimension d as columns, (*batch, d, d); got {tuple(vectors.shape)}.",
    )
    work = vectors.to(torch.float64)
    if noise > 0:
        where = generator_device(generator, vectors.device)
        drawn = torch.randn(work.shape, generator=generator, device=where, dtype=torch.float64).to(work.device)
        scale = work.abs().amax((-2, -1), keepdim=True)
        work = work + noise * torch.where(scale > 0, scale, torch.ones_like(scale)) * drawn
    if proper and work.shape[-1] in (2, 3):
        work = torch.cat((work[..., :-1], completion(work[..., :-1]).unsqueeze(-1)), dim=-1)
    q, r = torch.linalg.qr(work)
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    q = q * torch.where(diagonal < 0, -1.0, 1.0).unsqueeze(-2)  # QR leaves the signs open
    if proper:
        flip = torch.ones_like(diagonal)
        flip = torch.cat((flip[..., 1:], torch.linalg.det(q).sign().unsqueeze(-1)), -1)
        q = q * flip.unsqueeze(-2)
    return q.to(vectors.dtype)


def completion(vectors: Float[Tensor, "*batch d d-1"]) -> Float[Tensor, "*batch d"]:
    """What completes the columns to a positive basis of a line, of the plane or of space: the unit vector
    that does, where they are orthonormal."""
    *batch, d, _ = vectors.shape
    if d == 1:
        return vectors.new_ones(*batch, 1)
    first = vectors[..., 0]
    if d == 2:
        return torch.stack((-first[..., 1], first[..., 0]), dim=-1)
    return torch.linalg.cross(first, vectors[..., 1], dim=-1)
