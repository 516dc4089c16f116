"""The solvers of a kernel machine by name: direct, conjugate gradients, stochastic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from equilearn._check import one_of
from equilearn.kernels._cg import solve_cg
from equilearn.kernels._kernel import Kernel
from equilearn.kernels._solve import SolveInfo, solve_psd
from equilearn.kernels._stochastic import solve_stochastic

SOLVERS = ("auto", "cg", "cholesky", "stochastic")

DIRECT_LIMIT = 20_000
"""Most points for which `"auto"` takes the direct solver: 3.2 GB in float64, about a minute on two cores."""

Solver: TypeAlias = Callable[
    [Kernel, Tensor, Tensor, Tensor, float, Tensor | None, torch.Generator], tuple[Tensor, SolveInfo]
]
"""`solver(kernel, x, y, metric, ridge, dual_to_start_from, generator)` gives `(dual, info)`."""


def solver_of(name: str, points: int) -> Solver:
    """The solver of that name; `"auto"` is Cholesky up to 20,000 points, conjugate gradients beyond."""
    one_of(name, SOLVERS, "solver")
    if name == "auto":
        name = "cholesky" if points <= DIRECT_LIMIT else "cg"
    return {"cholesky": _direct, "cg": solve_cg, "stochastic": solve_stochastic}[name]


def _direct(
    kernel: Kernel,
    x: Tensor,
    y: Tensor,
    metric: Tensor,
    ridge: float,
    start: Tensor | None,
    generator: torch.Generator,
) -> tuple[Tensor, SolveInfo]:
    del start, generator  # a factorisation cannot use a first guess
    return solve_psd(kernel.gram(x, None, metric), y, ridge)
