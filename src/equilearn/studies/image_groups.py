"""Groups that do not commute, on real images: a class seen turned but never mirrored, panels never swapped.

The square's group D4 acts exactly on 8 x 8 pixels; S3 permutes three panels with an image each, and the class is which
digits are there, in whatever order. Errors of
missing points come from the blocks of the irreducible representations and from a direct solution for all points; with
one element missing, with a whole coset of the turns missing for one class (its mirror images, the odd permutations),
and with points missing at random. Then networks are trained without a coset, class by
class: a wide one as the theory has it, and an ordinary one.

Source: the formula of arXiv 2412.11521 for two orbits of a cyclic group, carried over to any finite group.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, one_of, positive_int
from equilearn.actions import images, sets
from equilearn.groups import Dihedral, Symmetric
from equilearn.kernels import kappa_from_gram, leave_sets_out, orbit_inverse, orbit_kernel
from equilearn.kernels.neural import Architecture, finite_network
from equilearn.studies._digit_orbits import (
    chosen,
    class_errors,
    pictures,
    share_right,
    spearman,
    to_norm,
    trained_without,
)
from equilearn.studies._snapshots import pack_matrix
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetry import Symmetry
from equilearn.training import fit

GROUPS = ("D4", "S3")
KERNEL = Architecture.mlp(2)
TRAININGS = ("ordinary", "wide")
"""An MLP as one trains it, on cross-entropy; and what the theory is of: a wide one in the NTK parametrisation, on
squared error to one-vs-rest targets."""
RIDGES = (0.0, 1e-3)
"""Relative to the mean k(x, x)."""
PANELS, WIDTH = 3, 512
STEPS = (0, 1, 3)
"""Class c of the panels shows the digits c, c + 1, c + 3 modulo the number of classes: no two share three digits."""


def configs(
    preset: str,
    seed: int,
    data: str,
    groups: tuple[str, ...],
    per_class: int,
    trained_per_class: int,
    steps: int,
    repeats: int,
) -> list[Row]:
    """Groups x ridges for the formula; groups x repeats of the comparison with trained networks."""
    for count in (per_class, trained_per_class, steps):
        positive_int(count, "Each of per_class, trained_per_class and steps")
    positive_int(repeats, "repeats", 0)
    for name in groups:
        one_of(name, GROUPS, "group of this study")
    pictures(data, max(per_class, trained_per_class) * (PANELS if "S3" in groups else 1))
    common = {"data": data, "seed": seed}
    formula = [
        {**common, "part": "formula", "group": name, "ridge": ridge, "per_class": per_class}
        for name in groups
        for ridge in RIDGES
    ]
    trained = [
        {**common, "part": "trained", "group": name, "per_class": trained_per_class, "steps": steps, "repeat": repeat}
        | {"training": training}
        for name in groups
        for training in TRAININGS
        for repeat in range(repeats)
    ]
    return formula + trained


def trial(config: dict[str, Any]) -> Row:
    """Blocks against a direct solution, or prediction against training."""
    generator = torch.Generator().manual_seed(config["seed"])
    x, labels, symmetry = seeds_of(config["data"], config["group"], config["per_class"], generator)
    part = _formula if config["part"] == "formula" else _trained
    return part(x, labels, symmetry, config, generator)


def seeds_of(data: str, group: str, per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Symmetry]:
    """Images for D4; for S3 three images side by side, `(m, 3, D)`."""
    x, y = pictures(data)
    classes = y.unique().tolist()
    if group == "D4":
        places = chosen(y, per_class, generator, classes)
        return _scaled(x[places]), y[places], Symmetry(Dihedral(4), input=images())
    places = chosen(y, PANELS * per_class, generator, classes).reshape(len(classes), PANELS, per_class)
    rows = torch.arange(len(classes))
    panels = torch.stack([places[(rows + step) % len(classes), k] for k, step in enumerate(STEPS)], -1)
    labels = rows.repeat_interleave(per_class)
    return _scaled(x[panels.flatten(0, 1)].flatten(2)), labels, Symmetry(Symmetric(PANELS), input=sets(PANELS))


def _scaled(x: Tensor) -> Tensor:
    return to_norm(x, x[0].numel() ** 0.5)


def odd_elements(symmetry: Symmetry) -> Tensor:
    """The coset of the turns: mirror images, odd permutations, `(order,)`."""
    group = symmetry.group
    if isinstance(group, Dihedral):
        return torch.linalg.det(group.plane_matrix(group.elements())) < 0
    if isinstance(group, Symmetric):
        matrices = nn.functional.one_hot(group.elements()).double()
        return torch.linalg.det(matrices) < 0
    raise InputError(f"{group} is not a group of this study.")


def _formula(x: Tensor, y: Tensor, symmetry: Symmetry, config: dict[str, Any], generator: torch.Generator) -> Row:
    """All residuals by blocks and directly, for three kinds of training sets."""
    group = symmetry.group
    points = symmetry.input.orbit(group.elements(), x).transpose(0, 1)  # (m, order, ...)
    m, order = points.shape[:2]
    gram = KERNEL.ntk(points.flatten(0, 1).flatten(1))
    gram = gram / gram.diagonal().mean()
    layout = torch.arange(m * order).reshape(m, order)
    inverse = orbit_inverse(kappa_from_gram(gram, group, layout), group, ridge=config["ridge"])
    targets = 2 * nn.functional.one_hot(y).double() - 1
    classes, odd = y.unique().tolist(), odd_elements(symmetry)
    cases = {"one element": [], "coset": [], "at random": []}
    for c in classes:
        for kind, elements in (("one element", torch.arange(order) == 0), ("coset", odd)):
            held_out = (y == c)[:, None] & elements
            cases[kind].append(held_out)
    cases["at random"].append(torch.rand(m, order, generator=generator) < 0.2)
    off, table = {}, torch.zeros(len(classes), 2, dtype=torch.float64)
    for kind, sets_out in cases.items():
        direct = leave_sets_out(
            gram, targets.repeat_interleave(order, 0), [h.flatten() for h in sets_out], ridge=config["ridge"]
        )
        worst = 0.0
        for c, (held_out, residual) in enumerate(zip(sets_out, direct, strict=True)):
            found = inverse.without(targets, held_out)
            worst = max(worst, float((found.residual - residual).abs().max()))
            if kind != "at random":
                errors = class_errors(targets[found.seed] - found.residual, y[found.seed])
                table[c, int(kind == "coset")] = errors.mean()
        off[kind] = worst
    spectrum = inverse.spectrum()
    return {
        "off_one": off["one element"],
        "off_coset": off["coset"],
        "off_random": off["at random"],
        "error": float(table[:, 1].mean()),
        "map": pack_matrix(table - 1),
        "classes": classes,
        "missing": ["one", "half"],
        "irrep": list(range(len(spectrum))),
        "dimension": [share.dim for share in spectrum],
        "inverse": [share.inverse for share in spectrum],
    }


def _trained(x: Tensor, y: Tensor, symmetry: Symmetry, config: dict[str, Any], generator: torch.Generator) -> Row:
    """Each class in turn lacks the coset: the share of its missing points that is right, predicted and trained."""
    group = symmetry.group
    orbits = symmetry.input.orbit(group.elements(), x)
    kernel = orbit_kernel(lambda a, b: KERNEL.ntk(a.flatten(1), b.flatten(1)), orbits, group)
    kappa = kernel.kappa / kernel.kappa[..., 0].diagonal().mean()
    inverse = orbit_inverse(kappa, group, ridge=1e-6)
    targets, odd = 2 * nn.functional.one_hot(y).double() - 1, odd_elements(symmetry)
    classes = y.unique().tolist()
    points = orbits.flatten(2).float()
    predicted, trained, seen = [], [], []
    for c in classes:
        held_out = (y == c)[:, None] & odd
        found = inverse.without(targets, held_out)
        errors = class_errors(targets[found.seed] - found.residual, y[found.seed])
        predicted.append(float((errors < 1).double().mean()))
        model = _fit(points, y, held_out.mT, len(classes), config)
        trained.append(share_right(model, points[held_out.mT], y.expand(len(points), -1)[held_out.mT]))
        shown = ~held_out.mT
        seen.append(share_right(model, points[shown], y.expand(len(points), -1)[shown]))
    return {"predicted": predicted, "trained": trained, "fitted": min(seen), "classes": classes}


def _fit(points: Tensor, y: Tensor, held_out: Tensor, classes: int, config: dict[str, Any]) -> nn.Module:
    """A trained network; `points` is `(order, m, D)`, `held_out` `(order, m)`."""
    features, seed = points.shape[-1], 1000 * config["seed"] + 10 * config["repeat"] + 1
    if config["training"] == "ordinary":
        model = _mlp(features, classes, seed)
        scaled = nn.Sequential(Scaled(9.0 / features**0.5), model)
        return trained_without(scaled, points, y, held_out, steps=config["steps"], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    model = finite_network(KERNEL, (features,), WIDTH, outputs=classes, generator=generator, dtype=torch.float32)
    seen = ~held_out.flatten()
    targets = 2 * nn.functional.one_hot(y, classes).float() - 1
    targets = targets.expand(len(points), -1, -1).flatten(0, 1)[seen]
    x = points.flatten(0, 1)[seen]
    fit(
        model,
        x,
        targets,
        loss="mse",
        steps=config["steps"],
        batch_size=256,
        learning_rate=1e-2,
        weight_decay=0.0,
        clip=None,
        seed=seed,
    )
    return model


class Scaled(nn.Module):
    """Inputs times a number."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def _mlp(features: int, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = [nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, classes))


def claims(rows: list[Row]) -> list[Claim]:
    """The blocks are exact; the ranks of classes, predicted and trained."""
    formula = [row for row in rows if row["part"] == "formula"]
    kinds = {"off_one": "one element missing", "off_coset": "a coset missing", "off_random": "points missing at random"}
    found = [
        Claim.at_most(
            said,
            f"Residuals by blocks against a direct solution, {said} (largest difference over groups and ridges)",
            max((row[name] for row in formula), default=math.nan),
            1e-10,
        )
        for name, said in kinds.items()
    ]
    trained = [row for row in rows if row["part"] == "trained"]
    for group, training in dict.fromkeys((row["group"], row["training"]) for row in trained):
        mine = [row for row in trained if (row["group"], row["training"]) == (group, training)]
        measured = [sum(values) / len(values) for values in zip(*(row["trained"] for row in mine), strict=True)]
        predicted = mine[0]["predicted"]
        off = sum(abs(a - b) for a, b in zip(predicted, measured, strict=True)) / len(measured)
        said = (
            f"{group}, {training}: Spearman of predicted and trained accuracy, ten classes, on what they lack "
            f"(predicted {_mean(predicted):.2f}, trained {_mean(measured):.2f}, off by {off:.2f})"
        )
        found.append(Claim.at_least(f"{training}, {group}", said, spearman(predicted, measured), 0.8))
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


STUDY = Study(
    name="image_groups",
    title="Seen turned, never mirrored: exact predictions for groups that do not commute",
    statement=(
        "The blocks of the irreducible representations give the error at any missing points of orbits under D4 and S3 "
        "to rounding, and rank classes as trained networks do."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "data": "digits",
        "groups": GROUPS,
        "per_class": 10,
        "trained_per_class": 20,
        "steps": 300,
        "repeats": 1,
    },
    full={"per_class": 20, "trained_per_class": 50, "steps": 2000, "repeats": 3},
    plot=[
        {
            "kind": "scatter",
            "x": "predicted",
            "y": "trained",
            "series": ["group", "training"],
            "where": {"part": "trained"},
            "identity": True,
            "x_label": "predicted share of the missing images right",
            "y_label": "share right once trained",
            "title": "Trained against predicted accuracy on the missing coset, one point a class and training",
        },
        {
            "kind": "scatter",
            "x": "irrep",
            "y": "inverse",
            "series": ["group"],
            "where": {"part": "formula", "ridge": 0.0},
            "logy": True,
            "x_label": "irreducible representation",
            "y_label": "1 / eigenvalue, mean over the block",
            "title": "The inverse spectrum by irreducible representation; the labels lie in the trivial one, 0",
        },
        {
            "kind": "matrices",
            "matrix": "map",
            "label": "group",
            "rows": "classes",
            "columns": "missing",
            "where": {"part": "formula", "ridge": 0.0},
            "title": "Ten classes (rows) that lack one element, or half of them (columns): error less 1",
            "caption": "Below 0 a missing image is on average given to its class. Half: all mirror images, all odd "
            "permutations",
        },
    ],
    weight=lambda config: 1.0 if config["part"] == "formula" else 10.0,
    takes="one minute; full: ten minutes",
)
