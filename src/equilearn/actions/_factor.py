"""The action of one factor of a product of groups; the other factors do nothing."""

from __future__ import annotations

from functools import partial

from equilearn._check import InputError, InputTypeError, positive_int, require
from equilearn.actions._base import Action, Axes, Data, Unbound, batch_size
from equilearn.actions._elements import paired
from equilearn.groups import Element, Group, Product


class FactorAction(Action):
    """A product acting through its factor `index` alone; see `factor`."""

    def __init__(self, group: Product, index: int, inner: Action):
        self.group = group
        self.index = index
        self.inner = inner

    @property
    def name(self) -> str:
        return f"{self.inner.name}@{self.index}"

    @property
    def is_trivial(self) -> bool:
        return self.inner.is_trivial

    @property
    def is_linear(self) -> bool:
        return self.inner.is_linear

    def is_exact(self, x: Data) -> bool:
        return self.inner.is_exact(x)

    def permuted_axes(self, index: int, x: Data) -> Axes:
        return self.inner.permuted_axes(0 if index == self.index else -1, x)

    def check(self, x: Data) -> None:
        self.inner.check(x)

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        paired(self.group, g, batch_size(x))
        return self.inner(g[self.index], x)


def factor(index: int, action: Action | Unbound) -> Unbound:
    """A product of groups acts through its factor `index`; the other factors leave the data alone.

    For tuples whose parts feel different factors: an image that turns beside labels that are permuted.

    Args:
        index: which of `group.factors`, from 0.
        action: the action of that factor, bound to it or not.

    Raises:
        InputError: when bound, a group that is no product or has no such factor, an action of another
            group, or a factor that cannot act so.

    Cost: that of the action.

    Example:
        >>> import torch, equilearn as eq
        >>> G = eq.Cyclic(4) * eq.Symmetric(2)
        >>> turn = eq.actions.factor(0, eq.actions.images()).on(G)
        >>> turn((torch.tensor(1), torch.tensor([1, 0])), torch.arange(4.0).reshape(1, 1, 2, 2))
        tensor([[[[1., 3.],
                  [0., 2.]]]])
    """
    index = positive_int(index, "index", 0)
    if not isinstance(action, Action | Unbound):
        raise InputTypeError(f"factor() takes an action such as images() or sets(), got {type(action).__name__}.")
    return Unbound(f"{action.name}@{index}", partial(_bind, index, action))


def _bind(index: int, action: Action | Unbound, group: Group) -> Action:
    if not isinstance(group, Product):
        raise InputError(f"{group} is not a product of groups; use {action.name} as it is.")
    require(
        index < len(group.factors),
        f"{group} has {len(group.factors)} factors, numbered from 0; there is no factor {index}.",
    )
    own = group.factors[index]
    inner = action.on(own) if isinstance(action, Unbound) else action
    require(
        inner.group == own,
        f"Factor {index} of {group} is {own}, but {inner.name} is an action of {inner.group}.",
    )
    return FactorAction(group, index, inner)
