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
    return {**STUDY.settings(given=TINY), "base": base, "strategy": strategy, "seed": 0}


def test_runs_and_claims(tmp_path: Path):
    summary = studies.run_study(STUDY, out=tmp_path, settings=TINY, executor=studies.InlineExecutor())
    assert [row["strategy"] for row in summary["rows"]] == list(STUDY.defaults["strategies"])
    assert all(0 < row["mse"] < 100 for row in summary["rows"])
    assert [claim["name"] for claim in summary["claims"]] == ["mlp: symmetrized", "mlp: learned"]
    assert {row["strategy"]: row["forward_passes"] for row in summary["rows"]}["learned"] == 4


def test_what_claims_say():
    rows = [
        {"base": base, "strategy": strategy, "mse": error, "samples": 2}
        for base in ("mlp", "transformer")
        for strategy, error in [("plain", 0.07), ("average", 0.05), ("learned", 0.04), ("frames", 0.071)]
    ]
    held = {claim.name: claim for claim in STUDY.claims(rows)}
    assert not held["mlp: symmetrized"].held and "frames" in held["mlp: symmetrized"].statement
    assert held["mlp: learned"].held and held["mlp: learned"].value == pytest.approx(0.8)
    assert held["transformer: error"].held and held["transformer: error"].value == pytest.approx(0.04)
    assert "no bars" in held["transformer: error"].statement
    assert STUDY.claims([]) == []


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
    full = STUDY.configs("full", 0, **STUDY.settings("full"))
    assert {(row["base"], row["strategy"]) for row in full} == {
        *((base, strategy) for base in ("transformer", "gnn") for strategy in STRATEGIES if strategy != "exact"),
        ("egnn", "exact"),
    }
    assert full[0]["samples"] == 20 and full[0]["eval_samples"] == 200 and full[0]["steps"] == 300_000
    assert STUDY.weight is not None and STUDY.weight(full[1]) > STUDY.weight(full[0])
    with pytest.raises(InputError, match="Unknown strategy 'avrage'"):
        STUDY.configs("quick", 0, **STUDY.settings(given={"strategies": ("avrage",)}))
    with pytest.raises(InputError, match="Unknown base"):
        STUDY.configs("quick", 0, **STUDY.settings(given={"bases": ("cnn",)}))
