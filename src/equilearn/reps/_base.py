"""A representation: a group acting linearly on a space of `dim` dimensions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.groups import Element, Group

if TYPE_CHECKING:
    from equilearn.reps._algebra import DirectSum


class Rep(ABC):
    """A linear action `rho` of `group`: `rho(gh) = rho(g) rho(h)`, `rho(e) = 1`.

    A subclass states `name`, `_key`, `dim`, `matrix` and, for a group with a Lie algebra,
    `lie_matrices`. Representations are immutable, hashable and equal when their keys are.
    `a + b` is the direct sum, `3 * a` three copies of `a`, `a * b` the tensor product.
    """

    group: Group
    dim: int

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def _key(self) -> tuple[Any, ...]: ...

    @abstractmethod
    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """`rho(g)`; its dtype is that of a matrix element, float64 for indices and permutations."""

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        """The derivative `d rho(X_i)` on the basis of the Lie algebra, float64."""
        return torch.zeros(0, self.dim, self.dim, dtype=torch.float64)

    def generator_matrices(self) -> Float[Tensor, "K dim dim"]:
        """`rho` on `group.generators()`, float64."""
        return self.matrix(self.group.generators()).to(torch.float64)

    # --- structure that makes things fast ---------------------------------------------

    @property
    def is_permutation(self) -> bool:
        """Whether every `rho(g)` is a permutation matrix, so that `permutation` may be used."""
        return False

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        """For a permutation representation: `p` with `rho(g) e_i = e_{p[i]}`. No matrix is built."""
        raise TypeError(f"{self.name} is not a permutation representation.")

    @property
    def is_orthogonal(self) -> bool:
        """Whether every `rho(g)` is orthogonal, so that `rho(g)^-1` is the transpose."""
        return self.is_permutation

    def terms(self) -> tuple[tuple[int, Rep], ...]:
        """The direct sum that this is: `(multiplicity, summand)` in the order of coordinates."""
        return ((1, self),)

    def apply(self, g: Element, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "... dim"]:
        """`rho(g) v`, one element a vector; batch shapes broadcast. O(dim^2), or O(dim) for a
        permutation representation. The result has the dtype and device of `v`."""
        g = self.group.to(g, device=v.device)
        if self.is_permutation:
            # (rho(g) v)[p[i]] = v[i]: read through the inverse permutation.
            p = self.permutation(g)
            places = torch.arange(self.dim, device=p.device).expand_as(p)
            source = torch.zeros_like(p).scatter(-1, p, places)
            batch = torch.broadcast_shapes(source.shape[:-1], v.shape[:-1])
            return torch.gather(v.expand(*batch, self.dim), -1, source.expand(*batch, self.dim))
        matrix = self.matrix(g).to(v.dtype)
        return (matrix @ v.unsqueeze(-1)).squeeze(-1)

    def character(self, g: Element) -> Float[Tensor, "*batch"]:
        """The trace of `rho(g)`."""
        return self.matrix(g).diagonal(dim1=-2, dim2=-1).sum(-1)

    # --- algebra ----------------------------------------------------------------------

    @property
    def dual(self) -> Rep:
        """The representation on linear forms, `rho(g^-1)^T`."""
        from equilearn.reps._algebra import Dual

        return self if self.is_orthogonal else Dual(self)

    def __add__(self, other: Rep) -> DirectSum:
        from equilearn.reps._algebra import direct_sum

        return direct_sum(self, other)

    def __mul__(self, other: Rep | int) -> Rep:
        from equilearn.reps._algebra import multiple, tensor_product

        return multiple(self, other) if isinstance(other, int) else tensor_product(self, other)

    def __rmul__(self, count: int) -> Rep:
        from equilearn.reps._algebra import multiple

        return multiple(self, count)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.group == other.group and self._key == other._key  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.group, self._key))

    def __repr__(self) -> str:
        return self.name
