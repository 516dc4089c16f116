"""Circular shifts: a head that pools makes one point of every orbit, one that flattens helps nothing.

Convolutions with circular padding commute with circular shifts. With a flattening head the kernel of the network is
unchanged when both images are shifted, no more; averaging over all pixels makes it invariant when one of them is, so
that the orbits collapse and nothing has to be learned. First the kernels of infinitely wide networks on pairs of
images; then networks that are trained on all shifts of ten digits but one shift of one digit.

Source: Perin and Deny, On the Ability of Deep Networks to Learn Symmetries from Data, arXiv 2412.11521, its section on
equivariant architectures.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, positive_int
from equilearn.groups import Cyclic
from equilearn.kernels import kappa_from_gram, leave_one_out, orbit_inverse, orbit_spread
from equilearn.kernels.neural import Architecture, shift_kappa
from equilearn.studies._digit_orbits import (
    chosen,
    fewest,
    known_class,
    pictures,
    share_right,
    to_norm,
    trained_without,
)
from equilearn.studies._study import Claim, Row, Study

HEADS = ("flatten", "pool")
RIDGE = 1e-8
"""Relative to the mean k(x, x): without one, the kernel of a collapsed orbit has no inverse."""
TARGETS = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
RATE = {"batch_size": 64, "learning_rate": 3e-3}
CHANNELS = 24
ALL = (0,)
"""Orders, for all that divide the width."""
LARGEST = 16
"""Pixels a side beyond which images are taken at half the size."""


def configs(
    preset: str,
    seed: int,
    data: str,
    pairs: int,
    orders: tuple[int, ...],
    trained_orders: tuple[int, ...],
    digit: int,
    per_class: int,
    steps: int,
    repeats: int,
) -> list[Row]:
    """Heads x numbers of shifts, for kernels and for trained networks; 0 stands for all that divide the width, but for
    training by single pixels."""
    for count in (pairs, per_class, steps, repeats):
        positive_int(count, "Each of pairs, per_class, steps and repeats")
    x, y = pictures(data, per_class + 1)
    known_class(digit, y, data)
    width = _small(x[:1]).shape[-1]
    divisors = tuple(n for n in range(2, width + 1) if width % n == 0)
    orders, trained_orders = _orders(orders, divisors, width), _orders(trained_orders, divisors[:-1], width)
    common = {"data": data, "seed": seed}
    kernels = [
        {**common, "part": "kernel", "head": head, "order": order, "pairs": pairs} for head in HEADS for order in orders
    ]
    networks = [
        {
            **common,
            "part": "trained",
            "head": head,
            "order": order,
            "digit": digit,
            "per_class": per_class,
            "steps": steps,
            "repeat": repeat,
        }
        for head in HEADS
        for order in trained_orders
        for repeat in range(repeats)
    ]
    return kernels + networks


def _orders(orders: tuple[int, ...], divisors: tuple[int, ...], width: int) -> tuple[int, ...]:
    """What is asked for; each of `divisors` where that is nothing, or 0."""
    if not orders or tuple(orders) == ALL:
        return divisors
    for order in orders:
        if order < 2 or width % order:
            known = ", ".join(str(n) for n in range(2, width + 1) if width % n == 0)
            raise InputError(f"{order} shifts do not divide a width of {width} pixels; choose from {known}, or 0: all.")
    return orders


def trial(config: dict[str, Any]) -> Row:
    """The kernel's error on pairs, or a trained network's accuracy at the missing shift."""
    x, y = pictures(config["data"])
    x = _small(x)
    generator = torch.Generator().manual_seed(config["seed"])
    part = _kernel if config["part"] == "kernel" else _trained
    return part(x, y, config, generator)


def _small(x: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(x, 2) if x.shape[-1] > LARGEST else x


def _kernel(x: Tensor, y: Tensor, config: dict[str, Any], generator: torch.Generator) -> Row:
    """Mean error over pairs, by blocks from the kernel at all shifts, and by a direct solution."""
    order, pooled = config["order"], config["head"] == "pool"
    net = Architecture.cnn(1, W_std=1.0, b_std=0.0, pool=pooled)
    step = x.shape[-1] // order
    blocks, direct, spreads = [], [], []
    while len(blocks) < config["pairs"]:
        i, j = torch.randint(len(x), (2,), generator=generator).tolist()
        if y[i] == y[j]:
            continue
        pair = x[[i, j]]
        pair = to_norm(pair - pair.mean((1, 2, 3), keepdim=True), 1.0)
        kappa = shift_kappa(pair, net)[..., ::step]
        ridge = RIDGE * float(kappa[..., 0].diagonal().mean())
        missing = orbit_inverse(kappa, Cyclic(order), ridge=ridge).without_element(TARGETS, torch.tensor([0, 1]))
        blocks.append(float((missing.residual * TARGETS).mean()))
        points = torch.stack([pair.roll(step * k, -1) for k in range(order)])
        gram = net.ntk(points.transpose(0, 1).flatten(0, 1))
        signs = TARGETS.repeat_interleave(order, 0)
        direct.append(float((leave_one_out(gram, signs, ridge=ridge) * signs)[::order].mean()))
        shared = kappa_from_gram(gram, Cyclic(order), torch.arange(2 * order).reshape(2, order))
        spreads.append(orbit_spread(shared))
    return {
        "error": sum(blocks) / len(blocks),
        "direct_error": sum(direct) / len(direct),
        "off": max(abs(a - b) for a, b in zip(blocks, direct, strict=True)),
        "accuracy": sum(e < 1 for e in blocks) / len(blocks),
        "spread": sum(spreads) / len(spreads),
    }


def _trained(x: Tensor, y: Tensor, config: dict[str, Any], generator: torch.Generator) -> Row:
    """Train on all shifts of all images but the missing one, ask for that one and for new images."""
    order, classes = config["order"], y.unique().tolist()
    wanted = config["per_class"]
    room = min(100, fewest(y) - wanted)
    places = chosen(y, wanted + room, generator, classes).reshape(len(classes), -1)
    shown, others = places[:, :wanted].flatten(), places[:, wanted:].flatten()
    step = x.shape[-1] // order
    scaled = to_norm(x, 9.0).float()
    orbits, rest = (torch.stack([scaled[i].roll(step * k, -1) for k in range(order)]) for i in (shown, others))
    labels, held_out = y[shown], torch.zeros(order, len(shown), dtype=torch.bool)
    held_out[0] = labels == config["digit"]
    seed = 1000 * config["seed"] + 10 * config["repeat"] + 1
    model = _network(config["head"] == "pool", x.shape[-1], len(classes), seed)
    trained_without(model, orbits, labels, held_out, steps=config["steps"], seed=seed, **RATE)
    seen = torch.ones(rest.shape[:2], dtype=torch.bool)
    seen[0] = y[others] != config["digit"]
    return {
        "unseen": share_right(model, orbits[0][held_out[0]], labels[held_out[0]]),
        "seen": share_right(model, orbits[1][held_out[0]], labels[held_out[0]]),
        "in_distribution": share_right(model, rest[seen], y[others].expand(order, -1)[seen]),
    }


def _network(pooled: bool, side: int, classes: int, seed: int) -> nn.Module:
    """Three convolutions of circular padding, a head, a linear readout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for channels in (1, CHANNELS, CHANNELS):
            layers += [nn.Conv2d(channels, CHANNELS, 3, padding=1, padding_mode="circular"), nn.ReLU()]
        head = [nn.AdaptiveAvgPool2d(1)] if pooled else []
        features = CHANNELS if pooled else CHANNELS * side**2
        return nn.Sequential(*layers, *head, nn.Flatten(), nn.Linear(features, classes))


def claims(rows: list[Row]) -> list[Claim]:
    """Pooling collapses orbits, in kernels and in trained networks; flattening does not."""
    kernels = [row for row in rows if row["part"] == "kernel"]
    trained = [row for row in rows if row["part"] == "trained"]
    pooled, flat = ([row for row in kernels if row["head"] == head] for head in ("pool", "flatten"))
    pools, flattens = ([row for row in trained if row["head"] == head] for head in ("pool", "flatten"))
    fewest = min((row["order"] for row in flattens), default=0)
    known = [row["in_distribution"] for row in flattens if row["order"] == fewest]
    lost = [row["unseen"] for row in flattens if row["order"] == fewest]
    gained = [row["unseen"] for row in pools]
    drop = [abs(row["seen"] - row["unseen"]) for row in pools]
    new = sum(known) / len(known) if known else math.nan
    return [
        Claim.at_most(
            "pool, kernel", "Pooling head: error (largest over numbers of shifts)", _top(pooled, "error"), 1e-6
        ),
        Claim.at_most("pool, collapse", "Pooling head: variance within orbits (largest)", _top(pooled, "spread"), 1e-8),
        Claim.at_least(
            "flatten, kernel",
            "Flattening head: error with the fewest shifts",
            next((row["error"] for row in sorted(flat, key=lambda row: row["order"])), math.nan),
            1.0,
        ),
        Claim.at_most("blocks", "Error by blocks against a direct solution (largest)", _top(kernels, "off"), 1e-5),
        Claim.at_least(
            "pool, trained",
            "Trained, pooling head: accuracy at the missing shift (smallest over numbers of shifts)",
            min(gained, default=math.nan),
            0.7,
        ),
        Claim.at_most(
            "pool, shown or not",
            "Trained, pooling head: the same images at a shift that was shown: difference in accuracy (largest)",
            max(drop, default=math.nan),
            0.01,
        ),
        Claim.at_most(
            "flatten, trained",
            f"Trained, flattening head, {fewest} shifts: accuracy at the missing one (new images at seen ones: "
            f"{new:.2f})",
            sum(lost) / len(lost) if lost else math.nan,
            0.3,
        ),
    ]


def _top(rows: list[Row], name: str) -> float:
    return max((row[name] for row in rows), default=math.nan)


STUDY = Study(
    name="shift_collapse",
    title="Pooling makes one point of all shifts of an image, flattening does not",
    statement=(
        "Convolutions that wrap round and a pooling head know circular shifts without being shown any; with a "
        "flattening head the same convolutions do not carry them over."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "data": "digits",
        "pairs": 6,
        "orders": ALL,
        "trained_orders": ALL,
        "digit": 5,
        "per_class": 60,
        "steps": 1000,
        "repeats": 1,
    },
    full={"pairs": 24, "per_class": 100, "steps": 2000, "repeats": 3},
    plot=[
        {
            "x": "order",
            "y": "error",
            "series": ["head"],
            "where": {"part": "kernel"},
            "logx": True,
            "logy": True,
            "x_label": "number of shifts",
            "y_label": "error at the missing shift",
            "reference": [1, "no information"],
            "title": "Infinitely wide: error at the missing shift, by the number of shifts",
        },
        {
            "x": "order",
            "y": [["unseen", "in_distribution"]],
            "series": ["head"],
            "where": {"part": "trained"},
            "logx": True,
            "x_label": "number of shifts",
            "y_label": "accuracy",
            "title": "Trained: accuracy at the missing shift of one digit",
            "caption": "In distribution: new images at shifts that were seen",
        },
    ],
    weight=lambda config: float(config["order"] if config["part"] == "kernel" else 1000),
    takes="one minute; full, on MNIST: half an hour",
)
