"""What a learned distribution finds out about a batch while it puts the elements together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn.actions import Data, first_leaf
from equilearn.symmetrization._readouts import Readout
from equilearn.symmetry import Symmetry


@dataclass
class Found:
    """What has been found out about one batch, while its elements are put together."""

    symmetry: Symmetry
    x: Data
    size: int
    count: int
    block: int
    generator: torch.Generator | None

    def __post_init__(self) -> None:
        self.aux: dict[str, Any] = {}
        self.soft: dict[int, Tensor] = {}
        self.chosen: Tensor | None = None
        self.unique: Bool[Tensor, "B"] = torch.ones(self.size, dtype=torch.bool, device=first_leaf(self.x).device)

    def note(self, undecided: Bool[Tensor, "M"]) -> None:
        """These samples were decided by chance or rounding."""
        self.unique &= ~undecided.reshape(self.size, self.count).any(1)

    def add(self, name: str, value: Float[Tensor, "M"]) -> None:
        """Add a mean over the samples of an input."""
        mean = value.reshape(self.size, self.count).mean(1)
        self.aux[name] = self.aux[name] + mean if name in self.aux else mean


def times(out: Tensor | None, count: int) -> Tensor | None:
    return out if out is None or count == 1 else out.repeat_interleave(count, 0)


def loss_of_identity(part: Readout, logp: Float[Tensor, "B K"]) -> Float[Tensor, "B"]:
    """Minus the log probability of the identity."""
    return -logp[:, int(part.group.index_of(part.group.identity()))]
