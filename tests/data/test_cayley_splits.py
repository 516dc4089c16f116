"""Splits of operation tables: what each holds out, which symmetry it keeps, what is refused."""

from __future__ import annotations

import pytest
import torch

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
from equilearn.groups import stabilizer


def kept(table, train):
    """The slow twin of `split_symmetry`: elements that take training points to training points."""
    return stabilizer(table.symmetry.group, table.point_permutations, train).tolist()


@pytest.fixture
def table():
    return modular_table(7)


def test_random_split(table, generator):
    train = random_split(table, 0.5, generator)
    assert train.dtype == torch.bool and train.shape == (49,)
    assert int(train.sum()) == 24
    assert kept(table, train) == [0]
    assert torch.equal(train, random_split(table, 0.5, torch.Generator().manual_seed(0)))
    assert int(random_split(table, 1e-9, generator).sum()) == 1
    assert int(random_split(table, 1 - 1e-9, generator).sum()) == 48


@pytest.mark.parametrize("operation", ["+", "-"])
def test_fixed_points_are_held_out(operation):
    table = modular_table(7, operation)
    for x in range(7):
        element = table.reflection(x)
        train = fixed_point_split(table, element)
        assert int((~train).sum()) == 7
        assert bool((table.move([element])[0] == torch.arange(49))[~train].all())
        assert kept(table, train) == [0, element]


def test_moving_points(table, generator):
    s = table.reflection(2)
    train = fixed_point_split(table, s)
    one = move_random(table, train, 1, generator)
    assert int(train.sum() - one.sum()) == 1 and not bool((one & ~train).any())
    assert kept(table, one) == [0]
    pairs = move_pairs(table, train, s, 4, generator)
    assert int(train.sum() - pairs.sum()) == 8 and not bool((pairs & ~train).any())
    assert s in kept(table, pairs)
    back = move_back(table, train, 3, generator)
    assert int(back.sum() - train.sum()) == 3 and bool((back | ~train).any())
    assert s in kept(table, back)
    assert torch.equal(move_random(table, train, 0), train)


def test_orbits_of_rotations_move_whole(table, generator):
    train = random_split(table, 0.9, generator)
    moved = move_pairs(table, torch.ones(49, dtype=torch.bool), 1, 2, generator)
    assert int((~moved).sum()) == 14
    with pytest.raises(InputError, match="orbits of element 1 among the training points"):
        move_pairs(table, train, 1, 7, generator)


def test_orbit_closed(table, generator):
    s = table.reflection(3)
    train = orbit_closed_split(table, [s], 0.5, generator)
    assert 22 <= int(train.sum()) <= 24
    assert kept(table, train) == [0, s]
    turns = orbit_closed_split(table, [1], 0.5, generator)
    assert int(turns.sum()) == 21
    with pytest.raises(InputError, match="one orbit cannot be split"):
        orbit_closed_split(operation_table(eq.Cyclic(1)), [1], 0.5)


def test_the_first_orbit_is_taken_however_small_the_fraction(table, generator):
    assert int(orbit_closed_split(table, [1], 0.01, generator).sum()) == 7


def test_subgroups():
    table = modular_table(8)
    elements = [table.reflection(0), table.reflection(4)]
    train = subgroup_split(table, elements)
    assert int((~train).sum()) == 16
    assert set(elements) <= set(kept(table, train))
    assert 4 in kept(table, train)
    with pytest.raises(InputError, match="8 elements of the subgroup, but for the identity, fix no point"):
        subgroup_split(table, [1])
    with pytest.raises(InputError, match="fix every point between them"):
        subgroup_split(table, [1, table.reflection(0)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: fixed_point_split(t, 3), r"elements 7, 8, 9, 10, \.\.\. up to 13"),
        (lambda t: fixed_point_split(t, 14), "numbered 0 to 13"),
        (lambda t: fixed_point_split(operation_table(eq.Symmetric(3)), 2), "S3 is not abelian"),
        (lambda t: random_split(t, 1.0), "between 0 and 1"),
        (lambda t: orbit_closed_split(t, [1], 0.0), "between 0 and 1"),
        (lambda t: move_random(t, torch.ones(48, dtype=torch.bool), 1), "mask of its 49 points"),
        (lambda t: move_random(t, torch.ones(49), 1), "Boolean mask"),
        (lambda t: move_random(t, fixed_point_split(t, 7), 42), "leave none for training"),
        (lambda t: move_random(t, fixed_point_split(t, 7), 43), "There are 42 training points; 43"),
        (lambda t: move_random(t, fixed_point_split(t, 7), -1), ">= 0"),
        (lambda t: move_back(t, fixed_point_split(t, 7), 7), "none to test on"),
        (lambda t: move_pairs(t, fixed_point_split(t, 7), 7, 21), "no point for training"),
        (lambda t: fixed_point_split(t, 0), "fixes every point"),
        (lambda t: subgroup_split(t, []), "The 1 elements of the subgroup"),
    ],
)
def test_bad_input(table, call, message):
    with pytest.raises(InputError, match=message):
        call(table)
