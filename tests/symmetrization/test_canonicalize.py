"""Canonical poses: images, ties, learned energies."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points, sets
from equilearn.symmetrization import Canonicalize, ConvEnergy, MLPEnergy, small_energy, symmetrize
from equilearn.symmetrization._image_poses import image_centre, image_scale
from equilearn.symmetrization._moments import angular_moment, axis_angle, radial_mass


def blobs(size, generator, side=24):
    """Smooth images of three random bumps inside the disc."""
    rows = torch.linspace(-1, 1, side, dtype=torch.float64)
    y, x = torch.meshgrid(-rows, rows, indexing="ij")
    centre = torch.rand(size, 3, 2, generator=generator, dtype=torch.float64) - 0.5
    height = torch.rand(size, 3, generator=generator, dtype=torch.float64) + 0.3
    distance = (x - centre[..., 0, None, None]) ** 2 + (y - centre[..., 1, None, None]) ** 2
    return (height[..., None, None] * torch.exp(-distance / 0.03)).sum(1, keepdim=True)


# --- moments ----------------------------------------------------------------------------------------


@given(order=st.integers(1, 4), turns=st.integers(0, 3), seed=st.integers(0, 99))
def test_moments_turn_with_the_image(order, turns, seed):
    x = torch.rand(3, 2, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moment = angular_moment(x, order)
    factor = 1j ** (order * turns)
    assert (angular_moment(torch.rot90(x, turns, (2, 3)), order) - factor * moment).abs().max() < 1e-12
    assert (angular_moment(x.flip(2), order) - moment.conj()).abs().max() < 1e-12
    assert bool((moment.abs() <= radial_mass(x, order) + 1e-12).all())
    if order < 4:  # a square grid has a fourth moment of its own
        assert (angular_moment(x + 5, order) - moment).abs().max() < 1e-10


def test_the_axis_turns_with_the_image(generator):
    x = blobs(200, generator)
    action = images().on(eq.SO(2))
    angle = torch.rand(200, generator=generator, dtype=torch.float64) * 2 * math.pi
    first, strength = axis_angle(x)
    second, _ = axis_angle(action(eq.SO(2).exp(angle[:, None]), x))
    off = torch.remainder(second - first - angle + math.pi / 2, math.pi) - math.pi / 2
    clear = strength > 0.1
    assert clear.double().mean() > 0.8
    assert off[clear].abs().max() < 0.06


def test_centre_and_size_of_an_image():
    x = torch.zeros(2, 1, 5, 7)
    x[0, 0, 1, 5] = 3.0
    assert image_centre(x).tolist() == [[2.0, 1.0], [0.0, 0.0]]
    assert image_scale(x).tolist() == pytest.approx([math.sqrt(5) / 2.5 / 0.5, 1.0])


def test_an_image_without_axis_is_flagged():
    SO2 = eq.SO(2)
    model = symmetrize(nn.Flatten(), eq.Symmetry(SO2, images()), "canonicalize")
    square = torch.ones(1, 1, 8, 8)
    _, elements = model(square, return_elements=True)
    assert elements.aux["degenerate"].tolist() == [True]
    assert not elements.exact


# --- choice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [eq.Cyclic(4), eq.Dihedral(4), eq.Cyclic(2)], ids=str)
@given(seed=st.integers(0, 99))
def test_exact_copies_have_one_canonical_pose(group, seed):
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    symmetry = eq.Symmetry(group, images())
    model = symmetrize(nn.Flatten(), symmetry, "canonicalize")
    y = model(x)
    for i in range(group.order):
        assert torch.equal(model(symmetry.act_input(group.take(group.elements(), i), x)), y)


def test_ties_are_averaged():
    # A line through the middle looks the same after a half turn; a blank image after any.
    x = torch.zeros(3, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2] = 1.0
    x[1, 0, 1, 2] = 1.0
    symmetry = eq.Symmetry(eq.Cyclic(4), images(), images())
    net = nn.Conv2d(1, 1, 3, padding=1).double().requires_grad_(False)
    model = symmetrize(net, symmetry, "canonicalize")
    y, elements = model(x, return_elements=True)
    assert (elements.weight > 0).sum(1).tolist() == [2, 1, 4]
    assert elements.aux["ambiguous"].tolist() == [True, False, True]
    assert (torch.rot90(y[0], 2, (1, 2)) - y[0]).abs().max() < 1e-14
    assert (torch.rot90(y[2], 1, (1, 2)) - y[2]).abs().max() < 1e-14
    g = torch.tensor([1, 1, 1])
    assert (model(symmetry.act_input(g, x)) - symmetry.act_output(g, y)).abs().max() < 1e-14
    one = symmetrize(net, symmetry, Canonicalize(ties="random"))
    assert one(x, return_elements=True)[1].count == 1
    assert not one.is_exact(x)
    assert one.is_exact(x[1:2])


def test_canonical_images_turn_back(generator):
    # Rotated smooth images come to the same pose, up to interpolation, but for the few where the
    # half turn is a close call.
    SO2 = eq.SO(2)
    symmetry = eq.Symmetry(SO2, images("bicubic"))
    x = blobs(100, generator)
    model = symmetrize(nn.Flatten(), symmetry, "canonicalize")
    moved = symmetry.act_input(SO2.sample((100,), generator=generator), x)
    a, b = model(x), model(moved)
    error = (a - b).norm(dim=1) / a.norm(dim=1)
    assert error.median() < 0.05
    assert (error < 0.2).double().mean() > 0.85


@pytest.mark.parametrize("skew", [True, False])
def test_points_lean_to_the_positive_side(skew, generator):
    O3 = eq.O(3)
    x = torch.randn(6, 7, 3, generator=generator, dtype=torch.float64)
    seen = []
    symmetrize(lambda z: seen.append(z) or z, eq.Symmetry(O3, points()), Canonicalize())(x)
    assert bool((seen[0].pow(3).sum(1) > 0).all())


# --- learned ----------------------------------------------------------------------------------------


def test_an_energy_learns_with_the_model():
    torch.manual_seed(0)
    symmetry = eq.Symmetry(eq.Cyclic(4), images())
    x = torch.rand(16, 1, 6, 6)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    strategy = Canonicalize(energy=small_energy(x))
    model = symmetrize(net, symmetry, strategy)
    assert model.forward_passes() == 4
    y, elements = model(x, return_elements=True)
    assert elements.count == 4
    # Forward counts the best copy alone, as in evaluation.
    hard = elements.weight.detach()
    assert torch.equal(hard.argmax(1), torch.zeros(16, dtype=torch.long))
    assert (hard.sort(1).values[:, :-1].abs() < 1e-6).all()
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in strategy.energy.parameters() if p.ndim > 1)
    model.eval()
    assert model.forward_passes() == 1
    assert torch.allclose(model(x), y, atol=1e-5)
    assert model(x, return_elements=True)[1].count == 1


def test_learning_picks_the_pose_that_the_model_can_read():
    # The model reads the top left pixel only, and the target is the largest corner: the energy
    # has to learn to turn it there.
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, 1, 2, 2, generator=generator)
    target = x.flatten(1).amax(1)
    strategy = Canonicalize(energy=MLPEnergy(4), temperature=0.3)
    model = symmetrize(lambda z: z[:, 0, 0, 0], eq.Symmetry(eq.Cyclic(4), images()), strategy)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = float((model(x) - target).square().mean().detach())
    for _ in range(150):
        optimizer.zero_grad()
        (model(x) - target).square().mean().backward()
        optimizer.step()
    model.eval()
    assert float((model(x) - target).square().mean().detach()) < before / 20


def test_candidates_of_a_continuous_group():
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    symmetry = eq.Symmetry(eq.SO(2), images())
    model = symmetrize(nn.Flatten(), symmetry, Canonicalize(energy=small_energy(x), candidates=16, mix=16))
    assert model(x, return_elements=True)[1].count == 16
    _, elements = model.eval()(x, return_elements=True)
    assert elements.aux["energy"].shape == (3, 16)
    mirrored = symmetrize(nn.Flatten(), eq.Symmetry(eq.O(2), images()), Canonicalize(candidates=4))
    assert mirrored(x, return_elements=True)[1].aux["energy"].shape == (3, 8)


def test_energies_given_by_hand():
    symmetry = eq.Symmetry(eq.Cyclic(4), images())
    darkest_corner = Canonicalize(energy=lambda z: z[:, 0, 0, 0])
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = symmetrize(nn.Flatten(), symmetry, darkest_corner)(x)
    corners = x[:, 0, [0, 0, 3, 3], [0, 3, 0, 3]]
    assert torch.equal(y[:, 0], corners.amin(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": 3}, "energy must be a module or function"),
        ({"energy": "learned"}, "small_energy"),
        ({"candidates": 3}, "candidates must be even"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"mix": 0}, "mix must be a whole number"),
        ({"ties": "first"}, "Unknown way to treat ties 'first'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Canonicalize(**options)


def test_options_that_do_not_fit():
    with pytest.raises(InputError, match=r"candidates= is for SO\(2\) or O\(2\) on images, not C4"):
        symmetrize(nn.Flatten(), eq.Symmetry(eq.Cyclic(4), images()), Canonicalize(candidates=4))
    model = symmetrize(nn.Flatten(), eq.Symmetry(eq.Cyclic(4), images()), Canonicalize(energy=lambda z: z.sum()))
    with pytest.raises(InputError, match=r"energy must map 8 copies to a tensor of shape \(8,\)"):
        model(torch.rand(2, 1, 4, 4))


def test_energies_see_where_things_are():
    torch.manual_seed(0)
    x = torch.zeros(2, 1, 8, 8)
    x[0, 0, 1, 1] = x[1, 0, 6, 6] = 1.0
    energies = ConvEnergy(1)(x)
    assert (energies[0] - energies[1]).abs() > 1e-4


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "some"])
def test_numbers_of_samples_that_are_none_are_refused(k):
    model = symmetrize(nn.Flatten(), eq.Symmetry(eq.Symmetric(5), sets()), "canonicalize")
    x = torch.rand(2, 5, 3)
    with pytest.raises(InputError, match="k must be a whole number >= 1"):
        model(x, k=k)
    assert torch.equal(model(x, k=7), model(x)) and torch.equal(model(x, k="all"), model(x))
