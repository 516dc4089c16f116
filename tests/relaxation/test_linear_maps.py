"""Theorem 2 for matrices: projection, residual, and how many fixed inputs a linear map needs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equilearn as eq
from equilearn import InputError, reps
from equilearn.relaxation import commutation_error, fixed_inputs_of, fixed_inputs_sufficient, joint_map, split_map

N = 32
SHIFTS = reps.regular(eq.Cyclic(N))
SMALL = [
    (reps.regular(eq.Cyclic(5)), reps.regular(eq.Cyclic(5))),
    (reps.regular(eq.Dihedral(3)), 2 * reps.regular(eq.Dihedral(3)) + reps.trivial(eq.Dihedral(3))),
    (reps.permutation(eq.Symmetric(4)), reps.permutation(eq.Symmetric(4))),
    (2 * reps.defining(eq.SO(3)), reps.defining(eq.SO(3))),
]


def random_map(rep_in, rep_out, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rep_out.dim, rep_in.dim, generator=generator, dtype=torch.float64)


def falling_map():
    """Singular values 2^(1-i), random singular vectors."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=torch.float64)).Q for _ in range(2))
    return u @ torch.diag(2.0 ** -torch.arange(N, dtype=torch.float64)) @ v.T


# --- the projection -----------------------------------------------------------------------------


@given(st.sampled_from(SMALL), st.integers(0, 1000))
def test_the_equivariant_part_is_orthogonal_to_the_residual(pair, seed):
    T = random_map(*pair, seed)
    split = split_map(T, *pair)
    assert torch.allclose(split.equivariant + split.residual, T, atol=1e-14)
    assert abs(float((split.equivariant * split.residual).sum())) < 1e-12 * float(T.square().sum())
    assert commutation_error(split.equivariant, *pair) < 1e-10
    again = split_map(split.residual, *pair)
    assert float(again.equivariant.norm()) < 1e-12 * float(T.norm())


@given(st.sampled_from(SMALL[:3]), st.integers(0, 1000))
def test_it_is_the_average_over_the_group(pair, seed):
    rep_in, rep_out = pair
    T = random_map(*pair, seed)
    g = rep_in.group.elements()
    back = rep_in.group.inverse(g)
    mean = (rep_out.matrix(g) @ T @ rep_in.matrix(back)).mean(0)
    assert torch.allclose(split_map(T, *pair).equivariant, mean, atol=1e-12)


@given(st.sampled_from(SMALL), st.integers(0, 1000), st.booleans())
def test_the_residual_vanishes_exactly_where_the_map_is_equivariant(pair, seed, single):
    basis = reps.intertwiners(*pair)
    generator = torch.Generator().manual_seed(seed)
    T = torch.einsum("k,kij->ij", torch.randn(len(basis), generator=generator, dtype=torch.float64), basis)
    T = T.float() if single else T
    assert fixed_inputs_sufficient(T, *pair) == 0
    e = torch.zeros_like(T)
    e[0, 0] = 0.1 * float(T.norm()) + 0.1
    assert fixed_inputs_sufficient(T + e, *pair) > 0


def test_the_average_over_shifts_is_circulant():
    equivariant = split_map(falling_map(), SHIFTS, SHIFTS).equivariant
    rolled = equivariant.roll((1, 1), (0, 1))
    assert float((equivariant - rolled).abs().max()) < 1e-15


def test_two_inputs_for_each_rank_of_the_residual():
    R = reps.regular(eq.Cyclic(6))
    T = torch.eye(6, dtype=torch.float64)
    assert fixed_inputs_sufficient(T, R, R) == 0
    T[2, 4] = 1
    split = split_map(T, R, R)
    assert split.fixed_inputs == 2 * split.rank == 2 * int(torch.linalg.matrix_rank(split.residual))
    tau, e = fixed_inputs_of(split.residual, split.rank)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(x @ split.equivariant.T + joint_map(x, tau, e), x @ T.T, atol=1e-13)


# --- the theorem --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "sigma"), [(4, 0.0625), (8, 0.00390625)])
def test_a_map_of_rank_n_is_reached_to_its_next_singular_value(n, sigma):
    T = falling_map()
    tau, e = fixed_inputs_of(T, n)
    assert len(tau) + len(e) == 2 * n
    E = joint_map(torch.eye(N, dtype=torch.float64), tau, e).T
    assert float(torch.linalg.matrix_norm(T - E, 2)) == pytest.approx(sigma, abs=1e-14)


def test_joint_equivariance_to_1e_15_and_none_with_t_held_fixed():
    generator = torch.Generator().manual_seed(1)
    tau, e = fixed_inputs_of(falling_map(), 8)
    f = torch.randn(N, generator=generator, dtype=torch.float64)
    f = f / f.norm()
    shift = SHIFTS.group.elements()[:, None]
    moved = joint_map_of_each(SHIFTS.apply(shift, f[None]), SHIFTS.apply(shift, tau), SHIFTS.apply(shift, e))
    target = SHIFTS.apply(shift[:, 0], joint_map(f, tau, e))
    assert float((moved - target).abs().max()) <= 1e-15
    held = joint_map(SHIFTS.apply(shift[:, 0], f), tau, e)
    assert float((held - target).norm(dim=1).max() / target.norm(dim=1).max()) > 0.5


def joint_map_of_each(f, tau, e):
    return torch.stack([joint_map(a[0], b, c) for a, b, c in zip(f, tau, e, strict=True)])


def fourier_projector(columns):
    x = torch.arange(N, dtype=torch.float64)
    basis = [torch.full((N,), N**-0.5, dtype=torch.float64)]
    for k in (3, 2, 1):
        basis += [(2 / N) ** 0.5 * wave(2 * math.pi * k * x / N) for wave in (torch.cos, torch.sin)]
    kept = torch.stack(basis[:columns], 1)
    return kept @ kept.T


def test_condition_star_holds_for_whole_pairs_of_waves_only():
    assert commutation_error(fourier_projector(7), SHIFTS) < 1e-15
    # The sine of the pair of frequency 1 is missing: (2 / N) sin(2 pi / N).
    assert commutation_error(fourier_projector(6), SHIFTS) == pytest.approx(0.012, abs=5e-4)
    assert commutation_error(fourier_projector(6), SHIFTS) == pytest.approx(
        2 / N * math.sin(2 * math.pi / N), abs=1e-12
    )


# --- bad input ----------------------------------------------------------------------------------


def test_bad_maps_are_refused():
    R = reps.regular(eq.Cyclic(4))
    with pytest.raises(InputError, match="NaN"):
        split_map(torch.full((4, 4), float("nan")), R, R)
    with pytest.raises(InputError, match=r"\(\.\.\., 4, 4\)"):
        split_map(torch.zeros(3, 4), R, R)
    boosts = reps.defining(eq.Lorentz(1, 3))
    with pytest.raises(InputError, match="not orthogonal"):
        split_map(torch.zeros(4, 4), boosts, boosts)
    with pytest.raises(InputError, match="no 5 singular vectors"):
        fixed_inputs_of(torch.zeros(4, 4), 5)
    with pytest.raises(InputError, match="is a matrix"):
        fixed_inputs_of(torch.zeros(4), 1)
    with pytest.raises(InputError, match="go with tau"):
        joint_map(torch.zeros(3), torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(InputError, match="one group"):
        commutation_error(torch.zeros(4, 4), R, reps.regular(eq.Dihedral(2)))
    with pytest.raises(InputError, match=r"has shape \(4, 4\)"):
        commutation_error(torch.zeros(2, 4), R)


def test_no_vectors_and_no_inputs():
    tau, e = fixed_inputs_of(torch.zeros(3, 4), 0)
    assert joint_map(torch.zeros(0, 4), tau, e).shape == (0, 3)
    assert joint_map(torch.ones(2, 4), tau, e).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("chosen", ["roll", "eye"])
def test_another_equivariant_map_may_leave_a_lower_rank(chosen, dtype):
    R = reps.regular(eq.Cyclic(8))
    E = torch.eye(8, dtype=dtype).roll(1 if chosen == "roll" else 0, 0)
    T = E.clone()
    T[3, 3] += 1
    average, split = split_map(T, R, R), split_map(T, R, R, equivariant=E)
    assert (average.fixed_inputs, split.fixed_inputs) == (16, 2)
    assert fixed_inputs_sufficient(T, R, R, equivariant=E) == 2
    tau, e = fixed_inputs_of(split.residual, split.rank)
    x = torch.randn(5, 8, dtype=dtype)
    assert torch.allclose(x @ split.equivariant.T + joint_map(x, tau, e), x @ T.T, atol=1e-5)


def test_a_map_that_is_not_equivariant_is_refused_as_one():
    R = reps.regular(eq.Cyclic(4))
    T = torch.zeros(4, 4)
    T[0, 0] = 1
    with pytest.raises(InputError, match="given as equivariant is not: it is 1 from commuting"):
        split_map(T, R, R, equivariant=T)
    with pytest.raises(InputError, match=r"has shape \(4, 4\)"):
        split_map(T, R, R, equivariant=torch.eye(3))


def test_maps_of_other_kinds_are_named():
    R = reps.regular(eq.Cyclic(4))
    whole = torch.eye(4, dtype=torch.int64)
    for call in (
        lambda: split_map(whole, R, R),
        lambda: split_map(whole.tolist(), R, R),
        lambda: split_map(torch.eye(4), R, R, equivariant=whole),
        lambda: fixed_inputs_of(whole, 1),
        lambda: joint_map(whole, torch.eye(4), torch.eye(4)),
        lambda: commutation_error(whole, R),
    ):
        with pytest.raises(InputError, match="must be a floating-point tensor, got (torch.int64|list)"):
            call()
    with pytest.raises(InputError, match="is a matrix"):
        split_map(torch.zeros(2, 4, 4), R, R)
    with pytest.raises(InputError, match="share one dtype"):
        joint_map(torch.eye(4), torch.eye(4).double(), torch.eye(4))
