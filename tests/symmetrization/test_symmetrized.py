"""The wrapper: purity, one call, standard errors, edge cases, names."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points
from equilearn.symmetrization import (
    Average,
    Canonicalize,
    Elements,
    Frames,
    Symmetrized,
    gram_schmidt,
    register_strategy,
    strategies,
    symmetrize,
)
from equilearn.symmetrization._base import _STRATEGIES

TURNS = eq.Symmetry(eq.Cyclic(4), images())
CLOUDS = eq.Symmetry(eq.SO(3), points(), points())


@pytest.mark.parametrize("name", ["average", "frames", "canonicalize", "canonical", "Average"])
def test_names(name):
    assert isinstance(symmetrize(nn.Flatten(), TURNS, name), Symmetrized)


def test_unknown_names_list_the_near_ones():
    with pytest.raises(InputError, match=r"Unknown strategy 'averge'\. Did you mean 'average'\?"):
        symmetrize(nn.Flatten(), TURNS, "averge")


def test_the_learned_distribution_asks_for_an_example():
    with pytest.raises(InputError, match=r"example=x\), or a network of your own: Learned\(net"):
        symmetrize(nn.Flatten(), TURNS, "learned")


def test_a_new_strategy_gets_a_name():
    before = dict(_STRATEGIES)
    try:
        register_strategy("twice", lambda: Average(2))
        assert "twice" in strategies()
        assert symmetrize(nn.Flatten(), TURNS, "twice").forward_passes() == 2
    finally:
        _STRATEGIES.clear()
        _STRATEGIES.update(before)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((None, TURNS), {}, "model must be a module or another callable"),
        ((nn.Flatten(), eq.Cyclic(4)), {}, "symmetry must be a Symmetry"),
        ((nn.Flatten(), TURNS, 3), {}, "strategy must be a name or a Strategy"),
        ((nn.Flatten(), TURNS, Average()), {"samples": 3}, "Give them to its constructor"),
        ((nn.Flatten(), TURNS, "average"), {"sample": 3}, "'average' does not take these options"),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(InputError, match=message):
        symmetrize(*arguments, **options)


def test_inputs_that_do_not_fit_the_action():
    with pytest.raises(InputError, match=r"shape \(B, C, H, W\)"):
        symmetrize(nn.Flatten(), TURNS)(torch.zeros(3, 36))


@pytest.mark.parametrize("strategy", ["average", "frames", "canonicalize"])
@pytest.mark.parametrize("symmetry", [TURNS, CLOUDS, eq.Symmetry(eq.SO(2), images())], ids=str)
def test_empty_batches(strategy, symmetry):
    x = torch.zeros(0, 5, 3) if symmetry is CLOUDS else torch.zeros(0, 1, 6, 6)
    model = symmetrize(torch.tanh, eq.Symmetry(symmetry.group, symmetry.input, symmetry.input), strategy)
    y, elements = model(x, return_elements=True)
    assert y.shape == x.shape
    assert elements.weight.shape[0] == 0


def test_one_call_of_the_model():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x.flatten(1)

    symmetrize(model, TURNS)(torch.rand(5, 1, 4, 4))
    assert sizes == [20]


@given(dtype=st.sampled_from([torch.float32, torch.float64]), size=st.integers(1, 4), seed=st.integers(0, 99))
def test_outputs_follow_the_dtype(dtype, size, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 5, 3, generator=generator, dtype=dtype)
    for strategy in ("average", "frames", "canonicalize"):
        assert symmetrize(torch.tanh, CLOUDS, strategy)(x, generator=generator).dtype == dtype


def test_the_same_seed_gives_the_same_result_whatever_was_called_between():
    model = symmetrize(torch.tanh, CLOUDS, Average(3))
    x = torch.randn(2, 5, 3)
    first = model(x, generator=torch.Generator().manual_seed(7))
    model(2 * x)
    assert torch.equal(first, model(x, generator=torch.Generator().manual_seed(7)))
    assert not torch.equal(first, model(x, generator=torch.Generator().manual_seed(8)))


def test_standard_errors():
    x = torch.randn(2, 5, 3)
    with pytest.raises(InputError, match="at least two samples per input, got k=1"):
        symmetrize(torch.tanh, CLOUDS, Average(1))(x, return_std=True)
    y, error = symmetrize(torch.tanh, CLOUDS, "frames")(x, return_std=True)
    assert error.shape == y.shape
    assert error.abs().max() == 0


def test_several_outputs():
    symmetry = eq.Symmetry(eq.SO(3), points(), (points(), eq.actions.trivial()))
    model = symmetrize(lambda x: (torch.tanh(x), x.exp().sum((1, 2))), symmetry, Average(4))
    (moved, still), (a, b) = model(torch.randn(2, 5, 3), return_std=True)
    assert moved.shape == a.shape == (2, 5, 3)
    assert still.shape == b.shape == (2,)


def test_copies_and_states():
    torch.manual_seed(0)
    model = symmetrize(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), TURNS, "average")
    assert set(model.state_dict()) == {"model.1.weight", "model.1.bias"}
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(copy.deepcopy(model.eval())(x), model(x))


def test_own_frames(generator):
    def three_points(symmetry, x, generator):
        """The first three points as axes: an equivariant frame of one pose."""
        g = gram_schmidt((x[:, :3] - x.mean(1, keepdim=True)).mT, proper=True)
        return Elements(g.unsqueeze(1), torch.ones(len(x), 1, dtype=x.dtype), exact=True)

    model = symmetrize(torch.tanh, CLOUDS, Frames(frame=three_points))
    x = torch.randn(3, 5, 3, generator=generator, dtype=torch.float64)
    g = eq.SO(3).sample((3,), generator=generator)
    assert torch.allclose(model(CLOUDS.act_input(g, x)), CLOUDS.act_output(g, model(x)), atol=1e-12)


@given(d=st.integers(2, 5), seed=st.integers(0, 99), proper=st.booleans())
def test_gram_schmidt_moves_with_its_vectors(d, seed, proper):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(4, d, d, generator=generator, dtype=torch.float64)
    group = eq.SO(d) if proper else eq.O(d)
    turn = group.sample((4,), generator=generator)
    k = gram_schmidt(vectors, proper=proper)
    assert (gram_schmidt(turn @ vectors, proper=proper) - turn @ k).abs().max() < 1e-9
    assert bool(group.contains(k, 1e-10).all())
    # The first column keeps its direction; only a rotation may have to turn it round.
    first = vectors[..., 0] / vectors[..., 0].norm(dim=-1, keepdim=True)
    assert ((first * k[..., 0]).sum(-1).abs() - 1).abs().max() < 1e-10


def test_gram_schmidt_of_dependent_vectors_is_orthogonal(generator):
    vectors = torch.ones(1000, 3, 3, dtype=torch.float64)
    k = gram_schmidt(vectors, proper=True, noise=1e-6, generator=generator)
    assert bool(eq.SO(3).contains(k, 1e-8).all())
    assert k[..., 2].mean(0).abs().max() < 0.15  # the free axis points nowhere in particular; chance below 1e-4
    with pytest.raises(InputError, match="needs d vectors of dimension d"):
        gram_schmidt(torch.zeros(3, 2))


@pytest.mark.parametrize("strategy", [Average(), Frames(), Canonicalize()], ids=str)
def test_gradients_reach_the_inputs(strategy):
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    y = symmetrize(torch.tanh, CLOUDS, strategy)(x, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    assert bool(torch.isfinite(grad).all())
    assert grad.abs().max() > 0
