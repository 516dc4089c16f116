"""Two rings of points above each other: the smallest problem of symmetry learning that can be solved by hand."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.actions import vectors
from equilearn.groups import Cyclic
from equilearn.reps import from_function
from equilearn.symmetry import Symmetry


def rings(
    order: int, separation: float = 1.0, *, dtype: torch.dtype = torch.float64
) -> tuple[Float[Tensor, "2 3"], Symmetry]:
    """One point on each of two rings of radius 1, and the turns by `2 pi / order` about their common axis.

    The rings lie at heights `+separation/2` and `-separation/2`; the second point stands half a step on. With the
    Gaussian kernel `exp(-L^2 d^2)` and class = ring, the error of a missing point is known in closed form
    (`spectral_error`). The orbit, `symmetry.input.orbit(symmetry.group.elements(), x)`, is `(order, 2, 3)`: flattened
    it lists the points interleaved, a_0, b_0, a_1, ...

    Args:
        order: points on each ring, at least 2.
        separation: distance of the rings; 0 puts both into one plane.
        dtype: of the points.

    Raises:
        InputError: another order, a separation that is not a number >= 0, or a dtype without fractions.

    Source: arXiv 2412.11521, its toy model.

    Example:
        >>> x, symmetry = rings(4)
        >>> x.shape, symmetry
        (torch.Size([2, 3]), Symmetry(C4: vectors(turn about the axis) -> trivial))
    """
    n = positive_int(order, "order", minimum=2)
    require(0 <= separation < float("inf"), f"separation must be a number >= 0, got {separation!r}.")
    group = Cyclic(n)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputTypeError(f"dtype must be a floating-point one, for points between the whole numbers; got {dtype}.")
    half = math.pi / n
    x = torch.tensor(
        [[1.0, 0.0, separation / 2], [math.cos(half), math.sin(half), -separation / 2]], dtype=torch.float64
    )

    def turn(g: Tensor) -> Tensor:
        matrix = torch.eye(3, dtype=torch.float64).repeat(*g.shape, 1, 1)
        matrix[..., :2, :2] = group.plane_matrix(g)
        return matrix

    rep = from_function(group, turn, dim=3, name="turn about the axis")
    return x.to(dtype), Symmetry(group, input=vectors(rep))
