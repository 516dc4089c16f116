"""The dial: off is the strict model to the last bit, one draw a sample for all parts, nothing kept."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.relaxation import (
    FixedInputs,
    FixedVector,
    Relaxed,
    RelaxedModel,
    anneal,
    equivariant_only,
    relaxations,
    set_strength,
    shared_draw,
)
from equilearn.training import fit

TURNS = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with every parameter moved, so that what starts at zero does something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def soft_images(dtype=torch.float32, **options) -> RelaxedModel:
    net = eq.nn.GroupCNN(eq.Cyclic(4), 1, 3, fields=2, generator=torch.Generator().manual_seed(0))
    return shaken(eq.relax(net, TURNS, **options).to(dtype)).eval()


# --- off is strict ----------------------------------------------------------------------------


@given(st.floats(0.01, 1), st.integers(0, 5))
def test_off_is_the_equivariant_part_to_the_last_bit(strength, seed):
    soft = soft_images()
    soft.strength = strength
    x = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    strict = soft.equivariant_part()
    assert not torch.equal(soft(x), strict(x))
    with soft.equivariant_only():
        assert torch.equal(soft(x), strict(x))
    soft.strength = 0
    assert torch.equal(soft(x), strict(x))


def test_the_equivariant_part_is_independent_and_has_the_keys_of_the_model(generator):
    net = eq.nn.GroupCNN(eq.Cyclic(4), 1, 3, fields=2)
    soft = shaken(eq.relax(net, TURNS)).eval()
    strict = soft.equivariant_part()
    assert strict.state_dict().keys() == net.state_dict().keys()
    assert not relaxations(strict)
    x = torch.rand(2, 1, 6, 6, generator=generator)
    before = soft(x)
    shaken(strict)
    assert torch.equal(soft(x), before)


def test_parts_that_wrap_nothing_are_off_for_good_in_the_equivariant_part():
    class Hill(nn.Module):
        def __init__(self):
            super().__init__()
            self.fixed = FixedInputs(2, [(0, 1)], out=3)

        def forward(self, x):
            return self.fixed.add_to(torch.ones(*x.shape[:-1], 3), x)

    shifts = eq.Symmetry(eq.Translation(1), input=eq.actions.points(5))
    soft = RelaxedModel(Hill(), shifts).eval()
    x = torch.rand(2, 5, 1)
    strict = soft.equivariant_part()
    with strict_stays_off(strict):
        assert torch.equal(strict(x), torch.ones(2, 5, 3))
    assert not torch.equal(soft(x), torch.ones(2, 5, 3))


def strict_stays_off(model):
    """The switch gives back what it found."""
    return equivariant_only(model)


def test_the_given_model_stays_as_it_was(generator):
    net = eq.nn.GroupCNN(eq.Cyclic(4), 1, 3, fields=2).eval()
    before = copy.deepcopy(net.state_dict())
    shaken(eq.relax(net, TURNS))
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert not relaxations(net)


def test_the_switch_is_put_back_after_an_error():
    soft = soft_images()
    with pytest.raises(RuntimeError), soft.equivariant_only():
        raise RuntimeError
    assert all(part.enabled for part in relaxations(soft))


# --- one draw a sample ------------------------------------------------------------------------


class Sum(nn.Module):
    """Three fixed vectors of ones, with their own probabilities."""

    def __init__(self, *drops):
        super().__init__()
        self.layers = nn.Sequential(*(Relaxed(nn.Identity(), FixedVector(1, drop=d), "vector") for d in drops))
        for layer in self.layers:
            nn.init.ones_(layer.part.value)

    def forward(self, x):
        return self.layers(x)


VECTORS = eq.Symmetry(eq.Cyclic(2), input=eq.reps.trivial(eq.Cyclic(2)), output=eq.reps.trivial(eq.Cyclic(2)))


def test_all_parts_leave_out_the_same_samples():
    torch.manual_seed(0)
    soft = RelaxedModel(Sum(0.5, 0.5, 0.5), VECTORS).train()
    y = soft(torch.zeros(400, 1))
    assert set(y.flatten().tolist()) == {0.0, 3.0}
    assert 150 < int((y > 0).sum()) < 250
    assert all(part._draw is None for part in relaxations(soft))
    # On their own the parts decide each by itself.
    assert len(set(soft.model(torch.zeros(400, 1)).flatten().tolist())) == 4


def test_a_part_of_larger_drop_leaves_out_what_others_do_and_more():
    torch.manual_seed(0)
    soft = RelaxedModel(Sum(0.2, 0.8), VECTORS).train()
    counts = [int((soft(torch.zeros(1000, 1)) == n).sum()) for n in (0,)]
    y = soft(torch.zeros(1000, 1))
    shares = [float((y == n).float().mean()) for n in (0, 1, 2)]
    assert shares == pytest.approx([0.2, 0.6, 0.2], abs=0.05)
    assert 140 < counts[0] < 260


def test_evaluation_draws_nothing():
    soft = RelaxedModel(Sum(0.5, 0.5), VECTORS).eval()
    state = torch.random.get_rng_state()
    assert torch.equal(soft(torch.zeros(9, 1)), torch.full((9, 1), 2.0))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_same_seed_gives_the_same_draw():
    soft = RelaxedModel(Sum(0.5), VECTORS).train()
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(soft(torch.zeros(50, 1)))
    assert torch.equal(*outputs)


def test_a_layer_that_sees_another_batch_is_named():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Sum(0.5)

        def forward(self, x):
            return self.inner(torch.cat([x, x]))[: len(x)]

    soft = RelaxedModel(Doubled(), VECTORS).train()
    with pytest.raises(InputError, match="sees a batch of 8.*Use drop=0"):
        soft(torch.zeros(4, 1))
    assert all(part._draw is None for part in relaxations(soft))
    soft.eval()(torch.zeros(4, 1))


def test_shared_draw_leaves_nothing_after_an_error():
    pair = Sum(0.5, 0.5)
    with pytest.raises(RuntimeError), shared_draw(pair, 3):
        raise RuntimeError
    assert all(part._draw is None for part in relaxations(pair))


# --- the dial ---------------------------------------------------------------------------------


def test_strength_scales_a_linear_departure(dtype, tolerance):
    soft = RelaxedModel(Sum(0.0, 0.0).to(dtype), VECTORS).eval()
    soft.strength = 0.25
    assert soft.strength == 0.25
    assert torch.allclose(soft(torch.zeros(3, 1, dtype=dtype)), torch.full((3, 1), 0.5, dtype=dtype), atol=tolerance)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_of_the_unit_interval_is_refused(strength):
    soft = soft_images()
    with pytest.raises(InputError, match="between 0 and 1"):
        soft.strength = strength
    assert soft.strength == 1
    with pytest.raises(InputError, match="between 0 and 1"):
        anneal(soft, end=strength)
    with pytest.raises(InputError, match="between 0 and 1"):
        anneal(soft, start=strength)


@pytest.mark.parametrize("call", [lambda m: set_strength(m, 1), lambda m: equivariant_only(m).__enter__(), anneal])
def test_a_model_without_a_dial_is_named(call):
    with pytest.raises(InputError, match=r"Linear has no part that breaks its symmetry.*equilearn\.relax"):
        call(nn.Linear(1, 1))
    with pytest.raises(InputError, match="Linear has no part"):
        RelaxedModel(nn.Linear(1, 1), VECTORS)


@pytest.mark.parametrize("drop", [-0.1, 1.0, float("nan")])
def test_drop_is_a_probability_below_one(drop):
    with pytest.raises(InputError, match="drop must be a probability below 1"):
        FixedVector(2, drop=drop)


def test_anneal_is_a_hook_of_fit(generator):
    soft = RelaxedModel(nn.Sequential(Sum(0.5), nn.Linear(1, 1)), VECTORS)
    seen = []
    hook = anneal(soft, 1.0, 0.0, steps=4)

    def watch(step, steps, loss):
        hook(step, steps, loss)
        seen.append(soft.strength)

    fit(soft, torch.rand(8, 1), torch.rand(8, 1), loss="mse", steps=6, progress=watch)
    assert seen == pytest.approx([0.75, 0.5, 0.25, 0, 0, 0])
    hook = anneal(soft, 0.0, 1.0)
    assert soft.strength == 0
    hook(5, 10, 0.0)
    assert soft.strength == 0.5


# --- copies, files, precisions, compilation -----------------------------------------------------


def test_saved_and_loaded_with_its_strength(generator, tmp_path):
    soft = soft_images()
    soft.strength = 0.5
    eq.save(soft, tmp_path / "soft.safetensors")
    other = eq.load(eq.relax(eq.nn.GroupCNN(eq.Cyclic(4), 1, 3, fields=2), TURNS), tmp_path / "soft.safetensors").eval()
    x = torch.rand(2, 1, 6, 6, generator=generator)
    assert other.strength == 0.5
    assert torch.equal(soft(x), other(x))
    # The equivariant part is a file for the strict model.
    eq.save(soft.equivariant_part(), tmp_path / "strict.safetensors")
    eq.load(eq.nn.GroupCNN(eq.Cyclic(4), 1, 3, fields=2), tmp_path / "strict.safetensors")


def test_a_copy_has_a_dial_of_its_own(generator):
    soft = soft_images()
    twin = copy.deepcopy(soft)
    twin.strength = 0
    x = torch.rand(2, 1, 6, 6, generator=generator)
    assert soft.strength == 1
    assert torch.equal(twin(x), soft.equivariant_part()(x))


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("method", ["inputs", "kernels", "pathway"])
def test_batches_of_none_and_one(method, size, generator, dtype):
    soft = soft_images(dtype, method=method)
    x = torch.rand(3, 1, 6, 6, generator=generator, dtype=dtype)
    assert soft(x[:size]).shape == (size, 3)
    assert torch.allclose(soft(x)[:size], soft(x[:size]), atol=1e-5)
    assert soft(x).dtype == dtype


COMPILED = """
import torch, equilearn as eq
turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
soft = eq.relax(eq.nn.GroupCNN(eq.Cyclic(4), 1, 3, fields=2), turns).eval()
for p in soft.parameters():
    torch.nn.init.normal_(p, std=0.3)
x = torch.rand(2, 1, 6, 6)
compiled = torch.compile(soft, backend="aot_eager", fullgraph=True)
with torch.no_grad():
    for strength in (1.0, 0.3, 0.0):
        soft.strength = strength
        assert torch.allclose(compiled(x), soft(x), atol=1e-5)
    soft.strength = 1.0
    with soft.equivariant_only():
        assert torch.allclose(compiled(x), soft(x), atol=1e-5)
compiled.train()(x).sum().backward()
assert all(torch.isfinite(p.grad).all() for p in soft.parameters())
"""


@pytest.mark.slow
def test_a_compiled_model_is_one_graph_and_its_dial_turns():
    """In a process of its own: the shape checks of these tests cannot be compiled."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_anneal_ends_where_it_should_with_held_out_data():
    """The best weights are of the first evaluation; the dial is not learned, and stays where the schedule ends."""
    soft = RelaxedModel(Sum(0.0), VECTORS)
    x, high, low = torch.zeros(8, 1), torch.full((8, 1), 100.0), torch.zeros(8, 1)
    hook = anneal(soft, 1.0, 0.5)
    settings = {"loss": "mse", "steps": 8, "learning_rate": 1.0, "schedule": "constant", "evaluate_every": 1}
    fitted = fit(soft, x, high, validation=(x, low), progress=hook, **settings)
    losses = [entry["validation"] for entry in fitted.history]
    assert losses.index(min(losses)) == 0
    assert soft.strength == 0.5
    assert float(soft.model.layers[0].part.value.detach()) == pytest.approx(2, abs=0.01)  # after one step


@pytest.mark.parametrize(
    "call",
    [
        lambda: set_strength(FixedVector(1), "half"),
        lambda: anneal(FixedVector(1), end=None),
        lambda: FixedVector(1, drop="half"),
        lambda: FixedInputs(1, "box"),
        lambda: FixedInputs(1, [(0, 1), (2,)]),
        lambda: eq.relax(eq.nn.GroupCNN(eq.Cyclic(4), 1, 3), TURNS, method="pathway", penalty="small"),
    ],
)
def test_settings_that_are_no_numbers_are_named(call):
    with pytest.raises(InputError, match=r"must be a (number|\(low, high\))"):
        call()
