"""Does the trap exist for tables of groups that do not commute? A question of ours: nobody has said.

In an abelian table a reflection swaps the two slots and keeps the product. Where a b is not b a there is none: the maps
of the two slots that keep the product are the shifts (a, b) -> (a x^-1, x b), and these fix no entry. Three kinds of
training sets remain to be tried, each beside a random one of the same size:

* `closed`: whole orbits of the shift by one element x, held out at random; a shift is invisible in the product. Then
  the same with a few entries moved to the test set, which breaks the symmetry.
* `inverted`: the fixed points of (a, b) -> (b^-1 y, y a^-1) held out, y an involution that does not commute with all:
  a reflection of the table that moves products to their inverses.

What was seen, on the groups of the quick preset first and then on others: a set closed under a shift is a trap where
the powers of x hold three or more elements that commute with all; shifts without such powers cost nothing. The
inverting reflection is a trap throughout. Why the center decides, we do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from equilearn._check import one_of, positive_int, require
from equilearn.data import OperationTable, move_random, orbit_closed_split, random_split
from equilearn.groups import center, element_orders, fixed_points, parse, subgroup
from equilearn.studies._study import Claim, Row, Study
from equilearn.studies._tables import fit_table, table_of

SPLITS = ("random", "closed", "moved", "inverted", "random, few held out")
LEARNED = 0.5
"""Accuracy of random training sets from which on a table counts as learned at all."""
HALF = 0.5
"""Share of that accuracy which counts as kept, or lost."""
CENTRAL = 3
"""Central powers of a shift that make a trap."""


def configs(
    preset: str,
    seed: int,
    groups: tuple[str, ...],
    fraction: float,
    moved: int,
    iterations: int,
    repeats: int,
) -> list[Row]:
    """Groups x kinds of shifts (their order, and whether they are central) x training sets x repeats."""
    require(0 < fraction < 1, f"fraction must lie between 0 and 1, got {fraction}.")
    positive_int(moved, "moved")
    positive_int(iterations, "iterations")
    grid = []
    for name in groups:
        grid.append({"group": name, "split": "random", "shift": 0})
        for shift in kinds_of_shifts(name):
            grid += [{"group": name, "split": split, "shift": shift} for split in ("closed", "moved")]
        if _involution(name) is not None:
            grid += [{"group": name, "split": split, "shift": 0} for split in ("inverted", "random, few held out")]
    shared = {"fraction": fraction, "moved": moved, "iterations": iterations}
    return [
        {**case, **shared, "seed": seed * 1000 + repeat}
        for case in grid
        for repeat in range(positive_int(repeats, "repeats"))
    ]


def kinds_of_shifts(name: str) -> list[int]:
    """The first element of each order, central and not, without the identity; at least two orbits must be left."""
    group = parse(name)
    orders, central = element_orders(group).tolist(), set(center(group).tolist())
    kinds: dict[tuple[int, bool], int] = {}
    for element in range(1, len(orders)):
        kinds.setdefault((orders[element], element in central), element)
    return list(kinds.values())


def _involution(name: str) -> int | None:
    """The first element of order 2 that does not commute with all others."""
    group = parse(name)
    orders, central = element_orders(group).tolist(), set(center(group).tolist())
    return next((g for g, order in enumerate(orders) if order == 2 and g not in central), None)


def trial(config: dict[str, Any]) -> Row:
    """The accuracy on the held-out entries over the iterations, Gaussian kernel."""
    table = table_of(config["group"], "*")
    train = training_set(table, config)
    found = fit_table(table, train, "gaussian", config["iterations"])
    shift = config["shift"]
    return {
        "commutative": table.group.is_abelian,
        "order": int(element_orders(table.group)[shift]),
        "central_powers": _central_powers(table, shift),
        "held_out": int((~train).sum()),
        **found.row(),
    }


def _central_powers(table: OperationTable, shift: int) -> int:
    """How many powers of an element commute with all of its group, the identity among them."""
    group = table.group
    powers = subgroup(group, group.take(group.elements(), torch.tensor([shift])))
    return int(torch.isin(powers, center(group)).sum())


def training_set(table: OperationTable, config: Mapping[str, Any]) -> Bool[Tensor, " N"]:
    """The mask of the training entries of a case."""
    split = one_of(config["split"], SPLITS, "split")
    generator = torch.Generator().manual_seed(config["seed"])
    if split == "random":
        return random_split(table, config["fraction"], generator)
    if split in ("closed", "moved"):
        train = orbit_closed_split(table, [config["shift"]], config["fraction"], generator)
        return train if split == "closed" else move_random(table, train, config["moved"], generator)
    inverted = ~fixed_points(_inverting(table, config["group"]))
    return inverted if split == "inverted" else random_split(table, float(inverted.double().mean()), generator)


def _inverting(table: OperationTable, name: str) -> Tensor:
    """What (a, b) -> (b^-1 y, y a^-1) does to the points, for the involution y."""
    points, _ = table.equivariance(swap=True)
    (middle,) = table.move([_involution(name) or 0])
    return middle[points]


def claims(rows: list[Row]) -> list[Claim]:
    """Accuracies as shares of those of random training sets, on the tables that these learn."""
    nan = float("nan")
    random = {key[0]: value for key, value in _means(rows, "random").items() if value >= LEARNED}
    few = _means(rows, "random, few held out")

    def shares(split: str) -> dict[tuple[str, int], float]:
        return {key: value / random[key[0]] for key, value in _means(rows, split).items() if key[0] in random}

    closed, moved = shares("closed"), shares("moved")
    powers = {(row["group"], row["shift"]): row["central_powers"] for row in rows}
    kept = {key: value for key, value in closed.items() if powers[key] < CENTRAL}
    lost = {key: value for key, value in closed.items() if powers[key] >= CENTRAL}
    restored = [moved[key] >= HALF for key in lost if key in moved]
    inverted = {key: value for key, value in _means(rows, "inverted").items() if key[0] in random}
    return [
        Claim.at_most(
            "central shifts",
            "Training set closed under a shift with three or more central powers: share of the accuracy of a random "
            "set (largest)",
            max(lost.values(), default=nan),
            HALF,
        ),
        Claim.at_least(
            "other shifts",
            "Closed under any other shift: share of the accuracy of a random set (smallest)",
            min(kept.values(), default=nan),
            HALF,
        ),
        Claim.at_least(
            "repaired",
            "Of the shifts that cost it, those for which moving a few entries restores half (share)",
            sum(restored) / len(restored) if restored else nan,
            0.75,
        ),
        Claim.at_most(
            "inverted",
            "Fixed points of an inverting reflection held out: accuracy (largest)",
            max(inverted.values(), default=nan),
            0.05,
        ),
        Claim.at_least(
            "as many at random",
            "As many entries held out at random: accuracy (smallest)",
            min((few[key] for key in inverted if key in few), default=nan),
            0.9,
        ),
    ]


def _means(rows: list[Row], split: str) -> dict[tuple[str, int], float]:
    """Accuracy at the last iteration of one kind of training set, mean over seeds, by group and shift."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row["split"] == split:
            found.setdefault((row["group"], row["shift"]), []).append(row["last"])
    return {key: sum(values) / len(values) for key, values in found.items()}


STUDY = Study(
    name="nonabelian",
    title="The symmetry trap in tables of groups that do not commute",
    statement=(
        "Tables of groups that do not commute have no reflection that keeps products. Closing the training set under a "
        "shift, or holding out what an inverting reflection fixes: which of these are traps?"
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={"groups": ("C24", "Q8xC3", "S3xC5"), "fraction": 0.8, "moved": 5, "iterations": 30, "repeats": 1},
    full={
        "groups": ("C24", "C30", "Q8xC3", "D4xC3", "S3xC4", "S3xC5", "S3xC7", "D15", "S4", "A4xC3"),
        "iterations": 40,
        "repeats": 5,
    },
    plot=[
        {
            "kind": "curves",
            "x": "iteration",
            "y": ["accuracy"],
            "series": ["split", "order"],
            "where": {"group": ["Q8xC3"]},
            "title": "Q8 x C3: training sets closed under a shift, by its order",
        },
        {
            "kind": "curves",
            "x": "iteration",
            "y": ["accuracy"],
            "series": ["group"],
            "where": {"split": ["random"]},
            "title": "Random training sets",
        },
    ],
    weight=lambda config: float((parse(config["group"]).order or 1) ** 6),
    takes="one to two minutes; full: an hour",
)
