"""The pictures of a prediction: which classes are carried over, the spectrum, from how many elements."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from equilearn.report import plots
from equilearn.report._common import Figure
from equilearn.report._format import number, records, text
from equilearn.report.plots import Reference

MOST_CLASSES, MOST_IRREPS = 20, 20
"""Rows of dots for which there is room."""


def pictures(found: Mapping[str, Any]) -> list[Figure]:
    """What there is to be seen; for a cyclic group with enough elements also how it changes with their number."""
    drawn = (_classes(found), _spectrum(found), _growth(found))
    return [figure for figure in drawn if figure is not None]


def by_chance(found: Mapping[str, Any]) -> float | None:
    """The share that guessing among the classes gets right."""
    classes = records(found.get("classes"))
    return 1 / len(classes) if classes else None


def _classes(found: Mapping[str, Any]) -> Figure | None:
    """Predicted accuracy of each class, with a stroke where training measured it."""
    rows = [row for row in records(found.get("classes")) if number(row.get("accuracy")) is not None]
    chance = by_chance(found)
    if not 1 < len(rows) <= MOST_CLASSES or chance is None:
        return None
    measured = [number(row.get("measured")) for row in rows]
    svg = plots.dots(
        [(text(row.get("name", row.get("class"))), [number(row["accuracy"]) or 0.0], 1) for row in rows],
        uid="fig-classes",
        title="Predicted accuracy at the missing element, by class",
        x_label="share right at the missing element",
        floors=[Reference(chance, "chance")],
        strokes=measured if any(value is not None for value in measured) else (),
        linear=True,
    )
    said = "Predicted accuracy at the element that a class was not shown, by class."
    if any(value is not None for value in measured):
        said += " Strokes: measured by training the plain network without it."
    return Figure("classes", said, (("", svg),))


def _spectrum(found: Mapping[str, Any]) -> Figure | None:
    """The inverse spectrum by irreducible representation, the labels' own told apart."""
    shares = [(text(row.get("name")), x) for row in records(found.get("spectrum")) if (x := number(row.get("inverse")))]
    if len(shares) < 2 or min(x for _, x in shares) <= 0:
        return None
    shares.sort(key=lambda share: _frequency(share[0]))  # others stay as they are, behind
    values = [x for _, x in shares]
    title, label = "The inverse spectrum of the kernel", "mean of 1 / eigenvalue"
    trivial = "the trivial one"
    if len(shares) <= MOST_IRREPS:
        rows = [(name, [x], 2 if name == "trivial" else 1) for name, x in shares]
        near = max(values) < 10 * min(values)  # decades would make much of little
        svg = plots.dots(rows, uid="fig-spectrum", title=title, x_label=label, linear=near)
    else:
        trivial += ", 0 (ringed)"
        cyclic = all(_frequency(name) < math.inf for name, _ in shares)
        svg = plots.lines(
            [plots.Series("1 / eigenvalue", list(range(len(values))), values, style=1, marks=((0, values[0]),))],
            uid="fig-spectrum",
            title=title,
            x_label="frequency" if cyclic else "irreducible representation",
            y_label=label,
            log_y=True,
            curves=True,
        )
    said = (
        "The inverse spectrum of the kernel on the orbits, by irreducible representation of the group. The labels, the "
        f"same at all elements, lie in {trivial}: the larger it stands against the others, the larger the error "
        "at a missing element."
    )
    return Figure("spectrum", said, (("", svg),))


def _frequency(name: str) -> float:
    """0 for the trivial representation, k for "frequency k", and infinity for others.

    >>> _frequency("trivial"), _frequency("frequency 3"), _frequency("irrep 2")
    (0, 3, inf)
    """
    if name == "trivial":
        return 0
    found = re.fullmatch(r"frequency (\d+)", name)
    return int(found[1]) if found else math.inf


def _growth(found: Mapping[str, Any]) -> Figure | None:
    """Predicted accuracy against the number of elements."""
    points = []
    for step in records(found.get("growth")):
        values = [x for v in step.get("accuracy") or [] if (x := number(v)) is not None]
        order = number(step.get("order"))
        if values and order is not None:
            points.append((order, sum(values) / len(values), min(values), max(values)))
    if len(points) < 3:
        return None
    x, mean, low, high = (list(part) for part in zip(*points, strict=True))
    chance = by_chance(found)
    svg = plots.lines(
        [plots.Series("predicted accuracy", x, mean, low, high)],
        uid="fig-growth",
        title="Predicted accuracy at the missing element, by number of elements",
        x_label="elements of the group",
        y_label="predicted accuracy",
        log_x=True,
        y_range=(-0.02, 1.02),
        reference=None if chance is None else Reference(chance, "chance"),
    )
    said = (
        "The same prediction with fewer, equal steps of the group: mean over the classes, bars from the worst class to "
        "the best."
    )
    return Figure("growth", said, (("", svg),))
