"""Graphs that are what they claim to be: symmetric, without loops, no edge into the padding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, require
from equilearn.actions._graphs import require_edges, require_mask


def check_graph(
    x: Float[Tensor, "B n C"],
    adjacency: Shaped[Tensor, "B n n *Ce"] | Int[Tensor, "B E 2"],
    mask: Bool[Tensor, "B n"] | None = None,
    *,
    symmetric: bool = True,
    self_loops: bool = False,
) -> None:
    """Raise `InputError` unless a batch of graphs is sound; says how many graphs are not, and where.

    Args:
        x: features of the nodes.
        adjacency: a matrix a graph, perhaps with features of edges, or int64 lists of edges with
            `(-1, -1)` for padding.
        mask: True at real nodes; None: all are.
        symmetric: whether every edge must have its reverse, with the same weight.
        self_loops: whether nodes may be joined to themselves.

    Raises:
        InputError: shapes that do not fit, no graphs or no nodes, NaN or infinity, a graph without a real
            node, an edge into the padding, an edge without its reverse, a self-loop, an end out of range.

    Cost: O(B n^2), or O(B E log E) for lists.

    Example:
        >>> import torch
        >>> x = torch.ones(1, 2, 1)
        >>> check_graph(x, torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]))
        >>> check_graph(x, torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))
        Traceback (most recent call last):
        ...
        equilearn._check.InputError: 1 of 1 graphs is not symmetric: the first is graph 0, where the edge from 0 to 1
        has no equal from 1 to 0. Symmetrize with torch.maximum(a, a.mT), or pass symmetric=False.
    """
    for value, name in ((x, "x"), (adjacency, "adjacency")):
        if not isinstance(value, Tensor):
            raise InputTypeError(f"{name} must be a tensor, got {type(value).__name__}.")
    require(x.ndim == 3, f"x, the features of the nodes, needs the shape (B, n, C), got {tuple(x.shape)}.")
    require(x.shape[0] > 0 and x.shape[1] > 0, f"x has no graphs or no nodes: its shape is {tuple(x.shape)}.")
    finite(x, "x")
    if mask is not None:
        _check_mask(mask, x)
    if is_edge_list(adjacency):
        _check_edges(x, adjacency, mask, symmetric, self_loops)
    else:
        _check_adjacency(x, adjacency, mask, symmetric, self_loops)


def is_edge_list(adjacency: Tensor) -> bool:
    """Whether a tensor lists edges `(B, E, 2)`: int64, two in a row. Matrices of graphs are of another dtype.

    Example:
        >>> import torch
        >>> is_edge_list(torch.tensor([[[0, 1], [1, 0]]])), is_edge_list(torch.ones(1, 2, 2))
        (True, False)
    """
    return adjacency.dtype == torch.int64 and adjacency.ndim == 3 and adjacency.shape[-1] == 2


def _check_mask(mask: Tensor, x: Tensor) -> None:
    if not isinstance(mask, Tensor):
        raise InputTypeError(f"The mask must be a tensor, got {type(mask).__name__}.")
    require_mask(mask, x)
    empty = torch.nonzero(~mask.any(1)).flatten()
    require(
        len(empty) == 0,
        f"{len(empty)} of {len(x)} graphs {'has' if len(empty) == 1 else 'have'} no real node: the mask is False "
        f"everywhere (the first: graph {int(empty[0]) if len(empty) else 0}). Leave them out.",
    )


def _check_adjacency(x: Tensor, adjacency: Tensor, mask: Tensor | None, symmetric: bool, self_loops: bool) -> None:
    size, count = x.shape[:2]
    require(
        adjacency.ndim in (3, 4) and adjacency.shape[:3] == (size, count, count),
        f"The adjacency needs the shape (B, n, n) or (B, n, n, C) with B, n = {size}, {count}, as x has them, or int64 "
        f"edges of shape (B, E, 2); got {adjacency.dtype} of shape {tuple(adjacency.shape)}.",
    )
    finite(adjacency, "adjacency")
    there = adjacency != 0
    there = there.any(-1) if there.ndim == 4 else there
    if mask is not None:
        _refuse(there & ~(mask[:, :, None] & mask[:, None]), size, "joins padded nodes: the first is", _INTO_PADDING)
    if not self_loops:
        loops = there & torch.eye(count, dtype=torch.bool, device=there.device)
        _refuse(loops, size, "has self-loops: the first is", _LOOPS)
    if symmetric:
        differs = adjacency != adjacency.transpose(1, 2)
        differs = differs.any(-1) if differs.ndim == 4 else differs
        _refuse(differs & there, size, "is not symmetric: the first is", _ONE_WAY)


_INTO_PADDING = "with an edge from {i} to {j}. Set these entries to 0, or the mask to True."
_LOOPS = "at node {i}. Take them out, or pass self_loops=True."
_ONE_WAY = (
    "where the edge from {i} to {j} has no equal from {j} to {i}. Symmetrize with torch.maximum(a, a.mT), "
    "or pass symmetric=False."
)
_ONE_WAY_LIST = (
    "where the edge from {i} to {j} has no reverse. List both directions, torch.cat([edges, edges.flip(-1)], 1), "
    "or pass symmetric=False."
)


def _refuse(bad: Bool[Tensor, "B n n"], size: int, what: str, advice: str) -> None:
    """Raise where an entry is True: counts the graphs and shows the first."""
    graphs = int(bad.flatten(1).any(1).sum())
    if graphs:
        b, i, j = torch.nonzero(bad)[0].tolist()
        _raise(graphs, size, what, b, i, j, advice)


def _raise(graphs: int, size: int, what: str, b: int, i: int, j: int, advice: str) -> None:
    if graphs > 1:
        what = what.replace("is not", "are not").replace("has self", "have self").replace("joins", "join")
    raise InputError(f"{graphs} of {size} graphs {what} graph {b}, {advice.format(i=i, j=j)}")


def _check_edges(x: Tensor, edges: Tensor, mask: Tensor | None, symmetric: bool, self_loops: bool) -> None:
    size, count = x.shape[:2]
    require(edges.shape[0] == size, f"x holds {size} graphs and edges {edges.shape[0]}; both need the same number.")
    if edges.shape[1] == 0:
        return
    require_edges(edges, count)
    there = edges[..., 0] >= 0
    start, end = edges.clamp_min(0).unbind(-1)
    if mask is not None:
        real = mask.gather(1, start) & mask.gather(1, end)
        _refuse_edges(there & ~real, edges, size, "joins padded nodes: the first is", _INTO_PADDING)
    if not self_loops:
        _refuse_edges(there & (start == end), edges, size, "has self-loops: the first is", _LOOPS)
    if symmetric:
        graph = torch.arange(size, device=edges.device)[:, None] * count**2
        forth = graph + start * count + end
        back = graph + end * count + start
        alone = there & ~torch.isin(back, forth[there])
        _refuse_edges(alone, edges, size, "is not symmetric: the first is", _ONE_WAY_LIST)


def _refuse_edges(bad: Bool[Tensor, "B E"], edges: Tensor, size: int, what: str, advice: str) -> None:
    graphs = int(bad.any(1).sum())
    if graphs:
        b, e = torch.nonzero(bad)[0].tolist()
        i, j = edges[b, e].tolist()
        _raise(graphs, size, what, b, i, j, advice)
