"""All small connected graphs, those that colour refinement cannot tell apart, and graphs with many symmetries."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.data._graph_tasks import cycle_adjacency, random_orders, reordered
from equilearn.data._seed import checked_seed

COUNTS = (1, 1, 2, 6, 21, 112, 853, 11_117)
"""Connected graphs with 1, 2, ... nodes (sequence A001349 of the OEIS)."""

MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
ROUNDS = 4


def graph8c(n: int = 8, *, seed: int | None = 0) -> Bool[Tensor, "graphs n n"]:
    """All connected graphs with `n` nodes, one of each kind: 11,117 with eight.

    They grow from one node: every connected graph has a node whose removal leaves it connected, so linking a new
    node to each connected graph in each way gives all of them. Kinds are told apart by an invariant of relabelling
    (counts of walks, refined among neighbours). As many of its values occur as there are kinds, which is known
    for every `n` allowed here, so it tells all kinds apart.

    Args:
        n: nodes, from 1 to 8.
        seed: of the random order of the nodes of each graph; None leaves the order in which they grew.

    Returns:
        Symmetric adjacency matrices without self-loops, in an order that does not depend on `seed`.

    Raises:
        InputError: `n` or `seed` out of range.

    Cost: 108,331 candidates and a few seconds for eight nodes.

    Example:
        >>> [len(graph8c(n)) for n in range(1, 7)]
        [1, 1, 2, 6, 21, 112]
    """
    generator = None if seed is None else torch.Generator().manual_seed(checked_seed(seed))
    require(positive_int(n, "n") <= len(COUNTS), f"Graphs with up to {len(COUNTS)} nodes are listed, got n={n}.")
    graphs = np.zeros((1, 1, 1), dtype=bool)
    for size in range(1, n):
        links = (np.arange(1, 2**size)[:, None] >> np.arange(size)) & 1
        grown = np.zeros((len(graphs), len(links), size + 1, size + 1), dtype=bool)
        grown[:, :, :size, :size] = graphs[:, None]
        grown[:, :, size, :size] = grown[:, :, :size, size] = links
        grown = grown.reshape(-1, size + 1, size + 1)
        _, first = np.unique(graph_keys(grown), return_index=True)
        graphs = grown[np.sort(first)]
    found = torch.from_numpy(graphs)
    if generator is None:
        return found
    mask = torch.ones(found.shape[:2], dtype=torch.bool)
    return reordered(found, random_orders(mask, generator))


def graph_keys(adjacency: np.ndarray) -> np.ndarray:
    """One 64-bit number a graph, the same however its nodes are numbered.

    Of each node: closed and all walks from it of length 1 to n, then the same of its neighbours, several times.
    """
    matrix = adjacency.astype(np.float64)  # counts of walks up to 7^8 are exact
    power, key = matrix, np.zeros(adjacency.shape[:2], dtype=np.uint64)
    for _ in range(adjacency.shape[1]):
        for walks in (np.diagonal(power, axis1=1, axis2=2), power.sum(2)):
            key = _mixed(key * np.uint64(MIX[0]) + walks.astype(np.uint64))
        power = power @ matrix
    for _ in range(ROUNDS):
        around = np.where(adjacency, _mixed(key)[:, None, :], np.uint64(0)).sum(2, dtype=np.uint64)
        key = _mixed(key * np.uint64(MIX[0]) + around)
    return _mixed(key).sum(1, dtype=np.uint64)


def _mixed(key: np.ndarray) -> np.ndarray:
    """A one-to-one scrambling of 64-bit numbers, so that sums of them do not collide."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(MIX[1])
    key = (key ^ (key >> np.uint64(27))) * np.uint64(MIX[2])
    return key ^ (key >> np.uint64(31))


def wl_equal_pairs(
    adjacency: Shaped[Tensor, "B n n"],
    mask: Bool[Tensor, "B n"] | None = None,
    x: Shaped[Tensor, "B n C"] | None = None,
) -> Int[Tensor, "pairs 2"]:
    """The pairs of graphs that colour refinement (1-WL), hence any message passing, cannot tell apart.

    Args:
        adjacency: of the graphs, two nodes being linked or not.
        mask: True at nodes; default all.
        x: features that colour the nodes at the start; default all alike.

    Returns:
        Indices `i < j` of the pairs, sorted. Isomorphic graphs are always among them.

    Raises:
        InputError: shapes that do not fit.

    Cost: O(B n^2 log(B n)) a round, at most n rounds; exact, nothing is hashed.

    Example:
        >>> wl_equal_pairs(graph8c(6)).shape
        torch.Size([3, 2])
    """
    if not isinstance(adjacency, Tensor):
        raise InputTypeError(f"adjacency must be a tensor, got {type(adjacency).__name__}.")
    shape = tuple(adjacency.shape)
    require(len(shape) == 3 and shape[1] == shape[2], f"adjacency must be (B, n, n), got {shape}.")
    batch, n = shape[:2]
    for part, name in ((mask, "mask"), (x, "x")):
        require(part is None or tuple(part.shape[:2]) == (batch, n), f"{name} does not fit adjacency of shape {shape}.")
    if batch == 0 or n == 0:
        return torch.zeros(0, 2, dtype=torch.int64)
    links = (adjacency != 0).cpu().numpy()
    real = np.ones((batch, n), dtype=bool) if mask is None else mask.cpu().numpy()
    colour = _numbered(x.detach().cpu().numpy().reshape(batch * n, -1)) if x is not None else np.zeros(batch * n, int)
    # Colour -1 marks what is no node and no neighbour.
    colour = _numbered(np.where(real.reshape(-1), colour, -1)[:, None]).reshape(batch, n)
    colour = np.where(real, colour - colour.min() + 1, 0)
    count = 0
    while (now := len(np.unique(colour))) > count:
        count = now
        around = np.sort(np.where(links, colour[:, None, :], 0), axis=2)
        rows = np.concatenate([colour[:, :, None], around], axis=2).reshape(batch * n, n + 1)
        colour = np.where(real, _numbered(rows).reshape(batch, n) + 1, 0)
    kind = _numbered(np.sort(colour, axis=1))
    return _equal_pairs(kind)


def _numbered(rows: np.ndarray) -> np.ndarray:
    """The same number for equal rows, in the order of the rows."""
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _equal_pairs(kind: np.ndarray) -> Int[Tensor, "pairs 2"]:
    order = np.argsort(kind, kind="stable")
    starts = np.flatnonzero(np.diff(kind[order], prepend=-1))
    found = [
        np.stack([group[i] for i in np.triu_indices(len(group), 1)], axis=1)
        for group in np.split(order, starts[1:])
        if len(group) > 1
    ]
    if not found:
        return torch.zeros(0, 2, dtype=torch.int64)
    pairs = np.concatenate(found)
    return torch.from_numpy(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]).long()


def automorphism_graphs() -> dict[str, Bool[Tensor, "n n"]]:
    """Five graphs with few or many symmetries of their own, on which canonical forms can be caught cheating.

    Returns:
        By name: `"asymmetric"` (7 nodes, no automorphism but the identity), `"star"` (6 leaves, 720), `"double
        star"` (3 and 2 leaves, 12), `"cycle"` (7 nodes, 14), `"grid"` (5 x 5, 8).

    Example:
        >>> {name: len(graph) for name, graph in automorphism_graphs().items()}
        {'asymmetric': 7, 'star': 7, 'double star': 7, 'cycle': 7, 'grid': 25}
    """
    # A path of six with a leaf on its third node: the arms at that node have lengths 1, 2 and 3.
    asymmetric = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6)]
    star = [(0, leaf) for leaf in range(1, 7)]
    double = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6)]
    places = [(5 * i + j, i, j) for i in range(5) for j in range(5)]
    grid = [(a, b) for a, i, j in places for b, k, m in places if a < b and abs(i - k) + abs(j - m) == 1]
    return {
        "asymmetric": _from_edges(7, asymmetric),
        "star": _from_edges(7, star),
        "double star": _from_edges(7, double),
        "cycle": cycle_adjacency(7).bool(),
        "grid": _from_edges(25, grid),
    }


def _from_edges(nodes: int, edges: list[tuple[int, int]]) -> Bool[Tensor, "n n"]:
    index = torch.tensor(edges).T
    adjacency = torch.zeros(nodes, nodes, dtype=torch.bool)
    adjacency[index[0], index[1]] = True
    return adjacency | adjacency.T
