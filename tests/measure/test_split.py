"""The stabilizer of a training set: traps, augmentation, and nothing where there is nothing."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import equilearn as eq
from equilearn._check import InputError
from equilearn.data import (
    fixed_point_split,
    modular_table,
    move_back,
    move_pairs,
    move_random,
    operation_table,
    orbit_closed_split,
    random_split,
    subgroup_split,
)
from equilearn.groups import cayley_table, stabilizer
from equilearn.measure import split_symmetry

TURNS = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())


def of_table(table, train, **options):
    x = table.x
    return split_symmetry(x[train], x[~train], table.symmetry, table.labels[train], **options)


# --- tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["+", "-", "×", "÷"])
def test_fixed_point_split_is_a_trap(operation):
    table = modular_table(11, operation)
    s = table.reflection(3)
    found = of_table(table, fixed_point_split(table, s))
    assert (found.verdict, found.hiding) == ("trap", (s,))
    if table.n % 2:
        assert found.subgroup == (0, s)
        assert found.train_fixed == 0.0
    else:  # the half turn takes the fixed points to one another, too
        assert set(found.subgroup) == {0, table.n // 2, s, table.reflection((3 + table.n // 2) % table.n)}
        assert found.train_fixed == pytest.approx(1 / (table.n - 1))
    assert (found.test_in_orbits, found.test_fixed) == (0.0, 1.0)
    assert (found.test_hidden, found.train_hidden) == (1.0, 0.0)
    assert "100 % of the test points in place but none of the training points" in found.sentence
    assert f"element {s}" in found.sentence
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == "trap"


def test_what_moving_points_does(generator):
    table = modular_table(11)
    s = table.reflection(0)
    train = fixed_point_split(table, s)
    broken = of_table(table, move_random(table, train, 1, generator))
    assert (broken.verdict, broken.subgroup) == ("none", (0,))
    assert "no trap" in str(broken)
    pairs = of_table(table, move_pairs(table, train, s, 10, generator))
    assert (pairs.verdict, pairs.subgroup) == ("trap", (0, s))
    assert pairs.test_fixed == pytest.approx(11 / 31)
    back = of_table(table, move_back(table, train, 4, generator))
    assert (back.verdict, back.subgroup, back.test_fixed) == ("trap", (0, s), 1.0)
    assert back.train_fixed == pytest.approx(4 / 114)


def test_random_and_orbit_closed_splits(generator):
    table = modular_table(11)
    assert of_table(table, random_split(table, 0.5, generator)).verdict == "none"
    s = table.reflection(0)
    closed = of_table(table, orbit_closed_split(table, [s], 0.5, generator))
    assert (closed.verdict, closed.subgroup) == ("caution", (0, s))
    assert "augmentation" in closed.sentence
    nowhere_fixed = operation_table(eq.Symmetric(3))
    found = of_table(nowhere_fixed, orbit_closed_split(nowhere_fixed, [1], 0.5, generator))
    assert (found.verdict, found.subgroup, found.test_fixed) == ("caution", (0, 1), 0.0)


def test_subgroups_of_reflections():
    table = modular_table(8)
    found = of_table(table, subgroup_split(table, [table.reflection(0), table.reflection(4)]))
    assert found.verdict == "trap"
    assert set(found.hiding) == {table.reflection(0), table.reflection(4)}
    assert {0, 4, table.reflection(0), table.reflection(4)} <= set(found.subgroup)


@given(
    group=st.sampled_from([eq.Cyclic(4), eq.Cyclic(5), eq.Abelian((2, 2)), eq.Symmetric(3), eq.Quaternion()]),
    operation=st.sampled_from("*/"),
    seed=st.integers(0, 10**6),
    closed=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_it_is_the_stabilizer_and_a_subgroup(group, operation, seed, closed):
    table = operation_table(group, operation)
    generator = torch.Generator().manual_seed(seed)
    order = table.symmetry.group.order
    element = int(torch.randint(order, (), generator=generator))
    if closed:
        train = orbit_closed_split(table, [element], 0.6, generator)
    else:
        train = random_split(table, 0.6, generator)
    found = of_table(table, train)
    # The slow twin: permutations of points, masks.
    assert list(found.subgroup) == stabilizer(table.symmetry.group, table.point_permutations, train).tolist()
    members = torch.tensor(found.subgroup)
    products = cayley_table(table.symmetry.group)[members][:, members]
    assert set(products.flatten().tolist()) == set(found.subgroup)


def test_maps_that_move_labels_do_not_count():
    table = modular_table(5)
    train = fixed_point_split(table, table.reflection(0))
    x, labels = table.x[train], table.labels[train]
    shift, _ = table.equivariance(1, 1)
    assert torch.equal(train[shift], train)  # the split has it, the labels do not
    slot = (torch.arange(5)[:, None] + torch.arange(5)) % 5
    images = torch.cat([slot, 5 + slot], dim=1)
    moving = eq.Symmetry(eq.Cyclic(5), input=eq.reps.permutation(eq.Cyclic(5), images))
    assert split_symmetry(x, table.x[~train], moving, labels).subgroup == (0,)
    assert split_symmetry(x, table.x[~train], moving).subgroup == (0, 1, 2, 3, 4)


def test_one_wrong_label_breaks_a_trap():
    table = modular_table(7)
    train = fixed_point_split(table, table.reflection(0))
    labels = table.labels[train].clone()
    labels[0] = (labels[0] + 1) % 7
    assert split_symmetry(table.x[train], table.x[~train], table.symmetry, labels).verdict == "none"


# --- images, vectors, sets ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_augmented_digits_are_no_trap(dtype):
    digits = eq.data.load("digits")
    x, y = digits.x_train[:200].to(dtype), digits.y_train[:200]
    x_test = digits.x_test.to(dtype)
    assert split_symmetry(x, x_test, TURNS, y).verdict == "none"
    turned = torch.cat([torch.rot90(x, k, (2, 3)) for k in range(4)])
    order = torch.randperm(800, generator=torch.Generator().manual_seed(0))
    found = split_symmetry(turned[order], x_test, TURNS, y.repeat(4)[order])
    assert (found.verdict, found.subgroup) == ("caution", (0, 1, 2, 3))
    assert "quarter turn" in found.sentence
    assert split_symmetry(turned[order][1:], x_test, TURNS, y.repeat(4)[order][1:]).subgroup == (0,)


def test_copies_are_counted():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    turns = eq.Symmetry(eq.Cyclic(4), input=eq.reps.defining(eq.Cyclic(4)))
    test = torch.tensor([[3.0, 1.0]])
    assert split_symmetry(x, test, turns).order == 4
    assert split_symmetry(torch.cat([x, x]), test, turns).order == 4
    assert split_symmetry(torch.cat([x, x[:1]]), test, turns).order == 1
    assert split_symmetry(torch.cat([x, x[[0, 2]]]), test, turns).subgroup == (0, 2)


def test_rotations_that_round(dtype, generator):
    rep = eq.reps.defining(eq.Dihedral(3))
    act = eq.actions.vectors(rep)
    x = torch.randn(500, 2, generator=generator, dtype=dtype)
    x = torch.cat([act(torch.tensor(k), x) for k in range(6)])
    found = split_symmetry(x, x[:7], eq.Symmetry(eq.Dihedral(3), input=rep))
    assert (found.order, found.test_in_orbits, found.verdict) == (6, 1.0, "caution")
    x[0] += 1e-3
    assert split_symmetry(x, x[:7], eq.Symmetry(eq.Dihedral(3), input=rep)).order == 1


def test_noise_that_swaps_neighbours(generator):
    """Equal up to the tolerance only: in the order of their projections some samples change places."""
    x = torch.rand(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    orbit = torch.cat([torch.rot90(x, k, (2, 3)) for k in range(4)])
    noisy = orbit + 1e-5 * torch.rand(orbit.shape, generator=generator, dtype=torch.float64)
    assert split_symmetry(noisy, x[:3] + 1.0, TURNS, tolerance=1e-4).order == 4
    assert split_symmetry(noisy, x[:3] + 1.0, TURNS).order == 1
    noisy[0] += 0.1
    assert split_symmetry(noisy, x[:3] + 1.0, TURNS, tolerance=1e-4).order == 1


def test_targets_that_transform(generator):
    rep = eq.reps.defining(eq.Cyclic(4))
    both = eq.Symmetry(eq.Cyclic(4), input=rep, output=rep)
    act = eq.actions.vectors(rep)
    x = torch.randn(20, 2, generator=generator)
    y = torch.randn(20, 2, generator=generator)
    x, y = (torch.cat([act(torch.tensor(k), part) for k in range(4)]) for part in (x, y))
    assert split_symmetry(x, x[:3] + 1, both, y).order == 4
    y[0] += 1
    assert split_symmetry(x, x[:3] + 1, both, y).order == 1


def test_sets_and_what_leaves_all_in_place(generator):
    swaps = eq.Symmetry(eq.Symmetric(4), input=eq.actions.sets())
    x = torch.randn(30, 4, 2, generator=generator)
    assert split_symmetry(x, x + 1, swaps).verdict == "none"
    x[:, 1] = x[:, 0]
    test = torch.randn(9, 4, 2, generator=generator)
    test[:, 1] = test[:, 0]
    found = split_symmetry(x, test, swaps)
    assert (found.verdict, found.order, found.still) == ("none", 2, 2)
    assert "2 that leave every sample in place" in found.sentence
    found = split_symmetry(x, torch.randn(9, 4, 2, generator=generator), swaps)
    assert (found.verdict, found.train_fixed) == ("caution", 1.0)


def test_graphs_as_edge_lists_are_read_as_matrices():
    action = eq.actions.graphs(3, edge_lists=True, mask=False)
    symmetry = eq.Symmetry(eq.Symmetric(3), input=action)
    x = torch.ones(3, 3, 1)
    path = torch.tensor(
        [[[0, 1], [1, 0], [1, 2], [2, 1]], [[1, 2], [2, 1], [2, 0], [0, 2]], [[2, 0], [0, 2], [0, 1], [1, 0]]]
    )
    assert split_symmetry((x, path), (x[:1], path[:1]), symmetry).order == 6
    found = split_symmetry((x[:2], path[:2]), (x[2:], path[2:]), symmetry)
    assert (found.order, found.verdict) == (2, "trap")


# --- not checked, refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symmetry", "shape", "why"),
    [
        (eq.Symmetry(eq.SO(2), input=eq.actions.images()), (3, 1, 8, 8), "infinite"),
        (eq.Symmetry(eq.Cyclic(8), input=eq.actions.images()), (3, 1, 8, 8), "interpolation"),
        (eq.Symmetry(eq.Symmetric(9), input=eq.actions.sets()), (3, 9, 2), "362,880 elements"),
    ],
)
def test_what_cannot_be_tried_is_said(symmetry, shape, why):
    found = split_symmetry(torch.zeros(shape), torch.zeros(shape), symmetry)
    assert not found.checked and found.verdict == "none" and found.subgroup == (0,)
    assert why in found.sentence


def test_the_largest_group_can_be_set():
    table = modular_table(5)
    assert not of_table(table, fixed_point_split(table, 5), largest=9).checked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": torch.full((4, 1, 8, 8), torch.nan)}, "NaN"),
        ({"x_test": torch.zeros(0, 1, 8, 8)}, "empty"),
        ({"x_test": torch.zeros(4, 1, 6, 6)}, "differ in shape"),
        ({"x_train": torch.zeros(4, 5)}, "shape"),
        ({"y_train": torch.zeros(3)}, "one label each"),
        ({"y_train": torch.full((4,), torch.inf)}, "infinite"),
        ({"y_train": [0, 1, 0, 1]}, "must be a tensor"),
        ({"tolerance": -1.0}, "tolerance must not be negative"),
        ({"largest": 0}, "largest"),
    ],
)
def test_bad_input(change, message):
    given = {"x_train": torch.zeros(4, 1, 8, 8), "x_test": torch.zeros(4, 1, 8, 8), "symmetry": TURNS, **change}
    with pytest.raises(InputError, match=message):
        split_symmetry(**given)


def test_one_sample_each():
    x = torch.ones(1, 1, 2, 2)
    found = split_symmetry(x, 2 * x, TURNS, torch.zeros(1, dtype=torch.int64))
    assert (found.order, found.still, found.verdict) == (4, 4, "none")
    assert split_symmetry(torch.zeros(1, 1, 2, 2), x, TURNS).verdict == "none"
