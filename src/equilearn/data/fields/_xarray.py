"""Gridded fields from netCDF files and xarray datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor

from equilearn._check import InputError, InputTypeError, extra, one_of, require
from equilearn.data.fields._coordinates import (
    find_coordinates,
    hours_since,
    in_degrees,
    longitudes,
    monotonic,
    numbers,
)
from equilearn.data.fields._gridded import Gridded
from equilearn.data.fields._joined import join
from equilearn.data.fields._source import Held, Lazy, load, require_whole
from equilearn.io import existing_file

if TYPE_CHECKING:
    import xarray as xr

Opened: TypeAlias = Union[str, os.PathLike[str], "xr.Dataset", "xr.DataArray"]

HELD = 2**29
"""Bytes up to which values are read into memory at once."""


def from_xarray(
    source: Opened | Sequence[Opened],
    var: str | Sequence[str] | None = None,
    *,
    coords: Mapping[str, str] | None = None,
    static: Sequence[str] | Mapping[str, Opened] = (),
    select: Mapping[str, Any] | None = None,
    units: str | None = None,
    reference: str | None = None,
    held: bool | None = None,
) -> Gridded:
    """Fields on a grid of latitudes and longitudes, from a netCDF file or what xarray has opened.

    Values that are missing (the sea, for a variable of the land) are NaN. Longitudes are counted without a jump, in one
    way whichever way the file counts, so that 350 and -10 are one place.

    Args:
        source: a file, a Dataset, a DataArray; or several of them, that follow each other in time.
        var: the variable, or several on one grid; not needed for a DataArray.
        coords: which dimensions are `"lat"`, `"lon"` and `"time"`, where their attributes and names do not say so.
        static: variables `(lat, lon)` that become coordinates of each location, such as elevation: their names, or for
            each name what it is to be read from, if that is another file. Cells where they are NaN are left out.
        select: which of the values of further dimensions, such as `{"level": 850}`.
        units: what the variable must be in.
        reference: date from which hours are counted; by default midnight before the first time.
        held: whether to read all values at once; by default those of up to 512 MiB. Else tasks read what they need.

    Raises:
        MissingExtraError: without xarray and netCDF4, the extra `fields`.
        InputError: a file that is missing, truncated or not netCDF, an unknown variable (near names are listed), units
            that differ, coordinates that are unsorted or occur twice, times without a calendar, grids that differ.

    Example:
        >>> import tempfile, torch
        >>> from equilearn.data.fields import write_example_fields
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_example_fields(f"{folder}/uk.nc", torch.Generator().manual_seed(0))
        ...     fields = from_xarray(path, "t2m", static=["elevation"])
        >>> len(fields), fields.units, fields.coordinates.shape
        (96, ('K',), torch.Size([20, 24, 3]))
        >>> train, test = fields.split(3, 1)
        >>> task = train.tasks(4, torch.Generator().manual_seed(0), patch=(8, 8), context=(5, 20))
        >>> task.dims, task.target.x.shape[0]
        (3, 4)
    """
    if isinstance(source, Sequence) and not isinstance(source, str):
        require(len(source) > 0, "No file or dataset was given: from_xarray needs at least one.")
        options: dict[str, Any] = {"coords": coords, "static": static, "select": select, "units": units, "held": held}
        first = from_xarray(source[0], var, reference=reference, **options)
        return join([first, *(from_xarray(part, var, reference=first.reference, **options) for part in source[1:])])
    data, label, ours = _opened(source)
    needed = False
    try:
        made = _gridded(data, label, var, coords or {}, static, select or {}, units, reference, held)
        needed = isinstance(made.source, Lazy)
        return made
    finally:
        if ours and not needed:
            data.close()


def _opened(source: Opened) -> tuple[xr.Dataset, str, bool]:
    """A dataset, what to call it, and whether it was opened here."""
    extra("xarray", "fields", "Reading gridded fields")
    import xarray

    if isinstance(source, xarray.DataArray):
        name = str(source.name) if source.name is not None else "values"
        return source.to_dataset(name=name), f"the DataArray {name!r}", False
    if isinstance(source, xarray.Dataset):
        return source, "the Dataset", False
    if not isinstance(source, str | os.PathLike):
        raise InputTypeError(
            f"from_xarray takes a file, a Dataset or a DataArray, or several of them, got {type(source).__name__}."
        )
    path = existing_file(Path(os.fspath(source)))
    extra("netCDF4", "fields", "Reading netCDF files")
    require_whole(path)
    try:
        return xarray.open_dataset(path, engine="netcdf4", decode_cf=False), str(path), True
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be read as netCDF: {error}. Is it another format, damaged or cut short?"
        ) from error


def _gridded(
    data: xr.Dataset,
    label: str,
    var: str | Sequence[str] | None,
    coords: Mapping[str, str],
    static: Sequence[str] | Mapping[str, Opened],
    select: Mapping[str, Any],
    units: str | None,
    reference: str | None,
    held: bool | None,
) -> Gridded:
    names = _names(data, label, var)
    data = _decoded(data, label)
    planes = [_plane(data[name], coords, select) for name in names]
    roles = planes[0][1]
    for name, (plane, other) in zip(names, planes, strict=True):
        require(
            other == roles and plane.shape == planes[0][0].shape,
            f"{name!r} lies on another grid than {names[0]!r}: {dict(plane.sizes)} and {dict(planes[0][0].sizes)}.",
        )
    found = tuple(str(data[name].attrs.get("units", "")) for name in names)
    for name, unit in zip(names, found, strict=True):
        require(units in (None, unit), f"{name} of {label} is in {unit or 'no units'}, not in {units}. Convert it.")
    first = planes[0][0]
    lat, lon = _places(first, roles)
    hours, since = _hours(first, roles, reference)
    extra_fields, extra_names = _static(data, static, coords, lat, lon)
    arrays = [plane for plane, _ in planes]
    if held is None:
        held = sum(array.nbytes for array in arrays) <= HELD
    source = Held(torch.stack([load(array) for array in arrays], -1)) if held else Lazy(arrays)
    return Gridded(
        names, found, lat, lon, hours, since, source, np.arange(len(hours)), extra_fields, static_names=extra_names
    )


def _names(data: xr.Dataset, label: str, var: str | Sequence[str] | None) -> tuple[str, ...]:
    known = [str(name) for name in data.data_vars]
    if var is None:
        require(
            len(known) == 1,
            f"Which variable of {label}? It has {', '.join(known) or 'none'}. Name it: var=...",
        )
        return (known[0],)
    names = (var,) if isinstance(var, str) else tuple(var)
    require(len(names) > 0 and len(set(names)) == len(names), f"var must name variables once each, got {list(names)}.")
    return tuple(one_of(name, known, f"variable of {label}") for name in names)


def _decoded(data: xr.Dataset, label: str) -> xr.Dataset:
    """Scales, missing values and dates as the conventions have them."""
    import xarray

    try:
        return xarray.decode_cf(data, decode_timedelta=False)
    except (ValueError, OverflowError, OSError, RuntimeError) as error:
        raise InputError(f"The times or values of {label} cannot be decoded: {error}.") from error


def _plane(
    array: xr.DataArray, coords: Mapping[str, str], select: Mapping[str, Any], *, flat: bool = False
) -> tuple[xr.DataArray, dict[str, str]]:
    """An array `(time, lat, lon)`, or `(lat, lon)`, and the names of these dimensions."""
    for dim, value in select.items():
        if dim in array.dims:
            try:
                array = array.sel({dim: value})
            except (KeyError, ValueError) as error:
                known = ", ".join(map(str, array[dim].values[:12]))
                raise InputError(f"{array.name!r} has no {dim} = {value!r}. It has {known}.") from error
    roles = find_coordinates(array, {role: name for role, name in coords.items() if name in array.dims or not flat})
    if flat and "time" in roles and array.sizes[roles["time"]] == 1:
        array = array.isel({roles.pop("time"): 0}, drop=True)
    more = [str(dim) for dim in array.dims if str(dim) not in roles.values()]
    long = [dim for dim in more if array.sizes[dim] > 1]
    require(
        not long,
        f"{array.name!r} has further dimensions: {', '.join(f'{dim} ({array.sizes[dim]})' for dim in long)}. Say which "
        f"value of each is meant, such as select={{{long[0] if long else ''!r}: ...}}.",
    )
    array = array.isel(dict.fromkeys(more, 0), drop=True)
    if "time" not in roles and not flat:
        array = array.expand_dims("time")
        roles = {**roles, "time": "time"}
    require(not (flat and "time" in roles), f"{array.name!r} changes with time: it cannot be a static field.")
    return array.transpose(*([] if flat else [roles["time"]]), roles["lat"], roles["lon"]), roles


def _places(array: xr.DataArray, roles: Mapping[str, str]) -> tuple[Tensor, Tensor]:
    found = []
    for role in ("lat", "lon"):
        name = roles[role]
        require(name in array.coords, f"The dimension {name!r} has no coordinates: where its cells lie is not known.")
        values = numbers(array.coords[name])
        if in_degrees(array.coords[name]):
            values = longitudes(values) if role == "lon" else values
            away = int((np.abs(values) > 90).sum()) if role == "lat" else 0
            require(away == 0, f"The latitude {name!r} holds {away} values beyond 90 degrees.")
        found.append(torch.from_numpy(np.ascontiguousarray(monotonic(values, name))))
    return found[0], found[1]


def _hours(array: xr.DataArray, roles: Mapping[str, str], reference: str | None) -> tuple[Tensor, str]:
    name = roles["time"]
    if name not in array.coords:
        require(
            array.sizes[name] == 1, f"The dimension {name!r} has no coordinates: what times these are is not known."
        )
        return torch.zeros(1, dtype=torch.float64), reference or ""
    hours, since = hours_since(array.coords[name], reference)
    monotonic(hours, name)
    require(
        len(hours) < 2 or hours[0] < hours[1], f"The times {name!r} run backwards. Sort them, with ds.sortby({name!r})."
    )
    return torch.from_numpy(hours), since


def _static(
    data: xr.Dataset,
    static: Sequence[str] | Mapping[str, Opened],
    coords: Mapping[str, str],
    lat: Tensor,
    lon: Tensor,
) -> tuple[Tensor, tuple[str, ...]]:
    if isinstance(static, str):
        static = (static,)
    fields = []
    for name in static:
        if isinstance(static, Mapping):
            other, label, ours = _opened(static[name])
        else:
            other, label, ours = data, "the dataset", False
        _names(other, label, name)
        plane, roles = _plane(_decoded(other, label)[name], coords, {}, flat=True)
        values = load(plane)
        for d, (axis, wanted) in enumerate(zip(_places(plane, roles), (lat, lon), strict=True)):
            if len(axis) == len(wanted) and len(axis) > 1 and (axis[1] > axis[0]) != (wanted[1] > wanted[0]):
                axis, values = axis.flip(0), values.flip(d)
            require(
                len(axis) == len(wanted) and bool(torch.allclose(axis, wanted, rtol=0, atol=1e-4)),
                f"The static field {name!r} lies on another grid than the variable: put it on that one first.",
            )
        fields.append(values)
        if ours:
            other.close()
    if not fields:
        return torch.zeros(len(lat), len(lon), 0), ()
    return torch.stack([values.double() for values in fields], -1), tuple(static)
