"""The derivative of a representation that is known only through its matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError
from equilearn.groups import Element, Group


def lie_matrices_of(group: Group, matrix: Callable[[Element], Tensor], dim: int) -> Float[Tensor, "lie_dim dim dim"]:
    """`d rho(X_i) = log(rho(exp(t X_i))) / t`, exact for every `t` within reach of the logarithm.

    A finite difference would lose half the digits; the logarithm keeps them. `t` is halved until
    two of its values agree.
    """
    if group.lie_dim == 0:
        return torch.zeros(0, dim, dim, dtype=torch.float64)
    directions = torch.eye(group.lie_dim, dtype=torch.float64)
    previous, step = None, 0.25
    while step > 1e-4:
        matrices = matrix(group.exp(step * directions)).to(torch.float64)
        current = torch.stack([_logarithm(m) for m in matrices]) / step
        if previous is not None and _agree(previous, current):
            return previous  # the longer step has the smaller rounding error
        previous, step = current, step / 2
    raise InputError(
        "The derivative of this representation could not be found from its matrices: they do not depend "
        "smoothly on the element, or the representation is of very high degree. Give lie_matrices."
    )


def _agree(a: Tensor, b: Tensor) -> bool:
    return bool(torch.isfinite(a).all()) and float((a - b).abs().max()) <= 1e-9 * (1 + float(b.abs().max()))


def _logarithm(m: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim dim"]:
    from scipy.linalg import logm

    log = np.real(np.asarray(logm(m.detach().cpu().numpy())))
    return torch.from_numpy(np.ascontiguousarray(log)).to(torch.float64)
