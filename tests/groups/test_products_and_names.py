"""Direct products, and groups read from their names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.groups import (
    GL,
    SL,
    SO,
    Abelian,
    Alternating,
    Cyclic,
    Dihedral,
    Euclidean,
    FiniteGroup,
    GeneralizedDihedral,
    Lorentz,
    O,
    Product,
    Quaternion,
    Scaling,
    SpecialEuclidean,
    Symmetric,
    Translation,
    cayley_table,
    parse,
)
from equilearn.testing import check_group, groups

# --- products ---------------------------------------------------------------------------


def test_products_are_flattened():
    left = (Cyclic(2) * SO(2)) * Symmetric(3)
    right = Cyclic(2) * (SO(2) * Symmetric(3))
    assert left == right and hash(left) == hash(right)
    assert left.factors == (Cyclic(2), SO(2), Symmetric(3))
    assert left.name == "C2xSO2xS3" and left.element_shape == ((), (2, 2), (3,))
    assert left.order is None and left.is_compact and not left.is_abelian and left.lie_dim == 1
    assert (Cyclic(2) * Translation(1)).is_compact is False
    assert (Cyclic(2) * Dihedral(3)).order == 12


@given(groups(max_order=8, max_dimension=2), groups(max_order=8, max_dimension=2))
def test_products_of_any_two_groups_keep_the_laws(first, second):
    check_group(first * second)


def test_elements_count_with_the_first_factor_most_significant():
    group = Cyclic(2) * Symmetric(3)
    a, p = group.elements()
    assert a.tolist() == [0] * 6 + [1] * 6
    assert torch.equal(p, Symmetric(3).elements().repeat(2, 1))
    both = Product(Cyclic(3), Cyclic(4))
    assert torch.equal(cayley_table(both), cayley_table(Abelian((3, 4))))


def test_embed_and_generators():
    group = SO(2) * Symmetric(3) * Cyclic(4)
    q, p, k = group.generators()
    assert q.shape == (3, 2, 2) and p.shape == (3, 3) and k.shape == (3,)
    assert torch.equal(q, torch.eye(2).double().expand(3, 2, 2))
    assert k.tolist() == [0, 0, 1]
    g = group.embed(0, SO(2).rotation(torch.rand(4, 5)))
    assert g[0].dtype == torch.float32 and g[1].shape == (4, 5, 3) and g[2].shape == (4, 5)
    assert bool(group.contains(g).all())
    assert torch.equal(group.embed(-1, torch.tensor(3))[2], torch.tensor(3))
    with pytest.raises(InputError, match="has 3 factors, no 3"):
        group.embed(3, torch.tensor(0))
    nothing = (SO(2) * SO(3)).generators()
    assert nothing[0].shape == (0, 2, 2) and nothing[1].shape == (0, 3, 3)


def test_exp_splits_its_coefficients():
    group = SO(2) * Symmetric(3) * SO(3)
    a = torch.tensor([0.5, 0.1, 0.2, 0.3])
    q, p, r = group.exp(a)
    assert torch.equal(q, SO(2).exp(a[:1])) and torch.equal(r, SO(3).exp(a[1:]))
    assert p.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="takes 4 coefficients"):
        group.exp(torch.zeros(3))


def test_distance_is_pythagorean():
    group = Cyclic(5) * Cyclic(7)
    g = (torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]))
    assert torch.allclose(
        group.distance(g, group.identity()), torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).sqrt()
    )


def test_batches_of_tuples():
    group = SO(2) * Symmetric(3)
    g = group.sample((2, 3))
    assert group.batch_shape(g) == (2, 3)
    assert group.batch_shape(group.reshape(g, 6)) == (6,)
    assert group.batch_shape(group.take(g, (slice(None), 0))) == (2,)
    assert group.batch_shape(group.cat([g, g])) == (4, 3)
    assert group.batch_shape(group.expand(group.identity(), (4, 5))) == (4, 5)
    moved = group.to(g, dtype=torch.float32)
    assert moved[0].dtype == torch.float32 and moved[1].dtype == torch.int64


def test_what_is_no_tuple_is_refused():
    group = SO(2) * Symmetric(3)
    with pytest.raises(InputError, match="tuples with 2 parts, got Tensor"):
        group.compose(torch.eye(2), torch.eye(2))
    with pytest.raises(InputError, match="tuples with 2 parts, got 3"):
        group.inverse((torch.eye(2), torch.arange(3), torch.arange(3)))
    with pytest.raises(InputError, match="1 of 1 given elements do not lie in SO2xS3.*det g = 1.*permutations"):
        group.validate((2 * torch.eye(2), torch.arange(3)))
    with pytest.raises(InputError, match="made of groups, got int"):
        Product(SO(2), 3)
    with pytest.raises(InputError, match="at least one group"):
        Product()
    with pytest.raises(InputError, match="discrete"):
        (Cyclic(2) * Cyclic(2)).exp(torch.zeros(0))


# --- names ------------------------------------------------------------------------------

CATALOGUE = [
    Cyclic(4),
    Cyclic(12),
    Dihedral(4),
    Symmetric(5),
    Symmetric(100),
    Alternating(5),
    Quaternion(),
    Quaternion(16),
    Abelian((2, 4)),
    Abelian((6,)),
    GeneralizedDihedral((2, 4)),
    SO(2),
    SO(3),
    O(3),
    O(12),
    SpecialEuclidean(3),
    Euclidean(2),
    Translation(2),
    SL(2),
    GL(3),
    Lorentz(1, 3),
    Lorentz(2, 1),
    Lorentz(1, 10),
    Scaling(),
    Scaling(2),
    SO(3) * Symmetric(5),
    Cyclic(2) * Abelian((2, 4)) * Lorentz(1, 10),
]


@pytest.mark.parametrize("group", CATALOGUE, ids=str)
def test_names_read_back(group):
    assert parse(group.name) == group
    assert parse(group.name.lower()) == group
    assert parse(f" {group.name.upper()} ") == group
    assert repr(group) == group.name


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("so(3)", SO(3)),
        ("SO_3", SO(3)),
        ("Z6", Cyclic(6)),
        ("Cyclic(6)", Cyclic(6)),
        ("lorentz(1, 3)", Lorentz(1, 3)),
        ("Lorentz", Lorentz(1, 3)),
        ("SO3 * S5", SO(3) * Symmetric(5)),
        ("SO3 x S5", SO(3) * Symmetric(5)),
        ("SO3×S5", SO(3) * Symmetric(5)),
        ("Quaternion", Quaternion()),
    ],
)
def test_other_spellings(text, group):
    assert parse(text) == group


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S03", "whole number >= 1|"),
        ("SU2", "Unknown group 'SU2'. Did you mean"),
        ("Lorenz13", "Did you mean 'Lorentz13'"),
        ("", "Unknown group ''"),
        ("SO", "Unknown group 'SO'. Did you mean 'SO[23]'"),
        ("SO3xS", "Unknown group 'SO3xS'"),
        ("SO3x", "Unknown group 'SO3x'"),
        ("C-4", "Unknown group"),
        ("C4.5", "Unknown group"),
        ("C0", "The group 'C0' does not exist.*whole number >= 1, got 0"),
        ("SO1", "The group 'SO1' does not exist.*whole number >= 2"),
        ("Q6", "does not exist"),
        ("Q10", "multiple of 4"),
        ("Lorentz1234", "Unknown group"),
        ("C" + "9" * 30, "above 2\\^31"),
        ("(4)", "Known, for example: C4, D4"),
    ],
)
def test_unknown_names_are_refused(text, message):
    if text == "S03":
        assert parse(text) == Symmetric(3)
        return
    with pytest.raises(InputError, match=message):
        parse(text)


def test_names_are_strings():
    with pytest.raises(InputError, match="string such as 'C4', got int"):
        parse(4)


@given(st.text(alphabet="CDSOELGTQ0123456789x(),. *", max_size=12))
def test_any_text_gives_a_group_or_a_sentence(text):
    try:
        group = parse(text)
    except InputError:
        return
    assert parse(group.name) == group


def test_a_given_table_has_the_name_it_was_given():
    assert repr(FiniteGroup.from_table([[0]], "one")) == "one"
