"""How the activations of a layer may transform: the laws that a layer's error is measured against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from equilearn._check import InputError
from equilearn.actions import (
    Action,
    CombinedAction,
    EdgeAction,
    FactorAction,
    ImageAction,
    PairAction,
    PointAction,
    SetAction,
    pairs,
    sets,
)
from equilearn.groups import Alternating, Element, Symmetric, factors_of
from equilearn.reps import Rep, regular
from equilearn.symmetry import Symmetry

Law = Callable[[Element, Tensor], Tensor]

REGULAR_LIMIT = 64
"""Groups up to this order may stand behind the channels of a regular field."""


def laws(symmetry: Symmetry, activation: Tensor) -> dict[str, Law]:
    """The named laws `h(g x) = law(g, h(x))` that fit activations of this shape.

    "unchanged" always; "moves like the input", "moves like the output" where these actions fit; for
    images and a finite group also "moves, fields permuted": the plane turns and the channels, taken as
    (field, element), are permuted as a group convolution does; after pooling "fields permuted"; for points,
    sets and graphs "points permuted" on axis 1 and "pairs permuted" on axes 1 and 2; for points in space
    "vectors turned" on the last axis, with or without "points permuted".
    """
    found: dict[str, Law] = {"unchanged": lambda g, h: h}
    for name, action in (("moves like the input", symmetry.input), ("moves like the output", symmetry.output)):
        if not action.is_trivial and _fits(action, activation):
            found[name] = action
    fields = _fields(symmetry, activation)
    if fields is not None and activation.ndim == 4 and isinstance(symmetry.input, ImageAction):
        found["moves, fields permuted"] = lambda g, h: symmetry.input(g, _permute_fields(fields, g, h))
    if fields is not None and activation.ndim == 2:
        found["fields permuted"] = lambda g, h: _permute_fields(fields, g, h)
    found.update(_point_laws(symmetry.input, activation))
    return found


def _fits(action: Action, h: Tensor) -> bool:
    try:
        action.check(h)
    except InputError:
        return False
    return True


def _fields(symmetry: Symmetry, h: Tensor) -> Rep | None:
    """The regular representation, where the channels of `h` can hold copies of it."""
    order = symmetry.group.order
    if order is None or not 1 < order <= REGULAR_LIMIT or h.ndim < 2 or h.shape[1] % order:
        return None
    return regular(symmetry.group)


def _permute_fields(rep: Rep, g: Element, h: Tensor) -> Tensor:
    """Channels `(field, element)`: what stands at `k` goes to `g k`."""
    source = torch.argsort(rep.permutation(g)).to(h.device)
    return h.unflatten(1, (-1, rep.dim))[:, :, source].flatten(1, 2)


def _point_laws(action: Action, h: Tensor) -> dict[str, Law]:
    """What points, sets and graphs do to features of points, of pairs and to vectors, whatever the columns mean."""
    parts = _parts(action)
    found: dict[str, Law] = {}
    if h.ndim < 3:
        return found
    if any(isinstance(part, PointAction | SetAction | PairAction | EdgeAction) for part in parts):
        for index, one in enumerate(factors_of(action.group)):
            if isinstance(one, Symmetric | Alternating) and h.shape[1] == one.n:
                found.setdefault("points permuted", partial(_by_factor, sets().on(one), index))
                if h.shape[2] == one.n:
                    found.setdefault("pairs permuted", partial(_by_factor, pairs().on(one), index))
    turning = next((part for part in parts if isinstance(part, PointAction) and part.dimension == h.shape[-1]), None)
    if turning is not None and turning.group == action.group:
        found["vectors turned"] = turning.turn
        if "points permuted" in found:
            found["points permuted, vectors turned"] = partial(_both, found["points permuted"], turning.turn)
    return found


def _parts(action: Action) -> list[Action]:
    """The actions on single tensors that an action is made of."""
    if isinstance(action, CombinedAction):
        return [part for one in action.parts for part in _parts(one)]
    return _parts(action.inner) if isinstance(action, FactorAction) else [action]


def _by_factor(action: Action, index: int, g: Element, h: Tensor) -> Tensor:
    return action(g[index] if isinstance(g, tuple) else g, h)


def _both(first: Law, second: Law, g: Element, h: Tensor) -> Tensor:
    return second(g, first(g, h))
