"""Every equivariant linear map: exact counts, agreement of the solvers, structure."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from equilearn import reps
from equilearn._check import InputError
from equilearn.groups import (
    GL,
    SL,
    SO,
    Cyclic,
    Dihedral,
    Euclidean,
    Group,
    Lorentz,
    O,
    Quaternion,
    Scaling,
    Symmetric,
    Translation,
)
from equilearn.reps import Rep

BELL = (1, 1, 2, 5, 15, 52, 203)


def projector(basis: Tensor) -> Tensor:
    flat = basis.flatten(1)
    return flat.mT @ flat


def breach(basis: Tensor, rep_in: Rep, rep_out: Rep, count: int = 5) -> float:
    g = rep_in.group.sample((count, 1), generator=torch.Generator().manual_seed(1))
    left, right = rep_out.matrix(g), rep_in.matrix(g)
    size = max(1.0, float(left.abs().max()) * rep_in.dim**0.5, float(right.abs().max()) * rep_out.dim**0.5)
    difference = left @ basis - basis @ right
    return float(difference.abs().max()) / size if difference.numel() else 0.0


def count(rep_in: Rep, rep_out: Rep) -> int:
    basis = reps.intertwiners(rep_in, rep_out)
    assert basis.shape[1:] == (rep_out.dim, rep_in.dim)
    assert basis.dtype == torch.float64
    flat = basis.flatten(1)
    torch.testing.assert_close(flat @ flat.mT, torch.eye(len(flat), dtype=torch.float64), rtol=0, atol=1e-12)
    assert breach(basis, rep_in, rep_out) < 1e-11
    return len(basis)


# --- exact answers --------------------------------------------------------------------------


def test_rotations():
    V = reps.defining(SO(3))
    assert count(V, V) == 1
    assert count(V * V, V) == 1
    assert len(reps.invariants(V * V * V * V)) == 3
    # Invariants of V^(x)k count the ways to reach spin 0: the Riordan numbers.
    power, found = reps.trivial(SO(3)), []
    for _ in range(6):
        found.append(len(reps.invariants(power)))
        power = power * V
    assert found == [1, 0, 1, 1, 3, 6]


def test_the_cross_product_is_found():
    V = reps.defining(SO(3))
    [cross] = reps.intertwiners(V * V, V)
    a, b = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = cross @ torch.kron(a, b) * 6**0.5
    torch.testing.assert_close(found, torch.linalg.cross(a, b) * found[0].sign() * torch.linalg.cross(a, b)[0].sign())


def test_reflections_forbid_the_cross_product():
    V = reps.defining(O(3))
    assert count(V * V, V) == 0
    assert count(V * V, reps.irrep(O(3), 1, parity=1)) == 1


@pytest.mark.parametrize("n", [5, 6])
def test_permutations_give_bell_numbers(n: int):
    P = reps.permutation(Symmetric(n))
    assert len(reps.invariants(P)) == BELL[1]
    assert count(P, P) == BELL[2]
    assert count(P * P, P) == BELL[3]
    assert count(P * P, P * P) == BELL[4]


def test_bell_numbers_saturate_at_small_n():
    """Partitions into at most n blocks: on two points S(k, 1) + S(k, 2) = 2^(k-1)."""
    P = reps.permutation(Symmetric(2))
    assert count(P * P, P * P) == 8
    assert count(reps.permutation(Symmetric(1)), reps.permutation(Symmetric(1))) == 1


def test_lorentz():
    V = reps.defining(Lorentz(1, 3))
    assert count(V, V) == 1
    [metric] = reps.invariants(V * V)
    expected = Lorentz(1, 3).metric.to(torch.float64)
    expected = torch.diag(expected) if expected.ndim == 1 else expected
    metric = metric.unflatten(0, (4, 4))
    torch.testing.assert_close(metric / metric[0, 0], expected / expected[0, 0], rtol=0, atol=1e-12)
    assert count(V * V, reps.trivial(Lorentz(1, 3))) == 1


@pytest.mark.parametrize("group", [Cyclic(8), Dihedral(4), Symmetric(4)])
def test_the_commutant_of_the_regular_representation_has_the_order(group: Group):
    assert count(reps.regular(group), reps.regular(group)) == group.order


def test_special_linear_maps_to_the_dual_by_the_symplectic_form():
    V = reps.defining(SL(2))
    assert not V.is_orthogonal
    assert count(V, V) == 1
    assert count(V, V.dual) == 1
    [form] = reps.invariants(V * V)
    torch.testing.assert_close(form, torch.tensor([0, 1, -1, 0], dtype=torch.float64) * 0.5**0.5)
    W = reps.defining(SL(3))
    assert count(W, W.dual) == 0
    assert len(reps.invariants(W * W * W)) == 1


@pytest.mark.parametrize("n", [2, 3])
def test_general_linear_needs_the_dual(n: int):
    V = reps.defining(GL(n))
    assert count(V, V) == 1
    assert count(V, V.dual) == 0
    assert count(V * V, reps.trivial(GL(n))) == 0
    assert count(V * V.dual, reps.trivial(GL(n))) == 1
    assert count(V * V, V * V) == 2  # Schur-Weyl: 2! permutations of the factors


def test_clebsch_gordan_of_binary_forms():
    V = reps.defining(SL(2))
    forms = [reps.symmetric_power(V, k) for k in range(6)]
    for degree, form in enumerate(forms):
        expected = int(degree in (1, 3, 5))
        assert len(reps.intertwiners(forms[3] * forms[2], form)) == expected


def test_groups_that_are_not_reductive():
    T = reps.defining(Translation(2))
    assert count(T, T) == 3  # the identity and the two shifts themselves
    assert count(reps.defining(Scaling(2)), reps.defining(Scaling(2))) == 4
    E = reps.defining(Euclidean(2))
    assert count(E, E) == 1
    assert count(E, reps.trivial(Euclidean(2))) == 1  # the homogeneous coordinate
    assert count(reps.trivial(Euclidean(2)), E) == 0  # no point stays


# --- products of groups ---------------------------------------------------------------------


def product_reps() -> tuple[Rep, Rep]:
    group = SO(3) * Symmetric(4)
    V = reps.factor(group, 0, reps.defining(SO(3)))
    P = reps.factor(group, 1, reps.permutation(Symmetric(4)))
    return V, P


def test_products_of_groups():
    V, P = product_reps()
    assert count(P * V, P * V) == 2
    assert count(V + P, V + P) == 1 + 2
    assert count(P * V * P * V, V * P) == 5 * 1


@pytest.mark.parametrize("method", ["dense", "iterative"])
def test_factor_by_factor_agrees_with_the_whole(method: str):
    V, P = product_reps()
    for rep_in, rep_out in [(P * V, V * P), (V * P * V, P * V), (P * V, reps.trivial(V.group)), (V * P, P)]:
        fast = reps.intertwiners(rep_in, rep_out)
        slow = reps.intertwiners(rep_in, rep_out, method=method)
        torch.testing.assert_close(projector(fast), projector(slow), rtol=0, atol=1e-11)


# --- solvers agree --------------------------------------------------------------------------

CASES = [
    ("SO(3)", reps.defining(SO(3))),
    ("O(3)", reps.defining(O(3)) + reps.trivial(O(3))),
    ("O(2)", reps.irrep(O(2), 2) + reps.irrep(O(2), 0, parity=-1)),
    ("Lorentz", reps.defining(Lorentz(1, 2))),
    ("GL(2)", reps.defining(GL(2)).dual),
    ("D4", reps.defining(Dihedral(4)) + reps.trivial(Dihedral(4), 2)),
    ("Q8", reps.irreps(Quaternion())[-1]),
    ("S4", reps.permutation(Symmetric(4))),
]


@pytest.mark.parametrize("rep", [rep for _, rep in CASES], ids=[name for name, _ in CASES])
def test_all_solvers_agree(rep: Rep):
    for rep_in, rep_out in [(rep, rep), (rep * rep, rep), (rep * rep, rep * rep)]:
        if rep_in.dim * rep_out.dim > 300:
            continue
        auto = reps.intertwiners(rep_in, rep_out)
        svd = reps.intertwiners(rep_in, rep_out, method="dense")
        gradients = reps.intertwiners(rep_in, rep_out, method="iterative")
        # The canonical basis depends on the space alone: the solvers agree map by map.
        torch.testing.assert_close(svd, gradients, rtol=0, atol=1e-9)
        torch.testing.assert_close(projector(auto), projector(svd), rtol=0, atol=1e-11)


def test_large_problems_go_through_the_iterative_solver():
    V = reps.defining(SO(3))
    assert count(V * V * V, V * V * V) == 15
    L = reps.defining(Lorentz(1, 3))
    assert count(L * L * L, L * L) == 0
    assert count(L * L, L * L) == 4  # the identity, the swap, the trace, the volume form


def test_the_result_is_the_same_at_every_call():
    V = reps.defining(SO(3))
    for rep in (V, V * V, V * V * V):
        assert torch.equal(reps.intertwiners(V * V * V, rep), reps.intertwiners(V * V * V, rep))


# --- structure ------------------------------------------------------------------------------


def test_blocks_do_not_expand_multiplicities():
    group = SO(3)
    V, one = reps.defining(group), reps.trivial(group)
    rep_in, rep_out = 64 * V + 7 * one, 5 * one + 32 * V
    blocks = reps.intertwiner_blocks(rep_in, rep_out)
    assert [(b.in_offset, b.in_multiplicity, b.in_dim) for b in blocks] == [(192, 7, 1), (0, 64, 3)]
    assert [(b.out_offset, b.out_multiplicity, b.out_dim) for b in blocks] == [(0, 5, 1), (5, 32, 3)]
    assert blocks[1].in_slice == slice(0, 192)
    assert blocks[1].out_slice == slice(5, 101)
    assert all(b.basis.shape == (1, b.out_dim, b.in_dim) for b in blocks)
    assert len(reps.intertwiners(rep_in, rep_out)) == 7 * 5 + 64 * 32


def test_sums_agree_with_the_whole():
    group = Dihedral(3)
    V, R = reps.defining(group), reps.regular(group)
    rep_in, rep_out = 2 * V + R, R + reps.trivial(group) + 2 * V
    fast, slow = reps.intertwiners(rep_in, rep_out), reps.intertwiners(rep_in, rep_out, method="dense")
    torch.testing.assert_close(projector(fast), projector(slow), rtol=0, atol=1e-11)
    assert breach(fast, rep_in, rep_out) < 1e-12


def test_zero_dimensions_and_groups_of_one_element():
    V = reps.defining(SO(3))
    assert reps.intertwiners(0 * V, V).shape == (0, 3, 0)
    assert reps.intertwiners(V, 0 * V).shape == (0, 0, 3)
    R = reps.regular(Cyclic(1))
    assert count(3 * R, 2 * R) == 6
    assert count(reps.trivial(SO(3), 2), reps.trivial(SO(3), 3)) == 6
    assert len(reps.intertwiners(reps.trivial(SO(3), 2), reps.trivial(SO(3), 3), method="dense")) == 6


def test_rounding_is_no_constraint():
    """Where an element acts as 1 + 1e-16, or a derivative is 1e-16, every map is still equivariant."""
    numerical = reps.irreps(Quaternion())[0]
    assert not torch.equal(numerical.matrix(torch.arange(8)), torch.ones(8, 1, 1, dtype=torch.float64))
    for method in ("dense", "iterative", "auto"):
        assert len(reps.intertwiners(reps.trivial(Quaternion()), numerical, method=method)) == 1
    noise = reps.from_function(
        SO(2), lambda g: torch.ones(*g.shape[:-2], 1, 1) + 1e-16, lie_matrices=torch.full((1, 1, 1), 1e-16)
    )
    assert len(reps.invariants(3 * noise)) == 3


@given(st.integers(0, 10_000), st.sampled_from([Cyclic(5), Dihedral(3), Symmetric(3)]))
def test_the_equivariant_part_is_the_group_average(seed: int, group: Group):
    matrix = torch.randn(group.order, group.order, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    R = reps.regular(group)
    all_of_it = R.matrix(group.elements())
    average = (all_of_it @ matrix @ all_of_it.mT).mean(0)
    torch.testing.assert_close(reps.equivariant_part(matrix, R, R), average)


def test_the_equivariant_part_without_permutations():
    V = reps.defining(SO(3))
    matrix = torch.arange(9.0).reshape(3, 3)
    part = reps.equivariant_part(matrix, V, V)
    assert part.dtype == torch.float32
    torch.testing.assert_close(part, torch.eye(3) * 4.0)
    with pytest.raises(InputError, match=r"has shape \(\.\.\., 3, 3\), got \(2, 2\)"):
        reps.equivariant_part(torch.eye(2), V, V)


# --- bad input ------------------------------------------------------------------------------


def test_bad_input_is_named():
    V, P = reps.defining(SO(3)), reps.permutation(Symmetric(3))
    with pytest.raises(InputError, match="P one of S3"):
        reps.intertwiners(V, P)
    with pytest.raises(InputError, match="Did you mean 'dense'"):
        reps.intertwiners(V, V, method="dens")
    with pytest.raises(InputError, match="needs permutation representations"):
        reps.intertwiners(V, V, method="orbits")
    with pytest.raises(TypeError, match="A representation is needed, got int"):
        reps.intertwiners(V, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Use intertwiner_blocks"):
        reps.intertwiners(10_000 * V, 10_000 * V)


@pytest.mark.slow
def test_large_permutations():
    P = reps.permutation(Symmetric(20))
    assert len(reps.intertwiners(P * P, P * P)) == BELL[4]
    P = reps.permutation(Symmetric(6))
    assert len(reps.intertwiners(P * P * P, P * P * P)) == BELL[6]
