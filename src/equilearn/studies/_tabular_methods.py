"""The methods that the study `tabular` compares: each a fit and six candidates for its settings.

A fit takes a candidate, a table with features and targets at unit scale, and either a held-out table by which it
chooses its own number of steps (iterations, trees), or that number. It gives back a prediction and the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from equilearn._check import MissingExtraError, extra
from equilearn.studies._tabular_data import Array, Table

Predict: TypeAlias = Callable[[Array], Array]
Fitted: TypeAlias = tuple[Predict, int | None]
Candidate: TypeAlias = Mapping[str, Any]
Fit: TypeAlias = Callable[[Candidate, Table, Table | None, int | None], Fitted]

ITERATIONS = 6
"""Most times that a recursive feature machine, ours or another's, learns its metric."""
BOOSTED = 150
"""Most trees that are boosted."""
GROWN = 100
"""Trees of a forest."""


@dataclass(frozen=True)
class Method:
    """A fit and its candidates; the first is the default."""

    fit: Fit
    candidates: tuple[Candidate, ...]


# --- kernels ---------------------------------------------------------------------------------


def rfm(candidate: Candidate, train: Table, held: Table | None, steps: int | None) -> Fitted:
    """This library's machine; the best iteration on `held` is kept, 0 among them, and two that are no better end it."""
    from equilearn.kernels import RFMClassifier, RFMRegressor

    made: Any = RFMClassifier if train.classes else RFMRegressor
    patience = None if held is None else 2
    model = made(**candidate, iterations=ITERATIONS if steps is None else steps, patience=patience)
    model.fit(train.x, train.y, validation=None if held is None else (held.x, held.y))
    return model.predict, model.n_iter_


def xrfm(candidate: Candidate, train: Table, held: Table | None, steps: int | None) -> Fitted:
    """The machine of the package xrfm, with the same kinds of candidates as `rfm`; in single precision, its only one.

    Of what it offers that which is faster, or as good: Cholesky instead of its default LU; labels coded about their
    prevalence, as ours are about their mean. Its validation cannot be left out, but ignored.
    """
    package = extra("xrfm", "peers", "The comparison with xRFM")
    fit: dict[str, Any] = {"reg": candidate["ridge"], "solver": "cholesky"}
    if steps is None:
        fit |= {"iters": ITERATIONS, "early_stop_rfm": True, "return_best_params": True}
    else:
        fit |= {"iters": steps, "early_stop_rfm": False, "return_best_params": False}
    settings = {name: value for name, value in candidate.items() if name != "ridge"}
    model = package.xRFM(
        rfm_params={"model": settings, "fit": fit},
        tuning_metric="accuracy" if train.classes else "mse",
        classification_mode="prevalence",
        device="cpu",
        verbose=False,
    )
    seen = train if held is None else held
    with torch.random.fork_rng(devices=[]):  # it draws the points of a median distance from the global generator
        torch.default_generator.manual_seed(0)
        model.fit(*_tensors(train), *_tensors(seen))

    def predict(x: Array) -> Array:
        return np.asarray(model.predict(torch.as_tensor(x, dtype=torch.float32))).reshape(len(x))

    return predict, model.trees[0]["model"].best_iter if steps is None else steps


def _tensors(table: Table) -> tuple[Any, Any]:
    return torch.as_tensor(table.x, dtype=torch.float32), torch.as_tensor(table.y)


def has_xrfm() -> bool:
    """Whether the package xrfm can be imported."""
    try:
        extra("xrfm", "peers", "The comparison with xRFM")
    except MissingExtraError:
        return False
    return True


def kernel_ridge(candidate: Candidate, train: Table, held: Table | None, steps: int | None) -> Fitted:
    """scikit-learn's, without an intercept: targets about their mean, one-hot for classes.

    The length is a multiple of the median distance: Euclidean for `rbf`, of absolute values for `laplacian`.
    """
    from scipy.spatial.distance import pdist
    from sklearn.kernel_ridge import KernelRidge

    kernel, length = candidate["kernel"], candidate["length"]
    few = train.x[np.random.default_rng(0).permutation(len(train.x))[:1000]]
    length *= float(np.median(pdist(few, "euclidean" if kernel == "rbf" else "cityblock")))
    gamma = 1 / (2 * length**2) if kernel == "rbf" else 1 / length
    labels = np.unique(train.y)
    target = (train.y[:, None] == labels).astype(float) if train.classes else train.y
    mean = target.mean(0)
    model = KernelRidge(alpha=candidate["alpha"], kernel=kernel, gamma=gamma).fit(train.x, target - mean)

    def predict(x: Array) -> Array:
        found = model.predict(x) + mean
        return labels[found.argmax(1)] if train.classes else found

    return predict, None


# --- trees -----------------------------------------------------------------------------------


def forest(candidate: Candidate, train: Table, held: Table | None, steps: int | None) -> Fitted:
    """A random forest."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    made: Any = RandomForestClassifier if train.classes else RandomForestRegressor
    return made(n_estimators=GROWN, random_state=0, **candidate).fit(train.x, train.y).predict, None


def boosting(candidate: Candidate, train: Table, held: Table | None, steps: int | None) -> Fitted:
    """Gradient boosting; the best number of trees on `held` is kept."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    made: Any = HistGradientBoostingClassifier if train.classes else HistGradientBoostingRegressor
    most = BOOSTED if steps is None else steps
    model = made(max_iter=most, early_stopping=False, random_state=0, **candidate).fit(train.x, train.y)
    if held is None:
        return model.predict, most
    losses = [held.loss(found) for found in model.staged_predict(held.x)]
    best = int(np.argmin(losses)) + 1
    stages = model.staged_predict
    return lambda x: next(found for n, found in enumerate(stages(x), 1) if n == best), best


_PLAIN = {"kernel": "laplace", "ridge": 1e-3}
_PEER = {"kernel": "l2", "exponent": 1.0, "bandwidth": 10.0, "ridge": 1e-3}
"""The default of xrfm: a fixed length served its Laplace kernel better than the median distance."""
_MEDIAN = {"kernel": "l2", "bandwidth_mode": "adaptive"}
METHODS: dict[str, Method] = {
    "rfm": Method(
        rfm,
        (
            _PLAIN,
            {**_PLAIN, "ridge": 1.0},
            {**_PLAIN, "diagonal": True},
            {"kernel": "generalized", "p": 1.0, "q": 1.0, "diagonal": True, "ridge": 1e-3},
            {"kernel": "gaussian", "ridge": 1e-3},
            {"kernel": "gaussian", "ridge": 0.1},
        ),
    ),
    "xrfm": Method(
        xrfm,
        (
            _PEER,
            {**_PEER, "ridge": 0.2},
            {**_PEER, "diag": True},
            {**_MEDIAN, "kernel": "l1", "exponent": 1.0, "bandwidth": 1.0, "diag": True, "ridge": 1e-3},
            {**_MEDIAN, "exponent": 2.0, "bandwidth": math.sqrt(2), "ridge": 1e-3},
            {**_MEDIAN, "exponent": 2.0, "bandwidth": math.sqrt(2), "ridge": 0.1},
        ),
    ),
    "kernel ridge": Method(
        kernel_ridge,
        (
            {"kernel": "laplacian", "length": 1.0, "alpha": 1e-3},
            {"kernel": "laplacian", "length": 1.0, "alpha": 0.3},
            {"kernel": "rbf", "length": 1.0, "alpha": 1e-3},
            {"kernel": "rbf", "length": 1.0, "alpha": 0.1},
            {"kernel": "rbf", "length": 3.0, "alpha": 1e-3},
            {"kernel": "rbf", "length": 3.0, "alpha": 0.1},
        ),
    ),
    "random forest": Method(
        forest,
        tuple({"max_features": share, "min_samples_leaf": leaf} for leaf in (1, 4) for share in (1 / 3, 0.6, 1.0)),
    ),
    "boosting": Method(
        boosting,
        tuple({"max_leaf_nodes": leaves, "learning_rate": rate} for rate in (0.1, 0.2) for leaves in (16, 31, 6)),
    ),
}
