"""One layer and what is added to its output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, one_of, positive_int, require
from equilearn.relaxation._base import Relaxation
from equilearn.relaxation._fixed_inputs import FixedInputs

Place: TypeAlias = Literal["grid", "points", "order", "vector"]
PLACES = ("grid", "points", "order", "vector")


class RelaxedLayer(nn.Module, ABC):
    """`layer(x) + amount * departure(x)`; with the part off, the layer as it was, to the last bit.

    Arguments:
        layer: an equivariant layer, or a whole model; batch first, one tensor as its output.
        part: the dial, and the parameters of the departure.

    A subclass states `departure`.
    """

    layer: nn.Module
    part: Relaxation

    def __init__(self, layer: nn.Module, part: Relaxation):
        super().__init__()
        if not isinstance(layer, nn.Module):
            raise InputTypeError(f"A torch.nn.Module is relaxed, got {type(layer).__name__}.")
        self.layer, self.part = layer, part

    @abstractmethod
    def departure(self, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        """What is added to the output `y` at full strength; it broadcasts to `y`."""

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        y = self.layer(*inputs, **options)
        if self.part.is_off:
            return y
        if not isinstance(y, Tensor) or y.ndim < 2:
            shown = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise InputTypeError(f"A relaxed layer gives one tensor, batch first, (B, ...); this one gives {shown}.")
        amount = self.part.amount(len(y), y)
        return y + amount.view(-1, *[1] * (y.ndim - 1)) * self.departure(inputs, y)


class FixedVector(Relaxation):
    """A learned vector that stays as it is when the data move: fixed inputs where there is no location.

    Arguments:
        size: its entries.
        drop: probability with which training leaves it out, for a whole sample.

    It starts at zero: the model starts equivariant.

    Example:
        >>> FixedVector(3).value
        Parameter containing:
        tensor([0., 0., 0.], requires_grad=True)
    """

    def __init__(self, size: int, *, drop: float = 0.5):
        super().__init__(drop)
        self.out = positive_int(size, "size")
        self.value = nn.Parameter(torch.zeros(size))

    def extra_repr(self) -> str:
        return f"{self.out}, drop={self.drop:g}"


class Relaxed(RelaxedLayer):
    """A layer with fixed inputs: `layer(x) + t`, where `t` does not move with the data.

    Arguments:
        layer: any equivariant layer.
        fixed: `FixedInputs` with as many outputs as the layer has channels, or a `FixedVector` of them.
        at: where `t` is taken.
            `"grid"`: at the pixels of the output `(B, C, H, W)`, x to the right and y up, both over [-1, 1], which
            are the edges of the image;
            `"points"`: at the first coordinates of each point of the input `(B, N, D)`;
            `"order"`: at the number of each token of the output `(B, N, C)`, counted over [-1, 1];
            `"vector"`: nowhere, for outputs `(B, ..., C)`: a `FixedVector`.

    Raises `InputError` where `fixed` does not fit `at`, or in a call the output of the layer.

    Cost: that of the layer, and of `t` at H W, B N, N or no places.

    Source: Ashman et al. 2024, section 4: fixed inputs are added to an embedding. With `"order"` it is a learned
    positional embedding; the paper's appendix C lists more special cases.

    Example:
        >>> import equilearn as eq
        >>> from equilearn.relaxation import FixedInputs, Relaxed, equivariant_only
        >>> conv = eq.nn.LiftingConv2d(eq.Cyclic(4), 1, 2, 3)
        >>> soft = Relaxed(conv, FixedInputs(4, [(-1, 1), (-1, 1)], out=8))
        >>> x = torch.rand(3, 1, 6, 6)
        >>> with equivariant_only(soft):
        ...     torch.equal(soft(x), conv(x))
        True
    """

    part: FixedInputs | FixedVector

    def __init__(self, layer: nn.Module, fixed: FixedInputs | FixedVector, at: Place = "grid"):
        super().__init__(layer, fixed)
        self.at = one_of(at, PLACES, "place of fixed inputs")
        if at == "vector":
            require(isinstance(fixed, FixedVector), "at='vector' has no location: give a FixedVector.")
            return
        if not isinstance(fixed, FixedInputs):
            raise InputTypeError(f"at={at!r} needs FixedInputs, functions of location; got {type(fixed).__name__}.")
        need = {"grid": 2, "order": 1}.get(at)
        have = len(fixed.low)
        require(
            need is None or need == have,
            f"at={at!r} has {need} coordinate{'s' * (need == 2)}, so FixedInputs need a domain of that many "
            f"(low, high); theirs has {have}.",
        )

    def departure(self, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        """`t`, in the layout of `y`, for one sample where it is the same for all."""
        self._check(y)
        if isinstance(self.part, FixedVector):
            return self.part.value
        if self.at == "grid":
            return self.part.values(grid_places(y)).permute(2, 0, 1)
        if self.at == "order":
            return self.part.values(centres(y.shape[1], y)[:, None])
        x, need = inputs[0], len(self.part.low)
        require(
            isinstance(x, Tensor) and x.ndim == 3 and x.shape[-1] >= need and x.shape[:2] == y.shape[:2],
            f"at='points' reads {need} coordinates from the layer's input (B, N, D), got "
            f"{tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__} for an output of {tuple(y.shape)}.",
        )
        return self.part.values(x[..., :need])

    def _check(self, y: Tensor) -> None:
        axes = {"grid": 4, "points": 3, "order": 3}.get(self.at, y.ndim)
        channels = y.shape[1] if self.at == "grid" else y.shape[-1]
        layout = {"grid": "(B, {0}, H, W)", "vector": "(B, ..., {0})"}.get(self.at, "(B, N, {0})").format(self.part.out)
        require(
            y.ndim == axes and channels == self.part.out,
            f"Fixed inputs at {self.at!r} with {self.part.out} outputs go with a layer that gives {layout}; "
            f"this one gives {tuple(y.shape)}.",
        )

    def extra_repr(self) -> str:
        return f"at={self.at!r}"


def centres(count: int, like: Tensor) -> Float[Tensor, "count"]:
    """The middles of so many equal parts of [-1, 1]."""
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / max(count, 1) - 1


def grid_places(y: Float[Tensor, "B C H W"]) -> Float[Tensor, "H W 2"]:
    """Where the pixels of a map lie: `(x, y)`, x to the right and y up."""
    rows, columns = centres(y.shape[2], y), centres(y.shape[3], y)
    return torch.stack([columns.expand(len(rows), -1), -rows[:, None].expand(-1, len(columns))], -1)
