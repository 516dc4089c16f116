"""The public hypothesis strategies give what they say, and what they give keeps its laws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import equilearn as eq
from equilearn.groups import Group
from equilearn.testing import CheckFailed, _strategies, batches, elements, finite_groups, groups, matrix_groups, reps


@given(finite_groups(max_order=12))
def test_finite_groups_stay_within_their_order(group: Group) -> None:
    assert group.order is not None
    assert 1 <= group.order <= 12
    eq.testing.check_group(group)


@given(finite_groups(max_order=1))
def test_the_smallest_group_is_trivial(group: Group) -> None:
    assert group.order == 1


@given(matrix_groups(max_dimension=3), st.data())
def test_elements_lie_in_their_group(group: Group, data: st.DataObject) -> None:
    g = data.draw(elements(group, (2, 3)))
    assert group.batch_shape(g) == (2, 3)
    assert bool(group.contains(g).all())


@settings(max_examples=12)
@given(groups(max_order=8, max_dimension=2), st.data())
def test_representations_keep_their_laws(group: Group, data: st.DataObject) -> None:
    rep = data.draw(reps(group, max_dim=8))
    assert rep.group == group
    assert 1 <= rep.dim <= 8
    eq.testing.check_representation(rep)


@given(batches(2, 3, max_batch=2, dtype=torch.float32))
def test_batches_have_their_shape(x: torch.Tensor) -> None:
    assert x.shape[1:] == (2, 3)
    assert len(x) <= 2
    assert x.dtype == torch.float32


def test_a_missing_hypothesis_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    with pytest.raises(ImportError, match=r"pip install 'equilearn\[dev\]'"):
        _strategies.finite_groups()


def test_a_failed_check_is_a_failed_test() -> None:
    assert issubclass(CheckFailed, AssertionError)
