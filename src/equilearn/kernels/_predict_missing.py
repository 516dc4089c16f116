"""Which points are missing together, and what their residuals say of classes and elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn.groups import Cyclic
from equilearn.kernels._held_out import without_sets
from equilearn.kernels._predict_orbits import Seeds, Twins
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


def scenarios_of(seeds: Seeds, missing: Tensor | None, twins: Twins | None) -> list[Scenario]:
    """The training sets that are asked for.

    Args:
        missing: points of one set; None for each class in turn without the identity.
        twins: what shares an orbit, where all copies of a missing point are to be missing too.
    """
    m, order = len(seeds.labels), seeds.order
    if missing is None:
        wanted = []
        for c in range(len(seeds.classes)):
            one = torch.zeros(m, order, dtype=torch.bool)
            one[seeds.labels == c, 0] = True
            wanted.append(one)
    else:
        wanted = [missing]
    return [Scenario(one if twins is None else _with_copies(one, seeds, twins), one) for one in wanted]


def _with_copies(held_out: Tensor, seeds: Seeds, twins: Twins) -> Tensor:
    """With the missing `g x_i` every `g h x_i` for the h that leave x_i as it is, and every `g u x_j` where
    `x_i = u x_j`."""
    group, found = seeds.group, held_out.clone()
    elements = group.elements()
    joined_by: dict[tuple[int, int], list[int]] = {}
    for i in torch.nonzero(seeds.still[:, 1:].any(1)).flatten().tolist():
        joined_by[i, i] = torch.nonzero(seeds.still[i]).flatten().tolist()
    for i, j, u in twins.triples:
        joined_by.setdefault((i, j), []).append(u)
        back = int(group.index_of(group.inverse(group.take(elements, u))))
        joined_by.setdefault((j, i), []).append(back)
    for (i, j), moves in joined_by.items():
        g = torch.nonzero(held_out[i]).flatten()
        if len(g):
            left = group.reshape(group.take(elements, g), (len(g), 1))
            right = group.reshape(group.take(elements, torch.tensor(moves)), (1, len(moves)))
            found[j, group.index_of(group.compose(left, right)).flatten()] = True
    return found


def by_blocks(
    inverse: OrbitInverse, targets: Tensor, labels: Tensor, scenarios: Sequence[Scenario], each_class: bool
) -> list[MissingPoints]:
    """What becomes of the missing points of each scenario; those of each class in turn need no inverse as a whole."""
    if each_class and all(bool((s.held_out == s.wanted).all()) for s in scenarios):
        return [inverse.without_element(targets, labels)]
    whole = inverse.whole()
    return [inverse.without(targets, s.held_out, whole=whole) for s in scenarios]


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


def lead_errors(outputs: Float[Tensor, "n C"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """1 less half the lead of the right class over the best other one, for targets of +1 and -1."""
    own = outputs.gather(1, labels[:, None]).flatten()
    best = outputs.scatter(1, labels[:, None], -math.inf).amax(1)
    return 1 - (own - best) / 2


def outcome_of(seeds: Seeds, targets: Tensor, points: MissingPoints) -> Outcome:
    labels = seeds.labels[points.seed]
    error = lead_errors((targets[points.seed.to(targets.device)] - points.residual).cpu(), labels)
    shape = (len(seeds.classes), seeds.order)
    cell = labels * seeds.order + points.element
    count = torch.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)

    def mean(values: Tensor) -> Tensor:
        return (torch.bincount(cell, values, minlength=count.numel()).reshape(shape) / count).to(torch.float64)

    per_class = torch.bincount(labels, points.density.cpu(), minlength=shape[0]) / count.sum(1)
    return Outcome(mean(error), mean((error < 1).to(torch.float64)), per_class)


def growth_of(
    seeds: Seeds, kappa: Tensor, targets: Tensor, ridge: float, twins: Twins | None, last: Outcome
) -> tuple[Growth, ...]:
    """Errors at the subgroups of a cyclic group, each class in turn without the identity: their kernels are part of
    `kappa`.

    Args:
        twins: as for `scenarios_of`.
        last: what was found for the whole group.
    """
    if not isinstance(seeds.group, Cyclic):
        return ()
    found = []
    for order in (d for d in range(2, seeds.order + 1) if seeds.order % d == 0):
        outcome = last
        if order < seeds.order:
            step = seeds.order // order
            part = replace(seeds, group=Cyclic(order), orbits=seeds.orbits[::step], still=seeds.still[:, ::step])
            shared = None if twins is None else _under(twins, step)
            inverse = inverse_of_symmetric(kappa[..., ::step], GroupFourier(part.group), ridge)
            scenarios = scenarios_of(part, None, shared)
            points = by_blocks(inverse, targets, seeds.labels, scenarios, each_class=True)
            outcome = outcome_of(part, targets, joined(points, scenarios, order))
        found.append(Growth(order, outcome.error[:, 0], outcome.accuracy[:, 0]))
    return tuple(found)


def _under(twins: Twins, step: int) -> Twins:
    """Those that are joined by every `step`-th element of a cyclic group."""
    return Twins(tuple((i, j, u // step) for i, j, u in twins.triples if u % step == 0), twins.capped)
