"""How a feature matrix is built: circulant, Hankel, alike another, of low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import finite, require
from equilearn.groups import Cyclic, Group, cayley_table


def circulant_deviation(C: Float[Tensor, "n n"], group: Group | None = None) -> float:
    """How far `C[a, b]` is from a function of `a^-1 b` alone (of `b - a`): 0 for a circulant matrix.

    The sum over the classes of entries with equal `a^-1 b` of their squared deviations from the mean of the
    class, divided by `|C|^2`. It is 1 where all class means are 0, and `1 - 1/n` in the mean for independent
    entries of mean 0. A zero matrix is circulant.

    Args:
        C: a block of a feature matrix, over pairs of elements, `(n, n)`.
        group: the finite group that rows and columns list, in the order of `elements()`; default `Cyclic(n)`.

    Raises:
        InputError: not square, NaN, or a group of another order.

    Source: "Emergence in non-neural models", arXiv 2407.20199, there for Z_p. O(n^2).

    Example:
        >>> import torch
        >>> shift = torch.eye(5).roll(2, 0)
        >>> circulant_deviation(shift), round(hankel_deviation(shift), 3)
        (0.0, 0.8)
    """
    table, inverses = _law(C, group)
    return _deviation(C, table[inverses])


def hankel_deviation(C: Float[Tensor, "n n"], group: Group | None = None) -> float:
    """How far `C[a, b]` is from a function of `a b` alone (of `a + b`): 0 for a Hankel matrix that wraps around.

    What `circulant_deviation` is to the product, this is to the quotient `a b^-1` ("−", "÷" on Z_p).

    Args:
        C, group: as for `circulant_deviation`.

    Raises:
        InputError: as `circulant_deviation`.

    Example:
        >>> import torch
        >>> flip = torch.eye(5).flip(0)
        >>> hankel_deviation(flip), round(circulant_deviation(flip), 3)
        (0.0, 0.8)
    """
    table, _ = _law(C, group)
    return _deviation(C, table)


def alignment(M1: Float[Tensor, "*shape"], M2: Float[Tensor, "*shape"]) -> float:
    """The cosine between two matrices as vectors: 1 where one is a positive multiple of the other; nan for zero.

    Args:
        M1, M2: matrices of one shape.

    Raises:
        InputError: two shapes, or NaN.

    Example:
        >>> import torch
        >>> round(alignment(torch.eye(4), torch.ones(4, 4)), 6)
        0.5
    """
    require(M1.shape == M2.shape, f"Matrices of one shape are compared, got {tuple(M1.shape)} and {tuple(M2.shape)}.")
    a, b = finite(M1, "M1").to(torch.float64), finite(M2, "M2").to(torch.float64)
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 0 else float("nan")


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of a symmetric matrix in a few numbers.

    Attributes:
        rank: number of eigenvalues above `D eps` times the largest, in size.
        effective_rank: `(sum |l|)^2 / sum l^2`, the number of equal eigenvalues that would be spread alike.
        trace: sum of the eigenvalues.
        largest, smallest: the two ends.
        negative_share: `sum of |l| over l < 0` beside `sum |l|`; 0 for a positive semidefinite matrix.
    """

    rank: int
    effective_rank: float
    trace: float
    largest: float
    smallest: float
    negative_share: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        return (
            f"rank {self.rank}, effective rank {self.effective_rank:.1f}, eigenvalues {self.smallest:.3g} to "
            f"{self.largest:.3g}, trace {self.trace:.4g}"
        )


def spectrum(M: Float[Tensor, "D D"]) -> Spectrum:
    """Rank, effective rank and the ends of the spectrum of a symmetric matrix; its lower triangle is read. O(D^3).

    Raises:
        InputError: not square, or NaN.

    Example:
        >>> import torch
        >>> print(spectrum(torch.diag(torch.tensor([2.0, 2.0, 0.0]))))
        rank 2, effective rank 2.0, eigenvalues 0 to 2, trace 4
    """
    square(M, "M")
    values = torch.linalg.eigvalsh(M)
    size = values.abs()
    top = float(size.max())
    shares = (size / top).to(torch.float64) if top > 0 else size  # squares of the values themselves could overflow
    total = float(shares.sum())
    return Spectrum(
        rank=int((size > len(M) * torch.finfo(M.dtype).eps * top).sum()),
        effective_rank=total**2 / float((shares**2).sum()) if total > 0 else 0.0,
        trace=float(values.sum()),
        largest=float(values[-1]),
        smallest=float(values[0]),
        negative_share=float(shares[values < 0].sum()) / total if total > 0 else 0.0,
    )


def square(M: Tensor, name: str) -> Tensor:
    """`M` if it is a square matrix of finite numbers; otherwise an `InputError`."""
    require(
        isinstance(M, Tensor) and M.ndim == 2 and M.shape[0] == M.shape[1] > 0,
        f"{name} must be a square matrix, got {tuple(M.shape) if isinstance(M, Tensor) else type(M).__name__}.",
    )
    require(M.is_floating_point(), f"{name} must be real and floating point, got {M.dtype}.")
    return finite(M, name)


# --- parts ------------------------------------------------------------------------------------


def _law(C: Tensor, group: Group | None) -> tuple[Tensor, Tensor]:
    square(C, "C")
    group = Cyclic(len(C)) if group is None else group
    require(
        group.order == len(C),
        f"C must have a row and a column for each of the {group.order} elements of {group}, got {tuple(C.shape)}.",
    )
    table = cayley_table(group).to(C.device)
    return table, (table == 0).int().argmax(1)


def _deviation(C: Tensor, classes: Tensor) -> float:
    values, flat = C.to(torch.float64).flatten(), classes.flatten()
    means = torch.zeros(len(C), dtype=torch.float64, device=C.device).index_add_(0, flat, values) / len(C)
    size = float((values**2).sum())
    return float(((values - means[flat]) ** 2).sum()) / size if size > 0 else 0.0
