"""The study of charged particles, in miniature: its models, its rows, its claims."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equilearn import studies
from equilearn._check import InputError
from equilearn.actions import points
from equilearn.data import nbody as particles
from equilearn.groups import Euclidean, Symmetric
from equilearn.measure import equivariance_error
from equilearn.studies.nbody import BASES, STRATEGIES, STUDY, Centred, build
from equilearn.symmetry import Symmetry

TINY = {"repeats": 1, "steps": 2, "train": 40, "test": 20, "eval_samples": 4}


def config(base: str, strategy: str) -> dict:
    return {**STUDY.settings(given=TINY), "base": base, "strategy": strategy, "seed": 0, "gpu": False}


def test_runs_and_claims(tmp_path: Path):
    summary = studies.run_study(STUDY, out=tmp_path, settings=TINY, executor=studies.InlineExecutor())
    assert [row["strategy"] for row in summary["rows"]] == list(STUDY.defaults["strategies"])
    assert all(0 < row["mse"] < 100 for row in summary["rows"])
    assert [claim["name"] for claim in summary["claims"]] == [
        "mlp: symmetrized",
        "mlp: learned, not average",
        "mlp: learned, not frames",
        "mlp: learned, not canonicalize",
    ]
    assert not any(claim["held"] for claim in summary["claims"])  # one seed
    assert {row["strategy"]: row["forward_passes"] for row in summary["rows"]}["learned"] == 4


@pytest.mark.parametrize("strategy", ["average", "learned", "exact"])
def test_rows_are_the_same_twice(strategy: str):
    base = "egnn" if strategy == "exact" else "mlp"
    first, again = (STUDY.trial(config(base, strategy)) for _ in range(2))
    assert first == again and set(first) == {"mse", "standard_error", "forward_passes", "parameters"}


def rows(errors: dict[str, tuple[float, ...]], base: str = "mlp") -> list[dict]:
    return [
        {"base": base, "strategy": strategy, "mse": error, "samples": 2, "seed": seed}
        for strategy, found in errors.items()
        for seed, error in enumerate(found)
    ]


def test_what_claims_say():
    plain, learned = (0.07, 0.072, 0.071), (0.04, 0.041, 0.042)
    errors = {"plain": plain, "average": (0.05, 0.05, 0.05), "learned": learned, "frames": (0.0712, 0.069, 0.072)}
    held = {claim.name: claim for claim in STUDY.claims(rows(errors) + rows(errors, "transformer"))}
    assert not held["mlp: symmetrized"].held and "least clear: frames" in held["mlp: symmetrized"].statement
    ahead = held["mlp: learned, not average"]
    assert ahead.held and ahead.value == pytest.approx(0.009) and ahead.bound == f">= {2 * 0.001 / 3**0.5:g}"
    assert "than under random ones, 2 a step" in ahead.statement and "0.0410 against 0.0500" in ahead.statement
    assert held["transformer: error"].held and held["transformer: error"].value == pytest.approx(0.041)
    assert "no bars" in held["transformer: error"].statement
    assert STUDY.claims([]) == []


def test_a_gap_within_its_errors_is_not_held():
    even = {"plain": (0.07, 0.07), "learned": (0.04, 0.05), "canonicalize": (0.051, 0.043)}
    claims = {claim.name: claim for claim in STUDY.claims(rows(even))}
    assert claims["mlp: symmetrized"].held
    canonical = claims["mlp: learned, not canonicalize"]
    assert canonical.value == pytest.approx(0.002) and not canonical.held  # differences of 0.011 and -0.007
    assert "10,000 epochs" in canonical.statement
    alone = STUDY.claims(rows({"plain": (0.07,), "learned": (0.01,)}))
    assert not alone[0].held and "one seed" in alone[0].statement


@pytest.mark.parametrize("base", list(BASES))
def test_bases_know_shifts_and_what_they_claim(base: str):
    """Shifts: all. Permutations: the message-passing ones; rotations: the exact one alone."""
    torch.manual_seed(0)
    model = Centred(BASES[base]()).double().eval()
    x = particles(8, 1).x_train.double()
    shift = torch.zeros(7).double()
    shift[:3] = torch.tensor([3.0, -1.0, 2.0])
    with torch.no_grad():
        torch.testing.assert_close(model(x + shift), model(x) + shift[:3])
    data = points(5, vectors=1, scalars=1)
    permuted = equivariance_error(model, Symmetry(Symmetric(5), data, points(5)), x).mean
    turned = equivariance_error(model, Symmetry(Euclidean(3), data, points(5)), x).mean
    assert (permuted < 1e-8) == (base in ("gnn", "egnn"))
    assert (turned < 1e-8) == (base == "egnn")


@pytest.mark.parametrize("base", ["mlp", "transformer", "gnn"])
@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
def test_exact_strategies_are_exact(base: str, strategy: str):
    task = particles(8, 1)
    model = build(config(base, strategy), task).double().eval()
    symmetry = Symmetry(Euclidean(3) * Symmetric(5), points(5, vectors=1, scalars=1), points(5))
    assert equivariance_error(model, symmetry, task.x_train.double()).mean < 1e-6


def test_weights_come_from_the_seed_alone():
    task = particles(8, 1)
    state = torch.get_rng_state()
    first, again = (build(config("mlp", "learned"), task).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_presets_and_settings():
    quick = STUDY.configs("quick", 3, **STUDY.settings())
    assert len(quick) == 18 and {row["seed"] for row in quick} == {3000, 3001, 3002}
    assert not any(row["gpu"] for row in quick)
    full = STUDY.configs("full", 0, **STUDY.settings("full"))
    assert {(row["base"], row["strategy"]) for row in full} == {
        *((base, strategy) for base in ("transformer", "gnn") for strategy in STRATEGIES if strategy != "exact"),
        ("egnn", "exact"),
    }
    assert all(row["gpu"] for row in full) and {row["seed"] for row in full} == {0, 1, 2}
    assert full[0]["samples"] == 20 and full[0]["eval_samples"] == 200 and full[0]["steps"] == 300_000
    plain, average = (next(c for c in full if c["strategy"] == name) for name in ("plain", "average"))
    assert STUDY.weight is not None and STUDY.weight(average) > STUDY.weight(plain)
    with pytest.raises(InputError, match="Unknown strategy 'avrage'"):
        STUDY.configs("quick", 0, **STUDY.settings(given={"strategies": ("avrage",)}))
    for settings, message in [
        ({"bases": ("cnn",)}, "Unknown base"),
        ({"train": 20_000}, "10,000 published training simulations; 20,000"),
        ({"test": 2001}, "2,000 published test"),
        ({"validation": 2001}, "2,000 published validation"),
        ({"steps": 0}, "steps"),
        ({"schedule": "linear"}, "schedule"),
    ]:
        with pytest.raises(InputError, match=message):
            STUDY.configs("quick", 0, **STUDY.settings(given=settings))
    with pytest.raises(InputError, match="seed"):
        STUDY.configs("quick", 2**70, **STUDY.settings())
