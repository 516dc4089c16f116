"""Orbits of random points under random orthogonal representations, and plain solutions to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn import reps
from equilearn.groups import Abelian, Cyclic, Dihedral, Group, Quaternion, Symmetric

GROUPS = [Cyclic(2), Cyclic(5), Symmetric(3), Dihedral(4), Quaternion(), Abelian((3, 4)), Symmetric(3) * Cyclic(2)]
"""Real, complex and quaternionic irreps, commuting and not."""


def random_rep(group: Group, *, width: int = 3, seed: int = 0) -> Tensor:
    """Copies of the regular representation in a random basis, orthogonal, `(order, D, D)` with D at least `width`."""
    generator = torch.Generator().manual_seed(seed)
    order = group.order or 1
    regular = reps.regular(group).matrix(group.elements()).to(torch.float64)
    copies = torch.eye(-(-width // order), dtype=torch.float64)
    matrices = torch.stack([torch.kron(copies, matrix) for matrix in regular])
    dim = matrices.shape[-1]
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q
    return basis @ matrices @ basis.mT


def random_orbits(group: Group, seeds: int, *, width: int = 3, seed: int = 0) -> Tensor:
    """`g x_i` of random points under `random_rep`, `(order, seeds, D)`."""
    matrices = random_rep(group, width=width, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    x = torch.randn(seeds, matrices.shape[-1], generator=generator, dtype=torch.float64)
    return torch.einsum("gab,sb->gsa", matrices, x)


def gaussian(a: Tensor, b: Tensor) -> Tensor:
    """Invariant under every orthogonal map."""
    square = ((a[:, None] - b[None]) ** 2).sum(-1)
    return torch.exp(-square / a.shape[1])


def skewed(a: Tensor, b: Tensor) -> Tensor:
    """Invariant under nothing much: coordinates have weights."""
    weights = torch.linspace(0.5, 1.5, a.shape[1], dtype=a.dtype)
    return gaussian(a * weights, b * weights)


def seed_major(orbits: Tensor) -> Tensor:
    """All points in a row, `(i, g)` at `i order + g`."""
    return orbits.transpose(0, 1).flatten(0, 1)


def one_vs_rest(labels: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.nn.functional.one_hot(labels).to(dtype) - 1


def refit(gram: Tensor, y: Tensor, missing: Tensor, ridge: float = 0.0) -> Tensor:
    """Residuals at the missing points of kernel ridge regression on the others: trained again, no identity used."""
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[missing] = True
    train = torch.nonzero(~mask).flatten()
    inner = gram[train[:, None], train] + ridge * torch.eye(len(train), dtype=gram.dtype)
    return y[missing] - gram[missing[:, None], train] @ torch.linalg.solve(inner, y[train])


def distance(gram: Tensor, missing: Tensor) -> Tensor:
    """Squared distance of each missing point from the span of the others, in feature space."""
    mask = torch.zeros(len(gram), dtype=torch.bool)
    mask[missing] = True
    train = torch.nonzero(~mask).flatten()
    cross = gram[missing[:, None], train]
    explained = (cross @ torch.linalg.solve(gram[train[:, None], train], cross.mT)).diagonal()
    return gram.diagonal()[missing] - explained
