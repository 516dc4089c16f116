"""A kernel system solved directly, beside its Gram matrix and a bare LAPACK Cholesky; many points with `--large`.

    python benchmarks/kernel_solve.py                    # 10,000 points
    python benchmarks/kernel_solve.py --threads 2 --large

`--large` takes half an hour and more: 50,000 points in single precision directly, and 100,000 by the stochastic solver,
which is held against conjugate gradients run to a relative residual of 1e-5, as the exact solution does not fit in
memory; with fewer points it is held against Cholesky too. Every solve is a process of its own, whose peak memory counts
everything in it, torch included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from _bench import clock, compare, machine, one_thread, seconds, show
from equilearn.kernels import Laplace, solve_cg, solve_psd, solve_stochastic
from pair_linear import peak

WIDTH, RIDGE = 50, 0.1
KERNEL = Laplace(2.0)
"""Its length is about the median distance under `metric`."""
TIME_BAR = 1.3
"""Largest multiple of a Gram matrix and a bare Cholesky that Gram matrix and solution may take."""
MEMORY_BAR, MINUTES_BAR, ERROR_BAR = 24.0, 10.0, 1.02
"""GB of the direct solution of 50,000 points; minutes of the stochastic one, its test error over that of the exact."""
TEST = 2_000


def problem(points: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test points; a target of the first three features and some noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(points + TEST, WIDTH, generator=generator, dtype=dtype)
    noise = 0.1 * torch.randn(len(x), generator=generator, dtype=dtype)
    y = (torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + noise)[:, None]
    return x[:points], y[:points], x[points:], y[points:]


def metric_of(dtype: torch.dtype) -> Tensor:
    """Weights that fall as the square of a feature's number, as learned ones may: a Gram matrix near singular."""
    return torch.diag(1 / torch.arange(1, WIDTH + 1, dtype=dtype).square())


def bare(x: Tensor, metric: Tensor) -> Callable[[], object]:
    """The Gram matrix and LAPACK's Cholesky of it, in place; no solution."""
    from scipy.linalg import get_lapack_funcs

    def run() -> object:
        gram = KERNEL.gram(x, None, metric)
        gram.diagonal().add_(RIDGE)
        columns = gram.numpy().T
        (potrf,) = get_lapack_funcs(("potrf",), (columns,))
        return potrf(columns, lower=1, clean=0, overwrite_a=1)[1]

    return run


# --- one solution in a process of its own -------------------------------------------------------


def solve(method: str, points: int, double: bool, threads: int) -> dict[str, Any]:
    """Run `report` in a fresh process."""
    code = f"import kernel_solve as k; k.report({method!r}, {points}, {double}, {threads})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sys.path[0])
    return json.loads(done.stdout.splitlines()[-1])


def report(method: str, points: int, double: bool, threads: int) -> None:
    """Solve, and print seconds, peak memory in GB, test error and residual as JSON."""
    torch.set_num_threads(threads)
    x, y, x_test, y_test = problem(points, torch.float64 if double else torch.float32)
    metric = metric_of(x.dtype)
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    if method == "direct":
        dual, info = solve_psd(KERNEL.gram(x, None, metric), y, RIDGE)
    elif method == "cg":
        dual, info = solve_cg(KERNEL, x, y, metric, RIDGE, None, generator, tolerance=1e-5)
    else:
        dual, info = solve_stochastic(KERNEL, x, y, metric, RIDGE, None, generator)
    spent, memory = time.perf_counter() - start, peak() / 1024
    few = torch.randperm(points, generator=generator)[:TEST]
    left = KERNEL.gram(x[few], x, metric) @ dual + RIDGE * dual[few] - y[few]
    error = (KERNEL.gram(x_test, x, metric) @ dual - y_test).square().mean()
    found = {"seconds": spent, "memory": memory, "error": float(error), "method": info.method}
    print(json.dumps({**found, "iterations": info.iterations, "residual": float(left.norm() / y[few].norm())}))


def line(name: str, found: dict[str, Any]) -> None:
    passes = f", {found['iterations']} iterations" if found["iterations"] else ""
    print(
        f"  {name:<34} {seconds(found['seconds']):>9}   {found['memory']:.2f} GB   test error {found['error']:.5f}, "
        f"relative residual {found['residual']:.0e}{passes}",
        flush=True,
    )


def bar(what: str, value: float, limit: float) -> bool:
    print(f"  {what}: {value:.3f}   bar {limit:g}: {'kept' if value <= limit else 'MISSED'}", flush=True)
    return value <= limit


def large(direct: int, many: int, fewer: int, threads: int) -> bool:
    """The long part."""
    print(f"\nDirect solution, float32, {direct:,} points")
    found = solve("direct", direct, False, threads)
    line("Gram matrix and solve_psd", found)
    kept = bar("peak memory in GB", found["memory"], MEMORY_BAR) and found["method"] == "cholesky"
    for points, rivals in ((fewer, ("direct", "cg")), (many, ("cg",))):
        print(f"\nStochastic solution, float32, {points:,} points")
        found = solve("stochastic", points, False, threads)
        line("solve_stochastic", found)
        if points == many:
            kept &= bar("minutes", found["seconds"] / 60, MINUTES_BAR)
        for rival in rivals:
            exact = solve(rival, points, False, threads)
            line({"direct": "solve_psd", "cg": "solve_cg"}[rival], exact)
            kept &= bar("test error over that of the exact solution", found["error"] / exact["error"], ERROR_BAR)
    return kept


def main() -> bool:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--points", type=int, default=10_000)
    given.add_argument("--threads", type=int, default=1)
    given.add_argument("--large", action="store_true")
    given.add_argument("--direct-points", type=int, default=50_000)
    given.add_argument("--many-points", type=int, default=100_000)
    given.add_argument("--fewer-points", type=int, default=20_000)
    asked = given.parse_args()
    one_thread()
    print(machine())
    x, y, *_ = problem(asked.points, torch.float64)
    metric = metric_of(x.dtype)
    sides = {
        "Gram matrix and LAPACK Cholesky": bare(x, metric),
        "Gram matrix and solve_psd": lambda: solve_psd(KERNEL.gram(x, None, metric), y, RIDGE)[0],
    }
    print(f"\nGram matrix alone: {seconds(clock(lambda: KERNEL.gram(x, None, metric)))}")
    timings = compare(sides, rounds=3, warmup=0)
    title = f"{asked.points:,} points of {WIDTH} features, float64, one thread"
    kept = show(title, timings, bars={"Gram matrix and solve_psd": TIME_BAR})
    found = solve("direct", asked.points, True, asked.threads)
    print(f"\nA process that does this once, {asked.threads} thread(s); the matrix is {asked.points**2 / 2**27:.2f} GB")
    line("Gram matrix and solve_psd", found)
    if asked.large:
        kept &= large(asked.direct_points, asked.many_points, asked.fewer_points, asked.threads)
    return kept


if __name__ == "__main__":
    sys.exit(not main())
