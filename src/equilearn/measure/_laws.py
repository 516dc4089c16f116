"""How the activations of a layer may transform: the laws that a layer's error is measured against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equilearn._check import InputError
from equilearn.actions import Action, ImageAction, PointAction, SetAction
from equilearn.groups import Element
from equilearn.reps import Rep, regular
from equilearn.symmetry import Symmetry

Law = Callable[[Element, Tensor], Tensor]

REGULAR_LIMIT = 64
"""Groups up to this order may stand behind the channels of a regular field."""


def laws(symmetry: Symmetry, activation: Tensor) -> dict[str, Law]:
    """The named laws `h(g x) = law(g, h(x))` that fit activations of this shape.

    "unchanged" always; "moves like the input", "moves like the output" where these actions fit; for
    images and a finite group also "moves, fields permuted": the plane turns and the channels, taken as
    (field, element), are permuted as a group convolution does; after pooling "fields permuted"; for
    points "points permuted".
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
    points = _point_permutation(symmetry, activation)
    if points is not None:
        found["points permuted"] = points
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


def _point_permutation(symmetry: Symmetry, h: Tensor) -> Law | None:
    """The permutation part of a group of points, on the second axis, whatever the columns mean."""
    action = symmetry.input
    if not isinstance(action, PointAction | SetAction) or h.ndim < 3 or h.shape[1] != action.count:
        return None
    return action.permute if action.permutes else None
