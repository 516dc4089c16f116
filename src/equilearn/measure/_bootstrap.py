"""Percentile bootstrap intervals of relative errors."""

from __future__ import annotations

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
    rows, columns = difference.shape
    if columns < 2:
        return None
    difference, size = difference.cpu(), size.cpu()
    device = torch.device("cpu") if generator is None else generator.device
    means = []
    for start in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - start)
        errors = _resampled(count, columns, generator, device, difference, size)
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
    """The error of every row in `count` resamples: how often each column is drawn, times the column."""
    drawn = torch.randint(columns, (count, columns), generator=generator, device=device).cpu()
    weight = torch.zeros(count, columns, dtype=torch.float64)
    weight.scatter_add_(1, drawn, torch.ones_like(weight))
    top, bottom = weight @ difference.T, weight @ size.T
    return torch.where(top == 0, torch.zeros_like(top), top / bottom).sqrt()
