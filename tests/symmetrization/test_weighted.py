"""Weighted frames of clouds: exact as frames are, and continuous where principal axes jump."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equilearn as eq
from equilearn._check import InputError
from equilearn.actions import points, sets
from equilearn.reps import defining
from equilearn.symmetrization import Frames, weighted_frame
from equilearn.symmetrization._weighted import pose_total

GROUPS = [eq.SO(2), eq.O(2), eq.SO(3), eq.O(3), eq.SpecialEuclidean(2), eq.Euclidean(2), eq.Euclidean(3)]


def space(group: eq.Group) -> int:
    return group.n if isinstance(group, eq.SO | eq.O) else group.dimension  # type: ignore[attr-defined]


def cloud(seed: int, size: int, count: int, d: int) -> torch.Tensor:
    return torch.randn(size, count, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def wide_net(features: int, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [torch.nn.Flatten(), torch.nn.Linear(features, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4)]
        return torch.nn.Sequential(*layers).double().requires_grad_(False)


@pytest.mark.parametrize("group", GROUPS, ids=str)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 5))
def test_averages_are_exactly_invariant(group: eq.Group, seed: int, count: int):
    x = cloud(seed, 3, count, space(group))
    if count > 1:
        x[0, 1] = x[0, 0]  # two points in one place
    if count > 2:
        x[1, 2] = 0.0
    symmetry = eq.Symmetry(group, input=points())
    model = eq.symmetrize(wide_net(count * space(group)), symmetry, "frames", weighted=True)
    g = group.sample((3,), generator=torch.Generator().manual_seed(seed))
    y, found = model(x, return_elements=True)
    assert found.exact and found.count == pose_total(
        count, space(group), isinstance(group, eq.SO | eq.SpecialEuclidean)
    )
    torch.testing.assert_close(found.weight.sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(model(symmetry.act_input(g, x)), y, atol=1e-9, rtol=0)


@given(st.integers(0, 10**6))
def test_vector_outputs_turn_along(seed: int):
    group = eq.SO(3)
    x = cloud(seed, 2, 5, 3)
    symmetry = eq.Symmetry(group, input=points(), output=defining(group))
    model = eq.symmetrize(lambda x: torch.tanh(x).sum(1) + x[:, 0], symmetry, "frames", weighted=True)
    g = group.sample((2,), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(model(symmetry.act_input(g, x)), symmetry.act_output(g, model(x)), atol=1e-10, rtol=0)


def test_frames_are_orthogonal_and_rotations_are_proper():
    x = cloud(0, 4, 5, 3)
    x[0], x[1, :] = 0.0, torch.tensor([1.0, 2, 2])
    for proper, count in ((True, 20), (False, 40)):
        g, weight, degenerate = weighted_frame(x, proper=proper, generator=torch.Generator().manual_seed(0))
        assert g.shape == (4, count, 3, 3) and degenerate.tolist() == [True, True, False, False]
        torch.testing.assert_close(g.mT @ g, torch.eye(3).double().expand(4, count, 3, 3), atol=1e-12, rtol=0)
        signs = torch.linalg.det(g)
        assert bool((signs > 0).all()) if proper else int((signs < 0).sum()) == 4 * 20
        assert bool((weight >= 0).all())


@pytest.mark.parametrize("kind", ["line", "cross", "origin", "double"])
def test_outputs_are_continuous_where_principal_axes_jump(kind: str):
    """Equal second moments, a cloud on a line, one at the origin, points that meet: outputs follow the input."""
    base = {
        "line": cloud(1, 1, 5, 1) * torch.tensor([1.0, 2, 3]),
        "cross": torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0]]], dtype=torch.float64),
        "origin": torch.zeros(1, 5, 3, dtype=torch.float64),
        "double": cloud(2, 1, 5, 3)[:, [0, 0, 1, 1, 2]],
    }[kind]
    symmetry = eq.Symmetry(eq.SO(3), input=points())
    net = wide_net(15)
    steps = cloud(3, 16, 5, 3)

    def spread(size: float, **options: bool) -> float:
        model = eq.symmetrize(net, symmetry, "frames", **options)
        y = model(base + size * steps, generator=torch.Generator().manual_seed(0))
        return float((y - y[:1]).abs().max())

    assert spread(1e-5, weighted=True) < 1e-3 and spread(1e-7, weighted=True) < 1e-5
    assert spread(1e-7, weighted=True) < spread(1e-5, weighted=True) / 20
    if kind == "cross":
        assert spread(1e-7) > 0.01  # the axes are those of the step, however small


@pytest.mark.parametrize("group", [eq.SO(3), eq.SpecialEuclidean(3)], ids=str)
def test_invariant_averages_are_exact_on_degenerate_clouds_and_others_say_so(group: eq.Group):
    line = cloud(0, 2, 5, 1) * torch.tensor([1.0, -2, 0.5])
    x = torch.cat((line, torch.zeros(1, 5, 3).double()))
    symmetry = eq.Symmetry(group, input=points())
    model = eq.symmetrize(wide_net(15), symmetry, "frames", weighted=True)
    assert model.is_exact(x)
    g = group.sample((3,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(symmetry.act_input(g, x)), model(x), atol=1e-10, rtol=0)
    assert not eq.symmetrize(wide_net(15), symmetry, "frames").is_exact(x)
    turning = eq.Symmetry(group, input=points(), output=points())
    vectors = eq.symmetrize(lambda x: x, turning, "frames", weighted=True)
    assert not vectors.is_exact(x) and vectors.is_exact(cloud(1, 2, 5, 3))
    moving = eq.Symmetry(group, input=points(vectors=1))
    assert not eq.symmetrize(wide_net(30), moving, "frames", weighted=True).is_exact(torch.cat((x, x), -1))


def test_products_with_permutations_are_exact():
    group = eq.SO(3) * eq.Symmetric(4)
    symmetry = eq.Symmetry(group, input=points(), output=points())
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 12), torch.nn.Unflatten(1, (4, 3)))
    model = eq.symmetrize(net.double().requires_grad_(False), symmetry, "frames", weighted=True)
    x = cloud(0, 3, 4, 3)
    g = group.sample((3,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(symmetry.act_input(g, x)), symmetry.act_output(g, model(x)), atol=1e-10, rtol=0)
    assert model.forward_passes() == 12 and model.is_exact(x)


def test_gradients_are_finite_where_points_meet_the_origin():
    x = cloud(0, 2, 4, 3)
    x[0, 1], x[1] = 0.0, 0.0
    x.requires_grad_()
    model = eq.symmetrize(wide_net(12), eq.Symmetry(eq.SO(3), input=points()), "frames", weighted=True)
    model(x).sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def test_draws_are_by_weight():
    """A cloud with one long vector: poses that start from it come up as often as they weigh."""
    x = torch.tensor([[[3.0, 0], [0, 0.5], [0, -0.5]]], dtype=torch.float64)
    symmetry = eq.Symmetry(eq.SO(2), input=points())
    found = Frames(weighted=True).sample(symmetry, x.expand(4000, 3, 2), 1, torch.Generator().manual_seed(0))
    share = float((found.g[:, 0, 0, 0] > 0.5).double().mean())
    assert abs(share - 0.75) < 5 * (0.75 * 0.25 / 4000) ** 0.5  # false alarm below 1e-6
    assert not found.exact


def test_what_has_no_weighted_frames_is_refused():
    with pytest.raises(InputError, match=r"up to 3 dimensions, not for O4"):
        eq.symmetrize(lambda x: x, eq.Symmetry(eq.O(4), input=points()), "frames", weighted=True)
    with pytest.raises(InputError, match=r"Weighted frames are for O\(d\), SO\(d\)"):
        eq.symmetrize(lambda x: x, eq.Symmetry(eq.Symmetric(4), input=sets()), "frames", weighted=True)
    with pytest.raises(InputError, match="up to 3 dimensions, got 4"):
        weighted_frame(torch.zeros(1, 2, 4), proper=True)
    assert weighted_frame(torch.zeros(0, 2, 3), proper=True)[0].shape == (0, 2, 3, 3)
