"""The report of a study: its statement, its claims, its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report import _common as common
from equilearn.report import plots
from equilearn.report._common import Fact, Figure
from equilearn.report._estimate import estimate
from equilearn.report._format import MISSING, number, plural, record, records, sentence, text
from equilearn.report._table import Cell, Column, Table, generic, words

MOST_SERIES = 8


def context(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of a study report needs."""
    study = record(summary.get("study"))
    rows, claims = records(summary.get("rows")), records(summary.get("claims"))
    failed = records(summary.get("failed"))
    title = text(study.get("title"), text(study.get("name"), "A study"))
    settings = [Fact(text(k).replace("_", " "), text(v, MISSING)) for k, v in record(study.get("settings")).items()]
    extra = [Fact(k, text(study[k])) for k in ("preset", "seed") if study.get(k) is not None]
    return {
        "title": title,
        "heading": title,
        "eyebrow": f"equilearn study · {text(study.get('name'), 'unnamed')}",
        "statement": sentence(text(study.get("statement"))),
        "verdict": _unfinished(summary) + _verdict(claims),
        "claims": _claims(claims),
        "picture": _picture(record(summary.get("plot")), rows),
        "failed": generic("failed", "Trials that failed", failed) if failed else None,
        "rows": generic("rows", "All rows", rows) if rows else None,
        "reproduce": common.reproduce(summary, extra + settings),
    }


def _unfinished(summary: Mapping[str, Any]) -> str:
    missing = number(summary.get("missing"))
    if not missing:
        return ""
    of = f" of {planned:g}" if (planned := number(summary.get("planned"))) else ""
    return f"This run is not finished: {missing:g}{of} trials are missing, and what is shown rests on the others. "


def _verdict(claims: list[Mapping[str, Any]]) -> str:
    if not claims:
        return "This study states no claim."
    held = sum(c.get("held") is True for c in claims)
    untested = sum(c.get("held") is None for c in claims)
    said = f"{held} of {plural(len(claims), 'claim')} held" if held < len(claims) else "Every claim held"
    said = "The claim held" if held == len(claims) == 1 else said
    return said + (f"; {untested} could not be tested." if untested else ".")


def _claims(claims: list[Mapping[str, Any]]) -> Table | None:
    if not claims:
        return None
    cells = [
        [
            words(text(c.get("name")).replace("_", " ")),
            words(c.get("statement")),
            _figure(c.get("value")),
            _figure(c.get("bound")),
            _held(c.get("held")),
        ]
        for c in claims
    ]
    columns = [Column("Claim"), Column("Statement"), Column("Measured", True), Column("Bound", True), Column("Outcome")]
    return Table("claims", "The claims and whether they held", columns, cells, wrap=True)


def _figure(value: object) -> Cell:
    x = number(value)
    if x is None:
        return words(value)
    shown = ("−" if x < 0 else "") + f"{abs(x):.4g}"
    return Cell(shown, sort=x, copy=(repr(x),))


def _held(value: object) -> Cell:
    if value is None:
        return Cell("? not tested", copy=("not tested",), missing=True)
    return Cell("✓ held", copy=("held",)) if value else Cell("✗ not held", copy=("not held",), mark="warn")


def _picture(plot: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> Figure | None:
    """The plot that the study declares: `x`, `y`, and optionally `series`, `logx`, `logy`."""
    x, y, by = (name if isinstance(name := plot.get(key), str) else None for key in ("x", "y", "series"))
    if x is None or y is None:
        return None
    if rows and all(isinstance(row.get(x), str) for row in rows):
        return _dots(x, y, by, rows, linear=not plot.get("logy"))
    groups: dict[str, dict[float, list[object]]] = {}
    for row in rows:
        place = number(row.get(x))
        if place is not None and number(row.get(y)) is not None:
            name = text(row.get(by), "–") if by is not None else text(y)
            groups.setdefault(name, {}).setdefault(place, []).append(row.get(y))
    if not groups:
        return None
    kept = list(groups.items())[:MOST_SERIES]
    series = [_series(name, points, style) for style, (name, points) in enumerate(kept, start=1)]
    labels = [text(k).replace("_", " ") for k in (x, y)]
    svg = plots.lines(
        series,
        uid="fig-study",
        title=f"{labels[1]} against {labels[0]}",
        x_label=labels[0],
        y_label=labels[1],
        log_x=bool(plot.get("logx")),
        log_y=bool(plot.get("logy")),
    )
    legend = tuple((plots.swatch(s.style), s.name) for s in series) if by is not None else ()
    caption = f"{labels[1].capitalize()} against {labels[0]}"
    caption += f", by {text(by).replace('_', ' ')}." if by is not None else "."
    if any(low is not None for s in series for low in s.low):
        caption += " Points are means over the rows that share a place, bars their 95 % intervals."
    if len(groups) > MOST_SERIES:
        caption += f" The first {MOST_SERIES} of {len(groups)} series are drawn."
    return Figure("study-figure", caption, (("", svg),), legend)


def _dots(x: str, y: str, by: str | None, rows: list[Mapping[str, Any]], *, linear: bool) -> Figure | None:
    """One row a name where what is compared are names, one dot a trial."""
    found: dict[str, list[float]] = {}
    kinds = [""] * len(rows) if by is None else [text(row.get(by)) for row in rows]
    several = len(set(kinds)) > 1
    for row, kind in zip(rows, kinds, strict=True):
        value = number(row.get(y))
        if value is not None:
            name = text(row.get(x)) + (f", {kind}" if several else "")
            found.setdefault(name, []).append(value)
    if not found:
        return None
    label = text(y).replace("_", " ")
    drawn = [(name, values, style) for style, (name, values) in enumerate(found.items(), start=1)]
    svg = plots.dots(drawn, uid="fig-study", title=f"{label} by {x}", x_label=label, linear=linear)
    return Figure(
        "study-figure", f"{label.capitalize()} by {text(x).replace('_', ' ')}. One dot a trial.", (("", svg),)
    )


def _series(name: str, points: Mapping[float, list[object]], style: int) -> plots.Series:
    places = sorted(points)
    means = [estimate(points[p]) for p in places]
    return plots.Series(
        name, places, [m.mean or 0.0 for m in means], [m.low for m in means], [m.high for m in means], style
    )
