"""Which coordinates of a dataset are latitude, longitude and time, and what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from equilearn._check import InputError, extra, one_of, require

if TYPE_CHECKING:
    import xarray as xr

ROLES = ("time", "lat", "lon")
NAMES = {
    "time": ("time", "valid_time", "t", "date", "datetime"),
    "lat": ("latitude", "lat", "y", "rlat", "northing"),
    "lon": ("longitude", "lon", "long", "x", "rlon", "easting"),
}
STANDARD = {
    "time": ("time",),
    "lat": ("latitude", "grid_latitude", "projection_y_coordinate"),
    "lon": ("longitude", "grid_longitude", "projection_x_coordinate"),
}
UNITS = {"lat": r"degrees?_?(north|n)$", "lon": r"degrees?_?(east|e)$"}
AXES = {"time": "T", "lat": "Y", "lon": "X"}


def find_coordinates(array: xr.DataArray, chosen: Mapping[str, str]) -> dict[str, str]:
    """The dimensions of `array` that are time, lat and lon; the first may be missing.

    `chosen` says which is which where that is known. Else the conventions for climate and forecast (CF) do: the
    attributes standard_name, units and axis; then usual names; then what holds dates is time.
    """
    for role, name in chosen.items():
        one_of(role, ROLES, "role of a coordinate")
        one_of(name, map(str, array.dims), f"dimension of {array.name!r}")
    found = dict(chosen)
    for role in ROLES:
        if role not in found and (name := _guess(array, role, set(found.values()))) is not None:
            found[role] = name
    missing = [role for role in ("lat", "lon") if role not in found]
    if missing:
        wide = [str(name) for name, c in array.coords.items() if c.ndim > 1 and str(name) in NAMES["lat"]]
        curved = (
            f" ({wide[0]!r} is two-dimensional: put the data on a grid of latitudes and longitudes.)" if wide else ""
        )
        raise InputError(
            f"Which of the dimensions {', '.join(map(str, array.dims))} of {array.name!r} are {' and '.join(missing)}? "
            f"Name them: coords={{'lat': ..., 'lon': ..., 'time': ...}}.{curved}"
        )
    require(
        len(set(found.values())) == len(found), f"coords names one dimension twice: {found}. Each role needs its own."
    )
    return found


def _guess(array: xr.DataArray, role: str, taken: set[str]) -> str | None:
    dims = [str(dim) for dim in array.dims if str(dim) not in taken]
    known = {dim: array.coords[dim] for dim in dims if dim in array.coords}
    attributes = {dim: {k: str(v).strip() for k, v in c.attrs.items()} for dim, c in known.items()}
    tests = (
        lambda dim: attributes[dim].get("standard_name") in STANDARD[role],
        lambda dim: role in UNITS and re.match(UNITS[role], attributes[dim].get("units", ""), re.IGNORECASE),
        lambda dim: dim.lower() in NAMES[role],
        lambda dim: attributes[dim].get("axis") == AXES[role],
        lambda dim: role == "time" and np.issubdtype(known[dim].dtype, np.datetime64),
    )
    for test in tests:
        hits = [dim for dim in known if test(dim)]
        if hits:
            return min(hits, key=lambda dim: NAMES[role].index(dim.lower()) if dim.lower() in NAMES[role] else 99)
    return next((dim for dim in dims if dim.lower() in NAMES[role]), None)


def monotonic(values: np.ndarray, name: str) -> np.ndarray:
    """`values` if they are finite and strictly increasing or decreasing."""
    require(values.ndim == 1 and len(values) > 0, f"The coordinate {name!r} is empty. At least one value is needed.")
    bad = int((~np.isfinite(values)).sum())
    require(bad == 0, f"The coordinate {name!r} holds {bad} values that are NaN or infinite.")
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        twice = len(values) - len(np.unique(values))
        raise InputError(
            f"The coordinate {name!r} holds {twice} values twice. Drop the copies, with ds.drop_duplicates({name!r})."
            if twice
            else f"The coordinate {name!r} is neither increasing nor decreasing. Sort it, with ds.sortby({name!r})."
        )
    return values


def numbers(coordinate: xr.DataArray) -> np.ndarray:
    """The values of a coordinate as float64."""
    try:
        return coordinate.values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The coordinate {str(coordinate.name)!r} holds {coordinate.dtype}, not numbers.") from error


def in_degrees(coordinate: xr.DataArray) -> bool:
    """Whether a coordinate is an angle: said so, or said nothing and of a name for angles."""
    units = str(coordinate.attrs.get("units", "")).lower()
    return (
        "degree" in units if units else str(coordinate.name).lower() in ("latitude", "lat", "longitude", "lon", "long")
    )


def longitudes(values: np.ndarray) -> np.ndarray:
    """Degrees east without the jump from 360 to 0, in one form whichever way the file counts: middle in [-180, 180).

    Example:
        >>> longitudes(np.array([358.0, 359.0, 0.0, 1.0])), longitudes(np.array([190.0, 191.0]))
        (array([-2., -1.,  0.,  1.]), array([-170., -169.]))
    """
    if len(values) > 1 and np.isfinite(values).all() and len(np.unique(values)) == len(values):
        values = np.unwrap(values, period=360.0)
    middle = (values.min() + values.max()) / 2 if len(values) else 0.0
    return values - 360.0 * np.floor((middle + 180.0) / 360.0)


def hours_since(coordinate: xr.DataArray, reference: str | None) -> tuple[np.ndarray, str]:
    """Hours since a reference date, by default midnight before the first time; and that date.

    Raises:
        InputError: a coordinate without a calendar: plain numbers, of which nobody knows since when they count.
    """
    name, values = str(coordinate.name), coordinate.values
    require(values.ndim == 1 and len(values) > 0, f"The coordinate {name!r} is empty. At least one time is needed.")
    if np.issubdtype(values.dtype, np.datetime64):
        require(not bool(np.isnat(values).any()), f"The coordinate {name!r} holds times that are missing.")
        values = values.astype("datetime64[s]")
        since = _reference(reference) if reference is not None else values[0].astype("datetime64[D]")
        return (values - since) / np.timedelta64(3600, "s"), str(since.astype("datetime64[s]"))
    if values.dtype == object and hasattr(values[0], "calendar"):
        return _odd_calendar(values, reference)
    raise InputError(
        f"The time coordinate {name!r} holds plain numbers ({values.dtype}): it has no units such as "
        "'hours since 1900-01-01' and so no calendar. Give it some, with "
        f"ds[{name!r}].attrs['units'] = 'hours since ...', or dates."
    )


def _odd_calendar(values: np.ndarray, reference: str | None) -> tuple[np.ndarray, str]:
    """Times of calendars that NumPy does not know, such as years of 365 days."""
    cftime: Any = extra("cftime", "fields", "A calendar of climate models")
    first = values[0]
    if reference is None:
        year, month, day = first.year, first.month, first.day
    else:
        stamp = str(_reference(reference).astype("datetime64[D]"))
        year, month, day = (int(part) for part in stamp.split("-"))
    try:
        since = cftime.datetime(year, month, day, calendar=first.calendar)
    except ValueError as error:
        raise InputError(f"The calendar {first.calendar!r} has no {reference}: {error}.") from error
    found = np.array([(value - since).total_seconds() / 3600 for value in values])
    return found, f"{year:04d}-{month:02d}-{day:02d}T00:00:00"


def _reference(text: str) -> np.datetime64:
    try:
        found = np.datetime64(text, "s")
    except ValueError as error:
        raise InputError(f"reference must be a date such as '2019-03-01', got {text!r}.") from error
    require(not bool(np.isnat(found)), f"reference must be a date such as '2019-03-01', got {text!r}.")
    return found
