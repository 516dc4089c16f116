"""The pictures of a report, as inline SVG.

Each is deterministic, takes its colours from the page (`--s0` to `--s7`, `--ink`, `--muted`,
`--rule`), tells its series apart by colour, marker and dash, and carries a title and a
description for those who do not see it. matplotlib is imported when one is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from equilearn.report._format import shorten, significant
from equilearn.report._svg import GRID, INK, MUTED, drawing, inline, series_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Reference", "Series", "dots", "lines", "ring", "swatch"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_DASHES = ("", "5 2", "1.5 1.5", "7 2 1.5 2", "3 1.5", "7 2 1.5 2 1.5 2", "9 3", "4 1 1 1")
_GLYPHS = (
    "M12 7a3 3 0 1 0 .01 0z",
    "M9.3 7.3h5.4v5.4h-5.4z",
    "M12 6.6l3.4 6h-6.8z",
    "M12 6.2l3.8 3.8-3.8 3.8-3.8-3.8z",
    "M12 13.4l3.4-6h-6.8z",
    "M10.9 6.6h2.2v2.3h2.3v2.2h-2.3v2.3h-2.2v-2.3h-2.3v-2.2h2.3z",
    "M10 6.6l2 2 2-2 1.4 1.4-2 2 2 2-1.4 1.4-2-2-2 2-1.4-1.4 2-2-2-2z",
    "M12 6.4l3.5 2.6-1.3 4.1h-4.4l-1.3-4.1z",
)


@dataclass(frozen=True)
class Series:
    """One line: points in order of x; an interval is None where there is none.

    Args:
        name: for the description.
        x, y: positions, equally many.
        low, high: ends of the interval at each point.
        style: which colour, marker and dash; counts on in eights.
        marks: points to be ringed, on top of all lines.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    style: int = 0
    marks: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Reference:
    """A thin labelled line at one value: a floor, chance."""

    value: float
    label: str


def lines(
    series: Sequence[Series],
    *,
    uid: str,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    y_range: tuple[float, float] | None = None,
    reference: Reference | None = None,
    better: str = "",
    curves: bool = False,
) -> str:
    """Lines with interval bars, for example score against training size.

    Args:
        series: the lines; ones without points are left out.
        uid: start of the identifiers in the SVG, unique on the page.
        title: what the picture shows, for screen readers.
        x_label, y_label: names of the axes.
        log_x, log_y: logarithmic axes; ignored where a value is not positive.
        y_range: limits of y, so that panels can be compared; default from the data.
        reference: a horizontal line.
        better: what to say of the direction, for example `"higher is better"`.
        curves: many points a line: intervals are drawn as bands, few points marked, ends described.

    Returns:
        An `<svg>` element. The same arguments give the same text.

    Example:
        >>> series = Series("plain", (50, 200), (0.7, 0.9))
        >>> svg = lines([series], uid="p", title="Score", x_label="n", y_label="accuracy")
        >>> svg.startswith("<svg") and "plain: 0.700 at 50, 0.900 at 200." in svg
        True
    """
    from matplotlib.figure import Figure

    shown = [s for s in series if len(s.x)]
    with drawing():
        figure = Figure(figsize=(4.7, 3.3))
        axes = figure.add_axes((0.115, 0.14, 0.865, 0.765))
        log_x = log_x and all(x > 0 for s in shown for x in s.x)
        log_y = log_y and all(v > 0 for s in shown for v in s.y)
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log", nonpositive="clip")
        for position, one in enumerate(shown):
            if curves:
                _curve(axes, one, position)
            else:
                _line(axes, one, _dodge(position, len(shown)), log_x)
            draw_marks(axes, one)
        frame(axes, x_label, y_label + (f" ({better})" if better else ""), y_range)
        ticks(axes, sorted({x for s in shown for x in s.x}), log_x, log_y)
        if reference is not None:
            _reference_line(axes, reference, shown)
        described = " ".join(_describe_curve(s) if curves else _describe(s) for s in shown) or "No values."
        return inline(figure, uid=uid, title=title, description=described)


def _dodge(position: int, total: int) -> float:
    """A small shift, so that interval bars of several series do not hide each other."""
    return (position - (total - 1) / 2) / max(total, 1)


def _line(axes: Axes, series: Series, shift: float, log_x: bool) -> None:
    colour, index = series_colour(series.style), series.style % 8
    span = max(series.x) - min(series.x) or 1.0
    x = [v * 1.15**shift if log_x else v + 0.015 * span * shift for v in series.x]
    bars = [
        (a, lo, hi) for a, lo, hi in zip(x, series.low, series.high, strict=False) if lo is not None and hi is not None
    ]
    if bars:
        axes.vlines([b[0] for b in bars], [b[1] for b in bars], [b[2] for b in bars], colors=colour, linewidth=1.2)
    axes.plot(x, list(series.y), color=colour, linewidth=1.6, markersize=5.5, **_mark(index))


def _curve(axes: Axes, series: Series, position: int) -> None:
    """One of many points: a band, and a marker now and then, at other places than those of other lines."""
    colour, index = series_colour(series.style), series.style % 8
    if len(series.low) == len(series.high) == len(series.x):
        low, high = ([math.nan if v is None else v for v in ends] for ends in (series.low, series.high))
        axes.fill_between(list(series.x), low, high, color=colour, alpha=0.18, linewidth=0)
    every = max(1, len(series.x) // 6)
    start = (2 * position + 1) * every // 5 % every
    axes.plot(
        series.x, list(series.y), color=colour, linewidth=1.6, markersize=5, markevery=(start, every), **_mark(index)
    )


def draw_marks(axes: Axes, series: Series) -> None:
    """Rings around the points that a series marks."""
    if series.marks:
        x, y = zip(*series.marks, strict=True)
        colour = {"markerfacecolor": "none", "markeredgecolor": INK, "zorder": 5}
        axes.plot(x, y, linestyle="none", marker="o", markersize=11, markeredgewidth=1.5, **colour)


def _mark(index: int) -> dict[str, Any]:
    dash = tuple(float(part) for part in _DASHES[index].split())
    return {"linestyle": (0, dash) if dash else "-", "marker": MARKERS[index], "markeredgewidth": 0}


def frame(axes: Axes, x_label: str, y_label: str, y_range: tuple[float, float] | None) -> None:
    axes.grid(axis="y")
    axes.tick_params(length=3, width=0.8)
    axes.set_xlabel(shorten(x_label, 50))
    # Upright at the top reads faster than turned at the side, and leaves the width to the data.
    axes.set_title(shorten(y_label, 60), loc="left", fontsize=10, color=MUTED)
    if y_range is not None:
        axes.set_ylim(*y_range)


def ticks(axes: Axes, places: list[float], log_x: bool, log_y: bool) -> None:
    """Ticks where the data are, when few; plain numbers, no mathematics fonts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    plain = FuncFormatter(lambda v, _: _tick(v))
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    if log_y:
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    if 0 < len(places) <= 7:
        axes.set_xticks(places)
    if log_x:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        if places:
            axes.set_xlim(places[0] / 1.25, places[-1] * 1.25)


def _tick(value: float) -> str:
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return significant(value, 1)
    return f"{value:,.10g}".replace("-", "−")


def _reference_line(axes: Axes, reference: Reference, series: Sequence[Series]) -> None:
    """The line, named at the end where the series are further away from it."""
    low, high = axes.get_ylim()
    if low <= reference.value <= high:
        right = _nearest(axes, reference.value, series, -1) >= _nearest(axes, reference.value, series, 0)
        axes.axhline(reference.value, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            reference.label,
            (1.0 if right else 0.01, reference.value),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=9,
            color=MUTED,
        )


def _nearest(axes: Axes, value: float, series: Sequence[Series], end: int) -> float:
    """How near the ends of lines come to a level, in heights of the axes; 1 and more: there is room for words."""
    scale = axes.yaxis.get_transform()
    bottom, top, level = scale.transform([*axes.get_ylim(), value])
    gaps = [abs(float(scale.transform([s.y[end]])[0]) - level) / (top - bottom) for s in series]
    return min(1.0, *(10 * gap for gap in gaps)) if gaps else 1.0


def _describe(series: Series) -> str:
    points = ", ".join(f"{significant(y)} at {_tick(x)}" for x, y in zip(series.x, series.y, strict=True))
    return f"{series.name}: {points}."


def _describe_curve(series: Series) -> str:
    first, last = (f"{significant(series.y[i])} at {_tick(series.x[i])}" for i in (0, -1))
    ends = " to ".join(significant(v) for v in (min(series.y), max(series.y)))
    return f"{series.name}: {first}" + (f", {last}, within {ends}." if len(series.x) > 1 else ".")


def dots(
    rows: Sequence[tuple[str, Sequence[float], int]],
    *,
    uid: str,
    title: str,
    x_label: str,
    floors: Sequence[Reference] = (),
    strokes: Sequence[float | None] = (),
    linear: bool = False,
) -> str:
    """One row of dots a name on a logarithmic (or linear) axis, for example the error by group element.

    Args:
        rows: name, values (at least zero) and style of each row, from top to bottom. Zeros, which
            a logarithmic axis cannot show, stand at its left end.
        uid: start of the identifiers in the SVG, unique on the page.
        title: what the picture shows, for screen readers.
        x_label: name of the axis.
        floors: vertical lines below which a value means nothing.
        strokes: a short stroke in each row, such as a floor of its own; None for none.
        linear: a linear axis from zero, for scores.

    Returns:
        An `<svg>` element. The same arguments give the same text.

    Example:
        >>> svg = dots([("plain", (0.5, 1.1), 0)], uid="d", title="Error", x_label="relative L2")
        >>> "plain: 0.500 to 1.10." in svg
        True
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shown = [v for _, values, _ in rows for v in values] + [f.value for f in floors] + [s for s in strokes if s]
    low, high = (min(0.0, *shown, 0.0), 1.03 * max(*shown, 0.0, 1e-30)) if linear else _decades(shown)
    with drawing():
        height = 0.85 + 0.27 * max(len(rows), 1)
        names = [shorten(name, 24) for name, _, _ in rows]
        left = min(0.42, 0.03 + 0.0195 * max(map(len, names), default=0))
        figure = Figure(figsize=(4.9, height))
        axes = figure.add_axes((left, 0.52 / height, 0.97 - left, 1 - 0.82 / height))
        axes.set_xscale("linear" if linear else "log")
        axes.set_xlim(low, high)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.hlines(range(len(rows)), low, high, colors=GRID, linewidth=0.8, zorder=0)
        for place, (_, values, style) in enumerate(rows):
            positions = [min(max(v, low), high) for v in values]
            axes.plot(
                positions,
                [place] * len(positions),
                linestyle="none",
                marker=MARKERS[style % 8],
                markersize=6,
                markeredgewidth=0,
                alpha=0.75,
                color=series_colour(style),
                clip_on=False,
            )
        for place, stroke in enumerate(strokes):
            if stroke is not None:
                axes.vlines(min(max(stroke, low), high), place - 0.3, place + 0.3, colors=MUTED, linewidth=1.6)
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", length=0, labelcolor=MUTED, pad=left * 4.9 * 72)
        for label in axes.get_yticklabels():
            label.set_horizontalalignment("left")
        axes.tick_params(axis="x", length=3, which="major")
        axes.tick_params(axis="x", length=0, which="minor")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _tick(v)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(shorten(x_label, 60))
        _floor_lines(axes, floors)
        described = " ".join(_describe_row(name, values) for name, values, _ in rows) or "No values."
        return inline(figure, uid=uid, title=title, description=described)


def _floor_lines(axes: Axes, floors: Sequence[Reference]) -> None:
    low, high = axes.get_xlim()
    for floor in floors:
        if axes.get_xscale() == "log":
            right = math.log(floor.value / low) < 0.6 * math.log(high / low)
        else:
            right = floor.value - low < 0.6 * (high - low)
        axes.axvline(floor.value, color=MUTED, linewidth=1.1, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            floor.label,
            (floor.value, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(3 if right else -3, 3),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=9,
            color=MUTED,
        )


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Whole decades around the positive ones among `values`, at least two of them."""
    positive = [min(max(v, 1e-30), 1e30) for v in values if v > 0]
    if not positive:
        return 1e-9, 1.0
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return 10.0 ** (low if low < math.log10(min(positive)) else low - 1), 10.0 ** max(high, low + 1)


def _describe_row(name: str, values: Sequence[float]) -> str:
    if not values:
        return f"{name}: no value."
    ends = dict.fromkeys(significant(v) for v in (min(values), max(values)))
    return f"{name}: {' to '.join(ends)}."


def swatch(style: int, line: bool = True) -> str:
    """The line and marker of `style`, or the marker alone, for a legend.

    >>> swatch(0).startswith('<svg class="swatch"') and "var(--s0)" in swatch(8)
    True
    """
    index = style % 8
    dash = f' stroke-dasharray="{_DASHES[index]}"' if _DASHES[index] else ""
    stroke = f'<path d="M0 10h24" fill="none" stroke="var(--s{index})" stroke-width="1.8"{dash}/>' if line else ""
    return _swatch(f'{stroke}<path d="{_GLYPHS[index]}" fill="var(--s{index})"/>')


def ring() -> str:
    """The ring around marked points, for a legend."""
    return _swatch('<circle cx="12" cy="10" r="6" fill="none" stroke="var(--ink)" stroke-width="1.6"/>')


def _swatch(drawn: str) -> str:
    return (
        '<svg class="swatch" viewBox="0 0 24 20" width="24" height="20" aria-hidden="true" focusable="false">'
        f"{drawn}</svg>"
    )
