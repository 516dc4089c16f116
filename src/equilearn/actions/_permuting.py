"""What every action that permutes shares: which factor of the group does it, and moving entries along an axis."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.actions._geometry import Permuting, permutings
from equilearn.groups import Element, Group, Product
from equilearn.reps import Rep, factor, permutation


def the_permuting(group: Group, count: int | None, what: str = "sets") -> Permuting:
    """The one factor of `group` that permutes (`count` things, where that singles it out)."""
    found = permutings(group)
    if not found:
        raise InputError(
            f"{group} is no group of permutations, so it does not act on {what}. "
            + ("Use points() or vectors()." if what == "sets" else "Symmetric(n) does.")
        )
    fitting = [part for part in found if part.count == count] if len(found) > 1 and count is not None else found
    require(
        len(fitting) == 1,
        f"{len(found)} factors of {group} permute things, of {', '.join(str(part.count) for part in found)} each. "
        f"Say which one acts, for example actions.factor(0, actions.{what}()).",
    )
    return fitting[0]


def agreed_count(group: Group, permuting: Permuting | None, count: int | None) -> int | None:
    """How many points there are: as asked for, and as the group permutes."""
    if count is not None:
        count = positive_int(count, "n")
    if permuting is None:
        return count
    require(
        count in (None, permuting.count),
        f"{group} permutes {permuting.count} points, but the action was asked for {count}. Make the two agree.",
    )
    return permuting.count


def permuted(permuting: Permuting, g: Element, x: Tensor, axes: int = 1) -> Tensor:
    """`(p x)[p[i]] = x[i]` on axis 1, or with `axes=2` on axes 1 and 2, read through the inverse permutation."""
    source = inverse(permuting.permutation(g).to(x.device))
    if source.ndim == 1:
        for axis in range(1, axes + 1):
            x = x.index_select(axis, source)
        return x
    # One gather of whole rows, whatever they hold: faster than one an axis.
    size, count = source.shape
    rows = torch.arange(size, device=x.device).unsqueeze(-1) * count + source
    if axes == 2:
        rows = rows.unsqueeze(-1) * count + source.unsqueeze(1)
    return x.flatten(0, axes).index_select(0, rows.flatten()).reshape(x.shape)


def inverse(p: Int[Tensor, "*batch n"]) -> Int[Tensor, "*batch n"]:
    """The inverse permutations. O(n) each."""
    places = torch.arange(p.shape[-1], device=p.device).expand_as(p)
    return torch.empty_like(places).scatter_(-1, p.to(torch.int64), places)


def permutes_naturally(rep: Rep, index: int) -> bool:
    """Whether `rep` is the permutation of points by which factor `index` of its group is given."""
    group = rep.group
    factors = group.factors if isinstance(group, Product) else (group,)
    if index not in range(len(factors)):
        return False
    try:
        natural = permutation(factors[index])
    except InputError:
        return False
    return rep == (factor(group, index, natural) if isinstance(group, Product) else natural)
