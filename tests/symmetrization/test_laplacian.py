"""Frames of graphs: the order of the nodes from Laplacian eigenspaces, features and masks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equilearn as eq
from equilearn._check import InputError
from equilearn.actions import graphs, map_data, pairs, sets
from equilearn.data import automorphism_graphs, exp_graphs, graph8c
from equilearn.symmetrization import Elements, Frames, Strategy, laplacian_keys
from equilearn.symmetrization._orders import _merged

N = 8


def graph_symmetry(n: int, *, nodewise: bool = False, **options: bool) -> eq.Symmetry:
    return eq.Symmetry(eq.Symmetric(n), input=graphs(**options), output=sets() if nodewise else None)


def random_graphs(seed: int, count: int = 6, n: int = N, density: float = 0.4) -> tuple:
    """Graphs of different sizes, padded at random places, with coarse features so that nodes tie."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(count, n, generator=g) < 0.8
    upper = (torch.rand(count, n, n, generator=g) < density).triu(1)
    adjacency = (upper | upper.mT) & mask[:, :, None] & mask[:, None]
    x = torch.randint(2, (count, n, 1), generator=g) * mask[..., None]
    return x.double(), adjacency.double(), mask


def moved(symmetry: eq.Symmetry, x: object, seed: int) -> tuple:
    g = torch.Generator().manual_seed(seed)
    p = symmetry.group.sample((len(eq.actions.first_leaf(x)),), generator=g)
    return p, symmetry.act_input(p, x)


def first_copy(symmetry: eq.Symmetry, strategy: Strategy, x: object, seed: int = 0) -> tuple:
    """The input as the first order of each graph writes it."""
    found = strategy.sample(symmetry, x, generator=torch.Generator().manual_seed(seed))
    return symmetry.act_input(symmetry.group.inverse(found.g[:, 0]), x)


def dense_net(n: int, out: int, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return eq.nn.FlatMLP(n + n * n + n, out, 32, 1, "tanh").double()


# --- keys -------------------------------------------------------------------------------------------------


def sorted_keys(keys: torch.Tensor) -> torch.Tensor:
    """Rows in lexicographic order, equal to six digits."""
    return torch.stack(
        [torch.stack(sorted(rows.round(decimals=6).unbind(0), key=lambda r: r.tolist())) for rows in keys]
    )


def published_keys(adjacency: torch.Tensor) -> torch.Tensor:
    """Eigenspaces told apart by exact equality in float32."""
    a = adjacency.float()
    values, vectors = torch.linalg.eigh(torch.diag_embed(a.sum(-1)) - a)
    label = torch.cat((torch.zeros(len(a), 1), (values[:, 1:] != values[:, :-1]).cumsum(-1)), -1).long()
    return torch.zeros_like(vectors).scatter_add_(-1, label[:, None].expand(vectors.shape), vectors.square())


def test_relabelling_changes_no_keys_of_200_graphs_where_exact_equality_changes_many():
    task = exp_graphs(101, test=1, seed=3)
    _, adjacency, mask = task.x_train
    symmetry = task.symmetry
    _, (_, again, mask_again) = moved(symmetry, task.x_train, 0)
    keys, gap = laplacian_keys(adjacency, mask)
    keys_again, _ = laplacian_keys(again, mask_again)
    changed = (sorted_keys(keys) - sorted_keys(keys_again)).abs().amax((1, 2)) > 1e-5
    assert len(changed) == 200 and int(changed.sum()) == 0
    assert float(gap.min()) > 1e-8
    # In float32, with eigenvalues equal only where every bit agrees, eigenspaces split at random.
    published, published_again = (sorted_keys(published_keys(a).double()) for a in (adjacency, again))
    assert int(((published - published_again).abs().amax((1, 2)) > 1e-2).sum()) > 20


def test_keys_of_a_path_and_of_padding():
    path = torch.tensor([[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]])
    keys, gap = laplacian_keys(path)
    torch.testing.assert_close(keys.sum(-1), torch.ones(1, 3, dtype=torch.float64))  # projectors add up to one
    assert float(gap) == pytest.approx(1 / 3)
    padded = torch.nn.functional.pad(path, (0, 2, 0, 2))
    mask = torch.tensor([[True] * 3 + [False] * 2])
    again, gap_again = laplacian_keys(padded, mask)
    torch.testing.assert_close(again[:, :3, :3], keys)
    assert again[:, 3:].abs().max() == 0 and float(gap_again) == pytest.approx(float(gap))


def test_an_eigenspace_of_several_dimensions_gives_one_key():
    ring = torch.roll(torch.eye(6), 1, 0) + torch.roll(torch.eye(6), -1, 0)
    keys, _ = laplacian_keys(ring[None])
    torch.testing.assert_close(keys[0], torch.tensor([1.0, 2, 2, 1, 0, 0], dtype=torch.float64).expand(6, 6) / 6)


def test_keys_of_the_wrong_shape_and_of_no_graphs():
    with pytest.raises(InputError, match=r"shape \(B, n, n\), got \(2, 3, 4\)"):
        laplacian_keys(torch.zeros(2, 3, 4))
    with pytest.raises(InputError, match="must be a tensor"):
        laplacian_keys([[0.0]])  # type: ignore[arg-type]
    assert laplacian_keys(torch.zeros(0, 3, 3))[0].shape == (0, 3, 3)
    keys, gap = laplacian_keys(torch.zeros(1, 1, 1))
    assert float(keys) == 1 and float(gap) == math.inf


# --- frames -----------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.booleans())
def test_an_order_is_a_canonical_form(seed: int, has_mask: bool):
    x = random_graphs(seed)
    x = x if has_mask else x[:2]
    symmetry = graph_symmetry(N, mask=has_mask)
    _, again = moved(symmetry, x, seed + 1)
    for one, other in zip(first_copy(symmetry, Frames(), x), first_copy(symmetry, Frames(), again), strict=True):
        assert torch.equal(one, other)


@given(st.integers(0, 10**6))
def test_averaged_over_all_orders_nodes_and_graphs_are_exact(seed: int):
    x = random_graphs(seed)
    _, adjacency, mask = x
    for nodewise in (False, True):
        symmetry = graph_symmetry(N, nodewise=nodewise)
        model = eq.symmetrize(_masked(dense_net(N, N if nodewise else 3), nodewise), symmetry, "frames", limit=6000)
        p, again = moved(symmetry, x, seed + 1)
        assert model.is_exact(x)
        torch.testing.assert_close(model(again), symmetry.act_output(p, model(x)), atol=1e-12, rtol=0)
    assert adjacency.shape == (6, N, N) and mask.dtype == torch.bool


def _masked(net: torch.nn.Module, nodewise: bool) -> torch.nn.Module:
    """Node outputs are zero at padding, whose place in the order means nothing."""

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: tuple) -> torch.Tensor:
            y = self.net(x)
            return y[..., None] * x[2][..., None] if nodewise else y

    return Masked()


def test_exp_graphs_have_one_order_each_up_to_their_own_symmetries():
    task = exp_graphs(31, test=1, seed=0)
    found = Frames().sample(task.symmetry, task.x_train)
    assert found.exact and found.count == 1 and len(found.g) == 60
    _, again = moved(task.symmetry, task.x_train, 0)
    for one, other in zip(
        first_copy(task.symmetry, Frames(), task.x_train), first_copy(task.symmetry, Frames(), again), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("n", "kinds"), [(6, 112), (7, 853)])
def test_canonical_forms_tell_all_small_graphs_apart(n: int, kinds: int):
    adjacency = graph8c(n).double()
    x = (adjacency.new_ones(kinds, n, 1), adjacency)
    symmetry = graph_symmetry(n, mask=False)
    forms = first_copy(symmetry, Frames(), x)[1].flatten(1)
    assert len(forms.unique(dim=0)) == kinds
    _, again = moved(symmetry, x, 1)
    assert torch.equal(forms, first_copy(symmetry, Frames(), again)[1].flatten(1))


def test_the_full_average_over_six_nodes_is_invariant_and_tells_all_graphs_apart():
    adjacency = graph8c(6).double()
    symmetry = eq.Symmetry(eq.Symmetric(6), input=pairs())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [layer for a, b in ((36, 128), (128, 64)) for layer in (torch.nn.Linear(a, b), torch.nn.Tanh())]
        net = torch.nn.Sequential(torch.nn.Flatten(), *layers, torch.nn.Linear(64, 10)).double()
    average = eq.symmetrize(net, symmetry, "average", samples="all", limit=720)
    some = torch.arange(0, 112, 8)
    _, again = moved(symmetry, adjacency[some], 2)
    with torch.no_grad():
        y = torch.cat([average(part) for part in adjacency.split(16)])
        assert float((average(again) - y[some]).abs().max()) < 1e-15
    gaps = torch.pdist(y, p=1)
    assert len(gaps) == 6216 and float(gaps.min()) > 1e-5 and 0.01 < float(gaps.median()) < 1
    # An enumerated frame is as exact, at the price of a single evaluation.
    frames = eq.symmetrize(net, symmetry, "frames")
    with torch.no_grad():
        assert float((frames(again) - frames(adjacency[some])).abs().max()) < 1e-15


AUTOMORPHISMS = {"asymmetric": 1, "star": 720, "double star": 12, "cycle": 14, "grid": 8}


@pytest.mark.parametrize("name", list(AUTOMORPHISMS))
def test_a_graph_has_as_many_orders_as_symmetries(name: str):
    adjacency = automorphism_graphs()[name][None].double()
    n = adjacency.shape[-1]
    x = (adjacency.new_ones(1, n, 1), adjacency)
    found = Frames(limit=1000).sample(graph_symmetry(n, nodewise=True, mask=False), x)
    assert found.exact and found.count == AUTOMORPHISMS[name] == int(found.aux["frame_size"])
    # All of them write the graph alike, so that one is enough for an invariant result.
    invariant = graph_symmetry(n, mask=False)
    alone = Frames().sample(invariant, x)
    assert alone.exact and alone.count == 1
    copies = invariant.act_input(
        eq.Symmetric(n).inverse(found.g[0]), map_data(lambda t: t.expand(found.count, *t.shape[1:]), x)
    )
    assert (copies[1] == copies[1][:1]).all()


def test_nodes_of_a_cycle_get_one_value_and_a_fixed_order_is_caught():
    ring = automorphism_graphs()["cycle"][None].double()
    x = (ring.new_ones(1, 7, 1), ring)
    symmetry = graph_symmetry(7, nodewise=True, mask=False)
    net = eq.nn.FlatMLP(7 + 49, (7, 1), 16, 1).double()
    net.requires_grad_(False)
    y = eq.symmetrize(net, symmetry, "frames")(x)
    assert float((y - y.mean()).abs().max()) < 1e-15

    def as_written(symmetry: eq.Symmetry, x: tuple, generator: torch.Generator | None) -> Elements:
        return Elements(symmetry.group.identity((len(x[0]), 1)), torch.ones(len(x[0]), 1), exact=True)

    fixed = eq.symmetrize(net, symmetry, Frames(frame=as_written))(x)
    assert float((fixed - fixed.mean()).abs().max()) > 1e-3


def test_more_orders_than_the_limit_are_drawn_and_say_so():
    star = automorphism_graphs()["star"][None].double()
    x = (star.new_ones(1, 7, 1), star)
    symmetry = graph_symmetry(7, nodewise=True, mask=False)
    strategy = Frames(limit=10)
    found = strategy.sample(symmetry, x, generator=torch.Generator().manual_seed(0))
    assert not found.exact and found.count == 1 and int(found.aux["frame_size"]) == 720
    assert not strategy.is_exact(symmetry, x)
    drawn = strategy.sample(symmetry, x, 5, torch.Generator().manual_seed(0))
    assert drawn.count == 5 and len(drawn.g[0].unique(dim=0)) > 1
    assert (drawn.g[0, :, 0] == 0).all() or (drawn.g[0, :, -1] == 0).all()  # the centre keeps its place
    # Orders are drawn evenly: each leaf comes second in a sixth of 3,000. False alarm below 1e-6.
    many = strategy.sample(symmetry, x, 3000, torch.Generator().manual_seed(1)).g[0]
    counts = torch.bincount(many[:, 3], minlength=7)
    assert int((counts > 0).sum()) == 6 and float((counts[counts > 0] - 500).abs().max()) < 5 * (3000 * 5 / 36) ** 0.5


def test_fewer_draws_than_poses_take_some_of_them():
    x = random_graphs(3)
    ring = torch.roll(torch.eye(N), 1, 0) + torch.roll(torch.eye(N), -1, 0)
    x[0][0], x[1][0], x[2][0] = 1.0, ring.double(), True
    symmetry = graph_symmetry(N, nodewise=True)
    found = Frames(limit=10**4).sample(symmetry, x, 3, torch.Generator().manual_seed(0))
    assert found.count == 3 and not found.exact
    assert len(found.g[0].unique(dim=0)) == 3
    torch.testing.assert_close(found.weight.sum(1), torch.ones(6, dtype=torch.float64))


# --- all parts of the data --------------------------------------------------------------------------------


def test_edge_lists_and_features_of_edges_decide_too():
    x, adjacency, mask = random_graphs(5)
    x = torch.ones_like(x) * mask[..., None]
    ends = [torch.nonzero(a) for a in adjacency]
    most = max(map(len, ends))
    edges = torch.stack([torch.nn.functional.pad(e, (0, 0, 0, most - len(e)), value=-1) for e in ends])
    dense = Frames().sample(graph_symmetry(N), (x, adjacency, mask))
    listed = Frames().sample(graph_symmetry(N, edge_lists=True), (x, edges, mask))
    assert torch.equal(dense.g, listed.g)
    # A cycle whose edges carry different features has a single order.
    ring = (torch.roll(torch.eye(7), 1, 0) + torch.roll(torch.eye(7), -1, 0)).double()[None]
    labelled = torch.stack((ring, torch.zeros_like(ring)), -1)
    labelled[0, 0, 1, 1] = labelled[0, 1, 0, 1] = 2.0
    ones = ring.new_ones(1, 7, 1)
    symmetry = graph_symmetry(7, nodewise=True, mask=False)
    assert int(Frames().sample(symmetry, (ones, ring)).aux["frame_size"]) == 14
    assert int(Frames().sample(symmetry, (ones, labelled)).aux["frame_size"]) == 2  # the mirror image is left
    labelled[0, 1, 2, 1] = labelled[0, 2, 1, 1] = 3.0
    assert int(Frames().sample(symmetry, (ones, labelled)).aux["frame_size"]) == 1


def test_directed_graphs_are_sorted_by_both_directions():
    """An adjacency that is not symmetric is no error here: a directed cycle has turns but no mirror images."""
    ring = torch.roll(torch.eye(7), 1, 0).double()[None]
    symmetry = graph_symmetry(7, nodewise=True, mask=False)
    x = (ring.new_ones(1, 7, 1), ring)
    found = Frames().sample(symmetry, x)
    assert found.exact and int(found.aux["frame_size"]) == 7
    _, again = moved(symmetry, x, 0)
    assert torch.equal(first_copy(symmetry, Frames(), x)[1], first_copy(symmetry, Frames(), again)[1])


@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
def test_single_nodes_all_masked_rows_and_no_graphs(strategy: str):
    single = graph_symmetry(1)
    model = eq.symmetrize(dense_net(1, 2), single, strategy)
    one = (torch.ones(2, 1, 1).double(), torch.zeros(2, 1, 1).double(), torch.ones(2, 1, dtype=torch.bool))
    assert model.is_exact(one) and model(one).shape == (2, 2)
    symmetry = graph_symmetry(N)
    model = eq.symmetrize(dense_net(N, 2), symmetry, strategy)
    x = random_graphs(0)
    nothing = map_data(torch.zeros_like, x)
    assert model.is_exact(nothing) and bool(torch.isfinite(model(nothing)).all())
    assert model(map_data(lambda t: t[:0], x)).shape == (0, 2)
    assert int(Frames().sample(symmetry, nothing).aux["frame_size"].max()) == 1


def test_padding_comes_last_wherever_it_was():
    x = random_graphs(7)
    copy = first_copy(graph_symmetry(N), Frames(), x)
    count = x[2].sum(1, keepdim=True)
    assert torch.equal(copy[2], torch.arange(N) < count)
    found = eq.symmetrize(dense_net(N, 2), graph_symmetry(N), "frames")
    assert found.forward_passes() == 1


def test_masked_sets_are_sorted_with_padding_last(dtype: torch.dtype):
    symmetry = eq.Symmetry(eq.Symmetric(5), input=(sets(), sets()), output=sets())
    x = torch.tensor([[[3.0], [1.0], [0.0], [2.0], [0.0]]], dtype=dtype)
    mask = torch.tensor([[True, True, False, True, False]])
    found = Frames().sample(symmetry, (x, mask))
    assert found.exact and found.g[0, 0, :3].tolist() == [1, 3, 0]
    # Equal rows are averaged over their places, padding is not.
    tied = x.clone()
    tied[0, 3] = 1.0
    found = Frames().sample(symmetry, (tied, mask))
    assert found.exact and found.count == 2 and bool(found.aux["tied"][0])


def test_canonical_forms_of_graphs_average_their_symmetries_and_report_margins():
    ring = automorphism_graphs()["cycle"][None].double()
    symmetry = graph_symmetry(7, nodewise=True, mask=False)
    x = (ring.new_ones(1, 7, 1), ring)
    net = eq.nn.FlatMLP(7 + 49, (7, 1), 16, 1).double().requires_grad_(False)
    model = eq.symmetrize(net, symmetry, "canonicalize")
    y, found = model(x, return_elements=True)
    assert found.exact and found.count == 14 and float((y - y.mean()).abs().max()) < 1e-15
    random = eq.symmetrize(model.model, symmetry, "canonicalize", ties="random")
    assert random(x, generator=torch.Generator().manual_seed(0), return_elements=True)[1].count == 1
    assert not random.is_exact(x)
    weighted = torch.rand(4, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    margins = Frames().sample(symmetry, (ring.new_ones(4, 7, 1), weighted + weighted.mT)).aux["margins"]
    assert set(margins) == {"eigenvalue gap", "node key gap"}
    assert all(bool((value > 0).all()) and value.shape == (4,) for value in margins.values())


def test_orders_that_write_a_graph_alike_count_once_with_their_weight():
    first, weight = _merged(torch.tensor([0, 0, 0, 1]), torch.tensor([5, 7, 5, 5]), torch.tensor([1.0, 2, 3, 4]))
    assert first.tolist() == [0, 1, 3] and weight.tolist() == [4, 2, 4]
    ring = automorphism_graphs()["cycle"][None].double()
    found = Frames().sample(graph_symmetry(7, mask=False), (ring.new_ones(1, 7, 1), ring))
    assert found.count == 1 and int(found.aux["frame_size"]) == 14


def test_exact_node_outputs_are_constant_where_the_grid_maps_to_itself():
    """The eight symmetries of a 5 x 5 grid leave six kinds of nodes; a plain network tells them all apart."""
    grid = automorphism_graphs()["grid"][None].double()
    x = (grid.new_ones(1, 25, 1), grid)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = eq.nn.FlatMLP(25 + 625, (25, 1), 16, 1).double().requires_grad_(False)
    y, found = eq.symmetrize(net, graph_symmetry(25, nodewise=True, mask=False), "frames")(x, return_elements=True)
    y = y.reshape(5, 5)
    assert found.exact
    assert float(max((y - y.flip(0)).abs().max(), (y - y.T).abs().max())) < 1e-15
    assert len(y.flatten().round(decimals=12).unique()) == 6
