"""The study of planted patterns, in miniature: its models, its rows, its claims."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equilearn import studies
from equilearn._check import InputError
from equilearn.actions import graphs, sets
from equilearn.data import pattern as pattern_task
from equilearn.groups import Symmetric
from equilearn.measure import equivariance_error
from equilearn.studies.pattern import LARGEST, STRATEGIES, STUDY, _by_degree, _model, balanced_accuracy
from equilearn.symmetry import Symmetry

TINY = {"repeats": 1, "train": 24, "test": 6, "steps": 2, "batch": 4, "width": 8, "depth": 1, "eval_samples": 2}


def config(strategy: str, **given: object) -> dict:
    return next(
        c for c in STUDY.configs("quick", 0, **STUDY.settings(given={**TINY, **given})) if c["strategy"] == strategy
    )


def test_runs_and_claims(tmp_path: Path):
    summary = studies.run_study(STUDY, out=tmp_path, settings=TINY, executor=studies.InlineExecutor())
    assert [row["strategy"] for row in summary["rows"]] == list(STRATEGIES)
    assert all(0 <= row["accuracy"] <= 1 and row["gpu"] is False for row in summary["rows"])
    assert [claim["name"] for claim in summary["claims"]] == ["learned", "ahead", "canonical", "network", "degree"]
    size = {row["strategy"]: row["parameters"] for row in summary["rows"]}
    assert size["plain"] == size["average"] == size["frames"] < size["learned"] == size["canonical"]
    assert size["learned"] > size["plain"] + 20_000  # the sampler


def test_rows_are_the_same_twice():
    for strategy in ("learned", "frames"):
        first, second = (STUDY.trial(config(strategy)) for _ in range(2))
        assert first == second


def test_what_claims_say():
    scores = {"degree": 0.8, "exact": 0.85, "plain": 0.5, "average": 0.6, "frames": 0.7, "canonical": 0.84}
    rows = [{"strategy": name, "accuracy": score} for name, score in {**scores, "learned": 0.85}.items()]
    held = {claim.name: claim for claim in STUDY.claims(rows)}
    assert held["learned"].held and held["learned"].value == pytest.approx(0.85)
    assert held["ahead"].held and held["ahead"].value == pytest.approx(0.15)
    assert held["canonical"].held and held["canonical"].value == pytest.approx(0.01)
    assert not STUDY.claims([r if r["strategy"] != "frames" else {**r, "accuracy": 0.9} for r in rows])[1].held
    assert [claim.name for claim in STUDY.claims(rows[-1:])] == ["learned"]
    assert STUDY.claims([]) == []


def test_full_preset_is_the_published_size():
    settings = STUDY.settings("full")
    grid = STUDY.configs("full", 0, **settings)
    assert all(c["gpu"] for c in grid) and len(grid) == 3 * len(STRATEGIES)
    assert (settings["train"], settings["steps"], settings["batch"]) == (10_000, 25_000, 128)
    assert (settings["width"], settings["depth"], settings["patch"]) == (768, 12, 14)


def test_only_the_plain_transformer_sees_the_order():
    task = pattern_task(6, 1, seed=0, pad=LARGEST)
    x = tuple(part.double() if part.is_floating_point() else part for part in task.x_train)
    symmetry = Symmetry(Symmetric(LARGEST), graphs(), sets())
    errors = {}
    for name in ("plain", "exact"):
        errors[name] = equivariance_error(_model(config(name), task).double().eval(), symmetry, x).mean
    assert errors["plain"] > 0.05 and errors["exact"] < 1e-10


def test_degrees_say_nearly_all():
    """What the transformers are up against: a threshold on the number of neighbours."""
    task = pattern_task(60, 60, seed=1)
    assert balanced_accuracy(_by_degree(task), task.y_test) > 0.8


def test_balanced_accuracy():
    labels = torch.tensor([[0, 0, 0, 1], [0, 0, 0, -1]])
    assert balanced_accuracy(torch.zeros_like(labels), labels) == 0.5
    assert balanced_accuracy(labels.clamp_min(0), labels) == 1.0


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="Did you mean 'learned'"):
        STUDY.configs("quick", 0, **STUDY.settings(given={"strategies": ("learnt",)}))
    with pytest.raises(InputError, match="eval_samples"):
        STUDY.configs("quick", 0, **STUDY.settings(given={"eval_samples": 0}))
