"""The recommendation: a pure function of the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from equilearn.advisor._compare import Comparison, compare

MARGIN = {"accuracy": 0.005, "relative error": 0.002}
"""Differences below these are too small to matter: half a point of accuracy, 0.2 % of relative error."""

_FREE_IN_USE = {"plain": 0, "augment": 1}


@dataclass(frozen=True)
class Evidence:
    """What a recommendation rests on: all rows, and the comparisons at the largest training size."""

    rows: Sequence[dict[str, Any]]
    metric: str
    moved: str
    """Word for a transformed input in sentences: `"rotated"`, `"permuted"`, ..."""
    data_symmetry: dict[str, Any] | None
    missing: int = 0
    """Planned trials without a row."""
    split: dict[str, Any] | None = None
    """What `measure.split_symmetry` found, as a dictionary."""

    @property
    def higher(self) -> bool:
        return self.metric == "accuracy"

    @property
    def symmetric(self) -> bool:
        """Whether the data themselves were found symmetric."""
        return bool((self.data_symmetry or {}).get("symmetric"))

    @property
    def margin(self) -> float:
        return MARGIN[self.metric]

    @property
    def sizes(self) -> list[int]:
        return sorted({row["train_size"] for row in self.rows})

    def at(self, size: int, column: str) -> Comparison:
        rows = [row for row in self.rows if row["train_size"] == size]
        return compare(rows, column, higher_is_better=self.higher)

    def show(self, score: float) -> str:
        return f"{100 * score:.1f} %" if self.metric == "accuracy" else f"{score:.3g}"

    def milliseconds(self, name: str) -> float:
        """Mean time of a batch at the largest training size, as the report's table of costs has it."""
        rows = [row for row in self.rows if row["strategy"] == name and row["train_size"] == self.sizes[-1]]
        return sum(row["inference_ms"] for row in rows) / len(rows)

    def cost(self, name: str) -> tuple[int, int]:
        """What a prediction costs, by count and not by clock, so that the same rows give the same choice."""
        row = next(row for row in self.rows if row["strategy"] == name)
        return row["forward_passes"], row["parameters"]


def recommend(evidence: Evidence) -> dict[str, Any]:
    """The recommendation, JSON-ready: strategy, reasons, both deployments, confidence, what would change it.

    The rule: at the largest training size, as seen and transformed apart, take the strategy with the
    best mean score, or the cheapest in use of those within the margin of it; those not shown to be
    worse are named beside it, and the confidence says how sure the order is. Where the data are found
    symmetric, inputs will come transformed, and the transformed winner is recommended; where they
    are not, the data themselves say how inputs come, and the winner as seen is; unless another
    strategy is not behind there and gains on transformed inputs: an insurance without a premium.
    """
    size = evidence.sizes[-1]
    seen, moved = evidence.at(size, "per_sample"), evidence.at(size, "per_sample_transformed")
    as_is, transformed = _choose(seen, evidence), _choose(moved, evidence)
    symmetric = evidence.symmetric
    strategy, basis = (transformed, moved) if symmetric else (_insured(seen, moved, as_is, evidence), seen)
    return {
        "strategy": strategy,
        "headline": _headline(evidence, seen, moved, as_is, transformed, strategy),
        "reasons": _reasons(evidence, seen, moved, strategy),
        "if_deployed_as_is": _deployment(evidence, seen, as_is, "as they are in your data"),
        "if_deployed_transformed": _deployment(evidence, moved, transformed, evidence.moved),
        "confidence": _confidence(basis, strategy, evidence),
        "would_change": _would_change(evidence, seen, moved, as_is, transformed, symmetric),
    }


def _choose(comparison: Comparison, evidence: Evidence) -> str:
    """The best mean, or the cheapest in use of those within the margin of it."""
    best = comparison.best()
    close = [n for n in comparison.names if n == best or comparison.deficit(n, best)[0] < evidence.margin]
    return min(close, key=lambda name: (_FREE_IN_USE.get(name, 2), *evidence.cost(name)))


def _insured(seen: Comparison, moved: Comparison, as_is: str, evidence: Evidence) -> str:
    """The best on transformed inputs of those that are not behind as seen, if it gains there."""
    free = [n for n in seen.names if seen.deficit(n, as_is)[0] <= 0]
    best = min(free, key=lambda name: moved.deficit(name, as_is)[0])
    _, _, most = moved.deficit(best, as_is)
    return best if most < -evidence.margin else as_is


def _headline(
    evidence: Evidence, seen: Comparison, moved: Comparison, as_is: str, transformed: str, strategy: str
) -> str:
    show = evidence.show
    if strategy != as_is and not evidence.symmetric:
        return (
            f"Use {strategy}: {show(seen.score(strategy))} on inputs as they are in your data and "
            f"{show(moved.score(strategy))} on {evidence.moved} ones. {as_is.capitalize()}, cheaper in use, is as good "
            f"on inputs as they are ({show(seen.score(as_is))}), but falls to {show(moved.score(as_is))} once they are "
            f"{evidence.moved}."
        )
    if as_is == transformed:
        return (
            f"Use {as_is}: it scores {show(seen.score(as_is))} on inputs as they are in your data and "
            f"{show(moved.score(as_is))} on {evidence.moved} ones, and nothing tried is better at either by more than "
            f"{_difference_margin(evidence)}."
        )
    return (
        f"If inputs will come as they are in your data, use {as_is} ({show(seen.score(as_is))}). "
        f"If they will come {evidence.moved}, use {transformed}: {show(moved.score(transformed))} there, "
        f"where {as_is} falls to {show(moved.score(as_is))}."
    )


def _reasons(evidence: Evidence, seen: Comparison, moved: Comparison, strategy: str) -> list[str]:
    reasons = []
    if evidence.split and evidence.split["verdict"] == "trap":
        reasons.append(evidence.split["sentence"])
    found = evidence.data_symmetry
    if found:
        reasons.append(found["sentence"])
        if found.get("pose"):
            reasons.append(found["pose"]["sentence"])
        reasons.append(_expected(found, evidence.moved))
    reasons.append(_as_seen(evidence, seen, strategy))
    reasons.append(_price(evidence, seen, moved, strategy))
    reasons.append(_randomness(evidence, strategy))
    reasons.extend(_harm(evidence, seen, strategy))
    return [reason for reason in reasons if reason]


def _expected(found: dict[str, Any], moved: str) -> str:
    """How inputs will come, as far as the data tell."""
    if found["symmetric"] is None:
        return "That leaves open how inputs will come: the choice rests on the scores as they are in your data."
    how = moved if found["symmetric"] else "as they are in your data"
    return f"So inputs are expected {how}: the choice rests on the scores there."


def _as_seen(evidence: Evidence, seen: Comparison, strategy: str) -> str:
    if strategy == "plain" or "plain" not in seen.names:
        return ""
    loss, low, high = seen.deficit(strategy, "plain")
    if loss > 0:
        return ""
    return f"Against plain, {strategy} gains {_difference(evidence, -loss, -high, -low)} on inputs as they are."


def _price(evidence: Evidence, seen: Comparison, moved: Comparison, strategy: str) -> str:
    if strategy == "plain" or "plain" not in seen.names:
        return ""
    times = evidence.milliseconds(strategy) / max(evidence.milliseconds("plain"), 1e-9)
    gain, low, high = moved.deficit("plain", strategy)
    return (
        f"Against plain, {strategy} gains {_difference(evidence, gain, low, high)} on {evidence.moved} inputs, "
        f"at {float(f'{times:.2g}'):,g} times the time per prediction."
    )


def _randomness(evidence: Evidence, strategy: str) -> str:
    """Whether a prediction changes from call to call, and by how much."""
    rows = [row for row in evidence.rows if row["strategy"] == strategy and row["train_size"] == evidence.sizes[-1]]
    found = [row["resampling"] for row in rows if row.get("resampling")]
    if not found:
        return ""
    draws = rows[0]["forward_passes"]
    return (
        f"Its predictions are drawn anew at each call, from {draws} random poses: two calls on one input differ by "
        f"{sum(found) / len(found):.2g} of the size of the outputs, which falls as one over the root of that number."
    )


def _harm(evidence: Evidence, seen: Comparison, strategy: str) -> list[str]:
    """Whatever a recommended symmetry costs on inputs as they are is said, always."""
    if strategy == "plain" or "plain" not in seen.names:
        return []
    loss, low, high = seen.deficit(strategy, "plain")
    if low <= 0:
        return []
    return [
        f"It hurts on inputs as they are: {_difference(evidence, loss, low, high)} worse than plain there. "
        "Use it only where inputs will come transformed."
    ]


def _difference(evidence: Evidence, mean: float, low: float, high: float) -> str:
    if evidence.metric == "accuracy":
        return f"{round(100 * mean, 1) + 0.0:.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{mean:.3g} [{low:.3g}, {high:.3g}] of relative error"


def _deployment(evidence: Evidence, comparison: Comparison, strategy: str, how: str) -> dict[str, Any]:
    low, high = comparison.interval(strategy)
    others = [n for n in comparison.tied_with_best(evidence.margin) if n != strategy]
    tail = f" Not shown to be worse: {', '.join(others)}." if others else " Every other strategy was worse."
    return {
        "strategy": strategy,
        "score": comparison.score(strategy),
        "interval": [low, high],
        "sentence": f"If inputs come {how}: {strategy}, {evidence.metric} {evidence.show(comparison.score(strategy))} "
        f"[{evidence.show(low)}, {evidence.show(high)}].{tail}",
    }


def _confidence(comparison: Comparison, strategy: str, evidence: Evidence) -> dict[str, Any]:
    probability = comparison.probability_best(strategy, evidence.margin)
    if comparison.seeds < 2:
        return {
            "level": "low",
            "probability": None,
            "sentence": "Only one training seed was run, so the spread between trainings is not known. Use --seeds 3.",
        }
    level = "high" if probability >= 0.95 else "medium" if probability >= 0.7 else "low"
    if evidence.missing:
        return {
            "level": "low",
            "probability": probability,
            "sentence": f"{evidence.missing} of the planned trials have no result, so strategies were not compared on "
            "equal terms. Run the same command again to complete them.",
        }
    return {
        "level": level,
        "probability": probability,
        "sentence": f"In {100 * probability:.0f} % of resampled runs (test inputs and training seeds) {strategy} "
        f"is the best strategy or within {_difference_margin(evidence)} of it.",
    }


def _difference_margin(evidence: Evidence) -> str:
    return "half a point" if evidence.metric == "accuracy" else f"{evidence.margin:g}"


def _would_change(
    evidence: Evidence, seen: Comparison, moved: Comparison, as_is: str, transformed: str, symmetric: bool
) -> list[str]:
    changes = []
    if as_is != transformed and not symmetric:
        changes.append(_how_inputs_come(evidence, seen, moved, as_is, transformed))
    if as_is != transformed and symmetric:
        changes.append("If inputs at deployment keep a pose that these data do not show, the answer as seen applies.")
    plain = sorted({row["train_size"] for row in evidence.rows if row["strategy"] == "plain"})
    if len(plain) > 1:
        changes.append(_learning_curve(evidence, plain[0], plain[-1]))
    return changes


def _how_inputs_come(evidence: Evidence, seen: Comparison, moved: Comparison, as_is: str, transformed: str) -> str:
    loss, gain = seen.deficit(transformed, as_is)[0], moved.deficit(as_is, transformed)[0]
    if loss <= 0:
        return (
            f"The price of a prediction. {transformed} loses nothing as seen and is {_points(evidence, gain)} better "
            f"on {evidence.moved} inputs: only its cost speaks for {as_is}."
        )
    return (
        f"How inputs come. {transformed} scores {evidence.show(seen.score(transformed))} as seen "
        f"({_points(evidence, loss)} worse than {as_is}) and is {_points(evidence, gain)} better on {evidence.moved} "
        f"inputs: it pays once more than about {_break_even(loss, gain)} of them come {evidence.moved}."
    )


def _points(evidence: Evidence, difference: float) -> str:
    return f"{100 * difference:.1f} points" if evidence.metric == "accuracy" else f"{difference:.3g} of relative error"


def _break_even(loss: float, gain: float) -> str:
    return f"{100 * loss / (loss + gain):.0f} %" if gain > 0 else "100 %"


def _learning_curve(evidence: Evidence, first: int, last: int) -> str:
    def gap(size: int) -> float:
        moved = evidence.at(size, "per_sample_transformed")
        return moved.deficit("plain", moved.best())[0]

    return (
        f"The amount of data. On {evidence.moved} inputs plain is {_points(evidence, gap(first))} behind the best "
        f"strategy with {first} training samples and {_points(evidence, gap(last))} behind with {last}."
    )
