"""Classes, subgroups, cosets, orbits, stabilizers against known figures and slow twins."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.groups import (
    SO,
    Abelian,
    Alternating,
    Cyclic,
    Dihedral,
    FiniteGroup,
    GeneralizedDihedral,
    Quaternion,
    Symmetric,
    cayley_table,
    center,
    conjugacy_classes,
    cosets,
    element_orders,
    fixed_points,
    is_normal,
    on_pairs,
    orbits,
    stabilizer,
    subgroup,
    subgroups,
)
from equilearn.testing import finite_groups

# --- conjugacy classes --------------------------------------------------------------------

CLASS_COUNTS = [
    (Cyclic(1), 1),
    (Cyclic(8), 8),
    (Abelian((2, 3, 2)), 12),
    (Dihedral(1), 2),
    (Dihedral(3), 3),
    (Dihedral(4), 5),
    (Dihedral(5), 4),
    (Dihedral(6), 6),
    (Quaternion(), 5),
    (Symmetric(3), 3),
    (Symmetric(4), 5),
    (Symmetric(5), 7),
    (Symmetric(6), 11),
    (Alternating(4), 4),
    (Alternating(5), 5),
    (Alternating(6), 7),
    (Symmetric(3) * Cyclic(4), 12),
]


@pytest.mark.parametrize(("group", "count"), CLASS_COUNTS, ids=str)
def test_class_counts(group, count):
    labels = conjugacy_classes(group)
    assert labels.shape == (group.order,)
    assert int(labels.max()) + 1 == count
    assert labels[0] == 0 and int((labels == 0).sum()) == 1


@pytest.mark.parametrize("n", [7, 8, 9, 12])
def test_dihedral_class_counts_follow_the_formula(n):
    expected = (n + 3) // 2 if n % 2 else n // 2 + 3
    assert int(conjugacy_classes(Dihedral(n)).max()) + 1 == expected


@given(finite_groups(max_order=16))
def test_classes_agree_with_the_definition(group):
    table = cayley_table(group)
    inverse = group.index_of(group.inverse(group.elements()))
    slow = [{int(table[table[h, g], inverse[h]]) for h in range(group.order)} for g in range(group.order)]
    labels = conjugacy_classes(group)
    for g in range(group.order):
        assert slow[g] == set(torch.nonzero(labels == labels[g]).reshape(-1).tolist())


def test_classes_of_s8_need_no_table():
    assert int(conjugacy_classes(Symmetric(8)).max()) + 1 == 22  # partitions of 8


# --- tables, orders, centre ---------------------------------------------------------------


@given(finite_groups(max_order=16))
def test_table_agrees_with_compose(group):
    table = cayley_table(group)
    elements = group.elements()
    for i in range(group.order):
        for j in range(group.order):
            product = group.compose(group.take(elements, i), group.take(elements, j))
            assert int(group.index_of(product)) == int(table[i, j])


def test_table_of_a_product():
    group = Cyclic(2) * Symmetric(3)
    assert torch.equal(FiniteGroup.from_table(cayley_table(group)).table, cayley_table(group))


def test_large_tables_are_refused():
    with pytest.raises(InputError, match="tables are computed up to order 6000"):
        cayley_table(Symmetric(8))
    with pytest.raises(InputError, match="not finite"):
        cayley_table(SO(2))


def test_element_orders():
    assert element_orders(Cyclic(6)).tolist() == [1, 6, 3, 2, 3, 6]
    assert torch.bincount(element_orders(Alternating(5))).tolist() == [0, 1, 15, 20, 0, 24]


@pytest.mark.parametrize(
    ("group", "size"),
    [(Cyclic(5), 5), (Dihedral(3), 1), (Dihedral(4), 2), (Quaternion(), 2), (Symmetric(4), 1), (Dihedral(2), 4)],
    ids=str,
)
def test_center(group, size):
    assert len(center(group)) == size


# --- subgroups ----------------------------------------------------------------------------

SUBGROUP_COUNTS = [
    (Cyclic(1), 1, 1),
    (Cyclic(12), 6, 6),
    (Abelian((2, 2)), 5, 5),
    (Abelian((2, 2, 2)), 16, 16),
    (Dihedral(4), 10, 8),
    (Quaternion(), 6, 6),
    (Symmetric(3), 6, 4),
    (Alternating(4), 10, 5),
    (Symmetric(4), 30, 11),
    (Alternating(5), 59, 9),
    (Symmetric(5), 156, 19),
]


@pytest.mark.parametrize(("group", "count", "classes"), SUBGROUP_COUNTS, ids=str)
def test_subgroup_counts(group, count, classes):
    found = subgroups(group)
    assert len(found) == count
    assert len(subgroups(group, up_to_conjugacy=True)) == classes
    assert found[0].tolist() == [0] and len(found[-1]) == group.order
    assert all(group.order % len(members) == 0 for members in found)  # Lagrange
    assert [len(members) for members in found] == sorted(len(members) for members in found)
    for members in found[:12]:
        assert torch.equal(subgroup(group, group.take(group.elements(), members)), members)


def test_subgroups_agree_with_all_subsets():
    group = Dihedral(3)
    table = cayley_table(group)
    closed = []
    for bits in range(1, 2**6, 2):
        members = [i for i in range(6) if bits >> i & 1]
        if all(int(table[i, j]) in members for i in members for j in members):
            closed.append(members)
    assert sorted(members.tolist() for members in subgroups(group)) == sorted(closed)


def test_subgroup_of_generators():
    assert subgroup(Cyclic(12), torch.tensor(8)).tolist() == [0, 4, 8]
    assert subgroup(Cyclic(12), torch.tensor([], dtype=torch.int64)).tolist() == [0]
    assert len(subgroup(Symmetric(5), Alternating(5).generators())) == 60
    product = Cyclic(2) * Symmetric(3)
    assert len(subgroup(product, product.generators())) == 12
    with pytest.raises(InputError, match="do not lie in C4"):
        subgroup(Cyclic(4), torch.tensor([4]))


@given(finite_groups(max_order=24), st.data())
def test_cosets_partition_evenly(group, data):
    seed = data.draw(st.integers(0, 2**31))
    generators = group.sample(2, generator=torch.Generator().manual_seed(seed))
    members = subgroup(group, generators)
    left, right = cosets(group, members), cosets(group, members, "right")
    for labels in (left, right):
        assert torch.bincount(labels).tolist() == [len(members)] * (group.order // len(members))
        assert torch.equal(torch.nonzero(labels == 0).reshape(-1), members)
    # Left and right cosets are the same sets exactly for a normal subgroup.
    same = torch.equal(left[:, None] == left[None], right[:, None] == right[None])
    assert same == is_normal(group, members)


def test_cosets_refuse_what_is_no_subgroup():
    with pytest.raises(InputError, match="generate 4 elements"):
        cosets(Cyclic(4), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="side"):
        cosets(Cyclic(4), torch.tensor([0, 2]), "up")
    mask = torch.tensor([True, False, True, False])
    assert cosets(Cyclic(4), mask).tolist() == [0, 1, 0, 1]


# --- orbits, fixed points, stabilizers ----------------------------------------------------


def _slow_orbits(perms):
    n = perms.shape[-1]
    labels, count = [-1] * n, 0
    for start in range(n):
        if labels[start] < 0:
            stack = [start]
            while stack:
                i = stack.pop()
                if labels[i] < 0:
                    labels[i] = count
                    stack += [int(p[i]) for p in perms] + [int((p == i).nonzero()) for p in perms]
            count += 1
    return labels


@given(st.integers(1, 12), st.integers(0, 3), st.integers(0, 2**31))
def test_orbits_agree_with_a_slow_twin(n, count, seed):
    generator = torch.Generator().manual_seed(seed)
    perms = Symmetric(n).sample(count, generator=generator)
    # Keep orbits small now and then: let each permutation move few points.
    perms = torch.where(torch.rand(count, 1, generator=generator) < 0.5, perms, torch.arange(n))
    assert orbits(perms).tolist() == _slow_orbits(perms)


@given(finite_groups(max_order=24), st.integers(0, 2**31))
def test_burnside_and_orbit_stabilizer(group, seed):
    # The group acts on cosets of a random subgroup.
    members = subgroup(group, group.sample(1, generator=torch.Generator().manual_seed(seed)))
    labels = cosets(group, members)
    table = cayley_table(group)
    first = torch.stack([torch.nonzero(labels == c)[0, 0] for c in range(int(labels.max()) + 1)])
    perms = labels[table[:, first]]
    pairs = on_pairs(perms)
    assert int(orbits(perms).max()) == 0  # transitive
    for action in (perms, pairs):
        found = orbits(action)
        assert float(fixed_points(action).sum(-1).double().mean()) == int(found.max()) + 1
        for point in range(min(action.shape[1], 6)):
            assert len(stabilizer(group, action, point)) * int((found == found[point]).sum()) == group.order
    assert torch.equal(stabilizer(group, perms, labels[0].reshape(1)), members)


def test_orbits_of_many_points():
    # S_20 on four-fold indices: 160,000 points, Bell number B_4 = 15 orbits.
    perms = on_pairs(on_pairs(Symmetric(20).generators()))
    assert perms.shape == (2, 160_000)
    assert int(orbits(perms).max()) + 1 == 15


def test_setwise_and_pointwise_stabilizers():
    group = Symmetric(4)
    perms = group.elements()
    assert len(stabilizer(group, perms, [0, 1])) == 4
    assert len(stabilizer(group, perms, [0, 1], pointwise=True)) == 2
    assert len(stabilizer(group, perms, torch.tensor([True, True, False, False]))) == 4
    assert len(stabilizer(group, perms, torch.tensor([], dtype=torch.int64))) == 24
    with pytest.raises(InputError, match="Point 4 does not exist"):
        stabilizer(group, perms, 4)
    with pytest.raises(InputError, match="one row for each of the 24 elements"):
        stabilizer(group, perms[:3], 0)
    with pytest.raises(InputError, match="mask of points"):
        stabilizer(group, perms, torch.tensor([True]))
    with pytest.raises(InputError, match="whole numbers"):
        stabilizer(group, perms, 0.5)


@pytest.mark.parametrize("orders", [(4,), (5,), (2, 3)])
def test_symmetry_of_modular_addition(orders):
    """Dih(A) acts on pairs: r^x (a, b) = (a + x, b - x), s (a, b) = (b, a). Every reflection fixes exactly
    |A| pairs, and every pair is fixed by exactly one reflection."""
    group, plus = GeneralizedDihedral(orders), Abelian(orders)
    size = plus.order
    x, e = group.split(group.elements())
    a, b = plus.elements().repeat_interleave(size), plus.elements().repeat(size)
    flip = (e == 1)[:, None]
    first, second = torch.where(flip, b, a), torch.where(flip, a, b)
    x = x[:, None].expand_as(first)
    perms = plus.compose(first, x) * size + plus.compose(second, plus.inverse(x))
    # It is an action, and it keeps the sum.
    g, h = group.sample((2, 40), generator=torch.Generator().manual_seed(0))
    assert torch.equal(perms[group.compose(g, h)], torch.gather(perms[g], 1, perms[h]))
    total = plus.compose(a, b)
    assert torch.equal(total[perms], total.expand_as(perms))
    fixed = fixed_points(perms)[group.is_reflection(group.elements())]
    assert fixed.sum(1).tolist() == [size] * size
    assert fixed.sum(0).tolist() == [1] * size**2
    # The orbits are the lines of equal sum; a train set that misses one point keeps one reflection.
    assert int(orbits(perms[group.generators()]).max()) + 1 == size
    train = torch.arange(1, size**2)
    assert len(stabilizer(group, perms, train)) == 2


def test_label_preserving_relabellings_of_addition_mod_4():
    """Brute force: the maps of (a, b) that relabel each slot, and swap them or not, and keep a + b mod 4."""
    perms = Symmetric(4).elements()
    a, b = torch.arange(4).repeat_interleave(4), torch.arange(4).repeat(4)
    keep = (perms[:, None, a] + perms[None, :, b]) % 4 == (a + b) % 4
    assert int(keep.all(-1).sum()) * 2 == 8 == GeneralizedDihedral((4,)).order


def test_bad_permutations_are_refused():
    for function in (orbits, fixed_points, on_pairs):
        with pytest.raises(InputError, match="integer tensor"):
            function(torch.rand(2, 3))
    assert orbits(torch.zeros(0, 5, dtype=torch.int64)).tolist() == [0, 1, 2, 3, 4]
    assert orbits(torch.zeros(3, 0, dtype=torch.int64)).shape == (0,)
    assert orbits(torch.tensor([1, 0, 2])).tolist() == [0, 0, 1]
