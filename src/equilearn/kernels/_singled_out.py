"""Which elements of a group a matrix loads on more than chance has it: the rule behind `symmetry_report`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.groups import Group, subgroup

SUBSTANTIAL = 0.1
"""Elements with less than this part of the largest coefficient are not said to stand out, however sure they are."""


@dataclass(frozen=True)
class SingledOut:
    """The elements that stand out, if any.

    Attributes:
        elements: indices of the elements that stand out, the identity left out, largest loading first.
        members: indices of the subgroup that they generate.
        share: their part of all squared loadings.
        chance_of_size: bound on the chance of so large a cosine with a random symmetric matrix.
        chance_of_share: bound on the chance of so large a share for a random combination of elements.
    """

    elements: tuple[int, ...]
    members: tuple[int, ...]
    share: float
    chance_of_size: float
    chance_of_share: float

    @property
    def chance(self) -> float:
        """The larger of the two bounds."""
        return max(self.chance_of_size, self.chance_of_share)

    def holds(self, level: float) -> bool:
        return bool(self.members) and self.chance < level


NOTHING = SingledOut((), (), 0.0, 1.0, 1.0)


def single_out(
    group: Group,
    inverses: Int[Tensor, " order"],
    coefficients: Float[Tensor, " order"],
    cosines: Float[Tensor, " order"],
    dimension: int,
    kinds: Int[Tensor, " order"],
    centred: bool,
) -> SingledOut:
    """The smallest set of elements that carries the loadings, if two chances say that there is one.

    An element and its inverse count as one unit (a symmetric matrix cannot tell them apart), K units without the
    identity. Of the s units with the largest loadings, for every s, two questions:

    * *Size.* A uniformly random direction among the N symmetric matrices on `dimension` coordinates has a squared
      cosine with a given one that follows Beta(1/2, (N - 1)/2); the chance for the best of K is at most K times
      the tail.
    * *Share.* A combination of L units with independent normal coefficients has a share of its squares in s given
      ones that follows Beta(s/2, (L - s)/2); over all choices of s units, and all s, at most `K binomial(K, s)`
      times the tail. L counts the units of the kinds that occur in the set (`kinds`: how an element moves the slots),
      because a generic matrix may well load on one kind alone; where medians were taken away (`centred`), one less
      for each kind. A generic combination fails here, however large.

    The s with the smallest chance of share is taken, among units of at least a tenth of the largest coefficient that
    generate a proper subgroup (in a group with one unit: that unit). O(K) subgroups at most.
    """
    unit = torch.minimum(torch.arange(len(inverses)), inverses)
    units = torch.unique(unit)
    units = units[units != 0]
    count = len(units)
    partners = inverses[units]
    # A pair has twice the squared norm that its one coefficient says.
    sizes = torch.where(partners == units, 1.0, 2.0)
    energy = ((coefficients[units] + coefficients[partners]) / 2) ** 2 * sizes
    if count == 0 or not float(energy.sum()) > 0:
        return NOTHING
    ranked = energy.argsort(descending=True, stable=True)
    units, energy = units[ranked], energy[ranked]
    kind = kinds[units]
    best = NOTHING
    free = dimension * (dimension + 1) // 2 - 1
    substantial = int((energy >= SUBSTANTIAL**2 * energy[0]).sum())
    for s in range(1, max(2, min(count, substantial + 1))):
        alike = torch.isin(kind, kind[:s])
        share = min(1.0, float(energy[:s].sum() / energy.sum()))
        others = int(alike.sum()) - (len(kind[:s].unique()) if centred else 0)
        by_share = 0.0 if count == 1 else _chance_of_share(share, s, others, count)
        if (best.members and by_share >= best.chance_of_share) or by_share >= 1.0:
            continue
        members = subgroup(group, group.take(group.elements(), units[:s]))
        if len(members) == len(inverses) and count > 1:
            break  # more elements generate no less
        largest = float(cosines[units[:s]].abs().max())
        by_size = min(1.0, count * _tail(largest**2, 0.5, (free - 1) / 2))
        best = SingledOut(tuple(units[:s].tolist()), tuple(members.tolist()), share, by_size, by_share)
    return best


# --- parts ------------------------------------------------------------------------------------


def _chance_of_share(share: float, s: int, alike: int, count: int) -> float:
    if s >= alike:
        return 1.0
    ways = math.lgamma(count + 1) - math.lgamma(s + 1) - math.lgamma(count - s + 1)
    tail = _tail(share, s / 2, (alike - s) / 2)
    # A tail that underflows still has to be told from one with fewer units: fewer ways win.
    logarithm = math.log(max(tail, 1e-280)) + ways + math.log(count)
    return math.exp(min(0.0, logarithm))


def _tail(x: float, a: float, b: float) -> float:
    """P(Beta(a, b) > x)."""
    from scipy.special import betainc

    if b <= 0:
        return 1.0
    return float(betainc(b, a, min(1.0, max(0.0, 1.0 - x))))
