"""How fast are all equivariant linear maps found, beside a dense SVD of the same constraints?"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from _bench import compare, machine, measure, one_thread, show, show_seconds
from equilearn import reps
from equilearn.groups import SO, Lorentz, Symmetric
from equilearn.reps import Rep


def null_space(rep_in: Rep, rep_out: Rep, tolerance: float = 1e-9) -> Tensor:
    """The twin: every constraint as a dense matrix, one SVD. It knows nothing of the structure."""
    left = torch.cat([rep_out.lie_matrices(), rep_out.generator_matrices()])
    right = torch.cat([rep_in.lie_matrices(), rep_in.generator_matrices()])
    one_in, one_out = torch.eye(rep_in.dim, dtype=torch.float64), torch.eye(rep_out.dim, dtype=torch.float64)
    rows = [torch.kron(a, one_in) - torch.kron(one_out, b.mT.contiguous()) for a, b in zip(left, right, strict=True)]
    _, values, vectors = torch.linalg.svd(torch.cat(rows), full_matrices=True)
    return vectors[int((values > tolerance * values[0]).sum()) :].unflatten(-1, (rep_out.dim, rep_in.dim))


def cases() -> dict[str, tuple[Rep, Rep, int, float | None]]:
    """Name -> (input, output, number of maps, bar in seconds)."""
    P, V, L = reps.permutation(Symmetric(5)), reps.defining(SO(3)), reps.defining(Lorentz(1, 3))
    group = SO(3) * Symmetric(5)
    cloud = reps.factor(group, 1, P) * reps.factor(group, 0, V)
    return {
        "SO(3), V*V -> V": (V * V, V, 1, 0.005),
        "S_5, V*V -> V*V": (P * P, P * P, 15, 0.2),
        "Lorentz(1,3), V*V -> V*V": (L * L, L * L, 4, None),
        "SO(3), V*V*V -> V*V*V": (V * V * V, V * V * V, 15, None),
        "SO(3) x S_5, points -> points": (cloud, cloud, 2, None),
        "SO(3), 8V -> 8V": (8 * V, 8 * V, 64, None),
    }


def call(solve: Callable[..., Tensor], rep_in: Rep, rep_out: Rep, count: int) -> Callable[[], None]:
    """One timed call that also looks at the answer."""

    def timed() -> None:
        found = len(solve(rep_in, rep_out))
        if found != count:
            raise RuntimeError(f"{found} maps found where there are {count}")

    return timed


def main() -> bool:
    one_thread()
    print(machine())
    kept = True
    for name, (rep_in, rep_out, count, bar) in cases().items():
        sides = {
            "dense SVD": call(null_space, rep_in, rep_out, count),
            "intertwiners": call(reps.intertwiners, rep_in, rep_out, count),
        }
        timings = compare(sides, rounds=7, warmup=1)
        show(f"{name}: {rep_in.dim * rep_out.dim} unknowns, {count} maps", timings)
        if bar is not None:
            kept &= show_seconds(name, timings[1].median, bar=bar)
    P = reps.permutation(Symmetric(20))
    twenty = measure(call(reps.intertwiners, P * P, P * P, 15), rounds=7)
    kept &= show_seconds("S_20, V*V -> V*V: 160,000 unknowns, 15 maps", twenty.median, bar=1.0)
    return kept


if __name__ == "__main__":
    sys.exit(not main())
