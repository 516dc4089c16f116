"""Which points of a set, nodes of a graph are there."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from equilearn.actions._base import Action, Axes, Data


def mask_of(action: Action, index: int, x: Data) -> Bool[Tensor, "B n"] | None:
    """The mask among what factor `index` of the group permutes: the first bool tensor `(B, n)` of a tuple.

    Args:
        action: the action on `x`.
        index: of the factor; 0 for a group that is no product.
        x: data.

    Returns:
        True where a point is real; None where there is no mask: all are.

    Example:
        >>> import torch, equilearn as eq
        >>> clouds = eq.actions.combine(eq.actions.points(2), eq.actions.sets(2)).on(eq.SO(3) * eq.Symmetric(2))
        >>> mask = torch.tensor([[True, False]])
        >>> mask_of(clouds, 1, (torch.ones(1, 2, 3), mask)) is mask
        True
    """
    return _first(action.permuted_axes(index, x), x) if isinstance(x, tuple | list) else None


def _first(axes: Axes, x: Data) -> Tensor | None:
    if isinstance(x, tuple | list):
        found = (_first(own, part) for own, part in zip(axes, x, strict=True))
        return next((mask for mask in found if mask is not None), None)
    return x if x.dtype == torch.bool and x.ndim == 2 and axes == (1,) else None
