"""Many points: a tree parts them along what an early metric finds important, one machine a leaf.

Source: D. Beaglehole et al., xRFM: accurate, scalable, and interpretable feature learning models for tabular data
(2025). Each node is split at the median along the leading eigenvector of the AGOP of a small machine, so that leaves
are of equal size and all routing is one projection a level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int
from equilearn.kernels._metric import symmetric_metric
from equilearn.kernels._rfm import RFM, Settings, check_data, fit_rfm

SPLIT_SAMPLE = 2_000
"""Points on which the machine that decides a split is fitted."""


@dataclass(frozen=True)
class Split:
    """`x . direction <= threshold` goes to `low`, the rest to `high`: numbers of splits, or `~leaf` below 0."""

    direction: Float[Tensor, " D"]
    threshold: float
    low: int
    high: int


@dataclass(frozen=True, repr=False)
class LocalMachines:
    """A tree of splits with a machine at each leaf; behaves as an `RFM`.

    Args:
        splits: the first is the root; empty where there is one leaf.
        leaves: the machines.
        shares: share of the training points in each leaf.
    """

    splits: tuple[Split, ...]
    leaves: tuple[RFM, ...]
    shares: tuple[float, ...]
    history: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def best(self) -> int:
        """The largest iteration that a leaf kept."""
        return max(leaf.best for leaf in self.leaves)

    @property
    def metric(self) -> Tensor:
        """The mean of the metrics of the leaves, by their shares."""
        metrics = [symmetric_metric(leaf.metric) * share for leaf, share in zip(self.leaves, self.shares, strict=True)]
        return torch.stack(metrics).sum(0)

    def leaf_of(self, x: Float[Tensor, "B D"]) -> Int[Tensor, " B"]:
        """The number of the leaf that each row falls in. O(B D depth)."""
        found = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
        pending = [(0 if self.splits else ~0, torch.arange(len(x), device=x.device))]
        while pending:
            node, rows = pending.pop()
            if node < 0:
                found[rows] = ~node
                continue
            split = self.splits[node]
            below = x[rows] @ split.direction <= split.threshold
            pending += [(split.low, rows[below]), (split.high, rows[~below])]
        return found

    def __call__(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Outputs for the rows of `x`, each from the machine of its leaf."""
        out = x.new_empty(len(x), self.leaves[0].dual.shape[1])
        where = self.leaf_of(x)
        for number, leaf in enumerate(self.leaves):
            rows = torch.nonzero(where == number).flatten()
            if len(rows):
                out[rows] = leaf(x[rows])
        return out

    def agop(self, x: Float[Tensor, "B D"], *, centered: bool = True) -> Tensor:
        """The average gradient outer product over `x`, leaf by leaf (centred within leaves)."""
        where = self.leaf_of(x)
        total = x.new_zeros(x.shape[1], x.shape[1])
        for number, leaf in enumerate(self.leaves):
            rows = torch.nonzero(where == number).flatten()
            if len(rows):
                total += symmetric_metric(leaf.agop(x[rows], centered=centered)) * (len(rows) / len(x))
        return total

    def __repr__(self) -> str:
        return f"LocalMachines({len(self.leaves)} leaves of about {len(self.leaves[0].centers)} points)"


def fit_local_machines(
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N C"],
    settings: Settings,
    leaf_size: int,
    *,
    metric: Tensor | None = None,
    score: Callable[[RFM], float] | None = None,
    patience: int | None = None,
) -> LocalMachines:
    """Part the points until no leaf holds more than `leaf_size`, then fit a machine in each.

    Args:
        x, y, settings, metric: as for `fit_rfm`.
        leaf_size: most points a leaf, 3 at least.

    Raises:
        InputError: where validation is asked for (leaves see different data), for more than `leaf_size` copies of one
            sample, or as `fit_rfm`.

    Cost: O(N log(N / leaf_size)) for the tree, then N / leaf_size machines.
    """
    if score is not None or patience is not None:
        raise InputError(
            f"Validation is not offered for machines on the leaves of a tree: the data hold {len(x)} samples, more "
            f"than max_leaf_size={leaf_size}. Raise max_leaf_size or leave validation out."
        )
    x, y = check_data(x, y)
    positive_int(leaf_size, "leaf_size", 3)
    splits: list[Split] = []
    leaves: list[Tensor] = []
    generator = torch.Generator().manual_seed(settings.seed)

    def part(rows: Tensor) -> int:
        if len(rows) <= leaf_size:
            leaves.append(rows)
            return ~(len(leaves) - 1)
        direction = _direction(x, y, rows, settings, metric, generator)
        direction, threshold = _cut(x[rows], direction)
        below = x[rows] @ direction <= threshold
        number = len(splits)
        splits.append(Split(direction, threshold, 0, 0))
        low = part(rows[below])
        splits[number] = Split(direction, threshold, low, part(rows[~below]))
        return number

    part(torch.arange(len(x), device=x.device))
    machines = tuple(fit_rfm(x[rows], y[rows], settings, metric=metric) for rows in leaves)
    history = tuple({"leaf": i, **record} for i, machine in enumerate(machines) for record in machine.history)
    return LocalMachines(tuple(splits), machines, tuple(len(rows) / len(x) for rows in leaves), history)


def _direction(
    x: Tensor, y: Tensor, rows: Tensor, settings: Settings, metric: Tensor | None, generator: torch.Generator
) -> Float[Tensor, " D"]:
    """The leading eigenvector of the AGOP of a plain kernel machine on a few of the points."""
    chosen = rows[torch.randperm(len(rows), generator=generator)[:SPLIT_SAMPLE].to(rows.device)]
    quick = replace(settings, iterations=0, solver="cholesky")
    agop = symmetric_metric(fit_rfm(x[chosen], y[chosen], quick, metric=metric).agop(centered=False))
    return torch.linalg.eigh(agop).eigenvectors[:, -1]


def _cut(x: Float[Tensor, "B D"], direction: Float[Tensor, " D"]) -> tuple[Float[Tensor, " D"], float]:
    """Where to part samples: at the median along the direction, or along the feature that parts them most evenly where
    that leaves fewer than two on a side."""
    found = _gap(x @ direction)
    if found is None:
        options = [(gap, feature) for feature in range(x.shape[1]) if (gap := _gap(x[:, feature])) is not None]
        if not options:
            raise InputError(
                f"{len(x)} samples cannot be parted in two by any of their features: too many are copies of one. "
                "Remove copies, or allow larger leaves."
            )
        found, feature = max(options, key=lambda option: option[0][1])
        direction = torch.zeros_like(direction)
        direction[feature] = 1.0
    return direction, found[0]


def _gap(along: Float[Tensor, " B"]) -> tuple[float, int] | None:
    """The middle of the gap between values nearest to the median, and how many are on its smaller side; None where that
    is fewer than two. Within a gap, not on a value, rounding cannot send a sample to another leaf."""
    values = along.sort().values
    rounding = 64 * torch.finfo(along.dtype).eps * float(values.abs().max())
    below = torch.nonzero(values[1:] - values[:-1] > rounding).flatten() + 1
    smaller = torch.minimum(below, len(values) - below)
    if len(below) == 0 or int(smaller.max()) < 2:
        return None
    cut = int(below[smaller.argmax()])
    return float((values[cut - 1] + values[cut]) / 2), int(smaller.max())
