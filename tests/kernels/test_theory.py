"""The theory of held-out group elements: golden values, closed forms, and blocks against dense solves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orbit_cases import GROUPS, distance, gaussian, one_vs_rest, random_orbits, refit, seed_major, skewed
from torch import Tensor

from equilearn import InputError
from equilearn.groups import Cyclic, Group, Quaternion, Symmetric
from equilearn.kernels import (
    block_eigenvalues,
    block_inverse,
    class_signals,
    equicorrelated_error,
    kappa_from_gram,
    leave_one_out,
    leave_sets_out,
    orbit_geometry,
    orbit_inverse,
    orbit_kernel,
    orbit_spread,
    pair_spectral_errors,
    rings,
    spectral_error,
)
from equilearn.testing import finite_groups

every_group = pytest.mark.parametrize("group", GROUPS, ids=str)

# Points on a ring, inverse width of the kernel, distance of the rings: the error, to the digits of the brief.
TOY = [
    (6, 0.85, 1.0, 0.3976007723),
    (4, 1.4, 1.0, 1.0474362483),
    (8, 1.4, 1.0, 0.5399695128),
    (12, 1.4, 1.0, 0.1215936523),
    (16, 1.4, 1.0, 0.0127276194),
    (3, 1.0, 0.5, 1.6424291311),
    (6, 0.85, 0.1, 2.6507443159),
    (6, 0.85, 0.0, 7.7244539238),
]


def toy(n: int, scale: float, separation: float) -> tuple[Tensor, Tensor]:
    """The interleaved kernel matrix, and kappa."""
    x, symmetry = rings(n, separation)
    orbits = symmetry.input.orbit(symmetry.group.elements(), x)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-(scale**2) * ((a[:, None] - b[None]) ** 2).sum(-1))

    points = orbits.flatten(0, 1)
    return kernel(points, points), orbit_kernel(kernel, orbits, symmetry.group, average=False).kappa


def system(group: Group, seeds: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The dense kernel matrix of all points, seed by seed, and kappa."""
    orbits = random_orbits(group, seeds)
    points = seed_major(orbits)
    return gaussian(points, points), orbit_kernel(gaussian, orbits, group, average=False).kappa.to(dtype)


# --- two rings --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "scale", "separation", "golden"), TOY)
def test_toy_errors_all_four_ways(n: int, scale: float, separation: float, golden: float):
    gram, kappa = toy(n, scale, separation)
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    identity = (leave_one_out(gram, y.repeat(n, 1)) * y.repeat(n, 1)).flatten()
    spectral = spectral_error(gram)
    geometry = orbit_geometry(gram, torch.arange(2 * n).reshape(n, 2).mT)
    blocks = orbit_inverse(kappa, Cyclic(n)).without_element(y, torch.tensor([0, 1]))
    assert abs(spectral.error - golden) < 5.1e-11
    for error in (*identity.tolist(), geometry.error, *(blocks.residual * y).flatten().tolist()):
        assert abs(error - spectral.error) < 1e-10
    assert abs(float(pair_spectral_errors(kappa)[0, 1]) - spectral.error) < 1e-10
    assert abs(geometry.signal - spectral.signal) < 1e-10
    assert abs(geometry.density - spectral.density) < 1e-10
    torch.testing.assert_close(blocks.density, torch.full((2,), spectral.density, dtype=torch.float64))
    signals = class_signals(kappa, torch.tensor([0, 1]))
    assert abs(float(signals[0, 1]) - spectral.signal) < 1e-10


def test_signal_of_the_toy():
    gram, _ = toy(6, 0.85, 1.0)
    assert f"{spectral_error(gram).signal:.8f}" == "1.16099560"


@pytest.mark.parametrize("ridge", [1e-5, 0.1])
def test_a_ridge_enters_all_forms_alike(ridge: float):
    gram, kappa = toy(6, 0.85, 1.0)
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    expected = float(refit(gram, y.repeat(6, 1), torch.tensor([0]), ridge))
    assert abs(spectral_error(gram, ridge=ridge).error - expected) < 1e-10
    assert abs(orbit_geometry(gram, torch.arange(12).reshape(6, 2).mT, ridge=ridge).error - expected) < 1e-10
    assert abs(float(pair_spectral_errors(kappa, ridge=ridge)[0, 1]) - expected) < 1e-10
    blocks = orbit_inverse(kappa, Cyclic(6), ridge=ridge).without_element(y, torch.tensor([0, 1]))
    assert abs(float(blocks.residual[0]) - expected) < 1e-10


def test_a_trace_scaled_ridge_differs_between_the_two_matrices():
    """The source scales its ridge by the trace, once of 2N and once of 2N - 1 points: a known pitfall, not an error."""
    gram, _ = toy(6, 0.85, 1.0)
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).repeat(6, 1)
    errors = [float(refit(gram, y, torch.tensor([0]), ridge)) for ridge in (1e-5 * 11, 1e-5 * 12)]
    assert errors[0] != pytest.approx(errors[1], abs=1e-6)


@pytest.mark.parametrize(("order", "ridge"), [(5, 0.0), (2, 0.0), (9, 0.3)])
def test_equicorrelated(order: int, ridge: float):
    gram = torch.full((2 * order, 2 * order), 0.2, dtype=torch.float64)
    gram[::2, ::2] = gram[1::2, 1::2] = 0.6
    gram.fill_diagonal_(1.0)
    closed = equicorrelated_error(order, 1.0, 0.6, 0.2, ridge=ridge)
    assert abs(spectral_error(gram, ridge=ridge).error - closed) < 1e-12
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).repeat(order, 1)
    torch.testing.assert_close(leave_one_out(gram, y, ridge=ridge) * y, torch.full_like(y, closed))
    if order == 5:
        assert f"{closed:.10f}" == "0.2018348624"


def test_spectral_error_averages_wrapped_diagonals():
    """Of a matrix that is not circulant, the FFT of the mean over the rolled rows, as in the source."""
    points = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = gaussian(points, points)
    row = torch.stack([gram[i].roll(-i) for i in range(8)]).mean(0)
    values = torch.fft.fft(row).real
    assert abs(spectral_error(gram).error - float(1 / values[4] / (1 / values).mean())) < 1e-12


def test_pairs_of_orbits_are_the_spectral_errors_of_their_interleaved_matrices():
    orbits = random_orbits(Cyclic(5), 3)
    errors = pair_spectral_errors(orbit_kernel(gaussian, orbits, Cyclic(5)).kappa)
    for i in range(3):
        for j in range(3):
            if i != j:
                points = orbits[:, [i, j]].flatten(0, 1)
                assert abs(float(errors[i, j]) - spectral_error(gaussian(points, points)).error) < 1e-10
    assert bool(errors.diagonal().isnan().all())


# --- any group --------------------------------------------------------------------------------


@every_group
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("counts", [(1, 1), (2, 3), (1, 2, 2)])
def test_missing_element_of_a_class_equals_the_dense_solve(group: Group, ridge: float, counts: tuple[int, ...]):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    order = group.order or 1
    gram, kappa = system(group, len(labels))
    targets = one_vs_rest(labels)
    y = targets.repeat_interleave(order, 0)
    found = orbit_inverse(kappa, group, ridge=ridge).without_element(targets, labels)
    for c in range(len(counts)):
        seeds = torch.nonzero(labels == c).flatten()
        for element in (0, order - 1):  # by symmetry, whichever
            expected = refit(gram, y, seeds * order + element, ridge)
            torch.testing.assert_close(found.residual[seeds], expected, rtol=0, atol=1e-10)
        if ridge == 0:
            expected = distance(gram, seeds * order)
            torch.testing.assert_close(found.density[seeds], expected, rtol=0, atol=1e-10)


@every_group
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_any_set_of_missing_points_equals_the_dense_solve(group: Group, ridge: float):
    order = group.order or 1
    labels = torch.tensor([0, 0, 1, 1, 2])
    gram, kappa = system(group, 5)
    targets = one_vs_rest(labels)
    y = targets.repeat_interleave(order, 0)
    inverse = orbit_inverse(kappa, group, ridge=ridge)
    generator = torch.Generator().manual_seed(1)
    for share in (0.1, 0.4, 0.8):
        held_out = torch.rand(5, order, generator=generator) < share
        held_out[0, 0], held_out[1, -1] = False, True
        index = torch.nonzero(held_out.flatten()).flatten()
        found = inverse.without(targets, held_out)
        assert torch.equal(found.seed * order + found.element, index)
        torch.testing.assert_close(found.residual, refit(gram, y, index, ridge), rtol=0, atol=1e-10)
        (identity,) = leave_sets_out(gram, y, [index], ridge=ridge)
        torch.testing.assert_close(found.residual, identity, rtol=0, atol=1e-10)
        if ridge == 0:
            torch.testing.assert_close(found.density, distance(gram, index), rtol=0, atol=1e-10)


@every_group
def test_in_single_precision(group: Group):
    """Within rounding times the condition of the matrix (below 1e3 here)."""
    labels = torch.tensor([0, 0, 1])
    gram, kappa = system(group, 3, torch.float32)
    found = orbit_inverse(kappa, group, ridge=1e-2).without_element(one_vs_rest(labels, torch.float32), labels)
    assert found.residual.dtype == torch.float32
    order = group.order or 1
    expected = refit(gram, one_vs_rest(labels).repeat_interleave(order, 0), torch.tensor([0, 1]) * order, 1e-2)
    torch.testing.assert_close(found.residual[:2].double(), expected, rtol=0, atol=1e-3)


@every_group
def test_the_inverse_and_its_spectrum(group: Group):
    """`beta` is that of `block_inverse`, its diagonal block that of the dense inverse, the mean of 1/lambda adds up."""
    order = group.order or 1
    gram, kappa = system(group, 3)
    inverse = orbit_inverse(kappa, group, ridge=0.1)
    dense = torch.linalg.inv(gram + 0.1 * torch.eye(len(gram), dtype=gram.dtype))
    torch.testing.assert_close(inverse.whole(), block_inverse(kappa, group, ridge=0.1), rtol=0, atol=1e-10)
    torch.testing.assert_close(inverse.at_identity(), dense[::order, ::order], rtol=0, atol=1e-10)
    rows = inverse.spectrum()
    assert rows[0].name == "trivial" and abs(sum(row.share for row in rows) - 1) < 1e-12
    assert sum(row.multiplicity * row.dim for row in rows) == order
    mean = sum(row.multiplicity * row.dim * row.inverse for row in rows) / order
    assert abs(mean - float((1 / (block_eigenvalues(kappa, group) + 0.1)).mean())) < 1e-10
    assert abs(mean - float(dense.diagonal().mean())) < 1e-10


def test_irreps_are_named():
    _, kappa = system(Cyclic(5), 2)
    names = [row.name for row in orbit_inverse(kappa, Cyclic(5)).spectrum()]
    assert names == ["trivial", "frequency 1", "frequency 2"]
    _, kappa = system(Quaternion(), 2)
    rows = orbit_inverse(kappa, Quaternion()).spectrum()
    assert [(row.name, row.type, row.dim) for row in rows][-1] == ("irrep 4", "quaternionic", 2)


@settings(max_examples=25, deadline=None)
@given(group=finite_groups(max_order=12), seeds=st.integers(2, 4), seed=st.integers(0, 1000))
def test_residuals_do_not_depend_on_the_element_and_scale_with_nothing(group: Group, seeds: int, seed: int):
    """Laws: another seed of the same orbits changes nothing; nor does a multiple of the kernel."""
    if group.order == 1:
        return
    orbits = random_orbits(group, seeds, seed=seed)
    labels = torch.arange(seeds) % 2
    targets = one_vs_rest(labels)
    kappa = orbit_kernel(gaussian, orbits, group, average=False).kappa
    found = orbit_inverse(kappa, group).without_element(targets, labels).residual
    scaled = orbit_inverse(7 * kappa, group).without_element(targets, labels).residual
    torch.testing.assert_close(scaled, found, rtol=1e-7, atol=1e-7)
    order = group.order or 1
    moved = torch.arange(seeds * order).reshape(seeds, order)
    points = seed_major(orbits)
    gram = gaussian(points, points)
    start = 1 + seed % (order - 1)
    product = group.index_of(group.compose(group.elements(), group.expand(group.take(group.elements(), start), order)))
    # Every orbit now starts at x' = s x, and g x' = (g s) x.
    again = kappa_from_gram(gram, group, moved[:, product])
    other = orbit_inverse(again, group).without_element(targets, labels).residual
    torch.testing.assert_close(other, found, rtol=1e-7, atol=1e-7)


def test_a_kernel_without_symmetry_predicts_nothing():
    """Control: K = c I gives 1 for every group; points far apart come near it."""
    for group in GROUPS:
        order = group.order or 1
        kappa = torch.zeros(3, 3, order, dtype=torch.float64)
        kappa[..., 0] = 2.5 * torch.eye(3, dtype=torch.float64)
        labels = torch.tensor([0, 1, 1])
        targets = one_vs_rest(labels)
        found = orbit_inverse(kappa, group).without_element(targets, labels)
        torch.testing.assert_close(found.residual, targets)
        assert orbit_spread(kappa) > 0.9 * (1 - 1 / order)


# --- kernels that are not quite invariant --------------------------------------------------------


@every_group
def test_averaging_over_all_elements(group: Group):
    """The streamed average is the projection of the whole matrix, is positive, and says how far off the kernel was."""
    orbits = random_orbits(group, 3)
    points, order = seed_major(orbits), group.order or 1
    gram = skewed(points, points)
    layout = torch.arange(3 * order).reshape(3, order)
    found = orbit_kernel(skewed, orbits, group)
    expected = kappa_from_gram(gram, group, layout, project=True)
    assert found.averaged
    torch.testing.assert_close(found.kappa, expected, rtol=0, atol=1e-12)
    assert float(block_eigenvalues(found.kappa, group)[0]) > 0
    quotient = {(g, h): 0 for g in range(order) for h in range(order)}
    elements = group.elements()
    for g, h in quotient:
        back = group.inverse(group.take(elements, g))
        quotient[g, h] = int(group.index_of(group.compose(back, group.take(elements, h))))
    index = torch.tensor([[quotient[g, h] for h in range(order)] for g in range(order)])
    projected = expected[:, :, index].permute(0, 2, 1, 3).reshape(3 * order, 3 * order)
    assert found.defect == pytest.approx(float((gram - projected).norm() / gram.norm()), rel=1e-6)
    with pytest.raises(InputError, match="not invariant under .*Average it"):
        orbit_kernel(skewed, orbits, group, average=False)


def test_one_row_in_place_of_the_average_is_not_positive():
    """`k(x_i, u x_j)` at the identity alone, made symmetric: an indefinite matrix, though the kernel is a kernel."""
    group = Cyclic(8)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    features[0] *= 0.2  # a small first entry of the diagonal, beside the rest of its row
    gram = features @ features.mT + 1e-3 * torch.eye(8, dtype=torch.float64)
    row = gram[0]
    at_identity = ((row + row[torch.arange(8).neg() % 8]) / 2)[None, None]
    assert float(block_eigenvalues(at_identity, group)[0]) < -0.1
    averaged = kappa_from_gram(gram, group, torch.arange(8)[None], project=True)
    assert float(block_eigenvalues(averaged, group)[0]) > 0
    with pytest.raises(InputError, match=r"frequency \d of C8\) is indefinite: its smallest eigenvalue is -\d"):
        orbit_inverse(at_identity, group)


def test_an_invariant_kernel_is_not_averaged_and_its_defect_is_rounding():
    for group in GROUPS:
        found = orbit_kernel(gaussian, random_orbits(group, 3), group)
        assert not found.averaged and found.defect < 1e-12


def test_a_kernel_that_only_the_symmetric_entries_flatter_is_found():
    """`k(g x, h x)` right from the identity, wrong elsewhere: the probes look at other rows."""
    group = Cyclic(6)
    orbits = torch.arange(6, dtype=torch.float64).reshape(6, 1, 1)
    gram = torch.eye(6, dtype=torch.float64)
    gram[1, 2] = gram[2, 1] = 0.5

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return gram[a.flatten().long()][:, b.flatten().long()]

    assert orbit_kernel(kernel, orbits, group).averaged


# --- collapse -------------------------------------------------------------------------------------


@every_group
def test_orbits_collapse_under_an_invariant_architecture(group: Group):
    order = group.order or 1
    means = random_orbits(group, 3)[0]
    kappa = gaussian(means, means)[..., None].expand(3, 3, order)
    assert orbit_spread(kappa) < 1e-12
    labels = torch.tensor([0, 1, 1])
    found = orbit_inverse(kappa, group, ridge=1e-8).without_element(one_vs_rest(labels), labels)
    assert float(found.residual.abs().max()) < 1e-6
    with pytest.raises(InputError, match="singular to working precision.*Add a ridge"):
        orbit_inverse(kappa, group)


def test_spread_is_the_share_of_variance_within_orbits():
    orbits = random_orbits(Symmetric(3), 4)
    kappa = orbit_kernel(lambda a, b: a @ b.mT, orbits, Symmetric(3)).kappa
    within = ((orbits - orbits.mean(0)) ** 2).sum()
    total = ((orbits - orbits.mean((0, 1))) ** 2).sum()
    assert orbit_spread(kappa) == pytest.approx(float(within / total), rel=1e-10)


def test_signal_is_the_distance_of_the_class_means():
    orbits = random_orbits(Symmetric(3), 5)
    labels = torch.tensor([0, 0, 1, 2, 2])
    kappa = orbit_kernel(lambda a, b: a @ b.mT, orbits, Symmetric(3)).kappa
    means = torch.stack([orbits[:, labels == c].mean((0, 1)) for c in range(3)])
    torch.testing.assert_close(class_signals(kappa, labels), 3 * torch.cdist(means, means) ** 2, rtol=1e-8, atol=1e-10)


# --- bad input ------------------------------------------------------------------------------------


def test_bad_input_is_named():
    gram, kappa = toy(4, 1.4, 1.0)
    y = torch.ones(2, 1, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    with pytest.raises(InputError, match="even number >= 4, got 3"):
        spectral_error(gram[:3, :3])
    with pytest.raises(InputError, match=r"indefinite: its smallest eigenvalue is -.*interleaved"):
        spectral_error(gram - 2 * torch.eye(8, dtype=gram.dtype))
    with pytest.raises(InputError, match="singular to working precision"):
        spectral_error(torch.ones(4, 4))
    with pytest.raises(InputError, match=r"two orbits of equal size, \(2, 4\)"):
        orbit_geometry(gram, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="order must be a whole number >= 2"):
        equicorrelated_error(1, 1.0, 0.5, 0.1)
    with pytest.raises(InputError, match="has the eigenvalue -0.5|have the eigenvalue -0.5"):
        equicorrelated_error(2, 0.5, 1.0, 0.1)
    with pytest.raises(InputError, match=r"shape \(m, m, N\)"):
        pair_spectral_errors(kappa[:1, :1])
    with pytest.raises(InputError, match="separation must be"):
        rings(4, float("nan"))
    with pytest.raises(InputError, match=r"shape \(m, m, 5\)"):
        orbit_inverse(kappa, Cyclic(5))
    with pytest.raises(InputError, match=r"kappa\[j, i, g\^-1\] differs"):
        orbit_inverse(kappa + torch.arange(4), Cyclic(4))
    inverse = orbit_inverse(kappa, Cyclic(4))
    with pytest.raises(InputError, match="one row of targets for each of the 2 seeds"):
        inverse.without_element(y[:1], labels)
    with pytest.raises(InputError, match="one dtype"):
        inverse.without_element(y.float(), labels)
    with pytest.raises(InputError, match="one class for each of the 2 seeds"):
        inverse.without_element(y, labels[:1])
    with pytest.raises(InputError, match=r"by seed and element, \(2, 4\)"):
        inverse.without(y, torch.ones(4, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="must be Boolean"):
        inverse.without(y, torch.ones(2, 4))
    with pytest.raises(InputError, match="No point is held out: nothing to predict"):
        inverse.without(y, torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="Every point is held out: nothing is left"):
        inverse.without(y, torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"by element and seed, \(4, m, ...\)"):
        orbit_kernel(gaussian, torch.ones(3, 2, 2), Cyclic(4))
    with pytest.raises(InputError, match="The kernel is not symmetric"):
        orbit_kernel(lambda a, b: a[:, :1] + 2 * b[:, :1].mT, torch.rand(4, 2, 2), Cyclic(4), average=True)
    with pytest.raises(InputError, match=r"shape \(m, m, order\)"):
        orbit_spread(torch.ones(2, 3, 4))


def test_what_is_no_tensor_is_named():
    gram, kappa = toy(4, 1.4, 1.0)
    y = torch.ones(2, 1, dtype=torch.float64)
    listed = gram.tolist()
    for call in (
        lambda: leave_one_out(listed, y),
        lambda: leave_sets_out(listed, y, []),
        lambda: spectral_error(listed),
    ):
        with pytest.raises(InputError, match="gram must be a torch.Tensor, got list"):
            call()
    with pytest.raises(InputError, match="y must be a torch.Tensor, got list"):
        leave_one_out(gram, [1.0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="orbits must be a torch.Tensor, got list"):
        orbit_kernel(gaussian, [1.0], Cyclic(4))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="group must be a finite group, got int"):
        orbit_kernel(gaussian, torch.ones(4, 2, 2), 4)  # type: ignore[arg-type]
    for call in (
        lambda: orbit_inverse("kappa", Cyclic(4)),  # type: ignore[arg-type]
        lambda: class_signals("kappa", [0]),  # type: ignore[arg-type]
        lambda: pair_spectral_errors("kappa"),  # type: ignore[arg-type]
        lambda: orbit_spread("kappa"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError, match="kappa must be a torch.Tensor, got str"):
            call()
    for dtype in (torch.int64, torch.float16):
        with pytest.raises(InputError, match="kappa must be float32 or float64, got torch"):
            orbit_inverse(kappa.to(dtype), Cyclic(4))
    for call in (
        lambda: class_signals(kappa * float("nan"), [0, 1]),
        lambda: pair_spectral_errors(kappa * float("nan")),
        lambda: orbit_spread(kappa * float("nan")),
    ):
        with pytest.raises(InputError, match="kappa holds 16 NaN"):
            call()
    inverse = orbit_inverse(kappa, Cyclic(4))
    one, other = inverse.without_element(y, [0, 1]), inverse.without_element(y, torch.tensor([0, 1]))
    assert torch.equal(one.residual, other.residual)
    with pytest.raises(InputError, match=r"labels must be a tensor, or a list of numbers.*got \['a', 'b'\]"):
        inverse.without_element(y, ["a", "b"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="held_out must be a torch.Tensor"):
        inverse.without(y, [[True]])  # type: ignore[arg-type]
    layout = torch.arange(8).reshape(4, 2).mT
    for wrong in (-1, 9, 1):
        changed = layout.clone()
        changed[0, 0] = wrong
        with pytest.raises(InputError, match="must place the 8 points, 0 to 7"):
            orbit_geometry(gram, changed)
    with pytest.raises(InputError, match="must be a floating-point one.*got torch.int64"):
        rings(4, dtype=torch.int64)
    for wrong in ("a", None, True):
        with pytest.raises(InputError, match="ridge must be a finite number >= 0, got"):
            leave_one_out(gram, y.repeat(4, 1), ridge=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("group", [Cyclic(24), Symmetric(3)], ids=str)
def test_an_averaged_kernel_does_not_depend_on_how_pairs_are_grouped(group: Group, monkeypatch: pytest.MonkeyPatch):
    from equilearn.kernels import _theory_kappa

    orbits = random_orbits(group, 3)
    whole = orbit_kernel(skewed, orbits, group, average=True)
    points = seed_major(orbits)
    layout = torch.arange(len(points)).reshape(3, -1)
    expected = kappa_from_gram(skewed(points, points), group, layout, project=True)
    torch.testing.assert_close(whole.kappa, expected, rtol=0, atol=1e-12)
    calls = []
    counted = lambda a, b: calls.append(1) or skewed(a, b)  # noqa: E731
    orbit_kernel(counted, orbits, group, average=True)
    assert len(calls) <= 2  # not one for each pair of elements
    monkeypatch.setattr(_theory_kappa, "ROWS", 7)
    monkeypatch.setattr(_theory_kappa, "COLUMNS", 10)
    again = orbit_kernel(skewed, orbits, group, average=True)
    torch.testing.assert_close(again.kappa, whole.kappa, rtol=0, atol=1e-12)
    assert abs(again.defect - whole.defect) < 1e-9
