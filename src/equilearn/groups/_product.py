"""Direct products: elements are tuples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.groups._base import Element, Group, Shape, as_shape


class Product(Group):
    """The direct product of groups; `G * H` builds one. An element is a tuple with one element
    of each factor, all of the same batch shape.

    Products of products are flattened into `factors`. The Lie algebra is the sum of those of the
    factors, in their order; `elements()` counts with the first factor most significant.
    `sample` draws the factors independently, each under its own law.

    Args:
        factors: the groups.

    Raises:
        InputError: if there are none, or one is not a group.

    Example:
        >>> from equilearn.groups import SO, Symmetric
        >>> group = SO(3) * Symmetric(5)
        >>> group
        SO3xS5
        >>> rotation, permutation = group.sample(2, generator=torch.Generator().manual_seed(0))
        >>> rotation.shape, permutation.shape
        (torch.Size([2, 3, 3]), torch.Size([2, 5]))
    """

    factors: tuple[Group, ...]

    def __init__(self, *factors: Group):
        for factor in factors:
            if not isinstance(factor, Group):
                raise InputTypeError(f"A product is made of groups, got {type(factor).__name__}: {factor!r}.")
        flat = (part for factor in factors for part in (factor.factors if isinstance(factor, Product) else (factor,)))
        self.factors = tuple(flat)
        require(len(self.factors) > 0, "A product needs at least one group.")

    # --- what it is -------------------------------------------------------------------

    @property
    def name(self) -> str:
        return "x".join(factor.name for factor in self.factors)

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.factors

    @property
    def element_shape(self) -> tuple[Any, ...]:
        """The element shape of each factor."""
        return tuple(factor.element_shape for factor in self.factors)

    @property
    def order(self) -> int | None:
        orders = [factor.order for factor in self.factors]
        return None if any(n is None for n in orders) else math.prod(n for n in orders if n is not None)

    @property
    def is_compact(self) -> bool:
        return all(factor.is_compact for factor in self.factors)

    @property
    def is_abelian(self) -> bool:
        return all(factor.is_abelian for factor in self.factors)

    # --- the group law ----------------------------------------------------------------

    def identity(
        self, batch: Shape = (), *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Element:
        return tuple(factor.identity(batch, dtype=dtype, device=device) for factor in self.factors)

    def compose(self, g: Element, h: Element) -> Element:
        return self._each(lambda factor, a, b: factor.compose(a, b), g, h)

    def inverse(self, g: Element) -> Element:
        return self._each(lambda factor, a: factor.inverse(a), g)

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Element:
        """Independent elements of the factors."""
        return tuple(f.sample(batch, generator=generator, dtype=dtype, device=device) for f in self.factors)

    def distance(self, g: Element, h: Element) -> Float[Tensor, "*batch"]:
        """The root of the sum of the squared distances in the factors."""
        parts = self._each(lambda factor, a, b: factor.distance(a, b), g, h)
        return torch.stack(torch.broadcast_tensors(*(d.to(torch.float64) for d in parts))).square().sum(0).sqrt()

    def contains(self, g: Any, tolerance: float = 1e-6) -> Bool[Tensor, "*batch"]:
        """Where every factor contains its part."""
        inside = self._each(lambda factor, a: factor.contains(a, tolerance), g)
        result = inside[0]
        for part in inside[1:]:
            result = result & part
        return result

    def _each(self, fn: Callable[..., Any], *elements: Element) -> tuple[Any, ...]:
        for g in elements:
            if not isinstance(g, tuple | list):
                raise InputTypeError(
                    f"Elements of {self.name} are tuples with {len(self.factors)} parts, got {type(g).__name__}."
                )
            require(
                len(g) == len(self.factors),
                f"Elements of {self.name} are tuples with {len(self.factors)} parts, got {len(g)}.",
            )
        return tuple(fn(factor, *parts) for factor, *parts in zip(self.factors, *elements, strict=True))

    # --- generators -------------------------------------------------------------------

    def embed(self, i: int, g: Element) -> Element:
        """The tuple with `g` in place `i` and identities elsewhere, same batch.

        Example:
            >>> from equilearn.groups import Cyclic
            >>> (Cyclic(2) * Cyclic(3)).embed(1, torch.tensor([1, 2]))
            (tensor([0, 0]), tensor([1, 2]))
        """
        require(-len(self.factors) <= i < len(self.factors), f"{self.name} has {len(self.factors)} factors, no {i}.")
        i %= len(self.factors)
        batch = self.factors[i].batch_shape(g)
        leaf = _leaf(g)
        dtype = leaf.dtype if leaf.is_floating_point() else torch.float64
        return tuple(
            g if j == i else factor.identity(batch, dtype=dtype, device=leaf.device)
            for j, factor in enumerate(self.factors)
        )

    def generators(self) -> Element:
        """The generators of each factor, with identities elsewhere."""
        return self.cat([self.embed(i, factor.generators()) for i, factor in enumerate(self.factors)])

    @property
    def lie_dim(self) -> int:
        return sum(factor.lie_dim for factor in self.factors)

    def exp(self, coefficients: Float[Tensor, "*batch lie_dim"]) -> Element:
        """`exp` factor by factor; a factor without a Lie algebra gets its identity."""
        if self.lie_dim == 0:
            raise InputError(f"{self.name} is discrete: it has no Lie algebra to exponentiate.")
        got = tuple(coefficients.shape)
        require(
            len(got) > 0 and got[-1] == self.lie_dim,
            f"exp on {self.name} takes {self.lie_dim} coefficients in the last axis, got shape {got}.",
        )
        parts = coefficients.split([factor.lie_dim for factor in self.factors], dim=-1)
        where = {"dtype": coefficients.dtype, "device": coefficients.device}
        return tuple(
            factor.exp(part) if factor.lie_dim else factor.identity(got[:-1], **where)
            for factor, part in zip(self.factors, parts, strict=True)
        )

    # --- finite products --------------------------------------------------------------

    def elements(self) -> Element:
        """All tuples, the first factor most significant."""
        rest = torch.arange(self._require_enumerable())
        parts: list[Element] = []
        for factor in reversed(self.factors):
            size = factor.order or 1
            parts.append(factor.take(factor.elements(), rest % size))
            rest = rest // size
        return tuple(reversed(parts))

    def index_of(self, g: Element) -> Int[Tensor, "*batch"]:
        index = torch.tensor(0)
        order = self.order
        require(order is not None, f"{self.name} is not finite, so its elements have no index.")
        require(order < 2**63, f"{self.name} has too many elements for a 64-bit index.")  # type: ignore[operator]
        for factor, part in zip(self.factors, self._each(lambda factor, a: factor.index_of(a), g), strict=True):
            index = index.to(part.device) * (factor.order or 1) + part
        return index

    # --- batches ----------------------------------------------------------------------

    def batch_shape(self, g: Element) -> tuple[int, ...]:
        return self.factors[0].batch_shape(g[0])

    def reshape(self, g: Element, batch: Shape) -> Element:
        return self._each(lambda factor, a: factor.reshape(a, as_shape(batch)), g)

    def expand(self, g: Element, batch: Shape) -> Element:
        return self._each(lambda factor, a: factor.expand(a, as_shape(batch)), g)

    def take(self, g: Element, index: Any) -> Element:
        return self._each(lambda factor, a: factor.take(a, index), g)

    def cat(self, parts: Sequence[Element]) -> Element:
        return self._each(lambda factor, *a: factor.cat(a), *parts)

    def to(self, g: Element, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Element:
        return self._each(lambda factor, a: factor.to(a, dtype=dtype, device=device), g)

    def _membership_rule(self) -> str:
        return " ".join(factor._membership_rule() for factor in self.factors)


def _leaf(g: Element) -> Tensor:
    while isinstance(g, tuple | list):
        g = g[0]
    return g


def factors_of(group: Group) -> tuple[Group, ...]:
    """The factors of a product; any other group is its own only one.

    Example:
        >>> import equilearn as eq
        >>> factors_of(eq.SO(3) * eq.Symmetric(5)), factors_of(eq.Cyclic(4))
        ((SO3, S5), (C4,))
    """
    return group.factors if isinstance(group, Product) else (group,)
