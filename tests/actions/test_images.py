"""Images: conventions, exactness, interpolation."""

from __future__ import annotations

import math

import pytest
import torch

import equilearn as eq
from equilearn.actions import images


def rotation(degrees: float) -> torch.Tensor:
    return eq.SO(2).exp(torch.tensor([math.radians(degrees)], dtype=torch.float64))


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8, torch.bool])
def test_quarter_turns_are_rot90_bit_for_bit(size: int, dtype: torch.dtype) -> None:
    x = torch.randint(0, 2, (4, 2, size, size), generator=torch.Generator().manual_seed(0)).to(dtype)
    turn = images().on(eq.Cyclic(4))
    for k in range(4):
        assert torch.equal(turn(torch.tensor(k), x), torch.rot90(x, k, (-2, -1)))
    each = turn(torch.arange(4), x)
    assert torch.equal(each, torch.stack([torch.rot90(x[k], k, (-2, -1)) for k in range(4)]))


def test_the_first_reflection_turns_the_image_upside_down() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    flip = images().on(eq.Dihedral(4))
    assert torch.equal(flip(torch.tensor(4), x), x.flip(-2))  # (x, y) -> (x, -y)
    # r^k s: the reflection first, then the turn.
    assert torch.equal(flip(torch.tensor(5), x), torch.rot90(x.flip(-2), 1, (-2, -1)))


def test_rotations_meet_quarter_turns_exactly_in_any_company() -> None:
    x = torch.randn(3, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = images().on(eq.SO(2))
    g = torch.stack([rotation(90.0), rotation(33.0), rotation(-180.0)])
    moved = turn(g, x)
    assert torch.equal(moved[0], torch.rot90(x[0], 1, (-2, -1)))
    assert torch.equal(moved[2], torch.rot90(x[2], 2, (-2, -1)))
    # The interpolation of a batch may differ from that of one image in the last bit, as the processor has it.
    torch.testing.assert_close(moved[1:2], turn(g[1], x[1:2]), rtol=0, atol=1e-14)


def test_rotation_is_counter_clockwise_as_seen() -> None:
    x = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    x[..., 15, 25] = 1.0  # to the right of the middle
    moved = images().on(eq.SO(2))(rotation(30.0), x)[0, 0]
    row, column = divmod(int(moved.argmax()), 31)
    up, right = 15 - row, column - 15
    assert abs(math.degrees(math.atan2(up, right)) - 30) < 5


def test_interpolation_converges_to_the_function(dtype: torch.dtype) -> None:
    """A function of the plane, sampled and rotated, against the rotated function, sampled."""
    errors = []
    for size in (16, 32, 64):
        grid = torch.linspace(-1, 1, size, dtype=dtype) * (size - 1) / size
        right, up = grid.expand(size, size), -grid[:, None].expand(size, size)
        angle = math.radians(25.0)

        def bump(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return torch.exp(-12 * ((u - 0.3) ** 2 + 2 * v**2))

        c, s = math.cos(angle), math.sin(angle)
        expected = bump(c * right + s * up, -s * right + c * up)
        moved = images().on(eq.SO(2))(rotation(25.0), bump(right, up)[None, None])[0, 0]
        errors.append(float((moved - expected).norm() / expected.norm()))
    assert errors[0] < 0.1
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3  # second order: a factor of four


def test_translations_are_in_pixels_to_the_right_and_up() -> None:
    x = torch.zeros(1, 1, 7, 7, dtype=torch.float64)
    x[..., 3, 3] = 1.0
    G = eq.Translation(2)
    g = G.exp(torch.tensor([2.0, 1.0], dtype=torch.float64))
    for padding in ("zeros", "circular"):
        moved = images(padding=padding).on(G)(g, x)
        assert moved[0, 0, 2, 5] == pytest.approx(1.0) and moved.sum() == pytest.approx(1.0)


def test_circular_shifts_by_whole_pixels_are_rolls() -> None:
    x = torch.randn(1, 2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    G = eq.Translation(2)
    moved = images(padding="circular").on(G)(G.exp(torch.tensor([3.0, -1.0], dtype=torch.float64)), x)
    assert torch.equal(moved, x.roll((1, 3), (-2, -1)))


def test_gradients_flow_through_images() -> None:
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    for G, g in ((eq.Cyclic(4), torch.tensor([1, 2])), (eq.SO(2), torch.stack([rotation(20.0), rotation(50.0)]))):
        assert torch.autograd.gradcheck(lambda t, G=G, g=g: images().on(G)(g, t), (x,))


def test_half_precision_and_rectangles() -> None:
    x = torch.rand(2, 1, 6, 4, generator=torch.Generator().manual_seed(0)).half()
    half_turn = images().on(eq.Cyclic(2))
    assert torch.equal(half_turn(torch.tensor(1), x), x.flip((-2, -1)))
    turned = images().on(eq.SO(2))(rotation(40.0), x)
    assert turned.dtype == torch.float16 and turned.shape == x.shape
    assert not images().on(eq.Cyclic(4)).is_exact(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 4, 4), "unsqueeze"),
        (torch.zeros(4), r"\(B, C, H, W\)"),
        ((torch.zeros(1, 1, 4, 4),), "combine"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), "float"),
    ],
)
def test_data_that_are_no_images_are_refused(x: object, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        images().on(eq.SO(2))(rotation(10.0), x)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (eq.SO(3), "3-dimensional"),
        (eq.Symmetric(4), "permutes"),
        (eq.SO(2) * eq.Translation(2), "commute"),
        (eq.Quaternion(), "plane"),
    ],
)
def test_groups_that_do_not_act_on_images_are_refused(group: eq.Group, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        images().on(group)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(eq.InputError, match="bilinear"):
        images("bilinaer")
    with pytest.raises(eq.InputError, match="reflection"):
        images(padding="reflect")
