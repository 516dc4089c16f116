"""Fields on a grid as netCDF files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn import io
from equilearn._check import extra, positive_int, require

HERE = (58.0, -10.0)
"""North-west corner of the example, in degrees."""
STEP = 0.25


def write_netcdf(
    path: io.PathLike,
    fields: Mapping[str, Tensor],
    lat: Float[Tensor, "H"],
    lon: Float[Tensor, "W"],
    hours: Float[Tensor, "T"],
    reference: str,
    *,
    units: Mapping[str, str] | None = None,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Fields as a netCDF-4 file that follows the conventions for climate and forecast (CF).

    Args:
        path: of the file; it appears when it is complete.
        fields: each `(T, H, W)`, or `(H, W)` where it does not change.
        lat, lon: degrees north and east.
        hours: since `reference`, a date.
        units: of the fields.
        about: further attributes of the file.

    Raises:
        MissingExtraError: without xarray and netCDF4, the extra `fields`.
        InputError: shapes that do not fit, or a place that cannot be written to.
    """
    xarray = extra("xarray", "fields", "Writing netCDF files")
    extra("netCDF4", "fields", "Writing netCDF files")
    sizes = (len(hours), len(lat), len(lon))
    data = {}
    for name, values in fields.items():
        require(
            tuple(values.shape) in (sizes, sizes[1:]),
            f"{name} must be of shape {sizes} or {sizes[1:]}, got {tuple(values.shape)}.",
        )
        dims = ("time", "latitude", "longitude")[-values.ndim :]
        attributes = {"units": units[name]} if units and name in units else {}
        data[name] = (dims, values.detach().cpu().numpy(), attributes)
    calendar = {"units": f"hours since {reference}", "calendar": "proleptic_gregorian", "standard_name": "time"}
    dataset = xarray.Dataset(
        data,
        {
            "time": ("time", np.asarray(hours.double()), calendar),
            "latitude": ("latitude", np.asarray(lat.double()), _axis("latitude", "degrees_north")),
            "longitude": ("longitude", np.asarray(lon.double()), _axis("longitude", "degrees_east")),
        },
        {"Conventions": "CF-1.8", **(about or {})},
    )
    with io.atomic_path(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4")
    return Path(path)


def _axis(name: str, units: str) -> dict[str, str]:
    return {"standard_name": name, "units": units}


def write_example_fields(
    path: io.PathLike,
    generator: torch.Generator,
    *,
    days: int = 4,
    size: tuple[int, int] = (20, 24),
    land_only: bool = False,
) -> Path:
    """A small file laid out as the hourly temperatures of a reanalysis are, of an invented country.

    `t2m(time, latitude, longitude)` in kelvins: colder up the mountains, warmer and colder with the hour where there is
    land, and warm and cold air that drifts across. `elevation(latitude, longitude)` in metres, 0 at sea. Latitudes
    decrease.

    Args:
        path: of the file.
        generator: of the weather; the country is always the same.
        days: of 24 hours, from 1 March 2019.
        size: rows and columns.
        land_only: whether temperatures at sea are missing.

    Raises:
        MissingExtraError: without xarray and netCDF4, the extra `fields`.
        InputError: no days or an empty grid.
    """
    rows, columns = (positive_int(n, "size") for n in size)
    hours = torch.arange(24.0 * positive_int(days, "days"), dtype=torch.float64)
    lat = HERE[0] - STEP * torch.arange(rows, dtype=torch.float64)
    lon = HERE[1] + STEP * torch.arange(columns, dtype=torch.float64)
    y, x = torch.meshgrid(lat - HERE[0], lon - HERE[1], indexing="ij")
    country = torch.sin(1.3 * x + 0.4) * torch.cos(0.9 * y) + 0.5 * torch.sin(2.9 * x - 1.7 * y)
    elevation = 900 * country.clamp_min(0) ** 2
    t = hours[:, None, None]
    warmth = 2.5 * torch.cos(2 * torch.pi * (t - 15) / 24) * (country > 0)
    air = torch.zeros(len(hours), rows, columns, dtype=torch.float64)
    for _ in range(6):
        k = 1.5 * torch.randn(2, generator=generator, dtype=torch.float64)
        phase, speed = torch.rand(2, generator=generator, dtype=torch.float64)
        air += torch.cos(k[0] * y + k[1] * x + 0.3 * speed * t + 2 * torch.pi * phase)
    t2m = 281 - 0.0065 * elevation + warmth + 1.5 * air
    if land_only:
        t2m = torch.where(country > 0, t2m, torch.nan)
    return write_netcdf(
        path,
        {"t2m": t2m.float(), "elevation": elevation.float()},
        lat,
        lon,
        hours,
        "2019-03-01",
        units={"t2m": "K", "elevation": "m"},
        about={"title": "Invented hourly temperatures"},
    )
