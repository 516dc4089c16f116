"""Characters and real irreducible representations of any finite group, found numerically."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.groups import Element, Group, conjugacy_classes
from equilearn.reps._basic import Table
from equilearn.reps._element import element_device

REGULAR_LIMIT = 1_500
"""Largest order for which the regular representation is taken apart: a dense eigenproblem."""

_PAIR_LIMIT = 60_000_000  # entries of the (order, classes) table of products
_ATTEMPTS = 8  # a random combination separates all eigenspaces with probability 1


@dataclass(frozen=True, eq=False)
class CharacterTable:
    """The complex irreducible characters of a finite group, one a row.

    Attributes:
        characters: value of character i on class j; sorted by degree, the trivial one first.
        class_sizes: number of elements in each conjugacy class, that of the identity first.
        class_of: the class of each of `group.elements()`.
        degrees: dimensions of the complex irreps; their squares sum to the order.
        indicators: Frobenius-Schur indicator of each: 1 real, 0 complex, -1 quaternionic.
    """

    group: Group
    characters: Complex[Tensor, "classes classes"]
    class_sizes: Int[Tensor, " classes"]
    class_of: Int[Tensor, " order"]
    degrees: tuple[int, ...]
    indicators: tuple[int, ...]

    def of(self, g: Element) -> Complex[Tensor, "classes *batch"]:
        """All characters on given elements."""
        index = self.group.index_of(g)
        place = element_device(g)
        return self.characters.to(place)[:, self.class_of.to(place)[index]]


def character_table(group: Group) -> CharacterTable:
    """The complex irreducible characters of a finite group.

    They are the eigenvectors of convolution with a random Hermitian class function, which is a
    Hermitian operator on class functions: O(order * classes) products and one eigenproblem of the
    size of the number of classes.

    Raises:
        InputError: where the group is infinite or too large to list.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Symmetric
        >>> table = reps.character_table(Symmetric(4))
        >>> table.degrees, table.class_sizes.tolist()
        ((1, 1, 2, 3, 3), [1, 6, 8, 3, 6])
    """
    order = group._require_enumerable()
    class_of = _labels_from_identity(conjugacy_classes(group))
    count = int(class_of.max()) + 1
    require(
        order * count <= _PAIR_LIMIT,
        f"{group} has {order} elements in {count} classes: too many for a numerical character table.",
    )
    elements = group.elements()
    representatives = _first_of_each(class_of)
    sizes = torch.bincount(class_of)
    inverses = group.inverse(elements)
    # The class of x^-1 g_j, for all elements x and one g_j of each class.
    chosen = group.reshape(group.take(elements, representatives), (1, count))
    quotients = class_of[group.index_of(group.compose(group.reshape(inverses, (order, 1)), chosen))]
    inverse_class = class_of[group.index_of(group.take(inverses, representatives))]
    characters = _common_eigenvectors(quotients, class_of, sizes, inverse_class)

    squares = class_of[group.index_of(group.compose(elements, elements))]
    indicators = characters[:, squares].sum(-1).real / order
    degrees = [round(float(d)) for d in characters[:, 0].real]
    rows = sorted(range(count), key=lambda i: (degrees[i], _sorting_key(characters[i])))
    return CharacterTable(
        group=group,
        characters=characters[rows],
        class_sizes=sizes,
        class_of=class_of,
        degrees=tuple(degrees[i] for i in rows),
        indicators=tuple(round(float(indicators[i])) for i in rows),
    )


def finite_irreps(group: Group) -> tuple[Table, ...]:
    """The real irreducibles of a finite group, from its regular representation.

    The eigenspaces of a random symmetric matrix that commutes with the regular representation
    are irreducible over the reals, with probability 1. O(order^3).
    """
    order = group._require_enumerable()
    require(
        order <= REGULAR_LIMIT,
        f"{group} has {order} elements; irreducible representations are found numerically up to {REGULAR_LIMIT}. "
        "Its characters may still be had from reps.character_table.",
    )
    elements = group.elements()
    inverses = group.inverse(elements)
    # quotient[x, y] is the index of x^-1 y.
    quotient = group.index_of(group.compose(group.reshape(inverses, (order, 1)), group.reshape(elements, (1, order))))
    inverse = quotient[:, 0]
    class_of = _labels_from_identity(conjugacy_classes(group))
    for seed in range(_ATTEMPTS):
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(order, generator=generator, dtype=torch.float64)
        values, vectors = torch.linalg.eigh((weights + weights[inverse])[quotient])
        found = _distinct(vectors, values, quotient, _first_of_each(class_of))
        # Schur: real, complex and quaternionic type have |chi|^2 = 1, 2, 4.
        if sum(m.shape[-1] ** 2 / max(1, round(_norm(m))) for m in found) == order:
            return _named(group, found)
    raise InputError(f"The irreducible representations of {group} could not be separated numerically.")


# --- parts ----------------------------------------------------------------------------------


def _labels_from_identity(labels: Int[Tensor, " order"]) -> Int[Tensor, " order"]:
    """The same classes numbered by their first element, so that the identity's comes first."""
    _, first = torch.unique(labels, return_inverse=True)
    seen: dict[int, int] = {}
    for label in first.tolist():
        seen.setdefault(label, len(seen))
    number = torch.tensor([seen[i] for i in range(len(seen))])
    return number[first]


def _first_of_each(class_of: Int[Tensor, " order"]) -> Int[Tensor, " classes"]:
    """The first element of each class; classes are numbered in that order."""
    new = torch.cat([torch.ones(1, dtype=torch.bool), class_of[1:] > class_of.cummax(0).values[:-1]])
    return torch.nonzero(new).flatten()


def _common_eigenvectors(quotients: Tensor, class_of: Tensor, sizes: Tensor, inverse_class: Tensor) -> Tensor:
    count = len(sizes)
    weight = (sizes.to(torch.float64) / sizes.sum()).sqrt()
    for seed in range(_ATTEMPTS):
        generator = torch.Generator().manual_seed(seed)
        phi = torch.randn(count, generator=generator, dtype=torch.complex128)
        phi = phi + phi[inverse_class].conj()
        # M[j, k]: the sum over x of class k of phi(x^-1 g_j)
        operator = torch.zeros(count, count, dtype=torch.complex128).index_add_(0, class_of, phi[quotients]).mT
        hermitian = weight[:, None] * operator / weight
        values, vectors = torch.linalg.eigh((hermitian + hermitian.mH) / 2)
        if count > 1 and float(values.diff().min()) < 1e-9 * float(values.abs().max()):
            continue
        characters = (vectors / weight[:, None]).mT
        degree = characters[:, :1].abs()
        characters = characters * (characters[:, :1].conj() / degree)  # the value on the identity is the degree
        if float((degree - degree.round()).abs().max()) < 1e-6:
            return characters
    raise InputError("The characters could not be separated numerically.")


def _sorting_key(character: Tensor) -> list[tuple[float, float]]:
    """Large values first, so that the trivial character leads its degree."""
    return [(-round(v.real, 6) + 0.0, -round(v.imag, 6) + 0.0) for v in character.tolist()]


def _distinct(
    vectors: Tensor, values: Tensor, quotient: Tensor, representatives: Tensor
) -> list[Float[Tensor, "order dim dim"]]:
    """One eigenspace of each isomorphism class, as the matrices of all elements."""
    found: list[Tensor] = []
    seen: list[Tensor] = []
    for basis in _eigenspaces(vectors, values):
        # (L_g f)(x) = f(g^-1 x), and the trace on one element of each class tells irreps apart.
        trace = torch.stack([(basis * basis[row]).sum() for row in quotient[representatives]])
        if any(float((trace - other).abs().max()) < 1e-6 for other in seen):
            continue
        seen.append(trace)
        found.append(torch.stack([basis.mT @ basis[row] for row in quotient]))
    return found


def _eigenspaces(vectors: Tensor, values: Tensor) -> Iterator[Tensor]:
    tolerance = 1e-9 * float(values.abs().max())
    cuts = [0, *(torch.nonzero(values.diff() > tolerance).flatten() + 1).tolist(), len(values)]
    for start, stop in pairwise(cuts):
        yield vectors[:, start:stop]


def _norm(matrices: Tensor) -> float:
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    return float((trace**2).mean())


def _named(group: Group, found: list[Tensor]) -> tuple[Table, ...]:
    def key(matrices: Tensor) -> tuple[int, list[float]]:
        trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
        return matrices.shape[-1], [-round(v, 6) + 0.0 for v in trace.tolist()]

    found = sorted(found, key=key)
    names, counts = [], {}
    for matrices in found:
        dim = matrices.shape[-1]
        counts[dim] = counts.get(dim, 0) + 1
        names.append(f"{dim}{chr(96 + counts[dim]) if counts[dim] <= 26 else f'_{counts[dim]}'}")
    return tuple(Table(group, matrices, name) for matrices, name in zip(found, names, strict=True))
