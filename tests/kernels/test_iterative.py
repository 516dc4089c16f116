"""Conjugate gradients and the stochastic solver against the direct one; products without the matrix."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_twins import KERNELS, randn, random_metric, relative

import equilearn.kernels._cg as cg_file
from equilearn._check import InputError, InputTypeError
from equilearn.kernels import Gaussian, Laplace, Quadratic, solve_cg, solve_psd, solve_stochastic
from equilearn.kernels._cg import NystromPreconditioner, symmetric_product
from equilearn.kernels._solvers import DIRECT_LIMIT, SOLVERS, solver_of


@pytest.fixture
def few_centers(monkeypatch):
    """So few points in the preconditioner that conjugate gradients have something left to do."""
    monkeypatch.setattr(cg_file, "MOST_CENTERS", 40)


def problem(dtype, outputs=2, points=300):
    generator = torch.Generator().manual_seed(1)
    x = randn(points, 4, generator=generator, dtype=dtype)
    return x, randn(points, outputs, generator=generator, dtype=dtype), random_metric(4, generator, dtype)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@settings(max_examples=10, deadline=None)
@given(points=st.integers(1, 23), outputs=st.integers(1, 3), rows=st.integers(1, 25))
def test_symmetric_product_is_dense(kernel, points, outputs, rows):
    x, v, metric = problem(torch.float64, outputs, points)
    found = symmetric_product(kernel, x, metric, v, rows)
    torch.testing.assert_close(found, kernel.gram(x, None, metric) @ v, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "ridge"), [(Laplace(2.0), 0.0), (Laplace(2.0), 1e-2), (Gaussian(1.5), 1e-2), (Quadratic(), 1.0)], ids=str
)
def test_cg_is_the_direct_solution(kernel, ridge, outputs, dtype, few_centers):
    x, y, metric = problem(dtype, outputs)
    dual, info = solve_cg(kernel, x, y, metric, ridge, generator=torch.Generator().manual_seed(0))
    system = kernel.gram(x, None, metric).double() + ridge * torch.eye(len(x), dtype=torch.float64)
    loose = dtype == torch.float32
    bound = 1e-5 if loose else 1e-8
    assert info.method == "cg" and 0 < info.iterations < 200
    assert info.residual is not None and info.residual <= bound
    # The residual that is updated along the way is the true one, up to rounding.
    true = ((system @ dual.double() - y.double()).norm(dim=0) / y.double().norm(dim=0)).max()
    assert float(true) < (2e-4 if loose else 2e-8)
    wanted, _ = solve_psd(kernel.gram(x.double(), None, metric.double()), y.double(), ridge)
    assert relative(dual.double(), wanted) < (1e-2 if loose else 1e-5)


def test_cg_with_all_points_in_the_preconditioner_needs_few_iterations(dtype):
    x, y, metric = problem(dtype)
    _, info = solve_cg(Gaussian(1.5), x, y, metric, 1e-2)
    assert info.iterations <= 3


def test_better_preconditioner_needs_fewer_iterations(monkeypatch):
    x, y, metric = problem(torch.float64)
    counts = []
    for centers in (2, 40, 150):
        monkeypatch.setattr(cg_file, "MOST_CENTERS", centers)
        counts.append(solve_cg(Gaussian(1.5), x, y, metric, 1e-1)[1].iterations)
    assert counts[0] > 2 * counts[1] > 2 * counts[2] > 0


def test_warm_start_needs_fewer_iterations(few_centers, dtype):
    x, y, metric = problem(dtype)
    cold, info = solve_cg(Laplace(2.0), x, y, metric, 1e-2)
    _, warm = solve_cg(Laplace(2.0), x, y, metric + 1e-4 * torch.eye(4, dtype=dtype), 1e-2, cold)
    assert warm.iterations < 0.8 * info.iterations
    kept = cold.clone()
    _, again = solve_cg(Laplace(2.0), x, y, metric, 1e-2, cold, tolerance=1e-4)
    assert again.iterations == 0 and torch.equal(cold, kept)


def test_column_of_zeros_does_not_stop_the_others(few_centers, dtype):
    """A constant target is zero once centred; 0 / 0 in float32 ended the descent at once."""
    x, y, metric = problem(dtype)
    y[:, 1] = 0
    dual, info = solve_cg(Laplace(2.0), x, y, metric, 1e-2)
    assert info.residual <= (1e-5 if dtype == torch.float32 else 1e-8)
    assert not bool(dual[:, 1].any())


def test_cg_of_copies_that_disagree_says_so(few_centers):
    x, y, metric = problem(torch.float64)
    dual, info = solve_cg(Laplace(2.0), torch.cat([x, x]), torch.cat([y, -y]), metric, 0.0)
    assert info.residual > 0.5 and bool(torch.isfinite(dual).all())


def test_preconditioner_inverts_its_own_matrix(generator):
    x, y, metric = problem(torch.float64)
    found = NystromPreconditioner(Gaussian(1.5), x, metric, 0.1, torch.arange(30))
    wanted = torch.linalg.solve(found.basis @ found.basis.mT + found.shift * torch.eye(300, dtype=x.dtype), y)
    torch.testing.assert_close(found.solve(y), wanted, rtol=1e-8, atol=1e-10)
    cross = Gaussian(1.5).gram(x, x[:30], metric)
    nystrom = cross @ torch.linalg.solve(cross[:30], cross.mT)
    torch.testing.assert_close(found.basis @ found.basis.mT, nystrom, rtol=0, atol=1e-6)


# --- stochastic -----------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("block", [64, 1000])
def test_stochastic_approaches_the_direct_solution(block, ridge, outputs, dtype):
    """No draw of blocks diverges: the energy of the error falls with each, so the seed decides only how fast."""
    x, y, metric = problem(dtype, outputs)
    kernel = Laplace(2.0)
    dual, info = solve_stochastic(
        kernel, x, y, metric, ridge, generator=torch.Generator().manual_seed(0), passes=60, tolerance=1e-5, block=block
    )
    system = kernel.gram(x, None, metric) + ridge * torch.eye(len(x), dtype=dtype)
    residual = float((system @ dual - y).norm() / y.norm())
    assert info.method == "stochastic" and info.residual is not None and info.rank is None
    assert residual < 1e-3
    assert residual < 1.1 * info.residual + 1e-5  # what a pass meets runs behind the descent
    if ridge:
        wanted, _ = solve_psd(kernel.gram(x, None, metric), y, ridge)
        assert relative(dual, wanted) < 1e-3


def test_the_energy_of_the_error_falls_with_every_pass():
    x, y, metric = problem(torch.float64)
    arguments = (Laplace(2.0), x, y, metric, 0.1)
    system = Laplace(2.0).gram(x, None, metric) + 0.1 * torch.eye(len(x), dtype=torch.float64)
    wanted = torch.linalg.solve(system, y)
    energies = []
    for passes in (1, 2, 4, 8):
        dual, info = solve_stochastic(
            *arguments, generator=torch.Generator().manual_seed(0), passes=passes, block=40, tolerance=0.0
        )
        assert info.iterations == passes
        energies.append(float(((dual - wanted) * (system @ (dual - wanted))).sum()))
    assert all(later < 0.9 * earlier for earlier, later in pairwise(energies)), energies
    start = dual.clone()
    warm, _ = solve_stochastic(*arguments, start, torch.Generator().manual_seed(0), passes=1, block=40)
    assert relative(warm, wanted) < relative(start, wanted) and torch.equal(start, dual)
    again, _ = solve_stochastic(
        *arguments, generator=torch.Generator().manual_seed(0), passes=8, block=40, tolerance=0.0
    )
    assert torch.equal(again, dual)


@pytest.mark.parametrize("points", [2, 3, 7])
def test_very_few_points(points):
    x, y, metric = problem(torch.float64, 1, points)
    wanted, _ = solve_psd(Laplace(2.0).gram(x, None, metric), y, 0.1)
    cg, _ = solve_cg(Laplace(2.0), x, y, metric, 0.1)
    stochastic, _ = solve_stochastic(Laplace(2.0), x, y, metric, 0.1, block=2, passes=200)
    assert relative(cg, wanted) < 1e-6
    assert relative(stochastic, wanted) < 1e-4


@pytest.mark.parametrize("solve", [solve_cg, solve_stochastic])
def test_systems_that_are_refused(solve):
    x, y, metric = torch.eye(3), torch.ones(3, 1), torch.ones(3)
    with pytest.raises(InputTypeError, match="float32 or float64 throughout, got torch.float16"):
        solve(Laplace(1.0), x.half(), y.half(), metric.half())
    with pytest.raises(InputError, match=r"one row for each of the 3 points, \(N, C\); got \(3,\)"):
        solve(Laplace(1.0), x, y[:, 0], metric)
    with pytest.raises(InputError, match="ridge must be a finite number >= 0, got nan"):
        solve(Laplace(1.0), x, y, metric, float("nan"))


@pytest.mark.parametrize("name", ["passes", "block"])
def test_no_pass_and_no_block_are_refused(name):
    with pytest.raises(InputError, match=f"{name} must be a whole number >= 1, got 0"):
        solve_stochastic(Laplace(1.0), torch.eye(3), torch.ones(3, 1), torch.ones(3), **{name: 0})


# --- by name --------------------------------------------------------------------------------


def test_solvers_by_name():
    assert solver_of("auto", DIRECT_LIMIT) is solver_of("cholesky", 5)
    assert solver_of("auto", DIRECT_LIMIT + 1) is solve_cg
    assert solver_of("stochastic", 5) is solve_stochastic
    with pytest.raises(InputError, match="Unknown solver 'choleski'. Did you mean 'cholesky'"):
        solver_of("choleski", 5)
    x, y, metric = problem(torch.float64)
    duals = [
        solver_of(name, len(x))(Laplace(2.0), x, y, metric, 3.0, None, torch.Generator().manual_seed(0))[0]
        for name in SOLVERS
    ]
    for dual in duals:
        assert relative(dual, duals[0]) < 0.3  # the stochastic one after its 20 passes, a step each here
