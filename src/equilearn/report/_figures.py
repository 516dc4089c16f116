"""The pictures of a study, as it declares them, drawn from its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from equilearn.report import plots
from equilearn.report._common import Figure
from equilearn.report._estimate import estimate
from equilearn.report._format import listing, number, records, strings, text
from equilearn.report._matrices import Gallery, animation, matrices
from equilearn.report._names import capital, led, named, plainly

MOST_FIGURES = 12
MOST_PANELS = 4
MOST_SERIES = 8
MOST_PLACES = 200
"""Points of a curve drawn at most; of a longer one every so many."""

Rows = Sequence[Mapping[str, Any]]
Points = dict[float, list[float]]
"""The values found at each place of one line."""


def figures(declared: object, rows: Rows) -> list[Figure | Gallery]:
    """The figures that `plot` of a summary declares, one mapping or a list of them.

    What finds nothing in the rows is left out. The keys are told where `Study` is documented.
    """
    specs = [declared] if isinstance(declared, Mapping) else records(declared)
    drawn = (_figure(spec, rows, place) for place, spec in enumerate(specs[:MOST_FIGURES], start=1))
    return [figure for figure in drawn if figure is not None]


def _figure(spec: Mapping[str, Any], rows: Rows, place: int) -> Figure | Gallery | None:
    rows = [row for row in rows if _wanted(row, spec.get("where"))]
    id, title, kind = f"study-figure-{place}", text(spec.get("title")), spec.get("kind", "points")
    if kind == "matrices":
        return matrices(spec, rows, id, title)
    if kind == "animation":
        return animation(spec, rows, id, title)
    if kind not in ("points", "curves"):
        return None
    x, panels = spec.get("x"), _panels(spec.get("y"))
    if not isinstance(x, str) or not panels:
        return None
    if kind == "points" and rows and all(isinstance(row.get(x), str) for row in rows):
        return _dots(x, panels, spec, rows, id, title)
    return _lines(x, panels, spec, rows, id, title)


def _wanted(row: Mapping[str, Any], where: object) -> bool:
    if not isinstance(where, Mapping):
        return True
    return all(row.get(k) in v if isinstance(v, list | tuple) else row.get(k) == v for k, v in where.items())


def _panels(y: object) -> list[list[str]]:
    """The columns of each panel: `y` is a column, or a list whose entries are columns or lists of them."""
    parts = y if isinstance(y, list | tuple) else [y]
    return [columns for part in parts[:MOST_PANELS] if (columns := strings(part))]


# --- lines -------------------------------------------------------------------------------


def _lines(x: str, panels: list[list[str]], spec: Mapping[str, Any], rows: Rows, id: str, title: str) -> Figure | None:
    by, curves = strings(spec.get("series")), spec.get("kind") == "curves"
    several = any(len(columns) > 1 for columns in panels)
    found = [_collected(x, columns, by, rows, curves=curves, several=several) for columns in panels]
    names = list(dict.fromkeys(name for panel in found for name in panel))
    if not by and not several:  # one line a panel, named by its axis
        names = names[:1]
    styles = {name: place for place, name in enumerate(names[:MOST_SERIES], start=1)}
    drawn, spread = [], False
    for place, (columns, panel) in enumerate(zip(panels, found, strict=True), start=1):
        series = [
            _series(name, points, styles.get(name, 1), curves=curves)
            for name, points in panel.items()
            if points and (name in styles or not (by or several))
        ]
        if not series:
            continue
        spread = spread or any(low is not None for s in series for low in s.low)
        label = listing([plainly(c) for c in columns])
        svg = plots.lines(
            series,
            uid=f"{id}-{place}",
            title=f"{label} against {plainly(x)}",
            x_label=plainly(x),
            y_label=label,
            log_x=bool(spec.get("logx")),
            log_y=bool(spec.get("logy")),
            curves=curves,
        )
        drawn.append(("", svg))
    if not drawn:
        return None
    legend = tuple((plots.swatch(style), name) for name, style in styles.items()) if by or several else ()
    caption = led(spec, _told(x, panels, by))
    if spread and curves:
        caption += " Lines are means over the rows of a series, bands run from the lowest to the highest of them."
    elif spread:
        caption += " Points are means over the rows that share a place, bars their 95 % intervals."
    if len(names) > MOST_SERIES:
        caption += f" The first {MOST_SERIES} of {len(names)} series are drawn."
    return Figure(id, caption, tuple(drawn), legend, title)


def _told(x: str, panels: list[list[str]], by: Sequence[str]) -> str:
    measured = listing(list(dict.fromkeys(plainly(c) for columns in panels for c in columns)))
    caption = f"{capital(measured)} against {plainly(x)}"
    return caption + (f", by {listing([plainly(c) for c in by])}." if by else ".")


def _collected(
    x: str, columns: Sequence[str], by: Sequence[str], rows: Rows, *, curves: bool, several: bool
) -> dict[str, Points]:
    """The values of each line of a panel by place."""
    lines: dict[str, Points] = {}
    for column in columns:
        for row in rows:
            parts = ([named(row, by)] if by else []) + ([plainly(column)] if several or not by else [])
            pairs = _curve(row.get(x), row.get(column)) if curves else [(row.get(x), row.get(column))]
            for place, value in pairs:
                at, measured = number(place), number(value)
                if at is not None and measured is not None:
                    lines.setdefault(", ".join(parts), {}).setdefault(at, []).append(measured)
    return lines


def _curve(x: object, y: object) -> Iterator[tuple[object, object]]:
    """The points of one row; where one list is longer, its rest is left out."""
    if isinstance(x, list | tuple) and isinstance(y, list | tuple):
        return zip(x, y, strict=False)
    return iter(())


def _series(name: str, points: Points, style: int, *, curves: bool) -> plots.Series:
    places = sorted(points)
    if curves:
        step = -(-len(places) // MOST_PLACES)
        places = places[:-1:step] + places[-1:]
        several = any(len(points[p]) > 1 for p in places)
        low, high = ([end(points[p]) for p in places] if several else [] for end in (min, max))
        return plots.Series(name, places, [sum(points[p]) / len(points[p]) for p in places], low, high, style)
    means = [estimate(points[p]) for p in places]
    return plots.Series(
        name, places, [m.mean or 0.0 for m in means], [m.low for m in means], [m.high for m in means], style
    )


# --- names against values ----------------------------------------------------------------


def _dots(x: str, panels: list[list[str]], spec: Mapping[str, Any], rows: Rows, id: str, title: str) -> Figure | None:
    """One row a name where what is compared are names, one dot a trial."""
    by = strings(spec.get("series"))
    several = len({named(row, by) for row in rows}) > 1
    drawn = []
    for place, column in enumerate((c for columns in panels for c in columns), start=1):
        found: dict[str, list[float]] = {}
        for row in rows:
            value = number(row.get(column))
            if value is not None:
                name = text(row.get(x)) + (f", {named(row, by)}" if several else "")
                found.setdefault(name, []).append(value)
        if found:
            ranked = [(name, values, style) for style, (name, values) in enumerate(found.items(), start=1)]
            label = plainly(column)
            svg = plots.dots(
                ranked,
                uid=f"{id}-{place}",
                title=f"{label} by {plainly(x)}",
                x_label=label,
                linear=not spec.get("logy"),
            )
            drawn.append((label, svg))
    if not drawn:
        return None
    measured = listing([label for label, _ in drawn])
    shown = tuple(drawn if len(drawn) > 1 else [("", drawn[0][1])])
    caption = led(spec, f"{capital(measured)} by {plainly(x)}.") + " One dot a trial."
    return Figure(id, caption, shown, (), title)
