"""The picture that supports an answer, the same figures as a table, and what they cost."""

from __future__ import annotations

from equilearn.report import plots
from equilearn.report._common import Figure
from equilearn.report._estimate import Estimate
from equilearn.report._format import count, number, plural, seconds, significant
from equilearn.report._rows import Rows
from equilearn.report._table import Cell, Column, Table, blank, estimated, figure, interval_column, words

_PANELS = (("score", "As seen"), ("score_transformed", "Under transformations"))


def picture(rows: Rows) -> Figure | None:
    """Score against training size, one line a strategy, as seen and under transformations."""
    panels = {column: [_series(rows, name, column) for name in rows.strategies] for column, _ in _PANELS}
    values = [v for series in panels.values() for s in series for v in (*s.y, *s.low, *s.high) if v is not None]
    if not values:
        return None
    positive = all(v > 0 for v in values)
    log_y = not rows.higher and positive and max(values) > 8 * min(values)
    limits = _limits(values, log_y, rows.bounds)
    drawn = tuple(
        (
            title,
            plots.lines(
                panels[column],
                uid=f"fig-{column.replace('_', '-')}",
                title=f"{rows.metric.capitalize()} against the number of training samples, {title.lower()}",
                x_label="training samples",
                y_label=rows.metric,
                better="higher is better" if rows.higher else "lower is better",
                log_x=True,
                log_y=log_y,
                y_range=limits,
            ),
        )
        for column, title in _PANELS
    )
    legend = tuple((plots.swatch(rows.style(n)), rows.label(n)) for n in rows.strategies)
    return Figure("scores-figure", _caption(rows), drawn, legend)


def _series(rows: Rows, name: str, column: str) -> plots.Series:
    points = [(size, e) for size in rows.sizes if (e := rows.score(name, size, column)).mean is not None]
    return plots.Series(
        name=rows.label(name),
        x=[float(size) for size, _ in points],
        y=[e.mean for _, e in points if e.mean is not None],
        low=[e.low for _, e in points],
        high=[e.high for _, e in points],
        style=rows.style(name),
    )


def _limits(values: list[float], log: bool, bounds: tuple[float, float] | None) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return low / 1.3, high * 1.3
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - margin, high + margin
    return (max(low, bounds[0] - 0.02), min(high, bounds[1] + 0.02)) if bounds else (low, high)


def _caption(rows: Rows) -> str:
    said = f"{rows.metric.capitalize()} on the test samples, as they are and under transformations. "
    if len(rows.seeds) < 2:
        return said + "One seed: points without an interval."
    return said + f"Points are means over {plural(len(rows.seeds), 'seed')}, bars their 95 % intervals."


def score_table(rows: Rows) -> Table | None:
    """The picture as figures."""
    if not rows.all:
        return None
    columns = [
        Column("Strategy"),
        Column("Training samples", numeric=True),
        interval_column("As seen"),
        interval_column("Transformed"),
        interval_column("Lost"),
        Column("Seeds", numeric=True),
    ]
    cells = []
    for size in reversed(rows.sizes):
        for name in rows.strategies:
            if not rows.at(name, size):
                continue
            seen = rows.score(name, size, "score")
            cells.append(
                [
                    words(rows.label(name), mark=rows.mark(name) if size == rows.sizes[-1] else ""),
                    figure(size, count(size)),
                    estimated(seen),
                    estimated(rows.score(name, size, "score_transformed")),
                    estimated(rows.gap(name, size)),
                    figure(seen.n, count(seen.n)),
                ]
            )
    note = f"{rows.metric.capitalize()}, {'higher' if rows.higher else 'lower'} is better. "
    note += "“Lost” is what transforming the inputs costs, paired by seed. "
    note += "Brackets: 95 % interval over seeds." if len(rows.seeds) > 1 else "One seed: no interval."
    return Table("scores", "Scores by strategy and training size", columns, cells, note)


def cost_table(rows: Rows) -> Table | None:
    """Forward passes, sampling error, inference and training time, parameters, at the largest training size."""
    if not rows.all:
        return None
    passes = any(number(r.get("forward_passes")) is not None for r in rows.all)
    sampled = any(number(r.get("resampling")) for r in rows.all)
    columns = [
        Column("Strategy"),
        *([Column("Forward passes", numeric=True)] if passes else []),
        *([Column("Sampling error", numeric=True)] if sampled else []),
        interval_column("Inference", "ms"),
        Column("Against plain", numeric=True),
        interval_column("Training", "s"),
        Column("Parameters", numeric=True),
    ]
    base = rows.column("plain", rows.largest("plain"), "inference_ms").mean
    cells = [_cost_row(rows, name, base, passes, sampled) for name in rows.strategies]
    note = f"At {count(rows.sizes[-1])} training samples. " if rows.sizes else ""
    if len(rows.seeds) > 1:
        note += "Brackets: 95 % interval over seeds; times depend on the machine and on what else it does. "
    if sampled:
        note += "Sampling error: how far two calls on one input differ, relative to the outputs; more passes lower it."
    return Table("cost", "What each strategy costs", columns, cells, note)


def _cost_row(rows: Rows, name: str, base: float | None, passes: bool, sampled: bool) -> list[Cell]:
    size = rows.largest(name)
    inference = rows.column(name, size, "inference_ms")
    parameters = rows.column(name, size, "parameters").mean
    ratio = inference.mean / base if inference.mean is not None and base else None
    row = [words(rows.label(name), mark=rows.mark(name))]
    if passes:
        calls = rows.column(name, size, "forward_passes").mean
        row.append(figure(calls, count(calls)))
    if sampled:
        differ = rows.column(name, size, "resampling").mean
        row.append(figure(differ, significant(differ, 2)) if differ else Cell("none", sort=0.0, copy=("0",)))
    return [
        *row,
        estimated(_not_negative(inference)),
        figure(ratio, f"{significant(ratio, 2)} ×") if ratio is not None else blank(),
        _duration(rows.column(name, size, "seconds")),
        figure(parameters, count(parameters)),
    ]


def _not_negative(e: Estimate) -> Estimate:
    return e if e.low is None else Estimate(e.mean, max(e.low, 0.0), e.high, e.n, e.total)


def _duration(e: Estimate) -> Cell:
    """Short durations in seconds with their interval; long ones as minutes, the interval only copied."""
    cell = estimated(_not_negative(e))
    if e.mean is None or e.mean < 100:
        return cell
    return Cell(seconds(e.mean), sort=cell.sort, copy=cell.copy, mark=cell.mark)
