"""Five charged particles: where will they be after a second?"""

from __future__ import annotations

import platform

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.actions import points
from equilearn.data._cache import cached
from equilearn.data._charges import rounding, simulate_charges
from equilearn.data._seed import LEGACY_SEEDS, checked_seed
from equilearn.data._task import Task
from equilearn.groups import Euclidean, Symmetric
from equilearn.symmetry import Symmetry

PARTICLES = 5
PUBLISHED_SEED = 43
SPEED = 0.5
BOX = 5.0
"""Start positions beyond the walls are reflected; later the particles fly freely."""
FRAMES = 49
STEPS_A_FRAME = 100
NOISE_DRAWS = 2 * FRAMES * 3 * PARTICLES
"""Noise of scale zero on all stored frames: drawn after every simulation, never seen."""
TRAIN, VALIDATION, TEST = 10_000, 2_000, 2_000
"""The published splits, in the order of the random stream."""
WORTH_KEEPING = 500


def nbody(
    train: int = 3000,
    test: int = 2000,
    *,
    seed: int = PUBLISHED_SEED,
    frame_in: int = 30,
    frame_out: int = 40,
    held_out: str = "test",
) -> Task:
    """The charged particles of the published benchmark, simulated anew.

    From the positions, velocities and charges of five particles at stored frame `frame_in` to their positions at
    `frame_out`; a frame is 0.1 units of time. With the defaults these are the simulations of the published
    benchmark: charges and start bit for bit, positions to 1e-9 except in the one simulation of ten where two
    particles nearly meet, which the last digit of rounding decides (see `simulate_charges`). On its 2,000 test
    cases the guess that nothing moves has a mean squared error of 0.27152, and that all velocities stay 0.11007.

    Args:
        train: training simulations; the first of the 10,000 published ones, of which studies use 3,000.
        test: held-out simulations.
        seed: of the published random stream; another one gives other particles.
        frame_in, frame_out: stored frames, from 0 to 48.
        held_out: `"test"` or `"validation"`: which of the two published splits of 2,000 is held out.

    Returns:
        A regression with inputs `(B, 5, 7)` (position, velocity, charge) and targets `(B, 5, 3)`, equivariant
        under `Euclidean(3) * Symmetric(5)` up to the clipped forces of near meetings, which single out axes.

    Raises:
        InputError: more simulations than a split has, frames that do not exist, or a seed from 2^32.

    Source: V. G. Satorras, E. Hoogeboom and M. Welling, E(n) Equivariant Graph Neural Networks (2021), section 5.1.

    Cost: about a second for 5,000 simulations, once; they are kept in the cache folder.

    Example:
        >>> task = nbody(20, 10)
        >>> task.x_train.shape, task.y_test.shape
        (torch.Size([20, 5, 7]), torch.Size([10, 5, 3]))
        >>> task.symmetry.group
        E3xS5
    """
    check_sizes(train, test, held_out)
    checked_seed(seed, LEGACY_SEEDS)
    for frame, name in ((frame_in, "frame_in"), (frame_out, "frame_out")):
        require(positive_int(frame, name, 0) < FRAMES, f"{name} must be a frame from 0 to {FRAMES - 1}, got {frame}.")
    # With what decides the last bits: a folder may be shared by machines that round otherwise.
    recipe = {
        **{"train": train, "test": test, "seed": seed, "frames": [frame_in, frame_out], "held_out": held_out},
        **{"numpy": np.__version__, "machine": platform.machine(), "rounding": rounding(), "version": 1},
    }
    shapes = {"x": (train + test, PARTICLES, 7), "y": (train + test, PARTICLES, 3)}

    def build() -> dict[str, Tensor]:
        return _build(train, test, seed, (frame_in, frame_out), TRAIN + (VALIDATION if held_out == "test" else 0))

    tensors = cached("nbody", recipe, shapes, build) if train + test > WORTH_KEEPING else build()
    x, y = (tensors[name].to(torch.get_default_dtype()) for name in ("x", "y"))
    group = Euclidean(3) * Symmetric(PARTICLES)
    return Task(
        name="nbody",
        x_train=x[:train],
        y_train=y[:train],
        x_test=x[train:],
        y_test=y[train:],
        kind="regression",
        symmetry=Symmetry(group, input=points(PARTICLES, vectors=1, scalars=1), output=points(PARTICLES)),
        about=f"Five charged particles, their positions {(frame_out - frame_in) / 10:g} units of time later",
    )


def check_sizes(train: int, test: int, held_out: str) -> None:
    """Raise `InputError` unless the published splits hold as many simulations."""
    positive_int(train, "train")
    positive_int(test, "test")
    require(held_out in ("test", "validation"), f"held_out must be 'test' or 'validation', got {held_out!r}.")
    most = TEST if held_out == "test" else VALIDATION
    require(train <= TRAIN, f"There are {TRAIN:,} published training simulations; {train:,} were asked for.")
    require(test <= most, f"There are {most:,} published {held_out} simulations; {test:,} were asked for.")


def _build(train: int, test: int, seed: int, frames: tuple[int, int], offset: int) -> dict[str, Tensor]:
    chosen = [*range(train), *range(offset, offset + test)]
    positions, velocities, charges = draw_particles(chosen, seed)
    steps = [STEPS_A_FRAME * (frame + 1) for frame in frames]
    where, speed = simulate_charges(positions, velocities, charges, steps)
    x = torch.cat([where[:, 0], speed[:, 0], charges.unsqueeze(-1)], dim=-1)
    return {"x": x, "y": where[:, 1].contiguous()}


def draw_particles(
    chosen: list[int], seed: int
) -> tuple[Float[Tensor, "B 5 3"], Float[Tensor, "B 5 3"], Float[Tensor, "B 5"]]:
    """Start positions, velocities and charges of the simulations numbered `chosen` in the published stream.

    The stream is NumPy's legacy generator, whose normal draws reject: only drawing all that comes before leads
    to a simulation. Per simulation come 5 charges, 15 positions, 15 velocities and the unseen noise.
    """
    stream = np.random.RandomState(seed)
    wanted = set(chosen)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for index in range(max(chosen, default=-1) + 1):
        # What choice([-1, 0, 1], p=[0.5, 0, 0.5]) makes of its uniform draws.
        signs = np.where(stream.random_sample(PARTICLES) < 0.5, -1.0, 1.0)
        normal = stream.randn(6 * PARTICLES + NOISE_DRAWS)
        if index in wanted:
            found[index] = signs, normal[: 6 * PARTICLES]
    if not chosen:
        return torch.zeros(0, 5, 3).double(), torch.zeros(0, 5, 3).double(), torch.zeros(0, 5).double()
    charges = np.stack([found[index][0] for index in chosen])
    normal = np.stack([found[index][1] for index in chosen]).reshape(-1, 2, 3, PARTICLES)
    x, v = normal[:, 0].copy(), normal[:, 1]
    v = v * SPEED / np.sqrt((v**2).sum(axis=1, keepdims=True))
    over, under = x > BOX, x < -BOX
    x = np.where(over, 2 * BOX - x, np.where(under, -2 * BOX - x, x))
    v = np.where(over, -np.abs(v), np.where(under, np.abs(v), v))
    turned = (torch.from_numpy(np.ascontiguousarray(t.transpose(0, 2, 1))) for t in (x, v))
    return next(turned), next(turned), torch.from_numpy(charges)
