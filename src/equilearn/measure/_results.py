"""What `equivariance_error` gives back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from equilearn.groups import Element

FloorMethod = Literal["float64 twin", "float32 twin, scaled", "perturbation", "estimate"]
Verdict = Literal["exact", "stochastic", "approximate", "absent"]

ROUNDING_MARGIN = 10.0
"""A maximum up to this many noise floors counts as exact."""

ABSENT_SHARE = 0.5
"""A mean error from this share of the chance level on counts as no equivariance at all."""

_PHRASE = {
    "exact": "equivariant up to rounding",
    "stochastic": "equivariant within its randomness",
    "approximate": "approximately equivariant",
    "absent": "NOT equivariant",
}


@dataclass(frozen=True)
class ElementError:
    """The relative error at one group element."""

    label: str
    error: float
    element: Element = field(repr=False, compare=False, default=None)

    def as_dict(self) -> dict[str, Any]:
        return {"element": self.label, "error": self.error}


@dataclass(frozen=True)
class EquivarianceError:
    """What `equivariance_error` found. All errors are relative (1 is 100 %).

    Args:
        mean: mean of the errors over the elements.
        interval: bootstrap confidence interval of the mean; None for a single input.
        maximum: the error at the worst element.
        per_element: label, error and element, in the order measured.
        floor: what rounding alone does to the outputs, in the precision of the model.
        floor_method: how the floor was found.
        interpolation_floor: what the grid's interpolation alone does to the outputs; None where the
            action is exact.
        resampling: difference between two calls on the same input; 0 for a deterministic model.
        excess: of a stochastic model, the error beyond its own randomness: the root of the mean over elements
            of the squared error less what two independent calls differ by. Negative (the root of the size)
            where chance takes more away than there is; None for a deterministic model.
        excess_interval: bootstrap confidence interval of the excess.
        chance: the error that outputs of unrelated inputs would give; None for a single input.
        variation: share of the outputs that depends on the input at all (0: a constant).
        verdict: "exact", "stochastic" (no excess over the model's own randomness can be seen),
            "approximate" or "absent".
        exhaustive: whether every element but the identity was measured.
    """

    mean: float
    interval: tuple[float, float] | None
    maximum: float
    per_element: tuple[ElementError, ...]
    floor: float
    floor_method: FloorMethod
    interpolation_floor: float | None
    resampling: float
    excess: float | None
    excess_interval: tuple[float, float] | None
    chance: float | None
    variation: float | None
    verdict: Verdict
    exhaustive: bool
    inputs: int
    confidence: float
    normalisation: str
    dtype: str
    invariance: bool

    @property
    def samples(self) -> int:
        """Number of elements measured."""
        return len(self.per_element)

    @property
    def worst(self) -> ElementError:
        """The element with the largest error."""
        return max(self.per_element, key=lambda e: e.error)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to bear in mind when reading the numbers."""
        found = []
        if self.variation is not None and self.variation <= ROUNDING_MARGIN * self.floor:
            found.append("the outputs do not depend on the input")
        if self.excess is not None:
            within = "no larger than" if self.verdict == "stochastic" else "beyond"
            ends = self.excess_interval
            interval = "" if ends is None else f" [{ends[0]:.2g}, {ends[1]:.2g}]"
            found.append(
                f"the error is {within} the model's own randomness ({self.resampling:.2g}), "
                f"excess {self.excess:.2g}{interval}"
            )
        if self.interpolation_floor is not None and self.verdict not in ("exact", "stochastic"):
            error = self.mean if self.excess is None else self.excess
            within = "no larger than" if error <= 1.5 * self.interpolation_floor else "beyond"
            found.append(f"the error is {within} that of interpolating on the grid ({self.interpolation_floor:.2g})")
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "per_element"}
        plain["interval"] = None if self.interval is None else list(self.interval)
        plain["excess_interval"] = None if self.excess_interval is None else list(self.excess_interval)
        plain["per_element"] = [e.as_dict() for e in self.per_element]
        plain["samples"] = self.samples
        plain["worst"] = self.worst.label
        plain["notes"] = list(self.notes)
        return plain

    def __str__(self) -> str:
        interval = "" if self.interval is None else f" [{self.interval[0]:.2g}, {self.interval[1]:.2g}]"
        measure = "relative L2" if self.normalisation == "norm" else "share of the outputs' spread"
        phrase = _PHRASE[self.verdict]
        phrase = phrase.replace("equivariant", "invariant") if self.invariance else phrase
        elements = f"{self.samples} element{'s' * (self.samples != 1)}"
        notes = "".join(f"; {note}" for note in self.notes)
        return (
            f"{self.mean:.2g}{interval} {measure}, {self.inputs} input{'s' * (self.inputs != 1)} x {elements}; "
            f"worst: {self.worst.label} ({self.maximum:.2g}); {self.dtype} floor {self.floor:.1g}{notes} -> {phrase}"
        )
