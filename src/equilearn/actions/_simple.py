"""The trivial action, vectors, and the combination of actions for tuples."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from equilearn._check import InputError, InputTypeError, positive_int, require
from equilearn.actions._base import Action, Axes, Data, Unbound, batch_size, map_data
from equilearn.actions._elements import paired
from equilearn.actions._permuting import permutes_naturally
from equilearn.groups import Element, Group
from equilearn.reps import Rep


class TrivialAction(Action):
    """Every element leaves everything as it is."""

    def __init__(self, group: Group):
        self.group = group

    @property
    def name(self) -> str:
        return "trivial"

    @property
    def is_trivial(self) -> bool:
        return True

    def __call__(self, g: Element, x: Data) -> Data:
        paired(self.group, g, batch_size(x))
        return map_data(lambda t: t, x)

    def check(self, x: Data) -> None:
        map_data(lambda t: t, x)


class VectorAction(Action):
    """A representation, once or several times, on the last axis: `x` of shape `(B, *rest, copies * dim)`."""

    def __init__(self, rep: Rep, copies: int | None = 1):
        if not isinstance(rep, Rep):
            raise InputTypeError(
                f"vectors() needs a representation such as reps.defining(group), got {type(rep).__name__}."
            )
        self.group = rep.group
        self.rep = rep
        self.copies = copies if copies is None else positive_int(copies, "copies")

    @property
    def name(self) -> str:
        count = "" if self.copies in (1, None) else f"{self.copies} "
        return f"vectors({count}{self.rep.name})"

    def check(self, x: Data) -> None:
        _require_tensor(x, "vectors")
        dim = self.rep.dim
        width = x.shape[-1] if x.ndim else 0
        fits = x.ndim >= 2 and (width % dim == 0 if self.copies is None else width == self.copies * dim)
        need = f"a multiple of {dim}" if self.copies is None else f"{self.copies * dim}"
        require(
            fits,
            f"{self.name} acts on the last axis, of length {need}, of data (B, ..., {need}); "
            f"got shape {tuple(x.shape)}.",
        )
        require(
            x.is_floating_point() or x.is_complex() or self.rep.is_permutation,
            f"{self.name} acts by matrices and needs floating-point data, got {x.dtype}. Convert with x.float().",
        )

    def permuted_axes(self, index: int, x: Data) -> Axes:
        # Of several copies side by side, each is permuted within the axis, not the axis as a whole.
        natural = x.shape[-1] == self.rep.dim and permutes_naturally(self.rep, index)
        return (x.ndim - 1,) if natural else ()

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        one_each = paired(self.group, g, x.shape[0])
        g = self.group.to(g, device=x.device)
        if x.numel() == 0:
            return x.clone()
        copies = x.shape[-1] // self.rep.dim
        rows = x.reshape(x.shape[0], -1, copies, self.rep.dim)
        return self._apply(g, rows, one_each).reshape(x.shape)

    def _apply(self, g: Element, rows: Tensor, one_each: bool) -> Tensor:
        """`rho(g)` on `rows` of shape `(B, M, copies, dim)`; every summand of `rho` on its own block,
        so that copies of one representation share one small matrix."""
        if self.rep.is_permutation:
            return self.rep.apply(self.group.reshape(g, (-1, 1, 1)) if one_each else g, rows)
        parts = []
        offset = 0
        for multiplicity, term in self.rep.terms():
            width = multiplicity * term.dim
            block = rows[..., offset : offset + width].unflatten(-1, (multiplicity, term.dim))
            matrix = term.matrix(g).to(rows.dtype).mT
            shape = block.shape
            block = block.reshape(shape[0], -1, term.dim) @ matrix
            parts.append(block.reshape(shape).flatten(-2))
            offset += width
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class CombinedAction(Action):
    """One action for each part of a tuple, all of one group."""

    def __init__(self, *parts: Action):
        self.parts = parts
        self.group = parts[0].group

    @property
    def name(self) -> str:
        return "(" + ", ".join(part.name for part in self.parts) + ")"

    @property
    def is_trivial(self) -> bool:
        return all(part.is_trivial for part in self.parts)

    @property
    def is_linear(self) -> bool:
        return all(part.is_linear for part in self.parts)

    def is_exact(self, x: Data) -> bool:
        return all(part.is_exact(piece) for part, piece in zip(self.parts, x, strict=True))

    def permuted_axes(self, index: int, x: Data) -> Axes:
        return tuple(part.permuted_axes(index, piece) for part, piece in zip(self.parts, x, strict=True))

    def check(self, x: Data) -> None:
        if not isinstance(x, tuple | list):
            raise InputTypeError(f"{self.name} acts on a tuple of {len(self.parts)} tensors, got {type(x).__name__}.")
        require(len(x) == len(self.parts), f"{self.name} acts on a tuple of {len(self.parts)}, got one of {len(x)}.")
        for part, piece in zip(self.parts, x, strict=True):
            part.check(piece)
        sizes = [batch_size(piece) for piece in x]
        require(len(set(sizes)) == 1, f"All parts of the data must hold the same number of samples, got {sizes}.")

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        return tuple(part(g, piece) for part, piece in zip(self.parts, x, strict=True))


def trivial() -> Unbound:
    """The action that leaves everything as it is: the output action of an invariant function.

    Example:
        >>> import torch, equilearn as eq
        >>> turns = eq.actions.trivial().on(eq.Cyclic(4))
        >>> turns(torch.tensor(1), torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
    """
    return Unbound("trivial", TrivialAction)


def vectors(rep: Rep, copies: int | None = 1) -> Action:
    """The group acts on the last axis of `x`, shape `(B, ..., copies * rep.dim)`, through `rep`.

    Args:
        rep: the representation.
        copies: how many vectors lie side by side on the last axis; None: as many as fit.

    Raises:
        InputTypeError: `rep` is not a representation, or `x` is not floating point (matrices only).
        InputError: when acting, the last axis of `x` does not fit.

    Cost: O(B dim^2) a copy; O(B dim) for a permutation representation, which builds no matrix.

    Example:
        >>> import torch, equilearn as eq
        >>> move = eq.actions.vectors(eq.reps.defining(eq.Cyclic(4)))
        >>> move(torch.tensor(1), torch.tensor([[1.0, 0.0]]))
        tensor([[0., 1.]])
    """
    return VectorAction(rep, copies)


@overload
def combine(*actions: Action) -> Action: ...
@overload
def combine(*actions: Action | Unbound) -> Action | Unbound: ...
def combine(*actions: Action | Unbound) -> Action | Unbound:
    """An action on tuples: the first part moves by the first action, and so on.

    Args:
        actions: at least one; all of one group, or some of them not yet bound to a group (then the
            combination is not bound either).

    Raises:
        InputError: no action given, or two groups.

    Example:
        >>> import torch, equilearn as eq
        >>> both = eq.actions.combine(eq.actions.images(), eq.actions.trivial()).on(eq.Cyclic(4))
        >>> image, label = both(torch.tensor(1), (torch.arange(4.0).reshape(1, 1, 2, 2), torch.ones(1, 1)))
        >>> image
        tensor([[[[1., 3.],
                  [0., 2.]]]])
    """
    require(len(actions) > 0, "combine() needs at least one action.")
    for action in actions:
        if not isinstance(action, Action | Unbound):
            raise InputTypeError(f"combine() takes actions such as images() or points(), got {type(action).__name__}.")
    if any(isinstance(action, Unbound) for action in actions):
        name = "(" + ", ".join(action.name for action in actions) + ")"
        return Unbound(name, lambda group: _bind_all(group, actions))
    bound = [action for action in actions if isinstance(action, Action)]
    _same_group(bound)
    return CombinedAction(*bound)


def _bind_all(group: Group, actions: tuple[Action | Unbound, ...]) -> Action:
    bound = [action.on(group) if isinstance(action, Unbound) else action for action in actions]
    _same_group(bound)
    return CombinedAction(*bound)


def _same_group(actions: list[Action]) -> None:
    groups = {action.group for action in actions}
    if len(groups) > 1:
        names = sorted(str(group) for group in groups)
        raise InputError(f"All parts of a combined action must belong to one group, got {', '.join(names)}.")


def _require_tensor(x: object, what: str) -> None:
    if not isinstance(x, Tensor):
        raise InputTypeError(f"{what} act on one tensor, got {type(x).__name__}. For tuples use combine(...).")
