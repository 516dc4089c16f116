"""Percentile bootstrap intervals of relative errors."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 1000
"""Bootstrap resamples."""

_CHUNK = 100


def ratio(difference: Float[Tensor, "... B"], size: Float[Tensor, "... B"]) -> Float[Tensor, "..."]:
    """`sqrt(sum difference / sum size)`; 0 where nothing differs, 0/0 included."""
    top, bottom = difference.sum(-1), size.sum(-1)
    return torch.where(top == 0, torch.zeros_like(top), top / bottom).sqrt()


def signed_root(value: float) -> float:
    """The square root, of a negative number the negative root of its size."""
    return math.copysign(abs(value) ** 0.5, value)


def excess_interval(
    excess: Float[Tensor, "G B"],
    size: Float[Tensor, "G B"],
    *,
    confidence: float,
    generator: torch.Generator | None,
    resample_rows: bool,
) -> tuple[float, float] | None:
    """Interval of the signed root of the mean over rows of `sum_b excess / sum_b size`, where the excess,
    an estimate of a square, may be negative. Resampled as in `ratio_interval`."""
    ends = _interval(excess, size, confidence, generator, resample_rows, DRAWS, root=False)
    return None if ends is None else (signed_root(ends[0]), signed_root(ends[1]))


def ratio_interval(
    difference: Float[Tensor, "G B"],
    size: Float[Tensor, "G B"],
    *,
    confidence: float,
    generator: torch.Generator | None,
    resample_rows: bool,
    draws: int = DRAWS,
) -> tuple[float, float] | None:
    """Interval of the mean over rows of `sqrt(sum_b difference / sum_b size)`.

    Columns (inputs) are resampled, rows (elements) too where they were drawn at random. None for a
    single column. O(draws G B).
    """
    return _interval(difference, size, confidence, generator, resample_rows, draws, root=True)


def _interval(
    difference: Tensor,
    size: Tensor,
    confidence: float,
    generator: torch.Generator | None,
    resample_rows: bool,
    draws: int,
    *,
    root: bool,
) -> tuple[float, float] | None:
    rows, columns = difference.shape
    if columns < 2:
        return None
    difference, size = difference.cpu(), size.cpu()
    device = torch.device("cpu") if generator is None else generator.device
    means = []
    for start in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - start)
        errors = _resampled(count, columns, generator, device, difference, size)
        errors = errors.sqrt() if root else errors
        if resample_rows:
            chosen = torch.randint(rows, (count, rows), generator=generator, device=device).cpu()
            errors = torch.gather(errors, 1, chosen)
        means.append(errors.mean(1))
    tail = (1.0 - confidence) / 2
    low, high = torch.quantile(torch.cat(means), torch.tensor([tail, 1.0 - tail], dtype=torch.float64)).tolist()
    return low, high


def _resampled(
    count: int, columns: int, generator: torch.Generator | None, device: torch.device, difference: Tensor, size: Tensor
) -> Float[Tensor, "count G"]:
    """The squared error of every row in `count` resamples: how often each column is drawn, times the column."""
    drawn = torch.randint(columns, (count, columns), generator=generator, device=device).cpu()
    weight = torch.zeros(count, columns, dtype=torch.float64)
    weight.scatter_add_(1, drawn, torch.ones_like(weight))
    top, bottom = weight @ difference.T, weight @ size.T
    return torch.where(top == 0, torch.zeros_like(top), top / bottom)
