"""Matrix groups: what all of them share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.groups._base import Group, Shape, as_shape


class MatrixGroup(Group):
    """A closed group of invertible `n x n` matrices.

    A subclass states `name`, `_key`, `is_abelian`, `lie_basis`, `defect` and `sample`, and,
    where it is not connected, `generators`: one element of each further component.
    """

    n: int
    """Size of the matrices."""

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n, self.n)

    # --- the group law ----------------------------------------------------------------

    def identity(
        self, batch: Shape = (), *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Float[Tensor, "*batch n n"]:
        return torch.eye(self.n, dtype=dtype, device=device).expand(*as_shape(batch), self.n, self.n).clone()

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        if g.dtype != h.dtype:
            dtype = torch.promote_types(g.dtype, h.dtype)
            g, h = g.to(dtype), h.to(dtype)
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        return torch.linalg.inv(g)

    def distance(self, g: Tensor, h: Tensor) -> Float[Tensor, "*batch"]:
        """The Frobenius norm of the difference."""
        return torch.linalg.matrix_norm(g - h)

    # --- membership -------------------------------------------------------------------

    @abstractmethod
    def defect(self, g: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
        """How far each matrix is from the group, relative to its size, in float64: zero up to
        rounding inside, infinite or NaN where an entry is."""

    def contains(self, g: Any, tolerance: float = 1e-6) -> Bool[Tensor, "*batch"]:
        """Where `defect(g)` is at most `tolerance`, or 16 roundings of the dtype of `g` if that is more."""
        self._require_matrices(g)
        if g.numel() == 0:
            return torch.ones(g.shape[:-2], dtype=torch.bool, device=g.device)
        return self.defect(g) <= max(tolerance, 16 * torch.finfo(g.dtype).eps)

    def validate(self, g: Tensor, tolerance: float = 1e-6) -> Tensor:
        """`g` if all of it lies in the group; otherwise an error that counts what does not and
        says how far off the worst is."""
        inside = self.contains(g, tolerance)
        if not bool(inside.all()):
            outside = int((~inside).sum())
            broken = int((~torch.isfinite(g)).any(-1).any(-1).sum())
            defects = self.defect(g)
            defects = defects[torch.isfinite(defects)]
            worst = f" The largest defect is {float(defects.max()):.3g}." if len(defects) else ""
            holes = f" {broken} hold NaN or infinite entries." if broken else ""
            raise InputError(
                f"{outside} of {inside.numel()} given matrices do not lie in {self.name} (tolerance {tolerance:g})."
                f"{holes}{worst} {self._membership_rule()}"
            )
        return g

    def _require_matrices(self, g: Any) -> None:
        if not isinstance(g, Tensor):
            raise InputTypeError(f"Elements of {self.name} are tensors of matrices, got {type(g).__name__}.")
        require(
            g.ndim >= 2 and tuple(g.shape[-2:]) == (self.n, self.n),
            f"Elements of {self.name} have trailing shape {(self.n, self.n)}, got shape {tuple(g.shape)}.",
        )
        require(g.is_floating_point(), f"Elements of {self.name} are floating-point matrices, got dtype {g.dtype}.")

    # --- Lie algebra ------------------------------------------------------------------

    @abstractmethod
    def lie_basis(self) -> Float[Tensor, "lie_dim n n"]:
        """A basis of the Lie algebra, float64. The class says in which order."""

    @property
    def lie_dim(self) -> int:
        return len(self.lie_basis())

    def exp(self, coefficients: Float[Tensor, "*batch lie_dim"]) -> Float[Tensor, "*batch n n"]:
        """`exp(sum_i a_i X_i)` on `lie_basis()`; dtype and device follow the coefficients.

        Raises:
            InputError: if the last axis does not have `lie_dim` entries.
        """
        return torch.matrix_exp(self.algebra(coefficients))

    def algebra(self, coefficients: Float[Tensor, "*batch lie_dim"]) -> Float[Tensor, "*batch n n"]:
        """The element `sum_i a_i X_i` of the Lie algebra."""
        self._require_coefficients(coefficients)
        return torch.einsum("...i,ijk->...jk", coefficients, self.lie_basis().to(coefficients))

    def _require_coefficients(self, coefficients: Tensor) -> None:
        got = tuple(coefficients.shape)
        require(
            len(got) > 0 and got[-1] == self.lie_dim and coefficients.is_floating_point(),
            f"exp on {self.name} takes {self.lie_dim} floating-point coefficients in the last axis, got shape {got} "
            f"and dtype {coefficients.dtype}.",
        )

    def generators(self) -> Float[Tensor, "K n n"]:
        """None (`K = 0`): the group is connected, so `exp` reaches a neighbourhood that generates it."""
        return torch.zeros(0, self.n, self.n, dtype=torch.float64)


def elementary(n: int, i: int, j: int) -> Float[Tensor, "n n"]:
    """The matrix with a single one, in row `i` and column `j`."""
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix[i, j] = 1.0
    return matrix


def stack_basis(matrices: list[Tensor], n: int) -> Float[Tensor, "lie_dim n n"]:
    """A basis as one tensor, also where it is empty."""
    return torch.stack(matrices) if matrices else torch.zeros(0, n, n, dtype=torch.float64)


def scale(g: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    """The squared Frobenius norm over `n`, at least 1: the size that rounding in `g g` is measured by."""
    return (g.square().sum((-2, -1)) / g.shape[-1]).clamp_min(1.0)
