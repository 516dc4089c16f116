"""Ten digits, one of them never seen upright: what the kernel predicts and what trained networks do.

Every image is turned by the N multiples of 360 / N degrees and all of it is shown in training, but for one digit at one
angle. The neural tangent kernel says, digit by digit, how many of the missing images a network will recognise; an MLP
is then trained on cross-entropy, in the ordinary way, and asked. Networks differ from one training to the next: how
well one training predicts another bounds what a theory can do. Second part: MLP, CNN and a small transformer, without
one digit at one angle, as angles get dense.

Source: Perin and Deny, On the Ability of Deep Networks to Learn Symmetries from Data, arXiv 2412.11521 (its first
figure and its section on several classes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from equilearn._check import one_of, positive_int
from equilearn.actions import images as image_action
from equilearn.groups import Cyclic
from equilearn.kernels import predict_symmetry_learning
from equilearn.kernels.neural import Architecture
from equilearn.studies._digit_orbits import (
    NETWORKS,
    chosen,
    fewest,
    known_class,
    network,
    pictures,
    share_right,
    spearman,
    to_norm,
    trained_without,
    with_room,
)
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetry import Symmetry

KERNEL = Architecture.mlp(2)
NORM = 9.0
"""Of an image for training, about that of MNIST's pixels in [0, 1]; the kernel takes pixels of mean square 1."""
FEW_ANGLES, MANY_ANGLES = 2, 32
"""Up to, and from, which the claims on one digit are meant."""
UNSEEN_IMAGES = 30
"""Further images of each class, for the accuracy on new images at angles that were seen."""


def configs(
    preset: str,
    seed: int,
    data: str,
    per_class: int,
    steps: int,
    repeats: int,
    orders: tuple[int, ...],
    networks: tuple[str, ...],
    angles: tuple[int, ...],
    digit: int,
    angle_repeats: int,
    angle_steps: int,
    batch_size: int,
) -> list[Row]:
    """Orders x repeats of the comparison on all digits; networks x angles x angle_repeats on one digit."""
    for count in (per_class, steps, repeats, angle_repeats, angle_steps, batch_size):
        positive_int(count, "Each of per_class, steps, repeats, angle_repeats, angle_steps and batch_size")
    for order in (*orders, *angles):
        positive_int(order, "The number of angles", 2)
    for name in networks:
        one_of(name, NETWORKS, "network")
    x, y = pictures(data, per_class + 1)
    known_class(digit, y, data)
    if "ViT" in networks:
        network("ViT", with_room(x[:1]).shape[-1], len(y.unique()), 0)
    common = {"data": data, "per_class": per_class, "batch_size": batch_size, "seed": seed}
    every = [
        {
            **common,
            "part": "all digits",
            "network": "MLP",
            "order": order,
            "steps": steps,
            "repeat": repeat,
            "digit": None,
        }
        for order in orders
        for repeat in range(repeats)
    ]
    one = [
        {
            **common,
            "part": "one digit",
            "network": name,
            "order": order,
            "steps": angle_steps,
            "repeat": repeat,
            "digit": digit,
        }
        for name in networks
        for order in angles
        for repeat in range(angle_repeats)
    ]
    return every + one


def trial(config: dict[str, Any]) -> Row:
    """Accuracy on the missing images and on new ones; for all digits with the prediction of the kernel."""
    x, y = pictures(config["data"])
    x = with_room(x)
    generator = torch.Generator().manual_seed(config["seed"])
    wanted = config["per_class"]
    classes = y.unique().tolist()
    room = min(UNSEEN_IMAGES, fewest(y) - wanted)
    places = chosen(y, wanted + room, generator, classes).reshape(len(classes), -1)
    seeds, others = places[:, :wanted].flatten(), places[:, wanted:].flatten()
    symmetry = Symmetry(Cyclic(config["order"]), input=image_action())
    labels, rest = y[seeds], y[others]
    orbits, others_turned = (_orbits(symmetry, x[index]) for index in (seeds, others))
    found: Row = {}
    targets = classes
    if config["digit"] is None:
        scaled = to_norm(x[seeds], x.shape[-1])
        found = _predicted(scaled, labels, symmetry)
    else:
        targets = [config["digit"]]
    new, unseen = [], []
    for digit in targets:
        held_out = torch.zeros(orbits.shape[:2], dtype=torch.bool)
        held_out[0] = labels == digit
        seed = 1000 * config["seed"] + 10 * config["repeat"] + 1
        model = network(config["network"], x.shape[-1], len(classes), seed)
        training = {"steps": config["steps"], "batch_size": config["batch_size"], "seed": seed}
        trained_without(model, orbits, labels, held_out, **training)
        unseen.append(share_right(model, orbits[0, labels == digit], labels[labels == digit]))
        seen = torch.ones(others_turned.shape[:2], dtype=torch.bool)
        seen[0] = rest != digit
        new.append(share_right(model, others_turned[seen], rest.expand(len(seen), -1)[seen]))
    if config["digit"] is None:
        return {**found, "trained": unseen, "in_distribution": sum(new) / len(new), "classes": classes}
    return {"unseen": unseen[0], "in_distribution": new[0]}


def _orbits(symmetry: Symmetry, x: Tensor) -> Tensor:
    return symmetry.input.orbit(symmetry.group.elements(), to_norm(x, NORM)).float()


def _predicted(x: Tensor, labels: Tensor, symmetry: Symmetry) -> Row:
    found = predict_symmetry_learning(x, labels, symmetry, KERNEL)
    return {
        "predicted": found.class_accuracy.tolist(),
        "error": found.class_error.tolist(),
        "signal": found.signal.tolist(),
        "density": found.density.tolist(),
    }


def claims(rows: list[Row]) -> list[Claim]:
    """Ranks of classes, predicted and measured; the rise of trained networks on one digit."""
    every = [row for row in rows if row["part"] == "all digits"]
    orders = sorted({row["order"] for row in every})
    ceiling = _ceiling(every, orders)
    found = [
        Claim.at_least(
            "all digits",
            f"Spearman of predicted and trained accuracy, digits and numbers of angles together, mean of trainings "
            f"(of one training with another: {ceiling:.2f})",
            _agreement(every, orders),
            0.8,
        )
    ]
    for order in orders:
        said = f"The same among digits at {order} angles (of one training with another: {_ceiling(every, [order]):.2f})"
        found.append(Claim.at_least(f"{order} angles", said, _agreement(every, [order]), 0.6))
    one = [row for row in rows if row["part"] == "one digit"]
    for name in NETWORKS[:2]:
        mine = [row for row in one if row["network"] == name]
        if not mine:
            continue
        few, many = (pick(row["order"] for row in mine) for pick in (min, max))
        low, high = (_mean([row["unseen"] for row in mine if row["order"] == n]) for n in (few, many))
        known = _mean([row["in_distribution"] for row in mine if row["order"] == few])
        low, high = low if few <= FEW_ANGLES else math.nan, high if many >= MANY_ANGLES else math.nan
        found += [
            Claim.at_most(
                f"{name}, few angles",
                f"{name}: accuracy on one digit at the angle that it lacks, {few} angles (new images at seen angles: "
                f"{known:.2f})",
                low,
                0.2,
            ),
            Claim.at_least(f"{name}, many angles", f"{name}: the same with {many} angles", high, 0.9),
        ]
    return found


def _agreement(rows: list[Row], orders: list[int]) -> float:
    """Of the kernel with the mean over trainings."""
    predicted: list[float] = []
    measured: list[float] = []
    for order in orders:
        mine = [row for row in rows if row["order"] == order]
        predicted += mine[0]["predicted"]
        measured += [_mean(list(values)) for values in zip(*(row["trained"] for row in mine), strict=True)]
    return spearman(predicted, measured)


def _ceiling(rows: list[Row], orders: list[int]) -> float:
    """Of one training with another, mean over pairs."""
    runs: dict[int, list[float]] = {}
    for order in orders:
        for row in rows:
            if row["order"] == order:
                runs.setdefault(row["repeat"], []).extend(row["trained"])
    whole = [values for values in runs.values() if len(values) == max(map(len, runs.values()))]
    return _mean([spearman(a, b) for a, b in combinations(whole, 2)])


def _mean(values: Sequence[float | None]) -> float:
    """Of those that are there: a figure that is not a number comes out of a store as None."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else math.nan


def _weight(config: Mapping[str, Any]) -> float:
    cost = {"MLP": 1.0, "CNN": 8.0, "ViT": 12.0}[config["network"]]
    return cost * (10 if config["digit"] is None else 1) * config["steps"] + 100 * config["order"] ** 2


STUDY = Study(
    name="rotated_networks",
    title="The kernel predicts which digits a trained network will not recognise at an unseen angle",
    statement=(
        "Before any training, the neural tangent kernel ranks ten digits by how well a network will recognise them at "
        "an angle that it was not shown; MLP, CNN and transformer fail with few angles and succeed with many."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "data": "digits",
        "per_class": 60,
        "steps": 400,
        "repeats": 2,
        "orders": (2, 8),
        "networks": NETWORKS,
        "angles": (2, 8, 32),
        "digit": 7,
        "angle_repeats": 1,
        "angle_steps": 800,
        "batch_size": 64,
    },
    full={
        "per_class": 100,
        "steps": 2000,
        "repeats": 3,
        "digit": 5,
        "angle_repeats": 3,
        "angle_steps": 2000,
        "batch_size": 128,
    },
    plot=[
        {
            "kind": "scatter",
            "x": "predicted",
            "y": "trained",
            "series": ["order"],
            "where": {"part": "all digits"},
            "identity": True,
            "x_label": "predicted share of the missing images right",
            "y_label": "share right once trained",
            "title": "Trained against predicted accuracy, one point a digit and training",
            "caption": "By the number of angles (order)",
        },
        {
            "x": "order",
            "y": [["unseen", "in_distribution"]],
            "series": ["network"],
            "where": {"part": "one digit"},
            "logx": True,
            "x_label": "number of angles",
            "y_label": "accuracy",
            "title": "One digit at the angle that it lacks, by the number of angles",
            "caption": "In distribution: new images at angles that were seen",
        },
    ],
    weight=_weight,
    takes="two minutes; full, on MNIST: an hour",
)
