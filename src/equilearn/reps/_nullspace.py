"""All matrices `A` with `L_k A = A R_k`: the numerical core of the intertwiner solver, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError

Pairs = tuple[Float[Tensor, "K out out"], Float[Tensor, "K in in"]]

_MAX_ITERATIONS = 3_000
_SPARSE_BELOW = 0.1  # density under which a sparse product is the faster one
_ENTRY_LIMIT = 2**28  # float64 numbers in one block of vectors
_TIDY_LIMIT = 2_000_000_000  # operations spent on a canonical basis


def scaled(left: Float[Tensor, "K out out"], right: Float[Tensor, "K in in"]) -> Pairs:
    """Every constraint brought to the same size, so that one relative cut-off fits them all."""
    norm = torch.linalg.matrix_norm(left, 2) + torch.linalg.matrix_norm(right, 2) if len(left) else left.sum((1, 2))
    # What is smaller is the rounding of a zero, and would be blown up into a constraint.
    keep = norm > 1e-11 * max(1.0, float(norm.max())) if len(norm) else norm.bool()
    norm = norm[keep, None, None]
    return left[keep] / norm, right[keep] / norm


def dense(left: Tensor, right: Tensor, tolerance: float) -> Float[Tensor, "K n"]:
    """The null space of the stacked constraints by SVD; rows orthonormal. O(K n^3), n = out * in.

    The SVD is taken of the constraints themselves, not of `C^T C`, which would square the
    condition number and halve the digits of the rank decision.
    """
    rows, columns = left.shape[-1], right.shape[-1]
    n = rows * columns
    one_out, one_in = torch.eye(rows, dtype=torch.float64), torch.eye(columns, dtype=torch.float64)
    stack = torch.einsum("kab,ij->kaibj", left, one_in) - torch.einsum("ab,kji->kaibj", one_out, right)
    stack = stack.reshape(-1, n)
    if stack.shape[0] > n:
        stack = torch.linalg.qr(stack, mode="r").R
    if stack.shape[0] == 0:
        return torch.eye(n, dtype=torch.float64)
    _, values, vectors = torch.linalg.svd(stack, full_matrices=True)
    # Relative to the scaled constraints, not to values[0]: where everything commutes that is rounding.
    rank = int((values > tolerance).sum())
    return vectors[rank:]


def iterative(left: Tensor, right: Tensor, tolerance: float, start: int = 16) -> Float[Tensor, "K n"]:
    """The null space as the span of projected random matrices; rows orthonormal.

    Conjugate gradients on the least-squares problem `min |C w - C v|` give the part `w` of a
    random `v` orthogonal to the null space, so `v - w` is the projection. The block of vectors
    doubles until some of it is redundant: then it spans everything, with probability 1. The
    number of iterations is about the number of distinct singular values (for a compact Lie group
    those of a Casimir operator: few), each O(K out in (out + in)) a vector, less where the
    constraints are sparse. Nothing of size n^2 is built.
    """
    constraint = _Constraint(left, right)
    n = constraint.shape[0] * constraint.shape[1]
    generator = np.random.default_rng(0)
    count = start
    while True:
        count = min(count, n)
        if count * n > _ENTRY_LIMIT:
            raise InputError(
                f"More than {count // 2} equivariant maps of shape {constraint.shape}: too many to hold. Use "
                "intertwiner_blocks on sums of smaller representations."
            )
        found = constraint.project(generator.standard_normal((constraint.shape[0], count, constraint.shape[1])))
        flat = found.transpose(1, 0, 2).reshape(count, n)
        _, values, vectors = np.linalg.svd(flat, full_matrices=False)
        # Projections of Gaussian vectors are of size sqrt(K); noise is 1e-12 of sqrt(n).
        rank = int((values > 1e-7 * np.sqrt(n)).sum())
        if rank < count or count == n:
            break
        count *= 2
    basis = vectors[:rank]
    if rank == 0:
        return torch.zeros(0, n, dtype=torch.float64)
    # A second projection squares what little error the first one left.
    again = constraint.project(basis.reshape(rank, *constraint.shape).transpose(1, 0, 2))
    breach = constraint.size(again)
    if breach > max(tolerance, 1e-9):
        raise InputError(
            f"The iterative solver did not converge: the maps found break equivariance by {breach:.1g}. The "
            "representations are badly conditioned; try method='dense'."
        )
    orthonormal = np.linalg.qr(again.transpose(1, 0, 2).reshape(rank, n).T)[0].T
    return torch.from_numpy(np.ascontiguousarray(orthonormal))


def tidy(basis: Float[Tensor, "K n"]) -> Float[Tensor, "K n"]:
    """The orthonormal basis that depends on the space only, not on how it was found.

    Pivoted Cholesky of the projector: each step takes the coordinate that the space holds best
    (the first of equals) and splits off the unit vector nearest to it. Signs are fixed with it:
    the pivot is positive. It tends to be sparse where the space has a sparse basis. O(K^2 n).
    """
    count, n = basis.shape
    if count == 0 or count * count * n > _TIDY_LIMIT:
        return basis
    space = basis.numpy()
    weight = (space**2).sum(0)
    out = np.zeros_like(space)
    for step in range(count):
        pivot = int(np.argmax(weight > weight.max() * (1 - 1e-6)))
        vector = space.T @ space[:, pivot] - out[:step].T @ out[:step, pivot]
        vector -= out[:step].T @ (out[:step] @ vector)  # once more, for orthogonality to rounding
        out[step] = vector / np.linalg.norm(vector)
        weight = weight - out[step] ** 2
    out[np.abs(out) < 1e-14] = 0.0
    return torch.from_numpy(out)


class _Constraint:
    """`A -> (L_k A - A R_k)_k` on blocks of matrices laid out as `(out, block, in)`."""

    def __init__(self, left: Tensor, right: Tensor):
        self.shape = (left.shape[-1], right.shape[-1])
        self.pairs = [(_operator(a), _operator(b)) for a, b in zip(left.numpy(), right.numpy(), strict=True)]

    def forward(self, x: np.ndarray) -> Sequence[np.ndarray]:
        return [_left(a, x) - _right(x, b) for a, b in self.pairs]

    def adjoint(self, y: Sequence[np.ndarray]) -> np.ndarray:
        total = np.zeros_like(y[0])
        for (a, b), part in zip(self.pairs, y, strict=True):
            total += _left(a.T, part) - _right(part, b.T)
        return total

    def size(self, x: np.ndarray) -> float:
        """The largest breach among the matrices of a block, in Frobenius norm."""
        return float(np.sqrt(sum(_squares(part) for part in self.forward(x))).max()) if self.pairs else 0.0

    def project(self, v: np.ndarray) -> np.ndarray:
        """The part of every matrix of a block that breaks no constraint."""
        if not self.pairs:
            return v
        x = v.copy()
        residual = self.forward(x)
        gradient = self.adjoint(residual)
        direction, gamma = gradient, _squares(gradient)
        goal = 1e-30 * np.maximum(_squares(v), 1e-300)
        best, stalled = gamma.max(), 0
        for _ in range(_MAX_ITERATIONS):
            if (gamma <= goal).all() or stalled > 50:
                break
            image = self.forward(direction)
            length = sum(_squares(part) for part in image)
            step = np.where(length > 0, gamma / np.maximum(length, 1e-300), 0.0)[:, None]
            x -= step * direction
            residual = [r - step * part for r, part in zip(residual, image, strict=True)]
            gradient = self.adjoint(residual)
            previous, gamma = gamma, _squares(gradient)
            direction = gradient + (gamma / np.maximum(previous, 1e-300))[:, None] * direction
            stalled = stalled + 1 if gamma.max() >= 0.5 * best else 0
            best = min(best, gamma.max())
        return x


def _operator(matrix: np.ndarray) -> Any:
    from scipy.sparse import csr_array

    if matrix.shape[0] > 32 and np.count_nonzero(matrix) < _SPARSE_BELOW * matrix.size:
        return csr_array(matrix)
    return matrix


def _left(a: Any, x: np.ndarray) -> np.ndarray:
    return (a @ x.reshape(x.shape[0], -1)).reshape(x.shape)


def _right(x: np.ndarray, b: Any) -> np.ndarray:
    return (x.reshape(-1, x.shape[-1]) @ b).reshape(x.shape)


def _squares(x: np.ndarray) -> np.ndarray:
    """The squared Frobenius norm of each matrix of a block."""
    return np.einsum("obi,obi->b", x, x)
