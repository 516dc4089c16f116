"""What a process says of a field at each target: a mean and a standard deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import one_of, require

REDUCTIONS = ("none", "tasks", "points")


@dataclass(frozen=True, eq=False)
class Predictive:
    """Independent normal distributions, one a value of a target.

    Args:
        mean, std: `(B, N, Y)`, in the units of the data; anything at padding.
        mask: `(B, N)`, True at targets whose values are known, so that they can be scored.

    Example:
        >>> found = Predictive(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), torch.tensor([[True, False]]))
        >>> round(float(found.log_prob(torch.zeros(1, 2, 1))), 4)
        -0.9189
    """

    mean: Float[Tensor, "B N Y"]
    std: Float[Tensor, "B N Y"]
    mask: Bool[Tensor, "B N"]

    def log_prob(
        self, y: Float[Tensor, "B N Y"], reduce: Literal["none", "tasks", "points"] = "points"
    ) -> Float[Tensor, "*shape"]:
        """Log density of the known values, in nats; the values of one target are added.

        Args:
            y: the values; what stands where the mask is False does not count.
            reduce: `"points"`: the mean over all known targets of the batch. `"tasks"`: the mean over the known
                targets of each task, `(B,)`, NaN for a task that has none. `"none"`: `(B, N)`, 0 where nothing is
                known.

        Raises:
            InputError: another shape, or no known target at all under `"points"`.
        """
        one_of(reduce, REDUCTIONS, "reduction")
        require(
            y.shape == self.mean.shape, f"y must have shape {tuple(self.mean.shape)} as the mean, got {tuple(y.shape)}."
        )
        known = self.mask[..., None]
        z = (torch.where(known, y, self.mean) - self.mean) / self.std
        density = -0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        each = torch.where(self.mask, density.sum(-1), 0)
        if reduce == "none":
            return each
        if reduce == "tasks":
            count = self.mask.sum(1)
            return torch.where(count > 0, each.sum(1) / count.clamp_min(1), math.nan)
        require(bool(self.mask.any()), "No target has a known value: there is nothing to score.")
        return each.sum() / self.mask.sum()

    def sample(self, count: int = 1, generator: torch.Generator | None = None) -> Float[Tensor, "count B N Y"]:
        """Independent draws at each target; `NeuralProcess.sample` draws them jointly."""
        shape = (count, *self.mean.shape)
        where = self.mean.device if generator is None else generator.device
        noise = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=where)
        return self.mean + self.std * noise.to(self.mean.device)

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self.mean)

    def __getitem__(self, index: int | slice | Tensor) -> Predictive:
        """Of some of the tasks, or of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"There are {len(self)} tasks, number {index} was asked for.")
            index = slice(index % len(self), index % len(self) + 1)
        return Predictive(self.mean[index], self.std[index], self.mask[index])
