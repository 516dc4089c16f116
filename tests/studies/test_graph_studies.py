"""The studies of graphs, end to end at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from equilearn._check import InputError
from equilearn.studies import exp, get, graph8c, run_study


def test_small_graphs_are_told_apart_and_message_passing_misses_pairs(tmp_path: Path):
    settings = {"nodes": 6, "samples": 2, "repeats": 48, "copies": 100, "rounds": 6}
    summary = run_study("graph8c", out=tmp_path, settings=settings)
    assert not summary["failed"]
    held = {claim["name"]: claim for claim in summary["claims"]}
    assert list(held) == ["message passing", "frames", "learned", "false positives", "published test"]
    assert all(held[name]["held"] for name in ("message passing", "frames", "learned", "published test"))
    rows = {row["method"]: row for row in summary["rows"]}
    assert rows["message passing"]["undistinguished"] == rows["message passing"]["beyond_refinement"] == 3
    assert rows["learned"]["left"][-1] == 0 and not rows["learned"]["deterministic"]
    assert rows["frames"]["deterministic"] and rows["average"]["undistinguished"] > 0
    assert sum(row["false_positives"] for row in summary["rows"]) == 0


def test_rows_that_are_missing_hold_no_claim():
    assert not any(claim.held for claim in graph8c.claims([]))
    assert not any(claim.held for claim in exp.claims([]))


def test_formulas_are_learned_end_to_end(tmp_path: Path):
    settings = {
        "pairs": 8,
        "test": 4,
        "variables": (4,),
        "planar": (8, 8),
        "steps": 2,
        "batch": 4,
        "samples": 2,
        "test_samples": (1, 2),
        "bases": ("gin", "mlp"),
        "warmup": 1,
    }
    summary = run_study("exp", out=tmp_path, settings=settings)
    rows = summary["rows"]
    assert len(rows) == 9 and not summary["failed"]
    passing = next(row for row in rows if row["method"] == "message passing")
    assert passing["accuracy"] == 0.5  # both graphs of a pair get one answer
    learned = next(row for row in rows if row["method"] == "learned")
    assert set(learned["by_samples"]) == {"1", "2"} and learned["nodes"] == 24 and learned["test_graphs"] == 8
    assert {claim["name"] for claim in summary["claims"]} == {"message passing", "learned", "average"}


def test_the_full_presets_are_those_of_the_paper():
    full = get("exp").settings("full")
    assert (full["pairs"], full["samples"], full["temperature"], full["batch"]) == (600, 10, 0.01, 100)
    model = exp._OrderedMLP(64, published=True)
    widths = [part.out_features for part in model.body if hasattr(part, "out_features")]
    assert widths == [2048, 4096, 2048, 10, 2]
    assert next(model.parameters()).shape[1] == 4224
    configs = exp.configs("full", 0, **full)
    assert len(configs) == 3 * (1 + 4 * 2)
    assert get("graph8c").settings("full")["samples"] == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"methods": ("magic",)}, "method 'magic'"), ({"bases": ("cnn",)}, "base network"), ({"trials": 0}, "trials")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str):
    for study in (graph8c, exp):
        with pytest.raises(InputError, match=message):
            study.configs("quick", 0, **{**study.STUDY.defaults, **settings})
    with pytest.raises(InputError, match="level must lie"):
        graph8c.configs("quick", 0, **{**graph8c.STUDY.defaults, "level": 2.0})
