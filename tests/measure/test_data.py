"""Are the data symmetric, does the pose tell the label: false alarms, power, bad input."""

from __future__ import annotations

import json
import math
import time

import pytest
import torch
from torch import Tensor

import equilearn as eq
from equilearn.measure import data_symmetry

TURNS = eq.Symmetry(eq.Cyclic(4), eq.actions.images())
CIRCLE = eq.Symmetry(eq.SO(2), eq.actions.images())


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))[:1200]
    x = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    return x[order], torch.as_tensor(bunch.target)[order]


def turned_blobs(count: int, rng: torch.Generator, size: int = 12, spread: float = math.pi) -> tuple[Tensor, Tensor]:
    """Two shapes of three blobs at a random angle within `spread`, computed and not interpolated."""
    grid = torch.linspace(-1, 1, size, dtype=torch.float64)
    right, up = grid.expand(size, size), -grid[:, None].expand(size, size)
    angle = spread * (2 * torch.rand(count, generator=rng, dtype=torch.float64) - 1)
    label = torch.randint(2, (count,), generator=rng)
    image = torch.zeros(count, size, size, dtype=torch.float64)
    for radius, phase, height in ((0.5, 0.0, 1.0), (0.35, 2.0, 0.6), (0.55, 3.6, 0.8)):
        direction = angle + phase * torch.where(label == 0, 1.0, 0.5)
        middle = [radius * f(direction)[:, None, None] for f in (torch.cos, torch.sin)]
        image = image + height * torch.exp(-((right - middle[0]) ** 2 + (up - middle[1]) ** 2) / (2 * 0.22**2))
    return image.unsqueeze(1), label


def test_digits_are_not_symmetric_and_a_turned_six_is_a_nine(digits: tuple[Tensor, Tensor]) -> None:
    start = time.process_time()
    found = data_symmetry(*digits, TURNS, generator=torch.Generator().manual_seed(1))
    assert time.process_time() - start < 12  # about 3 s on an idle core
    assert found.symmetric is False and found.p_value < 1e-10 and found.effect > 0.4
    assert found.pose is not None and found.pose.informative and found.pose.p_value < 0.01
    assert (6, 9) in [(c.a, c.b) for c in found.pose.confusions[:2]]
    assert found.pose.confusions[0].label == "half turn" and found.pose.confusions[0].rate > 0.2
    assert len(found.coverage) == 10
    assert all(c.coverage is not None and c.coverage < 0.5 for c in found.coverage)
    assert "not symmetric under C4" in str(found) and "pass for class" in str(found)
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.slow
def test_digits_under_all_rotations(digits: tuple[Tensor, Tensor]) -> None:
    found = data_symmetry(*digits, CIRCLE, generator=torch.Generator().manual_seed(1))
    assert found.symmetric is False and found.effect > 0.3 and found.interpolated
    assert found.pose is not None and found.pose.informative
    assert {(6, 9), (9, 6)} & {(c.a, c.b) for c in found.pose.confusions[:3]}
    assert found.pose.accuracy_removed < found.pose.accuracy_kept


def test_randomly_turned_digits_are_symmetric(digits: tuple[Tensor, Tensor]) -> None:
    rng = torch.Generator().manual_seed(2)
    x = TURNS.act_input(torch.randint(4, (1200,), generator=rng), digits[0])
    found = data_symmetry(x, digits[1], TURNS, generator=rng)
    assert found.symmetric is True and found.p_value > 0.01
    assert found.pose is not None and not found.pose.informative
    assert all(c.coverage is not None and c.coverage > 0.5 for c in found.coverage)
    assert "look symmetric" in found.sentence and "No sign" in found.pose.sentence


def test_false_alarms_of_the_two_sample_test() -> None:
    """At level 0.05 on round clouds: 100 trials, at most 12 alarms (more has probability 1e-3)."""
    from equilearn.measure._data import _half_moved
    from equilearn.measure._two_sample import tell_apart

    rng = torch.Generator().manual_seed(0)
    symmetry = eq.Symmetry(eq.SO(2), eq.reps.defining(eq.SO(2)))
    alarms = 0
    for seed in range(100):
        rows, coin = _half_moved(symmetry, torch.randn(80, 2, generator=rng), None, rng)
        alarms += tell_apart(rows, coin, seed=seed, trees=25).p_value < 0.05
    assert alarms <= 12


@pytest.mark.parametrize("group", [eq.Cyclic(8), eq.SO(2)], ids=str)
def test_false_alarms_on_a_grid(group: eq.Group) -> None:
    """Images of functions at uniform angles: 15 trials at level 0.05, at most 4 p-values below (more: 6e-4),
    and no verdict against the symmetry, which asks for an effect surely beyond the guard as well."""
    rng = torch.Generator().manual_seed(0)
    symmetry = eq.Symmetry(group, eq.actions.images())
    found = [data_symmetry(turned_blobs(300, rng)[0], None, symmetry, level=0.05, generator=rng) for _ in range(15)]
    assert sum(one.p_value < 0.05 for one in found) <= 4
    assert not any(one.symmetric is False for one in found)


@pytest.mark.slow
def test_the_grid_alone_is_no_evidence_on_large_data() -> None:
    """4,000 sharp blobs, on which interpolating eighths of turns used to give an area of 0.78."""
    rng = torch.Generator().manual_seed(0)
    x = turned_blobs(4000, rng)[0] ** 6
    for group in (eq.Cyclic(8), eq.SO(2)):
        found = data_symmetry(x, None, eq.Symmetry(group, eq.actions.images()), generator=rng, limit=4000)
        assert found.effect < 0.1 and found.symmetric is not False


def test_an_interpolated_verdict_needs_the_whole_interval() -> None:
    from equilearn.measure._data import _verdict

    assert _verdict(True, (0.05, 0.25), exact=False) is None
    assert _verdict(True, (0.11, 0.25), exact=False) is False
    assert _verdict(True, (0.05, 0.25), exact=True) is False
    assert _verdict(False, (-0.05, 0.09), exact=False) is True


def test_copies_of_samples_are_no_further_evidence() -> None:
    """30 draws of a round cloud, each ten times: 40 trials at level 0.05, at most 7 alarms (more: 7e-4).
    Without regard to the copies every trial is one."""
    rng = torch.Generator().manual_seed(0)
    symmetry = eq.Symmetry(eq.SO(2), eq.reps.defining(eq.SO(2)))
    alarms = 0
    for _ in range(40):
        x = torch.randn(30, 2, generator=rng).repeat(10, 1)
        found = data_symmetry(x, None, symmetry, generator=rng)
        assert found.samples == 300 and found.distinct == 30
        alarms += found.p_value < 0.05
    assert alarms <= 7


def test_copies_do_not_hide_an_asymmetry(generator: torch.Generator) -> None:
    symmetry = eq.Symmetry(eq.SO(2), eq.reps.defining(eq.SO(2)))
    x = (torch.randn(150, 2, generator=generator) + torch.tensor([3.0, 0.0])).repeat(4, 1)
    y = torch.randint(2, (150,), generator=generator).repeat(4)
    found = data_symmetry(x, y, symmetry, generator=generator)
    assert found.symmetric is False and found.pose is not None and found.distinct == 150
    few = data_symmetry(x[:15].repeat(4, 1), y[:60], symmetry, generator=generator)
    assert few.pose is None and all(c.coverage is None for c in few.coverage)
    one = data_symmetry(x[:1].repeat(50, 1), None, symmetry, generator=generator)
    assert one.p_value == 1.0 and one.symmetric is None and "distinct samples (1)" in one.sentence


def test_the_test_of_groups_is_mann_whitney_where_groups_are_single(generator: torch.Generator) -> None:
    import numpy as np
    from scipy.stats import mannwhitneyu

    from equilearn.measure._two_sample import _p_value_of_groups

    scores = torch.randn(300, generator=generator, dtype=torch.float64).round(decimals=1).numpy()  # with ties
    marks = (torch.rand(300, generator=generator) < 0.4).numpy()
    expected = mannwhitneyu(
        scores[marks], scores[~marks], alternative="greater", method="asymptotic", use_continuity=False
    )
    assert _p_value_of_groups(scores, marks, np.arange(300)) == pytest.approx(float(expected.pvalue), rel=1e-9)


def test_labels_far_apart_cost_nothing(digits: tuple[Tensor, Tensor]) -> None:
    """Labels {0, ..., 9} and {0, 10^9, ...} give the same; tables of all labels would not fit anywhere."""
    x, y = digits[0][:300], digits[1][:300]
    near, far = (
        data_symmetry(x, labels, TURNS, generator=torch.Generator().manual_seed(1)) for labels in (y, y * 10**9)
    )
    assert near.pose is not None and far.pose is not None
    assert [c.label for c in far.coverage] == [c.label * 10**9 for c in near.coverage]
    assert [(c.a, c.b, c.rate) for c in far.pose.confusions] == [
        (c.a * 10**9, c.b * 10**9, c.rate) for c in near.pose.confusions
    ]
    many = data_symmetry(x, torch.arange(300) * 100, TURNS, generator=torch.Generator().manual_seed(1))
    assert len(many.coverage) == 300 and all(c.coverage is None for c in many.coverage)


def test_false_alarms_of_the_pose() -> None:
    """Uniform poses of two shapes: 20 trials at level 0.05, at most 5 alarms (more: 3e-4)."""
    from equilearn.measure._pose import pose_information

    rng = torch.Generator().manual_seed(0)
    alarms = 0
    for _ in range(20):
        x, y = turned_blobs(120, rng)
        x = x + 0.3 * torch.randn(x.shape, generator=rng, dtype=x.dtype)  # noise, so that shapes are confused
        alarms += pose_information(CIRCLE.input, x, y, level=0.05, generator=rng).informative
    assert alarms <= 5


def test_upright_shapes_that_never_meet_have_no_pose_information() -> None:
    """Not symmetric, and still the pose says nothing about the label: no turn of one class is the other."""
    rng = torch.Generator().manual_seed(0)
    x, y = turned_blobs(400, rng, spread=0.2)
    found = data_symmetry(x, y, CIRCLE, generator=rng)
    assert found.symmetric is False
    assert found.pose is not None and not found.pose.informative
    assert found.pose.accuracy_removed > 0.95


def test_labels_that_are_the_pose() -> None:
    """An arrow that points in one of four directions: the pose is all there is."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(4, (400,), generator=rng)
    arrows = TURNS.act_input(
        y, turned_blobs(1, torch.Generator().manual_seed(1), spread=0.0)[0].expand(400, -1, -1, -1)
    )
    arrows = arrows + 0.05 * torch.randn(arrows.shape, generator=rng, dtype=arrows.dtype)
    found = data_symmetry(arrows, y, TURNS, generator=rng)
    assert found.pose is not None and found.pose.informative and found.pose.effect > 0.8
    assert found.pose.accuracy_kept > 0.99 and found.pose.accuracy_removed < 0.6
    assert found.symmetric is True  # all four directions are equally frequent
    assert all(c.coverage is not None and c.coverage < 0.1 for c in found.coverage)


def test_targets_that_transform_are_tested_jointly() -> None:
    """y = x is equivariant; y = a fixed direction is not, although x alone is symmetric."""
    G = eq.SO(2)
    V = eq.reps.defining(G)
    symmetry = eq.Symmetry(G, V, V)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(600, 2, generator=rng)
    good = data_symmetry(x, 2 * x, symmetry, generator=rng)
    bad = data_symmetry(x, torch.stack([x[:, 0], 0 * x[:, 1]], dim=1), symmetry, generator=rng)
    assert good.joint and good.symmetric is not False and good.pose is None and good.coverage == ()
    assert bad.symmetric is False


def test_sets_in_random_order_are_symmetric_and_sorted_ones_are_not(generator: torch.Generator) -> None:
    symmetry = eq.Symmetry(eq.Symmetric(6), eq.actions.sets())
    x = torch.randn(400, 6, generator=generator)
    assert data_symmetry(x, None, symmetry, generator=generator).symmetric is not False
    assert data_symmetry(x.sort(-1).values, None, symmetry, generator=generator).symmetric is False


def test_few_samples_are_no_evidence(generator: torch.Generator) -> None:
    symmetry = eq.Symmetry(eq.SO(2), eq.reps.defining(eq.SO(2)))
    found = data_symmetry(torch.randn(24, 2, generator=generator), None, symmetry, generator=generator)
    assert found.symmetric is None and "Too few" in found.sentence


def test_a_seed_decides_everything(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:200], digits[1][:200]
    first, second = (data_symmetry(x, y, CIRCLE, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert first == second


def test_large_inputs_are_reduced(generator: torch.Generator) -> None:
    x = torch.rand(120, 3, 50, 50, generator=generator)
    found = data_symmetry(x, None, TURNS, generator=generator, limit=80)
    assert found.samples == 80
    wide = eq.Symmetry(eq.SO(2), eq.actions.vectors(eq.reps.defining(eq.SO(2)), None))
    assert data_symmetry(torch.randn(40, 6000, generator=generator), None, wide, generator=generator).samples == 40


def test_one_class_and_rare_classes(generator: torch.Generator) -> None:
    x = torch.rand(100, 1, 4, 4, generator=generator)
    one = data_symmetry(x, torch.zeros(100, dtype=torch.int64), TURNS, generator=generator)
    assert one.pose is not None and not one.pose.informative and one.pose.confusions == ()
    rare = data_symmetry(x, torch.arange(100) // 97, TURNS, generator=generator)
    assert rare.coverage[1].coverage is None and rare.coverage[1].samples == 3


def test_names_of_classes_are_used(digits: tuple[Tensor, Tensor]) -> None:
    names = [f"digit-{i}" for i in range(10)]
    found = data_symmetry(digits[0], digits[1], TURNS, generator=torch.Generator().manual_seed(1), class_names=names)
    assert found.pose is not None and "digit-6" in found.pose.sentence


IMAGES = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (IMAGES[:5], None, "at least 20 samples, got 5"),
        (IMAGES[:0], None, "empty"),
        (IMAGES * torch.nan, None, "NaN"),
        (IMAGES[:, 0], None, "unsqueeze"),
        (IMAGES, torch.zeros(7, dtype=torch.int64), "30 samples"),
        (IMAGES, torch.full((30,), -1), "got -1"),
        (IMAGES, torch.full((30,), torch.nan), "y holds 30 NaN"),
        (IMAGES, torch.zeros(30, dtype=torch.bool), "long"),
        (IMAGES, [0] * 30, "must be a tensor"),
    ],
)
def test_data_that_cannot_be_tested_are_refused(x: Tensor, y: Tensor | None, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        data_symmetry(x, y, TURNS)
