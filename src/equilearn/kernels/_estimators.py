"""Recursive feature machines as scikit-learn estimators.

The one file of the library whose classes inherit from scikit-learn: it is imported when one of them is first asked
for, not with the room.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.kernels._estimator_inputs import (
    as_given,
    check_tensor,
    check_tensor_targets,
    metric_of,
    misses,
    on_simplex,
    placed,
    refuse_tensor,
    squared_error,
    validation_pair,
    whole_seed,
)
from equilearn.kernels._kernel import Kernel, kernel_of
from equilearn.kernels._metric import symmetric_metric
from equilearn.kernels._rfm import Settings, fit_rfm
from equilearn.kernels._tree import fit_local_machines


class _Base(BaseEstimator):
    """What both estimators share: parameters, validation, the fit itself."""

    def __init__(
        self,
        kernel: Any = "laplace",
        *,
        bandwidth: Any = "auto",
        p: float = 2.0,
        q: float = 1.0,
        iterations: int = 5,
        ridge: float = 1e-3,
        exponent: float = 1.0,
        centered: bool = True,
        normalize: str = "max",
        diagonal: bool = False,
        metric: Any = "variance",
        solver: str = "auto",
        agop_samples: int = 20_000,
        max_leaf_size: int = 50_000,
        patience: int | None = None,
        device: str | None = None,
        random_state: int | None = 0,
    ):
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.p = p
        self.q = q
        self.iterations = iterations
        self.ridge = ridge
        self.exponent = exponent
        self.centered = centered
        self.normalize = normalize
        self.diagonal = diagonal
        self.metric = metric
        self.solver = solver
        self.agop_samples = agop_samples
        self.max_leaf_size = max_leaf_size
        self.patience = patience
        self.device = device
        self.random_state = random_state

    # --- fitting ------------------------------------------------------------------------

    def _fit(self, x: Tensor, y: Tensor, score: Callable[[Tensor], Callable[[Any], float]] | None) -> None:
        """Fit on tensors; `score(offset)` judges a machine on validation data."""
        settings = self._settings()
        positive_int(self.max_leaf_size, "max_leaf_size", 3)
        if self.patience is not None:
            positive_int(self.patience, "patience")
        self.offset_ = y.mean(0)
        arguments = {
            "metric": metric_of(self.metric, x),
            "score": None if score is None else score(self.offset_),
            "patience": self.patience,
        }
        if len(x) > self.max_leaf_size:
            self.machine_ = fit_local_machines(x, y - self.offset_, settings, self.max_leaf_size, **arguments)
        else:
            self.machine_ = fit_rfm(x, y - self.offset_, settings, **arguments)
        self.history_ = list(self.machine_.history)
        self.n_iter_ = self.machine_.best
        self.features_ = as_given(symmetric_metric(self.machine_.metric), self._as_tensors)

    def _settings(self) -> Settings:
        kernel, bandwidth = self.kernel, self.bandwidth
        if isinstance(bandwidth, str) and bandwidth == "auto":
            bandwidth = "median" if isinstance(kernel, str) else None
        named = float(bandwidth) if isinstance(bandwidth, Real) else bandwidth
        named = None if isinstance(named, str) else named
        if isinstance(kernel, str):
            kernel = kernel_of(kernel, None if kernel == "quadratic" else named, self.p, self.q)
        elif isinstance(kernel, Kernel):
            kernel = kernel_of(kernel, named)
        return Settings(
            kernel=kernel,
            bandwidth=bandwidth if isinstance(bandwidth, str) else None,
            iterations=self.iterations,
            ridge=self.ridge,
            exponent=self.exponent,
            centered=self.centered,
            normalize=self.normalize,
            diagonal=self.diagonal,
            solver=self.solver,
            agop_samples=self.agop_samples,
            seed=whole_seed(self.random_state),
        ).checked()

    # --- what goes in and out -------------------------------------------------------------

    def _inputs(self, x: Any, *, reset: bool) -> Tensor:
        """Inputs as a float tensor: a tensor stays where it is, anything else is checked by scikit-learn."""
        if isinstance(x, Tensor):
            x = check_tensor(x)
            if reset:
                vars(self).pop("feature_names_in_", None)
                self.n_features_in_ = x.shape[1]
            require(
                x.shape[1] == self.n_features_in_,
                f"X has {x.shape[1]} features, but {type(self).__name__} was fitted with {self.n_features_in_}.",
            )
            return x if reset else self._like_fitted(x)
        array = validate_data(
            self, x, reset=reset, dtype=(np.float64, np.float32), ensure_min_samples=2 if reset else 1
        )
        x = placed(array, self.device)
        return x if reset else self._like_fitted(x)

    def _like_fitted(self, x: Tensor) -> Tensor:
        """Inputs in the precision of the fit; they must be where it was made."""
        require(
            x.device == self._variance.device,
            f"X is on {x.device}, but the machine was fitted on {self._variance.device}. Move X there first.",
        )
        return x.to(self._variance.dtype)

    def _outputs(self, x: Any) -> Tensor:
        check_is_fitted(self, "machine_")
        return self.machine_(self._inputs(x, reset=False)) + self.offset_

    @property
    def feature_importances_(self) -> Any:
        """The diagonal of the learned metric times the variance of each feature, as shares of 1."""
        check_is_fitted(self, "machine_")
        weights = symmetric_metric(self.machine_.metric).diagonal() * self._variance
        total = weights.sum()
        return as_given(weights / total if float(total) > 0 else weights, self._as_tensors)

    def agop(self, X: Any, *, centered: bool = True) -> Any:
        """The average gradient outer product of the fitted function over the rows of `X`, `(D, D)`.

        Raises:
            NotFittedError: before `fit`.
            InputError: for another number of features, NaN or infinities.
        """
        check_is_fitted(self, "machine_")
        inputs = self._inputs(X, reset=False)
        return as_given(symmetric_metric(self.machine_.agop(inputs, centered=centered)), isinstance(X, Tensor))

    def _remember(self, x: Tensor, given: Any) -> None:
        self._as_tensors = isinstance(given, Tensor)
        self._variance = x.var(0, correction=0)

    def _validation(self, validation: Any) -> tuple[Tensor, Any] | None:
        if validation is None:
            require(self.patience is None, "patience= needs validation data: fit(X, y, validation=(X_val, y_val)).")
            return None
        x, y = validation_pair(validation)
        return self._inputs(x, reset=False), y


class RFMRegressor(RegressorMixin, _Base):
    """Kernel regression with learned features: a recursive feature machine.

    Fits a kernel machine, takes the average outer product of its gradients as the next metric of the kernel, and
    repeats. What it learned of the features stands in `features_` and `feature_importances_`.

    Args:
        kernel: `"laplace"`, `"gaussian"`, `"generalized"` (`exp(-|x|_p^q / L^q)`) or `"quadratic"`, or a `Kernel`.
        bandwidth: the length L; `"median"` for the median distance between points, measured anew under each metric
            (the kernel's own where that is 0, and where much of the data is copies a fixed length serves better);
            `"auto"` for the median, or for the kernel's own where a `Kernel` is given.
        p, q: of the generalised kernel, `0 < q <= p <= 2`.
        iterations: how many times the metric is learned; 0 is plain kernel ridge regression.
        ridge: added to the diagonal of the Gram matrix, whose own entries are 1 but for the quadratic kernel.
        exponent: s in `M = G^s`, the exponent of the *metric*; 1/2 in the published studies of modular arithmetic.
        centered: whether the mean gradient is subtracted.
        normalize: `"max"`, `"trace"` or `"none"`: the scale of M.
        diagonal: learn one weight a feature instead of a full matrix; for many features.
        metric: where M starts: `"variance"` (features at unit scale), `"identity"`, or a matrix.
        solver: `"cholesky"` (exact), `"cg"` (matrix-free), `"stochastic"` (for very many points), or `"auto"`.
        agop_samples: most points over which gradients are averaged.
        max_leaf_size: beyond so many samples they are parted by a tree, one machine a leaf.
        patience: with validation data, stop after so many iterations that are no better.
        device: where to compute when `X` is no tensor, such as `"cuda"`. A tensor stays where it is.
        random_state: of the subsets that are drawn.

    Attributes:
        features_: M, `(D, D)`.
        feature_importances_: shares of the features, `(D,)`.
        history_: one record an iteration: solver, rank, condition number, bandwidth, seconds, validation score.
        n_iter_: the iteration that was kept.
        machine_: the fitted `RFM`, a function of tensors.

    Raises:
        ValueError: sparse data, NaN or infinities, fewer than two samples, parameters out of range.

    Source: A. Radhakrishnan et al., Mechanism for feature learning in neural networks and backpropagation-free
    machine learning models, Science 383 (2024); the tree: D. Beaglehole et al., xRFM (2025).

    Cost: an iteration N^3 / 3 (Cholesky) + O(N^2 D C); see `fit_rfm`.

    Example:
        >>> import numpy as np
        >>> from equilearn.kernels import RFMRegressor
        >>> X = np.random.default_rng(0).normal(size=(200, 10))
        >>> model = RFMRegressor().fit(X, X[:, 0] * X[:, 1])
        >>> sorted(np.argsort(model.feature_importances_)[-2:].tolist())
        [0, 1]
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, validation: tuple[Any, Any] | None = None) -> RFMRegressor:
        """Fit to inputs `(N, D)` and targets `(N,)` or `(N, C)`.

        Args:
            X, y: arrays, or tensors on one device.
            validation: `(X_val, y_val)`: the iteration with the smallest squared error there is kept.
        """
        if isinstance(X, Tensor):
            x, target = self._inputs(X, reset=True), check_tensor_targets(y, X)
        else:
            refuse_tensor(y)
            x_array, y_array = validate_data(
                self, X, y, dtype=(np.float64, np.float32), multi_output=True, y_numeric=True, ensure_min_samples=2
            )
            x, target = placed(x_array, self.device), placed(y_array, self.device)
        self._one_column = target.ndim == 1
        target = target.to(x.dtype).reshape(len(target), -1)
        self._remember(x, X)
        held = self._validation(validation)
        self._fit(x, target, None if held is None else squared_error(*held, target))
        return self

    def predict(self, X: Any) -> Any:
        """Predictions `(B,)` or `(B, C)`, as an array, or as a tensor where `X` is one."""
        found = self._outputs(X)
        return as_given(found[:, 0] if self._one_column else found, isinstance(X, Tensor))


class RFMClassifier(ClassifierMixin, _Base):
    """Classification with learned features: a recursive feature machine on one-hot targets.

    Parameters and attributes are those of `RFMRegressor`; besides:

    Attributes:
        classes_: the labels, in the order of the columns.

    Example:
        >>> import numpy as np
        >>> from equilearn.kernels import RFMClassifier
        >>> X = np.random.default_rng(0).normal(size=(300, 10))
        >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "other")
        >>> model = RFMClassifier().fit(X[:200], y[:200])
        >>> bool(model.score(X[200:], y[200:]) > 0.8)
        True
    """

    def fit(self, X: Any, y: Any, validation: tuple[Any, Any] | None = None) -> RFMClassifier:
        """Fit to inputs `(N, D)` and labels `(N,)`, numbers or strings.

        Args:
            X, y: arrays, or tensors on one device.
            validation: `(X_val, y_val)`: the iteration with the fewest errors there is kept.
        """
        if isinstance(X, Tensor):
            x, labels = self._inputs(X, reset=True), check_tensor_targets(y, X, one_column=True).cpu().numpy()
        else:
            refuse_tensor(y)
            x_array, labels = validate_data(self, X, y, dtype=(np.float64, np.float32), ensure_min_samples=2)
            x = placed(x_array, self.device)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        require(
            len(self.classes_) >= 2,
            f"Classifier can't train when only one class is present: all {len(labels)} labels are "
            f"{self.classes_[0]}. Give samples of at least two.",
        )
        self._remember(x, X)
        one_hot = torch.eye(len(self.classes_), dtype=x.dtype, device=x.device)
        held = self._validation(validation)
        score = None if held is None else misses(held[0], self._index_of(held[1]).to(x.device))
        self._fit(x, one_hot[torch.as_tensor(index, device=x.device)], score)
        return self

    def _index_of(self, labels: Any) -> Tensor:
        labels = (labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)).reshape(-1)
        unknown = sorted(set(np.unique(labels).tolist()) - set(self.classes_.tolist()), key=str)
        require(not unknown, f"validation has labels that the training data do not: {unknown[:5]}.")
        return torch.as_tensor(np.searchsorted(self.classes_, labels))

    def decision_function(self, X: Any) -> Any:
        """The outputs `(B, classes)`; for two classes the second less the first, `(B,)`."""
        scores = self._outputs(X)
        return as_given(scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores, isinstance(X, Tensor))

    def predict_proba(self, X: Any) -> Any:
        """The outputs brought to the nearest point of the simplex, `(B, classes)`. Not calibrated."""
        return as_given(on_simplex(self._outputs(X)), isinstance(X, Tensor))

    def predict(self, X: Any) -> Any:
        """Labels `(B,)`: the class of the largest output."""
        found = self._outputs(X).argmax(1)
        if isinstance(X, Tensor) and self.classes_.dtype.kind in "biuf":
            return torch.as_tensor(self.classes_, device=X.device)[found]
        return self.classes_[found.cpu().numpy()]
