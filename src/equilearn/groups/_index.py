"""Groups whose elements are indices."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError
from equilearn.groups import _random
from equilearn.groups._base import Group, Shape, as_shape

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class IndexGroup(Group):
    """A finite group whose elements are indices `0 .. order - 1`, the identity being 0.

    A subclass states `order`, `compose`, `inverse` and `_generator_indices`; tensors of
    elements have shape `(*batch,)` and dtype int64.
    """

    @property
    def element_shape(self) -> tuple[int, ...]:
        return ()

    @property
    @abstractmethod
    def order(self) -> int: ...

    def identity(
        self, batch: Shape = (), *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Int[Tensor, "*batch"]:
        return torch.zeros(as_shape(batch), dtype=torch.int64, device=device)

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Int[Tensor, "*batch"]:
        """Uniform elements (Haar measure of a finite group)."""
        return _random.integers(self.order, as_shape(batch), generator, device)

    def distance(self, g: Tensor, h: Tensor) -> Float[Tensor, "*batch"]:
        """The discrete metric: 0 where equal, else 1."""
        return (g != h).to(torch.float64)

    def contains(self, g: Any, tolerance: float = 1e-6) -> Bool[Tensor, "*batch"]:
        """Which entries are whole numbers `0 .. order - 1` of an integer dtype."""
        if not isinstance(g, Tensor):
            raise InputError(f"Elements of {self.name} are an int64 tensor of indices, got {type(g).__name__}.")
        if g.dtype not in _INTEGERS:
            return torch.zeros(g.shape, dtype=torch.bool, device=g.device)
        return (g >= 0) & (g < self.order)

    @abstractmethod
    def _generator_indices(self) -> list[int]: ...

    def generators(self) -> Int[Tensor, " K"]:
        return torch.tensor(self._generator_indices(), dtype=torch.int64)

    def elements(self) -> Int[Tensor, " order"]:
        """All indices `0 .. order - 1`."""
        return torch.arange(self._require_enumerable())

    def index_of(self, g: Tensor) -> Int[Tensor, "*batch"]:
        """The element itself: it is its own index."""
        return g

    def to(self, g: Tensor, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Tensor:
        return g.to(device=device)

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are int64 indices from 0 to {self.order - 1}."
