"""The rows of an advise run, looked up by strategy and training size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equilearn.report._estimate import Estimate, estimate
from equilearn.report._format import number, record, records, text


@dataclass(frozen=True)
class Rows:
    """Rows of one run, with the names and the order in which strategies are shown."""

    all: list[Mapping[str, Any]]
    strategies: list[str]
    labels: Mapping[str, str]
    sizes: list[int]
    seeds: list[Any]
    metric: str
    higher: bool
    marks: Mapping[str, str]

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Rows:
        """The rows of `summary`."""
        rows = records(summary.get("rows"))
        described = records(summary.get("strategies"))
        ran = dict.fromkeys(text(r.get("strategy"), "(no name)") for r in rows)
        first = [name for s in described if (name := text(s.get("name"))) in ran]
        task = record(summary.get("task"))
        metric = text(task.get("metric"), "score")
        higher = task.get("higher_is_better")
        return cls(
            all=rows,
            strategies=list(dict.fromkeys(first + list(ran))),
            labels={text(s.get("name")): text(s.get("label"), text(s.get("name"))) for s in described},
            sizes=sorted({int(n) for r in rows if (n := number(r.get("train_size"))) is not None}),
            seeds=sorted({r["seed"] for r in rows if number(r.get("seed")) is not None}),
            metric=metric,
            higher=bool(higher) if higher is not None else "error" not in metric,
            marks=_marks(summary),
        )

    @property
    def bounds(self) -> tuple[float, float] | None:
        """What a score cannot leave."""
        return (0.0, 1.0) if self.metric == "accuracy" else None

    def label(self, name: str) -> str:
        """How a strategy is called in the report."""
        return self.labels.get(name, "") or name

    def style(self, name: str) -> int:
        """Colour, marker and dash of a strategy, the same in every picture."""
        return self.strategies.index(name) if name in self.strategies else 0

    def mark(self, name: str) -> str:
        """The tag behind a strategy's name."""
        return self.marks.get(name, "")

    def at(self, strategy: str, size: int | None) -> list[Mapping[str, Any]]:
        """The rows of `strategy` at one training size."""
        return [r for r in self.all if text(r.get("strategy"), "(no name)") == strategy and r.get("train_size") == size]

    def largest(self, strategy: str) -> int | None:
        """The largest size at which `strategy` ran."""
        return max((size for size in self.sizes if self.at(strategy, size)), default=None)

    def score(self, strategy: str, size: int | None, column: str) -> Estimate:
        """The estimate of a score over the seeds."""
        return estimate((r.get(column) for r in self.at(strategy, size)), self.bounds)

    def column(self, strategy: str, size: int | None, column: str) -> Estimate:
        """The estimate of any other column over the seeds."""
        return estimate(r.get(column) for r in self.at(strategy, size))

    def gap(self, strategy: str, size: int | None) -> Estimate:
        """What is lost under transformations, paired by seed; positive is a loss."""
        sign = 1 if self.higher else -1
        pairs = ((number(r.get("score")), number(r.get("score_transformed"))) for r in self.at(strategy, size))
        return estimate(None if a is None or b is None else sign * _difference(a, b) for a, b in pairs)


def _difference(a: float, b: float) -> float:
    """`a - b`, zero where that is only rounding in single precision."""
    return a - b if abs(a - b) > 1e-6 * max(abs(a), abs(b)) else 0.0


def _marks(summary: Mapping[str, Any]) -> dict[str, str]:
    """Tags of the recommended strategy, and of what would be chosen if inputs came otherwise."""
    found = record(summary.get("recommendation"))
    moved = text(record(summary.get("symmetry")).get("moved"), "transformed")
    named = {
        text(record(found.get("if_deployed_as_is")).get("strategy")): "if as seen",
        text(record(found.get("if_deployed_transformed")).get("strategy")): f"if {moved}",
        text(found.get("strategy")): "recommended",
    }
    return {name: mark for name, mark in named.items() if name}
