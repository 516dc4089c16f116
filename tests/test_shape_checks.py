"""The shape checks of the tests do check."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from shape_checks import check_shapes
from torch import Tensor

import equilearn
from equilearn.groups import Group


@check_shapes
def first(x: Float[Tensor, "B N"], wrong: bool = False) -> Float[Tensor, "B"]:
    if x.shape[-1] == 0:
        raise ValueError("the library's own message")
    return x[0] if wrong else x[:, 0]


def test_good_calls_pass() -> None:
    assert first(torch.ones(2, 3)).shape == (2,)


def test_a_result_of_another_shape_is_caught() -> None:
    with pytest.raises(TypeCheckError):
        first(torch.ones(2, 3), wrong=True)


def test_bad_input_that_goes_through_is_caught() -> None:
    with pytest.raises(TypeCheckError):
        first(torch.ones(2, 3, 4))


def test_the_library_speaks_first() -> None:
    with pytest.raises(ValueError, match="own message"):
        first(torch.ones(2, 3, 0))


def test_the_hook_is_in_place() -> None:
    assert "SO" in equilearn.__all__
    wrapped = [f for f in (equilearn.SO.distance, equilearn.SO.contains, Group.exp) if hasattr(f, "__wrapped__")]
    assert wrapped, "no function of the library is checked: the library was imported before the hook"
