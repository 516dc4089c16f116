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
from equilearn.report._scatter import scatter

MOST_FIGURES = 12
MOST_PANELS = 4
MOST_SERIES = 8
MOST_PLACES = 200
"""Points of a curve drawn at most; of a longer one every so many."""
MOST_POINTS = 1000
"""Points of a cloud drawn at most."""

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
    if kind not in ("points", "curves", "scatter"):
        return None
    x, panels = spec.get("x"), _panels(spec.get("y"))
    if not isinstance(x, str) or not panels:
        return None
    if kind == "points" and rows and all(isinstance(row.get(x), str) for row in rows):
        return _dots(x, panels, spec, rows, id, title)
    return _axes(x, panels, spec, rows, id, title)


def _wanted(row: Mapping[str, Any], where: object) -> bool:
    if not isinstance(where, Mapping):
        return True
    return all(row.get(k) in v if isinstance(v, list | tuple) else row.get(k) == v for k, v in where.items())


def _panels(y: object) -> list[list[str]]:
    """The columns of each panel: `y` is a column, or a list whose entries are columns or lists of them."""
    parts = y if isinstance(y, list | tuple) else [y]
    return [columns for part in parts[:MOST_PANELS] if (columns := strings(part))]


# --- lines and clouds of points ----------------------------------------------------------


def _axes(x: str, panels: list[list[str]], spec: Mapping[str, Any], rows: Rows, id: str, title: str) -> Figure | None:
    by, kind = strings(spec.get("series")), text(spec.get("kind"), "points")
    several = any(len(columns) > 1 for columns in panels)
    found = [_collected(x, columns, by, rows, kind=kind, several=several) for columns in panels]
    names = list(dict.fromkeys(name for panel in found for name in panel))
    if not by and not several:  # one line a panel, named by its axis
        names = names[:1]
    styles = {name: place for place, name in enumerate(names[:MOST_SERIES], start=1)}
    marks = _marks(x, spec, by, rows) if kind == "curves" and not several else {}
    drawn, spread = [], False
    for place, (columns, panel) in enumerate(zip(panels, found, strict=True)):
        series = [
            _series(name, points, styles.get(name, 1), kind, marks.get(name if by else "", {}))
            for name, points in panel.items()
            if points and (name in styles or not (by or several))
        ]
        if not series:
            continue
        spread = spread or any(low is not None for s in series for low in s.low)
        drawn.append(("", _drawn(series, spec, f"{id}-{place + 1}", *_labels(spec, x, columns, place))))
    if not drawn:
        return None
    legend = [(plots.swatch(style, kind != "scatter"), name) for name, style in styles.items()] if by or several else []
    if any(marks.values()):
        legend.append((plots.ring(), plainly(spec.get("mark"))))
    caption = led(spec, _told(x, panels, by, spec)) + _explained(kind, spec, spread)
    if len(names) > MOST_SERIES:
        caption += f" The first {MOST_SERIES} of {len(names)} series are drawn."
    return Figure(id, caption, tuple(drawn), tuple(legend), title)


def _drawn(series: list[plots.Series], spec: Mapping[str, Any], uid: str, x_label: str, y_label: str) -> str:
    """One panel as SVG."""
    kind, title = spec.get("kind"), f"{y_label} against {x_label}"
    log_x, log_y = bool(spec.get("logx")), bool(spec.get("logy"))
    if kind == "scatter":
        identity = bool(spec.get("identity"))
        return scatter(
            series, uid=uid, title=title, x_label=x_label, y_label=y_label, log_x=log_x, log_y=log_y, identity=identity
        )
    return plots.lines(
        series,
        uid=uid,
        title=title,
        x_label=x_label,
        y_label=y_label,
        log_x=log_x,
        log_y=log_y,
        reference=_reference(spec),
        curves=kind == "curves",
    )


def _labels(spec: Mapping[str, Any], x: str, columns: Sequence[str], place: int) -> tuple[str, str]:
    """The names of both axes: as the figure has them, else those of the columns."""
    given = spec.get("y_label")
    given = given[place] if isinstance(given, list | tuple) and place < len(given) else given
    y_label = text(given) if isinstance(given, str) else ""
    x_label = text(spec.get("x_label")) if isinstance(spec.get("x_label"), str) else ""
    return x_label or plainly(x), y_label or listing([plainly(c) for c in columns])


def _reference(spec: Mapping[str, Any]) -> plots.Reference | None:
    """A value and its name, `[1, "no information"]`, as a line."""
    given = spec.get("reference")
    if not isinstance(given, list | tuple) or len(given) != 2 or (value := number(given[0])) is None:
        return None
    return plots.Reference(value, text(given[1]))


def _explained(kind: str, spec: Mapping[str, Any], spread: bool) -> str:
    """What the report says by itself of how a figure is drawn."""
    if kind == "scatter":
        return " On the dashed line both are equal." if spec.get("identity") else ""
    if not spread:
        return ""
    if kind == "curves":
        return " Lines are means over the rows of a series, bands run from the lowest to the highest of them."
    return " Points are means over the rows that share a place, bars their 95 % intervals."


def _told(x: str, panels: list[list[str]], by: Sequence[str], spec: Mapping[str, Any]) -> str:
    labels = [_labels(spec, x, columns, place) for place, columns in enumerate(panels)]
    measured = listing(list(dict.fromkeys(y for _, y in labels)))
    caption = f"{capital(measured)} against {labels[0][0]}"
    return caption + (f", by {listing([plainly(c) for c in by])}." if by else ".")


def _marks(x: str, spec: Mapping[str, Any], by: Sequence[str], rows: Rows) -> dict[str, Points]:
    """The points of each curve that are ringed."""
    column = spec.get("mark")
    if not isinstance(column, str):
        return {}
    found = _collected(x, [column], by, rows, kind="curves", several=False)
    return found if by else {"": found.get(plainly(column), {})}


def _collected(
    x: str, columns: Sequence[str], by: Sequence[str], rows: Rows, *, kind: str, several: bool
) -> dict[str, Points]:
    """The values of each line of a panel by place."""
    lines: dict[str, Points] = {}
    for column in columns:
        for row in rows:
            parts = ([named(row, by)] if by else []) + ([plainly(column)] if several or not by else [])
            whole = kind == "curves" or (kind == "scatter" and isinstance(row.get(x), list | tuple))
            pairs = _curve(row.get(x), row.get(column)) if whole else [(row.get(x), row.get(column))]
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


def _series(name: str, points: Points, style: int, kind: str, marks: Points) -> plots.Series:
    places = sorted(points)
    if kind == "scatter":
        cloud = [(at, value) for at in places for value in points[at]]
        x, y = zip(*cloud[:: -(-len(cloud) // MOST_POINTS)], strict=True)
        return plots.Series(name, x, y, style=style)
    if kind == "curves":
        step = -(-len(places) // MOST_PLACES)
        places = places[:-1:step] + places[-1:]
        several = any(len(points[p]) > 1 for p in places)
        low, high = ([end(points[p]) for p in places] if several else [] for end in (min, max))
        ringed = tuple((p, sum(values) / len(values)) for p, values in marks.items())
        return plots.Series(name, places, [sum(points[p]) / len(points[p]) for p in places], low, high, style, ringed)
    means = [estimate(points[p]) for p in places]
    return plots.Series(
        name, places, [m.mean or 0.0 for m in means], [m.low for m in means], [m.high for m in means], style
    )


# --- names against values ----------------------------------------------------------------


def _dots(x: str, panels: list[list[str]], spec: Mapping[str, Any], rows: Rows, id: str, title: str) -> Figure | None:
    """One row a name where what is compared are names, one dot a trial."""
    by = strings(spec.get("series"))
    several = len({named(row, by) for row in rows}) > 1
    labels = {columns[0]: _labels(spec, x, columns, i)[1] for i, columns in enumerate(panels) if len(columns) == 1}
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
            label = labels.get(column, plainly(column))
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
