"""Frames: axes, orders, rest frames; what happens where they are not unique."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points, sets
from equilearn.symmetrization import Canonicalize, Frames, symmetrize
from equilearn.symmetrization._pca import degenerate_blocks, pca_frame, principal_axes, skewness
from equilearn.symmetrization._sorting import cyclic_shifts, sort_order, tied_to_previous

SO3, O3 = eq.SO(3), eq.O(3)


# --- axes -------------------------------------------------------------------------------------------


@given(d=st.integers(2, 5), count=st.integers(6, 9), proper=st.booleans(), seed=st.integers(0, 99))
def test_axes_move_with_the_points(d, count, proper, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, count, d, generator=generator, dtype=torch.float64)
    group = eq.SO(d) if proper else eq.O(d)
    turn = group.sample((3,), generator=generator)
    frame, degenerate = pca_frame(x, proper=proper)
    moved, _ = pca_frame(x @ turn.mT, proper=proper)
    assert frame.shape == (3, 2 ** (d - proper), d, d)
    assert not bool(degenerate.any())
    assert bool(group.contains(frame, 1e-10).all())
    # Equal as sets: every pose of the moved input is the turned pose of the input, up to rounding
    # over the gap between the axes.
    gaps = (turn[:, None, None] @ frame[:, :, None] - moved[:, None]).abs().amax((-2, -1)).amin(2)
    assert gaps.max() < 1e-7


def test_the_frame_is_a_slow_enumeration_of_signs(generator):
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    axes, values = principal_axes(x)
    assert bool((values[:, :-1] >= values[:, 1:]).all())
    expected = [axes * torch.tensor(s, dtype=torch.float64) for s in itertools.product([1.0, -1.0], repeat=3)]
    expected = torch.stack(expected, 1)
    frame, _ = pca_frame(x, proper=False)
    assert ((frame[:, :, None] - expected[:, None]).abs().amax((-2, -1)).amin(2)).max() < 1e-14
    rotations, _ = pca_frame(x, proper=True)
    inside = torch.linalg.det(expected) > 0
    assert int(inside.sum()) == 8
    for b in range(2):
        gaps = (rotations[b][:, None] - expected[b][inside[b]][None]).abs().amax((-2, -1))
        assert gaps.amin(1).max() < 1e-12
        assert gaps.amin(0).max() < 1e-12


def test_equal_moments_are_found():
    same, degenerate = degenerate_blocks(torch.tensor([[5.0, 5.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]]), 1e-8)
    assert degenerate.tolist() == [True, False, True]
    assert same[0].tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert bool(same[2].all())


def octahedron():
    eye = torch.eye(3, dtype=torch.float64)
    return torch.cat((eye, -eye)).unsqueeze(0)


def test_degenerate_axes_are_drawn_uniformly(generator):
    x = octahedron().expand(20_000, 6, 3)
    frame, degenerate = pca_frame(x, proper=True, generator=generator)
    assert bool(degenerate.all())
    assert bool(SO3.contains(frame, 1e-10).all())
    g = frame[:, 0]
    # Haar moments: mean 0, mean square 1/3 (80,000 poses; standard errors below 0.005, so that 0.03 is
    # beyond 6 of them). Without the sign fix of QR the mean of a diagonal entry would be about -0.5.
    assert g.mean(0).abs().max() < 0.03
    assert (g.square().mean(0) - 1 / 3).abs().max() < 0.02


def test_degenerate_inputs_are_flagged_and_equivariant_on_average(generator):
    symmetry = eq.Symmetry(SO3, points(), points())
    model = symmetrize(lambda x: torch.tanh(3 * x), symmetry, "frames")
    x = torch.cat((octahedron(), torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)))
    assert not model.is_exact(x)
    assert model.is_exact(x[1:])
    _, elements = model(x, return_elements=True)
    assert elements.aux["degenerate"].tolist() == [True, False]
    assert not elements.exact
    # The mean over calls has the symmetry of the octahedron: each vertex maps to a multiple of itself.
    y = torch.stack([model(x[:1], generator=generator)[0] for _ in range(400)])
    mean, error = y.mean(0), y.std(0) / 20
    off = mean - torch.diagonal(mean @ x[0].T)[:, None] * x[0]
    assert bool((off.abs() < 5 * error + 1e-9).all())  # 18 numbers, chance below 1e-4


def test_a_flat_cloud_needs_no_third_axis(generator):
    # One axis without extent is not degenerate: its sign is enumerated like any other.
    x = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    x[..., 2] = 0
    symmetry = eq.Symmetry(O3, points(), points())
    turn = O3.sample((4,), generator=generator)
    for strategy in ("frames", "canonicalize"):
        model = symmetrize(lambda x: torch.tanh(x + x.roll(1, 2)), symmetry, strategy)
        assert model.is_exact(x)
        gap = model(symmetry.act_input(turn, x)) - symmetry.act_output(turn, model(x))
        assert gap.abs().max() < 1e-9


@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
def test_translations_leave_only_rounding(strategy, generator):
    SE3 = eq.SpecialEuclidean(3)
    symmetry = eq.Symmetry(SE3, points(), points())
    model = symmetrize(torch.tanh, symmetry, strategy)
    x = torch.randn(3, 5, 3, generator=generator, dtype=torch.float64)
    far = x + torch.tensor([100.0, -50.0, 3.0])
    assert (model(far) - model(x) - torch.tensor([100.0, -50.0, 3.0])).abs().max() < 1e-9


def test_too_many_dimensions():
    with pytest.raises(InputError, match=r"2\^12 poses; at most 10 dimensions"):
        pca_frame(torch.randn(1, 20, 12), proper=False)


def test_skewness_of_known_points():
    x = torch.tensor([[2.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    s = skewness(x)
    assert s[0] == pytest.approx(6 / 6**1.5 * 3**0.5, rel=1e-6)
    assert s[1] == pytest.approx(0, abs=1e-12)
    assert s[2] == 0


# --- orders -----------------------------------------------------------------------------------------


@given(n=st.integers(1, 7), width=st.integers(1, 3), seed=st.integers(0, 99))
def test_sorting_is_lexicographic_and_moves_along(n, width, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 3, (2, n, width), generator=generator)
    order = sort_order(rows, generator)
    for b in range(2):
        assert rows[b][order[b]].tolist() == sorted(rows[b].tolist())
    group = eq.Symmetric(n)
    action = eq.actions.sets().on(group)
    assert torch.equal(action(group.inverse(order), rows), torch.stack([rows[b][order[b]] for b in range(2)]))


def test_ties_are_broken_uniformly(generator):
    rows = (
        torch.tensor([[1.0], [0.0], [1.0], [1.0]]).expand(30_000, 4, 1) * 1e6
    )  # noise added to such values would vanish
    order = sort_order(rows, generator)
    assert bool((order[:, 0] == 1).all())
    counts = torch.bincount(order[:, 1], minlength=4)
    assert counts[1] == 0
    # 10,000 expected each, standard deviation 82: 400 is beyond 4.8 of them.
    assert (counts[[0, 2, 3]] - 10_000).abs().max() < 400


def test_cyclic_shifts_of_ties():
    rows = torch.tensor([[[2.0], [1.0], [1.0], [0.0], [0.0], [0.0]]])
    order = sort_order(rows)
    tied = tied_to_previous(rows, order)
    assert tied.tolist() == [[False, True, True, False, True, False]]
    shifted = cyclic_shifts(order, tied)
    assert shifted is not None
    assert shifted.shape == (1, 6, 6)  # lcm of 3, 2, 1
    places = [sorted(shifted[0, :, j].tolist()) for j in range(6)]
    assert places[0] == [3, 3, 4, 4, 5, 5]
    assert places[3] == [1, 1, 1, 2, 2, 2]
    assert places[5] == [0] * 6


@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
def test_equal_rows_get_equal_outputs(strategy, generator):
    S4 = eq.Symmetric(4)
    symmetry = eq.Symmetry(S4, sets(), sets())
    weight = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    model = symmetrize(lambda x: (x.flatten(1) @ weight).unsqueeze(-1), symmetry, strategy)
    x = torch.tensor([[[1.0, 2.0], [0.0, 5.0], [1.0, 2.0], [1.0, 2.0]]], dtype=torch.float64)
    y, elements = model(x, return_elements=True)
    assert model.is_exact(x)
    assert bool(elements.aux["tied"].all())
    assert y[0, [0, 2, 3]].std() < 1e-14
    # Slow twin: the mean over all orders of the ties.
    order = [1, *(0, 2, 3)]
    results = []
    for p in itertools.permutations(order[1:]):
        full = torch.tensor([[1, *p]])
        moved = symmetry.act_input(S4.inverse(full), x)
        results.append(symmetry.act_output(full, (moved.flatten(1) @ weight).unsqueeze(-1)))
    assert torch.allclose(torch.stack(results).mean(0), y, atol=1e-13)


def test_random_ties_are_not_called_exact():
    S4 = eq.Symmetric(4)
    symmetry = eq.Symmetry(S4, sets(), sets())
    x = torch.ones(1, 4, 1)
    assert not symmetrize(torch.tanh, symmetry, Frames(ties="random")).is_exact(x)
    assert symmetrize(torch.tanh, symmetry, Frames(ties="average")).is_exact(x)
    # An invariant model never sees the difference.
    assert symmetrize(torch.tanh, eq.Symmetry(S4, sets()), Frames(ties="random")).is_exact(x)


def test_large_sets_are_sorted_without_any_table(generator):
    S = eq.Symmetric(500)
    symmetry = eq.Symmetry(S, sets())
    x = torch.randn(2, 500, 3, generator=generator)
    model = symmetrize(lambda x: x[:, :3].flatten(1), symmetry, "frames")
    p = S.sample((2,), generator=generator)
    assert torch.equal(model(symmetry.act_input(p, x)), model(x))
    assert model.forward_passes() == 1


def test_integers_are_sorted_too():
    S3 = eq.Symmetric(3)
    model = symmetrize(lambda x: x.flatten(1), eq.Symmetry(S3, sets()), "frames")
    assert model(torch.tensor([[3, 1, 2]])).tolist() == [[1, 2, 3]]


# --- other groups -----------------------------------------------------------------------------------


def test_momenta_are_seen_at_rest(generator):
    L = eq.Lorentz(1, 3)
    V = eq.reps.defining(L)
    x = torch.randn(5, 3, 4, generator=generator, dtype=torch.float64)
    x[..., 0] = x[..., 1:].norm(dim=-1) + 0.3
    seen = []
    model = symmetrize(lambda z: seen.append(z) or z[:, :1], eq.Symmetry(L, 3 * V), "frames")
    model(x.flatten(1))
    total = seen[0].reshape(5, 4, 3, 4).sum(2)
    mass = L.product(x.sum(1), x.sum(1)).sqrt()
    assert total[..., 1:].abs().max() < 1e-12
    assert torch.allclose(total[..., 0], mass[:, None].expand(5, 4))
    past = symmetrize(lambda z: z, eq.Symmetry(L, 3 * V, 3 * V), "frames")
    assert torch.allclose(past(-x.flatten(1)), -x.flatten(1))


def test_spacelike_momenta_are_refused():
    L = eq.Lorentz(1, 3)
    model = symmetrize(lambda z: z, eq.Symmetry(L, eq.reps.defining(L)), "frames")
    with pytest.raises(InputError, match="1 of 2 inputs have a total momentum that is not timelike"):
        model(torch.tensor([[2.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0]]))


def test_sizes_become_one():
    symmetry = eq.Symmetry(eq.Scaling(), points())
    model = symmetrize(lambda z: z.square().sum(2).mean(1, keepdim=True), symmetry, "canonicalize")
    x = torch.cat((torch.randn(3, 5, 2), torch.zeros(1, 5, 2)))
    assert torch.allclose(model(x).squeeze(1), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize("strategy", [Frames(), Canonicalize()], ids=["frames", "canonicalize"])
@pytest.mark.parametrize(
    "symmetry",
    [
        eq.Symmetry(eq.SL(2), points()),
        eq.Symmetry(eq.GL(3), eq.reps.defining(eq.GL(3))),
        eq.Symmetry(SO3, eq.reps.irrep(SO3, 2)),
        eq.Symmetry(eq.Cyclic(100), images()),
        eq.Symmetry(eq.Lorentz(2, 2), eq.reps.defining(eq.Lorentz(2, 2))),
    ],
    ids=str,
)
def test_no_pose_known(symmetry, strategy):
    with pytest.raises(InputError, match="No frame is known for .* Known: .* Frames\\(frame=function\\)"):
        symmetrize(lambda x: x, symmetry, strategy)


def test_counts_of_poses():
    def poses(symmetry):
        return Frames().forward_passes(symmetry)

    assert poses(eq.Symmetry(SO3, points())) == 4
    assert poses(eq.Symmetry(O3, points())) == 8
    assert poses(eq.Symmetry(eq.Euclidean(2), points())) == 4
    assert poses(eq.Symmetry(SO3 * eq.Symmetric(5), points())) == 4
    assert poses(eq.Symmetry(eq.Dihedral(4), images())) == 8
    assert poses(eq.Symmetry(eq.SO(2), images())) == 2
    assert poses(eq.Symmetry(eq.O(2), images())) == 4
    assert poses(eq.Symmetry(eq.Translation(2), images())) == 1
    assert poses(eq.Symmetry(eq.Lorentz(1, 3), eq.reps.defining(eq.Lorentz(1, 3)))) == 4
    assert Frames(3).forward_passes(eq.Symmetry(O3, points())) == 3
    assert not Frames(3).is_exact(eq.Symmetry(O3, points()))
    assert Frames(9).is_exact(eq.Symmetry(O3, points()))


# --- gradients ----------------------------------------------------------------------------------------


SQUARE = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]])


@pytest.mark.parametrize(
    ("group", "x"),
    [
        (eq.SO(2), torch.zeros(2, 4, 2)),
        (eq.SO(3), torch.zeros(2, 4, 3)),
        (eq.SO(3), SQUARE.expand(2, 4, 3)),
        (eq.O(3), SQUARE[:1].expand(2, 1, 3)),
        (eq.Euclidean(3), SQUARE.expand(2, 4, 3) + 1),
        (eq.SpecialEuclidean(3), torch.ones(2, 1, 3)),
        (eq.Scaling(), torch.zeros(2, 4, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
def test_gradients_are_finite_where_axes_are_degenerate(group, x, strategy, dtype):
    """And those of the input beside them, in general position, are not touched."""
    alone = torch.randn(1, *x.shape[1:], dtype=dtype, generator=torch.Generator().manual_seed(1))
    both = torch.cat((x.to(dtype), alone)).requires_grad_()
    alone = alone.clone().requires_grad_()
    model = symmetrize(lambda t: torch.tanh(t).flatten(1).sum(1), eq.Symmetry(group, points()), strategy)
    for value in (both, alone):
        result = model(value, generator=torch.Generator().manual_seed(0))
        assert bool(torch.isfinite(result).all())
        result.sum().backward()
    assert bool(torch.isfinite(both.grad).all())
    if alone.shape[1] > 1:  # a single point has a degenerate frame
        assert torch.allclose(both.grad[-1:], alone.grad, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_resting_momenta_have_finite_gradients():
    group = eq.Lorentz(1, 3)
    x = torch.tensor([[2.0, 0, 0, 0], [3.0, 1.0, 0, 0]], dtype=torch.float64, requires_grad=True)
    model = symmetrize(lambda t: torch.tanh(t).sum(1), eq.Symmetry(group, eq.reps.defining(group)), "frames")
    model(x, generator=torch.Generator().manual_seed(0)).sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_gradients_through_simple_axes_agree_with_differences(generator):
    x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    model = symmetrize(lambda t: torch.sin(t[:, 0]), eq.Symmetry(SO3, points(), eq.reps.defining(SO3)), "frames")
    assert torch.autograd.gradcheck(model, (x,), atol=1e-6)


@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
@pytest.mark.parametrize("weighted", [False, True])
def test_points_that_are_not_there_do_not_count(strategy: str, weighted: bool):
    """A cloud with a mask: padding changes neither centroid nor axes, wherever it lies."""
    if strategy == "canonicalize" and weighted:
        pytest.skip("canonical forms have no weights")
    group = eq.SpecialEuclidean(3) * eq.Symmetric(6)
    parts = (eq.actions.points(6), eq.actions.sets(6))
    symmetry = eq.Symmetry(group, input=parts)
    options = {"weighted": True} if weighted else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = eq.nn.FlatMLP(24, 3, 16, 1, "tanh").double().requires_grad_(False)

    def masked(x):
        return net((torch.where(x[1].unsqueeze(-1), x[0], 0), x[1]))

    model = eq.symmetrize(masked, symmetry, strategy, **options)
    x = torch.randn(4, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 4 + [False] * 2]).expand(4, 6)
    y = model((x, mask))
    anywhere = torch.where(mask.unsqueeze(-1), x, 100.0)
    torch.testing.assert_close(model((anywhere, mask)), y, atol=1e-9, rtol=0)
    g = group.sample((4,), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(symmetry.act_input(g, (x, mask))), y, atol=1e-9, rtol=0)
    assert bool(torch.isfinite(model((x, torch.zeros_like(mask)))).all())


# --- padding and numbers that are none ---------------------------------------------------------------


def masked_clouds():
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()


def places(data):
    """Outputs that depend on the place in the list."""
    x, mask = data
    return torch.where(mask[..., None], x, 0) * torch.arange(1, x.shape[1] + 1)[:, None]


@pytest.mark.parametrize("strategy", ["frames", "weighted", "canonicalize"])
@pytest.mark.parametrize("group", ["SO3xS5", "E3xS5", "SO3", "C4xS5"])
@pytest.mark.parametrize("held", [1e6, 1e30, math.nan])
def test_what_padding_holds_changes_nothing(strategy, group, held):
    if strategy == "weighted" and group == "C4xS5":
        pytest.skip("weighted frames are for rotations")
    options = {"weighted": True} if strategy == "weighted" else {}
    x, mask = masked_clouds()
    x = x[..., :2].contiguous() if group == "C4xS5" else x
    # Where no factor permutes, the mask is data beside the points.
    beside = sets() if "S5" in group else eq.actions.trivial()
    symmetry = eq.Symmetry(eq.groups.parse(group), eq.actions.combine(points(), beside), points())
    model = symmetrize(places, symmetry, "canonicalize" if strategy == "canonicalize" else "frames", **options)
    y = model((x, mask))
    other = x.clone()
    other[0, 3:] = held
    again, elements = model((other, mask), return_elements=True)
    torch.testing.assert_close(again[mask], y[mask])
    assert elements.exact and not bool(elements.aux.get("tied", torch.zeros(1)).any())


SETS5 = (eq.Symmetric(5), sets())


@pytest.mark.parametrize("held", [math.nan, math.inf])
@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
@pytest.mark.parametrize(
    ("group", "action"),
    [(eq.SO(3), points()), (eq.SpecialEuclidean(3), points()), SETS5, (eq.SO(3) * eq.Symmetric(5), points())],
    ids=["SO3", "SE3", "S5", "SO3xS5"],
)
def test_values_that_are_not_finite_are_placed(group, action, strategy, held):
    x, _ = masked_clouds()
    x[1, 2, 0] = held
    with pytest.raises(
        InputError, match=r"x holds . NaN and . infinite values among 30 \(the first at index \(1, 2, 0\)"
    ):
        symmetrize(nn.Flatten(), eq.Symmetry(group, action), strategy)(x)


def test_values_that_are_not_finite_are_found_in_graphs_and_weighted_frames_and_left_in_what_does_not_move():
    x, _ = masked_clouds()
    adjacency = torch.ones(2, 5, 5)
    adjacency[0, 0, 1] = math.nan
    graph = eq.Symmetry(eq.Symmetric(5), eq.actions.graphs(mask=False))
    for strategy in ("frames", "canonicalize"):
        with pytest.raises(InputError, match=r"x\[1\] holds 1 NaN and 0 infinite values among 50"):
            symmetrize(lambda data: data[0].sum((1, 2)), graph, strategy)((x, adjacency))
    with pytest.raises(InputError, match="x holds 30 NaN"):
        symmetrize(nn.Flatten(), eq.Symmetry(eq.SO(3), points()), "frames", weighted=True)(x * math.nan)
    beside = eq.Symmetry(eq.SO(3), eq.actions.combine(points(), eq.actions.trivial()))
    y = symmetrize(lambda data: data[1].nan_to_num(7.0), beside, "frames")((x, torch.full((2, 1), math.nan)))
    assert y.tolist() == [[7.0], [7.0]]
