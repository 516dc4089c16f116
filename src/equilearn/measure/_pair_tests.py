"""The tests behind `separation`: gaps of deterministic embeddings, self-normalised sums of random ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROUNDING_MARGIN = 64.0
"""Deterministic embeddings count as different when they are apart by this many times what rounding does."""

CHUNK = 2**18
"""Listed pairs that are tested at once."""

TILE = 512
"""Inputs a side of the blocks in which all pairs are tested."""

Evidence: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From indices of inputs to how different their embeddings are."""


@dataclass(frozen=True)
class Found:
    """What the tests of all pairs and of the copies leave; see `Separation` for the fields."""

    pairs: int
    undistinguished: int
    examples: Int[Tensor, "K 2"]
    smallest: float | None
    false_positives: int = 0
    calibration: float | None = None
    threshold: float | None = None
    noise: float = 0.0


def by_gap(
    y: Float[Tensor, "B D"],
    moved: Float[Tensor, "C D"] | None,
    origin: Tensor,
    index: Tensor | None,
    most: int,
) -> Found:
    """Deterministic: largest difference of a coordinate, relative to the larger embedding of the two."""
    rounding = ROUNDING_MARGIN * torch.finfo(y.dtype).eps
    least = math.nextafter(rounding, math.inf)
    size = y.abs().amax(-1)

    def relative(gap: Tensor, one: Tensor, other: Tensor) -> Tensor:
        scale = torch.maximum(one, other)
        return gap / torch.where(scale > 0, scale, 1)

    if index is None:
        tiles = _tiles(
            len(y), lambda a, b: relative(torch.cdist(y[a], y[b], p=math.inf), size[a].unsqueeze(1), size[b])
        )
        found = _scan(tiles, least, most)
    else:
        chunks = _chunks(index, lambda a, b: relative((y[a] - y[b]).abs().amax(-1), size[a], size[b]))
        found = _scan(chunks, least, most)
    wrong = 0
    if moved is not None:
        before = y[origin.to(y.device)]
        gap = relative((moved - before).abs().amax(-1), moved.abs().amax(-1), before.abs().amax(-1))
        wrong = int((gap >= least).sum())
    return replace(found, false_positives=wrong, noise=rounding)


def by_test(
    y: Float[Tensor, "R B D"],
    moved: Float[Tensor, "R C D"] | None,
    origin: Tensor,
    index: Tensor | None,
    level: float,
    most: int,
) -> Found:
    """Stochastic: the bound on self-normalised sums, for calls `y` and calls `moved` on the copies."""
    count = pair_count(index, y.shape[1])
    # Differences do not see a common shift, but their squares from products lose digits to it.
    shift = y.mean((0, 1))
    rounding = ROUNDING_MARGIN * torch.finfo(y.dtype).eps
    size = rounding * y.abs().amax((0, 2)).to(torch.float64)
    y = (y - shift).to(torch.float64)
    threshold = level / count
    needed = _needed(threshold, y.shape[-1])
    if index is None:
        total, square = y.sum(0), y.square().sum(0)
        found = _scan(
            _tiles(y.shape[1], lambda a, b: _all_t(y[:, a], y[:, b], total, square, size, a, b)), needed, most
        )
    else:
        found = _scan(_chunks(index, lambda a, b: _largest_t(y, y, size, a, b)), needed, most)
    wrong, calibration = 0, None
    if moved is not None:
        here = torch.arange(len(origin), device=y.device)
        copied = _largest_t((moved - shift).to(torch.float64), y, size, here, origin.to(y.device))
        wrong = int((copied >= needed).sum())
        calibration = float((copied >= _needed(level, y.shape[-1])).to(torch.float64).mean())
    return replace(
        found,
        false_positives=wrong,
        calibration=calibration,
        threshold=threshold,
        noise=float(y.var(0).mean().sqrt()),
    )


def _scan(pieces: Iterator[tuple[Tensor, Tensor, Tensor]], needed: float, most: int) -> Found:
    """Count the pairs whose evidence falls short of `needed`, piece by piece."""
    pairs = missed = 0
    smallest = math.inf
    listed: list[Tensor] = []
    for value, a, b in pieces:
        short = (value < needed).cpu()
        pairs, missed = pairs + len(value), missed + int(short.sum())
        if bool(short.any()) and sum(map(len, listed)) < most:
            listed.append(torch.stack((a[short], b[short]), 1)[:most].cpu())
        apart = value[value >= needed]
        smallest = min(smallest, float(apart.min())) if len(apart) else smallest
    examples = torch.cat(listed)[:most] if listed else torch.zeros(0, 2, dtype=torch.int64)
    return Found(pairs, missed, examples, smallest / max(needed, 1e-300) if math.isfinite(smallest) else None)


def _chunks(index: Int[Tensor, "P 2"], evidence: Evidence) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Listed pairs."""
    for part in index.split(CHUNK):
        yield evidence(part[:, 0], part[:, 1]), part[:, 0], part[:, 1]


def _tiles(size: int, evidence: Evidence) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All pairs, a block of rows against a block of columns at a time."""
    blocks = torch.arange(size).split(TILE)
    for place, a in enumerate(blocks):
        for b in blocks[place:]:
            rows, columns = torch.meshgrid(a, b, indexing="ij")
            above = rows < columns
            if bool(above.any()):
                value = evidence(a, b)
                yield value[above.to(value.device)], rows[above], columns[above]


def _needed(p_value: float, coordinates: int) -> float:
    """The `t` at which the bound, over both signs and all coordinates, is `p_value`."""
    return math.sqrt(2 * math.log(2 * coordinates / p_value))


def _largest_t(
    left: Float[Tensor, "R A D"],
    right: Float[Tensor, "R B D"],
    least: Float[Tensor, "B"],
    a: Int[Tensor, "P"],
    b: Int[Tensor, "P"],
) -> Float[Tensor, "P"]:
    """`|sum d| / sqrt(sum d^2)` over calls, the largest of all coordinates; zero where the mean of `d` is no
    more than rounding makes, `least`."""
    total = left.sum(0)[a] - right.sum(0)[b]
    square = torch.zeros_like(total)
    for one, other in zip(left, right, strict=True):
        square += (one[a] - other[b]).square()
    return _ratio(total, square, len(left) * least[b].unsqueeze(-1)).amax(-1)


def _all_t(
    left: Float[Tensor, "R P D"],
    right: Float[Tensor, "R Q D"],
    total: Float[Tensor, "B D"],
    square: Float[Tensor, "B D"],
    least: Float[Tensor, "B"],
    a: Int[Tensor, "P"],
    b: Int[Tensor, "Q"],
) -> Float[Tensor, "P Q"]:
    """The same for every input of one block against every one of another, from matrix products."""
    best = left.new_zeros(len(a), len(b))
    floor = len(left) * torch.maximum(least[a].unsqueeze(1), least[b])
    for c in range(left.shape[-1]):
        products = left[..., c].T @ right[..., c]
        squares = (square[a, c].unsqueeze(1) + square[b, c] - 2 * products).clamp_min(0)
        best = torch.maximum(best, _ratio(total[a, c].unsqueeze(1) - total[b, c], squares, floor))
    return best


def _ratio(total: Tensor, square: Tensor, floor: Tensor) -> Tensor:
    size = total.abs()
    return torch.where(size > floor, size / square.clamp_min(torch.finfo(square.dtype).tiny).sqrt(), 0)


def pair_count(index: Tensor | None, size: int) -> int:
    return size * (size - 1) // 2 if index is None else len(index)


def rate_interval(found: int, count: int) -> tuple[float, float] | None:
    """Clopper and Pearson (1934), 95 %."""
    if count == 0:
        return None
    from scipy.stats import beta

    low = float(beta.ppf(0.025, found, count - found + 1)) if found > 0 else 0.0
    high = float(beta.ppf(0.975, found + 1, count - found)) if found < count else 1.0
    return low, high
