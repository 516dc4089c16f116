"""Kernels and metrics against loops over pairs of rows; edge cases; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_twins import KERNELS, RADIAL, randn, random_metric, relative, slow_gram

import equilearn.kernels._kernel as kernel_file
from equilearn._check import InputError
from equilearn.kernels import Gaussian, Generalized, Laplace, Quadratic, kernel_of, psd_power
from equilearn.kernels._kernel import squared_distances
from equilearn.kernels._metric import normalized

# --- Gram matrices --------------------------------------------------------------------------


@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gram_is_the_loop_over_pairs(kernel, diagonal, dtype, tolerance, generator):
    x, z = (randn(n, 4, generator=generator, dtype=dtype) for n in (7, 5))
    metric = random_metric(4, generator, dtype, diagonal)
    for other in (z, None):
        found = kernel.gram(x, other, metric)
        assert found.dtype == dtype
        wanted = slow_gram(kernel, x, x if other is None else other, metric)
        torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, 4),
    columns=st.integers(0, 4),
    width=st.integers(1, 5),
    diagonal=st.booleans(),
    copies=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_gram_of_any_shape(kernel, rows, columns, width, diagonal, copies, seed):
    generator = torch.Generator().manual_seed(seed)
    x, z = (randn(n, width, generator=generator) for n in (rows, columns))
    if copies and rows and columns:
        z[-1] = x[0]
    metric = random_metric(width, generator, diagonal=diagonal)
    found = kernel.gram(x, z, metric)
    assert found.shape == (rows, columns)
    torch.testing.assert_close(found, slow_gram(kernel, x, z, metric), rtol=1e-9, atol=1e-9)
    assert kernel.gram(x, None, metric).shape == (rows, rows)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gram_in_small_blocks_into_given_memory(kernel, dtype, tolerance, generator, monkeypatch):
    x, z = (randn(n, 3, generator=generator, dtype=dtype) for n in (11, 6))
    metric = random_metric(3, generator, dtype)
    wanted, symmetric = kernel.gram(x, z, metric), kernel.gram(x, None, metric)
    monkeypatch.setattr(kernel_file.row_blocks, "__defaults__", (12,))  # two rows at a time
    out = torch.full((11, 6), math.nan, dtype=dtype)
    assert kernel.gram(x, z, metric, out) is out
    torch.testing.assert_close(out, wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(kernel.gram(x, None, metric), symmetric, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("tile", [4, 100])
def test_product_without_the_matrix(kernel, tile, dtype, tolerance, generator, monkeypatch):
    monkeypatch.setattr(kernel_file, "TILE", tile)
    x, z = (randn(n, 3, generator=generator, dtype=dtype) for n in (11, 6))
    metric, vectors = random_metric(3, generator, dtype), randn(6, 2, generator=generator, dtype=dtype)
    found = kernel.product(x, z, metric, vectors)
    torch.testing.assert_close(found, kernel.gram(x, z, metric) @ vectors, rtol=tolerance, atol=tolerance)
    assert kernel.product(x[:0], z, metric, vectors).shape == (0, 2)
    assert not kernel.product(x, z[:0], metric, vectors[:0]).any()


@pytest.mark.parametrize("kernel", [k for k in KERNELS if not isinstance(k, Quadratic)], ids=str)
def test_copies_are_exactly_alike(kernel, dtype, generator):
    """The rounding of a distance of 0 is about 1e-8 after the root, 1e-4 in float32: enough to make copies differ."""
    x = 3 + randn(40, 6, generator=generator, dtype=dtype)
    x = torch.cat([x, x])
    gram = kernel.gram(x, None, random_metric(6, generator, dtype))
    assert bool((gram.diagonal() == 1).all())
    slack = 4 * torch.finfo(dtype).eps if kernel != Gaussian(1.7) else 64 * torch.finfo(dtype).eps
    assert float((gram[:40, 40:].diagonal() - 1).abs().max()) <= slack
    own = kernel.gram(x[:40].clone(), x, random_metric(6, torch.Generator().manual_seed(1), dtype))
    assert float((own.diagonal() - 1).abs().max()) <= 64 * torch.finfo(dtype).eps


def test_far_point_does_not_blur_the_others(generator):
    """Rounding is judged row by row; judged by the largest norm, all near points would coincide in float32."""
    x = randn(30, 3, generator=generator, dtype=torch.float32)
    x[0] *= 1e3
    metric = torch.eye(3)
    found = Laplace(2.0).gram(x, None, metric).double()
    torch.testing.assert_close(found, slow_gram(Laplace(2.0), x, x, metric), rtol=0, atol=2e-2)
    apart = ~torch.eye(30, dtype=torch.bool)
    assert bool((found[apart] < 1).all())
    slope = Laplace(2.0).slope(x, x, metric, same=0)
    assert bool((slope[1:, 1:][apart[1:, 1:]] < 0).all())


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_point_at_the_centre_of_the_others(scale, dtype, generator):
    """A row of norm 0 has no rounding of its own: it coincides with its copies alone, at any scale of the data."""
    z = scale * randn(6, 3, generator=generator, dtype=dtype)
    z = torch.cat([z, -z, torch.zeros_like(z[:1])])  # of mean 0
    kernel = Laplace(scale)
    found = kernel.gram(z[-1:], z, torch.eye(3, dtype=dtype))
    torch.testing.assert_close(found.double(), slow_gram(kernel, z[-1:], z, torch.eye(3)), rtol=1e-5, atol=0)
    assert float(found[0, -1]) == 1 and bool((found[0, :-1] < 1).all())
    alone = kernel.gram(z[-1:], z[-1:], torch.eye(3, dtype=dtype))
    assert float(alone) == 1


@pytest.mark.parametrize("kernel", RADIAL, ids=str)
def test_slope_is_the_derivative_of_the_profile(kernel, generator):
    x, z = (randn(n, 3, generator=generator) for n in (6, 5))
    metric = random_metric(3, generator)
    distance = torch.empty(6, 5, dtype=torch.float64)
    for _ in squared_distances(x, z, metric, distance):
        pass
    h = 1e-6
    wanted = (kernel.profile_(distance + h) - kernel.profile_(distance - h)) / (2 * h)
    torch.testing.assert_close(kernel.slope(x, z, metric), wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kernel", RADIAL, ids=str)
def test_slope_of_points_that_coincide(kernel, dtype, generator):
    x = 5 + randn(8, 3, generator=generator, dtype=dtype)
    x = torch.cat([x, x[:3]])
    metric = random_metric(3, generator, dtype)
    for same, points in ((0, x), (4, x[4:]), (None, x[2:5].clone())):
        start = {0: 0, 4: 4, None: 2}[same]
        slope = kernel.slope(points, x, metric, same)
        own = slope.diagonal(start)
        twins = slope[:3, 8:].diagonal() if same == 0 else own
        wanted = -0.5 / kernel.length**2 if isinstance(kernel, Gaussian) else 0.0
        assert bool(torch.isfinite(slope).all())
        torch.testing.assert_close(own, torch.full_like(own, wanted), rtol=1e-5, atol=0)
        torch.testing.assert_close(twins, torch.full_like(twins, wanted), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), width=st.integers(1, 5))
def test_gram_is_positive_semidefinite(kernel, seed, width):
    generator = torch.Generator().manual_seed(seed)
    gram = kernel.gram(randn(9, width, generator=generator), None, random_metric(width, generator))
    torch.testing.assert_close(gram, gram.mT, rtol=0, atol=1e-12 * float(gram.abs().max()))
    assert float(torch.linalg.eigvalsh(gram)[0]) >= -1e-12 * float(gram.diagonal().sum())


def test_zero_metric_makes_all_points_alike(generator):
    x = randn(4, 3, generator=generator)
    for kernel in KERNELS:
        wanted = 0.0 if isinstance(kernel, Quadratic) else 1.0
        assert bool((kernel.gram(x, None, torch.zeros(3, 3, dtype=torch.float64)) == wanted).all())


# --- kernels by name ------------------------------------------------------------------------


def test_kernel_of():
    assert kernel_of("gaussian") == Gaussian(2.5)
    assert kernel_of("generalized", 4.0, 1.5, 0.5) == Generalized(1.5, 0.5, 4.0)
    assert kernel_of(Laplace(3.0)) == Laplace(3.0)
    assert kernel_of(Laplace(3.0), 4.0) == Laplace(4.0)
    assert kernel_of("laplace", np.int64(2)).bandwidth == 2
    assert {kernel_of(name).name.split("(")[0] for name in kernel_file.KERNELS} == set(kernel_file.KERNELS)
    assert kernel_of("quadratic").bandwidth is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kernel_of("gausian"), "Unknown kernel 'gausian'. Did you mean 'gaussian'"),
        (lambda: kernel_of("quadratic", 2.0), "The quadratic kernel has no bandwidth"),
        (lambda: kernel_of(Quadratic(), 2.0), "has no bandwidth"),
        (lambda: Gaussian(0.0), "must be a positive number, got 0.0"),
        (lambda: Laplace(-1), "must be a positive number, got -1"),
        (lambda: Laplace(math.inf), "positive number"),
        (lambda: Gaussian(math.nan), "positive number"),
        (lambda: Generalized(2.0, 1.0, "3"), "positive number, got '3'"),
        (lambda: Generalized(1.0, 1.5), "0 < q <= p <= 2, got p=1, q=1.5"),
        (lambda: Generalized(2.5, 1.0), "0 < q <= p <= 2"),
        (lambda: Generalized(1.0, 0.0), "0 < q <= p <= 2"),
    ],
)
def test_kernels_that_are_refused(make, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(".", r"\.")):
        make()


# --- the metric -----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16), width=st.integers(1, 7), rank=st.integers(0, 7), s=st.sampled_from([0.25, 0.5, 1, 2])
)
def test_psd_power(seed, width, rank, s):
    a = randn(width, rank, generator=torch.Generator().manual_seed(seed))
    metric = a @ a.mT
    root = psd_power(metric, s)
    repeat = {0.25: 4, 0.5: 2, 1: 1, 2: 1}[s]
    wanted = metric @ metric if s == 2 else metric
    scale = max(float(wanted.abs().max()), 1e-300)
    torch.testing.assert_close(torch.linalg.matrix_power(root, repeat), wanted, rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(psd_power(metric.diagonal(), s), metric.diagonal() ** s)


def test_psd_power_clamps_noise(dtype):
    q = torch.linalg.qr(randn(5, 5, generator=torch.Generator().manual_seed(3))).Q
    noise = 0.1 * torch.finfo(dtype).eps
    metric = ((q * torch.tensor([3.0, 1.0, noise, -noise, -2.0])) @ q.mT).to(dtype)
    found = psd_power(metric, 0.25).double()
    wanted = (q * torch.tensor([3.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64) ** 0.25) @ q.mT
    assert relative(found, wanted) < (1e-5 if dtype == torch.float32 else 1e-13)
    assert psd_power(torch.tensor([4.0, -1.0]), 0.5).tolist() == [2.0, 0.0]
    with pytest.raises(InputError, match="exponent must be a number > 0, got -1"):
        psd_power(metric, -1)


@pytest.mark.parametrize("diagonal", [False, True])
def test_normalized(diagonal, generator):
    metric = random_metric(4, generator, diagonal=diagonal)
    shares = metric if diagonal else metric.diagonal()
    assert float(normalized(metric, "max").max()) == pytest.approx(1.0)
    trace = normalized(metric, "trace")
    assert float((trace if diagonal else trace.diagonal()).mean()) == pytest.approx(1.0)
    assert normalized(metric, "none") is metric
    torch.testing.assert_close(normalized(metric, "max") * shares.max(), metric)
    assert not bool(normalized(torch.zeros_like(metric), "max").any())
    with pytest.raises(InputError, match="Unknown normalisation 'mean'"):
        normalized(metric, "mean")
