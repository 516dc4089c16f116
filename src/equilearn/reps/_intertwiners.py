"""All equivariant linear maps between two representations."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, InputTypeError, one_of, require
from equilearn.reps import _nullspace
from equilearn.reps._algebra import TensorProduct, tensor_product
from equilearn.reps._base import Rep
from equilearn.reps._basic import Trivial
from equilearn.reps._orbits import orbit_basis, pair_orbits
from equilearn.reps._pullback import Factor

_DENSE_LIMIT = 250
"""Unknowns up to which the SVD is the faster solver."""

_ENTRY_LIMIT = 2**29  # float64 numbers in one basis: 4 GiB


@dataclass(frozen=True, eq=False)
class IntertwinerBlock:
    """The equivariant maps from one summand of the input to one of the output.

    Copy `a` of the input's summand sits at `in_offset + a * in_dim`, copy `b` of the output's at
    `out_offset + b * out_dim`. Every equivariant map between all those copies is
    `sum_k w[b, a, k] basis[k]` on the block `(b, a)`.

    Attributes:
        in_offset, out_offset: first coordinates.
        in_multiplicity, out_multiplicity: how many copies.
        in_dim, out_dim: dimension of one copy.
        basis: the maps of one copy to one copy, shape `(K, out_dim, in_dim)`, orthonormal.
    """

    in_offset: int
    in_multiplicity: int
    in_dim: int
    out_offset: int
    out_multiplicity: int
    out_dim: int
    basis: Float[Tensor, "K out_dim in_dim"]

    @property
    def in_slice(self) -> slice:
        """The coordinates of all copies of the input's summand."""
        return slice(self.in_offset, self.in_offset + self.in_multiplicity * self.in_dim)

    @property
    def out_slice(self) -> slice:
        """The coordinates of all copies of the output's summand."""
        return slice(self.out_offset, self.out_offset + self.out_multiplicity * self.out_dim)


def intertwiners(
    rep_in: Rep, rep_out: Rep, *, method: str = "auto", tolerance: float = 1e-9
) -> Float[Tensor, "K dim_out dim_in"]:
    """An orthonormal basis of all `A` with `rho_out(g) A = A rho_in(g)` for every `g`.

    It suffices to ask this of the group's generators and of its Lie algebra (Finzi, Welling &
    Wilson, "A practical method for constructing equivariant multilayer perceptrons for arbitrary
    matrix groups", ICML 2021). Structure is used before numbers: sums are solved summand by
    summand, each pair once; representations of products of groups that are tensor products over
    the factors, factor by factor; permutation representations by orbits on pairs of coordinates,
    exactly and without a matrix. What is left goes to an SVD, O(n^3) for
    `n = dim_out * dim_in` unknowns, or for large `n` to conjugate gradients on blocks of random
    matrices, which builds nothing of size n^2.

    Args:
        rep_in, rep_out: representations of one group.
        method: "auto" as above; "orbits", "dense" or "iterative" to solve the whole in one way.
        tolerance: singular values below this count as zero, relative to the size of the
            representation matrices.

    Returns:
        The maps in float64, orthonormal in the Frobenius inner product. The same basis at every
        call: it depends on the space of maps, not on the solver (up to rounding; the order of
        orbits and of blocks is theirs).

    Raises:
        InputError: where the groups differ, the method is unknown, does not apply or does not converge, or the basis
            would not fit into memory.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO, Symmetric
        >>> V = reps.defining(SO(3))
        >>> cross = reps.intertwiners(V * V, V)  # the cross product is the only one
        >>> cross.shape
        torch.Size([1, 3, 9])
        >>> P = reps.permutation(Symmetric(5))
        >>> len(reps.intertwiners(P * P, P * P))  # the Bell number B_4
        15
    """
    _check_pair(rep_in, rep_out)
    one_of(method, ("auto", "orbits", "dense", "iterative"), "method")
    if method != "auto":
        return _solve(rep_in, rep_out, method, tolerance)
    blocks = intertwiner_blocks(rep_in, rep_out, tolerance=tolerance)
    count = sum(len(b.basis) * b.in_multiplicity * b.out_multiplicity for b in blocks)
    if len(blocks) == 1 and count == len(blocks[0].basis) and blocks[0].basis.shape[1:] == (rep_out.dim, rep_in.dim):
        return blocks[0].basis
    _require_fits(count, rep_in, rep_out)
    out = torch.zeros(count, rep_out.dim, rep_in.dim, dtype=torch.float64)
    start = 0
    for block in blocks:
        for b in range(block.out_multiplicity):
            row = block.out_offset + b * block.out_dim
            for a in range(block.in_multiplicity):
                column = block.in_offset + a * block.in_dim
                stop = start + len(block.basis)
                out[start:stop, row : row + block.out_dim, column : column + block.in_dim] = block.basis
                start = stop
    return out


def intertwiner_blocks(rep_in: Rep, rep_out: Rep, *, tolerance: float = 1e-9) -> tuple[IntertwinerBlock, ...]:
    """The equivariant maps between the summands of two representations, blocks without any left out.

    Multiplicities are never expanded and every pair of distinct summands is solved once, so that
    `64 * V -> 64 * V` costs what `V -> V` costs.

    Args:
        rep_in, rep_out: representations of one group.
        tolerance: as for `intertwiners`.

    Raises:
        InputError: as for `intertwiners`.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO
        >>> V = reps.defining(SO(3))
        >>> [block] = reps.intertwiner_blocks(64 * V, 32 * V + reps.trivial(SO(3)))
        >>> block.in_multiplicity, block.out_multiplicity, block.basis.shape
        (64, 32, torch.Size([1, 3, 3]))
    """
    _check_pair(rep_in, rep_out)
    solved: dict[tuple[Rep, Rep], Tensor] = {}
    blocks = []
    out_offset = 0
    for out_count, out in rep_out.terms():
        in_offset = 0
        for in_count, into in rep_in.terms():
            if (into, out) not in solved:
                solved[into, out] = _solve_terms(into, out, tolerance)
            basis = solved[into, out]
            if len(basis):
                blocks.append(IntertwinerBlock(in_offset, in_count, into.dim, out_offset, out_count, out.dim, basis))
            in_offset += in_count * into.dim
        out_offset += out_count * out.dim
    return tuple(blocks)


def invariants(rep: Rep, *, tolerance: float = 1e-9) -> Float[Tensor, "K dim"]:
    """An orthonormal basis of the vectors that no element moves.

    Args:
        rep: the representation.
        tolerance: as for `intertwiners`.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO
        >>> V = reps.defining(SO(3))
        >>> len(reps.invariants(V * V * V * V))
        3
    """
    return intertwiners(Trivial(rep.group), rep, tolerance=tolerance).squeeze(-1)


def equivariant_part(
    matrix: Float[Tensor, "*batch dim_out dim_in"], rep_in: Rep, rep_out: Rep
) -> Float[Tensor, "*batch dim_out dim_in"]:
    """The equivariant map nearest to `matrix` in the Frobenius norm.

    For orthogonal representations of a compact group this is the Reynolds operator, the average
    of `rho_out(g) M rho_in(g)^-1` over the group. Between permutation representations it is the
    mean over each orbit of entries, O(dim_out * dim_in).

    Args:
        matrix: any map(s), floating point.
        rep_in, rep_out: representations of one group.

    Raises:
        InputError: where the shape of `matrix` does not fit.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic
        >>> R = reps.regular(Cyclic(3))
        >>> reps.equivariant_part(torch.tensor([[3.0, 0, 0], [0, 0, 0], [0, 0, 0]]), R, R)
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """
    _check_pair(rep_in, rep_out)
    require(
        tuple(matrix.shape[-2:]) == (rep_out.dim, rep_in.dim),
        f"A map from {rep_in.name} to {rep_out.name} has shape (..., {rep_out.dim}, {rep_in.dim}), "
        f"got {tuple(matrix.shape)}.",
    )
    flat = matrix.to(torch.float64).flatten(-2)
    if rep_in.is_permutation and rep_out.is_permutation:
        labels = torch.from_numpy(pair_orbits(rep_in, rep_out)).to(matrix.device)
        sizes = torch.bincount(labels)
        sums = torch.zeros(*flat.shape[:-1], len(sizes), dtype=torch.float64, device=matrix.device)
        mean = sums.index_add_(-1, labels, flat) / sizes
        return mean[..., labels].unflatten(-1, (rep_out.dim, rep_in.dim)).to(matrix.dtype)
    basis = intertwiners(rep_in, rep_out).to(matrix.device).flatten(1)
    return (flat @ basis.mT @ basis).unflatten(-1, (rep_out.dim, rep_in.dim)).to(matrix.dtype)


# --- parts ----------------------------------------------------------------------------------


def _solve_terms(rep_in: Rep, rep_out: Rep, tolerance: float) -> Tensor:
    """The basis for one pair of summands, by the best method."""
    if rep_in.is_permutation and rep_out.is_permutation:
        return _solve(rep_in, rep_out, "orbits", tolerance)
    by_factor = _solve_factors(rep_in, rep_out, tolerance)
    if by_factor is not None:
        return by_factor
    small = rep_in.dim * rep_out.dim <= _DENSE_LIMIT
    return _solve(rep_in, rep_out, "dense" if small else "iterative", tolerance)


def _solve(rep_in: Rep, rep_out: Rep, method: str, tolerance: float) -> Tensor:
    if method == "orbits":
        require(
            rep_in.is_permutation and rep_out.is_permutation,
            f"method='orbits' needs permutation representations; {rep_in.name} -> {rep_out.name} are not both such.",
        )
        labels = pair_orbits(rep_in, rep_out)
        _require_fits(int(labels.max()) + 1 if len(labels) else 0, rep_in, rep_out)
        basis = orbit_basis(labels)
    else:
        left = torch.cat([rep_out.lie_matrices(), rep_out.generator_matrices()])
        right = torch.cat([rep_in.lie_matrices(), rep_in.generator_matrices()])
        left, right = _nullspace.scaled(left.cpu(), right.cpu())
        solver = _nullspace.dense if method == "dense" else _nullspace.iterative
        if not len(left):  # nothing acts: every map is equivariant
            n = rep_in.dim * rep_out.dim
            _require_fits(n, rep_in, rep_out)
            basis = torch.eye(n, dtype=torch.float64)
        else:
            basis = _nullspace.tidy(solver(left, right, tolerance))
    return basis.reshape(-1, rep_out.dim, rep_in.dim)


def _solve_factors(rep_in: Rep, rep_out: Rep, tolerance: float) -> Tensor | None:
    """`Hom(A (x) B, A' (x) B') = Hom(A, A') (x) Hom(B, B')` for a product of groups; else None."""
    leaves_in, leaves_out = _leaves(rep_in), _leaves(rep_out)
    if leaves_in is None or leaves_out is None:
        return None
    product = next((leaf.group for leaf in (*leaves_in, *leaves_out)), None)
    if product is None:
        return None
    bases = []
    for i, group in enumerate(product.factors):
        into = _of_factor(leaves_in, i) or Trivial(group)
        out = _of_factor(leaves_out, i) or Trivial(group)
        bases.append(intertwiners(into, out, tolerance=tolerance))
    count = prod(len(basis) for basis in bases)
    _require_fits(count, rep_in, rep_out)
    total = bases[0]
    for basis in bases[1:]:
        total = torch.einsum("aij,bkl->abikjl", total, basis)
        total = total.flatten(4, 5).flatten(2, 3).flatten(0, 1)
    # From coordinates ordered by factor to the order in which the leaves stand.
    total = _reorder(total, leaves_out, 1)
    return _reorder(total, leaves_in, 2).contiguous()


def _leaves(rep: Rep) -> list[Factor] | None:
    """The pulled-back representations whose tensor product `rep` is; None where it is none."""
    if isinstance(rep, Factor):
        return [rep]
    if isinstance(rep, Trivial) and rep.dim == 1:
        return []
    if isinstance(rep, TensorProduct):
        a, b = _leaves(rep.a), _leaves(rep.b)
        return None if a is None or b is None else a + b
    return None


def _of_factor(leaves: list[Factor], index: int) -> Rep | None:
    mine = [leaf.rep for leaf in leaves if leaf.index == index]
    return tensor_product(*mine) if mine else None


def _reorder(total: Tensor, leaves: list[Factor], axis: int) -> Tensor:
    by_factor = sorted(range(len(leaves)), key=lambda i: leaves[i].index)  # stable
    if by_factor == list(range(len(leaves))):
        return total
    split = total.unflatten(axis, tuple(leaves[i].dim for i in by_factor))
    place = [by_factor.index(i) for i in range(len(leaves))]
    order = [*range(axis), *(axis + p for p in place), *range(axis + len(leaves), split.ndim)]
    return split.permute(order).flatten(axis, axis + len(leaves) - 1)


def _check_pair(rep_in: Rep, rep_out: Rep) -> None:
    for rep in (rep_in, rep_out):
        if not isinstance(rep, Rep):
            raise InputTypeError(f"A representation is needed, got {type(rep).__name__}.")
    if rep_in.group != rep_out.group:
        raise InputError(
            f"{rep_in.name} is a representation of {rep_in.group}, {rep_out.name} one of {rep_out.group}: "
            "equivariant maps exist between representations of one group. Use reps.restrict or reps.factor."
        )


def _require_fits(count: int, rep_in: Rep, rep_out: Rep) -> None:
    require(
        count * rep_in.dim * rep_out.dim <= _ENTRY_LIMIT,
        f"There are {count} equivariant maps {rep_in.name} -> {rep_out.name} of shape ({rep_out.dim}, {rep_in.dim}): "
        f"{count * rep_in.dim * rep_out.dim * 8 / 2**30:.0f} GiB. Use intertwiner_blocks on sums of smaller "
        "representations, which does not expand multiplicities.",
    )
