"""Which inputs an embedding tells apart, beyond its own randomness."""

from __future__ import annotations

import math

import pytest
import torch

import equilearn as eq
from equilearn._check import InputError
from equilearn.data import graph8c, wl_equal_pairs
from equilearn.measure import Separation, separation
from equilearn.measure._separation import least_repeats


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(scale: float = 1.0):
    return lambda x: x + scale * (torch.rand(x.shape) - 0.5)


def graphs_of(n: int) -> tuple[tuple[torch.Tensor, torch.Tensor], eq.Symmetry]:
    adjacency = graph8c(n).double()
    x = (adjacency.new_ones(*adjacency.shape[:2], 1), adjacency)
    return x, eq.Symmetry(eq.Symmetric(n), input=eq.actions.graphs(mask=False))


def test_inputs_with_one_law_are_told_apart_no_more_often_than_the_level():
    """600 families of 45 pairs with equal laws, at level 0.2: more than 156 families with any false distinction
    have probability below 1e-4. (The bound is conservative: far fewer are expected.)"""
    wrong = 0
    for seed in range(600):
        found = separation(noisy(), torch.zeros(10, 2), level=0.2, repeats=16, generator=generator(seed))
        wrong += found.undistinguished < found.pairs
    assert wrong <= 156


@pytest.mark.parametrize("law", ["heavy", "binary", "skewed"])
def test_the_level_holds_whatever_the_law(law: str):
    """Without any tail: a Cauchy law, coins, an exponential one. Over 300 families of one pair at level 0.1, more
    than 50 false ones have probability below 1e-4."""

    def embed(x: torch.Tensor) -> torch.Tensor:
        u = torch.rand(len(x), 1, dtype=torch.float64)
        return {"heavy": torch.tan(math.pi * (u - 0.5)), "binary": (u < 0.3).double(), "skewed": -torch.log(1 - u)}[law]

    pair = torch.tensor([[0, 1]])
    wrong = sum(
        separation(embed, torch.zeros(2, 1), pair, level=0.1, repeats=20, generator=generator(seed)).undistinguished
        == 0
        for seed in range(300)
    )
    assert wrong <= 50


def test_different_inputs_are_told_apart_and_listed_otherwise():
    x = torch.tensor([[0.0], [0.001], [1.0]])
    found = separation(noisy(), x, generator=generator())
    assert found.pairs == 3 and found.undistinguished == 1 and found.examples.tolist() == [[0, 1]]
    assert found.threshold == pytest.approx(0.05 / 3) and found.smallest is not None and found.smallest > 1
    # With enough calls the small difference shows as well: t is about sqrt(R) * 0.001 / 0.4.
    more = separation(noisy(0.01), x, repeats=400, generator=generator())
    assert more.undistinguished == 0 and more.noise == pytest.approx(0.01 / math.sqrt(12), rel=0.1)


def test_all_pairs_and_listed_pairs_agree():
    x = torch.randn(700, 3, generator=generator()) * 0.2
    every = torch.combinations(torch.arange(700), 2)
    one = separation(noisy(), x, generator=generator(1), repeats=40)
    other = separation(noisy(), x, every, generator=generator(1), repeats=40)
    assert one.undistinguished == other.undistinguished > 0
    assert one.smallest == pytest.approx(other.smallest)
    assert set(map(tuple, one.examples.tolist())) <= set(map(tuple, every.tolist()))
    exact = separation(lambda x: x.round(decimals=1), x)
    assert exact.deterministic
    assert exact.undistinguished == separation(lambda x: x.round(decimals=1), x, every).undistinguished > 0


def test_message_passing_misses_what_colour_refinement_misses():
    for n, missed in ((6, 3), (7, 17)):
        x, symmetry = graphs_of(n)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = eq.nn.GIN(1, 10, depth=n - 1, virtual_node=False, norm="layer").double()
        found = separation(net, x, symmetry=symmetry, generator=generator())
        assert found.deterministic and found.undistinguished == missed and found.false_positives == 0
        assert found.examples.tolist() == wl_equal_pairs(x[1]).tolist()


@pytest.mark.slow
def test_connected_graphs_and_pairs_that_refinement_misses():
    found = [(len(adjacency), len(wl_equal_pairs(adjacency))) for adjacency in map(graph8c, (6, 7, 8))]
    assert found == [(112, 3), (853, 17), (11117, 312)]


def test_the_published_test_tells_a_graph_from_itself_and_this_one_does_not():
    """The average of ten random orders embedded twice differs by far more than 0.001, on every graph."""
    x, symmetry = graphs_of(6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [layer for a, b in ((36, 128), (128, 64)) for layer in (torch.nn.Linear(a, b), torch.nn.Tanh())]
        net = torch.nn.Sequential(torch.nn.Flatten(), *layers, torch.nn.Linear(64, 10)).double()
    model = eq.symmetrize(lambda graph: net(graph[1]), symmetry, "average", samples=10)
    with torch.no_grad():
        one, two = model(x, generator=generator(1)), model(x, generator=generator(2))
    assert int(((one - two).abs().sum(1) > 1e-3).sum()) >= 111  # the complete graph has a single copy
    found = separation(model, x, symmetry=symmetry, copies=2000, generator=generator())
    assert not found.deterministic and found.false_positives == 0 and found.copies == 2000
    interval = found.false_positive_interval
    assert interval is not None and interval[0] == 0 and interval[1] < 0.002
    # A share of at most 5 % of the copies has a p-value below 0.05; 7 % would be four deviations above.
    assert found.calibration is not None and found.calibration < 0.07
    assert found.undistinguished > 0


def test_an_embedding_that_is_not_invariant_has_false_positives():
    x, symmetry = graphs_of(6)
    found = separation(lambda graph: graph[1].flatten(1), x, symmetry=symmetry, generator=generator())
    assert found.false_positives > 80 and "told apart from their originals" in str(found)
    noise = separation(
        lambda graph: graph[1].flatten(1)[:, :4] + 0.01 * torch.rand(len(graph[1]), 4),
        x,
        symmetry=symmetry,
        generator=generator(),
    )
    assert noise.false_positives > 40 and not noise.deterministic


def test_an_embedding_that_is_rarely_random_is_not_taken_for_deterministic():
    """One call in twenty differs: a few calls that agree show nothing, and copies keep one law."""

    def rarely(x: torch.Tensor) -> torch.Tensor:
        return x + 0.5 * (torch.rand(len(x), 1) < 0.05)

    x = torch.tensor([[0.0], [0.0], [0.7]])
    found = separation(rarely, x, repeats=60, generator=generator())
    assert not found.deterministic and found.examples.tolist() == [[0, 1]]
    with pytest.raises(InputError, match="called deterministic, but two calls"):
        separation(noisy(), x, deterministic=True)
    assert separation(lambda x: x, x, deterministic=True).undistinguished == 1
    # Constant embeddings that differ by rounding only, next to one that is random.
    near = torch.tensor([[1.0], [1.0 + 1e-6], [5.0]])
    one = separation(lambda x: x + torch.where(x > 3, torch.rand(x.shape), 0), near, repeats=60, generator=generator())
    assert not one.deterministic and one.examples.tolist() == [[0, 1]]
    listed = separation(
        lambda x: x + torch.where(x > 3, torch.rand(x.shape), 0),
        near,
        torch.tensor([[0, 1], [0, 2]]),
        generator=generator(),
    )
    assert listed.examples.tolist() == [[0, 1]]


def test_rounding_is_no_difference():
    x = torch.rand(20, 50, generator=generator(), dtype=torch.float64)
    shuffled = torch.cat((x, x[:, torch.randperm(50, generator=generator())]))
    pairs = torch.stack((torch.arange(20), torch.arange(20) + 20), 1)
    found = separation(lambda t: torch.cumsum(t, 1)[:, -1:], shuffled, pairs)
    assert found.deterministic and found.undistinguished == 20
    assert separation(lambda t: 0 * t, x).undistinguished == 190


def test_the_same_generator_gives_the_same_result_and_leaves_the_random_state_alone():
    x = torch.randn(30, 2, generator=generator())
    before = torch.get_rng_state()
    a, b = (separation(noisy(), x, generator=generator(3)) for _ in range(2))
    assert a == b and torch.equal(a.examples, b.examples) and torch.equal(torch.get_rng_state(), before)
    plain = a.as_dict()
    assert plain["pairs"] == 435 and plain["false_positive_rate"] is None and isinstance(a, Separation)
    assert "give symmetry=" in str(a)


def test_many_pairs_are_tested_together():
    """A hundred thousand pairs at the default number of calls."""
    x = torch.arange(500.0)[:, None]
    pairs = torch.combinations(torch.arange(500), 2)[:100_000]
    found = separation(noisy(0.1), x, pairs, generator=generator(), listed=0)
    assert found.pairs == 100_000 and found.undistinguished == 0 and found.examples.shape == (0, 2)
    assert found.repeats >= least_repeats(100_000, 1, 0.05)


def test_bad_input_is_refused():
    x = torch.zeros(3, 2)
    for pairs, message in (
        (torch.tensor([[0, 3]]), "1 of the indices in pairs are not among the inputs 0..2"),
        (torch.tensor([[1, 1]]), "compare an input with itself"),
        (torch.zeros(0, 2, dtype=torch.int64), "No pairs"),
        (torch.zeros(2, 2), "whole numbers"),
        (torch.tensor([0, 1]), r"shape \(P, 2\)"),
    ):
        with pytest.raises(InputError, match=message):
            separation(noisy(), x, pairs)
    with pytest.raises(InputError, match="level must lie"):
        separation(noisy(), x, level=0)
    with pytest.raises(InputError, match="5 repeats cannot distinguish anything"):
        separation(noisy(), x, repeats=5)
    with pytest.raises(InputError, match="needs symmetry="):
        separation(noisy(), x, copies=5)
    with pytest.raises(InputError, match="A single input"):
        separation(noisy(), x[:1])
    with pytest.raises(InputError, match="floating-point numbers of shape"):
        separation(lambda x: x.long(), x)
    with pytest.raises(InputError, match="NaN"):
        separation(lambda x: x * math.nan, x)
