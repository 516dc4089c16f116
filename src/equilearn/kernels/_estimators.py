"""Recursive feature machines as scikit-learn estimators.

The one file of the library whose classes inherit from scikit-learn: it is imported when one of them is first asked
for, not with the room.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from equilearn._check import InputError, finite, positive_int, require
from equilearn.kernels._kernel import kernel_of
from equilearn.kernels._metric import symmetric_metric
from equilearn.kernels._rfm import Settings, fit_rfm
from equilearn.kernels._tree import fit_local_machines

INITIAL = ("identity", "variance")


class _Base(BaseEstimator):
    """What both estimators share: parameters, validation, the fit itself."""

    def __init__(
        self,
        kernel: Any = "laplace",
        *,
        bandwidth: Any = "median",
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

    def _fit(self, x: Tensor, y: Tensor, validation: tuple[Tensor, Tensor] | None, misses: bool) -> None:
        """Fit on tensors; `misses`: whether validation counts wrong classes or squares of errors."""
        settings = self._settings()
        positive_int(self.max_leaf_size, "max_leaf_size", 2)
        if self.patience is not None:
            positive_int(self.patience, "patience")
        self.offset_ = y.mean(0)
        score = None
        if validation is not None:
            held, target = validation
            score = _misses(held, target, self.offset_) if misses else _squared_error(held, target - self.offset_)
        arguments = {"metric": self._initial_metric(x), "score": score, "patience": self.patience}
        if len(x) > self.max_leaf_size:
            self.machine_ = fit_local_machines(x, y - self.offset_, settings, self.max_leaf_size, **arguments)
        else:
            self.machine_ = fit_rfm(x, y - self.offset_, settings, **arguments)
        self.history_ = list(self.machine_.history)
        self.n_iter_ = self.machine_.best
        self.features_ = _like(symmetric_metric(self.machine_.metric), self._as_tensors)

    def _settings(self) -> Settings:
        kernel, bandwidth = self.kernel, self.bandwidth
        if isinstance(kernel, str):
            named = None if isinstance(bandwidth, str) or bandwidth is None else float(bandwidth)
            kernel = kernel_of(kernel, None if kernel == "quadratic" else named, self.p, self.q)
        seed = 0 if self.random_state is None else self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = int(seed.randint(2**31 - 1))
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
            seed=int(seed),
        ).checked()

    def _initial_metric(self, x: Tensor) -> Tensor | None:
        if not isinstance(self.metric, str):
            return torch.as_tensor(np.asarray(self.metric) if not isinstance(self.metric, Tensor) else self.metric)
        if self.metric == "identity":
            return None
        require(
            self.metric == "variance",
            f"metric must be 'identity', 'variance' (features at unit scale) or a matrix; got {self.metric!r}.",
        )
        variance = x.var(0)
        # A constant feature tells nothing: no weight, rather than an infinite one.
        constant = variance <= (8 * torch.finfo(x.dtype).eps * x.abs().amax(0)) ** 2
        return torch.where(constant, 0.0, 1 / variance.masked_fill(constant, 1.0))

    # --- what goes in and out -------------------------------------------------------------

    def _inputs(self, x: Any, *, reset: bool) -> Tensor:
        """Inputs as a float tensor: a tensor stays where it is, anything else is checked by scikit-learn."""
        if isinstance(x, Tensor):
            x = _checked_tensor(x)
            if reset:
                self.n_features_in_ = x.shape[1]
            require(
                x.shape[1] == self.n_features_in_,
                f"X has {x.shape[1]} features, but {type(self).__name__} was fitted with {self.n_features_in_}.",
            )
            return x
        array = validate_data(
            self, x, reset=reset, dtype=(np.float64, np.float32), ensure_min_samples=2 if reset else 1
        )
        return self._placed(array)

    def _placed(self, array: Any) -> Tensor:
        array = np.require(array, requirements=["C", "W"])  # a tensor must not share memory that is read-only
        return torch.as_tensor(array).to(self.device or "cpu")

    def _outputs(self, x: Any) -> Tensor:
        check_is_fitted(self, "machine_")
        inputs = self._inputs(x, reset=False)
        self._as_tensors = isinstance(x, Tensor)
        require(
            inputs.device == self.offset_.device,
            f"X is on {inputs.device}, but the machine was fitted on {self.offset_.device}. Move X there first.",
        )
        return self.machine_(inputs.to(self.offset_.dtype)) + self.offset_

    @property
    def feature_importances_(self) -> Any:
        """The diagonal of the learned metric times the variance of each feature, as shares of 1."""
        if not hasattr(self, "features_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet. Call fit first.")
        weights = torch.as_tensor(self.features_).diagonal() * self._variance
        total = weights.sum()
        return _like(weights / total if float(total) > 0 else weights, self._as_tensors)

    def agop(self, X: Any, *, centered: bool = True) -> Any:
        """The average gradient outer product of the fitted function over the rows of `X`, `(D, D)`.

        Raises:
            NotFittedError: before `fit`.
            InputError: for another number of features, NaN or infinities.
        """
        check_is_fitted(self, "machine_")
        inputs = self._inputs(X, reset=False).to(self.offset_.dtype)
        return _like(symmetric_metric(self.machine_.agop(inputs, centered=centered)), isinstance(X, Tensor))

    def _remember(self, x: Tensor, given: Any) -> None:
        self._as_tensors = isinstance(given, Tensor)
        self._variance = x.var(0) if len(x) > 1 else torch.zeros_like(x[0])

    def _validation(self, validation: Any) -> tuple[Any, Any] | None:
        if validation is None:
            require(self.patience is None, "patience= needs validation data: fit(X, y, validation=(X_val, y_val)).")
            return None
        require(
            isinstance(validation, tuple | list) and len(validation) == 2,
            f"validation must be a pair (X_val, y_val), got {type(validation).__name__}.",
        )
        return validation[0], validation[1]


class RFMRegressor(RegressorMixin, _Base):
    """Kernel regression with learned features: a recursive feature machine.

    Fits a kernel machine, takes the average outer product of its gradients as the next metric of the kernel, and
    repeats. What it learned of the features stands in `features_` and `feature_importances_`.

    Args:
        kernel: `"laplace"`, `"gaussian"`, `"generalized"` (`exp(-|x|_p^q / L^q)`) or `"quadratic"`, or a `Kernel`.
        bandwidth: the length L; `"median"` for the median distance between points, measured anew under each metric.
        p, q: of the generalised kernel, `0 < q <= p <= 2`.
        iterations: how many times the metric is learned; 0 is plain kernel ridge regression.
        ridge: added to the diagonal of the Gram matrix, whose own entries are 1.
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
        self._as_tensors = isinstance(X, Tensor)
        if self._as_tensors:
            x, target = self._inputs(X, reset=True), _tensor_targets(y, X)
        else:
            _refuse_tensor(y)
            x_array, y_array = validate_data(
                self, X, y, dtype=(np.float64, np.float32), multi_output=True, y_numeric=True, ensure_min_samples=2
            )
            x, target = self._placed(x_array), self._placed(y_array)
        self._one_column = target.ndim == 1
        target = target.to(x.dtype).reshape(len(target), -1)
        self._remember(x, X)
        held = self._validation(validation)
        if held is not None:
            y_val = torch.as_tensor(np.asarray(held[1]) if not isinstance(held[1], Tensor) else held[1])
            y_val = y_val.to(x).reshape(len(y_val), -1)
            held = (self._inputs(held[0], reset=False).to(x), y_val)
        self._fit(x, target, held, misses=False)
        return self

    def predict(self, X: Any) -> Any:
        """Predictions `(B,)` or `(B, C)`, as an array, or as a tensor where `X` is one."""
        found = self._outputs(X)
        return _like(found[:, 0] if self._one_column else found, isinstance(X, Tensor))


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
        self._as_tensors = isinstance(X, Tensor)
        if self._as_tensors:
            x, labels = self._inputs(X, reset=True), _tensor_targets(y, X).cpu().numpy()
        else:
            _refuse_tensor(y)
            x_array, labels = validate_data(self, X, y, dtype=(np.float64, np.float32), ensure_min_samples=2)
            x = self._placed(x_array)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        require(
            len(self.classes_) >= 2,
            f"Classifier can't train when only one class is present: all {len(labels)} labels are "
            f"{self.classes_[0]!r}. Give samples of at least two.",
        )
        self._remember(x, X)
        one_hot = torch.eye(len(self.classes_), dtype=x.dtype, device=x.device)
        held = self._validation(validation)
        if held is not None:
            held = (self._inputs(held[0], reset=False).to(x), self._index_of(held[1]).to(x.device))
        self._fit(x, one_hot[torch.as_tensor(index, device=x.device)], held, misses=True)
        return self

    def _index_of(self, labels: Any) -> Tensor:
        labels = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
        unknown = sorted(set(np.unique(labels).tolist()) - set(self.classes_.tolist()), key=str)
        require(not unknown, f"validation has labels that the training data do not: {unknown[:5]}.")
        return torch.as_tensor(np.searchsorted(self.classes_, labels))

    def decision_function(self, X: Any) -> Any:
        """The outputs `(B, classes)`; for two classes the second less the first, `(B,)`."""
        scores = self._outputs(X)
        return _like(scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores, isinstance(X, Tensor))

    def predict_proba(self, X: Any) -> Any:
        """The outputs brought to the nearest point of the simplex, `(B, classes)`. Not calibrated."""
        return _like(_on_simplex(self._outputs(X)), isinstance(X, Tensor))

    def predict(self, X: Any) -> Any:
        """Labels `(B,)`: the class of the largest output."""
        found = self._outputs(X).argmax(1)
        if isinstance(X, Tensor) and np.issubdtype(self.classes_.dtype, np.number):
            return torch.as_tensor(self.classes_, device=X.device)[found]
        return self.classes_[found.cpu().numpy()]


# --- parts ----------------------------------------------------------------------------------


def _checked_tensor(x: Tensor) -> Tensor:
    require(x.ndim == 2 and x.shape[1] > 0, f"X must be (samples, features), got shape {tuple(x.shape)}.")
    require(len(x) > 0, "X is empty: at least one sample is needed.")
    require(
        x.dtype in (torch.float32, torch.float64),
        f"X has dtype {x.dtype}, too coarse or no number for a kernel solve. Convert with X.float() or X.double().",
    )
    return finite(x.detach(), "X")


def _tensor_targets(y: Any, x: Tensor) -> Tensor:
    if not isinstance(y, Tensor):
        raise InputError(
            f"X is a tensor on {x.device}, y a {type(y).__name__}. Pass both as tensors on one device, or both as "
            "arrays."
        )
    require(y.device == x.device, f"X is on {x.device}, y on {y.device}. Move both to one device.")
    require(len(y) == len(x), f"X holds {len(x)} samples, y {len(y)}.")
    return finite(y.detach(), "y")


def _refuse_tensor(y: Any) -> None:
    if isinstance(y, Tensor):
        raise InputError(f"X is no tensor, but y is one on {y.device}. Pass both as tensors, or both as arrays.")


def _squared_error(x: Tensor, y: Tensor) -> Any:
    return lambda machine: float((machine(x) - y).square().mean())


def _misses(x: Tensor, index: Tensor, offset: Tensor) -> Any:
    return lambda machine: float(((machine(x) + offset).argmax(1) != index).double().mean())


def _like(values: Tensor, as_tensor: bool) -> Any:
    return values if as_tensor else values.cpu().numpy()


def _on_simplex(scores: Tensor) -> Tensor:
    """The nearest point with entries >= 0 that sum to 1. O(C log C) a row (Held et al. 1974)."""
    descending = scores.sort(1, descending=True).values
    rank = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    shift = (descending.cumsum(1) - 1) / rank
    last = (descending > shift).sum(1, keepdim=True) - 1
    return (scores - shift.gather(1, last)).clamp_min(0)
