"""Two rings of points, one point missing: when does a kernel machine give it to its own ring?

The smallest problem of symmetry learning: two classes, each one orbit of a cyclic group, and the Gaussian kernel
`exp(-L^2 d^2)`. Four ways to the error of a missing point agree: leaving it out, the spectrum of the kernel, class
separation against orbit density, and the blocks of the group. Beyond a number of points, or a distance of the rings,
the point is predicted.

Source: Perin and Deny, On the Ability of Deep Networks to Learn Symmetries from Data, arXiv 2412.11521, its toy model.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.kernels import (
    equicorrelated_error,
    kappa_from_gram,
    leave_one_out,
    orbit_geometry,
    orbit_inverse,
    rings,
    spectral_error,
)
from equilearn.studies._study import Claim, Row, Study

GOLDEN = (
    (6, 0.85, 1.0, 0.3976007723),
    (4, 1.4, 1.0, 1.0474362483),
    (8, 1.4, 1.0, 0.5399695128),
    (12, 1.4, 1.0, 0.1215936523),
    (16, 1.4, 1.0, 0.0127276194),
    (3, 1.0, 0.5, 1.6424291311),
    (6, 0.85, 0.1, 2.6507443159),
    (6, 0.85, 0.0, 7.7244539238),
)
"""Order, L, separation, and the error without ridge, worked out independently to ten digits."""
SWEEP_LENGTH, SEPARATION_ORDER, SEPARATION_LENGTH = 1.4, 6, 0.85
EQUICORRELATED = 0.2018348624
"""Of five points an orbit, values 1, 0.6 and 0.2 on a point, within an orbit and between orbits."""


def configs(preset: str, seed: int, orders: tuple[int, ...], separations: tuple[float, ...], ridge: float) -> list[Row]:
    """The golden cases without ridge, then the sweeps."""
    for order in orders:
        positive_int(order, "Each of orders", 2)
    for separation in separations:
        require(0 <= separation < math.inf, f"separations are numbers >= 0, got {separation}.")
    require(0 <= ridge < math.inf, f"ridge must be a number >= 0, got {ridge}.")
    golden = [
        {"sweep": "golden", "order": n, "length": length, "separation": d, "ridge": 0.0, "golden": error}
        for n, length, d, error in GOLDEN
    ]
    common = {"ridge": ridge, "golden": None}
    by_order = [{"sweep": "order", "order": n, "length": SWEEP_LENGTH, "separation": 1.0, **common} for n in orders]
    fixed = {"order": SEPARATION_ORDER, "length": SEPARATION_LENGTH, **common}
    # Rings that coincide have no place on a logarithmic axis.
    apart = [{"sweep": "separation" if d > 0 else "together", **fixed, "separation": float(d)} for d in separations]
    return golden + by_order + apart


def trial(config: dict[str, Any]) -> Row:
    """The error in four ways, its two causes, and the inverse spectrum with the mode of the labels."""
    n, ridge = config["order"], config["ridge"]
    x, symmetry = rings(n, config["separation"])
    points = symmetry.input.orbit(symmetry.group.elements(), x).flatten(0, 1)
    gram = torch.exp(-(config["length"] ** 2) * (points[:, None] - points).square().sum(-1))
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    layout = torch.arange(2 * n).reshape(n, 2).mT
    left_out = leave_one_out(gram, y.repeat(n, 1), ridge=ridge) * y.repeat(n, 1)
    spectral = spectral_error(gram, ridge=ridge)
    geometry = orbit_geometry(gram, layout, ridge=ridge)
    kappa = kappa_from_gram(gram, symmetry.group, layout)
    blocks = orbit_inverse(kappa, symmetry.group, ridge=ridge).without_element(y, torch.tensor([0, 1])).residual * y
    ways = torch.cat([left_out.flatten(), blocks.flatten(), y.new_tensor([spectral.error, geometry.error])])
    inverse = 1 / spectral.eigenvalues[: n + 1]
    return {
        "error": float(ways.mean()),
        "spread": float(ways.max() - ways.min()),
        "off": None if config["golden"] is None else abs(spectral.error - config["golden"]),
        "signal": geometry.signal,
        "density": geometry.density,
        "identity": float(_of_identity(n)),
        "mode": list(range(n + 1)),
        "inverse": inverse.tolist(),
        "mode_of_labels": [None] * n + [float(inverse[n])],
    }


def _of_identity(n: int) -> Tensor:
    """The error of a kernel that knows nothing."""
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).repeat(n, 1)
    return (leave_one_out(2.0 * torch.eye(2 * n, dtype=torch.float64), y) * y).mean()


def claims(rows: list[Row]) -> list[Claim]:
    """Golden values, the ways agree, and both causes move the error through 1."""
    golden = [row["off"] for row in rows if row["off"] is not None]
    by_order = {row["order"]: row["error"] for row in rows if row["sweep"] == "order"}
    by_order |= {row["order"]: row["error"] for row in rows if row["sweep"] == "golden" and row["length"] == 1.4}
    nan = math.nan
    apart = sorted((row["separation"], row["error"]) for row in rows if row["sweep"] in ("separation", "together"))
    rises = [b - a for (_, a), (_, b) in zip(apart, apart[1:], strict=False)]
    equal = abs(equicorrelated_error(5, 1.0, 0.6, 0.2) - EQUICORRELATED) if rows else nan
    return [
        Claim.at_most("golden", "Errors against known ones, ten digits (largest difference)", _top(golden), 1e-9),
        Claim.at_most(
            "four ways",
            "Left out, spectrum, geometry and blocks give one error (largest difference)",
            _top([row["spread"] for row in rows]),
            1e-10,
        ),
        Claim.at_most(
            "no information",
            "A kernel that knows nothing has error 1 (largest difference)",
            _top([abs(row["identity"] - 1) for row in rows]),
            1e-12,
        ),
        Claim.at_most("three values", "The equicorrelated kernel against its closed form", equal, 1e-9),
        Claim.at_least("four points", "With 4 points a ring the missing one is lost: error", by_order.get(4, nan), 1.0),
        Claim.at_most("eight points", "With 8 points it is predicted: error", by_order.get(8, nan), 1.0),
        Claim.at_most(
            "separation",
            "The error falls as the rings move apart (largest rise from one separation to the next)",
            _top(rises),
            0.0,
        ),
    ]


def _top(values: list[float]) -> float:
    return max(values, default=math.nan)


STUDY = Study(
    name="toy_rings",
    title="Two rings: a missing point is predicted once the ring is dense enough for the distance of the other",
    statement=(
        "For two orbits of a cyclic group, the error at a missing point is orbit density over class separation, and "
        "crosses 1 between 4 and 8 points a ring."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "orders": tuple(range(4, 49, 4)),
        "separations": (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 10.0),
        "ridge": 1e-5,
    },
    full={
        "orders": tuple(range(2, 65)),
        "separations": (0.0, *(round(10 ** (-2 + 3 * k / 39), 6) for k in range(40))),
    },
    plot=[
        {
            "x": "order",
            "y": "error",
            "where": {"sweep": "order"},
            "logy": True,
            "x_label": "points a ring",
            "y_label": "error at the missing point",
            "reference": [1, "no information"],
            "title": "The error by the number of points a ring",
            "caption": "The rings are at distance 1. Where the error stops falling, it is that of the ridge",
        },
        {
            "x": "separation",
            "y": "error",
            "where": {"sweep": "separation"},
            "logx": True,
            "x_label": "distance of the rings",
            "y_label": "error at the missing point",
            "reference": [1, "no information"],
            "title": "The error by the distance of the rings, six points each",
        },
        {
            "kind": "curves",
            "x": "mode",
            "y": "inverse",
            "mark": "mode_of_labels",
            "series": ["order"],
            "y_label": "1 / eigenvalue",
            "where": {"sweep": "order", "order": [4, 8, 12]},
            "logy": True,
            "title": "The inverse spectrum, with the mode of the labels ringed",
            "caption": "The error is the ringed value over the mean of the curve; eigenvalues include the ridge",
        },
    ],
    inline=True,
    takes="a second; full: some seconds",
)
