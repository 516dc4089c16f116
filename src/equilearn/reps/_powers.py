"""Symmetric powers: a group acting on homogeneous polynomials."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import positive_int
from equilearn.groups import Element
from equilearn.reps._algebra import kron
from equilearn.reps._base import Rep
from equilearn.reps._element import element_device, element_dtype


class SymmetricPower(Rep):
    """Homogeneous polynomials of degree `degree` in the basis of `rep`, that is `Sym^degree`.

    The basis is that of monomials in lexicographic order, the power of the first vector falling,
    normalised as symmetric tensors (Bombieri), so that an orthogonal `rep` stays orthogonal.
    """

    def __init__(self, rep: Rep, degree: int):
        self.group = rep.group
        self.rep = rep
        self.degree = degree
        self.dim = comb(rep.dim + degree - 1, degree) if rep.dim or degree else 1

    @property
    def name(self) -> str:
        return f"Sym^{self.degree}({self.rep.name})"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.rep, self.degree)

    @property
    def is_orthogonal(self) -> bool:
        return self.rep.is_orthogonal

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        dtype, device = element_dtype(g), element_device(g)
        rho = self.rep.matrix(g).to(torch.float64)
        power = torch.ones(*self.group.batch_shape(g), 1, 1, dtype=torch.float64, device=device)
        for degree in range(1, self.degree + 1):
            multiply = _multiplication(self.rep.dim, degree).to(device)
            power = multiply @ kron(rho, power) @ multiply.mT
        return power.to(dtype)

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        rho = self.rep.lie_matrices()
        one = torch.eye(self.rep.dim, dtype=torch.float64)
        power, size = torch.zeros(self.group.lie_dim, 1, 1, dtype=torch.float64), 1
        for degree in range(1, self.degree + 1):
            multiply = _multiplication(self.rep.dim, degree)
            step = kron(rho, torch.eye(size, dtype=torch.float64)) + kron(one, power)
            power, size = multiply @ step @ multiply.mT, multiply.shape[0]
        return power


def symmetric_power(rep: Rep, degree: int) -> SymmetricPower:
    """`Sym^degree(rep)`: symmetric tensors, of dimension `C(dim + degree - 1, degree)`.

    For `SL(2)` and its defining representation these are all the finite-dimensional irreps, the
    binary forms of Lawrence & Harris, "Learning polynomial problems with SL(2,R)-equivariance"
    (ICLR 2024). O(degree (dim dim_{degree-1})^2) an element.

    Raises:
        InputError: where `degree` is no whole number >= 0.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SL
        >>> V = reps.defining(SL(2))
        >>> [reps.symmetric_power(V, k).dim for k in range(4)]
        [1, 2, 3, 4]
    """
    return SymmetricPower(rep, positive_int(degree, "degree", minimum=0))


def _multiplication(dim: int, degree: int) -> Tensor:
    """`V (x) Sym^{degree-1} V -> Sym^degree V` between normalised monomials: a co-isometry."""
    lower = {m: i for i, m in enumerate(combinations_with_replacement(range(dim), degree - 1))}
    upper = list(combinations_with_replacement(range(dim), degree))
    out = torch.zeros(len(upper), dim * len(lower), dtype=torch.float64)
    for row, monomial in enumerate(upper):
        for i in set(monomial):
            rest = list(monomial)
            rest.remove(i)
            # sqrt(alpha! (k-1)! / (beta! k!)) with alpha = beta + e_i
            out[row, i * len(lower) + lower[tuple(rest)]] = (monomial.count(i) / degree) ** 0.5
    return out
