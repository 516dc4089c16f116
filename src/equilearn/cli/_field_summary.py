"""The summary of `equilearn field`: what the report is drawn from."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from equilearn.cli._output import command_line

if TYPE_CHECKING:
    from equilearn.processes.field import FieldFit, FieldModel, Learned, Predicted


def about(seed: int) -> dict[str, Any]:
    from equilearn._version import __version__
    from equilearn.studies import environment

    return {
        "kind": "field",
        "equilearn": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "seed": seed,
        "environment": environment(),
    }


def described(source: Path, fit: FieldFit) -> dict[str, Any]:
    """The data, and how they were divided."""
    from equilearn.processes.field import stamps

    data = fit.data
    times = {
        name: {"count": len(part), "first": ends[0], "last": ends[-1]}
        for name, part in (("train", data.train), ("test", data.test))
        for ends in [stamps(part.hours, part.reference)]
    }
    return {
        "file": str(source),
        "places": len(data.cells.places),
        "stations": data.patch is None,
        **times,
        "days": len(data.days.unique()),
        "mean": data.cells.overall[0],
        "std": data.cells.overall[1],
        "patch": data.patch,
        "context": data.context,
        "static": dict(zip(data.train.static_names, data.view.slopes, strict=True)),
    }


def named(model: FieldModel, fit: FieldFit | None = None) -> dict[str, Any]:
    from equilearn.processes.field import symmetry_of

    config = model.config
    return {
        "name": config.model,
        "variable": config.name,
        "units": config.units,
        "symmetry": symmetry_of(config.model),
        "relaxed": model.relaxed,
        "strict": config.strict,
        "region": config.region,
        "parameters": sum(p.numel() for p in model.process.parameters()),
        **({} if fit is None else {"steps": config.size.steps, "seconds": fit.seconds, "history": fit.history}),
    }


def told(predicted: Predicted, source: Path, held_out: bool) -> dict[str, Any]:
    times = predicted.times
    return {
        "prediction": {
            "from": str(source),
            "count": len(times),
            "first": times[0],
            "last": times[-1],
            "stations": list(predicted.stations),
            "held_out": held_out,
        },
        "notes": list(predicted.notes),
    }


def maps(predicted: Predicted, model: FieldModel) -> dict[str, Any]:
    """One time in full: what a page draws."""
    from equilearn.report._maps import packed_map

    i = len(predicted.hours) // 2
    context = predicted.contexts[i]
    found = {
        "lat": [float(model.lat[0]), float(model.lat[-1])],
        "lon": [float(model.lon[0]), float(model.lon[-1])],
        "time": predicted.times[i],
        "observed": context.x[0, :, :2].tolist(),
        "mean": packed_map(predicted.mean[i]),
        "std": packed_map(predicted.std[i]),
    }
    if predicted.truth is not None:
        found |= {"truth": packed_map(predicted.truth[i]), "error": packed_map(predicted.mean[i] - predicted.truth[i])}
    else:
        now = [line for line in predicted.stations if line["time"] == predicted.times[i]]
        found["errors"] = [
            [line["lat"], line["lon"], line["mean"] - line["observed"]]
            for line in now
            if line["observed"] is not None and line["mean"] == line["mean"]
        ]
    return found


def learned_maps(fit: FieldFit, learned: Learned | None) -> dict[str, Any]:
    """The departure from symmetry beside the mean of training."""
    from equilearn.report._maps import packed_map

    mean = fit.data.mean_map() - fit.data.cells.overall[0]
    found: dict[str, Any] = {"training_mean": packed_map(mean)}
    if fit.data.patch is None:  # stations are points
        cells = fit.data.cells
        away = (cells.mean - cells.overall[0])[:, None]
        found = {"training_points": torch.cat([cells.places, away], 1)[cells.count > 0].tolist()}
    if learned is not None:
        found["departure"] = packed_map(learned.values)
        found["departure_from"] = learned.said
        found["correlation"] = learned.correlation(mean)
    return found
