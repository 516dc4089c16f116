"""What a group does to space: an affine map of the coordinates, a permutation of the points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.groups import AffineGroup, Element, Group, Product, Scaling
from equilearn.reps import Rep, defining


@dataclass(frozen=True)
class Affine:
    """`p -> A p + t` for every element: `linear(g)` is A, `shift(g)` is t (None: no shift).

    `dimension` None fits a space of any dimension (scalings); then `A` is `(*batch, 1, 1)`.
    """

    dimension: int | None
    linear: Callable[[Element], Float[Tensor, "*batch d d"]]
    shift: Callable[[Element], Float[Tensor, "*batch d"]] | None = None


@dataclass(frozen=True)
class Permuting:
    """`p = permutation(g)`: point `i` goes to place `p[i]`; the work of factor `index` of a product."""

    count: int
    permutation: Callable[[Element], Int[Tensor, "*batch n"]]
    index: int = 0


@dataclass(frozen=True)
class Geometry:
    """All that a group does to a set of points: an affine map of space and a permutation of the points."""

    affine: tuple[Affine, ...]
    permuting: Permuting | None

    @property
    def dimension(self) -> int | None:
        """Dimension of the space; None where any fits."""
        return next((a.dimension for a in self.affine if a.dimension is not None), None)

    @property
    def has_shift(self) -> bool:
        return any(a.shift is not None for a in self.affine)

    def parts(
        self, g: Element, dimension: int
    ) -> tuple[Float[Tensor, "*batch d d"] | None, Float[Tensor, "*batch d"] | None]:
        """`(A, t)` of the whole element, float64; None where there is no linear part or no shift."""
        matrix: Tensor | None = None
        shift: Tensor | None = None
        for part in self.affine:
            linear = part.linear(g).to(torch.float64)
            if part.dimension is None:
                linear = linear * torch.eye(dimension, dtype=linear.dtype, device=linear.device)
            if part.shift is not None:
                moved = part.shift(g).to(torch.float64)
                moved = moved if matrix is None else (matrix @ moved.unsqueeze(-1)).squeeze(-1)
                shift = moved if shift is None else shift + moved
            matrix = linear if matrix is None else matrix @ linear
        return matrix, shift


def geometry(group: Group) -> Geometry:
    """What `group` does to points in space.

    Raises:
        InputError: a factor neither moves space nor permutes points, or two factors do not commute
            (then the direct product does not act).
    """
    factors = group.factors if isinstance(group, Product) else (group,)
    affine: list[Affine] = []
    permuting: list[Permuting] = []
    for index, factor in enumerate(factors):
        part = _single(factor, itemgetter(index) if isinstance(group, Product) else _same)
        if isinstance(part, Affine):
            affine.append(part)
        else:
            permuting.append(replace(part, index=index))
    dimensions = {part.dimension for part in affine if part.dimension is not None}
    require(len(dimensions) <= 1, f"The factors of {group} act on spaces of different dimensions {sorted(dimensions)}.")
    require(len(permuting) <= 1, f"Two factors of {group} permute the points, so they do not commute.")
    found = Geometry(tuple(affine), permuting[0] if permuting else None)
    if len(affine) > 1 and isinstance(group, Product):
        _require_commuting(group, found)
    return found


def permutings(group: Group) -> tuple[Permuting, ...]:
    """Every way in which `group` permutes things: one for each factor that is a group of permutations."""
    found: list[Permuting] = []
    for index, factor in enumerate(group.factors if isinstance(group, Product) else (group,)):
        try:
            part = _single(factor, itemgetter(index) if isinstance(group, Product) else _same)
        except InputError:  # a factor that does not act on points leaves sets alone as well
            continue
        if isinstance(part, Permuting):
            found.append(replace(part, index=index))
    return tuple(found)


def _same(g: Element) -> Element:
    return g


# Functions at the top of the module, not lambdas: actions travel to worker processes.


def _linear(group: AffineGroup, pick: Callable[[Element], Element], g: Element) -> Float[Tensor, "*batch d d"]:
    return group.linear(pick(g))


def _shift(group: AffineGroup, pick: Callable[[Element], Element], g: Element) -> Float[Tensor, "*batch d"]:
    return group.shift(pick(g))


def _factor(pick: Callable[[Element], Element], g: Element) -> Float[Tensor, "*batch 1 1"]:
    return pick(g)[..., :1, :1]


def _matrix(rep: Rep, pick: Callable[[Element], Element], g: Element) -> Float[Tensor, "*batch d d"]:
    return rep.matrix(pick(g))


def _permutation(rep: Rep, pick: Callable[[Element], Element], g: Element) -> Int[Tensor, "*batch n"]:
    return rep.permutation(pick(g))


def _single(group: Group, pick: Callable[[Element], Element]) -> Affine | Permuting:
    if isinstance(group, AffineGroup):
        return Affine(group.dimension, partial(_linear, group, pick), partial(_shift, group, pick))
    if isinstance(group, Scaling):
        return Affine(None, partial(_factor, pick))
    try:
        rep = defining(group)
    except (InputError, TypeError) as error:
        raise InputError(
            f"{group} does not say how it moves points: it is neither a group of matrices, nor a group of "
            "permutations, nor rotations and reflections of the plane. Use actions.vectors(rep) with a "
            "representation of your choice."
        ) from error
    if rep.is_permutation:
        return Permuting(rep.dim, partial(_permutation, rep, pick))
    return Affine(rep.dim, partial(_matrix, rep, pick))


def _require_commuting(group: Product, found: Geometry) -> None:
    """Factors of a direct product commute, so what they do to space must commute as well."""
    dimension = found.dimension or 1
    generator = torch.Generator().manual_seed(0)
    identity = group.identity((4,))
    sample = group.sample((4,), generator=generator)
    for i in range(len(group.factors)):
        for j in range(i):
            first, second = (_homogeneous(found, _only(at, sample, identity), dimension) for at in (i, j))
            require(
                float((first @ second - second @ first).abs().max()) < 1e-9,
                f"{group.factors[j]} and {group.factors[i]} do not commute on space, so their direct product "
                f"{group} does not act there. A semidirect product such as SpecialEuclidean({dimension}) may be meant.",
            )


def _only(at: int, sample: tuple[Element, ...], identity: tuple[Element, ...]) -> tuple[Element, ...]:
    """The elements of one factor, the others at rest."""
    return tuple(s if k == at else e for k, (s, e) in enumerate(zip(sample, identity, strict=True)))


def _homogeneous(found: Geometry, g: Element, dimension: int) -> Float[Tensor, "*batch e e"]:
    """The affine map as one matrix, so that composing is multiplying."""
    matrix, shift = found.parts(g, dimension)
    batch = () if matrix is None else matrix.shape[:-2]
    whole = torch.eye(dimension + 1, dtype=torch.float64).repeat(*batch, 1, 1)
    if matrix is not None:
        whole[..., :dimension, :dimension] = matrix
    if shift is not None:
        whole[..., :dimension, dimension] = shift
    return whole
