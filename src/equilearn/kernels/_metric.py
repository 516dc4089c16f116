"""The metric of a kernel machine: its root, its scale, and products with it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import one_of, require

NORMALIZATIONS = ("none", "max", "trace")


def times_metric(x: Float[Tensor, "*rows D"], metric: Tensor) -> Float[Tensor, "*rows D"]:
    """`x M`, for a matrix or a diagonal."""
    return x * metric if metric.ndim == 1 else x @ metric


def psd_power(metric: Tensor, exponent: float) -> Tensor:
    """`M^s` of a positive semidefinite matrix or diagonal; eigenvalues that are negative, or rounding, count as 0.

    By the symmetric eigenproblem: a general matrix root is complex as soon as rounding makes one
    eigenvalue negative. Eigenvalues under D times the rounding of the largest are 0: a root would turn
    noise of 1e-16 into weights of 1e-8, which a ridgeless solve then amplifies. O(D^3), O(D) for a diagonal, of which
    no entry above 0 is taken for rounding.

    Raises:
        InputError: an exponent that is not positive.

    Example:
        >>> psd_power(torch.diag(torch.tensor([4.0, 9.0, -1e-9])), 0.5).diagonal()
        tensor([2., 3., 0.])
    """
    require(
        exponent > 0, f"exponent must be a number > 0, got {exponent!r}: the power of an eigenvalue 0 would not be 0."
    )
    if metric.ndim == 1:
        return metric.clamp_min(0) if exponent == 1 else _power(metric, exponent)
    symmetric = (metric + metric.mT) / 2
    values, vectors = torch.linalg.eigh(symmetric)
    rounding = len(values) * torch.finfo(values.dtype).eps * float(values[-1])
    values = torch.where(values <= rounding, 0.0, values)
    return (vectors * _power(values, exponent)) @ vectors.mT


def _power(values: Tensor, exponent: float) -> Tensor:
    return values.clamp_min(0) ** exponent


def normalized(metric: Tensor, how: str) -> Tensor:
    """`M` divided by its largest entry (`"max"`), by its mean eigenvalue (`"trace"`), or as it is (`"none"`).

    A metric that is zero stays zero.
    """
    one_of(how, NORMALIZATIONS, "normalisation")
    if how == "none":
        return metric
    diagonal = metric if metric.ndim == 1 else metric.diagonal()
    scale = diagonal.max() if how == "max" else diagonal.mean()  # the largest entry of a PSD matrix is on its diagonal
    return metric / scale if float(scale) > 0 else metric


def symmetric_metric(metric: Tensor) -> Float[Tensor, "D D"]:
    """A metric as a matrix: a diagonal is spread out."""
    return torch.diag(metric) if metric.ndim == 1 else metric
