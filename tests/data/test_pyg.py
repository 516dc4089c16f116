"""Graphs of torch-geometric, and what only looks like them."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import equilearn as eq
from equilearn.actions import check_graph, to_adjacency
from equilearn.data import from_pyg, to_pyg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pyg = pytest.importorskip("torch_geometric.data")
    utils = pytest.importorskip("torch_geometric.utils")


def random_graphs(generator: torch.Generator, count: int = 6, **extras: Any) -> list[Any]:
    found = []
    for _ in range(count):
        nodes = int(torch.randint(1, 7, (), generator=generator))
        upper = (torch.rand(nodes, nodes, generator=generator) < 0.5).triu(1)
        edge_index = (upper | upper.T).nonzero().T
        shapes = {name: torch.rand(edge_index.shape[1], *shape, generator=generator) for name, shape in extras.items()}
        found.append(pyg.Data(x=torch.randn(nodes, 3, generator=generator), edge_index=edge_index, **shapes))
    return found


def test_matrices_agree_with_torch_geometric(generator: torch.Generator) -> None:
    graphs = random_graphs(generator)
    batch = pyg.Batch.from_data_list(graphs)
    x, adjacency, mask = from_pyg(graphs)
    dense, real = utils.to_dense_batch(batch.x, batch.batch)
    assert torch.equal(x, dense) and torch.equal(mask, real)
    assert torch.equal(adjacency, utils.to_dense_adj(batch.edge_index, batch.batch))
    check_graph(x, adjacency, mask)
    for a, b in zip(from_pyg(batch), (x, adjacency, mask), strict=True):
        assert torch.equal(a, b)
    lists = from_pyg(graphs, dense=False)
    assert torch.equal(to_adjacency(lists[1], x.shape[1]), adjacency)
    check_graph(*lists)


def test_weights_and_features_of_edges(generator: torch.Generator) -> None:
    graphs = random_graphs(generator, edge_weight=(), edge_attr=(2,))
    batch = pyg.Batch.from_data_list(graphs)
    assert torch.equal(from_pyg(graphs)[1], utils.to_dense_adj(batch.edge_index, batch.batch, batch.edge_weight))
    expected = utils.to_dense_adj(batch.edge_index, batch.batch, batch.edge_attr)
    assert torch.equal(from_pyg(graphs, edge_features=True)[1], expected)
    twice = pyg.Data(num_nodes=2, edge_index=torch.tensor([[0, 0], [1, 1]]))
    assert from_pyg([twice])[1][0, 0, 1] == 2


@pytest.mark.parametrize("dense", [True, False])
def test_there_and_back(dense: bool, generator: torch.Generator) -> None:
    graphs = random_graphs(generator)
    batch = from_pyg(graphs, dense=dense, n=9)
    assert batch[0].shape == (6, 9, 3)
    moved = eq.actions.graphs(edge_lists=not dense).on(eq.Symmetric(9))(eq.Symmetric(9).identity(()), batch)
    for before, after in zip(graphs, to_pyg(moved), strict=True):
        assert torch.equal(before.x, after.x) and torch.equal(before.edge_index, after.edge_index)
        assert "edge_weight" not in after
    # Nodes in another order, padding anywhere: the same graphs up to the order of the nodes.
    p = eq.Symmetric(9).sample((6,), generator=generator)
    for before, after in zip(graphs, to_pyg(eq.actions.graphs(edge_lists=not dense).on(eq.Symmetric(9))(p, batch))):
        assert after.num_nodes == before.num_nodes and after.num_edges == before.num_edges
        assert torch.allclose(after.x.sum(0), before.x.sum(0), atol=1e-5)
        degrees = [graph.edge_index[0].bincount(minlength=graph.num_nodes).sort().values for graph in (before, after)]
        assert torch.equal(*degrees)


def test_weights_and_features_go_back(generator: torch.Generator) -> None:
    graphs = random_graphs(generator, edge_weight=(), edge_attr=(2,))
    for before, after in zip(graphs, to_pyg(from_pyg(graphs)), strict=True):
        assert torch.equal(before.edge_weight, after.edge_weight) or before.num_edges == 0
    for before, after in zip(graphs, to_pyg(from_pyg(graphs, edge_features=True)), strict=True):
        assert torch.equal(before.edge_attr, after.edge_attr)
    x, adjacency, _ = from_pyg(graphs[:1])
    assert torch.equal(to_pyg((x, adjacency))[0].x, x[0])  # no mask: all nodes are real


def test_anything_alike_will_do() -> None:
    alike = SimpleNamespace(edge_index=torch.tensor([[0, 1], [1, 0]], dtype=torch.int32), num_nodes=3)
    x, adjacency, mask = from_pyg(alike)
    assert x.shape == (1, 3, 1) and bool((x == 1).all()) and mask.all() and adjacency.sum() == 2
    types = SimpleNamespace(x=torch.tensor([3, 1]), edge_index=torch.empty(2, 0, dtype=torch.int64))
    assert from_pyg([types])[0].tolist() == [[[3.0], [1.0]]]
    assert from_pyg(iter([types, types]), dense=False)[1].shape == (2, 0, 2)


GOOD = SimpleNamespace(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))


def but(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(GOOD), **changes})


@pytest.mark.parametrize(
    ("graphs", "options", "message"),
    [
        ([], {}, "no graph"),
        (3, {}, "list of graphs"),
        ([GOOD, 3], {}, "Graph 1 has neither"),
        ([but(edge_index=None)], {}, "edge_index tensor"),
        ([but(edge_index=torch.ones(2, 3))], {}, "whole numbers"),
        ([but(edge_index=torch.ones(3, 2, dtype=torch.int64))], {}, r"\(2, E\)"),
        ([GOOD, but(edge_index=torch.tensor([[0], [2]]))], {}, r"1 edges of graph 1.*\(0, 2\)"),
        ([but(edge_index=torch.tensor([[-1], [0]]))], {}, r"\(-1, 0\)"),
        ([but(x=None)], {}, "neither .x nor .num_nodes"),
        ([but(x=[1.0])], {}, "must be a tensor"),
        ([but(x=torch.ones(0, 1))], {}, "at least one node"),
        ([but(x=torch.tensor([[1.0], [float("nan")]]))], {}, "NaN"),
        ([GOOD, but(x=torch.ones(2, 3))], {}, "widths 1, 3"),
        ([GOOD], {"n": 1}, "2 nodes, more than n=1"),
        ([GOOD], {"n": 0}, ">= 1"),
        ([GOOD], {"edge_features": True}, "no .edge_attr"),
        ([but(edge_attr=torch.ones(3, 2))], {"edge_features": True}, "2 edges"),
        ([but(edge_weight=torch.ones(2, 2))], {}, "2 edges"),
        ([but(edge_weight="a")], {}, "must be a tensor"),
        ([but(edge_weight=torch.tensor([1.0, float("inf")]))], {}, "infinite"),
        ([but(edge_weight=torch.ones(2))], {"dense": False}, "graph 0 has an edge_weight"),
        ([GOOD], {"dense": False, "edge_features": True}, "dense=True"),
    ],
)
def test_what_is_no_graph_is_refused(graphs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        from_pyg(graphs, **options)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (torch.ones(1), r"\(x, adjacency"),
        ((torch.ones(1, 2, 1),), "tuple of 1"),
        ((torch.ones(1, 2, 1), torch.zeros(1, 3, 3)), r"\(B, n, n\)"),
        ((torch.ones(1, 2, 1), torch.ones(1, 2, 2), torch.tensor([[True, False]])), "padded nodes"),
    ],
)
def test_what_is_no_batch_is_refused(graph: Any, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        to_pyg(graph)


def test_without_torch_geometric_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    real = importlib.import_module

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("torch_geometric"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"equilearn\[graphs\]"):
        to_pyg((torch.ones(1, 2, 1), torch.zeros(1, 2, 2)))
