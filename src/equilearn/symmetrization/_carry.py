"""Gradients for the permutations that moved a batch of data: on every tensor, through its soft twin."""

from __future__ import annotations

from typing import Any

from equilearn.actions import Action, Data
from equilearn.groups import Product
from equilearn.symmetrization._base import Elements
from equilearn.symmetrization._straight_through import straight_through


def carry(action: Action, elements: Elements, x: Data, *, inverse: bool) -> Data:
    """`x`, moved by the elements (their inverses), with gradients to the soft permutations of the elements."""
    for index, soft in (elements.soft or {}).items():
        p = elements.g[index] if isinstance(action.group, Product) else elements.g
        flat, order = soft.flatten(0, 1), p.reshape(-1, soft.shape[-1])
        x = _each(x, action.permuted_axes(index, x), flat, order, inverse)
    return x


def _each(x: Data, axes: Any, soft: Any, p: Any, inverse: bool) -> Data:
    if isinstance(x, tuple | list):
        return tuple(_each(part, own, soft, p, inverse) for part, own in zip(x, axes, strict=True))
    return straight_through(x, soft, p, axes, inverse=inverse) if x.is_floating_point() else x
