"""Is the training set itself symmetric, so that the held-out samples cannot be learned from it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from equilearn._check import InputError, finite, positive_int, require
from equilearn.actions import Data, batch_size, in_matrices
from equilearn.measure._evaluate import check_inputs, leaves
from equilearn.measure._labels import describe
from equilearn.measure._stabilizer import Samples, kept_by
from equilearn.symmetry import Symmetry

LARGEST_GROUP = 10_000
"""Larger groups are not searched."""

FIXED_SHARE = 0.05
"""A split is a trap where one element leaves at least this share of the test points in place, ..."""

FIXED_RATIO = 0.2
"""... and of the training points at most this much of that share."""

_NAMED = 4

Verdict = Literal["trap", "caution", "none"]


@dataclass(frozen=True)
class SplitSymmetry:
    """What `split_symmetry` found.

    Args:
        group: name of the group.
        checked: whether the elements were tried; False where the group is infinite or too large, or acts by
            interpolation, and then `reason` says so.
        subgroup: indices, in `group.elements()`, of the elements that carry the training set to itself, the
            identity first.
        still: how many of them leave every sample in place, the identity among them: these hide nothing.
        test_in_orbits: share of the test points in the orbit of the training set under the subgroup; that orbit is
            the training set itself, so these are copies of training points.
        test_fixed, train_fixed: share of the test and training points that an element of the subgroup leaves in
            place, not counting elements that leave everything in place.
        hiding: indices of the elements whose fixed points are held out, which make the split a trap.
        test_hidden, train_hidden: share of the test and training points that these leave in place.
        named: the first elements of the subgroup in words.
        reason: why the elements were not tried.
    """

    group: str
    checked: bool
    subgroup: tuple[int, ...]
    still: int = 1
    test_in_orbits: float = 0.0
    test_fixed: float = 0.0
    train_fixed: float = 0.0
    hiding: tuple[int, ...] = ()
    test_hidden: float = 0.0
    train_hidden: float = 0.0
    named: tuple[str, ...] = ()
    reason: str = ""

    @property
    def order(self) -> int:
        """Number of elements of the subgroup."""
        return len(self.subgroup)

    @property
    def verdict(self) -> Verdict:
        """`"trap"`, `"caution"` or `"none"`; see `split_symmetry`."""
        if self.order <= self.still:
            return "none"
        return "trap" if self.hiding else "caution"

    @property
    def sentence(self) -> str:
        """The finding in words, and what to do."""
        if not self.checked:
            return f"Whether the training set is symmetric under {self.group} was not checked: {self.reason}."
        if self.verdict == "none":
            but = "the identity" if self.still == 1 else f"{self.still} that leave every sample in place"
            return f"No element of {self.group} but {but} carries the training set to itself: its split is no trap."
        found = f"{self.order} elements of {self.group} ({self._names()}) carry the training set to itself"
        if self.verdict == "caution":
            return (
                f"{found}, as after augmentation with them, where that is harmless. On tables of algebraic operations, "
                "recursive feature machines learned held-out orbits of some such elements and not of others."
            )
        return (
            f"The split is a trap: {found}, and {len(self.hiding)} of them leave{'s' * (len(self.hiding) == 1)} "
            f"{_percent(self.test_hidden)} of the test points in place but {_percent(self.train_hidden)} of the "
            "training points. On tables of algebraic operations, recursive feature machines never learned such points, "
            "however many others they had: the features end up the same for all of them. Move a training point or a "
            f"few, drawn at random, to the test set, so that the training set is no longer symmetric, "
            f"or build the symmetry of all of {self.group} in."
        )

    def _names(self) -> str:
        return ", ".join(self.named) + (", ..." if self.order > len(self.named) else "")

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings and lists only, ready for JSON."""
        return {
            "group": self.group,
            "checked": self.checked,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "order": self.order,
            "subgroup": list(self.subgroup),
            "elements": list(self.named),
            "still": self.still,
            "test_in_orbits": self.test_in_orbits,
            "test_fixed": self.test_fixed,
            "train_fixed": self.train_fixed,
            "hiding": list(self.hiding),
            "test_hidden": self.test_hidden,
            "train_hidden": self.train_hidden,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        return self.sentence


def _percent(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.0f} %"


def split_symmetry(
    x_train: Data,
    x_test: Data,
    symmetry: Symmetry,
    y_train: Shaped[Tensor, "B *shape"] | None = None,
    *,
    tolerance: float | None = None,
    largest: int = LARGEST_GROUP,
) -> SplitSymmetry:
    """Which elements carry the training set to itself, and whether test points are lost to them.

    An element belongs to the stabilizer `H` of the training set where it permutes the training samples, copies
    counted, and each goes to one with the label (or transformed target) that it should have. Verdicts:

    * `"none"`: `H` has no element but the identity (and those that leave every sample in place).
    * `"trap"`: an element of `H` leaves at least 5 % of the test points in place, and of the training points at
      most a fifth of that share.
    * `"caution"`: `H` is larger otherwise, as after augmentation of the training data.

    What a trap does is an empirical finding and no theorem: on tables of algebraic operations recursive feature
    machines got such test points wrong however large the training set was, and learned them once one training
    point, or a few, had been taken away. Giving the model the symmetry of the whole group helps too.

    Args:
        x_train, x_test: inputs, batch first.
        symmetry: the group and its actions; every element of a finite group with an exact action is tried.
        y_train: class labels or targets of the training inputs. Without them, elements that move labels count too.
        tolerance: how far two samples that count as equal may differ, relative to the largest entry; default 64
            units of rounding of the data's dtype.
        largest: groups of more elements are not searched, and the result says so.

    Raises:
        InputError: NaN, empty data, inputs that do not fit the action, one label a sample missing.

    Cost: `O(|G| D + |H| n D)` for `|G|` elements, n training samples of D numbers: few samples rule out most
    elements. 122 elements and 3,660 samples of 122 numbers take 0.3 s.

    Source: "Breaking Data Symmetry is Needed For Generalization in Feature Learning Kernels", arXiv 2604.00316,
    Finding 3.1; the check before training is this library's.

    Example:
        >>> import equilearn as eq
        >>> table = eq.data.modular_table(7, "+")
        >>> train = eq.data.fixed_point_split(table, table.reflection(0))
        >>> found = split_symmetry(table.x[train], table.x[~train], table.symmetry, table.labels[train])
        >>> found.verdict, found.subgroup, found.test_fixed
        ('trap', (0, 7), 1.0)
    """
    positive_int(largest, "largest")
    require(tolerance is None or tolerance >= 0, f"tolerance must not be negative, got {tolerance}.")
    for x in (x_train, x_test):
        check_inputs(symmetry, x)
    shapes = [[tuple(leaf.shape[1:]) for leaf in leaves(x)] for x in (x_train, x_test)]
    require(shapes[0] == shapes[1], f"Training and test inputs differ in shape: {shapes[0]} and {shapes[1]}.")
    _check_targets(symmetry, x_train, y_train)
    group = str(symmetry.group)
    reason = _not_checked(symmetry, x_train, largest)
    if reason:
        return SplitSymmetry(group, False, (0,), reason=reason)
    action, x_train = in_matrices(symmetry.input, x_train)
    x_test = in_matrices(symmetry.input, x_test)[1]
    output = symmetry.output
    if y_train is not None and not symmetry.is_invariance:
        output, y_train = in_matrices(output, y_train)
    eps = torch.finfo(_dtype(x_train)).eps
    loose = 64 * eps if tolerance is None else tolerance
    samples = Samples((action, output), (x_train, y_train), loose) if y_train is not None else None
    members = (samples or Samples((action,), (x_train,), loose)).stabilizer()
    return _described(symmetry, members, Samples((action,), (x_train,), loose), x_test)


def _described(symmetry: Symmetry, members: Int[Tensor, " size"], train: Samples, x_test: Data) -> SplitSymmetry:
    """The figures for the elements that were found."""
    test = Samples(train.actions, (x_test,), train.tolerance)
    group, elements = symmetry.group, symmetry.group.elements()
    fixed = [kept_by(part, members) for part in (train, test)]
    still = torch.stack([part.all(1) for part in fixed]).all(0)
    of_train, of_test = (part.double().mean(1) for part in fixed)
    hiding = ~still & (of_test >= FIXED_SHARE) & (of_train <= FIXED_RATIO * of_test)
    (train_fixed, test_fixed), (train_hidden, test_hidden) = (
        [float(part[chosen].any(0).double().mean()) for part in fixed] for chosen in (~still, hiding)
    )
    named = [describe(group, group.take(elements, k)) for k in members[:_NAMED].tolist()]
    if len(set(named)) < len(named) or any(name.startswith("element") for name in named):
        named = ["identity", *(f"element {k}" for k in members[1:_NAMED].tolist())]
    return SplitSymmetry(
        group=str(group),
        checked=True,
        subgroup=tuple(members.tolist()),
        still=int(still.sum()),
        test_in_orbits=float(train.holds(test).double().mean()),
        test_fixed=test_fixed,
        train_fixed=train_fixed,
        hiding=tuple(members[hiding.cpu()].tolist()),
        test_hidden=test_hidden,
        train_hidden=train_hidden,
        named=tuple(named),
    )


def _not_checked(symmetry: Symmetry, x: Data, largest: int) -> str:
    """Why the elements cannot be tried; empty where they can."""
    order = symmetry.group.order
    if order is None:
        return "the group is infinite"
    if order > largest:
        return f"it has {order:,} elements, more than {largest:,}"
    if not symmetry.input.is_exact(x):
        return "it moves inputs by interpolation, after which no sample equals another exactly"
    return ""


def _check_targets(symmetry: Symmetry, x: Data, y: Tensor | None) -> None:
    if y is None:
        return
    if not isinstance(y, Tensor):
        raise InputError(f"y_train must be a tensor, got {type(y).__name__}. Convert with torch.as_tensor(y).")
    finite(y, "y_train")
    require(
        y.ndim > 0 and y.shape[0] == batch_size(x),
        f"y_train has shape {tuple(y.shape)}, but x_train holds {batch_size(x)} samples: one label each is needed.",
    )
    if not symmetry.is_invariance:
        symmetry.output.check(y)


def _dtype(x: Data) -> torch.dtype:
    """The coarsest floating-point type in the data; float64 where there is none."""
    found = [leaf.dtype for leaf in leaves(x) if leaf.is_floating_point()]
    return max(found, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)
