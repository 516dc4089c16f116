"""Frames of a set: the permutations that sort it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from equilearn.symmetrization._base import generator_device

MAX_SHIFTS = 64
"""Most cyclic shifts over which ties are averaged; beyond it they are broken at random."""


def sort_order(
    rows: Num[Tensor, "*batch n C"], generator: torch.Generator | None = None, *, random_ties: bool = True
) -> Int[Tensor, "*batch n"]:
    """The permutation `p` with `rows[p]` in lexicographic order; equal rows in random order.

    As a group element it satisfies `(p^-1 x)[j] = x[p[j]]`: it brings the set to its sorted order,
    and moves along when the set is permuted. A random relabelling before stable sorts breaks ties
    whatever the scale of the values, unlike noise added to them. O(C n log n).
    """
    *batch, n, width = rows.shape
    if random_ties:
        where = generator_device(generator, rows.device)
        keys = torch.rand(*batch, n, generator=generator, device=where).to(rows.device)
        order = torch.argsort(keys, dim=-1)
    else:
        order = torch.arange(n, device=rows.device).expand(*batch, n)
    for column in range(width - 1, -1, -1):
        key = torch.gather(rows[..., column], -1, order)
        order = torch.gather(order, -1, torch.argsort(key, dim=-1, stable=True))
    return order


def tied_to_previous(rows: Num[Tensor, "*batch n C"], order: Int[Tensor, "*batch n"]) -> Bool[Tensor, "*batch n"]:
    """For each sorted position: whether its row equals the one before."""
    ordered = torch.gather(rows, -2, order.unsqueeze(-1).expand(rows.shape))
    equal = (ordered[..., 1:, :] == ordered[..., :-1, :]).all(-1)
    return torch.cat((torch.zeros_like(order[..., :1], dtype=torch.bool), equal), -1)


def cyclic_shifts(order: Int[Tensor, "*batch n"], tied: Bool[Tensor, "*batch n"]) -> Int[Tensor, "*batch k n"] | None:
    """The order with every run of ties turned round by 0, 1, ..., k-1 places; None where `k`, the
    least common multiple of the runs' lengths, exceeds `MAX_SHIFTS`.

    A cyclic group is transitive on the run: averaged over it, every tied point gets the mean of
    what the tied points get, which is the average over all permutations of the run for outputs
    that carry one value a point.
    """
    n = order.shape[-1]
    position = torch.arange(n, device=order.device).expand(order.shape)
    start = torch.where(tied, torch.zeros_like(position), position).cummax(-1).values  # first of its run
    run = start  # runs are labelled by where they start
    length = torch.zeros_like(position).scatter_add_(-1, run, torch.ones_like(position)).gather(-1, run)
    count = math.lcm(*(int(v) for v in length.unique())) if length.numel() else 1
    if count > MAX_SHIFTS:
        return None
    shift = torch.arange(count, device=order.device)[:, None]
    source = start.unsqueeze(-2) + (position.unsqueeze(-2) - start.unsqueeze(-2) + shift) % length.unsqueeze(-2)
    return torch.gather(order.unsqueeze(-2).expand(*order.shape[:-1], count, n), -1, source)


def smallest_row_gap(
    rows: Num[Tensor, "B n C"], order: Int[Tensor, "B n"], tied: Bool[Tensor, "B n"], kept: Bool[Tensor, "B n"]
) -> Float[Tensor, "B"]:
    """The smallest step, in the first column that differs, between neighbours of the sorted order, as a
    share of the largest entry: how far the rows are from changing places. Infinite for a single row."""
    ordered = torch.gather(rows.to(torch.float64), -2, order.unsqueeze(-1).expand(rows.shape))
    if rows.shape[-2] < 2 or rows.shape[-1] == 0:
        return torch.full(rows.shape[:1], math.inf, dtype=torch.float64, device=rows.device)
    steps = (ordered[..., 1:, :] - ordered[..., :-1, :]).abs()
    first = (steps > 0).to(torch.int8).argmax(-1, keepdim=True)
    step = steps.gather(-1, first).squeeze(-1)
    scale = ordered.abs().amax((-1, -2)).clamp_min(torch.finfo(torch.float64).tiny)
    meant = kept.gather(-1, order)[..., 1:] & ~tied[..., 1:]
    return torch.where(meant, step, math.inf).amin(-1) / scale
