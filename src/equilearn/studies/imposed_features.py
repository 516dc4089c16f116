"""Features that see one reflection answer exactly the entries that this reflection reaches from the training set.

A random half of a table for training, and the features of a machine that learned with the fixed points of a reflection
sr^k held out, in closed form: M_0 = I - P less means. Which held-out entries are then right? Those whose mirror image
under sr^k is a training entry, and no others: precision and recall are 1. Held out instead the fixed points of one
reflection, and the features of another imposed, all are right: imposing a symmetry helps where breaking one did.

The ridge is 1e-3: without one, what the features cannot tell apart is fitted by rounding alone, and recall depends on
the solver.

Source: Tomas, Mallinar and Belkin, arXiv 2604.00316, Finding 4.1 and appendix F.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equilearn._check import one_of, positive_int, require
from equilearn.data import OperationTable, fixed_point_split, random_split
from equilearn.kernels import imposed_features, orbit_precision_recall, symmetry_report
from equilearn.studies._study import Claim, Row, Study
from equilearn.studies._tables import answered_right, fit_table, pack_features, table_of

KERNELS = ("gaussian", "quadratic")


def configs(
    preset: str,
    seed: int,
    tables: tuple[str, ...],
    operations: tuple[str, ...],
    kernels: tuple[str, ...],
    reflections: int,
    fraction: float,
    ridge: float,
    iterations: int,
) -> list[Row]:
    """Tables x operations x kernels x some reflections each; then the same with one reflection's points held out."""
    positive_int(reflections, "reflections")
    positive_int(iterations, "iterations")
    require(0 < fraction < 1, f"fraction must lie between 0 and 1, got {fraction}.")
    for kernel in kernels:
        one_of(kernel, KERNELS, "kernel")
    grid = []
    for name in tables:
        n = table_of(name, "+").n
        for operation in operations:
            chosen = torch.linspace(0, n - 1, min(reflections, n)).round().int().tolist()
            cases = [("random", k) for k in chosen] + [("fixed points of s", chosen[-1] or 1)]
            grid += [
                {"table": name, "operation": operation, "kernel": kernel, "held_out": held_out, "reflection": k}
                for kernel in kernels
                for held_out, k in cases
            ]
    shared = {"fraction": fraction, "ridge": ridge, "iterations": iterations}
    return [{**case, **shared, "seed": seed} for case in grid]


def trial(config: dict[str, Any]) -> Row:
    """Precision and recall of the right answers against the orbit of the training set, at every iteration."""
    table = table_of(config["table"], config["operation"])
    k = table.reflection(config["reflection"])
    if config["held_out"] == "random":
        train = random_split(table, config["fraction"], torch.Generator().manual_seed(config["seed"]))
    else:
        train = fixed_point_split(table, table.reflection(0))
    swaps = table.move([k])
    precision: list[float | None] = []
    recall: list[float | None] = []

    def observe(machine: Any, outputs: Tensor) -> None:
        score = orbit_precision_recall(answered_right(outputs, table.labels), train, swaps)
        precision.append(score.precision)
        recall.append(score.recall)

    metric = imposed_features(coordinate_images(table, k))
    found = fit_table(
        table,
        train,
        config["kernel"],
        config["iterations"],
        metric=metric,
        ridge=config["ridge"],
        observe=observe,
    )
    report = symmetry_report(found.features[0], table.symmetry)
    return {
        **found.row(),
        "precision": precision,
        "recall": recall,
        "named": report.discovered.elements == (0, k),
        "features": pack_features(found.features[-1]),
    }


def coordinate_images(table: OperationTable, element: int) -> Tensor:
    """Where an element of the table's symmetry takes the 2n coordinates."""
    group = table.symmetry.group
    return table.symmetry.input.rep.permutation(group.take(group.elements(), torch.tensor([element])))  # type: ignore[attr-defined]


def claims(rows: list[Row]) -> list[Claim]:
    """The worst precision and recall over all iterations, and the repair."""
    nan = float("nan")
    gaussian = [row for row in rows if row["kernel"] == "gaussian"]
    random = [row for row in gaussian if row["held_out"] == "random"]

    def worst(name: str) -> float:
        return min((value or 0.0 for row in random for value in row[name]), default=nan)

    return [
        Claim.at_least(
            "precision", "Right answers lie in the reflection's reach (worst iteration)", worst("precision"), 1
        ),
        Claim.at_least("recall", "All entries in its reach are right (worst iteration)", worst("recall"), 1),
        Claim.at_least(
            "repair",
            "Fixed points of s held out, sr^k imposed: accuracy there at iteration 0 (worst)",
            min((row["accuracy"][0] for row in gaussian if row["held_out"] != "random"), default=nan),
            1.0,
        ),
        Claim.at_least(
            "named",
            "The report on the features names the reflection (share of trials)",
            sum(row["named"] for row in rows) / len(rows) if rows else nan,
            1.0,
        ),
    ]


STUDY = Study(
    name="imposed_features",
    title="Imposed features answer what their symmetry reaches, and nothing else",
    statement=(
        "With features that see a single reflection, a kernel machine is right on the held-out entries whose mirror "
        "image was trained on, and on no others; on the trap of another reflection it is right everywhere."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "tables": ("29",),
        "operations": ("+", "-"),
        "kernels": ("gaussian",),
        "reflections": 4,
        "fraction": 0.5,
        "ridge": 1e-3,
        "iterations": 10,
    },
    full={"tables": ("29", "Abelian(5,7)"), "kernels": KERNELS, "reflections": 29, "iterations": 30},
    plot=[
        {
            "kind": "curves",
            "x": "iteration",
            "y": [["precision", "recall"], "accuracy"],
            "series": ["operation", "kernel", "held_out"],
            "title": "Precision and recall against the reflection's reach",
        },
        {
            "kind": "matrices",
            "matrix": "features",
            "label": ["operation", "reflection", "held_out"],
            "title": "Features at the last iteration",
        },
    ],
    weight=lambda config: table_of(config["table"], config["operation"]).n ** 6 * config["iterations"],
    takes="half a minute; full: half an hour",
)
