"""Graphs, node pairs and edge lists: what one permutation of the nodes does to each part."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equilearn as eq
from equilearn.actions import (
    Action,
    Data,
    combine,
    edges,
    factor,
    flat_rep,
    graphs,
    map_data,
    pairs,
    parse,
    points,
    sets,
    to_adjacency,
    to_edges,
    trivial,
    vectors,
)
from equilearn.testing import CheckFailed, check_action

S = eq.Symmetric
CLOUDS = eq.SO(3) * S(5)


def batch(
    size: int, n: int, generator: torch.Generator, dtype: torch.dtype = torch.float64, channels: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random graphs of 1 to n nodes, padding anywhere."""
    mask = torch.rand(size, n, generator=generator) < 0.7
    mask[:, 0] |= ~mask.any(1)
    upper = (torch.rand(size, n, n, generator=generator) < 0.5).triu(1)
    adjacency = (upper | upper.mT) & mask[:, :, None] & mask[:, None]
    x = torch.randn(size, n, channels, generator=generator, dtype=dtype) * mask[..., None]
    return x, adjacency.to(dtype), mask


def listed(graph: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (graph[0], to_edges(graph[1]), *graph[2:])


# --- laws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("edge_lists", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_graphs_keep_the_laws(
    n: int, edge_lists: bool, with_mask: bool, dtype: torch.dtype, generator: torch.Generator
) -> None:
    graph = batch(4, n, generator, dtype)
    graph = listed(graph) if edge_lists else graph
    action = graphs(edge_lists=edge_lists, mask=with_mask).on(S(n))
    check_action(action, graph if with_mask else graph[:2], generator=generator)


@pytest.mark.parametrize(
    ("action", "shape"),
    [
        (pairs().on(S(4)), (4, 4)),
        (pairs(4).on(S(4)), (4, 4, 2, 3)),
        (pairs(5).on(CLOUDS), (5, 5)),
        (pairs(5).on(S(3) * S(5)), (5, 5, 2)),
        (pairs().on(eq.Alternating(4)), (4, 4)),
        (pairs().on(eq.groups.FiniteGroup.from_permutations(torch.tensor([[1, 2, 0]]))), (3, 3)),
        (factor(1, pairs()).on(CLOUDS), (5, 5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64])
def test_pairs_keep_the_laws_whatever_stands_there(
    action: Action, shape: tuple[int, ...], kind: torch.dtype, generator: torch.Generator
) -> None:
    x = (4 * torch.randn(3, *shape, generator=generator)).to(kind)
    check_action(action, x, generator=generator)
    assert action(action.group.sample((0,), generator=generator), x[:0]).shape == (0, *shape)


@given(st.integers(1, 7), st.integers(0, 2**31 - 1), st.booleans())
def test_the_law_holds_for_any_graphs_and_permutations(n: int, seed: int, edge_lists: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    graph = batch(3, n, generator)
    graph = listed(graph) if edge_lists else graph
    action = graphs(edge_lists=edge_lists).on(S(n))
    g, h = S(n).sample((3,), generator=generator), S(n).sample((), generator=generator)
    for a, b in zip(action(g, action(h, graph)), action(S(n).compose(g, h.expand(3, n)), graph), strict=True):
        assert torch.equal(a, b)


@given(st.integers(1, 6), st.integers(0, 2**31 - 1))
def test_both_ways_to_write_a_graph_move_alike(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    graph = batch(3, n, generator)
    g = S(n).sample((3,), generator=generator)
    _, lists, _ = graphs(edge_lists=True).on(S(n))(g, listed(graph))
    x, adjacency, mask = graphs().on(S(n))(g, graph)
    assert torch.equal(to_adjacency(lists, n, torch.float64), adjacency)
    assert torch.equal(to_adjacency(to_edges(adjacency), n, torch.float64), adjacency)
    for b in range(3):  # the slow twin: entry by entry
        for i in range(n):
            assert torch.equal(x[b, g[b, i]], graph[0][b, i]) and mask[b, g[b, i]] == graph[2][b, i]
            for j in range(n):
                assert adjacency[b, g[b, i], g[b, j]] == graph[1][b, i, j]


def test_a_product_moves_positions_edges_and_mask(generator: torch.Generator) -> None:
    action = combine(points(5, scalars=1), pairs(5), edges(5), sets(5)).on(CLOUDS)  # type: ignore[union-attr]
    x, adjacency, mask = batch(4, 5, generator, channels=4)
    check_action(action, (x, adjacency, to_edges(adjacency), mask), generator=generator)


def test_empty_batches_and_graphs_without_edges(generator: torch.Generator) -> None:
    for edge_lists in (False, True):
        action = graphs(edge_lists=edge_lists).on(S(4))
        graph = batch(2, 4, generator)
        graph = listed(graph) if edge_lists else graph
        none = map_data(lambda t: t[:0], graph)
        for g in (S(4).sample((0,), generator=generator), S(4).sample((), generator=generator)):
            assert [t.shape for t in action(g, none)] == [t.shape for t in none]
    bare = (torch.ones(2, 4, 1), torch.empty(2, 0, 2, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool))
    assert graphs(edge_lists=True).on(S(4))(S(4).sample((), generator=generator), bare)[1].shape == (2, 0, 2)
    narrow = graphs().on(S(4))(S(4).identity(()), (torch.ones(2, 4, 0), *batch(2, 4, generator)[1:]))
    assert narrow[0].shape == (2, 4, 0)


def test_gradients_flow_through_pairs(generator: torch.Generator) -> None:
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    for g in (torch.tensor([1, 2, 0]), torch.tensor([[1, 2, 0], [0, 2, 1]])):
        assert torch.autograd.gradcheck(lambda t, g=g: pairs().on(S(3))(g, t), (x,))


class Spoiled(Action):
    """Graphs moved almost right."""

    def __init__(self, inner: Action, spoil: str):
        self.group, self.inner, self.spoil = inner.group, inner, spoil

    name = "spoiled"

    def check(self, x: Data) -> None:
        self.inner.check(x)

    def __call__(self, g: torch.Tensor, x: Data) -> Data:
        features, adjacency, mask = self.inner(g, x)
        if self.spoil == "mask":
            return features, adjacency, x[2].roll(1, 1)
        return features, self.inner.parts[1](self.group.inverse(g), x[1]), mask


@pytest.mark.parametrize(
    ("spoil", "edge_lists", "message"),
    [("mask", False, "identity"), ("inverse", False, "left action"), ("inverse", True, "left action")],
)
def test_a_spoiled_action_on_graphs_is_caught(
    spoil: str, edge_lists: bool, message: str, generator: torch.Generator
) -> None:
    graph = batch(3, 5, generator)
    graph = (graph[0], graph[1], torch.arange(5).expand(3, 5) < 3)
    graph = listed(graph) if edge_lists else graph
    with pytest.raises(CheckFailed, match=message):
        check_action(Spoiled(graphs(edge_lists=edge_lists).on(S(5)), spoil), graph, generator=generator)


# --- permuted axes ----------------------------------------------------------------------------


def test_permuted_axes_say_where_a_factor_permutes() -> None:
    assert sets().on(S(3)).permuted_axes(0, torch.zeros(2, 3)) == (1,)
    assert sets().on(S(3)).permuted_axes(1, torch.zeros(2, 3)) == ()
    assert pairs().on(S(3)).permuted_axes(0, torch.zeros(2, 3, 3, 1)) == (1, 2)
    x, adjacency, mask = torch.zeros(2, 3, 1), torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)
    lists = torch.zeros(2, 4, 2, dtype=torch.int64)
    assert graphs().on(S(3)).permuted_axes(0, (x, adjacency, mask)) == ((1,), (1, 2), (1,))
    assert graphs(edge_lists=True).on(S(3)).permuted_axes(0, (x, lists, mask)) == ((1,), (), (1,))
    clouds = points(5).on(CLOUDS)
    assert clouds.permuted_axes(0, torch.zeros(2, 5, 3)) == () == points().on(eq.SO(3)).permuted_axes(0, x)
    assert clouds.permuted_axes(1, torch.zeros(2, 5, 3)) == (1,)
    assert points(5).on(S(5) * eq.SO(3)).permuted_axes(0, torch.zeros(2, 5, 3)) == (1,)
    assert trivial().on(S(3)).permuted_axes(0, (x, (x, x))) == ((), ((), ()))
    assert factor(1, sets()).on(CLOUDS).permuted_axes(1, torch.zeros(2, 5)) == (1,)
    assert factor(1, sets()).on(CLOUDS).permuted_axes(0, torch.zeros(2, 5)) == ()
    assert eq.actions.images().on(eq.Cyclic(4)).permuted_axes(0, torch.zeros(1, 1, 4, 4)) == ()
    natural = eq.reps.defining(S(3))
    assert vectors(natural).permuted_axes(0, torch.zeros(2, 4, 3)) == (2,)
    assert vectors(natural, 2).permuted_axes(0, torch.zeros(2, 6)) == ()
    assert vectors(natural, None).permuted_axes(0, torch.zeros(2, 3)) == (1,)
    assert vectors(natural * natural).permuted_axes(0, torch.zeros(2, 9)) == ()
    pulled = vectors(eq.reps.factor(CLOUDS, 1, eq.reps.defining(S(5))))
    assert pulled.permuted_axes(1, torch.zeros(2, 5)) == (1,) and pulled.permuted_axes(0, torch.zeros(2, 5)) == ()


@pytest.mark.parametrize(
    ("action", "shapes"),
    [
        (graphs(mask=False).on(S(4)), ((4, 2), (4, 4))),
        (combine(points(5), pairs(5), sets(5)).on(CLOUDS), ((5, 3), (5, 5, 2), (5,))),
        (vectors(eq.reps.defining(S(4))), (2, 4)),
        (combine(factor(0, sets()), factor(1, pairs())).on(S(3) * S(2)), ((3, 2), (2, 2))),
    ],
    ids=str,
)
def test_the_factor_acts_on_these_axes_and_nowhere_else(action, shapes, generator: torch.Generator) -> None:
    """Moving every named axis by hand gives the action of that factor alone."""

    def draw(shape):
        if isinstance(shape[0], tuple):
            return tuple(draw(part) for part in shape)
        return torch.randn(2, *shape, generator=generator, dtype=torch.float64)

    def by_hand(p, x, axes):
        if isinstance(x, tuple):
            return tuple(by_hand(p, part, own) for part, own in zip(x, axes, strict=True))
        for axis in axes:
            x = x.index_select(axis, p.argsort())
        return x

    x = draw(shapes)
    group = action.group
    factors = group.factors if isinstance(group, eq.Product) else (group,)
    for index, one in enumerate(factors):
        if not isinstance(one, eq.Symmetric):
            continue
        p = one.sample((), generator=generator)
        g = group.embed(index, p) if isinstance(group, eq.Product) else p
        moved, expected = action(g, x), by_hand(p, x, action.permuted_axes(index, x))
        for a, b in zip(moved, expected, strict=True):
            assert torch.allclose(a, b)


@pytest.mark.parametrize(
    ("action", "shape"),
    [(pairs().on(S(3)), (3, 3)), (pairs(5).on(CLOUDS), (5, 5, 2)), (factor(1, pairs()).on(CLOUDS), (5, 5))],
    ids=str,
)
def test_the_flat_representation_of_pairs(action, shape, generator: torch.Generator) -> None:
    rep = flat_rep(action, shape)
    assert rep is not None
    x = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    g = action.group.sample((2,), generator=generator)
    assert torch.equal(rep.apply(g, x.flatten(1)), action(g, x).flatten(1))


def test_linear_maps_between_pairs_number_fifteen() -> None:
    rep = flat_rep(pairs().on(S(4)), (4, 4))
    assert rep is not None and eq.reps.intertwiners(rep, rep).shape[0] == 15


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (torch.tensor([0.0, 1.0, 2.0]), "whole numbers"),
        (torch.tensor([0.5, 1.0, 2.0]), "whole numbers"),
        (torch.tensor([True, False, True]), "whole numbers"),
        (torch.tensor([0, -1, 1]), r"\[0, -1, 1\].*negative"),
        (torch.tensor([0, 1, 3]), "out of range"),
        (torch.tensor([0, 1, 1]), "repeated"),
        (torch.tensor([[0, 1, 2], [2, 2, 0]]), "1 of 2"),
        (torch.tensor([0, 1]), "trailing shape"),
        (torch.tensor([[0, 1, 2]] * 3), "2 samples"),
        ((torch.arange(3),), "tensor"),
    ],
)
def test_what_is_no_permutation_is_refused(p, message: str) -> None:
    cases = [
        (sets().on(S(3)), torch.zeros(2, 3)),
        (pairs().on(S(3)), torch.zeros(2, 3, 3)),
        (edges().on(S(3)), torch.zeros(2, 1, 2, dtype=torch.int64)),
        (points(3).on(S(3)), torch.zeros(2, 3, 2)),
        (vectors(eq.reps.defining(S(3))), torch.zeros(2, 3)),
        (graphs(mask=False).on(S(3)), (torch.zeros(2, 3, 1), torch.zeros(2, 3, 3))),
    ]
    for action, x in cases:
        with pytest.raises(eq.InputError, match=message):
            action(p, x)


def test_what_is_no_permutation_is_refused_in_a_product() -> None:
    action = combine(points(5), sets(5)).on(CLOUDS)  # type: ignore[union-attr]
    x = (torch.zeros(2, 5, 3), torch.zeros(2, 5))
    with pytest.raises(eq.InputError, match="repeated"):
        action((torch.eye(3, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3])), x)


def test_permutations_of_other_whole_numbers_are_taken() -> None:
    x = torch.tensor([[10, 20, 30]])
    for kind in (torch.int32, torch.int16):
        assert sets().on(S(3))(torch.tensor([1, 2, 0], dtype=kind), x).tolist() == [[30, 10, 20]]


GOOD = (torch.zeros(2, 3, 1), torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool))
NO_EDGES = torch.full((2, 1, 2), -1)


@pytest.mark.parametrize(
    ("action", "x", "message"),
    [
        (pairs().on(S(3)), torch.zeros(2, 3, 4), "square"),
        (pairs().on(S(3)), torch.zeros(2, 3), "square"),
        (pairs().on(S(3)), torch.zeros(2, 4, 4), "3 nodes"),
        (pairs().on(S(3)), GOOD, "graphs"),
        (edges().on(S(3)), torch.zeros(2, 4, 2), "int64"),
        (edges().on(S(3)), torch.zeros(2, 2, 4, dtype=torch.int64), r"\(B, E, 2\)"),
        (edges().on(S(3)), torch.tensor([[[0, 3]]]), "edge 0 of graph 0, \\(0, 3\\)"),
        (edges().on(S(3)), torch.tensor([[[0, 1], [0, -1]]]), r"1 edges.*\(0, -1\)"),
        (edges().on(S(3)), torch.tensor([[[-2, -2]]]), r"\(-2, -2\)"),
        (graphs().on(S(3)), GOOD[0], r"\(x, adjacency, mask\)"),
        (graphs().on(S(3)), GOOD[:2], "tuple of 2"),
        (graphs(mask=False).on(S(3)), GOOD, "tuple of 3"),
        (graphs().on(S(3)), (GOOD[0], GOOD[1], GOOD[2].float()), "mask.bool"),
        (graphs().on(S(3)), (GOOD[0], GOOD[1], torch.ones(2, 3, 1, dtype=torch.bool)), r"\(2, 3\)"),
        (graphs().on(S(3)), (GOOD[0][..., 0], *GOOD[1:]), r"\(B, n, C\)"),
        (graphs().on(S(3)), (torch.zeros(2, 4, 1), *GOOD[1:]), "3 points"),
        (graphs().on(S(3)), (torch.zeros(1, 3, 1), *GOOD[1:]), "same number of samples"),
        (graphs(edge_lists=True).on(S(3)), GOOD, "int64"),
        (graphs(edge_lists=True).on(S(3)), (GOOD[0], NO_EDGES + 4, GOOD[2]), "2 edges"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(action: Action, x: Data, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        action(action.group.identity(()), x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: pairs().on(eq.SO(3)), "no group of permutations"),
        (lambda: edges().on(eq.SO(3)), "no group of permutations"),
        (lambda: graphs().on(eq.Dihedral(4)), "no group of permutations"),
        (lambda: pairs(4).on(S(3)), "permutes 3 points"),
        (lambda: graphs(0).on(S(3)), ">= 1"),
        (lambda: pairs().on(S(3) * S(4)), r"factor\(0, actions.pairs\(\)\)"),
    ],
)
def test_groups_that_do_not_permute_nodes_are_refused(build, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        build()


# --- by name ----------------------------------------------------------------------------------


def test_parse_reads_graphs() -> None:
    assert str(parse("graphs", S(12))) == "graphs(12) under S12"
    assert str(parse("graphs:12", S(12))) == "graphs(12) under S12"
    assert str(parse("graphs:12,edges", S(12))) == "graphs(12, edges) under S12"
    assert str(parse("graphs: edges, nomask", S(12))) == "graphs(12, edges, no mask) under S12"
    assert str(parse("pairs", S(4))) == "pairs(4) under S4"
    assert str(parse("edges:4", S(4))) == "edges(4) under S4"
    cloud = parse("points:5,vectors=1,scalars=1", eq.Euclidean(3) * S(5))
    assert (cloud.vectors, cloud.scalars, cloud.count) == (1, 1, 5)  # type: ignore[attr-defined]
    assert parse("points:vectors=1", eq.Euclidean(3)).vectors == 1  # type: ignore[attr-defined]
    assert len(parse("points:5+pairs+sets", CLOUDS).parts) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph", "graphs"),
        ("graphs:11", "permutes 12"),
        ("graphs:12,edgez", "Did you mean 'edges'"),
        ("graphs:twelve", "whole number"),
        ("pairs:x", "whole number"),
        ("points:12,vector=1", "Did you mean 'vectors'"),
        ("points:12,vectors", "vectors=1"),
        ("points:12,vectors=many", "vectors=3"),
        ("sets:vectors=1", "whole number"),
    ],
)
def test_parse_says_what_it_does_not_know_of_graphs(text: str, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        parse(text, S(12))
