"""Shades for tables of errors, on a logarithmic scale."""

from __future__ import annotations

import math

from equilearn.report._format import number, significant
from equilearn.report._table import Cell, blank, figure


def heat_range(values: list[float], floor: float | None) -> tuple[float, float]:
    """The errors drawn lightest and darkest: the floor, or the least, and the largest; at least a decade."""
    positive = [v for v in values if v > 0]
    if not positive:
        return 1e-9, 1.0
    high = max(positive)
    low = min(max(floor, 1e-12) if floor else min(positive), high / 10)
    return low, high


def heated(value: object, scale: tuple[float, float]) -> Cell:
    """A cell shaded by where `value` lies on the scale.

    >>> heated(1.0, (1e-6, 1.0)).heat, heated(1e-3, (1e-6, 1.0)).heat, heated(0.0, (1e-6, 1.0)).heat
    (1.0, 0.5, 0.0)
    """
    x = number(value)
    if x is None:
        return blank()
    low, high = scale
    heat = 0.0 if x <= low else min(1.0, math.log(x / low) / math.log(high / low))
    return figure(x, significant(x, 2), heat=round(heat, 3))
