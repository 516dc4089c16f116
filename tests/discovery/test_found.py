"""The common form of what was found."""

from __future__ import annotations

import json

import pytest

import equilearn as eq
from equilearn import InputError
from equilearn.discovery import DiscoveredSymmetry

FLIP = eq.Cyclic(2)


def test_a_find_is_ready_to_use_and_to_write_down():
    symmetry = eq.Symmetry(FLIP, input=eq.actions.trivial())
    found = DiscoveredSymmetry(
        "a mirror",
        "above 0.9",
        method="test",
        group=FLIP,
        parent=eq.Dihedral(4),
        elements=(0, 4),
        scores={"score": 0.95, "ratio": float("inf")},
        false_alarm=0.01,
        symmetry=symmetry,
    )
    assert found.found and found.confidence == pytest.approx(0.99) and found.symmetry is symmetry
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["elements"] == [0, 4] and plain["scores"] == {"score": 0.95, "ratio": None}
    assert plain["group"] == "C2" and plain["parent"] == "D4"
    assert str(found) == "a mirror: above 0.9 (score 0.95, ratio inf; false alarm below 0.01)"


def test_nothing_found():
    found = DiscoveredSymmetry("nothing in D4", "no element stands out", method="test", parent=eq.Dihedral(4))
    assert not found.found and found.confidence is None
    assert str(found) == "nothing in D4: no element stands out"
    assert found.as_dict()["group"] is None


def test_contradictions_are_refused():
    with pytest.raises(InputError, match="probability"):
        DiscoveredSymmetry("x", "y", method="test", false_alarm=1.5)
    with pytest.raises(InputError, match="give the parent too"):
        DiscoveredSymmetry("x", "y", method="test", group=FLIP, elements=(0, 4))
    with pytest.raises(InputError, match="a group of order 2"):
        DiscoveredSymmetry("x", "y", method="test", group=FLIP, parent=eq.Dihedral(4), elements=(0,))
    symmetry = eq.Symmetry(eq.Cyclic(3), input=eq.actions.trivial())
    with pytest.raises(InputError, match="the group that was found"):
        DiscoveredSymmetry("x", "y", method="test", group=FLIP, symmetry=symmetry)
