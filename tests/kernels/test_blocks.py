"""Block-diagonal kernel systems against dense solves, and the refusal of what is no such system."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from equilearn import InputError, reps
from equilearn.data import operation_table
from equilearn.groups import Abelian, Alternating, Cyclic, Dihedral, Group, Quaternion, Symmetric, cayley_table
from equilearn.kernels import (
    block_eigenvalues,
    block_inverse,
    block_matvec,
    block_solve,
    fit_rfm,
    group_kernel_ridge,
    kappa_from_function,
    kappa_from_gram,
    orbit_layout,
)
from equilearn.testing import finite_groups

GROUPS = [
    Cyclic(1),
    Cyclic(2),
    Cyclic(7),
    Abelian((3, 4)),
    Symmetric(3),
    Dihedral(4),
    Quaternion(),
    Quaternion(12),
    Alternating(4),
    Symmetric(3) * Cyclic(5),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=str)


def invariant_gram(group: Group, orbits: int, rank: int | None = None, seed: int = 0) -> Tensor:
    """A random positive definite matrix with `K[(i, g), (j, h)]` a function of `g^-1 h`; of a rank where given."""
    order = group.order or 1
    width = orbits * order + 5 if rank is None else rank
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randn(orbits, order, width, generator=generator, dtype=torch.float64)
    table = cayley_table(group)
    features = seeds[:, table[(table == 0).int().argmax(1)]]  # [i, x, g]: seed_i(x^-1 g)
    flat = features.permute(0, 2, 1, 3).flatten(0, 1).flatten(1)
    return flat @ flat.mT / flat.shape[1]


def trivial_layout(group: Group, orbits: int) -> Tensor:
    return torch.arange(orbits * (group.order or 1)).reshape(orbits, -1)


def system(group: Group, orbits: int, columns: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """The dense matrix, its kappa, and right-hand sides `(m, order, c)`."""
    gram = invariant_gram(group, orbits)
    kappa = kappa_from_gram(gram, group, trivial_layout(group, orbits))
    y = torch.randn(orbits, group.order or 1, columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return gram, kappa, y


@every_group
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize(("orbits", "columns"), [(1, 1), (1, 3), (4, 1), (4, 3)])
def test_solve_equals_the_dense_solve(
    group: Group, orbits: int, columns: int, ridge: float, dtype: torch.dtype, tolerance: float
):
    gram, kappa, y = system(group, orbits, columns)
    dense = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), y.flatten(0, 1)).view_as(y)
    found, info = block_solve(kappa.to(dtype), y.to(dtype), group, ridge=ridge)
    assert found.dtype == dtype
    assert float((found.double() - dense).norm() / dense.norm()) < 10 * tolerance
    assert (info.method, info.rank, info.size) == ("cholesky", len(gram), len(gram))


@every_group
def test_matvec_eigenvalues_and_inverse(group: Group):
    gram, kappa, y = system(group, 3)
    torch.testing.assert_close(block_matvec(kappa, y, group).flatten(0, 1), gram @ y.flatten(0, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(block_eigenvalues(kappa, group), torch.linalg.eigvalsh(gram), rtol=0, atol=1e-10)
    inverse = torch.linalg.inv(gram + 0.1 * torch.eye(len(gram), dtype=gram.dtype))
    beta = block_inverse(kappa, group, ridge=0.1)
    torch.testing.assert_close(beta, kappa_from_gram(inverse, group, trivial_layout(group, 3)), rtol=0, atol=1e-10)


@every_group
def test_matvec_of_a_kernel_that_is_not_symmetric(group: Group):
    order = group.order or 1
    kappa = torch.randn(2, 2, order, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    table = cayley_table(group)
    quotient = table[(table == 0).int().argmax(1)]
    dense = kappa[:, :, quotient].permute(0, 2, 1, 3).reshape(2 * order, 2 * order)
    v = torch.randn(2, order, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(block_matvec(kappa, v, group).flatten(0, 1), dense @ v.flatten(0, 1))


@settings(max_examples=25, deadline=None)
@given(group=finite_groups(max_order=12), orbits=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_solution_solves(group: Group, orbits: int, seed: int):
    kappa = kappa_from_gram(invariant_gram(group, orbits, seed=seed), group, trivial_layout(group, orbits))
    y = torch.randn(orbits, group.order or 1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, _ = block_solve(kappa, y, reps.GroupFourier(group))
    torch.testing.assert_close(block_matvec(kappa, found, group), y, rtol=1e-7, atol=1e-7)


@every_group
def test_a_singular_matrix_is_solved_on_its_range_and_the_rank_reported(group: Group):
    """Invariant features: all points of an orbit are alike, rank = number of orbits, as with the pseudo-inverse."""
    order = group.order or 1
    seeds = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = (seeds @ seeds.mT).repeat_interleave(order, 0).repeat_interleave(order, 1)
    kappa = kappa_from_gram(gram, group, trivial_layout(group, 3))
    y = torch.randn(3, order, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, info = block_solve(kappa, y, group)
    dense = torch.linalg.pinv(gram, rtol=1e-11, hermitian=True) @ y.flatten(0, 1)
    torch.testing.assert_close(found.flatten(0, 1), dense, rtol=0, atol=1e-9)
    assert info.rank == 3 == int(torch.linalg.matrix_rank(gram, rtol=1e-11, hermitian=True))
    assert info.method == ("cholesky" if order == 1 else "eigh")


def test_rank_counts_the_copies_of_every_irrep():
    """Rank-deficient in one irrep only, of each type of Q12: what the dense matrix says."""
    group = Quaternion(12)
    fourier = reps.GroupFourier(group)
    kappa = kappa_from_gram(invariant_gram(group, 2), group, trivial_layout(group, 2))
    for i, stack in enumerate(fourier.stacks):
        blocks = list(fourier.forward(kappa))
        blocks[i] = torch.zeros_like(blocks[i])
        thin = fourier.inverse(blocks)
        _, info = block_solve(thin, torch.ones(2, 12, 1, dtype=torch.float64), fourier)
        assert info.rank == 24 - 2 * stack.count * stack.multiplicity * stack.dim
        assert info.rank == int((block_eigenvalues(thin, group) > 1e-9).sum())


def test_layout_of_translations():
    group = Dihedral(3)
    table = cayley_table(group)
    permutations = torch.cat([table, 6 + table], 1)  # g takes h to g h, on two copies
    layout = orbit_layout(group, permutations)
    assert layout.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    part = orbit_layout(group, permutations, torch.arange(12) >= 6)
    assert part.tolist() == [[0, 1, 2, 3, 4, 5]]
    listed = orbit_layout(group, permutations, torch.tensor([11, 10, 9, 8, 7, 6]))
    assert listed.tolist() == [(5 - table[:, 5]).tolist()]  # the first of the list is element 5 of the second copy
    for g in range(6):  # entry [i, g] is g times entry [i, 0]
        assert torch.equal(layout[:, g], permutations[g, layout[:, 0]])


@pytest.mark.parametrize("group", [Cyclic(9), Abelian((2, 4)), Symmetric(3)], ids=str)
def test_ridge_regression_on_a_table_equals_the_dense_solve(group: Group):
    """Rotations of a table act freely: on all of it, and on a training set that is a union of their orbits."""
    table = operation_table(group)
    order = group.order or 1
    symmetry = table.symmetry.group
    assert symmetry.order == (2 * order if group.is_abelian else order)  # the first are the rotations
    permutations = table.point_permutations[:order]
    train = (table.labels % 2 == 0) if group.is_abelian else torch.ones(order**2, dtype=torch.bool)
    y = torch.eye(order, dtype=torch.float64)[table.labels]
    for points in (None, train):
        x, targets = (table.x, y) if points is None else (table.x[points], y[points])
        found, info = group_kernel_ridge(gaussian, x, targets, group, permutations, ridge=1e-2, points=points)
        gram = gaussian(x, x) + 1e-2 * torch.eye(len(x), dtype=torch.float64)
        torch.testing.assert_close(found, torch.linalg.solve(gram, targets), rtol=0, atol=1e-10)
        assert info.size == len(x)


def test_a_recursive_feature_machine_keeps_the_rotations_of_its_training_set():
    """Trained on whole rotation orbits, the learned metric is invariant too: its last solve goes by blocks."""
    table = operation_table(Cyclic(11))
    train = table.labels % 2 == 0
    x, y = table.x[train], torch.eye(11, dtype=torch.float64)[table.labels[train]]
    machine = fit_rfm(x, y, iterations=3, ridge=1e-3)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return machine.kernel.gram(a, b, machine.metric)

    turns = table.point_permutations[:11]
    found, info = group_kernel_ridge(kernel, x, y, Cyclic(11), turns, ridge=1e-3, points=train)
    torch.testing.assert_close(found, machine.dual, rtol=1e-8, atol=1e-8)
    assert info.rank == 66


def gaussian(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-(torch.cdist(a, b) ** 2) / 3)


def test_points_that_do_not_form_free_orbits_are_refused():
    table = operation_table(Cyclic(5))
    group, permutations = table.symmetry.group, table.point_permutations
    with pytest.raises(InputError, match="5 of its 9 elements .* have fixed points; element 5 fixes 5 of them"):
        orbit_layout(group, permutations)
    half = torch.zeros(25, dtype=torch.bool)
    half[:7] = True
    with pytest.raises(InputError, match="7 points are not a union of orbits of C5: 7 of them are taken outside"):
        orbit_layout(Cyclic(5), permutations[:5], half)
    with pytest.raises(InputError, match="Row 1 of images is not a permutation"):
        orbit_layout(Cyclic(2), torch.tensor([[0, 1], [1, 1]]))
    with pytest.raises(InputError, match="no representation of C3"):
        orbit_layout(Cyclic(3), torch.tensor([[0, 1], [1, 0], [0, 1]]))
    with pytest.raises(InputError, match="distinct indices from 0 to 24"):
        orbit_layout(Cyclic(5), permutations[:5], torch.tensor([0, 0]))
    with pytest.raises(InputError, match="points is empty"):
        orbit_layout(Cyclic(5), permutations[:5], torch.zeros(25, dtype=torch.bool))


def test_a_kernel_that_is_not_invariant_is_refused_with_its_defect():
    group = Cyclic(6)
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    permutations = torch.stack([torch.cat([torch.arange(6).roll(-k), 6 + torch.arange(6).roll(-k)]) for k in range(6)])
    layout = orbit_layout(group, permutations)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b))

    with pytest.raises(InputError, match=r"differs from k\(x, z\) by 0\.\d+ of its norm"):
        kappa_from_function(kernel, x, group, layout)
    with pytest.raises(InputError, match=r"differs from k\(x, z\) by 0\.\d+ of its norm"):
        kappa_from_gram(kernel(x, x), group, layout)
    projected = kappa_from_gram(kernel(x, x), group, layout, project=True)
    assert float(block_eigenvalues(projected, group)[0]) > 0  # the mean over all elements stays positive definite


def test_asymmetry_that_the_symmetric_entries_do_not_show_is_found():
    """`k(g x, x')` is right for all x in one column of the layout, but not between other columns."""
    group = Cyclic(4)
    layout = trivial_layout(group, 1)
    gram = torch.eye(4, dtype=torch.float64)
    gram[1, 2] = gram[2, 1] = 0.5

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return gram[a[:, 0].long()][:, b[:, 0].long()]

    points = torch.arange(4, dtype=torch.float64)[:, None]
    with pytest.raises(InputError, match="not invariant under C4"):
        kappa_from_function(kernel, points, group, layout)


def test_bad_systems_are_named():
    group = Cyclic(4)
    kappa = torch.tensor([[[2.0, 1.0, 0.0, 1.0]]])
    y = torch.ones(1, 4, 1)
    with pytest.raises(InputError, match=r"shape \(m, m, 4\)"):
        block_solve(kappa[..., :3], y, group)
    with pytest.raises(InputError, match=r"shape \(1, 4, c\), got \(1, 3, 1\)"):
        block_solve(kappa, y[:, :3], group)
    with pytest.raises(InputError, match="1 NaN"):
        block_solve(kappa.index_fill(2, torch.tensor([1]), float("nan")), y, group)
    with pytest.raises(InputError, match="ridge must be"):
        block_solve(kappa, y, group, ridge=-1.0)
    with pytest.raises(InputError, match=r"kappa\[j, i, g\^-1\] differs from kappa\[i, j, g\] by 0"):
        block_solve(torch.tensor([[[2.0, 1.0, 0.0, 0.0]]]), y, group)
    with pytest.raises(InputError, match="not positive semidefinite: its smallest eigenvalue is -2"):
        block_solve(torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]), y, group)
    with pytest.raises(InputError, match="singular to working precision"):
        block_inverse(torch.ones(1, 1, 4), group)
    with pytest.raises(InputError, match="one dtype"):
        block_solve(kappa, y.double(), group)
    with pytest.raises(InputError, match="group or its GroupFourier"):
        block_solve(kappa, y, "C4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must give one value for each pair"):
        kappa_from_function(lambda a, b: a, torch.ones(4, 2), group, trivial_layout(group, 1))
    with pytest.raises(InputError, match=r"The kernel matrix of 4 points is \(4, 4\)"):
        kappa_from_gram(torch.ones(3, 3), group, trivial_layout(group, 1))
    turns = torch.stack([torch.arange(4).roll(-k) for k in range(4)])
    with pytest.raises(InputError, match="one row for each of the 4 points"):
        group_kernel_ridge(lambda a, b: a @ b.mT, torch.eye(4), torch.ones(3, 1), group, turns)
