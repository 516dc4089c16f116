"""The closed forms of the average gradient outer product against autograd, point by point."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_twins import KERNELS, RADIAL, randn, random_metric, relative, slow_agop

import equilearn.kernels._agop as agop_file
import equilearn.kernels._slots as slots_file
from equilearn._check import InputError
from equilearn.kernels import Gaussian, Generalized, Kernel, Laplace, Quadratic, kernel_agop
from equilearn.kernels._agop import FORMS, cheapest_form
from equilearn.kernels._slots import bucket_sum, find_slots


def close(dtype):
    return 1e-4 if dtype == torch.float32 else 1e-12


def one_hot_pairs(n, count, generator, dtype=torch.float64):
    chosen = torch.randperm(n * n, generator=generator)[:count]
    eye = torch.eye(n, dtype=dtype)
    return torch.cat([eye[chosen // n], eye[chosen % n]], dim=1)


@pytest.mark.parametrize("centered", [True, False], ids=["centred", "plain"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("own", [True, False], ids=["own", "others"])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_closed_form_is_autograd(kernel, own, diagonal, centered, dtype, generator):
    z = randn(9, 4, generator=generator, dtype=dtype)
    x = z if own else randn(6, 4, generator=generator, dtype=dtype)
    dual = randn(9, 3, generator=generator, dtype=dtype)
    metric = random_metric(4, generator, dtype, diagonal)
    wanted = slow_agop(kernel, x, z, dual, metric, centered)
    wanted = wanted.diagonal() if diagonal else wanted
    forms = (None, "direct", "gram") if kernel in RADIAL else (None,)
    for form in forms:
        found = kernel_agop(kernel, x, None if own else z, dual, metric, centered=centered, form=form)
        assert found.dtype == dtype
        assert relative(found.double(), wanted) < close(dtype), form


@pytest.mark.parametrize("centered", [True, False], ids=["centred", "plain"])
@pytest.mark.parametrize("own", [True, False], ids=["own", "others"])
@pytest.mark.parametrize("kernel", [*RADIAL, Quadratic()], ids=str)
def test_one_hot_rows(kernel, own, centered, dtype, generator):
    z = one_hot_pairs(5, 17, generator, dtype)
    x = z if own else randn(6, 10, generator=generator, dtype=dtype)
    dual = randn(17, 4, generator=generator, dtype=dtype)
    metric = random_metric(10, generator, dtype)
    wanted = slow_agop(kernel, x, z, dual, metric, centered)
    for form in (None, *FORMS) if kernel in RADIAL else (None,):
        found = kernel_agop(kernel, x, None if own else z, dual, metric, centered=centered, form=form)
        assert relative(found.double(), wanted) < close(dtype), form


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_in_small_chunks(kernel, dtype, generator, monkeypatch):
    z = one_hot_pairs(5, 17, generator, dtype)
    dual, metric = randn(17, 4, generator=generator, dtype=dtype), random_metric(10, generator, dtype)
    forms = FORMS if kernel in RADIAL else (None,)
    wanted = [kernel_agop(kernel, z, None, dual, metric, form=form) for form in forms]
    monkeypatch.setattr(agop_file, "CHUNK", 200)
    for form, whole in zip(forms, wanted, strict=True):
        assert relative(kernel_agop(kernel, z, None, dual, metric, form=form), whole) < close(dtype)


@pytest.mark.parametrize("form", ["direct", "gram"])
@pytest.mark.parametrize("kernel", [Laplace(2.5), Generalized(2.0, 0.7, 2.0), Generalized(1.5, 1.0, 2.0)], ids=str)
def test_copies_where_the_gradient_has_a_pole(kernel, form, dtype, generator):
    """A pair at distance 0 counts nothing. A cut at 1e-7 alone left an error of 1e-4 in float64."""
    z = 4 + randn(12, 5, generator=generator, dtype=dtype)
    z = torch.cat([z, z[:5]])
    dual, metric = randn(17, 2, generator=generator, dtype=dtype), random_metric(5, generator, dtype)
    form = form if kernel in RADIAL else None
    bound = 1e-3 if dtype == torch.float32 else 1e-11
    wanted = slow_agop(kernel, z, z, dual, metric, True)
    assert relative(kernel_agop(kernel, z, None, dual, metric, form=form).double(), wanted) < bound
    subset = z[3:9].clone()  # as drawn by agop_samples: equal to centers, but not known to be
    wanted = slow_agop(kernel, subset, z, dual, metric, True)
    assert relative(kernel_agop(kernel, subset, z, dual, metric, form=form).double(), wanted) < bound


def test_p_norm_of_a_subset_in_many_dimensions(dtype, generator):
    """Rows times a root differ in the last place with the shape of the product; the sign of that is no gradient."""
    kernel = Generalized(1.5, 1.0, 3.0)
    z = randn(203, 33, generator=generator, dtype=dtype)
    dual, metric = randn(203, 2, generator=generator, dtype=dtype), random_metric(33, generator, dtype)
    found = kernel_agop(kernel, z[:9].clone(), z, dual, metric)
    assert relative(found.double(), slow_agop(kernel, z[:9], z, dual, metric, True)) < close(dtype)


def test_far_point_does_not_silence_the_others(dtype, generator):
    z = randn(40, 4, generator=generator, dtype=dtype)
    z[0] *= 1e3 if dtype == torch.float32 else 1e6
    dual, metric = randn(40, 2, generator=generator, dtype=dtype), torch.eye(4, dtype=dtype)
    found = kernel_agop(Laplace(3.0), z, None, dual, metric)
    wanted = slow_agop(Laplace(3.0), z, z, dual, metric, True)
    assert relative(found.double(), wanted) < (1e-3 if dtype == torch.float32 else 1e-6)


def test_gradients_by_finite_differences(generator):
    """A check that shares nothing with autograd's twin: central differences of the machine's own outputs."""
    kernel, z = Gaussian(1.3), randn(8, 3, generator=generator)
    dual, metric = randn(8, 2, generator=generator), random_metric(3, generator)
    h, eye = 1e-5, torch.eye(3, dtype=torch.float64)
    columns = [(kernel.gram(z + h * e, z, metric) - kernel.gram(z - h * e, z, metric)) @ dual / (2 * h) for e in eye]
    jacobian = torch.stack(columns, dim=2)
    wanted = torch.einsum("ncd,nce->de", jacobian, jacobian) / 8
    assert relative(kernel_agop(kernel, z, None, dual, metric, centered=False), wanted) < 1e-8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    points=st.integers(1, 5),
    centers=st.integers(0, 5),
    outputs=st.integers(1, 3),
    centered=st.booleans(),
    kernel=st.sampled_from(KERNELS),
)
def test_any_number_of_points_and_outputs(seed, points, centers, outputs, centered, kernel):
    generator = torch.Generator().manual_seed(seed)
    x, z = (randn(n, 3, generator=generator) for n in (points, centers))
    dual, metric = randn(centers, outputs, generator=generator), random_metric(3, generator)
    found = kernel_agop(kernel, x, z, dual, metric, centered=centered)
    wanted = slow_agop(kernel, x, z, dual, metric, centered)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    assert torch.equal(found, found.mT)


def test_what_is_refused(generator):
    x, dual, metric = randn(5, 3, generator=generator), randn(5, 1, generator=generator), torch.eye(3).double()
    with pytest.raises(InputError, match="Unknown form of the AGOP 'grams'. Did you mean 'gram'"):
        kernel_agop(Gaussian(), x, None, dual, metric, form="grams")
    with pytest.raises(InputError, match="one-hot"):
        kernel_agop(Gaussian(), x, None, dual, metric, form="slots")
    for kernel in KERNELS:
        with pytest.raises(InputError, match="x is empty"):
            kernel_agop(kernel, x[:0], x, dual, metric)


def test_kernel_without_a_closed_form(generator):
    class Linear(Kernel):
        name = "linear"

        def gram(self, x, z, metric, out=None):
            return x @ metric @ (x if z is None else z).mT

    x = randn(4, 3, generator=generator)
    with pytest.raises(TypeError, match="No closed form of the AGOP is known for linear"):
        kernel_agop(Linear(), x, None, x[:, :1], torch.eye(3).double())


def test_cheapest_form():
    assert cheapest_form(1000, 1000, 1, 10, None) == "direct"
    assert cheapest_form(100, 100, 50, 500, None) == "gram"
    assert cheapest_form(20_000, 100_000, 1000, 500, None) == "direct"  # the other's matrix would take 80 GB
    slots = find_slots(one_hot_pairs(23, 400, torch.Generator().manual_seed(0)))
    assert cheapest_form(500, 500, 23, 46, slots) == "slots"


def test_direct_form_weighs_the_centers_for_a_few_outputs_at_a_time(generator, monkeypatch):
    x, dual, metric = randn(30, 4, generator=generator), randn(30, 7, generator=generator), torch.eye(4).double()
    monkeypatch.setattr(agop_file, "CHUNK", 240)  # 120 entries an output
    sizes = []
    with monkeypatch.context() as patched:
        flatten = torch.Tensor.flatten
        patched.setattr(torch.Tensor, "flatten", lambda t, *a: sizes.append(t.numel()) or flatten(t, *a))
        found = kernel_agop(Gaussian(2.0), x, None, dual, metric, form="direct")
    assert max(sizes) <= 240
    assert relative(found, slow_agop(Gaussian(2.0), x, x, dual, metric, True)) < 1e-12


# --- slots ----------------------------------------------------------------------------------


def test_find_slots(generator):
    pairs = one_hot_pairs(6, 20, generator)
    slots = find_slots(pairs)
    assert slots is not None and slots.count == 2 and slots.width == 12
    assert torch.equal(torch.zeros_like(pairs).scatter_(1, slots.index, 1.0), pairs)
    triple = torch.cat([torch.eye(4).repeat(2, 1), torch.eye(8)], dim=1)
    assert find_slots(triple).index[5].tolist() == [1, 9]
    for other in (
        pairs[:0],
        2 * pairs,
        pairs + 0.5,
        torch.zeros(3, 12),
        torch.ones(3, 12),
        torch.cat([pairs, torch.zeros(1, 12, dtype=pairs.dtype)]),
        torch.eye(8)[[0, 1, 5]] + torch.eye(8)[[3, 4, 7]],  # a one of the first kind right of one of the second
        torch.eye(3),
    ):
        assert find_slots(other) is None


@settings(max_examples=40, deadline=None)
@given(
    symbols=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    rows=st.integers(1, 3),
    outputs=st.integers(1, 3),
    padding=st.sampled_from([0, 4, 100]),
)
def test_bucket_sum_is_the_product_with_one_hot_rows(symbols, rows, outputs, padding):
    generator = torch.Generator().manual_seed(len(symbols))
    symbols = torch.tensor(symbols)
    phi, dual = randn(rows, len(symbols), generator=generator), randn(len(symbols), outputs, generator=generator)
    wanted = torch.einsum("bn,nc,nw->wbc", phi, dual, torch.eye(7, dtype=torch.float64)[symbols])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots_file, "MOST_PADDING", padding)
        torch.testing.assert_close(bucket_sum(phi, dual, symbols, 7), wanted)


def test_uneven_symbols_are_not_padded(monkeypatch):
    """Padding 1,000 symbols to the size of the most frequent would take 1,000 times the memory of the rows."""
    symbols = torch.cat([torch.zeros(2000, dtype=torch.int64), torch.arange(1000)])
    phi, dual = torch.ones(2, 3000, dtype=torch.float64), torch.ones(3000, 1, dtype=torch.float64)

    def refuse(*_):
        raise AssertionError("padded")

    monkeypatch.setattr(torch, "bmm", refuse)
    found = bucket_sum(phi, dual, symbols, 1000)
    assert found[0, 0, 0] == 2001 and bool((found[1:] == 1).all())
