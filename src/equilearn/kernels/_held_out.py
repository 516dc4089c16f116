"""What a kernel machine says of points that it was not shown: exactly, from one factorisation of all points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, not_empty, require
from equilearn.kernels._given import a_tensor, check_ridge, members, real
from equilearn.kernels._solve import cutoff, worst_condition


def leave_one_out(gram: Float[Tensor, "n n"], y: Float[Tensor, "n c"], *, ridge: float = 0.0) -> Float[Tensor, "n c"]:
    """The residual `y - f` at every point when that point alone is missing from training.

    With `K~ = K + ridge I` over all points, `r_i = (K~^-1 y)_i / (K~^-1)_ii`: no refit, no approximation. `f` is
    kernel ridge regression (without ridge: interpolation), the limit of a wide network with the neural tangent kernel
    and the posterior mean with the kernel of its prior. For targets of +1 and -1 the error is `r y`: below 1 the sign
    is right, 1 says nothing was learned, beyond it the point is taken for the other class.

    Args:
        gram: the kernel matrix of all points, `(n, n)`, symmetric.
        y: targets, `(n, c)`.
        ridge: added to the diagonal of the training points' kernel matrix.

    Returns:
        Residuals, `(n, c)`.

    Raises:
        InputError: shapes that do not fit, NaN, a negative ridge, a matrix that is not symmetric, indefinite (its
            eigenvalue is named) or singular to working precision.

    Source: the partitioned inverse; "On the Ability of Deep Networks to Learn Symmetries from Data", arXiv
    2412.11521. Cost: one inverse, about n^3 multiplications, n^2 memory.

    Example:
        >>> import torch
        >>> gram = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
        >>> y = torch.tensor([[1.0], [1.0], [-1.0]])
        >>> leave_one_out(gram, y)[1].round(decimals=4)  # its neighbours, +1 and -1, cancel
        tensor([1.])
    """
    inverse = _inverse_of(gram, y, ridge)
    return (inverse @ y) / inverse.diagonal()[:, None]


def leave_sets_out(
    gram: Float[Tensor, "n n"],
    y: Float[Tensor, "n c"],
    held_out: Sequence[Int[Tensor, " _"] | Bool[Tensor, " n"]],
    *,
    ridge: float = 0.0,
) -> tuple[Float[Tensor, "_ c"], ...]:
    """The residuals `y - f` on each set of points when that whole set is missing from training.

    `r_M = [(K~^-1)_MM]^-1 (K~^-1 y)_M` for each set M, with one inverse for all of them: see `leave_one_out`.

    Args:
        gram, y, ridge: as for `leave_one_out`.
        held_out: the sets, each as distinct indices or as a mask `(n,)`; at least one point stays in training.

    Returns:
        For each set the residuals `(size, c)`, in the order of its indices.

    Raises:
        InputError: as `leave_one_out`, and where a set is empty, everything, or no set of points.

    Cost: as `leave_one_out`, and size^3 / 3 for each set.

    Example:
        >>> import torch
        >>> gram = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
        >>> y = torch.tensor([[1.0], [1.0], [-1.0]])
        >>> pair, single = leave_sets_out(gram, y, [torch.tensor([0, 1]), torch.tensor([2])])
        >>> pair.flatten().round(decimals=4)  # predicted 0 and -1/2 from the last point alone
        tensor([1.0000, 1.5000])
    """
    if isinstance(held_out, Tensor) or not isinstance(held_out, Sequence):
        raise InputTypeError("held_out must be a list of sets of points: put a single set into a list of one.")
    return tuple(residual for residual, _ in without_sets(gram, y, held_out, ridge))


# --- parts ------------------------------------------------------------------------------------


def without_sets(
    gram: Tensor, y: Tensor, held_out: Sequence[Tensor], ridge: float
) -> list[tuple[Float[Tensor, "_ c"], Float[Tensor, " _"]]]:
    """Residuals, and the squared distance of each point from the span of the training points, for each set."""
    inverse = _inverse_of(gram, y, ridge)
    sets = [_held_out_set(one, len(y)) for one in held_out]
    dual = inverse @ y
    return [solve_missing(inverse[index[:, None], index], dual[index], ridge) for index in sets]


def solve_missing(block: Tensor, dual: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """`B^-1 alpha`, and the variance that is left: the diagonal of `B^-1` without the ridge."""
    covariance = inverse_of_psd(block, "The inverse kernel matrix on the missing points")
    return covariance @ dual, (covariance.diagonal() - ridge).clamp(min=0)


def inverse_of_psd(matrix: Tensor, what: str, scale: float = 0.0) -> Tensor:
    """The inverse of a Hermitian positive definite matrix.

    Args:
        matrix: `(n, n)`, real or complex.
        what: its name in a message.
        scale: of what it is a part of, where that is more than its own: rounding is relative to it.

    Raises:
        InputError: where one is indefinite, named with its eigenvalue, or singular to working precision.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not int(failed):
        inverse = torch.cholesky_inverse(factor)
        if max(_size(matrix), scale) * _size(inverse) <= worst_condition(matrix.dtype.to_real()):
            return inverse
    values = torch.linalg.eigvalsh(matrix)
    low, top = float(values.min()), max(float(values.max()), scale)
    if low < -1e3 * cutoff(values.dtype) * max(top, -low):
        raise InputError(
            f"{what} is indefinite: its smallest eigenvalue is {low:.3g}, its largest {top:.3g}. A kernel has none "
            "below 0. Is it symmetric, are the elements in the order of elements(), and was a kernel that is not "
            "invariant averaged over all elements? Rounding of this size is made good by a ridge."
        )
    raise InputError(
        f"{what} is singular to working precision in {values.dtype}: its smallest eigenvalue is {low:.2g}, its largest "
        f"{top:.2g}. Points that coincide (repeated, or left alone by some element), or a kernel that does not tell "
        "the points of an orbit apart, do this. Add a ridge, leave the copies out, or use float64."
    )


def check_gram(gram: Tensor) -> None:
    require(
        a_tensor(gram, "gram").ndim == 2 and gram.shape[0] == gram.shape[1],
        f"A kernel matrix has shape (n, n), got {tuple(gram.shape)}.",
    )
    not_empty(gram, "gram")
    real(gram, "The kernel matrix")
    finite(gram, "gram")
    norm = float(gram.norm())
    defect = float((gram - gram.mT).norm()) / norm if norm > 0 else 0.0
    require(
        defect <= torch.finfo(gram.dtype).eps ** 0.5,
        f"The kernel matrix is not symmetric: K - K^T is {defect:.2g} of its norm.",
    )


def _inverse_of(gram: Tensor, y: Tensor, ridge: float) -> Tensor:
    check_gram(gram)
    require(
        a_tensor(y, "y").ndim == 2 and len(y) == len(gram) and y.shape[1] > 0,
        f"y must hold one row of targets for each of the {len(gram)} points, (n, c); got {tuple(y.shape)}.",
    )
    if y.dtype != gram.dtype:
        raise InputTypeError(f"gram is {gram.dtype}, but y is {y.dtype}: give both in one dtype.")
    finite(y, "y")
    matrix = gram.clone()
    matrix.diagonal().add_(check_ridge(ridge))
    return inverse_of_psd(matrix, "The kernel matrix")


def _size(matrix: Tensor) -> float:
    """The Frobenius norm; real arithmetic, which is faster."""
    return float(torch.linalg.vector_norm(torch.view_as_real(matrix) if matrix.is_complex() else matrix))


def _held_out_set(one: Tensor, n: int) -> Tensor:
    index = members(one, n, "A held-out set")
    require(
        0 < len(index) < n,
        f"A held-out set must be distinct indices from 0 to {n - 1}, neither none of the points nor all of them; "
        f"got {len(index)}.",
    )
    return index
