"""Some of the times that data have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import InputTypeError, require

Times: TypeAlias = slice | int | Sequence[int] | Tensor | None
"""A slice, a number, several numbers, True and False for each time; None for all."""


def chosen_times(times: Times, count: int) -> np.ndarray:
    """Numbers of times, from 0 to below `count`.

    Raises:
        InputError: numbers beyond those there are.
    """
    whole = np.arange(count)
    if times is None:
        return whole
    if isinstance(times, slice):
        return whole[times]
    picked = np.atleast_1d(np.asarray(times))
    if picked.dtype != bool and not np.issubdtype(picked.dtype, np.integer):
        raise InputTypeError(f"times must be a slice or whole numbers, got {times!r}.")
    if picked.dtype == bool:
        fits = len(picked) == count
    else:
        fits = bool(((picked >= -count) & (picked < count)).all())
    require(fits, f"times must be among the {count} there are, got {times!r}.")
    return whole[picked]


def divided(
    hours: Float[Tensor, "T"], train_days: float, test_days: float | None
) -> tuple[Bool[Tensor, "T"], Bool[Tensor, "T"]]:
    """Which times are of the first days, and which of the last (None: all that follow).

    Raises:
        InputError: an empty part, or parts that overlap.
    """
    start = 24 * torch.floor(hours[0] / 24)
    end = 24 * torch.ceil((hours[-1] + 1e-6) / 24)
    first = hours < start + 24 * train_days
    last = ~first if test_days is None else hours >= end - 24 * test_days
    days = float(end - start) / 24
    require(
        bool(first.any()) and bool(last.any()),
        f"{len(hours)} times on {days:g} days cannot be split into {train_days} and {test_days} days.",
    )
    require(
        not bool((first & last).any()), f"The first {train_days} and the last {test_days} of {days:g} days overlap."
    )
    return first, last
