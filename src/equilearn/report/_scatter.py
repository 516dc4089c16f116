"""Points without lines: two figures of the same thing against each other, such as predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equilearn.report._format import plural, significant
from equilearn.report._svg import MUTED, drawing, inline, series_colour
from equilearn.report.plots import MARKERS, Series, draw_marks, frame, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scatter(
    series: Sequence[Series],
    *,
    uid: str,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    identity: bool = False,
) -> str:
    """Clouds of points, a colour and a marker for each.

    Args:
        series: the clouds; `low` and `high` are not drawn, and ones without points are left out.
        uid: start of the identifiers in the SVG, unique on the page.
        title: what the picture shows, for screen readers.
        x_label, y_label: names of the axes.
        log_x, log_y: logarithmic axes; ignored where a value is not positive.
        identity: draw the line on which both are equal; both axes then run over the same values.

    Returns:
        An `<svg>` element. The same arguments give the same text.

    Example:
        >>> cloud = Series("pairs", (0.5, 1.0, 1.5), (0.6, 1.1, 1.4))
        >>> svg = scatter([cloud], uid="s", title="Errors", x_label="formula", y_label="exact", identity=True)
        >>> "pairs: 3 points, 0.500 to 1.50 across, 0.600 to 1.40 up." in svg
        True
    """
    from matplotlib.figure import Figure

    shown = [s for s in series if len(s.x)]
    across, up = [v for s in shown for v in s.x], [v for s in shown for v in s.y]
    log_x, log_y = log_x and all(v > 0 for v in across), log_y and all(v > 0 for v in up)
    if identity:
        log_x = log_y = log_x and log_y
    with drawing():
        figure = Figure(figsize=(4.7, 3.9 if identity else 3.3))
        axes = figure.add_axes((0.115, 0.12, 0.865, 0.795))
        axes.set_xscale("log" if log_x else "linear")
        axes.set_yscale("log" if log_y else "linear")
        if identity and shown:
            _identity(axes, min(across + up), max(across + up), log=log_x)
        for one in shown:
            axes.plot(
                list(one.x),
                list(one.y),
                linestyle="none",
                marker=MARKERS[one.style % 8],
                markersize=5,
                markeredgewidth=0,
                alpha=0.65,
                color=series_colour(one.style),
            )
            draw_marks(axes, one)
        frame(axes, x_label, y_label, None)
        axes.grid(axis="x")
        ticks(axes, [] if identity else sorted(set(across)), log_x, log_y)
        described = " ".join(map(_describe, shown)) or "No values."
        return inline(figure, uid=uid, title=title, description=described)


def _identity(axes: Axes, low: float, high: float, *, log: bool) -> None:
    """The line y = x, and room around the points that is the same on both axes."""
    if log:
        ends = low / (high / low) ** 0.04 / 1.02, high * (high / low) ** 0.04 * 1.02
    else:
        room = 0.04 * (high - low) or 0.5
        ends = low - room, high + room
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def _describe(series: Series) -> str:
    across, up = (
        " to ".join(dict.fromkeys(significant(end(values)) for end in (min, max))) for values in (series.x, series.y)
    )
    return f"{series.name}: {plural(len(series.x), 'point')}, {across} across, {up} up."
