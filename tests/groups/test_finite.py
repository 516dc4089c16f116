"""Cyclic, abelian, dihedral, quaternion groups and groups from tables, permutations, matrices."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.groups import (
    SO,
    Abelian,
    Cyclic,
    Dihedral,
    FiniteGroup,
    GeneralizedDihedral,
    O,
    Quaternion,
    Symmetric,
    cayley_table,
    element_orders,
)
from equilearn.testing import check_group

orders = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@given(orders, st.integers(0, 2**31))
def test_mixed_radix_digits_round_trip(factors, seed):
    group = Abelian(factors)
    g = group.sample(9, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(group.from_digits(group.digits(g)), g)
    # The first factor is the most significant, as in nested loops.
    expected = torch.tensor(list(itertools.product(*map(range, factors))))
    assert torch.equal(group.digits(group.elements()), expected)


@given(orders, st.integers(0, 2**31))
def test_abelian_law_adds_digits(factors, seed):
    group = Abelian(factors)
    g, h = group.sample((2, 9), generator=torch.Generator().manual_seed(seed))
    moduli = torch.tensor(factors)
    assert torch.equal(group.digits(group.compose(g, h)), (group.digits(g) + group.digits(h)) % moduli)
    assert torch.equal(group.digits(group.inverse(g)), (-group.digits(g)) % moduli)


@given(orders)
def test_generalised_dihedral_is_a_group(factors):
    group = GeneralizedDihedral(factors)
    check_group(group)
    reflections = torch.nonzero(group.is_reflection(group.elements())).reshape(-1)
    assert bool((element_orders(group)[reflections] == 2).all())
    rotations = torch.arange(group.order // 2)
    pairs = group.compose(rotations[:, None], rotations[None])
    assert torch.equal(pairs, group.rotations.compose(rotations[:, None], rotations[None]))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 12, 100])
@pytest.mark.parametrize("family", [Cyclic, Dihedral])
def test_plane_matrices_are_a_representation(family, n):
    group = family(n)
    g = group.sample(50, generator=torch.Generator().manual_seed(n))
    h = group.sample(50, generator=torch.Generator().manual_seed(n + 1))
    product = group.plane_matrix(g) @ group.plane_matrix(h)
    assert torch.allclose(group.plane_matrix(group.compose(g, h)), product, atol=1e-14)
    assert bool(O(2).contains(group.plane_matrix(group.elements())).all())
    # Faithful, but for D1 and D2, where it is as well.
    flat = group.plane_matrix(group.elements()).reshape(-1, 4)
    assert len(torch.unique(flat.mul(1e9).round(), dim=0)) == group.order


@pytest.mark.parametrize("n", [4, 8, 100])
def test_plane_matrices_are_exact_at_quarter_turns(n):
    quarter = torch.arange(4) * (n // 4)
    matrices = Cyclic(n).plane_matrix(quarter)
    expected = torch.tensor([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
    assert torch.equal(matrices, expected.to(torch.float64))
    assert not torch.signbit(matrices)[matrices == 0].any()
    flips = Dihedral(n).plane_matrix(n + quarter)
    assert torch.equal(flips, expected.to(torch.float64) @ torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))


def test_dihedral_convention():
    group = Dihedral(6)
    r, s = torch.tensor(1), torch.tensor(6)
    assert int(group.compose(r, s)) == 7  # n + k is r^k s
    assert int(group.compose(s, r)) == int(group.compose(group.inverse(r), s))
    assert torch.equal(group.plane_matrix(s), torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64))


def test_quaternion_group_is_that_of_the_units():
    # 1, i, -1, -i, j, k, -j, -k as left multiplications on (1, i, j, k).
    one = torch.eye(4)
    i = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]])
    j = torch.tensor([[0.0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]])
    units = torch.stack([one, i, -one, -i, j, i @ j, -j, -i @ j])
    products = units[:, None] @ units[None]
    table = (products[:, :, None] == units).all(-1).all(-1).int().argmax(-1)
    assert torch.equal(cayley_table(Quaternion()), table)
    assert torch.equal(j @ j, -one)
    assert sorted(element_orders(Quaternion()).tolist()) == [1, 2, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("order", [8, 12, 16, 20])
def test_generalised_quaternion_has_one_involution(order):
    assert int((element_orders(Quaternion(order)) == 2).sum()) == 1


# --- from tables, permutations, matrices -------------------------------------------------


@pytest.mark.parametrize("group", [Cyclic(1), Cyclic(6), Dihedral(4), Quaternion(), Symmetric(4), Abelian((2, 2, 2))])
def test_table_round_trip(group):
    table = cayley_table(group)
    finite = FiniteGroup.from_table(table)
    assert finite.order == group.order and finite.is_abelian == group.is_abelian
    assert torch.equal(cayley_table(finite), table)
    check_group(finite)


def test_from_permutations_gives_the_symmetric_group():
    group = FiniteGroup.from_permutations(Symmetric(5).generators(), "S5 again")
    assert group.order == 120 and group.name == "S5 again" and group.is_permutation_group
    g, h = group.sample((2, 60), generator=torch.Generator().manual_seed(0))
    products = Symmetric(5).compose(group.faithful[g], group.faithful[h])
    assert torch.equal(group.faithful[group.compose(g, h)], products)
    assert torch.equal(group.faithful[group.inverse(g)], Symmetric(5).inverse(group.faithful[g]))
    assert torch.equal(group.matrix(g) @ group.matrix(h), group.matrix(group.compose(g, h)))
    assert len(torch.unique(group.faithful, dim=0)) == 120


def test_from_matrices_gives_the_rotations_of_the_icosahedron():
    golden = (1 + 5**0.5) / 2
    axis = torch.tensor([0.0, 1.0, golden], dtype=torch.float64)
    five = SO(3).rotation(2 * torch.pi / 5, axis)
    half = SO(3).rotation(torch.pi, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    group = FiniteGroup.from_matrices([five, half], "I")
    assert group.order == 60 and group.is_matrix_group
    assert bool(SO(3).contains(group.faithful).all())
    g, h = group.sample((2, 60), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(group.matrix(group.compose(g, h)), group.matrix(g) @ group.matrix(h), atol=1e-12)
    check_group(group)


def test_from_matrices_takes_float32_and_non_orthogonal_matrices():
    base = torch.tensor([[1.0, 0.3], [0.0, 1.0]])
    turn = base @ torch.tensor([[0.0, -1.0], [1.0, 0.0]]) @ torch.linalg.inv(base)
    assert FiniteGroup.from_matrices([turn], tolerance=1e-5).order == 4


def test_from_elements_is_a_subgroup():
    square = Dihedral(4)
    klein = FiniteGroup.from_elements(square, torch.tensor([4, 0, 6, 2]))
    assert klein.order == 4 and klein.is_abelian and element_orders(klein).tolist() == [1, 2, 2, 2]
    even = FiniteGroup.from_elements(
        Symmetric(4), Symmetric(4).elements()[Symmetric(4).sign(Symmetric(4).elements()) > 0]
    )
    assert even.order == 12 and even.faithful.shape == (12, 4)
    nested = FiniteGroup.from_elements(even, even.elements()[element_orders(even) <= 2])
    assert nested.order == 4 and nested.faithful.shape == (4, 4)
    check_group(nested)
    with pytest.raises(InputError, match="not closed"):
        FiniteGroup.from_elements(square, torch.tensor([0, 1]))
    with pytest.raises(InputError, match="lack the identity"):
        FiniteGroup.from_elements(square, torch.tensor([1, 3]))
    with pytest.raises(InputError, match="repeat"):
        FiniteGroup.from_elements(square, torch.tensor([0, 0]))


def test_equality_and_copies():
    one, other = FiniteGroup.from_table([[0, 1], [1, 0]]), FiniteGroup.from_table([[0, 1], [1, 0]], "Z2")
    assert one == other and hash(one) == hash(other)
    assert one != FiniteGroup.from_permutations([[1, 0]])
    assert copy.deepcopy(one) == one
    assert Cyclic(4) == Cyclic(4) != Cyclic(5)
    assert Cyclic(4) != Abelian((4,))
    assert len({Dihedral(3), Dihedral(3), Dihedral(4)}) == 2


def test_one_element_groups():
    for group in (Cyclic(1), Abelian((1, 1)), FiniteGroup.from_table([[0]]), FiniteGroup.from_permutations([[0, 1]])):
        assert group.order == 1 and group.generators().shape == (0,)
        check_group(group)


# --- bad input ---------------------------------------------------------------------------

# The smallest loop that is not a group: every row and column is a permutation, the law is not associative.
LOOP = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1], [1, 2]], r"table\[1, 1\] = 2 is not the index"),
        ([[0, 1], [1, 1]], "Row 1 of the table repeats"),
        ([[1, 0], [0, 1]], "identity must be element 0, but in this table it is element 1"),
        ([[1, 1], [1, 1]], "no identity"),
        ([[0, 1, 2], [1, 2, 0]], "must be square"),
        ([[0.0, 1.0], [1.0, 0.0]], "whole numbers"),
        ([], "must be square"),
        ([[0, 1], [1]], "rows of equal length"),
        (LOOP, "not associative"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(InputError, match=message):
        FiniteGroup.from_table(table)


def test_bad_generators_are_refused():
    with pytest.raises(InputError, match="Generator 1 is not a permutation"):
        FiniteGroup.from_permutations([[1, 0, 2], [0, 0, 1]])
    with pytest.raises(InputError, match="shape"):
        FiniteGroup.from_permutations([1, 0])
    with pytest.raises(InputError, match="more than 100 elements"):
        FiniteGroup.from_permutations(Symmetric(6).generators(), limit=100)
    with pytest.raises(InputError, match="Generator 0 has an eigenvalue"):
        FiniteGroup.from_matrices([torch.diag(torch.tensor([2.0, 0.5]))])
    with pytest.raises(InputError, match="more than 300 elements"):
        FiniteGroup.from_matrices([SO(2).rotation(1.0)], limit=300)
    with pytest.raises(InputError, match="1 NaN"):
        FiniteGroup.from_matrices([torch.tensor([[torch.nan]])])
    with pytest.raises(InputError, match="empty"):
        FiniteGroup.from_matrices([])
    with pytest.raises(InputError, match="square"):
        FiniteGroup.from_matrices(torch.ones(2, 3))


@pytest.mark.parametrize("bad", [0, -1, 2.5, "4", True, None])
@pytest.mark.parametrize("family", [Cyclic, Dihedral, Symmetric])
def test_bad_sizes_are_refused(family, bad):
    with pytest.raises(InputError, match="whole number >= 1"):
        family(bad)


def test_other_bad_sizes_are_refused():
    with pytest.raises(InputError, match="above 2\\^31"):
        Abelian((2**20, 2**20))
    with pytest.raises(InputError, match="empty"):
        Abelian(())
    with pytest.raises(InputError, match="sequence"):
        Abelian(4)
    with pytest.raises(InputError, match="multiple of 4"):
        Quaternion(10)


def test_indices_outside_are_not_contained():
    group = Cyclic(4)
    assert group.contains(torch.tensor([-1, 0, 3, 4])).tolist() == [False, True, True, False]
    assert group.contains(torch.tensor([0.0, torch.nan])).tolist() == [False, False]
    with pytest.raises(InputError, match="2 of 4 given elements do not lie in C4.*0 to 3"):
        group.validate(torch.tensor([-1, 0, 3, 4]))
    with pytest.raises(InputError, match="tensor of indices"):
        group.contains([0, 1])


def test_discrete_and_infinite_groups_say_so():
    with pytest.raises(InputError, match="no Lie algebra"):
        Cyclic(3).exp(torch.zeros(0))
    with pytest.raises(InputError, match="cannot be listed"):
        SO(2).elements()
    with pytest.raises(InputError, match="no index"):
        SO(2).index_of(torch.eye(2))
    with pytest.raises(InputError, match="50000 that are listed"):
        Cyclic(60_000).elements()
