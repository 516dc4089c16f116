"""All 14,000 published simulations of charged particles, and one at a time as the published simulator has them.

The bar: all of them, random numbers included, in three minutes on two cores; one is used here. The naive side steps
one simulation after the other with 5 x 5 matrices and is timed on a few, both sides to step 4,100."""

from __future__ import annotations

import sys

import numpy as np

from _bench import clock, one_thread, seconds, show_seconds
from equilearn.data import simulate_charges
from equilearn.data._nbody import TEST, TRAIN, VALIDATION, draw_particles

ALL = TRAIN + VALIDATION + TEST
FEW = 10
STEPS = [3100, 4100]
BAR = 180.0


def everything() -> None:
    """Draw and simulate all splits."""
    simulate_charges(*draw_particles(list(range(ALL)), 43), STEPS)


def one_at_a_time(count: int) -> None:
    """The published program, as it loops."""
    stream = np.random.RandomState(43)
    for _ in range(count):
        c = stream.choice(np.array([-1.0, 0.0, 1.0]), size=(5, 1), p=[0.5, 0, 0.5])
        edges = c.dot(c.T)
        x, v = stream.randn(3, 5), stream.randn(3, 5)
        v = v * 0.5 / np.sqrt((v**2).sum(axis=0))
        stream.randn(49, 3, 5)
        stream.randn(49, 3, 5)
        v += 0.001 * naive_force(x, edges)
        for _ in range(STEPS[-1]):
            x += 0.001 * v
            v += 0.001 * naive_force(x, edges)


def naive_force(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Forces on the particles of one simulation, clipped."""
    a = (x**2).sum(0)
    with np.errstate(all="ignore"):
        size = edges / np.power(a[:, None] + a[None, :] - 2 * x.T.dot(x), 1.5)
    np.fill_diagonal(size, 0)
    return np.clip(np.stack([(size * np.subtract.outer(row, row)).sum(-1) for row in x]), -100, 100)


def main() -> bool:
    one_thread()
    one_at_a_time(1)
    naive = min(clock(lambda: one_at_a_time(FEW)) for _ in range(3)) / FEW
    fast = min(clock(everything) for _ in range(2))
    kept = show_seconds(f"{ALL:,} simulations, drawn and stepped side by side", fast, bar=BAR)
    print(f"  one at a time: {seconds(naive)} each, {seconds(naive * ALL)} for all: x {naive * ALL / fast:.0f}")
    return kept


if __name__ == "__main__":
    sys.exit(not main())
