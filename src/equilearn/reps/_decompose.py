"""A representation taken apart into irreducible ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.groups import Group
from equilearn.reps._algebra import DirectSum
from equilearn.reps._base import Rep
from equilearn.reps._intertwiners import intertwiners
from equilearn.reps._irreps import irreps

IrrepType = Literal["real", "complex", "quaternionic"]


@dataclass(frozen=True, eq=False)
class Decomposition:
    """`rho(g) = Q rho'(g) Q^-1` with `rho'` a direct sum of irreducible representations.

    Attributes:
        rep: the direct sum `rho'`; `rep.terms()` gives multiplicities and irreps.
        irreps: the distinct irreducible representations that occur.
        multiplicities: how often each of them does.
        basis: `Q`, shape `(dim, dim)`: its columns are the new basis vectors. Orthogonal where
            the representation is.
    """

    rep: DirectSum
    irreps: tuple[Rep, ...]
    multiplicities: tuple[int, ...]
    basis: Float[Tensor, "dim dim"]


def decompose(rep: Rep, max_degree: int | None = None, *, tolerance: float = 1e-9) -> Decomposition:
    """Take a representation apart into irreducible ones, with the change of basis.

    For each irreducible representation, the equivariant maps into `rep` are found and as many
    independent copies chosen as there are. O(sum over irreps of one `intertwiners`).

    Args:
        rep: a representation of a finite group or of SO(2), O(2), SO(3), O(3), SL(2).
        max_degree: the highest degree to look for where there are infinitely many irreps;
            by default the highest that the dimension or the Lie algebra allows.
        tolerance: as for `intertwiners`.

    Raises:
        InputError: where the irreps of the group are not known, or those up to `max_degree` do
            not exhaust `rep`.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO
        >>> V = reps.defining(SO(3))
        >>> parts = reps.decompose(V * V)
        >>> parts.rep
        0 + 1 + 2
        >>> g = SO(3).sample(generator=torch.Generator().manual_seed(0))
        >>> blocks = parts.basis.mT @ (V * V).matrix(g) @ parts.basis
        >>> bool(torch.allclose(blocks, parts.rep.matrix(g)))
        True
    """
    found: list[tuple[int, Rep]] = []
    columns: list[Tensor] = []
    total = 0
    for irrep in _candidates(rep, max_degree):
        if total == rep.dim:
            break
        if irrep.dim > rep.dim - total:
            continue
        copies = _independent_copies(irrep, rep, tolerance)
        if copies:
            found.append((len(copies), irrep))
            columns.extend(copies)
            total += len(copies) * irrep.dim
    require(
        total == rep.dim,
        f"Only {total} of the {rep.dim} dimensions of {rep.name} are spanned by the known irreducible "
        f"representations{'' if max_degree is None else f' up to degree {max_degree}'} of {rep.group}. "
        "Give a higher max_degree; a representation of a non-compact group need not be a sum of irreducible ones.",
    )
    basis = torch.cat(columns, dim=-1) if columns else torch.zeros(0, 0, dtype=torch.float64)
    return Decomposition(
        rep=DirectSum(rep.group, tuple(found)),
        irreps=tuple(irrep for _, irrep in found),
        multiplicities=tuple(count for count, _ in found),
        basis=basis,
    )


def irrep_type(rep: Rep) -> IrrepType:
    """Whether a real irreducible representation is of real, complex or quaternionic type.

    By Schur's lemma its equivariant endomorphisms are the real numbers, the complex numbers or
    the quaternions.

    Raises:
        InputError: where `rep` is reducible.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic, Dihedral
        >>> reps.irrep_type(reps.defining(Cyclic(3))), reps.irrep_type(reps.defining(Dihedral(3)))
        ('complex', 'real')
    """
    commutant = intertwiners(rep, rep)
    count = len(commutant)
    names: dict[int, IrrepType] = {1: "real", 2: "complex", 4: "quaternionic"}
    # In a division algebra every element but 0 is invertible; a projector onto a part is not.
    symmetric = (commutant + commutant.mT) / 2
    spread = symmetric - symmetric.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(
        rep.dim, dtype=torch.float64
    )
    if count not in names or (rep.is_orthogonal and float(spread.abs().max()) > 1e-6):
        raise InputError(f"{rep.name} is not irreducible: {count} independent maps commute with it.")
    return names[count]


# --- parts ----------------------------------------------------------------------------------


def _candidates(rep: Rep, max_degree: int | None) -> tuple[Rep, ...]:
    if max_degree is None and not rep.group.is_finite:
        max_degree = _highest_degree(rep)
    return irreps(rep.group, max_degree)


def _highest_degree(rep: Rep) -> int:
    """The largest weight, seen in the eigenvalues of the Lie algebra."""
    lie = rep.lie_matrices()
    if lie.numel() == 0:
        return 0
    scale = _unit_weight(rep.group)
    return round(float(torch.linalg.eigvals(lie).abs().max()) / scale)


def _unit_weight(group: Group) -> float:
    """The largest eigenvalue of the same Lie algebra in the representation of degree 1."""
    return float(torch.linalg.eigvals(irreps(group, 1)[-1].lie_matrices()).abs().max())


def _independent_copies(irrep: Rep, rep: Rep, tolerance: float) -> list[Float[Tensor, "dim irrep_dim"]]:
    """Embeddings of `irrep`, independent over its own commutant, as many as there are copies."""
    maps = intertwiners(irrep, rep, tolerance=tolerance)
    if not len(maps):
        return []
    commutant = intertwiners(irrep, irrep, tolerance=tolerance)
    spanned = torch.zeros(0, maps[0].numel(), dtype=torch.float64)
    copies: list[Tensor] = []
    for candidate in maps:
        flat = candidate.flatten()
        flat = flat - spanned.mT @ (spanned @ flat)
        flat = flat - spanned.mT @ (spanned @ flat)
        if float(flat.norm()) < 1e-6:
            continue
        embedding = (flat / flat.norm()).unflatten(0, (rep.dim, irrep.dim)) * irrep.dim**0.5
        copies.append(embedding)
        span = torch.cat([spanned, (embedding @ commutant).flatten(1)])
        spanned = torch.linalg.qr(span.mT).Q.mT
    return copies
