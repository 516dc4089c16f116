"""What elements and subgroups of a finite group are called in a report."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn.groups import GeneralizedDihedral, Group, element_orders, subgroup


def element_name(group: Group, index: int) -> str:
    """`r^2` or `sr^35` (first r^35, then s) in a generalised dihedral group, `element 5` in another."""
    if not isinstance(group, GeneralizedDihedral):
        return "identity" if index == 0 else f"element {index}"
    rotations = group.rotations
    power = torch.tensor(index % rotations.order)
    flipped = index >= rotations.order
    # Index n + a is r^a s, which is s r^-a.
    digits = rotations.digits(rotations.inverse(power) if flipped else power).tolist()
    exponent = digits[0] if len(digits) == 1 else f"({','.join(map(str, digits))})"
    return f"{'s' if flipped else ''}r^{exponent}"


def generators_of(group: Group, indices: tuple[int, ...]) -> list[int]:
    """Those of the indices that generate more than the ones before them."""
    chosen: list[int] = []
    closed = torch.zeros(1, dtype=torch.int64)
    for g in indices:
        if not bool((closed == g).any()):
            chosen.append(g)
            closed = subgroup(group, group.take(group.elements(), torch.tensor(chosen)))
    return chosen


def subgroup_name(group: Group, members: Tensor) -> str:
    """A name for a subgroup: cyclic, dihedral where that is known, or its order."""
    orders = element_orders(group)[members]
    size = len(members)
    if int(orders.max()) == size:
        return f"C{size}"
    if isinstance(group, GeneralizedDihedral):
        turns = members[members < group.rotations.order]
        if 2 * len(turns) == size and int(element_orders(group)[turns].max()) == len(turns):
            return f"D{len(turns)}"
    return f"subgroup of order {size}"
