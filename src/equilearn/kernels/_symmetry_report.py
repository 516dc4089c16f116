"""Which element of a group did a model pick up? Read off its feature matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.actions import VectorAction
from equilearn.discovery import DiscoveredSymmetry
from equilearn.groups import FiniteGroup, GeneralizedDihedral, Group
from equilearn.kernels._element_names import element_name, generators_of, subgroup_name
from equilearn.kernels._imposed import block_mean, keeps_slots, require_permutations, slot_labels
from equilearn.kernels._matrix_shape import Spectrum, circulant_deviation, hankel_deviation, spectrum, square
from equilearn.kernels._singled_out import SingledOut, single_out
from equilearn.reps import Rep, permutation
from equilearn.symmetry import Symmetry

LARGEST = 2_000
"""Largest group whose elements are told apart: one eigenproblem of its order."""

_CHUNK = 1 << 24  # entries of the moved matrices that are held at a time


@dataclass(frozen=True, eq=False)
class SymmetryReport:
    """What a feature matrix says about a group that permutes its coordinates: `symmetry_report` makes one.

    Arrays have one entry an element, in the order of `group.elements()`. "Less means" is M without what each slot
    has in common, `Q M Q` with the mean of each slot taken away.

    Attributes:
        group: the group.
        coefficients: `a` of the least-squares fit `M ~ sum_g a(g) Pi(g)`, less means, signed. Constants that the
            fit leaves free (all elements that move the slots alike add up to 0, less means) are chosen so that
            the median of each such set is 0.
        cosines: `<M, Pi(g)> / (|M| |Pi(g)|)`, less means.
        commutators: `|M Pi(g) - Pi(g) M| / |M|`, of M itself: 0 where g is a symmetry of M.
        explained: the share of `|M|^2`, less means, that the fit accounts for.
        circulant, hankel: deviations of the block (slot 2, slot 1), for two slots that list a known group; else None.
        spectrum: of M.
        discovered: the elements that stand out, as a group, or the statement that none do.
        level: the chance of a false alarm that was allowed.
    """

    group: Group
    coefficients: Float[Tensor, " order"] = field(repr=False)
    cosines: Float[Tensor, " order"] = field(repr=False)
    commutators: Float[Tensor, " order"] = field(repr=False)
    explained: float
    circulant: float | None
    hankel: float | None
    spectrum: Spectrum
    discovered: DiscoveredSymmetry
    level: float

    def name(self, index: int) -> str:
        """What element `index` is called: `sr^35` and `r^2` of a generalised dihedral group, else its index."""
        return element_name(self.group, index)

    def top(self, count: int = 5) -> list[dict[str, Any]]:
        """The elements with the largest coefficients in size, the identity left out, as rows."""
        order = self.coefficients.abs().argsort(descending=True, stable=True)
        return [self._row(g) for g in order.tolist() if g != 0][:count]

    def commuting(self, tolerance: float = 1e-6) -> Int[Tensor, " size"]:
        """The indices of the elements that leave M alone: those with a commutator of at most `tolerance`.

        Not the same question as `discovered`: a multiple of the identity commutes with everything and loads on
        nothing; features that have picked up one reflection may commute with more.
        """
        return torch.nonzero(self.commutators <= tolerance).flatten()

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON."""
        return {
            "group": str(self.group),
            "elements": [self._row(g) for g in range(len(self.coefficients))],
            "explained": self.explained,
            "circulant": self.circulant,
            "hankel": self.hankel,
            "spectrum": self.spectrum.as_dict(),
            "discovered": self.discovered.as_dict(),
            "level": self.level,
        }

    def _row(self, g: int) -> dict[str, Any]:
        return {
            "index": g,
            "element": self.name(g),
            "coefficient": float(self.coefficients[g]),
            "cosine": float(self.cosines[g]),
            "commutator": float(self.commutators[g]),
        }

    def __str__(self) -> str:
        rows = "; ".join(
            f"{r['element']} {r['coefficient']:+.3g} (commutator {r['commutator']:.2g})" for r in self.top(3)
        )
        block = ""
        if self.circulant is not None and self.hankel is not None:
            block = f"\n  off-diagonal block: circulant deviation {self.circulant:.3g}, Hankel {self.hankel:.3g}"
        return (
            f"Features under {self.group}, {len(self.coefficients)} elements, which explain {self.explained:.1%} of "
            f"what is left without the means\n  identity {float(self.coefficients[0]):+.3g}; "
            f"largest others: {rows or 'none'}{block}\n"
            f"  {self.spectrum}\n  {self.discovered.name}: {self.discovered.verdict}"
        )


def symmetry_report(
    M: Float[Tensor, "D D"],
    symmetry: Symmetry | Rep | Int[Tensor, "order D"],
    group: Group | None = None,
    *,
    slots: int | Int[Tensor, " D"] | None = None,
    level: float = 1e-3,
) -> SymmetryReport:
    """Which elements of a group that permutes coordinates a feature matrix loads on, and whether any stand out.

    Of a model that has learned with the reflection P of its data intact, M is `a (I - P)` less means: P has a
    *negative* coefficient and commutes with M. A generic training set gives a combination of all reflections, and
    the report says that none stands out.

    The rule. Elements stand out where (1) the largest cosine among them is larger than that of a random symmetric
    matrix, and (2) their share of all squared coefficients is larger than that of a combination, with random normal
    coefficients, of all elements that move the slots in the same ways; each with a chance below `level` after
    correction for the number of elements and sets that were looked at; and (3) they generate a proper subgroup. Only
    elements with a tenth of the largest coefficient count; an element and its inverse count as one. Both null models
    are stated; other data may deviate from both.

    Args:
        M: a symmetric matrix over the coordinates, such as the features of a kernel machine or an AGOP, `(D, D)`.
        symmetry: how a finite group permutes the coordinates: a `Symmetry` or a `Rep` of that kind, or the
            permutations of all its elements, `(order, D)` in the order of `group.elements()`.
        group: the group, where permutations are given.
        slots: number of slots of equal length that the coordinates fall into, or the slot of each; the means of
            the slots are taken away. Default: two halves where the group takes halves to halves, else one slot.
        level: the chance of a false alarm that is allowed.

    Raises:
        InputError: M is not square, symmetric and finite, the group does not permute D coordinates, it is too
            large, or it tears slots apart.

    Cost: O(order D^2) for the commutators, O(order^3) for the coefficients; memory O(D^2 + order^2).
    Source: section 4 of "Breaking Data Symmetry is Needed For Generalization in Feature Learning Kernels",
    arXiv 2604.00316, for what M holds; the coefficients and the rule are ours.

    Example:
        >>> import equilearn as eq
        >>> from equilearn.kernels import imposed_features
        >>> group = eq.groups.GeneralizedDihedral((13,))
        >>> a = torch.arange(13)
        >>> turns = torch.stack([torch.cat([(a + x) % 13, 13 + (a - x) % 13]) for x in range(13)])
        >>> flips = torch.stack([torch.cat([13 + (a - x) % 13, (a + x) % 13]) for x in range(13)])
        >>> permutations = torch.cat([turns, flips])
        >>> report = symmetry_report(imposed_features(permutations[13 + 4]), permutations, group)
        >>> report.discovered.name, report.top(1)[0]["element"]
        ('C2 in Dih(13), generated by sr^9', 'sr^9')
        >>> round(float(report.coefficients[13 + 4]), 6), round(float(report.commutators[13 + 4]), 6)
        (-1.0, 0.0)
    """
    square(M, "M")
    values = M.detach().to("cpu", torch.float64)
    unit = float(values.abs().max()) or 1.0
    values = values / unit  # squares of its entries could overflow, or vanish
    defect = float((values - values.mT).norm())
    require(
        defect <= 1e-3 * float(values.norm()),
        f"M must be symmetric, but |M - M^T| is {defect / max(float(values.norm()), 1e-300):.2g} of |M|: "
        "give (M + M.mT) / 2.",
    )
    require(isinstance(level, Real) and 0 < level < 1, f"level is a probability between 0 and 1, got {level!r}.")
    group, permutations = _permutations(symmetry, group, len(values))
    labels = _slots(slots, permutations)
    spread = torch.eye(len(values), dtype=torch.float64) - block_mean(labels, torch.float64)
    less = spread @ ((values + values.mT) / 2) @ spread
    fit = _Fit(group, permutations, labels, less)
    out = single_out(group, fit.inverses, fit.coefficients, fit.beside_identity, fit.dimension, fit.kinds, fit.centred)
    fit.coefficients *= unit
    commutators = _commutators(values, permutations)
    circulant, hankel = _block(values, labels, _listed(group, permutations, labels))
    given = symmetry if isinstance(symmetry, Symmetry) else None
    return SymmetryReport(
        group=group,
        coefficients=fit.coefficients,
        cosines=fit.cosines,
        commutators=commutators,
        explained=fit.explained,
        circulant=circulant,
        hankel=hankel,
        spectrum=spectrum(values * unit),
        discovered=_discovered(group, permutations, out, fit, commutators, level, given),
        level=level,
    )


# --- parts ------------------------------------------------------------------------------------


class _Fit:
    """`M ~ sum_g a(g) Pi(g)` by least squares on what the slots do not have in common."""

    def __init__(self, group: Group, permutations: Tensor, labels: Tensor, less: Tensor):
        elements = group.elements()
        order, width = permutations.shape
        self.inverses = group.index_of(group.inverse(elements))
        product = group.index_of(
            group.compose(
                group.reshape(group.inverse(elements), (order, 1)),
                group.reshape(elements, (1, order)),
            )
        )
        count = int(labels.max()) + 1
        self.dimension = width - count
        places = _slot_images(permutations, labels)
        # The character on what the slots do not have in common.
        character = (permutations == torch.arange(width)).sum(1) - (places == torch.arange(count)).sum(1)
        character = character.to(torch.float64)
        loads = less[permutations, torch.arange(width)].sum(1)  # <M, Pi(g)>
        size = float(less.norm())
        scale = size * max(self.dimension, 1) ** 0.5
        self.cosines = loads / scale if size > 0 else torch.zeros_like(loads)
        raw = torch.linalg.pinv(character[product], hermitian=True, rtol=1e-9) @ loads
        self.explained = min(1.0, float(raw @ loads) / size**2) if size > 0 else 0.0
        self.kinds = torch.unique(places, dim=0, return_inverse=True)[1]
        self.centred = _is_free(permutations, labels, places)
        self.coefficients = _without_medians(raw, self.kinds) if self.centred else raw
        # The cosines with the symmetric parts, the identity taken out of both sides.
        trace = float(loads[0])
        rest = loads - trace * character / max(self.dimension, 1)
        squares = group.index_of(group.compose(elements, elements))
        norms = (self.dimension + character[squares]) / 2 - character**2 / max(self.dimension, 1)
        remaining = max(size**2 - trace**2 / max(self.dimension, 1), 0.0)
        fine = (norms > 1e-9 * max(self.dimension, 1)) & (remaining > 1e-20 * size**2)
        self.beside_identity = torch.where(fine, rest / (norms.clamp_min(1e-300) * max(remaining, 1e-300)).sqrt(), 0.0)
        if remaining <= 1e-20 * size**2:  # a multiple of the identity loads on nothing else, rounding aside
            self.coefficients = torch.where(torch.arange(order) == 0, self.coefficients, 0.0)


def _slot_images(permutations: Tensor, labels: Tensor) -> Int[Tensor, "order S"]:
    """The slot that each element takes each slot to."""
    first = torch.stack([torch.nonzero(labels == s)[0, 0] for s in range(int(labels.max()) + 1)])
    return labels[permutations[:, first]]


def _is_free(permutations: Tensor, labels: Tensor, places: Tensor) -> bool:
    """Whether the elements that keep every slot are transitive on each.

    Then the sum of Pi(g) over a coset of theirs (all elements that move the slots alike) only sees the means of the
    slots, and a constant may be added to the coefficients of a coset.
    """
    keepers = (places == torch.arange(places.shape[1])).all(1)
    reached = torch.zeros(len(labels), len(labels), dtype=torch.bool)
    reached[torch.arange(len(labels)), permutations[keepers]] = True
    return bool((reached == (labels[:, None] == labels)).all())


def _without_medians(raw: Tensor, kinds: Tensor) -> Float[Tensor, " order"]:
    out = raw.clone()
    for kind in range(int(kinds.max()) + 1):
        out[kinds == kind] -= raw[kinds == kind].median()
    return out


def _commutators(M: Tensor, permutations: Tensor) -> Float[Tensor, " order"]:
    """`|Pi^T M Pi - M| / |M|` by look-up, some elements at a time."""
    size = float(M.norm())
    if size == 0:
        return torch.zeros(len(permutations), dtype=torch.float64)
    step = max(1, _CHUNK // M.numel())
    parts = [(M[p[:, :, None], p[:, None, :]] - M).flatten(1).norm(dim=1) / size for p in permutations.split(step)]
    return torch.cat(parts)


def _permutations(symmetry: Any, group: Group | None, width: int) -> tuple[Group, Int[Tensor, "order D"]]:
    if isinstance(symmetry, Symmetry):
        action = symmetry.input
        if not isinstance(action, VectorAction) or action.copies != 1:
            raise InputTypeError(f"The symmetry must act on single vectors through a Rep; it acts on {action.name}.")
        symmetry = action.rep
    if isinstance(symmetry, Rep):
        require(symmetry.is_permutation, f"{symmetry.name} does not permute coordinates: no M is read against it.")
        group, rep = symmetry.group, symmetry
    elif isinstance(symmetry, Tensor):
        if group is None:
            raise InputError("Permutations alone do not say which group they are of: give group too.")
        require_permutations(symmetry, "the permutations")
        rep = permutation(group, symmetry)
    else:
        raise InputTypeError(f"A Symmetry, a Rep or permutations are needed, got {type(symmetry).__name__}.")
    require(
        group.is_finite and (group.order or 0) <= LARGEST,
        f"{group} has {group.order or 'infinitely many'} elements; up to {LARGEST} are told apart. Use a subgroup.",
    )
    require(rep.dim == width, f"M is over {width} coordinates, but the group permutes {rep.dim}.")
    return group, rep.permutation(group.elements()).cpu()


def _slots(slots: int | Tensor | None, permutations: Tensor) -> Int[Tensor, " D"]:
    width = permutations.shape[1]
    if slots is None:
        halves = slot_labels(2, width) if width % 2 == 0 else None
        return halves if halves is not None and keeps_slots(permutations, halves) else slot_labels(1, width)
    labels = slot_labels(slots, width)
    require(keeps_slots(permutations, labels), "The group takes coordinates of one slot to several slots.")
    return labels


def _listed(group: Group, permutations: Tensor, labels: Tensor) -> Group | None:
    """The group of which both slots list the elements: the rotations, or the group itself; None if there is none."""
    half = len(labels) // 2
    if int(labels.max()) != 1 or not torch.equal(labels, slot_labels(2, len(labels))):
        return None
    if isinstance(group, GeneralizedDihedral) and group.rotations.order == half:
        return group.rotations
    if group.order == half:
        return group
    keepers = torch.nonzero((_slot_images(permutations, labels) == torch.arange(2)).all(1)).flatten()
    return FiniteGroup.from_elements(group, group.take(group.elements(), keepers)) if len(keepers) == half else None


def _block(M: Tensor, labels: Tensor, group: Group | None) -> tuple[float | None, float | None]:
    if group is None:
        return None, None
    half = len(labels) // 2
    return circulant_deviation(M[half:, :half], group), hankel_deviation(M[half:, :half], group)


def _discovered(
    group: Group,
    permutations: Tensor,
    out: SingledOut,
    fit: _Fit,
    commutators: Tensor,
    level: float,
    given: Symmetry | None,
) -> DiscoveredSymmetry:
    method = "coefficients of a feature matrix on the permutations of a group"
    rule = f"cosine against random matrices and share against random combinations, false alarms below {level:g}"
    scores = {
        "share": out.share,
        "chance of size": out.chance_of_size,
        "chance of share": out.chance_of_share,
        "explained": fit.explained,
    }
    if not out.holds(level):
        generic = fit.explained > 0.5 and float(fit.coefficients[1:].abs().sum()) > 0
        verdict = "no element stands out" + (": a combination of many elements" if generic else "") + f" ({rule})"
        return DiscoveredSymmetry(f"nothing in {group}", verdict, method, parent=group, scores=scores)
    members = torch.tensor(out.members)
    images = permutations[members]
    found = FiniteGroup.from_elements(group, group.take(group.elements(), members), subgroup_name(group, members))
    known = given is None or given.is_invariance
    names = [element_name(group, g) for g in generators_of(group, out.elements)]
    strongest = out.elements[0]
    scores |= {"coefficient": float(fit.coefficients[strongest]), "commutator": float(commutators[members].max())}
    return DiscoveredSymmetry(
        name=f"{found} in {group}, generated by {', '.join(names)}",
        verdict=f"{names[0] if len(out.elements) == 1 else f'{len(out.elements)} elements'} "
        f"carr{'ies' if len(out.elements) == 1 else 'y'} {out.share:.1%} of the squared coefficients ({rule})",
        method=method,
        group=found,
        parent=group,
        elements=out.members,
        scores=scores,
        false_alarm=min(1.0, max(out.chance, 1e-16)),
        symmetry=Symmetry(found, input=permutation(found, images)) if known else None,
    )
