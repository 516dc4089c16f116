"""What of the data tells a pose: the points in space, the rows of a set, the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from equilearn._check import InputError
from equilearn.actions import (
    Action,
    CombinedAction,
    Data,
    FactorAction,
    ImageAction,
    PointAction,
    SetAction,
    VectorAction,
    mask_of,
)
from equilearn.groups import Group, Product, factors_of
from equilearn.reps import Rep, defining, factor, permutation

View: TypeAlias = Callable[[Data], Tensor]


def image_view(action: Action, index: int | None = None) -> View | None:
    """`x -> (B, C, H, W)`: the first image in the data (that factor `index` of the group moves, where
    given); None where there is none."""
    if isinstance(action, ImageAction):
        return lambda x: x
    if isinstance(action, FactorAction):
        return image_view(action.inner) if index in (None, action.index) else None
    return _of_first_part(action, lambda part: image_view(part, index))


def cloud_view(action: Action, index: int) -> View | None:
    """`x -> (B, N, d)`: the vectors that factor `index` of the group moves by its own matrices.

    Positions of a point cloud (its velocities follow), or those blocks of a vector that carry the
    defining representation. None where the data hold no such vectors.
    """
    if isinstance(action, FactorAction):
        return cloud_view(action.inner, 0) if index == action.index else None
    if isinstance(action, PointAction):
        return lambda x: x[..., : (x.shape[-1] - action.scalars) // (1 + action.vectors)]
    if isinstance(action, VectorAction):
        wanted = _own(action.group, index, defining)
        return None if wanted is None else _blocks(action.rep, wanted)
    return _of_first_part(action, lambda part: cloud_view(part, index))


def rows_view(action: Action, index: int) -> View | None:
    """`x -> (B, n, C)`: what factor `index`, a permutation group, permutes. None where nothing is."""
    if isinstance(action, FactorAction):
        return rows_view(action.inner, 0) if index == action.index else None
    if isinstance(action, PointAction):
        return lambda x: x
    if isinstance(action, SetAction):
        if index != action.index:
            return None
        return lambda x: x.reshape(x.shape[0], x.shape[1], -1) if x.numel() else x.flatten(1)[..., None]
    if isinstance(action, VectorAction):
        wanted = _own(action.group, index, permutation)
        blocks = None if wanted is None else _blocks(action.rep, wanted)
        return None if blocks is None else lambda x: blocks(x).transpose(-1, -2)
    return _of_first_part(action, lambda part: rows_view(part, index))


def permuted_leaves(action: Action, index: int, x: Data) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Every tensor in `x`, with the axes of it that factor `index` of the group permutes."""
    yield from _with_axes(x, action.permuted_axes(index, x))


def _with_axes(x: Data, axes: Any) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    if isinstance(x, tuple | list):
        for part, own in zip(x, axes, strict=True):
            yield from _with_axes(part, own)
    else:
        yield x, axes


def cloud_mask(action: Action, x: Data, count: int) -> Bool[Tensor, "B N"] | None:
    """Which of `count` points are there: the mask that moves with them where they are permuted, else the
    first bool tensor `(B, count)` in the data."""
    if not isinstance(x, tuple | list):
        return None
    for index in range(len(factors_of(action.group))):
        mask = mask_of(action, index, x)
        if mask is not None and mask.shape[1] == count:
            return mask
    for leaf, _ in permuted_leaves(action, 0, x):
        if leaf.dtype == torch.bool and leaf.ndim == 2 and leaf.shape[1] == count:
            return leaf
    return None


def is_pointwise(action: Action) -> bool:
    """Whether permutations act on outputs by moving whole entries, one for each point."""
    if isinstance(action, CombinedAction):
        return all(is_pointwise(part) for part in action.parts)
    if isinstance(action, FactorAction):
        return is_pointwise(action.inner)
    return action.is_trivial or isinstance(action, PointAction | SetAction)


def _of_first_part(action: Action, view: Callable[[Action], View | None]) -> View | None:
    if isinstance(action, CombinedAction):
        for place, part in enumerate(action.parts):
            found = view(part)
            if found is not None:
                return _at(place, found)
    return None


def _at(place: int, view: View) -> View:
    return lambda x: view(x[place])


def _own(group: Group, index: int, build: Callable[[Group], Rep]) -> Rep | None:
    """The factor's own representation, seen from the whole group; None where it has none."""
    try:
        own = build(factors_of(group)[index])
        return factor(group, index, own) if isinstance(group, Product) else own
    except (InputError, TypeError):
        return None


def _blocks(rep: Rep, wanted: Rep) -> View | None:
    """`(B, ..., copies * rep.dim) -> (B, N, wanted.dim)`: all copies of `wanted` inside `rep`."""
    spans: list[tuple[int, int]] = []
    offset = 0
    for multiplicity, term in rep.terms():
        width = multiplicity * term.dim
        if term == wanted:
            spans.append((offset, offset + width))
        offset += width
    if not spans:
        return None

    def view(x: Tensor) -> Tensor:
        rows = x.reshape(x.shape[0], -1, rep.dim) if x.numel() else x.new_zeros(x.shape[0], 1, rep.dim)
        parts = [
            rows[..., a:b].reshape(x.shape[0], rows.shape[1] * (b - a) // wanted.dim, wanted.dim) for a, b in spans
        ]
        return torch.cat(parts, dim=1)

    return view
