"""The studies of operation tables, in miniature: their trials, their rows, their claims."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from equilearn import studies
from equilearn._check import InputError
from equilearn.data import modular_table, random_split
from equilearn.studies import _tables

NAMES = ("grokking", "imposed_features", "nonabelian", "random_circulant", "symmetry_trap")
TINY: dict[str, dict[str, Any]] = {
    "grokking": {"moduli": (11,), "iterations": 2, "operations": ("+", "-", "×"), "kernels": ("gaussian",)},
    "imposed_features": {"tables": ("11",), "operations": ("+",), "reflections": 2, "iterations": 1},
    "nonabelian": {"groups": ("S3",), "iterations": 1},
    "random_circulant": {"p": 11, "fractions": (0.5, 0.7), "learned": (0.5,), "iterations": 1, "repeats": 1},
    "symmetry_trap": {"iterations": 1, "repeats": 1, "tables": ("23",)},
}


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_claims(name, tmp_path):
    study = studies.get(name)
    summary = studies.run_study(study, out=tmp_path, settings=TINY[name], executor=studies.InlineExecutor())
    assert not summary["failed"] and summary["missing"] == 0
    assert summary["claims"] and len({claim["name"] for claim in summary["claims"]}) == len(summary["claims"])
    for row in summary["rows"]:
        accuracy = row["accuracy"] if isinstance(row["accuracy"], list) else [row["accuracy"]]
        assert all(0 <= value <= 1 for value in accuracy)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_same_twice(name):
    study = studies.get(name)
    config = study.configs("quick", 3, **study.settings(given=TINY[name]))[-1]
    before = torch.get_rng_state()
    assert study.trial(config) == study.trial(config)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_decide_nothing(name):
    found = studies.get(name).claims([])
    assert found and all(math.isnan(claim.value) and not claim.held for claim in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_grid_is_larger(name):
    study = studies.get(name)
    quick = study.configs("quick", 0, **study.settings("quick"))
    full = study.configs("full", 0, **study.settings("full"))
    assert len(full) > len(quick)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("grokking", {"fraction": 1.0}),
        ("grokking", {"kernels": ("laplac",)}),
        ("grokking", {"moduli": (15,)}),
        ("imposed_features", {"fraction": 0.0}),
        ("imposed_features", {"iterations": 0}),
        ("nonabelian", {"groups": ("SO3",)}),
        ("nonabelian", {"moved": 0}),
        ("random_circulant", {"learned": (1.5,)}),
        ("symmetry_trap", {"tables": ("22",)}),
        ("symmetry_trap", {"repeats": 0}),
    ],
)
def test_bad_settings_are_refused_before_any_trial(name, bad):
    study = studies.get(name)
    with pytest.raises(InputError):
        study.configs("quick", 0, **study.settings(given=bad))


def test_a_tie_is_no_right_answer():
    outputs = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.5 + 1e-10, 0.5], [0.0, 1.0]], dtype=torch.float64)
    found = _tables.answered_right(outputs, torch.zeros(4, dtype=torch.int64))
    assert found.tolist() == [True, False, False, False]


def test_films_keep_first_and_last_features():
    table = modular_table(11)
    train = random_split(table, 0.8, torch.Generator().manual_seed(0))
    found = _tables.fit_table(table, train, "gaussian", 14)
    frames = _tables.film(found)
    assert len(frames) == _tables.FRAMES
    assert (frames[0]["iteration"], frames[-1]["iteration"]) == (0, 14)
    assert found.machines[-1].history and len(found.ranks) == 15


def test_one_point_moved_is_learned_and_none_is_not():
    """p = 23, as derived: 0 of 23 with the symmetry kept, 19 of 24 once one entry is moved, whichever it is."""
    study = studies.get("symmetry_trap")
    grid = study.configs("quick", 0, **study.settings(given={"tables": ("23",), "iterations": 12, "repeats": 1}))
    kept, moved = (next(c for c in grid if c["split"] == split) for split in ("fixed", "moved"))
    kept, moved = study.trial(kept), study.trial(moved)
    assert (kept["most_right"], kept["warning"]) == (0, "trap")
    assert (moved["right"], moved["held_out"], moved["warning"]) == (19, 24, "none")


def test_imposed_features_answer_what_they_reach():
    study = studies.get("imposed_features")
    given = {"tables": ("19",), "operations": ("-",), "reflections": 2, "iterations": 2}
    rows = [{**c, **study.trial(c)} for c in study.configs("quick", 0, **study.settings(given=given))]
    assert all(claim.held for claim in study.claims(rows)), study.claims(rows)


def test_the_curve_of_a_difference_is_that_of_a_sum():
    study = studies.get("grokking")
    given = {
        "moduli": (17,),
        "iterations": 6,
        "operations": ("+", "-"),
        "kernels": ("gaussian",),
        "fraction": 0.8,
        "repeats": 1,
    }
    plus, minus = (study.trial(c) for c in study.configs("quick", 0, **study.settings(given=given)))
    assert plus["accuracy"] == minus["accuracy"]
    assert plus["deviation"] == pytest.approx(minus["deviation"], rel=1e-6)


def test_random_features_beat_the_identity():
    study = studies.get("random_circulant")
    given = {"p": 31, "fractions": (0.7,), "kernels": ("gaussian",), "learned": (0.7,), "iterations": 1, "repeats": 1}
    rows = [{**c, **study.trial(c)} for c in study.configs("quick", 0, **study.settings(given=given))]
    accuracy = {row["features"]: row["accuracy"] for row in rows}
    assert accuracy["random circulant"] > 0.9
    assert accuracy["identity"] < 0.05


def test_a_central_shift_is_a_trap_in_a_table_that_does_not_commute():
    """Q8 x C3, 80 % of the table: closed under the shift of order 3, and with five entries moved (seed 0)."""
    study = studies.get("nonabelian")
    given = {"groups": ("Q8xC3",), "iterations": 25}
    grid = study.configs("quick", 0, **study.settings(given=given))
    rows = {c["split"]: study.trial(c) for c in grid if c["shift"] in (0, 1)}
    assert rows["random"]["last"] > 0.6
    assert rows["closed"]["central_powers"] == 3 and rows["closed"]["last"] < 0.15
    assert rows["moved"]["last"] > 0.4
