"""Seeds and their orbits: a finite group that stands in, what is wrong with the action, which points coincide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, not_empty, positive_int, require
from equilearn.actions import Action, Data, ImageAction
from equilearn.groups import SO, Cyclic, Dihedral, Element, Group, O
from equilearn.kernels._given import as_tensor, check_labels
from equilearn.symmetry import Symmetry

DEFECT_SEEDS = 16
"""Seeds on which the action is compared with itself."""

SAME = 1e-6
"""Points that differ by less, relative to their norm, count as one."""

CANDIDATES = 4_096
"""Most pairs of points, alike to the kernel, that are compared entry by entry."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """A data set in orbits.

    Attributes:
        group: finite.
        orbits: `orbits[g, i] = g x_i`, float64.
        classes: the labels, ascending.
        labels: for each seed the place of its class among them.
        still: elements that leave a seed as it is, `(m, order)`; the identity does.
        defect: by how much `g (h x)` differs from `(g h) x`, relative to x.
        remarks: what is not as the theory wants it.
    """

    group: Group
    orbits: Float[Tensor, "order m *shape"] = field(repr=False)
    classes: tuple[int, ...]
    labels: Int[Tensor, " m"] = field(repr=False)
    still: Bool[Tensor, "m order"] = field(repr=False)
    defect: float
    remarks: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(torch.bincount(self.labels, minlength=len(self.classes)).tolist())

    @property
    def order(self) -> int:
        return len(self.orbits)

    @property
    def is_exact(self) -> bool:
        return self.defect < SAME


class RestrictedAction(Action):
    """An action of a group of the plane, at the elements of a finite subgroup."""

    def __init__(self, action: Action, group: Cyclic | Dihedral):
        self.action = action
        self.group: Cyclic | Dihedral = group

    @property
    def name(self) -> str:
        return self.action.name

    def check(self, x: Data) -> None:
        self.action.check(x)

    def is_exact(self, x: Data) -> bool:
        return self.action.is_exact(x)

    def __call__(self, g: Element, x: Data) -> Data:
        return self.action(self.group.plane_matrix(g), x)


def seeds_of(
    x: Float[Tensor, "m *shape"], labels: Int[Tensor, " m"] | Sequence[int], symmetry: Symmetry, rotations: int
) -> Seeds:
    """Check what was given and lay out all orbits. O(m order) calls of the action on one sample."""
    if not isinstance(x, Tensor):
        raise InputTypeError(f"x must be a tensor (m, ...), one row a seed; got {type(x).__name__}.")
    if not isinstance(symmetry, Symmetry):
        raise InputTypeError(f"symmetry must be a Symmetry(group, input=...), got {type(symmetry).__name__}.")
    not_empty(x, "x")
    finite(x, "x")
    require(
        symmetry.is_invariance,
        f"Every transform of a seed must have the label of the seed: the output action must be trivial, not "
        f"{symmetry.output.name}.",
    )
    classes, place = _labels(labels, len(x))
    action, remarks = finite_action(symmetry, rotations)
    group = action.group
    action.check(x)
    if not x.is_complex():
        x = x.to(torch.float64)
    orbits = action.orbit(group.elements(), x)
    require(
        len(orbits) > 1,
        f"{group} has one element only: there is nothing that a class could have missed.",
    )
    defect = action_defect(action, orbits)
    if defect >= SAME:
        remarks.append(
            f"{group} does not act on these data: g (h x) differs from (g h) x by up to {defect:.2g} of |x|, as "
            "interpolation has it. The kernel is averaged over the group; method='direct' does without, for few points."
        )
    still = stabilizers(orbits)
    remarks += _about_labels(classes, place)
    return Seeds(group, orbits, classes, place, still, defect, tuple(remarks))


def finite_action(symmetry: Symmetry, rotations: int) -> tuple[Action, list[str]]:
    """The action of a finite group on inputs: the symmetry's own, or equal turns where SO(2) or O(2) acts.

    Args:
        symmetry: of any group.
        rotations: turns of the stand-in, by `2 pi / rotations`.

    Returns:
        The action, with its `group`, and remarks: what stands in for what.

    Raises:
        InputError: another infinite group, or a finite one that is too large to list.

    Example:
        >>> from equilearn.actions import images
        >>> action, remarks = finite_action(Symmetry(SO(2), input=images()), 8)
        >>> action.group, remarks
        (C8, ['SO2 is infinite: C8, turns by 45 degrees, stands in for it.'])
    """
    group, action = symmetry.group, symmetry.input
    if group.is_finite:
        group._require_enumerable()
        return action, []
    n = positive_int(rotations, "rotations", minimum=2)
    if isinstance(group, SO | O) and group.n == 2:
        finite_group = Cyclic(n) if isinstance(group, SO) else Dihedral(n)
        remark = f"{group} is infinite: {finite_group}, turns by {360 / n:.4g} degrees, stands in for it."
        if isinstance(action, ImageAction):  # keeps quarter turns exact
            return ImageAction(finite_group, action.interpolation, action.padding), [remark]
        return RestrictedAction(action, finite_group), [remark]
    raise InputError(
        f"{group} is infinite, and only SO2 and O2 have a finite stand-in here (turns by equal angles). Give a finite "
        "group, such as Cyclic(n) with the action of its elements."
    )


def action_defect(action: Action, orbits: Float[Tensor, "order m *shape"]) -> float:
    """The largest `|s (h x) - (s h) x|` over generators s and all h, relative to the norm of x; on a few seeds."""
    group = action.group
    order = len(orbits)
    sizes = orbits[0].flatten(1).norm(dim=1) if orbits.ndim > 2 else orbits[0].abs()
    there = torch.nonzero(sizes > 0).flatten()
    if len(there) == 0:
        return 0.0
    count = min(DEFECT_SEEDS, len(there))
    spread = there[torch.linspace(0, len(there) - 1, count).round().to(torch.int64)]  # not of the first class alone
    some, size = orbits[:, spread], float(sizes[spread].norm())
    elements, generators = group.elements(), group.generators()
    (count,) = group.batch_shape(generators)
    worst = 0.0
    for k in range(count):
        s = group.to(group.take(generators, k), device=orbits.device)
        moved = action(s, some.flatten(0, 1)).unflatten(0, some.shape[:2])
        product = group.index_of(group.compose(group.expand(group.take(generators, k), (order,)), elements))
        difference = (moved - some[product.to(orbits.device)]).flatten(1).norm(dim=1)
        worst = max(worst, float(difference.max()))
    return worst / size


def stabilizers(orbits: Float[Tensor, "order m *shape"]) -> Bool[Tensor, "m order"]:
    """Which elements leave which seed as it is."""
    flat = orbits.flatten(2) if orbits.ndim > 2 else orbits[..., None]
    size = flat[0].norm(dim=-1)
    return torch.stack([(row - flat[0]).norm(dim=-1) <= SAME * size for row in flat], 1).cpu()


@dataclass(frozen=True)
class Twins:
    """Seeds of one orbit.

    Attributes:
        triples: `(i, j, u)`, i < j, with `x_i = u x_j`.
        capped: whether there were more candidates than were looked at.
    """

    triples: tuple[tuple[int, int, int], ...]
    capped: bool

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Each pair of seeds once, by whatever elements they are joined."""
        return tuple(dict.fromkeys((i, j) for i, j, _ in self.triples))


def coinciding_seeds(orbits: Float[Tensor, "order m *shape"], kappa: Float[Tensor, "m m order"]) -> Twins:
    """Points that are in the data more than once: among those that are one to a kernel, compared entry by entry."""
    own = kappa[..., 0].diagonal()
    least = (own[:, None] + own - SAME * float(own.mean())) / 2
    least += torch.where(torch.ones_like(least, dtype=torch.bool).tril_(), torch.inf, 0.0)
    flat = orbits.flatten(2) if orbits.ndim > 2 else orbits[..., None]
    found: list[tuple[int, int, int]] = []
    left = CANDIDATES
    capped = False
    for u in range(len(orbits)):
        pairs = torch.nonzero(kappa[..., u] >= least)
        capped |= len(pairs) > left
        pairs = pairs[:left]
        left -= len(pairs)
        i, j = pairs.unbind(1)
        same = (flat[0, i] - flat[u, j]).norm(dim=-1) <= SAME * flat[0, i].norm(dim=-1)
        found += [(a, b, u) for a, b in pairs[same].tolist()]
    return Twins(tuple(found), capped)


def held_out_points(seen: Any, seeds: Seeds) -> Bool[Tensor, "m order"]:
    """What is missing, by seed and element, from what was seen by class or by seed."""
    order, labels = seeds.order, seeds.labels
    m, c = len(labels), len(seeds.classes)
    seen = as_tensor(seen, "seen", "Booleans")
    if seen.dtype != torch.bool:
        raise InputTypeError(f"seen must be Boolean, True for what was in training; got {seen.dtype}.")
    require(
        tuple(seen.shape) in ((c, order), (m, order)),
        f"seen marks (class, element) or (seed, element) pairs, ({c}, {order}) or ({m}, {order}) for {seeds.group}; "
        f"got {tuple(seen.shape)}.",
    )
    by_seed = seen[labels] if len(seen) == c else seen
    require(not bool(by_seed.all()), "All elements of all classes were seen: there is nothing to predict.")
    for index, name in enumerate(seeds.classes):
        require(
            bool(by_seed[labels == index].any()),
            f"Nothing at all was seen of class {name}: no kernel can know it. Mark at least one element as seen.",
        )
    return ~by_seed


# --- parts ------------------------------------------------------------------------------------


def _labels(labels: Any, m: int) -> tuple[tuple[int, ...], Tensor]:
    values = check_labels(labels, m)
    if values.is_floating_point():
        whole = bool(((values == values.round()) & (values.abs() < 2**53)).all())
    else:
        whole = not values.is_complex()
    require(whole, "labels must be whole numbers, one a class: this theory is about classes, not about values.")
    classes, place = values.to(torch.int64).unique(return_inverse=True)
    require(
        len(classes) > 1,
        f"All {m} seeds are of class {int(classes[0])}: with one class there is nothing to tell apart. Give seeds of "
        "at least two.",
    )
    return tuple(classes.tolist()), place


def _about_labels(classes: tuple[int, ...], place: Tensor) -> list[str]:
    counts = torch.bincount(place)
    few, many = int(counts.argmin()), int(counts.argmax())
    if int(counts[many]) <= 2 * int(counts[few]):
        return []
    return [
        f"Classes are unbalanced: {int(counts[many])} seeds of class {classes[many]}, {int(counts[few])} of class "
        f"{classes[few]}. Decisions are by the largest output, but what is rare is still at a disadvantage."
    ]
