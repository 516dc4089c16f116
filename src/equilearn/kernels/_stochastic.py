"""Stochastic solution of `(K + ridge I) dual = Y`, for more points than a factorisation can take.

Random blocks of points, each solved exactly with all others held fixed: randomised block Gauss-Seidel. The energy of
the error falls with every block, so that there is no step size to choose. Where K is singular and the targets
contradict each other there is no solution to come to: give a ridge. A block of some thousand points preconditions its
own part, which holds the leading directions of the whole as well. Sources: S. Tu et al., Large scale kernel learning
using block coordinate descent (2016); R. Gower and P. Richtarik, Randomized iterative
methods for linear systems (2015). Gradient steps on random batches with damped eigenfunctions (EigenPro 2) were tried
first: with a smooth kernel they diverged, or needed steps too small to be of use.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int
from equilearn.kernels._kernel import Kernel
from equilearn.kernels._solve import SolveInfo, check_system

BLOCK_POINTS = 4_096
"""Points that are solved for at a time: their own matrix takes 134 MB in float64."""

PASSES = 10
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Relative residual that ends the passes."""


def solve_stochastic(
    kernel: Kernel,
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N C"],
    metric: Tensor,
    ridge: float = 0.0,
    start: Float[Tensor, "N C"] | None = None,
    generator: torch.Generator | None = None,
    *,
    passes: int = PASSES,
    tolerance: float | None = None,
    block: int = BLOCK_POINTS,
) -> tuple[Float[Tensor, "N C"], SolveInfo]:
    """Solve `(K + ridge I) dual = Y` as closely as some passes over the data do; K is never stored.

    Args:
        start: a first guess, such as the solution for the metric before.
        generator: draws the blocks, anew for every pass.
        passes: over the data, at most.
        tolerance: stop where the residuals met in a pass are this small, relative to Y; default 1e-6 (float32: 1e-4).
        block: points that are solved for at a time.

    Returns:
        The coefficients; the residual in the record is that which the last pass met on its way, not one after it.

    Raises:
        InputError: shapes or types that do not fit, a negative ridge, no pass, no point a block, or a block that is not
            positive definite even with rounding's share added to its diagonal.

    Cost: a pass O(N^2 (D + C) + N block^2); memory O(N (D + C) + block^2).

    Example:
        >>> from equilearn.kernels import Gaussian
        >>> x = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
        >>> y, metric = torch.sin(6 * x), torch.ones(1, dtype=torch.float64)
        >>> dual, info = solve_stochastic(Gaussian(0.1), x, y, metric, 1e-2, block=20, passes=100)
        >>> gram = Gaussian(0.1).gram(x, None, metric)
        >>> bool((gram @ dual + 1e-2 * dual - y).norm() < 1e-4 * y.norm())
        True
    """
    check_system(x, y, ridge)
    positive_int(passes, "passes")
    positive_int(block, "block")
    tolerance = TOLERANCE[x.dtype] if tolerance is None else tolerance
    dual = torch.zeros_like(y) if start is None else start.clone()
    size = float(y.norm()) or 1.0
    residual, done = 1.0, 0
    while done < passes and residual > tolerance:
        done += 1
        squares = 0.0
        for chosen in torch.randperm(len(x), generator=generator).to(x.device).split(block):
            squares += _solve_block(kernel, x, y, metric, ridge, dual, chosen)
        residual = squares**0.5 / size
    return dual, SolveInfo("stochastic", None, len(x), None, residual, done, ridge)


def _solve_block(
    kernel: Kernel, x: Tensor, y: Tensor, metric: Tensor, ridge: float, dual: Tensor, chosen: Int[Tensor, " B"]
) -> float:
    """Make the equations of the chosen points hold, by their own coefficients; the squared residual before that."""
    points = x[chosen]
    r = y[chosen] - ridge * dual[chosen] - kernel.product(points, x, metric, dual)
    gram = kernel.gram(points, None, metric).to(torch.float64)
    # What rounding of the kernel needs. A larger block matrix is a shorter step to the same solution.
    spare = 8 * torch.finfo(x.dtype).eps * float(gram.diagonal().mean()) * len(chosen) ** 0.5
    gram.diagonal().add_(ridge + spare)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):
        raise InputError(
            f"The Gram matrix of a block of {len(chosen)} points is not positive definite. Use a larger ridge, or "
            "float64."
        )
    dual[chosen] += torch.cholesky_solve(r.to(torch.float64), factor).to(x.dtype)
    return float(r.square().sum())
