"""Circular shifts along axes: what leaves at one end enters at the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.actions._base import Action, Data, Unbound
from equilearn.actions._elements import paired
from equilearn.groups import Abelian, Element, Group, factors_of


class ShiftAction(Action):
    """Cyclic groups shifting data `(B, ...)` along axes, one group an axis; see `shifts`."""

    def __init__(self, group: Group, axes: Sequence[int] | None = None):
        self.group = group
        self.orders = _orders(group)
        self.axes = tuple(range(-len(self.orders), 0)) if axes is None else tuple(axes)
        require(
            len(self.axes) == len(self.orders),
            f"{group} shifts along {_counted(len(self.orders))}, one for each of its cyclic groups, but shifts() was "
            f"asked for {_counted(len(self.axes))}, {', '.join(map(str, self.axes))}. Make the two agree.",
        )
        self._default = axes is None

    @property
    def name(self) -> str:
        return "shifts" if self._default else f"shifts({', '.join(map(str, self.axes))})"

    def check(self, x: Data) -> None:
        if not isinstance(x, Tensor):
            raise InputTypeError(f"shifts act on one tensor, got {type(x).__name__}. For tuples use combine(...).")
        shape = tuple(x.shape)
        for axis, order in zip(self.axes, self.orders, strict=True):
            inside = -x.ndim < axis < x.ndim and axis != 0
            require(
                inside,
                f"{self.name} under {self.group} needs data with a batch and then an axis {axis}, got shape {shape}.",
            )
            length = shape[axis]
            require(
                length > 0 and length % order == 0,
                f"Shifting by {order} equal steps needs an axis of a length that {order} divides; axis {axis} of "
                f"shape {shape} has {length}. Choose a group whose order divides {length}, or another axis.",
            )
        places = [axis % x.ndim for axis in self.axes]
        require(len(set(places)) == len(places), f"Axes {self.axes} of data of shape {shape} are not all different.")

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        one_each = paired(self.group, g, x.shape[0])
        steps = _steps(self.group, self.group.to(g, device=x.device))
        for axis, order, k in zip(self.axes, self.orders, steps, strict=True):
            axis %= x.ndim
            length = x.shape[axis]
            places = torch.arange(length, device=x.device)
            source = (places - length // order * k[..., None]) % length
            if one_each:
                beside = [len(source) if i == 0 else length if i == axis else 1 for i in range(x.ndim)]
                x = x.gather(axis, source.reshape(beside).expand(x.shape))
            else:
                x = x.index_select(axis, source)
        return x


def shifts(*axes: int) -> Unbound:
    """Circular shifts of signals, images or grids `(B, ...)`: `C_n` along an axis, `C_n x C_m` along two.

    Element `k` of `C_n` moves an axis of length `L`, which `n` must divide, by `k L / n` places:
    `x.roll(k * L // n, axis)`. Exact for any dtype.

    Groups: `Cyclic(n)`, `Abelian(orders)`, and products of those; each cyclic group shifts an axis of its own. Where
    only one factor of a product shifts, use `factor`.

    Args:
        axes: which axes, in the order of the cyclic groups; the batch is axis 0, negative ones count from the end.
            Default: the last ones, so that `C_n` shifts along the width of images, `C_n x C_m` along height and width.

    Raises:
        InputError: axis 0 or one named twice; when bound, a group that is not made of cyclic ones, or of more or fewer
            than there are axes; when acting, an axis that is missing or of a length that the order does not divide.

    Cost: O(size of x) an axis.

    Example:
        >>> import torch, equilearn as eq
        >>> along = eq.actions.shifts().on(eq.Cyclic(4))
        >>> along(torch.tensor(1), torch.arange(8.0)[None])
        tensor([[6., 7., 0., 1., 2., 3., 4., 5.]])
        >>> both = eq.actions.shifts().on(eq.Cyclic(2) * eq.Cyclic(3))
        >>> both((torch.tensor(1), torch.tensor(1)), torch.arange(6).reshape(1, 2, 3))
        tensor([[[5, 3, 4],
                 [2, 0, 1]]])
    """
    for axis in axes:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise InputTypeError(f"Axes are whole numbers such as -1, got {axis!r}.")
        require(axis != 0, "Axis 0 is the batch and is not shifted; the axes of a sample count from 1.")
    require(len(set(axes)) == len(axes), f"Each axis can be shifted by one group, got {', '.join(map(str, axes))}.")
    return Unbound("shifts", lambda group: ShiftAction(group, axes or None))


def _orders(group: Group) -> tuple[int, ...]:
    """The order of each cyclic group in `group`."""
    found: list[int] = []
    for factor in factors_of(group):
        if not isinstance(factor, Abelian):
            which = "" if factor is group else f"; its factor {factor} is none"
            raise InputError(
                f"shifts() needs cyclic groups such as Cyclic(8), or products of them, got {group}{which}. "
                "actions.factor(0, actions.shifts()) lets one factor of a product shift alone."
            )
        found += factor.orders
    return tuple(found)


def _steps(group: Group, g: Element) -> list[Int[Tensor, "*batch"]]:
    """By how many steps `g` shifts each axis."""
    parts = g if isinstance(g, tuple) else (g,)
    pairs = zip(factors_of(group), parts, strict=True)
    return [k for one, part in pairs if isinstance(one, Abelian) for k in one.digits(part).unbind(-1)]


def _counted(axes: int) -> str:
    return f"{axes} axes" if axes != 1 else "1 axis"
