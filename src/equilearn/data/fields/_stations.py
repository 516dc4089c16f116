"""What stations observed, at times that need not be the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.data.fields._gridded import moments
from equilearn.data.fields._normalizer import Normalizer
from equilearn.data.fields._patches import divide, range_of
from equilearn.data.fields._sets import FieldTask, PointSet
from equilearn.data.fields._times import Times, chosen_times, divided


@dataclass(frozen=True, eq=False)
class Stations:
    """M observations, sorted by time. Made by `from_stations`.

    Args:
        names, units: of the C variables.
        ids: of the stations.
        hours: the T times at which there is an observation, since `reference`, increasing.
        reference: a date.
        x: locations, `(M, X)`: latitude and longitude (or whatever was given), then static fields.
        y: values, `(M, C)`, NaN where missing.
        time: for each observation the number of its time.
        station: and that of its station.
        static_names: of the static fields.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    ids: tuple[str, ...]
    hours: Float[Tensor, "T"]
    reference: str
    x: Float[Tensor, "M X"]
    y: Float[Tensor, "M C"]
    time: Int[Tensor, "M"]
    station: Int[Tensor, "M"]
    static_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of times T."""
        return len(self.hours)

    def __repr__(self) -> str:
        what = ", ".join(f"{name} [{unit}]" for name, unit in zip(self.names, self.units, strict=True))
        return (
            f"Stations({what}: {len(self.ids)} stations, {len(self)} times, {len(self.x)} observations, hours "
            f"{float(self.hours[0]):g} to {float(self.hours[-1]):g} since {self.reference})"
        )

    def at(self, times: Times) -> Stations:
        """Some of the times."""
        chosen = np.unique(chosen_times(times, len(self)))
        require(len(chosen) > 0, f"No time is left: {times} of {len(self)} times.")
        index = torch.from_numpy(chosen)
        keep = torch.isin(self.time, index)
        number = torch.searchsorted(index, self.time[keep])
        return replace(
            self, hours=self.hours[index], x=self.x[keep], y=self.y[keep], time=number, station=self.station[keep]
        )

    def split(self, train_days: float, test_days: float | None = None) -> tuple[Stations, Stations]:
        """The first `train_days` days, and the last `test_days` (by default all that follow).

        Raises:
            InputError: an empty part, or parts that overlap.
        """
        first, last = divided(self.hours, train_days, test_days)
        return self.at(first), self.at(last)

    def split_stations(self, held_out: int, generator: torch.Generator) -> tuple[Stations, Stations]:
        """All but `held_out` random stations, and those.

        Raises:
            InputError: no station left, or none held out.
        """
        positive_int(held_out, "held_out")
        require(held_out < len(self.ids), f"{held_out} of {len(self.ids)} stations cannot be held out: none is left.")
        order = torch.randperm(len(self.ids), generator=generator, device=generator.device).cpu()
        return self._of(order[held_out:].sort().values), self._of(order[:held_out].sort().values)

    def _of(self, stations: Tensor) -> Stations:
        keep = torch.isin(self.station, stations)
        left, number = torch.unique(self.time[keep], return_inverse=True)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in stations.tolist()),
            hours=self.hours[left],
            x=self.x[keep],
            y=self.y[keep],
            time=number,
            station=torch.searchsorted(stations, self.station[keep]),
        )

    def normalizer(self) -> Normalizer:
        """Mean and standard deviation of all observations (those of training); 1 where nothing varies.

        Raises:
            InputError: a variable without a single value.
        """
        y = self.y.double()
        seen = ~torch.isnan(y)
        empty = [name for name, some in zip(self.names, seen.any(0).tolist(), strict=True) if not some]
        require(not empty, f"{', '.join(empty)} has no value at all: everything is missing.")
        origin = torch.nanmean(y, 0)
        away = torch.where(seen, y - origin, 0)
        mean, std = moments(seen.sum(0).double(), away.sum(0), away.square().sum(0))
        return Normalizer(self.names, self.units, mean + origin, std)

    def points(self, times: Times = None, *, with_time: bool = False, dtype: torch.dtype = torch.float32) -> PointSet:
        """All observations, a set for each time."""
        x, y = self._sets(torch.from_numpy(chosen_times(times, len(self))), with_time)
        return PointSet(x.to(dtype), y.to(dtype), torch.isfinite(x).all(-1))

    def tasks(
        self,
        batch: int,
        generator: torch.Generator,
        *,
        times: Times = None,
        context: int | tuple[int, int] = (1, 100),
        target: int | tuple[int, int] | None = None,
        with_time: bool = False,
        normalizer: Normalizer | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> FieldTask:
        """Random tasks: some stations at a random time are seen, others are to be predicted.

        Times at which fewer stations observed something than the least number of context points and one are left out;
        where fewer did than a task's context and one, the context is smaller.

        Args:
            batch: number of tasks.
            generator: of all randomness.
            times: those to draw from; all by default.
            context: how many stations are seen, or the least and most.
            target: how many are to be predicted, or the least and most; all the others by default.
            with_time: whether the hour is a coordinate of a location, the third.
            normalizer: values in its units; refuses data in others.
            dtype: of the tasks.

        Raises:
            InputError: no time with enough stations, an empty range, other units.
        """
        positive_int(batch, "batch")
        seen, wanted = range_of(context, "context"), None if target is None else range_of(target, "target", 1)
        if normalizer is not None:
            normalizer.require_units(self.names, self.units)
        chosen = torch.from_numpy(chosen_times(times, len(self)))
        observed = torch.bincount(self.time[~torch.isnan(self.y).any(1)], minlength=len(self))
        rich = chosen[observed[chosen] > seen[0]]
        if len(rich) == 0:
            most = int(observed[chosen].max()) if len(chosen) else 0
            raise InputError(
                f"At none of {len(chosen)} times did {seen[0] + 1} stations observe something, {most} at most. Take "
                "fewer context points."
            )
        which = torch.randint(len(rich), (batch,), generator=generator, device=generator.device).cpu()
        x, y = self._sets(rich[which], with_time)
        there = torch.isfinite(x).all(-1) & ~torch.isnan(y).any(-1)
        task = divide(x.to(dtype), y.to(dtype), there, seen, wanted, generator)
        return task if normalizer is None else normalizer.normalize(task)

    def _sets(self, times: Int[Tensor, "n"], with_time: bool) -> tuple[Tensor, Tensor]:
        """Locations `(n, P, X)` and values `(n, P, C)` of all observations at each time, NaN beyond the last."""
        count = torch.bincount(self.time, minlength=len(self))
        start = count.cumsum(0) - count
        most = int(count[times].max()) if len(times) else 0
        place = torch.arange(most)
        index = (start[times][:, None] + place).clamp_max(len(self.x) - 1)
        x, y = self.x[index], self.y[index]
        if with_time:
            hours = self.hours[times][:, None, None].expand(-1, most, 1)
            x = torch.cat([x[..., :2], hours, x[..., 2:]], -1)
        beyond = (place >= count[times][:, None]).unsqueeze(-1)
        return x.masked_fill(beyond, torch.nan), y.masked_fill(beyond, torch.nan)
