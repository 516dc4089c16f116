"""What a feature matrix says about a group: every reflection named, generic features left unnamed, noise refused."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import equilearn as eq
from equilearn import InputError, reps
from equilearn.data import fixed_point_split, operation_table
from equilearn.groups import SO, Abelian, Cyclic, GeneralizedDihedral, Group, Quaternion, Symmetric, cayley_table
from equilearn.kernels import (
    alignment,
    circulant_deviation,
    fit_rfm,
    hankel_deviation,
    imposed_features,
    orbit_precision_recall,
    random_circulant_features,
    spectrum,
    symmetry_report,
)
from equilearn.kernels._singled_out import single_out

TABLES = [
    (Cyclic(5), "*"),
    (Cyclic(7), "/"),
    (Cyclic(12), "*"),
    (Cyclic(29), "*"),
    (Cyclic(29), "/"),
    (Abelian((3, 4)), "*"),
    (Abelian((5, 7)), "/"),
]
each_table = pytest.mark.parametrize(("group", "operation"), TABLES, ids=lambda v: str(v).replace("/", "div"))


def coordinates(symmetry: eq.Symmetry, index: int) -> Tensor:
    """What element `index` does to the coordinates."""
    return symmetry.input.rep.permutation(torch.tensor([index]))  # type: ignore[attr-defined]


def noise(width: int, generator: torch.Generator) -> Tensor:
    draws = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return draws + draws.mT


# --- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [5, 23])
def test_imposed_features_are_the_closed_form(p: int):
    table = operation_table(Cyclic(p))
    for k in (0, 2):
        M = imposed_features(coordinates(table.symmetry, table.reflection(k)), scale=0.7)
        shift = torch.eye(p, dtype=torch.float64).roll(k, 0)  # P_k: 1 at (row a + k, column a)
        mean = torch.full((p, p), 1 / p, dtype=torch.float64)
        one = torch.eye(p, dtype=torch.float64)
        top = torch.cat([one - mean, -(shift - mean).mT], 1)
        bottom = torch.cat([-(shift - mean), one - mean], 1)
        torch.testing.assert_close(M, 0.7 * torch.cat([top, bottom]), rtol=0, atol=1e-12)
        values = torch.linalg.eigvalsh(M)
        torch.testing.assert_close(values[-(p - 1) :], torch.full((p - 1,), 1.4, dtype=torch.float64))
        assert float(values[: -(p - 1)].abs().max()) < 1e-12
        fixed = table.x[(table.move([table.reflection(k)])[0] == torch.arange(p * p))]
        assert float((fixed @ M).abs().max()) < 1e-12  # all fixed points have the feature vector 0


def test_imposed_features_of_a_larger_group_see_what_it_moves():
    table = operation_table(Cyclic(12))
    generators = torch.cat([coordinates(table.symmetry, table.reflection(k)) for k in (0, 4)])
    M = imposed_features(generators, dtype=torch.float32)
    assert M.dtype == torch.float32
    torch.testing.assert_close(M, M.mT)
    torch.testing.assert_close(M @ M, 2 * M, rtol=0, atol=1e-5)  # twice a projection
    for p in generators:
        torch.testing.assert_close(M[p][:, p], M)
    one_slot = imposed_features(torch.tensor([1, 0, 2]), slots=1)
    torch.testing.assert_close(one_slot, torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0]], dtype=torch.float64))


@pytest.mark.parametrize("group", [Cyclic(9), Abelian((2, 3)), Symmetric(3), Quaternion()], ids=str)
@pytest.mark.parametrize("hankel", [False, True])
def test_random_circulant_features(group: Group, hankel: bool, generator: torch.Generator):
    n = group.order or 1
    M = random_circulant_features(group, generator=generator, hankel=hankel, power=None)
    C = M[n:, :n]
    deviations = circulant_deviation(C, group), hankel_deviation(C, group)
    assert deviations[hankel] < 1e-25 < 0.05 < deviations[not hankel]
    assert abs(float(C.sum())) < 1e-12
    torch.testing.assert_close(M[:n, :n], torch.eye(n, dtype=torch.float64) - 1 / n)
    assert float(torch.linalg.eigvalsh(M)[0]) < 0  # indefinite; the root drops that part
    root = random_circulant_features(group, generator=torch.Generator().manual_seed(0), hankel=hankel)
    again = random_circulant_features(group, generator=torch.Generator().manual_seed(0), hankel=hankel, power=None)
    values, vectors = torch.linalg.eigh(again)
    torch.testing.assert_close(root @ root, (vectors * values.clamp_min(0)) @ vectors.mT, rtol=0, atol=1e-12)


# --- deviations -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(group=eq.testing.finite_groups(max_order=12), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_deviations_against_the_loop(group: Group, seed: int, scale: float):
    n = group.order or 1
    C = scale * torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    table = cayley_table(group)
    inverses = (table == 0).int().argmax(1)
    for deviation, classes in ((circulant_deviation, table[inverses]), (hankel_deviation, table)):
        slow = sum(float(((v := C[classes == j]) - v.mean()).square().sum()) for j in range(n)) / float((C**2).sum())
        assert deviation(C, group) == pytest.approx(slow, rel=1e-9, abs=1e-12)
        value = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert deviation(value[classes], group) < 1e-25


def test_deviation_does_not_depend_on_the_choice_of_generator(generator: torch.Generator):
    """Circulant by one discrete logarithm is circulant by another (arXiv 2407.20199, Lemma J.1)."""
    C = torch.randn(6, generator=generator, dtype=torch.float64)[cayley_table(Cyclic(6))]
    other = 5 * torch.arange(6) % 6  # the logarithm to another generator of C6
    assert hankel_deviation(C) < 1e-25
    assert hankel_deviation(C[other][:, other]) < 1e-25


def test_deviation_and_alignment_at_their_ends():
    assert circulant_deviation(torch.zeros(3, 3)) == hankel_deviation(torch.zeros(3, 3)) == 0.0
    M = torch.randn(4, 4)
    assert alignment(M, 3 * M) == pytest.approx(1)
    assert alignment(M, -M) == pytest.approx(-1)
    assert math.isnan(alignment(M, torch.zeros(4, 4)))
    with pytest.raises(InputError, match="one shape"):
        alignment(M, torch.ones(3, 3))
    with pytest.raises(InputError, match="each of the 5 elements of C5"):
        circulant_deviation(M, Cyclic(5))
    with pytest.raises(InputError, match="square"):
        hankel_deviation(torch.ones(2, 3))


def test_spectrum_of_a_known_matrix():
    found = spectrum(torch.diag(torch.tensor([3.0, 3.0, 0.0, -2.0], dtype=torch.float64)))
    assert (found.rank, found.trace, found.largest, found.smallest) == (3, 4.0, 3.0, -2.0)
    assert found.negative_share == pytest.approx(0.25)
    assert found.effective_rank == pytest.approx(64 / 22)
    assert spectrum(torch.zeros(2, 2)).effective_rank == 0.0


# --- the report -------------------------------------------------------------------------------


@each_table
def test_the_reflection_is_named_for_every_k(group: Group, operation: str):
    """Whatever is common to the slots, and any multiple of the identity, makes no difference."""
    table = operation_table(group, operation)
    n = table.n
    slots = torch.eye(2, dtype=torch.float64).repeat_interleave(n, 0)
    for k in range(n):
        index = table.reflection(k)
        M = 0.8 * imposed_features(coordinates(table.symmetry, index)) + 0.3 * torch.eye(2 * n, dtype=torch.float64)
        M = M + slots @ torch.tensor([[1.0, 0.2], [0.2, 0.7]], dtype=torch.float64) @ slots.mT
        report = symmetry_report(M, table.symmetry)
        assert report.discovered.elements == (0, index)
        assert report.coefficients[index] == pytest.approx(-0.8)
        assert report.coefficients[0] == pytest.approx(1.1)
        others = torch.ones(2 * n, dtype=torch.bool)
        others[[0, index]] = False
        assert float(report.coefficients[others].abs().max()) < 1e-12
        assert report.explained == pytest.approx(1)
        assert report.top(1)[0]["index"] == index


def test_what_a_report_of_a_reflection_says():
    table = operation_table(Cyclic(61))
    index = table.reflection(35)
    report = symmetry_report(imposed_features(coordinates(table.symmetry, index)), table.symmetry)
    found = report.discovered
    assert found.name == "C2 in Dih(61), generated by sr^35" == f"{found.group} in Dih(61), generated by sr^35"
    assert found.found and found.confidence == pytest.approx(1)
    assert report.cosines[index] == pytest.approx(-(0.5**0.5)) and report.cosines[0] == pytest.approx(0.5**0.5)
    assert report.commutators[index] == 0
    assert float(report.commutators.sort().values[2]) > 0.5  # of the identity, the reflection, and then no other
    assert report.commuting().tolist() == [0, index]
    assert report.circulant < 1e-25 < 0.1 < report.hankel
    symmetry = found.symmetry
    assert symmetry is not None and symmetry.is_invariance
    moved = symmetry.act_input(torch.tensor(1), table.x)
    assert torch.equal(moved, table.x[table.move([index])[0]])
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["discovered"]["elements"] == [0, index] and len(plain["elements"]) == 122
    assert "sr^35 -1" in str(report) and "rank 60" in str(report)


def test_a_subgroup_is_named():
    table = operation_table(Cyclic(32))
    generators = torch.cat([coordinates(table.symmetry, table.reflection(k)) for k in (0, 8)])
    found = symmetry_report(imposed_features(generators), table.symmetry).discovered
    assert found.elements == (0, 8, 16, 24, 32, 40, 48, 56)
    assert str(found.group) == "D4" and found.symmetry is not None


@each_table
def test_random_features_single_nothing_out(group: Group, operation: str):
    """30 matrices of three kinds: noise, a random combination of all elements, random circulant features.

    By the rule's own bound at most 0.2 of the 210 matrices of this test would be a false alarm; the seed is fixed.
    """
    table = operation_table(group, operation)
    generator = torch.Generator().manual_seed(0)
    order = table.symmetry.group.order or 1
    Pi = table.symmetry.input.rep.matrix(torch.arange(order))  # type: ignore[attr-defined]
    for _ in range(10):
        weights = torch.randn(order, generator=generator, dtype=torch.float64)
        mixed = torch.einsum("g,gij->ij", weights, Pi)
        circulant = random_circulant_features(group, generator=generator, hankel=operation == "/")
        noisy = noise(2 * table.n, generator)
        reports = [symmetry_report(M, table.symmetry) for M in (noisy, mixed + mixed.mT, circulant)]
        assert [r.discovered.found for r in reports] == [False] * 3
        assert reports[1].explained == pytest.approx(1)
        assert reports[2].explained == pytest.approx(1)
        if group.order > 20:
            assert reports[0].explained < 0.1
            assert "a combination of many elements" in reports[1].discovered.verdict
            assert "a combination of many elements" in reports[2].discovered.verdict
            assert "combination of many" not in reports[0].discovered.verdict


@settings(max_examples=25, deadline=None)
@given(k=st.integers(0, 22), share=st.floats(0.0, 0.3), seed=st.integers(0, 1000))
def test_a_reflection_is_found_under_noise(k: int, share: float, seed: int):
    """Noise of up to 0.3 of the matrix, which puts 0.3 / sqrt(1000) on any one element."""
    table = operation_table(Cyclic(23))
    index = table.reflection(k)
    M = imposed_features(coordinates(table.symmetry, index))
    extra = noise(46, torch.Generator().manual_seed(seed))
    M = M + share * extra * (M.norm() / extra.norm())
    assert symmetry_report(M, table.symmetry).discovered.elements == (0, index)


@pytest.mark.parametrize("k", [0, 3, 11])
def test_what_a_recursive_feature_machine_learned_is_read_off(k: int):
    """Fixed points of one reflection held out: it is named after one step, and the features commute with it."""
    table = operation_table(Cyclic(17))
    index = table.reflection(k)
    train = fixed_point_split(table, index)
    x, y = table.x[train], torch.eye(17, dtype=torch.float64)[table.labels[train]]
    machine = fit_rfm(x, y, iterations=3)
    report = symmetry_report(machine.metric, table.symmetry)
    assert report.discovered.elements == (0, index)
    assert report.coefficients[index] < 0 < report.coefficients[0]
    assert float(report.commutators[index]) < 1e-8
    assert report.circulant is not None and report.circulant < 1e-12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_split_singles_no_reflection_out(seed: int):
    table = operation_table(Cyclic(23))
    train = torch.rand(23**2, generator=torch.Generator().manual_seed(seed)) < 0.6
    x, y = table.x[train], torch.eye(23, dtype=torch.float64)[table.labels[train]]
    machine = fit_rfm(x, y, iterations=15)
    report = symmetry_report(machine.metric, table.symmetry)
    assert not report.discovered.found
    assert report.explained > 0.9


def test_float32_tells_the_same():
    table = operation_table(Cyclic(29))
    M = imposed_features(coordinates(table.symmetry, table.reflection(4)), dtype=torch.float32)
    report = symmetry_report(M, table.symmetry)
    assert report.discovered.elements == (0, table.reflection(4))
    assert report.coefficients.dtype == torch.float64


def test_all_ways_to_say_how_the_group_acts_agree():
    table = operation_table(Cyclic(7))
    M = imposed_features(coordinates(table.symmetry, table.reflection(2)))
    rep = table.symmetry.input.rep  # type: ignore[attr-defined]
    group = table.symmetry.group
    images = rep.permutation(group.elements())
    reports = [symmetry_report(M, table.symmetry), symmetry_report(M, rep), symmetry_report(M, images, group, slots=2)]
    for other in reports[1:]:
        assert torch.equal(other.coefficients, reports[0].coefficients)


def test_groups_that_are_not_dihedral():
    """The table of a non-abelian group, and a symmetric group on points: elements are named by their index."""
    table = operation_table(Symmetric(3))
    M = imposed_features(coordinates(table.symmetry, 1))
    report = symmetry_report(M, table.symmetry)
    assert report.top(1)[0]["element"] == "element 1" and report.circulant is not None
    S4 = Symmetric(4)
    points = symmetry_report(imposed_features(torch.tensor([1, 0, 2, 3]), slots=1), reps.permutation(S4))
    swap = int(S4.index_of(torch.tensor([1, 0, 2, 3])))
    assert points.circulant is None and float(points.commutators[swap]) == 0


@pytest.mark.parametrize("M", [torch.zeros(10, 10), torch.eye(10), torch.ones(10, 10)], ids=["zero", "one", "constant"])
def test_matrices_without_content_single_nothing_out(M: Tensor):
    report = symmetry_report(M, operation_table(Cyclic(5)).symmetry)
    assert not report.discovered.found
    assert len(report.commuting()) == 10
    json.dumps(report.as_dict(), allow_nan=False)
    assert "nothing in Dih(5)" in str(report)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_scale_of_the_features_does_not_matter(factor):
    """The squares of such entries vanish, or overflow."""
    table = operation_table(Cyclic(11))
    M = imposed_features(torch.tensor([*range(11, 22), *range(11)]))
    plain, scaled = symmetry_report(M, table.symmetry), symmetry_report(factor * M, table.symmetry)
    assert scaled.discovered.elements == plain.discovered.elements == (0, table.reflection(0))
    torch.testing.assert_close(scaled.coefficients / factor, plain.coefficients)
    torch.testing.assert_close(scaled.commutators, plain.commutators, rtol=0, atol=1e-12)
    assert scaled.spectrum.effective_rank == pytest.approx(plain.spectrum.effective_rank)


def test_an_element_and_its_inverse_count_as_one_of_twice_the_square():
    group, order = Cyclic(12), torch.arange(12)
    coefficients = torch.full((12,), 0.05, dtype=torch.float64)
    coefficients[4] = coefficients[8] = 1.0
    found = single_out(group, -order % 12, coefficients, coefficients, 12, torch.zeros(12, dtype=torch.int64), False)
    assert (found.elements, found.members) == ((4,), (0, 4, 8))
    others = 4 * 2 + 1  # four pairs, and the element of order 2
    assert found.share == pytest.approx(2 / (2 + others * 0.05**2), rel=1e-12)


def test_two_elements_are_too_few_to_compare_but_enough_to_test():
    """A group of order 2: the reflection against random matrices alone."""
    images = torch.tensor([list(range(12)), [*range(6, 12), *range(6)]])
    M = imposed_features(images, slots=1)
    assert symmetry_report(M, images, Cyclic(2), slots=1).discovered.elements == (0, 1)
    assert not symmetry_report(noise(12, torch.Generator().manual_seed(0)), images, Cyclic(2)).discovered.found


def test_bad_matrices_and_actions_are_named():
    table = operation_table(Cyclic(5))
    symmetry = table.symmetry
    M = torch.eye(10, dtype=torch.float64)
    with pytest.raises(InputError, match=r"square matrix, got \(10, 9\)"):
        symmetry_report(M[:, :9], symmetry)
    with pytest.raises(InputError, match="1 NaN"):
        symmetry_report(
            M.masked_fill(M > 0, float("nan")).triu(9) + torch.diag(torch.tensor([float("nan")] + 9 * [1.0])), symmetry
        )
    with pytest.raises(InputError, match="must be symmetric"):
        symmetry_report(M + torch.ones(10, 10).triu(1), symmetry)
    with pytest.raises(InputError, match="over 12 coordinates, but the group permutes 10"):
        symmetry_report(torch.eye(12), symmetry)
    with pytest.raises(InputError, match="give group too"):
        symmetry_report(M, torch.arange(10)[None])
    with pytest.raises(InputError, match="Row 1 of the permutations is not a permutation"):
        symmetry_report(M, torch.stack([torch.arange(10), torch.zeros(10, dtype=torch.int64)]), Cyclic(2))
    with pytest.raises(InputError, match="does not permute coordinates"):
        symmetry_report(torch.eye(2), reps.defining(Cyclic(4)))
    with pytest.raises(InputError, match="through a Rep"):
        symmetry_report(M, eq.Symmetry(Cyclic(4), input=eq.actions.images()))
    with pytest.raises(InputError, match="infinitely many"):
        symmetry_report(torch.eye(3), reps.trivial(SO(3), 3))
    with pytest.raises(InputError, match="one slot to several slots"):
        symmetry_report(M, symmetry, slots=5)
    with pytest.raises(InputError, match="between 0 and 1"):
        symmetry_report(M, symmetry, level=0.0)
    with pytest.raises(InputError, match="must be real and floating"):
        symmetry_report(torch.eye(10, dtype=torch.int64), symmetry)
    with pytest.raises(InputError, match="Row 0 of permutations is not"):
        imposed_features(torch.tensor([0, 0]))
    with pytest.raises(InputError, match="tear the slots apart"):
        imposed_features(torch.tensor([0, 2, 1, 3]))
    with pytest.raises(InputError, match="do not fall into 2 slots"):
        imposed_features(torch.tensor([0, 2, 1]))
    with pytest.raises(InputError, match="power must be positive"):
        random_circulant_features(5, generator=torch.Generator(), power=0.0)


def test_names_of_elements_of_a_product():
    group = GeneralizedDihedral((2, 3))
    report = symmetry_report(torch.eye(12), reps.permutation(group, cayley_table(group)))
    assert [report.name(g) for g in (0, 5, 6, 10)] == ["r^(0,0)", "r^(1,2)", "sr^(0,0)", "sr^(1,2)"]


# --- orbits -----------------------------------------------------------------------------------


def test_orbit_scores():
    table = operation_table(Cyclic(5))
    permutation = table.move([table.reflection(1)])
    train = torch.rand(25, generator=torch.Generator().manual_seed(0)) < 0.5
    reachable = train[permutation[0]] & ~train
    exact = orbit_precision_recall(reachable | train, train, permutation)
    assert (exact.precision, exact.recall, exact.right) == (1.0, 1.0, int(reachable.sum()))
    everything = orbit_precision_recall(torch.ones(25, dtype=torch.bool), train, permutation)
    assert everything.recall == 1.0 and everything.precision == pytest.approx(
        int(reachable.sum()) / int((~train).sum())
    )
    nothing = orbit_precision_recall(torch.zeros(25, dtype=torch.bool), train, permutation)
    assert (nothing.precision, nothing.recall) == (None, 0.0) and "undefined" in str(nothing)
    json.dumps(nothing.as_dict())
    with pytest.raises(InputError, match="nothing is held out"):
        orbit_precision_recall(train, torch.ones(25, dtype=torch.bool), permutation)
    with pytest.raises(InputError, match="right must be a Boolean mask"):
        orbit_precision_recall(train.int(), train, permutation)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"train must have shape \(25,\)"):
        orbit_precision_recall(train, train[:3], permutation)


@pytest.mark.parametrize("k", [0, 4])
def test_imposed_features_answer_exactly_the_orbits_of_the_training_points(k: int):
    """Finding 4.1 of arXiv 2604.00316, by the closed form and a small ridge: precision = recall = 1."""
    table = operation_table(Cyclic(19))
    train = torch.rand(361, generator=torch.Generator().manual_seed(k)) < 0.5
    index = table.reflection(k)
    y = torch.eye(19, dtype=torch.float64)[table.labels]
    M = imposed_features(coordinates(table.symmetry, index))
    machine = fit_rfm(table.x[train], y[train], metric=M, iterations=2, ridge=1e-3)
    score = orbit_precision_recall(machine(table.x).argmax(1) == table.labels, train, table.move([index]))
    assert (score.precision, score.recall) == (1.0, 1.0)
    assert 60 < score.reachable < score.held_out
