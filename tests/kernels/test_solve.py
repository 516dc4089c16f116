"""The direct solver: positive definite, singular, nearly so; rank and condition; memory used in place."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_twins import randn, relative

import equilearn.kernels._solve as solve_file
from equilearn._check import InputError, InputTypeError
from equilearn.kernels import solve_psd
from equilearn.kernels._solve import _cholesky_, cutoff, worst_condition


def with_spectrum(values, generator, dtype=torch.float64):
    """A symmetric matrix with these eigenvalues."""
    n = len(values)
    q = torch.linalg.qr(randn(n, n, generator=generator)).Q
    found = (q * torch.as_tensor(values, dtype=torch.float64)) @ q.mT
    return ((found + found.mT) / 2).to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 24),
    columns=st.integers(1, 3),
    digits=st.floats(0, 6),
    ridge=st.sampled_from([0, 0.1]),
)
def test_positive_definite(seed, n, columns, digits, ridge):
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.logspace(0, -digits, n, dtype=torch.float64)
    gram, y = with_spectrum(spectrum, generator), randn(n, columns, generator=generator)
    system = gram + ridge * torch.eye(n, dtype=torch.float64)
    dual, info = solve_psd(gram.clone(), y, ridge)
    assert (info.method, info.rank, info.size, info.is_singular) == ("cholesky", n, n, False)
    assert relative(dual, torch.linalg.solve(system, y)) < 1e-14 * n * 10**digits + 1e-13
    true = float(torch.linalg.cond(system))
    # The largest eigenvalue is bounded by a norm, the smallest by three steps of power iteration.
    assert true / 10 <= info.condition <= n**0.5 * true * (1 + 1e-6)
    assert info.as_dict()["condition"] == info.condition


@pytest.mark.parametrize("rank", [1, 5, 11])
def test_singular_is_solved_on_its_range(rank, dtype, generator):
    root = randn(12, rank, generator=generator)
    gram, y = (root @ root.mT).to(dtype), randn(12, 2, generator=generator, dtype=dtype)
    dual, info = solve_psd(gram.clone(), y)
    assert (info.method, info.rank, info.is_singular) == ("eigh", rank, True)
    wanted = torch.linalg.pinv(root @ root.mT, rtol=1e-8, hermitian=True) @ y.double()
    assert relative(dual.double(), wanted) < (1e-3 if dtype == torch.float32 else 1e-10)
    values = torch.linalg.svdvals(root).square()
    assert info.condition == pytest.approx(float(values[0] / values[-1]), rel=1e-3 if dtype == torch.float32 else 1e-8)


@pytest.mark.parametrize("size", [1, 5, 6, 7, 100])
def test_cholesky_by_blocks_is_that_of_lapack(size, dtype, generator):
    """Beyond 2^31 entries LAPACK's numbers overflow; the lower triangle stays, so that the matrix can be had back."""
    x = torch.randn(18, 30, generator=generator, dtype=dtype)
    gram = x @ x.mT
    before = gram.clone()
    factor = solve_file._blocked_cholesky_(gram, size)
    assert factor is gram
    wanted = torch.linalg.cholesky(before).mT
    slack = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(gram.triu(), wanted, rtol=slack, atol=slack)
    assert torch.equal(gram.tril(-1), before.tril(-1))
    indefinite = before - 1e3 * torch.eye(18, dtype=dtype)
    lower = indefinite.tril(-1).clone()
    assert solve_file._blocked_cholesky_(indefinite, size) is None
    assert torch.equal(indefinite.tril(-1), lower)


def test_many_entries_are_factored_by_blocks(generator, monkeypatch):
    x = torch.randn(12, 20, generator=generator, dtype=torch.float64)
    gram, y = x @ x.mT, torch.randn(12, 2, generator=generator, dtype=torch.float64)
    wanted, info = solve_file.solve_psd(gram.clone(), y, 0.1)
    monkeypatch.setattr(solve_file, "MOST_FOR_LAPACK", 1)
    monkeypatch.setattr(solve_file, "BLOCK_ROWS", 5)
    found, again = solve_file.solve_psd(gram.clone(), y, 0.1)
    torch.testing.assert_close(found, wanted)
    assert info.method == again.method == "cholesky"


def test_cholesky_that_fails_part_way_leaves_the_matrix_to_be_had_back(dtype, generator):
    """The first 39 pivots are overwritten before the 40th is found negative."""
    gram = with_spectrum(torch.linspace(1, 2, 40), generator, dtype)
    whole = gram.double()
    gram[39, 39] = float(whole[39, :39] @ torch.linalg.solve(whole[:39, :39], whole[:39, 39])) - 1e-4
    y = randn(40, 3, generator=generator, dtype=dtype)
    broken = gram.clone()
    assert _cholesky_(broken) is None
    assert not torch.equal(broken.triu(), gram.triu())
    assert torch.equal(broken.tril(-1), gram.tril(-1))
    dual, info = solve_psd(gram.clone(), y)
    values, vectors = torch.linalg.eigh(gram.double())
    kept = values > cutoff(dtype) * values[-1]
    wanted = (vectors[:, kept] / values[kept]) @ vectors[:, kept].mT @ y.double()
    assert (info.method, info.rank) == ("eigh", 39)
    assert relative(dual.double(), wanted) < (1e-4 if dtype == torch.float32 else 1e-11)


def test_nearly_singular_goes_to_the_eigenproblem(dtype, generator):
    """Cholesky goes through, but what it gives is rounding: the condition number tells."""
    eps = torch.finfo(dtype).eps
    spectrum = torch.ones(20, dtype=torch.float64)
    spectrum[-1] = 0.3 * cutoff(dtype)
    gram, y = with_spectrum(spectrum, generator), randn(20, 1, generator=generator)
    if dtype == torch.float64:
        spectrum[-1] = 1e-15
        gram = with_spectrum(spectrum, generator)
    dual, info = solve_psd(gram.to(dtype), y.to(dtype))
    assert (info.method, info.rank) == ("eigh", 19)
    assert relative(dual.double(), torch.linalg.pinv(gram, rtol=1e-5, hermitian=True) @ y) < 1e3 * eps
    assert worst_condition(dtype) > 1 / cutoff(dtype) / 10


def test_ridge_makes_it_well_posed(dtype, generator):
    root = randn(15, 4, generator=generator, dtype=dtype)
    gram, y = root @ root.mT, randn(15, 2, generator=generator, dtype=dtype)
    dual, info = solve_psd(gram.clone(), y, 0.1)
    assert (info.method, info.rank) == ("cholesky", 15)
    wanted = torch.linalg.solve(gram.double() + 0.1 * torch.eye(15, dtype=torch.float64), y.double())
    assert relative(dual.double(), wanted) < (1e-3 if dtype == torch.float32 else 1e-12)


def test_zero_and_empty(dtype):
    dual, info = solve_psd(torch.zeros(4, 4, dtype=dtype), torch.ones(4, 2, dtype=dtype))
    assert not bool(dual.any())
    assert (info.method, info.rank, info.condition) == ("eigh", 0, math.inf)
    dual, info = solve_psd(torch.zeros(0, 0, dtype=dtype), torch.ones(0, 2, dtype=dtype))
    assert dual.shape == (0, 2) and info.size == 0 and not info.is_singular
    dual, _ = solve_psd(torch.full((1, 1), 4.0, dtype=dtype), torch.ones(1, 1, dtype=dtype))
    assert dual.item() == 0.25


def test_memory_is_used_in_place_and_targets_are_left_alone(generator):
    gram, y = with_spectrum([1.0, 2.0, 3.0], generator), randn(3, 1, generator=generator)
    before, targets = gram.clone(), y.clone()
    assert _cholesky_(gram) is gram
    upper = gram.triu()
    torch.testing.assert_close(upper.mT @ upper, before)
    solve_psd(before, y)
    assert torch.equal(y, targets)


def test_matrix_that_is_not_contiguous(generator):
    whole = with_spectrum(torch.linspace(1, 3, 12), generator)
    wide = torch.zeros(12, 24, dtype=torch.float64)
    wide[:, ::2] = whole
    y = randn(12, 2, generator=generator)
    dual, info = solve_psd(wide[:, ::2], y)
    assert info.method == "cholesky"
    torch.testing.assert_close(dual, torch.linalg.solve(whole, y))
    wide[:, ::2] = 1.0
    assert solve_psd(wide[:, ::2], y)[1].rank == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_matrix_that_is_not_finite(bad):
    gram = torch.eye(3)
    gram[2, 0] = gram[0, 2] = bad
    with pytest.raises(InputError, match="NaN or infinities"):
        solve_psd(gram, torch.ones(3, 1))


def test_systems_that_are_refused():
    one, y = torch.eye(3), torch.ones(3, 1)
    for gram, targets, ridge, error, message in (
        (one[:, :2], y, 0.0, InputError, r"must be square, got \(3, 2\)"),
        (one, y[:2], 0.0, InputError, r"one row for each of the 3 points, \(N, C\); got \(2, 1\)"),
        (one, y[:, 0], 0.0, InputError, r"\(N, C\); got \(3,\)"),
        (one, y, -1.0, InputError, "ridge must be a finite number >= 0, got -1.0"),
        (one, y.double(), 0.0, InputTypeError, "got torch.float32 and targets of torch.float64"),
        (one.half(), y.half(), 0.0, InputTypeError, "float32 or float64 throughout, got torch.float16"),
        (-one, y, 0.0, InputError, "not positive semidefinite: its eigenvalues go from -1 to -1"),
        (torch.diag(torch.tensor([2.0, 1.0, -1.0])), y, 0.0, InputError, "go from -1 to 2, which is no rounding"),
    ):
        with pytest.raises(error, match=message):
            solve_psd(gram.clone(), targets, ridge)


# --- more unknowns than an eigenproblem can take --------------------------------------------


@pytest.fixture
def few_unknowns(monkeypatch):
    monkeypatch.setattr(solve_file, "EIGH_LIMIT", 10)


def test_large_singular_matrix_gets_a_ridge_that_is_reported(few_unknowns, dtype, generator):
    root = randn(40, 15, generator=generator, dtype=dtype)
    gram, y = root @ root.mT, root @ randn(15, 2, generator=generator, dtype=dtype)  # y in the range
    dual, info = solve_psd(gram.clone(), y)
    eps, largest = torch.finfo(dtype).eps, float(torch.linalg.eigvalsh(gram)[-1])
    assert (info.method, info.rank) == ("cholesky", 40)
    assert 0 < info.ridge <= 4e3 * eps * 40**0.5 * largest
    assert relative(gram @ dual, y) < (5e-2 if dtype == torch.float32 else 1e-6)
    ridge = 1e-3 * largest
    dual, info = solve_psd(gram.clone(), y, ridge)
    assert info.ridge == ridge
    assert relative(dual, torch.linalg.solve(gram + ridge * torch.eye(40, dtype=dtype), y)) < 1e3 * eps


def test_large_matrix_that_is_indefinite_is_refused(few_unknowns, generator):
    gram = with_spectrum([-1.0, *[1.0] * 19], generator)
    with pytest.raises(InputError, match="20 points is not positive semidefinite up to rounding in torch.float64"):
        solve_psd(gram, torch.ones(20, 1, dtype=torch.float64))


@pytest.mark.parametrize("rows", [1, 3, 7, 50])
def test_mirror(rows, generator):
    gram = randn(7, 7, generator=generator)
    wanted = gram.tril() + gram.tril(-1).mT
    solve_file._mirror_(gram, rows)
    assert torch.equal(gram, wanted)
