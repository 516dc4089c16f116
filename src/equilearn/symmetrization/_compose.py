"""The poses of an input under a whole group: those of its factors, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn.actions import CombinedAction, Data, batch_size, first_leaf
from equilearn.groups import Element, Group, Product, Symmetric
from equilearn.symmetrization._base import Elements, uniform_weight
from equilearn.symmetrization._moving import repeat
from equilearn.symmetrization._node_parts import is_graph, tells_all
from equilearn.symmetrization._padding import readable
from equilearn.symmetrization._poses import FindPoses, Poses, Reading, Ties, poses_of
from equilearn.symmetrization._views import factors_of, is_pointwise
from equilearn.symmetry import Symmetry


@dataclass(frozen=True)
class Plan:
    """Which factor is read when, and how. Permutations come last: they sort what the others have brought
    to their pose, while those others must not depend on the order of the points."""

    order: tuple[int, ...]
    find: tuple[FindPoses, ...]


def plan_frame(symmetry: Symmetry, limit: int, draws: int = 1, weighted: bool = False) -> Plan:
    """How to read the poses of the whole group. Raises `InputError` where a factor has none."""
    factors = factors_of(symmetry.group)
    order = sorted(range(len(factors)), key=lambda i: isinstance(factors[i], Symmetric))
    moved = any(not isinstance(f, Symmetric) for f in factors)
    # Orders of equal effect count once only where the order is all that is left to choose.
    how = Reading(limit, quantised=moved, draws=draws, invariant=symmetry.is_invariance, weighted=weighted)
    return Plan(tuple(order), tuple(poses_of(symmetry.input, i, how) for i in order))


def equivariant_frame(
    plan: Plan, symmetry: Symmetry, x: Data, generator: torch.Generator | None, ties: Ties
) -> Elements:
    """All poses of `x` with their weights: `F(hx) = h F(x)` as sets, or in law where they are not unique.

    Factors commute, so each is read from the input brought to the poses of those before it:
    `k` is the product of the factors' numbers of poses.

    Raises:
        InputError: what the group moves holds NaN or infinite values, other than at padding.
    """
    group = symmetry.group
    x = readable(symmetry.input, x)
    if symmetry.is_invariance and _sees_all(symmetry):
        ties = "random"  # equal rows in any order are the same input: nothing to average
    size, count = batch_size(x), 1
    weight = uniform_weight(x, 1)
    parts: list[Element] = []
    unique = torch.ones(size, dtype=torch.bool, device=first_leaf(x).device)
    aux: dict[str, Any] = {}
    current = x
    for position, (index, find) in enumerate(zip(plan.order, plan.find, strict=True)):
        factor = factors_of(group)[index]
        poses = find(current, generator, ties)
        more = factor.batch_shape(poses.g)[1]
        read = [factors_of(group)[i] for i in plan.order[:position]]
        parts = [_repeat(f, g, more) for f, g in zip(read, parts, strict=True)]
        flat = factor.reshape(poses.g, (size * count * more,))
        parts.append(flat)
        unique &= _of_input(_resolved(poses, symmetry, ties), size).all(-1)
        weight = _weights(weight, poses, more)
        _note(aux, poses, size)
        count *= more
        if position + 1 < len(plan.order):
            current = symmetry.act_input(group.inverse(_embed(group, index, flat)), repeat(current, more))
    whole = parts[0]
    if isinstance(group, Product):
        whole = tuple(part for _, part in sorted(zip(plan.order, parts, strict=True), key=lambda pair: pair[0]))
    shared = all(factors_of(group)[i].is_finite and not isinstance(factors_of(group)[i], Symmetric) for i in plan.order)
    g = group.reshape(whole, (size, count))
    aux["random"] = ~unique
    return Elements(g, weight, exact=bool(unique.all()), aux=aux, shared=shared)


def _weights(weight: Float[Tensor, "B k"], poses: Poses, more: int) -> Float[Tensor, "B k*more"]:
    """The weights so far, shared out over the `more` poses that each has got."""
    if poses.weight is None:
        return (weight / more).repeat_interleave(more, dim=1)
    shared = weight.flatten().unsqueeze(-1) * poses.weight.to(weight.dtype)
    return shared.reshape(len(weight), weight.shape[1] * more)


def _note(aux: dict[str, Any], poses: Poses, size: int) -> None:
    """Keep what the poses say of each input: flags of any pose, the smallest margin, the most orders."""
    for name, flag in (("degenerate", poses.degenerate), ("tied", poses.tied)):
        if flag is not None:
            flag = _of_input(flag, size).any(-1)
            aux[name] = aux[name] | flag if name in aux else flag
    for name, margin in poses.margins.items():
        least = _of_input(margin, size).amin(-1)
        margins = aux.setdefault("margins", {})
        margins[name] = torch.minimum(margins[name], least) if name in margins else least
    if poses.count is not None:
        aux["frame_size"] = _of_input(poses.count, size).amax(-1)


def _sees_all(symmetry: Symmetry) -> bool:
    """Whether sorting has looked at all parts of the data, so that rows which tie are equal in all of them."""
    if not isinstance(symmetry.input, CombinedAction):
        return True
    permuting = [i for i, f in enumerate(factors_of(symmetry.group)) if isinstance(f, Symmetric)]
    return all(tells_all(symmetry.input, i) and not is_graph(symmetry.input, i) for i in permuting)


def _resolved(poses: Poses, symmetry: Symmetry, ties: Ties) -> Bool[Tensor, "M"]:
    """Which inputs have a unique result, ties considered."""
    if poses.tied is None or poses.settled:
        return poses.unique
    if not _sees_all(symmetry):
        return ~poses.tied  # equal in the parts that were sorted does not mean equal in the others
    if symmetry.is_invariance:
        return torch.ones_like(poses.tied)
    return poses.unique if ties == "average" and is_pointwise(symmetry.output) else ~poses.tied


def _of_input(flag: Bool[Tensor, "B*k"], size: int) -> Bool[Tensor, "B k"]:
    return flag.reshape(size, -1) if size else flag.reshape(0, 1)


def _repeat(group: Group, g: Element, times: int) -> Element:
    (count,) = group.batch_shape(g)
    index = torch.arange(count, device=_leaf(g).device).repeat_interleave(times)
    return group.take(g, index)


def _leaf(g: Element) -> Tensor:
    while isinstance(g, tuple):
        g = g[0]
    return g


def _embed(group: Group, index: int, g: Element) -> Element:
    return group.embed(index, g) if isinstance(group, Product) else g
