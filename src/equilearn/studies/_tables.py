"""What the studies of operation tables share: a fit that keeps its curves and, now and then, its features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import one_of
from equilearn.data import OperationTable, modular_table, operation_table
from equilearn.groups import parse
from equilearn.kernels import RFM, SingularKernelWarning, fit_rfm
from equilearn.studies._snapshots import pack_matrix

OPERATIONS = ("+", "-", "×", "÷")
"""Of modular arithmetic; a group's own product is written with the group's name."""

TIE = 1e-8
"""Outputs for one-hot targets that differ by less than this are equal: a tie is no right answer."""

FRAMES = 12
"""Most matrices that a film of the features keeps."""


def table_of(name: str, operation: str = "+") -> OperationTable:
    """The table of arithmetic modulo a number, `"43"`, or of a group, `"S3xC5"`."""
    if name.isdigit():
        return modular_table(int(name), one_of(operation, OPERATIONS, "operation"))
    return operation_table(parse(name), operation)


@dataclass
class Fitted:
    """Curves over the iterations, `(iterations + 1)` values each, and the last machine."""

    accuracy: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    right_loss: list[float] = field(default_factory=list)
    """Mean squared error of the right class's output alone."""
    machines: list[RFM] = field(default_factory=list)

    @property
    def features(self) -> list[Tensor]:
        """The metric of every iteration."""
        return [machine.metric for machine in self.machines]

    @property
    def ranks(self) -> list[int]:
        """The rank of the Gram matrix at every iteration."""
        return [record["rank"] for record in self.machines[-1].history]

    def row(self) -> dict[str, Any]:
        """The curves, the last and best accuracy, and the ranks, JSON-ready."""
        return {
            "iteration": list(range(len(self.accuracy))),
            "accuracy": self.accuracy,
            "train_accuracy": self.train_accuracy,
            "loss": self.loss,
            "train_loss": self.train_loss,
            "right_loss": self.right_loss,
            "rank": self.ranks,
            "last": self.accuracy[-1],
            "best": max(self.accuracy),
        }


def fit_table(
    table: OperationTable,
    train: Bool[Tensor, " N"],
    kernel: str,
    iterations: int,
    *,
    metric: Tensor | None = None,
    ridge: float = 0.0,
    observe: Callable[[RFM, Tensor], None] | None = None,
) -> Fitted:
    """A recursive feature machine on the training entries of a table, watched on the others.

    Args:
        table, train: the entries, and which are for training.
        kernel: `"gaussian"` (bandwidth 2.5) or `"quadratic"`, as published.
        iterations: how many times features are learned.
        metric: M_0; default the identity.
        ridge: default none, as published.
        observe: called with each machine and the outputs for *all* entries.
    """
    x, labels = table.x, table.labels
    targets = torch.eye(table.n, dtype=x.dtype)[labels]
    found = Fitted()

    def watch(iteration: int, machine: RFM) -> None:
        outputs = machine(x)
        right = answered_right(outputs, labels)
        error = (outputs - targets).square()
        found.accuracy.append(float(right[~train].double().mean()))
        found.train_accuracy.append(float(right[train].double().mean()))
        found.loss.append(float(error[~train].mean()))
        found.train_loss.append(float(error[train].mean()))
        found.right_loss.append(float(error[~train].gather(1, labels[~train, None]).mean()))
        found.machines.append(machine)
        if observe is not None:
            observe(machine, outputs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularKernelWarning)  # the ranks are in the rows
        last = fit_rfm(
            x[train], targets[train], kernel=kernel, iterations=iterations, ridge=ridge, metric=metric, observe=watch
        )
    found.machines[-1] = last
    return found


def answered_right(outputs: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Where the output of the right class is larger than every other, by more than rounding."""
    right = outputs.gather(1, labels[:, None])
    others = outputs.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
    return ((right - others) > TIE)[:, 0]


def film(found: Fitted, order: Int[Tensor, " n"] | None = None) -> list[dict[str, Any]]:
    """The learned features at up to twelve iterations, for a report to play; symbols reordered in both slots."""
    count = len(found.features)
    chosen = torch.linspace(0, count - 1, min(FRAMES, count)).round().int().tolist()
    return [{"iteration": t, "matrix": pack_features(found.features[t], order)} for t in dict.fromkeys(chosen)]


def pack_features(metric: Float[Tensor, "D D"], order: Int[Tensor, " n"] | None = None) -> dict[str, Any]:
    """A metric on pairs of symbols, packed for a report: its diagonal, which outshines the rest, is left out."""
    if order is not None:
        both = torch.cat([order, order + len(order)])
        metric = metric[both][:, both]
    return pack_matrix(metric - torch.diag(metric.diagonal()))


def first_at_least(curve: list[float], level: float) -> int | None:
    """The first iteration at which a curve reaches a level; None if it never does."""
    return next((t for t, value in enumerate(curve) if value >= level), None)
