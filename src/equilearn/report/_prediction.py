"""What was predicted before training, and what training made of it: a part of the report of `advise`, and a report of
its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report import _common as common
from equilearn.report._common import Fact
from equilearn.report._format import count, number, plural, record, records, sentence, significant, strings, text
from equilearn.report._prediction_pictures import by_chance, pictures
from equilearn.report._table import Cell, Column, Table, blank, figure, words

DEFINITIONS = [
    Fact(
        "Prediction",
        "Some training inputs of each class are moved by every element of the group. Each class in turn misses them as "
        "they are; all else counts as seen. The tangent kernel of the network then says exactly what a very "
        "wide one, fitted to squared error to the end, makes of what it missed. A finite network that learns features "
        "can do better or worse. New inputs are not predicted.",
    ),
    Fact(
        "Predicted error",
        "1 less half the lead of the right class over the best other one, mean over the inputs of a class. 0: as good "
        "as seen; below 1: right.",
    ),
    Fact(
        "Separation and density",
        "Density: the squared distance of a missing input from the span of all that was seen, in the space of the "
        "kernel, mean over the inputs of a class. Separation: what the error is the density over, so that the error is "
        "below 1 where separation is larger. For one missing input it is a matter of the classes alone, and between "
        "two that look alike half the number of elements times their squared distance; inputs that are missed together "
        "would have helped each other, which lowers it.",
    ),
]


def context(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of a prediction needs."""
    task, sym = record(summary.get("task")), record(summary.get("symmetry"))
    name, group = text(task.get("name"), "your data"), text(sym.get("group"), "the symmetry")
    found = section(summary.get("prediction")) or {"made": False, "reason": "The summary holds no prediction."}
    facts = [Fact("Target", plural(int(n), "class", "classes"))] if (n := number(task.get("classes"))) else []
    if record(summary.get("prediction")).get("seeds") is not None:
        facts.append(Fact("Inputs moved by the group", count(record(summary.get("prediction"))["seeds"])))
    facts.append(Fact("Group acts on", text(sym.get("input"), "inputs")))
    return {
        "title": f"Would a plain network learn {group} on {name} alone?",
        "heading": f"Would a plain network learn {group} on {name} alone?",
        "eyebrow": "equilearn advise --predict-only",
        "facts_of_task": facts,
        "prediction": found,
        "reproduce": common.reproduce(summary, [Fact("seed", text(summary.get("seed"), "not recorded"))]),
        "definitions": DEFINITIONS,
    }


def section(given: object) -> dict[str, Any] | None:
    """Sentences, table and picture of a prediction; why there is none; None where it was not tried."""
    found = record(given)
    if not found:
        return None
    if not found.get("made"):
        return {"made": False, "reason": sentence(text(found.get("reason"), "No reason was recorded."))}
    return {
        "made": True,
        "sentence": sentence(text(found.get("sentence"))),
        "why": sentence(text(found.get("why"))),
        "growth": sentence(text(found.get("growth_sentence"))),
        "tested": sentence(text(record(found.get("test")).get("sentence"))),
        "table": _table(found),
        "chance": _chance(found),
        "figures": pictures(found),
        "basis": _basis(found),
        "assumptions": [sentence(said) for said in strings(found.get("assumptions"))],
    }


def _chance(found: Mapping[str, Any]) -> str:
    share, classes = by_chance(found), len(records(found.get("classes")))
    return "" if share is None else f"Guessing among {classes} classes gets {100 * share:.0f} % right."


def _basis(found: Mapping[str, Any]) -> str:
    order, seeds = count(found.get("order")), count(found.get("seeds"))
    return (
        f"From {seeds} training inputs, each moved by {order} elements; the kernel is that of "
        f"{text(found.get('network'), 'the network')}."
    )


def _table(found: Mapping[str, Any]) -> Table:
    rows = records(found.get("classes"))
    measured = any(number(row.get("measured")) is not None for row in rows)
    grows = bool(found.get("growth"))
    columns = [Column("Class"), Column("Predicted error", True), Column("Predicted accuracy", True)]
    columns += [Column("Measured accuracy", True)] if measured else []
    columns += [Column("Separation", True), Column("Density", True)]
    columns += [Column("Right from", True, unit="elements")] if grows else []
    cells = []
    for row in rows:
        line = [words(row.get("name", row.get("class"))), _figure_of(row.get("error")), _share(row.get("accuracy"))]
        line += [_share(row.get("measured"))] if measured else []
        line += [_figure_of(row.get("separation")), _figure_of(row.get("density"))]
        cells.append([*line, _from(row)] if grows else line)
    notes = ["At the element that the class was not shown.", _chance(found)]
    notes += ["Measured: on the same points, the plain network trained without them."] if measured else []
    notes += ["Separation and density in units of the kernel of an input with itself."]
    return Table("predicted", "Predicted before training, by class", columns, cells, " ".join(filter(None, notes)))


def _figure_of(value: object) -> Cell:
    return figure(value, significant(value))


def _share(value: object) -> Cell:
    x = number(value)
    return blank() if x is None else figure(x, f"{100 * x:.0f} %")


def _from(row: Mapping[str, Any]) -> Cell:
    """The number of elements from which on the mean error of a class stays below 1."""
    found = row.get("learnable_at")
    return blank("not yet") if number(found) is None else figure(found, count(found))
