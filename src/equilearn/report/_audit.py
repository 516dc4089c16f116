"""The report of an audit: is this model equivariant, to which elements, through which layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report import _common as common
from equilearn.report import plots
from equilearn.report._common import Fact, Figure
from equilearn.report._format import (
    MISSING,
    count,
    number,
    record,
    records,
    sentence,
    significant,
    strings,
    text,
    with_interval,
)
from equilearn.report._heat import heat_range, heated
from equilearn.report._table import Column, Table, words

MOST_DRAWN = 24
"""Rows of the picture of elements; beyond, the worst are drawn."""

_MEANING = {
    "exact": "Moving the input moves the output as it should, up to the errors that measuring itself makes.",
    "stochastic": "The model draws random numbers. Moving the input changes the output no more than asking twice on "
    "the same input does.",
    "approximate": "The model follows the symmetry in part: far more than a network that knows nothing of it, "
    "measurably less than exactly.",
    "absent": "The model does not have this symmetry: moving the input changes the output in ways that it should not.",
}


def context(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of an audit report needs."""
    error = record(summary.get("error"))
    model, group = text(summary.get("model"), "this model"), text(summary.get("group"), "the group")
    verdict = text(summary.get("verdict"), text(error.get("verdict"), "undecided"))
    elements, layers = _elements(error), records(summary.get("layers"))
    return {
        "title": f"Is {model} equivariant to {group}?",
        "heading": f"Is {model} equivariant to {group}?",
        "eyebrow": "equilearn audit",
        "verdict": verdict,
        "meaning": _MEANING.get(verdict.lower(), ""),
        "sentence": sentence(text(summary.get("sentence"))),
        "facts_of_task": _facts(summary, error),
        "picture": _figure(elements, error),
        "elements": _elements_table(elements, error),
        "layers": _layers_table(layers, error),
        "floors": _floors(error),
        "notes": [sentence(note[:1].upper() + note[1:]) for note in [*_split(summary), *strings(error.get("notes"))]],
        "definitions": [
            Fact(*(common.SHARE if error.get("normalisation") == "variance" else common.NORM)),
            Fact("Interval", _interval(error)),
            Fact(*common.VERDICT),
        ],
        "reproduce": common.reproduce(
            summary, [Fact("seed", text(summary["seed"]))] if summary.get("seed") is not None else []
        ),
    }


def _split(summary: Mapping[str, Any]) -> list[str]:
    """That the model was trained on a symmetric set, where it is a trap."""
    split = record(summary.get("split"))
    return [text(split.get("sentence"))] if split.get("verdict") == "trap" else []


def _elements(error: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    found = records(error.get("per_element"))
    return [(text(e.get("label"), text(e.get("element"), "–")), number(e.get("error"))) for e in found]


def _facts(summary: Mapping[str, Any], error: Mapping[str, Any]) -> list[Fact]:
    low, high = _ends(error.get("interval"))
    facts = [
        Fact("Error, mean", " ".join(part for part in with_interval(error.get("mean"), low, high) if part)),
        Fact("Error, largest", significant(error.get("maximum"), 2)),
        Fact("Unrelated outputs", significant(error.get("chance"), 2)),
        Fact("Data", text(summary.get("data"), MISSING)),
    ]
    if error.get("chance") is None:
        facts.pop(2)
    if error.get("excess") is not None:
        facts.insert(2, Fact("Excess over randomness", _excess(error)))
    inputs, samples = error.get("inputs"), error.get("samples")
    if number(inputs) is not None:
        facts.append(Fact("Inputs", count(inputs)))
    if number(samples) is not None:
        facts.append(Fact("Elements", count(samples)))
    return facts


def _excess(error: Mapping[str, Any]) -> str:
    low, high = _ends(error.get("excess_interval"))
    return " ".join(part for part in with_interval(error.get("excess"), low, high) if part)


def _ends(ends: Any) -> tuple[Any, Any]:
    return (ends[0], ends[1]) if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)


def _interval(error: Mapping[str, Any]) -> str:
    level = number(error.get("confidence"))
    named = "" if level is None else f"{100 * level:g} % "
    return (
        f"The {named}percentile bootstrap interval of the mean over inputs, and over "
        "elements where these were drawn at random."
    )


def _references(error: Mapping[str, Any]) -> list[plots.Reference]:
    named = (
        ("floor", "rounding"),
        ("interpolation_floor", "interpolation"),
        ("resampling", "sampling"),
        ("chance", "chance"),
    )
    return [plots.Reference(x, label) for key, label in named if (x := number(error.get(key))) and x > 0]


def _figure(elements: list[tuple[str, float | None]], error: Mapping[str, Any]) -> Figure | None:
    known = [(label, value) for label, value in elements if value is not None]
    if not known:
        return None
    drawn = known
    if len(known) > MOST_DRAWN:
        worst = set(sorted(range(len(known)), key=lambda i: -known[i][1])[:MOST_DRAWN])
        drawn = [pair for i, pair in enumerate(known) if i in worst]
    svg = plots.dots(
        [(label, (value,), 0) for label, value in drawn],
        uid="fig-elements",
        title="Equivariance error by group element",
        x_label="equivariance error (relative L2)",
        floors=_references(error),
    )
    said = "Further left is more equivariant. Dashed: floors, explained below"
    said += ", and the error that unrelated outputs would have (chance)." if number(error.get("chance")) else "."
    if len(drawn) < len(known):
        said = f"The {MOST_DRAWN} worst of {len(known):,} elements. {said}"
    return Figure("elements-figure", said, (("", svg),))


def _elements_table(elements: list[tuple[str, float | None]], error: Mapping[str, Any]) -> Table | None:
    if not elements:
        return None
    scale = heat_range([v for _, v in elements if v is not None], number(error.get("floor")))
    cells = [[words(label), heated(value, scale)] for label, value in elements]
    columns = [Column("Element"), Column("Error", True)]
    note = "A stronger shade is a larger error, on a logarithmic scale."
    return Table("elements", "Equivariance error by group element", columns, cells, note)


def _layers_table(layers: list[Mapping[str, Any]], error: Mapping[str, Any]) -> Table | None:
    if not layers:
        return None
    values = [number(layer.get("error")) for layer in layers]
    scale = heat_range([v for v in values if v is not None], number(error.get("floor")))
    extra = [key for key in ("kind", "law") if any(layer.get(key) for layer in layers)]
    cells = [
        [words(layer.get("layer")), *(words(layer.get(key)) for key in extra), heated(value, scale)]
        for layer, value in zip(layers, values, strict=True)
    ]
    named = {"kind": "Kind", "law": "Closest law"}
    columns = [Column("Layer"), *(Column(named[key]) for key in extra), Column("Error", True)]
    note = "In the order of the model. The first layer with a large error is where the symmetry is lost."
    return Table("layers", "Error by layer", columns, cells, note)


def _floors(error: Mapping[str, Any]) -> list[Fact]:
    """Each floor that was measured: its figure and what it means."""
    explained = (
        ("floor", "Rounding", common.FLOOR[1]),
        ("interpolation_floor", "Interpolation", common.INTERPOLATION[1]),
        ("resampling", "Sampling", f"{common.SAMPLING[1]} 0 is a deterministic model."),
    )
    return [
        Fact(f"{name}: {significant(x, 2)}", said)
        for key, name, said in explained
        if (x := number(error.get(key))) is not None
    ]
