"""The scikit-learn estimators: the official checks, tensors and arrays, validation, readable refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from kernel_twins import randn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from equilearn._check import InputError, InputTypeError
from equilearn.kernels import Gaussian, Laplace, Quadratic, RFMClassifier, RFMRegressor, SingularKernelWarning
from equilearn.kernels._estimator_inputs import on_simplex

BOTH = [RFMRegressor, RFMClassifier]


@parametrize_with_checks([RFMRegressor(), RFMClassifier(), RFMRegressor(kernel="gaussian", diagonal=True)])
def test_official_checks(estimator, check):
    """Those that scikit-learn itself skips need pandas, polars, or array libraries under an environment variable."""
    check(estimator)


def arrays(points=60, width=4, dtype=np.float64):
    x = np.random.default_rng(0).normal(size=(points, width))
    return x.astype(dtype), (x[:, 0] * x[:, 1]).astype(dtype)


def labelled(points=60, names=("minus", "plus")):
    x, y = arrays(points)
    return x, np.array(names)[(y > 0).astype(int)]


# --- what is learned ------------------------------------------------------------------------


def test_regression_beats_the_plain_kernel():
    x, y = arrays(300, 10)
    learned, plain = (RFMRegressor(iterations=n).fit(x[:200], y[:200]).score(x[200:], y[200:]) for n in (5, 0))
    assert learned > 0.9 > plain + 0.2


@pytest.mark.parametrize("kernel", ["laplace", "gaussian", "generalized", "quadratic", Laplace(3.0)])
@pytest.mark.parametrize("diagonal", [False, True])
def test_every_kernel_and_importances_that_sum_to_one(kernel, diagonal):
    x, y = arrays(150, 5)
    x *= [1.0, 10.0, 1e3, 1.0, 1e-3]  # importances do not depend on units
    model = RFMRegressor(kernel, diagonal=diagonal, p=1.5, ridge=1e-2).fit(x, y)
    shares = model.feature_importances_
    assert shares.shape == (5,) and shares.sum() == pytest.approx(1) and (shares >= 0).all()
    assert set(np.argsort(shares)[-2:]) == {0, 1}
    assert model.features_.shape == (5, 5)
    np.testing.assert_allclose(model.features_, model.features_.T)
    assert model.score(x, y) > 0.8


def test_units_do_not_matter():
    x, y = arrays()
    scaled = x * [1.0, 1e3, 1e-3, 7.0] + [0.0, 5.0, 1.0, -3.0]
    first, second = RFMRegressor().fit(x, y), RFMRegressor().fit(scaled, y)
    np.testing.assert_allclose(first.predict(x), second.predict(scaled), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(first.feature_importances_, second.feature_importances_, rtol=1e-4, atol=1e-7)


def test_classes_of_any_kind():
    x, y = labelled(90)
    model = RFMClassifier().fit(x, y)
    assert model.classes_.tolist() == ["minus", "plus"] and model.predict(x).dtype == y.dtype
    assert model.score(x, y) > 0.95 and model.decision_function(x).shape == (90,)
    np.testing.assert_array_equal(model.decision_function(x) > 0, model.predict(x) == "plus")
    three = np.digitize(x[:, 0], [-0.5, 0.5]) * 10 - 10
    model = RFMClassifier().fit(x, three)
    assert model.classes_.tolist() == [-10, 0, 10] and model.score(x, three) > 0.9
    assert model.decision_function(x).shape == (90, 3)
    chances = model.predict_proba(x)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert (chances >= 0).all() and (chances.argmax(1) == np.searchsorted(model.classes_, model.predict(x))).all()


def test_probabilities_are_the_nearest_point_of_the_simplex(generator):
    scores = 2 * randn(200, 4, generator=generator)
    found = on_simplex(scores)
    others = torch.rand(500, 4, generator=generator, dtype=torch.float64)
    others = torch.cat([others / others.sum(1, keepdim=True), torch.eye(4, dtype=torch.float64)])
    # Nearest: the angle to any other point of the simplex is obtuse.
    gaps = torch.einsum("sc,soc->so", scores - found, others - found[:, None])
    assert float(gaps.max()) < 1e-12
    torch.testing.assert_close(on_simplex(found), found)


def test_one_column_and_many():
    x, y = arrays()
    flat = RFMRegressor().fit(x, y)
    column = RFMRegressor().fit(x, y[:, None])
    both = RFMRegressor().fit(x, np.stack([y, 3 * y - 1], 1))
    assert flat.predict(x).shape == (60,) and both.predict(x).shape == (60, 2)
    np.testing.assert_allclose(np.ravel(column.predict(x)), flat.predict(x))
    np.testing.assert_allclose(both.predict(x)[:, 1], 3 * both.predict(x)[:, 0] - 1, rtol=1e-8, atol=1e-8)


# --- tensors and arrays ---------------------------------------------------------------------


def test_tensors_in_tensors_out(dtype):
    x, y = (torch.as_tensor(t).to(dtype) for t in arrays())
    model = RFMRegressor().fit(x, y)
    for found in (model.predict(x), model.features_, model.feature_importances_, model.agop(x)):
        assert isinstance(found, torch.Tensor) and found.dtype == dtype
    assert model.predict(x).shape == (60,)
    assert RFMRegressor().fit(x, torch.stack([y, y], 1)).predict(x).shape == (60, 2)
    assert model.score(x, y) > 0.99
    wanted = RFMRegressor().fit(x.numpy(), y.numpy())
    np.testing.assert_array_equal(model.predict(x).numpy(), wanted.predict(x.numpy()))
    assert isinstance(wanted.predict(x), torch.Tensor) and isinstance(wanted.feature_importances_, np.ndarray)
    tracked = RFMRegressor().fit(x.clone().requires_grad_(), y.clone().requires_grad_())
    assert torch.equal(tracked.predict(x.clone().requires_grad_()), model.predict(x))


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32, torch.bfloat16])
def test_labels_that_are_tensors(kind, dtype):
    x, y = (torch.as_tensor(t) for t in arrays())
    x, y = x.to(dtype), (y > 0).to(kind)
    model = RFMClassifier().fit(x, y)
    found = model.predict(x)
    assert isinstance(found, torch.Tensor) and bool((found.double() == y.double()).all())
    assert model.predict_proba(x).dtype == model.decision_function(x).dtype == dtype
    assert torch.equal(RFMClassifier().fit(x, y[:, None]).predict(x), found)


def test_float32_stays_float32():
    x, y = arrays(dtype=np.float32)
    model = RFMRegressor().fit(x, y)
    assert model.predict(x).dtype == model.predict(x.astype(np.float64)).dtype == model.features_.dtype == np.float32
    assert RFMRegressor().fit(x.astype(np.float16), y).predict(x).dtype == np.float64
    assert RFMRegressor().fit((10 * x).astype(int), y).predict(x).dtype == np.float64


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(4, 2), np.zeros(4), "X is a tensor on cpu, y a ndarray. Pass both as tensors"),
        (np.zeros((4, 2)), torch.zeros(4), "X is no tensor, but y is one on cpu"),
        (torch.zeros(4, 2), torch.empty(4, device="meta"), "X is on cpu, y on meta. Move both to one device"),
        (torch.empty(4, 2, device="meta"), torch.empty(4, device="meta"), "X is on the device meta"),
        (torch.zeros(4, 2).half(), torch.zeros(4), r"X has dtype torch.float16, too coarse .* X.float\(\)"),
        (torch.zeros(4, 2).int(), torch.zeros(4), "X has dtype torch.int32"),
        (torch.zeros(4, 2).to_sparse(), torch.zeros(4), r"X is a sparse tensor. Convert with X.to_dense\(\)"),
        (torch.zeros(4, 2), torch.zeros(4).to_sparse(), "y is a sparse tensor"),
        (torch.zeros(4, 2) + torch.nan, torch.zeros(4), "X holds 8 NaN"),
        (torch.zeros(4, 2), torch.zeros(4) - torch.inf, "y holds 0 NaN and 4 infinite"),
        (torch.zeros(4, 2, 1), torch.zeros(4), r"X must be \(samples, features\), got shape \(4, 2, 1\)"),
        (torch.zeros(4), torch.zeros(4), r"X must be \(samples, features\), got shape \(4,\)"),
        (torch.zeros(4, 0), torch.zeros(4), r"X must be \(samples, features\)"),
        (torch.zeros(0, 2), torch.zeros(0), "X is empty"),
        (torch.zeros(4, 2), torch.zeros(3), "X holds 4 samples, y 3"),
        (torch.zeros(4, 2), torch.tensor(0.0), r"y must be \(samples,\).*, got shape \(\)"),
        (torch.zeros(4, 2), torch.zeros(4, 1, 1), r"y must be \(samples,\).*, got shape \(4, 1, 1\)"),
        (np.full((4, 2), np.nan), np.zeros(4), "NaN"),
        (np.full((4, 2), np.inf), np.zeros(4), "infinity"),
        (np.zeros((1, 2)), np.zeros(1), "minimum of 2"),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_data_that_are_refused(kind, x, y, message):
    with pytest.raises(ValueError, match=message):
        kind().fit(x, y)


def test_more_data_that_are_refused():
    x, y = arrays()
    for kind in BOTH:
        with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
            kind().fit(scipy.sparse.csr_matrix(x), y)
    with pytest.raises(InputError, match="at least 2 samples"):
        RFMRegressor().fit(torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(InputError, match="only one class is present: all 60 labels are 3"):
        RFMClassifier().fit(x, np.full(60, 3))
    with pytest.raises(InputError, match=r"y must be \(samples,\), got shape \(60, 2\)"):
        RFMClassifier().fit(torch.as_tensor(x), torch.zeros(60, 2))
    for given in ((x, y), (torch.as_tensor(x), torch.as_tensor(y))):
        with pytest.raises(ValueError, match="Unknown label type: continuous"):
            RFMClassifier().fit(*given)


def test_predictions_that_are_refused():
    x, y = arrays()
    model = RFMRegressor().fit(x, y)
    with pytest.raises(InputError, match="X has 3 features, but RFMRegressor was fitted with 4"):
        model.predict(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="X has 3 features, but RFMRegressor is expecting 4"):
        model.predict(np.zeros((2, 3)))
    with pytest.raises(InputError, match="X is on the device meta"):
        model.predict(torch.empty(2, 4, device="meta"))
    model._variance = model._variance.to("meta")  # stands for a fit on another device
    for call in (model.predict, model.agop):
        with pytest.raises(InputError, match="X is on cpu, but the machine was fitted on meta. Move X there first"):
            call(torch.zeros(2, 4))
    for name in ("predict", "agop"):
        with pytest.raises(NotFittedError):
            getattr(RFMRegressor(), name)(x)
    with pytest.raises(NotFittedError):
        RFMRegressor().feature_importances_  # noqa: B018


# --- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernel": "laplac"}, "Unknown kernel 'laplac'. Did you mean 'laplace'"),
        ({"kernel": None}, "Unknown kernel None"),
        ({"bandwidth": -1}, "bandwidth of a kernel must be a positive number, got -1"),
        ({"bandwidth": "mean"}, "Unknown bandwidth 'mean'"),
        ({"bandwidth": [1]}, r"positive number, got \[1\]"),
        ({"kernel": Quadratic(), "bandwidth": 2.0}, "quadratic kernel has no bandwidth"),
        ({"kernel": "generalized", "p": 3.0}, "0 < q <= p <= 2, got p=3"),
        ({"kernel": "generalized", "q": 2.5}, "0 < q <= p <= 2, got p=2, q=2.5"),
        ({"kernel": "generalized", "p": "2"}, "p and q must be numbers, got p='2'"),
        ({"iterations": -1}, "iterations must be a whole number >= 0"),
        ({"iterations": 2.5}, "iterations must be a whole number >= 0, got 2.5"),
        ({"ridge": -1}, "ridge must be a number >= 0, got -1"),
        ({"ridge": None}, "ridge must be a number >= 0, got None"),
        ({"exponent": 0}, "exponent must be a number > 0"),
        ({"centered": "no"}, "centered must be True or False, got 'no'"),
        ({"diagonal": 3}, "diagonal must be True or False, got 3"),
        ({"normalize": "mx"}, "Unknown normalize 'mx'. Did you mean 'max'"),
        ({"metric": "varianc"}, "'identity', 'variance' .* or a matrix of numbers; got 'varianc'"),
        ({"metric": None}, r"metric must be a tensor of shape \(4, 4\) or \(4,\)"),
        ({"metric": [[1, 2], [3]]}, "or a matrix of numbers; got"),
        ({"metric": np.eye(3)}, r"shape \(4, 4\) or \(4,\), got \(3, 3\)"),
        ({"metric": -np.eye(4)}, "negative eigenvalue"),
        ({"solver": "lu"}, "Unknown solver 'lu'"),
        ({"agop_samples": 0}, "agop_samples must be a whole number >= 1"),
        ({"max_leaf_size": 2}, "max_leaf_size must be a whole number >= 3, got 2"),
        ({"random_state": "a"}, "random_state must be a whole number >= 0, got 'a'"),
        ({"random_state": -1}, "random_state must be a whole number >= 0, got -1"),
        ({"device": "banana"}, "device='banana' cannot be used"),
        ({"patience": 2}, r"patience= needs validation data: fit\(X, y, validation="),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_parameters_that_are_refused_when_fitting(kind, given, message):
    x, y = arrays(20)
    model = kind(**given)  # the constructor only stores
    with pytest.raises(InputError, match=message):
        model.fit(x, (y > 0).astype(int))


def test_device_that_there_is_not():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="device='cuda' cannot be used"):
        RFMRegressor(device="cuda").fit(*arrays())


def test_parameters_are_used_and_stored():
    x, y = arrays()
    plain = RFMRegressor(device="cpu").fit(x, y)
    np.testing.assert_array_equal(plain.predict(x), RFMRegressor().fit(x, y).predict(x))
    assert RFMRegressor(Gaussian(2.0), bandwidth=None).fit(x, y).machine_.kernel == Gaussian(2.0)
    assert RFMRegressor(Gaussian(2.0), bandwidth=np.float32(3)).fit(x, y).machine_.kernel == Gaussian(3.0)
    assert RFMRegressor("laplace", bandwidth=3).fit(x, y).machine_.kernel == Laplace(3.0)
    assert RFMRegressor("laplace", bandwidth=None).fit(x, y).machine_.kernel == Laplace()
    given = np.diag([1.0, 2.0, 0.0, 1.0])
    for metric in (given, given.tolist(), torch.as_tensor(given), np.diag(given)):
        fitted = RFMRegressor(metric=metric, iterations=0).fit(x, y)
        np.testing.assert_array_equal(fitted.features_, given)
    np.testing.assert_array_equal(RFMRegressor(metric="identity", iterations=0).fit(x, y).features_, np.eye(4))
    start = RFMRegressor(iterations=0).fit(x, y).features_
    np.testing.assert_allclose(start, np.diag(1 / x.var(0)))
    model = RFMRegressor(ridge=0.5, iterations=1)
    other = clone(model).set_params(ridge=0.25)
    assert (model.ridge, other.ridge, other.iterations) == (0.5, 0.25, 1)
    assert RFMRegressor(random_state=None).fit(x, y).score(x, y) > 0.9
    assert RFMRegressor(random_state=np.random.RandomState(3)).fit(x, y).score(x, y) > 0.9  # noqa: NPY002


def test_plays_with_pipelines_and_searches():
    x, y = arrays(80)
    search = GridSearchCV(RFMRegressor(iterations=1), {"ridge": [1e-3, 10.0], "exponent": [np.float32(0.5)]}, cv=2)
    assert search.fit(x, y).best_params_["ridge"] == 1e-3
    scores = cross_val_score(make_pipeline(StandardScaler(), RFMClassifier(iterations=2)), *labelled(150), cv=3)
    assert scores.mean() > 0.7


# --- history and validation -----------------------------------------------------------------


def test_history_without_validation():
    x, y = arrays()
    model = RFMRegressor(iterations=2).fit(x, y)
    assert [record["iteration"] for record in model.history_] == [0, 1, 2] and model.n_iter_ == 2
    wanted = {"iteration", "method", "rank", "size", "condition", "residual", "bandwidth", "seconds"}
    assert wanted <= set(model.history_[0]) and "score" not in model.history_[0]


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("kind", BOTH)
def test_validation_keeps_the_best_iteration(kind, tensors):
    x, y = arrays(120)
    y = y if kind is RFMRegressor else (y > 0).astype(int)
    if tensors:
        x, y = torch.as_tensor(x), torch.as_tensor(y)
    held, target = x[60:], y[60:]
    model = kind(iterations=4).fit(x[:60], y[:60], validation=(held, target))
    scores = [record["score"] for record in model.history_]
    assert len(scores) == 5 and model.n_iter_ == int(np.argmin(scores))
    found = model.predict(held)
    errors = (found != target) if kind is RFMClassifier else (found - target) ** 2
    assert float(errors.astype(float).mean() if not tensors else errors.double().mean()) == pytest.approx(min(scores))
    kept = kind(iterations=model.n_iter_).fit(x[:60], y[:60])
    np.testing.assert_array_equal(np.asarray(kept.features_), np.asarray(model.features_))


def test_patience_stops():
    x, y = arrays(40)
    # Targets at random: no iteration is better than the first for long.
    noise = np.random.default_rng(1).normal(size=40)
    model = RFMRegressor(iterations=30, patience=2).fit(x[:30], noise[:30], validation=(x[30:], noise[30:]))
    assert len(model.history_) == model.n_iter_ + 3 < 31
    with pytest.raises(InputError, match="patience must be a whole number >= 1, got 0"):
        RFMRegressor(patience=0).fit(x, y, validation=(x, y))


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (arrays(5)[0], r"validation must be a pair \(X_val, y_val\), got ndarray"),
        ((1, 2, 3), "validation must be a pair"),
        ((arrays(5)[0], np.zeros(1, int)), "validation: X_val holds 5 samples, y_val 1"),
        ((arrays(5)[0], np.zeros(7, int)), "validation: X_val holds 5 samples, y_val 7"),
        ((np.zeros((5, 3)), np.zeros(5, int)), "X has 3 features"),
        ((np.full((5, 4), np.nan), np.zeros(5, int)), "NaN"),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_validation_that_is_refused(kind, validation, message):
    x, y = arrays()
    with pytest.raises(ValueError, match=message):
        kind().fit(x, (y > 0).astype(int), validation=validation)


def test_validation_targets_that_are_refused():
    x, y = arrays()
    for target, error, message in (
        (np.full(60, np.nan), InputError, "validation: y_val holds 60 NaN"),
        (np.zeros((60, 2)), InputError, "y_val has 2 outputs, the training targets 1"),
        (["a"] * 60, InputTypeError, "y_val must be numbers"),
    ):
        with pytest.raises(error, match=message):
            RFMRegressor().fit(x, y, validation=(x, target))
    with pytest.raises(InputError, match=r"labels that the training data do not: \['other'\]"):
        RFMClassifier().fit(*labelled(), validation=(x, ["other"] * 60))


# --- awkward data ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, -1e5])
def test_constant_feature_counts_nothing(value, dtype):
    x, y = (torch.as_tensor(t).to(dtype) for t in arrays())
    wider = torch.cat([x, torch.full((60, 1), value, dtype=dtype)], 1)
    model, plain = RFMRegressor().fit(wider, y), RFMRegressor().fit(x, y)
    assert float(model.feature_importances_[4]) == 0
    torch.testing.assert_close(model.predict(wider), plain.predict(x), rtol=1e-3, atol=1e-3)


def test_nothing_but_constants():
    x, y = np.full((20, 3), 2.0), np.arange(20.0)
    model = RFMRegressor().fit(x, y)
    np.testing.assert_allclose(model.predict(x), 9.5)
    assert not model.feature_importances_.any()
    np.testing.assert_allclose(RFMRegressor().fit(*(arrays(20)[0], np.full(20, 3.0))).predict(arrays(5)[0]), 3.0)


@pytest.mark.parametrize("kernel", ["laplace", "gaussian"])
def test_copies_with_other_labels(kernel):
    x, y = arrays(40)
    y = (y > 0).astype(int)
    x, y = np.concatenate([x, x]), np.concatenate([y, 1 - y])
    with pytest.warns(SingularKernelWarning, match=r"80 points is numerically singular \(rank 40\)"):
        model = RFMClassifier(kernel, ridge=0.0, iterations=1).fit(x, y)
    np.testing.assert_allclose(model.decision_function(x), 0, atol=1e-6)
    assert RFMClassifier(kernel, iterations=1).fit(x, y).history_[0]["rank"] == 80


def test_huge_values_are_refused():
    x, y = arrays()
    with pytest.raises(InputError, match="would overflow torch.float64. Scale the features"):
        RFMRegressor(metric="identity").fit(1e200 * x, y)
    with pytest.raises(InputError, match="would overflow torch.float64. Scale the targets"):
        RFMRegressor().fit(x, 1e200 * y)
    with pytest.raises(InputError, match=r"4 features, the first in column 0, have a variance whose inverse over"):
        RFMRegressor().fit(1e-155 * x, y)


@pytest.mark.parametrize("kernel", ["laplace", "gaussian"])
def test_features_that_are_mostly_zero(kernel):
    rng = np.random.default_rng(0)
    x = np.where(rng.random((400, 6)) < 0.05, rng.normal(size=(400, 6)), 0.0)  # most pairs of rows are equal
    y = x[:, 0] + x[:, 1]
    model = RFMRegressor(kernel).fit(x[:300], y[:300])
    assert min(record["bandwidth"] for record in model.history_) > 1e-3  # not the rounding of a distance
    assert model.score(x[300:], y[300:]) > 0.9
    assert set(np.argsort(model.feature_importances_)[-2:]) == {0, 1}


# --- many samples ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
def test_beyond_the_leaf_size_a_tree(kind):
    x, y = arrays(200)
    y = y if kind is RFMRegressor else (y > 0).astype(int)
    model = kind(max_leaf_size=60).fit(x, y)
    assert len(model.machine_.leaves) == 4 and {record["leaf"] for record in model.history_} == {0, 1, 2, 3}
    assert model.score(x, y) > 0.9 and model.feature_importances_.sum() == pytest.approx(1)
    assert model.agop(x).shape == model.features_.shape == (4, 4)
    with pytest.raises(InputError, match="Validation is not offered"):
        kind(max_leaf_size=60).fit(x, y, validation=(x, y))


@pytest.mark.parametrize("solver", ["cg", "stochastic"])
def test_other_solvers(solver):
    x, y = arrays(200)
    wanted = RFMRegressor(ridge=3.0, iterations=2).fit(x, y).predict(x)
    found = RFMRegressor(ridge=3.0, iterations=2, solver=solver).fit(x, y)
    assert {record["method"] for record in found.history_} == {solver}
    assert float(np.abs(found.predict(x) - wanted).max()) < (1e-5 if solver == "cg" else 0.1)


@pytest.mark.parametrize("kind", BOTH)
def test_agop_is_that_of_the_function(kind):
    x, y = arrays(30)
    model = kind("gaussian", iterations=1).fit(x, y if kind is RFMRegressor else (y > 0).astype(int))
    outputs = model.predict if kind is RFMRegressor else model.decision_function
    h = 1e-5
    slopes = np.stack([(outputs(x + h * e) - outputs(x - h * e)) / (2 * h) for e in np.eye(4)], 1)
    wanted = slopes.T @ slopes / 30
    # Two classes: one output is the negative of the other, and their difference has twice its slope.
    scale = 1.0 if kind is RFMRegressor else 0.5
    np.testing.assert_allclose(model.agop(x, centered=False), scale * wanted, rtol=1e-5, atol=1e-8)


def test_room_names_the_estimators():
    import equilearn.kernels as room

    assert room.RFMRegressor is RFMRegressor
    with pytest.raises(AttributeError, match="no attribute 'RFMRanker'"):
        room.RFMRanker  # noqa: B018
    assert {"RFMRegressor", "RFMClassifier"} <= set(room.__all__)
