"""Moving every input by each of its `k` elements."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from equilearn.actions import Action, Data, map_data
from equilearn.groups import Element

LOOPED = 16
"""Most shared elements that move the inputs one after the other: one element on a whole batch costs
less than one element a sample, until the calls themselves count."""


def copies(action: Action, g: Element, x: Data, *, shared: bool = False) -> Data:
    """`g[b, i] x[b]`: elements of batch `(B, k)` and `B` inputs to `B k` copies, those of an input together.

    `shared` says that the elements are the same for every `b`.
    """
    size, count = action.group.batch_shape(g)
    if shared and size > 0 and count <= LOOPED:
        return _interleaved([action(action.group.take(g, (0, i)), x) for i in range(count)])
    return action(action.group.reshape(g, (size * count,)), repeat(x, count))


def move_copies(action: Action, g: Element, y: Data, *, shared: bool = False) -> Data:
    """`g[b, i] y[b k + i]`: one element for each of `B k` copies."""
    size, count = action.group.batch_shape(g)
    if shared and size > 0 and count <= LOOPED:
        parts = [map_data(lambda t, i=i: t[i::count], y) for i in range(count)]
        return _interleaved([action(action.group.take(g, (0, i)), part) for i, part in enumerate(parts)])
    return action(action.group.reshape(g, (size * count,)), y)


def repeat(x: Data, count: int) -> Data:
    """Every input `count` times, its copies together."""
    return x if count == 1 else map_data(lambda t: t.repeat_interleave(count, dim=0), x)


def _interleaved(parts: Sequence[Data]) -> Data:
    """`k` batches of `B` to one of `B k`, the `k` of each input together."""
    if isinstance(parts[0], tuple | list):
        return tuple(_interleaved([part[i] for part in parts]) for i in range(len(parts[0])))
    return parts[0] if len(parts) == 1 else torch.stack(list(parts), dim=1).flatten(0, 1)
