"""The report of a study: its statement, its claims, its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report import _common as common
from equilearn.report._common import Fact, listed
from equilearn.report._figures import figures
from equilearn.report._format import MISSING, number, plural, record, records, sentence, text
from equilearn.report._table import Cell, Column, Table, generic, words


def context(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of a study report needs."""
    study = record(summary.get("study"))
    rows, claims = records(summary.get("rows")), records(summary.get("claims"))
    failed = records(summary.get("failed"))
    title = text(study.get("title"), text(study.get("name"), "A study"))
    settings = [Fact(text(k).replace("_", " "), _setting(v)) for k, v in record(study.get("settings")).items()]
    extra = [Fact(k, text(study[k])) for k in ("preset", "seed") if study.get(k) is not None]
    return {
        "title": title,
        "heading": title,
        "eyebrow": f"equilearn study · {text(study.get('name'), 'unnamed')}",
        "statement": sentence(text(study.get("statement"))),
        "verdict": _unfinished(summary) + _verdict(claims),
        "claims": _claims(claims),
        "pictures": figures(summary.get("plot"), rows),
        "failed": generic("failed", "Trials that failed", failed) if failed else None,
        "rows": generic("rows", "All rows", rows) if rows else None,
        "reproduce": common.reproduce(summary, extra + settings),
    }


def _setting(value: object) -> str:
    return listed(list(value)) if isinstance(value, list | tuple) else text(value, MISSING)


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
