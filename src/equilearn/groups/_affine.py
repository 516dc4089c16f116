"""Affine groups as homogeneous matrices: translations, SE(n), E(n)."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.groups import _random
from equilearn.groups._base import Shape, as_shape
from equilearn.groups._matrix import MatrixGroup, elementary
from equilearn.groups._orthogonal import SO, O


class AffineGroup(MatrixGroup):
    """Maps `x -> A x + t` of `dimension`-dimensional space as homogeneous matrices
    `[[A, t], [0, 1]]` of size `n = dimension + 1`, `A` in a linear group.

    Basis of the Lie algebra: that of the linear group, then the translations along the axes.
    `sample` draws `A` from the linear group and `t` normal with standard deviation `scale`.

    Args:
        dimension: dimension of the space, at least 1.
        linear_group: where `A` comes from; `None` for the unit matrix only.
        scale: standard deviation of each coordinate of the translations that `sample` draws.
    """

    def __init__(self, dimension: int, linear_group: MatrixGroup | None, scale: float = 1.0):
        require(0 < scale < math.inf, f"scale must be a positive number, got {scale!r}.")
        self.dimension = dimension
        self.n = dimension + 1
        self.linear_group = linear_group
        self.scale = float(scale)

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.dimension, self.linear_group, self.scale)

    @property
    def is_abelian(self) -> bool:
        return self.linear_group is None

    # --- parts ------------------------------------------------------------------------

    def linear(self, g: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch d d"]:
        """The matrix `A`."""
        return g[..., :-1, :-1]

    def shift(self, g: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch d"]:
        """The translation `t`."""
        return g[..., :-1, -1]

    def from_parts(self, linear: Tensor | None = None, shift: Tensor | None = None) -> Float[Tensor, "*batch n n"]:
        """The element `x -> A x + t`; what is left out is the unit matrix or zero. Batches broadcast.

        Raises:
            InputError: if both are left out, or a shape does not fit.

        Example:
            >>> group = SpecialEuclidean(2)
            >>> group.from_parts(shift=torch.tensor([3.0, 4.0]))
            tensor([[1., 0., 3.],
                    [0., 1., 4.],
                    [0., 0., 1.]])
        """
        d = self.dimension
        present = linear if linear is not None else shift
        require(present is not None, f"from_parts of {self.name} needs a linear part, a shift, or both.")
        if linear is None:
            linear = torch.eye(d, dtype=shift.dtype, device=shift.device)  # type: ignore[union-attr]
        if shift is None:
            shift = torch.zeros(d, dtype=linear.dtype, device=linear.device)
        require(
            linear.ndim >= 2 and tuple(linear.shape[-2:]) == (d, d) and shift.ndim >= 1 and shift.shape[-1] == d,
            f"{self.name} takes a linear part of shape (*batch, {d}, {d}) and a shift of shape (*batch, {d}), got "
            f"{tuple(linear.shape)} and {tuple(shift.shape)}.",
        )
        dtype = torch.promote_types(linear.dtype, shift.dtype)
        batch = torch.broadcast_shapes(linear.shape[:-2], shift.shape[:-1])
        upper = torch.cat([linear.expand(*batch, d, d).to(dtype), shift.expand(*batch, d).to(dtype).unsqueeze(-1)], -1)
        last = torch.zeros(*batch, 1, d + 1, dtype=dtype, device=linear.device)
        last[..., -1] = 1.0
        return torch.cat([upper, last], dim=-2)

    def move(self, g: Float[Tensor, "*batch n n"], x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """`A x + t`, one element a point; batches broadcast.

        Example:
            >>> group = Translation(2)
            >>> group.move(group.from_parts(shift=torch.tensor([3.0, 4.0])), torch.ones(2))
            tensor([4., 5.])
        """
        return (self.linear(g) @ x.unsqueeze(-1)).squeeze(-1) + self.shift(g)

    # --- the group --------------------------------------------------------------------

    def inverse(self, g: Tensor) -> Tensor:
        """`x -> A^-1 (x - t)`."""
        if self.linear_group is None:
            return self.from_parts(self.linear(g), -self.shift(g))
        back = self.linear_group.inverse(self.linear(g))
        return self.from_parts(back, -(back @ self.shift(g).unsqueeze(-1)).squeeze(-1))

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        scale: float | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Elements under the law that the class states; `scale` replaces its scale."""
        shape = as_shape(batch)
        turn = None
        if self.linear_group is not None:
            turn = self.linear_group.sample(shape, generator=generator, device=device)
        shift = _random.normal((*shape, self.dimension), generator, device) * (self.scale if scale is None else scale)
        return self.from_parts(turn, shift).to(dtype)

    def lie_basis(self) -> Float[Tensor, "lie_dim n n"]:
        shifts = torch.stack([elementary(self.n, i, self.n - 1) for i in range(self.dimension)])
        if self.linear_group is None:
            return shifts
        turns = torch.nn.functional.pad(self.linear_group.lie_basis(), (0, 1, 0, 1))
        return torch.cat([turns, shifts])

    def exp(self, coefficients: Float[Tensor, "*batch lie_dim"]) -> Float[Tensor, "*batch n n"]:
        if self.linear_group is not None:
            return super().exp(coefficients)
        self._require_coefficients(coefficients)
        return self.from_parts(shift=coefficients)

    def generators(self) -> Float[Tensor, "K n n"]:
        """The discrete generators of the linear group."""
        if self.linear_group is None:
            return super().generators()
        return self.from_parts(self.linear_group.generators())

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """The largest of the defect of the linear part and the deviation of the last row from `(0, ..., 0, 1)`;
        NaN where an entry is not finite."""
        g64 = g.to(torch.float64)
        last = torch.eye(self.n, dtype=torch.float64, device=g.device)[-1]
        row = (g64[..., -1, :] - last).abs().amax(-1)
        if self.linear_group is None:
            eye = torch.eye(self.dimension, dtype=torch.float64, device=g.device)
            turn = (self.linear(g64) - eye).abs().amax((-2, -1))
        else:
            turn = self.linear_group.defect(self.linear(g))
        total = torch.maximum(row, turn)
        return torch.where(torch.isfinite(g64).all(-1).all(-1), total, torch.nan)

    def _membership_rule(self) -> str:
        inner = "1" if self.linear_group is None else f"in {self.linear_group.name}"
        return (
            f"Elements of {self.name} are ({self.n}, {self.n}) matrices [[A, t], [0, 1]] with A {inner}; "
            "from_parts(A, t) builds them."
        )


class Translation(AffineGroup):
    """Translations of `n`-dimensional space, as `(n + 1, n + 1)` homogeneous matrices. Abelian.

    `exp` of the coefficients is the translation by them. `sample` draws normal translations of
    standard deviation `scale`.

    Args:
        n: dimension of the space, at least 1.
        scale: standard deviation of each coordinate.

    Raises:
        InputError: if `n` is not a whole number >= 1, or the scale is not positive.

    Example:
        >>> group = Translation(2)
        >>> group.shift(group.exp(torch.tensor([1.0, 2.0])))
        tensor([1., 2.])
    """

    def __init__(self, n: int, scale: float = 1.0):
        super().__init__(positive_int(n, "The dimension n of Translation(n)"), None, scale)

    @property
    def name(self) -> str:
        return f"T{self.dimension}"


class SpecialEuclidean(AffineGroup):
    """Rotations and translations of `n`-dimensional space, as homogeneous matrices.

    Lie algebra: rotations as in `SO(n)`, then translations. `sample` draws Haar rotations and
    normal translations of standard deviation `scale`.

    Args:
        n: dimension of the space, at least 2.
        scale: standard deviation of each coordinate of the translations.

    Raises:
        InputError: if `n` is not a whole number >= 2, or the scale is not positive.

    Example:
        >>> SpecialEuclidean(3).lie_dim
        6
    """

    def __init__(self, n: int, scale: float = 1.0):
        super().__init__(positive_int(n, "The dimension n of SpecialEuclidean(n)", 2), SO(n), scale)

    @property
    def name(self) -> str:
        return f"SE{self.dimension}"


class Euclidean(AffineGroup):
    """All isometries of `n`-dimensional space, as homogeneous matrices.

    As `SpecialEuclidean(n)` and one reflection, that of the last coordinate.

    Args:
        n: dimension of the space, at least 2.
        scale: standard deviation of each coordinate of the translations.

    Raises:
        InputError: if `n` is not a whole number >= 2, or the scale is not positive.

    Example:
        >>> group = Euclidean(2)
        >>> group.generators().shape
        torch.Size([1, 3, 3])
    """

    def __init__(self, n: int, scale: float = 1.0):
        super().__init__(positive_int(n, "The dimension n of Euclidean(n)", 2), O(n), scale)

    @property
    def name(self) -> str:
        return f"E{self.dimension}"
