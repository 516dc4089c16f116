"""Conjugate gradients on `(K + ridge I) dual = Y` without the matrix K, preconditioned by a Nystrom approximation."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.kernels._kernel import TILE, Kernel
from equilearn.kernels._solve import SolveInfo, check_system

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-5}
"""Relative residual at which a column of targets counts as solved."""

MOST_ITERATIONS = 300
MOST_CENTERS = 2_000
PRECONDITIONER_BYTES = 2**30


def symmetric_product(
    kernel: Kernel, x: Float[Tensor, "N D"], metric: Tensor, vectors: Float[Tensor, "N C"], rows: int = TILE
) -> Float[Tensor, "N C"]:
    """`K vectors` without K: each block on one side of the diagonal serves twice. O(N^2 (D + C)), memory O(rows^2)."""
    out = torch.zeros_like(vectors)
    block = x.new_empty(min(rows, len(x)) ** 2)
    for i in range(0, len(x), rows):
        here = slice(i, min(i + rows, len(x)))
        for j in range(i, len(x), rows):
            there = slice(j, min(j + rows, len(x)))
            shape = (here.stop - here.start, there.stop - there.start)
            part = block[: shape[0] * shape[1]].view(shape)
            kernel.gram(x[here], None if i == j else x[there], metric, part)
            out[here].addmm_(part, vectors[there])
            if i != j:
                out[there].addmm_(part.mT, vectors[here])
    return out


class NystromPreconditioner:
    """`P = B B^T + mu I` with `B B^T` the Nystrom approximation of K from some of the points.

    `mu` is the ridge and the mean of what the approximation leaves of the diagonal. O(N m^2) to build for m points,
    O(N m) to apply; memory N m.
    """

    def __init__(self, kernel: Kernel, x: Tensor, metric: Tensor, ridge: float, chosen: Int[Tensor, " m"]):
        centers = x[chosen]
        gram = kernel.gram(centers, None, metric).to(torch.float64)
        scale = float(gram.diagonal().mean())
        gram.diagonal().add_(10 * torch.finfo(x.dtype).eps * max(scale, 1e-300) * max(len(chosen), 1))
        lower = torch.linalg.cholesky(gram).to(x.dtype)
        self.basis = kernel.gram(x, centers, metric)
        self.basis = torch.linalg.solve_triangular(lower.mT, self.basis, upper=True, left=False)
        left = scale - float(self.basis.square().sum() / len(x))
        self.shift = max(ridge + max(left, 0.0), 10 * torch.finfo(x.dtype).eps * scale * len(x) ** 0.5, 1e-300)
        inner = (self.basis.mT @ self.basis).to(torch.float64)
        inner.diagonal().add_(self.shift)
        self.inner = torch.linalg.cholesky(inner)

    def solve(self, r: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """`P^-1 r`."""
        inside = torch.cholesky_solve((self.basis.mT @ r).to(torch.float64), self.inner).to(r.dtype)
        return (r - self.basis @ inside).div_(self.shift)


def solve_cg(
    kernel: Kernel,
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N C"],
    metric: Tensor,
    ridge: float = 0.0,
    start: Float[Tensor, "N C"] | None = None,
    generator: torch.Generator | None = None,
    *,
    tolerance: float | None = None,
    iterations: int = MOST_ITERATIONS,
) -> tuple[Float[Tensor, "N C"], SolveInfo]:
    """Solve `(K + ridge I) dual = Y` by preconditioned conjugate gradients; K is never stored.

    Args:
        start: a first guess, such as the solution for the metric before.
        generator: draws the points of the preconditioner.
        tolerance: relative residual of each column of Y; default 1e-8, in float32 1e-5.
        iterations: at most so many.

    Raises:
        InputError: shapes or types that do not fit, or a negative ridge.

    Cost: an iteration half of the kernel's N^2 entries, each used twice: O(N^2 (D + C)); memory O(N m) with
    m = 2,000 points of the preconditioner, or fewer where these would take more than 1 GiB.
    """
    check_system(x, y, ridge)
    tolerance = TOLERANCE[x.dtype] if tolerance is None else tolerance
    most = min(MOST_CENTERS, len(x), max(1, PRECONDITIONER_BYTES // (len(x) * x.element_size())))
    chosen = torch.randperm(len(x), generator=generator)[:most].to(x.device)
    preconditioner = NystromPreconditioner(kernel, x, metric, ridge, chosen)
    tiny = torch.finfo(y.dtype).tiny
    size = y.norm(dim=0).clamp_min(tiny)

    def product(v: Tensor) -> Tensor:
        return symmetric_product(kernel, x, metric, v).add_(v, alpha=ridge)

    dual = torch.zeros_like(y) if start is None else start.clone()
    r = y.clone() if start is None else y - product(dual)
    s = preconditioner.solve(r)
    p, rho = s.clone(), (r * s).sum(0)
    best, best_dual, done = float("inf"), dual.clone(), 0
    while True:
        residual = float((r.norm(dim=0) / size).max())
        if residual < best:
            best, best_dual = residual, dual.clone()
        # Rounding ends the descent where K is nearly singular: no better for long, or far off.
        if residual <= tolerance or done >= iterations or not residual < 1e6 * max(best, tolerance):
            break
        q = product(p)
        step = rho / (p * q).sum(0).clamp_min(tiny)
        dual += step * p
        r -= step * q
        s = preconditioner.solve(r)
        rho, before = (r * s).sum(0), rho
        p = s + (rho / before.clamp_min(tiny)) * p
        done += 1
    return best_dual, SolveInfo("cg", None, len(x), None, best, done, ridge)
