"""The study of tables of numbers, in miniature: its data, its methods, its rows, its claims."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from equilearn import report, studies
from equilearn._check import InputError
from equilearn.studies import _tabular_methods as methods_file
from equilearn.studies._tabular_data import CLASSES, MADE, NAMES, Table, load
from equilearn.studies._tabular_methods import METHODS
from equilearn.studies.tabular import STUDY, at_unit_scale

TINY = {"data": ("wine", "steps"), "samples": 80, "repeats": 1}
INSTALLED = [name for name in METHODS if name != "xrfm"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few trees, and no xrfm, installed or not."""
    monkeypatch.setattr(methods_file, "BOOSTED", 12)
    monkeypatch.setattr(methods_file, "GROWN", 5)
    monkeypatch.setitem(sys.modules, "xrfm", None)


def config(data: str, method: str, **given: Any) -> dict[str, Any]:
    grid = STUDY.configs("quick", 0, **STUDY.settings(given={**TINY, **given, "data": (data,)}))
    return next(c for c in grid if c["method"] == method)


# --- data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_data_are_whole(name: str):
    table = load(name, 200, 3)
    assert table.x.dtype == np.float64 and np.isfinite(table.x).all() and np.isfinite(table.y).all()
    assert len(table.x) == len(table.y) and table.classes == (name in CLASSES)
    if name in MADE:
        assert len(table.x) == 200
        again, other = load(name, 200, 3), load(name, 200, 4)
        assert np.array_equal(table.x, again.x) and np.array_equal(table.y, again.y)
        assert not np.array_equal(table.x, other.x)


def test_housing_is_skewed_and_correlated():
    table = load("housing", 4000, 0)
    x = (table.x - table.x.mean(0)) / table.x.std(0)
    assert ((x[:, [0, 2, 4, 5]] ** 3).mean(0) > 0.5).all()  # income, rooms, people, household
    assert np.corrcoef(x[:, 2], x[:, 3])[0, 1] > 0.7  # rooms and bedrooms
    assert (table.y > 0).all()


def test_three_directions_matter():
    """Moments see them: b c is a quadratic form of rank two, of trace 0; sin 2a a linear one."""
    table = load("multi_index", 200_000, 0)
    form = np.einsum("n,ni,nj->ij", table.y - table.y.mean(), table.x, table.x) / len(table.y)
    values = np.linalg.eigvalsh(form)
    assert values[-1] > 0.9 and values[0] < -0.9 and np.abs(values[1:-1]).max() < 0.1


def test_parts_hold_the_same_share_of_each_class():
    table = load("wine", 50, 0)
    first, rest = table.parted(0.25, np.random.default_rng(0))
    assert len(first.y) + len(rest.y) == len(table.y)
    assert [int((first.y == label).sum()) for label in range(3)] == [15, 18, 12]
    assert {tuple(row) for row in first.x}.isdisjoint({tuple(row) for row in rest.x})


def test_losses_and_scales():
    numbers = Table(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([2.0, 6.0]), classes=False)
    labels = Table(numbers.x, np.array([0, 1]), classes=True)
    assert numbers.loss(np.full(2, 4.0)) == 1 and numbers.loss(numbers.y) == 0
    assert labels.loss(np.array([1, 1])) == 0.5
    scaled, other = at_unit_scale(numbers, numbers)
    np.testing.assert_allclose(scaled.x, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(other.y, [-1, 1])
    assert at_unit_scale(labels, labels)[0].y is labels.y


# --- methods and rows ------------------------------------------------------------------------


def test_as_many_candidates_for_each_method():
    assert {len(method.candidates) for method in METHODS.values()} == {6}


def test_runs_says_what_it_skipped_and_reports(tmp_path: Path):
    summary = studies.run_study(STUDY, out=tmp_path, settings=TINY, executor=studies.InlineExecutor())
    assert not summary["failed"] and len(summary["rows"]) == 2 * len(METHODS)
    for row in summary["rows"]:
        if row["method"] == "xrfm":
            assert row["note"].startswith("skipped: the package xrfm is not installed") and "error" not in row
        else:
            assert row["score"] == 1 - row["error"] <= 1 and row["fit_seconds"] > 0 and row["predict_seconds"] >= 0
    assert [claim["name"] for claim in summary["claims"]] == ["kernel ridge", "trees"]
    assert not summary["claims"][0]["held"]  # one split decides nothing
    assert "skipped: the package xrfm" in report.render(summary)


@pytest.mark.parametrize("method", INSTALLED)
@pytest.mark.parametrize("data", ["wine", "steps"])
def test_rows_are_the_same_twice(data: str, method: str):
    before = torch.get_rng_state()
    first, again = (STUDY.trial(config(data, method)) for _ in range(2))
    for row in (first, again):
        del row["fit_seconds"], row["predict_seconds"]
    assert first == again
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("method", INSTALLED)
def test_every_candidate_learns(method: str):
    """Each is far better than a constant on an easy table, and a fit of the chosen steps is the one that was kept."""
    held, train = load("wine", 50, 0).parted(0.4, np.random.default_rng(0))
    train, held = at_unit_scale(train, held)
    for candidate in METHODS[method].candidates:
        predict, steps = METHODS[method].fit(candidate, train, held, None)
        assert held.loss(predict(held.x)) < 0.25, candidate
        again, same = METHODS[method].fit(candidate, train, None, steps)
        assert same == steps and np.array_equal(again(held.x), predict(held.x)), candidate


class FakeMachine:
    """What the study asks of the class `xrfm.xRFM`: it predicts the first target that it saw."""

    made: list[FakeMachine] = []

    def __init__(self, **settings: Any):
        self.settings = settings
        self.made.append(self)

    def fit(self, x: torch.Tensor, y: torch.Tensor, x_held: torch.Tensor, y_held: torch.Tensor) -> None:
        torch.rand(1)  # as the real one draws from the global generator
        assert x.dtype == x_held.dtype == torch.float32
        self.first = y[0]
        self.trees = [{"model": SimpleNamespace(best_iter=2)}]

    def predict(self, x: torch.Tensor) -> np.ndarray:
        return np.full((len(x), 1), float(self.first))


def test_xrfm_chooses_its_iterations_once_and_then_keeps_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "xrfm", SimpleNamespace(xRFM=FakeMachine))
    monkeypatch.setattr(FakeMachine, "made", [])
    before = torch.get_rng_state()
    row = STUDY.trial(config("steps", "xrfm"))
    assert torch.equal(before, torch.get_rng_state())
    assert row["steps"] == 2 and row["error"] > 0.5 and row["chosen"].startswith("kernel l2, exponent 1")
    *tried, final = (machine.settings["rfm_params"]["fit"] for machine in FakeMachine.made[6:])  # six to warm up
    assert len(tried) == 6 and all(fit["iters"] == methods_file.ITERATIONS for fit in tried)
    assert final["iters"] == 2 and not final["return_best_params"] and not final["early_stop_rfm"]
    assert FakeMachine.made[0].settings["tuning_metric"] == "mse"


@pytest.mark.slow
def test_the_real_xrfm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "xrfm")
    pytest.importorskip("xrfm")
    for data in ("wine", "steps"):
        row = STUDY.trial(config(data, "xrfm"))
        assert row["error"] < 0.7 and 0 <= row["steps"] <= methods_file.ITERATIONS


# --- claims ----------------------------------------------------------------------------------


def rows(errors: dict[tuple[str, str], tuple[float, ...]], seconds: dict[str, float] | None = None) -> list[dict]:
    taken = {"rfm": 1.0, "xrfm": 2.0, **(seconds or {})}
    return [
        {"data": data, "method": method, "seed": seed, "error": error, "fit_seconds": taken.get(method, 1.0)}
        for (data, method), found in errors.items()
        for seed, error in enumerate(found)
    ]


GOOD = {
    ("multi_index", "rfm"): (0.004, 0.006),
    ("multi_index", "xrfm"): (0.005, 0.006),
    ("multi_index", "kernel ridge"): (0.3, 0.4),
    ("steps", "rfm"): (0.05, 0.07),
    ("steps", "xrfm"): (0.06, 0.05),
    ("steps", "kernel ridge"): (0.06, 0.075),
    ("steps", "boosting"): (0.01, 0.01),
}


def test_what_claims_say():
    found = {claim.name: claim for claim in STUDY.claims(rows(GOOD))}
    assert list(found) == ["kernel ridge", "features", "trees", "xrfm", "speed"]
    assert all(claim.held for claim in found.values())
    assert found["kernel ridge"].value == 2 and found["kernel ridge"].bound == ">= 1"
    assert found["xrfm"].value == pytest.approx(0.00225)  # of -0.0055 and 0.01
    assert found["features"].value == pytest.approx(0.005 / 0.35)
    assert found["trees"].value == pytest.approx(1 / 6)
    assert found["speed"].value == pytest.approx(0.5)
    assert STUDY.claims([]) == []


def test_claims_can_fail():
    bad = {**GOOD, ("steps", "rfm"): (0.08, 0.09), ("multi_index", "kernel ridge"): (0.001, 0.003)}
    bad[("steps", "boosting")] = (0.07, 0.08)
    found = {claim.name: claim for claim in STUDY.claims(rows(bad, {"rfm": 3.0}))}
    assert not any(claim.held for claim in found.values())
    assert "behind on multi_index, steps" in found["kernel ridge"].statement and found["kernel ridge"].value == 0
    assert "on steps" in found["xrfm"].statement and found["xrfm"].value == pytest.approx(0.01475)
    assert found["speed"].value == pytest.approx(1.5)


def test_one_split_decides_nothing_and_a_skipped_rival_no_claim():
    once = [row for row in rows(GOOD) if row["seed"] == 0 and row["method"] != "xrfm"]
    skipped = {"data": "steps", "method": "xrfm", "seed": 0, "note": "skipped"}
    found = {claim.name: claim for claim in STUDY.claims([*once, skipped])}
    assert list(found) == ["kernel ridge", "features", "trees"] and not found["kernel ridge"].held


# --- settings --------------------------------------------------------------------------------


def test_presets():
    quick = STUDY.configs("quick", 2, **STUDY.settings())
    assert len(quick) == 7 * 5 * 5 and {c["seed"] for c in quick} == set(range(2000, 2005))
    assert {c["samples"] for c in quick if c["data"] == "digits"} == {None}
    full = STUDY.configs("full", 0, **STUDY.settings("full"))
    assert len(full) == 2 * len(quick) and {c["samples"] for c in full if c["data"] in MADE} == {10_000}
    assert STUDY.weight is not None and STUDY.weight(full[-1]) > STUDY.weight(quick[-1])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"data": ("whine",)}, "Unknown data set 'whine'. Did you mean 'wine'"),
        ({"methods": ("forest",)}, "Unknown method"),
        ({"samples": 49}, "samples"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_bad_settings(bad: dict, message: str):
    with pytest.raises(InputError, match=message):
        STUDY.configs("quick", 0, **STUDY.settings(given=bad))
