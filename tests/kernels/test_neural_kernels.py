"""Kernels of dense networks: printed values, loops over pairs, wide random networks, edges, what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from neural_twins import slow_kernels, z_scores

import equilearn.kernels.neural._dense as dense_file
from equilearn._check import InputError, InputTypeError
from equilearn.kernels.neural import (
    Activation,
    Architecture,
    Conv,
    Dense,
    Erf,
    Flatten,
    GlobalAveragePool,
    ReLU,
    Spread,
    empirical_ntk,
    finite_network,
)

ACTIVATIONS = [ReLU(), Erf()]
DEEP = Architecture([Dense(1.3, 0.4), ReLU(), Dense(0.8, 0.0), Dense(1.1, 0.2), Erf(), Dense(1.5, 0.1), ReLU()])
NETS = [*(Architecture.mlp(h, activation=a) for h in (0, 1, 2, 5) for a in ACTIVATIONS), DEEP]


def randn(*shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def e(*places: int) -> torch.Tensor:
    return torch.eye(3, dtype=torch.float64)[list(places)]


# --- printed values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "kernel", "second", "value"),
    [
        (Architecture.mlp(1, W_std=1, b_std=1), "ntk", e(0), 7 / 3),
        (Architecture.mlp(1, W_std=1, b_std=1), "ntk", e(1), 1.91030801),
        (Architecture.mlp(1, W_std=1, b_std=1), "ntk", -e(0), 1.62822074),
        (Architecture.mlp(1, W_std=1, b_std=1), "ntk", 2 * e(0), 2.58164180),
        (Architecture.mlp(1, W_std=1, b_std=1), "nngp", e(1), 1.52533474),
        (Architecture.mlp(1, W_std=1, b_std=1, activation=Erf()), "ntk", e(0), 2.19300370),
        (Architecture.mlp(1, W_std=1, b_std=1, activation=Erf()), "ntk", e(1), 1.78159256),
        (Architecture.mlp(1, W_std=1, b_std=1, activation=Erf()), "ntk", -e(0), 1.48544076),
        (Architecture.mlp(1, b_std=0), "ntk", e(1), 2 / (3 * math.pi)),
        (Architecture.mlp(2, W_std=1.5, b_std=0.05), "ntk", e(0), 2.86527344),
        (Architecture.mlp(2, W_std=1.5, b_std=0.05), "ntk", e(1), 0.66304765),
    ],
)
def test_values_of_neural_tangents(net, kernel, second, value):
    assert float(getattr(net, kernel)(e(0), second)) == pytest.approx(value, abs=5.1e-9)


@pytest.mark.parametrize("hidden", [1, 2, 5])
def test_a_tangent_kernel_without_bias_is_depth_times_the_other(hidden, generator):
    x = randn(4, 6, generator=generator)
    nngp, ntk = Architecture.mlp(hidden, b_std=0.0).diagonal(x)
    torch.testing.assert_close(ntk, (hidden + 1) * nngp)
    torch.testing.assert_close(nngp, 2 * x.square().mean(1))


# --- twins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS, ids=str)
def test_gram_is_the_loop_over_pairs(net, dtype, tolerance, generator):
    x, z = (randn(n, 5, generator=generator, dtype=dtype) for n in (6, 4))
    for other in (z, None):
        found = net.kernels(x, other)
        for kernel, wanted in zip(found, slow_kernels(net, x, x if other is None else other), strict=True):
            assert kernel.dtype == dtype
            # angles near 0 on the diagonal, which the twin rounds
            torch.testing.assert_close(kernel.double(), wanted, rtol=max(tolerance, 1e-7), atol=max(tolerance, 1e-7))
        assert torch.equal(net.nngp(x, other), found[0])
        assert torch.equal(net.ntk(x, other), found[1])


@given(
    rows=st.integers(0, 5),
    columns=st.integers(0, 4),
    width=st.integers(1, 4),
    hidden=st.integers(0, 3),
    erf=st.booleans(),
    stds=st.tuples(st.floats(0.1, 3), st.sampled_from([0.0, 0.1, 2.0])),
    seed=st.integers(0, 2**16),
)
def test_gram_of_any_shape(rows, columns, width, hidden, erf, stds, seed):
    generator = torch.Generator().manual_seed(seed)
    net = Architecture.mlp(hidden, W_std=stds[0], b_std=stds[1], activation=Erf() if erf else ReLU())
    x, z = (randn(n, width, generator=generator) for n in (rows, columns))
    for kernel, wanted in zip(net.kernels(x, z), slow_kernels(net, x, z), strict=True):
        torch.testing.assert_close(kernel, wanted, rtol=3e-7, atol=1e-9)
    for kernel, diagonal in zip(net.kernels(x), net.diagonal(x), strict=True):
        assert torch.equal(kernel, kernel.mT)
        assert torch.equal(kernel.diagonal(), diagonal)


@pytest.mark.parametrize(("fill", "block"), [(1, 1), (20, 7), (64, 20)])
def test_gram_in_small_blocks(fill, block, dtype, generator, monkeypatch):
    x, z = (randn(n, 3, generator=generator, dtype=dtype) for n in (11, 6))
    wanted = DEEP.kernels(x), DEEP.kernels(x, z)
    monkeypatch.setattr(dense_file, "FILL", fill)
    monkeypatch.setattr(dense_file, "BLOCK", block)
    for found, before in zip((DEEP.kernels(x), DEEP.kernels(x, z)), wanted, strict=True):
        torch.testing.assert_close(found, before, rtol=1e-5, atol=1e-6)
    assert torch.equal(DEEP.ntk(x), DEEP.ntk(x).mT)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_wide_random_networks_agree_on_average(activation, generator):
    """With one hidden layer both kernels are means over networks of any width: 12 scores of 200 networks beyond 4.5
    would happen by chance about once in 8,000 runs (Student's t of 199 degrees).
    """
    net = Architecture.mlp(1, W_std=1.2, b_std=0.3, activation=activation)
    x = randn(3, 4, generator=generator)
    upper = torch.triu_indices(3, 3).unbind()
    tangents, products = [], []
    for _ in range(200):
        finite = finite_network(net, (4,), 32, generator=generator)
        tangents.append(empirical_ntk(finite, x)[upper])
        y = finite(x).detach()
        products.append((y @ y.mT)[upper])
    for samples, kernel in ((products, net.nngp(x)), (tangents, net.ntk(x))):
        assert float(z_scores(torch.stack(samples), kernel[upper]).abs().max()) < 4.5


# --- symmetry and positivity ------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS, ids=str)
def test_joint_orthogonal_maps_change_nothing(net, dtype, tolerance, generator):
    x = randn(5, 4, generator=generator, dtype=dtype)
    turn = torch.linalg.qr(randn(4, 4, generator=generator))[0].to(dtype)
    for before, after in zip(net.kernels(x), net.kernels(x @ turn), strict=True):
        torch.testing.assert_close(after, before, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_kernels_are_positive_semidefinite(net, generator):
    for kernel in net.kernels(randn(12, 3, generator=generator)):
        values = torch.linalg.eigvalsh(kernel)
        assert float(values[0]) > -1e-7 * float(values[-1])


def test_flatten_reads_images_as_vectors(generator):
    net = Architecture.mlp(2)
    x = randn(4, 2, 3, 3, generator=generator)
    images = Architecture([Flatten(), *net.layers])
    assert torch.equal(images.ntk(x), net.ntk(x.flatten(1)))
    assert torch.equal(images.ntk(x.flatten(1)), net.ntk(x.flatten(1)))


# --- edges ------------------------------------------------------------------------------------


def test_opposite_and_collinear_inputs_without_bias(generator):
    net = Architecture.mlp(1, b_std=0.0)
    x = randn(5, 7, generator=generator)
    norms = x.square().mean(1)
    assert float(net.ntk(x, -x).diagonal().abs().max()) < 1e-7
    for scale in (3.0, 0.1, 1 / 3):
        torch.testing.assert_close(net.ntk(x, scale * x).diagonal(), scale * 4 * norms, rtol=1e-7, atol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("step", [0.0, 1e-16, 1e-12, 1e-9, 1e-8, 1e-6])
def test_nearly_equal_inputs(activation, step, generator):
    net = Architecture.mlp(3, activation=activation)
    x = randn(6, 5, generator=generator)
    for kernel, diagonal in zip(net.kernels(x, x * (1 + step)), net.diagonal(x), strict=True):
        assert bool(torch.isfinite(kernel).all())
        torch.testing.assert_close(kernel.diagonal(), diagonal, rtol=1e-7 + 10 * step, atol=0)


@pytest.mark.parametrize("net", [Architecture.mlp(h, b_std=0.0) for h in (1, 3)], ids=str)
@pytest.mark.parametrize(("left", "right"), [(1e-100, 1e100), (1e100, 1e100), (1e-100, 1e-100), (1e150, 1e-3)])
def test_tiny_and_huge_inputs_scale(net, left, right, generator):
    x, z = (randn(4, 5, generator=generator) for _ in range(2))
    for found, wanted in zip(net.kernels(left * x, right * z), net.kernels(x, z), strict=True):
        torch.testing.assert_close(found / left / right, wanted, rtol=1e-7, atol=0)


def test_tiny_and_huge_inputs_in_float32(generator):
    net = Architecture.mlp(2, b_std=0.0)
    x = randn(4, 5, generator=generator, dtype=torch.float32)
    for scale in (1e-15, 1e15):
        torch.testing.assert_close(net.ntk(scale * x) / scale / scale, net.ntk(x), rtol=1e-4, atol=0)


@pytest.mark.parametrize("scale", [1e-200, 1e3, 1e8, 1e100, 1e150])
def test_erf_of_any_size_is_bounded(scale, generator):
    net = Architecture.mlp(2, W_std=1.0, b_std=0.0, activation=Erf())
    x = scale * randn(4, 5, generator=generator)
    nngp, ntk = net.kernels(x, x.clone())
    assert bool(torch.isfinite(ntk).all())
    assert float(nngp.abs().max()) <= 1
    for whole, diagonal in zip((nngp, ntk), net.diagonal(x), strict=True):
        torch.testing.assert_close(whole.diagonal(), diagonal, rtol=1e-6, atol=1e-300)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_zero_inputs(activation, dtype, generator):
    x = randn(4, 3, generator=generator, dtype=dtype)
    x[1] = 0
    for kernel in Architecture.mlp(3, b_std=0.0, activation=activation).kernels(x):
        assert not kernel[1].any()
        assert not kernel[:, 1].any()
        assert bool(torch.isfinite(kernel).all())
    late = Architecture([Dense(1.0, 0.0), activation, Dense(1.0, 0.7), activation, Dense(1.0, 0.0)])
    for kernel, wanted in zip(late.kernels(x), slow_kernels(late, x, x), strict=True):
        torch.testing.assert_close(kernel.double(), wanted, rtol=1e-4, atol=1e-5)


def test_no_samples_and_one(dtype):
    net = Architecture.mlp(2)
    none, one = torch.empty(0, 3, dtype=dtype), torch.ones(1, 3, dtype=dtype)
    assert net.ntk(none).shape == (0, 0)
    assert net.ntk(one, none).shape == (1, 0)
    assert net.ntk(none, one).shape == (0, 1)
    assert net.ntk(one).shape == (1, 1)
    assert net.diagonal(none)[0].shape == (0,)


def test_a_tensor_that_needs_gradients_is_read_as_it_is():
    assert not Architecture.mlp(1).ntk(torch.ones(2, 3, requires_grad=True)).requires_grad


def test_a_new_activation_is_one_small_class(generator):
    class Square(Activation):
        """`u^2 / sqrt(3)`: `E phi phi = (q1 q2 + 2 K^2) / 3`, `E phi' phi' = 4 K / 3`."""

        def variance(self, q):
            return q.square()

        def slope(self, q):
            return 4 * q / 3

        def pair_(self, k, theta, left: Spread, right: Spread, work):
            if theta is not None:
                theta.mul_(k).mul_(4 / 3)
            k.square_().mul_(2).add_(left.std.square() * right.std.square()).div_(3)

    net = Architecture.mlp(1, W_std=1.0, b_std=0.0, activation=Square())
    x = randn(3, 4, generator=generator)
    k = x @ x.mT / 4
    nngp = (k.diagonal()[:, None] * k.diagonal() + 2 * k**2) / 3
    torch.testing.assert_close(net.nngp(x), nngp)
    torch.testing.assert_close(net.ntk(x), nngp + 4 / 3 * k**2)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer"),
        ([ReLU()], r"Layer 0 \(ReLU\(\)\) acts on what is not Gaussian"),
        ([Dense(), ReLU(), ReLU()], "Layer 2"),
        ([Conv(), Flatten(), ReLU(), Dense()], "before Flatten"),
        ([Conv(), ReLU(), Dense()], "needs a head"),
        ([Conv(), ReLU(), Dense(), Flatten()], "stands before the head"),
        ([Flatten(), Dense(), GlobalAveragePool()], "one head at most"),
        ([Dense(), Conv()], "put convolutions first"),
        ([Flatten(), Conv(), Dense()], "put convolutions first"),
        ([Dense(), "relu"], "no layer with a closed form"),
    ],
)
def test_orders_without_closed_form(layers, message):
    with pytest.raises(InputError, match=message):
        Architecture(layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(0.0), "W_std must be positive"),
        (lambda: Dense(1.0, -1.0), "b_std must be >= 0"),
        (lambda: Dense(math.nan), "W_std must be positive"),
        (lambda: Dense("1"), "W_std must be a number"),
        (lambda: Conv(2), "must be odd"),
        (lambda: Conv(0), ">= 1"),
        (lambda: Conv(3, "valid"), "Unknown padding"),
        (lambda: Architecture(Dense()), "must be a list or tuple"),
    ],
)
def test_bad_layers(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "z", "message"),
    [
        (torch.ones(2, 3, dtype=torch.int64), None, "float64 or float32"),
        (torch.ones(2, 3, dtype=torch.float16), None, "float64 or float32"),
        ([1.0], None, "float64 or float32, got list"),
        (torch.ones(3), None, r"reads vectors \(N, D\)"),
        (torch.ones(2, 1, 4, 4), None, r"Put Flatten\(\) first"),
        (torch.ones(2, 0), None, "without entries"),
        (torch.tensor([[1.0, math.nan]]), None, "x holds 1 NaN"),
        (torch.ones(2, 3), torch.tensor([[1.0, 1.0, math.inf]]), "z holds 0 NaN and 1 infinite"),
        (torch.ones(2, 3), torch.ones(2, 4), "must be alike"),
        (torch.ones(2, 3), torch.ones(2, 3).double(), "must be alike"),
        (torch.full((2, 3), 1e30), None, "overflows torch.float32"),
        (torch.full((2, 3), 3e38), None, "overflows torch.float32"),
    ],
)
def test_bad_inputs(x, z, message):
    with pytest.raises(InputError, match=message):
        Architecture.mlp(1).ntk(x, z)
    if z is None:
        with pytest.raises(InputError, match=message):
            Architecture.mlp(1).diagonal(x)


def test_types_are_type_errors():
    with pytest.raises(InputTypeError):
        Architecture.mlp(1).ntk([[1.0]])
