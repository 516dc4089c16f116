"""Covariances of Gaussian processes, some with an unknown of their own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputTypeError, require


@dataclass(frozen=True)
class Kernel(ABC):
    """A covariance `k(x, x')`, and of how many equally likely kinds a task draws one (its state).

    Subclasses are frozen dataclasses whose fields are positive numbers, and give `matrix`; those that depend on where
    they are have `stationary = False`, and those that come in kinds say how many as `states`.

    Args:
        variance: `k(x, x)`; by keyword alone, as `RBF(0.3)` is one of lengthscale 0.3.

    Raises:
        InputError: a parameter that is not positive and finite.
    """

    variance: float = field(default=1.0, kw_only=True)

    stationary = True
    states = 1

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputTypeError(
                    f"{each.name} of {type(self).__name__} must be a positive number, got {type(value).__name__}."
                )
            require(
                math.isfinite(value) and value > 0,
                f"{each.name} of {type(self).__name__} must be positive and finite, got {value:g}.",
            )

    def __call__(
        self, x: Float[Tensor, "*batch N X"], other: Float[Tensor, "*batch M X"], state: Int[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch N M"]:
        """Covariances of all pairs. Cost O(N M X)."""
        return self.variance * self.correlation(x, other, state)

    @abstractmethod
    def correlation(self, x: Tensor, other: Tensor, state: Tensor) -> Tensor:
        """`k(x, x') / variance`."""


@dataclass(frozen=True)
class RBF(Kernel):
    """`exp(-|x - x'|^2 / (2 l^2))`: smooth.

    Args:
        lengthscale: l.

    Example:
        >>> x = torch.zeros(1, 1)
        >>> RBF()(x, x + 1, torch.tensor(0))
        tensor([[0.6065]])
    """

    lengthscale: float = 1.0

    def correlation(self, x: Tensor, other: Tensor, state: Tensor) -> Tensor:
        return torch.exp(-0.5 * squared_distances(x, other) / self.lengthscale**2)


@dataclass(frozen=True)
class Matern(Kernel):
    """Rougher: `nu - 1/2` times differentiable.

    Args:
        lengthscale: l.
        nu: 0.5, 1.5 or 2.5.

    Example:
        >>> x = torch.zeros(1, 1)
        >>> Matern(nu=0.5)(x, x + 1, torch.tensor(0))
        tensor([[0.3679]])
    """

    lengthscale: float = 1.0
    nu: float = 2.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.nu in (0.5, 1.5, 2.5), f"nu of Matern must be 0.5, 1.5 or 2.5, got {self.nu:g}.")

    def correlation(self, x: Tensor, other: Tensor, state: Tensor) -> Tensor:
        r = math.sqrt(2 * self.nu) * squared_distances(x, other).sqrt() / self.lengthscale
        polynomial = {0.5: 1.0, 1.5: 1 + r, 2.5: 1 + r + r.square() / 3}[self.nu]
        return polynomial * torch.exp(-r)


@dataclass(frozen=True)
class Periodic(Kernel):
    """`exp(-2 sum_d sin^2(pi (x_d - x'_d) / p) / l^2)`: repeats itself along every axis.

    Args:
        lengthscale: l, in units of a turn of one radian.
        period: p.

    Example:
        >>> x = torch.zeros(1, 1)
        >>> Periodic(period=0.5)(x, x + 1, torch.tensor(0)).round(decimals=4)
        tensor([[1.]])
    """

    lengthscale: float = 1.0
    period: float = 1.0

    def correlation(self, x: Tensor, other: Tensor, state: Tensor) -> Tensor:
        turns = torch.sin(math.pi * (x.unsqueeze(-2) - other.unsqueeze(-3)) / self.period).square().sum(-1)
        return torch.exp(-2 * turns / self.lengthscale**2)


@dataclass(frozen=True)
class Gibbs(Kernel):
    """Quick on one side of the hyperplane `x_1 = 0` and slow on the other; which one is quick is the state.

    `(2 l l' / (l^2 + l'^2))^(D/2) exp(-|x - x'|^2 / (l^2 + l'^2))` with the lengthscales l and l' at x and x': state 0
    is quick where `x_1 < 0`, state 1 elsewhere.

    Args:
        quick, slow: the lengthscales.

    Source: M. N. Gibbs, Bayesian Gaussian Processes for Regression and Classification (1997), section 3.10; the change
        point as in Ashman et al., Approximately Equivariant Neural Processes (2024), appendix E.

    Example:
        >>> left, right = torch.tensor([[-0.5]]), torch.tensor([[0.5]])
        >>> Gibbs()(left, right, torch.tensor(0))
        tensor([[0.2100]])
    """

    quick: float = 0.1
    slow: float = 4.0

    stationary = False
    states = 2

    def correlation(self, x: Tensor, other: Tensor, state: Tensor) -> Tensor:
        l, m = self._lengthscale(x, state).unsqueeze(-1), self._lengthscale(other, state).unsqueeze(-2)
        both = l.square() + m.square()
        return (2 * l * m / both) ** (x.shape[-1] / 2) * torch.exp(-squared_distances(x, other) / both)

    def _lengthscale(self, x: Tensor, state: Tensor) -> Tensor:
        """`(*batch, N)`."""
        quick = (x[..., 0] < 0) == (state == 0).unsqueeze(-1)
        return torch.where(quick, x.new_tensor(self.quick), x.new_tensor(self.slow))


def squared_distances(
    x: Float[Tensor, "*batch N X"], other: Float[Tensor, "*batch M X"]
) -> Float[Tensor, "*batch N M"]:
    """From differences, so that points that coincide are at distance zero exactly."""
    found = x.new_zeros(())
    for d in range(x.shape[-1]):
        found = found + (x[..., :, None, d] - other[..., None, :, d]).square()
    return found
