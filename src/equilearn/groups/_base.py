"""What every group offers: identity, compose, inverse, sample, generators, Lie algebra.

Elements are batched tensors (or nested tuples of them, for products), never objects:

* a finite group given by its table: indices, shape `(*batch,)`, dtype int64;
* a symmetric group: permutations, shape `(*batch, n)`, dtype int64, `p[i]` the image of `i`;
* a matrix group: matrices, shape `(*batch, n, n)`, floating point;
* a product: a tuple with one element of each factor, all of the same batch shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, require

if TYPE_CHECKING:
    from equilearn.groups._product import Product

Element: TypeAlias = Any  # a Tensor, or a tuple of Elements for a product
Shape: TypeAlias = int | Sequence[int]

ENUMERATION_LIMIT = 50_000
"""Largest order for which `elements()` lists a group."""


def as_shape(shape: Shape) -> tuple[int, ...]:
    """A batch shape from an int or a sequence of ints."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


class Group(ABC):
    """A group, discrete, continuous or both: its connected part comes from a Lie algebra
    (`lie_basis`, `exp`), the rest from finitely many `generators`.

    A subclass states `name`, `element_shape`, `_key` and the group law. Groups are immutable,
    hashable and equal when their keys are.
    """

    # --- what it is -------------------------------------------------------------------

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that `equilearn.groups.parse` reads back, such as `"C4"` or `"SO3"`."""

    @property
    @abstractmethod
    def _key(self) -> tuple[Any, ...]:
        """What tells this group from others of its class."""

    @property
    @abstractmethod
    def element_shape(self) -> tuple[int, ...]:
        """Trailing shape of one element: `()` index, `(n,)` permutation, `(n, n)` matrix."""

    @property
    def order(self) -> int | None:
        """Number of elements; `None` for an infinite group."""
        return None

    @property
    def is_finite(self) -> bool:
        return self.order is not None

    @property
    def is_compact(self) -> bool:
        """Whether a Haar probability measure exists, so that `sample` draws from it."""
        return self.is_finite

    @property
    @abstractmethod
    def is_abelian(self) -> bool: ...

    # --- the group law, batched and broadcasting --------------------------------------

    @abstractmethod
    def identity(
        self, batch: Shape = (), *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Element:
        """The neutral element, repeated over `batch`. `dtype` matters for matrices only."""

    @abstractmethod
    def compose(self, g: Element, h: Element) -> Element:
        """The product `g h`: first `h`, then `g`. Batch shapes broadcast."""

    @abstractmethod
    def inverse(self, g: Element) -> Element: ...

    @abstractmethod
    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Element:
        """Random elements: Haar for a compact group, else the law that the class states."""

    @abstractmethod
    def distance(self, g: Element, h: Element) -> Float[Tensor, "*batch"]:
        """A metric: zero exactly where `g` equals `h`. The class says which."""

    @abstractmethod
    def contains(self, g: Element, tolerance: float = 1e-6) -> Bool[Tensor, "*batch"]:
        """Which of the given elements lie in the group, up to `tolerance`."""

    # --- generators -------------------------------------------------------------------

    @abstractmethod
    def generators(self) -> Element:
        """Elements, batch shape `(K,)`, that together with `exp` of the Lie algebra generate
        the group. `K` may be zero (a connected group)."""

    @property
    def lie_dim(self) -> int:
        """Dimension of the Lie algebra; zero for a finite group."""
        return 0

    def exp(self, coefficients: Float[Tensor, "*batch lie_dim"]) -> Element:
        """The element `exp(sum_i a_i X_i)` for coefficients in the basis of the Lie algebra."""
        raise InputError(f"{self.name} is discrete: it has no Lie algebra to exponentiate.")

    # --- finite groups ----------------------------------------------------------------

    def elements(self) -> Element:
        """All elements, batch shape `(order,)`, the identity first. O(order) memory."""
        raise InputError(f"{self.name} is not finite, so its elements cannot be listed. Use sample(k).")

    def index_of(self, g: Element) -> Int[Tensor, "*batch"]:
        """Position of each given element in `elements()`; its inverse."""
        raise InputError(f"{self.name} is not finite, so its elements have no index.")

    def _require_enumerable(self) -> int:
        order = self.order
        require(order is not None, f"{self.name} is not finite, so its elements cannot be listed.")
        require(
            order <= ENUMERATION_LIMIT,  # type: ignore[operator]
            f"{self.name} has {order} elements, more than the {ENUMERATION_LIMIT} that are listed. "
            "Use sample(k, generator=...) instead.",
        )
        return order  # type: ignore[return-value]

    # --- batches of elements ----------------------------------------------------------

    def batch_shape(self, g: Element) -> tuple[int, ...]:
        """Shape of the batch in front of the element shape."""
        rank = len(self.element_shape)
        return tuple(g.shape[: g.ndim - rank])

    def reshape(self, g: Element, batch: Shape) -> Element:
        """The same elements under another batch shape."""
        return g.reshape(*as_shape(batch), *self.element_shape)

    def expand(self, g: Element, batch: Shape) -> Element:
        """Broadcast elements to a batch shape, without a copy."""
        return g.expand(*as_shape(batch), *self.element_shape)

    def take(self, g: Element, index: Any) -> Element:
        """Index the leading batch axes."""
        return g[index]

    def cat(self, parts: Sequence[Element]) -> Element:
        """Concatenate along the first batch axis."""
        return torch.cat(list(parts), dim=0)

    def to(self, g: Element, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Element:
        """Move elements; `dtype` touches floating-point entries only."""
        return g.to(device=device, dtype=dtype if g.is_floating_point() else None)

    def validate(self, g: Element, tolerance: float = 1e-6) -> Element:
        """`g` if all of it lies in the group; otherwise an error that counts what does not."""
        inside = self.contains(g, tolerance)
        if not bool(inside.all()):
            outside = int((~inside).sum())
            raise InputError(
                f"{outside} of {inside.numel()} given elements do not lie in {self.name} "
                f"(tolerance {tolerance:g}). {self._membership_rule()}"
            )
        return g

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} have trailing shape {self.element_shape}."

    # --- python -----------------------------------------------------------------------

    def __mul__(self, other: Group) -> Product:
        from equilearn.groups._product import Product

        return Product(self, other)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key == other._key  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key))

    def __repr__(self) -> str:
        return self.name
