"""Three questions of an advise report: are the data symmetric, would a plain network have learnt
it, and how equivariant is each model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report import plots
from equilearn.report._common import Figure
from equilearn.report._estimate import Estimate, estimate
from equilearn.report._format import (
    count,
    number,
    p_value,
    record,
    records,
    sentence,
    significant,
    text,
    with_interval,
)
from equilearn.report._heat import heat_range, heated
from equilearn.report._rows import Rows
from equilearn.report._table import Cell, Column, Table, blank, estimated, figure, interval_column, words

MOST_ELEMENTS = 40
"""Rows of the table of elements; beyond, the worst are shown."""


# --- are the data symmetric, does the pose tell the label ------------------------------------


def data_symmetry(summary: Mapping[str, Any], rows: Rows) -> dict[str, Any] | None:
    """Verdicts in words, their evidence, and the tables behind them."""
    found = record(summary.get("data_symmetry"))
    if not found:
        return None
    pose = record(found.get("pose"))
    names = [text(n) for n in record(summary.get("task")).get("class_names") or []]
    return {
        "verdict": _told(found.get("symmetric"), "Symmetric, as far as can be told", "Not symmetric"),
        "evidence": _evidence(found),
        "sentence": sentence(text(found.get("sentence"))),
        "pose_verdict": _told(pose.get("informative"), "The pose tells the label", "The pose does not tell the label"),
        "pose": bool(pose),
        "pose_evidence": p_value(pose.get("p_value")),
        "pose_sentence": sentence(text(pose.get("sentence"))),
        "confusions": _confusions(pose, names),
        "coverage": _coverage(found, names),
    }


_SPLITS = {
    "trap": "The split is a trap.",
    "caution": "The training set is symmetric itself.",
    "none": "The split is no trap.",
}


def split(summary: Mapping[str, Any]) -> dict[str, str] | None:
    """Whether the training set is symmetric itself: the verdict and the sentence behind it."""
    found = record(summary.get("split"))
    if not found:
        return None
    said = text(found.get("sentence")).removeprefix("The split is a trap: ")
    verdict = _SPLITS.get(text(found.get("verdict")), "") if found.get("checked") else "Not checked."
    return {"verdict": verdict, "sentence": sentence(said[:1].upper() + said[1:])}


def _told(value: object, yes: str, no: str) -> str:
    return yes if value is True else no if value is False else "Undecided"


def _evidence(found: Mapping[str, Any]) -> str:
    """The p-value, and the effect with its interval: the area under the curve beyond one half."""
    ends = found.get("interval")
    low, high = ends if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
    effect = " ".join(part for part in with_interval(found.get("effect"), low, high) if part)
    known = number(found.get("effect")) is not None
    return p_value(found.get("p_value")) + (f", effect {effect} of at most 0.5" if known else "")


def _class(value: object, names: list[str]) -> Cell:
    """A class by its name, where the summary gives its number and the task knows the name."""
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return words(names[value] if known else value)  # type: ignore[index]


def _confusions(pose: Mapping[str, Any], names: list[str]) -> Table | None:
    # What may be chance does not pass for anything.
    found = [c for c in records(pose.get("confusions")) if (number(c.get("p_value")) or 0.0) < 0.05]
    if not found:
        return None
    by, p = (any(c.get(key) is not None for c in found) for key in ("element", "p_value"))
    cells = []
    for c in found:
        row = [_class(c.get("a"), names), *([words(c.get("element"))] if by else [])]
        row += [_class(c.get("b"), names), _share(c.get("rate"))]
        cells.append([*row, figure(c.get("p_value"), significant(c.get("p_value"), 2))] if p else row)
    columns = [
        Column("Class"),
        *([Column("Moved by")] if by else []),
        Column("Passes for"),
        Column("Rate", numeric=True),
    ]
    columns += [Column("p", numeric=True)] if p else []
    note = "Rate: the share of held-out samples that do, less the share that does unmoved." if by else ""
    return Table("confusions", "Classes that pass for another once moved", columns, cells, note)


def _share(value: object) -> Cell:
    x = number(value)
    return blank() if x is None else figure(x, f"{100 * x:.1f} %")


def _coverage(found: Mapping[str, Any], names: list[str]) -> Table | None:
    rows = records(found.get("coverage"))
    if not rows:
        return None
    cells = [
        [_class(c.get("class"), names), figure(c.get("coverage"), significant(c.get("coverage"), 2))] for c in rows
    ]
    note = "1 where the samples of a class cannot be told from their transforms, 0 where every one can."
    return Table("coverage", "Coverage of the orbit by class", [Column("Class"), Column("Coverage", True)], cells, note)


# --- would a plain network have learnt it ----------------------------------------------------


def learnt(summary: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """What was measured: the gap of the plain network. What was predicted stands in `_prediction`."""
    return {"measured": _gap_sentence(rows), "gaps": _gap_table(rows)}


def _gaps(rows: Rows) -> list[tuple[int, Estimate]]:
    return [(size, e) for size in rows.sizes if (e := rows.gap("plain", size)).mean is not None]


def _gap_sentence(rows: Rows) -> str:
    gaps = _gaps(rows)
    if not gaps:
        return "No plain network was trained, so nothing was measured."
    (first, a), (last, b) = gaps[0], gaps[-1]
    what = f"the plain network loses {_points(a, rows)} when the inputs are transformed"
    if len(gaps) == 1:
        return f"With {count(first)} training samples {what}; other sizes would tell whether more data close that gap."
    return (
        f"With {count(first)} training samples {what}, with {count(last)} it loses {_points(b, rows)}: {_trend(a, b)}."
    )


def _points(e: Estimate, rows: Rows) -> str:
    if rows.metric == "accuracy" and e.mean is not None:
        ends = "" if e.low is None or e.high is None else f" [{100 * e.low:.1f}, {100 * e.high:.1f}]"
        return f"{100 * e.mean:.1f} points of {rows.metric}{ends}".replace("-", "−")
    return f"{e.inline} of {rows.metric}"


def _trend(a: Estimate, b: Estimate) -> str:
    """What the two gaps say, and no more than their intervals allow."""
    before, after = a.mean or 0.0, b.mean or 0.0
    known = a.low is not None and a.high is not None and b.low is not None and b.high is not None
    if b.low is not None and b.high is not None and b.low <= 0 <= b.high:
        return "at that size no loss is measurable; it has learnt the symmetry from the data"
    if known and a.low <= b.high and b.low <= a.high:  # type: ignore[operator]
        return "within the intervals, more data of this kind did not close the gap"
    if after >= before:
        return "more data of this kind did not close the gap"
    if before <= 0:
        return "there was no gap to close"
    return f"more data closed {100 * (1 - after / before):.0f} % of the gap"


def _gap_table(rows: Rows) -> Table | None:
    gaps = _gaps(rows)
    if not gaps:
        return None
    cells = [
        [
            figure(size, count(size)),
            estimated(rows.score("plain", size, "score")),
            estimated(rows.score("plain", size, "score_transformed")),
            estimated(gap),
        ]
        for size, gap in gaps
    ]
    columns = [Column("Training samples", True), *map(interval_column, ("As seen", "Transformed", "Lost"))]
    return Table("gaps", "The plain network, by training size", columns, cells)


# --- the error of each model, by group element -----------------------------------------------


def errors(summary: Mapping[str, Any], rows: Rows) -> dict[str, Any] | None:
    """Equivariance error of each strategy: in all, as a picture, and by element."""
    sizes = {name: rows.largest(name) for name in rows.strategies}
    overall = {name: rows.column(name, size, "equivariance_error") for name, size in sizes.items()}
    if all(e.mean is None for e in overall.values()):
        return None
    table = {name: _by_element(rows, name, size) for name, size in sizes.items()}
    # The middle one: a model that jumps where rounding decides (a canonical pose) has a floor of its own.
    floor = _middle([number(r.get("floor")) for r in rows.all])
    shared = number(record(summary.get("symmetry")).get("interpolation_floor"))
    grid = {name: rows.column(name, size, "interpolation_floor").mean or shared for name, size in sizes.items()}
    return {
        "overall": _overall_table(rows, overall, sizes, grid),
        "figure": _errors_figure(rows, table, overall, floor, grid),
        "elements": _elements_table(rows, table, floor),
    }


def _by_element(rows: Rows, name: str, size: int | None) -> dict[str, float]:
    """Mean error over the seeds by element, in the order of the rows."""
    collected: dict[str, list[object]] = {}
    for row in rows.at(name, size):
        for item in records(row.get("per_element")):
            label = text(item.get("element") or item.get("label"), "–")
            collected.setdefault(label, []).append(item.get("error"))
    means = {label: estimate(values).mean for label, values in collected.items()}
    return {label: mean for label, mean in means.items() if mean is not None}


def _overall_table(
    rows: Rows, overall: Mapping[str, Estimate], sizes: Mapping[str, int | None], grid: Mapping[str, float | None]
) -> Table:
    cells, interpolated = [], any(grid.values())
    sampled = any(number(r.get("resampling")) for r in rows.all)
    for name, e in overall.items():
        e = _from_one_seed(rows, name, sizes[name], e)
        floor = rows.column(name, sizes[name], "floor").mean
        verdicts = dict.fromkeys(text(r.get("verdict")) for r in rows.at(name, sizes[name]) if r.get("verdict"))
        verdict = words(", ".join(verdicts) or _verdict(e, floor))
        row = [words(rows.label(name), mark=rows.mark(name)), estimated(_positive(e))]
        row += [_sampling_error(rows, name, sizes[name])] if sampled else []
        row += [figure(floor, significant(floor, 2))]
        row += [figure(grid[name], significant(grid[name], 2))] if interpolated else []
        cells.append([*row, verdict])
    columns = [Column("Strategy"), interval_column("Equivariance error")]
    columns += [interval_column("Sampling error")] if sampled else []
    columns += [Column("Rounding floor", True)]
    columns += [Column("Interpolation floor", True)] if interpolated else []
    columns += [Column("Verdict")]
    note = f"At {count(rows.sizes[-1])} training samples. " if rows.sizes else ""
    note += (
        "Brackets: 95 % interval over seeds." if len(rows.seeds) > 1 else "Brackets: bootstrap over inputs, one seed."
    )
    return Table("errors", "Equivariance error of each strategy", columns, cells, note)


def _sampling_error(rows: Rows, name: str, size: int | None) -> Cell:
    """How far two calls on the same input differ; none for a model that draws nothing."""
    e = rows.column(name, size, "resampling")
    return estimated(_positive(e)) if e.mean else Cell("none", sort=0.0, copy=("0", "", ""))


def _from_one_seed(rows: Rows, name: str, size: int | None, e: Estimate) -> Estimate:
    """With one seed, the interval that the measurement itself gave."""
    found = rows.at(name, size)
    ends = found[0].get("equivariance_interval") if len(found) == 1 else None
    if e.low is not None or not isinstance(ends, list | tuple) or len(ends) != 2:
        return e
    return Estimate(e.mean, number(ends[0]), number(ends[1]), e.n, e.total)


def _positive(e: Estimate) -> Estimate:
    return e if e.low is None else Estimate(e.mean, max(e.low, 0.0), e.high, e.n, e.total)


def _middle(values: list[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _verdict(e: Estimate, floor: float | None) -> str:
    if e.mean is None or floor is None:
        return ""
    return "exact" if e.mean <= 10 * floor else "not exact"


def _errors_figure(
    rows: Rows,
    table: Mapping[str, Mapping[str, float]],
    overall: Mapping[str, Estimate],
    floor: float | None,
    grid: Mapping[str, float | None],
) -> Figure | None:
    shown, strokes = [], []
    for name in rows.strategies:
        mean = overall[name].mean
        values = list(table[name].values()) or ([mean] if mean is not None else [])
        if values:
            shown.append((rows.label(name), values, rows.style(name)))
            strokes.append(grid[name])
    svg = plots.dots(
        shown,
        uid="fig-errors",
        title="Equivariance error of each strategy by group element",
        x_label="equivariance error (relative L2)",
        floors=[plots.Reference(floor, "rounding floor")] if floor else [],
        strokes=strokes,
    )
    said = "One point a group element; further left is more equivariant."
    said += " Dashed: an error here cannot be told from zero." if floor else ""
    said += " Short strokes: the interpolation floor of each model." if any(strokes) else ""
    return Figure("errors-figure", said, (("", svg),))


def _elements_table(rows: Rows, table: Mapping[str, Mapping[str, float]], floor: float | None) -> Table | None:
    labels = list(dict.fromkeys(label for row in table.values() for label in row))
    if not labels:
        return None
    note = "A stronger shade is a larger error, on a logarithmic scale."
    if len(labels) > MOST_ELEMENTS:
        worst = sorted(labels, key=lambda x: -max(row.get(x, 0.0) for row in table.values()))[:MOST_ELEMENTS]
        note = f"The {MOST_ELEMENTS} worst of {len(labels):,} elements. {note}"
        labels = [label for label in labels if label in set(worst)]
    names = [name for name in rows.strategies if table[name]]
    scale = heat_range([v for row in table.values() for v in row.values()], floor)
    cells = [[words(label), *(heated(table[name].get(label), scale) for name in names)] for label in labels]
    columns = [Column("Element"), *(Column(rows.label(name), numeric=True) for name in names)]
    return Table("elements", "Equivariance error by group element", columns, cells, note)
