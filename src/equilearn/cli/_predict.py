"""`equilearn advise --predict-only`: would the plain network learn the symmetry by itself? Nothing is trained."""

from __future__ import annotations

import datetime
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from equilearn._check import InputError, positive_int, require
from equilearn.cli._advise import own_symmetry
from equilearn.cli._output import (
    command_line,
    console,
    loading_options,
    output_folder,
    print_json,
    print_note,
    show_table,
)

TRAINING = ("sizes", "seeds", "steps", "strategies", "workers")
"""Options that say how to train."""


def run(
    source: str,
    group: str | None,
    *,
    names: dict[str, str | None],
    loading: dict[str, Any],
    options: dict[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    """Load, predict, say what came out; write it where a folder is given."""
    from equilearn import data, groups, io
    from equilearn.advisor import prediction_of, symmetry_from_names
    from equilearn.report import write_report

    start = time.perf_counter()
    for option in TRAINING:
        require(options[option] is None, f"--predict-only trains nothing: leave --{option} out.")
    seed = positive_int(options["seed"], "--seed", 0)
    require(
        out is None or not (out / "store.db").exists(),
        f"{out} holds the results of advise or a study, which a prediction would overwrite. Choose another --out.",
    )
    if group is not None:
        groups.parse(group)
    with nullcontext() if out is None else output_folder(out):
        task = data.load(source, **loading_options(loading, names["action"]))
        symmetry = symmetry_from_names(group, task, **names) if group else own_symmetry(task, names)
        print_note(f"{task}; {symmetry}")
        found = prediction_of(task, symmetry, model=options["model"], seed=seed)
        if not found["made"]:
            raise InputError(f"No prediction for these data. {found['reason']}")
    summary = io.as_json(
        {
            "kind": "prediction",
            **_about(seed),
            "task": {"name": task.name, "kind": task.kind, "classes": task.classes},
            "symmetry": {"group": symmetry.group.name, "input": symmetry.input.name},
            "prediction": found,
            "total_seconds": time.perf_counter() - start,
        }
    )
    if out is not None:
        io.write_json(out / "summary.json", summary)
        write_report(summary, out / "report.html")
    if as_json:
        print_json(summary)
    else:
        show(summary, out)


def _about(seed: int) -> dict[str, Any]:
    from equilearn._version import __version__
    from equilearn.studies import environment

    return {
        "equilearn": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "seed": seed,
        "environment": environment(),
    }


def show(summary: dict[str, Any], folder: Path | None) -> None:
    """The sentences, the table, and what is not as assumed."""
    found = summary["prediction"]
    out = console()
    out.print(f"\n{found['sentence']}", style="bold", markup=False)
    out.print(f"\n- {found['why']}", markup=False)
    if found["growth_sentence"]:
        out.print(f"- {found['growth_sentence']}", markup=False)
    out.print(f"- {found['seeds']} training inputs; the kernel is that of {found['network']}.\n", markup=False)
    grows = bool(found["growth"])
    header = ["class", "error", "accuracy", "separation", "density", *(["right from"] if grows else [])]
    show_table("predicted for an element that the class was not shown", header, _rows(found, grows), figures=True)
    for text in found["assumptions"]:
        out.print(f"\nnot as assumed: {text}", style="yellow", markup=False)
    if folder is not None:
        out.print(f"\nreport: {folder / 'report.html'}", markup=False)


def _rows(found: dict[str, Any], grows: bool) -> list[list[str]]:
    rows = []
    for row in found["classes"]:
        line = [row["name"], _figure(row["error"]), "-" if row["accuracy"] is None else f"{row['accuracy']:.0%}"]
        line += [_figure(row["separation"]), _figure(row["density"])]
        at = row["learnable_at"]
        rows.append([*line, "not yet" if at is None else f"{at} elements"] if grows else line)
    return rows


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
