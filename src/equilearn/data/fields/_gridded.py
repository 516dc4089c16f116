"""Fields on a grid of latitudes and longitudes, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.data.fields._normalizer import Normalizer, same_units
from equilearn.data.fields._patches import divide, observed_patches, range_of
from equilearn.data.fields._sets import FieldTask, PointSet
from equilearn.data.fields._source import Source
from equilearn.data.fields._times import Times, chosen_times, divided

CHUNK = 2**24
"""Values read at once where statistics run over all of them."""


@dataclass(frozen=True, eq=False)
class Gridded:
    """One or more variables on a grid, at some times; values are read when they are needed.

    Made by `from_xarray`. A location is `(latitude, longitude)`, then the hours since `reference` where asked for, then
    the static fields.

    Args:
        names, units: of the C variables.
        lat, lon: of the H rows and W columns, degrees; strictly increasing or decreasing.
        hours: of the T times, since `reference`, increasing.
        reference: a date.
        source: where the values are.
        index: which of the source's times these are.
        static: fields that do not change, `(H, W, S)`; NaN where a cell is to be left out.
        static_names: their names.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    lat: Float[Tensor, "H"]
    lon: Float[Tensor, "W"]
    hours: Float[Tensor, "T"]
    reference: str
    source: Source
    index: np.ndarray
    static: Float[Tensor, "H W S"]
    static_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of times T."""
        return len(self.hours)

    def __repr__(self) -> str:
        what = ", ".join(f"{name} [{unit}]" for name, unit in zip(self.names, self.units, strict=True))
        return (
            f"Gridded({what}: {len(self)} times, hours {float(self.hours[0]):g} to {float(self.hours[-1]):g} since "
            f"{self.reference or 'no date'}, latitude {float(self.lat[0]):g} to {float(self.lat[-1]):g}, longitude "
            f"{float(self.lon[0]):g} to {float(self.lon[-1]):g}, {len(self.lat)} x {len(self.lon)} cells)"
        )

    @property
    def coordinates(self) -> Float[Tensor, "H W X"]:
        """Of each cell: latitude, longitude, static fields; float64."""
        grid = torch.stack(torch.meshgrid(self.lat, self.lon, indexing="ij"), -1)
        return torch.cat([grid, self.static.double()], -1)

    @property
    def values(self) -> Float[Tensor, "T H W C"]:
        """All of them, read at once; NaN where missing."""
        return self.source.read(self.index)

    def at(self, times: Times) -> Gridded:
        """Some of the times: a slice, a number, several numbers, or True and False for each."""
        chosen = chosen_times(times, len(self))
        require(len(chosen) > 0, f"No time is left: {times} of {len(self)} times.")
        return replace(self, hours=self.hours[torch.from_numpy(chosen)], index=self.index[chosen])

    def split(self, train_days: float, test_days: float | None = None) -> tuple[Gridded, Gridded]:
        """The first `train_days` days, and the last `test_days` (by default all that follow).

        Days are counted from midnight before the first time.

        Raises:
            InputError: an empty part, or parts that overlap.
        """
        first, last = divided(self.hours, train_days, test_days)
        return self.at(first), self.at(last)

    def region(self, lat: tuple[float, float] | None = None, lon: tuple[float, float] | None = None) -> Gridded:
        """The cells with latitude and longitude in closed ranges.

        Where no cell has such a longitude, one that is a whole turn away is meant: (350, 355) is (-10, -5).

        Raises:
            InputError: a range without cells.
        """
        if lon is not None:
            lon = _turned(_span(lon, "lon"), self.lon, self.lat)
        rows, columns = (
            _within(axis, None if span is None else _span(span, name), name)
            for axis, span, name in ((self.lat, lat, "lat"), (self.lon, lon, "lon"))
        )
        source = self.source.crop(rows, columns)
        return replace(
            self, lat=self.lat[rows], lon=self.lon[columns], source=source, static=self.static[rows, columns]
        )

    def require_like(self, other: Gridded) -> None:
        """Raise `InputError` unless the other data have the same variables in the same units."""
        same_units("the first data", self.names, self.units, "the other", other.names, other.units)

    def normalizer(self, *, per_cell: bool = False) -> Normalizer:
        """Mean and standard deviation of these data (those of training), over all places or in each cell.

        Where nothing varies the deviation is 1; a cell that was never observed gets those of all places.

        Raises:
            InputError: a variable without a single value.

        Cost: reads everything once, in pieces.
        """
        h, w, c = len(self.lat), len(self.lon), len(self.names)
        count, total, square = (torch.zeros(h, w, c, dtype=torch.float64) for _ in range(3))
        step = max(1, CHUNK // (h * w * c))
        origin = torch.zeros(c, dtype=torch.float64)
        for start in range(0, len(self), step):
            values = self.source.read(self.index[start : start + step]).double()
            seen = ~torch.isnan(values)
            if start == 0:  # about which sums lose no digits
                origin = torch.nan_to_num(torch.nanmean(values.flatten(0, 2), 0))
            away = torch.where(seen, values - origin, 0)
            count, total, square = count + seen.sum(0), total + away.sum(0), square + away.square().sum(0)
        empty = [name for name, n in zip(self.names, count.sum((0, 1)), strict=True) if n == 0]
        require(not empty, f"{', '.join(empty)} has no value at all: everything is NaN.")
        flat = [part.sum((0, 1)) for part in (count, total, square)]
        mean, std = moments(*flat)
        if per_cell:
            cells = moments(count, total, square)
            mean, std = (torch.where(count > 0, cell, one) for cell, one in zip(cells, (mean, std), strict=True))
        place = {"lat": self.lat, "lon": self.lon} if per_cell else {}
        return Normalizer(self.names, self.units, mean + origin, std, **place)

    def points(self, times: Times = None, *, with_time: bool = False, dtype: torch.dtype = torch.float32) -> PointSet:
        """All cells as points, a set for each time: `(T, H W, X)`."""
        chosen = chosen_times(times, len(self))
        y = self.source.read(self.index[chosen]).flatten(1, 2).to(dtype)
        x = self.coordinates.flatten(0, 1).expand(len(y), -1, -1)
        if with_time:
            x = _with_hours(x, self.hours[torch.from_numpy(chosen)].view(-1, 1, 1).expand(*x.shape[:2], 1))
        return PointSet(x.to(dtype), y, torch.isfinite(x).all(-1))

    def tasks(
        self,
        batch: int,
        generator: torch.Generator,
        *,
        times: Times = None,
        patch: tuple[int, int] | None = (16, 16),
        context: int | tuple[int, int] = (5, 100),
        target: int | tuple[int, int] | None = None,
        steps: int = 1,
        stride: int = 1,
        with_time: bool | None = None,
        normalizer: Normalizer | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> FieldTask:
        """Random tasks: some cells of a patch at a random place and time are seen, others are to be predicted.

        Cells that are NaN are neither. Where a patch has fewer observed cells than the least number of context points
        and one, another is drawn; where it has fewer than a task's context and one, the context is smaller.

        Args:
            batch: number of tasks.
            generator: of all randomness.
            times: those to draw from; all by default.
            patch: rows and columns; None for the whole grid.
            context: how many cells are seen, or the least and most.
            target: how many are to be predicted, or the least and most; all the others by default.
            steps: consecutive times in a task.
            stride: times from one of them to the next.
            with_time: whether the hour is a coordinate of a location; by default where `steps > 1`.
            normalizer: values in its units; refuses data in others.
            dtype: of the tasks.

        Raises:
            InputError: a patch larger than the grid, more steps than times, an empty range, other units, or too few
                observed values.

        Cost: O(batch P log P) for patches of P cells; reads those patches alone.
        """
        positive_int(batch, "batch")
        size = (len(self.lat), len(self.lon)) if patch is None else _patch(patch, len(self.lat), len(self.lon))
        seen, wanted = range_of(context, "context"), None if target is None else range_of(target, "target", 1)
        chosen = chosen_times(times, len(self))
        span = (positive_int(steps, "steps") - 1) * positive_int(stride, "stride")
        starts = len(chosen) - span
        require(starts > 0, f"{steps} times, {stride} apart, were asked for of {len(chosen)}.")
        if normalizer is not None:
            normalizer.require_units(self.names, self.units)
        hourly = steps > 1 if with_time is None else with_time
        moments = chosen[np.arange(starts)[:, None] + stride * np.arange(steps)]

        def draw(n: int) -> tuple[Tensor, Tensor]:
            return self._draw(n, moments, size, hourly, generator, dtype)

        x, y, observed = observed_patches(draw, batch, seen[0] + 1)
        task = divide(x, y, observed, seen, wanted, generator)
        return task if normalizer is None else normalizer.normalize(task)

    def _draw(
        self,
        n: int,
        moments: np.ndarray,
        size: tuple[int, int],
        hourly: bool,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """Locations `(n, P, X)` and values `(n, P, C)` of random patches of `size`, at one of `moments` each."""
        choices = (len(moments), len(self.lat) - size[0] + 1, len(self.lon) - size[1] + 1)
        when, row, column = (
            torch.randint(many, (n,), generator=generator, device=generator.device).cpu() for many in choices
        )
        times = moments[when.numpy()]
        rows, columns = row[:, None] + torch.arange(size[0]), column[:, None] + torch.arange(size[1])
        y = self.source.patches(self.index[times], rows.numpy(), columns.numpy())  # (n, steps, h, w, C)
        lat, lon = self.lat[rows][:, :, None, None], self.lon[columns][:, None, :, None]
        static = self.static[rows[:, :, None], columns[:, None, :]].double()
        cells = static.shape[:3]
        x = torch.cat([lat.expand(*cells, 1), lon.expand(*cells, 1), static], -1).unsqueeze(1).expand(*y.shape[:4], -1)
        if hourly:
            hours = self.hours[torch.from_numpy(times)]
            x = _with_hours(x, hours[:, :, None, None, None].expand(*y.shape[:4], 1))
        return x.flatten(1, 3).to(dtype), y.flatten(1, 3).to(dtype)


def moments(count: Tensor, total: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    n = count.clamp_min(1)
    mean = total / n
    var = (square / n - mean.square()).clamp_min(0)
    rounding = 1e-12 * (square / n)
    return mean, torch.where(var > rounding, var, 1.0).sqrt()


def _with_hours(x: Tensor, hours: Tensor) -> Tensor:
    """The hour behind latitude and longitude, before static fields."""
    return torch.cat([x[..., :2], hours.to(x), x[..., 2:]], -1)


def _patch(patch: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    require(isinstance(patch, tuple | list) and len(patch) == 2, f"patch must be (rows, columns), got {patch!r}.")
    h, w = (positive_int(n, "patch") for n in patch)
    require(h <= rows and w <= columns, f"A patch of {h} x {w} cells does not fit into a grid of {rows} x {columns}.")
    return h, w


def _span(span: tuple[float, float], name: str) -> tuple[float, float]:
    ends = tuple(span) if isinstance(span, tuple | list) else ()
    if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise InputTypeError(f"{name} must be a range (least, most) of two numbers, got {span!r}.")
    require(ends[0] <= ends[1], f"{name} must be (least, most) with least <= most, got {span}.")
    return ends


def _turned(span: tuple[float, float], lon: Tensor, lat: Tensor) -> tuple[float, float]:
    """A range of longitudes as the grid counts them. Coordinates that can be no degrees are left alone."""
    degrees = float(lat.abs().max()) <= 90 and float(lon.max() - lon.min()) <= 360
    for turn in (0, -360, 360) if degrees else ():
        low, high = span[0] + turn, span[1] + turn
        if bool(((lon >= low) & (lon <= high)).any()):
            return low, high
    return span


def _within(axis: Tensor, span: tuple[float, float] | None, name: str) -> slice:
    if span is None:
        return slice(None)
    inside = ((axis >= span[0]) & (axis <= span[1])).nonzero().flatten()
    require(
        len(inside) > 0,
        f"No cell has {name} in [{span[0]:g}, {span[1]:g}]: the grid goes from {float(axis.min()):g} to "
        f"{float(axis.max()):g}.",
    )
    return slice(int(inside[0]), int(inside[-1]) + 1)
