"""Representations of one group seen from another: restriction to a subgroup, factors of a product."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import Element, Group, Product
from equilearn.reps._base import Rep
from equilearn.reps._derivative import lie_matrices_of
from equilearn.reps._element import element_dtype


class _Pulled(Rep):
    """What every representation pulled back along a homomorphism inherits from the one it is made of."""

    rep: Rep

    @abstractmethod
    def _along(self, rep: Rep) -> Rep:
        """Another representation, pulled back along the same homomorphism."""

    @property
    def is_permutation(self) -> bool:
        return self.rep.is_permutation

    @property
    def is_orthogonal(self) -> bool:
        return self.rep.is_orthogonal

    def terms(self) -> tuple[tuple[int, Rep], ...]:
        terms = self.rep.terms()
        if terms == ((1, self.rep),):
            return ((1, self),)
        return tuple((count, self._along(rep)) for count, rep in terms)


class Factor(_Pulled):
    """A representation of one factor of a product; the other factors do nothing."""

    group: Product

    def __init__(self, group: Product, index: int, rep: Rep):
        self.group = group
        self.index = index
        self.rep = rep
        self.dim = rep.dim

    @property
    def name(self) -> str:
        return f"{self.rep.name}@{self.index}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.index, self.rep)

    @property
    def dual(self) -> Rep:
        return self if self.is_orthogonal else Factor(self.group, self.index, self.rep.dual)

    def _along(self, rep: Rep) -> Rep:
        return Factor(self.group, self.index, rep)

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return self.rep.matrix(g[self.index]).to(element_dtype(g))

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        out = torch.zeros(self.group.lie_dim, self.dim, self.dim, dtype=torch.float64)
        start = sum(factor.lie_dim for factor in self.group.factors[: self.index])
        out[start : start + self.rep.group.lie_dim] = self.rep.lie_matrices()
        return out

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        return self.rep.permutation(g[self.index])

    def apply(self, g: Element, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "... dim"]:
        return self.rep.apply(g[self.index], v)


class Restricted(_Pulled):
    """A representation seen through a homomorphism into its group."""

    def __init__(self, rep: Rep, group: Group, embedding: Callable[[Element], Element]):
        self.group = group
        self.rep = rep
        self.embedding = embedding
        self.dim = rep.dim

    @property
    def name(self) -> str:
        return f"{self.rep.name}|{self.group.name}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.rep, self.embedding)

    def _along(self, rep: Rep) -> Rep:
        return Restricted(rep, self.group, self.embedding)

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return self.rep.matrix(self.embedding(g))

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        # Computed when asked for: the terms of a sum never need that of the whole.
        return lie_matrices_of(self.group, self.matrix, self.dim)

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        return self.rep.permutation(self.embedding(g))

    def apply(self, g: Element, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "... dim"]:
        return self.rep.apply(self.embedding(g), v)


def factor(group: Group, index: int, rep: Rep) -> Rep:
    """`rep`, a representation of factor `index` of the product `group`, as one of the product.

    Args:
        group: a product of groups.
        index: which of `group.factors`.
        rep: a representation of that factor.

    Raises:
        InputError: where `group` is no product, has no such factor, or `rep` belongs to another group.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO, Symmetric
        >>> G = SO(3) * Symmetric(5)
        >>> cloud = reps.factor(G, 1, reps.permutation(Symmetric(5))) * reps.factor(G, 0, reps.defining(SO(3)))
        >>> cloud.dim, reps.intertwiners(cloud, cloud).shape[0]
        (15, 2)
    """
    if not isinstance(group, Product):
        raise InputError(f"{group} is not a product of groups; use {rep.name} as it is.")
    index = positive_int(index, "index", minimum=0)
    require(
        index < len(group.factors),
        f"{group} has {len(group.factors)} factors, numbered from 0; there is no factor {index}.",
    )
    require(
        rep.group == group.factors[index],
        f"Factor {index} of {group} is {group.factors[index]}, but {rep.name} is a representation of {rep.group}.",
    )
    return Factor(group, index, rep)


def restrict(rep: Rep, group: Group, embedding: Callable[[Element], Element]) -> Rep:
    """`rep` restricted to a subgroup, or pulled back along any homomorphism.

    Args:
        rep: a representation of the larger group.
        group: the subgroup.
        embedding: from elements of `group` to elements of `rep.group`, batched; it must be a
            homomorphism.

    Raises:
        InputError: where `embedding` gives no elements of `rep.group`, or is no homomorphism
            (both tried on a few random elements).

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic, SO
        >>> V = reps.restrict(reps.defining(SO(2)), Cyclic(4), Cyclic(4).plane_matrix)
        >>> reps.intertwiners(V, V).shape[0]
        2
    """
    generator = torch.Generator().manual_seed(0)
    g, h = group.sample((4,), generator=generator), group.sample((4,), generator=generator)
    image = rep.group.validate(embedding(group.compose(g, h)))
    product = rep.group.compose(embedding(g), embedding(h))
    breach = float(rep.group.distance(image, product).max())
    require(
        breach <= 1e-6,
        f"The embedding of {group} into {rep.group} is not a homomorphism: the image of a product and the "
        f"product of the images are {breach:.2g} apart on random elements.",
    )
    return Restricted(rep, group, embedding)
