"""The AGOP of a kernel machine in closed form, beside the Jacobian of every point as published code has it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from _bench import Timing, clock, compare, machine, one_thread, show
from equilearn.data import fixed_point_split, modular_table
from equilearn.kernels import Gaussian, Kernel, Quadratic, kernel_agop, solve_psd

BARS = {"gaussian": 1 / 5, "quadratic": 1 / 50}
"""Largest share of the Jacobian form's time that the closed form may take."""
BATCH = 256
"""Points whose gradients are computed at a time."""


def jacobian_agop(kernel: Kernel, x: Tensor, dual: Tensor, metric: Tensor) -> Tensor:
    """The twin: all N x C x D gradients, one matrix product a batch of points; the mean of each output's is taken out.

    Published code leaves the sum over centers to a three-operand einsum, which takes several times as long.
    """
    moved = x @ metric
    weighted = torch.einsum("ic,id->icd", dual, moved).flatten(1)
    jacobian = x.new_empty(len(x), dual.shape[1], x.shape[1])
    for part in torch.arange(len(x)).split(BATCH):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        if isinstance(kernel, Gaussian):
            k = kernel.gram(x[rows], x, metric).mul_(-1 / kernel.length**2)
            at_points = torch.einsum("bc,bd->bcd", k @ dual, moved[rows])
            torch.sub(at_points, (k @ weighted).view_as(at_points), out=jacobian[rows])
        else:
            k = (moved[rows] @ x.mT).mul_(2)
            torch.mm(k, weighted, out=jacobian[rows].flatten(1))
    jacobian -= jacobian.mean(0)
    flat = jacobian.flatten(0, 1)
    return flat.mT @ flat / len(x)


def problem(p: int, kernel: Kernel) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, dual coefficients and metric of a machine that has learned features once from all pairs but `a = b`."""
    table = modular_table(p)
    train = fixed_point_split(table, table.reflection(0))
    x = table.x[train]
    y = torch.eye(p, dtype=x.dtype)[table.labels[train]]
    metric = torch.eye(2 * p, dtype=x.dtype)
    dual = solve_psd(kernel.gram(x, None, metric), y, 1e-6)[0]
    return x, dual, kernel_agop(kernel, x, None, dual, metric)


def sides(kernel: Kernel, p: int) -> dict[str, Callable[[], Tensor]]:
    x, dual, metric = problem(p, kernel)
    made = {
        "Jacobian": lambda: jacobian_agop(kernel, x, dual, metric),
        "kernel_agop": lambda: kernel_agop(kernel, x, None, dual, metric),
    }
    slow, fast = (side() for side in made.values())
    print(f"\np = {p}, {len(x):,} points, {kernel.name}: the two differ by {(slow - fast).norm() / slow.norm():.0e}")
    return made


def once(made: dict[str, Callable[[], Tensor]]) -> list[Timing]:
    """One round: the Jacobians of 3,660 points take half a minute."""
    spent = {name: clock(side) for name, side in made.items()}
    return [Timing(name, s, (s, s), s / spent["Jacobian"], 1) for name, s in spent.items()]


def main() -> bool:
    one_thread()
    print(machine())
    kept = True
    for kernel in (Gaussian(2.5), Quadratic()):
        timings = compare(sides(kernel, 43), rounds=3, warmup=0)
        kept &= show(f"AGOP, {kernel.name}, p = 43", timings, bars={"kernel_agop": BARS[kernel.name]})
    for kernel in (Gaussian(2.5), Quadratic()):
        show(f"AGOP, {kernel.name}, p = 61", once(sides(kernel, 61)))
    return kept


if __name__ == "__main__":
    sys.exit(not main())
