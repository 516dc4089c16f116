"""`summary.json` of `advise`: a pure function of the store."""

from __future__ import annotations

from typing import Any

from equilearn.advisor._prediction_words import compared
from equilearn.advisor._recommend import Evidence, recommend
from equilearn.studies import Store

_ROW = (
    "strategy",
    "train_size",
    "seed",
    "score",
    "score_transformed",
    "equivariance_error",
    "equivariance_interval",
    "per_element",
    "floor",
    "interpolation_floor",
    "resampling",
    "verdict",
    "seconds",
    "inference_ms",
    "forward_passes",
    "parameters",
)

_CONFIG = {"trial", "data", "symmetry", "seed", "preset", "model"}
"""Columns of a trial's configuration."""


def summarize(store: Store) -> dict[str, Any]:
    """Everything a report shows, from the rows of a run, without training anything.

    Args:
        store: the store of an `advise` run, finished or not; only finished trials count.

    Returns:
        The dictionary that `summary.json` holds. Only trials of the last plan count; `missing` says
        how many of them have no row, and lowers the confidence. `recommendation` is None while there
        is no row at all.
    """
    run = store.meta["run"]
    planned = set(run["keys"])
    records = [record for record in store.records() if record["key"] in planned]
    done = [{**r["config"], **r["result"]} for r in records if r["status"] == "done"]
    failed = [r for r in records if r["status"] == "failed"]
    rows = [row for row in done if row["trial"] == "strategy"]
    found = next((row for row in done if row["trial"] == "data_symmetry"), None)
    missing = len(planned) - len(done)
    split = run.get("split")  # runs of earlier versions have none
    evidence = Evidence(rows, run["task"]["metric"], run["symmetry"]["moved"], _clean(found), missing, split)
    return {
        "kind": "advise",
        **{key: run[key] for key in ("equilearn", "created", "command", "preset", "environment")},
        "total_seconds": sum(row["seconds"] for row in rows),
        "task": run["task"],
        "symmetry": run["symmetry"],
        "strategies": _describe(run, rows),
        "skipped": run["skipped"],
        "failed": [
            {
                "strategy": record["config"].get("strategy", record["config"]["trial"].replace("_", " ")),
                "train_size": record["config"].get("train_size"),
                "error": record["error"],
            }
            for record in failed
        ],
        "missing": missing,
        "rows": [{key: row[key] for key in _ROW} for row in rows],
        "data_symmetry": _clean(found),
        "split": split,
        "prediction": _prediction(done),
        "recommendation": recommend(evidence) if rows else None,
    }


def _clean(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The measured symmetry of the data without the columns of its configuration."""
    if found is None:
        return None
    return {key: value for key, value in found.items() if key not in _CONFIG}


def _prediction(done: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What was predicted, with what training on the same points showed; None where it was not tried."""
    found = next((row for row in done if row["trial"] == "prediction"), None)
    if found is None:
        return None
    told = {key: value for key, value in found.items() if key not in _CONFIG}
    if not told["made"]:
        return told
    tests = sorted((row for row in done if row["trial"] == "carry_over"), key=lambda row: row["place"])
    for test in tests:
        told["classes"][test["place"]].update(measured=test["accuracy"], measured_seen=test["accuracy_seen"])
    return {**told, "test": compared(told, tests)}


def _describe(run: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    used = {row["strategy"] for row in rows}
    return [strategy for strategy in run["strategies"] if strategy["name"] in used]
