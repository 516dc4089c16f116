"""Observations of stations from a table: a line for each station and time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equilearn._check import InputError, one_of, require
from equilearn.data._csv import MISSING, read_table
from equilearn.data.fields._stations import Stations
from equilearn.io import existing_file

COLUMNS = {
    "station": ("station", "station_id", "stationid", "id", "site", "name"),
    "lat": ("latitude", "lat", "y", "northing"),
    "lon": ("longitude", "lon", "long", "x", "easting"),
    "time": ("time", "datetime", "timestamp", "date", "valid_time"),
}


def from_stations(
    path: str | os.PathLike[str],
    var: str | Sequence[str],
    *,
    coords: Mapping[str, str] | None = None,
    static: Sequence[str] = (),
    units: str | Sequence[str] = "",
    since: str | None = None,
) -> Stations:
    r"""Observations from a CSV file with a header and a line for each station and time, in any order.

    Cells of the variable that are empty or say NA were not observed. Lines that say twice what one station observed at
    one time count once.

    Args:
        path: of the file; commas, semicolons, tabs or bars between cells.
        var: the column of the variable, or several.
        coords: which columns are `"lat"`, `"lon"`, `"time"` and `"station"`, where their names do not say so. Without a
            column of stations, a station is a place.
        static: columns that become coordinates of each location, such as elevation.
        units: of the variables; a CSV does not say.
        since: a date, where the times are numbers of hours since then.

    Returns:
        Stations, whose `tasks` are of the same kind as those of gridded fields. Times with a zone are in UTC.

    Raises:
        InputError: columns that are missing (near names are listed), cells that are no numbers or no times, times
            without a calendar, places or times that are missing, two different values of one station at one time.

    Example:
        >>> import tempfile
        >>> text = "id,lat,lon,time,t2m\na,50,0,2019-03-01,280\nb,51,1,2019-03-01,281\na,50,0,2019-03-02,\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "stations.csv")
        ...     _ = file.write_text(text)
        ...     stations = from_stations(file, "t2m", units="K")
        >>> stations
        Stations(t2m [K]: 2 stations, 2 times, 3 observations, hours 0 to 24 since 2019-03-01T00:00:00)
        >>> stations.tasks(4, torch.Generator().manual_seed(0), context=1).target.count
        tensor([1, 1, 1, 1])
    """
    file = existing_file(Path(os.fspath(path)))
    header, lines = read_table(file)
    columns = {name: [line[i] for line in lines] for i, name in enumerate(header)}
    names = (var,) if isinstance(var, str) else tuple(var)
    require(len(names) > 0 and len(set(names)) == len(names), f"var must name columns once each, got {list(names)}.")
    static = (static,) if isinstance(static, str) else tuple(static)
    for name in (*names, *static):
        one_of(name, header, f"column of {file.name}")
    roles = _roles(file, header, coords or {}, names)
    y = np.stack([_numbers(file, name, columns[name], missing=True) for name in names], 1)
    x = np.stack([_numbers(file, name, columns[name]) for name in (roles["lat"], roles["lon"], *static)], 1)
    if roles["lon"].lower().startswith("lon"):
        x[:, 1] = _longitudes(x[:, 1])
    hours, reference = _hours(file, roles["time"], columns[roles["time"]], since)
    if "station" in roles:
        station = columns[roles["station"]]
        holes = [row for row, cell in enumerate(station, start=2) if not cell]
        require(not holes, f"{file} names no station in {len(holes)} lines (the first: {holes[0] if holes else 0}).")
    else:
        station = [f"{lat:g},{lon:g}" for lat, lon in x[:, :2]]
    given = (units,) * len(names) if isinstance(units, str) else tuple(units)
    require(len(given) == len(names), f"units must be one for each of {len(names)} variables, got {list(given)}.")
    return _stations(file, names, given, station, hours, reference, x, y, static)


def _stations(
    file: Path,
    names: tuple[str, ...],
    units: tuple[str, ...],
    station: list[str],
    hours: np.ndarray,
    reference: str,
    x: np.ndarray,
    y: np.ndarray,
    static: tuple[str, ...],
) -> Stations:
    """Sorted by time, then station, each pair once."""
    ids, number = np.unique(np.array(station), return_inverse=True)
    times, when = np.unique(hours, return_inverse=True)
    order = np.lexsort((number, when))
    both = np.stack([when, number], 1)[order]
    again = np.flatnonzero((both[1:] == both[:-1]).all(1))
    content = np.concatenate([x, y], 1)[order]
    unlike = [i for i in again if not np.array_equal(content[i], content[i + 1], equal_nan=True)]
    if unlike:
        first, second = sorted(int(order[i]) + 2 for i in (unlike[0], unlike[0] + 1))
        raise InputError(
            f"{file} says {len(unlike)} times two different things of one station at one time (first in lines "
            f"{first} and {second}, station {station[first - 2]!r}). Drop one of each."
        )
    keep = np.delete(order, again + 1)
    pick: list[Tensor] = [torch.from_numpy(part[keep]) for part in (x, y, when, number)]
    return Stations(
        names,
        units,
        tuple(map(str, ids)),
        torch.from_numpy(times),
        reference,
        x=pick[0],
        y=pick[1],
        time=pick[2].long(),
        station=pick[3].long(),
        static_names=static,
    )


def _roles(file: Path, header: list[str], coords: Mapping[str, str], taken: tuple[str, ...]) -> dict[str, str]:
    for role, name in coords.items():
        one_of(role, COLUMNS, "role of a column")
        one_of(name, header, f"column of {file.name}")
    found = dict(coords)
    lower = {name.lower(): name for name in header if name not in taken}
    for role, names in COLUMNS.items():
        if role not in found and (hits := [lower[name] for name in names if name in lower]):
            found[role] = hits[0]
    missing = [role for role in ("lat", "lon", "time") if role not in found]
    require(
        not missing,
        f"Which columns of {file} are {', '.join(missing)}? It has {', '.join(header)}. Name them: "
        "coords={'lat': ..., 'lon': ..., 'time': ...}.",
    )
    return found


def _numbers(file: Path, name: str, cells: list[str], *, missing: bool = False) -> np.ndarray:
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        gone = cell.lower() in MISSING
        try:
            values[row] = np.nan if gone else float(cell)
        except ValueError as error:
            raise InputError(f"{file}, line {row + 2}: {name} is {cell!r}, not a number.") from error
        if not np.isfinite(values[row]) and not (gone and missing):
            what = "missing" if gone else "infinite"
            raise InputError(f"{file}, line {row + 2}: {name} is {what}. Fill it in, or drop that line.")
    return values


def _hours(file: Path, name: str, cells: list[str], since: str | None) -> tuple[np.ndarray, str]:
    if since is not None:
        return _numbers(file, name, cells), f"{_moment(since, 'since'):%Y-%m-%dT%H:%M:%S}"
    moments = []
    for row, cell in enumerate(cells, start=2):
        if cell.lower() in MISSING:
            raise InputError(f"{file}, line {row}: {name} is missing. Fill it in, or drop that line.")
        moments.append(_moment(cell, f"{file}, line {row}: {name}"))
    first = min(moments).replace(hour=0, minute=0, second=0, microsecond=0)
    return np.array([(moment - first).total_seconds() / 3600 for moment in moments]), f"{first:%Y-%m-%dT%H:%M:%S}"


def _moment(text: str, what: str) -> datetime:
    """A date and time; in UTC where it has a zone."""
    hint = ""
    try:
        if text.replace(".", "", 1).isdigit() and len(text) != 8:
            hint = " A number has no calendar: say since when hours are counted, with since='2019-01-01'."
            raise ValueError(text)
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{what} must be a date such as 2019-03-01 or 2019-03-01T12:00, got {text!r}.{hint}"
        ) from error
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def _longitudes(values: np.ndarray) -> np.ndarray:
    """Degrees east without a jump between stations, in one form whichever way the file counts: middle in [-180, 180),
    as of grids."""
    if np.ptp(values) >= 180:
        turned = np.exp(1j * np.deg2rad(values)).mean()
        centre = np.rad2deg(np.angle(turned)) if abs(turned) > 1e-9 else 0.0
        values = values - 360.0 * np.floor((values - centre + 180.0) / 360.0)
    middle = (values.min() + values.max()) / 2
    return values - 360.0 * np.floor((middle + 180.0) / 360.0)
