"""Elements have names that a reader understands."""

from __future__ import annotations

import math

import pytest
import torch

import equilearn as eq
from equilearn.measure import describe


def turn(degrees: float) -> torch.Tensor:
    return eq.SO(2).exp(torch.tensor([math.radians(degrees)], dtype=torch.float64))


CASES = [
    (eq.Cyclic(4), torch.tensor(0), "identity"),
    (eq.Cyclic(4), torch.tensor(3), "three-quarter turn"),
    (eq.Cyclic(8), torch.tensor(1), "rotation 45°"),
    (eq.Dihedral(4), torch.tensor(4), "reflection, axis at 0°"),
    (eq.Dihedral(4), torch.tensor(5), "reflection, axis at 45°"),
    (eq.SO(2), turn(137.0), "rotation 137°"),
    (eq.SO(2), turn(-90.0), "three-quarter turn"),
    (eq.Symmetric(4), torch.tensor([1, 0, 3, 2]), "permutation (0 1)(2 3)"),
    (eq.Symmetric(12), torch.arange(12).roll(1), "permutation moving 12 of 12"),
    (eq.SO(3), torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)), "rotation 180°"),
    (eq.O(3), -torch.eye(3, dtype=torch.float64), "inversion"),
    (eq.Scaling(), torch.full((1, 1), 1.5, dtype=torch.float64), "scaling by 1.5"),
    (eq.Lorentz(1, 3), eq.Lorentz(1, 3).boost(0.7, 0), "boost of rapidity 0.70"),
    (eq.SO(2) * eq.Symmetric(2), (turn(90.0), torch.tensor([1, 0])), "quarter turn x permutation (0 1)"),
    (eq.SO(2) * eq.Symmetric(2), (turn(0.0), torch.tensor([1, 0])), "permutation (0 1)"),
    (eq.Quaternion(), torch.tensor(3), "element 3"),
]


@pytest.mark.parametrize(("group", "g", "label"), CASES, ids=[label for *_, label in CASES])
def test_labels(group: eq.Group, g: object, label: str) -> None:
    assert describe(group, g) == label


def test_every_kind_of_element_has_a_label() -> None:
    rng = torch.Generator().manual_seed(0)
    for group in (eq.SpecialEuclidean(3), eq.SL(2), eq.GL(3), eq.SO(4), eq.Translation(2)):
        assert describe(group, group.sample((), generator=rng)) not in ("", "identity")
