"""The irreducible representations of a group: closed forms where they are known."""

from __future__ import annotations

from equilearn._check import InputError, positive_int, require
from equilearn.groups import SL, SO, Cyclic, Dihedral, Group, O
from equilearn.reps._base import Rep
from equilearn.reps._basic import defining
from equilearn.reps._finite import finite_irreps
from equilearn.reps._planar import planar_irreps
from equilearn.reps._powers import symmetric_power
from equilearn.reps._spherical import Spherical


def irreps(group: Group, max_degree: int | None = None) -> tuple[Rep, ...]:
    """The real irreducible representations, the trivial one first.

    Closed forms for C_n, D_n, SO(2), O(2) (degree = how many times the angle), SO(3), O(3) (real
    spherical harmonics of degree l, polar axis y, so that degree 1 is the defining
    representation; O(3) has an even and an odd one of each degree) and SL(2) (binary forms of
    each degree). Any other finite group is treated numerically through its regular
    representation, O(order^3).

    Args:
        group: one of those above.
        max_degree: the highest degree, needed where there are infinitely many.

    Raises:
        InputError: where the group is infinite and `max_degree` is missing, or no method is known.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic, Dihedral, O
        >>> [rep.dim for rep in reps.irreps(Cyclic(5))], [rep.dim for rep in reps.irreps(Dihedral(4))]
        ([1, 2, 2], [1, 1, 2, 1, 1])
        >>> reps.irreps(O(3), max_degree=1)
        (0e, 0o, 1e, 1o)
    """
    if max_degree is not None:
        max_degree = positive_int(max_degree, "max_degree", minimum=0)
    if isinstance(group, Cyclic | Dihedral):
        return planar_irreps(group, group.n if max_degree is None else max_degree, isinstance(group, Dihedral))
    if group.is_finite:
        return finite_irreps(group)
    if not (isinstance(group, SO | O) and group.n in (2, 3)) and not (isinstance(group, SL) and group.n == 2):
        raise InputError(
            f"The irreducible representations of {group} are not built in. They are for C_n, D_n, SO(2), O(2), SO(3), "
            "O(3), SL(2) and every finite group that can be listed."
        )
    if max_degree is None:
        raise InputError(f"{group} has infinitely many irreducible representations: give max_degree.")
    if isinstance(group, SL):
        return tuple(symmetric_power(defining(group), degree) for degree in range(max_degree + 1))
    signed = isinstance(group, O)
    if group.n == 2:
        return planar_irreps(group, max_degree, signed)
    parities = (1, -1) if signed else (1,)
    return tuple(Spherical(group, degree, p, signed) for degree in range(max_degree + 1) for p in parities)


def irrep(group: Group, degree: int, parity: int | None = None) -> Rep:
    """One real irreducible representation.

    Args:
        group: as for `irreps`.
        degree: the degree; for a finite group without a closed form, the place in `irreps(group)`.
        parity: where there are two of one degree, 1 or -1: how reflections act on the
            one-dimensional ones of D_n and O(2) (default 1), how `-1` acts for O(3) (default
            `(-1)^degree`, the parity of ordinary harmonics).

    Raises:
        InputError: where there is no such representation.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import O, SO
        >>> reps.irrep(SO(3), 2).dim, reps.irrep(O(3), 1), reps.irrep(O(3), 1, parity=1)
        (5, 1o, 1e)
    """
    degree = positive_int(degree, "degree", minimum=0)
    require(parity in (None, 1, -1), f"parity must be 1 or -1, got {parity!r}.")
    if group.is_finite and not isinstance(group, Cyclic | Dihedral):
        every = irreps(group)
        require(degree < len(every), f"{group} has {len(every)} irreducible representations; there is no {degree}.")
        return every[degree]
    if isinstance(group, O) and group.n == 3 and parity is None:
        parity = (-1) ** degree
    found = [rep for rep in irreps(group, degree) if getattr(rep, "degree", None) == degree]
    require(bool(found), f"{group} has no irreducible representation of degree {degree}.")
    matching = [rep for rep in found if getattr(rep, "parity", 1) == (parity or 1)]
    require(bool(matching), f"{group} has no irreducible representation of degree {degree} and parity {parity}.")
    return matching[0]
