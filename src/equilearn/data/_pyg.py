"""Graphs of torch-geometric, and anything like them, to tuples and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, extra, finite, positive_int, require
from equilearn.actions import check_graph, is_edge_list, to_edges

Graph = tuple[Tensor, Tensor, Tensor]


def from_pyg(
    graphs: Iterable[Any], *, dense: bool = True, n: int | None = None, edge_features: bool = False
) -> tuple[Float[Tensor, "B n C"], Tensor, Bool[Tensor, "B n"]]:
    """One batch `(x, adjacency, mask)` from a list of torch-geometric `Data`, a `Batch`, or anything alike.

    Every graph needs `.edge_index` `(2, E)`, and `.x` `(nodes, C)` or else `.num_nodes`; graphs without `.x` get a
    column of ones. Nodes keep their order, padding comes last. Entries of the adjacency are `.edge_weight`, where
    there is one, else 1; an edge that is listed twice adds up, as in torch-geometric. Targets stay with you:
    `torch.cat([graph.y for graph in graphs])`.

    Args:
        graphs: at least one graph; torch-geometric itself is not needed.
        dense: matrices `(B, n, n)`; False: lists of edges `(B, E, 2)`.
        n: pad to so many nodes, so that training and test data agree; None: to the largest graph.
        edge_features: matrices `(B, n, n, Ce)` of `.edge_attr` in place of weights.

    Returns:
        The features in the default dtype, the adjacency or the edges, the mask.

    Raises:
        InputError: no graph, one without edges or features as above, features of different widths, NaN, an edge
            to a node that is not there, more than `n` nodes, weights or features with `dense=False`.

    Cost: O(B n^2), or O(total nodes + edges) for lists.

    Example:
        >>> from types import SimpleNamespace
        >>> path = SimpleNamespace(x=None, edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> edge = SimpleNamespace(x=None, edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> x, adjacency, mask = from_pyg([path, edge])
        >>> mask
        tensor([[ True,  True,  True],
                [ True,  True, False]])
        >>> adjacency[0]
        tensor([[0., 1., 0.],
                [1., 0., 1.],
                [0., 1., 0.]])
    """
    found = _listed(graphs)
    features = [_features(graph, place) for place, graph in enumerate(found)]
    widths = sorted({t.shape[1] for t in features})
    require(len(widths) == 1, f"All graphs need features of one width, got widths {', '.join(map(str, widths))}.")
    counts = torch.tensor([len(t) for t in features])
    size = _padded_size(counts, n)
    mask = torch.arange(size) < counts[:, None]
    x = torch.zeros(len(found), size, widths[0])
    x[mask] = torch.cat(features)
    pieces = [_edge_index(graph, place, len(features[place])) for place, graph in enumerate(found)]
    if dense:
        return x, _matrices(found, pieces, size, edge_features), mask
    weighted = [place for place, graph in enumerate(found) if getattr(graph, "edge_weight", None) is not None]
    require(
        not edge_features and not weighted,
        "Lists of edges hold no weights and no features of edges"
        + (f", but graph {weighted[0]} has an edge_weight" if weighted else "")
        + ". Use dense=True, or leave them out.",
    )
    longest = max(piece.shape[1] for piece in pieces)
    edges = torch.full((len(found), longest, 2), -1, dtype=torch.int64)
    for row, piece in zip(edges, pieces, strict=True):
        row[: piece.shape[1]] = piece.T
    return x, edges, mask


def to_pyg(graph: tuple[Tensor, ...]) -> list[Any]:
    """The graphs of a batch `(x, adjacency or edges[, mask])` as torch-geometric `Data`, without the padding.

    Entries of the adjacency other than 0 and 1 become `.edge_weight`, features of edges `.edge_attr`.

    Args:
        graph: as `actions.graphs` has it; padding may stand anywhere.

    Raises:
        MissingExtraError: torch-geometric is not installed (the extra "graphs").
        InputError: no such tuple, or graphs that `actions.check_graph` refuses (one-way edges and self-loops
            are taken).

    Cost: O(B n^2), or O(B (n + E)) for lists.

    Example:
        >>> graph = torch.ones(1, 3, 1), torch.tensor([[[0, 2], [2, 0]]]), torch.tensor([[True, False, True]])
        >>> to_pyg(graph)[0].edge_index
        tensor([[0, 1],
                [1, 0]])
    """
    if not isinstance(graph, tuple | list) or len(graph) not in (2, 3):
        got = f"a tuple of {len(graph)}" if isinstance(graph, tuple | list) else type(graph).__name__
        raise InputTypeError(f"to_pyg takes a batch of graphs (x, adjacency[, mask]), got {got}.")
    x, adjacency = graph[0], graph[1]
    mask = graph[2] if len(graph) == 3 else None
    check_graph(x, adjacency, mask, symmetric=False, self_loops=True)
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    data = _pyg().Data
    listed = is_edge_list(adjacency)
    weighted = not listed and adjacency.ndim == 3 and bool(((adjacency != 0) & (adjacency != 1)).any())
    edges = adjacency if listed else to_edges((adjacency != 0).any(-1) if adjacency.ndim == 4 else adjacency)
    number = mask.cumsum(1) - 1  # of each real node among the real ones
    found = []
    for b in range(len(x)):
        ends = edges[b][edges[b, :, 0] >= 0]
        extras = {}
        if weighted or adjacency.ndim == 4:
            extras["edge_weight" if weighted else "edge_attr"] = adjacency[b, ends[:, 0], ends[:, 1]]
        found.append(data(x=x[b][mask[b]], edge_index=number[b][ends].T.contiguous(), **extras))
    return found


def _pyg() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch-geometric does while it loads is its own affair
        return extra("torch_geometric.data", "graphs", "to_pyg")


def _listed(graphs: Any) -> list[Any]:
    """The single graphs of a list, a data set or a `Batch`."""
    if hasattr(graphs, "to_data_list"):
        graphs = graphs.to_data_list()
    if hasattr(graphs, "edge_index"):
        graphs = [graphs]
    if not isinstance(graphs, Iterable):
        raise InputTypeError(f"from_pyg takes a list of graphs with .x and .edge_index, got {type(graphs).__name__}.")
    found = list(graphs)
    require(len(found) > 0, "from_pyg was given no graph. At least one is needed.")
    return found


def _features(graph: Any, place: int) -> Float[Tensor, "nodes C"]:
    x = getattr(graph, "x", None)
    if x is None:
        count = getattr(graph, "num_nodes", None)
        require(count is not None, f"Graph {place} has neither .x nor .num_nodes, so how many nodes it has is unknown.")
        x = torch.ones(positive_int(count, f"num_nodes of graph {place}"), 1)
    if not isinstance(x, Tensor):
        raise InputTypeError(f".x of graph {place} must be a tensor, got {type(x).__name__}.")
    x = x.unsqueeze(-1) if x.ndim == 1 else x
    require(
        x.ndim == 2 and x.shape[0] > 0,
        f".x of graph {place} needs the shape (nodes, C) with at least one node, got {tuple(x.shape)}.",
    )
    return finite(x.detach().cpu().to(torch.get_default_dtype()), f".x of graph {place}")


def _padded_size(counts: Int[Tensor, "B"], n: int | None) -> int:
    largest = int(counts.max())
    if n is None:
        return largest
    n = positive_int(n, "n")
    require(largest <= n, f"Graph {int(counts.argmax())} has {largest} nodes, more than n={n}.")
    return n


def _edge_index(graph: Any, place: int, nodes: int) -> Int[Tensor, "2 E"]:
    edges = getattr(graph, "edge_index", None)
    if not isinstance(edges, Tensor):
        raise InputTypeError(f"Graph {place} needs an .edge_index tensor (2, E), got {type(edges).__name__}.")
    whole = not (edges.is_floating_point() or edges.is_complex() or edges.dtype == torch.bool)
    if not whole or edges.ndim != 2 or edges.shape[0] != 2:
        raise InputError(
            f".edge_index of graph {place} needs whole numbers of shape (2, E), got {edges.dtype} of shape "
            f"{tuple(edges.shape)}."
        )
    edges = edges.detach().cpu().to(torch.int64)
    bad = ((edges < 0) | (edges >= nodes)).any(0)
    if bool(bad.any()):
        first = int(bad.to(torch.int8).argmax())
        raise InputError(
            f"{int(bad.sum())} edges of graph {place} do not join two of its nodes 0..{nodes - 1} (the first: edge "
            f"{first}, {tuple(edges[:, first].tolist())})."
        )
    return edges


def _matrices(graphs: list[Any], pieces: list[Tensor], size: int, features: bool) -> Tensor:
    """Entries of all edges, added into matrices at once."""
    attribute = "edge_attr" if features else "edge_weight"
    values = [_values(graph, place, pieces[place].shape[1], attribute) for place, graph in enumerate(graphs)]
    widths = sorted({value.shape[1] for value in values})
    require(len(widths) == 1, f"All graphs need .{attribute} of one width, got {', '.join(map(str, widths))}.")
    graph = torch.arange(len(graphs)).repeat_interleave(torch.tensor([piece.shape[1] for piece in pieces]))
    start, end = torch.cat(pieces, dim=1)
    flat = torch.zeros(len(graphs) * size * size, widths[0])
    flat.index_add_(0, (graph * size + start) * size + end, torch.cat(values))
    matrices = flat.reshape(len(graphs), size, size, widths[0])
    return matrices if features else matrices.squeeze(-1)


def _values(graph: Any, place: int, count: int, attribute: str) -> Float[Tensor, "E Ce"]:
    value = getattr(graph, attribute, None)
    if value is None:
        require(attribute != "edge_attr", f"edge_features=True, but graph {place} has no .edge_attr.")
        return torch.ones(count, 1)
    if not isinstance(value, Tensor):
        raise InputTypeError(f".{attribute} of graph {place} must be a tensor, got {type(value).__name__}.")
    value = value.detach().cpu().to(torch.get_default_dtype())
    value = value.unsqueeze(-1) if value.ndim == 1 else value
    right = value.ndim == 2 and len(value) == count and (attribute == "edge_attr" or value.shape[1] == 1)
    require(
        right,
        f".{attribute} of graph {place} needs one row for each of its {count} edges, got shape {tuple(value.shape)}.",
    )
    return finite(value, f".{attribute} of graph {place}")
