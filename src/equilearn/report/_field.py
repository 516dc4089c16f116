"""The report of a field: does place matter, how good is the prediction, where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equilearn.report import _common as common
from equilearn.report._common import Fact, Figure
from equilearn.report._format import (
    MISSING,
    count,
    fixed,
    number,
    record,
    records,
    seconds,
    sentence,
    significant,
    strings,
    text,
)
from equilearn.report._maps import Ground, spans, unpacked_map, world_map
from equilearn.report._table import Cell, Column, Table, blank, figure, words

MOST_LINES = 60
"""Stations shown; stations.csv has all."""

_HEADINGS = {
    "departs": "Place matters",
    "holds": "Place was not found to matter",
    "harmed": "Using the place does harm here",
}
DEFINITIONS = (
    Fact(
        "Methods",
        "Stationary GP: a Gaussian process whose covariance depends on the distance, by maximum likelihood. Inverse "
        "distance: the mean of what was observed, weighted by one over the squared distance. Climatology: mean and "
        "deviation of each place in training, whatever was observed. GP of the region: with the mean and covariance "
        "that the training times show, cell by cell; it knows this grid by heart and nothing of other places.",
    ),
    Fact(
        "Nats a target",
        "The mean log density of the values held out, each in units of the standard deviation of all training values, "
        "so that 0 nats are about what a normal distribution of a quarter of that deviation gives to its own values. "
        "Differences do not depend on the unit. More is better: a prediction that is off and sure of itself pays.",
    ),
    Fact(
        "Standard errors",
        "Over tasks as if each were drawn by itself; over days from the means of days, since hours of one day resemble "
        "each other. The larger is the honest one. Differences are paired: both methods predict the same values.",
    ),
    Fact(
        "Switched off",
        "The process learns functions of latitude and longitude that do not move with the data. Switched off, what is "
        "left is exactly equivariant: it predicts the same wherever the same is observed. In half of the training "
        "tasks they are left out, so that this part is trained too.",
    ),
    Fact(
        "Departure",
        "The predicted mean with these functions less that without them, in the units of the data.",
    ),
    Fact(
        "In the 90 % interval",
        "The share of held-out values within 1.645 predicted deviations of the predicted mean. Less than 90 % says "
        "that the deviations are too small for these days.",
    ),
)


def context(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of a field report needs."""
    model, field, maps = record(summary.get("model")), record(summary.get("field")), record(summary.get("maps"))
    name, unit = text(model.get("variable"), "the field"), text(model.get("units"))
    rows = records(summary.get("rows"))
    title = _HEADINGS.get(text(summary.get("verdict")), "A field, predicted")
    return {
        "title": f"{title}: {name}",
        "heading": f"{title}: {name}",
        "eyebrow": "equilearn field",
        "answer": [sentence(line) for line in strings(summary.get("answer"))],
        "facts_of_task": _facts(model, field, summary),
        "notes": [sentence(note) for note in strings(summary.get("notes"))],
        "scores": _scores(rows, unit, summary) if rows else None,
        "fields": _fields(maps, unit, name, bool(record(summary.get("prediction")).get("held_out", True))),
        "learned": _learned(maps, unit),
        "learned_said": _learned_said(maps),
        "stations": _stations(record(summary.get("prediction")), unit),
        "files": _files(strings(summary.get("files")), unit),
        "definitions": list(DEFINITIONS),
        "reproduce": common.reproduce(
            summary, [Fact("seed", text(summary["seed"]))] if summary.get("seed") is not None else []
        ),
    }


def _facts(model: Mapping[str, Any], field: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Fact]:
    unit = text(model.get("units"), "no units given")
    facts = [Fact("Variable", f"{text(model.get('variable'), MISSING)} ({unit})")]
    facts.append(Fact("Process", _process(model)))
    if field:
        places = "stations" if field.get("stations") else "cells"
        facts.append(Fact("Data", f"{text(field.get('file'), MISSING)}, {count(field.get('places'))} {places}"))
        for key, said in (("train", "Trained on"), ("test", "Held out")):
            part = record(field.get(key))
            facts.append(Fact(said, f"{count(part.get('count'))} times, {_span(part)}"))
        facts.append(Fact("A task", _task(field)))
        facts += [
            Fact(f"{text(k)} takes off", f"{significant(v, 2)} {text(model.get('units'))} a unit".replace("  ", " "))
            for k, v in record(field.get("static")).items()
        ]
    facts.append(Fact("Predicted", _span(record(summary.get("prediction")))))
    if number(model.get("seconds")) is not None:
        facts.append(Fact("Training", f"{count(model.get('steps'))} steps, {seconds(model.get('seconds'))}"))
    return facts


def _process(model: Mapping[str, Any]) -> str:
    kind = "relaxed" if model.get("relaxed") else "strict" if model.get("strict") else "no symmetry"
    return f"{text(model.get('name'), MISSING)}, {kind}, {count(model.get('parameters'))} weights"


def _span(part: Mapping[str, Any]) -> str:
    first, last = (text(part.get(k), MISSING)[:16].replace("T", " ") for k in ("first", "last"))
    return first if first == last else f"{first} to {last}"


def _task(field: Mapping[str, Any]) -> str:
    patch, seen = field.get("patch"), field.get("context")
    where = f"{patch[0]} × {patch[1]} cells, " if isinstance(patch, list | tuple) and len(patch) == 2 else ""
    many = f"{seen[0]} to {seen[1]} observed" if isinstance(seen, list | tuple) and len(seen) == 2 else MISSING
    return where + many


# --- scores --------------------------------------------------------------------------------


def _scores(rows: Sequence[Mapping[str, Any]], unit: str, summary: Mapping[str, Any]) -> Table:
    columns = [
        Column("Method"),
        Column("Log-likelihood", True, ("nats a target", "se over tasks", "se over days"), "nats a target"),
        Column("Less the first, paired", True, ("less the first", "se over tasks", "se over days"), "nats a target"),
        Column("Error", True, unit=f"root mean square, {unit or 'no units'}"),
        Column("In the 90 % interval", True, unit="%"),
    ]
    cells = [
        [
            words(row.get("label")),
            _with_errors(record(row.get("log_likelihood"))),
            _with_errors(record(row.get("less"))),
            figure(row.get("rmse")),
            _share(row.get("coverage")),
        ]
        for row in rows
    ]
    days = count(record(summary.get("field")).get("days"))
    note = (
        f"The same {count(summary.get('tasks'))} tasks of {days} held-out days for all. Behind ±: the standard error "
        "over tasks, then over days."
    )
    return Table("scores", "Prediction of held-out times", columns, cells, note)


def _with_errors(found: Mapping[str, Any]) -> Cell:
    mean = number(found.get("mean"))
    if mean is None:
        return blank(width=3)
    ends = [number(found.get(key)) for key in ("over_tasks", "over_days")]
    said = ", ".join(fixed(e, 3) for e in ends if e is not None)
    copy = tuple("" if v is None else repr(v) for v in (mean, *ends))
    return Cell(fixed(mean, 3), f"± {said}" if said else "", sort=mean, copy=copy)


def _share(value: object) -> Cell:
    share = number(value)
    return blank() if share is None else figure(100 * share, f"{100 * share:.0f}")


# --- maps ----------------------------------------------------------------------------------


def _ground(maps: Mapping[str, Any]) -> Ground | None:
    ends = [maps.get(key) for key in ("lat", "lon")]
    known = [[number(v) for v in e] for e in ends if isinstance(e, list | tuple) and len(e) == 2]
    if len(known) < 2 or any(v is None for e in known for v in e):
        return None
    (a, b), (c, d) = known
    return Ground((a, b), (c, d))  # type: ignore[arg-type]


def _points(given: object, values: bool = False) -> list[list[float]]:
    least = 3 if values else 2
    found = []
    for point in given if isinstance(given, list | tuple) else ():
        numbers = [number(v) for v in point] if isinstance(point, list | tuple) else []
        if len(numbers) >= least and all(v is not None for v in numbers[:least]):
            found.append(numbers[:least])
    return found  # type: ignore[return-value]


def _values(points: Sequence[Sequence[float]]) -> np.ndarray | None:
    return np.array([[p[2] for p in points]]) if points else None


def _fields(maps: Mapping[str, Any], unit: str, name: str, held_out: bool) -> Figure | None:
    """What was held out, predicted, its uncertainty and its error; the first two on one scale."""
    ground = _ground(maps)
    mean, std, truth, error = (unpacked_map(maps.get(key)) for key in ("mean", "std", "truth", "error"))
    if ground is None or mean is None:
        return None
    bar = unit or "no units"
    seen, errors = _points(maps.get("observed")), _points(maps.get("errors"), values=True)
    shared = spans([mean, truth])
    made = {"ground": ground, "bar": bar, "shape": mean.shape}
    panels = []
    if truth is not None:
        svg = world_map(truth, uid="map-truth", title=f"{name}, held out", span=shared, points=seen, **made)
        panels.append(("Held out; observed at the dots", svg))
    dots = () if truth is not None else seen
    svg = world_map(mean, uid="map-mean", title=f"{name}, predicted mean", span=shared, points=dots, **made)
    panels.append(("Predicted mean" + ("" if truth is not None else "; observed at the dots"), svg))
    if std is not None:
        top = (0.0, spans([std])[1])
        made_std = world_map(std, uid="map-std", title="Predicted deviation", span=top, kind="spread", **made)
        panels.append(("Predicted standard deviation", made_std))
    if error is not None or errors:
        span = spans([error, _values(errors)], signed=True)
        svg = world_map(
            error, uid="map-error", title="Error of the mean", span=span, kind="signed", points=errors, **made
        )
        said = "Predicted less held out" if held_out else "Predicted from the others less observed"
        panels.append((said + ("" if error is not None else ", at stations"), svg))
    when = text(maps.get("time")).replace("T", " ")[:16]
    said = f"{name} at {when}. " + ("Mean and truth have one colour scale. " if truth is not None else "")
    said += "predictions.nc has every predicted time."
    return Figure("fields", said, tuple(panels))


def _learned(maps: Mapping[str, Any], unit: str) -> Figure | None:
    """The departure from symmetry and the mean of training, on one scale."""
    ground = _ground(maps)
    departure, mean = unpacked_map(maps.get("departure")), unpacked_map(maps.get("training_mean"))
    if ground is None or departure is None:
        return None
    stations = _points(maps.get("training_points"), values=True)
    shared = spans([departure, mean, _values(stations)], signed=True)
    made = {"ground": ground, "bar": unit or "no units", "span": shared, "kind": "signed", "shape": departure.shape}
    panels = [
        (
            "Learned departure from symmetry",
            world_map(departure, uid="map-departure", title="Mean with knowledge of place less without", **made),
        )
    ]
    if mean is not None or stations:
        title = "Mean of the training times"
        svg = world_map(mean, uid="map-training-mean", title=title, points=stations, **made)
        panels.append(("Mean of the training times", svg))
    said = (
        f"The departure: {text(maps.get('departure_from'), 'predicted')}. The mean: of each place, less that of all. "
        "One colour scale for both."
    )
    return Figure("learned-maps", said, tuple(panels))


def _learned_said(maps: Mapping[str, Any]) -> str:
    found = number(maps.get("correlation"))
    if found is None:
        return ""
    return (
        f"The correlation of the two maps over cells is {fixed(found, 2)}. Near 1, what the process has learned of "
        "places is that some are always warmer, higher or wetter than others; near 0, it is something else."
    )


# --- stations and files --------------------------------------------------------------------


def _stations(prediction: Mapping[str, Any], unit: str) -> Table | None:
    lines = records(prediction.get("stations"))
    if not lines:
        return None
    shown = unit or "no units"
    columns = [
        Column("Station"),
        Column("Time"),
        Column("Latitude", True),
        Column("Longitude", True),
        Column("Held out" if prediction.get("held_out") else "Observed", True, unit=shown),
        Column("Mean", True, unit=shown),
        Column("Deviation", True, unit=shown),
    ]
    named = any(text(line.get("station")) for line in lines)
    cells = [
        [
            words(line.get("station")),
            words(text(line.get("time")).replace("T", " ")[:16]),
            *(figure(line.get(k), significant(line.get(k), 4)) for k in ("lat", "lon", "observed", "mean")),
            figure(line.get("std"), significant(line.get("std"), 2)),
        ][0 if named else 1 :]
        for line in lines[:MOST_LINES]
    ]
    note = "A station that was observed is predicted from the others, without its own observation. "
    if prediction.get("held_out"):
        note = "Stations that were not shown to the process at that time. "
    if len(lines) > MOST_LINES:
        note += f"The first {MOST_LINES} of {len(lines):,} lines; stations.csv has all."
    return Table("stations", "Prediction at stations", columns[0 if named else 1 :], cells, note.strip())


def _files(names: Sequence[str], unit: str) -> list[Fact]:
    said = {
        "predictions.nc": f"mean, std, observed and departure on the grid, in {unit or 'the units of the data'}",
        "model.safetensors": "the process with all that is needed to use it: equilearn field --load model.safetensors "
        "--at FILE",
        "stations.csv": "what is predicted at each station",
    }
    return [Fact(name, said.get(name, "")) for name in names]
