"""`flat_rep` moves flattened samples exactly as the action moves samples."""

import pytest
import torch

from equilearn import actions, reps
from equilearn.groups import GL, SO, Cyclic, Lorentz, O, SpecialEuclidean, Symmetric

CASES = [
    (actions.points(4).on(SO(3)), (4, 3)),
    (actions.points(4, vectors=1).on(O(3)), (4, 6)),
    (actions.points(5).on(SO(3) * Symmetric(5)), (5, 3)),
    (actions.points(5).on(Symmetric(5) * SO(3)), (5, 3)),
    (actions.points(4).on(Cyclic(5)), (4, 2)),
    (actions.points(5).on(Symmetric(5)), (5, 2)),
    (actions.sets(4).on(Symmetric(4)), (4, 2, 3)),
    (actions.vectors(reps.defining(Lorentz(1, 3))), (4,)),
    (actions.vectors(2 * reps.defining(GL(2))), (3, 4)),
    (actions.trivial().on(SO(3)), (2, 3)),
]


@pytest.mark.parametrize(
    ("action", "shape"), CASES, ids=lambda case: str(case) if isinstance(case, tuple) else repr(case)
)
def test_the_flat_representation_moves_as_the_action(action, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, *shape, generator=generator, dtype=torch.float64)
    g = action.group.sample(6, generator=generator)
    rep = actions.flat_rep(action, shape)
    assert rep is not None
    assert torch.allclose(rep.apply(g, x.flatten(1)), action(g, x).flatten(1), atol=1e-10)


@pytest.mark.parametrize(
    ("action", "shape"),
    [
        (actions.points(4).on(SpecialEuclidean(3)), (4, 3)),
        (actions.points(4, scalars=1).on(SO(3)), (4, 4)),
        (actions.images().on(Cyclic(4)), (1, 6, 6)),
    ],
)
def test_what_has_no_flat_representation_says_none(action, shape):
    assert actions.flat_rep(action, shape) is None
