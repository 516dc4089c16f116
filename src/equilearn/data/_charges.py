"""Charged particles that attract and repel each other: many small simulations stepped side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from equilearn._check import InputError, finite, positive_int, require

CHUNK = 768
"""Simulations stepped together: enough to hide what a NumPy call costs, few enough to stay in the cache."""


def simulate_charges(
    positions: Float[Tensor, "B N D"],
    velocities: Float[Tensor, "B N D"],
    charges: Float[Tensor, "B N"],
    record: Sequence[int],
    *,
    dt: float = 1e-3,
    max_force: float = 100.0,
    threads: int | None = None,
) -> tuple[Float[Tensor, "B R N D"], Float[Tensor, "B R N D"]]:
    """Motion of particles of unit mass under `F_i = sum_j c_i c_j (x_i - x_j) / |x_i - x_j|^3`, in free space.

    Every component of a force is clipped to `max_force`. Symplectic Euler with a full first kick: `v += dt F(x)`,
    then in every step `x += dt v` and `v += dt F(x)`; what is recorded of a step lies between the two. A
    simulation comes out the same, bit for bit, whatever others are simulated with it.

    Args:
        positions, velocities: at the start.
        charges: of the particles.
        record: the R steps to keep, from 1; the last one ends the simulation.
        dt: time a step.
        max_force: the largest component of a force.
        threads: how many chunks are stepped at once; default one a processor.

    Returns:
        Positions and velocities at the recorded steps, float64, in the order of `record`.

    Raises:
        InputError: shapes that do not fit, no step to record, values that are not finite, or two particles at
            one place, where the force is not defined.

    Source: T. Kipf et al., Neural Relational Inference for Interacting Systems (2018); V. G. Satorras et al.,
    E(n) Equivariant Graph Neural Networks (2021), section 5.1.

    Cost: O(B N^2 D) a step; memory of one chunk beside the result.

    Example:
        >>> apart = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
        >>> x, v = simulate_charges(apart, torch.zeros(1, 2, 2), torch.ones(1, 2), [1, 1000])
        >>> x[0, :, 1, 0]
        tensor([0.5000, 0.9...], dtype=torch.float64)
    """
    steps = [positive_int(step, "A step to record") for step in record]
    require(len(steps) > 0, "record names no step. Name one at least, such as record=[1000].")
    require(dt > 0 and max_force > 0, f"dt and max_force must be positive, got {dt} and {max_force}.")
    _check_state(positions, velocities, charges)
    threads = len(os.sched_getaffinity(0)) if threads is None and hasattr(os, "sched_getaffinity") else threads
    threads = positive_int(os.cpu_count() or 1 if threads is None else threads, "threads")
    # Space first, simulations last: every operation runs along long contiguous rows.
    x, v = (t.detach().cpu().double().permute(2, 1, 0).numpy() for t in (positions, velocities))
    c = charges.detach().cpu().double().T.numpy()
    wanted = sorted(set(steps))
    kept = np.empty((2, len(wanted), *x.shape))

    def run(start: int) -> None:
        part = slice(start, start + CHUNK)
        _run(x[..., part], v[..., part], c[..., part], wanted, dt, max_force, kept[..., part])

    starts = range(0, x.shape[-1], CHUNK)
    if min(threads, len(starts)) > 1:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:
            list(pool.map(run, starts))
    else:
        for start in starts:
            run(start)
    if not np.isfinite(kept).all():
        raise InputError("Two charged particles came to lie at one place, where the force between them is not defined.")
    order = [wanted.index(step) for step in steps]
    found = torch.from_numpy(kept[:, order]).permute(0, 4, 1, 3, 2).contiguous()
    return found[0], found[1]


def _check_state(positions: Tensor, velocities: Tensor, charges: Tensor) -> None:
    require(
        positions.ndim == 3 and velocities.shape == positions.shape and charges.shape == positions.shape[:2],
        "positions and velocities must be (B, N, D) and charges (B, N), got "
        f"{tuple(positions.shape)}, {tuple(velocities.shape)} and {tuple(charges.shape)}.",
    )
    for values, name in ((positions, "positions"), (velocities, "velocities"), (charges, "charges")):
        finite(values, name)


def _run(
    x0: np.ndarray,
    v0: np.ndarray,
    c: np.ndarray,
    record: list[int],
    dt: float,
    max_force: float,
    out: np.ndarray,
) -> None:
    """Steps simulations `(D, N, B)`; `out` is `(2, R, D, N, B)`.

    Every pair of particles is met once as `(i, i + shift)`, indices modulo N, shifts 1 to N // 2. Behind the
    positions lies a copy of the first of them, so that all shifted positions are one view without copies.
    """
    dimension, count, batch = x0.shape
    shifts = count // 2
    ring = np.empty((dimension, count + shifts, batch))
    x, tail = ring[:, :count], ring[:, count:]
    x[:] = x0
    v = v0.copy()
    plane, row, item = ring.strides
    others = as_strided(ring[:, 1:], (dimension, shifts, count, batch), (plane, row, row, item), writeable=False)
    product = np.stack([c * np.roll(c, -shift, axis=0) for shift in range(1, shifts + 1)]) if shifts else np.empty(0)
    if shifts and count % 2 == 0:
        product[-1] /= 2  # at half the way round every pair is met twice
    gap, square = (np.empty((dimension, shifts, count, batch)) for _ in range(2))
    distance, size = (np.empty((shifts, count, batch)) for _ in range(2))
    force = np.zeros_like(v)

    def kick() -> None:
        if shifts == 0:
            return
        tail[:] = x[:, :shifts]
        np.subtract(x[:, None], others, out=gap)
        np.multiply(gap, gap, out=square)
        np.add.reduce(square, axis=0, out=distance)
        np.sqrt(distance, out=size)
        np.multiply(size, distance, out=size)
        np.divide(product, size, out=size)
        np.multiply(gap, size, out=gap)
        np.add.reduce(gap, axis=1, out=force)
        for shift in range(1, shifts + 1):
            force[:, shift:] -= gap[:, shift - 1, : count - shift]
            force[:, :shift] -= gap[:, shift - 1, count - shift :]
        np.clip(force, -max_force, max_force, out=force)
        np.multiply(force, dt, out=force)
        np.add(v, force, out=v)

    moved = np.empty_like(v)
    at = {step: place for place, step in enumerate(record)}
    with np.errstate(all="ignore"):
        kick()
        for step in range(1, record[-1] + 1):
            np.multiply(v, dt, out=moved)
            np.add(x, moved, out=x)
            if step in at:
                out[0, at[step]], out[1, at[step]] = x, v
            kick()
