"""The study of cycles, in miniature: its models, its rows, its claims."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from equilearn import studies
from equilearn._check import InputError
from equilearn.studies.cycles import STRATEGIES, STUDY

TINY = {"repeats": 1, "steps": 2, "average_steps": 2, "control_steps": 2, "samples": 2, "test": 6}


def config(strategy: str, **given: object) -> dict:
    grid = STUDY.configs("quick", 0, **STUDY.settings(given={**TINY, **given}))
    return next(c for c in grid if c["strategy"] == strategy)


def test_runs_and_claims(tmp_path: Path):
    summary = studies.run_study(STUDY, out=tmp_path, settings=TINY, executor=studies.InlineExecutor())
    assert [(row["strategy"], row["nodes"]) for row in summary["rows"]] == [
        *((s, 12) for s in STRATEGIES),
        ("average", 8),
    ]
    assert all(0 <= row[f"accuracy_{k}"] <= 1 for row in summary["rows"] for k in (1, 10, 50))
    assert [c["name"] for c in summary["claims"]] == ["learned", "average", "canonical", "message passing", "control"]


def test_rows_are_the_same_twice_and_leave_global_randomness_alone():
    before = torch.get_rng_state()
    for strategy in STRATEGIES:
        first, second = (STUDY.trial(config(strategy)) for _ in range(2))
        assert first == second
    assert torch.equal(before, torch.get_rng_state())


def test_what_claims_say():
    rows = [
        {"strategy": name, "nodes": nodes, **{f"accuracy_{k}": score for k in (1, 10, 50)}}
        for name, nodes, score in (
            ("learned", 12, 0.97),
            ("learned", 12, 1.0),
            ("average", 12, 0.52),
            ("canonical", 12, 0.5),
            ("message passing", 12, 0.5),
            ("average", 8, 0.99),
        )
    ]
    found = STUDY.claims(rows)
    assert all(claim.held for claim in found)
    assert [claim.value for claim in found] == pytest.approx([0.97, 0.52, 0.5, 0.5, 0.99])
    assert all(math.isnan(claim.value) and not claim.held for claim in STUDY.claims([]))


def test_the_full_preset_has_larger_graphs_and_one_control_a_repeat():
    grid = STUDY.configs("full", 1, **STUDY.settings("full"))
    assert len(grid) == 10 * (2 * len(STRATEGIES) + 1)
    assert {c["nodes"] for c in grid} == {8, 12, 16}


@pytest.mark.parametrize("bad", [{"nodes": (4,)}, {"steps": 0}, {"samples": 0}, {"repeats": 0}])
def test_bad_settings(bad):
    with pytest.raises(InputError):
        STUDY.configs("quick", 0, **STUDY.settings(given=bad))


@pytest.mark.slow
def test_learned_orders_succeed_where_random_ones_do_not():
    learned = STUDY.trial(config("learned", steps=250, samples=10, test=200))
    average = STUDY.trial(config("average", average_steps=500, samples=10, test=200))
    assert learned["accuracy_50"] >= 0.95
    assert average["accuracy_50"] <= 0.65
