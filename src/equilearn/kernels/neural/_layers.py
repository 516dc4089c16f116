"""What an infinitely wide network is made of: layers without widths, and the Gaussian integrals of activations."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from types import EllipsisType
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from equilearn._check import InputTypeError, one_of, positive_int, require

PADDINGS = ("circular", "same")
ROOT2 = math.sqrt(2.0)
SNAP = 4.0
"""Correlations within so many units of rounding of 1 count as 1: the rounding of a dot product, whose square root
would otherwise be read as an angle."""


@dataclass(frozen=True)
class Dense:
    """A dense layer: `h -> W_std / sqrt(fan_in) W h + b_std b`, entries of W and b standard normal.

    Args:
        W_std, b_std: the defaults keep the variance of ReLU networks (He) and give a small bias, with which the
            kernel of a ReLU network is no longer homogeneous.

    Example:
        >>> Dense(1.0, 0.0)
        Dense(W_std=1.0, b_std=0.0)
    """

    W_std: float = ROOT2
    b_std: float = 0.1

    def __post_init__(self) -> None:
        _check_stds(self.W_std, self.b_std)


@dataclass(frozen=True)
class Conv:
    """A convolution of stride 1 that keeps the size of the image, parametrised as `Dense`, fan-in `C size^2`.

    Args:
        size: the kernel is `size x size`, odd.
        padding: `"circular"` wraps; `"same"` pads with zeros, which count in the fan-in.
        W_std, b_std: as for `Dense`.

    Example:
        >>> Conv(3, "same").padding
        'same'
    """

    size: int = 3
    padding: str = "circular"
    W_std: float = ROOT2
    b_std: float = 0.1

    def __post_init__(self) -> None:
        positive_int(self.size, "The size of a convolution")
        require(self.size % 2 == 1, f"The size of a convolution must be odd, got {self.size}.")
        one_of(self.padding, PADDINGS, "padding")
        _check_stds(self.W_std, self.b_std)

    @property
    def is_circular(self) -> bool:
        """Whether it commutes with circular shifts; a 1 x 1 convolution does whatever its padding."""
        return self.padding == "circular" or self.size == 1


@dataclass(frozen=True)
class Flatten:
    """All pixels side by side, for a dense layer: its kernel is the mean over equal pixels."""


@dataclass(frozen=True)
class GlobalAveragePool:
    """The mean over pixels, for a dense layer: its kernel is the mean over all pairs of pixels."""


class Spread(NamedTuple):
    """Standard deviations, and their reciprocals: 0 where there are none in range."""

    std: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, std: Tensor) -> Spread:
        """From standard deviations."""
        return cls(std, torch.where(std > torch.finfo(std.dtype).tiny, 1 / std, 0.0))

    def at(self, *index: slice | Tensor | EllipsisType | None) -> Spread:
        """Both, indexed."""
        return Spread(self.std[index], self.inverse[index])


class Activation(ABC):
    """A function phi applied to each entry, by its Gaussian integrals. A new one is one small subclass.

    For jointly Gaussian `(u, v)` of mean 0, variances q1, q2 and covariance K.
    """

    @abstractmethod
    def variance(self, q: Tensor) -> Tensor:
        """`E phi(u)^2` for variances q."""

    @abstractmethod
    def slope(self, q: Tensor) -> Tensor:
        """`E phi'(u)^2` for variances q."""

    @abstractmethod
    def pair_(self, k: Tensor, theta: Tensor | None, left: Spread, right: Spread, work: tuple[Tensor, Tensor]) -> None:
        """In place: `k` (covariances) becomes `E phi(u) phi(v)`, `theta` is multiplied by `E phi'(u) phi'(v)`.

        Args:
            left, right: `sqrt(q1)`, `sqrt(q2)` and their reciprocals, which broadcast against `k`.
            work: two buffers of the shape of `k`.
        """


@dataclass(frozen=True)
class ReLU(Activation):
    """`max(0, u)`. With theta the angle, c its cosine: `E phi phi = sqrt(q1 q2) (sin theta + (pi - theta) c) / (2 pi)`
    and `E phi' phi' = (pi - theta) / (2 pi)`. Source: Y. Cho, L. Saul, NeurIPS 2009.
    """

    def variance(self, q: Tensor) -> Tensor:
        return q / 2

    def slope(self, q: Tensor) -> Tensor:
        return torch.full_like(q, 0.5)

    def pair_(self, k: Tensor, theta: Tensor | None, left: Spread, right: Spread, work: tuple[Tensor, Tensor]) -> None:
        slopes, sines = work
        correlation_(k, left, right)
        torch.acos(k, out=slopes)
        torch.add(k.new_tensor(0.5), slopes, alpha=-0.5 / math.pi, out=slopes)
        torch.addcmul(k.new_ones(()), k, k, value=-1, out=sines).sqrt_()
        k.mul_(slopes).add_(sines, alpha=0.5 / math.pi).mul_(left.std).mul_(right.std)
        if theta is not None:
            theta.mul_(slopes)


@dataclass(frozen=True)
class Erf(Activation):
    """`erf(u)`. With `s = (1 + 2 q1) (1 + 2 q2)`: `E phi phi = 2/pi arcsin(2 K / sqrt(s))` and
    `E phi' phi' = 4/pi / sqrt(s - 4 K^2)`. Source: C. Williams, NeurIPS 1996.
    """

    def variance(self, q: Tensor) -> Tensor:
        return torch.atan2(2 * q, (1 + 4 * q).sqrt()).mul_(2 / math.pi)

    def slope(self, q: Tensor) -> Tensor:
        return (1 + 4 * q).rsqrt_().mul_(4 / math.pi)

    def pair_(self, k: Tensor, theta: Tensor | None, left: Spread, right: Spread, work: tuple[Tensor, Tensor]) -> None:
        # With u = 2 K / sqrt(s) = c g1 g2, c the correlation, g^2 = 2 q / (1 + 2 q) = 1 - e^2:
        # 1 - u^2 = (1 - c^2) + c^2 (e1^2 + g1^2 e2^2), a sum of terms that do not cancel, however large q is.
        rest, squares = work
        e1, e2 = (1 / torch.hypot(k.new_ones(()), ROOT2 * r.std) for r in (left, right))
        g1, g2 = ROOT2 * left.std * e1, ROOT2 * right.std * e2
        correlation_(k, left, right)
        torch.mul(k, k, out=squares)
        rest.copy_(e2.square()).mul_(g1.square()).add_(e1.square()).mul_(squares)
        torch.add(k.new_ones(()), k, out=squares)
        rest.addcmul_(torch.sub(k.new_ones(()), k, out=k), squares).sqrt_()
        k.neg_().add_(1).mul_(g1).mul_(g2)
        torch.atan2(k, rest, out=k).mul_(2 / math.pi)
        if theta is not None:
            theta.mul_(e1).div_(rest).mul_(e2).mul_(4 / math.pi)


Layer: TypeAlias = Dense | Conv | Flatten | GlobalAveragePool | Activation


# --- parts ------------------------------------------------------------------------------------


def correlation_(k: Tensor, left: Spread, right: Spread) -> Tensor:
    """Covariances to correlations in [-1, 1], in place; 0 where a variance is 0, and 1 within rounding of 1."""
    snap = 1 + SNAP * torch.finfo(k.dtype).eps
    return k.mul_(left.inverse * snap).mul_(right.inverse).clamp_(-1, 1)


def _check_stds(W_std: object, b_std: object) -> None:
    for value, name in ((W_std, "W_std"), (b_std, "b_std")):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise InputTypeError(f"{name} must be a number, got {value!r}.")
    W, b = float(W_std), float(b_std)  # type: ignore[arg-type]
    require(0 < W < math.inf, f"W_std must be positive and finite, got {W_std!r}.")
    require(0 <= b < math.inf, f"b_std must be >= 0 and finite (0 for no bias), got {b_std!r}.")
