"""Matrices small enough for a row: eight bits an entry, as text."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require

MOST_SIDE = 512
_LEVELS = 255


def pack_matrix(matrix: Shaped[Tensor, "rows columns"] | np.ndarray) -> dict[str, Any]:
    """A matrix as a JSON dict, to be kept in a row of a study and drawn by its report.

    Entries are rounded to 256 evenly spaced levels from the least to the largest, so each is off by
    at most `(high - low) / 510`: enough for a picture, not for computing on.

    Args:
        matrix: real and finite entries, at most 512 to a side; of any device and dtype.

    Returns:
        `rows`, `columns`, `low`, `high` and `data`, the levels row by row as bytes in base64: 5 kB
        of text for 62 by 62 entries.

    Raises:
        InputError: not a matrix, empty, too large, or with entries that are not finite (how many).

    Cost:
        O(rows columns).

    Example:
        >>> packed = pack_matrix(torch.eye(3))
        >>> packed["rows"], packed["low"], packed["high"], unpack_matrix(packed).equal(torch.eye(3).double())
        (3, 0.0, 1.0, True)
    """
    entries = torch.as_tensor(matrix).detach().to("cpu", torch.float64)
    shape = tuple(entries.shape)
    require(
        len(shape) == 2 and min(shape) >= 1 and max(shape) <= MOST_SIDE,
        f"pack_matrix takes a matrix of 1 to {MOST_SIDE} rows and columns; got the shape {shape}. "
        "Keep a block of a larger one.",
    )
    wrong = int((~entries.isfinite()).sum())
    require(not wrong, f"{wrong} of {entries.numel()} entries of the matrix are NaN or infinite; a picture needs none.")
    low, high = float(entries.min()), float(entries.max())
    span = high - low
    require(math.isfinite(span), f"The entries run from {low:g} to {high:g}, too far apart for a picture; scale them.")
    levels = ((entries - low) / span * _LEVELS).round() if span > 0 else torch.zeros_like(entries)
    data = base64.b64encode(levels.to(torch.uint8).numpy().tobytes()).decode("ascii")
    return {"rows": shape[0], "columns": shape[1], "low": low, "high": high, "data": data}


def unpack_matrix(packed: object) -> Float[Tensor, "rows columns"]:
    """The matrix that `pack_matrix` packed, to within half a level, in float64.

    Raises:
        InputTypeError: where `packed` is no dict.
        InputError: where it lacks a key, or its data do not fit its shape.

    Example:
        >>> unpack_matrix(pack_matrix(torch.tensor([[-1.0, 0.0, 1.0]]))).round(decimals=1)
        tensor([[-1., 0., 1.]], dtype=torch.float64)
    """
    if not isinstance(packed, dict):
        raise InputTypeError(f"unpack_matrix takes what pack_matrix gave, a dict; got {type(packed).__name__}.")
    rows, columns, low, high, data = (packed.get(key) for key in ("rows", "columns", "low", "high", "data"))
    if not (_side(rows) and _side(columns) and _finite(low) and _finite(high) and isinstance(data, str)):
        raise InputError(
            "A packed matrix has rows and columns (whole numbers of 1 to "
            f"{MOST_SIDE}), low and high (numbers) and data (text); got the keys {sorted(map(str, packed))}."
        )
    try:
        levels = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"The data of a packed matrix are not base64 ({error}). They may be cut short.") from error
    require(
        levels.size == rows * columns,
        f"A packed matrix of {rows} by {columns} has {rows * columns} entries; its data hold {levels.size}.",
    )
    return torch.from_numpy(low + levels * ((high - low) / _LEVELS)).reshape(rows, columns)


def _side(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= MOST_SIDE


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
