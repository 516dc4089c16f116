"""What averaging over a few random group elements costs in accuracy.

An untrained network is averaged over `k` random elements of a finite group (with replacement) and
compared with its average over all of them. Monte Carlo theory says: the error falls as `k^(-1/2)`,
the standard error that the averaged network reports of itself is right, and the full average is
invariant up to rounding. Source: the k-sample estimate of Kim et al., Learning Probabilistic
Symmetrization for Architecture Agnostic Equivariance (2023).
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import positive_int
from equilearn.actions import sets, vectors
from equilearn.groups import parse
from equilearn.reps import defining
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetrization import Symmetrized, symmetrize
from equilearn.symmetry import Symmetry

FEATURES = 3
"""Columns of a set's elements, and copies of the plane for a rotation group."""


def configs(
    preset: str, seed: int, groups: tuple[str, ...], samples: tuple[int, ...], repeats: int, inputs: int
) -> list[Row]:
    """Groups x sample counts x repeats; a sample count of None stands for all elements."""
    for group in groups:
        parse(group)
    for count in (*samples, repeats, inputs):
        positive_int(count, "Each of samples, repeats and inputs")
    return [
        {"group": group, "samples": count, "inputs": inputs, "seed": seed * 1000 + repeat}
        for group in groups
        for count in (*samples, None)
        for repeat in range(repeats)
    ]


def trial(config: dict[str, Any]) -> Row:
    """Error against the full average, the error that the network reports itself, and the asymmetry left."""
    group = parse(config["group"])
    permutes = len(group.element_shape) == 1  # elements of S_n are permutations, of C_n indices
    degree = group.element_shape[0] if permutes else 2
    symmetry = Symmetry(group, input=sets(degree) if permutes else vectors(FEATURES * defining(group)))
    generator = torch.Generator().manual_seed(config["seed"])
    shape = (config["inputs"], degree, FEATURES) if permutes else (config["inputs"], degree * FEATURES)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    averaged = symmetrize(_network(degree * FEATURES, generator), symmetry, "average", sampling="haar")
    moved = symmetry.act_input(group.sample(config["inputs"], generator=generator), x)
    with torch.no_grad():
        exact = averaged(x, k="all")
        y, reported = _averaged(averaged, x, config["samples"], generator)
        y_moved, _ = _averaged(averaged, moved, config["samples"], generator)
    scale = float(exact.norm())
    return {
        "error": float((y - exact).norm()) / scale,
        "reported_error": float(reported.norm()) / scale,
        "asymmetry": float((y_moved - y).norm()) / scale,
    }


def _network(width: int, generator: torch.Generator) -> nn.Module:
    """A random network with one hidden layer, in float64, drawn from `generator` alone."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 4)).double()
    for parameter in network.parameters():
        fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1.0
        draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(draw / math.sqrt(fan_in))
    return network


def _averaged(model: Symmetrized, x: Tensor, count: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if count == 1:  # one sample tells nothing of its own spread
        y = model(x, k=1, generator=generator)
        return y, torch.zeros_like(y)
    return model(x, k=count or "all", generator=generator, return_std=True)


def claims(rows: list[Row]) -> list[Claim]:
    """The slope of the error, the honesty of the reported one, the exactness of the full average."""
    sampled = [row for row in rows if row["samples"]]
    slopes = [_slope([row for row in sampled if row["group"] == group]) for group in _groups(sampled)]
    ratios = [
        math.sqrt(_mean_square(found, "reported_error") / _mean_square(found, "error"))
        for group in _groups(sampled)
        if (found := [row for row in sampled if row["group"] == group and row["samples"] > 1])
    ]
    exact = [row["asymmetry"] for row in rows if row["samples"] is None]
    return [
        Claim.between(
            "slope",
            "The error of averaging over k random elements falls as k^-0.5 (slope furthest from it, over groups)",
            _furthest(slopes, -0.5),
            -0.55,
            -0.45,
        ),
        Claim.between(
            "calibration",
            "The standard error that the averaged network reports is its true one (ratio furthest from 1, over groups)",
            _furthest(ratios, 1.0),
            0.9,
            1.1,
        ),
        Claim.at_most(
            "exact",
            "Averaged over all elements the network is invariant up to rounding (largest relative error)",
            max(exact, default=math.nan),
            1e-12,
        ),
    ]


def _groups(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["group"] for row in rows))


def _furthest(values: list[float], goal: float) -> float:
    return max(values, key=lambda value: abs(value - goal), default=math.nan)


def _mean_square(rows: list[Row], name: str) -> float:
    return sum(row[name] ** 2 for row in rows) / len(rows)


def _slope(rows: list[Row]) -> float:
    """Least squares of log error (root mean square over repeats) against log k."""
    squares: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        squares[row["samples"]].append(row["error"] ** 2)
    points = [(math.log(k), 0.5 * math.log(sum(found) / len(found))) for k, found in squares.items()]
    if len(points) < 2:
        return math.nan
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    across = sum((a - mean_x) * (b - mean_y) for a, b in points)
    return across / sum((a - mean_x) ** 2 for a, _ in points)


STUDY = Study(
    name="averaging",
    title="The price of averaging over a few group elements",
    statement=(
        "Averaging any network over k random group elements leaves an error that falls as one over the square root "
        "of k, which the network can report itself; averaging over all elements leaves none."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={"groups": ("S4", "C12"), "samples": (1, 2, 4, 8, 16, 32), "repeats": 5, "inputs": 256},
    full={"groups": ("S4", "S5", "C12"), "samples": (1, 2, 4, 8, 16, 32, 64, 128), "repeats": 20, "inputs": 512},
    plot={"x": "samples", "y": "error", "series": "group", "logx": True, "logy": True},
    inline=True,
    takes="a few seconds; full: a minute",
)
