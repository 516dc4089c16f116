"""A field made ready: training and held-out times, tasks, units, places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.data.fields import FieldTask, Gridded, PointSet, Stations
from equilearn.processes.field._moments import Moments, moments
from equilearn.processes.field._view import View, nearest

LEAST_TRAINING, LEAST_TEST = 8, 2
"""Times below which nothing is fitted, and nothing scored."""
TARGETS = 64
"""Cells of a patch that a training task predicts, by chance: neighbours say much the same, and cost as much."""
MOST_SIDE = 64
"""Cells a side of the lattice that is laid over stations, at most."""
Field = Gridded | Stations


@dataclass(frozen=True, eq=False)
class FieldData:
    """What a field is fitted on and scored on.

    Args:
        train, test: the times of each.
        view: how a process sees them.
        patch: rows and columns of a task; None for stations, whose tasks are whole.
        context: least and most observations of a task.
        lat, lon: of the grid on which predictions are made.
        static: static fields there, `(H, W, S)`.
        cells: mean and deviation of the training times, over all and at each place.
        scale: cells in a step of what a process sees.
    """

    train: Field
    test: Field
    view: View
    patch: tuple[int, int] | None
    context: tuple[int, int]
    lat: Float[Tensor, "H"]
    lon: Float[Tensor, "W"]
    static: Float[Tensor, "H W S"]
    cells: Moments
    scale: float = 1.0

    @property
    def name(self) -> str:
        """Of the variable."""
        return self.train.names[0]

    @property
    def units(self) -> str:
        """Of the variable."""
        return self.train.units[0]

    @property
    def box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Latitudes and longitudes between which the training data lie."""
        places = self.cells.places
        (a, c), (b, d) = places.amin(0).tolist(), places.amax(0).tolist()
        return (a, b), (c, d)

    @property
    def days(self) -> Int[Tensor, "T"]:
        """The day of each held-out time."""
        return torch.floor(self.test.hours / 24).long()

    def draw(
        self, batch: int, generator: torch.Generator, *, held_out: bool = False, times: Tensor | None = None
    ) -> FieldTask:
        """Random tasks of the training times, or of those held out, as a process sees them."""
        source = self.test if held_out else self.train
        if isinstance(source, Gridded):
            target = None if held_out else TARGETS
            task = source.tasks(batch, generator, times=times, patch=self.patch, context=self.context, target=target)
        else:
            task = source.tasks(batch, generator, times=times, context=self.context)
        return self.view.task(task)

    def mean_map(self) -> Float[Tensor, "H W"]:
        """Mean of the training times in each cell of the grid; NaN where nothing was observed."""
        grid = torch.stack(torch.meshgrid(self.lat, self.lon, indexing="ij"), -1)
        kept = self.cells.count > 0
        index, distance = nearest(self.view.locations(grid), self.view.locations(self.cells.places[kept]))
        step = 0.5 if isinstance(self.train, Gridded) else 1.0
        return torch.where(distance * self.scale < step, self.cells.mean[kept][index], torch.nan)

    def drawing(self) -> Callable[[int, torch.Generator], FieldTask]:
        """Tasks to train on."""
        return lambda batch, generator: self.draw(batch, generator)


def prepare(
    field: Field,
    *,
    patch: tuple[int, int] | None = None,
    context: tuple[int, int] | None = None,
    train_days: float | None = None,
    test_days: float | None = None,
    scale: float = 1.0,
) -> FieldData:
    """Divide the times, look once at all of training, and decide in which steps a process sees locations.

    Args:
        field: of one variable.
        patch: rows and columns of a task; default 16 x 16 as far as the grid goes.
        context: least and most observations of a task; default 5 to 100 on a grid, 3 to three quarters of stations.
        train_days: from the first time on; default all that are not held out.
        test_days: the last; default a quarter of all days, or of all times where there are fewer than four days.
        scale: cells in a step of what the process sees.

    Raises:
        InputError: no times, too few, several variables, a patch or context that does not fit, all NaN.

    Cost: reads the training times twice.
    """
    require(len(field.names) == 1, f"One variable at a time: got {', '.join(field.names)}.")
    require(
        bool(field.reference),
        f"{field.names[0]} has no time coordinate: some times are to train on, and others held out.",
    )
    train, test = _divided(field, train_days, test_days)
    if isinstance(field, Gridded):
        patch = patch or (min(16, len(field.lat)), min(16, len(field.lon)))
        most = patch[0] * patch[1]
        context = context or (min(5, max(1, most // 8)), min(100, most // 2))
        lat, lon, static = field.lat, field.lon, field.static
        step = tuple(_step(axis) for axis in (lat, lon))
        step = tuple(s or max(step) or 1.0 for s in step)
    else:
        require(patch is None, "Stations have no patches: a task is all of them at one time. Leave --patch out.")
        most = int(torch.bincount(train.time).max())  # type: ignore[union-attr]
        context = context or (min(3, most - 1), max(min(3, most - 1), (3 * most) // 4))
        lat, lon, step = _lattice_over(train)  # type: ignore[arg-type]
        static = torch.zeros(len(lat), len(lon), 0, dtype=torch.float64)
    require(
        context[1] < most,
        f"--context {context[0]},{context[1]}: a task has {most} places, of which at least one is to be predicted.",
    )
    origin = tuple(float(axis.sort().values[len(axis) // 2]) for axis in (lat, lon))
    cells, slopes, centres = moments(train)
    view = View(origin, tuple(scale * s for s in step), slopes, centres)  # type: ignore[arg-type]
    return FieldData(train, test, view, patch, context, lat.double(), lon.double(), static.double(), cells, scale)


def _divided(field: Field, train_days: float | None, test_days: float | None) -> tuple[Field, Field]:
    """The first times, and the last."""
    least = LEAST_TRAINING + LEAST_TEST
    require(
        len(field) >= least,
        f"Too few times: {len(field)}, and at least {least} are needed, {LEAST_TRAINING} of them to train on.",
    )
    for value, name in ((train_days, "--train-days"), (test_days, "--test-days")):
        require(value is None or value > 0, f"{name} must be positive, got {value}.")
    start = 24 * torch.floor(field.hours[0] / 24)
    days = float(torch.ceil((field.hours[-1] - start + 1e-6) / 24))
    if train_days is None and test_days is None and days < 4:
        cut = len(field) - max(LEAST_TEST, len(field) // 4)
        parts: tuple[Field, Field] = field.at(slice(cut)), field.at(slice(cut, None))
    else:
        if test_days is None and train_days is None:
            test_days = float(int(days) // 4)
        if train_days is None:
            train_days = days - (test_days or 0.0)
        require(train_days > 0, f"{test_days:g} days held out of {days:g} leave none to train on.")
        parts = field.split(train_days, test_days)
    for part, needed, what in ((parts[0], LEAST_TRAINING, "to train on"), (parts[1], LEAST_TEST, "held out")):
        require(
            len(part) >= needed,
            f"Too few times {what}: {len(part)}, and at least {needed} are needed. Change --train-days or --test-days.",
        )
    return parts


def _step(axis: Tensor) -> float:
    """From one line of a grid to the next."""
    return float(axis.double().diff().abs().median()) if len(axis) > 1 else 0.0


def _lattice_over(stations: Stations) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Lines of a grid over all stations, half as far apart as these are from their neighbours."""
    places = torch.unique(stations.x[:, :2].double(), dim=0)
    require(len(places) > 2, f"{len(places)} places are too few to learn a field from.")
    low, high = places.amin(0), places.amax(0)
    span = float((high - low).max())
    require(span > 0, "All stations lie at one place.")
    apart = torch.cdist(places, places).fill_diagonal_(float("inf")).amin(1)
    step = max(float(apart.median()) / 2, span / MOST_SIDE)
    first, last = torch.floor(low / step).tolist(), torch.ceil(high / step).tolist()
    axes = [torch.arange(a, b + 1, dtype=torch.float64) * step for a, b in zip(first, last, strict=True)]
    return axes[0], axes[1], (step, step)


def whole_tasks(data: FieldData, times: Int[Tensor, "n"], seed: int) -> tuple[list[PointSet], list[PointSet]]:
    """At some held-out times: observations of the whole field, as dense as in training, and all that is known.

    Raises:
        InputError: nothing was observed at one of the times.
    """
    generator = torch.Generator().manual_seed(seed)
    middle = float(np.sqrt(max(data.context[0], 1) * data.context[1]))
    contexts, known = [], []
    for time in times.tolist():
        points = data.test.points([time], dtype=torch.float64)
        seen = points.mask[0].nonzero().flatten()
        if len(seen) == 0:
            raise InputError(f"Nothing was observed at the held-out time {time}.")
        share = middle / (data.patch[0] * data.patch[1]) if data.patch else 0.5
        count = min(max(1, round(share * len(seen))), len(seen))
        chosen = seen[torch.randperm(len(seen), generator=generator)[:count].sort().values]
        contexts.append(PointSet(points.x[:, chosen], points.y[:, chosen], points.mask[:, chosen]))
        known.append(points)
    return contexts, known
