"""Recursive feature machines: kernel regression whose metric is learned from its own gradients."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, finite, one_of, positive_int, require
from equilearn.kernels._agop import kernel_agop
from equilearn.kernels._kernel import Generalized, Kernel, kernel_of, squared_distances
from equilearn.kernels._metric import NORMALIZATIONS, normalized, psd_power, times_metric
from equilearn.kernels._solve import SingularKernelWarning, SolveInfo
from equilearn.kernels._solvers import SOLVERS, Solver, solver_of


@dataclass(frozen=True)
class Settings:
    """How a recursive feature machine is fitted.

    Args:
        kernel: `"gaussian"`, `"laplace"`, `"generalized"`, `"quadratic"` or a `Kernel`.
        bandwidth: of the kernel; None for its default, `"median"` for the median distance under the current
            metric, measured anew at each iteration (its default where half of the points or more are copies).
        iterations: how many times the metric is learned; 0 is the plain kernel machine.
        ridge: added to the diagonal of the Gram matrix.
        exponent: s in `M = G^s`: the exponent of the *metric*. (A map `x -> G^(1/2) x` is the metric `G^1`.)
        centered: whether each output's mean gradient is subtracted before the outer product.
        normalize: `"none"`, `"max"` (largest entry of M is 1) or `"trace"` (mean eigenvalue is 1).
        diagonal: learn a weight a feature, instead of a full matrix.
        solver: `"auto"`, `"cholesky"`, `"cg"` or `"stochastic"`.
        agop_samples: points over which gradients are averaged; all where there are fewer.
        seed: of subsets, where one is drawn.
    """

    kernel: str | Kernel = "gaussian"
    bandwidth: float | str | None = None
    iterations: int = 5
    ridge: float = 0.0
    exponent: float = 0.5
    centered: bool = True
    normalize: str = "none"
    diagonal: bool = False
    solver: str = "auto"
    agop_samples: int = 20_000
    seed: int = 0

    def checked(self) -> Settings:
        """These settings, or an `InputError` that names the first that cannot be used."""
        if isinstance(self.bandwidth, str):
            one_of(self.bandwidth, ("median",), "bandwidth")
        kernel_of(self.kernel, None if isinstance(self.bandwidth, str) else self.bandwidth)
        positive_int(self.iterations, "iterations", 0)
        positive_int(self.agop_samples, "agop_samples")
        positive_int(self.seed, "seed", 0)
        require(
            isinstance(self.ridge, Real) and 0 <= self.ridge < float("inf"),
            f"ridge must be a number >= 0, got {self.ridge!r}.",
        )
        require(
            isinstance(self.exponent, Real) and 0 < self.exponent < float("inf"),
            f"exponent must be a number > 0, got {self.exponent!r}. 0.5 is the published one.",
        )
        for name in ("centered", "diagonal"):
            value = getattr(self, name)
            require(value in (True, False), f"{name} must be True or False, got {value!r}.")
        one_of(self.normalize, NORMALIZATIONS, "normalize")
        one_of(self.solver, SOLVERS, "solver")
        return self


@dataclass(frozen=True, repr=False)
class RFM:
    """A fitted recursive feature machine: `f(x) = k_M(x, centers) dual`.

    Args:
        kernel: with the bandwidth of the last iteration.
        centers: the training inputs, `(N, D)`.
        dual: `(N, C)`.
        metric: M, the learned features, `(D, D)` or `(D,)`.
        history: one record an iteration: `iteration`, `method`, `rank`, `size`, `condition`, `residual`,
            `bandwidth`, `seconds`, and what the observer returned.
        best: the iteration that was kept; the last one where nothing was validated.
    """

    kernel: Kernel
    centers: Float[Tensor, "N D"]
    dual: Float[Tensor, "N C"]
    metric: Tensor
    history: tuple[Mapping[str, Any], ...] = field(default=())
    best: int = 0

    def __call__(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Outputs for the rows of `x`. O(B N (D + C)), memory of a tile; no gradients, for which see `agop`."""
        x = self._checked(x)
        return self.kernel.product(x, self.centers, self.metric, self.dual)

    def agop(self, x: Float[Tensor, "B D"] | None = None, *, centered: bool = True) -> Tensor:
        """The average gradient outer product over `x` (default: over the training inputs)."""
        own = x is None or x is self.centers
        points = self.centers if x is None else self._checked(x)
        return kernel_agop(
            self.kernel, points, None if own else self.centers, self.dual, self.metric, centered=centered
        )

    def _checked(self, x: Tensor) -> Tensor:
        width, like = self.centers.shape[1], self.centers
        require(
            x.ndim == 2 and x.shape[1] == width and x.dtype == like.dtype and x.device == like.device,
            f"The machine takes (samples, {width}) of {like.dtype} on {like.device}, got {tuple(x.shape)} of {x.dtype} "
            f"on {x.device}.",
        )
        return x.detach()

    def __repr__(self) -> str:
        points, width = self.centers.shape
        size = f"{points} points, {width} features, {self.dual.shape[1]} outputs"
        return f"RFM({self.kernel}: {size}, iteration {self.best})"


Observer = Callable[[int, RFM], Mapping[str, Any] | None]
"""Called after each solve with the iteration and the machine so far; what it returns joins the record."""


def fit_rfm(
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N C"],
    settings: Settings | None = None,
    *,
    metric: Tensor | None = None,
    observe: Observer | None = None,
    score: Callable[[RFM], float] | None = None,
    patience: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    **given: Any,
) -> RFM:
    """Fit a recursive feature machine: solve, take gradients, learn the metric, and again.

    At iteration t: `dual = (K_M + ridge I)^-1 Y`; then `G = AGOP` of the fit over the training points, and
    `M <- G^s`, normalised. Iteration 0 is the plain kernel machine. Deterministic.

    Args:
        x: inputs, float32 or float64, on any device.
        y: targets of the same type, on the same device; one-hot for classes.
        settings: how; default `Settings()`.
        metric: M_0, positive semidefinite `(D, D)` or `(D,)`; default the identity.
        observe: called after each solve; see `Observer`.
        score: of a machine on validation data, lower is better: the best iteration is kept.
        patience: stop after so many iterations without a better score; default never. Needs `score`.
        progress: called as `progress(done, total, seconds_left)`.
        given: settings by name, in place of those of `settings`.

    Raises:
        InputError: fewer than 2 points, shapes, types or devices that do not fit, NaN or infinities, a metric that
            is not positive semidefinite, settings out of range.

    Warns:
        SingularKernelWarning: once, where a Gram matrix was numerically singular, or so nearly that the ridge was
            raised or an iterative solver got nowhere; `history` has every rank, ridge and residual.

    Cost: each iteration O(N^2 D) for the Gram matrix, N^3 / 3 for Cholesky, O(min(N^3, N^2 C D)) for the AGOP (less for
    one-hot rows and for the quadratic kernel), O(D^3) for the root; memory N^2.

    Source: A. Radhakrishnan et al., Science 383 (2024); closed forms of the AGOP: this library.

    Example:
        >>> x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> machine = fit_rfm(x, x[:, :1] * x[:, 1:2], iterations=3, bandwidth=4.0, ridge=1e-3)
        >>> machine.metric.diagonal()[:2].min() > 4 * machine.metric.diagonal()[2:].max()
        tensor(True)
    """
    settings = replace(settings or Settings(), **_known(given)).checked()
    x, y = check_data(x, y)
    if patience is not None:
        positive_int(patience, "patience")
        require(score is not None, "patience needs score: a function of the machine, lower is better.")
    metric = _start(metric, x, settings.diagonal)
    run = _Run(x, y, settings, solver_of(settings.solver, len(x)))
    return run.fit(metric, observe, score, patience, progress)


UNSOLVED = {"cg": 0.05, "stochastic": 0.5}
"""Relative residual from which on an iterative solution is no fit; a few passes of the stochastic one leave some."""


class _Run:
    """One fit: what stays the same over its iterations."""

    def __init__(self, x: Tensor, y: Tensor, settings: Settings, solver: Solver):
        self.x, self.y, self.settings, self.solver = x, y, settings, solver
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.warned = False

    def fit(
        self,
        metric: Tensor,
        observe: Observer | None,
        score: Callable[[RFM], float] | None,
        patience: int | None,
        progress: Callable[[int, int, float], None] | None,
    ) -> RFM:
        total = self.settings.iterations + 1
        history: list[dict[str, Any]] = []
        best: tuple[float, RFM | None, int] = (float("inf"), None, 0)
        machine: RFM | None = None
        started = time.perf_counter()
        for iteration in range(total):
            machine, record = self._solve(iteration, metric, None if machine is None else machine.dual)
            record |= dict(observe(iteration, machine) or {}) if observe else {}
            history.append(record)
            if score is not None:
                record["score"] = float(score(machine))
                if record["score"] < best[0] or best[1] is None:
                    best = (record["score"], machine, iteration)
            if progress is not None:
                done = iteration + 1
                progress(done, total, (time.perf_counter() - started) / done * (total - done))
            stale = score is not None and patience is not None and iteration - best[2] >= patience
            if stale or iteration + 1 == total:
                break
            metric = self._next(machine)
        kept = machine if best[1] is None else best[1]
        return replace(kept, history=tuple(history), best=kept.best)  # type: ignore[type-var]

    def _solve(self, iteration: int, metric: Tensor, before: Tensor | None) -> tuple[RFM, dict[str, Any]]:
        started = time.perf_counter()
        kernel = self._kernel(metric)
        dual, info = self.solver(kernel, self.x, self.y, metric, self.settings.ridge, before, self.generator)
        self._warn(info)
        machine = RFM(kernel, self.x, dual, metric, best=iteration)
        record = {"iteration": iteration, **info.as_dict(), "bandwidth": kernel.bandwidth}
        return machine, {**record, "seconds": time.perf_counter() - started}

    def _kernel(self, metric: Tensor) -> Kernel:
        chosen = self.settings.bandwidth
        if chosen != "median":
            return kernel_of(self.settings.kernel, None if chosen is None else float(chosen))
        kernel = kernel_of(self.settings.kernel)
        if kernel.bandwidth is None:
            return kernel
        norm = kernel.p if isinstance(kernel, Generalized) else 2.0
        length = median_distance(self.x, metric, self.settings.seed, norm=norm)
        return kernel.with_bandwidth(length) if length > 0 else kernel

    def _next(self, machine: RFM) -> Tensor:
        most = self.settings.agop_samples
        points = None
        if len(self.x) > most:
            chosen = torch.randperm(len(self.x), generator=self.generator)[:most].sort().values
            points = self.x[chosen.to(self.x.device)]
        return normalized(
            psd_power(machine.agop(points, centered=self.settings.centered), self.settings.exponent),
            self.settings.normalize,
        )

    def _warn(self, info: SolveInfo) -> None:
        said = _what_is_wrong(info, self.settings.ridge)
        if said and not self.warned:
            self.warned = True
            warnings.warn(said, SingularKernelWarning, stacklevel=5)


def _what_is_wrong(info: SolveInfo, ridge: float) -> str | None:
    """What a user must know of a solution; None where it is what was asked for."""
    if info.residual is not None and not info.residual < UNSOLVED.get(info.method, 0.05):
        return (
            f"The solver {info.method!r} stopped at a relative residual of {info.residual:.2g} after "
            f"{info.iterations} iterations: the Gram matrix of {info.size} points is too near singular for it. "
            "Raise the ridge, or take another solver."
        )
    if info.ridge is not None and info.ridge > ridge:
        return (
            f"The Gram matrix of {info.size} points is numerically singular with the ridge {ridge:g}: it was raised to "
            f"{info.ridge:.2g}. history has the ridge of every iteration."
        )
    if info.is_singular:
        return (
            f"The Gram matrix of {info.size} points is numerically singular (rank {info.rank}): it was solved on "
            "its range, with the least norm. Points that the learned features cannot tell apart share their "
            "prediction. A ridge > 0 makes the problem well posed; history has the rank of every iteration."
        )
    return None


def median_distance(
    x: Float[Tensor, "N D"], metric: Tensor, seed: int = 0, most: int = 400, norm: float = 2.0
) -> float:
    """The median distance between points under a metric, over at most `most` of them; 0 where at least half of the
    pairs are copies, rounding aside. O(most^2 D).

    Args:
        norm: p of the distance `|M^(1/2) (x - z)|_p`, that of a generalised kernel.
    """
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:most].to(x.device)
    if norm != 2:
        apart = torch.nn.functional.pdist(times_metric(x[chosen], psd_power(metric, 0.5)), p=norm)
        return float(apart.median()) if len(apart) else 0.0
    found = x.new_empty(len(chosen), len(chosen))
    for _ in squared_distances(x[chosen], None, metric, found, exact_zeros=True):
        pass
    i, j = torch.triu_indices(len(chosen), len(chosen), 1, device=x.device)
    return float(found[i, j].median().sqrt()) if len(i) else 0.0


# --- what users pass --------------------------------------------------------------------------


def _known(given: Mapping[str, Any]) -> Mapping[str, Any]:
    names = list(Settings.__dataclass_fields__)
    for name in given:
        one_of(name, names, "setting of a recursive feature machine")
    return given


def check_data(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a kernel machine, without gradients; an `InputError` where they are none."""
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise InputTypeError(f"{name} must be a tensor, got {type(value).__name__}. Convert with torch.as_tensor.")
        require(value.ndim == 2, f"{name} must have two axes, samples first; got shape {tuple(value.shape)}.")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputTypeError(
            f"x has dtype {x.dtype}, too coarse or no number for a kernel solve. Convert with x.double() or x.float()."
        )
    require(
        x.device == y.device,
        f"x is on {x.device}, y on {y.device}. Move both to one device, for example y.to({str(x.device)!r}).",
    )
    if y.dtype != x.dtype:
        raise InputTypeError(f"x has dtype {x.dtype}, y {y.dtype}. Convert with y.to(x.dtype).")
    require(len(x) == len(y), f"x holds {len(x)} samples, y {len(y)}. They must be as many.")
    require(len(x) >= 2, f"A kernel machine needs at least 2 samples, got {len(x)}.")
    require(x.shape[1] > 0 and y.shape[1] > 0, f"No features or no targets: {tuple(x.shape)}, {tuple(y.shape)}.")
    x, y = finite(x.detach(), "x"), finite(y.detach(), "y")
    for name, value, what in (("x", x, "features"), ("y", y, "targets")):
        largest, limit = float(value.abs().max()), 1e-3 * torch.finfo(x.dtype).max ** 0.5
        require(
            largest < limit, f"{name} reaches {largest:.2g}; its squares would overflow {x.dtype}. Scale the {what}."
        )
    return x, y


def _start(metric: Tensor | None, x: Tensor, diagonal: bool) -> Tensor:
    width = x.shape[1]
    if metric is None:
        return x.new_ones(width) if diagonal else torch.eye(width, dtype=x.dtype, device=x.device)
    require(
        isinstance(metric, Tensor) and tuple(metric.shape) in ((width,), (width, width)),
        f"metric must be a tensor of shape ({width}, {width}) or ({width},), got "
        f"{tuple(metric.shape) if isinstance(metric, Tensor) else type(metric).__name__}.",
    )
    finite(metric, "metric")
    metric = metric.to(x.dtype).to(x.device)
    if metric.ndim == 1:
        require(bool((metric >= 0).all()), "metric has negative weights; a metric is positive semidefinite.")
        return metric if diagonal else torch.diag(metric)
    symmetric = bool((metric - metric.mT).abs().max() <= 1e-6 * metric.abs().max())
    require(symmetric, "metric is not symmetric. Pass (metric + metric.T) / 2.")
    values = torch.linalg.eigvalsh(metric)
    require(
        float(values[0]) >= -1e-6 * float(values.abs().max()),
        f"metric has a negative eigenvalue ({float(values[0]):.3g}); a metric is positive semidefinite. "
        "kernels.psd_power(metric, 1.0) clamps them.",
    )
    return metric.diagonal().clone() if diagonal else metric
