"""Run a study: its trials into a store, its summary from the rows."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from equilearn._check import InputError, positive_int, require
from equilearn._version import __version__
from equilearn.io import writable_folder, write_json
from equilearn.studies._executor import Executor, InlineExecutor, LocalExecutor
from equilearn.studies._registry import get
from equilearn.studies._runner import Progress, run_trials
from equilearn.studies._store import Store, config_key
from equilearn.studies._study import Study


def environment() -> dict[str, Any]:
    """What the figures were made with: versions, platform, threads of a trial, device."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": 1,
        "device": "cpu",
    }


def run_study(
    study: str | Study,
    *,
    preset: str = "quick",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run what is missing of a study and decide its claims.

    Args:
        study: a name or a `Study`.
        preset: `"quick"` or `"full"`.
        seed: of the whole grid.
        settings: instead of the preset's, by name.
        out: a folder for `store.db` and `summary.json`; a run that was cut short goes on from there.
            Without one nothing is kept.
        workers: processes; default one a core, or none where the study says its trials are quick.
        executor: where trials run, instead of worker processes.
        command: what the user typed, for the summary.
        progress: called as `progress(done, total, seconds_left)`.

    Returns:
        The summary that `summarize` draws from the store, JSON-ready.

    Raises:
        InputError: unknown names or settings, a folder that holds another run, or every trial failed.

    Example:
        >>> summary = run_study("averaging", settings={"repeats": 1, "inputs": 64})
        >>> [claim["name"] for claim in summary["claims"]]
        ['slope', 'calibration', 'exact']
    """
    chosen = get(study) if isinstance(study, str) else study
    values = chosen.settings(preset, settings)
    positive_int(seed, "seed", 0)
    configs = chosen.configs(preset, seed, **values)
    identity = {"study": chosen.name, "preset": preset, "seed": seed, "settings": values}
    path = ":memory:" if out is None else writable_folder(out) / "store.db"
    about = {"command": command or f"equilearn study run {chosen.name}", "environment": environment()}
    with Store.open(path, kind="study", identity=identity) as store:
        # Kept before the first trial, so that a run that is killed can still be summed up.
        store.set_meta("run", {**about, "equilearn": __version__, "created": _now()})
        _run(chosen, configs, store, executor, workers, progress)
        summary = summarize(store, chosen)
    if out is not None:
        write_json(Path(out) / "summary.json", summary)
    return summary


def _run(
    study: Study,
    configs: list[dict[str, Any]],
    store: Store,
    executor: Executor | None,
    workers: int | None,
    progress: Progress | None,
) -> None:
    if executor is None and study.inline and workers is None:
        executor = InlineExecutor()
    if executor is not None:
        run_trials(study.trial, configs, store, executor=executor, progress=progress, weight=study.weight)
        return
    with LocalExecutor(workers) as own:
        run_trials(study.trial, configs, store, executor=own, progress=progress, weight=study.weight)


def summarize(store: Store, study: Study | None = None) -> dict[str, Any]:
    """The summary of a study from its store, finished or cut short; nothing is run.

    Only rows of the planned grid count: a store may also hold rows of a grid that the study has
    since left. While trials are missing no claim is decided (`held` is None): its figure is that
    of the rows so far.

    Args:
        store: of a run of `run_study`.
        study: the study; default the one of the name that the store gives.

    Returns:
        JSON-ready: `kind, equilearn, created, command, study, environment, rows, claims, failed,
        missing` (planned trials that were neither done nor failed), `planned, plot, total_seconds`
        (the sum over trials).

    Raises:
        InputError: a store of something else, an unknown study, no row yet, or every trial failed.

    Example:
        >>> with Store(":memory:", kind="demo") as store:
        ...     summarize(store)
        Traceback (most recent call last):
        ...
        equilearn._check.InputError: :memory: holds rows of kind 'demo', not of a study.
    """
    meta = store.meta
    require(meta.get("kind") == "study", f"{store.path} holds rows of kind {meta.get('kind')!r}, not of a study.")
    identity, run = meta["identity"], meta.get("run") or {}
    chosen = get(identity["study"]) if study is None else study
    planned = {config_key(config) for config in _planned(chosen, identity)}
    records = [record for record in store.records("done") if record["key"] in planned]
    failures = [record for record in store.records("failed") if record["key"] in planned]
    failed = [{**r["config"], "error": r["error"], "attempts": r["attempts"]} for r in failures]
    missing = len(planned) - len(records) - len(failed)
    if planned and not records:
        errors = sorted({row["error"] for row in failed})
        require(not missing, f"No trial of the study {chosen.name} is done yet. Run it again to go on.")
        raise InputError(f"Every trial of the study {chosen.name} failed: {'; '.join(errors[:3])}")
    rows = [{**record["config"], **record["result"]} for record in records]
    return {
        "kind": "study",
        "equilearn": run.get("equilearn", meta["equilearn"]),
        "created": run.get("created"),
        "command": run.get("command", f"equilearn study run {chosen.name}"),
        "study": {
            "name": chosen.name,
            "title": chosen.title,
            "statement": chosen.statement,
            **{key: identity[key] for key in ("preset", "seed", "settings")},
        },
        "environment": run.get("environment", {}),
        "rows": rows,
        "claims": _claims(chosen, rows, missing),
        "failed": failed,
        "missing": missing,
        "planned": len(planned),
        "plot": [dict(figure) for figure in chosen.figures],
        "total_seconds": sum(record["seconds"] for record in records),
    }


def _planned(study: Study, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The grid of a run. JSON has made lists of its tuples; a setting of another version is refused."""
    given = {
        name: tuple(value) if isinstance(value, list) and isinstance(study.defaults.get(name), tuple) else value
        for name, value in identity["settings"].items()
    }
    return study.configs(identity["preset"], identity["seed"], **study.settings(identity["preset"], given))


def _claims(study: Study, rows: list[dict[str, Any]], missing: int) -> list[dict[str, Any]]:
    """The claims; undecided while trials are missing, and none where the rows so far give no figure."""
    if not missing:
        return [claim.as_dict() for claim in study.claims(rows)]
    try:
        return [{**claim.as_dict(), "held": None} for claim in study.claims(rows)]
    except (ArithmeticError, LookupError, ValueError):  # a mean of nothing, the smallest of nothing
        return []


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
