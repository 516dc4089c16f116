"""Where the values of gridded fields lie: in memory, or in a file that is read piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, require

if TYPE_CHECKING:
    import xarray as xr


class Source(Protocol):
    """Values at `(time, row, column)`, C of them each."""

    def read(self, index: np.ndarray) -> Tensor:
        """All values at the times `index`, `(n, H, W, C)`."""
        ...

    def patches(self, index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """For each task b its times `index[b]`, rows and columns (consecutive): `(B, n, h, w, C)`."""
        ...

    def crop(self, rows: slice, columns: slice) -> Source:
        """Some of the rows and columns."""
        ...


class Held:
    """Values in memory."""

    def __init__(self, values: Float[Tensor, "T H W C"]):
        self.values = values

    def read(self, index: np.ndarray) -> Tensor:
        return self.values[torch.from_numpy(index)]

    def patches(self, index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        t, r, c = (torch.from_numpy(v) for v in (index, rows, columns))
        return self.values[t[:, :, None, None], r[:, None, :, None], c[:, None, None, :]]

    def crop(self, rows: slice, columns: slice) -> Held:
        return Held(self.values[:, rows, columns])


class Lazy:
    """Values in files: one array `(time, lat, lon)` for each variable; what is asked for is read."""

    def __init__(self, arrays: Sequence[xr.DataArray]):
        self.arrays = list(arrays)

    def read(self, index: np.ndarray) -> Tensor:
        return self._load([array[index] for array in self.arrays])

    def patches(self, index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        parts = []
        for times, row, column in zip(index, rows, columns, strict=True):
            part = times, slice(int(row[0]), int(row[-1]) + 1), slice(int(column[0]), int(column[-1]) + 1)
            parts.append(self._load([array[part] for array in self.arrays]))
        return torch.stack(parts)

    def crop(self, rows: slice, columns: slice) -> Lazy:
        return Lazy([array[:, rows, columns] for array in self.arrays])

    @staticmethod
    def _load(arrays: list[xr.DataArray]) -> Tensor:
        return torch.stack([load(array) for array in arrays], -1)


def load(array: xr.DataArray) -> Tensor:
    """Its values as floating-point numbers, NaN where they are missing.

    Raises:
        InputError: what cannot be read (a truncated file), is no number, or is infinite.
    """
    try:
        values = array.values
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"Cannot read {str(array.name)!r}: {error}. Is the file damaged or truncated?") from error
    require(values.dtype.kind in "fiub", f"The variable {str(array.name)!r} holds {values.dtype}, not numbers.")
    kind = np.float64 if values.dtype == np.float64 else np.float32
    infinite = int(np.isinf(values).sum())
    require(infinite == 0, f"{infinite} values of {str(array.name)!r} are infinite; mark what is missing with NaN.")
    return torch.from_numpy(np.array(values, dtype=kind))


def require_whole(path: Path) -> None:
    """Raise `InputError` where a file of netCDF version 3 is cut short: its library would read zeros there.

    Version 4 notices by itself.
    """
    try:
        with path.open("rb") as file:
            kind = file.read(4)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    if kind not in (b"CDF\x01", b"CDF\x02"):
        return
    from scipy.io import netcdf_file

    try:
        opened = netcdf_file(path, mmap=True)  # lays arrays over the file, reads none
        opened.variables.clear()
        opened.close()
    except Exception as error:  # of many kinds, wherever the file ends
        raise InputError(f"{path} cannot be read as netCDF: {error}. Is it damaged or cut short?") from error
