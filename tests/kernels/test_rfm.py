"""Recursive feature machines: against a naive loop, options, records, warnings, bad input."""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from kernel_twins import KERNELS, randn, random_metric, relative, slow_agop, slow_gram

import equilearn.kernels._cg as cg_file
import equilearn.kernels._rfm as rfm_file
import equilearn.kernels._solve as solve_file
from equilearn._check import InputError, InputTypeError
from equilearn.kernels import RFM, Gaussian, Laplace, Quadratic, Settings, SingularKernelWarning, fit_rfm, solve_cg
from equilearn.kernels._rfm import median_distance


def data(generator, dtype=torch.float64, points=24, width=4):
    x = randn(points, width, generator=generator, dtype=dtype)
    return x, torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], dim=1)


def naive(kernel, x, y, iterations, ridge, exponent, centered, normalize, diagonal):
    """The definition, by loops, autograd, a general solve and an eigenproblem."""
    metric = torch.eye(x.shape[1], dtype=torch.float64)
    for t in range(iterations + 1):
        dual = torch.linalg.solve(slow_gram(kernel, x, x, metric) + ridge * torch.eye(len(x), dtype=torch.float64), y)
        if t == iterations:
            return dual, metric
        g = slow_agop(kernel, x, x, dual, metric, centered)
        g = torch.diag(g.diagonal()) if diagonal else g
        values, vectors = torch.linalg.eigh(g)
        metric = (vectors * values.clamp_min(0) ** exponent) @ vectors.mT
        metric = metric / {"none": 1.0, "max": metric.max(), "trace": metric.diagonal().mean()}[normalize]
    raise AssertionError


OPTIONS = [
    (0.5, True, "none", False),
    (1.0, False, "max", False),
    (0.25, True, "trace", False),
    (1.0, True, "max", True),
]


@pytest.mark.parametrize(("exponent", "centered", "normalize", "diagonal"), OPTIONS)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_is_the_definition(kernel, exponent, centered, normalize, diagonal, generator):
    x, y = data(generator)
    options = {"exponent": exponent, "centered": centered, "normalize": normalize, "diagonal": diagonal}
    machine = fit_rfm(x, y, kernel=kernel, iterations=2, ridge=0.1, **options)
    dual, metric = naive(kernel, x, y, 2, 0.1, **options)
    found = torch.diag(machine.metric) if diagonal else machine.metric
    assert relative(found, metric) < 1e-8
    assert relative(machine.dual, dual) < 1e-7
    z = randn(5, 4, generator=generator)
    torch.testing.assert_close(machine(z), slow_gram(kernel, z, x, metric) @ dual, rtol=1e-7, atol=1e-7)


def test_float32_follows_float64(generator):
    x, y = data(generator)
    double = fit_rfm(x, y, kernel="laplace", iterations=3, ridge=1e-2)
    single = fit_rfm(x.float(), y.float(), kernel="laplace", iterations=3, ridge=1e-2)
    assert single.metric.dtype == single.dual.dtype == single(x.float()).dtype == torch.float32
    assert relative(single.metric.double(), double.metric) < 1e-3


def test_ridgeless_interpolates(generator):
    x, y = data(generator)
    machine = fit_rfm(x, y, bandwidth=1.0, iterations=3)
    assert float((machine(x) - y).square().mean()) < 1e-20


def test_finds_the_features_that_count(generator):
    """The seed is fixed; of seeds 0 to 49 none gives the two features less than 99.6 % of the trace."""
    x = randn(200, 8, generator=generator)
    machine = fit_rfm(x, x[:, :1] * x[:, 1:2], bandwidth=4.0, iterations=4, ridge=1e-3)
    share = machine.metric.diagonal()[:2].sum() / machine.metric.trace()
    assert float(share) > 0.99


def test_history_and_callbacks(generator):
    x, y = data(generator)
    seen, ticks = [], []

    def observe(iteration, machine):
        seen.append((iteration, machine.metric))
        return {"trace": float(machine.metric.trace())} if iteration else None

    machine = fit_rfm(x, y, iterations=3, ridge=0.1, observe=observe, progress=lambda *tick: ticks.append(tick))
    assert [i for i, _ in seen] == [0, 1, 2, 3] == [record["iteration"] for record in machine.history]
    assert torch.equal(seen[0][1], torch.eye(4, dtype=x.dtype)) and seen[3][1] is machine.metric
    assert [tick[:2] for tick in ticks] == [(1, 4), (2, 4), (3, 4), (4, 4)] and ticks[-1][2] == 0
    first, last = machine.history[0], machine.history[-1]
    assert set(first) == {
        "iteration",
        "method",
        "rank",
        "size",
        "condition",
        "residual",
        "ridge",
        "iterations",
        "bandwidth",
        "seconds",
    }
    assert last["trace"] == float(machine.metric.trace())
    assert (first["method"], first["rank"], first["size"], first["bandwidth"]) == ("cholesky", 24, 24, 2.5)
    assert machine.best == 3
    assert repr(machine) == "RFM(Gaussian(length=2.5): 24 points, 4 features, 2 outputs, iteration 3)"
    assert fit_rfm(x, y, iterations=0).best == 0


def test_best_iteration_is_kept_and_patience_stops(generator):
    x, y = data(generator)
    scores = iter([3.0, 1.0, 2.0, 2.5, 0.0])
    machine = fit_rfm(x, y, iterations=4, ridge=0.1, score=lambda _: next(scores), patience=2)
    assert machine.best == 1 and [record["score"] for record in machine.history] == [3.0, 1.0, 2.0, 2.5]
    assert torch.equal(machine.metric, fit_rfm(x, y, iterations=1, ridge=0.1).metric)
    scores = iter([3.0, 1.0, 2.0, 2.5, 0.0])
    assert fit_rfm(x, y, iterations=4, ridge=0.1, score=lambda _: next(scores)).best == 4
    assert fit_rfm(x, y, iterations=2, ridge=0.1, score=lambda _: math.nan).best == 0


def test_is_deterministic_and_touches_nothing(generator):
    x, y = data(generator)
    metric = random_metric(4, generator)
    before = [t.clone() for t in (x, y, metric)]
    state = torch.random.get_rng_state()
    options = {"solver": "stochastic", "agop_samples": 9, "ridge": 1.0, "bandwidth": "median", "kernel": "laplace"}
    first, second = (fit_rfm(x, y, metric=metric, iterations=2, **options) for _ in range(2))
    assert torch.equal(first.metric, second.metric) and torch.equal(first.dual, second.dual)
    assert not torch.equal(first.metric, fit_rfm(x, y, metric=metric, iterations=2, seed=1, **options).metric)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, (x, y, metric), strict=True))


def test_agop_over_a_part_of_the_points(generator):
    x, y = data(generator, points=200)
    whole = fit_rfm(x, y, iterations=1, ridge=0.1).metric
    most = fit_rfm(x, y, iterations=1, ridge=0.1, agop_samples=199).metric
    few = fit_rfm(x, y, iterations=1, ridge=0.1, agop_samples=20).metric
    assert 0 < relative(most, whole) < 0.02 < relative(few, whole) < 0.6


def test_agop_of_a_machine(generator):
    x, y = data(generator)
    machine = fit_rfm(x, y, kernel="laplace", bandwidth=2.0, iterations=1, ridge=0.1)
    own = machine.agop()
    assert relative(own, slow_agop(machine.kernel, x, x, machine.dual, machine.metric, True)) < 1e-10
    assert torch.equal(machine.agop(x), own)
    torch.testing.assert_close(machine.agop(x.clone()), own, rtol=1e-9, atol=1e-12)


def test_median_bandwidth_follows_the_metric(generator):
    x, y = data(generator)
    machine = fit_rfm(x, y, kernel="laplace", bandwidth="median", iterations=2, ridge=0.1)
    lengths = [record["bandwidth"] for record in machine.history]
    assert lengths[0] == pytest.approx(float(torch.pdist(x).median()))
    assert machine.kernel == Laplace(lengths[2])
    root = torch.linalg.cholesky(machine.metric)
    assert lengths[2] == pytest.approx(float(torch.pdist(x @ root).median()))
    assert median_distance(x[:1], torch.ones(4)) == 0
    same = fit_rfm(torch.ones(5, 3), torch.ones(5, 1), bandwidth="median", ridge=0.1, iterations=1)
    assert same.kernel == Gaussian()  # no distance to measure
    assert fit_rfm(x, y, kernel="quadratic", bandwidth="median", ridge=1.0).kernel == Quadratic()


def test_rounding_is_no_median_distance(dtype, generator):
    x = torch.cat([torch.full((75, 4), 0.1), randn(25, 4, generator=generator)]).to(dtype)
    assert median_distance(x, torch.eye(4, dtype=dtype)) == 0  # 2,775 of 4,950 pairs are copies
    machine = fit_rfm(x, x[:, :1] - x[:, :1].mean(), bandwidth="median", ridge=1e-2, iterations=2)
    assert [record["bandwidth"] for record in machine.history] == [2.5] * 3


@pytest.mark.parametrize("solver", ["cg", "stochastic"])
def test_other_solvers_learn_the_same_metric(solver, generator):
    x, y = data(generator, points=150)
    options = {"kernel": "laplace", "bandwidth": 2.0, "iterations": 2, "ridge": 3.0}
    wanted = fit_rfm(x, y, **options)
    found = fit_rfm(x, y, solver=solver, **options)
    assert found.history[0]["method"] == solver and found.history[0]["residual"] is not None
    assert relative(found.metric, wanted.metric) < (1e-6 if solver == "cg" else 0.05)


# --- where it starts ------------------------------------------------------------------------


def test_iterative_solver_starts_from_the_last_solution(generator, monkeypatch):
    starts = []

    def solver(kernel, x, y, metric, ridge, start, source):
        starts.append(start)
        return solve_cg(kernel, x, y, metric, ridge, start, source)

    monkeypatch.setattr(rfm_file, "solver_of", lambda name, points: solver)
    x, y = data(generator)
    duals = []
    fit_rfm(x, y, iterations=2, ridge=0.1, observe=lambda t, machine: duals.append(machine.dual))
    assert starts[0] is None and starts[1] is duals[0] and starts[2] is duals[1]


def test_initial_metric(generator):
    x, y = data(generator)
    shares = torch.tensor([1.0, 2.0, 0.0, 3.0])
    for metric in (shares, torch.diag(shares)):
        assert torch.equal(fit_rfm(x, y, metric=metric, iterations=0, ridge=0.1).metric, torch.diag(shares).double())
        found = fit_rfm(x, y, metric=metric, iterations=0, ridge=0.1, diagonal=True)
        assert torch.equal(found.metric, shares.double())
    with pytest.warns(SingularKernelWarning, match="rank 1"):
        zero = fit_rfm(x, y, metric=torch.zeros(4, 4), iterations=2, normalize="max")
    assert not bool(zero.metric.any())
    torch.testing.assert_close(zero(x), y.mean(0).expand_as(y))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (torch.eye(3), r"shape \(4, 4\) or \(4,\), got \(3, 3\)"),
        (np.eye(4), r"shape \(4, 4\) or \(4,\), got ndarray"),
        (torch.tensor([1.0, -1.0, 1.0, 1.0]), "negative weights"),
        (torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0])), r"negative eigenvalue \(-1\)"),
        (torch.ones(4, 4).triu(), "not symmetric"),
        (torch.full((4,), math.nan), "metric holds 4 NaN"),
    ],
)
def test_metrics_that_are_refused(metric, message, generator):
    x, y = data(generator)
    with pytest.raises(InputError, match=message):
        fit_rfm(x, y, metric=metric)


# --- singular -------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["gaussian", "laplace"])
def test_copies_that_disagree_warn_once_with_the_rank(kernel, generator):
    x, y = data(generator)
    x, y = torch.cat([x, x]), torch.cat([y, -3 * y])
    with pytest.warns(SingularKernelWarning, match=r"48 points is numerically singular \(rank 24\)") as caught:
        machine = fit_rfm(x, y, kernel=kernel, bandwidth=1.0, iterations=2)
    assert len(caught) == 1
    assert [record["rank"] for record in machine.history] == [24, 24, 24]
    torch.testing.assert_close(machine(x[:24]), -y[:24], rtol=1e-6, atol=1e-6)  # the mean of y and -3 y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_rfm(x, y, kernel=kernel, bandwidth=1.0, iterations=2, ridge=1e-3).history[-1]["rank"] == 48


def test_raised_ridge_warns(generator, monkeypatch):
    monkeypatch.setattr(solve_file, "EIGH_LIMIT", 40)
    x, y = data(generator)
    with pytest.warns(SingularKernelWarning, match=r"48 points .* with the ridge 0: it was raised to") as caught:
        machine = fit_rfm(torch.cat([x, x]), torch.cat([y, y]), bandwidth=1.0, iterations=1)
    assert len(caught) == 1 and machine.history[0]["ridge"] > 0
    torch.testing.assert_close(machine(x), y, rtol=1e-6, atol=1e-6)


def test_iterative_solver_that_gets_nowhere_warns(generator, monkeypatch):
    monkeypatch.setattr(cg_file, "MOST_CENTERS", 10)
    x, y = data(generator)
    x, y = torch.cat([x, x]), torch.cat([y, -y])
    with pytest.warns(SingularKernelWarning, match="'cg' stopped at a relative residual of 1 after") as caught:
        fit_rfm(x, y, kernel="laplace", iterations=1, solver="cg")
    assert len(caught) == 1


# --- bad input ------------------------------------------------------------------------------

X, Y = torch.zeros(3, 2), torch.zeros(3, 1)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros((3, 2)), Y, InputTypeError, "x must be a tensor, got ndarray"),
        (X, [[0.0]] * 3, InputTypeError, "y must be a tensor, got list"),
        (X[0], Y, InputError, r"x must have two axes, samples first; got shape \(2,\)"),
        (X, Y[:, 0], InputError, r"y must have two axes, samples first; got shape \(3,\)"),
        (X.half(), Y.half(), InputTypeError, "x has dtype torch.float16, too coarse"),
        (X.int(), Y.int(), InputTypeError, "x has dtype torch.int32"),
        (X, Y.double(), InputTypeError, "x has dtype torch.float32, y torch.float64"),
        (X, Y[:2], InputError, "x holds 3 samples, y 2"),
        (X, torch.empty(3, 1, device="meta"), InputError, r"x is on cpu, y on meta. Move both .* y.to\('cpu'\)"),
        (X[:1], Y[:1], InputError, "at least 2 samples, got 1"),
        (X[:0], Y[:0], InputError, "at least 2 samples, got 0"),
        (X[:, :0], Y, InputError, "No features or no targets"),
        (X, Y[:, :0], InputError, "No features or no targets"),
        (X + math.nan, Y, InputError, "x holds 6 NaN"),
        (X, Y + math.inf, InputError, "y holds 0 NaN and 3 infinite"),
        (X + 1e30, Y, InputError, r"x reaches 1e\+30; its squares would overflow torch.float32"),
        (X, Y + 1e30, InputError, r"y reaches 1e\+30; its squares would overflow torch.float32. Scale the targets"),
    ],
)
def test_data_that_are_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        fit_rfm(x, y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bandwith": 1.0}, "Unknown setting of a recursive feature machine 'bandwith'. Did you mean 'bandwidth'"),
        ({"kernel": "gaus"}, "Unknown kernel 'gaus'"),
        ({"kernel": 3}, "Unknown kernel 3"),
        ({"bandwidth": -1.0}, "must be a positive number, got -1.0"),
        ({"bandwidth": "mean"}, "Unknown bandwidth 'mean'. .*Known: median"),
        ({"kernel": "quadratic", "bandwidth": 2.0}, "quadratic kernel has no bandwidth"),
        ({"iterations": -1}, "iterations must be a whole number >= 0, got -1"),
        ({"iterations": 1.5}, "iterations must be a whole number >= 0, got 1.5"),
        ({"ridge": -1e-9}, "ridge must be a number >= 0, got -1e-09"),
        ({"ridge": math.nan}, "ridge must be a number >= 0, got nan"),
        ({"ridge": "0"}, "ridge must be a number >= 0, got '0'"),
        ({"exponent": 0}, "exponent must be a number > 0, got 0"),
        ({"centered": "yes"}, "centered must be True or False, got 'yes'"),
        ({"diagonal": 2}, "diagonal must be True or False, got 2"),
        ({"normalize": "maximum"}, "Unknown normalize 'maximum'. Did you mean 'max'"),
        ({"solver": "lu"}, "Unknown solver 'lu'"),
        ({"agop_samples": 0}, "agop_samples must be a whole number >= 1, got 0"),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"patience": 0, "score": float}, "patience must be a whole number >= 1, got 0"),
        ({"patience": 2}, "patience needs score"),
    ],
)
def test_settings_that_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        fit_rfm(X, Y, **given)


def test_numbers_of_numpy_are_numbers(generator):
    x, y = data(generator)
    given = {"ridge": np.float32(0.5), "exponent": np.float32(0.5), "bandwidth": np.int64(2), "iterations": np.int64(1)}
    found = fit_rfm(x, y, Settings(seed=3), **given)
    assert torch.equal(found.metric, fit_rfm(x, y, ridge=0.5, bandwidth=2.0, iterations=1).metric)
    assert found.kernel == Gaussian(2.0)


def test_bandwidth_of_a_kernel_that_is_given(generator):
    x, y = data(generator)
    assert fit_rfm(x, y, kernel=Laplace(3.0), iterations=0).kernel == Laplace(3.0)
    assert fit_rfm(x, y, kernel=Laplace(3.0), bandwidth=4.0, iterations=0).kernel == Laplace(4.0)


def test_gradients_of_the_inputs_are_let_go(generator):
    x, y = data(generator)
    found = fit_rfm(x.clone().requires_grad_(), y.clone().requires_grad_(), ridge=0.1)
    assert torch.equal(found.dual, fit_rfm(x, y, ridge=0.1).dual)
    assert not found(x.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("bad", [X[:, :1], X.double(), X[0], torch.empty(3, 2, device="meta")])
def test_inputs_that_a_machine_refuses(bad):
    machine = fit_rfm(X + torch.eye(3, 2), Y, ridge=1.0, iterations=0)
    assert machine(X[:0]).shape == (0, 1)
    for call in (machine, machine.agop):
        with pytest.raises(InputError, match=r"takes \(samples, 2\) of torch.float32 on cpu, got"):
            call(bad)
    with pytest.raises(InputError, match="x is empty"):
        machine.agop(X[:0])


def test_every_setting_is_documented():
    text = inspect.getdoc(Settings) or ""
    assert all(f"{name}:" in text for name in Settings.__dataclass_fields__)
    assert isinstance(fit_rfm(X, Y, ridge=1.0), RFM)
