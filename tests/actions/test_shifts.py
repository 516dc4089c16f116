"""Circular shifts: conventions, and what cannot be shifted."""

from __future__ import annotations

import pytest
import torch

import equilearn as eq
from equilearn.actions import shifts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8, torch.bool])
def test_shifts_are_rolls_bit_for_bit(dtype: torch.dtype) -> None:
    x = torch.randint(0, 2, (4, 2, 3, 8), generator=torch.Generator().manual_seed(0)).to(dtype)
    along = shifts().on(eq.Cyclic(4))
    for k in range(4):
        assert torch.equal(along(torch.tensor(k), x), x.roll(2 * k, -1))
    each = along(torch.arange(4), x)
    assert torch.equal(each, torch.stack([x[k].roll(2 * k, -1) for k in range(4)]))
    orbit = along.orbit(torch.arange(4), x)
    assert torch.equal(orbit, torch.stack([x.roll(2 * k, -1) for k in range(4)]))
    assert along.is_exact(x) and along.is_linear


@pytest.mark.parametrize("group", [eq.Cyclic(3) * eq.Cyclic(2), eq.Abelian((3, 2))], ids=str)
def test_two_cyclic_groups_shift_height_and_width(group: eq.Group) -> None:
    x = torch.randn(1, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    moved = shifts().on(group).orbit(group.elements(), x)
    rolled = torch.stack([x.roll((row, 2 * column), (-2, -1)) for row in range(3) for column in range(2)])
    assert torch.equal(moved, rolled)
    assert torch.equal(shifts(2, 3).on(group).orbit(group.elements(), x), moved)


def test_gradients_flow_back_through_shifts() -> None:
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    along = shifts().on(eq.Cyclic(3))
    for g in (torch.tensor(1), torch.tensor([2, 1])):
        assert torch.autograd.gradcheck(lambda t, g=g: along(g, t), (x,))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (eq.SO(2), "needs cyclic groups"),
        (eq.Dihedral(4), "needs cyclic groups"),
        (eq.Cyclic(4) * eq.Symmetric(3), "its factor S3 is none"),
    ],
)
def test_groups_that_do_not_shift_are_refused(group: eq.Group, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        shifts().on(group)


def test_axes_and_cyclic_groups_must_be_equally_many() -> None:
    with pytest.raises(eq.InputError, match="C4 shifts along 1 axis, .* asked for 2 axes, -2, -1"):
        shifts(-2, -1).on(eq.Cyclic(4))
    with pytest.raises(eq.InputError, match="one group, got 1, 1"):
        shifts(1, 1)
    with pytest.raises(eq.InputError, match="whole numbers such as -1, got 'width'"):
        shifts("width")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("axes", "x", "message"),
    [
        ((), torch.zeros(2, 6), "length that 4 divides; axis -1 of shape .* has 6"),
        ((2,), torch.zeros(2, 8), "axis 2, got shape"),
        ((-2,), torch.zeros(8, 4), "axis -2, got shape"),
        ((), torch.zeros(2, 0), "has 0"),
        ((), (torch.zeros(2, 8),), "combine"),
    ],
)
def test_data_that_cannot_be_shifted_are_refused(axes: tuple[int, ...], x: object, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        shifts(*axes).on(eq.Cyclic(4))(torch.tensor(1), x)


def test_one_axis_by_two_names_is_refused() -> None:
    with pytest.raises(eq.InputError, match="not all different"):
        shifts(2, -1).on(eq.Cyclic(2) * eq.Cyclic(2)).check(torch.zeros(3, 4, 4))
