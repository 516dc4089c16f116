"""Maps: values on a grid as SVG, with coordinates on the axes and a colour bar that names the unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equilearn._check import InputError
from equilearn.report._format import significant
from equilearn.report._svg import INK, drawing, inline
from equilearn.studies import pack_matrix, unpack_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIDE = 160
"""Rows or columns of a packed map at most; of a finer one every so many."""
PALETTES = {"value": "viridis", "spread": "magma", "signed": "RdBu_r"}


def packed_map(values: Tensor) -> dict[str, Any]:
    """A map as JSON: 256 levels, and which cells are missing; enough for a picture.

    Example:
        >>> unpacked_map(packed_map(torch.tensor([[0.0, float("nan")], [1.0, 1.0]])))
        array([[ 0., nan],
               [ 1.,  1.]])
    """
    step = max(1, math.ceil(max(values.shape) / MOST_SIDE))
    values = values.detach().double()[::step, ::step]
    missing = ~torch.isfinite(values)
    if bool(missing.all()):
        return {}
    fill = float(values[~missing].min())
    found: dict[str, Any] = {"values": pack_matrix(torch.where(missing, fill, values))}
    if bool(missing.any()):
        found["missing"] = pack_matrix(missing.double())
    return found


def unpacked_map(packed: object) -> np.ndarray | None:
    """What `packed_map` packed, NaN where missing; None where it is something else."""
    if not isinstance(packed, Mapping):
        return None
    try:
        values = unpack_matrix(packed.get("values")).numpy().copy()
        if packed.get("missing") is not None:
            gone = unpack_matrix(packed.get("missing")).numpy()
            values[gone > 0.5] = np.nan
    except (InputError, IndexError):
        return None
    return values


@dataclass(frozen=True)
class Ground:
    """Where maps lie: coordinates of the first and last row and column."""

    lat: tuple[float, float]
    lon: tuple[float, float]

    @property
    def degrees(self) -> bool:
        """Whether these can be latitudes and longitudes; else they are lengths on a plane."""
        return max(map(abs, self.lat)) <= 90 and max(map(abs, self.lon)) <= 360

    @property
    def names(self) -> tuple[str, str]:
        """Of the horizontal and the vertical axis."""
        return ("longitude (°E)", "latitude (°N)") if self.degrees else ("easting", "northing")

    def extent(self, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a picture, borders of the outermost cells; north is up."""
        half = [abs(b - a) / max(n - 1, 1) / 2 or 0.5 for (a, b), n in zip((self.lat, self.lon), shape, strict=True)]
        return (min(self.lon) - half[1], max(self.lon) + half[1], min(self.lat) - half[0], max(self.lat) + half[0])

    def upright(self, values: np.ndarray) -> np.ndarray:
        """With the north-west cell first."""
        values = values[::-1] if self.lat[0] < self.lat[1] else values
        return values[:, ::-1] if self.lon[0] > self.lon[1] else values


def spans(maps: Sequence[np.ndarray | None], signed: bool = False) -> tuple[float, float]:
    """One colour scale for several maps; symmetric about zero where signed. One value in a hundred may lie beyond."""
    known = np.concatenate([m[np.isfinite(m)] for m in maps if m is not None] or [np.zeros(1)])
    if not len(known):
        return -1.0, 1.0
    if signed:
        limit = float(np.quantile(np.abs(known), 0.99)) or 1.0
        return -limit, limit
    low, high = (float(v) for v in np.quantile(known, (0.005, 0.995)))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def world_map(
    values: np.ndarray | None,
    ground: Ground,
    *,
    uid: str,
    title: str,
    bar: str,
    span: tuple[float, float],
    kind: str = "value",
    points: Sequence[Sequence[float]] = (),
    shape: tuple[int, ...] = (2, 2),
) -> str:
    """One map.

    Args:
        values: `(rows, columns)`, NaN where there is none; None for points alone.
        ground: where it lies.
        uid: start of the identifiers in the SVG, unique on the page.
        title: what the picture shows, for screen readers.
        bar: name of the colour bar, with the unit.
        span: values at the ends of the colours.
        kind: `value`, `spread`, or `signed` (colours about zero).
        points: `(lat, lon)` drawn as rings, or `(lat, lon, value)` coloured.
        shape: rows and columns of the grid, where there are no values.

    Returns:
        An `<svg>` element. The same arguments give the same text.
    """
    from matplotlib.figure import Figure

    shape = shape if values is None else values.shape
    left, right, bottom, top = ground.extent(shape)
    stretch = 1 / max(0.2, math.cos(math.radians((bottom + top) / 2))) if ground.degrees else 1.0
    width, height = 4.6, 4.6 * 0.68 * min(2.0, max(0.35, stretch * (top - bottom) / (right - left)))
    with drawing():
        figure = Figure(figsize=(width, height + 0.75), dpi=110)
        axes = figure.add_axes((0.12, 0.5 / (height + 0.75), 0.68, height / (height + 0.75)))
        shades = _shades(axes, values, ground, (left, right, bottom, top), PALETTES[kind], span, points)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_xlabel(ground.names[0])
        axes.set_ylabel(ground.names[1])
        axes.tick_params(length=3, width=0.8)
        beside = figure.add_axes((0.83, 0.5 / (height + 0.75), 0.03, height / (height + 0.75)))
        scale = figure.colorbar(shades, cax=beside)
        scale.solids.set_rasterized(True)  # type: ignore[union-attr]  # not 256 rectangles
        scale.outline.set_visible(False)  # type: ignore[operator]
        beside.tick_params(length=3, width=0.8)
        beside.set_title(bar, loc="left", fontsize=10)
        return inline(figure, uid=uid, title=title, description=_described(values, points, bar))


def _shades(
    axes: Axes,
    values: np.ndarray | None,
    ground: Ground,
    extent: tuple[float, float, float, float],
    palette: str,
    span: tuple[float, float],
    points: Sequence[Sequence[float]],
) -> Any:
    """The picture and the points; returns what the colour bar explains."""
    shades = None
    style = {"cmap": palette, "vmin": span[0], "vmax": span[1]}
    if values is not None:
        shades = axes.imshow(
            np.ma.masked_invalid(ground.upright(values)), extent=extent, aspect="auto", interpolation="nearest", **style
        )
    if points:
        lat, lon = [p[0] for p in points], [p[1] for p in points]
        if len(points[0]) > 2:
            inked = {"edgecolors": INK, "linewidths": 0.6, "s": 26}
            found = axes.scatter(lon, lat, c=[p[2] for p in points], clip_on=False, **inked, **style)
            shades = found if shades is None else shades
        else:
            small = 9 if len(points) < 300 else 3
            axes.scatter(lon, lat, s=small, facecolors="#ffffff", edgecolors="#000000", linewidths=0.5)
    if shades is None:
        shades = axes.imshow(np.full((1, 1), np.nan), extent=extent, aspect="auto", **style)
    return shades


def _described(values: np.ndarray | None, points: Sequence[Sequence[float]], bar: str) -> str:
    known = [] if values is None else values[np.isfinite(values)].tolist()
    known += [p[2] for p in points if len(p) > 2]
    if not known:
        return "No values."
    mean = significant(sum(known) / len(known))
    return f"{bar}: {significant(min(known))} to {significant(max(known))}, mean {mean}."
