"""How the outputs of a sampler network become group elements, factor by factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, require
from equilearn.actions import Action, CombinedAction, FactorAction, PairAction, VectorAction
from equilearn.groups import SO, Element, Euclidean, Group, O, Product, SpecialEuclidean, Symmetric, Translation
from equilearn.symmetrization._base import generator_device
from equilearn.symmetrization._gram_schmidt import gram_schmidt
from equilearn.symmetrization._soft_sort import descending
from equilearn.symmetrization._views import cloud_view, factors_of, rows_view
from equilearn.symmetry import Symmetry

Kind: TypeAlias = Literal["scores", "vectors", "centroid", "logits"]

SCORE_FLOOR = 1e-6
"""Least norm that scores are divided by."""

ROUNDED = {torch.float32: 4e-6, torch.float64: 1e-11}
"""Differences of scores of unit length that are left to chance, since they may be rounding."""

NEAR = {torch.float16: 1e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-9}
"""Relative distances below which a canonical form is not called exact."""

DEPENDENT = 1e-6
"""Relative noise on vectors, so that dependent ones span a random frame."""


@dataclass(frozen=True)
class Readout:
    """What one factor of the group needs of the network.

    Args:
        index: which factor; 0 for a group that is no product.
        group: the factor.
        kind: `"scores"` `(M, n)`, one number an item, whose order is the permutation; `"vectors"`
            `(M, d, d)`, `d` vectors as columns; `"logits"` `(M, |G|)` in the order of `elements()`; or
            `"centroid"`: nothing, translations are removed and not sampled.
        size: `n`, `d` or `|G|`.
    """

    index: int
    group: Group
    kind: Kind
    size: int

    @property
    def shifts(self) -> bool:
        """Whether the factor also translates."""
        return isinstance(self.group, Translation | Euclidean | SpecialEuclidean)

    @property
    def proper(self) -> bool:
        """Whether the factor has rotations only, no reflections."""
        return isinstance(self.group, SO | SpecialEuclidean)

    def need(self, size: int) -> tuple[int, ...]:
        """The shape of the network's output for `size` inputs."""
        return (size, self.size, self.size) if self.kind == "vectors" else (size, self.size)


def readouts_of(symmetry: Symmetry, limit: int) -> tuple[Readout, ...]:
    """What each factor needs. Raises `InputError` where a factor cannot be sampled by a network."""
    return tuple(_readout(symmetry, i, f, limit) for i, f in enumerate(factors_of(symmetry.group)))


def _readout(symmetry: Symmetry, index: int, group: Group, limit: int) -> Readout:
    if isinstance(group, Symmetric) and _permutes_rows(symmetry.input, index):
        return Readout(index, group, "scores", group.n)
    if cloud_view(symmetry.input, index) is not None:
        if isinstance(group, SO | O):
            return Readout(index, group, "vectors", group.n)
        if isinstance(group, Euclidean | SpecialEuclidean):
            return Readout(index, group, "vectors", group.dimension)
        if isinstance(group, Translation):
            return Readout(index, group, "centroid", group.dimension)
    if group.order is not None and group.order <= limit:
        return Readout(index, group, "logits", group.order)
    if isinstance(group, Symmetric) and rows_view(symmetry.input, index) is not None:
        raise InputError(
            f"No learned distribution is known for {group} acting on {symmetry.input.name}: the permutation moves "
            "parts of an axis there, several times over or beside numbers that stay, so that no axis holds the items "
            "that get a score each. Give the items as sets (B, n, C), what stays as a tensor of its own: "
            "input=(actions.sets(), actions.trivial())."
        )
    too_many = f" It has {group.order} elements, more than the {limit} that limit= allows." * group.is_finite
    raise InputError(
        f"No learned distribution is known for {group} acting on {symmetry.input.name}.{too_many} Known: Symmetric(n) "
        "on sets, graphs, points and permutation representations; O(n), SO(n), E(n), SE(n) and translations on points, "
        "O(n) and SO(n) on vectors that hold the defining representation; any small finite group; products of those. "
        "Use strategy 'canonicalize'" + (" or 'average'." if group.is_compact else ".")
    )


def _permutes_rows(action: Action, index: int) -> bool:
    """Whether a whole axis of some data is permuted, so that there are items to score."""
    if isinstance(action, CombinedAction):
        return any(_permutes_rows(part, index) for part in action.parts)
    if isinstance(action, FactorAction):
        return index == action.index and _permutes_rows(action.inner, 0)
    if isinstance(action, VectorAction):
        natural = rows_view(action, index) is not None and action.rep.dim == factors_of(action.group)[index].n  # type: ignore[attr-defined]
        return natural and action.copies in (1, None)
    return rows_view(action, index) is not None or (isinstance(action, PairAction) and action.index == index)


# --- outputs of the network -----------------------------------------------------------------------


def read_outputs(plan: tuple[Readout, ...], group: Group, outputs: Any, size: int, name: str) -> list[Tensor | None]:
    """The network's output for each factor, in its place and of its shape.

    Raises:
        InputTypeError: something that is no tensor (a tuple of tensors for a product).
        InputError: another shape than the factor needs, or numbers that are not finite.
    """
    if isinstance(group, Product):
        if not isinstance(outputs, tuple | list) or len(outputs) != len(plan):
            given = f"a tuple of {len(outputs)}" if isinstance(outputs, tuple | list) else type(outputs).__name__
            raise InputTypeError(
                f"For {group} the sampler network {name} must return a tuple of {len(plan)}, {_form(plan, size)}; "
                f"got {given}."
            )
    else:
        outputs = (outputs,)
    return [_checked(part, out, size, name) for part, out in zip(plan, outputs, strict=True)]


def _checked(part: Readout, out: Any, size: int, name: str) -> Tensor | None:
    if part.kind == "centroid":
        return None
    if not isinstance(out, Tensor) or not out.is_floating_point():
        given = out.dtype if isinstance(out, Tensor) else type(out).__name__
        raise InputTypeError(
            f"The sampler network {name} must return {part.kind} for {part.group}, floating point; got {given}."
        )
    need = part.need(size)
    if part.kind == "scores" and tuple(out.shape) == (*need, 1):
        out = out.squeeze(-1)
    require(
        tuple(out.shape) == need,
        f"The sampler network {name} must return {part.kind} of shape {need} for {part.group}, got {tuple(out.shape)}.",
    )
    return finite(out, f"{part.kind.capitalize()} of the sampler network {name} for {part.group}")


def _form(plan: tuple[Readout, ...], size: int) -> str:
    parts = ["None" if part.kind == "centroid" else f"{part.kind} {part.need(size)}" for part in plan]
    return f"({', '.join(parts)})"


# --- elements -------------------------------------------------------------------------------------


def normalised(scores: Float[Tensor, "M n"], mask: Bool[Tensor, "M n"] | None) -> Float[Tensor, "M n"]:
    """Scores of unit length over the items that are there, and zero elsewhere."""
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:
        scores = torch.where(mask, scores, torch.zeros_like(scores))
    square = scores.square().sum(-1, keepdim=True)
    # A root has no derivative at zero: what is not larger than the floor does not go through it.
    large = square > SCORE_FLOOR**2
    return scores / torch.where(large, square, torch.full_like(square, SCORE_FLOOR**2)).sqrt()


def random_descending(
    scores: Float[Tensor, "M n"], mask: Bool[Tensor, "M n"] | None, generator: torch.Generator | None
) -> Int[Tensor, "M n"]:
    """The order of descending scores, equal ones in random order, items that are not there last.

    A random relabelling before a stable sort breaks ties whatever the scale of the scores; noise
    added to them would be lost in rounding. Scores that rounding alone keeps apart count as equal: they
    are compared on a fine grid at a random offset.
    """
    where = generator_device(generator, scores.device)
    keys = torch.rand(*scores.shape[:-1], scores.shape[-1] + 1, generator=generator, device=where).to(scores.device)
    shuffled = keys[..., 1:].argsort(-1)
    grid = ROUNDED[scores.dtype]
    levels = (scores.detach().to(torch.float64) / grid + keys[..., :1]).floor()
    order = descending(levels.gather(-1, shuffled), None if mask is None else mask.gather(-1, shuffled))
    return shuffled.gather(-1, order)


def rotations(part: Readout, vectors: Float[Tensor, "M d d"], generator: torch.Generator | None) -> Tensor:
    """Orthogonal matrices from the columns, float64, as group elements are. Columns that depend on each
    other get a little isotropic noise, and then span a random frame instead of one that rounding picks."""
    where = generator_device(generator, vectors.device)
    drawn = torch.randn(vectors.shape, generator=generator, device=where, dtype=torch.float64).to(vectors.device)
    size = vectors.detach().abs().amax((-2, -1), keepdim=True).to(torch.float64)
    drawn = drawn * DEPENDENT * torch.where(size > 0, size, torch.ones_like(size))
    bad = dependent(part, vectors)[:, None, None]
    return gram_schmidt(
        vectors.to(torch.float64) + torch.where(bad, drawn, torch.zeros_like(drawn)), proper=part.proper
    )


def draw_index(logp: Float[Tensor, "B k K"], paired: bool, generator: torch.Generator | None) -> Int[Tensor, "B k"]:
    """Elements with these log probabilities; of a pair, the second half a turn on from the first."""
    size, count, _ = logp.shape
    where = generator_device(generator, logp.device)
    drawn = count // 2 if paired else count
    u = torch.rand(size, drawn, generator=generator, device=where, dtype=torch.float64).to(logp.device)
    if paired:
        u = torch.stack((u, (u + 0.5) % 1.0), dim=-1).flatten(1)
    ladder = logp.detach().exp().cumsum(-1)
    index = torch.searchsorted(ladder / ladder[..., -1:], u.unsqueeze(-1), right=True).squeeze(-1)
    return index.clamp_max(logp.shape[-1] - 1)


def score_weights(chosen: Float[Tensor, "B k"], block: int) -> Float[Tensor, "B k"]:
    """`1/k` in value. Their gradient makes that of the weighted mean unbiased: each sample's log
    probability has the weight of its output less the mean output of the other blocks."""
    count = chosen.shape[1]
    slope = chosen - chosen.detach()
    if count > block:
        total = slope.sum(1, keepdim=True)
        own = slope.unflatten(1, (-1, block)).sum(2).repeat_interleave(block, dim=1)
        slope = slope - (total - own) / (count - block)
    return (1 + slope) / count


def place(group: Group, parts: list[Element]) -> Element:
    """The element with these parts, one a factor."""
    return tuple(parts) if isinstance(group, Product) else parts[0]


# --- where chance decides -------------------------------------------------------------------------


def dependent(part: Readout, vectors: Float[Tensor, "M d d"]) -> Bool[Tensor, "M"]:
    """Which columns (nearly) depend on each other; the last plays no part in a rotation."""
    vectors = vectors.detach()[..., : part.size - part.proper]
    if vectors.numel() == 0:
        return torch.zeros(len(vectors), dtype=torch.bool, device=vectors.device)
    r = torch.linalg.qr(vectors.to(torch.float64), mode="r").R.diagonal(dim1=-2, dim2=-1).abs()
    return ~(r.amin(-1) > NEAR[vectors.dtype] * vectors.abs().amax((-1, -2)))


def tied(scores: Float[Tensor, "M n"], mask: Bool[Tensor, "M n"] | None) -> Bool[Tensor, "M"]:
    """Which inputs have scores that (nearly) tie, of items that are there."""
    scores = scores.detach()
    if mask is not None:  # those that are not there, far apart
        scores = torch.where(mask, scores, 10 + torch.arange(scores.shape[1], dtype=scores.dtype, device=scores.device))
    return (scores.sort(-1).values.diff(dim=-1) < NEAR[scores.dtype]).any(-1)
