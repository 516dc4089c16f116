"""Graphs that are not what they claim to be, and the two ways to write one down."""

from __future__ import annotations

import pytest
import torch

import equilearn as eq
from equilearn.actions import check_graph, in_matrices, to_adjacency, to_edges

X = torch.ones(2, 4, 1)
RING = torch.zeros(4, 4)
for _i in range(4):
    RING[_i, (_i + 1) % 4] = RING[(_i + 1) % 4, _i] = 1.0
RINGS = RING.expand(2, 4, 4)
MASK = torch.tensor([[True] * 4, [True, True, True, False]])


def changed(tensor: torch.Tensor, *entries: tuple[tuple[int, ...], float]) -> torch.Tensor:
    tensor = tensor.clone()
    for place, value in entries:
        tensor[place] = value
    return tensor


PATHS = changed(RINGS, ((1, 2, 3), 0), ((1, 3, 2), 0), ((1, 3, 0), 0), ((1, 0, 3), 0))  # the second: 0 - 1 - 2


def test_sound_graphs_pass() -> None:
    check_graph(X, RINGS)
    check_graph(X, PATHS, MASK)
    check_graph(X, to_edges(PATHS), MASK)
    check_graph(X, PATHS[..., None] * torch.randn(3), MASK)
    check_graph(X, PATHS.bool(), MASK)
    check_graph(X, torch.zeros(2, 4, 4), torch.ones(2, 4, dtype=torch.bool))
    check_graph(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))  # one node
    check_graph(X, torch.empty(2, 0, 2, dtype=torch.int64))  # no edges at all
    one_way = changed(RINGS, ((0, 1, 0), 0), ((1, 2, 2), 3.0))
    check_graph(X, one_way, symmetric=False, self_loops=True)
    check_graph(X, to_edges(one_way), symmetric=False, self_loops=True)


@pytest.mark.parametrize(
    ("x", "adjacency", "mask", "message"),
    [
        (
            X,
            changed(RINGS, ((1, 2, 1), 0)),
            None,
            "1 of 2 graphs is not symmetric.*graph 1, where the edge from 1 to 2",
        ),
        (X, changed(RINGS, ((0, 0, 1), 2), ((1, 0, 1), 2)), None, "2 of 2 graphs are not symmetric.*graph 0"),
        (X, changed(RINGS, ((1, 2, 2), 1)), None, "1 of 2 graphs has self-loops: the first is graph 1, at node 2"),
        (X, RINGS, MASK, "1 of 2 graphs joins padded nodes: the first is graph 1, with an edge from 0 to 3"),
        (X, RINGS, torch.zeros(2, 4, dtype=torch.bool), "2 of 2 graphs have no real node"),
        (X, RINGS, changed(MASK, ((0,), False)), "1 of 2 graphs has no real node"),
        (X, RINGS, MASK.float(), "mask.bool"),
        (X, RINGS, MASK[:, :3], r"\(2, 4\)"),
        (X, RINGS, [True], "tensor"),
        (X, changed(RINGS, ((0, 1, 2), float("nan"))), None, r"1 NaN.*\(0, 1, 2\)"),
        (changed(X, ((0, 1, 0), float("inf"))), RINGS, None, "infinite"),
        (X, RINGS[:, :3], None, r"\(2, 3, 4\)"),
        (X, RINGS[:1], None, r"\(B, n, n\)"),
        (X, torch.zeros(2, 4, 4, 1, 1), None, r"\(B, n, n\)"),
        (X[..., 0], RINGS, None, r"\(B, n, C\)"),
        (X[:0], RINGS[:0], None, "no graphs"),
        (X[:, :0], RINGS[:, :0, :0], None, "no nodes"),
        ([1.0], RINGS, None, "x must be a tensor"),
        (X, to_edges(changed(RINGS, ((1, 2, 1), 0))), None, "from 1 to 2 has no reverse"),
        (X, to_edges(changed(RINGS, ((1, 2, 2), 1))), None, "graph 1, at node 2"),
        (X, to_edges(RINGS), MASK, "joins padded nodes.*graph 1, with an edge from 0 to 3"),
        (X, to_edges(RINGS) + 1, None, "do not join two of the nodes 0..3"),
        (X, to_edges(RINGS)[:1], None, "2 graphs and edges 1"),
        (X, to_edges(RINGS).int(), None, "int64"),
    ],
)
def test_unsound_graphs_are_refused(x, adjacency, mask, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        check_graph(x, adjacency, mask)


def test_an_edge_without_reverse_is_not_excused_by_another_graph() -> None:
    """The edge 0 -> 1 of one graph is no reverse of 1 -> 0 in another."""
    with pytest.raises(eq.InputError, match="2 of 2 graphs are not symmetric"):
        check_graph(torch.ones(2, 2, 1), torch.tensor([[[0, 1]], [[1, 0]]]))


def test_lists_and_matrices() -> None:
    lists = to_edges(PATHS)
    assert lists.shape == (2, 8, 2) and lists[1, 4:].eq(-1).all()
    assert torch.equal(to_adjacency(lists, 4), PATHS)
    assert to_adjacency(torch.tensor([[[0, 1], [0, 1]]]), 2)[0, 0, 1] == 2
    assert to_edges(torch.zeros(0, 3, 3)).shape == (0, 0, 2)
    assert to_edges(torch.zeros(2, 3, 3)).shape == (2, 0, 2)
    assert to_adjacency(torch.zeros(2, 0, 2, dtype=torch.int64), 3).shape == (2, 3, 3)
    for value, message in (
        (torch.zeros(1, 2, 2), "int64"),
        (torch.zeros(1, 2, 3, dtype=torch.int64), r"\(B, E, 2\)"),
        (torch.tensor([[[0, 5]]]), r"\(0, 5\)"),
    ):
        with pytest.raises(eq.InputError, match=message):
            to_adjacency(value, 4)
    for value in (torch.zeros(2, 3), torch.zeros(2, 3, 4), [1]):
        with pytest.raises(eq.InputError, match="adjacency"):
            to_edges(value)  # type: ignore[arg-type]


def test_data_in_matrices(generator: torch.Generator) -> None:
    from equilearn.actions import combine, edges, graphs, sets

    S4 = eq.Symmetric(4)
    lists = graphs(edge_lists=True).on(S4)
    graph = (X, to_edges(PATHS), MASK)
    action, dense = in_matrices(lists, graph)
    assert torch.equal(dense[1], PATHS.double()) and action.name == "graphs(4)"
    g = S4.sample((2,), generator=generator)
    assert torch.equal(action(g, dense)[1], to_adjacency(lists(g, graph)[1], 4, torch.float64))
    nested, (_, (matrix,)) = in_matrices(combine(sets(), combine(edges())).on(S4), (X, (to_edges(PATHS),)))  # type: ignore
    assert nested.name == "(sets(4), (pairs(4)))" and matrix.shape == (2, 4, 4)
    plain = sets().on(S4)
    assert in_matrices(plain, X) == (plain, X)
