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
from equilearn.studies.pattern import (
    LARGEST,
    STRATEGIES,
    STUDY,
    _by_degree,
    _model,
    _parts,
    balanced_accuracy,
    difference,
)
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
    names = ["degree", "given", "learned > canonical", "canonical > frames", "frames > average", "network"]
    assert [claim["name"] for claim in summary["claims"]] == names
    steps = {row["strategy"]: row["steps"] for row in summary["rows"]}
    assert steps["exact-long"] == 3 * steps["exact"] == 3 * steps["learned"]
    assert all(len(row["accuracy_parts"]) == 6 for row in summary["rows"])
    size = {row["strategy"]: row["parameters"] for row in summary["rows"]}
    assert size["plain"] == size["average"] == size["frames"] < size["learned"] == size["canonical"]
    assert size["learned"] > size["plain"] + 20_000  # the sampler


def test_rows_are_the_same_twice():
    for strategy in ("learned", "frames", "exact"):
        first, second = (STUDY.trial(config(strategy)) for _ in range(2))
        assert first == second


SCORES = {"degree": 0.8, "exact": 0.82, "exact-long": 0.86, "plain": 0.5, "average": 0.6, "frames": 0.7}


def rows(scores: dict[str, float], spread: float = 0.01, seeds: int = 2, apart: float = 0.0) -> list[dict]:
    """Parts that stray by `spread`, for learned orders only; `apart`: how far seeds differ, for these too."""
    return [
        {
            "strategy": name,
            "seed": seed,
            "accuracy": score + shift,
            "accuracy_parts": [
                score + shift + wave for wave in ((spread, -spread) if name == "learned" else (0, 0)) * 10
            ],
        }
        for name, score in scores.items()
        for seed in range(seeds)
        for shift in [apart * (seed - (seeds - 1) / 2) if name == "learned" else 0.0]
    ]


def test_what_claims_say():
    held = {claim.name: claim for claim in STUDY.claims(rows({**SCORES, "canonical": 0.84, "learned": 0.85}))}
    assert held["degree"].held and held["degree"].value == pytest.approx(0.05)
    assert held["given"].held and held["given"].value == pytest.approx(0.15) and "frames" in held["given"].statement
    for link, gap in (("learned > canonical", 0.01), ("canonical > frames", 0.14), ("frames > average", 0.1)):
        assert held[link].value == pytest.approx(gap) and held[link].held
    network = held["network"]
    assert not network.held and network.value == pytest.approx(-0.01)
    assert "with 3x the steps; ahead by 0.030 +- 0.00" in network.statement
    assert STUDY.claims(rows({"learned": 0.85})) == []
    assert [claim.name for claim in STUDY.claims(rows({"learned": 0.9, "plain": 0.5}))] == ["given"]
    assert STUDY.claims([]) == []


@pytest.mark.parametrize(("spread", "apart", "held"), [(0.01, 0.0, True), (0.2, 0.0, False), (0.01, 0.2, False)])
def test_gaps_are_bounded_by_what_graphs_and_seeds_differ_by(spread: float, apart: float, held: bool):
    found = rows({"degree": 0.8, "learned": 0.85}, spread, apart=apart)
    (claim,) = STUDY.claims(found)
    # 20 parts at +- spread have a sample variance of 20/19 spread^2; two seeds that differ by d, an error of d / 2.
    error = max((20 / 19 / 20 / 2) ** 0.5 * spread, apart / 2)
    assert claim.bound == f">= {2 * error:g}" and claim.held is held
    assert difference(rows({"degree": 0.8, "learned": 0.85}, seeds=1), "learned", "degree")[1] > 0


def test_parts_make_up_the_whole(generator: torch.Generator):
    labels = (torch.arange(40).expand(50, 40) < 10).long()
    guess = torch.randint(2, labels.shape, generator=generator)
    parts = _parts(guess, labels)
    assert len(parts) == 20 and len(_parts(guess[:3], labels[:3])) == 3
    sizes = [3] * 10 + [2] * 10
    whole = sum(n * part for n, part in zip(sizes, parts, strict=True)) / 50
    assert whole == pytest.approx(balanced_accuracy(guess, labels))
    labels[:, 30:] = -1
    assert _parts(labels.clamp_min(0), labels) == [1.0] * 20


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
    for settings, message in [
        ({"eval_samples": 0}, "eval_samples"),
        ({"repeats": 0}, "repeats"),
        ({"heads": 5}, "multiple of heads, got width=64 and heads=5"),
        ({"patch": 191}, "at most 190"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive"),
        ({"temperature": float("nan")}, "temperature"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"entropy_weight": -1.0}, "entropy_weight"),
        ({"warmup": 1.5}, "from 0 to 1"),
    ]:
        with pytest.raises(InputError, match=message):
            STUDY.configs("quick", 0, **STUDY.settings(given=settings))
    with pytest.raises(InputError, match="seed"):
        STUDY.configs("quick", 2**70, **STUDY.settings())
