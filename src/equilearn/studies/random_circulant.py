"""Is it the learning, or the features? A random circulant metric, learned from nothing, generalises too.

A recursive feature machine on modular addition ends with a circulant block in its metric. Draw such a block at
random, fit once with that metric, no features learned at all: the machine is right from *less* data than the one that
learns its features. Structure is what counts, and what learning takes its data for.

Source: N. Mallinar et al., Emergence in non-neural models, ICML 2025, section 5. M is indefinite: its root is taken
with negative eigenvalues at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from equilearn._check import one_of, positive_int, require
from equilearn.data import random_split
from equilearn.kernels import random_circulant_features
from equilearn.studies._study import Claim, Row, Study
from equilearn.studies._tables import fit_table, pack_features, table_of

FEATURES = ("random circulant", "identity", "learned")
KERNELS = ("gaussian", "quadratic")
SIXTY_ONE = {("gaussian", 0.2): 0.24, ("gaussian", 0.3): 0.82, ("gaussian", 0.5): 1.0}
"""Accuracies measured before for p = 61, by kernel and training fraction, mean of three."""


def configs(
    preset: str,
    seed: int,
    p: int,
    fractions: tuple[float, ...],
    kernels: tuple[str, ...],
    learned: tuple[float, ...],
    iterations: int,
    repeats: int,
) -> list[Row]:
    """Kernels x features x fractions x repeats; features are learned (slower) at the fractions `learned` only."""
    table_of(str(positive_int(p, "p", 2)), "+")
    positive_int(iterations, "iterations")
    for kernel in kernels:
        one_of(kernel, KERNELS, "kernel")
    for fraction in (*fractions, *learned):
        require(0 < fraction < 1, f"Each training fraction must lie between 0 and 1, got {fraction}.")
    return [
        {
            "p": p,
            "kernel": kernel,
            "features": features,
            "fraction": fraction,
            "iterations": iterations if features == "learned" else 0,
            "seed": seed * 1000 + repeat,
        }
        for kernel in kernels
        for features in FEATURES
        for fraction in (learned if features == "learned" else fractions)
        for repeat in range(positive_int(repeats, "repeats"))
    ]


def trial(config: dict[str, Any]) -> Row:
    """Accuracy on the other entries of the table."""
    table = table_of(str(config["p"]), "+")
    generator = torch.Generator().manual_seed(config["seed"])
    train = random_split(table, config["fraction"], generator)
    metric = None
    if config["features"] == "random circulant":
        metric = random_circulant_features(table.group, generator=generator)
    found = fit_table(table, train, config["kernel"], config["iterations"], metric=metric)
    shown = config["seed"] % 1000 == 0 and metric is not None and config["fraction"] == 0.5
    return {"accuracy": found.accuracy[-1], "best": max(found.accuracy)} | (
        {"matrix": pack_features(metric)} if shown and metric is not None else {}
    )


def claims(rows: list[Row]) -> list[Claim]:
    """One solve with random circulant features does what learning does with less, and what the identity never does."""
    nan = float("nan")

    def mean(features: str, fraction: float, kernel: str = "gaussian") -> float:
        key = {"features": features, "fraction": fraction, "kernel": kernel}
        found = [row["accuracy"] for row in rows if all(row[name] == value for name, value in key.items())]
        return sum(found) / len(found) if found else nan

    fractions = sorted({row["fraction"] for row in rows if row["features"] == "random circulant"})
    learned = sorted({row["fraction"] for row in rows if row["features"] == "learned"})
    most = fractions[-1] if fractions else nan
    gains = [mean("random circulant", f) - mean("learned", f) for f in learned if f in fractions]
    found = [
        Claim.at_least(
            "one solve",
            f"One solve with random circulant features, {most:.0%} of the table: accuracy (Gaussian)",
            mean("random circulant", most),
            0.99,
        ),
        Claim.at_most(
            "identity",
            f"One solve with the identity, {most:.0%} of the table: accuracy (Gaussian)",
            mean("identity", most),
            0.05,
        ),
        Claim.at_least(
            "less data",
            "At the smaller fractions, random circulant features are ahead of learned ones by (smallest, Gaussian)",
            min(gains, default=nan),
            0.1,
        ),
    ]
    for (kernel, fraction), accuracy in SIXTY_ONE.items():
        if any(row["p"] == 61 and row["fraction"] == fraction for row in rows):
            said = f"p = 61, {fraction:.0%} of the table, {kernel}: accuracy of one solve"
            value = mean("random circulant", fraction, kernel)
            found.append(Claim.between(f"p 61, {fraction:g}", said, value, accuracy - 0.12, min(accuracy + 0.12, 1)))
    return found


def _weight(config: Mapping[str, Any]) -> float:
    return float((config["fraction"] * config["p"] ** 2) ** 3 * (config["iterations"] + 1))


STUDY = Study(
    name="random_circulant",
    title="Random circulant features need less data than learned ones",
    statement=(
        "A kernel machine whose metric is a random circulant matrix learns modular addition in one solve, from fewer "
        "entries of the table than one that learns its metric."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "p": 61,
        "fractions": (0.2, 0.3, 0.4, 0.5),
        "kernels": KERNELS,
        "learned": (0.3,),
        "iterations": 10,
        "repeats": 3,
    },
    full={
        "fractions": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
        "learned": (0.2, 0.3, 0.4, 0.5),
        "iterations": 30,
        "repeats": 5,
    },
    plot=[
        {"x": "fraction", "y": "accuracy", "series": ["features", "kernel"], "title": "Accuracy against training data"},
        {"kind": "matrices", "matrix": "matrix", "label": "kernel", "title": "A random circulant metric"},
    ],
    weight=_weight,
    takes="one to two minutes; full: half an hour",
)
