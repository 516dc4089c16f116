"""Fit a process to a field, and score it beside what else one could do."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equilearn._check import InputError, one_of, positive_int, require
from equilearn.data.fields import FieldTask, Gridded
from equilearn.processes._baselines import EmpiricalGP, InverseDistance, StationaryGP
from equilearn.processes._fit import fit_process
from equilearn.processes._predictive import Predictive
from equilearn.processes.field import _networks as networks
from equilearn.processes.field._climatology import Climatology
from equilearn.processes.field._data import Field, FieldData, prepare
from equilearn.processes.field._model import FieldConfig, FieldModel
from equilearn.processes.field._score import HeldOut, Scores, held_out, row, score

Progress = Callable[[int, int, float | None], None]
"""`progress(done, total, seconds_left)`."""
GP_TASKS, IDW_TASKS = 48, 128
"""Training tasks that the stationary Gaussian process and the inverse distances are fitted to."""
MOST_CELLS = 4096
"""Cells of a grid whose whole covariance is estimated."""
SCALE = 8.0
"""Cells in a unit of location for attention: differences within a patch are then of order one."""
RATES = {"lattice": 6e-3, "attention": 1e-3}


@dataclass(frozen=True, eq=False)
class FieldFit:
    """What `fit_field` gives back.

    Args:
        model: the process, trained.
        strict: the same without fixed inputs, where it was asked for.
        data: what it was trained and scored on.
        rows: one for each method: `label`, `log_likelihood`, `less` (paired), `rmse`, `coverage`.
        tasks: held-out tasks that were scored.
        seconds: of training.
        history: of the loss.
    """

    model: FieldModel
    strict: FieldModel | None
    data: FieldData
    rows: tuple[dict[str, Any], ...]
    tasks: int
    seconds: float
    history: tuple[dict[str, float], ...]

    def gain(self) -> dict[str, float | None] | None:
        """Nats a target that using place pays: relaxed less strict where that was trained, else less switched off."""
        for name in ("strict", "off"):
            for found in self.rows:
                if found["method"] == name and found["less"] is not None:
                    less = found["less"]
                    return {**less, "mean": -less["mean"]}
        return None


def fit_field(
    field: Field,
    *,
    model: str = "convcnp",
    strict: bool = False,
    compare: bool = False,
    patch: tuple[int, int] | None = None,
    context: tuple[int, int] | None = None,
    train_days: float | None = None,
    test_days: float | None = None,
    preset: str = "quick",
    steps: int | None = None,
    seed: int = 0,
    checkpoints: str | os.PathLike[str] | None = None,
    check: Callable[[FieldData, FieldConfig], None] | None = None,
    progress: Progress | None = None,
) -> FieldFit:
    """Fit a process to the first days of a field, and score it on the last ones beside simpler methods.

    Args:
        field: of one variable, from `from_xarray` or `from_stations`.
        model: `convcnp` (relaxed, as are all with a symmetry), `unet`, `equivcnp`, `relaxedconvcnp`, `tetnp`,
            `tepttnp`; without a symmetry `cnp`, `tnp`, `pttnp`.
        strict: keep the symmetry exactly.
        compare: train the strict process as well.
        patch: rows and columns of a task; default 16 x 16. Not for stations.
        context: least and most observations of a task; default 5 to 100, of stations 3 to three quarters.
        train_days, test_days: the first and the last; default the last quarter is held out.
        preset: `quick` or `full`.
        steps: of training; default the preset's.
        seed: of weights, tasks and held-out tasks.
        checkpoints: a folder in which training is kept, so that it goes on after a stop.
        check: called before training, so that what cannot be used is refused in time.
        progress: `progress(done, total, seconds_left)`.

    Raises:
        InputError: what does not fit: too few times, no time coordinate, all NaN, a patch larger than the grid, ...

    Cost: with `quick` about 0.04 s a step of 8 tasks of 16 x 16 cells on one core; of attention several times that.

    Source: Ashman et al. 2024, Approximately Equivariant Neural Processes.

    Example:
        >>> import tempfile
        >>> from equilearn.data.fields import from_xarray, write_example_fields
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_example_fields(f"{folder}/uk.nc", torch.Generator().manual_seed(0))
        ...     field = from_xarray(path, "t2m", held=True)
        >>> fit = fit_field(field, steps=2, patch=(8, 8), context=(3, 20))
        >>> fit.model.relaxed, [row["method"] for row in fit.rows][:2]
        (True, ['fitted', 'off'])
    """
    one_of(model, networks.NAMES, "model of a field")
    size = networks.PRESETS[one_of(preset, networks.PRESETS, "preset")]
    size = size if steps is None else replace(size, steps=positive_int(steps, "steps"))
    positive_int(seed, "seed", 0)
    require(not (compare and (strict or model in networks.FREE)), _nothing_to_compare(model))
    scale = 1.0 if model in networks.LATTICE else SCALE
    data = prepare(field, patch=patch, context=context, train_days=train_days, test_days=test_days, scale=scale)
    if check is not None:
        check(data, FieldConfig.of(data, model, strict, size))
    held = held_out(data, size.tasks, seed + 20_000)
    kinds = [strict] + [True] * compare
    fitted, seconds, history = [], 0.0, ()
    for place, kind in enumerate(kinds):
        made = FieldModel.of(data, model, kind, size, seed)
        told = None if progress is None else _part(progress, place, len(kinds), size.steps)
        file = None if checkpoints is None else Path(checkpoints) / ("strict.ckpt" if place else "training.ckpt")
        done = _train(made, data, size, seed, file, told)
        fitted.append(made)
        if place == 0:
            seconds, history = done.seconds, done.history
    rows = _rows(data, held, fitted[0], fitted[1] if compare else None, seed)
    return FieldFit(fitted[0], fitted[1] if compare else None, data, rows, len(held), seconds, history)


def _nothing_to_compare(model: str) -> str:
    if model in networks.FREE:
        return f"{model} has no symmetry: there is no strict process to compare it with. Leave --compare out."
    return "--strict is the strict process already: leave --compare out."


def _part(progress: Progress, place: int, parts: int, steps: int) -> Callable[[int, int, float], None]:
    """Progress of one of several trainings as that of all, with the time left."""
    begun: tuple[float, int] | None = None

    def told(done: int, total: int, loss: float) -> None:
        nonlocal begun
        now = time.perf_counter()
        begun = begun or (now, done)  # a run that is resumed begins later
        since, left = done - begun[1], (parts - place) * steps - done
        progress(place * steps + done, parts * steps, left * (now - begun[0]) / since if since else None)

    return told


def _train(model: FieldModel, data: FieldData, size: networks.Size, seed: int, file: Path | None, progress: Any) -> Any:
    rate = RATES["lattice" if model.config.model in networks.LATTICE else "attention"]
    return fit_process(
        model.process,
        data.drawing(),
        steps=size.steps,
        batch_size=size.batch,
        learning_rate=rate,
        seed=seed,
        checkpoint=file,
        settings={"field": model.config.as_dict(), "times": [len(data.train), len(data.test)]},
        progress=progress,
    )


# --- the table -----------------------------------------------------------------------------


def _rows(
    data: FieldData, held: HeldOut, model: FieldModel, strict: FieldModel | None, seed: int
) -> tuple[dict[str, Any], ...]:
    """The process, and what it is compared with, on the same tasks."""
    name = model.config.model
    label = f"{name}, {'relaxed' if model.relaxed else 'strict' if model.config.strict else 'no symmetry'}"
    found: list[tuple[str, str, Scores]] = [("fitted", label, score(_evaluated(model), held))]
    if model.relaxed:
        with model.process.equivariant_only():
            found.append(("off", "the same, switched off", score(_evaluated(model), held)))
    if strict is not None:
        found.append(("strict", f"{name}, strict", score(_evaluated(strict), held)))
    for key, said, predict in _baselines(data, seed):
        found.append((key, said, score(predict, held)))
    main = found[0][2]
    return tuple(row(key, said, scores, held, main) for key, said, scores in found)


def _evaluated(model: FieldModel) -> Callable[[FieldTask], Predictive]:
    model.process.eval()
    return model.process


def _baselines(data: FieldData, seed: int) -> list[tuple[str, str, Callable[[FieldTask], Predictive]]]:
    """What needs no training, fitted to tasks of the training times."""
    generator = torch.Generator().manual_seed(seed + 10_000)
    some = _on_the_ground(_scaled(data.draw(IDW_TASKS, generator), data), data)
    found: list[tuple[str, str, Callable[[FieldTask], Predictive]]] = []
    for key, said, make in (
        ("gp", "stationary GP", lambda: StationaryGP(4.0).fit(some[:GP_TASKS])),
        ("idw", "inverse distance", lambda: InverseDistance().fit(some)),
    ):
        try:
            made = make()
        except InputError:  # a covariance that is singular, say; the others still stand
            continue
        found.append((key, said, _unscaled(lambda task, made=made: made(_on_the_ground(task, data)), data)))
    drift = data.view.drift(_cells(data))[:, 0]
    climatology = Climatology(data.cells, data.view, drift)
    found.append(("climatology", "climatology of each place", climatology))
    if isinstance(data.train, Gridded) and len(data.cells.places) <= MOST_CELLS:
        found.append(("empirical", "GP of the region", _unscaled(_empirical(data), data)))
    return found


def _cells(data: FieldData) -> Tensor:
    """Locations of all places, with their static fields."""
    if isinstance(data.train, Gridded):
        x = data.train.coordinates.flatten(0, 1).double()
        return x[torch.isfinite(x).all(-1)]
    return torch.unique(data.train.x.double(), dim=0)


def _empirical(data: FieldData) -> EmpiricalGP:
    x = data.train.coordinates.flatten(0, 1).double()  # type: ignore[union-attr]
    y = data.train.values[..., 0].double().flatten(1)  # type: ignore[union-attr]
    mean, std = data.cells.rest
    kept = torch.isfinite(x).all(-1)
    values = (y[:, kept] - data.view.drift(x[kept])[:, 0] - mean) / std
    return EmpiricalGP(data.view.locations(x[kept]), values)


def _scaled(task: FieldTask, data: FieldData) -> FieldTask:
    """Values in units of their spread about their mean, as the simpler methods take them."""
    mean, std = data.cells.rest
    parts = (replace(part, y=(part.y - mean) / std) for part in (task.context, task.target))
    return FieldTask(*parts)


def _unscaled(predict: Callable[[FieldTask], Predictive], data: FieldData) -> Callable[[FieldTask], Predictive]:
    mean, std = data.cells.rest

    def told(task: FieldTask) -> Predictive:
        found = predict(_scaled(task, data))
        return replace(found, mean=found.mean * std + mean, std=found.std * std)

    return told


def _on_the_ground(task: FieldTask, data: FieldData) -> FieldTask:
    """Locations in steps of latitude whichever way one goes: what depends on distance should take true ones."""
    lat, lon = data.view.step
    (low, high), (west, east) = data.box
    degrees = abs(low) <= 90 and abs(high) <= 90 and abs(west) <= 360 and abs(east) <= 360
    shrink = math.cos(math.radians((low + high) / 2)) if degrees else 1.0
    factors = torch.tensor([1.0, max(shrink, 0.05) * lon / lat])
    return task.moved(lambda x: x * factors.to(x))
