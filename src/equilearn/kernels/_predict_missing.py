"""Which points are missing together, and what their residuals say of classes and elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn.groups import Cyclic
from equilearn.kernels._held_out import without_sets
from equilearn.kernels._predict_orbits import Seeds
from equilearn.kernels._predict_result import Growth
from equilearn.kernels._theory_blocks import MissingPoints, OrbitInverse, inverse_of_symmetric
from equilearn.reps import GroupFourier


@dataclass(frozen=True, eq=False)
class Scenario:
    """One training set: what it lacks, and what of that is asked for, `(m, order)`."""

    held_out: Bool[Tensor, "m order"]
    wanted: Bool[Tensor, "m order"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Means over the missing seeds of a class, NaN where none is missing.

    Attributes:
        error, accuracy: `(C, order)`.
        density: of each class, `(C,)`.
    """

    error: Float[Tensor, "C order"]
    accuracy: Float[Tensor, "C order"]
    density: Float[Tensor, " C"]


def scenarios_of(seeds: Seeds, missing: Tensor | None, whole_cosets: bool) -> list[Scenario]:
    m, order = len(seeds.labels), seeds.order
    if missing is None:
        wanted = []
        for c in range(len(seeds.classes)):
            one = torch.zeros(m, order, dtype=torch.bool)
            one[seeds.labels == c, 0] = True
            wanted.append(one)
    else:
        wanted = [missing]
    return [Scenario(_with_copies(one, seeds) if whole_cosets else one, one) for one in wanted]


def _with_copies(held_out: Tensor, seeds: Seeds) -> Tensor:
    """Every point `g h x` with the missing `g x`, for the h that leave x as it is."""
    group, found = seeds.group, held_out.clone()
    elements = group.elements()
    for i in torch.nonzero(seeds.still[:, 1:].any(1)).flatten().tolist():
        g, h = torch.nonzero(held_out[i]).flatten(), torch.nonzero(seeds.still[i]).flatten()
        if len(g):
            left = group.reshape(group.take(elements, g), (len(g), 1))
            product = group.compose(left, group.reshape(group.take(elements, h), (1, len(h))))
            found[i, group.index_of(product).flatten()] = True
    return found


def directly(gram: Tensor, targets: Tensor, scenarios: Sequence[Scenario], ridge: float) -> list[MissingPoints]:
    order = scenarios[0].held_out.shape[1]
    sets = [torch.nonzero(s.held_out.flatten()).flatten() for s in scenarios]
    found = without_sets(gram, targets.repeat_interleave(order, 0), [s.to(gram.device) for s in sets], ridge)
    return [
        MissingPoints(index // order, index % order, residual, density)
        for index, (residual, density) in zip(sets, found, strict=True)
    ]


def joined(parts: Sequence[MissingPoints], scenarios: Sequence[Scenario], order: int) -> MissingPoints:
    """All points that were asked for; those held out along with them are left out."""
    wanted = torch.stack([s.wanted for s in scenarios]).any(0).flatten()
    seed, element = torch.cat([p.seed for p in parts]), torch.cat([p.element for p in parts])
    keep = wanted[seed * order + element]
    residual, density = torch.cat([p.residual for p in parts]), torch.cat([p.density for p in parts])
    there = keep.to(residual.device)
    return MissingPoints(seed[keep], element[keep], residual[there], density[there])


def outcome_of(seeds: Seeds, targets: Tensor, points: MissingPoints) -> Outcome:
    labels = seeds.labels[points.seed]
    outputs = (targets[points.seed.to(targets.device)] - points.residual).cpu()
    own = outputs.gather(1, labels[:, None]).flatten()
    best = outputs.scatter(1, labels[:, None], -math.inf).amax(1)
    error = 1 - (own - best) / 2
    shape = (len(seeds.classes), seeds.order)
    cell = labels * seeds.order + points.element
    count = torch.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)

    def mean(values: Tensor) -> Tensor:
        return (torch.bincount(cell, values, minlength=count.numel()).reshape(shape) / count).to(torch.float64)

    per_class = torch.bincount(labels, points.density.cpu(), minlength=shape[0]) / count.sum(1)
    return Outcome(mean(error), mean((error < 1).to(torch.float64)), per_class)


def growth_of(seeds: Seeds, kappa: Tensor, targets: Tensor, whole: OrbitInverse) -> tuple[Growth, ...]:
    """Errors at the subgroups of a cyclic group: their kernels are part of `kappa`."""
    if not isinstance(seeds.group, Cyclic):
        return ()
    found = []
    for order in (d for d in range(2, seeds.order + 1) if seeds.order % d == 0):
        inverse = whole
        if order < seeds.order:
            part = kappa[..., :: seeds.order // order]
            inverse = inverse_of_symmetric(part, GroupFourier(Cyclic(order)), whole.ridge)
        outcome = outcome_of(seeds, targets, inverse.without_element(targets, seeds.labels))
        found.append(Growth(order, outcome.error[:, 0], outcome.accuracy[:, 0]))
    return tuple(found)
