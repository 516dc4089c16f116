"""Measuring on graphs, lists of edges, and point sets with masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import equilearn as eq
from equilearn.actions import combine, graphs, pairs, points, sets, to_adjacency, to_edges
from equilearn.measure import data_symmetry, equivariance_error, interpolation_floor, layer_errors, lie_derivative_error
from equilearn.measure._damage import padding_last

Graph = tuple[Tensor, Tensor, Tensor]
N = 6
NODES = eq.Symmetric(N)
CLOUDS = eq.Euclidean(3) * eq.Symmetric(5)


def batch(size: int, generator: torch.Generator, n: int = N, dtype: torch.dtype = torch.float32) -> Graph:
    """Random graphs of 3 to n nodes whose order means nothing, padding last."""
    mask = torch.arange(n) < torch.randint(3, n + 1, (size, 1), generator=generator)
    upper = (torch.rand(size, n, n, generator=generator) < 0.5).triu(1)
    adjacency = (upper | upper.mT) & mask[:, :, None] & mask[:, None]
    x = torch.randn(size, n, 2, generator=generator, dtype=dtype) * mask[..., None]
    return x, adjacency.to(dtype), mask


class Passing(nn.Module):
    """Two rounds of message passing; `order` mixes in the number of the node."""

    def __init__(self, order: bool = False, pool: bool = True):
        super().__init__()
        self.first, self.second = nn.Linear(2, 8), nn.Linear(8, 8)
        self.order, self.pool = order, pool

    def forward(self, graph: tuple[Tensor, ...]) -> Tensor:
        x, adjacency, mask = graph
        if adjacency.dtype == torch.int64:
            adjacency = to_adjacency(adjacency, x.shape[1], x.dtype)
        h = self.first(x + adjacency @ x).tanh()
        h = self.second(h + adjacency @ h).tanh() * mask[..., None]
        if self.order:
            h = h * torch.arange(1.0, x.shape[1] + 1)[:, None].to(h)
        return h.sum(1) if self.pool else h


def forms(graph: Graph) -> list[tuple[eq.actions.Unbound, tuple[Tensor, ...]]]:
    return [(graphs(), graph), (graphs(edge_lists=True), (graph[0], to_edges(graph[1]), graph[2]))]


@pytest.mark.parametrize("form", [0, 1], ids=["matrices", "lists"])
def test_networks_on_graphs_are_measured(form: int, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    action, graph = forms(batch(40, generator))[form]
    symmetry = eq.Symmetry(NODES, action)
    exact = equivariance_error(Passing(), symmetry, graph, generator=generator)
    assert exact.verdict == "exact" and exact.floor_method == "float64 twin" and exact.mean < 1e-6
    assert "permutation" in exact.worst.label
    ordered = equivariance_error(Passing(order=True), symmetry, graph, generator=generator)
    assert ordered.verdict != "exact" and ordered.mean > 0.05
    plain = equivariance_error(lambda g: Passing.forward(exact_model, g), symmetry, graph, generator=generator)
    assert plain.verdict == "exact" and plain.floor_method == "perturbation"


exact_model = Passing()


def test_outputs_a_node_and_a_pair(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    graph = batch(20, generator)
    nodes = eq.Symmetry(NODES, graphs(), sets())
    model = Passing(pool=False)
    assert equivariance_error(model, nodes, graph, generator=generator).verdict == "exact"
    assert equivariance_error(model, eq.Symmetry(NODES, graphs()), graph, generator=generator).verdict != "exact"
    both = eq.Symmetry(NODES, graphs(), (sets(), pairs()))
    assert equivariance_error(lambda g: (model(g), g[1] @ g[1]), both, graph, generator=generator).verdict == "exact"
    assert equivariance_error(lambda g: (model(g), g[1].triu()), both, graph, generator=generator).verdict != "exact"


def test_a_mask_may_stand_beside_the_outputs(generator: torch.Generator) -> None:
    graph = batch(20, generator)
    symmetry = eq.Symmetry(NODES, graphs(), graphs())
    assert equivariance_error(lambda g: (g[0] * 2, g[1] @ g[1], g[2]), symmetry, graph).verdict == "exact"
    wrong = equivariance_error(lambda g: (g[0] * 2, g[1], g[2].roll(1, 1)), symmetry, graph, generator=generator)
    assert wrong.verdict != "exact"
    with pytest.raises(eq.InputError, match="class indices"):
        equivariance_error(lambda g: g[2], eq.Symmetry(NODES, graphs(), sets()), graph)


def test_graphs_without_edges_and_of_one_node(generator: torch.Generator) -> None:
    x, mask = torch.randn(3, N, 2, generator=generator), torch.ones(3, N, dtype=torch.bool)
    symmetry = eq.Symmetry(NODES, graphs(edge_lists=True))
    none = torch.empty(3, 0, 2, dtype=torch.int64)
    assert equivariance_error(Passing(), symmetry, (x, none, mask), generator=generator).verdict == "exact"
    with pytest.raises(eq.InputError, match="empty"):
        equivariance_error(Passing(), symmetry, (x[:0], none[:0], mask[:0]))
    one = (torch.ones(2, 1, 2), torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(eq.InputError, match="one element only"):
        equivariance_error(Passing(), eq.Symmetry(eq.Symmetric(1), graphs()), one)


def test_a_stochastic_network_on_graphs_is_told_from_a_wrong_one(generator: torch.Generator) -> None:
    def noisy(graph: Graph) -> Tensor:
        pooled = (graph[0].sum(1) + graph[1].sum((1, 2))[:, None]) / 4
        return pooled + 0.1 * torch.randn(pooled.shape)

    found = equivariance_error(noisy, eq.Symmetry(NODES, graphs()), batch(128, generator), generator=generator)
    assert found.verdict == "stochastic" and found.resampling > 0.01


def cloud(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    mask = torch.arange(5) < torch.randint(2, 6, (size, 1), generator=generator)
    return torch.randn(size, 5, 7, generator=generator) * mask[..., None], mask


class Spread(nn.Module):
    """Masked points with velocities and charges: displacements from the centre, mixed by invariant weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(1, 1)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        x, mask = pair
        weight = mask[..., None].to(x)
        centre = (x[..., :3] * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1.0)
        off = (x[..., :3] - centre) * weight
        return centre + off * self.mix(off.square().sum(-1, keepdim=True)).tanh() + x[..., 3:6] * x[..., 6:]


def test_masked_points_are_measured(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model, x = Spread(), cloud(40, generator)
    symmetry = eq.Symmetry(CLOUDS, (points(5, vectors=1, scalars=1), sets(5)), points(5))
    assert equivariance_error(model, symmetry, x, generator=generator).verdict == "exact"
    assert lie_derivative_error(model, symmetry, x, generator=generator).mean < 1e-6

    def careless(pair: tuple[Tensor, Tensor]) -> Tensor:  # the padding pulls at the centre
        return pair[0][..., :3].mean(1, keepdim=True) + 0 * pair[0][..., :3]

    shifted = equivariance_error(careless, symmetry, x, generator=generator)
    assert shifted.verdict == "exact"  # padding at the origin moves along, so that the symmetry alone does not see it
    assert interpolation_floor(symmetry.input, x, generator=generator) < 1e-12


# --- layers -----------------------------------------------------------------------------------


class Layered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.nodes, self.pairs, self.vectors = nn.Tanh(), nn.Sigmoid(), nn.Identity()
        self.wrong, self.pool = nn.Hardtanh(), nn.Identity()

    def forward(self, data: tuple[Tensor, ...]) -> Tensor:
        x, adjacency, mask = data
        h = self.nodes(x.square().sum(-1, keepdim=True).expand(-1, -1, 4) / 9)
        self.pairs(adjacency[..., None] * h[:, :, None])
        self.vectors(torch.stack([x, x * h[..., :1], 2 * x], dim=2))
        wrong = self.wrong(x * torch.arange(5.0)[:, None].to(x))
        return self.pool((h * mask[..., None]).sum(1)) + 0 * wrong.sum((1, 2))[:, None]


def test_layers_of_graph_networks_find_their_laws(generator: torch.Generator) -> None:
    group = eq.O(3) * eq.Symmetric(5)
    symmetry = eq.Symmetry(group, combine(points(5), pairs(5), sets(5)))
    x, adjacency, mask = batch(16, generator, 5)
    data = (torch.randn(16, 5, 3, generator=generator), adjacency, mask)
    found = {error.layer: error for error in layer_errors(Layered(), symmetry, data, generator=generator)}
    laws = {name: error.law for name, error in found.items()}
    assert laws == {
        "nodes": "points permuted",
        "pairs": "pairs permuted",
        "vectors": "points permuted, vectors turned",
        "wrong": laws["wrong"],
        "pool": "unchanged",
    }
    assert all(error.error < 1e-6 for name, error in found.items() if name != "wrong")
    assert found["wrong"].error > 0.1


# --- the data themselves ----------------------------------------------------------------------


@pytest.mark.parametrize("form", [0, 1], ids=["matrices", "lists"])
def test_graphs_in_random_order_look_symmetric(form: int, generator: torch.Generator) -> None:
    """Neither the padding, always last, nor the order of the list, always sorted, gives the order away."""
    action, graph = forms(batch(400, generator))[form]
    found = data_symmetry(graph, None, eq.Symmetry(NODES, action), generator=generator)
    assert found.p_value > 0.01 and found.symmetric is not False  # level 0.01, one fixed seed


def test_graphs_in_a_telling_order_do_not(generator: torch.Generator) -> None:
    x, adjacency, mask = batch(400, generator)
    order = adjacency.sum(2).argsort(1, descending=True)
    inverse = order.argsort(1)
    sorted_graphs = graphs().on(NODES)(inverse, (x, adjacency, mask))
    for action, graph in forms(sorted_graphs):
        assert data_symmetry(graph, None, eq.Symmetry(NODES, action), generator=generator).symmetric is False


def test_labels_and_targets_of_nodes(generator: torch.Generator) -> None:
    graph = batch(200, generator)
    labels = torch.where(graph[2], (graph[1].sum(2) > 2).long(), -1)
    nodes = eq.Symmetry(NODES, graphs(), sets())
    found = data_symmetry(graph, labels, nodes, generator=generator)
    assert found.joint and found.symmetric is not False  # labels follow their nodes, on both sides
    first = torch.zeros(200, N, dtype=torch.int64)
    first[:, 0] = 1
    assert data_symmetry(graph, first, nodes, generator=generator).symmetric is False
    of_graphs = (graph[1].sum((1, 2)) > 10).long()
    found = data_symmetry(graph, of_graphs, eq.Symmetry(NODES, graphs()), generator=generator)
    assert found.pose is not None and len(found.coverage) == 2


def test_masked_clouds_in_every_pose(generator: torch.Generator) -> None:
    group = eq.SO(3) * eq.Symmetric(5)
    mask = torch.arange(5) < torch.randint(2, 6, (400, 1), generator=generator)
    x = torch.randn(400, 5, 3, generator=generator) * mask[..., None]
    symmetry = eq.Symmetry(group, (points(5), sets(5)))
    assert data_symmetry((x, mask), None, symmetry, generator=generator).symmetric is not False
    flat = x * torch.tensor([1.0, 1.0, 0.1])
    assert data_symmetry((flat, mask), None, symmetry, generator=generator).symmetric is False


def test_padding_goes_to_the_end_and_nothing_else_moves(generator: torch.Generator) -> None:
    mask = torch.tensor([[True, False, True, False], [True, True, True, True], [False, False, False, True]])
    x = torch.arange(4.0).expand(3, 4).unsqueeze(-1)
    labels = torch.arange(12).reshape(3, 4)
    symmetry = eq.Symmetry(eq.Symmetric(4), graphs(), sets())
    moved, along = padding_last(symmetry, (x, torch.zeros(3, 4, 4), mask), labels)
    assert moved[2].tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert moved[0][..., 0].tolist() == [[0, 2, 1, 3], [0, 1, 2, 3], [3, 0, 1, 2]]
    assert along is not None and along.tolist() == [[0, 2, 1, 3], [4, 5, 6, 7], [11, 8, 9, 10]]
    plain = eq.Symmetry(eq.Symmetric(4), sets())
    assert padding_last(plain, x) == (x, None)
    product = eq.Symmetry(eq.SO(3) * eq.Symmetric(4), (points(4), sets(4)))
    assert padding_last(product, (torch.zeros(3, 4, 3), mask))[0][1].tolist() == moved[2].tolist()


def test_yes_and_no_are_not_nudged_when_the_floor_is_sought():
    # A function without a copy in float64, which asks whether an entry is exactly one.
    edges = (torch.rand(6, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    x = (torch.randn(6, 5, 1, generator=torch.Generator().manual_seed(1)), edges)
    symmetry = eq.Symmetry(eq.Symmetric(5), eq.actions.graphs(5, mask=False))
    error = equivariance_error(lambda graph: (graph[1] == 1).float().sum((1, 2))[:, None], symmetry, x)
    assert error.floor < 1e-5 and error.verdict == "exact"
