"""The irreducible representations of SO(3) and O(3) on real spherical harmonics.

The polar axis is y, so that the harmonics of degree 1 are (x, y, z) and that representation is
the defining one. Within a degree the orders run from -l to l.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn.groups import Element, MatrixGroup
from equilearn.reps._base import Rep

# The textbook construction has z as its pole and degree 1 in the order (y, z, x). Naming the axes
# anew, (y, z, x) -> (x, y, z), gives the convention above.
_NEW_AXIS = (2, 0, 1)  # the new name of the old axes x, y, z


class Spherical(Rep):
    """Rotations of harmonics of one degree; improper ones times `parity`."""

    group: MatrixGroup

    def __init__(self, group: MatrixGroup, degree: int, parity: int, signed: bool):
        self.group = group
        self.degree = degree
        self.parity = parity
        self._signed = signed  # whether the group has improper elements
        self.dim = 2 * degree + 1
        self._generators = angular_momentum(degree)
        # Turns the pole onto the axis about which the middle Euler angle rotates.
        self._tilt = torch.linalg.matrix_exp(-torch.pi / 2 * self._generators[2])

    @property
    def name(self) -> str:
        return f"{self.degree}{'' if not self._signed else 'e' if self.parity > 0 else 'o'}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.degree, self.parity)

    @property
    def is_orthogonal(self) -> bool:
        return True

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        rotation = g.to(torch.float64)
        sign = torch.ones((), dtype=torch.float64, device=g.device)
        if self._signed:
            sign = torch.linalg.det(rotation).sign()
            rotation = rotation * sign[..., None, None]
            sign = (sign if self.parity < 0 else sign.abs())[..., None, None]
        first, middle, last = _euler(rotation)
        tilt = self._tilt.to(g.device)
        inner = tilt @ self._about_pole(middle) @ tilt.mT
        return (sign * (self._about_pole(first) @ inner @ self._about_pole(last))).to(g.dtype)

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        basis = self.group.lie_basis().to(torch.float64)
        axial = torch.stack([basis[:, 2, 1], basis[:, 0, 2], basis[:, 1, 0]], dim=-1)
        return torch.einsum("ka,aij->kij", axial, self._generators)

    def _about_pole(self, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch dim dim"]:
        """Rotation about y: orders m and -m turn into each other by the angle m."""
        order = torch.arange(-self.degree, self.degree + 1, device=angle.device)
        phase = angle[..., None] * order
        out = torch.diag_embed(phase.cos())
        # The entry (m, -m) is -sin(m angle), for both signs of m; on m = 0 it vanishes.
        return out - torch.diag_embed(phase.sin()).flip(-1)


def angular_momentum(degree: int) -> Float[Tensor, "3 dim dim"]:
    """The derivatives of rotation about x, y, z on real harmonics of one degree."""
    order = torch.arange(-degree, degree + 1, dtype=torch.float64)
    raising = torch.diag((degree * (degree + 1) - order[:-1] * (order[:-1] + 1)).sqrt(), -1)
    x = (raising + raising.mT).to(torch.complex128) / 2
    y = (raising - raising.mT).to(torch.complex128) / 2j
    z = torch.diag(order).to(torch.complex128)
    basis = _real_harmonics(degree)
    old = [(-1j * (basis.conj() @ operator @ basis.mT)).real for operator in (x, y, z)]
    new = torch.empty(3, 2 * degree + 1, 2 * degree + 1, dtype=torch.float64)
    for axis, generator in zip(_NEW_AXIS, old, strict=True):
        new[axis] = (generator - generator.mT) / 2
    return new


def _real_harmonics(degree: int) -> Tensor:
    """Rows: the real harmonics, orders -l to l, in terms of the complex ones."""
    out = torch.zeros(2 * degree + 1, 2 * degree + 1, dtype=torch.complex128)
    out[degree, degree] = 1
    half = 0.5**0.5
    for m in range(1, degree + 1):
        sign = (-1) ** m
        out[degree + m, degree + m], out[degree + m, degree - m] = sign * half, half
        out[degree - m, degree - m], out[degree - m, degree + m] = 1j * half, -1j * sign * half
    return out


def _euler(rotation: Float[Tensor, "*batch 3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Angles `a, b, c` with `R = Y(a) X(b) Y(c)`, X and Y rotations about x and y.

    The last angle is read from what the first two leave over, so that the three multiply back to
    R to rounding at the poles as well, where only the sum of the outer two is determined.
    """
    x, y, z = rotation[..., :, 1].unbind(-1)  # where R takes the pole
    first = torch.atan2(x, z)
    middle = torch.atan2(torch.hypot(x, z), y)
    # The x axis after Y(a) X(b) is (cos a, 0, -sin a); the z axis completes it.
    cos_a, sin_a, cos_b, sin_b = first.cos(), first.sin(), middle.cos(), middle.sin()
    x_axis = torch.stack([cos_a, torch.zeros_like(cos_a), -sin_a], dim=-1)
    z_axis = torch.stack([sin_a * cos_b, -sin_b, cos_a * cos_b], dim=-1)
    moved = rotation[..., :, 2]  # R e_z = Y(a) X(b) (sin c, 0, cos c)
    last = torch.atan2((x_axis * moved).sum(-1), (z_axis * moved).sum(-1))
    return first, middle, last
