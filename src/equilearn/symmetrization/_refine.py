"""Colours of nodes: whole numbers that depend on the graph and not on the order in which it is written.

A colour is the number of nodes in front of its class (the classes of McKay 1981): classes are ordered, and
a colouring in which all differ *is* an order of the nodes. All arithmetic is on whole numbers, wrapping
round at 64 bits, so that sums do not depend on the order of their terms.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor

from equilearn.symmetrization._base import generator_device

CHUNK = 2**22
"""Most entries of pairs that are hashed at once."""


def start_ranks(colours: Int[Tensor, "M n"], values: Num[Tensor, "M n"], tolerance: float = 0.0) -> Int[Tensor, "M n"]:
    """Split every class by `values`, smallest first. Values of a class that lie closer together than
    `tolerance`, neighbour by neighbour, stay together. O(M n log n)."""
    order = torch.argsort(values, dim=-1, stable=True)
    order = order.gather(-1, torch.argsort(colours.gather(-1, order), dim=-1, stable=True))
    sorted_colours, sorted_values = colours.gather(-1, order), values.gather(-1, order)
    apart = sorted_colours[:, 1:] != sorted_colours[:, :-1]
    if values.is_floating_point():
        apart |= sorted_values[:, 1:] - sorted_values[:, :-1] > tolerance
    else:  # a difference of whole numbers could wrap round
        apart |= sorted_values[:, 1:] != sorted_values[:, :-1]
    place = torch.arange(colours.shape[-1], device=colours.device).expand_as(colours)
    first = torch.cat((torch.zeros_like(place[:, :1]), torch.where(apart, place[:, 1:], 0)), -1)
    return torch.empty_like(colours).scatter_(-1, order, first.cummax(-1).values)


def scrambled(z: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """A fixed bijection of 64-bit numbers without visible pattern (the finaliser of SplitMix64)."""
    z = (z ^ _shifted(z, 30)) * -4658895280553007687
    z = (z ^ _shifted(z, 27)) * -7723592293110705685
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, places: int) -> Tensor:
    """A shift to the right that fills up with zeros, also for negative numbers."""
    return (z >> places) & ((1 << (64 - places)) - 1)


def refine(
    colours: Int[Tensor, "M n"],
    pairs: Int[Tensor, "B n n"],
    real: Bool[Tensor, "B n"],
    graph: Int[Tensor, "M"] | None = None,
) -> Int[Tensor, "M n"]:
    """Split classes until nodes of one class see the same colours through the same pairs.

    Weisfeiler and Leman (1968) on the complete graph whose edges carry `pairs`. `graph` says which of the
    `B` graphs each colouring belongs to; None: one colouring a graph. O(rounds M n^2).
    """
    if graph is None:
        graph = torch.arange(len(colours), device=colours.device)
    refined = [
        _refine(part, pairs[which], real[which])
        for part, which in zip(*(t.split(_chunk(pairs)) for t in (colours, graph)), strict=True)
    ]
    return torch.cat(refined) if refined else colours


def _chunk(pairs: Tensor) -> int:
    return max(1, CHUNK // max(pairs[0].numel() if len(pairs) else 1, 1))


def _refine(colours: Tensor, pairs: Tensor, real: Tensor) -> Tensor:
    for _ in range(colours.shape[-1]):
        seen = scrambled(pairs + scrambled(colours).unsqueeze(-2))
        sums = torch.where(real.unsqueeze(-2), seen, 0).sum(-1)
        finer = start_ranks(colours, torch.where(real, sums, 0))
        if torch.equal(finer, colours):
            break
        colours = finer
    return colours


def first_class(colours: Int[Tensor, "M n"]) -> tuple[Bool[Tensor, "M n"], Int[Tensor, "M"]]:
    """The members of the first class that has several, and how many; none where all colours differ."""
    sizes = torch.zeros_like(colours).scatter_add_(-1, colours, torch.ones_like(colours))
    several = sizes > 1
    first = several.to(torch.int8).argmax(-1, keepdim=True)
    count = torch.where(several.any(-1), sizes.gather(-1, first).squeeze(-1), 0)
    return (colours == first) & (count > 0).unsqueeze(-1), count


def single_out(colours: Int[Tensor, "M n"], node: Int[Tensor, "M"]) -> Int[Tensor, "M n"]:
    """Put one node in front of the others of its class."""
    node = node.unsqueeze(-1)
    others = colours == colours.gather(-1, node)
    return (colours + others).scatter(-1, node, colours.gather(-1, node))


def descend(
    colours: Int[Tensor, "M n"],
    pairs: Int[Tensor, "B n n"],
    real: Bool[Tensor, "B n"],
    graph: Int[Tensor, "M"],
    generator: torch.Generator | None,
    *,
    random: bool,
) -> tuple[Int[Tensor, "M n"], Tensor]:
    """Single out one node after the other and refine, until all colours differ.

    Returns:
        The orders, and for each the product of the sizes of the classes on the way: with random choices its
        mean is the number of orders that could have been reached (Knuth 1975); float64.
    """
    colours = colours.clone()
    ways = torch.ones(len(colours), dtype=torch.float64, device=colours.device)
    while True:
        members, count = first_class(colours)
        open_ = count > 0
        if not bool(open_.any()):
            return colours, ways
        ways[open_] *= count[open_]
        some = members[open_]
        keys = some.to(torch.float32)
        if random:
            where = generator_device(generator, some.device)
            keys = keys * (1 + torch.rand(some.shape, generator=generator, device=where).to(some.device))
        colours[open_] = refine(single_out(colours[open_], keys.argmax(-1)), pairs, real, graph[open_])


def forms(
    colours: Int[Tensor, "M n"],
    pairs: Int[Tensor, "B n n"],
    real: Bool[Tensor, "B n"],
    graph: Int[Tensor, "M"],
) -> Int[Tensor, "M"]:
    """One number for the graph as each order writes it: equal where two orders write it alike, that is
    where one follows from the other by an automorphism. `pairs` must tell everything about the graph."""
    n = colours.shape[-1]
    parts: list[Tensor] = []
    for part, which in zip(*(t.split(_chunk(pairs)) for t in (colours, graph)), strict=True):
        places = scrambled(part.unsqueeze(-1) * n + part.unsqueeze(-2))
        known = real[which].unsqueeze(-1) & real[which].unsqueeze(-2)
        parts.append(torch.where(known, scrambled(pairs[which] ^ places), 0).sum((-1, -2)))
    return torch.cat(parts) if parts else graph


def settle_twins(
    colours: Int[Tensor, "B n"], pairs: Int[Tensor, "B n n"], real: Bool[Tensor, "B n"]
) -> Int[Tensor, "B n"]:
    """Tell twins apart by where they stand: nodes that can change places with nothing else changed.

    Which of them comes first makes no difference to the graph as it is then written. O(B n^3).
    """
    n = colours.shape[-1]
    eye = torch.eye(n, dtype=torch.bool, device=colours.device)
    own = pairs.diagonal(dim1=-2, dim2=-1)
    alike = (colours.unsqueeze(-1) == colours.unsqueeze(-2)) & (pairs == pairs.mT)
    alike &= (own.unsqueeze(-1) == own.unsqueeze(-2)) & real.unsqueeze(-1) & real.unsqueeze(-2)
    for k in range(n):  # what both see of every third node
        same = (pairs[:, :, k].unsqueeze(-1) == pairs[:, :, k].unsqueeze(-2)) & (
            pairs[:, k].unsqueeze(-1) == pairs[:, k].unsqueeze(-2)
        )
        alike &= same | eye[k].unsqueeze(-1) | eye[k].unsqueeze(-2)
    before = (alike & ~eye & torch.ones_like(eye).tril(-1)).sum(-1)
    return start_ranks(colours, before)
