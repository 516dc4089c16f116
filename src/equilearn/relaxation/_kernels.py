"""Group convolutions whose kernels need not be the same at every element of the group."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import InputTypeError, positive_int
from equilearn.nn import GroupConv2d, LiftingConv2d
from equilearn.relaxation._base import Relaxation
from equilearn.relaxation._layer import RelaxedLayer


class KernelBanks(Relaxation):
    """Banks of kernels, and their weights at each element of a group."""

    def __init__(self, weight: Tensor, order: int, banks: int, drop: float, generator: torch.Generator | None):
        super().__init__(drop)
        self.kernels = nn.Parameter(torch.empty(banks, *weight.shape, dtype=weight.dtype, device=weight.device))
        nn.init.normal_(self.kernels, std=math.prod(weight.shape[1:]) ** -0.5, generator=generator)
        self.weights = nn.Parameter(torch.zeros(banks, order, dtype=weight.dtype, device=weight.device))

    def extra_repr(self) -> str:
        return f"banks={len(self.kernels)}, drop={self.drop:g}"


class RelaxedGroupConv2d(RelaxedLayer):
    """A group convolution with a sum of kernel banks, weighted by group element.

    Arguments:
        layer: a `LiftingConv2d` or `GroupConv2d`.
        banks: kernels beside the layer's own.
        drop: probability with which training leaves them out, for a whole sample.
        generator: for the initial banks.

    The kernel is `psi(g^-1 h) + sum_l w_l(h) psi_l(g^-1 h)`, the weights `w_l` a function on the group (of the
    output's element `g` where the layer lifts an image), less their mean: what is equal at all elements belongs to
    `psi`, and averaging the layer over the group gives the strict one. Weights start at zero, so that it starts as
    the layer that it is given, to the last bit. Only turns and flips are relaxed; shifts stay exact.

    Raises `InputTypeError` for another layer.

    Cost: two convolutions, and `banks` kernels turned.

    Source: Wang, Walters & Yu 2022, Approximately equivariant networks for imperfectly symmetric dynamics, section
    4.1. There the weights are free and start equal; that is the same family with the strict kernel as one more bank.

    Example:
        >>> import equilearn as eq
        >>> conv = eq.nn.GroupConv2d(eq.Cyclic(4), 2, 3, 3)
        >>> soft = RelaxedGroupConv2d(conv, banks=2)
        >>> x = torch.rand(5, 8, 6, 6)
        >>> torch.equal(soft(x), conv(x))
        True
    """

    layer: GroupConv2d | LiftingConv2d
    part: KernelBanks

    def __init__(
        self,
        layer: GroupConv2d | LiftingConv2d,
        banks: int = 1,
        *,
        drop: float = 0.0,
        generator: torch.Generator | None = None,
    ):
        if not isinstance(layer, GroupConv2d | LiftingConv2d):
            raise InputTypeError(
                f"Kernels are relaxed in LiftingConv2d and GroupConv2d, got {type(layer).__name__}. For other layers "
                "there are fixed inputs (Relaxed) and free branches (ResidualPathway)."
            )
        positive_int(banks, "banks")
        super().__init__(layer, KernelBanks(layer.weight.detach(), layer.order, banks, drop, generator))

    def kernel(self) -> Float[Tensor, "C_out C_in k k"]:
        """What is added to the kernel at full strength."""
        order, lifts = self.layer.order, isinstance(self.layer, LiftingConv2d)
        weights = self.part.weights - self.part.weights.mean(1, keepdim=True)
        total = torch.zeros((), dtype=weights.dtype, device=weights.device)
        for w, small in zip(weights, self.part.kernels, strict=True):
            whole = self.layer._expand(small)
            if lifts:
                total = total + (whole.unflatten(0, (-1, order)) * w.view(1, -1, 1, 1, 1)).flatten(0, 1)
            else:
                total = total + (whole.unflatten(1, (-1, order)) * w.view(1, 1, -1, 1, 1)).flatten(1, 2)
        return total

    def departure(self, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        return functional.conv2d(inputs[0], self.kernel(), None, self.layer.stride, self.layer.padding)
