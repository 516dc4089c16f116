"""What poses are read from: numbers that are there, and finite."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from equilearn._check import finite
from equilearn.actions import Action, CombinedAction, Data, FactorAction, PointAction, mask_of
from equilearn.groups import factors_of
from equilearn.symmetrization._views import cloud_mask


def readable(action: Action, x: Data) -> Data:
    """`x` without what its padding holds. Raises `InputError` where the rest is not finite."""
    x = without_padding(action, x)
    require_finite(action, x, "x")
    return x


def without_padding(action: Action, x: Data) -> Data:
    """`x` with zeros where a mask says that nothing is there, so that no pose depends on what padding holds."""
    if not isinstance(x, tuple | list):
        return x
    for index in range(len(factors_of(action.group))):
        mask = mask_of(action, index, x)
        if mask is not None:
            x = _blanked(x, action.permuted_axes(index, x), mask)
    return _points_blanked(action, x, (action, x))


def _blanked(x: Data, axes: Any, mask: Bool[Tensor, "B n"]) -> Data:
    """Zeros along the given axes of every tensor, where the mask is False."""
    if isinstance(x, tuple | list):
        return tuple(_blanked(part, own, mask) for part, own in zip(x, axes, strict=True))
    for axis in axes if x.is_floating_point() or x.is_complex() else ():
        shape = [1] * x.ndim
        shape[0], shape[axis] = mask.shape
        x = torch.where(mask.reshape(shape), x, 0)
    return x


def _points_blanked(action: Action, x: Data, whole: tuple[Action, Data]) -> Data:
    """The same for clouds of points, whose mask counts also where nothing permutes them."""
    while isinstance(action, FactorAction):
        action = action.inner
    if isinstance(action, CombinedAction):
        return tuple(_points_blanked(part, own, whole) for part, own in zip(action.parts, x, strict=True))
    mask = cloud_mask(*whole, x.shape[1]) if isinstance(action, PointAction) and isinstance(x, Tensor) else None
    return x if mask is None else _blanked(x, (1,), mask)


def require_finite(action: Action, x: Data, name: str) -> None:
    """Data that the group does not move may hold what it likes: no pose is read from it."""
    if isinstance(action, CombinedAction):
        for place, (part, own) in enumerate(zip(action.parts, x, strict=True)):
            require_finite(part, own, f"{name}[{place}]")
    elif isinstance(x, Tensor) and not action.is_trivial:
        finite(x, name)
