"""A task: data splits, what kind of target, and the symmetry in question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from equilearn.actions import Data, batch_size, first_leaf
from equilearn.symmetry import Symmetry

Kind = Literal["classification", "regression"]


@dataclass(frozen=True, repr=False)
class Task:
    """What is to be learned.

    Args:
        name: for reports and file names.
        x_train, y_train, x_test, y_test: batch first. Labels of a classification are int64 in
            `0..classes-1`, shape `(B,)`, or `(B, n)` for a label a node, with -1 where there is none (padding);
            targets of a regression are floating, `(B, ...)`.
        kind: `"classification"` (cross-entropy, accuracy) or `"regression"` (MSE, relative error).
        symmetry: the suspected symmetry, or None while it is not known.
        class_names: names of the classes, in the order of the labels.
        about: one sentence on where the data come from.
    """

    name: str
    x_train: Data
    y_train: Tensor
    x_test: Data
    y_test: Tensor
    kind: Kind
    symmetry: Symmetry | None = None
    class_names: tuple[str, ...] = field(default=())
    about: str = ""

    def __repr__(self) -> str:
        train, test = batch_size(self.x_train), batch_size(self.x_test)
        shape = tuple(first_leaf(self.x_train).shape[1:])
        return f"Task({self.name!r}: {self.kind}, {train} training and {test} test inputs of shape {shape})"

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a regression."""
        if self.kind != "classification":
            return 0
        return max(len(self.class_names), int(max(self.y_train.max(), self.y_test.max())) + 1)

    @property
    def node_labels(self) -> bool:
        """Whether each node (or point) of an input has a label of its own: labels `(B, n)`."""
        return self.kind == "classification" and self.y_train.ndim > 1

    @property
    def loss(self) -> Literal["cross_entropy", "mse"]:
        """The name of the loss to train with, as `fit` takes it."""
        return "cross_entropy" if self.kind == "classification" else "mse"

    @property
    def metric(self) -> Literal["accuracy", "relative error"]:
        """What a score of the task is: accuracy (higher is better) or relative error (lower is better)."""
        return "accuracy" if self.kind == "classification" else "relative error"
