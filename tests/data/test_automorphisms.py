"""Nodes that a graph cannot tell apart get one answer from an exact average, and not from a fixed order of ties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import equilearn as eq
from equilearn.data import automorphism_graphs
from equilearn.nn import FlatMLP

ORBITS = {
    "cycle": [[0, 1, 2, 3, 4, 5, 6]],
    "star": [[0], [1, 2, 3, 4, 5, 6]],
    "double star": [[0], [1], [2, 3, 4], [5, 6]],
    "asymmetric": [[node] for node in range(7)],
}


def node_model() -> FlatMLP:
    """A plain network with one number a node."""
    torch.manual_seed(0)
    return FlatMLP(7 + 49 + 7, (7, 1), 32, 2, "tanh").double()


def constant_features(adjacency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = len(adjacency)
    return torch.ones(1, n, 1).double(), adjacency[None].double(), torch.ones(1, n, dtype=torch.bool)


@pytest.mark.parametrize("name", list(ORBITS))
def test_exact_average_is_constant_on_orbits(name: str):
    symmetry = eq.Symmetry(eq.Symmetric(7), eq.actions.graphs(7), eq.actions.sets(7))
    model = eq.symmetrize(node_model(), symmetry, "average", samples="all", limit=5040)
    with torch.no_grad():
        y = model(constant_features(automorphism_graphs()[name]))[0, :, 0]
    means = []
    for orbit in ORBITS[name]:
        assert float(y[orbit].max() - y[orbit].min()) < 1e-12
        means.append(float(y[orbit].mean()))
    assert all(abs(a - b) > 1e-6 for i, a in enumerate(means) for b in means[:i])


def test_a_fixed_order_of_ties_is_not_constant():
    """What the average must not be mistaken for: all nodes tie, so the given order stays, and labels show."""
    with torch.no_grad():
        y = node_model()(constant_features(automorphism_graphs()["cycle"]))[0, :, 0]
    assert float(y.max() - y.min()) > 1e-2
