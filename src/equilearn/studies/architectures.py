"""Which architecture knows which symmetry before it is trained: padding and heads, turns and shifts.

For kernels of infinitely wide networks on real digits: does `k(g x, g z)` equal `k(x, z)` (the network treats all
transforms alike), does `k(g x, z)` (orbits collapse: it cannot even see the transform), how much of the variance lies
within orbits, and what error follows for a class that lacks one element.

Source: Perin and Deny, On the Ability of Deep Networks to Learn Symmetries from Data, arXiv 2412.11521, its section on
equivariant architectures.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equilearn._check import one_of, positive_int
from equilearn.actions import images, shifts
from equilearn.groups import Cyclic
from equilearn.kernels import predict_symmetry_learning
from equilearn.kernels.neural import Architecture
from equilearn.studies._digit_orbits import chosen, pictures, to_norm
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetry import Symmetry

NETWORKS = {
    "MLP 1": Architecture.mlp(1),
    "MLP 2": Architecture.mlp(2),
    "MLP 5": Architecture.mlp(5),
    "CNN circular, flatten": Architecture.cnn(2),
    "CNN circular, pool": Architecture.cnn(2, pool=True),
    "CNN same, flatten": Architecture.cnn(2, padding="same"),
    "CNN same, pool": Architecture.cnn(2, padding="same", pool=True),
}
SYMMETRIES = ("turns", "shifts")
EXACT, BROKEN = 1e-6, 1e-3
"""Relative defects of a kernel: below the first it is invariant (rounding of an arc-cosine), beyond the second not."""
SIDE = 8


def configs(preset: str, seed: int, data: str, networks: tuple[str, ...], per_class: int) -> list[Row]:
    """Networks x symmetries."""
    positive_int(per_class, "per_class")
    for name in networks:
        one_of(name, NETWORKS, "network")
    pictures(data, per_class)
    return [
        {"data": data, "network": name, "symmetry": symmetry, "per_class": per_class, "seed": seed}
        for name in networks
        for symmetry in SYMMETRIES
    ]


def trial(config: dict[str, Any]) -> Row:
    """Joint and one-sided invariance, spread of the orbits, error by the number of elements."""
    x, y = pictures(config["data"])
    if x.shape[-1] != SIDE:
        x = torch.nn.functional.adaptive_avg_pool2d(x, SIDE)
    generator = torch.Generator().manual_seed(config["seed"])
    places = chosen(y, config["per_class"], generator, y.unique().tolist())
    x, y = to_norm(x[places], x[0].numel() ** 0.5), y[places]
    turned = config["symmetry"] == "turns"
    symmetry = Symmetry(Cyclic(4), input=images()) if turned else Symmetry(Cyclic(SIDE), input=shifts())
    net = NETWORKS[config["network"]]
    joint, one_sided = _defects(net, x[::3], symmetry)
    found = predict_symmetry_learning(x, y, symmetry, net)
    return {
        "joint_defect": joint,
        "one_sided_defect": one_sided,
        "spread": found.spread,
        "error": found.mean_error,
        "accuracy": found.mean_accuracy,
        "collapsed": found.collapsed,
        "elements": [step.order for step in found.growth],
        "errors": [float(step.error.mean()) for step in found.growth],
    }


def _defects(net: Architecture, x: Tensor, symmetry: Symmetry) -> tuple[float, float]:
    """How far `k(g x, g z)` and `k(g x, z)` are from `k(x, z)`, relative to it, largest over g."""
    x = x if net.head is not None else x.flatten(1)
    shape = (-1, 1, SIDE, SIDE)
    at_rest = net.ntk(x)
    joint = one_sided = 0.0
    group = symmetry.group
    for g in range(1, group.order or 1):
        moved = symmetry.input(group.take(group.elements(), g), x.reshape(shape)).reshape(x.shape)
        joint = max(joint, float((net.ntk(moved) - at_rest).norm() / at_rest.norm()))
        one_sided = max(one_sided, float((net.ntk(moved, x) - at_rest).norm() / at_rest.norm()))
    return joint, one_sided


def claims(rows: list[Row]) -> list[Claim]:
    """What the definitions say, in figures."""
    turns, shifts = ([row for row in rows if row["symmetry"] == name] for name in SYMMETRIES)
    wrapped = [row for row in shifts if "same" not in row["network"]]
    same = [row for row in shifts if "same" in row["network"]]
    collapse = [row for row in shifts if row["network"] == "CNN circular, pool"]
    rest = [row for row in rows if row not in collapse]
    return [
        Claim.at_most("turns", "Quarter turns of both images change no kernel (largest)", _top(turns), EXACT),
        Claim.at_most("shifts", "Shifts of both change none with circular padding, or dense", _top(wrapped), EXACT),
        Claim.at_least(
            "zero padding",
            "With zero padding they do (smallest relative change)",
            min((row["joint_defect"] for row in same), default=math.nan),
            BROKEN,
        ),
        Claim.at_most(
            "collapse",
            "A shift of one image changes nothing for circular padding with a pooling head",
            _top(collapse, "one_sided_defect"),
            EXACT,
        ),
        Claim.at_least(
            "no other collapse",
            "It, or a quarter turn, changes every other kernel (smallest relative change)",
            min((row["one_sided_defect"] for row in rest), default=math.nan),
            BROKEN,
        ),
        Claim.at_most("learned", "The collapsed one has no error at a missing shift", _top(collapse, "error"), 0.05),
        Claim.at_most(
            "flattening",
            "A convolution with a flattening head is no better at shifts than a dense layer (gain in error)",
            _gain(shifts),
            0.1,
        ),
    ]


def _top(rows: list[Row], name: str = "joint_defect") -> float:
    return max((row[name] for row in rows), default=math.nan)


def _gain(rows: list[Row]) -> float:
    errors = {row["network"]: row["error"] for row in rows}
    dense, flat = errors.get("MLP 2", math.nan), errors.get("CNN circular, flatten", math.nan)
    return dense - flat


_MEASURED = {
    "x": "network",
    "y": ["one_sided_defect", "spread", "error", "joint_defect"],
    "y_label": [
        "change, one image moved",
        "variance within orbits",
        "error at a missing element",
        "change, both moved",
    ],
    "caption": "Change: of the kernel k(x, z), relative to it. Error: 0 is right, from 1 on a class is wrong",
}

STUDY = Study(
    name="architectures",
    title="Which padding and which head know which symmetry",
    statement=(
        "Joint invariance comes with the architecture for almost everything and helps nothing; orbits collapse for "
        "circular padding with a pooling head under shifts, and for nothing else here."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={"data": "digits", "networks": tuple(NETWORKS), "per_class": 4},
    full={"per_class": 20},
    plot=[
        {**_MEASURED, "y": _MEASURED["y"][:3], "where": {"symmetry": "turns"}, "title": "Quarter turns"},
        {**_MEASURED, "where": {"symmetry": "shifts"}, "title": "Circular shifts"},
        {
            "kind": "curves",
            "x": "elements",
            "y": "errors",
            "x_label": "number of shifts",
            "y_label": "error at the missing shift",
            "reference": [1, "no information"],
            "series": ["network"],
            "where": {"symmetry": "shifts"},
            "title": "The error at a missing shift by the number of shifts",
        },
    ],
    weight=lambda config: 20.0 if "pool" in config["network"] else 1.0,
    takes="one minute; full: half an hour",
)
