"""Hourly temperatures over a country: does a process gain by knowing the place, and how far is it from the best known?

A task is one hour: some cells of a patch of 16 x 16 were observed, the others are to be predicted. Weather moves and is
much the same everywhere; coasts and hills do not. A strictly equivariant convolutional process is compared with the
same one with fixed inputs, learned functions of latitude and longitude, and with what an honest comparison needs:
temperatures standardised cell by cell, a transformer without symmetry, inverse distances, a stationary Gaussian process
and, for a fixed region with much history the one to beat, a Gaussian process with the covariance of the training hours.

Source: Ashman et al. 2024, Approximately Equivariant Neural Processes, arXiv 2406.13488, section 5.3. Data: hourly 2 m
temperature of ERA5 (Copernicus/ECMWF); `--set data=FILE.nc` takes any hourly field. Without one an invented country.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equilearn._check import one_of, positive_int, require
from equilearn.data.fields import FieldTask, Gridded, Normalizer, PointSet, from_xarray, write_example_fields
from equilearn.processes import (
    TNP,
    ConvCNP,
    EmpiricalGP,
    InverseDistance,
    NeuralProcess,
    Predictive,
    StationaryGP,
    deviation,
    fit_process,
)
from equilearn.relaxation import FixedInputs
from equilearn.studies._snapshots import pack_matrix
from equilearn.studies._study import Claim, Row, Study

EXAMPLE = "example"
PROCESSES = (
    "strict",
    "relaxed",
    "coordinates alone",
    "never dropped",
    "free",
    "strict, cell by cell",
    "relaxed, cell by cell",
)
"""Convolutional: without fixed inputs, with them, with such of plain coordinates, with such that training never leaves
out; a transformer without symmetry; and the first two on temperatures standardised cell by cell."""
STATISTICS = ("inverse distance", "stationary GP", "empirical GP")
WIDTH, DEPTH, KERNEL, MARGIN, FEATURES = 32, 8, 3, 4, 16
LENGTHS = (0.7, 2.0, 6.0)
"""Of the set convolutions at first, in cells: all points lie upon cells, and may be far apart."""
PER_BATCH = 32
VALIDATED = 2
"""Days of training, the last, that say at which step a network is best: a month of hours is soon learned by heart."""


def configs(
    preset: str,
    seed: int,
    data: str,
    var: str,
    methods: tuple[str, ...],
    train_days: int,
    test_days: int,
    steps: int,
    per_day: int,
    repeats: int,
) -> list[Row]:
    """Every method, trained ones times repeats."""
    for count in (train_days, test_days, steps, per_day, repeats):
        positive_int(count, "Each of train_days, test_days, steps, per_day and repeats")
    for name in methods:
        one_of(name, (*PROCESSES, *STATISTICS), "method of this study")
    require(train_days > VALIDATED, f"train_days must be more than {VALIDATED}, the days kept for validation.")
    common = {"data": data, "var": var, "train_days": train_days, "test_days": test_days, "steps": steps}
    _fields(common)  # says at once what is wrong with the data
    return [
        {**common, "method": name, "per_day": per_day, "seed": seed, "repeat": repeat}
        for name in methods
        for repeat in range(repeats if name in PROCESSES else 1)
    ]


def trial(config: dict[str, Any]) -> Row:
    """Train one method on the first days, and score it on the same tasks of the last days as all others."""
    train, test = _fields(config)
    cells = config["method"].endswith("cell by cell")
    overall, scale = train.normalizer(), train.normalizer(per_cell=cells)
    start = time.process_time()
    model = _fitted(config, train, scale)
    spent = time.process_time() - start
    each, days, off = [], [], []
    for day, task in _tests(test, config):
        each.append(_scores(model, task, scale, overall))
        days += [day] * len(task)
        if _is_relaxed(model):
            with model.equivariant_only():
                off.append(_scores(model, task, scale, overall))
    row: Row = {
        "seconds": spent,
        "each": _rounded(torch.cat(each)),
        "day": days,
        "score": float(torch.cat(each).mean()),
    }
    if isinstance(model, NeuralProcess):
        row["parameters"] = sum(p.numel() for p in model.parameters())
    if off:
        tasks = [scale.normalize(task) for _, task in _tests(test, config)]
        row |= {"off": float(torch.cat(off).mean()), "off_each": _rounded(torch.cat(off))}
        row |= {"deviation": deviation(model, tasks).relative, **_maps(model, train, scale, overall)}
    return row


def _is_relaxed(model: Any) -> bool:
    return isinstance(model, ConvCNP) and model.fixed is not None


def _fields(config: dict[str, Any]) -> tuple[Gridded, Gridded]:
    if config["data"] != EXAMPLE:
        fields = from_xarray(config["data"], config["var"])
        require(len(fields.names) == 1, f"One variable is studied at a time, got {', '.join(fields.names)}.")
        return fields.split(config["train_days"], config["test_days"])
    days = config["train_days"] + config["test_days"]
    with tempfile.TemporaryDirectory() as folder:
        path = write_example_fields(
            Path(folder) / "example.nc", torch.Generator().manual_seed(0), days=days, size=(28, 32)
        )
        return from_xarray(path, "t2m", held=True).split(config["train_days"], config["test_days"])


def _draw(train: Gridded, scale: Normalizer) -> Any:
    def draw(batch: int, generator: torch.Generator) -> FieldTask:
        return train.tasks(batch, generator, normalizer=scale)

    return draw


def _tests(test: Gridded, config: dict[str, Any]) -> list[tuple[int, FieldTask]]:
    """Tasks in the units of the data, with the day that each is of."""
    generator = torch.Generator().manual_seed(20_000 + config["seed"])
    found = []
    days = (test.hours / 24).floor()
    for day, number in enumerate(days.unique().tolist()):
        hours = test.at((days == number).numpy())
        left = config["per_day"]
        while left > 0:
            found.append((day, hours.tasks(min(left, PER_BATCH), generator)))
            left -= PER_BATCH
    return found


def _fitted(config: dict[str, Any], train: Gridded, scale: Normalizer) -> Any:
    """The method, fitted to the training days."""
    name = config["method"]
    some = _draw(train, scale)(256, torch.Generator().manual_seed(config["seed"]))
    if name == "inverse distance":
        return InverseDistance().fit(some)
    if name == "stationary GP":
        return StationaryGP(_spacing(train)).fit(some[:64])
    if name == "empirical GP":
        values = (train.values[..., 0] - scale.mean) / scale.std
        return EmpiricalGP(train.coordinates.flatten(0, 1), values.flatten(1))
    seed = 1000 * config["seed"] + config["repeat"]
    model = _process(name, train, seed)
    rate = 1e-3 if name == "free" else 3e-3
    shown, held_out = train.split(config["train_days"] - VALIDATED, VALIDATED)
    draw = _draw(shown, scale)
    generator = torch.Generator().manual_seed(30_000 + seed)
    validation = [_draw(held_out, scale)(2 * PER_BATCH, generator) for _ in range(3)]
    fit_process(model, draw, steps=config["steps"], learning_rate=rate, seed=seed, validation=validation)
    return model


def _process(name: str, train: Gridded, seed: int) -> NeuralProcess:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "free":
            return TNP(2)
        fixed = None
        if not name.startswith("strict"):
            pad = _spacing(train)
            box = [(float(axis.min()) - pad, float(axis.max()) + pad) for axis in (train.lat, train.lon)]
            features = 0 if name == "coordinates alone" else FEATURES
            drop = 0.0 if name == "never dropped" else 0.5
            fixed = FixedInputs(WIDTH, box, drop=drop, features=features, out=WIDTH)
        net: dict[str, Any] = {"width": WIDTH, "depth": DEPTH, "kernel_size": KERNEL}
        return ConvCNP(2, spacing=_spacing(train), fixed=fixed, margin=MARGIN, lengths=LENGTHS, centred=True, **net)


def _spacing(train: Gridded) -> float:
    return round(float(train.lat.diff().abs().min()), 6)


@torch.no_grad()
def _scores(model: Any, task: FieldTask, scale: Normalizer, overall: Normalizer) -> Tensor:
    """Nats a target of each task, as a density of temperatures in units of their spread over all places and days."""
    model.eval()
    given = scale.normalize(task)
    found: Predictive = model(given)
    mean, std = scale.denormalize(task.target.x, found.mean, found.std)
    unit = overall.scale(task.target.x)
    wanted = Predictive((mean - overall.centre(task.target.x)) / unit, std / unit, task.target.mask)
    return wanted.log_prob(overall.normalize(task).target.y, "tasks")


def _maps(model: NeuralProcess, train: Gridded, scale: Normalizer, overall: Normalizer) -> Row:
    """What the process expects where nothing was observed, on less off, beside the mean of the training days."""
    x = train.coordinates.flatten(0, 1).float()[None]
    nothing = PointSet(x[:, :0], x[:, :0, :1])
    task = FieldTask(nothing, PointSet(x, torch.zeros_like(x[..., :1])))
    on = model.predict(task).mean
    with model.equivariant_only():
        off = model.predict(task).mean
    shape = (len(train.lat), len(train.lon))
    departure = ((on - off) * scale.scale(x)).view(shape)
    mean = train.normalizer(per_cell=True).mean[..., 0]
    both = torch.stack([departure.flatten().double(), mean.flatten()])
    return {
        "departure": pack_matrix(departure),
        "mean": pack_matrix(mean - mean.mean()),
        "departure_with_mean": float(torch.corrcoef(both)[0, 1]),
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def claims(rows: list[Row]) -> list[Claim]:
    """What place is worth, and how close the process comes to knowing the region by heart."""
    gain = _paired(rows, "relaxed", "strict")
    off = _paired(rows, "relaxed", "strict", "off_each")
    free = _paired(rows, "strict", "free")
    features = _paired(rows, "relaxed", "coordinates alone")
    undropped = _mean(rows, "never dropped", "off") - _mean(rows, "strict")
    best, relaxed = _mean(rows, "empirical GP"), _mean(rows, "relaxed")
    said = f"standard error {gain[1]:.3f} over tasks, {gain[2]:.3f} over days"
    return [
        Claim.at_least("place pays", f"Relaxed less strict, nats a target ({said})", gain[0], 0.15),
        Claim.between(
            "falls back", f"Relaxed, switched off, less strict (over tasks {off[1]:.3f})", off[0], -0.05, 0.05
        ),
        Claim.at_most("dropout matters", "Never dropped, switched off, less strict", undropped, -0.1),
        Claim.at_least("features", "Fourier features less coordinates alone", features[0], 0.05),
        Claim.at_least("symmetry pays", "Strict less a transformer without symmetry", free[0], 0.0),
        Claim.at_least(
            "above statistics",
            "Relaxed less a stationary Gaussian process",
            relaxed - _mean(rows, "stationary GP"),
            0.3,
        ),
        Claim.at_most(
            "by heart", "The Gaussian process of the region's own covariance less relaxed", best - relaxed, 0.0
        ),
    ]


def _paired(rows: list[Row], one: str, other: str, column: str = "each") -> tuple[float, float, float]:
    """Mean difference over the shared test tasks, its standard error over tasks, and over days."""
    first = [row[column] for row in rows if row["method"] == one and column in row]
    second = [row["each"] for row in rows if row["method"] == other]
    if not first or not second:
        return math.nan, math.nan, math.nan
    apart = torch.tensor(first).double().mean(0) - torch.tensor(second).double().mean(0)
    day = torch.tensor(next(row["day"] for row in rows if row["method"] == one))
    days = torch.stack([apart[day == d].mean() for d in day.unique()])
    over_tasks, over_days = (float(part.std() / math.sqrt(len(part))) for part in (apart, days))
    return float(apart.mean()), over_tasks, over_days


def _mean(rows: list[Row], method: str, column: str = "score") -> float:
    found = [row[column] for row in rows if row["method"] == method and column in row]
    return sum(found) / len(found) if found else math.nan


STUDY = Study(
    name="era5",
    title="Temperatures over a country: what knowing the place is worth",
    statement=(
        "Fixed inputs let an equivariant process predict hourly temperatures better than the strict one on unseen "
        "days, and leave it as it was where they are off."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "data": EXAMPLE,
        "var": "t2m",
        "methods": ("strict", "relaxed", *STATISTICS),
        "train_days": 12,
        "test_days": 4,
        "steps": 300,
        "per_day": 64,
        "repeats": 1,
    },
    full={
        "methods": (*PROCESSES, *STATISTICS),
        "train_days": 24,
        "test_days": 7,
        "steps": 2500,
        "per_day": 64,
        "repeats": 2,
    },
    plot=[
        {
            "x": "method",
            "y": [["score", "off"]],
            "title": "Log-likelihood a target on unseen days, in nats",
            "caption": "Off: without fixed inputs. All methods predict the same tasks",
        },
        {
            "kind": "matrices",
            "matrix": "departure",
            "label": ["method"],
            "title": "What fixed inputs add where nothing was observed",
            "caption": "North is up where latitudes decrease in the file",
        },
        {
            "kind": "matrices",
            "matrix": "mean",
            "label": ["method"],
            "where": {"method": ["relaxed"]},
            "title": "Mean of the training days, less its mean over all places",
        },
    ],
    weight=lambda config: {"free": 2.0}.get(config["method"], 1.0 if config["method"] in PROCESSES else 0.1),
    takes="three minutes; full, on a month of hours: two hours",
)
