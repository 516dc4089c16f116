"""Which entries of an operation table are held out: masks of the training points.

Elements are indices into `table.symmetry.group.elements()`; `table.reflection(x)` is the index of `s r^x`. A split
keeps a symmetry where the element takes training points to training points.

Source: section 4 of "Breaking Data Symmetry is Needed For Generalization in Feature Learning Kernels",
arXiv 2604.00316.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.data._cayley import OperationTable
from equilearn.data._cayley_symmetry import index_tensor
from equilearn.groups import fixed_points, orbits, subgroup

_NAMED = 4
"""As many elements are named in a message."""


def random_split(
    table: OperationTable, fraction: float, generator: torch.Generator | None = None
) -> Bool[Tensor, " N"]:
    """Train on a random part of the points.

    Args:
        table: the table.
        fraction: of its points, for training; rounded, and at least one point in each split.
        generator: draws them.

    Raises:
        InputError: a fraction that is not between 0 and 1.

    Example:
        >>> from equilearn.data import modular_table
        >>> int(random_split(modular_table(5), 0.6, torch.Generator().manual_seed(0)).sum())
        15
    """
    total = table.n**2
    size = _share(fraction, total)
    return _mask(torch.randperm(total, generator=generator)[:size], total)


def fixed_point_split(table: OperationTable, element: int) -> Bool[Tensor, " N"]:
    """Hold out the fixed points of one element, train on the rest; the split keeps that element's symmetry.

    Args:
        table: the table.
        element: index of an element with fixed points, such as `table.reflection(0)`.

    Raises:
        InputError: the element fixes no point, or every one (says which have fixed points).

    Example:
        >>> from equilearn.data import modular_table
        >>> table = modular_table(5)
        >>> train = fixed_point_split(table, table.reflection(2))
        >>> (~train).nonzero().flatten()  # (0, 2), (1, 3), (2, 4), (3, 0), (4, 1)
        tensor([ 2,  8, 14, 15, 21])
    """
    fixed = fixed_points(table.move([element]))[0]
    require(bool(fixed.any()) and not bool(fixed.all()), _without_fixed_points(table, element, fixed))
    return ~fixed


def subgroup_split(table: OperationTable, elements: Sequence[int] | Int[Tensor, " K"]) -> Bool[Tensor, " N"]:
    """Hold out whatever some element other than the identity of a subgroup fixes; the split keeps the subgroup.

    Args:
        table: the table.
        elements: indices of elements that generate the subgroup.

    Raises:
        InputError: none of the subgroup has a fixed point, or every point is fixed by one.

    Example:
        >>> from equilearn.data import modular_table
        >>> table = modular_table(6)
        >>> train = subgroup_split(table, [table.reflection(0), table.reflection(3)])
        >>> int((~train).sum())
        12
    """
    members = _generated(table, elements)
    fixed = fixed_points(table.move(members[1:])).any(0)
    which = "fix no point" if not bool(fixed.any()) else "fix every point between them"
    require(
        bool(fixed.any()) and not bool(fixed.all()),
        f"The {len(members)} elements of the subgroup, but for the identity, {which} of {table.name}. Choose one with "
        "some reflections, but not all: table.reflection(x) gives the index of s r^x.",
    )
    return ~fixed


def orbit_closed_split(
    table: OperationTable,
    elements: Sequence[int] | Int[Tensor, " K"],
    fraction: float,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, " N"]:
    """Train on whole orbits of a subgroup, drawn at random until no further one fits into the fraction.

    Args:
        table: the table.
        elements: indices of elements that generate the subgroup.
        fraction: of the points, for training, at most; one orbit at least.
        generator: draws the orbits.

    Raises:
        InputError: a fraction that is not between 0 and 1, or a subgroup with one orbit only.

    Example:
        >>> from equilearn.data import modular_table
        >>> table = modular_table(5)
        >>> train = orbit_closed_split(table, [table.reflection(1)], 0.5, torch.Generator().manual_seed(0))
        >>> bool((train[table.move([table.reflection(1)])] == train).all())
        True
    """
    members = _generated(table, elements)
    orbit = orbits(table.move(members))
    count = int(orbit.max()) + 1
    require(count > 1, f"The subgroup moves every point of {table.name} to every other: one orbit cannot be split.")
    order = torch.randperm(count, generator=generator)
    filled = orbit.bincount()[order].cumsum(0)
    chosen = filled <= _share(fraction, len(orbit))
    chosen[0], chosen[-1] = True, False
    return _mask(order[chosen], count)[orbit]


def move_random(
    table: OperationTable, train: Bool[Tensor, " N"], count: int, generator: torch.Generator | None = None
) -> Bool[Tensor, " N"]:
    """Hold out `count` more points, drawn from the training points. One is enough to break a symmetry of the split.

    Raises:
        InputError: no mask of the points, or as many points as there are for training.

    Example:
        >>> from equilearn.data import modular_table
        >>> table = modular_table(5)
        >>> train = fixed_point_split(table, table.reflection(0))
        >>> int(move_random(table, train, 1, torch.Generator().manual_seed(0)).sum())
        19
    """
    train = table.mask(train)
    moved = _drawn(torch.nonzero(train).flatten(), count, generator, "training points")
    require(len(moved) < int(train.sum()), f"Moving {count} points would leave none for training.")
    return train & ~_mask(moved, len(train))


def move_pairs(
    table: OperationTable,
    train: Bool[Tensor, " N"],
    element: int,
    count: int,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, " N"]:
    """Hold out `count` more orbits of an element, pairs for a reflection; a symmetry of the split stays whole.

    Orbits that lie in the training points altogether are drawn, those of one point left out.

    Args:
        table: the table.
        train: the training points.
        element: index of the element, such as `table.reflection(0)`.
        count: orbits to move.
        generator: draws them.

    Raises:
        InputError: no mask of the points, an index out of range, or fewer such orbits.

    Example:
        >>> from equilearn.data import modular_table
        >>> table = modular_table(5)
        >>> s = table.reflection(0)
        >>> int(move_pairs(table, fixed_point_split(table, s), s, 3, torch.Generator().manual_seed(0)).sum())
        14
    """
    train = table.mask(train)
    orbit = orbits(table.move([element]))
    size = orbit.bincount()
    inside = orbit[train].bincount(minlength=len(size))
    whole = torch.nonzero((inside == size) & (size > 1)).flatten()
    moved = _drawn(whole, count, generator, f"orbits of element {element} among the training points")
    left = train & ~_mask(moved, len(size))[orbit]
    require(bool(left.any()), f"Moving {count} orbits would leave no point for training.")
    return left


def move_back(
    table: OperationTable, train: Bool[Tensor, " N"], count: int, generator: torch.Generator | None = None
) -> Bool[Tensor, " N"]:
    """Return `count` held-out points to the training points. Fixed points that return leave a symmetry whole.

    Raises:
        InputError: no mask of the points, or as many points as are held out.

    Example:
        >>> from equilearn.data import modular_table
        >>> table = modular_table(5)
        >>> train = fixed_point_split(table, table.reflection(0))
        >>> int(move_back(table, train, 2, torch.Generator().manual_seed(0)).sum())
        22
    """
    train = table.mask(train)
    returned = _drawn(torch.nonzero(~train).flatten(), count, generator, "held-out points")
    require(len(returned) < int((~train).sum()), f"Returning {count} points would leave none to test on.")
    return train | _mask(returned, len(train))


# --- parts --------------------------------------------------------------------------------


def _mask(index: Tensor, size: int) -> Bool[Tensor, " size"]:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[index] = True
    return mask


def _share(fraction: float, total: int) -> int:
    require(0 < fraction < 1, f"fraction must lie between 0 and 1, got {fraction}.")
    return min(max(round(total * fraction), 1), total - 1)


def _drawn(candidates: Tensor, count: int, generator: torch.Generator | None, what: str) -> Tensor:
    count = positive_int(count, "count", 0)
    require(count <= len(candidates), f"There are {len(candidates)} {what}; {count} were asked for.")
    return candidates[torch.randperm(len(candidates), generator=generator)[:count]]


def _generated(table: OperationTable, elements: Sequence[int] | Tensor) -> Int[Tensor, " size"]:
    group = table.symmetry.group
    index = index_tensor(elements, group.order or 1, f"elements of {group}")
    return subgroup(group, group.take(group.elements(), index))


def _without_fixed_points(table: OperationTable, element: int, fixed: Tensor) -> str:
    group = table.symmetry.group
    if bool(fixed.all()):
        return f"Element {element} of {group} fixes every point of {table.name}: nothing would be left for training."
    n = table.n
    if not table.group.is_abelian:
        return (
            f"Element {element} of {group} fixes no point of {table.name}, and no other does: only the tables of "
            f"abelian groups have fixed points, and {table.group} is not abelian."
        )
    known = ", ".join(map(str, range(n, min(n + _NAMED, 2 * n)))) + (", ..." if n > _NAMED else "")
    return (
        f"Element {element} of {group} fixes no point of {table.name}. The reflections do, which are the elements "
        f"{known} up to {2 * n - 1}; table.reflection(x) gives that of s r^x."
    )
