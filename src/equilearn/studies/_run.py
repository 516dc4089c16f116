"""Run a study: its trials into a store, its summary from the rows."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from equilearn._check import InputError, positive_int
from equilearn._version import __version__
from equilearn.io import writable_folder, write_json
from equilearn.studies._executor import Executor, InlineExecutor, LocalExecutor
from equilearn.studies._registry import get
from equilearn.studies._runner import Progress, run_trials
from equilearn.studies._store import Store
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
        The summary, JSON-ready: `kind, equilearn, created, command, study, environment, rows, claims,
        failed, plot, total_seconds` (the sum over trials).

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
    with Store.open(path, kind="study", identity=identity) as store:
        _run(chosen, configs, store, executor, workers, progress)
        summary = _summarize(chosen, store, configs, command or f"equilearn study run {chosen.name}")
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


def _summarize(study: Study, store: Store, configs: list[dict[str, Any]], command: str) -> dict[str, Any]:
    records, failed = store.records("done"), store.rows("failed")
    if not records and configs:
        errors = sorted({row["error"] for row in failed})
        raise InputError(f"Every trial of the study {study.name} failed: {'; '.join(errors[:3])}")
    rows = [{**record["config"], **record["result"]} for record in records]
    identity = store.meta["identity"]
    return {
        "kind": "study",
        "equilearn": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "study": {
            "name": study.name,
            "title": study.title,
            "statement": study.statement,
            **{key: identity[key] for key in ("preset", "seed", "settings")},
        },
        "environment": environment(),
        "rows": rows,
        "claims": [claim.as_dict() for claim in study.claims(rows)],
        "failed": failed,
        "plot": dict(study.plot),
        "total_seconds": sum(record["seconds"] for record in records),
    }
