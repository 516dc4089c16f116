"""Kernels of convolutional networks: printed values, loops over pairs of pixels, invariances, shifts, edges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neural_twins import slow_kernels, z_scores

import equilearn.kernels.neural._conv as conv_file
from equilearn._check import InputError
from equilearn.groups import Cyclic
from equilearn.kernels import block_solve
from equilearn.kernels.neural import (
    Architecture,
    Conv,
    Dense,
    Erf,
    Flatten,
    GlobalAveragePool,
    ReLU,
    empirical_ntk,
    finite_network,
    shift_kappa,
)

FOUR = [(padding, pool) for padding in ("circular", "same") for pool in (False, True)]
DEEP_HEAD = [Dense(1.2, 0.2), ReLU(), Dense(0.7, 0.1), Erf(), Dense(1.0, 0.0)]
NETS = [
    *(Architecture.cnn(h, padding=p, pool=g) for h in (1, 2) for p, g in FOUR),
    Architecture.cnn(1, size=5, padding="same", pool=True, activation=Erf()),
    Architecture.cnn(1, size=5, padding="circular", pool=False, activation=Erf()),
    Architecture.cnn(1, size=1, pool=True),
    Architecture([Conv(3, "same", 1.1, 0.2), Conv(3, "circular", 0.9, 0.0), ReLU(), GlobalAveragePool(), *DEEP_HEAD]),
    Architecture([Conv(3, "circular"), Erf(), Conv(3, "same"), ReLU(), Flatten(), *DEEP_HEAD]),
    Architecture([Conv(3, "same"), GlobalAveragePool(), ReLU(), Dense()]),
    Architecture([GlobalAveragePool(), *DEEP_HEAD]),
    Architecture([Conv(), Flatten()]),
]
CIRCULAR = [net for net in NETS if all(layer.is_circular for layer in net.layers if isinstance(layer, Conv))]


def randn(*shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


# --- printed values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "pool", "values"),
    [
        ("circular", False, (1.52540602, 0.57526872, 2.40619666)),
        ("circular", True, (0.44546685, 0.51006453, 0.75499088)),
        ("same", False, (0.80284300, 0.27535265, 1.12252092)),
        ("same", True, (0.20894904, 0.20663268, 0.29735507)),
    ],
)
def test_values_of_neural_tangents(padding, pool, values):
    i = torch.arange(4, dtype=torch.float64)
    x = torch.stack([torch.sin(1 + i[:, None] + 2 * i), torch.cos(i[:, None] * i)])[:, None]
    net = Architecture.cnn(2, padding=padding, pool=pool)
    found = net.ntk(x)
    wanted = torch.tensor([[values[0], values[1]], [values[1], values[2]]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=5.1e-9)
    torch.testing.assert_close(net.ntk(x, x.clone()), wanted, rtol=0, atol=5.1e-9)
    torch.testing.assert_close(net.diagonal(x)[1], wanted.diagonal(), rtol=0, atol=5.1e-9)


# --- twins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS, ids=str)
def test_gram_is_the_loop_over_pairs_of_pixels(net, dtype, tolerance, generator):
    x, z = (randn(n, 2, 3, 4, generator=generator, dtype=dtype) for n in (3, 2))
    near = max(tolerance, 1e-7)
    for other in (z, None):
        found = net.kernels(x, other)
        for kernel, wanted in zip(found, slow_kernels(net, x, x if other is None else other), strict=True):
            assert kernel.dtype == dtype
            torch.testing.assert_close(kernel.double(), wanted, rtol=near, atol=near)
        torch.testing.assert_close(net.nngp(x, other), found[0], rtol=tolerance, atol=tolerance)
    for kernel, diagonal in zip(found, net.diagonal(x), strict=True):
        assert torch.equal(kernel, kernel.mT)
        torch.testing.assert_close(kernel.diagonal(), diagonal, rtol=near, atol=near)


@settings(max_examples=15)
@given(
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    rows=st.integers(0, 2),
    size=st.sampled_from([1, 3, 5, 7]),
    case=st.sampled_from(FOUR),
    bias=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**16),
)
def test_gram_of_any_shape(height, width, rows, size, case, bias, seed):
    generator = torch.Generator().manual_seed(seed)
    x, z = (randn(n, 1, height, width, generator=generator) for n in (rows, 2))
    x[..., 0] = 0  # patches without variance where there is no bias
    net = Architecture.cnn(1, size=size, padding=case[0], pool=case[1], b_std=bias)
    for kernel, wanted in zip(net.kernels(x, z), slow_kernels(net, x, z), strict=True):
        torch.testing.assert_close(kernel, wanted, rtol=3e-7, atol=1e-8)
    assert net.ntk(x).shape == (rows, rows)


@pytest.mark.parametrize(("block", "columns"), [(1, 1), (100, 5), (500, 30), (1 << 16, 7)])
@pytest.mark.parametrize("net", NETS[:8], ids=str)
def test_gram_in_small_blocks(net, block, columns, generator, monkeypatch):
    x, z = (randn(n, 1, 3, 4, generator=generator) for n in (5, 3))
    wanted = [*net.kernels(x), *net.kernels(x, z), *net.diagonal(x)]
    monkeypatch.setattr(conv_file, "BLOCK", block)
    monkeypatch.setattr(conv_file, "COLUMNS", columns)
    for found, before in zip([*net.kernels(x), *net.kernels(x, z), *net.diagonal(x)], wanted, strict=True):
        torch.testing.assert_close(found, before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("padding", "pool"), FOUR)
def test_wide_random_networks_agree_on_average(padding, pool, generator):
    """Unbiased at one hidden layer: 6 scores of 150 networks beyond 4.5 would happen about once in 12,000 runs."""
    net = Architecture.cnn(1, padding=padding, pool=pool, W_std=1.2, b_std=0.3)
    x = randn(2, 2, 4, 4, generator=generator)
    upper = torch.triu_indices(2, 2).unbind()
    tangents, products = [], []
    for _ in range(150):
        finite = finite_network(net, (2, 4, 4), 16, generator=generator)
        tangents.append(empirical_ntk(finite, x)[upper])
        y = finite(x).detach()
        products.append((y @ y.mT)[upper])
    for samples, kernel in ((products, net.nngp(x)), (tangents, net.ntk(x))):
        assert float(z_scores(torch.stack(samples), kernel[upper]).abs().max()) < 4.5


# --- invariances ------------------------------------------------------------------------------


def differs(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize(("padding", "pool"), FOUR)
def test_what_leaves_the_kernel_alone(padding, pool, generator):
    """Turning both images: always. Shifting both: circular padding alone. Shifting one: if it pools as well."""
    x, z = (randn(3, 1, 5, 5, generator=generator) for _ in range(2))
    net = Architecture.cnn(2, padding=padding, pool=pool)
    for before, turned, together, one in zip(
        net.kernels(x, z),
        net.kernels(x.rot90(1, (2, 3)), z.rot90(1, (2, 3))),
        net.kernels(x.roll((1, 2), (2, 3)), z.roll((1, 2), (2, 3))),
        net.kernels(x, z.roll((1, 2), (2, 3))),
        strict=True,
    ):
        assert differs(turned, before) < 1e-12
        assert (differs(together, before) < 1e-12) == (padding == "circular")
        assert (differs(one, before) < 1e-12) == (padding == "circular" and pool)
        if padding == "same":
            assert differs(together, before) > 1e-3
        if not (padding == "circular" and pool):
            assert differs(one, before) > 1e-3


# --- shifts -----------------------------------------------------------------------------------


def moves(shifts: str, height: int, width: int) -> list[tuple[int, int]]:
    rows = range(height if shifts != "horizontal" else 1)
    return [(i, j) for i in rows for j in range(width if shifts != "vertical" else 1)]


@pytest.mark.parametrize("shifts", ["horizontal", "vertical", "both"])
@pytest.mark.parametrize("net", [*CIRCULAR, Architecture([Flatten(), *Architecture.mlp(2).layers])], ids=str)
def test_kernels_of_all_shifts(net, shifts, dtype, tolerance, generator):
    x, near = randn(4, 2, 3, 4, generator=generator, dtype=dtype), max(tolerance, 1e-8)
    for kernel in ("ntk", "nngp"):
        kappa = shift_kappa(x, net, shifts=shifts, kernel=kernel)
        steps = moves(shifts, 3, 4)
        assert kappa.shape == (4, 4, len(steps))
        assert kappa.dtype == dtype
        for place, step in enumerate(steps):
            wanted = getattr(net, kernel)(x, x.roll(step, (2, 3)))
            torch.testing.assert_close(kappa[..., place], wanted, rtol=near, atol=near)
        assert torch.equal(kappa[..., 0], kappa[..., 0].mT)


def test_kernels_of_shifts_solve_the_system_of_full_orbits(generator):
    x, y = randn(3, 1, 4, 6, generator=generator), randn(3, 6, 2, generator=generator)
    net = Architecture.cnn(2)
    alpha, _ = block_solve(shift_kappa(x, net), y, Cyclic(6), ridge=1e-3)
    orbit = torch.stack([x.roll(d, -1) for d in range(6)], 1).flatten(0, 1)
    gram = net.ntk(orbit)
    gram.diagonal().add_(1e-3)
    wanted = torch.linalg.solve(gram, y.flatten(0, 1))
    torch.testing.assert_close(alpha.flatten(0, 1), wanted, rtol=1e-6, atol=1e-6)


def test_pooling_collapses_orbits(generator):
    kappa = shift_kappa(randn(3, 1, 4, 4, generator=generator), Architecture.cnn(1, pool=True), shifts="both")
    assert torch.equal(kappa, kappa[..., :1].expand_as(kappa))


@pytest.mark.parametrize(
    ("x", "net", "options", "message"),
    [
        (torch.ones(2, 1, 4, 4), Architecture.cnn(2, padding="same"), {}, r"Layer 0 \(Conv\(size=3, padding='same'"),
        (torch.ones(2, 16), Architecture.mlp(1), {}, "Shifts act on images"),
        (torch.ones(2, 16), Architecture([Flatten(), Dense()]), {}, "Shifts act on images"),
        (torch.ones(2, 1, 4, 4), Architecture.cnn(1), {"shifts": "diagonal"}, "Unknown kind of shifts"),
        (torch.ones(2, 1, 4, 4), Architecture.cnn(1), {"kernel": "ntks"}, "Did you mean 'ntk'"),
        (torch.ones(2, 1, 4, 4), "cnn", {}, "An Architecture is needed.*got str"),
    ],
)
def test_shifts_that_are_refused(x, net, options, message):
    with pytest.raises(InputError, match=message):
        shift_kappa(x, net, **options)


# --- edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("padding", "pool"), FOUR)
@pytest.mark.parametrize("activation", [ReLU(), Erf()], ids=str)
def test_patches_without_variance(padding, pool, activation, dtype, generator):
    x = randn(3, 1, 6, 6, generator=generator, dtype=dtype)
    x[0, :, :4] = 0
    x[1] = 0
    net = Architecture.cnn(2, padding=padding, pool=pool, b_std=0.0, activation=activation)
    for kernel in net.kernels(x):
        assert bool(torch.isfinite(kernel).all())
        assert not kernel[1].any()
        assert float(kernel[0, 0]) > 0


@pytest.mark.parametrize(("padding", "pool"), FOUR)
def test_opposite_equal_and_scaled_images(padding, pool, generator):
    net = Architecture.cnn(1, padding=padding, pool=pool, b_std=0.0)
    x = randn(3, 1, 4, 4, generator=generator)
    if not pool:
        assert float(net.ntk(x, -x).diagonal().abs().max()) < 1e-7
    for scale in (1e-100, 1 / 3, 1e100):
        torch.testing.assert_close(net.ntk(x, scale * x) / scale, net.ntk(x), rtol=1e-7, atol=0)


@pytest.mark.parametrize("net", NETS[:4], ids=str)
def test_no_images_and_one(net, dtype):
    none, one = torch.empty(0, 1, 3, 3, dtype=dtype), torch.ones(1, 1, 3, 3, dtype=dtype)
    assert net.ntk(none).shape == (0, 0)
    assert net.nngp(one, none).shape == (1, 0)
    assert net.ntk(none, one).shape == (0, 1)
    assert net.ntk(one).shape == (1, 1)
    assert net.diagonal(none)[1].shape == (0,)
    if net.layers[0].is_circular:
        assert shift_kappa(none, net).shape == (0, 0, 3)
        assert shift_kappa(one, net, shifts="both").shape == (1, 1, 9)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(2, 16), r"reads images \(N, C, H, W\)"),
        (torch.ones(2, 4, 4), r"reads images \(N, C, H, W\)"),
        (torch.ones(2, 1, 0, 4), "without entries"),
        (torch.full((2, 1, 4, 4), float("nan")), "x holds 32 NaN"),
        (torch.full((2, 1, 4, 4), 1e25), "overflows"),
    ],
)
def test_bad_images(x, message):
    with pytest.raises(InputError, match=message):
        Architecture.cnn(1).ntk(x)
