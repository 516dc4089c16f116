"""A mean over seeds with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from equilearn.report._format import number, with_interval


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` finite values out of `total`, with a 95 % interval where `n >= 2`."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    total: int

    @property
    def shown(self) -> tuple[str, str]:
        """Mean and interval as text."""
        return with_interval(self.mean, self.low, self.high)

    @property
    def inline(self) -> str:
        """`0.953 [0.940, 0.966]`, or the mean alone."""
        return " ".join(part for part in self.shown if part)


def estimate(values: Iterable[object], bounds: tuple[float, float] | None = None) -> Estimate:
    """Mean and Student-t 95 % interval of the finite ones among `values`.

    The interval is cut at `bounds`, where the quantity cannot leave them (an accuracy).

    >>> estimate([0.9, 0.92, None, 0.94], (0, 1)).inline
    '0.920 [0.870, 0.970]'
    >>> estimate([0.9]).inline
    '0.900'
    """
    everything = list(values)
    finite = [x for x in map(number, everything) if x is not None]
    n = len(finite)
    if n == 0:
        return Estimate(None, None, None, 0, len(everything))
    mean = math.fsum(finite) / n
    if n == 1:
        return Estimate(mean, None, None, 1, len(everything))
    from scipy.special import stdtrit

    variance = math.fsum((x - mean) ** 2 for x in finite) / (n - 1)
    half = float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(mean, low, high, n, len(everything))
