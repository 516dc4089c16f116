"""Kernel matrices that a finite group block-diagonalises: solved exactly, one block an irrep.

A group that acts freely on the points puts them into m orbits of `order` points each, point `(i, g)` being `g x_i`.
A kernel with `k(g x, g z) = k(x, z)` then has a matrix that is known from `order` numbers for each pair of orbits,
`K[(i, g), (j, h)] = kappa[i, j, g^-1 h]` with `kappa[i, j, u] = k(x_i, u x_j)`, and that the Fourier transform of
the group turns into one Hermitian block of size `m dim` for each irreducible representation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, finite, require
from equilearn.groups import Group
from equilearn.kernels._given import a_tensor, check_kappa, check_ridge, require_symmetric
from equilearn.kernels._solve import SolveInfo, cutoff
from equilearn.reps import GroupFourier


def block_solve(
    kappa: Float[Tensor, "m m order"],
    y: Float[Tensor, "m order c"],
    group: Group | GroupFourier,
    *,
    ridge: float = 0.0,
) -> tuple[Float[Tensor, "m order c"], SolveInfo]:
    """Solve `(K + ridge I) alpha = y` for `K[(i, g), (j, h)] = kappa[i, j, g^-1 h]`, without forming K.

    Equal to the dense solve, by Cholesky. Where a block is singular to working precision, every block is solved by
    its eigenvalues, those below 1e-12 (float32: 1e-5) times the largest of all dropped, as the dense solver does:
    the solution of least norm, with its rank reported.

    Args:
        kappa: `k(x_i, u x_j)`, `(m, m, order)`, see `kappa_from_function`; symmetric: `kappa[j, i, u^-1]` is
            `kappa[i, j, u]`.
        y: right-hand sides, `(m, order, c)`.
        group: the group, or its `GroupFourier` where that is at hand already.
        ridge: added to the diagonal of K.

    Returns:
        `alpha`, `(m, order, c)`, and what was done.

    Raises:
        InputError: shapes that do not fit, NaN, a negative ridge, a kernel that is not symmetric (with the
            measured defect) or not positive semidefinite.

    Cost: the transforms of `m^2 + m c` functions, and `sum_rho (m dim)^3 / 3`; for an abelian group that is
    n^3 / order^2 beside n^3, in `n m` memory beside n^2. Source: Diaconis, "Group Representations in Probability
    and Statistics" (1988), chapter 2, for one orbit; the block form is the same with matrices for numbers.

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> kappa = torch.tensor([[[2.0, 1.0, 0.0, 1.0]]])  # one orbit of four points around a circle
        >>> alpha, info = block_solve(kappa, torch.tensor([[[1.0], [0.0], [0.0], [0.0]]]), Cyclic(4), ridge=1.0)
        >>> [round(v, 4) for v in alpha.flatten().tolist()]
        [0.4667, -0.2, 0.1333, -0.2]
        >>> info.rank, info.method
        (4, 'cholesky')
    """
    fourier = _fourier(group)
    check_kappa(kappa, fourier.order, fourier.group)
    _check_vectors(y, kappa)
    blocks = _hermitian(fourier, kappa, check_ridge(ridge))
    right = _columns(fourier, y)
    factors = [torch.linalg.cholesky_ex(block) for block in blocks]
    size = kappa.shape[0] * kappa.shape[2]
    if all(int(factor.info.abs().max()) == 0 for factor in factors):
        condition = _condition(blocks, [factor.L for factor in factors])
        if condition < 0.1 / cutoff(kappa.dtype):
            solved = [torch.cholesky_solve(b, factor.L) for b, factor in zip(right, factors, strict=True)]
            return _vectors(fourier, solved, y), SolveInfo("cholesky", size, size, condition)
    solved, rank, condition = _truncated(fourier, blocks, right)
    return _vectors(fourier, solved, y), SolveInfo("eigh", rank, size, condition)


def block_matvec(
    kappa: Float[Tensor, "m m order"], v: Float[Tensor, "m order c"], group: Group | GroupFourier
) -> Float[Tensor, "m order c"]:
    """`K v` for `K[(i, g), (j, h)] = kappa[i, j, g^-1 h]`, without forming K; `kappa` need not be symmetric.

    Args:
        kappa, v, group: as for `block_solve`.

    Raises:
        InputError: shapes that do not fit, or NaN.

    Cost: the transforms, and `m^2 c order` (abelian) to `m^2 c sum_rho dim^3`.

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> kappa = torch.tensor([[[2.0, 1.0, 0.0, 1.0]]])
        >>> block_matvec(kappa, torch.tensor([[[1.0], [0.0], [0.0], [0.0]]]), Cyclic(4)).flatten().round().tolist()
        [2.0, 1.0, 0.0, 1.0]
    """
    fourier = _fourier(group)
    check_kappa(kappa, fourier.order, fourier.group)
    _check_vectors(v, kappa)
    pairs = zip(_blocks(fourier, kappa), _columns(fourier, v), strict=True)
    return _vectors(fourier, [block @ column for block, column in pairs], v)


def block_eigenvalues(kappa: Float[Tensor, "m m order"], group: Group | GroupFourier) -> Float[Tensor, " n"]:
    """All eigenvalues of K, with multiplicity, ascending, `(m order,)`: see `block_solve`.

    Raises:
        InputError: as `block_solve`.

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> block_eigenvalues(torch.tensor([[[2.0, 1.0, 0.0, 1.0]]]), Cyclic(4)).round().abs().tolist()
        [0.0, 2.0, 2.0, 4.0]
    """
    fourier = _fourier(group)
    check_kappa(kappa, fourier.order, fourier.group)
    pairs = zip(fourier.stacks, _hermitian(fourier, kappa), strict=True)
    found = [torch.linalg.eigvalsh(block).flatten().repeat_interleave(stack.multiplicity) for stack, block in pairs]
    return torch.cat(found).sort().values


def block_inverse(
    kappa: Float[Tensor, "m m order"], group: Group | GroupFourier, *, ridge: float = 0.0
) -> Float[Tensor, "m m order"]:
    """The inverse in the same form: `(K + ridge I)^-1[(i, g), (j, h)] = beta[i, j, g^-1 h]`.

    Args:
        kappa, group, ridge: as for `block_solve`.

    Raises:
        InputError: as `block_solve`, and where a block is singular to working precision.

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> kappa = torch.tensor([[[3.0, 1.0, 0.0, 1.0]]])
        >>> [round(v, 4) for v in block_inverse(kappa, Cyclic(4)).flatten().tolist()]
        [0.4667, -0.2, 0.1333, -0.2]
    """
    fourier = _fourier(group)
    check_kappa(kappa, fourier.order, fourier.group)
    m = kappa.shape[0]
    inverses = []
    for stack, block in zip(fourier.stacks, _hermitian(fourier, kappa, check_ridge(ridge)), strict=True):
        factor, failed = torch.linalg.cholesky_ex(block)
        require(
            int(failed.abs().max()) == 0,
            "The kernel matrix is singular to working precision, so it has no inverse: add a ridge.",
        )
        inverse = torch.cholesky_inverse(factor)
        inverses.append(inverse.unflatten(-1, (m, stack.dim)).unflatten(-3, (m, stack.dim)).permute(1, 3, 0, 2, 4))
    return fourier.inverse(inverses)


# --- parts ------------------------------------------------------------------------------------


def _blocks(fourier: GroupFourier, kappa: Tensor, ridge: float = 0.0) -> list[Tensor]:
    """`sum_u kappa(u) (x) rho(u) + ridge I`, `(count, m dim, m dim)` for each stack; orbits vary slowest."""
    out = []
    for block in fourier.forward(kappa):
        flat = block.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
        if ridge:
            flat.diagonal(dim1=-2, dim2=-1).add_(ridge)
        out.append(flat)
    return out


def _hermitian(fourier: GroupFourier, kappa: Tensor, ridge: float = 0.0) -> list[Tensor]:
    """`_blocks` of a symmetric kernel, which are Hermitian: checked, for `kappa[j, i, u^-1] = kappa[i, j, u]`."""
    blocks = _blocks(fourier, kappa, ridge)
    weights = [stack.multiplicity for stack in fourier.stacks]
    skew = sum(w * float(_norms(b - b.mH).norm()) ** 2 for w, b in zip(weights, blocks, strict=True))
    size = sum(w * float(_norms(b).norm()) ** 2 for w, b in zip(weights, blocks, strict=True))
    defect = (skew / size) ** 0.5 if size > 0 else 0.0
    require_symmetric(defect, kappa.dtype)
    return blocks


def _norms(block: Tensor) -> Tensor:
    """The Frobenius norm of each matrix, `(count,)`; real arithmetic, which is faster."""
    parts = torch.view_as_real(block) if block.is_complex() else block
    return torch.linalg.vector_norm(parts.flatten(1), dim=1)


def _columns(fourier: GroupFourier, y: Tensor) -> list[Tensor]:
    """`y^(rho)^H` of each orbit and column, `(count, m dim, c dim)`: what the blocks act on from the left."""
    return [b.permute(2, 0, 4, 1, 3).flatten(3, 4).flatten(1, 2).conj() for b in fourier.forward(y.mT)]


def _vectors(fourier: GroupFourier, columns: Sequence[Tensor], like: Tensor) -> Tensor:
    """Back from `_columns`."""
    m, _, c = like.shape
    blocks = []
    for stack, column in zip(fourier.stacks, columns, strict=True):
        split = column.unflatten(2, (c, stack.dim)).unflatten(1, (m, stack.dim))
        blocks.append(split.permute(1, 3, 0, 4, 2).conj())
    return fourier.inverse(blocks).mT


def _condition(blocks: Sequence[Tensor], factors: Sequence[Tensor], steps: int = 3) -> float:
    """An estimate: the largest Frobenius norm of a block, times the norm of the inverse by power iteration on each."""
    largest = max(float(_norms(block).max()) for block in blocks)
    smallest = 0.0
    for factor in factors:
        start = factor.diagonal(dim1=-2, dim2=-1).real.argmin(-1)
        v = torch.nn.functional.one_hot(start, factor.shape[-1])[..., None].to(factor.dtype)
        norm = torch.ones_like(v[..., :1, :].real)
        for _ in range(steps):
            v = torch.cholesky_solve(v / norm, factor)
            norm = torch.linalg.vector_norm(v, dim=-2, keepdim=True)
        smallest = max(smallest, float(norm.max()))
    return largest * smallest


def _truncated(
    fourier: GroupFourier, blocks: Sequence[Tensor], right: Sequence[Tensor]
) -> tuple[list[Tensor], int, float]:
    """The pseudo-inverse of all blocks with one cut-off, as the pseudo-inverse of K has it; rank and condition."""
    systems = [torch.linalg.eigh(block) for block in blocks]
    top = max(float(values.abs().max()) for values, _ in systems)
    low = min(float(values.min()) for values, _ in systems)
    small = cutoff(systems[0][0].dtype) * top
    require(
        low >= -max(100 * small, 1e-6 * top),
        f"The kernel matrix is not positive semidefinite: its smallest eigenvalue is {low:.2g}, its largest {top:.2g}. "
        "Is kappa that of a kernel, with the elements in the order of group.elements()?",
    )
    rank, least = 0, float("inf")
    solved = []
    for stack, (values, vectors), column in zip(fourier.stacks, systems, right, strict=True):
        kept = values > small
        rank += int(kept.sum()) * stack.multiplicity
        least = min([least, *values[kept].tolist()])
        reciprocal = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
        solved.append(vectors @ (reciprocal[..., None] * (vectors.mH @ column)))
    return solved, rank, top / least if rank else float("inf")


def _fourier(group: Group | GroupFourier) -> GroupFourier:
    if isinstance(group, GroupFourier):
        return group
    if not isinstance(group, Group):
        raise InputTypeError(f"A group or its GroupFourier is needed, got {type(group).__name__}.")
    return GroupFourier(group)


def symmetry_defect(kappa: Float[Tensor, "m m order"], group: Group) -> float:
    """`|kappa[j, i, g^-1] - kappa[i, j, g]|` beside `|kappa|`: k(g x_i, x_j) against k(x_i, g^-1 x_j), all pairs."""
    inverses = group.index_of(group.inverse(group.elements())).to(kappa.device)
    norm = float(kappa.norm())
    return float((kappa.transpose(0, 1)[..., inverses] - kappa).norm()) / norm if norm > 0 else 0.0


def _check_vectors(y: Tensor, kappa: Tensor) -> None:
    need = (kappa.shape[0], kappa.shape[2])
    require(
        a_tensor(y, "y").ndim == 3 and tuple(y.shape[:2]) == need,
        f"Vectors over {need[0]} orbits of {need[1]} points have shape ({need[0]}, {need[1]}, c), "
        f"got {tuple(y.shape)}.",
    )
    if y.dtype != kappa.dtype:
        raise InputTypeError(f"kappa is {kappa.dtype}, but the vectors are {y.dtype}: give both in one dtype.")
    finite(y, "the right-hand sides")
