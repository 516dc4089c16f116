"""The real irreducible representations of C_n, D_n, SO(2) and O(2): angles times a degree."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn.groups import Cyclic, Dihedral, Element, Group, MatrixGroup
from equilearn.reps._base import Rep
from equilearn.reps._element import element_dtype


class Planar(Rep):
    """Rotations by an angle act as rotations by `degree` times it, reflections reflect.

    Degree 0, and degree n/2 of C_n and D_n, are one-dimensional: rotations act by 1 or -1,
    reflections by that times `parity`.
    """

    def __init__(self, group: Group, degree: int, parity: int):
        self.group = group
        self.degree = degree
        self.parity = parity
        half = isinstance(group, Cyclic | Dihedral) and 2 * degree == group.n
        self.dim = 1 if degree == 0 or half else 2

    @property
    def name(self) -> str:
        return str(self.degree) if self.dim == 2 or self.parity > 0 else f"{self.degree}'"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.degree, self.parity)

    @property
    def is_orthogonal(self) -> bool:
        return True

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        cos, sin, reflected = self._turn(g)
        sign = torch.where(reflected, -1.0, 1.0).to(cos.dtype)
        if self.dim == 1:
            value = cos if self.parity > 0 else cos * sign
            out = value[..., None, None]
        else:
            # Rotation times the reflection (x, y) -> (x, -y) where the element reflects.
            out = torch.stack([torch.stack([cos, -sin * sign], -1), torch.stack([sin, cos * sign], -1)], -2)
        return out.to(element_dtype(g))

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        if not isinstance(self.group, MatrixGroup):
            return super().lie_matrices()
        speed = self.group.lie_basis()[:, 1, 0].to(torch.float64) * self.degree
        turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        return speed[:, None, None] * turn if self.dim == 2 else torch.zeros(len(speed), 1, 1, dtype=torch.float64)

    def _turn(self, g: Element) -> tuple[Tensor, Tensor, Tensor]:
        """Cosine and sine of `degree` times the angle, and whether the element reflects."""
        if isinstance(self.group, Cyclic | Dihedral):
            n = self.group.n
            cos, sin = (table.to(g.device) for table in _roots_of_unity(n))
            index = (g % n) * self.degree % n
            return cos[index], sin[index], g >= n
        g = g.to(torch.float64)
        reflected = torch.linalg.det(g) < 0
        angle = torch.atan2(g[..., 1, 0], g[..., 0, 0]) * self.degree
        return angle.cos(), angle.sin(), reflected


def _roots_of_unity(n: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of `2 pi k / n`, exact at quarter turns."""
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    cos, sin = angle.cos(), angle.sin()
    for quarter, (c, s) in enumerate([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]):
        if quarter * n % 4 == 0:
            cos[quarter * n // 4], sin[quarter * n // 4] = c, s
    return cos, sin


def planar_irreps(group: Group, max_degree: int, reflections: bool) -> tuple[Planar, ...]:
    """The real irreducibles of C_n, D_n, SO(2) or O(2) up to `max_degree`."""
    top = min(max_degree, group.n // 2) if isinstance(group, Cyclic | Dihedral) else max_degree
    found = []
    for degree in range(top + 1):
        one = Planar(group, degree, 1)
        found.append(one)
        if one.dim == 1 and reflections:
            found.append(Planar(group, degree, -1))
    return tuple(found)
