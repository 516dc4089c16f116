"""Operation tables: labels, inputs, symmetries by brute force, modular arithmetic, what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import equilearn as eq
from equilearn._check import InputError
from equilearn.data import fixed_point_split, modular_table, operation_table
from equilearn.groups import cayley_table, fixed_points
from equilearn.testing import check_action, check_representation

KLEIN = eq.FiniteGroup([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]], "V4")
ABELIAN = [eq.Cyclic(1), eq.Cyclic(2), eq.Cyclic(5), eq.Abelian((2, 4)), eq.Cyclic(2) * eq.Cyclic(3), KLEIN]
OTHERS = [eq.Symmetric(3), eq.Quaternion(), eq.Cyclic(2) * eq.Symmetric(3), eq.Dihedral(4)]


def tables(groups):
    return [pytest.param(group, operation, id=f"{group}{operation}") for group in groups for operation in "*/"]


def pairs(table):
    return list(zip(table.a.tolist(), table.b.tolist(), strict=True))


# --- points, labels, inputs -----------------------------------------------------------------


@pytest.mark.parametrize(("group", "operation"), tables(ABELIAN + OTHERS))
def test_labels_are_products_and_quotients(group, operation):
    table = operation_table(group, operation)
    elements = group.elements()
    a, b = group.take(elements, table.a), group.take(elements, table.b)
    wanted = group.compose(a, b if operation == "*" else group.inverse(b))
    assert torch.equal(table.labels, group.index_of(wanted))
    assert torch.equal(table.a * table.n + table.b, torch.arange(table.n**2))


def test_inputs_are_one_hot_side_by_side():
    table = operation_table(eq.Cyclic(3), dtype=torch.float32)
    assert table.x.dtype == torch.float32
    assert torch.equal(table.x[:, :3].argmax(1), table.a)
    assert torch.equal(table.x[:, 3:].argmax(1), table.b)
    assert bool((table.x.sum(1) == 2).all())
    assert operation_table(eq.Cyclic(3)).x.dtype == torch.float64


# --- symmetries -----------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "operation"), tables(ABELIAN + OTHERS))
def test_symmetry_keeps_labels_and_acts_on_points_as_on_inputs(group, operation):
    table = operation_table(group, operation)
    moves = table.point_permutations
    assert bool((table.labels[moves] == table.labels).all())
    sym = table.symmetry
    assert sym.group.order == (2 * table.n if group.is_abelian else table.n)
    orbit = sym.input.orbit(sym.group.elements(), table.x)
    assert torch.equal(orbit, table.x[moves])
    law = cayley_table(sym.group)
    assert torch.equal(moves[law], moves[torch.arange(len(law))[:, None, None], moves[None]])
    check_representation(sym.input.rep)
    check_action(sym.input, table.x)


@pytest.mark.parametrize("operation", ["*", "/"])
def test_formulas_of_rotations_and_reflections(operation):
    n = 5
    table = operation_table(eq.Cyclic(n), operation)
    a, b = table.a, table.b
    sign = 1 if operation == "*" else -1
    for x in range(n):
        turn, flip = table.move([x, table.reflection(x)])
        assert torch.equal(turn, (a + x) % n * n + (b - sign * x) % n)
        flipped = ((b - x) % n, (a + x) % n) if operation == "*" else ((-b - x) % n, (-a - x) % n)
        assert torch.equal(flip, flipped[0] * n + flipped[1])


def block_maps(n, labels):
    """All label-preserving maps that relabel each slot and perhaps swap the slots, as tuples of images."""
    relabel = [torch.tensor(p) for p in itertools.permutations(range(n))]
    a, b = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    found = set()
    for p, q in itertools.product(relabel, relabel):
        for u, v in ((p[a], q[b]), (q[b], p[a])):
            image = u * n + v
            if bool((labels[image] == labels).all()):
                found.add(tuple(image.tolist()))
    return found


@pytest.mark.parametrize(("group", "count"), [(eq.Cyclic(4), 8), (KLEIN, 8), (eq.Cyclic(3), 6)], ids=str)
@pytest.mark.parametrize("operation", ["*", "/"])
def test_there_are_no_other_block_maps(group, count, operation):
    table = operation_table(group, operation)
    brute = block_maps(table.n, table.labels)
    assert len(brute) == count == table.symmetry.group.order
    assert brute == {tuple(row) for row in table.point_permutations.tolist()}


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["*", "/"])
def test_a_group_that_is_not_abelian_has_its_own_symmetries_only(operation):
    table = operation_table(eq.Symmetric(3), operation)
    brute = block_maps(6, table.labels)
    assert brute == {tuple(row) for row in table.point_permutations.tolist()}


@pytest.mark.parametrize("operation", ["+", "-"])
@pytest.mark.parametrize("n", [5, 6, 7, 8])
def test_fixed_points_of_reflections(n, operation):
    table = modular_table(n, operation)
    fixed = fixed_points(table.move([table.reflection(k) for k in range(n)]))
    assert fixed.sum(1).tolist() == [n] * n
    assert fixed.sum(0).tolist() == [1] * n**2
    assert not bool(fixed_points(table.move(torch.arange(1, n))).any())
    for row in fixed:
        counts = set(table.labels[row].bincount(minlength=n).tolist())
        if operation == "+":
            assert counts == ({1} if n % 2 else {0, 2})


@pytest.mark.parametrize(("group", "operation"), tables(ABELIAN + OTHERS))
def test_equivariances_move_labels_as_they_say(group, operation):
    table = operation_table(group, operation)
    generator = torch.Generator().manual_seed(0)
    for swap in (False, True):
        g, h = torch.randint(table.n, (2,), generator=generator).tolist()
        # Conjugation is an automorphism of any group.
        inner = table.table[table.table[h], table.inverses[h]]
        for automorphism in (None, inner):
            points, labels = table.equivariance(g, h, automorphism=automorphism, swap=swap)
            assert torch.equal(points.sort().values, torch.arange(table.n**2))
            assert torch.equal(labels.sort().values, torch.arange(table.n))
            assert torch.equal(table.labels[points], labels[table.labels])


def test_affine_equivariances_of_a_cyclic_group():
    table = modular_table(7)
    points, labels = table.equivariance(2, 2, automorphism=3 * torch.arange(7) % 7)
    assert torch.equal(points, (3 * table.a + 2) % 7 * 7 + (3 * table.b + 2) % 7)
    assert torch.equal(labels, (3 * torch.arange(7) + 4) % 7)
    with pytest.raises(InputError, match="automorphism must give"):
        table.equivariance(automorphism=(torch.arange(7) + 1) % 7)


# --- modular arithmetic ---------------------------------------------------------------------


@pytest.mark.parametrize("p", [3, 5, 7, 31])
@pytest.mark.parametrize(("sign", "plain"), [("×", "*"), ("÷", "/")])
def test_multiplication_is_addition_of_logarithms(p, sign, plain):
    table = modular_table(p, sign)
    added = modular_table(p - 1, "+" if sign == "×" else "-")
    assert torch.equal(table.labels, added.labels)
    assert torch.equal(table.x, added.x)
    assert torch.equal(table.point_permutations, added.point_permutations)
    assert torch.equal(modular_table(p, plain).labels, table.labels)
    a, b, label = table.symbols[table.a], table.symbols[table.b], table.symbols[table.labels]
    assert torch.equal(a * b % p, label) if sign == "×" else torch.equal(label * b % p, a)
    assert torch.equal(table.symbols[table.natural_order], torch.arange(1, p))
    assert torch.equal(table.discrete_log(table.symbols), torch.arange(p - 1))


@given(st.sampled_from([5, 7, 11, 13, 17, 19, 23, 41, 71, 191]))
@settings(max_examples=10, deadline=None)
def test_the_root_is_primitive_and_smallest(p):
    symbols = modular_table(p, "×").symbols.tolist()
    assert sorted(symbols) == list(range(1, p))
    root = symbols[1]
    for smaller in range(2, root):
        assert len({pow(smaller, k, p) for k in range(p - 1)}) < p - 1


def test_minus_signs_are_one():
    for sign in ("-", "−"):
        assert torch.equal(modular_table(5, sign).labels, operation_table(eq.Cyclic(5), "/").labels)


# --- tasks and what is refused ---------------------------------------------------------------


def test_task():
    table = modular_table(7, "×")
    task = table.task(fixed_point_split(table, table.reflection(1)))
    assert task.x_train.dtype == torch.get_default_dtype()
    assert (len(task.x_train), len(task.x_test), task.classes) == (30, 6, 6)
    assert task.class_names == ("1", "3", "2", "6", "4", "5")
    assert task.symmetry is table.symmetry
    eq.data.check_task(task)
    assert table.task(fixed_point_split(table, table.reflection(1)), torch.float64).x_test.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modular_table(6, "×"), "needs a prime modulus"),
        (lambda: modular_table(2, "÷"), "needs a prime modulus"),
        (lambda: modular_table(1), "whole number >= 2"),
        (lambda: modular_table(5.0), "whole number"),
        (lambda: modular_table(1000), "at most 512"),
        (lambda: modular_table(5, "^"), "Unknown operation"),
        (lambda: operation_table(eq.SO(3)), "infinitely many"),
        (lambda: operation_table(eq.Symmetric(6)), "720 rows"),
        (lambda: operation_table(eq.Cyclic(3), symbols=torch.tensor([1, 1, 2])), "3 distinct whole numbers"),
        (lambda: modular_table(5).task(torch.ones(25, dtype=torch.bool)), "Both splits need a point"),
        (lambda: modular_table(5).task(torch.ones(24, dtype=torch.bool)), "mask of its 25 points"),
        (lambda: modular_table(5).task(torch.arange(25)), "Boolean mask"),
        (lambda: modular_table(5).move([10]), "numbered 0 to 9"),
        (lambda: modular_table(5).reflection(5), "numbered 0 to 4"),
        (lambda: modular_table(5).move([0.5]), "whole numbers"),
        (lambda: operation_table(eq.Symmetric(3)).reflection(0), "not abelian"),
        (lambda: modular_table(5, "×").discrete_log(torch.tensor([0])), r"\[0\] are no symbols"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_built_in_table():
    task = eq.data.load("modular")
    assert (len(task.x_train), len(task.x_test)) == (930, 31)
    assert len(eq.data.modular(7, "×", moved=2).x_test) == 8
