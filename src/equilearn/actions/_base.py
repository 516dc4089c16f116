"""An action: how a group moves one kind of data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from equilearn.groups import Element, Group

Data: TypeAlias = Any  # a Tensor, or a tuple of Data; the batch is the first axis

Axes: TypeAlias = tuple[Any, ...]  # numbers of axes; for a tuple of data a tuple of Axes


class Action(ABC):
    """A left action of `group` on batches of data: `act(g, act(h, x)) == act(gh, x)`.

    The batch is the first axis of `x`. `g` has batch shape `()` (one element moves all of `x`)
    or `(B,)` (element `b` moves sample `b`). The result has the dtype and device of `x`.
    """

    group: Group

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for reports, such as `"images"`."""

    @abstractmethod
    def __call__(self, g: Element, x: Data) -> Data:
        """`g x`."""

    @abstractmethod
    def check(self, x: Data) -> None:
        """Raise `InputError` where `x` cannot be acted on: says what was given and what fits."""

    @property
    def is_trivial(self) -> bool:
        """Whether every element leaves every datum as it is."""
        return False

    @property
    def is_linear(self) -> bool:
        """Whether `g(x + y) = gx + gy`."""
        return True

    def is_exact(self, x: Data) -> bool:
        """Whether the group law holds on data shaped like `x` up to rounding (False: interpolated)."""
        return True

    def permuted_axes(self, index: int, x: Data) -> Axes:
        """The axes of `x` that factor `index` of the group permutes (0 for a group that is no product).

        A tuple of axes for a tensor, empty where that factor permutes nothing there; for a tuple of data a
        tuple of those. On these axes, and nowhere else, the factor acts by `(p x)[p[i]] = x[i]`.
        """
        if isinstance(x, tuple | list):
            return tuple(self.permuted_axes(index, part) for part in x)
        return ()

    def orbit(self, g: Element, x: Data) -> Data:
        """Every element on every sample: `g` of batch `(G,)` gives data shaped `(G, B, ...)`.

        Batched: one call of the action on `G B` samples.
        """
        (count,) = self.group.batch_shape(g)
        size = batch_size(x)
        index = torch.arange(count, device=first_leaf(x).device).repeat_interleave(size)
        paired = self.group.take(self.group.to(g, device=first_leaf(x).device), index)
        repeated = map_data(lambda t: t.unsqueeze(0).expand(count, *t.shape).reshape(count * size, *t.shape[1:]), x)
        return map_data(lambda t: t.reshape(count, size, *t.shape[1:]), self(paired, repeated))

    def __repr__(self) -> str:
        return f"{self.name} under {self.group}"


class Unbound:
    """An action that still waits for its group: `images()`, `points(5)`, `trivial()`, ...

    `Symmetry(group, input=images(), ...)` binds it; `images().on(group)` does so by hand.
    """

    def __init__(self, name: str, bind: Callable[[Group], Action]):
        self.name = name
        self._bind = bind

    def on(self, group: Group) -> Action:
        """The action of `group`. Raises `InputError` where that group cannot act on such data."""
        return self._bind(group)

    def __repr__(self) -> str:
        return f"{self.name} (no group yet)"


def map_data(fn: Callable[[Tensor], Tensor], x: Data) -> Data:
    """Apply `fn` to every tensor in `x`."""
    if isinstance(x, tuple | list):
        return tuple(map_data(fn, part) for part in x)
    return fn(x)


def first_leaf(x: Data) -> Tensor:
    """The first tensor in `x`."""
    while isinstance(x, tuple | list):
        x = x[0]
    return x


def batch_size(x: Data) -> int:
    """Number of samples in `x`."""
    return int(first_leaf(x).shape[0])
