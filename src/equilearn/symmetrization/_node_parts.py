"""What a group of permutations moves: rows, pairs and the mask, gathered from all parts of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn.actions import (
    Action,
    CombinedAction,
    Data,
    EdgeAction,
    FactorAction,
    PairAction,
    PointAction,
    SetAction,
    VectorAction,
)
from equilearn.symmetrization._views import View, cloud_mask, cloud_view, rows_view

Parts: TypeAlias = "list[tuple[Callable[[Data], Data], Action, int]]"  # where, which action, which of its factors


@dataclass(frozen=True)
class Nodes:
    """What is known of the nodes: features, whether they are real, and of every pair of them."""

    rows: Float[Tensor, "B n C"]
    pairs: Float[Tensor, "B n n E"] | None
    real: Bool[Tensor, "B n"]


ReadNodes: TypeAlias = Callable[[Data], Nodes]


def nodes_view(action: Action, index: int) -> ReadNodes | None:
    """How to read what factor `index` of the group permutes; None where it permutes nothing.

    All parts of a tuple count. The first bool part `(B, n)` is the mask; numbers become float64, which keeps
    their order.
    """
    parts = _parts(action, index, lambda x: x)
    if not parts:
        return None

    def read(x: Data) -> Nodes:
        rows: list[Tensor] = []
        pairs: list[Tensor] = []
        real: Tensor | None = None
        for at, part, own in parts:
            leaf = at(x)
            if isinstance(part, PairAction):
                pairs.append(_flat(leaf, 3))
            elif isinstance(part, SetAction) and leaf.dtype == torch.bool and leaf.ndim == 2 and real is None:
                real = leaf
            elif not isinstance(part, EdgeAction):
                view = rows_view(part, own)
                if view is not None:
                    rows.append(view(leaf).to(torch.float64))
        lists = [at(x) for at, part, _ in parts if isinstance(part, EdgeAction)]
        size, n = _shape(rows, pairs, real, parts, x)
        pairs += [_adjacency(edges, n) for edges in lists]
        device = (rows or pairs or lists)[0].device if rows or pairs or lists else real.device  # type: ignore[union-attr]
        if real is None:
            real = torch.ones(size, n, dtype=torch.bool, device=device)
        empty = torch.zeros(size, n, 0, dtype=torch.float64, device=device)
        return Nodes(torch.cat([empty, *rows], -1), torch.cat(pairs, -1) if pairs else None, real)

    return read


def points_view(action: Action, index: int, *, centred: bool) -> View | None:
    """`cloud_view`, with points that are not there (by the mask) at the origin, or, with `centred`, in the
    middle of those that are, where they change neither the centroid nor moments about it."""
    view = cloud_view(action, index)
    if view is None or not isinstance(action, CombinedAction):
        return view

    def read(x: Data) -> Tensor:
        points = view(x)
        mask = cloud_mask(action, x, points.shape[1])
        if mask is None:
            return points
        there = mask.unsqueeze(-1)
        points = torch.where(there, points, 0)
        middle = points.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
        return torch.where(there, points, middle if centred else 0)

    return read


def is_graph(action: Action, index: int) -> bool:
    """Whether factor `index` permutes pairs or edges, so that a row alone does not tell a node."""
    return any(isinstance(part, PairAction | EdgeAction) for _, part, _ in _parts(action, index, lambda x: x))


def tells_all(action: Action, index: int) -> bool:
    """Whether what `nodes_view` reads is all there is to the data."""
    parts = action.parts if isinstance(action, CombinedAction) else (action,)
    return len(_parts(action, index, lambda x: x)) == len(parts) and not isinstance(action, VectorAction)


def _parts(action: Action, index: int, at: Callable[[Data], Data]) -> Parts:
    if isinstance(action, CombinedAction):
        return [
            found
            for place, part in enumerate(action.parts)
            for found in _parts(part, index, lambda x, at=at, place=place: at(x)[place])
        ]
    if isinstance(action, FactorAction):
        return _parts(action.inner, 0, at) if index == action.index else []
    if isinstance(action, PairAction | EdgeAction | SetAction):
        return [(at, action, index)] if index == action.index else []
    if isinstance(action, PointAction | VectorAction):
        return [(at, action, index)] if rows_view(action, index) is not None else []
    return []


def _flat(leaf: Tensor, axes: int) -> Tensor:
    """All axes behind the first `axes` as one, in float64."""
    shape = leaf.shape[:axes]
    width = 1
    for length in leaf.shape[axes:]:
        width *= length
    return leaf.reshape(*shape, width).to(torch.float64)


def _shape(rows: list[Tensor], pairs: list[Tensor], real: Tensor | None, parts: Parts, x: Data) -> tuple[int, int]:
    if rows or pairs:
        return (rows or pairs)[0].shape[0], (rows or pairs)[0].shape[1]
    if real is not None:
        return real.shape[0], real.shape[1]
    at, part, _ = parts[0]
    return at(x).shape[0], int(part.count or 0)  # type: ignore[attr-defined]


def _adjacency(edges: Tensor, n: int) -> Float[Tensor, "B n n 1"]:
    """How often each pair is listed."""
    size = edges.shape[0]
    listed = (edges >= 0).all(-1)
    place = torch.where(listed, edges[..., 0] * n + edges[..., 1], n * n)
    counts = torch.zeros(size, n * n + 1, dtype=torch.float64, device=edges.device)
    counts.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float64))
    return counts[:, :-1].reshape(size, n, n, 1)
