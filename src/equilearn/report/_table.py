"""Tables as data: what is shown, what is sorted by, what is copied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from equilearn.report._estimate import Estimate
from equilearn.report._format import MISSING, number, plural, shorten, significant, text

FEW = 4
"""A list of so many values is shown as it is."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        shown: the text.
        detail: said more quietly behind it (an interval).
        sort: the number to sort by; None sorts by the text, and a missing cell last.
        copy: what copying yields, one entry for each copied column; default the text.
        mark: a word set as a tag ("recommended", "failed").
        heat: shade between 0 and 1.
        missing: nothing was measured here.
    """

    shown: str
    detail: str = ""
    sort: float | None = None
    copy: tuple[str, ...] = ()
    mark: str = ""
    heat: float | None = None
    missing: bool = False

    @property
    def copied(self) -> str:
        """The copied entries as a JSON list, for the page's script."""
        return json.dumps(self.copy)


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether its cells are numbers, and the names under which it is copied."""

    label: str
    numeric: bool = False
    copy: tuple[str, ...] = ()
    unit: str = ""

    @property
    def copied(self) -> str:
        """The copied names as a JSON list."""
        return json.dumps(self.copy or (f"{self.label} ({self.unit})" if self.unit else self.label,))


@dataclass(frozen=True)
class Table:
    """A captioned table; the first column heads its rows."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    wrap: bool = field(default=False)


def interval_column(label: str, unit: str = "") -> Column:
    """A column of estimates: copied as mean, low and high."""
    name = f"{label} ({unit})" if unit else label
    return Column(label, numeric=True, copy=(name, f"{name} low", f"{name} high"), unit=unit)


def blank(shown: str = MISSING, width: int = 1, mark: str = "") -> Cell:
    """A cell without a value."""
    return Cell(shown, copy=("",) * width, missing=True, mark=mark)


def words(value: object, mark: str = "", default: str = MISSING) -> Cell:
    """A cell of text."""
    shown = text(value)
    return Cell(shown, copy=(shown,), mark=mark) if shown else blank(default, mark=mark)


def figure(value: object, shown: str | None = None, heat: float | None = None) -> Cell:
    """A cell holding one number, copied in full precision."""
    x = number(value)
    if x is None:
        return blank()
    exact = str(int(x)) if x.is_integer() and abs(x) < 1e15 else repr(x)
    return Cell(significant(x) if shown is None else shown, sort=x, copy=(exact,), heat=heat)


def estimated(e: Estimate) -> Cell:
    """A cell holding an estimate, copied as mean, low and high."""
    if e.mean is None:
        failed = e.total > 0
        return blank("failed" if failed else MISSING, width=3, mark="" if not failed else "no value")
    shown, detail = e.shown
    copy = tuple("" if v is None else repr(v) for v in (e.mean, e.low, e.high))
    mark = f"{e.n} of {e.total}" if e.n < e.total else ""
    return Cell(shown, detail, sort=e.mean, copy=copy, mark=mark)


def anything(value: object) -> Cell:
    """A cell for a value of any kind, as rows of a study may hold."""
    if isinstance(value, bool):
        return words("yes" if value else "no")
    if isinstance(value, int):
        return figure(value, str(value))
    if isinstance(value, Mapping | list | tuple):
        return words(_gist(value))
    return words(value) if isinstance(value, str) else figure(value)


def _gist(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """A few plain values as they are; of curves, matrices and films, what they are.

    >>> _gist([1, 2]), _gist([0.1] * 30 + [0.98]), _gist([{"iteration": 0}] * 12)
    ('[1, 2]', '31 values, last 0.98', '12 entries')
    """
    if isinstance(value, Mapping):
        if {"rows", "columns", "data"} <= value.keys():  # as pack_matrix makes them, intact or not
            return shorten(f"{text(value.get('rows'))} by {text(value.get('columns'))} matrix", 60)
        if any(isinstance(v, Mapping | list | tuple) and len(v) > FEW for v in value.values()):
            return plural(len(value), "entry", "entries")
    elif len(value) > FEW or any(isinstance(item, Mapping) and len(item) > 1 for item in value):
        last = number(value[-1])
        return f"{len(value):,} entries" if last is None else f"{len(value):,} values, last {last:.3g}"
    return shorten(json.dumps(value, default=str, ensure_ascii=False), 60)


def generic(id: str, caption: str, rows: Iterable[Mapping[str, Any]], limit: int = 300, note: str = "") -> Table:
    """A table of mappings as they come: one column a key, in order of first appearance."""
    kept = list(rows)
    keys = list(dict.fromkeys(key for row in kept for key in row))
    numeric = {k: all(number(row.get(k)) is not None or row.get(k) is None for row in kept) for k in keys}
    columns = [Column(text(k, "(no name)").replace("_", " "), numeric=numeric[k], copy=(text(k),)) for k in keys]
    cells = [[anything(row.get(k)) for k in keys] for row in kept[:limit]]
    if len(kept) > limit:
        note = f"The first {limit:,} of {len(kept):,} rows; all of them are in summary.json. {note}".strip()
    return Table(id, caption, columns, cells, note)
