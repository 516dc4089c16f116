"""Learned functions of absolute location that do not move with the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, positive_int, require
from equilearn.relaxation._base import Relaxation


class FixedInputs(Relaxation):
    """Learned inputs `t(x)` that stay where they are when the data move.

    Added to an embedding inside any equivariant network they make it depart from its symmetry, as far as the data
    demand: mountains, a coast, a wall. Where t is zero, outside of the box and where `drop` leaves it out, the network
    is the equivariant one.

    Arguments:
        num: number of functions t.
        domain: the box `(low, high)` of each coordinate outside of which t is zero (strictly inside it is not).
        drop: probability with which training leaves t out, for a whole sample.
        features: Fourier features of each coordinate, `sin` and `cos` of `pi k u` for k = 1 ... features, with `u` in
            [-1, 1] across the box; they let t vary quickly. 0 for the coordinate alone.
        width: of the network that t is: two hidden layers, ReLU.
        out: where given, a linear map takes the `num` functions to so many channels, those of the embedding.

    `forward(x)` takes locations `(B, ..., D)` to `(B, ..., num or out)`.

    Raises `InputError` for an empty box or locations of another dimension.

    Cost O(points width (width + D features)).

    Source: Ashman et al. 2024, Approximately Equivariant Neural Processes, section 4.

    Example:
        >>> fixed = FixedInputs(4, [(-1, 1), (-1, 1)], out=16)
        >>> x = torch.tensor([[[0.5, 0.5], [3.0, 0.5]]])
        >>> t = fixed(x)
        >>> t.shape, bool(t[0, 1].any())
        (torch.Size([1, 2, 16]), False)
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        num: int,
        domain: Sequence[tuple[float, float]],
        *,
        drop: float = 0.5,
        features: int = 0,
        width: int = 64,
        out: int | None = None,
    ):
        super().__init__(drop)
        self.num = positive_int(num, "num")
        self.features = positive_int(features, "features", 0)
        positive_int(width, "width")
        try:
            box = torch.as_tensor(domain, dtype=torch.get_default_dtype())
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputTypeError(
                f"domain must be a (low, high) for each coordinate, such as [(-1, 1), (0, 5)], got {domain!r}."
            ) from error
        require(
            box.ndim == 2 and box.shape[1] == 2 and len(box) > 0 and bool(torch.isfinite(box).all()),
            f"domain must be a finite (low, high) for each coordinate, got {domain!r}.",
        )
        require(
            bool((box[:, 0] < box[:, 1]).all()), f"Each (low, high) of domain must have low < high, got {domain!r}."
        )
        self.register_buffer("low", box[:, 0].clone())
        self.register_buffer("high", box[:, 1].clone())
        layers: list[nn.Module] = [nn.Linear(len(box) * (1 + 2 * features), width), nn.ReLU()]
        layers += [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num)]
        if out is not None:
            layers.append(nn.Linear(num, positive_int(out, "out"), bias=False))
        self.out = num if out is None else out
        self.net = nn.Sequential(*layers)

    def inside(self, x: Float[Tensor, "*points D"]) -> Bool[Tensor, "*points"]:
        """Which locations lie strictly inside the box."""
        return ((x > self.low) & (x < self.high)).all(-1)

    def values(self, x: Float[Tensor, "*points D"]) -> Float[Tensor, "*points out"]:
        """`t(x)` at full strength, whether or not it is switched off; zero outside of the box."""
        require(
            x.ndim > 0 and x.shape[-1] == len(self.low),
            f"These FixedInputs take locations (..., {len(self.low)}), got {tuple(x.shape)}.",
        )
        inside = self.inside(x)[..., None]
        # Locations outside (NaN, far away) never reach the network, whose gradient they would spoil.
        t = self.net(self._features(torch.where(inside, x, (self.low + self.high) / 2)))
        return torch.where(inside, t, torch.zeros((), dtype=t.dtype, device=t.device))

    def forward(self, x: Float[Tensor, "B *points D"]) -> Float[Tensor, "B *points out"]:
        """`t(x)` as each sample gets it: times the strength, or zero."""
        if self.is_off:
            return x.new_zeros(*x.shape[:-1], self.out)
        amount = self.amount(len(x), x)
        return self.values(x) * amount.view(-1, *[1] * (x.ndim - 1))

    def add_to(self, embedding: Float[Tensor, "B *points out"], x: Float[Tensor, "B *points D"]) -> Tensor:
        """`embedding + t(x)`; the embedding itself where t is switched off."""
        return embedding if self.is_off else embedding + self(x)

    def _features(self, x: Tensor) -> Tensor:
        u = 2 * (x - self.low) / (self.high - self.low) - 1
        if self.features == 0:
            return u
        k = torch.arange(1, self.features + 1, dtype=x.dtype, device=x.device)
        angles = (math.pi * u[..., None] * k).flatten(-2)
        return torch.cat([u, angles.sin(), angles.cos()], -1)

    def extra_repr(self) -> str:
        return f"num={self.num}, drop={self.drop:g}, features={self.features}, out={self.out}"
