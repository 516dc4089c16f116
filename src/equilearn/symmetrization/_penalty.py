"""What a learned distribution adds to the loss, and where its poses are not determined."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn.actions import Data, first_leaf
from equilearn.groups import Product
from equilearn.symmetrization._base import Elements
from equilearn.symmetrization._moving import repeat
from equilearn.symmetrization._readouts import Readout
from equilearn.symmetrization._soft_sort import CLAMP, relax
from equilearn.symmetrization._views import mask_of
from equilearn.symmetry import Symmetry


@dataclass(frozen=True)
class Softness:
    """Of soft permutations: their temperature, and rounds of normalisation."""

    temperature: float
    rounds: int


def entropy_of(softness: Softness, symmetry: Symmetry, x: Data, elements: Elements) -> Float[Tensor, "B"] | None:
    """Entropy of the soft permutations of each input; None where there are none."""
    if "entropy" in elements.aux:
        return elements.aux["entropy"]
    total: Tensor | None = None
    for index in elements.aux.get("scores", {}):
        entropy = _relaxed(softness, symmetry, x, elements, index)[1].reshape(-1, elements.count).mean(1)
        total = entropy if total is None else total + entropy
    return total


def distance_to_identity(
    softness: Softness, plan: tuple[Readout, ...], symmetry: Symmetry, x: Data, elements: Elements
) -> Float[Tensor, "B"]:
    """How far the elements of each input are from the identity, in the mean over its samples.

    Permutations: cross-entropy of the soft permutation against the given order (of the items that
    are there). Orthogonal matrices: `|R - 1|^2`. Finite groups: minus the log probability of the identity,
    which `samples="all"` knows and samples do not.
    """
    leaf = first_leaf(x)
    total = torch.zeros(len(leaf), dtype=torch.float64, device=leaf.device)
    for part in plan:
        g = elements.g[part.index] if isinstance(symmetry.group, Product) else elements.g
        if part.kind == "scores":
            total = total + _cross_entropy(softness, symmetry, x, elements, part.index)
        elif part.kind == "vectors":
            turn = part.group.linear(g) if part.shifts else g  # type: ignore[attr-defined]
            eye = torch.eye(part.size, dtype=turn.dtype, device=turn.device)
            total = total + (turn - eye).square().sum((-1, -2)).mean(1)
        elif part.kind == "logits":
            total = total + elements.aux["identity"][part.index]
    return total


def _cross_entropy(
    softness: Softness, symmetry: Symmetry, x: Data, elements: Elements, index: int
) -> Float[Tensor, "B"]:
    soft = (elements.soft or {}).get(index)
    flat = _relaxed(softness, symmetry, x, elements, index)[0] if soft is None else soft.flatten(0, 1)
    mask = mask_of(symmetry.input, index, x)
    if mask is None:
        kept = flat.diagonal(dim1=1, dim2=2)
        return -kept.clamp_min(CLAMP).log().mean(1).reshape(-1, elements.count).mean(1)
    mask = repeat(mask, elements.count)
    order = torch.argsort((~mask).to(torch.int8), dim=-1, stable=True)  # the items that are there, as they come
    kept = flat.gather(1, order.unsqueeze(1)).squeeze(1)
    there = mask.gather(-1, order)
    lost = -(kept.clamp_min(CLAMP).log() * there).sum(1) / there.sum(1).clamp_min(1)
    return lost.reshape(-1, elements.count).mean(1)


def _relaxed(
    softness: Softness, symmetry: Symmetry, x: Data, elements: Elements, index: int
) -> tuple[Float[Tensor, "M n n"], Float[Tensor, "M"]]:
    g = elements.g[index] if isinstance(symmetry.group, Product) else elements.g
    mask = mask_of(symmetry.input, index, x)
    scores = elements.aux["scores"][index].flatten(0, 1)
    mask = None if mask is None else repeat(mask, elements.count)
    return relax(scores, g.flatten(0, 1), mask, temperature=softness.temperature, rounds=softness.rounds)
