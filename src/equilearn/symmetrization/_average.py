"""Averaging over a group: every element of a small finite one, random ones of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, InputTypeError, one_of, positive_int, require
from equilearn.actions import Data, batch_size, first_leaf, mask_of
from equilearn.groups import (
    ENUMERATION_LIMIT,
    SO,
    Element,
    Euclidean,
    Group,
    O,
    Product,
    SpecialEuclidean,
    Symmetric,
    Translation,
)
from equilearn.symmetrization._base import Elements, Samples, Strategy, generator_device, uniform_weight
from equilearn.symmetrization._centring import centroid_of
from equilearn.symmetrization._frames import take_each
from equilearn.symmetrization._plane import even_orthogonal, even_rotations
from equilearn.symmetrization._views import cloud_view, factors_of
from equilearn.symmetry import Symmetry

Window: TypeAlias = float | Callable[[tuple[int, ...], torch.Generator | None], Element]
Sampling: TypeAlias = Literal["auto", "haar", "even"]

DEFAULT_SAMPLES = 8
"""Random elements per input where a group is not enumerated."""


class Average(Strategy):
    """The mean of `g f(g^-1 x)` over the group.

    A finite group of at most `limit` elements is enumerated: the result is exact. A larger or a
    continuous compact group is sampled from its Haar measure: unbiased, with a standard error that
    falls as `1/sqrt(k)`. Of E(n), SE(n) and translations of points, the shift is taken out instead: the
    average is over rotations (and reflections) about the centroid. Any other non-compact group has no
    Haar *probability* measure, so that no average over all of it exists; it is refused, unless a
    `window` says which part to average over, which gives approximate symmetry near the middle of that window.

    The items of sets and graphs with a mask are put in every order, or in random ones, that have the padding last.

    Args:
        samples: elements per input in training: a number, `"all"`, or None for all of a finite
            group up to `limit` and 8 otherwise.
        eval_samples: the same in evaluation; default as in training.
        limit: largest order that `samples=None` enumerates.
        sampling: `"haar"`: independent draws. `"even"` (SO(2) and O(2)): evenly spaced angles
            behind one random offset per input, which integrates every harmonic below `k` exactly
            and so has far less variance on smooth outputs; unbiased too, but then the standard
            error, which takes samples for independent, is only a guide and usually too large.
            `"auto"`: even where that is possible.
        window: for a non-compact group: a number `r` (coefficients in the Lie algebra uniform in
            `[-r, r]`) or a function `(batch, generator) -> elements`.

    Source: Haar averaging (the Reynolds operator), classical; k-sample estimate: Kim et al. 2023.
    Cost: `k` evaluations of the model per input, in one batched call.

    Example:
        >>> import torch, equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> clouds = eq.Symmetry(eq.SO(3), input=V)
        >>> model = eq.symmetrize(lambda x: x[:, :1] ** 2, clouds, "average", samples=64)
        >>> y, spread = model(torch.eye(3)[:1], generator=torch.Generator().manual_seed(0), return_std=True)
        >>> bool((y - 1 / 3).abs() < 4 * spread)  # the mean of a squared coordinate on the sphere
        True
    """

    name = "average"

    def __init__(
        self,
        samples: Samples = None,
        eval_samples: Samples = None,
        *,
        limit: int = 64,
        sampling: Sampling = "auto",
        window: Window | None = None,
    ):
        super().__init__()
        for value, what in ((samples, "samples"), (eval_samples, "eval_samples")):
            if value is not None and value != "all":
                positive_int(value, what)
        if window is not None and not callable(window):
            try:
                require(math.isfinite(window) and window > 0, f"window must be a positive number, got {window!r}.")
            except TypeError as error:
                raise InputTypeError(f"window must be a positive number or a function, got {window!r}.") from error
        self.train_samples = samples
        self.eval_samples = samples if eval_samples is None else eval_samples
        self.limit = positive_int(limit, "limit")
        self.sampling = one_of(sampling, ("auto", "haar", "even"), "sampling")
        self.window = window

    def check(self, symmetry: Symmetry) -> None:
        group = symmetry.group
        if self.window is None and not _has_haar(symmetry):
            raise InputError(_no_haar(symmetry))
        if isinstance(self.window, int | float):
            require(group.lie_dim > 0, f"{group} has no Lie algebra: give the window as a function.")
        if self.sampling == "even":
            require(
                _spread(group) is not None,
                f"Evenly spaced sampling is for SO(2) and O(2), not {group}. Use sampling='haar'.",
            )
        for samples in (self.train_samples, self.eval_samples):
            if samples == "all":
                _require_listed(group)

    def is_exact(self, symmetry: Symmetry, x: Data | None = None) -> bool:
        if self.window is not None:
            return False
        return isinstance(symmetry.group, Translation) or self._count(symmetry.group, self._samples(None)) == "all"

    def forward_passes(self, symmetry: Symmetry) -> int:
        count = self._count(symmetry.group, self._samples(None))
        return int(symmetry.group.order) if count == "all" else int(count)  # type: ignore[arg-type]

    def sample(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        group, size, device = symmetry.group, batch_size(x), first_leaf(x).device
        count = self._count(group, self._samples(k))
        if count == "all":
            listed = group.to(group.elements(), device=device)
            order = int(group.order)  # type: ignore[arg-type]
            return _padding_last_of_all(symmetry, x, group.expand(listed, (size, order)), order)
        if self.window is None and not group.is_compact:
            g = _about_centroid(symmetry, x, (size, int(count)), generator)
        else:
            g = group.to(self._draw(group, (size, int(count)), generator, device), device=device)
        g = _padding_last(symmetry, x, g, generator)
        # Of shifts nothing is left to draw; anything else is an estimate, also of a group that could be listed.
        settled = isinstance(group, Translation) and self.window is None
        return Elements(g, uniform_weight(x, int(count)), exact=settled)

    def _count(self, group: Group, samples: Samples) -> int | Literal["all"]:
        """The number of elements to use, `"all"` resolved where it is possible."""
        if isinstance(group, Translation) and self.window is None:
            return 1  # about the centroid nothing is left to average over
        if samples == "all":
            _require_listed(group)
            return "all"
        if samples is None:
            small = group.order is not None and group.order <= min(self.limit, ENUMERATION_LIMIT)
            return "all" if small else DEFAULT_SAMPLES
        return samples

    def _draw(
        self, group: Group, batch: tuple[int, int], generator: torch.Generator | None, device: torch.device
    ) -> Element:
        where = generator_device(generator, device)
        if callable(self.window):
            g = self.window(batch, generator)
            require(group.batch_shape(g) == batch, f"window returned elements of another batch shape than {batch}.")
            return g
        if self.window is not None:
            uniform = torch.rand(*batch, group.lie_dim, generator=generator, device=where, dtype=torch.float64)
            return group.exp(self.window * (2 * uniform - 1))
        spread = _spread(group) if self.sampling in ("auto", "even") else None
        if spread is not None:
            # A fixed set behind one Haar element for each input: every member alone is Haar.
            first = group.sample((batch[0], 1), generator=generator, device=where)
            return group.compose(first, spread(batch[1], where).unsqueeze(0))
        return group.sample(batch, generator=generator, device=where)

    def extra_repr(self) -> str:
        return f"samples={self.train_samples!r}, eval_samples={self.eval_samples!r}, sampling={self.sampling!r}"


def _require_listed(group: Group) -> None:
    order = group.order
    if order is None:
        raise InputError(
            f"{group} has infinitely many elements, so samples='all' is not possible. "
            "Give a number, or use strategy 'frames' for an exact result from finitely many."
        )
    require(
        order <= ENUMERATION_LIMIT,
        f"{group} has {order} elements, more than the {ENUMERATION_LIMIT} that are listed. Give a number of samples.",
    )


def _has_haar(symmetry: Symmetry) -> bool:
    """Whether every factor is compact, or only shifts points besides, whose centroid can be taken out."""
    factors = enumerate(factors_of(symmetry.group))
    return all(f.is_compact or _shifts_points(symmetry, i, f) for i, f in factors)


def _shifts_points(symmetry: Symmetry, index: int, factor: Group) -> bool:
    rigid = isinstance(factor, Euclidean | SpecialEuclidean | Translation)
    return rigid and cloud_view(symmetry.input, index) is not None


def _about_centroid(symmetry: Symmetry, x: Data, batch: tuple[int, int], generator: torch.Generator | None) -> Element:
    """Haar elements of the compact part of every factor; where a factor shifts points, about their centroid.

    Their law moves with the input, `p(g | x) = p(hg | hx)`, which is all that an average needs.
    """
    device = first_leaf(x).device
    where = generator_device(generator, device)
    parts: list[Element] = []
    for index, factor in enumerate(factors_of(symmetry.group)):
        if factor.is_compact:
            parts.append(factor.to(factor.sample(batch, generator=generator, device=where), device=device))
            continue
        turn = _turn(factor, batch, generator, where).to(device)
        centre = centroid_of(symmetry.input, index, x).unsqueeze(1).expand(*batch, -1)
        parts.append(factor.from_parts(turn, centre))  # type: ignore[attr-defined]
    return tuple(parts) if isinstance(symmetry.group, Product) else parts[0]


def _turn(
    factor: Group, batch: tuple[int, int], generator: torch.Generator | None, where: torch.device
) -> Float[Tensor, "B k d d"]:
    d: int = factor.dimension  # type: ignore[attr-defined]
    if isinstance(factor, Translation):
        return torch.eye(d, dtype=torch.float64, device=where).expand(*batch, d, d)
    turns = SO(d) if isinstance(factor, SpecialEuclidean) else O(d)
    return turns.sample(batch, generator=generator, device=where)


def _no_haar(symmetry: Symmetry) -> str:
    group = symmetry.group
    left = [f for i, f in enumerate(factors_of(group)) if not (f.is_compact or _shifts_points(symmetry, i, f))]
    culprits = ", ".join(map(str, left))
    return (
        f"There is no average over {group}: {culprits} is not compact, so its Haar measure is infinite and no "
        "uniform law exists to draw from. Use strategy 'frames' or 'canonicalize' (for rigid motions, scalings and "
        "Lorentz groups they remove the transformation exactly), a layer-wise exact network (equilearn.nn), or give "
        "window=... to average over a stated part of the group, "
        "which makes the model approximately symmetric there."
    )


def _padding_last(symmetry: Symmetry, x: Data, g: Element, generator: torch.Generator | None) -> Element:
    """Permutations put the items that are there first, in uniformly random order, where the data hold a mask:
    so the model sees them where it would without padding."""
    factors = factors_of(symmetry.group)
    parts = list(g) if isinstance(symmetry.group, Product) else [g]
    for index, factor in enumerate(factors):
        mask = mask_of(symmetry.input, index, x) if isinstance(factor, Symmetric) else None
        if mask is not None:
            where = generator_device(generator, mask.device)
            keys = torch.rand(parts[index].shape, generator=generator, device=where).to(mask.device)
            parts[index] = torch.argsort(keys + (~mask).unsqueeze(1).to(keys.dtype), dim=-1)
    return tuple(parts) if isinstance(symmetry.group, Product) else parts[0]


def _padding_last_of_all(symmetry: Symmetry, x: Data, g: Element, order: int) -> Elements:
    """All elements of a group; where the data hold a mask, those whose permutations put the padding last, with
    equal weights: the law of `_padding_last`, enumerated. Inputs with fewer of them are filled up at weight zero."""
    kept: Tensor | None = None
    for index, factor in enumerate(factors_of(symmetry.group)):
        mask = mask_of(symmetry.input, index, x) if isinstance(factor, Symmetric) else None
        if mask is not None and not bool(mask.all()):
            p = g[index] if isinstance(symmetry.group, Product) else g
            there = mask.unsqueeze(1).expand(p.shape).gather(-1, p)
            first = (there[..., :-1] | ~there[..., 1:]).all(-1)  # nothing that is there comes after padding
            kept = first if kept is None else kept & first
    if kept is None or not len(kept):
        return Elements(g, uniform_weight(x, order), exact=True, shared=True)
    count = int(kept.sum(1).max())
    index = torch.argsort(~kept, dim=1, stable=True)[:, :count]
    weight = kept.gather(1, index).to(uniform_weight(x, 1).dtype)
    g = take_each(symmetry.group, g, index)
    return Elements(g, weight / weight.sum(1, keepdim=True), exact=True)


# --- evenly spaced elements -------------------------------------------------------------------


def _spread(group: Group) -> Callable[[int, torch.device], Tensor] | None:
    """Fixed elements, well spread over a group of plane rotations; None for other groups."""
    if group == SO(2):
        return even_rotations
    if group == O(2):
        return even_orthogonal
    return None
