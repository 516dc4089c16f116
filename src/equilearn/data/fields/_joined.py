"""Data that follow each other in time, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from equilearn._check import InputTypeError, require
from equilearn.data.fields._gridded import Gridded
from equilearn.data.fields._source import Held, Source


class Joined:
    """Several sources, one after the other in time."""

    def __init__(self, sources: Sequence[Source], lengths: Sequence[int]):
        self.sources, self.lengths = list(sources), list(lengths)
        self.starts = np.cumsum([0, *lengths])

    def read(self, index: np.ndarray) -> Tensor:
        owner = np.searchsorted(self.starts, index, side="right") - 1
        parts = [
            self.sources[k].read(index[owner == k] - self.starts[k])
            for k in range(len(self.sources))
            if (owner == k).any()
        ]
        order = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
        return torch.cat(parts)[torch.from_numpy(order)]

    def patches(self, index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        parts = []
        for times, row, column in zip(index, rows, columns, strict=True):
            steps = []
            for time in times:
                k = int(np.searchsorted(self.starts, time, side="right")) - 1
                at = np.array([[time - self.starts[k]]])
                steps.append(self.sources[k].patches(at, row[None], column[None])[0])
            parts.append(torch.cat(steps))
        return torch.stack(parts)

    def crop(self, rows: slice, columns: slice) -> Joined:
        return Joined([source.crop(rows, columns) for source in self.sources], self.lengths)


class Picked:
    """Some of the times of a source."""

    def __init__(self, source: Source, index: np.ndarray):
        self.source, self.index = source, index

    def read(self, index: np.ndarray) -> Tensor:
        return self.source.read(self.index[index])

    def patches(self, index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        return self.source.patches(self.index[index], rows, columns)

    def crop(self, rows: slice, columns: slice) -> Picked:
        return Picked(self.source.crop(rows, columns), self.index)


def join(parts: Sequence[Gridded]) -> Gridded:
    """Data of one grid that follow each other in time.

    Raises:
        InputError: other variables or units, another grid, static fields or reference date, times that do not follow
            each other.
    """
    require(len(parts) > 0, "No data were given: join needs at least one.")
    for part in parts:
        if not isinstance(part, Gridded):
            raise InputTypeError(f"join takes Gridded data, as of from_xarray, got {type(part).__name__}.")
    first = parts[0]
    for part in parts[1:]:
        first.require_like(part)
        require(
            part.lat.shape == first.lat.shape
            and part.lon.shape == first.lon.shape
            and torch.allclose(part.lat, first.lat, rtol=0, atol=1e-4)
            and torch.allclose(part.lon, first.lon, rtol=0, atol=1e-4),
            "Data on different grids cannot be joined: latitudes or longitudes differ.",
        )
        require(
            part.static_names == first.static_names
            and part.static.shape == first.static.shape
            and torch.allclose(part.static, first.static.to(part.static), rtol=1e-5, atol=1e-6, equal_nan=True),
            f"Static fields differ: {', '.join(first.static_names) or 'none'} in the first data and "
            f"{', '.join(part.static_names) or 'none'} in the other, or their values. Read all parts with the same.",
        )
        require(part.reference == first.reference, f"Hours count from {first.reference} and from {part.reference}.")
    hours = torch.cat([part.hours for part in parts])
    back = int((hours.diff() <= 0).sum())
    require(back == 0, f"The data do not follow each other in time: {back} times come before or with the one ahead.")
    if len(parts) == 1:
        return first
    if all(isinstance(part.source, Held) for part in parts):
        held = Held(torch.cat([part.values for part in parts]))
        return replace(first, hours=hours, source=held, index=np.arange(len(hours)))
    sources = [Picked(part.source, part.index) for part in parts]
    return replace(
        first, hours=hours, source=Joined(sources, [len(part) for part in parts]), index=np.arange(len(hours))
    )
