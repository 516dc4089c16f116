"""Points, sets, vectors: what moves and what stays."""

from __future__ import annotations

import pytest
import torch

import equilearn as eq
from equilearn.actions import combine, images, points, sets, trivial, vectors


def test_positions_shift_vectors_turn_scalars_stay(generator: torch.Generator) -> None:
    G = eq.Euclidean(3)
    x = torch.randn(2, 4, 3 + 3 + 2, dtype=torch.float64, generator=generator)
    g = G.sample((2,), generator=generator)
    moved = points(vectors=1, scalars=2).on(G)(g, x)
    A, t = G.linear(g), G.shift(g)
    assert torch.allclose(moved[..., :3], torch.einsum("bij,bnj->bni", A, x[..., :3]) + t[:, None])
    assert torch.allclose(moved[..., 3:6], torch.einsum("bij,bnj->bni", A, x[..., 3:6]))
    assert torch.equal(moved[..., 6:], x[..., 6:])


def test_products_move_space_and_order_at_once(generator: torch.Generator) -> None:
    G = eq.SO(3) * eq.Symmetric(4)
    x = torch.randn(1, 4, 3, dtype=torch.float64, generator=generator)
    rotation, order = G.sample((), generator=generator)
    moved = points(4).on(G)((rotation, order), x)
    for i in range(4):
        assert torch.allclose(moved[0, order[i]], rotation @ x[0, i])


def test_a_permutation_sends_entry_i_to_place_p_i() -> None:
    p = torch.tensor([2, 0, 1])
    x = torch.tensor([[10, 11, 12], [20, 21, 22]])
    assert torch.equal(sets().on(eq.Symmetric(3))(p, x)[:, p], x)
    assert torch.equal(sets().on(eq.Symmetric(3))(torch.stack([p, torch.arange(3)]), x)[1], x[1])


def test_vectors_agree_with_the_dense_matrix(generator: torch.Generator) -> None:
    G = eq.Lorentz(1, 3)
    V = eq.reps.defining(G)
    rep = 2 * V + eq.reps.trivial(G) + V * V
    x = torch.randn(3, 2, rep.dim, dtype=torch.float64, generator=generator)
    g = G.sample((3,), generator=generator)
    dense = torch.einsum("bij,bnj->bni", rep.matrix(g), x)
    assert torch.allclose(vectors(rep)(g, x), dense, atol=1e-10)
    assert torch.allclose(vectors(rep)(g[0], x)[0], dense[0], atol=1e-10)


def test_copies_stand_side_by_side(generator: torch.Generator) -> None:
    G = eq.SO(3)
    V = eq.reps.defining(G)
    x = torch.randn(2, 9, generator=generator)
    g = G.sample((2,), generator=generator)
    expected = vectors(3 * V)(g, x)
    assert torch.allclose(vectors(V, 3)(g, x), expected)
    assert torch.allclose(vectors(V, None)(g, x), expected)


def test_linearity_is_said_truthfully() -> None:
    assert points().on(eq.SO(3)).is_linear
    assert not points().on(eq.Euclidean(3)).is_linear
    assert not combine(points(), trivial()).on(eq.Euclidean(3)).is_linear  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: points(4).on(eq.Symmetric(5)), "5 points"),
        (lambda: sets().on(eq.SO(3)), "no group of permutations"),
        (lambda: points().on(eq.Quaternion()), "vectors"),
        (lambda: points().on(eq.Symmetric(3) * eq.Symmetric(3)), "commute"),
        (lambda: points().on(eq.SO(2) * eq.SO(3)), "different dimensions"),
        (lambda: points(0).on(eq.SO(3)), ">= 1"),
        (lambda: vectors(eq.SO(3)), "representation"),
        (lambda: combine(), "at least one"),
        (lambda: combine(images().on(eq.Cyclic(4)), images().on(eq.Cyclic(8))), "one group"),
        (lambda: combine(images(), 3), "actions"),
    ],
)
def test_what_cannot_act_is_refused(build: object, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("action", "x", "message"),
    [
        (points().on(eq.SO(3)), torch.zeros(2, 5, 4), "3 columns"),
        (points(scalars=2).on(eq.SO(3)), torch.zeros(2, 5, 3), "5 columns"),
        (points().on(eq.SO(3)), torch.zeros(2, 3), r"\(B, N, columns\)"),
        (points(4).on(eq.SO(3)), torch.zeros(2, 5, 3), "4 points"),
        (points().on(eq.SO(3)), torch.zeros(2, 5, 3, dtype=torch.int64), "floating"),
        (sets().on(eq.Symmetric(4)), torch.zeros(2, 5), "4 points"),
        (vectors(eq.reps.defining(eq.SO(3))), torch.zeros(2, 4), "last axis, of length 3"),
        (vectors(eq.reps.defining(eq.SO(3)), None), torch.zeros(2, 4), "multiple of 3"),
        (vectors(eq.reps.defining(eq.SO(3))), torch.zeros(2, 3, dtype=torch.int64), "floating"),
    ],
)
def test_data_that_do_not_fit_are_refused(action: eq.actions.Action, x: torch.Tensor, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        action(action.group.identity(()), x)


def test_elements_that_do_not_fit_are_refused() -> None:
    action = points().on(eq.SO(3) * eq.Symmetric(5))
    x = torch.zeros(4, 5, 3)
    with pytest.raises(eq.InputError, match=r"batch shape \(3,\).*4 samples"):
        action(action.group.identity((3,)), x)
    with pytest.raises(eq.InputError, match="tuple of 2"):
        action(torch.eye(3), x)
    with pytest.raises(eq.InputError, match="trailing shape"):
        points().on(eq.SO(3))(torch.eye(2), x)
    with pytest.raises(eq.InputError, match="indices"):
        images().on(eq.Cyclic(4))(torch.tensor(1.0), torch.zeros(1, 1, 3, 3))
    both = combine(points(), trivial()).on(eq.SO(3))
    with pytest.raises(eq.InputError, match="same number of samples"):
        both(torch.eye(3), (x, torch.zeros(3, 1)))  # type: ignore[operator]
