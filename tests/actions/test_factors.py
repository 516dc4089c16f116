"""Products of groups that act through one factor: sets beside points, images beside labels, masks."""

from __future__ import annotations

import pytest
import torch

import equilearn as eq
from equilearn.actions import Action, combine, factor, flat_rep, images, points, sets, vectors
from equilearn.testing import check_action

CLOUDS = eq.SO(3) * eq.Symmetric(5)
BOARDS = eq.Dihedral(4) * eq.Symmetric(3)

LAWS: list[tuple[Action, tuple[int, ...]]] = [
    (sets(5).on(CLOUDS), (5, 2)),
    (sets().on(eq.Quaternion() * eq.Symmetric(4)), (4,)),  # the other factor need not act on points at all
    (sets(5).on(eq.Symmetric(3) * eq.Symmetric(5)), (5,)),
    (factor(1, sets()).on(CLOUDS), (5, 2)),
    (factor(0, points()).on(CLOUDS), (7, 3)),
    (factor(0, images()).on(BOARDS), (2, 4, 4)),
    (factor(0, vectors(eq.reps.defining(eq.SO(3)))).on(CLOUDS), (2, 3)),
]


@pytest.mark.parametrize(("action", "shape"), LAWS, ids=lambda value: str(value) if isinstance(value, Action) else "")
def test_one_factor_of_a_product_keeps_the_laws(
    action: Action, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> None:
    check_action(action, torch.randn(3, *shape, dtype=dtype, generator=generator), generator=generator)
    g = action.group.sample((0,), generator=generator)
    assert action(g, torch.zeros(0, *shape)).shape == (0, *shape)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64])
def test_points_move_with_their_mask(kind: torch.dtype, generator: torch.Generator) -> None:
    action = combine(points(5), sets(5)).on(CLOUDS)  # type: ignore[union-attr]
    x = torch.randn(4, 5, 3, dtype=torch.float64, generator=generator)
    mask = torch.randint(2, (4, 5), generator=generator).to(kind)
    check_action(action, (x, mask), generator=generator)
    rotation, order = CLOUDS.sample((4,), generator=generator)
    moved, where = action((rotation, order), (x, mask))
    assert where.dtype == kind
    for b in range(4):
        for i in range(5):
            assert torch.allclose(moved[b, order[b, i]], rotation[b] @ x[b, i])
            assert where[b, order[b, i]] == mask[b, i]


def test_a_masked_model_is_measured_and_symmetrized(generator: torch.Generator) -> None:
    """The masked sum of norms is invariant; framing makes any masked model so."""
    symmetry = eq.Symmetry(CLOUDS, (points(5), sets(5)))
    x = torch.randn(12, 5, 3, dtype=torch.float64, generator=generator)
    mask = torch.rand(12, 5, generator=generator) < 0.6

    def invariant(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return (pair[0].norm(dim=-1) * pair[1]).sum(1, keepdim=True)

    def free(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        weight = torch.arange(1.0, 6.0, dtype=torch.float64)
        return ((pair[0] @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sin() * pair[1] * weight).sum(1, True)

    measure = eq.measure.equivariance_error
    assert measure(invariant, symmetry, (x, mask), generator=generator).verdict == "exact"
    assert measure(free, symmetry, (x, mask), generator=generator).verdict == "absent"
    framed = eq.symmetrize(free, symmetry, "frames")
    assert framed.is_exact((x, mask))
    assert measure(framed, symmetry, (x, mask), generator=generator).maximum < 1e-6


def test_each_factor_poses_its_own_part(generator: torch.Generator) -> None:
    """A board that turns beside a set of labels that is permuted."""
    symmetry = eq.Symmetry(BOARDS, (factor(0, images()), factor(1, sets())))
    x = (torch.randn(6, 1, 4, 4, generator=generator), torch.randn(6, 3, generator=generator))
    weight = torch.randn(19, 1, generator=generator)
    model = eq.symmetrize(lambda pair: torch.cat([pair[0].flatten(1), pair[1]], 1).tanh() @ weight, symmetry, "frames")
    assert model.forward_passes() == 8
    assert eq.measure.equivariance_error(model, symmetry, x, generator=generator).verdict == "exact"


def test_flat_representations_of_factors(generator: torch.Generator) -> None:
    both = eq.Symmetric(3) * eq.Symmetric(5)
    for action, shape in (
        (sets(5).on(both), (5, 2)),
        (sets(5).on(CLOUDS), (5, 2)),
        (factor(0, points()).on(CLOUDS), (4, 3)),
    ):
        rep = flat_rep(action, shape)
        assert rep is not None
        x = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
        g = action.group.sample((2,), generator=generator)
        assert torch.allclose(rep.apply(g, x.flatten(1)), action(g, x).flatten(1))
    assert flat_rep(factor(0, images()).on(BOARDS), (1, 4, 4)) is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sets().on(eq.SO(3) * eq.SO(3)), "no group of permutations"),
        (lambda: sets(4).on(CLOUDS), "5 points"),
        (lambda: sets().on(eq.Symmetric(3) * eq.Symmetric(5)), r"factor\(0"),
        (lambda: sets(4).on(eq.Symmetric(3) * eq.Symmetric(5)), "3, 5"),
        (lambda: factor(0, sets()).on(eq.Symmetric(3)), "not a product"),
        (lambda: factor(2, sets()).on(CLOUDS), "no factor 2"),
        (lambda: factor(0, sets()).on(CLOUDS), "no group of permutations"),
        (lambda: factor(1, sets().on(eq.Symmetric(4))).on(CLOUDS), "action of S4"),
        (lambda: factor(-1, sets()), ">= 0"),
        (lambda: factor(0, 3), "takes an action"),
    ],
)
def test_what_does_not_fit_is_refused(build, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        build()
