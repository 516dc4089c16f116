"""The orders of a graph's nodes that its colours leave open."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn.symmetrization._refine import descend, first_class, forms, refine, settle_twins, single_out

BRANCHES = 512
"""Most branches of one graph that the search for different orders keeps open."""


@dataclass(frozen=True)
class Orders:
    """Orders of each graph's nodes: `order[b, i, rank]` is a node.

    `complete` says whether the orders with their weights stand for all that the colours allow; else they
    were drawn at random among them. `count` is how many there are, an estimate where they were drawn.
    """

    order: Int[Tensor, "B k n"]
    weight: Float[Tensor, "B k"]
    complete: Bool[Tensor, "B"]
    count: Float[Tensor, "B"]


def tied_orders(
    colours: Int[Tensor, "B n"],
    pairs: Int[Tensor, "B n n"],
    real: Bool[Tensor, "B n"],
    *,
    limit: int,
    draws: int,
    invariant: bool,
    generator: torch.Generator | None,
) -> Orders:
    """All orders that singling out nodes of tied classes leads to, where they are at most `limit`; `draws`
    random ones of the graphs that have more.

    The set depends on the graph alone, so it moves with it. Where only the graph as written matters
    (`invariant`), orders that write it alike count once, with their weight.

    Args:
        colours: a stable colouring (see `refine`).
        pairs: everything about the graph, nodes on the diagonal.
        real: False at padding, whose colours must differ.
    """
    size = len(colours)
    graph = torch.arange(size, device=colours.device)
    if invariant:
        colours = refine(settle_twins(colours, pairs, real), pairs, real)
        found, owner, weight, complete = _different(colours, pairs, real, limit)
    else:
        found, owner, complete = _all(colours, pairs, real, limit)
        weight = torch.ones(len(found), dtype=torch.float64, device=colours.device)
    count = torch.zeros(size, dtype=torch.float64, device=colours.device).index_add_(0, owner, weight)
    rest = graph[~complete]
    if len(rest):
        start = torch.arange(len(rest), device=rest.device).repeat_interleave(draws)
        drawn, ways = descend(colours[rest[start]], pairs, real, rest[start], generator, random=True)
        count[rest] = ways.reshape(len(rest), draws).mean(1)
        found, owner = torch.cat((found, drawn)), torch.cat((owner, rest[start]))
        weight = torch.cat((weight, torch.ones_like(ways)))
    return Orders(*_padded(found, owner, weight, size), complete, count)


def _all(colours: Tensor, pairs: Tensor, real: Tensor, limit: int) -> tuple[Tensor, Tensor, Bool[Tensor, "B"]]:
    """Every leaf of the search tree, breadth first; graphs with more than `limit` are given up."""
    size = len(colours)
    owner = torch.arange(size, device=colours.device)
    complete = torch.ones(size, dtype=torch.bool, device=colours.device)
    while True:
        _, count = first_class(colours)
        if not bool((count > 0).any()):
            return colours, owner, complete
        leaves = torch.zeros(size, dtype=torch.int64, device=colours.device)
        complete &= leaves.index_add_(0, owner, count.clamp_min(1)) <= limit
        kept = complete[owner]
        colours, owner = _children(colours[kept], owner[kept], pairs, real)[:2]


def _children(colours: Tensor, owner: Tensor, pairs: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every member of the first tied class singled out in turn; finished colourings as they are. Also the
    number of each child's parent."""
    members, count = first_class(colours)
    members[:, 0] |= count == 0  # one child: itself
    parent, node = members.nonzero(as_tuple=True)
    children, owner = colours[parent], owner[parent]
    tied = count[parent] > 0
    children[tied] = refine(single_out(children[tied], node[tied]), pairs, real, owner[tied])
    return children, owner, parent


def _different(
    colours: Tensor, pairs: Tensor, real: Tensor, limit: int
) -> tuple[Tensor, Tensor, Tensor, Bool[Tensor, "B"]]:
    """Leaves that write the graph differently, each with the number of leaves for which it stands.

    Every child is followed down to one order. Siblings whose orders write the graph alike are images of
    each other under an automorphism that fixes what was singled out before, and so are all orders below
    them: one is kept for all (McKay and Piperno 2014, section 2.4).
    """
    size = len(colours)
    owner = torch.arange(size, device=colours.device)
    weight = torch.ones(size, dtype=torch.float64, device=colours.device)
    complete = torch.ones(size, dtype=torch.bool, device=colours.device)
    while bool((first_class(colours)[1] > 0).any()):
        children, owner, parent = _children(colours, owner, pairs, real)
        leaves, _ = descend(children, pairs, real, owner, None, random=False)
        first, weight = _merged(parent, forms(leaves, pairs, real, owner), weight[parent])
        colours, owner = children[first], owner[first]
        complete &= torch.bincount(owner, minlength=size) <= BRANCHES
        kept = complete[owner]
        colours, owner, weight = colours[kept], owner[kept], weight[kept]
    first, weight = _merged(owner, forms(colours, pairs, real, owner), weight)
    colours, owner = colours[first], owner[first]
    complete &= torch.bincount(owner, minlength=size) <= limit
    kept = complete[owner]
    return colours[kept], owner[kept], weight[kept], complete


def _merged(group: Tensor, form: Tensor, weight: Tensor) -> tuple[Int[Tensor, "K"], Float[Tensor, "K"]]:
    """The first of those that agree in `group` and `form`, and the weight of all of them together."""
    _, label = torch.stack((group, form)).unique(dim=1, return_inverse=True)
    count = int(label.max()) + 1 if len(label) else 0
    place = torch.arange(len(label), device=label.device)
    first = torch.full((count,), len(label), device=label.device).scatter_reduce_(0, label, place, "amin")
    total = torch.zeros(count, dtype=weight.dtype, device=label.device).index_add_(0, label, weight)
    back = first.argsort()
    return first[back], total[back]


def _padded(
    colours: Tensor, owner: Tensor, weight: Tensor, size: int
) -> tuple[Int[Tensor, "B k n"], Float[Tensor, "B k"]]:
    """Orders gathered by graph; graphs with fewer than the most repeat their first with weight zero."""
    n = colours.shape[-1]
    by_owner = torch.argsort(owner, stable=True)
    colours, owner, weight = colours[by_owner], owner[by_owner], weight[by_owner]
    counts = torch.bincount(owner, minlength=size)
    start = counts.cumsum(0) - counts
    k = int(counts.max()) if size else 1
    place = torch.arange(k, device=colours.device).expand(size, k)
    index = start.unsqueeze(-1) + torch.where(place < counts.unsqueeze(-1), place, 0)
    order = torch.argsort(colours, dim=-1)
    weights = torch.where(place < counts.unsqueeze(-1), weight[index] if size else weight.new_zeros(0, k), 0)
    weights = weights / weights.sum(-1, keepdim=True)
    return (order[index] if size else order.reshape(0, k, n)), weights
