"""`relax` on models of ours and of others, and how far the result departs."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points, sets
from equilearn.relaxation import Relaxed, RelaxedGroupConv2d, ResidualPathway, deviation_between, relaxations
from equilearn.training import fit

C4 = eq.Cyclic(4)
TURNS = eq.Symmetry(C4, input=images())
V = eq.reps.defining(eq.SO(3))


def shaken(model, seed=0, by=0.3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def small_cnn():
    return eq.nn.GroupCNN(C4, 1, 3, fields=2, generator=torch.Generator().manual_seed(0))


def places(soft):
    return {name: m.at for name, m in soft.named_modules() if isinstance(m, Relaxed)}


# --- which layers -------------------------------------------------------------------------------


def test_every_convolution_of_an_image_network():
    soft = eq.relax(small_cnn(), TURNS, inputs=2)
    assert list(places(soft).values()) == ["grid"] * 4
    assert all(part.num == 2 and part.drop == 0.5 for part in relaxations(soft))


def test_linear_maps_on_which_the_group_does_something():
    net = eq.nn.EquivariantMLP(3 * V, eq.reps.trivial(eq.SO(3)), width=32, depth=2)
    soft = eq.relax(net, eq.Symmetry(eq.SO(3), 3 * V))
    assert {"model.layers.0.mix.linear", "model.layers.1.mix.linear"} <= set(places(soft))
    assert not any(name in places(soft) for name in ("model.polynomial", "model.head.linear"))  # there t is a mere bias
    moving = eq.relax(eq.nn.EquivariantMLP(3 * V, V, width=32, depth=2), eq.Symmetry(eq.SO(3), 3 * V, V))
    assert "model.head.linear" in places(moving) and "model.polynomial" not in places(moving)


def test_the_embedding_of_sets_and_tokens():
    permuted = eq.Symmetry(eq.Symmetric(5), input=sets())
    soft = eq.relax(eq.nn.DeepSets(3, 2), permuted)
    assert places(soft) == {"model.own.0": "order"}
    turned = eq.Symmetry(eq.SO(3) * eq.Symmetric(5), input=points(5))
    x = torch.randn(4, 5, 3)
    soft = shaken(eq.relax(eq.nn.DeepSets(3, 2), turned, example=x)).eval()
    assert places(soft) == {"model.own.0": "points"}
    assert bool(relaxations(soft)[0].inside(x).all()) and not bool(relaxations(soft)[0].inside(x + 10).any())
    assert torch.allclose(soft(x), soft(x.flip(1)), atol=1e-5)  # of its place, not of its number
    soft = shaken(eq.relax(eq.nn.DeepSets(3, 2), turned, at="order")).eval()
    assert not torch.allclose(soft(x), soft(x.flip(1)), atol=1e-3)
    tokens = eq.relax(eq.nn.TokenTransformer(3, 2, width=8, depth=1, heads=2), permuted)
    assert places(tokens) == {"model.lift": "order"} and tokens(x).shape == (4, 2)
    pairs = eq.relax(eq.nn.PairTransformer(5, width=8, depth=1, heads=2), turned, domain=[(-3, 3)] * 3)
    assert places(pairs) == {"model.body.lift": "points"} and pairs(x).shape == (4, 5, 3)


IMAGES, FLAT = torch.rand(3, 1, 6, 6), torch.randn(3, 9)
TURNED = eq.Symmetry(eq.SO(3) * eq.Symmetric(5), input=points(5))
PERMUTED = eq.Symmetry(eq.Symmetric(5), input=sets())
TOKENS = {"width": 8, "depth": 1, "heads": 2}


@pytest.mark.parametrize(
    ("make", "symmetry", "x", "at"),
    [
        (small_cnn, TURNS, IMAGES, "grid"),
        (lambda: eq.nn.LiftingConv2d(C4, 1, 2, 3), TURNS, IMAGES, "grid"),
        (lambda: eq.nn.GroupConv2d(C4, 2, 2, 3), TURNS, torch.rand(3, 8, 6, 6), "grid"),
        (lambda: eq.nn.DeepSets(3, 2), TURNED, torch.randn(3, 5, 3), "points"),
        (lambda: eq.nn.TokenTransformer(3, 2, **TOKENS), TURNED, torch.randn(3, 5, 3), "points"),
        (lambda: eq.nn.PairTransformer(5, **TOKENS), TURNED, torch.randn(3, 5, 3), "points"),
        (lambda: eq.nn.DeepSets(3, 2), PERMUTED, torch.randn(3, 5, 3), "order"),
        (lambda: eq.nn.TokenTransformer(3, 2, **TOKENS), PERMUTED, torch.randn(3, 5, 3), "order"),
        (lambda: eq.nn.PairTransformer(5, **TOKENS), PERMUTED, torch.randn(3, 5, 3), "order"),
        (lambda: eq.nn.EquivariantLinear(3 * V, V), eq.Symmetry(eq.SO(3), 3 * V, V), FLAT, "vector"),
        (lambda: eq.nn.EquivariantMLP(3 * V, V, width=32), eq.Symmetry(eq.SO(3), 3 * V, V), FLAT, "vector"),
    ],
)
def test_each_row_of_the_table_of_the_guide(make, symmetry, x, at):
    soft = eq.relax(make(), symmetry, example=x).eval()
    assert set(places(soft).values()) == {at}
    strict = soft.equivariant_part()
    assert torch.equal(soft(x), strict(x))  # zero at first
    for part in relaxations(soft):
        shaken(part)
    assert not torch.allclose(soft(x), strict(x), atol=1e-4)
    with soft.equivariant_only():
        assert torch.equal(soft(x), strict(x))


def test_masked_points_stay_unseen(generator):
    x = torch.randn(3, 6, 2, generator=generator)
    mask = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    net = eq.nn.DeepSets(2, 3, equivariant=True)
    soft = shaken(eq.relax(net, eq.Symmetry(eq.Symmetric(6), input=sets(), output=sets()))).eval()
    y = soft(x, mask)
    assert torch.equal(soft(x, mask=mask), y)
    assert torch.allclose(soft(x.masked_fill(~mask[..., None], 7.0), mask), y, atol=1e-5)
    assert not bool(y[~mask].any())


def test_a_layer_by_itself_and_one_used_twice():
    conv = eq.nn.GroupConv2d(C4, 2, 2, 3)
    twice = nn.Sequential(conv, nn.ReLU(), conv)
    soft = eq.relax(twice, TURNS)
    assert soft.model[0] is soft.model[2] and isinstance(soft.model[0], Relaxed)
    assert isinstance(eq.relax(conv, TURNS).model, Relaxed)
    strict = soft.equivariant_part()
    assert strict[0] is strict[2] and not relaxations(strict)


def test_layers_of_the_users_own(generator):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.body = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.out = nn.Linear(4, 2)
            self.unused = nn.ReLU()

        def forward(self, x):
            return self.out(self.body(self.conv(x)))

    net, x = Own(), torch.rand(3, 1, 6, 6, generator=generator)
    soft = eq.relax(net, TURNS, layers=["conv"])
    assert places(soft) == {"model.conv": "grid"}
    soft = eq.relax(net, TURNS, layers=["conv", "body", "out"], example=x)
    assert list(places(soft).values()) == ["grid", "vector", "vector"]
    assert net.training and torch.equal(soft.eval()(x), net.eval()(x))
    with pytest.raises(InputError, match="Unknown layer 'convv'. Did you mean 'conv'"):
        eq.relax(net, TURNS, layers=["convv"])
    with pytest.raises(InputError, match="'body' .Sequential. gives is not known.*Give example="):
        eq.relax(net, TURNS, layers=["body"])
    with pytest.raises(InputError, match="'unused' is not called"):
        eq.relax(net, TURNS, layers=["unused"], example=x)
    with pytest.raises(InputError, match="list of names"):
        eq.relax(net, TURNS, layers="conv")


def test_any_model_by_a_branch_beside_it(generator):
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    x = torch.rand(5, 3, 3, generator=generator)
    symmetry = eq.Symmetry(eq.Symmetric(3), input=sets())
    soft = eq.relax(net, symmetry, method="pathway", example=x)
    assert isinstance(soft.model, ResidualPathway) and torch.equal(soft(x), net(x))
    own = eq.relax(net, symmetry, method="pathway", free=nn.Sequential(nn.Flatten(), nn.Linear(9, 4)))
    assert not torch.equal(own(x), net(x))
    assert torch.equal(own.equivariant_part()(x), net(x))


def test_baselines_replace_the_layers_that_they_are_for(generator):
    x = torch.rand(2, 1, 8, 8, generator=generator)
    net = small_cnn().eval()
    for method, kind in (("kernels", RelaxedGroupConv2d), ("pathway", ResidualPathway)):
        soft = eq.relax(net, TURNS, method=method).eval()
        assert sum(isinstance(m, kind) for m in soft.modules()) == 4
        assert all(part.drop == 0 for part in relaxations(soft))
        assert torch.equal(soft(x), net(x))
        assert eq.relax(net, TURNS, method=method, layers=["body.0"], drop=0.3).model.body[0].part.drop == 0.3


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            lambda: eq.relax(nn.Linear(2, 2), TURNS),
            r"Linear has no equivariant layer.*layers=\[...\].*method='pathway'",
        ),
        (lambda: eq.relax(nn.Linear(2, 2), TURNS, method="kernels"), "LiftingConv2d and GroupConv2d"),
        (lambda: eq.relax(nn.Linear(2, 2), TURNS, method="pathway"), "Give free="),
        (lambda: eq.relax(lambda x: x, TURNS), "torch.nn.Module, got function"),
        (lambda: eq.relax(small_cnn(), "C4"), r"Symmetry\(group, input, output\), got str"),
        (lambda: eq.relax(small_cnn(), TURNS, method="kernel"), "Did you mean 'kernels'"),
        (lambda: eq.relax(small_cnn(), TURNS, free=nn.Linear(1, 1)), "free= is a branch of method='pathway'"),
        (
            lambda: eq.relax(small_cnn(), TURNS, 4, method="pathway", free=nn.Linear(1, 1), layers=["a"]),
            "leave layers=",
        ),
        (lambda: eq.relax(eq.relax(small_cnn(), TURNS), TURNS), "relaxed already"),
        (lambda: eq.relax(small_cnn(), TURNS, inputs=0), "num must be a whole number >= 1"),
        (lambda: eq.relax(small_cnn(), TURNS, drop=1.0), "drop must be a probability below 1"),
        (lambda: eq.relax(small_cnn(), TURNS, domain=[(0, 1)]), "domain of that many"),
        (lambda: eq.relax(small_cnn(), TURNS, domain=[(1, 0), (0, 1)]), "low < high"),
        (lambda: eq.relax(small_cnn(), TURNS, method="kernels", layers=["head"]), "'head' is a Sequential"),
        (
            lambda: eq.relax(eq.nn.DeepSets(3, 2), eq.Symmetry(eq.SO(3), input=points(5))),
            "give domain=.*or example=",
        ),
    ],
)
def test_bad_input_is_said(build, said):
    with pytest.raises(InputError, match=said):
        build()


# --- deviation ----------------------------------------------------------------------------------


@given(st.integers(0, 100), st.floats(0.01, 1))
def test_the_equivariance_error_is_at_most_two_epsilon(seed, strength):
    soft = shaken(eq.relax(small_cnn(), TURNS), seed, by=0.2).double().eval()
    soft.strength = strength
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 1, 6, 6, generator=generator, dtype=torch.float64)
    found = soft.deviation(x, generator=generator)
    assert found.error <= found.bound * (1 + 1e-9)
    assert found.strict_error < 1e-12
    assert found.relative <= found.epsilon * (1 + 1e-9)
    assert found.strength == pytest.approx(strength)
    # The same error as `equivariance_error` tells, in units of the strict outputs.
    with torch.no_grad(), soft.equivariant_only():
        off = soft(x).norm()
    with torch.no_grad():
        on = soft(x).norm()
    worst = found.equivariance.maximum * float(on / off)
    assert found.error == pytest.approx(worst, rel=1e-6)


def test_the_bound_holds_for_outputs_that_boosts_stretch(generator):
    group = eq.Lorentz(1, 3)
    W = eq.reps.defining(group)
    boosts = eq.Symmetry(group, input=2 * W, output=W)
    soft = shaken(eq.relax(eq.nn.EquivariantMLP(2 * W, W, width=24, depth=1), boosts), by=0.1).double()
    found = soft.deviation(torch.randn(8, 8, generator=generator, dtype=torch.float64), generator=generator)
    assert found.error <= found.bound * (1 + 1e-9) + found.strict_error


def test_what_a_grid_spoils_is_told_apart(generator):
    group = eq.Cyclic(8)
    symmetry = eq.Symmetry(group, input=images())
    soft = shaken(eq.relax(eq.nn.GroupCNN(group, 1, 3, fields=2), symmetry)).eval()
    found = soft.deviation(torch.rand(4, 1, 8, 8, generator=generator), generator=generator)
    assert found.strict_error > 1e-4
    assert found.error <= found.bound + found.strict_error + 1e-6
    assert "of the grid" in str(found)


def test_no_deviation_at_first_or_when_off(generator):
    soft = eq.relax(small_cnn(), TURNS)
    x = torch.rand(4, 1, 6, 6, generator=generator)
    assert soft.deviation(x).relative == 0
    shaken(soft)
    assert soft.deviation(x).relative > 0
    soft.strength = 0
    found = soft.deviation(x, generator=generator)
    assert found.relative == found.epsilon == found.bound == 0
    assert found.error < 1e-5
    assert soft.training  # it is measured in evaluation, and put back


def test_statistics_by_output_and_by_input():
    off = torch.tensor([[3.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    on = off + torch.tensor([[0.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    found = deviation_between(on, off)
    assert found.per_output.tolist() == [0.1, float("inf")]  # the second output is zero when off
    assert found.relative == pytest.approx(0.5**0.5 / 5)
    assert found.per_input.tolist() == pytest.approx([0.0, 0.5**0.5 / (5 / 2**0.5)])
    assert float(found.per_input.square().mean().sqrt()) == pytest.approx(found.relative)
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["per_output"] == [0.1, None]
    silent = deviation_between(on, torch.zeros_like(on)).as_dict()
    assert json.dumps(silent, allow_nan=False) and silent["relative"] is None
    with pytest.raises(InputError, match="must be a tensor or a tuple"):
        deviation_between([1.0], [1.0])
    tuples = deviation_between((on, on[:, :1]), (off, off[:, :1]))
    assert tuples.per_output.shape == (3,)
    assert found.bound is None and found.error is None


def test_a_deviation_reads_well(generator):
    soft = shaken(eq.relax(small_cnn(), TURNS))
    x = torch.rand(4, 1, 6, 6, generator=generator)
    text = str(soft.deviation(x))
    assert "relative L2 from its equivariant part at strength 1, 4 inputs" in text and "median" in text
    found = soft.deviation(x, generator=generator)
    assert "at the worst of 3 elements, bound 2 epsilon = " in str(found) and "grid" not in str(found)
    assert json.dumps(found.as_dict()) and found.as_dict()["bound"] == found.bound


def test_inputs_that_cannot_be_measured_are_refused():
    soft = eq.relax(small_cnn(), TURNS)
    with pytest.raises(InputError, match="batch is empty"):
        soft.deviation(torch.zeros(0, 1, 6, 6))
    with pytest.raises(InputError, match="1 NaN"):
        soft.deviation(torch.zeros(1, 1, 6, 6).index_put((torch.tensor([0]),) * 4, torch.tensor(float("nan"))))
    with pytest.raises(InputError):
        soft.deviation(torch.zeros(3, 36))
    with pytest.raises(InputError, match="Outputs of one shape"):
        deviation_between(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(InputError, match="is empty"):
        deviation_between(torch.zeros(0, 3), torch.zeros(0, 3))


# --- training -----------------------------------------------------------------------------------


def test_it_bends_where_the_data_break_the_symmetry_and_only_there():
    """Vectors in a wind: `y = |x|^2 x + w`, and no wind."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    symmetry = eq.Symmetry(eq.SO(3), 2 * V, V)
    found = {}
    for wind in (0.0, 1.0):
        y = x[:, :3] - 0.5 * x[:, 3:] + wind * torch.tensor([1.0, 0.0, -1.0])
        torch.manual_seed(0)
        net = eq.nn.EquivariantMLP(2 * V, V, width=24, depth=1)
        soft = eq.relax(net, symmetry)
        fit(soft, x[:200], y[:200], loss="mse", steps=200, learning_rate=1e-2)
        soft.eval()
        with torch.no_grad():
            on = float((soft(x[200:]) - y[200:]).square().mean())
            with soft.equivariant_only():
                off = float((soft(x[200:]) - y[200:]).square().mean())
        found[wind] = on, off, soft.deviation(x[200:]).relative
    assert found[1.0][0] < 0.1 * found[1.0][1]
    assert found[0.0][0] < 0.05 and found[0.0][2] < 0.05
    assert found[1.0][2] > 0.3
