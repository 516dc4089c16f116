"""Fields predicted over a whole grid, and at stations, from what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn import io
from equilearn._check import InputError, require
from equilearn.data.fields import Gridded, PointSet, Stations, write_netcdf
from equilearn.processes.field._data import FieldData, whole_tasks
from equilearn.processes.field._model import FieldConfig, FieldModel
from equilearn.processes.field._view import nearest

MOST_TIMES, MOST_CELLS = 24, 400_000
"""Of held-out times that are predicted, and their cells, where nobody says which."""
MOST_LEFT_OUT = 256
"""Stations of one time that are predicted from the others."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Fields on the grid of a model at some times, in the units of its training data.

    Args:
        hours, reference: the times.
        mean, std: of the prediction.
        observed: what it was made from; NaN elsewhere.
        departure: mean less that of the equivariant part; None of a process that has no other part.
        truth: what was held out, NaN where unknown; None where nothing is known.
        contexts: the observations themselves.
        stations: a line for each station and time: what was observed, what is predicted there (from the others, where
            it was observed).
        notes: what is to be known of it.
    """

    hours: Float[Tensor, "T"]
    reference: str
    mean: Float[Tensor, "T H W"]
    std: Float[Tensor, "T H W"]
    observed: Float[Tensor, "T H W"]
    departure: Float[Tensor, "T H W"] | None
    truth: Float[Tensor, "T H W"] | None
    contexts: Sequence[PointSet]
    stations: Sequence[dict[str, Any]] = ()
    notes: Sequence[str] = field(default=())

    @property
    def times(self) -> list[str]:
        """As dates."""
        return stamps(self.hours, self.reference)

    def write(self, path: io.PathLike, model: FieldModel, about: dict[str, str] | None = None) -> None:
        """As a netCDF file, at once or not at all."""
        unit = model.config.units
        fields = {"mean": self.mean, "std": self.std, "observed": self.observed}
        if self.departure is not None:
            fields["departure"] = self.departure
        said = {"title": f"{model.config.name} predicted by a neural process", "variable": model.config.name}
        write_netcdf(
            path,
            {name: values.float() for name, values in fields.items()},
            model.lat,
            model.lon,
            self.hours,
            self.reference,
            units=dict.fromkeys(fields, unit) if unit else None,
            about={**said, **(about or {})},
        )


def stamps(hours: Tensor, reference: str) -> list[str]:
    """Hours since a date as dates.

    Example:
        >>> stamps(torch.tensor([0.0, 30.5]), "2019-03-01")
        ['2019-03-01T00:00:00', '2019-03-02T06:30:00']
    """
    since = np.datetime64(reference, "s")
    return [str(since + np.timedelta64(round(3600 * hour), "s")) for hour in hours.tolist()]


def require_times(field: Stations | Gridded, wanted: str | None) -> None:
    """Raise `InputError` unless some of the times of a field are meant."""
    chosen(field.hours, field.reference, wanted, 1)


def chosen(hours: Tensor, reference: str, wanted: str | None, cells: int) -> Int[Tensor, "n"]:
    """Numbers of the times that are meant: those that begin with `wanted`, all, or by default some evenly spaced.

    Raises:
        InputError: no such time.
    """
    if wanted is None:
        most = max(1, min(MOST_TIMES, MOST_CELLS // max(cells, 1), len(hours)))
        return torch.linspace(0, len(hours) - 1, most).round().long().unique()
    if wanted == "all":
        return torch.arange(len(hours))
    known = stamps(hours, reference)
    found = [i for i, stamp in enumerate(known) if stamp.startswith(wanted.replace(" ", "T"))]
    if not found:
        raise InputError(
            f"No time begins with {wanted!r}: there are {len(known)} from {known[0]} to {known[-1]}. Say a date, such "
            f"as {known[0][:10]}, a time such as {known[0]}, or all."
        )
    return torch.tensor(found)


def predict_held_out(model: FieldModel, data: FieldData, time: str | None = None, seed: int = 0) -> Predicted:
    """The whole field at held-out times, from random observations as dense as those of training.

    Args:
        model: the process.
        data: it was fitted on.
        time: a date, or the beginning of one; `all`; default up to 24 evenly spaced.
        seed: of what is observed.

    Raises:
        InputError: no such time, or one at which nothing was observed.

    Cost: two forward passes over the grid a time.
    """
    times = chosen(data.test.hours, data.test.reference, time, len(data.lat) * len(data.lon))
    contexts, known = whole_tasks(data, times, seed)
    gridded = isinstance(data.train, Gridded)
    truth = None
    if gridded:
        parts = [torch.where(k.mask, k.y[..., 0], torch.nan).view(len(data.lat), len(data.lon)) for k in known]
        truth = torch.stack(parts)
    found = _on_grid(model, contexts)
    lines: list[dict[str, Any]] = []
    if isinstance(data.test, Stations):
        for i, time_index in enumerate(times.tolist()):
            ids = _ids(data.test, time_index)
            stamp = stamps(data.test.hours[times[i : i + 1]], data.test.reference)[0]
            lines += _held_out_stations(model, stamp, ids, contexts[i], known[i])
    return Predicted(
        data.test.hours[times], data.test.reference, **found, truth=truth, contexts=contexts, stations=lines
    )


def predict_at(model: FieldModel, observed: Stations | Gridded, time: str | None = None) -> Predicted:
    """The whole field, and its value at each station, from observations of other times or other places.

    A station whose value is missing is predicted from all the others; one that was observed, from the others without
    it, which shows how far the prediction can be trusted.

    Args:
        model: the process.
        observed: of the same variable in the same units, with the static fields of the model or with none: then those
            of the nearest cell of its grid are taken.
        time: as for `predict_held_out`.

    Raises:
        InputError: another variable or unit, values in what must be another unit, no such time.
    """
    notes = require_fitting(model.config, observed)
    cells = model.config.grid[0] * model.config.grid[1]
    times = chosen(observed.hours, observed.reference, "all" if time is None else time, cells)
    contexts, lines = [], []
    for stamp, time_index in zip(stamps(observed.hours[times], observed.reference), times.tolist(), strict=True):
        points = observed.points([time_index], dtype=torch.float64)
        if observed.static_names != model.config.static_names:
            points = PointSet(model.with_static(points.x[..., :2]), points.y, points.mask)
        seen = points.mask[0]
        contexts.append(PointSet(points.x[:, seen], points.y[:, seen]))
        if isinstance(observed, Stations):
            lines += _at_stations(model, stamp, _ids(observed, time_index), points)
    found = _on_grid(model, contexts)
    return Predicted(
        observed.hours[times], observed.reference, **found, truth=None, contexts=contexts, stations=lines, notes=notes
    )


@dataclass(frozen=True, eq=False)
class Learned:
    """A map of how far a process departs from its symmetry: means with its knowledge of place, less those without.

    Args:
        values: in the units of the data.
        said: what it was predicted from.
    """

    values: Float[Tensor, "H W"]
    said: str

    def correlation(self, other: Float[Tensor, "H W"]) -> float | None:
        """With another map, over the cells that both have; None where one of them is flat."""
        both = torch.stack([self.values.flatten(), other.flatten()])
        both = both[:, torch.isfinite(both).all(0)]
        if both.shape[1] < 3 or bool((both.std(1) == 0).any()):
            return None
        return float(torch.corrcoef(both)[0, 1])


def departure_map(model: FieldModel, predicted: Predicted) -> Learned | None:
    """Where nothing was observed; of attention, which needs observations, the mean over predicted times.

    None of a process that is not relaxed.
    """
    if not model.relaxed:
        return None
    x = model.grid_points()
    nothing = PointSet(x[:, :0].nan_to_num(), x[:, :0, :1])
    found = _on_grid(model, [nothing])["departure"][0]
    if float(found.nan_to_num().abs().max()) > 1e-6 * model.config.typical[1] or predicted.departure is None:
        return Learned(found, "where nothing was observed")
    return Learned(predicted.departure.mean(0), f"mean over {len(predicted.hours)} predicted times")


def require_fitting(config: FieldConfig, observed: Stations | Gridded) -> list[str]:
    """Notes on observations that a model can use.

    Raises:
        InputError: another variable or unit, or values that must be in another unit.
    """
    require(
        observed.names == (config.name,),
        f"The observations are of {', '.join(observed.names)}, the model of {config.name}.",
    )
    unit = observed.units[0]
    require(
        not unit or unit == config.units,
        f"Units differ: the observations of {config.name} are in {unit}, the model was trained on "
        f"{config.units or 'no units'}. Convert them.",
    )
    y = observed.y if isinstance(observed, Stations) else observed.values
    known = y[~torch.isnan(y)].double()
    mean, std = config.typical
    if not unit and len(known):
        away = abs(float(known.median()) - mean) / std
        require(
            away < 12,
            f"The observations of {config.name} are about {float(known.median()):.4g}, training was on {mean:.4g} +- "
            f"{std:.2g} {config.units}: they seem to be in another unit. Convert them, or say --units "
            f"{config.units or 'UNITS'} if they are not.",
        )
    x = observed.x if isinstance(observed, Stations) else observed.coordinates.flatten(0, 1)
    if isinstance(observed, Stations):
        said = config.outside(x[None], ~torch.isnan(observed.y).any(-1)[None], "observations")
    else:
        seen = (~torch.isnan(y[..., 0])).any(0).flatten()
        said = config.outside(x[None], seen[None], "observed cells")
    return [said] if said else []


@torch.no_grad()
def _on_grid(model: FieldModel, contexts: Sequence[PointSet]) -> dict[str, Any]:
    """Mean, deviation, observations and departure at every cell, time by time; NaN where a static field is missing."""
    every = model.grid_points()
    there = torch.isfinite(every).all(-1)[0]
    x, shape = every[:, there], (len(model.lat), len(model.lon))
    parts: dict[str, list[Tensor]] = {"mean": [], "std": [], "observed": [], "departure": []}

    def laid(values: Tensor) -> Tensor:
        whole = torch.full((len(there),), torch.nan, dtype=torch.float64)
        whole[there] = values.double()
        return whole.view(shape)

    for context in contexts:
        on = model.on(context, x)
        parts["mean"].append(laid(on.mean[0, :, 0]))
        parts["std"].append(laid(on.std[0, :, 0]))
        parts["observed"].append(laid(_snapped(context, x[0, :, :2], model)))
        if model.relaxed:
            parts["departure"].append(laid((on.mean - model.off(context, x).mean)[0, :, 0]))
    return {name: torch.stack(values) if values else None for name, values in parts.items()}


def _snapped(context: PointSet, cells: Float[Tensor, "P 2"], model: FieldModel) -> Float[Tensor, "P"]:
    """Observations at the cells nearest to them, the mean where several share one; NaN elsewhere."""
    view = model.config.view
    seen = context.mask[0]
    index, distance = nearest(view.locations(context.x[0, seen]), view.locations(cells))
    near = distance < 1.0 if len(index) else torch.zeros(0, dtype=torch.bool)
    total, count = torch.zeros(2, len(cells), dtype=torch.float64)
    total.index_add_(0, index[near], context.y[0, seen, 0][near].double())
    count.index_add_(0, index[near], torch.ones(int(near.sum()), dtype=torch.float64))
    return torch.where(count > 0, total / count.clamp_min(1), torch.nan)


def _ids(stations: Stations, time: int) -> list[str]:
    """The stations of one time, in the order of its points."""
    return [stations.ids[i] for i in stations.station[stations.time == time].tolist()]


def _at_stations(model: FieldModel, stamp: str, ids: Sequence[str], points: PointSet) -> list[dict[str, Any]]:
    """A line for each station of one time."""
    seen = points.mask[0]
    context = PointSet(points.x[:, seen], points.y[:, seen])
    found = model.on(context, points.x)
    mean, std = found.mean[0, :, 0].clone(), found.std[0, :, 0].clone()
    places = seen.nonzero().flatten()
    kept = len(places) <= MOST_LEFT_OUT
    for place in places.tolist():
        mean[place] = std[place] = torch.nan
        if kept:
            others = seen.clone()
            others[place] = False
            alone = model.on(PointSet(points.x[:, others], points.y[:, others]), points.x[:, place : place + 1])
            mean[place], std[place] = alone.mean[0, 0, 0], alone.std[0, 0, 0]
    return [_line(name, stamp, points, i, float(mean[i]), float(std[i])) for i, name in enumerate(ids)]


def _held_out_stations(
    model: FieldModel, stamp: str, ids: Sequence[str], context: PointSet, known: PointSet
) -> list[dict[str, Any]]:
    """A line for each station of one time that is not among the observations."""
    used = {tuple(place) for place in context.x[0].tolist()}
    left: list[int] = [
        i for i in known.mask[0].nonzero().flatten().tolist() if tuple(known.x[0, i].tolist()) not in used
    ]
    if not left:
        return []
    found = model.on(context, known.x[:, left])
    return [
        _line(ids[i], stamp, known, i, float(found.mean[0, k, 0]), float(found.std[0, k, 0]))
        for k, i in enumerate(left)
    ]


def _line(name: str, stamp: str, points: PointSet, i: int, mean: float, std: float) -> dict[str, Any]:
    lat, lon = points.x[0, i, :2].tolist()
    seen = float(points.y[0, i, 0]) if bool(points.mask[0, i]) else None
    return {"station": name, "time": stamp, "lat": lat, "lon": lon, "observed": seen, "mean": mean, "std": std}
