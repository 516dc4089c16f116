"""What `predict_symmetry_learning` gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn.groups import Group
from equilearn.kernels._theory_blocks import IrrepShare
from equilearn.kernels._theory_kappa import TOLERANCE
from equilearn.measure import describe

ELEMENTS_SHOWN = 64
"""Elements that are given names; of a larger group only those with an error are."""

NOTES = (
    "The theory is that of a very wide network, fitted to squared error by gradient flow to the end; cross-entropy, "
    "early stopping, dropout and batch normalisation are outside it.",
    "A network that learns features can do better or worse than its kernel: read the figures as a ranking, and test "
    "them against a trained network.",
    "What is predicted are transforms of the seeds, whose other transforms were in training. New inputs are not.",
)

Answer = Literal["yes", "in part", "no"]


@dataclass(frozen=True, eq=False)
class Growth:
    """The errors when a cyclic group is sampled at `order` elements, one of them missing for one class in turn.

    Attributes:
        order: number of elements.
        error, accuracy: of each class, `(C,)`.
    """

    order: int
    error: Float[Tensor, " C"]
    accuracy: Float[Tensor, " C"]


@dataclass(frozen=True, eq=False)
class Band:
    """The smallest and the largest value over several draws of a network.

    Attributes:
        draws: how many.
        error, accuracy: `(2, C, order)`: lowest and highest.
    """

    draws: int
    error: Float[Tensor, "2 C order"]
    accuracy: Float[Tensor, "2 C order"]


@dataclass(frozen=True, eq=False)
class SymmetryPrediction:
    """Whether one architecture carries a symmetry over to what it was not shown.

    Attributes:
        architecture: its name.
        source: where its kernel comes from: "ntk" or "nngp" in closed form, "given kernel", "empirical ntk".
        group: the finite group.
        classes: the labels, ascending; C of them.
        counts: seeds of each class.
        held_out: the (class, element) pairs that are predicted, `(C, order)`.
        error: mean over seeds of `1 - (f_own - f_best other) / 2`, `(C, order)`, NaN where nothing is held out. Below
            1 the class is right. For two classes it is the error of the theory, `1 - f y`, and 1 is no information;
            among more, the best of several wrong classes wins by chance, and no information is somewhat above 1.
        accuracy: the share of the missing points that get their class, `(C, order)`, NaN as above.
        density: mean squared distance of the missing points of a class from the span of what was seen, `(C,)`, in
            units of the mean k(x, x): how badly orbits are sampled. 0 where orbits collapse.
        signal: `N/2 |mu_c - mu_d|^2` to the nearest other class, `(C,)`, in the same units: the source's figure for
            two seeds of two classes that look alike, whose error is density / signal. With more seeds or classes it
            describes them and decides nothing: see `separation`.
        spectrum: the inverse spectrum by irrep.
        spread: the part of all variance, in feature space, that lies within orbits.
        collapsed: whether that is none: the architecture is invariant on these data.
        action_defect: by how much `g (h x)` differs from `(g h) x`, relative to x.
        kernel_defect: how far the kernel is from being invariant, relative to its norm.
        growth: for a cyclic group, the errors at every number of elements that divides its order, each class in turn
            without the identity; empty where something else was `seen`, and for the direct method. Where the kernel
            had to be averaged it is that of the whole group, and these errors are approximate (`growth_is_exact`).
        band: from several draws of a finite network. All other figures are means over these, defects the largest.
        ridge: relative to the mean k(x, x).
        method: "blocks" or "direct".
        assumptions: what the theory assumes and these data or this kernel do not keep.
    """

    architecture: str
    source: str
    group: Group
    classes: tuple[int, ...]
    counts: tuple[int, ...]
    held_out: Bool[Tensor, "C order"] = field(repr=False)
    error: Float[Tensor, "C order"] = field(repr=False)
    accuracy: Float[Tensor, "C order"] = field(repr=False)
    signal: Float[Tensor, " C"] = field(repr=False)
    density: Float[Tensor, " C"] = field(repr=False)
    spectrum: tuple[IrrepShare, ...] = field(repr=False)
    spread: float
    collapsed: bool
    action_defect: float
    kernel_defect: float
    growth: tuple[Growth, ...] = field(repr=False)
    band: Band | None = field(repr=False)
    ridge: float
    method: str
    assumptions: tuple[str, ...] = field(repr=False)

    @property
    def separation(self) -> Float[Tensor, " C"]:
        """How far classes lie apart, so that the error of a class is density over separation: it is below 1 exactly
        where the separation is larger (but for the ridge, which belongs to the density).

        For one missing point this is `1 / (y alpha)`, `alpha` the coefficients of the fit to all points, which do not
        depend on what is missing: `2 / (alpha_own - alpha_rival)` among several classes, and
        `N/2 |mu_A - mu_B|^2` for two seeds that look alike. Where several points miss at once it is smaller, because
        they would have helped each other. Infinite where the error is not positive; NaN for a class that misses
        nothing, and where orbits collapse (0 over 0).
        """
        error = self.class_error
        found = torch.where(error > 0, (self.density + self.ridge) / error, math.inf)
        return torch.where(error.isnan() | self.collapsed, math.nan, found)

    @property
    def growth_is_exact(self) -> bool:
        return self.kernel_defect <= TOLERANCE

    @property
    def notes(self) -> tuple[str, ...]:
        """What holds for every prediction of this kind."""
        return NOTES

    @property
    def class_error(self) -> Float[Tensor, " C"]:
        """Mean over the elements that a class misses; NaN for a class that misses none."""
        return self.error.nanmean(1)

    @property
    def class_accuracy(self) -> Float[Tensor, " C"]:
        return self.accuracy.nanmean(1)

    @property
    def mean_error(self) -> float:
        """Mean over the classes that miss something."""
        return float(self.class_error.nanmean())

    @property
    def mean_accuracy(self) -> float:
        return float(self.class_accuracy.nanmean())

    @property
    def answer(self) -> Answer:
        """Would it learn the symmetry alone? "yes": 9 of 10 missing points right, and every class below an error of
        1; "no": fewer than half right; else "in part"."""
        if self.mean_accuracy < 0.5:
            return "no"
        below = bool((self.class_error[self.held_out.any(1)] < 1).all())
        return "yes" if self.mean_accuracy >= 0.9 and below else "in part"

    @property
    def learnable_at(self) -> tuple[int | None, ...]:
        """For each class, the smallest number of elements from which on its error stays below 1 (of a cyclic group,
        among the divisors of its order); None where that is not reached, or the group is not cyclic."""
        return tuple(_crossing([(step.order, float(step.error[c])) for step in self.growth]) for c in range(self._size))

    @property
    def learnable_order(self) -> int | None:
        """The same for the mean error over classes."""
        return _crossing([(step.order, float(step.error.mean())) for step in self.growth])

    @property
    def _size(self) -> int:
        return len(self.classes)

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON."""
        order = self.held_out.shape[1]
        named = range(order) if order <= ELEMENTS_SHOWN else torch.nonzero(self.held_out.any(0)).flatten().tolist()
        elements = self.group.elements()
        band = self.band
        return {
            "architecture": self.architecture,
            "source": self.source,
            "group": str(self.group),
            "order": order,
            "answer": self.answer,
            "error": _number(self.mean_error),
            "accuracy": _number(self.mean_accuracy),
            "classes": [self._row(c) for c in range(self._size)],
            "elements": [{"index": g, "element": describe(self.group, self.group.take(elements, g))} for g in named],
            "per_element": {
                "error": _numbers(self.error),
                "accuracy": _numbers(self.accuracy),
                "error_band": None if band is None else _numbers(band.error),
                "accuracy_band": None if band is None else _numbers(band.accuracy),
            },
            "draws": 1 if band is None else band.draws,
            "spectrum": [vars(share) for share in self.spectrum],
            "spread": self.spread,
            "collapsed": self.collapsed,
            "action_defect": self.action_defect,
            "kernel_defect": self.kernel_defect,
            "growth": [
                {"order": s.order, "error": _numbers(s.error), "accuracy": _numbers(s.accuracy)} for s in self.growth
            ],
            "growth_is_exact": self.growth_is_exact,
            "learnable_order": self.learnable_order,
            "ridge": self.ridge,
            "method": self.method,
            "assumptions": list(self.assumptions),
            "notes": list(self.notes),
        }

    def _row(self, c: int) -> dict[str, Any]:
        return {
            "class": self.classes[c],
            "seeds": self.counts[c],
            "missing": int(self.held_out[c].sum()),
            "error": _number(float(self.class_error[c])),
            "accuracy": _number(float(self.class_accuracy[c])),
            "signal": _number(float(self.signal[c])),
            "separation": _number(float(self.separation[c])),
            "density": _number(float(self.density[c])),
            "learnable_at": self.learnable_at[c],
        }

    def __str__(self) -> str:
        lines = [f"Would {self.architecture} learn {self.group} alone? {self.answer}: {self._headline()}"]
        lines += [_class_line(row) for row in map(self._row, range(self._size)) if row["missing"]]
        if self.collapsed:
            said = "so that nothing has to be learned" if self.answer == "yes" else "and cannot tell the classes apart"
            lines.append(f"  Orbits collapse: this architecture is invariant, {said}.")
        if self.growth:
            steps = ", ".join(f"{s.order}: {float(s.error.mean()):.2f}" for s in self.growth)
            found, about = self.learnable_order, "" if self.growth_is_exact else ", approximately,"
            where = f"from {found} elements on" if found else f"not up to {self.growth[-1].order} elements"
            lines.append(f"  Possible {where} (error by number of elements{about} {steps})")
        lines += [f"  Not as assumed: {text}" for text in self.assumptions]
        return "\n".join(lines)

    def _headline(self) -> str:
        band = self.band
        about = ""
        if band is not None:
            low, high = band.error.nanmean(2).nanmean(1).tolist()
            about = f" ({low:.2f} to {high:.2f} over {band.draws} draws)"
        right = f"{self.mean_accuracy:.0%} of the missing points right"
        return f"error {self.mean_error:.2f}{about}, {right} ({self.source})"


@dataclass(frozen=True, eq=False)
class SymmetryComparison:
    """The predictions for several architectures on the same data.

    Attributes:
        predictions: one for each, by name, in the order in which they were given.
    """

    predictions: Mapping[str, SymmetryPrediction]

    @property
    def ranking(self) -> tuple[str, ...]:
        """The names, smallest mean error first."""
        return tuple(sorted(self.predictions, key=lambda name: self.predictions[name].mean_error))

    @property
    def best(self) -> SymmetryPrediction:
        return self.predictions[self.ranking[0]]

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON."""
        return {
            "ranking": list(self.ranking),
            "predictions": {name: one.as_dict() for name, one in self.predictions.items()},
        }

    def __str__(self) -> str:
        return "\n".join(str(self.predictions[name]) for name in self.ranking)


# --- parts ------------------------------------------------------------------------------------


def _crossing(steps: list[tuple[int, float]]) -> int | None:
    found = None
    for order, error in reversed(steps):
        if not error < 1:
            break
        found = order
    return found


def _class_line(row: dict[str, Any]) -> str:
    accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.0%}"
    line = f"  class {row['class']}: error {row['error']:.3g}, {accuracy} right"
    if row["separation"] is None:
        return line
    return f"{line}; density {row['density']:.3g} over separation {row['separation']:.3g}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _numbers(values: Tensor) -> list[Any]:
    nested = values.tolist()
    return [_clean(v) for v in nested]


def _clean(value: Any) -> Any:
    return [_clean(v) for v in value] if isinstance(value, list) else _number(value)
