"""Predicting what a network makes of group elements that a class was not shown."""

from __future__ import annotations

import json

import pytest
import torch
from orbit_cases import GROUPS, gaussian, one_vs_rest, random_orbits, random_rep, refit, seed_major
from torch import Tensor, nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points, vectors
from equilearn.groups import SO, Cyclic, Dihedral, Group, O, Symmetric
from equilearn.kernels import SymmetryComparison, SymmetryPrediction, predict_symmetry_learning, rings
from equilearn.kernels.neural import Architecture
from equilearn.reps import from_function, permutation

TURNS = eq.Symmetry(Cyclic(4), input=images())
MLP = Architecture.mlp(2)


def flat(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-(torch.cdist(a.flatten(1), b.flatten(1)) ** 2) / 8)


def real_digits(per_class: int = 4, classes: int = 10) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    y = torch.tensor(labels)
    index = torch.cat([torch.nonzero(y == c).flatten()[:per_class] for c in range(classes)])
    return torch.tensor(pixels / 16).reshape(-1, 1, 8, 8)[index], y[index]


def rows_shifted(n: int = 8) -> eq.Symmetry:
    """Circular shifts of images along their last axis, exact."""
    group = Cyclic(n)
    turns = torch.stack([(torch.arange(n) + k) % n for k in range(n)])
    return eq.Symmetry(group, input=vectors(permutation(group, turns)))


def by_refit(x: Tensor, y: Tensor, symmetry: eq.Symmetry, held_out: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Errors and seeds of the held-out points by training again on all the others, with the MLP's kernel."""
    group = symmetry.group
    order = group.order or 1
    everything = seed_major(symmetry.input.orbit(group.elements(), x)).flatten(1)
    gram = MLP.ntk(everything)
    gram = gram / gram.diagonal().mean()
    targets = one_vs_rest(y).repeat_interleave(order, 0)
    index = torch.nonzero(held_out.flatten()).flatten()
    outputs = targets[index] - refit(gram, targets, index, ridge)
    own = outputs.gather(1, y[index // order][:, None]).flatten()
    best = outputs.scatter(1, y[index // order][:, None], -torch.inf).amax(1)
    return 1 - (own - best) / 2, index


# --- against golden values and direct solutions ----------------------------------------------------


@pytest.mark.parametrize(("n", "golden"), [(4, 1.0474362483), (8, 0.5399695128), (16, 0.0127276194)])
def test_toy(n: int, golden: float):
    x, symmetry = rings(n)
    found = predict_symmetry_learning(
        x, [0, 1], symmetry, lambda a, b: torch.exp(-(1.4**2) * torch.cdist(a, b) ** 2), ridge=0.0
    )
    torch.testing.assert_close(
        found.error[:, 0], torch.full((2,), golden, dtype=torch.float64), rtol=0, atol=1e-9
    )  # cdist rounds near 0
    assert bool(found.error[:, 1:].isnan().all())
    assert found.answer == ("yes" if golden < 1 else "no")
    assert found.accuracy[0, 0] == (golden < 1)
    torch.testing.assert_close(found.density / found.signal, found.class_error, rtol=1e-8, atol=0)
    assert not found.collapsed and found.assumptions == () and len(found.notes) == 3


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4)], ids=str)
def test_real_digits_blocks_equal_the_direct_solution(group: Group):
    x, y = real_digits()
    symmetry = eq.Symmetry(group, input=images())
    blocks = predict_symmetry_learning(x, y, symmetry, MLP)
    direct = predict_symmetry_learning(x, y, symmetry, MLP, method="direct")
    for a, b in ((blocks.error, direct.error), (blocks.accuracy, direct.accuracy), (blocks.density, direct.density)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9, equal_nan=True)
    assert blocks.action_defect == 0 and blocks.kernel_defect < 1e-8
    for c in (3, 8):
        held_out = torch.zeros(len(y), group.order or 1, dtype=torch.bool)
        held_out[y == c, 0] = True
        errors, _ = by_refit(x, y, symmetry, held_out, 1e-6)
        assert abs(float(errors.mean()) - float(blocks.error[c, 0])) < 1e-8
        assert float((errors < 1).double().mean()) == float(blocks.accuracy[c, 0])


def test_what_was_seen_by_class_and_by_seed():
    x, y = real_digits(4, 4)
    by_class = torch.ones(4, 4, dtype=torch.bool)
    by_class[1, 1:] = False
    by_class[3, 0] = False
    found = predict_symmetry_learning(x, y, TURNS, MLP, by_class)
    assert torch.equal(found.held_out, ~by_class)
    assert torch.equal(found.error.isnan(), by_class)
    errors, index = by_refit(x, y, TURNS, ~by_class[y], 1e-6)
    for c, e in ((1, 1), (1, 3), (3, 0)):
        cell = (y[index // 4] == c) & (index % 4 == e)
        assert abs(float(errors[cell].mean()) - float(found.error[c, e])) < 1e-8
    same = predict_symmetry_learning(x, y, TURNS, MLP, by_class[y])
    torch.testing.assert_close(same.error, found.error, equal_nan=True)
    by_seed = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) < 0.7
    by_seed[::4] = True
    found = predict_symmetry_learning(x, y, TURNS, MLP, by_seed)
    direct = predict_symmetry_learning(x, y, TURNS, MLP, by_seed, method="direct")
    torch.testing.assert_close(found.error, direct.error, rtol=0, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(found.density, direct.density, rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_any_finite_group(group: Group):
    orbits = random_orbits(group, 6)
    matrices = random_rep(group)
    symmetry = eq.Symmetry(group, input=vectors(from_function(group, lambda g: matrices[group.index_of(g)])))
    labels = torch.tensor([5, 5, 7, 7, 9, 9])
    found = predict_symmetry_learning(orbits[0], labels, symmetry, gaussian)
    direct = predict_symmetry_learning(orbits[0], labels, symmetry, gaussian, method="direct")
    torch.testing.assert_close(found.error, direct.error, rtol=0, atol=1e-8, equal_nan=True)
    assert found.classes == (5, 7, 9) and found.counts == (2, 2, 2)
    assert bool(found.growth) == isinstance(group, Cyclic)


def test_growth_is_the_prediction_for_the_subgroups():
    x, symmetry = rings(12)
    found = predict_symmetry_learning(x, [0, 1], symmetry, flat)
    assert [step.order for step in found.growth] == [2, 3, 4, 6, 12]
    action = symmetry.input
    for step in found.growth:
        part = Cyclic(step.order)
        every = 12 // step.order
        matrix = from_function(part, lambda g, every=every: action.rep.matrix(g * every))  # type: ignore[attr-defined]
        alone = predict_symmetry_learning(x, [0, 1], eq.Symmetry(part, input=vectors(matrix)), flat)
        torch.testing.assert_close(step.error, alone.error[:, 0], rtol=0, atol=1e-9)
    below = [step.order for step in found.growth if float(step.error.mean()) < 1]
    assert found.learnable_order == min(below) and below == [s for s in (2, 3, 4, 6, 12) if s >= min(below)]
    assert found.learnable_at == (found.learnable_order,) * 2


def test_growth_is_of_the_question_that_is_asked():
    x, y = real_digits(2, 3)
    seen = torch.ones(3, 4, dtype=torch.bool)
    seen[1, 2] = False
    assert predict_symmetry_learning(x, y, TURNS, MLP, seen).growth == ()
    assert predict_symmetry_learning(x, y, TURNS, MLP, method="direct").growth == ()
    half = x + torch.rot90(x, 2, (-2, -1))
    whole = predict_symmetry_learning(half, y, TURNS, MLP, whole_cosets=True, ridge=1e-8)
    plain = predict_symmetry_learning(half, y, TURNS, MLP, ridge=1e-8)
    torch.testing.assert_close(whole.growth[-1].error, whole.error[:, 0])
    assert float(whole.growth[0].error.mean()) > 0.5 > 1e-3 > float(plain.growth[0].error.mean())
    assert whole.growth_is_exact
    smooth = predict_symmetry_learning(x, y, eq.Symmetry(Cyclic(8), input=images()), MLP)
    assert not smooth.growth_is_exact and not smooth.as_dict()["growth_is_exact"]
    assert "error by number of elements, approximately, 2: " in str(smooth)


# --- the reason ------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Cyclic(16)], ids=str)
def test_for_one_missing_point_the_error_is_density_over_the_dual_separation(group: Group):
    """`1 / (y alpha)`, from the fit to all points alone."""
    from equilearn.kernels import orbit_inverse, orbit_kernel

    x, y = real_digits(1)
    symmetry = eq.Symmetry(group, input=images())
    found = predict_symmetry_learning(x, y, symmetry, MLP)
    kernel = orbit_kernel(
        lambda a, b: MLP.ntk(a.flatten(1), b.flatten(1)), symmetry.input.orbit(group.elements(), x), group
    )
    kappa = kernel.kappa / kernel.kappa[..., 0].diagonal().mean()
    alpha = orbit_inverse(kappa, group, ridge=1e-6).duals(one_vs_rest(y))
    best = (alpha.diagonal()[:, None] - alpha).masked_fill(torch.eye(10, dtype=torch.bool), torch.inf)
    # The rival is the class with the largest output at the missing point, which has the largest residual difference.
    worst = best.masked_fill(torch.eye(10, dtype=torch.bool), -torch.inf)
    separations = 2 / best, 2 / worst
    inside = ((found.separation[:, None] - separations[0]).abs() < 1e-6 * found.separation[:, None]).any(1)
    assert bool(inside.all())
    torch.testing.assert_close(found.density / found.separation, found.class_error, rtol=1e-3, atol=0)


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Cyclic(16)], ids=str)
@pytest.mark.parametrize("per_class", [1, 2, 5, 10])
def test_the_error_is_below_one_exactly_where_separation_exceeds_density(group: Group, per_class: int):
    x, y = real_digits(per_class)
    found = predict_symmetry_learning(x, y, eq.Symmetry(group, input=images()), MLP)
    assert torch.equal(found.separation > found.density, found.class_error < 1)
    rows = found.as_dict()["classes"]
    assert [row["separation"] > row["density"] for row in rows] == [row["error"] < 1 for row in rows]


def test_orbits_that_collapse_onto_each_other_are_not_learned():
    x = torch.ones(6, 1, 4, 4, dtype=torch.float64)
    found = predict_symmetry_learning(x, [0, 0, 1, 1, 2, 2], TURNS, MLP)
    assert found.collapsed and found.answer == "no"
    assert "this architecture is invariant, and cannot tell the classes apart" in str(found)
    assert found.density.tolist() == [0.0] * 3 and bool(found.separation.isnan().all())
    assert found.as_dict()["classes"][0]["separation"] is None


# --- architectures ---------------------------------------------------------------------------------


def test_pooling_collapses_the_orbits_of_shifts_and_comparison_ranks_it_first():
    x, y = real_digits(3, 4)
    found = predict_symmetry_learning(
        x, y, rows_shifted(), {"flatten": Architecture.cnn(1), "pool": Architecture.cnn(1, pool=True), "mlp": MLP}
    )
    assert isinstance(found, SymmetryComparison)
    pool = found.predictions["pool"]
    assert found.ranking[0] == "pool" and found.best is pool
    assert pool.collapsed and pool.mean_error < 1e-2 and pool.answer == "yes"
    assert not found.predictions["flatten"].collapsed and found.predictions["flatten"].mean_error > 0.5
    assert "Orbits collapse" in str(found) and json.dumps(found.as_dict(), allow_nan=False)


def test_nngp_and_float32_inputs():
    x, y = real_digits(3, 3)
    nngp = predict_symmetry_learning(x, y, TURNS, MLP, kernel="nngp")
    assert nngp.source == "nngp in closed form"
    again = predict_symmetry_learning(x, y, TURNS, lambda a, b: MLP.nngp(a.flatten(1), b.flatten(1)))
    torch.testing.assert_close(again.error, nngp.error, equal_nan=True)
    assert again.source == "given kernel"
    single = predict_symmetry_learning(x.float(), y, TURNS, MLP)
    torch.testing.assert_close(single.error, predict_symmetry_learning(x, y, TURNS, MLP).error, equal_nan=True)
    assert single.error.dtype == torch.float64


def test_modules_are_read_or_measured():
    x, y = real_digits(3, 3)
    readable = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    read = predict_symmetry_learning(x, y, TURNS, readable)
    assert read.source == "ntk in closed form" and read.architecture.startswith("Flatten-Dense(0.5774,")
    rows = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))  # acts on rows of pixels
    assert predict_symmetry_learning(x, y, TURNS, rows).source == "empirical ntk"
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Softmax(-1), nn.Linear(32, 3))
    found = predict_symmetry_learning(x, y, TURNS, other)
    assert found.source == "empirical ntk" and found.kernel_defect > 1e-4
    assert any("one finite network" in text for text in found.assumptions)
    assert any("The kernel is not invariant under C4: by 0." in text for text in found.assumptions)
    assert next(other.parameters()).dtype == torch.float32  # the module is left as it was
    with pytest.raises(InputError, match=r'no closed-form nngp: .*Use kernel="ntk"'):
        predict_symmetry_learning(x, y, TURNS, other, kernel="nngp")


def test_draws_of_a_factory_give_a_band():
    x, y = real_digits(2, 3)

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    before = torch.random.get_rng_state()
    found = predict_symmetry_learning(x, y, TURNS, build, draws=3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    band = found.band
    assert band is not None and band.draws == 3 and tuple(band.error.shape) == (2, 3, 4)
    low, high = band.error[:, :, 0]
    assert bool((low < high).all()) and bool(((low <= found.error[:, 0]) & (found.error[:, 0] <= high)).all())
    again = predict_symmetry_learning(x, y, TURNS, build, draws=3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.error[:, 0], found.error[:, 0])
    assert "over 3 draws" in str(found) and found.as_dict()["draws"] == 3
    assert not any("give a function" in text for text in found.assumptions)  # one was given
    single = predict_symmetry_learning(x, y, TURNS, build, draws=1, generator=torch.Generator().manual_seed(1))
    assert [s.inverse for s in found.spectrum] != [s.inverse for s in single.spectrum]
    assert sum(s.share for s in found.spectrum) == pytest.approx(1)
    assert predict_symmetry_learning(x, y, TURNS, build, draws=1).band is None


# --- what does not hold ------------------------------------------------------------------------------


def test_a_continuous_group_is_replaced_by_equal_turns():
    x, y = real_digits(2, 3)
    found = predict_symmetry_learning(x, y, eq.Symmetry(SO(2), input=images()), MLP, rotations=8)
    assert found.group == Cyclic(8) and 0.01 < found.action_defect < 1 and found.kernel_defect > 1e-3
    assert "SO2 is infinite: C8, turns by 45 degrees, stands in for it." in found.assumptions
    assert any("C8 does not act on these data" in text and "0." in text for text in found.assumptions)
    direct = predict_symmetry_learning(x, y, eq.Symmetry(SO(2), input=images()), MLP, rotations=8, method="direct")
    torch.testing.assert_close(found.error, direct.error, rtol=0, atol=0.2, equal_nan=True)
    assert direct.kernel_defect == pytest.approx(found.kernel_defect, rel=1e-4)
    quarter = predict_symmetry_learning(x, y, eq.Symmetry(SO(2), input=images()), MLP, rotations=4)
    assert quarter.action_defect == 0
    torch.testing.assert_close(
        quarter.error, predict_symmetry_learning(x, y, TURNS, MLP).error, rtol=0, atol=1e-9, equal_nan=True
    )
    cloud = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = predict_symmetry_learning(cloud, [0, 0, 1, 1], eq.Symmetry(O(2), input=points()), flat, rotations=3)
    assert turned.group == Dihedral(3) and turned.action_defect < 1e-12 and len(turned.assumptions) == 1


def test_seeds_with_stabilizers():
    """A seed that a half turn leaves alone has its missing point in training, unless all names of it are taken away."""
    x, y = real_digits(3, 3)
    x[4] = x[4] + torch.rot90(x[4], 2, (-2, -1))
    with pytest.raises(InputError, match=r"1 of 9 seeds are left as they are .*seed 4.*Give a ridge"):
        predict_symmetry_learning(x, y, TURNS, MLP, ridge=0.0)
    kept = predict_symmetry_learning(x, y, TURNS, MLP)
    assert any("in training under another name" in text for text in kept.assumptions)
    whole = predict_symmetry_learning(x, y, TURNS, MLP, whole_cosets=True, ridge=1e-8)
    assert any("all names of a missing point were held out" in text for text in whole.assumptions)
    held_out = torch.zeros(9, 4, dtype=torch.bool)
    held_out[y == 1, 0] = True
    held_out[4, 2] = True
    errors, index = by_refit(x, y, TURNS, held_out, 1e-8)
    expected = float(errors[index % 4 == 0].mean())
    assert abs(float(whole.error[1, 0]) - expected) < 1e-5
    assert float(whole.error[1, 0]) > float(kept.error[1, 0]) + 0.05
    assert whole.held_out.sum() == 3  # what was asked for
    direct = predict_symmetry_learning(x, y, TURNS, MLP, whole_cosets=True, ridge=1e-8, method="direct")
    torch.testing.assert_close(whole.error, direct.error, rtol=0, atol=1e-5, equal_nan=True)


def test_seeds_of_one_orbit_are_found():
    x, y = real_digits(3, 3)
    x[7] = torch.rot90(x[1], 1, (-2, -1))
    with pytest.raises(
        InputError, match=r"1 pair of seeds shares an orbit \(seed 1 is element 3 on seed 7\), 1 of them"
    ):
        predict_symmetry_learning(x, y, TURNS, MLP, ridge=0.0)
    found = predict_symmetry_learning(x, y, TURNS, MLP)
    assert any("with different labels" in text for text in found.assumptions)


def test_pairs_of_seeds_are_counted_once():
    x, y = real_digits(2, 2)
    x[1] = x[0] = x[0] + sum(torch.rot90(x[0], k, (-2, -1)) for k in (1, 2, 3))  # joined by all four turns
    found = predict_symmetry_learning(x, y, TURNS, MLP)
    assert any(text.startswith("1 pair of seeds shares an orbit") for text in found.assumptions)
    many = x[:1].repeat(120, 1, 1, 1)
    found = predict_symmetry_learning(torch.cat([many, x]), torch.cat([torch.zeros(120, dtype=y.dtype), y]), TURNS, MLP)
    assert any("at least 4096 pairs of seeds share an orbit" in text.lower() for text in found.assumptions)


def test_turned_copies_of_seeds_can_be_held_out_as_well():
    """With quarter-turned copies of every seed, nothing is missing; taking all copies away gives the truth back."""
    x, y = real_digits(4)
    turned = torch.cat([torch.rot90(x, k, (-2, -1)) for k in range(2)])
    labels = y.repeat(2)
    alone = predict_symmetry_learning(x, y, TURNS, MLP)
    kept = predict_symmetry_learning(turned, labels, TURNS, MLP)
    assert alone.answer == "no" and kept.answer == "yes"  # as it should be said, with the reason
    assert any("in training under another seed, and so is not missing" in text for text in kept.assumptions)
    whole = predict_symmetry_learning(turned, labels, TURNS, MLP, whole_cosets=True)
    assert any("all names of a missing point were held out" in text for text in whole.assumptions)
    # Either copy of a seed misses two elements of the same orbit: as the seeds alone, each without these two.
    half = torch.zeros(len(y), 4, dtype=torch.bool)
    errors = []
    for c in range(10):
        half[:] = False
        half[y == c, 0] = half[y == c, 1] = True
        _, index = by_refit(x, y, TURNS, half, 1e-6)
        found = predict_symmetry_learning(x, y, TURNS, MLP, ~half)
        errors.append(found.error[c, :2].mean())
    torch.testing.assert_close(whole.class_error, torch.stack(errors), rtol=0, atol=2e-3)
    assert whole.growth[-1].error.tolist() == pytest.approx(whole.class_error.tolist())
    assert float(whole.growth[0].error.mean()) > 0.1  # copies by half turns alone: none here


def test_unbalanced_classes_are_said():
    x, y = real_digits(6, 2)
    keep = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    found = predict_symmetry_learning(x[keep], y[keep], TURNS, MLP)
    assert any("6 seeds of class 0, 1 of class 1" in text for text in found.assumptions)


def test_a_kernel_that_knows_nothing():
    x, y = real_digits(2, 3)
    found = predict_symmetry_learning(
        x, y, TURNS, lambda a, b: (torch.cdist(a.flatten(1), b.flatten(1)) < 1e-3).double()
    )
    torch.testing.assert_close(found.error[:, 0], torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-9)
    assert found.mean_accuracy == 0 and found.answer == "no" and found.learnable_order is None


# --- results and bad input ---------------------------------------------------------------------------


def test_results_are_plain_and_readable():
    x, y = real_digits(2, 3)
    found = predict_symmetry_learning(x, y, TURNS, MLP)
    assert isinstance(found, SymmetryPrediction)
    plain = found.as_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["elements"][1] == {"index": 1, "element": "quarter turn"}
    assert plain["per_element"]["error"][0][1] is None and plain["per_element"]["error_band"] is None
    assert [row["name"] for row in plain["spectrum"]] == ["trivial", "frequency 2", "frequency 1"]
    assert plain["classes"][0]["missing"] == 1 and len(plain["notes"]) == 3
    text = str(found)
    assert (
        text.startswith(f"Would {MLP!r} learn C4 alone?")
        and "class 2: error" in text
        and "error by number of elements 2: " in text
    )


def test_bad_input_is_named():
    x, y = real_digits(2, 3)

    def predict(*args, **options):
        return predict_symmetry_learning(*(args or (x, y, TURNS, MLP)), **options)

    with pytest.raises(InputError, match="x must be a tensor"):
        predict(x.numpy(), y, TURNS, MLP)
    with pytest.raises(InputError, match="x is empty"):
        predict(x[:0], y[:0], TURNS, MLP)
    with pytest.raises(InputError, match="x holds 384 NaN"):
        predict(x * float("nan"), y, TURNS, MLP)
    with pytest.raises(InputError, match="symmetry must be a Symmetry"):
        predict(x, y, Cyclic(4), MLP)
    with pytest.raises(InputError, match="one class for each of the 6 seeds"):
        predict(x, y[1:], TURNS, MLP)
    with pytest.raises(InputError, match="All 6 seeds are of class 0: with one class"):
        predict(x, y * 0, TURNS, MLP)
    with pytest.raises(InputError, match="labels must be whole numbers"):
        predict(x, y + 0.5, TURNS, MLP)
    with pytest.raises(InputError, match="output action must be trivial, not images"):
        predict(x, y, eq.Symmetry(Cyclic(4), input=images(), output=images()), MLP)
    with pytest.raises(InputError, match="has one element only"):
        predict(x, y, eq.Symmetry(Cyclic(1), input=images()), MLP)
    with pytest.raises(InputError, match="is infinite, and only SO2 and O2 have"):
        predict(x, y, eq.Symmetry(eq.Translation(2), input=images()), MLP)
    with pytest.raises(InputError, match="images need data of shape"):
        predict(x.flatten(1), y, TURNS, MLP)
    for wrong in (float("nan"), "a", None):
        with pytest.raises(InputError, match="ridge must be"):
            predict(ridge=wrong)
    for wrong in (["a"] * 6, None, [[0], [1, 2]]):
        with pytest.raises(InputError, match="labels must be a tensor, or a list of numbers"):
            predict(x, wrong, TURNS, MLP)
    for value in (float("inf"), 1e300):
        with pytest.raises(InputError, match="labels must be whole numbers"):
            predict(x, [value, 0.0, 0.0, 1.0, 1.0, 1.0], TURNS, MLP)
    for wrong in ([[True], [True, False]], "all"):
        with pytest.raises(InputError, match="seen must be a tensor, or a list of Booleans"):
            predict(x, y, TURNS, MLP, wrong)
    for wrong in (nn.Linear(100, 3), nn.Sequential(nn.Flatten(), nn.Linear(100, 3)), nn.Conv2d(3, 4, 3)):
        with pytest.raises(InputError, match=r"fails on one input of shape \(1, 8, 8\): RuntimeError"):
            predict(x, y, TURNS, wrong)
    with pytest.raises(InputError, match=r"^The kernel fails on inputs of shape .*: RuntimeError"):
        predict(x, y, TURNS, lambda a, b: a @ b.flatten(1).mT)
    with pytest.raises(InputError, match="Unknown method 'fast'"):
        predict(method="fast")
    with pytest.raises(InputError, match="Unknown kernel 'tnk'. Did you mean 'ntk'"):
        predict(kernel="tnk")
    with pytest.raises(InputError, match="the dictionary is empty"):
        predict(x, y, TURNS, {})
    for wrong in ("mlp", 3, lambda a, b, c: a):
        with pytest.raises(InputError, match="No kernel is known for"):
            predict(x, y, TURNS, wrong)
    with pytest.raises(InputError, match="must build a torch module, this one gave int"):
        predict(x, y, TURNS, lambda: 3)
    with pytest.raises(InputError, match="must give one value for each pair"):
        predict(x, y, TURNS, lambda a, b: a.flatten(1))
    with pytest.raises(InputError, match="^The kernel must return the matrix as a tensor, got tuple"):
        predict(x, y, TURNS, lambda a, b: (a, b))  # "The kernel", not "The kernel of the kernel"
    with pytest.raises(InputError, match="the kernel holds 144 NaN"):
        predict(x, y, TURNS, lambda a, b: flat(a, b) * float("nan"))
    with pytest.raises(InputError, match="mean of k.x, x. for the kernel is -1"):
        predict(x, y, TURNS, lambda a, b: -flat(a, b))
    with pytest.raises(InputError, match=r"of C4\) is indefinite: its smallest eigenvalue is -\d"):
        predict(x, y, TURNS, lambda a, b: 1 - torch.cdist(a.flatten(1), b.flatten(1)) ** 2)
    with pytest.raises(InputError, match="singular to working precision.*Add a ridge"):
        predict(x, y, rows_shifted(), Architecture.cnn(1, pool=True), ridge=0.0)


def test_bad_statements_of_what_was_seen():
    x, y = real_digits(2, 3)
    seen = torch.ones(3, 4, dtype=torch.bool)

    def predict(seen):
        return predict_symmetry_learning(x, y, TURNS, MLP, seen)

    with pytest.raises(InputError, match="All elements of all classes were seen: there is nothing to predict"):
        predict(seen)
    with pytest.raises(InputError, match="Nothing at all was seen of class 1"):
        predict(seen.index_fill(0, torch.tensor([1]), False))
    with pytest.raises(InputError, match=r"\(3, 4\) or \(6, 4\) for C4; got \(4, 3\)"):
        predict(seen.mT)
    with pytest.raises(InputError, match="seen must be Boolean"):
        predict(seen.float())
    assert predict(seen.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(False)).tolist()).held_out.sum() == 1


def test_the_direct_way_has_a_limit():
    x = torch.randn(800, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    action = vectors(from_function(Symmetric(3), lambda g: torch.eye(3, dtype=torch.float64)[g].mT))
    with pytest.raises(InputError, match="solves for all 9600 points, more than 6000"):
        predict_symmetry_learning(
            x.repeat(2, 1), torch.arange(1600) % 2, eq.Symmetry(Symmetric(3), input=action), flat, method="direct"
        )


def test_the_way_by_blocks_has_a_limit(monkeypatch: pytest.MonkeyPatch):
    from equilearn.kernels import _predict

    monkeypatch.setattr(_predict, "BLOCKS_LIMIT", 100)
    x, y = real_digits(2, 3)
    with pytest.raises(InputError, match="6 seeds under C4 make a kernel of 144 numbers, more than 100: use fewer"):
        predict_symmetry_learning(x, y, TURNS, MLP)


def test_the_action_is_tried_on_seeds_all_over():
    """Blank images of the first class say nothing of how others are turned."""
    x, y = real_digits(2, 3)
    x, y = torch.cat([torch.zeros(20, 1, 8, 8, dtype=x.dtype), x]), torch.cat([torch.full((20,), -1), y])
    found = predict_symmetry_learning(x, y, eq.Symmetry(Cyclic(8), input=images()), MLP)
    assert found.action_defect > 0.01
    assert any("does not act on these data" in text for text in found.assumptions)
