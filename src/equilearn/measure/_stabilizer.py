"""Samples that group elements permute: found by sorted random projections, then compared entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn.actions import Action, CombinedAction, Data, batch_size, first_leaf
from equilearn.measure._evaluate import leaves, promote, take

_PROBES = (32, 512)
"""Samples that rule out most elements, and most of those left, before all samples are looked at."""

_CHUNK = 2**23
"""Numbers that are moved at once."""

_ROUNDING = 1e-12
"""Of a projection, whose entries are of order one."""


class Samples:
    """Data of one part or several, the action on each, and when two samples count as equal.

    Args:
        actions: one for each part, all of one finite group.
        data: the parts, batch first, finite.
        tolerance: how far entries of equal samples may differ, relative to the largest of a sample (in each tensor).
    """

    def __init__(self, actions: tuple[Action, ...], data: tuple[Data, ...], tolerance: float):
        self.actions = actions
        self.action = CombinedAction(*actions)
        self.group = self.action.group
        self.data = data
        self.tolerance = tolerance
        self.size = batch_size(data)
        self.device = first_leaf(data).device
        flat = [leaf.reshape(self.size, math.prod(leaf.shape[1:])) for leaf in leaves(data)]
        self.width = sum(leaf.shape[1] for leaf in flat)
        generator = torch.Generator().manual_seed(0)
        # Scaled so that no tensor outweighs the others.
        self._vectors = [
            torch.randn(
                leaf.shape[1] * (2 if leaf.is_complex() else 1), 2, generator=generator, dtype=torch.float64
            ).to(self.device)
            / (max(float(leaf.abs().max()), 1e-300) * max(leaf.shape[1], 1) ** 0.5 if leaf.numel() else 1.0)
            for leaf in flat
        ]
        norms = [
            float(v.abs().sum(0).max()) * float(leaf.abs().max())
            for v, leaf in zip(self._vectors, flat, strict=True)
            if leaf.numel()
        ]
        self.reach = tolerance * sum(norms) + _ROUNDING
        """How far the projections of equal samples may lie apart."""

    # --- numbers --------------------------------------------------------------------------

    def _in_chunks(self, total: int, fn: Callable[[slice], Tensor]) -> Tensor:
        step = max(1, _CHUNK // max(self.width, 1))
        return torch.cat([fn(slice(start, min(start + step, total))) for start in range(0, max(total, 1), step)])

    def _moved(self, element: Int[Tensor, " M"], sample: Int[Tensor, " M"]) -> list[Tensor]:
        """Element `element[m]` on sample `sample[m]`, in double precision, one `(M, D)` a tensor."""
        elements = self.group.elements()
        g = self.group.to(self.group.take(elements, element.cpu()), device=self.device)
        return _rows(self.action(g, promote(take(self.data, sample))))

    def _project(self, rows: list[Tensor]) -> Float[Tensor, "M 2"]:
        return torch.stack([row @ v for row, v in zip(rows, self._vectors, strict=True)]).sum(0)

    def _keys(self, element: Int[Tensor, " M"], sample: Int[Tensor, " M"]) -> Float[Tensor, "M 2"]:
        return self._in_chunks(len(element), lambda part: self._project(self._moved(element[part], sample[part])))

    @cached_property
    def keys(self) -> Float[Tensor, "n 2"]:
        """Two random projections of each sample."""
        index = torch.arange(self.size, device=self.device)
        return self._in_chunks(self.size, lambda part: self._project(_rows(promote(take(self.data, index[part])))))

    def agree(
        self, element: Int[Tensor, " M"] | None, source: Int[Tensor, " M"], other: Samples, target: Int[Tensor, " M"]
    ) -> Bool[Tensor, " M"]:
        """Whether `element[m]` takes sample `source[m]` to sample `target[m]` of `other`; None: the identity."""

        def compare(part: slice) -> Tensor:
            where = source[part]
            left = _rows(promote(take(self.data, where))) if element is None else self._moved(element[part], where)
            right = _rows(promote(take(other.data, target[part])))
            near = [
                (a - b).abs() <= self.tolerance * b.abs().amax(1, keepdim=True) if b.shape[1] else b.bool()
                for a, b in zip(left, right, strict=True)
            ]
            return torch.cat(near, dim=1).all(1)

        return self._in_chunks(len(source), compare)

    # --- elements -------------------------------------------------------------------------

    def stabilizer(self) -> Int[Tensor, " size"]:
        """Indices of the elements that permute the samples, ascending."""
        identity, kept = torch.arange(self.group.order or 1, device=self.device).tensor_split([1])
        for probes in _PROBES:
            kept = self._plausible(kept, probes) if len(kept) else kept
        step = max(1, _CHUNK // self.size)
        return torch.cat([identity, *(part[self._permutes(part)] for part in kept.split(step) if len(part))]).cpu()

    def _plausible(self, elements: Int[Tensor, " K"], probes: int) -> Int[Tensor, " kept"]:
        """Those of the elements that take each of a few samples near some sample."""
        ordered = self.keys[:, 0].sort().values
        some = torch.linspace(0, self.size - 1, min(probes, self.size), device=self.device).round().long()
        key = self._keys(elements.repeat_interleave(len(some)), some.repeat(len(elements)))[:, 0].contiguous()
        place = torch.searchsorted(ordered, key)
        after = ordered[place.clamp(max=self.size - 1)] - key
        before = key - ordered[(place - 1).clamp(min=0)]
        near = torch.minimum(after.abs(), before.abs()) <= self.reach
        return elements[near.reshape(len(elements), len(some)).all(1)]

    def _permutes(self, elements: Int[Tensor, " K"]) -> Bool[Tensor, " K"]:
        """Which elements permute the samples: by matching them in the order of their projections."""
        count, n = len(elements), self.size
        samples = torch.arange(n, device=self.device)
        key = self._keys(elements.repeat_interleave(n), samples.repeat(count)).reshape(count, n, 2)
        own = self.keys.unsqueeze(0)
        off = (key[..., 0].sort(1).values - own[..., 0].sort(1).values).abs().amax(1)
        found = off <= self.reach
        matched = torch.zeros_like(found)
        if bool(found.any()):
            matched[found] = self._match(elements[found], _by_first(key[found]), _by_first(own))
        open_ = found & ~matched
        if bool(open_.any()):
            # Rounding may have swapped near neighbours: the second projection tells those apart.
            edges = self._edges()
            matched[open_] = self._match(elements[open_], _by_both(key[open_], edges), _by_both(own, edges))
        return matched

    def _match(self, elements: Tensor, source: Int[Tensor, "K n"], target: Int[Tensor, "1 n"]) -> Bool[Tensor, " K"]:
        """Which elements take the samples, in one order, to the samples in the other."""
        each = elements.repeat_interleave(self.size)
        same = self.agree(each, source.flatten(), self, target.expand_as(source).flatten())
        return same.reshape(-1, self.size).all(1)

    def _edges(self) -> Float[Tensor, " gaps"]:
        """Places that part samples whose first projections surely differ."""
        ordered = self.keys[:, 0].sort().values
        wide = torch.nonzero(ordered.diff() > 2 * self.reach).flatten()
        return (ordered[wide] + ordered[wide + 1]) / 2

    def holds(self, other: Samples) -> Bool[Tensor, " others"]:
        """Which samples of `other` equal one of these."""
        ordered, order = self.keys[:, 0].sort()
        key = self._in_chunks(other.size, lambda part: self._project(_rows(promote(take(other.data, part)))))[
            :, 0
        ].contiguous()
        place = torch.searchsorted(ordered, key)
        index = torch.arange(other.size, device=self.device)
        near = [order[(place + shift).clamp(0, self.size - 1)] for shift in (-1, 0)]
        return torch.stack([other.agree(None, index, self, target) for target in near]).any(0)


def kept_by(samples: Samples, elements: Int[Tensor, " K"]) -> Bool[Tensor, "K n"]:
    """Which samples each element leaves in place; the first element is the identity."""
    moving = elements[1:].to(samples.device)
    if not len(moving):
        return torch.ones(1, samples.size, dtype=torch.bool, device=samples.device)
    index = torch.arange(samples.size, device=samples.device).repeat(len(moving))
    each = moving.repeat_interleave(samples.size)
    kept = samples.agree(each, index, samples, index).reshape(len(moving), samples.size)
    return torch.cat([kept.new_ones(1, samples.size), kept])


def _rows(data: Data) -> list[Tensor]:
    """One `(M, D)` of real numbers a tensor."""
    real = (torch.view_as_real(leaf) if leaf.is_complex() else leaf for leaf in leaves(data))
    return [leaf.to(torch.float64).reshape(leaf.shape[0], math.prod(leaf.shape[1:])) for leaf in real]


def _by_first(key: Float[Tensor, "K n 2"]) -> Int[Tensor, "K n"]:
    return key[..., 0].argsort(dim=1, stable=True)


def _by_both(key: Float[Tensor, "K n 2"], edges: Float[Tensor, " gaps"]) -> Int[Tensor, "K n"]:
    """The order by the first projection as far as it is sure, and by the second within."""
    second = key[..., 1].argsort(dim=1, stable=True)
    cell = torch.searchsorted(edges, key[..., 0].contiguous()).gather(1, second)
    return second.gather(1, cell.argsort(dim=1, stable=True))
