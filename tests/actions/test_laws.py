"""Every action keeps the laws of a left action, in both precisions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equilearn as eq
from equilearn.actions import Action, combine, factor, images, parse, points, sets, shifts, trivial, vectors
from equilearn.testing import CheckFailed, check_action

V = eq.reps.defining


def smooth(dtype: torch.dtype) -> torch.Tensor:
    """Blobs near the middle: what interpolation can follow."""
    grid = torch.linspace(-1, 1, 24, dtype=dtype)
    rows = [torch.exp(-9 * ((grid[:, None] - 0.15 * a) ** 2 + (grid + 0.1 * a) ** 2)) for a in (-1, 0, 1)]
    return torch.stack(rows).unsqueeze(1)


EXACT: list[tuple[Action, tuple[int, ...]]] = [
    (images().on(eq.Cyclic(1)), (2, 5, 3)),
    (images().on(eq.Cyclic(2)), (2, 5, 3)),
    (images().on(eq.Cyclic(4)), (2, 5, 5)),
    (images().on(eq.Dihedral(2)), (1, 4, 6)),
    (images().on(eq.Dihedral(4)), (3, 6, 6)),
    (points(5).on(eq.SO(3) * eq.Symmetric(5)), (5, 3)),
    (points().on(eq.O(3)), (4, 3)),
    (points(vectors=1, scalars=2).on(eq.SpecialEuclidean(3)), (4, 8)),
    (points(vectors=2).on(eq.Euclidean(2)), (3, 6)),
    (points().on(eq.Translation(2)), (3, 2)),
    (points(scalars=1).on(eq.Scaling() * eq.Symmetric(3)), (3, 4)),
    (points().on(eq.Dihedral(6)), (3, 2)),
    (points().on(eq.SL(2)), (3, 2)),
    (points(4).on(eq.Symmetric(4)), (4, 7)),
    (sets().on(eq.Symmetric(6)), (6, 2, 3)),
    (sets().on(eq.Symmetric(3)), (3,)),
    (vectors(V(eq.SO(3))), (3,)),
    (vectors(3 * V(eq.Lorentz(1, 3)) + eq.reps.trivial(eq.Lorentz(1, 3))), (2, 13)),
    (vectors(V(eq.SO(3)) * V(eq.SO(3))), (9,)),
    (vectors(eq.reps.regular(eq.Symmetric(3)), 2), (12,)),
    (vectors(V(eq.Cyclic(5)), None), (2, 8)),
    (trivial().on(eq.SO(2)), (4, 4)),
    (shifts().on(eq.Cyclic(4)), (1, 5, 8)),
    (shifts(1).on(eq.Cyclic(3)), (3, 2)),
    (shifts().on(eq.Abelian((2, 3))), (2, 4, 6)),
    (shifts(-1, 1).on(eq.Cyclic(2) * eq.Cyclic(5)), (5, 4)),
    (factor(1, shifts()).on(eq.SO(2) * eq.Cyclic(6)), (6,)),
]

GRID: list[Action] = [
    images().on(eq.Cyclic(8)),
    images().on(eq.SO(2)),
    images("bicubic").on(eq.O(2)),
    images(padding="circular").on(eq.Translation(2)),
    images(padding="border").on(eq.SpecialEuclidean(2)),
    images().on(eq.Scaling()),
    images().on(eq.SO(2) * eq.Scaling()),
    images().on(eq.SL(2)),
]


@pytest.mark.parametrize(("action", "shape"), EXACT, ids=lambda value: str(value) if isinstance(value, Action) else "")
def test_exact_actions_keep_their_laws(
    action: Action, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> None:
    x = torch.randn(3, *shape, dtype=dtype, generator=generator)
    assert action.is_exact(x)
    check_action(action, x, generator=generator)


@pytest.mark.parametrize("action", GRID, ids=str)
def test_interpolated_actions_keep_their_laws_up_to_the_grid(
    action: Action, dtype: torch.dtype, generator: torch.Generator
) -> None:
    x = smooth(dtype)
    assert not action.is_exact(x)
    check_action(action, x, generator=generator)


def test_combined_actions_keep_their_laws(dtype: torch.dtype, generator: torch.Generator) -> None:
    G = eq.Dihedral(4)
    action = combine(images(), vectors(V(G)), combine(trivial(), points())).on(G)  # type: ignore[union-attr]
    x = (
        torch.randn(3, 1, 4, 4, dtype=dtype, generator=generator),
        torch.randn(3, 2, dtype=dtype, generator=generator),
        (torch.randn(3, 1, generator=generator), torch.randn(3, 4, 2, dtype=dtype, generator=generator)),
    )
    check_action(action, x, generator=generator, tolerance=1e-4 if dtype == torch.float32 else 1e-10)


@given(st.sampled_from(EXACT), st.integers(0, 2**31 - 1))
def test_the_law_holds_for_any_elements(case: tuple[Action, tuple[int, ...]], seed: int) -> None:
    action, shape = case
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    g, h = action.group.sample((2,), generator=generator), action.group.sample((2,), generator=generator)
    stepwise, at_once = action(g, action(h, x)), action(action.group.compose(g, h), x)
    assert (stepwise - at_once).abs().max() <= 1e-10 * max(1.0, float(stepwise.abs().max()))


@pytest.mark.parametrize(("action", "shape"), EXACT, ids=lambda value: str(value) if isinstance(value, Action) else "")
@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_batches(action: Action, shape: tuple[int, ...], size: int) -> None:
    x = torch.zeros(size, *shape)
    g = action.group.sample((size,), generator=torch.Generator().manual_seed(0))
    assert action(g, x).shape == x.shape
    assert action(action.group.identity(()), x).shape == x.shape


class Reversed(Action):
    """Acts by the inverse: a right action."""

    def __init__(self, inner: Action):
        self.group, self.inner = inner.group, inner

    @property
    def name(self) -> str:
        return "reversed"

    def check(self, x: torch.Tensor) -> None:
        self.inner.check(x)

    def __call__(self, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.group.inverse(g), x)


class Spoiled(Reversed):
    """The right result, with one thing wrong."""

    def __init__(self, inner: Action, spoil: str):
        super().__init__(inner)
        self.spoil = spoil

    def __call__(self, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(g, x)
        if self.spoil == "dtype":
            return y.double()
        if self.spoil == "shift":
            return y + 0.01
        if self.spoil == "square":
            return y * y
        if self.spoil == "input":
            x.add_(1.0)
            return y
        if self.spoil == "first":  # one element for the whole batch
            first = g[:1].expand_as(g) if self.group.batch_shape(g) else g
            return self.inner(first, x)
        return y

    def orbit(self, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return super().orbit(g, x).flip(0) if self.spoil == "orbit" else super().orbit(g, x)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("dtype", "dtype"),
        ("shift", "identity"),
        ("square", "identity"),
        ("input", "modifies"),
        ("first", "sample by sample"),
        ("orbit", "orbit"),
    ],
)
def test_a_spoiled_action_is_caught(spoil: str, message: str, generator: torch.Generator) -> None:
    x = torch.rand(3, 1, 4, 4, generator=generator) + 0.5
    with pytest.raises(CheckFailed, match=message):
        check_action(Spoiled(images().on(eq.Dihedral(4)), spoil), x, generator=generator)


def test_a_right_action_is_caught(generator: torch.Generator) -> None:
    for action, shape in ((sets().on(eq.Symmetric(5)), (5,)), (images().on(eq.Dihedral(4)), (1, 4, 4))):
        with pytest.raises(CheckFailed, match="left action"):
            check_action(Reversed(action), torch.randn(3, *shape, generator=generator))


def test_parse_reads_what_the_command_line_gives() -> None:
    assert str(parse("images", eq.Cyclic(4))) == "images under C4"
    assert str(parse("images: bicubic, circular", eq.SO(2))) == "images (bicubic, circular) under SO2"
    assert str(parse("points:5", eq.SO(3))) == "points(5) under SO3"
    assert str(parse("points", eq.SO(3) * eq.Symmetric(5))) == "points(5) under SO3xS5"
    assert str(parse("sets", eq.Symmetric(4))) == "sets(4) under S4"
    assert parse("trivial", eq.SO(2)).is_trivial
    assert str(parse("shifts", eq.Cyclic(8))) == "shifts under C8"
    assert str(parse("shifts: -2", eq.Cyclic(8))) == "shifts(-2) under C8"
    assert str(parse("shifts:1,2", eq.Cyclic(8) * eq.Cyclic(2))) == "shifts(1, 2) under C8xC2"
    x = torch.randn(2, 9)
    for text in ("vectors", "vectors:3"):
        parse(text, eq.SO(3)).check(x)
    assert len(parse("images+trivial", eq.Cyclic(4)).parts) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image", "images"),
        ("images:bicubik", "bicubic"),
        ("points:many", "whole number"),
        ("points:0", ">= 1"),
        ("trivial:3", "no option"),
        ("shifts:left", "whole number, such as shifts:3"),
        ("shifts:0", "batch"),
        ("shifts:1,2", "1 axis"),
    ],
)
def test_parse_says_what_it_does_not_know(text: str, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        parse(text, eq.Cyclic(4))
