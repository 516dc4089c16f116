"""The inner structure of finite groups: table, classes, subgroups, cosets."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.groups._base import Element, Group
from equilearn.groups._closure import table_from_links
from equilearn.groups._orbits import orbits

TABLE_LIMIT = 6_000
"""Largest order whose full table is computed (8 bytes times its square)."""

SUBGROUP_LIMIT = 20_000
"""Largest number of subgroups that are listed."""


def cayley_table(group: Group) -> Int[Tensor, "order order"]:
    """The multiplication table: entry `[i, j]` is the index of `elements()[i] elements()[j]`.

    Raises:
        InputError: if the group is not finite or has more than 6,000 elements.

    O(order^2) look-ups and O(order K) products for K generators: the product with each generator is
    computed, the rest of the table follows from these.

    Example:
        >>> from equilearn.groups import Cyclic
        >>> cayley_table(Cyclic(3))
        tensor([[0, 1, 2],
                [1, 2, 0],
                [2, 0, 1]])
    """
    order = _order(group)
    require(
        order <= TABLE_LIMIT,
        f"The table of {group.name} would have {order}^2 entries; tables are computed up to order {TABLE_LIMIT}. "
        "compose() and index_of() work without one.",
    )
    elements, generators = group.elements(), group.generators()
    (count,) = group.batch_shape(generators)
    right = [
        group.index_of(group.compose(elements, group.expand(group.take(generators, k), (order,)))) for k in range(count)
    ]
    links = torch.stack(right, dim=1) if right else torch.zeros(order, 0, dtype=torch.int64)
    return _table_in_order(links, group.name)


def _table_in_order(links: Tensor, name: str) -> Tensor:
    """The table from the products `links[x, s]` of each element with each generator."""
    order = len(links)
    targets = links.tolist()
    # Breadth first from the identity: how to come to each element by one generator from an earlier one.
    found, origin, place = [0], [(0, 0)], {0: 0}
    for x in found:  # grows while it is walked through
        for s, y in enumerate(targets[x]):
            if y not in place:
                place[y] = len(found)
                found.append(y)
                origin.append((place[x], s))
    require(len(found) == order, f"generators() of {name} generate {len(found)} of its {order} elements.")
    walk = torch.tensor(found)
    back = torch.argsort(walk)
    table = table_from_links(back[links[walk]], origin)
    return walk[table[back[:, None], back]]


def conjugacy_classes(group: Group) -> Int[Tensor, " order"]:
    """The conjugacy class of each element, in the order of `elements()`: 0 for that of the identity,
    then counted by first appearance.

    Raises:
        InputError: if the group is not finite or too large to list.

    O(order K) for K generators: orbits of conjugation by the generators.

    Example:
        >>> from equilearn.groups import Symmetric
        >>> conjugacy_classes(Symmetric(3))
        tensor([0, 1, 1, 2, 2, 1])
    """
    order = _order(group)
    elements = group.elements()
    generators = group.generators()
    (count,) = group.batch_shape(generators)
    if count == 0:
        return torch.arange(order)
    moves = []
    for k in range(count):
        s = group.take(generators, k)
        s = group.expand(s, (order,))
        moves.append(group.index_of(group.compose(group.compose(s, elements), group.inverse(s))))
    return orbits(torch.stack(moves))


def element_orders(group: Group) -> Int[Tensor, " order"]:
    """The order of each element, in the order of `elements()`.

    Raises:
        InputError: if the group is not finite or too large to list.

    O(order e) for the largest element order e.

    Example:
        >>> from equilearn.groups import Quaternion
        >>> element_orders(Quaternion())
        tensor([1, 4, 2, 4, 4, 4, 4, 4])
    """
    order = _order(group)
    elements = group.elements()
    result = torch.zeros(order, dtype=torch.int64)
    power, exponent = elements, 1
    while True:
        home = group.index_of(power) == 0
        result = torch.where((result == 0) & home, exponent, result)
        if bool((result > 0).all()):
            return result
        power, exponent = group.compose(power, elements), exponent + 1


def center(group: Group) -> Int[Tensor, " size"]:
    """The indices of the elements that commute with all others.

    Raises:
        InputError: if the group is not finite or too large to list.

    Example:
        >>> from equilearn.groups import Dihedral
        >>> center(Dihedral(4))
        tensor([0, 2])
    """
    order = _order(group)
    elements = group.elements()
    generators = group.generators()
    central = torch.ones(order, dtype=torch.bool)
    for k in range(group.batch_shape(generators)[0]):
        s = group.expand(group.take(generators, k), (order,))
        central &= group.index_of(group.compose(s, elements)) == group.index_of(group.compose(elements, s))
    return torch.nonzero(central).reshape(-1)


def subgroup(group: Group, generators: Element) -> Int[Tensor, " size"]:
    """The indices, ascending, of the elements of the subgroup that the given elements generate.

    Args:
        group: a finite group.
        generators: elements with batch shape `(K,)` or `()`.

    Raises:
        InputError: if the group is not finite or too large to list, or an element is not in it.

    O(size K).

    Example:
        >>> from equilearn.groups import Dihedral
        >>> subgroup(Dihedral(4), torch.tensor([2, 4]))
        tensor([0, 2, 4, 6])
    """
    order = _order(group)
    group.validate(generators)
    count = 1
    for size in group.batch_shape(generators):
        count *= size
    generators = group.to(group.reshape(generators, (count,)), device="cpu")
    reached = torch.zeros(order, dtype=torch.bool)
    reached[0] = True
    frontier = group.identity((1,)) if count else None
    while frontier is not None:
        (width,) = group.batch_shape(frontier)
        left = group.take(frontier, torch.arange(width).repeat_interleave(count))
        right = group.take(generators, torch.arange(count).repeat(width))
        products = group.compose(left, right)
        index = group.index_of(products)
        fresh = torch.nonzero(~reached[index]).reshape(-1)
        reached[index] = True
        frontier = group.take(products, fresh[_first_of_each(index[fresh])]) if len(fresh) else None
    return torch.nonzero(reached).reshape(-1)


def _first_of_each(values: Tensor) -> Tensor:
    """The position of the first occurrence of each distinct value."""
    _, inverse = torch.unique(values, return_inverse=True)
    positions = torch.full((int(inverse.max()) + 1,), len(values), dtype=torch.int64)
    return positions.scatter_reduce_(0, inverse, torch.arange(len(values)), "amin")


def cosets(
    group: Group, members: Int[Tensor, " size"] | Bool[Tensor, " order"], side: str = "left"
) -> Int[Tensor, " order"]:
    """The coset of each element: `g H` (`side="left"`) or `H g` (`"right"`), `H` given by indices or a mask.

    Labels count by first appearance; the subgroup itself is 0.

    Raises:
        InputError: if `members` are not the indices of a subgroup.

    O(order + size^2).

    Example:
        >>> from equilearn.groups import Cyclic
        >>> cosets(Cyclic(6), torch.tensor([0, 3]))
        tensor([0, 1, 2, 0, 1, 2])
    """
    order = _order(group)
    require(side in ("left", "right"), f"side must be 'left' or 'right', got {side!r}.")
    members = _require_subgroup(group, members)
    elements = group.elements()
    labels = torch.full((order,), -1, dtype=torch.int64)
    inside = group.take(elements, members)
    count = 0
    for i in range(order):
        if labels[i] >= 0:
            continue
        g = group.expand(group.take(elements, i), (len(members),))
        coset = group.compose(g, inside) if side == "left" else group.compose(inside, g)
        labels[group.index_of(coset)] = count
        count += 1
    return labels


def is_normal(group: Group, members: Int[Tensor, " size"] | Bool[Tensor, " order"]) -> bool:
    """Whether the subgroup with the given indices (or mask) is normal.

    Raises:
        InputError: if `members` are not the indices of a subgroup.

    Example:
        >>> from equilearn.groups import Dihedral
        >>> is_normal(Dihedral(4), torch.tensor([0, 2])), is_normal(Dihedral(4), torch.tensor([0, 4]))
        (True, False)
    """
    members = _require_subgroup(group, members)
    inside = group.take(group.elements(), members)
    mask = torch.zeros(group.order or 0, dtype=torch.bool)
    mask[members] = True
    generators = group.generators()
    for k in range(group.batch_shape(generators)[0]):
        s = group.expand(group.take(generators, k), (len(members),))
        moved = group.compose(group.compose(s, inside), group.inverse(s))
        if not bool(mask[group.index_of(moved)].all()):
            return False
    return True


def subgroups(group: Group, *, up_to_conjugacy: bool = False) -> tuple[Int[Tensor, " size"], ...]:
    """All subgroups, as ascending indices into `elements()`; sorted by size, then by indices.

    Args:
        group: a finite group with at most 6,000 elements.
        up_to_conjugacy: one subgroup (the first) of each conjugacy class.

    Raises:
        InputError: if the group is too large, or has more than 20,000 subgroups.

    Every subgroup is reached from the trivial one by joining cyclic subgroups of prime-power
    order, one at a time; a join costs O(its order) table look-ups (Dimino).

    Example:
        >>> from equilearn.groups import Symmetric
        >>> len(subgroups(Symmetric(4))), len(subgroups(Symmetric(4), up_to_conjugacy=True))
        (30, 11)
    """
    table = cayley_table(group).numpy()
    lattice = _Lattice(table, group.name)
    found = sorted(lattice.all(), key=lambda members: (len(members), members))
    if up_to_conjugacy:
        inverse = group.index_of(group.inverse(group.elements())).numpy()
        seen: set[tuple[int, ...]] = set()
        chosen = []
        for members in found:
            if members not in seen:
                chosen.append(members)
                index = list(members)
                conjugates = table[table[:, index], inverse[:, None]]
                conjugates.sort(axis=1)
                seen.update(map(tuple, conjugates.tolist()))
        found = chosen
    return tuple(torch.tensor(members, dtype=torch.int64) for members in found)


class _Lattice:
    """The subgroups of a group given by its table (a numpy array)."""

    def __init__(self, table: Any, name: str):
        self.table = table
        self.name = name

    def all(self) -> set[tuple[int, ...]]:
        pieces = self._prime_power_cyclic()
        # Each subgroup with generators of it, which joins need.
        found: dict[tuple[int, ...], tuple[int, ...]] = {(0,): ()}
        queue: list[tuple[int, ...]] = [(0,)]
        while queue:
            members = queue.pop()
            inside = set(members)
            for generator in pieces:
                if generator in inside:
                    continue
                larger = self._join(members, (*found[members], generator))
                if larger not in found:
                    if len(found) >= SUBGROUP_LIMIT:
                        raise InputError(f"{self.name} has more than {SUBGROUP_LIMIT} subgroups: too many to list.")
                    found[larger] = (*found[members], generator)
                    queue.append(larger)
        return set(found)

    def _prime_power_cyclic(self) -> list[int]:
        """One generator of each cyclic subgroup of prime-power order."""
        chosen: dict[frozenset[int], int] = {}
        for g in range(1, len(self.table)):
            powers, x = [0], g
            while x != 0:
                powers.append(x)
                x = int(self.table[x, g])
            if _is_prime_power(len(powers)):
                chosen.setdefault(frozenset(powers), g)
        return list(chosen.values())

    def _join(self, members: tuple[int, ...], generators: tuple[int, ...]) -> tuple[int, ...]:
        """The subgroup generated by a subgroup and the last of the generators, as a union of its cosets."""
        import numpy as np

        base = np.array(members)
        inside = np.zeros(len(self.table), dtype=bool)
        inside[base] = True
        representatives = [0]
        for r in representatives:  # grows while it is walked through
            for s in generators:
                x = int(self.table[r, s])
                if not inside[x]:
                    inside[self.table[base, x]] = True
                    representatives.append(x)
        return tuple(np.flatnonzero(inside).tolist())


def _is_prime_power(n: int) -> bool:
    p = next((p for p in range(2, n + 1) if n % p == 0), 0)
    while p and n % p == 0:
        n //= p
    return p > 0 and n == 1


def _order(group: Group) -> int:
    return group._require_enumerable()


def _require_subgroup(group: Group, members: Int[Tensor, " size"] | Bool[Tensor, " order"]) -> Tensor:
    order = _order(group)
    members = torch.nonzero(members).reshape(-1) if members.dtype == torch.bool else members.reshape(-1).cpu()
    require(
        len(members) > 0 and bool(((members >= 0) & (members < order)).all()),
        f"A subgroup of {group.name} is given by indices from 0 to {order - 1}.",
    )
    closed = subgroup(group, group.take(group.elements(), members))
    require(
        len(closed) == len(members),
        f"The {len(members)} given elements are not a subgroup of {group.name}: they generate {len(closed)} elements.",
    )
    return closed
