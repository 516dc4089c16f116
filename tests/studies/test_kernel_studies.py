"""The studies of neural kernels, in miniature: their trials, their rows, their claims."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equilearn import studies
from equilearn._check import InputError
from equilearn.actions import images
from equilearn.groups import Cyclic
from equilearn.studies import _digit_orbits
from equilearn.studies.image_groups import odd_elements, seeds_of

MNIST = Path(__file__).parents[3] / "shared" / "data" / "t10k-images-idx3-ubyte.gz"
needs_mnist = pytest.mark.skipif(not MNIST.exists(), reason="the MNIST test digits are not beside the repository")

TINY: dict[str, dict[str, Any]] = {
    "toy_rings": {"orders": (4, 8), "separations": (0.1, 1.0)},
    "rotated_digits": {
        "pairs": 4,
        "orders": (2, 4),
        "conv_pairs": 3,
        "conv_orders": (4,),
        "images": 2,
        "tests": 2,
        "image_orders": (8,),
    },
    "rotated_networks": {"per_class": 5, "steps": 2, "repeats": 2, "orders": (2,), "angles": (2, 3), "angle_steps": 2},
    "shift_collapse": {"pairs": 2, "orders": (2, 4), "trained_orders": (2,), "per_class": 4, "steps": 2},
    "image_groups": {"per_class": 3, "trained_per_class": 2, "steps": 2},
    "architectures": {"networks": ("MLP 2", "CNN circular, flatten", "CNN circular, pool"), "per_class": 1},
}
NAMES = tuple(TINY)


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_claims(name: str, tmp_path: Path):
    study = studies.get(name)
    summary = studies.run_study(study, out=tmp_path, settings=TINY[name], executor=studies.InlineExecutor())
    assert not summary["failed"] and summary["missing"] == 0
    assert summary["claims"] and len({claim["name"] for claim in summary["claims"]}) == len(summary["claims"])


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_same_twice(name: str):
    study = studies.get(name)
    before = torch.get_rng_state()
    for config in (study.configs("quick", 3, **study.settings(given=TINY[name]))[place] for place in (0, -1)):
        assert study.trial(config) == study.trial(config)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_decide_nothing(name: str):
    found = studies.get(name).claims([])
    assert found and all(math.isnan(claim.value) and not claim.held for claim in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_preset_asks_for_more(name: str):
    study = studies.get(name)
    quick, full = study.settings("quick"), study.settings("full")
    assert quick != full and quick.get("data") == full.get("data")
    assert study.configs("quick", 0, **quick) and study.configs("full", 0, **full)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("toy_rings", {"orders": (1,)}),
        ("toy_rings", {"separations": (-1.0,)}),
        ("toy_rings", {"ridge": -1.0}),
        ("rotated_digits", {"networks": ("MLP 3",)}),
        ("rotated_digits", {"pairs": 2}),
        ("rotated_digits", {"orders": (1,)}),
        ("rotated_networks", {"networks": ("RNN",)}),
        ("rotated_networks", {"digit": 10}),
        ("rotated_networks", {"per_class": 10_000}),
        ("shift_collapse", {"digit": 10}),
        ("shift_collapse", {"orders": (0, 2)}),
        ("shift_collapse", {"trained_orders": (16,)}),
        ("rotated_digits", {"images": 10_000}),
        ("image_groups", {"per_class": 100}),
        ("architectures", {"data": "nbody"}),
        ("rotated_networks", {"steps": 0}),
        ("shift_collapse", {"orders": (3,)}),
        ("shift_collapse", {"data": "digit"}),
        ("image_groups", {"groups": ("Q8",)}),
        ("architectures", {"networks": ("CNN",)}),
    ],
)
def test_bad_settings_are_refused_before_any_trial(name: str, bad: dict[str, Any]):
    study = studies.get(name)
    with pytest.raises(InputError):
        study.configs("quick", 0, **study.settings(given=bad))


def _images(path: Path, classes: int, height: int = 12, width: int = 12) -> str:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(90 * classes) % classes
    x = torch.rand(len(y), 1, height, width, generator=generator)
    x[torch.arange(len(y)), 0, :, y] += 1
    np.savez(path, x=x.numpy(), y=y.numpy())
    return str(path)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "toy_rings"])
def test_images_that_are_not_square_are_refused_before_any_trial(name: str, tmp_path: Path):
    study = studies.get(name)
    wide = _images(tmp_path / "wide.npz", 10, 12, 14)
    with pytest.raises(InputError, match="square images, which can be turned; its images are 12 pixels high and 14"):
        study.configs("quick", 0, **study.settings(given={"data": wide}))


@pytest.mark.parametrize("name", ["rotated_networks", "shift_collapse"])
def test_a_digit_that_the_data_lack_is_refused_before_any_trial(name: str, tmp_path: Path):
    study = studies.get(name)
    three = _images(tmp_path / "three.npz", 3)
    with pytest.raises(InputError, match="choose from 0, 1, 2"):
        study.configs("quick", 0, **study.settings(given={"data": three}))
    assert study.configs("quick", 0, **study.settings(given={"data": three, "digit": 2}))


def test_a_network_that_does_not_fit_the_images_is_refused_before_any_trial(tmp_path: Path):
    study = studies.get("rotated_networks")
    odd = _images(tmp_path / "odd.npz", 10, 11, 11)
    with pytest.raises(InputError, match="Patches of 4"):
        study.configs("quick", 0, **study.settings(given={"data": odd}))
    assert study.configs("quick", 0, **study.settings(given={"data": odd, "networks": ("MLP",)}))


def test_figures_that_are_no_numbers_decide_nothing():
    row = {"part": "one digit", "network": "MLP", "unseen": None, "in_distribution": None}
    claims = studies.get("rotated_networks").claims([{**row, "order": order} for order in (2, 32)])
    assert claims and all(claim.held is None for claim in claims)


def test_claims_are_tested_only_where_they_are_meant():
    """Few angles are no test of a claim about many."""
    row = {"part": "one digit", "network": "MLP", "unseen": 0.4, "in_distribution": 0.9}
    held = {c.name: c.held for c in studies.get("rotated_networks").claims([{**row, "order": n} for n in (4, 8)])}
    assert held == {"all digits": None, "MLP, few angles": None, "MLP, many angles": None}
    held = {c.name: c.held for c in studies.get("rotated_networks").claims([{**row, "order": n} for n in (2, 32)])}
    assert held == {"all digits": None, "MLP, few angles": False, "MLP, many angles": False}


# --- parts ----------------------------------------------------------------------------------------


def test_toy_claims_hold():
    study = studies.get("toy_rings")
    rows = [{**c, **study.trial(c)} for c in study.configs("quick", 0, **study.settings())]
    assert all(claim.held for claim in study.claims(rows)), study.claims(rows)


@pytest.mark.parametrize(
    ("name", "given", "tested"),
    [
        ("rotated_digits", {"networks": ("MLP 1",), "orders": (4, 8), "image_orders": (8,), "tests": 5}, 8),
        ("architectures", {"networks": (*TINY["architectures"]["networks"], "CNN same, flatten"), "per_class": 2}, 7),
    ],
)
def test_claims_that_a_part_of_the_defaults_tests_hold(name: str, given: dict[str, Any], tested: int):
    study = studies.get(name)
    rows = [{**c, **study.trial(c)} for c in study.configs("quick", 0, **study.settings(given=given))]
    decided = [claim.held for claim in study.claims(rows) if claim.held is not None]
    assert decided == [True] * tested, study.claims(rows)


def test_ranks_of_what_is_all_alike():
    assert _digit_orbits.spearman([1, 2, 3], [0.1, 0.5, 0.9]) == pytest.approx(1)
    assert _digit_orbits.spearman([0.1, 0.2], [1.0, 1.0]) == 0
    assert math.isnan(_digit_orbits.spearman([], []))


def test_turned_images_have_no_mean_and_norm_1():
    x, _ = _digit_orbits.pictures("digits")
    points = _digit_orbits.turned(_digit_orbits.with_room(x[:3]), 8)
    assert points.shape == (8, 3, 400)
    assert float(points.mean(-1).abs().max()) < 1e-12
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(8, 3, dtype=torch.float64))
    quarter = points[0].reshape(3, 20, 20)
    turned = points[2].reshape(3, 20, 20)
    assert min(float((torch.rot90(quarter, k, (1, 2)) - turned).abs().max()) for k in (1, 3)) < 1e-9


def test_odd_elements_are_mirror_images_and_swaps():
    generator = torch.Generator().manual_seed(0)
    for name, order in (("D4", 8), ("S3", 6)):
        _, labels, symmetry = seeds_of("digits", name, 1, generator)
        odd = odd_elements(symmetry)
        assert odd.shape == (order,) and int(odd.sum()) == order // 2 and not bool(odd[0])
        assert sorted(labels.tolist()) == list(range(10))


def test_networks_come_from_their_seed():
    before = torch.get_rng_state()
    for name in _digit_orbits.NETWORKS:
        one, same, other = (_digit_orbits.network(name, 20, 10, seed) for seed in (1, 1, 2))
        x = torch.rand(3, 1, 20, 20, generator=torch.Generator().manual_seed(0))
        assert one(x).shape == (3, 10)
        assert torch.equal(one(x), same(x)) and not torch.equal(one(x), other(x))
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(InputError, match="Patches of 4"):
        _digit_orbits.network("ViT", 10, 10, 0)


def test_what_is_held_out_is_not_trained_on():
    """A network that only ever sees one class answers that one."""
    x, y = torch.randn(2, 10, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 2
    held_out = (y == 1).expand(2, -1)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    _digit_orbits.trained_without(model, x, y, held_out, steps=200, seed=0, learning_rate=0.1)
    assert _digit_orbits.share_right(model, x[0, y == 1], y[y == 1]) == 0
    assert _digit_orbits.share_right(model, x[0, y == 0], y[y == 0]) == 1


def test_a_class_with_too_few_images():
    with pytest.raises(InputError, match="class 1 has 1"):
        _digit_orbits.chosen(torch.tensor([0, 0, 1]), 2, torch.Generator(), [0, 1])


def test_blocks_equal_direct_solutions_on_digits():
    study = studies.get("image_groups")
    for config in study.configs("quick", 0, **study.settings(given={"per_class": 4, "repeats": 0})):
        row = study.trial(config)
        assert max(row["off_one"], row["off_coset"], row["off_random"]) < 1e-10


def _row(name: str, data: Path, given: dict[str, Any], part: str) -> dict[str, Any]:
    study = studies.get(name)
    grid = study.configs("quick", 0, **study.settings(given={"data": str(data), **given}))
    return study.trial(next(config for config in grid if config["part"] == part))


@needs_mnist
@pytest.mark.parametrize(
    ("order", "published"), [(2, 1.210), (4, 1.105), (8, 0.914)], ids=["2 angles", "4 angles", "8 angles"]
)
def test_pairs_of_mnist_digits(order: int, published: float):
    """Other pairs than the published ones: means of 100 within 5 standard errors of the difference."""
    row = _row("rotated_digits", MNIST, {"orders": (order,)}, "pairs")
    assert abs(row["error"] - published) < 5 * 2**0.5 * row["standard_error"]
    assert row["correlation"] > 0.99
    assert abs(row["block_error"] - row["error"]) < 1e-3 and row["block_off"] < 0.02


@needs_mnist
def test_thirteen_mnist_digits_of_a_class():
    row = _row("rotated_digits", MNIST, {"image_orders": (8,), "tests": 10}, "images")
    assert abs(row["block_error"] - row["error"]) < 0.012
    assert row["pair_error"] - row["error"] > 0.12


@needs_mnist
def test_pooling_collapses_mnist_shifts():
    row = _row("shift_collapse", MNIST, {"orders": (7,)}, "kernel")
    assert row["error"] > 0.5  # the first is the head that flattens
    study = studies.get("shift_collapse")
    grid = study.configs("quick", 0, **study.settings(given={"data": str(MNIST), "orders": (7,)}))
    row = study.trial(next(c for c in grid if c["head"] == "pool"))
    assert row["error"] < 1e-6 and row["spread"] < 1e-8


def test_bilinear_turns_are_what_networks_are_shown():
    """Quarter turns among them are exact, so that an upright image is never blurred."""
    x, _ = _digit_orbits.pictures("digits")
    x = _digit_orbits.with_room(x[:2])
    action = images().on(Cyclic(8))
    orbit: Tensor = action.orbit(torch.arange(8), x)
    assert torch.equal(orbit[0], x) and torch.equal(orbit[2], torch.rot90(x, 1, (-2, -1)))
