"""Rows that are one-hot in a few slots, such as `e_a + e_b` for a pair of symbols: found, and used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_PADDING = 4
"""How many times the rows may be copied to pad groups of a symbol to the same size."""


@dataclass(frozen=True)
class Slots:
    """Where the ones of one-hot rows stand.

    Args:
        index: `(N, S)`, the column of the one in each slot of each row, ascending along a row.
        width: number of columns D.
    """

    index: Int[Tensor, "N S"]
    width: int

    @property
    def count(self) -> int:
        """Number of slots."""
        return self.index.shape[1]


def find_slots(x: Float[Tensor, "N D"]) -> Slots | None:
    """The slots of rows that are one-hot in each of them; None where they are not, or it would not pay.

    It pays where the rows are long: at least four columns a slot. O(N D).

    Example:
        >>> find_slots(torch.eye(4).repeat_interleave(2, 1))
        >>> pairs = torch.cat([torch.eye(5), torch.eye(5).flip(0)], 1)
        >>> find_slots(pairs).index[0]
        tensor([0, 9])
    """
    rows, width = x.shape
    if rows == 0 or width < 4 or not bool(((x == 0) | (x == 1)).all()):
        return None
    counts = (x != 0).sum(1)
    slots = int(counts[0])
    if slots == 0 or 4 * slots > width or not bool((counts == slots).all()):
        return None
    index = torch.nonzero(x)[:, 1].reshape(rows, slots)
    apart = bool((index[:, :-1].amax(0) < index[:, 1:].amin(0)).all())
    return Slots(index, width) if apart else None


def bucket_sum(
    phi: Float[Tensor, "B N"],
    dual: Float[Tensor, "N C"],
    symbols: Int[Tensor, " N"],
    width: int,
    out: Float[Tensor, "width B C"] | None = None,
) -> Float[Tensor, "width B C"]:
    """`sum_i phi[j, i] dual[i, c] [symbols[i] = s]` for every symbol `s`: one small product a symbol, batched.

    Rows are grouped by symbol and padded to the largest group; where groups are so uneven that this would be mostly
    padding, a symbol at a time. O(B N C) and `width` times less than the product with a dense one-hot matrix.
    """
    out = phi.new_empty(width, len(phi), dual.shape[1]) if out is None else out
    order = torch.argsort(symbols, stable=True)
    counts = torch.bincount(symbols, minlength=width)
    largest = int(counts.max())
    starts = counts.cumsum(0) - counts
    if width * largest > MOST_PADDING * len(symbols):
        return _one_by_one(phi[:, order], dual[order], starts.tolist(), counts.tolist(), out)
    place = torch.arange(largest, device=symbols.device)
    inside = place < counts[:, None]
    rows = order[torch.where(inside, starts[:, None] + place, 0)]  # (width, largest), padding repeats a row
    grouped = dual[rows] * inside[..., None]
    flat = rows.flatten()
    in_order = len(flat) == phi.shape[1] and bool((flat[1:] > flat[:-1]).all())
    columns = (phi if in_order else phi[:, flat]).unflatten(1, (width, largest))
    return torch.bmm(columns.transpose(0, 1), grouped, out=out)


def _one_by_one(
    phi: Tensor, dual: Tensor, starts: list[int], counts: list[int], out: Float[Tensor, "width B C"]
) -> Float[Tensor, "width B C"]:
    """`bucket_sum` of columns and rows that are in the order of their symbols."""
    for symbol, (start, count) in enumerate(zip(starts, counts, strict=True)):
        torch.mm(phi[:, start : start + count], dual[start : start + count], out=out[symbol])
    return out
