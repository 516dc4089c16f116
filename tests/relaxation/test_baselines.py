"""Kernel banks and free branches: strict at first, strict when off, and what averaging makes of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.nn import GroupConv2d, LiftingConv2d, feature_maps
from equilearn.relaxation import RelaxedGroupConv2d, RelaxedModel, ResidualPathway, relaxations
from equilearn.testing import check_layer
from equilearn.training import fit

GROUPS = [eq.Cyclic(4), eq.Dihedral(2), eq.Cyclic(8)]


def layers_of(group, generator):
    """Both kinds of convolution, with their input and output actions."""
    maps = [feature_maps(n * eq.reps.regular(group)) for n in (2, 3)]
    return [
        (LiftingConv2d(group, 2, 3, 3, generator=generator), eq.Symmetry(group, eq.actions.images(), maps[1]), 2),
        (GroupConv2d(group, 2, 3, 3, generator=generator), eq.Symmetry(group, *maps), 2 * group.order),
    ]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_relaxed_convolution_at_initial_weights_is_the_plain_one_to_the_last_bit(group, generator, dtype):
    for conv, _, channels in layers_of(group, generator):
        soft = RelaxedGroupConv2d(conv, banks=3).to(dtype)
        x = torch.randn(2, channels, 5, 5, generator=generator, dtype=dtype)
        assert not soft.part.is_off
        assert torch.equal(soft(x), conv(x))
        soft(x).square().sum().backward()
        assert soft.part.weights.grad.abs().max() > 0  # it can leave the symmetry


@pytest.mark.parametrize("group", [eq.Cyclic(4), eq.Dihedral(2)], ids=str)
def test_averaging_over_the_group_gives_the_strict_convolution(group, generator):
    for conv, symmetry, channels in layers_of(group, generator):
        soft = RelaxedGroupConv2d(conv, banks=2).double()
        nn.init.normal_(soft.part.weights, generator=generator)
        x = torch.randn(2, channels, 5, 5, generator=generator, dtype=torch.float64)
        back = group.inverse(group.elements())
        moved = [
            symmetry.act_output(h, soft(symmetry.act_input(g, x))) for g, h in zip(group.elements(), back, strict=True)
        ]
        assert torch.allclose(torch.stack(moved).mean(0), conv(x), atol=1e-12)
        assert not torch.allclose(moved[1], conv(x), atol=1e-2)


def test_weights_that_are_equal_everywhere_do_nothing(generator):
    soft = RelaxedGroupConv2d(LiftingConv2d(eq.Cyclic(4), 1, 2, 3), banks=2)
    nn.init.constant_(soft.part.weights, 0.7)
    assert soft.kernel().abs().max() < 1e-6


def test_shifts_stay_exact(generator):
    """Only turns are relaxed: away from the edge a shifted image gives a shifted map."""
    soft = RelaxedGroupConv2d(LiftingConv2d(eq.Cyclic(4), 1, 2, 3, padding=0), banks=2).double()
    nn.init.normal_(soft.part.weights, generator=generator)
    x = torch.randn(1, 1, 8, 8, generator=generator, dtype=torch.float64)
    assert torch.allclose(soft(x[..., 1:]), soft(x)[..., 1:], atol=1e-12)


def test_layers_without_banks_are_named():
    with pytest.raises(InputError, match="Kernels are relaxed in LiftingConv2d and GroupConv2d, got Conv2d"):
        RelaxedGroupConv2d(nn.Conv2d(1, 1, 3))
    with pytest.raises(InputError, match="banks"):
        RelaxedGroupConv2d(LiftingConv2d(eq.Cyclic(4), 1, 2, 3), banks=0)


def test_it_conforms_but_for_the_symmetry(generator):
    for conv, symmetry, channels in layers_of(eq.Cyclic(4), generator):
        soft = RelaxedGroupConv2d(conv, banks=2)
        nn.init.normal_(soft.part.weights, generator=generator)
        x = torch.randn(3, channels, 5, 5, generator=generator)
        check_layer(soft, symmetry, x, tolerance=1e3)
        check_layer(soft.layer, symmetry, x)


# --- pathways ---------------------------------------------------------------------------------


@given(st.floats(0, 1), st.integers(0, 50))
def test_a_pathway_is_the_sum_and_its_penalty_the_squared_weights(strength, seed):
    torch.manual_seed(seed)
    V = eq.reps.defining(eq.SO(3))
    strict, free = eq.nn.EquivariantLinear(2 * V, V), nn.Linear(6, 3)
    soft = RelaxedModel(ResidualPathway(strict, free, penalty=0.1), eq.Symmetry(eq.SO(3), 2 * V, V))
    soft.strength = strength
    x = torch.randn(4, 6)
    y, penalty = soft.forward_with_penalty(x)
    assert torch.allclose(y, strict(x) + soft.model.part.strength * free(x), atol=1e-6)
    expected = 0.1 * sum(p.square().sum() for p in free.parameters()) if soft.strength > 0 else torch.zeros(())
    assert torch.allclose(penalty, expected)


def test_fixed_inputs_ask_for_no_penalty(generator):
    V = eq.reps.defining(eq.SO(3))
    soft = eq.relax(eq.nn.EquivariantLinear(2 * V, V), eq.Symmetry(eq.SO(3), 2 * V, V)).double()
    y, penalty = soft.forward_with_penalty(torch.randn(4, 6, generator=generator, dtype=torch.float64))
    assert float(penalty) == 0 and y.shape == (4, 3)


def test_a_large_penalty_keeps_a_fitted_model_near_its_symmetry(generator):
    """A linear map plus what no equivariant map can do: the branch takes it up, the less the more it costs."""
    V = eq.reps.defining(eq.SO(3))
    x = torch.randn(256, 3, generator=generator)
    y = 2 * x + torch.stack([x[:, 0], torch.zeros(256), torch.zeros(256)], 1)
    found = []
    for penalty in (0.0, 1e-2, 10.0):
        torch.manual_seed(0)
        strict = eq.nn.EquivariantLinear(V, V)
        soft = eq.relax(strict, eq.Symmetry(eq.SO(3), V, V), method="pathway", penalty=penalty)
        fit(soft, x, y, loss="mse", steps=300, learning_rate=0.03, weight_decay=0.0)
        found.append(soft.deviation(x).relative)
    assert found[0] > found[1] > found[2]
    assert found[0] > 0.2 and found[2] < 0.05


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), float("inf")])
def test_a_penalty_is_a_number_of_at_least_zero(penalty):
    with pytest.raises(InputError, match="penalty must be a number >= 0"):
        ResidualPathway(nn.Linear(1, 1), nn.Linear(1, 1), penalty=penalty)


def test_a_branch_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"free branch gives \(2, 4\), the equivariant one \(2, 3\)"):
        ResidualPathway(nn.Linear(5, 3), nn.Linear(5, 4))(torch.rand(2, 5))
    with pytest.raises(InputError, match="torch.nn.Module, got function"):
        ResidualPathway(nn.Linear(1, 1), lambda x: x)


def test_drop_leaves_the_branch_out_of_whole_samples():
    torch.manual_seed(0)
    strict, free = nn.Linear(1, 1), nn.Linear(1, 1)
    soft = ResidualPathway(strict, free, drop=0.5).train()
    x = torch.ones(200, 1)
    at_zero = (soft(x) == strict(x)).flatten()
    assert 70 < int(at_zero.sum()) < 130
    assert len(relaxations(soft)) == 1
