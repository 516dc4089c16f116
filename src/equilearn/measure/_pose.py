"""Does the pose tell the label? Where a sample of one class, moved by a group element, passes for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.actions import Action, Data, batch_size, first_leaf, map_data
from equilearn.groups import Element
from equilearn.measure._damage import features, kept_and_moved, padding_last, spread_elements
from equilearn.measure._labels import describe
from equilearn.symmetry import Symmetry

Passed: TypeAlias = tuple[Tensor, Tensor]  # what each sample passes for, unmoved and moved

CANDIDATES = 12
"""Confusions that the first half of the data may nominate and the second half judges."""

_TYPICAL = 0.95
"""A sample is typical of a class when its nearest neighbour there is no farther than for this share of
the class's own members."""


@dataclass(frozen=True)
class Confusion:
    """Members of class `a`, moved by the element called `label`, that pass for class `b`.

    `rate` is their share on held-out data, less the share that passes for `b` unmoved.
    """

    a: int
    b: int
    rate: float
    label: str
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, "rate": self.rate, "element": self.label, "p_value": self.p_value}


@dataclass(frozen=True)
class PoseInformation:
    """Whether knowing the pose helps to know the label.

    Args:
        informative: whether `p_value` lies below the level asked for.
        p_value: of the clearest confusion, after Bonferroni over the nominated ones.
        effect: its rate.
        confusions: all confusions with a positive rate, the largest first.
        accuracy_kept: held-out accuracy of a nearest-neighbour classifier on the data as they are.
        accuracy_removed: the same with distances between orbits, which know no pose.
    """

    informative: bool
    p_value: float
    effect: float
    confusions: tuple[Confusion, ...]
    accuracy_kept: float
    accuracy_removed: float
    class_names: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The finding in words."""
        price = (
            f"without the pose a nearest-neighbour classifier goes from {self.accuracy_kept:.1%} to "
            f"{self.accuracy_removed:.1%}"
        )
        if not self.informative or not self.confusions:
            return f"No sign that the pose tells the label (p = {self.p_value:.2g}); {price}."
        first = min(self.confusions, key=lambda c: c.p_value)
        a, b = self._name(first.a), self._name(first.b)
        return (
            f"The pose tells the label: {first.rate:.0%} of class {a}, moved by a {first.label}, pass for class {b} "
            f"(p = {self.p_value:.2g}); {price}."
        )

    def _name(self, label: int) -> str:
        return self.class_names[label] if label < len(self.class_names) else str(label)

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and dictionaries only, ready for JSON."""
        return {
            "informative": self.informative,
            "p_value": self.p_value,
            "effect": self.effect,
            "confusions": [c.as_dict() for c in self.confusions],
            "accuracy_kept": self.accuracy_kept,
            "accuracy_removed": self.accuracy_removed,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class _Reference:
    """Samples to compare with, their labels, and how near a member of each class must be."""

    rows: Float[Tensor, "n D"]
    labels: Int[Tensor, "n"]
    reach: Float[Tensor, "classes"]


def pose_information(
    action: Action,
    x: Data,
    y: Int[Tensor, "B"],
    *,
    level: float,
    generator: torch.Generator | None,
    class_names: tuple[str, ...] = (),
) -> PoseInformation:
    """Does a moved sample of one class pass for another? `x` must be in random order.

    The pose tells the label where the label is not constant on orbits: where `x` has class `a` and `g x`,
    which is as typical of class `b` as members of `b` are, would have class `b`. A 6 after a half turn is
    a 9. Were the poses random, `x` and `g x` would be exchangeable and pass for `b` equally often: an exact
    sign test (McNemar) of that, on the second half of the data, for the triples `(a, b, g)` that the first
    half nominates, Bonferroni over those. "Passing for b": its nearest neighbour among the first half is of
    class `b`, and near enough. O(G B^2 D).
    """
    half = batch_size(x) // 2
    # Labels may be far apart, {0, 30000}: count those that occur.
    values, y = torch.unique(y.cpu(), return_inverse=True)
    classes = len(values)
    g = spread_elements(action.group, generator, first_leaf(x).device)
    (count,) = action.group.batch_shape(g)
    first, second = map_data(lambda t: t[:half], x), map_data(lambda t: t[half:], x)
    start = action.group.take(g, 0)
    reference = _reference(_views(action, start, first, generator)[0], y[:half], classes)
    unmoved = _views(action, start, second, generator)[0]
    near = torch.cdist(unmoved, reference.rows)
    kept = _accuracy(near, y[:half], y[half:])
    nominated: list[Passed] = []
    judged: list[Passed] = []
    for i in range(count):
        element = action.group.take(g, i)
        before, after = _views(action, element, first, generator)
        nominated.append((_passes_for(before, reference, True), _passes_for(after, reference, True)))
        near = torch.minimum(near, torch.cdist(unmoved, after))
        before, after = _views(action, element, second, generator)
        judged.append((_passes_for(before, reference), _passes_for(after, reference)))
    triples = _nominate(nominated, y[:half], classes)
    names = values.tolist()
    labels = [describe(action.group, action.group.take(g, i)) for _, _, i in triples]
    found = [
        _judge((a, b), (names[a], names[b]), label, *judged[i], y[half:], len(triples))
        for (a, b, i), label in zip(triples, labels, strict=True)
    ]
    clearest = min(found, key=lambda c: c.p_value, default=None)
    p_value = 1.0 if clearest is None else clearest.p_value
    return PoseInformation(
        informative=p_value < level,
        p_value=p_value,
        effect=0.0 if clearest is None else max(clearest.rate, 0.0),
        confusions=tuple(sorted((c for c in found if c.rate > 0), key=lambda c: -c.rate)),
        accuracy_kept=kept,
        accuracy_removed=_accuracy(near, y[:half], y[half:]),
        class_names=class_names,
    )


def _views(
    action: Action, g: Element, x: Data, generator: torch.Generator | None
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
    symmetry = Symmetry(action.group, action)
    kept, moved = (padding_last(symmetry, side)[0] for side in kept_and_moved(action, g, x, generator))
    return features(kept), features(moved)


def _reference(rows: Float[Tensor, "n D"], labels: Int[Tensor, "n"], classes: int) -> _Reference:
    reach = torch.zeros(classes, dtype=torch.float64)
    for c in range(classes):
        own = rows[labels == c]
        if own.shape[0] >= 2:  # a class of one has no reach: nothing passes for it
            distances = torch.cdist(own, own).fill_diagonal_(float("inf"))
            reach[c] = torch.quantile(distances.amin(1), _TYPICAL)
    return _Reference(rows, labels, reach)


def _passes_for(rows: Float[Tensor, "m D"], reference: _Reference, leave_self_out: bool = False) -> Int[Tensor, "m"]:
    """The class that each row passes for, -1 for none."""
    distances = torch.cdist(rows, reference.rows)
    if leave_self_out:
        distances.fill_diagonal_(float("inf"))
    nearest, index = distances.min(1)
    found = reference.labels[index]
    return torch.where(nearest <= reference.reach[found], found, torch.full_like(found, -1))


def _nominate(passed: list[tuple[Tensor, ...]], labels: Int[Tensor, "n"], classes: int) -> list[tuple[int, int, int]]:
    """The `(a, b, g)` where moving adds most members of `a` to `b`: one element a pair of classes.

    Only pairs that occur are counted: many classes would make a large table of zeros."""
    cells = [[_cells(side, labels, classes) for side in pair] for pair in passed]
    seen = torch.unique(torch.cat([side for pair in cells for side in pair]))
    if len(seen) == 0:
        return []
    counts = [[torch.bincount(torch.searchsorted(seen, side), minlength=len(seen)) for side in pair] for pair in cells]
    best, element = torch.stack([moved - kept for kept, moved in counts]).max(0)
    best[seen // classes == seen % classes] = 0
    order = best.argsort(descending=True, stable=True)[:CANDIDATES].tolist()
    return [(*divmod(int(seen[at]), classes), int(element[at])) for at in order if best[at] > 0]


def _cells(passed: Int[Tensor, "n"], labels: Int[Tensor, "n"], classes: int) -> Int[Tensor, "known"]:
    """`a classes + b` for every member of class `a` that passes for `b`."""
    known = passed >= 0
    return labels[known] * classes + passed[known]


def _judge(
    pair: tuple[int, int],
    names: tuple[int, int],
    label: str,
    kept: Int[Tensor, "n"],
    moved: Int[Tensor, "n"],
    labels: Int[Tensor, "n"],
    tests: int,
) -> Confusion:
    """Exact sign test of: moved members of `a` pass for `b` more often than unmoved ones."""
    from scipy.stats import binomtest

    own = labels == pair[0]
    before, after = kept[own] == pair[1], moved[own] == pair[1]
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    p_value = float(binomtest(won, won + lost, 0.5, alternative="greater").pvalue) if won + lost else 1.0
    return Confusion(*names, (won - lost) / max(int(own.sum()), 1), label, min(p_value * tests, 1.0))


def _accuracy(distances: Float[Tensor, "m n"], known: Int[Tensor, "n"], asked: Int[Tensor, "m"]) -> float:
    return float((known[distances.argmin(1)] == asked).double().mean())
