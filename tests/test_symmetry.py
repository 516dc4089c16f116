"""`Symmetry` binds a group to what it does to inputs and outputs."""

from __future__ import annotations

import pytest
import torch

import equilearn as eq


def test_anything_that_acts_may_stand_for_an_action() -> None:
    G = eq.SO(3)
    V = eq.reps.defining(G)
    for given in (V, eq.actions.vectors(V), eq.actions.parse("vectors:1", G)):
        assert str(eq.Symmetry(G, given, V)) == "Symmetry(SO3: vectors(V) -> vectors(V))"
    pair = eq.Symmetry(G, (V, eq.actions.points()), V)
    assert str(pair) == "Symmetry(SO3: (vectors(V), points) -> vectors(V))"


def test_without_an_output_action_it_is_an_invariance() -> None:
    turns = eq.Symmetry(eq.Cyclic(4), eq.actions.images())
    assert turns.is_invariance
    y = torch.randn(2, 3)
    assert torch.equal(turns.act_output(torch.tensor(1), y), y)
    assert not eq.Symmetry(eq.Cyclic(4), eq.actions.images(), eq.actions.images()).is_invariance


def test_it_acts_through_its_actions(generator: torch.Generator) -> None:
    G = eq.Lorentz(1, 3)
    V = eq.reps.defining(G)
    boosts = eq.Symmetry(G, input=2 * V, output=V * V)
    x = torch.randn(5, 8, dtype=torch.float64, generator=generator)
    g = G.sample((5,), generator=generator)
    outer = torch.einsum("bi,bj->bij", x[:, :4], x[:, 4:]).flatten(1)
    moved = boosts.act_input(g, x)
    again = torch.einsum("bi,bj->bij", moved[:, :4], moved[:, 4:]).flatten(1)
    assert torch.allclose(boosts.act_output(g, outer), again, rtol=1e-9)


def test_it_is_immutable() -> None:
    turns = eq.Symmetry(eq.Cyclic(4), eq.actions.images())
    with pytest.raises(AttributeError):
        turns.group = eq.Cyclic(8)  # type: ignore[misc]


def test_what_is_no_action_is_refused() -> None:
    with pytest.raises(eq.InputError, match="got str"):
        eq.Symmetry(eq.Cyclic(4), "images")  # type: ignore[arg-type]
    with pytest.raises(eq.InputError, match="belongs to C8"):
        eq.Symmetry(eq.Cyclic(4), eq.actions.images().on(eq.Cyclic(8)))
    with pytest.raises(eq.InputError, match="group of the plane"):
        eq.Symmetry(eq.SO(3), eq.actions.images())
