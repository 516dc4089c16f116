"""What every kind of report shows: facts, environment, how to reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equilearn.report._format import MISSING, record, seconds, text


@dataclass(frozen=True)
class Fact:
    """A name and its value."""

    name: str
    value: str


@dataclass(frozen=True)
class Figure:
    """Pictures side by side with one caption; `legend` pairs a swatch (SVG) with a name."""

    id: str
    caption: str
    panels: tuple[tuple[str, str], ...]
    """Title (may be empty) and SVG of each panel."""
    legend: tuple[tuple[str, str], ...] = ()
    title: str = ""


NORM = (
    "Equivariance error",
    "At a group element g, relative L2 over all inputs x: the root of the summed squares of f(g x) − g "
    "f(x) over that of "
    "g f(x); a model's error is the mean over elements. 0 is exact equivariance; near 1 the model does not follow g at "
    "all. Transforms are computed in float64.",
)
SHARE = (
    "Equivariance error",
    "At a group element g, the root mean square of f(g x) − g f(x) as a share of the spread of the outputs, so that a "
    "constant added to f hides nothing; a model's error is the mean over elements. 0 is exact equivariance, 1 is what "
    "outputs of unrelated inputs would give. Transforms are computed in float64.",
)
VERDICT = (
    "Verdict",
    "Exact: the error at the worst element is at most 10 rounding floors. Absent: the mean is at least half of what "
    "outputs of unrelated inputs would give. Approximate: anything between. Stochastic: a model that draws random "
    "numbers, with no excess of the error over that randomness.",
)
FLOOR = (
    "Rounding floor",
    "The error that rounding alone leaves in the number format of the model. An error at the floor is zero as far as "
    "can be measured.",
)
SAMPLING = (
    "Sampling error",
    "How far two calls of a model that draws random elements differ on the same input, in the norm of the equivariance "
    "error. It falls as one over the square root of the elements drawn; an equivariance error of this size is "
    "randomness and no breach of the symmetry.",
)
INTERPOLATION = (
    "Interpolation floor",
    "The error that resampling a grid makes by itself: an image turned by an angle that is not a multiple of 90° and "
    "turned back is no longer the same image, and the model's outputs change with it. An error of this "
    "size says nothing "
    "against the model.",
)


def reproduce(summary: Mapping[str, Any], extra: list[Fact] | None = None) -> dict[str, Any]:
    """The command, and everything that its figures depend on."""
    facts = [Fact("equilearn", text(summary.get("equilearn"), "not recorded"))]
    facts += [Fact(text(k).replace("_", " "), text(v, MISSING)) for k, v in record(summary.get("environment")).items()]
    facts += extra or []
    if summary.get("preset") is not None:
        facts.append(Fact("preset", text(summary["preset"])))
    facts.append(Fact("run on", text(summary.get("created"), "not recorded").replace("T", " ", 1)))
    if summary.get("total_seconds") is not None:
        facts.append(Fact("computing time", seconds(summary["total_seconds"])))
    return {"command": text(summary.get("command")), "facts": facts}


def listed(values: list[Any]) -> str:
    """Seeds or sizes on one line: `0, 1, 2`."""
    return ", ".join(text(v) for v in values) or MISSING
