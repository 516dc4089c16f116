"""Preconditioned stochastic solution of `(K + ridge I) dual = Y`, for more points than a factorisation can take.

Gradient descent in function space on random batches, with the leading eigenfunctions of the kernel, estimated from a
subset of the points, damped so that large steps stay stable. Source: S. Ma and M. Belkin, Kernel machines that adapt
to GPUs for effective large batch training (2019), EigenPro 2. The ridge is part of the kernel here: on the training
points `K + ridge I` is the Gram matrix of `k(x_i, x_j) + ridge [i = j]`, whose interpolant is the ridge solution.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.kernels._kernel import Kernel
from equilearn.kernels._solve import SolveInfo

SUBSET = 6_000
"""Points from which the leading eigenfunctions are estimated."""

DIRECTIONS = 1_000
"""How many of them are damped, at most."""

BATCH = 2_048
EPOCHS = 20
TOLERANCE = 1e-4


class Damping:
    """Of the leading eigenfunctions: `P = I - sum_i (1 - tau / sigma_i) e_i (x) e_i`, tau the next eigenvalue.

    Args:
        subset: indices of the points from which they are estimated.

    O(s^3) for s points of the subset.
    """

    def __init__(self, kernel: Kernel, x: Tensor, metric: Tensor, ridge: float, subset: Int[Tensor, " s"]):
        self.subset, self.points, self.ridge = subset, x[subset], ridge
        gram = kernel.gram(self.points, None, metric)
        gram.diagonal().add_(ridge)
        diagonal = gram.diagonal().clone()
        values, vectors = torch.linalg.eigh(gram)
        count = min(DIRECTIONS, max(1, len(subset) // 4))
        values, vectors = values[-count - 1 :].flip(0), vectors[:, -count - 1 :].flip(1)
        positive = values.clamp_min(torch.finfo(x.dtype).eps * float(values[0]))
        self.tail = float(positive[-1])
        top, self.vectors = positive[:-1], vectors[:, :-1].contiguous()
        self.weights = (1 - self.tail / top) / top
        # e_i(x_j)^2 = sigma_i v_ij^2 on the subset itself.
        left = diagonal - (self.vectors.square() * (top * (1 - self.tail / top))).sum(1)
        self.norm = max(float(left.max()), self.tail)

    def step_size(self, batch: int) -> float:
        """The largest stable step over the batch size (EigenPro 2, section on the step size)."""
        top = self.tail / len(self.subset)
        return 0.9 / (self.norm + (batch - 1) * top)

    def correction(self, cross: Float[Tensor, "s B"], g: Float[Tensor, "B C"]) -> Float[Tensor, "s C"]:
        """What a gradient `g` on a batch adds on the subset; `cross` is the kernel between subset and batch."""
        return self.vectors @ (self.weights[:, None] * (self.vectors.mT @ (cross @ g)))


def solve_stochastic(
    kernel: Kernel,
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N C"],
    metric: Tensor,
    ridge: float = 0.0,
    start: Float[Tensor, "N C"] | None = None,
    generator: torch.Generator | None = None,
    *,
    epochs: int = EPOCHS,
    tolerance: float = TOLERANCE,
) -> tuple[Float[Tensor, "N C"], SolveInfo]:
    """Solve `(K + ridge I) dual = Y` to the accuracy that `epochs` passes over the data give; K is never stored.

    Args:
        start: a first guess, such as the solution for the metric before.
        generator: draws subset and batches.
        epochs: passes over the data.
        tolerance: stop at this relative residual (a running estimate over the last pass).

    Cost: a pass O(N^2 (D + C)); memory O(N (D + C)) and the kernel between a batch and all points.
    """
    count = len(x)
    subset = torch.randperm(count, generator=generator)[: min(SUBSET, count)].sort().values.to(x.device)
    damping = Damping(kernel, x, metric, ridge, subset)
    place = torch.full((count,), -1, dtype=torch.int64, device=x.device)
    place[subset] = torch.arange(len(subset), device=x.device)
    batch = min(BATCH, count)
    dual = torch.zeros_like(y) if start is None else start.clone()
    size = float(y.norm()) or 1.0
    residual, done = 1.0, 0
    while done < epochs:
        done += 1
        squares = 0.0
        order = torch.randperm(count, generator=generator).to(x.device)
        for chosen in order.split(batch):
            points = x[chosen]
            g = ridge * dual[chosen] - y[chosen]
            for part, block in kernel.blocks(points, x, metric, max(1, (1 << 22) // count)):
                g[part].addmm_(block, dual)
            squares += float(g.square().sum())
            step = damping.step_size(len(chosen))
            between = kernel.gram(damping.points, points, metric)
            shared = torch.nonzero(place[chosen] >= 0).flatten()
            between[place[chosen[shared]], shared] += ridge
            dual[chosen] -= step * g
            dual[subset] += step * damping.correction(between, g)
        residual = squares**0.5 / size
        if residual <= tolerance or not residual < 1e6:
            break
    return dual, SolveInfo("stochastic", count, count, float("nan"), residual, done)
