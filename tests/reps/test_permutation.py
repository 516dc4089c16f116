"""Permutation representations given by the images of all elements."""

from __future__ import annotations

import pytest
import torch

import equilearn as eq
from equilearn import reps
from equilearn._check import InputError
from equilearn.testing import check_representation

GROUPS = [eq.Cyclic(1), eq.Cyclic(6), eq.Dihedral(3), eq.Symmetric(3), eq.Quaternion(), eq.Cyclic(2) * eq.Symmetric(3)]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_images_of_any_group(group):
    images = reps.regular(group).permutation(group.elements())
    two = torch.cat([images, group.order + images], dim=1)
    rep = reps.permutation(group, two)
    check_representation(rep)
    assert rep.is_permutation and rep.dim == 2 * group.order
    assert rep == reps.permutation(group, two.clone())
    assert hash(rep) == hash(reps.permutation(group, two.to(torch.int32)))
    g = group.elements()
    v = torch.randn(rep.dim, generator=torch.Generator().manual_seed(0))
    dense = (rep.matrix(g).float() @ v[:, None]).squeeze(-1)
    assert torch.equal(rep.apply(g, v), dense)


def test_equal_where_the_images_are():
    group = eq.Cyclic(2)
    first = reps.permutation(group, torch.tensor([[0, 1, 2], [1, 0, 2]]))
    other = reps.permutation(group, torch.tensor([[0, 1, 2], [0, 2, 1]]))
    assert first != other and first.dim == other.dim
    square = eq.FiniteGroup.from_permutations([[1, 2, 3, 0], [0, 3, 2, 1]])
    assert reps.permutation(square) == reps.permutation(square, square.faithful)
    assert reps.permutation(square) != reps.permutation(square, torch.arange(4).expand(8, 4))


def test_the_images_are_a_copy():
    images = torch.tensor([[0, 1], [1, 0]])
    rep = reps.permutation(eq.Cyclic(2), images)
    images[1] = torch.tensor([0, 1])
    assert rep.permutation(torch.tensor(1)).tolist() == [1, 0]


def test_gradients_and_vmap_pass_through():
    rep = reps.permutation(eq.Cyclic(2), torch.tensor([[0, 1], [1, 0]]))
    v = torch.tensor([1.0, 2.0], requires_grad=True)
    (rep.apply(torch.tensor(1), v) * torch.tensor([10.0, 1.0])).sum().backward()
    assert v.grad.tolist() == [1.0, 10.0]
    g = torch.tensor([0, 1, 1])
    rows = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(torch.func.vmap(rep.apply)(g, rows), rep.apply(g, rows))


@pytest.mark.parametrize(
    ("group", "images", "message"),
    [
        (eq.Cyclic(2), torch.tensor([[0, 1], [0, 0]]), "Row 1 of images is not a permutation"),
        (eq.Cyclic(2), torch.tensor([[0, 1, 2], [1, 2, 0]]), "element 1 times element 1 is element 0"),
        (eq.Cyclic(1), torch.tensor([[1, 0]]), "Row 0 of images must be the identity"),
        (eq.Cyclic(3), torch.tensor([[0, 1], [1, 0]]), r"\(3, dim\); got shape \(2, 2\)"),
        (eq.Cyclic(2), torch.zeros(2, 0, dtype=torch.int64), r"got shape \(2, 0\)"),
        (eq.Cyclic(2), torch.tensor([[0, 1], [0, 2]]), "Row 1"),
        (eq.SO(2), torch.tensor([[0, 1]]), "not finite"),
    ],
)
def test_bad_images(group, images, message):
    with pytest.raises(InputError, match=message):
        reps.permutation(group, images)


def test_images_of_the_inverse_order_are_refused():
    group = eq.Symmetric(3)
    wrong = group.inverse(group.elements())
    with pytest.raises(InputError, match="do not compose"):
        reps.permutation(group, wrong)
