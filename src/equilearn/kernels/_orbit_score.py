"""Which held-out points were answered right, beside those that a group can reach from the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from equilearn._check import InputTypeError, require
from equilearn.groups import orbits
from equilearn.kernels._imposed import require_permutations


@dataclass(frozen=True)
class OrbitScore:
    """Held-out points that were right against those in an orbit of a training point.

    Attributes:
        precision: share of the right ones that lie in such an orbit; None where none was right.
        recall: share of those in such an orbit that were right; None where none is.
        right, reachable, both, held_out: how many held-out points there are of each kind.
    """

    precision: float | None
    recall: float | None
    right: int
    reachable: int
    both: int
    held_out: int

    def as_dict(self) -> dict[str, Any]:
        """Numbers and None only, ready for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        def show(value: float | None) -> str:
            return "undefined" if value is None else f"{value:.3f}"

        return (
            f"precision {show(self.precision)}, recall {show(self.recall)}: of {self.held_out} held-out points "
            f"{self.reachable} lie in the orbit of a training point, {self.right} were right, {self.both} both"
        )


def orbit_precision_recall(
    right: Bool[Tensor, " N"], train: Bool[Tensor, " N"], permutations: Int[Tensor, "K N"]
) -> OrbitScore:
    """Does a model answer exactly those held-out points that a group H reaches from the training points?

    Args:
        right: which points were answered right, `(N,)`.
        train: which points were for training, `(N,)`; only the others are scored.
        permutations: permutations of the points that generate H, `(K, N)`.

    Raises:
        InputError: no masks of N points, no permutations, or nothing held out.

    Source: Finding 4.1 of "Breaking Data Symmetry is Needed For Generalization in Feature Learning Kernels",
    arXiv 2604.00316: with imposed features precision and recall are 1. O(K N).

    Example:
        >>> import torch
        >>> train = torch.tensor([True, False, False, False])
        >>> right = torch.tensor([True, True, False, False])
        >>> print(orbit_precision_recall(right, train, torch.tensor([[1, 0, 2, 3]])))
        precision 1.000, recall 1.000: of 3 held-out points 1 lie in the orbit of a training point, 1 were right, 1 both
    """
    require_permutations(permutations, "permutations")
    points = permutations.shape[-1]
    for name, mask in (("right", right), ("train", train)):
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise InputTypeError(f"{name} must be a Boolean mask of the {points} points.")
        require(tuple(mask.shape) == (points,), f"{name} must have shape ({points},), got {tuple(mask.shape)}.")
    held_out = ~train
    require(bool(held_out.any()), "Every point is a training point: nothing is held out to be scored.")
    labels = orbits(permutations)
    reached = torch.zeros(int(labels.max()) + 1, dtype=torch.bool, device=labels.device)
    reached[labels[train]] = True
    reachable, correct = reached[labels] & held_out, right & held_out
    both = int((reachable & correct).sum())
    n_right, n_reachable = int(correct.sum()), int(reachable.sum())
    return OrbitScore(
        precision=both / n_right if n_right else None,
        recall=both / n_reachable if n_reachable else None,
        right=n_right,
        reachable=n_reachable,
        both=both,
        held_out=int(held_out.sum()),
    )
