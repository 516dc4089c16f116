"""Generated graphs: counts that are known, properties that the recipes promise, labels that no order gives away."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from equilearn._check import InputError
from equilearn.actions import map_data
from equilearn.data import (
    Task,
    automorphism_graphs,
    cycles,
    digits,
    exp_graphs,
    graph8c,
    load,
    minkowski,
    nbody,
    pattern,
    subsample,
    wl_equal_pairs,
)
from equilearn.data._exp import core_clauses, formula_graph, is_satisfiable, planar_formula
from equilearn.data._graph_tasks import random_orders, reordered
from equilearn.data._small_graphs import graph_keys
from equilearn.groups import Symmetric


def automorphisms(adjacency: np.ndarray, other: np.ndarray | None = None) -> int:
    """Isomorphisms from a graph to another (default itself), by backtracking."""
    a, b = adjacency.astype(bool), (adjacency if other is None else other).astype(bool)
    n = len(a)
    if sorted(a.sum(1)) != sorted(b.sum(1)):
        return 0

    def extend(chosen: list[int]) -> int:
        i = len(chosen)
        if i == n:
            return 1
        free = (j for j in range(n) if j not in chosen and a[i].sum() == b[j].sum())
        return sum(extend([*chosen, j]) for j in free if all(a[i, k] == b[j, chosen[k]] for k in range(i)))

    return extend([])


def connected(adjacency: torch.Tensor) -> torch.Tensor:
    n = adjacency.shape[-1]
    reach = (adjacency.double() + torch.eye(n)).matrix_power(n) if n else adjacency
    return (reach > 0).all(-1).all(-1)


# --- all small graphs -----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "graphs", "equal"), [(6, 112, 3), (7, 853, 17), (8, 11_117, 312)])
def test_all_connected_graphs(n: int, graphs: int, equal: int):
    found = graph8c(n)
    assert found.shape == (graphs, n, n) and found.dtype == torch.bool
    assert torch.equal(found, found.mT) and not found.diagonal(dim1=1, dim2=2).any()
    assert connected(found).all()
    assert wl_equal_pairs(found).shape == (equal, 2)
    if n == 8:
        assert int(found.sum()) // 2 == 160_220


def test_small_kinds_are_all_different():
    """The key against brute force over all permutations of five nodes."""
    found = graph8c(5).numpy()
    for a, b in itertools.combinations(found, 2):
        assert automorphisms(a, b) == 0


def test_keys_do_not_see_the_order(generator: torch.Generator):
    graphs = graph8c(7)
    mask = torch.ones(graphs.shape[:2], dtype=torch.bool)
    moved = reordered(graphs, random_orders(mask, generator))
    assert np.array_equal(graph_keys(graphs.numpy()), graph_keys(moved.numpy()))


def test_node_orders_of_all_graphs():
    assert torch.equal(graph8c(5, seed=1), graph8c(5, seed=1))
    assert not torch.equal(graph8c(5, seed=1), graph8c(5, seed=2))
    grown = graph8c(5, seed=None)
    assert np.array_equal(graph_keys(grown.numpy()), graph_keys(graph8c(5).numpy()))
    with pytest.raises(InputError, match="up to 8"):
        graph8c(9)


# --- colour refinement ------------------------------------------------------------------------


def test_colour_refinement_sees_features_and_masks(generator: torch.Generator):
    task = cycles(4, 1)
    _, adjacency, mask = task.x_train
    assert wl_equal_pairs(adjacency, mask).tolist() == [list(pair) for pair in itertools.combinations(range(4), 2)]
    x = torch.zeros(4, 12, 1)
    x[1, 3] = 1.0
    x[2, 5] = 1.0  # one marked node in a cycle of 12, one in a cycle of 6 or 12
    assert [0, 1] not in wl_equal_pairs(adjacency, mask, x).tolist()
    padded = torch.nn.functional.pad(adjacency, (0, 3, 0, 3))
    wide = torch.nn.functional.pad(mask, (0, 3))
    assert len(wl_equal_pairs(padded, wide)) == 6
    assert len(wl_equal_pairs(torch.cat([padded, padded[:1]]), torch.cat([wide, torch.ones(1, 15).bool()]))) == 6
    assert wl_equal_pairs(torch.zeros(0, 4, 4)).shape == (0, 2)
    with pytest.raises(InputError, match=r"must be \(B, n, n\)"):
        wl_equal_pairs(torch.zeros(3, 4))
    with pytest.raises(InputError, match="mask does not fit"):
        wl_equal_pairs(adjacency, mask[:, :3])


def test_colour_refinement_does_not_see_the_order(generator: torch.Generator):
    graphs = graph8c(6)[:40]
    mask = torch.ones(graphs.shape[:2], dtype=torch.bool)
    both = torch.cat([graphs, reordered(graphs, random_orders(mask, generator))])
    pairs = wl_equal_pairs(both).tolist()
    assert all([i, i + 40] in pairs for i in range(40))


# --- formulas -------------------------------------------------------------------------------


@pytest.mark.parametrize("variables", [4, 6, 8])
def test_cores(variables: int):
    good, bad = (core_clauses(variables, satisfiable) for satisfiable in (True, False))
    assert is_satisfiable(variables, good) and not is_satisfiable(variables, bad)
    graphs = torch.stack([formula_graph(variables, clauses) for clauses in (good, bad)])
    assert graphs.shape[1] == 4 * variables and graphs.sum((1, 2)).tolist() == [10.0 * variables] * 2
    assert (graphs.sum(2)[:, : 2 * variables] == 3).all() and (graphs.sum(2)[:, 2 * variables :] == 2).all()
    assert connected(graphs).all()
    literal = (torch.arange(4 * variables) < 2 * variables).float()[None, :, None].expand(2, -1, 1)
    assert wl_equal_pairs(graphs, x=literal).tolist() == [[0, 1]]
    laplacian = torch.diag_embed(graphs.sum(2)) - graphs
    spectra = torch.linalg.eigvalsh(laplacian.double())
    assert (spectra[0] - spectra[1]).abs().max() > 1e-3  # so they are not isomorphic either


def test_satisfiability_by_hand():
    assert is_satisfiable(1, [[0]]) and not is_satisfiable(1, [[0], [1]])
    assert is_satisfiable(2, []) and not is_satisfiable(2, [[]])


def test_planar_formulas():
    networkx = pytest.importorskip("networkx")
    stream = np.random.default_rng(0)
    for nodes in (8, 12, 16, 20, 26, 32):
        formula = planar_formula(nodes, stream)
        assert is_satisfiable(formula.variables, formula.clauses)
        graph = formula_graph(formula.variables, formula.clauses)
        assert len(graph) == nodes
        drawn = networkx.from_numpy_array(graph.numpy())
        assert networkx.check_planarity(drawn)[0] and networkx.is_connected(drawn)
        assert all(1 <= len(set(clause)) == len(clause) <= 3 for clause in formula.clauses)


def test_exp_pairs():
    task = exp_graphs(60, seed=3)
    x, adjacency, mask = (torch.cat(parts) for parts in zip(task.x_train, task.x_test, strict=True))
    label = torch.cat([task.y_train, task.y_test])
    assert len(task.y_train) == 100 and adjacency.shape == (120, 64, 64)
    assert torch.equal(label, 1 - torch.arange(120) % 2)
    assert torch.equal(adjacency, adjacency.mT) and torch.equal(x[..., 1], adjacency.sum(2))
    size = mask.sum(1)
    assert size.min() >= 32 and size.max() <= 64 and torch.equal(size[::2], size[1::2])
    pairs = wl_equal_pairs(adjacency, mask, x).tolist()
    assert all([2 * i, 2 * i + 1] in pairs for i in range(60))
    spectra = torch.linalg.eigvalsh(adjacency.double())
    assert ((spectra[::2] - spectra[1::2]).abs().amax(1) > 1e-4).all()
    for index in range(0, 120, 7):  # two components: the core and the planar part
        n = int(size[index])
        graph = adjacency[index, :n, :n].double()
        zeros = torch.linalg.eigvalsh(torch.diag(graph.sum(1)) - graph).abs() < 1e-9
        assert int(zeros.sum()) == 2


def test_node_order_does_not_leak_the_label():
    """With random orders a linear rule on where the literals stand stays at chance; built in order it knows all.

    200 test graphs: chance strays beyond 0.5 +- 0.14 in one of 10,000 seeds.
    """
    task = exp_graphs(300, test=100, variables=(4,), planar=(12, 16))
    inputs = []
    for x, adjacency, mask in (task.x_train, task.x_test):
        inputs.append(torch.cat([x.flatten(1), adjacency.flatten(1), mask.float()], 1).double())
    centre = inputs[0].mean(0)
    gram = (inputs[0] - centre) @ (inputs[0] - centre).T
    weights = torch.linalg.solve(gram + 10 * torch.eye(len(gram)).double(), task.y_train.double() - 0.5)
    scores = (inputs[1] - centre) @ (inputs[0] - centre).T @ weights
    assert abs(float(((scores > 0).long() == task.y_test).double().mean()) - 0.5) < 0.14
    types = task.x_train[0][..., 0]
    assert (types[::2] != types[1::2]).any(1).all()  # each graph has an order of its own


def test_exp_settings():
    first, again, other = (exp_graphs(4, variables=(4,), planar=(12, 12), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.x_train[1], again.x_train[1]) and not torch.equal(first.x_train[1], other.x_train[1])
    assert exp_graphs(4, test=2, pad=70).x_test[0].shape == (4, 70, 2)
    for settings, message in [
        ({"variables": (5,)}, "must be even"),
        ({"variables": ()}, "must be even"),
        ({"planar": (4, 8)}, "within 8 to 40"),
        ({"variables": 4}, "sizes of cores, such as"),
        ({"variables": "4"}, "sizes of cores"),
        ({"planar": 12}, "planar is a pair"),
        ({"planar": (12, 13, 14)}, "planar is a pair"),
        ({"planar": (16, 12)}, "the fewest nodes first"),
        ({"planar": (8.5, 12)}, "whole number"),
        ({"pad": 10}, "64 nodes"),
        ({"test": 4}, "leaves no pair"),
    ]:
        with pytest.raises(InputError, match=message):
            exp_graphs(4, **settings)


# --- cycles and planted patterns --------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 8, 12])
def test_cycles(n: int):
    task = cycles(10, 5, n=n)
    x, adjacency, mask = task.x_train
    assert (adjacency.sum(2) == 2).all() and mask.all() and (x == 1).all()
    assert torch.equal(connected(adjacency), task.y_train == 0)
    assert not torch.equal(adjacency[0], adjacency[2])
    assert task.classes == 2 and task.symmetry is not None and task.symmetry.is_invariance
    moved = task.symmetry.act_input(Symmetric(n).sample(), task.x_train)
    assert torch.equal(connected(moved[1]), connected(adjacency))
    with pytest.raises(InputError, match="even"):
        cycles(n=n + 1)


def test_planted_patterns():
    task = pattern(40, 5, seed=1)
    x, adjacency, mask = task.x_train
    y, size = task.y_train, mask.sum(1)
    assert task.node_labels and task.classes == 2 and task.loss == "cross_entropy"
    assert ((y == 1).sum(1) == 20).all() and torch.equal(y >= 0, mask)
    assert size.min() >= 45 and size.max() <= 190
    assert torch.equal(adjacency, adjacency.mT) and not adjacency.diagonal(dim1=1, dim2=2).any()
    assert not adjacency[~mask].any() and torch.equal(x.sum(2), mask.float())
    # 40 patterns of 190 pairs: 0.5 to 0.02 is three standard deviations.
    inside, across = (y == 1)[:, :, None] & (y == 1)[:, None, :], (y == 1)[:, :, None] & (y == 0)[:, None, :]
    off = ~torch.eye(mask.shape[1], dtype=torch.bool)
    assert float(adjacency[inside & off].mean()) == pytest.approx(0.5, abs=0.02)
    assert float(adjacency[across].mean()) == pytest.approx(0.5, abs=0.01)
    base = (y == 0)[:, :, None] & (y == 0)[:, None, :] & off
    assert float(adjacency[base].mean()) == pytest.approx(0.35 + 0.15 * 0.23, abs=0.02)
    g = Symmetric(mask.shape[1]).sample(generator=torch.Generator().manual_seed(0))
    moved = task.symmetry.act_output(g, y)
    assert torch.equal(moved[:, g], y)
    assert pattern(3, 2, pad=190).x_test[1].shape == (2, 190, 190)
    with pytest.raises(InputError, match="too small"):
        pattern(3, 2, pad=40)


def test_subsets_and_names():
    small = subsample(pattern(12, 3), 5)
    assert small.y_train.shape[0] == 5 and small.x_train[1].shape[0] == 5
    assert load("cycles", seed=3).name == "cycles"
    sizes: list[int] = []
    map_data(lambda t: sizes.append(len(t)) or t, load("exp").x_train)
    assert sizes == [1000] * 3


# --- every generated task -------------------------------------------------------------------

GENERATED: dict[str, Callable[[int], Task]] = {
    "cycles": lambda seed: cycles(4, 2, seed=seed),
    "digits": lambda seed: digits(seed),
    "exp": lambda seed: exp_graphs(4, variables=(4,), planar=(12, 12), seed=seed),
    "minkowski": lambda seed: minkowski(4, 2, rapidity=1.0, seed=seed),
    "nbody": lambda seed: nbody(4, 2, seed=seed, frame_in=0, frame_out=1),
    "pattern": lambda seed: pattern(4, 2, seed=seed),
}


@pytest.mark.parametrize("name", list(GENERATED))
def test_follows_the_default_dtype(name: str):
    """The same data in either precision, up to the rounding of what is not 0 or 1."""
    found = []
    before = torch.get_default_dtype()
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            task = GENERATED[name](3)
        finally:
            torch.set_default_dtype(before)
        parts: list[torch.Tensor] = []
        map_data(lambda t, kept=parts: kept.append(t) or t, (task.x_train, task.y_train, task.x_test, task.y_test))
        assert all(t.dtype == dtype for t in parts if t.is_floating_point())
        found.append([t.double() for t in parts])
    for single, double in zip(*found, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", list(GENERATED))
def test_seeds_that_no_generator_takes(name: str):
    largest = 2**32 if name == "nbody" else 2**64
    for seed in (largest, 2**70, -1, 1.5):
        with pytest.raises(InputError, match="seed must be a whole number"):
            GENERATED[name](seed)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="seed must be a whole number"):
            load(name, seed=seed)  # type: ignore[arg-type]
    GENERATED[name](largest - 1)


def test_other_seeds_are_checked_too():
    with pytest.raises(InputError, match="seed must be a whole number"):
        graph8c(4, seed=2**70)
    with pytest.raises(InputError, match="seed must be a whole number"):
        subsample(cycles(4, 2), 2, seed=2**70)


# --- graphs with symmetries of their own -----------------------------------------------------------


def test_automorphisms():
    expected = {"asymmetric": 1, "star": 720, "double star": 12, "cycle": 14, "grid": 8}
    graphs = automorphism_graphs()
    assert {name: automorphisms(graph.numpy()) for name, graph in graphs.items()} == expected
    assert all(connected(graph[None]).all() and torch.equal(graph, graph.T) for graph in graphs.values())
