"""Scores of several methods on the same held-out tasks, with standard errors over tasks and over days."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int
from equilearn.data.fields import FieldTask
from equilearn.processes._predictive import Predictive
from equilearn.processes.field._data import FieldData

PER_BATCH = 16
INSIDE = 1.6448536269514722
"""Standard deviations to each side that hold 90 % of a normal distribution."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Tasks of held-out times, as a process sees them, and the day of each.

    Args:
        scale: the deviation of all training values: log densities are of values in this unit.
    """

    tasks: Sequence[FieldTask]
    day: Int[Tensor, "n"]
    scale: float

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self.day)


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one method, task by task.

    Args:
        log_likelihood: mean log density of the targets, in nats, of values in units of the training deviation.
        square, inside: sums over targets of squared errors, and of those within the 90 % interval.
        count: targets.
    """

    log_likelihood: Float[Tensor, "n"]
    square: Float[Tensor, "n"]
    inside: Float[Tensor, "n"]
    count: Float[Tensor, "n"]

    @property
    def rmse(self) -> float:
        """Root mean square error over all targets, in the units of the data."""
        return float((self.square.sum() / self.count.sum()).sqrt())

    @property
    def coverage(self) -> float:
        """Share of targets within the 90 % interval."""
        return float(self.inside.sum() / self.count.sum())


def held_out(data: FieldData, count: int, seed: int) -> HeldOut:
    """About `count` tasks, as many on each held-out day.

    Raises:
        InputError: no day on which enough was observed.
    """
    positive_int(count, "tasks")
    generator = torch.Generator().manual_seed(seed)
    days = data.days.unique()
    each = -(-count // len(days))
    tasks, labels, refused = [], [], None
    for day in days.tolist():
        times = (data.days == day).nonzero().flatten()
        left = each
        try:
            while left > 0:
                tasks.append(data.draw(min(left, PER_BATCH), generator, held_out=True, times=times))
                labels += [day] * len(tasks[-1])
                left -= PER_BATCH
        except InputError as error:  # a day without observations says nothing of the others
            refused = error
    if not tasks:
        raise refused or InputError("No time is held out: there is nothing to score on.")
    return HeldOut(tasks, torch.tensor(labels), data.cells.overall[1])


@torch.no_grad()
def score(predict: Callable[[FieldTask], Predictive], held: HeldOut) -> Scores:
    """One method on all tasks."""
    parts: list[tuple[Tensor, ...]] = []
    for task in held.tasks:
        found, y, mask = predict(task), task.target.y, task.target.mask
        away = torch.where(mask, (found.mean - y)[..., 0], 0.0)
        within = mask & (away.abs() <= INSIDE * found.std[..., 0])
        nats = found.log_prob(y, "tasks") + math.log(held.scale)
        parts.append((nats, away.square().sum(1), within.sum(1), mask.sum(1)))
    return Scores(*(torch.cat(part).double() for part in zip(*parts, strict=True)))


def errors(values: Float[Tensor, "n"], day: Int[Tensor, "n"]) -> dict[str, float | None]:
    """A mean with its standard error over tasks, and over days (None where there is but one)."""
    days = torch.stack([values[day == d].mean() for d in day.unique()])
    return {
        "mean": float(values.mean()),
        "over_tasks": float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None,
        "over_days": float(days.std() / math.sqrt(len(days))) if len(days) > 1 else None,
    }


def row(name: str, label: str, scores: Scores, held: HeldOut, main: Scores) -> dict[str, Any]:
    """One line of the table; `less` is the paired difference to the process that was fitted."""
    return {
        "method": name,
        "label": label,
        "log_likelihood": errors(scores.log_likelihood, held.day),
        "less": None if scores is main else errors(scores.log_likelihood - main.log_likelihood, held.day),
        "rmse": scores.rmse,
        "coverage": scores.coverage,
    }
