"""What Gaussian processes say of some points after having seen others, and mixtures of that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import require


class Conditioned(NamedTuple):
    """What `condition` found: means `(*batch, T, R)`, variances `(*batch, T)`, log evidence `(*batch, R)`."""

    mean: Tensor
    var: Tensor
    log_evidence: Tensor


def condition(
    cov: Float[Tensor, "*batch N N"],
    cross: Float[Tensor, "*batch N T"],
    var: Float[Tensor, "*batch T"],
    residual: Float[Tensor, "*batch N R"],
    mask: Bool[Tensor, "*batch N"],
) -> Conditioned:
    """The posterior of a Gaussian vector, and how likely the observations were.

    Args:
        cov: covariance of the observations, their noise included.
        cross: covariance of observations and targets.
        var: variances of the targets before; with their noise, the result has it too.
        residual: observations minus their means, R of them for one covariance.
        mask: which observations there are; the others change nothing.

    Returns:
        Means (to which the means of the targets before are to be added), variances, and `log p(observations)`.

    Raises:
        InputError: a covariance that is not positive definite.

    Cost: O(N^3 + N^2 (T + R)) each.

    Example:
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> found = condition(2 * one, one, one[0], 3 * one, torch.ones(1, dtype=torch.bool))
        >>> found.mean, found.var
        (tensor([[1.5000]], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """
    seen = mask.to(cov)
    # Points that are not there: independent of all else, of variance 1 and value 0.
    cov = cov * seen.unsqueeze(-1) * seen.unsqueeze(-2) + torch.diag_embed(1 - seen)
    chol = factor(cov)
    both = torch.cat([cross * seen.unsqueeze(-1), residual * seen.unsqueeze(-1)], -1)
    white = torch.linalg.solve_triangular(chol, both, upper=False)
    a, r = white[..., : cross.shape[-1]], white[..., cross.shape[-1] :]
    log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
    constant = 0.5 * math.log(2 * math.pi) * seen.sum(-1, keepdim=True)
    return Conditioned(
        a.transpose(-1, -2) @ r,
        (var - a.square().sum(-2)).clamp_min(torch.finfo(var.dtype).tiny),
        -0.5 * r.square().sum(-2) - log_det - constant,
    )


def factor(cov: Float[Tensor, "*batch N N"]) -> Float[Tensor, "*batch N N"]:
    """The Cholesky factor; raises `InputError` where a matrix is not positive definite."""
    chol, failed = torch.linalg.cholesky_ex(cov)
    require(
        not bool(failed.any()),
        f"{int((failed > 0).sum())} of {failed.numel()} covariance matrices are not positive definite. Give more noise "
        "or a larger jitter.",
    )
    return chol


@dataclass(frozen=True, eq=False)
class Mixture:
    """At every target a mixture of Gaussians, its weights shared by the targets of a task.

    Args:
        log_weights: `(B, H)`, of the hypotheses.
        means, vars: `(B, T, H)`.

    Example:
        >>> flip = Mixture(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[[-1.0, 1.0]]]), torch.ones(1, 1, 2))
        >>> flip.mean, flip.std, flip.log_prob(torch.zeros(1, 1))
        (tensor([[0.]]), tensor([[1.4142]]), tensor([[-1.4189]]))
    """

    log_weights: Float[Tensor, "B H"]
    means: Float[Tensor, "B T H"]
    vars: Float[Tensor, "B T H"]

    @property
    def mean(self) -> Float[Tensor, "B T"]:
        """Of each target."""
        return (self._weights * self.means).sum(-1)

    @property
    def std(self) -> Float[Tensor, "B T"]:
        """Of each target."""
        spread = (self.means - self.mean.unsqueeze(-1)).square()
        return (self._weights * (self.vars + spread)).sum(-1).sqrt()

    def log_prob(self, y: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Log density of a value at each target by itself."""
        each = -0.5 * ((y.unsqueeze(-1) - self.means).square() / self.vars + (2 * math.pi * self.vars).log())
        return torch.logsumexp(self.log_weights.unsqueeze(1) + each, -1)

    @property
    def _weights(self) -> Tensor:
        return self.log_weights.exp().unsqueeze(1)
