"""Two ways to write a graph down, matrices and lists of edges, and the ways between."""

from __future__ import annotations

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.actions._base import Action, Data
from equilearn.actions._graphs import PADDING, EdgeAction, GraphAction, PairAction, require_edges
from equilearn.actions._simple import CombinedAction


def to_adjacency(edges: Int[Tensor, "B E 2"], n: int, dtype: torch.dtype | None = None) -> Shaped[Tensor, "B n n"]:
    """Matrices of zeros and ones from lists of edges; an edge that is listed twice counts twice.

    Args:
        edges: int64, `(-1, -1)` for padding.
        n: number of nodes.
        dtype: of the result; None: the default dtype.

    Raises:
        InputError: another shape or dtype, or nodes out of range.

    Cost: O(B (n^2 + E)).

    Example:
        >>> import torch
        >>> to_adjacency(torch.tensor([[[0, 1], [1, 0], [-1, -1]]]), 2)
        tensor([[[0., 1.],
                 [1., 0.]]])
    """
    n = positive_int(n, "n")
    if not isinstance(edges, Tensor) or edges.dtype != torch.int64:
        got = edges.dtype if isinstance(edges, Tensor) else type(edges).__name__
        raise InputTypeError(f"edges are numbers of nodes, an int64 tensor (B, E, 2); got {got}.")
    require(edges.ndim == 3 and edges.shape[-1] == 2, f"edges need the shape (B, E, 2), got {tuple(edges.shape)}.")
    require_edges(edges, n)
    size, dtype = edges.shape[0], torch.get_default_dtype() if dtype is None else dtype
    there = edges[..., 0] >= 0
    places = edges[..., 0].clamp_min(0) * n + edges[..., 1].clamp_min(0)
    flat = torch.zeros(size, n * n, dtype=dtype, device=edges.device)
    return flat.scatter_add_(1, places, there.to(dtype)).reshape(size, n, n)


def to_edges(adjacency: Shaped[Tensor, "B n n"]) -> Int[Tensor, "B E 2"]:
    """Lists of the entries that are not 0, in order, padded with `(-1, -1)` to the longest; weights are dropped.

    Args:
        adjacency: matrices, any dtype.

    Raises:
        InputError: another shape.

    Cost: O(B n^2).

    Example:
        >>> import torch
        >>> to_edges(torch.tensor([[[0, 1], [1, 0]], [[0, 0], [0, 0]]])).tolist()
        [[[0, 1], [1, 0]], [[-1, -1], [-1, -1]]]
    """
    if not isinstance(adjacency, Tensor):
        raise InputTypeError(f"adjacency must be a tensor, got {type(adjacency).__name__}.")
    require(
        adjacency.ndim == 3 and adjacency.shape[1] == adjacency.shape[2],
        f"adjacency needs the shape (B, n, n), got {tuple(adjacency.shape)}.",
    )
    size = adjacency.shape[0]
    graph, start, end = torch.nonzero(adjacency, as_tuple=True)
    counts = torch.bincount(graph, minlength=size)
    longest = int(counts.max()) if size else 0
    place = torch.arange(len(graph), device=graph.device) - (counts.cumsum(0) - counts)[graph]
    edges = torch.full((size, longest, 2), PADDING, dtype=torch.int64, device=adjacency.device)
    edges[graph, place] = torch.stack([start, end], dim=-1)
    return edges


def in_matrices(action: Action, x: Data) -> tuple[Action, Data]:
    """The same data with matrices in place of lists of edges, and the action on those.

    The order of a list means nothing, and two lists of one graph differ; matrices can be compared.

    Args:
        action: the action on `x`.
        x: data, with or without lists of edges.

    Cost: O(B n^2) where there are lists, else none.

    Example:
        >>> import torch, equilearn as eq
        >>> action, matrix = in_matrices(eq.actions.edges().on(eq.Symmetric(2)), torch.tensor([[[1, 0]]]))
        >>> action.name, matrix.tolist()
        ('pairs(2)', [[[0.0, 0.0], [1.0, 0.0]]])
    """
    if isinstance(action, EdgeAction):
        return PairAction(action.group, action.count), to_adjacency(x, action.count or 1, torch.float64)
    if isinstance(action, CombinedAction) and isinstance(x, tuple | list):
        changed = [in_matrices(part, piece) for part, piece in zip(action.parts, x, strict=True)]
        if isinstance(action, GraphAction) and action.edge_lists:
            action = GraphAction(action.group, action.count, False, action.has_mask)
        elif not isinstance(action, GraphAction):
            action = CombinedAction(*(part for part, _ in changed))
        return action, tuple(piece for _, piece in changed)
    return action, x
