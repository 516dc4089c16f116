"""Functions of location: where they are zero, where they are taken, and that they move with the data if moved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.nn import feature_maps
from equilearn.relaxation import FixedInputs, FixedVector, Relaxed, equivariant_only
from equilearn.relaxation._layer import centres, grid_places
from equilearn.testing import CheckFailed, check_layer

SQUARE = [(-1.0, 1.0), (-1.0, 1.0)]


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())


# --- the box ----------------------------------------------------------------------------------


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_zero_outside_of_the_box_and_on_its_edge(u, v):
    fixed = FixedInputs(2, [(-1, 1), (0, 2)], out=3, features=2).eval()
    x = torch.tensor([[[u, v]]])
    inside = -1 < float(x[..., 0]) < 1 and 0 < float(x[..., 1]) < 2
    assert bool(fixed.inside(x)) == inside
    assert bool(fixed(x).any()) == inside


def test_off_outside_the_box_is_on(generator):
    """A set far from the box: the relaxed network is the strict one exactly."""
    net = eq.nn.DeepSets(2, 3)
    net.own[0] = Relaxed(net.own[0], FixedInputs(4, SQUARE, out=64), "points")
    net.eval()
    near, far = torch.rand(2, 5, 2, generator=generator), 5 + torch.rand(2, 5, 2, generator=generator)
    with equivariant_only(net):
        strict_near, strict_far = net(near), net(far)
    assert torch.equal(net(far), strict_far)
    assert not torch.equal(net(near), strict_near)


def test_missing_and_distant_locations_spoil_no_gradient():
    fixed = FixedInputs(2, SQUARE, out=3, drop=0.0)
    x = torch.tensor([[[0.5, 0.5], [float("nan"), 0.0], [float("inf"), 0.0], [1e30, 0.0]]])
    t = fixed(x)
    assert bool(t[0, 0].any()) and not bool(t[0, 1:].any())
    t.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in fixed.parameters())


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ([(1, 0)], "low < high"),
        ([(0, 0)], "low < high"),
        ([(0, float("nan"))], "finite"),
        ([(0, float("inf"))], "finite"),
        ([0, 1], "low, high"),
        ([], "low, high"),
    ],
)
def test_an_empty_or_infinite_box_is_refused(domain, said):
    with pytest.raises(InputError, match=said):
        FixedInputs(1, domain)


def test_locations_of_another_dimension_are_refused():
    with pytest.raises(InputError, match=r"take locations \(\.\.\., 2\), got \(3, 1\)"):
        FixedInputs(1, SQUARE)(torch.rand(3, 1))


# --- where it is taken --------------------------------------------------------------------------


def test_pixels_lie_x_to_the_right_and_y_up():
    places = grid_places(torch.zeros(1, 1, 2, 4))
    assert places.shape == (2, 4, 2)
    assert places[0, 0].tolist() == [-0.75, 0.5]
    assert places[1, 3].tolist() == [0.75, -0.5]
    assert centres(0, torch.zeros(())).shape == (0,)


def test_the_layers_of_each_kind_take_them(generator, dtype):
    cases = [
        (eq.nn.LiftingConv2d(eq.Cyclic(4), 1, 2, 3), FixedInputs(3, SQUARE, out=8), "grid", (2, 1, 5, 4)),
        (nn.Linear(2, 6), FixedInputs(3, SQUARE, out=6), "points", (2, 5, 2)),
        (nn.Linear(2, 6), FixedInputs(3, [(-1, 1)], out=6), "order", (2, 5, 2)),
        (nn.Linear(4, 6), FixedVector(6), "vector", (2, 4)),
        (nn.Linear(4, 6), FixedVector(6), "vector", (2, 3, 4)),
    ]
    for layer, fixed, at, shape in cases:
        soft = Relaxed(layer, fixed, at).to(dtype).eval()
        if at == "vector":
            nn.init.normal_(fixed.value, generator=generator)
        x = torch.rand(shape, generator=generator, dtype=dtype) - 0.5
        y = layer(x)
        assert soft(x).shape == y.shape and soft(x).dtype == dtype
        assert not torch.equal(soft(x), y)
        assert torch.equal(soft(x[:0]), layer(x[:0]))
        soft(x).sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in fixed.parameters())


@pytest.mark.parametrize(
    ("layer", "fixed", "at", "shape", "said"),
    [
        (
            nn.Conv2d(1, 3, 1),
            FixedInputs(1, SQUARE, out=4),
            "grid",
            (2, 1, 4, 4),
            r"gives \(B, 4, H, W\).*\(2, 3, 4, 4\)",
        ),
        (nn.Linear(2, 3), FixedInputs(1, SQUARE, out=3), "grid", (2, 2), r"this one gives \(2, 3\)"),
        (nn.Linear(2, 3), FixedInputs(1, [(0, 1)] * 3, out=3), "points", (2, 4, 2), "reads 3 coordinates"),
        (nn.Linear(2, 3), FixedVector(4), "vector", (2, 2), r"\(B, \.\.\., 4\)"),
        (nn.Flatten(0), FixedVector(4), "vector", (2, 2), "batch first"),
    ],
)
def test_what_does_not_fit_is_said(layer, fixed, at, shape, said):
    with pytest.raises(InputError, match=said):
        Relaxed(layer, fixed, at)(torch.rand(shape))


@pytest.mark.parametrize(
    ("fixed", "at", "said"),
    [
        (FixedInputs(1, [(0, 1)]), "grid", "domain of that many"),
        (FixedInputs(1, SQUARE), "order", "domain of that many"),
        (FixedInputs(1, SQUARE), "vector", "give a FixedVector"),
        (FixedVector(2), "grid", "needs FixedInputs"),
        (FixedVector(2), "gird", "Did you mean 'grid'"),
    ],
)
def test_fixed_inputs_and_their_place_must_agree(fixed, at, said):
    with pytest.raises(InputError, match=said):
        Relaxed(nn.Identity(), fixed, at)


def test_only_modules_are_relaxed():
    with pytest.raises(InputError, match="torch.nn.Module is relaxed"):
        Relaxed(lambda x: x, FixedVector(2), "vector")


# --- symmetry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [eq.Cyclic(4), eq.Dihedral(4)], ids=str)
def test_moving_data_and_fixed_inputs_together_is_exact(group, generator):
    """A network with fixed inputs in each convolution; each `t` is moved as the feature map that it is added to."""
    net = eq.nn.GroupCNN(group, 1, 3, fields=2, generator=generator)
    soft = eq.relax(net, eq.Symmetry(group, input=eq.actions.images())).double().eval()
    for p in soft.parameters():
        nn.init.normal_(p, std=0.5, generator=generator)
    x = torch.rand(3, 1, 9, 9, generator=generator, dtype=torch.float64)
    before = soft(x)
    layers = [m for m in soft.modules() if isinstance(m, Relaxed)]
    for g in group.elements():
        moved = eq.actions.images().on(group)(g, x)
        assert relative(soft(moved), before) > 1e-3 or int(g) == 0  # held fixed, it breaks the symmetry
        for layer in layers:
            act = feature_maps((layer.part.out // group.order) * eq.reps.regular(group))
            layer.departure = lambda inputs, y, layer=layer, act=act, g=g: act(
                g, Relaxed.departure(layer, inputs, y)[None]
            )[0]
        assert relative(soft(moved), before) < 1e-12
        for layer in layers:
            del layer.departure


@given(st.integers(0, 100))
def test_moving_vectors_and_fixed_vectors_together_is_exact(seed):
    generator = torch.Generator().manual_seed(seed)
    group = eq.SO(3)
    V = eq.reps.defining(group)
    net = eq.nn.EquivariantMLP(2 * V, V, width=24, depth=2, generator=generator)
    soft = eq.relax(net, eq.Symmetry(group, 2 * V, V)).double().eval()
    layers = [m for m in soft.modules() if isinstance(m, Relaxed)]
    for layer in layers:
        nn.init.normal_(layer.part.value, generator=generator)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    y, g = soft(x), group.sample(generator=generator)
    moved = (2 * V).apply(g, x)
    assert relative(soft(moved), V.apply(g, y)) > 1e-3
    with torch.no_grad():
        for layer in layers:
            layer.part.value.copy_(layer.layer.rep_out.apply(g, layer.part.value))
    assert relative(soft(moved), V.apply(g, y)) < 1e-12


def test_the_check_of_a_layer_fails_when_on_and_holds_when_off(generator):
    group = eq.Cyclic(4)
    conv = eq.nn.LiftingConv2d(group, 1, 2, 3, generator=generator)
    symmetry = eq.Symmetry(group, eq.actions.images(), feature_maps(2 * eq.reps.regular(group)))
    x = torch.randn(3, 1, 6, 6, generator=generator)
    soft = eq.relax(conv, symmetry, drop=0.0)
    with torch.no_grad():
        soft.model.part.net[-1].weight.normal_(generator=generator)
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(soft, symmetry, x)
    check_layer(soft.equivariant_part(), symmetry, x)
    check_layer(soft, symmetry, x, tolerance=1e3)  # all but the symmetry: gradients, batches, state
