"""Charged particles that attract and repel each other: many small simulations stepped side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, finite, positive_int, require

CHUNK = 1024
"""Simulations stepped together: enough to hide what a NumPy call costs, few enough to stay in the cache."""


def simulate_charges(
    positions: Float[Tensor, "B N D"],
    velocities: Float[Tensor, "B N D"],
    charges: Float[Tensor, "B N"],
    record: Sequence[int],
    *,
    dt: float = 1e-3,
    max_force: float = 100.0,
) -> tuple[Float[Tensor, "B R N D"], Float[Tensor, "B R N D"]]:
    """Motion of particles of unit mass under `F_i = sum_j c_i c_j (x_i - x_j) / |x_i - x_j|^3`, in free space.

    Every component of a force is clipped to `max_force`. Symplectic Euler with a full first kick: `v += dt F(x)`,
    then in every step `x += dt v` and `v += dt F(x)`; what is recorded of a step lies between the two. A
    simulation comes out the same, bit for bit, whatever others are simulated with it. Where two particles nearly
    meet, the last digit of a force decides where they fly: such simulations depend on how the processor and the
    version of NumPy round powers.

    Args:
        positions, velocities: at the start.
        charges: of the particles.
        record: the R steps to keep, from 1; the last one ends the simulation.
        dt: time a step.
        max_force: the largest component of a force.

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
        tensor([0.5000, 0.8988], dtype=torch.float64)
    """
    steps = [positive_int(step, "A step to record") for step in record]
    require(len(steps) > 0, "record names no step. Name one at least, such as record=[1000].")
    require(dt > 0 and max_force > 0, f"dt and max_force must be positive, got {dt} and {max_force}.")
    _check_state(positions, velocities, charges)
    # Space first, simulations last: every operation runs along long contiguous rows.
    x, v = (t.detach().cpu().double().permute(2, 1, 0).numpy() for t in (positions, velocities))
    c = charges.detach().cpu().double().T.numpy()
    wanted = sorted(set(steps))
    kept = np.empty((2, len(wanted), *x.shape))

    for start in range(0, x.shape[-1], CHUNK):
        part = slice(start, start + CHUNK)
        _run(x[..., part], v[..., part], c[..., part], wanted, dt, max_force, kept[..., part])
    if not np.isfinite(kept).all():
        raise InputError("Two charged particles came to lie at one place, where the force between them is not defined.")
    order = [wanted.index(step) for step in steps]
    found = torch.from_numpy(kept[:, order]).permute(0, 4, 1, 3, 2).contiguous()
    return found[0], found[1]


def rounding() -> str:
    """Tells apart the ways in which processors and versions of NumPy round powers: what decides a near meeting."""
    powers = np.power(np.linspace(0.01, 10, 4096), 1.5)
    return hashlib.sha256(powers.astype("<f8").tobytes()).hexdigest()[:8]


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

    Every pair is met once. Each particle adds up what the others do to it in the order of their numbers: in the
    few simulations where two particles nearly meet, another order of the same sum ends elsewhere.
    """
    dimension, count, batch = x0.shape
    first, second = np.triu_indices(count, 1)
    pairs = len(first)
    number = np.zeros((count, count), dtype=np.intp)
    number[first, second] = np.arange(pairs)  # pushed by the higher number
    number[second, first] = pairs + np.arange(pairs)  # pushed by the lower one, the other way
    order = np.array([[j + (j >= i) for i in range(count)] for j in range(count - 1)], dtype=np.intp)
    table = number[np.arange(count), order.reshape(count - 1, count)]
    x, v, product = x0.copy(), v0.copy(), c[first] * c[second]
    push = np.empty((dimension, 2 * pairs, batch))
    gap, back = push[:, :pairs], push[:, pairs:]
    ends = np.empty((2, dimension, pairs, batch))
    size = np.empty((pairs, batch))
    pushes = np.empty((dimension, *table.shape, batch))
    force = np.zeros_like(v)

    def kick() -> None:
        # mode="clip" only because the default copies its output once more.
        np.take(x, first, axis=1, out=ends[0], mode="clip")
        np.take(x, second, axis=1, out=ends[1], mode="clip")
        np.subtract(ends[0], ends[1], out=gap)
        np.multiply(gap, gap, out=ends[0])
        np.add.reduce(ends[0], axis=0, out=size)
        np.power(size, 1.5, out=size)
        np.divide(product, size, out=size)
        np.multiply(gap, size, out=gap)
        np.negative(gap, out=back)
        np.take(push, table, axis=1, out=pushes, mode="clip")
        np.add.reduce(pushes, axis=1, out=force)
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
