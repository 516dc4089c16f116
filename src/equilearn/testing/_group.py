"""Does a group keep its laws?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from equilearn._check import InputError
from equilearn.groups import ENUMERATION_LIMIT, Element, Group, MatrixGroup, subgroup
from equilearn.testing._failed import CheckFailed

_SAMPLES = 12
_EXHAUSTIVE = 200
"""Largest order up to which pairs of elements, and frequencies of samples, are all looked at."""

_Z = 6.5
"""Standard errors that a mean may be off: two-sided false-alarm rate 8e-11 a mean, below 1e-6 a group."""


def check_group(
    group: Group,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
) -> None:
    """Check the laws of a group on random elements.

    Shapes, dtypes and batches (also of size zero); identity, inverse, associativity, closure,
    broadcasting; `is_abelian`; `distance` is a metric; `contains` accepts samples and refuses NaN
    and wild indices; `generators` lie in a finite group and generate it; `exp` starts at the
    identity, lies in the group, is a one-parameter group, is the matrix exponential of
    `lie_basis`, and has a finite gradient at zero and independent directions; `elements` and
    `index_of` are inverse to each other; `sample` repeats for a repeated seed, leaves the global
    generator alone, and is Haar where the group is compact (frequencies of a small finite
    group; first and second moments, before and after shifting, of any other).

    Args:
        group: what to check.
        generator: source of randomness; a fixed one by default.
        dtype: precision of floating-point elements.
        tolerance: largest breach relative to the size of the elements; default 1e-10 in float64
            and 1e-4 below.

    Raises:
        CheckFailed: naming the law that does not hold, by how much and where.

    Example:
        >>> from equilearn.groups import SO, Symmetric
        >>> from equilearn.testing import check_group
        >>> check_group(SO(3) * Symmetric(4))
    """
    generator = generator or torch.Generator().manual_seed(0)
    tight = (1e-10 if dtype == torch.float64 else 1e-4) if tolerance is None else tolerance
    check = _GroupCheck(group, generator, dtype, tight)
    check.structure()
    check.sampling()
    check.laws()
    check.batches()
    check.metric()  # before is_abelian, which measures by distance
    check.abelian()
    check.membership()
    check.generated()
    check.exponential()
    check.enumeration()
    check.haar()


class _GroupCheck:
    """One group, its samples and the tolerance."""

    def __init__(self, group: Group, generator: torch.Generator, dtype: torch.dtype, tolerance: float):
        self.group = group
        self.generator = generator
        self.dtype = dtype
        self.tolerance = tolerance

    # --- helpers ----------------------------------------------------------------------

    def demand(self, holds: bool, law: str) -> None:
        if not holds:
            raise CheckFailed(f"{self.group}: {law}")

    def draw(self, batch: Any) -> Element:
        return self.group.sample(batch, generator=self.generator, dtype=self.dtype)

    def same(self, left: Element, right: Element, law: str, *sizes: Element) -> None:
        """Equal up to rounding, relative to the product of the sizes of the elements involved."""
        (a_shape, b_shape) = (self.group.batch_shape(left), self.group.batch_shape(right))
        self.demand(a_shape == b_shape, f"{law}: batch shapes {a_shape} and {b_shape} differ.")
        scale = torch.ones(a_shape, dtype=torch.float64)
        for element in sizes:
            scale = scale * _size(self.group, element)
        for a, b in zip(_leaves(left), _leaves(right), strict=True):
            self.demand(a.dtype == b.dtype, f"{law}: dtypes {a.dtype} and {b.dtype} differ.")
            gap = (a.to(torch.float64) - b.to(torch.float64)).abs()
            gap = gap.reshape(*a_shape, -1).amax(-1) / scale if gap.numel() else scale * 0
            bad = ~(gap <= self.tolerance)
            if bool(bad.any()):
                where = tuple(torch.nonzero(bad)[0].tolist())
                raise CheckFailed(
                    f"{self.group}: {law} does not hold: off by {float(gap[where]):.3g} (relative; {self.tolerance:g} "
                    f"allowed) at sample {where}."
                )

    # --- what it says about itself ----------------------------------------------------

    def structure(self) -> None:
        group = self.group
        self.demand(isinstance(group.name, str) and bool(group.name), "name must be a non-empty string.")
        self.demand(hash(group) == hash(group) and group == group, "equality and hash must be stable.")
        order = group.order
        self.demand(order is None or order >= 1, f"order must be None or at least 1, not {order!r}.")
        self.demand(group.is_finite == (order is not None), "is_finite must say whether order is a number.")
        self.demand(group.is_compact or not group.is_finite, "a finite group is compact.")
        for batch in ((), (2, 3), (0,)):
            identity = group.identity(batch, dtype=self.dtype)
            shape = group.batch_shape(identity)
            self.demand(shape == batch, f"identity({batch}) has batch shape {shape}.")
            for leaf in _leaves(identity):
                right = leaf.dtype == (self.dtype if leaf.is_floating_point() else torch.int64)
                self.demand(right, f"identity(dtype={self.dtype}) has entries of dtype {leaf.dtype}.")
        self.demand(bool(group.contains(group.identity((), dtype=self.dtype)).all()), "the identity is not contained.")

    def sampling(self) -> None:
        group = self.group
        before = torch.random.get_rng_state()
        for batch, expected in ((5, (5,)), ((2, 3), (2, 3)), ((), ()), ((0,), (0,))):
            g = self.draw(batch)
            self.demand(group.batch_shape(g) == expected, f"sample({batch}) has batch shape {group.batch_shape(g)}.")
            self.demand(bool(group.contains(g).all()), f"sample({batch}) draws elements that contains() refuses.")
            for leaf in _leaves(g):
                right = not leaf.is_floating_point() or leaf.dtype == self.dtype
                self.demand(right, f"sample(dtype={self.dtype}) has entries of dtype {leaf.dtype}.")
        self.demand(bool(torch.equal(before, torch.random.get_rng_state())), "sample uses the global generator.")
        twice = [group.sample(4, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
        equal = all(torch.equal(a, b) for a, b in zip(*map(_leaves, twice), strict=True))
        self.demand(equal, "sample does not repeat for the same seed.")

    # --- the group law ----------------------------------------------------------------

    def laws(self) -> None:
        group = self.group
        g, h, k = (self.draw(_SAMPLES) for _ in range(3))
        one = group.identity((_SAMPLES,), dtype=self.dtype)
        self.same(group.compose(one, g), g, "e g = g", g)
        self.same(group.compose(g, one), g, "g e = g", g)
        back = group.inverse(g)
        self.same(group.compose(g, back), one, "g g^-1 = e", g, back)
        self.same(group.compose(back, g), one, "g^-1 g = e", g, back)
        self.same(group.inverse(back), g, "(g^-1)^-1 = g", g, g, back)
        left = group.compose(group.compose(g, h), k)
        self.same(left, group.compose(g, group.compose(h, k)), "associativity (g h) k = g (h k)", g, h, k)
        away = group.compose(group.inverse(h), back)
        self.same(group.inverse(group.compose(g, h)), away, "(g h)^-1 = h^-1 g^-1", g, h, back, away)
        self.demand(bool(group.contains(back).all()), "the inverse of an element is not contained.")
        self.demand(bool(group.contains(group.compose(g, h)).all()), "the product of two elements is not contained.")

    def batches(self) -> None:
        group = self.group
        g, h = self.draw(6), self.draw(())
        spread = group.compose(g, group.expand(h, (6,)))
        self.same(group.compose(g, h), spread, "compose broadcasts its second argument", g)
        self.same(group.compose(h, g), group.compose(group.expand(h, (6,)), g), "compose broadcasts its first", g)
        grid = group.reshape(g, (2, 3))
        self.same(group.reshape(group.inverse(grid), (6,)), group.inverse(g), "inverse works batch by batch", g)
        again = group.cat([group.take(g, slice(0, 2)), group.take(g, torch.arange(2, 6))])
        self.same(again, g, "take and cat undo each other", g)
        empty = group.take(g, slice(0, 0))
        for result in (group.compose(empty, empty), group.inverse(empty)):
            self.demand(group.batch_shape(result) == (0,), "a batch of size zero does not stay one.")
        self.demand(tuple(group.contains(empty).shape) == (0,), "contains fails on a batch of size zero.")
        moved = group.to(g, dtype=torch.float64, device="cpu")
        kept = all(a.dtype in (torch.float64, b.dtype) for a, b in zip(_leaves(moved), _leaves(g), strict=True))
        self.demand(kept, "to(dtype=...) changes entries that are not floating-point.")

    def abelian(self) -> None:
        group = self.group
        if group.order is not None and group.order <= _EXHAUSTIVE:
            every, order = group.elements(), group.order
            g = group.take(every, torch.arange(order).repeat_interleave(order))
            h = group.take(every, torch.arange(order).repeat(order))
        else:
            g, h = self.draw(64), self.draw(64)
        one, other = group.compose(g, h), group.compose(h, g)
        if group.is_abelian:
            self.same(one, other, "is_abelian: g h = h g", g, h)
        else:
            allowed = self.tolerance * _size(group, g) * _size(group, h)
            differ = bool((group.distance(one, other) > allowed).any())
            self.demand(differ, "is_abelian is False, but every pair of elements commutes.")

    def metric(self) -> None:
        group = self.group
        g, h, k = (self.draw(_SAMPLES) for _ in range(3))
        size = _size(group, g) + _size(group, h) + _size(group, k)
        gh, hk, gk = group.distance(g, h), group.distance(h, k), group.distance(g, k)
        self.demand(tuple(gh.shape) == (_SAMPLES,), f"distance has shape {tuple(gh.shape)} for {_SAMPLES} pairs.")
        self.demand(bool((group.distance(g, g).abs() <= self.tolerance * size).all()), "distance(g, g) is not zero.")
        self.demand(
            bool(((gh - group.distance(h, g)).abs() <= self.tolerance * size).all()), "distance lacks symmetry."
        )
        self.demand(bool((gk <= gh + hk + self.tolerance * size).all()), "distance breaks the triangle inequality.")
        differ = torch.stack(
            [(a != b).reshape(_SAMPLES, -1).any(-1) for a, b in zip(_leaves(g), _leaves(h), strict=True)]
        ).any(0)
        self.demand(bool((gh[differ] > 0).all()), "distance is zero between different elements.")

    def membership(self) -> None:
        group = self.group
        g = self.draw(4)
        for i, leaf in enumerate(_leaves(g)):
            spoiled = leaf.clone()
            spoiled[1] = torch.nan if leaf.is_floating_point() else 2**40
            wrong = _replace(g, i, spoiled)
            inside = group.contains(wrong).tolist()
            what = "NaN" if leaf.is_floating_point() else "the index 2^40"
            self.demand(inside == [True, False, True, True], f"contains gives {inside} where entry 1 holds {what}.")
            try:
                group.validate(wrong)
            except InputError:
                continue
            raise CheckFailed(f"{group}: validate accepts what contains refuses.")

    # --- generators and Lie algebra ---------------------------------------------------

    def generated(self) -> None:
        group = self.group
        generators = group.generators()
        shape = group.batch_shape(generators)
        self.demand(len(shape) == 1, f"generators must have batch shape (K,), not {shape}.")
        self.demand(bool(group.contains(generators).all()), "a generator is not contained.")
        if group.order is not None and group.order <= 2_000:
            reached = len(subgroup(group, generators))
            self.demand(reached == group.order, f"the generators generate {reached} of {group.order} elements.")

    def exponential(self) -> None:
        group = self.group
        d = group.lie_dim
        if d == 0:
            try:
                group.exp(torch.zeros(0, dtype=self.dtype))
            except InputError:
                return
            raise CheckFailed(f"{group}: exp of a discrete group must raise InputError.")
        self.demand(not group.is_finite, "a finite group has no Lie algebra.")
        a = torch.randn(_SAMPLES, d, generator=self.generator, dtype=torch.float64).to(self.dtype) / d**0.5
        zero = group.exp(torch.zeros(2, d, dtype=self.dtype))
        self.same(zero, group.identity((2,), dtype=self.dtype), "exp(0) = e")
        g = group.exp(a)
        self.demand(bool(group.contains(g).all()), "exp leaves the group.")
        half = group.exp(a / 2)
        self.same(group.compose(half, half), g, "exp(a/2) exp(a/2) = exp(a)", half, half)
        self.same(group.compose(g, group.exp(-a)), _identity_like(group, g), "exp(a) exp(-a) = e", g, group.exp(-a))
        if isinstance(group, MatrixGroup):
            direct = torch.matrix_exp(torch.einsum("bi,ijk->bjk", a, group.lie_basis().to(self.dtype)))
            self.same(g, direct, "exp(a) = matrix_exp(sum_i a_i X_i)", g)
        self._directions(d)

    def _directions(self, d: int) -> None:
        """The derivative at zero exists and its `d` directions are independent."""
        a = torch.zeros(d, dtype=self.dtype, requires_grad=True)
        rows = []
        for leaf in _leaves(self.group.exp(a)):
            if leaf.requires_grad:
                for entry in leaf.reshape(-1):
                    (row,) = torch.autograd.grad(entry, a, retain_graph=True, allow_unused=True)
                    rows.append(torch.zeros_like(a) if row is None else row)
        self.demand(len(rows) > 0, "exp has no gradient.")
        jacobian = torch.stack(rows).to(torch.float64)
        self.demand(bool(torch.isfinite(jacobian).all()), "the gradient of exp at zero is not finite.")
        rank = int(torch.linalg.matrix_rank(jacobian, rtol=1e-5))
        self.demand(rank == d, f"lie_dim is {d}, but exp moves in {rank} independent directions.")

    # --- finite groups ----------------------------------------------------------------

    def enumeration(self) -> None:
        group = self.group
        if group.order is None or group.order > ENUMERATION_LIMIT:
            try:
                group.elements()
            except InputError:
                return
            raise CheckFailed(f"{group}: elements() of an infinite or huge group must raise InputError.")
        every = group.elements()
        shape = group.batch_shape(every)
        self.demand(shape == (group.order,), f"elements() has batch shape {shape}, order is {group.order}.")
        self.demand(bool(group.contains(every).all()), "elements() lists something that contains() refuses.")
        first = group.take(every, slice(0, 1))
        self.same(first, group.identity((1,)), "elements() begins with the identity")
        index = group.index_of(every)
        self.demand(bool(torch.equal(index, torch.arange(group.order))), "index_of does not undo elements().")
        g, h = self.draw(_SAMPLES), self.draw(_SAMPLES)
        back = group.take(every, group.index_of(group.compose(g, h)))
        self.same(group.compose(g, h), back, "elements() undoes index_of", g, h)
        grid = group.index_of(group.reshape(g, (3, -1)))
        self.demand(tuple(grid.shape) == (3, _SAMPLES // 3), "index_of does not keep the batch shape.")

    # --- the law of the samples -------------------------------------------------------

    def haar(self) -> None:
        group = self.group
        if not group.is_compact:
            return
        if group.order is not None and group.order <= _EXHAUSTIVE:
            self._frequencies(group.order)
        count = 4_000
        a, b, shift = self.draw(count), self.draw(count), self.draw(())
        plain = _moments(a)
        for moved, side in ((group.compose(shift, b), "left"), (group.compose(b, shift), "right")):
            other = _moments(moved)
            spread = ((plain.var(0) + other.var(0)) / count).sqrt()
            gap = (plain.mean(0) - other.mean(0)).abs()
            worst = float((gap / spread.clamp_min(1e-12)).max()) if gap.numel() else 0.0
            self.demand(
                bool((gap <= _Z * spread + 1e-6).all()),
                f"sample is not Haar: {side} shifts move its moments by {worst:.1f} standard errors.",
            )

    def _frequencies(self, order: int) -> None:
        draws = 60 * order
        counts = torch.bincount(self.group.index_of(self.draw(draws)), minlength=order).to(torch.float64)
        # Each count is binomial with mean 60; 12 is the largest excess of a Gaussian that big.
        worst = float((counts - 60).abs().max()) / 60**0.5
        self.demand(worst <= _Z + 1, f"sample is not uniform: one element is {worst:.1f} standard errors off.")


def _identity_like(group: Group, g: Element) -> Element:
    """The identity in the batch shape and dtype of `g`."""
    dtypes = [leaf.dtype for leaf in _leaves(g) if leaf.is_floating_point()]
    return group.identity(group.batch_shape(g), dtype=dtypes[0] if dtypes else torch.float64)


def _leaves(g: Element) -> list[Tensor]:
    return [leaf for part in g for leaf in _leaves(part)] if isinstance(g, tuple | list) else [g]


def _replace(g: Element, position: int, leaf: Tensor) -> Element:
    """`g` with another tensor in one place."""
    values: Iterator[Tensor] = iter([leaf if i == position else old for i, old in enumerate(_leaves(g))])

    def build(part: Element) -> Element:
        return tuple(build(p) for p in part) if isinstance(part, tuple | list) else next(values)

    return build(g)


def _size(group: Group, g: Element) -> Tensor:
    """The largest entry of each element, at least 1: what rounding is measured by."""
    shape = group.batch_shape(g)
    size = torch.ones(shape, dtype=torch.float64)
    for leaf in _leaves(g):
        if leaf.is_floating_point() and leaf.numel():
            size = torch.maximum(size, leaf.to(torch.float64).abs().reshape(*shape, -1).amax(-1))
    return size


def _moments(g: Element) -> Tensor:
    """Entries and squared entries of each element, `(count, features)`."""
    flat = torch.cat([leaf.to(torch.float64).reshape(len(leaf), -1) for leaf in _leaves(g)], dim=1)
    return torch.cat([flat, flat.square()], dim=1)
