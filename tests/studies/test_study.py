"""Studies: settings, claims, the registry, summaries, and the built-in one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import trials

from equilearn import studies
from equilearn._check import InputError
from equilearn.studies import Claim, InlineExecutor, LocalExecutor, Store, Study


def squares(preset: str, seed: int, count: int, names: tuple[str, ...], rate: float, strict: bool) -> list[dict]:
    return [{"n": seed + n} for n in range(count)]


STUDY = Study(
    name="squares",
    title="Squares",
    statement="Squares are not negative.",
    configs=squares,
    trial=trials.square,
    claims=lambda rows: [Claim.at_least("sign", "No square is negative", min(r["square"] for r in rows), 0)],
    defaults={"count": 3, "names": ("a", "b"), "rate": 0.5, "strict": False},
    full={"count": 5},
    plot={"x": "n", "y": "square"},
    inline=True,
)


def test_claims_decide_and_phrase():
    assert Claim.at_least("a", "s", 0.95, 0.92) == Claim("a", "s", 0.95, ">= 0.92", True)
    assert Claim.at_most("a", "s", 0.95, 0.92) == Claim("a", "s", 0.95, "<= 0.92", False)
    assert Claim.between("a", "s", 1, 0, 2) == Claim("a", "s", 1.0, "0 to 2", True)
    for claim in (
        Claim.at_least("a", "s", math.nan, 0),
        Claim.at_most("a", "s", math.nan, 0),
        Claim.between("a", "s", math.nan, 0, 1),
    ):
        assert claim.held is None
        assert claim.as_dict()["value"] is None and claim.as_dict()["held"] is None
    assert Claim.at_least("a", "s", 1.0, math.nan).held is None


def test_settings():
    assert STUDY.settings("full", {"rate": 1})["count"] == 5
    assert STUDY.settings()["count"] == 3
    for given, message in (
        ({"cuont": 1}, "Did you mean 'count'"),
        ({"count": "3"}, "takes a whole number, such as 3; got '3'"),
        ({"count": True}, "takes a whole number"),
        ({"names": [1]}, "takes a list of values"),
        ({"strict": 1}, "takes true or false"),
    ):
        with pytest.raises(InputError, match=message):
            STUDY.settings("quick", given)
    with pytest.raises(InputError, match="Did you mean 'quick'"):
        STUDY.settings("quik")


def test_the_registry():
    assert "averaging" in studies.names()
    assert [study.name for study in studies.list_studies()] == list(studies.names())
    with pytest.raises(InputError, match="Did you mean 'averaging'"):
        studies.get("averagin")
    with pytest.raises(InputError, match="another study named 'averaging'"):
        studies.register(Study("averaging", "", "", squares, trials.square, lambda rows: []))
    with pytest.raises(InputError, match="A Study is needed"):
        studies.register("averaging")  # type: ignore[arg-type]


def test_a_run_writes_a_store_and_a_summary_and_is_not_repeated(tmp_path: Path):
    first = studies.run_study(STUDY, out=tmp_path, command="equilearn study run squares")
    assert json.loads((tmp_path / "summary.json").read_text()) == first
    assert first["rows"] == [{"n": n, "square": n**2} for n in range(3)]
    assert first["claims"] == [
        {"name": "sign", "statement": "No square is negative", "value": 0.0, "bound": ">= 0", "held": True}
    ]
    assert first["study"]["settings"] == {"count": 3, "names": ["a", "b"], "rate": 0.5, "strict": False}
    assert {"kind", "equilearn", "created", "command", "environment", "failed", "plot", "total_seconds"} <= first.keys()
    told: list[int] = []
    second = studies.run_study(STUDY, out=tmp_path, progress=lambda done, *_: told.append(done))
    assert told == [3]
    assert second["rows"] == first["rows"]
    assert second["total_seconds"] == first["total_seconds"]
    with pytest.raises(InputError, match="another run"):
        studies.run_study(STUDY, out=tmp_path, seed=1)
    with Store.open(tmp_path / "store.db", kind="study") as store:
        assert len(store) == 3


def test_rows_of_a_grid_that_was_left_decide_nothing(tmp_path: Path):
    """A store keeps every row; an older version of the study may have planned others."""
    studies.run_study(STUDY, out=tmp_path)
    with Store.open(tmp_path / "store.db") as store:
        store.plan([{"n": 99}, {"n": 98}])
        store.put({"n": 99}, {"square": -1.0}, seconds=50.0)
        store.fail({"n": 98}, "left")
    again = studies.run_study(STUDY, out=tmp_path)
    assert [row["n"] for row in again["rows"]] == [0, 1, 2]
    assert again["claims"][0]["held"]
    assert again["failed"] == []
    assert again["total_seconds"] < 50


def test_a_store_that_was_cut_short_is_summed_up(tmp_path: Path):
    def stop(done: int, *_: object) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studies.run_study(STUDY, out=tmp_path, command="typed", progress=stop)
    with Store.open(tmp_path / "store.db") as store:
        summary = studies.summarize(store, STUDY)
        with pytest.raises(InputError, match="Unknown study 'squares'"):
            studies.summarize(store)
    assert (summary["missing"], summary["planned"], len(summary["rows"])) == (1, 3, 2)
    assert [claim["held"] for claim in summary["claims"]] == [None]
    assert summary["command"] == "typed"
    assert summary["environment"] == studies.environment()
    whole = studies.run_study(STUDY, out=tmp_path)
    assert (whole["missing"], whole["claims"][0]["held"]) == (0, True)
    empty = Store(":memory:", kind="study", identity={**summary["study"], "study": "squares"})
    with pytest.raises(InputError, match="No trial of the study squares is done yet"):
        studies.summarize(empty, STUDY)
    empty.close()


def test_claims_without_a_figure_do_not_hinder_a_summary(tmp_path: Path):
    study = replace(
        STUDY, claims=lambda rows: [Claim.at_least("last", "", [r for r in rows if r["n"] == 2][0]["n"], 0)]
    )

    def stop(done: int, *_: object) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studies.run_study(study, out=tmp_path, progress=stop)
    with Store.open(tmp_path / "store.db") as store:
        assert studies.summarize(store, study)["claims"] == []


def test_some_trials_may_fail_but_not_all(tmp_path: Path):
    def half(config: dict) -> dict:
        if config["n"] >= bound:
            raise InputError("too large")
        return {"square": config["n"] ** 2}

    bound = 2
    study = Study("half", "", "", squares, half, STUDY.claims, STUDY.defaults, inline=True)
    assert studies.run_study(study)["failed"] == [{"n": 2, "error": "too large", "attempts": 1}]
    bound = 0
    with pytest.raises(InputError, match="Every trial of the study half failed: too large"):
        studies.run_study(study)


def test_the_same_seed_gives_the_same_rows_here_and_in_workers(workers: LocalExecutor):
    few = {"repeats": 1, "inputs": 32, "groups": ("C12",), "samples": (1, 2)}
    here = studies.run_study("averaging", settings=few, executor=InlineExecutor())
    there = studies.run_study("averaging", settings=few, executor=workers)
    assert here["rows"] == there["rows"]
    assert here["rows"] != studies.run_study("averaging", settings=few, seed=1)["rows"]


def test_averaging_holds_its_claims():
    summary = studies.run_study("averaging", seed=1)
    assert all(claim["held"] for claim in summary["claims"]), summary["claims"]
    assert summary["failed"] == []


def test_the_claims_of_averaging_can_fail():
    """Rows of a broken averager: an error that does not fall, an asymmetry that stays."""
    rows = [{"group": "S4", "samples": k, "error": 0.3, "reported_error": 0.1, "asymmetry": 0.2} for k in (2, 4, None)]
    claims = studies.get("averaging").claims(rows)
    assert [claim.held for claim in claims] == [False, False, False]


@pytest.mark.parametrize("settings", [{"repeats": 0}, {"samples": (0,)}, {"inputs": 0}, {"groups": ("X",)}])
def test_settings_of_averaging_are_refused_before_a_trial_runs(settings, tmp_path):
    with pytest.raises(InputError):
        studies.run_study("averaging", settings=settings, out=tmp_path / "new")
    assert not (tmp_path / "new" / "store.db").exists()
