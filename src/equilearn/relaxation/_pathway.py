"""A free branch beside an equivariant layer, held back by a penalty."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, require
from equilearn.relaxation._base import Relaxation, number
from equilearn.relaxation._layer import RelaxedLayer


class FreePath(Relaxation):
    """Any module without the symmetry, with a Gaussian prior on its weights."""

    def __init__(self, net: nn.Module, weight: float, drop: float):
        super().__init__(drop)
        number(weight, "penalty")
        require(weight >= 0 and weight < float("inf"), f"penalty must be a number >= 0, got {weight}.")
        self.net, self.weight = net, float(weight)

    def penalty(self) -> Float[Tensor, ""]:
        """`weight` times the sum of squared weights; nothing where it is off."""
        total = self.strength.new_zeros(())
        if self.is_off:
            return total
        for p in self.net.parameters():
            total = total.to(p) + p.square().sum()
        return self.weight * total

    def extra_repr(self) -> str:
        return f"penalty={self.weight:g}, drop={self.drop:g}"


class ResidualPathway(RelaxedLayer):
    """`layer(x) + free(x)`: an equivariant layer or model, and beside it a branch that knows no symmetry.

    Arguments:
        layer: an equivariant layer, or a whole model.
        free: any module from the same inputs to outputs of the same shape.
        penalty: weight of the sum of the branch's squared weights in the loss: the log of a Gaussian prior of
            variance `1 / (2 penalty)`, for a loss that is a sum; for the mean over n samples divide by n.
        drop: probability with which training leaves the branch out, for a whole sample.

    `RelaxedModel.forward_with_penalty`, which `training.fit` calls, adds the penalty to the loss. The branch is used
    as it is given: begin its last layer at zero for a model that starts equivariant, as `relax` does.

    Raises `InputError` for a negative penalty, and in a call where the outputs differ in shape.

    Cost: that of both.

    Source: Finzi, Benton & Wilson 2021, Residual pathway priors for soft equivariance constraints, section 4.

    Example:
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> strict = eq.nn.EquivariantLinear(2 * V, V)
        >>> soft = ResidualPathway(strict, torch.nn.Linear(6, 3), penalty=1e-3)
        >>> soft(torch.rand(5, 6)).shape
        torch.Size([5, 3])
    """

    part: FreePath

    def __init__(self, layer: nn.Module, free: nn.Module, *, penalty: float = 1e-3, drop: float = 0.0):
        if not isinstance(free, nn.Module):
            raise InputTypeError(f"The free branch is a torch.nn.Module, got {type(free).__name__}.")
        super().__init__(layer, FreePath(free, penalty, drop))

    def departure(self, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        free = self.part.net(*inputs)
        shown = tuple(free.shape) if isinstance(free, Tensor) else type(free).__name__
        require(
            isinstance(free, Tensor) and free.shape == y.shape,
            f"The free branch gives {shown}, the equivariant one {tuple(y.shape)}: both must be of one shape.",
        )
        return free


def start_at_zero(net: nn.Module) -> nn.Module:
    """The module with the last of its linear maps or convolutions at zero."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    last = next((m for m in reversed(list(net.modules())) if isinstance(m, kinds)), None)
    if last is not None:
        with torch.no_grad():
            for p in last.parameters():
                p.zero_()
    return net
