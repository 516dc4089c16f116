"""Direct solution of `(K + ridge I) dual = Y`: Cholesky in place, a truncated eigenproblem where K is singular.

On symmetric training sets the Gram matrix of a learned metric becomes exactly singular. A ridgeless LU then returns
round-off; here the rank and the condition number are measured and reported, always.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require

MOST_FOR_LAPACK = 2**31 - 1
"""Entries of the largest matrix that LAPACK can count."""
BLOCK_ROWS = 2_048
"""Rows of a larger one that are factored at a time."""


class SingularKernelWarning(UserWarning):
    """The Gram matrix is numerically singular: its range was solved on, the rest left at 0."""


@dataclass(frozen=True)
class SolveInfo:
    """How a system was solved.

    Args:
        method: `"cholesky"`, `"eigh"`, `"cg"` or `"stochastic"`.
        rank: numerical rank of `K + ridge I` (all of it for Cholesky); None where an iterative solver did not ask.
        size: number of unknowns.
        condition: estimated condition number (2-norm within a small factor), on the range that was solved on; or None.
        residual: relative residual |(K + ridge I) dual - Y| / |Y|, where it was computed.
        iterations: of an iterative solver, or epochs.
        ridge: what a Cholesky solution had on its diagonal; more than was asked for where rounding needed it.
    """

    method: str
    rank: int | None
    size: int
    condition: float | None
    residual: float | None = None
    iterations: int = 0
    ridge: float | None = None

    @property
    def is_singular(self) -> bool:
        return self.rank is not None and self.rank < self.size

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings and None only."""
        return asdict(self)


def cutoff(dtype: torch.dtype) -> float:
    """Eigenvalues below this share of the largest count as 0: 1e-12 in float64, 1e-6 in float32."""
    return 1e-12 if dtype == torch.float64 else 1e-6


def worst_condition(dtype: torch.dtype) -> float:
    """The condition number up to which a ridgeless Cholesky solution is kept: 9e13 in float64, 2e5 in float32."""
    return 0.02 / torch.finfo(dtype).eps


EIGH_LIMIT = 4_096
"""Most unknowns for which the eigenproblem is solved, about 10 N^3 operations; beyond, the ridge is raised."""


def solve_psd(
    gram: Float[Tensor, "N N"], targets: Float[Tensor, "N C"], ridge: float = 0.0
) -> tuple[Float[Tensor, "N C"], SolveInfo]:
    """Solve `(K + ridge I) dual = Y` for a symmetric positive semidefinite K, **overwriting it**.

    Cholesky where `K + ridge I` is positive definite, and its condition number at most `worst_condition(dtype)` or
    the ridge well above rounding. Otherwise the eigenproblem, with eigenvalues under `cutoff(dtype)` times the largest
    taken as 0: the solution of least norm. Beyond 4,096 unknowns that would take too long: there the ridge is raised
    to what the precision needs, and `SolveInfo.ridge` says so.

    Args:
        gram: K; both triangles are needed. Its memory is used for the factor.
        targets: Y.
        ridge: added to the diagonal.

    Raises:
        InputError: shapes or types that do not fit, a negative ridge, NaN or infinities in K, or a K with an eigenvalue
            further below 0 than rounding takes it.

    Cost: N^3 / 3 multiplications and no second N x N matrix for Cholesky on the CPU; about 10 N^3 and two
    more for the eigenproblem.

    Example:
        >>> dual, info = solve_psd(torch.tensor([[2.0, 2.0], [2.0, 2.0]]), torch.ones(2, 1))
        >>> dual.flatten(), info.method, info.rank
        (tensor([0.2500, 0.2500]), 'eigh', 1)
    """
    require(
        gram.ndim == 2 and gram.shape[0] == gram.shape[1],
        f"The Gram matrix must be square, got {tuple(gram.shape)}.",
    )
    check_system(gram, targets, ridge)
    size = len(gram)
    if size == 0:
        return targets.clone(), SolveInfo("cholesky", 0, 0, 1.0, 0.0)
    gram.diagonal().add_(ridge)
    diagonal = gram.diagonal().clone()
    largest = float(torch.linalg.vector_norm(gram, ord=1, dim=1).max())  # at least the largest eigenvalue
    require(
        largest < float("inf"),
        "The Gram matrix holds NaN or infinities: the inputs or the metric are too large. Scale them.",
    )
    upper = _cholesky_(gram)
    if upper is not None:
        condition = largest * _inverse_norm(upper)
        well_posed = ridge >= 4 * torch.finfo(gram.dtype).eps * largest
        if well_posed or condition <= worst_condition(gram.dtype):
            return _substitute(upper, targets), SolveInfo("cholesky", size, size, condition, ridge=ridge)
    gram.diagonal().copy_(diagonal)
    if size > EIGH_LIMIT:
        return _solve_raised(gram, targets, ridge, largest)
    return _solve_eigh(gram, targets)


def check_system(rows: Tensor, targets: Tensor, ridge: float) -> None:
    """An `InputError` where the unknowns (one a row), the targets and the ridge cannot be those of a system."""
    if rows.dtype not in (torch.float32, torch.float64) or targets.dtype != rows.dtype:
        raise InputTypeError(
            f"A system is solved in float32 or float64 throughout, got {rows.dtype} and targets of {targets.dtype}."
        )
    require(
        rows.ndim == 2 and targets.ndim == 2 and len(targets) == len(rows),
        f"Targets must have one row for each of the {len(rows)} points, (N, C); got {tuple(targets.shape)}.",
    )
    require(0 <= ridge < float("inf"), f"ridge must be a finite number >= 0, got {ridge!r}.")


def _cholesky_(gram: Tensor) -> Tensor | None:
    """The factor U of `K = U^T U` in the upper triangle of `gram`; None where K is not positive definite.

    The strictly lower triangle stays as it was, so that K can be had back.
    """
    if gram.device.type != "cpu" or not gram.is_contiguous():
        factor, failed = torch.linalg.cholesky_ex(gram, upper=True)
        return None if int(failed) else factor
    if gram.numel() > MOST_FOR_LAPACK:
        return _blocked_cholesky_(gram, BLOCK_ROWS)
    from scipy.linalg import get_lapack_funcs

    # LAPACK works on columns: the rows of a contiguous tensor. torch would take a second matrix.
    columns = gram.numpy().T
    (potrf,) = get_lapack_funcs(("potrf",), (columns,))
    _, failed = potrf(columns, lower=1, clean=0, overwrite_a=1)
    return None if failed else gram


def _blocked_cholesky_(gram: Tensor, size: int) -> Tensor | None:
    """The same, some rows at a time, where the entries are too many for LAPACK's 32-bit numbers.

    Source: Golub and Van Loan 2013, section 4.2.9. O(N^3 / 3) in products of matrices; memory O(size N).
    """
    rows = [slice(start, min(start + size, len(gram))) for start in range(0, len(gram), size)]
    for k, here in enumerate(rows):
        block = gram[here, here]
        factor, failed = torch.linalg.cholesky_ex(block.triu() + block.triu(1).mT, upper=True)
        if int(failed):
            return None
        block.copy_(factor.triu() + block.tril(-1))
        for there in rows[k + 1 :]:
            gram[here, there] = torch.linalg.solve_triangular(factor.mT, gram[here, there], upper=False)
        for j, there in enumerate(rows[k + 1 :], k + 1):
            left = gram[here, there].mT
            gram[there, there].sub_((left @ left.mT).triu())
            if j + 1 < len(rows):
                gram[there, there.stop :].addmm_(left, gram[here, there.stop :], alpha=-1)
    return gram


def _substitute(upper: Tensor, right: Tensor) -> Tensor:
    """`U^-1 U^-T right`."""
    half = torch.linalg.solve_triangular(upper.mT, right, upper=False)
    return torch.linalg.solve_triangular(upper, half, upper=True)


def _inverse_norm(upper: Tensor, steps: int = 3) -> float:
    """An estimate from below of |K^-1|, by power iteration from the direction of the smallest pivot."""
    v = upper.new_zeros(len(upper), 1)
    v[int(upper.diagonal().argmin())] = 1.0
    found = 0.0
    for _ in range(steps):
        v = _substitute(upper, v)
        found = float(v.norm())
        if not 0 < found < float("inf"):
            return float("inf")
        v = v / found
    return found


def _solve_raised(gram: Tensor, targets: Tensor, ridge: float, largest: float) -> tuple[Tensor, SolveInfo]:
    """With the smallest ridge, of a few tried, that rounding leaves positive definite."""
    raised = max(ridge, 4 * torch.finfo(gram.dtype).eps * largest)
    diagonal = gram.diagonal() - ridge
    for attempt in range(4):
        gram.diagonal().copy_(diagonal + raised * 10**attempt)
        _mirror_(gram)
        upper = _cholesky_(gram)
        if upper is not None:
            raised *= 10**attempt
            info = SolveInfo("cholesky", len(gram), len(gram), largest * _inverse_norm(upper), ridge=raised)
            return _substitute(upper, targets), info
    raise InputError(
        f"The Gram matrix of {len(gram)} points is not positive semidefinite up to rounding in {gram.dtype}. "
        "Use float64, or a larger ridge."
    )


def _mirror_(gram: Tensor, rows: int = 2_048) -> None:
    """Copy the strictly lower triangle to the upper one, in blocks."""
    for i in range(0, len(gram), rows):
        here = slice(i, i + rows)
        block = gram[here, here]
        block.copy_(block.tril(-1) + block.tril().mT)
        gram[here, i + rows :] = gram[i + rows :, here].mT


def _solve_eigh(gram: Tensor, targets: Tensor) -> tuple[Tensor, SolveInfo]:
    """On the range of K alone; the lower triangle and the diagonal are read."""
    values, vectors = torch.linalg.eigh(gram, UPLO="L")
    largest = float(values[-1])
    require(
        float(values[0]) >= -1e-3 * float(values.abs().max()),
        f"The Gram matrix is not positive semidefinite: its eigenvalues go from {float(values[0]):.2g} to "
        f"{largest:.2g}, which is no rounding. Is it that of a kernel?",
    )
    kept = values > cutoff(gram.dtype) * max(largest, 0.0)
    rank = int(kept.sum())
    if rank == 0:
        return torch.zeros_like(targets), SolveInfo("eigh", 0, len(gram), float("inf"))
    vectors = vectors[:, len(gram) - rank :]
    dual = vectors @ ((vectors.mT @ targets) / values[-rank:, None])
    return dual, SolveInfo("eigh", rank, len(gram), largest / float(values[-rank]))
