"""The label-preserving symmetries of operation tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError
from equilearn.actions import VectorAction, vectors
from equilearn.groups import Abelian, Element, FiniteGroup, GeneralizedDihedral, Group, factors_of
from equilearn.reps import permutation
from equilearn.symmetry import Symmetry


def label_symmetry(group: Group, operation: str, table: Int[Tensor, "n n"], inverses: Int[Tensor, " n"]) -> Symmetry:
    """The symmetry that `OperationTable.symmetry` describes. O(n^2) memory."""
    n = len(table)
    if group.is_abelian:
        moving = _dihedral(group, table, inverses)
        product = operation == "*"
        # Row x: what r^x does to the elements of each slot.
        first, second = table.T, table.T[inverses] if product else table.T
        flip = torch.arange(n) if product else inverses
        turns = torch.cat([first, n + second], dim=1)
        # r^x s: s moves slot 1 to slot 2 and slot 2 to slot 1, then r^x acts there.
        flips = torch.cat([n + second[:, flip], first[:, flip]], dim=1)
        images = torch.cat([turns, flips])
    else:
        moving = group
        away = table[:, inverses].T  # [g, a]: a g^-1
        images = torch.cat([away, n + (table if operation == "*" else away)], dim=1)
    return Symmetry(moving, input=vectors(permutation(moving, images)))


def _dihedral(group: Group, table: Int[Tensor, "n n"], inverses: Int[Tensor, " n"]) -> Group:
    """`Dih(A)`, index `x` for `r^x` and `n + x` for `r^x s`: by its orders where these are known, else by its table."""
    factors = factors_of(group)
    if all(isinstance(factor, Abelian) for factor in factors):
        orders = [order for factor in factors for order in cast(Abelian, factor).orders]
        return GeneralizedDihedral(orders)
    n, quotient = len(table), table[:, inverses]
    rows = [torch.cat([table, table + n], dim=1), torch.cat([quotient + n, quotient], dim=1)]
    return FiniteGroup.from_table(torch.cat(rows), name=f"Dih({group})")


def moved(symmetry: Symmetry, g: Element, n: int) -> Int[Tensor, "K N"]:
    """Where elements `g`, batch `(K,)`, take the points `a n + b`."""
    images = cast(VectorAction, symmetry.input).rep.permutation(g)
    first, second = images[:, :n, None], images[:, None, n:]
    # Of the two coordinates of a moved point, the smaller lies in the first slot.
    return (torch.minimum(first, second) * n + torch.maximum(first, second) - n).flatten(1)


def index_tensor(values: Tensor | Sequence[int], size: int, what: str) -> Int[Tensor, " K"]:
    """Indices `(K,)` of things numbered `0 .. size - 1`.

    Raises:
        InputError: fractions, or an index out of range.
    """
    try:
        index = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputTypeError(f"Give {what} by their indices, whole numbers from 0 to {size - 1}.") from error
    if index.numel() and (index.is_floating_point() or index.dtype == torch.bool or index.is_complex()):
        raise InputTypeError(f"Give {what} by their indices, whole numbers from 0 to {size - 1}; got {index.dtype}.")
    index = index.reshape(-1).to(torch.int64)
    outside = index[(index < 0) | (index >= size)]
    if len(outside):
        raise InputError(f"There are {size} {what}, numbered 0 to {size - 1}; got {int(outside[0])}.")
    return index
