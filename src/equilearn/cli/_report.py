"""`equilearn report`: the report of a folder, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from equilearn._check import InputError


def run(folder: Path) -> None:
    """Read what was measured, draw it."""
    from equilearn import io
    from equilearn.report import write_report

    summary = summary_of(folder)
    if (folder / "store.db").exists():
        io.write_json(folder / "summary.json", summary)
    if summary.get("missing"):
        typer.echo(_missing(summary["missing"], summary))
    typer.echo(f"report: {write_report(summary, folder / 'report.html')}")


def _missing(count: int, summary: dict[str, Any]) -> str:
    """What is not there yet, and how to get it."""
    total = f" of {summary['planned']}" if "planned" in summary else ""
    undecided = " and no claim is decided" if summary["kind"] == "study" else ""
    return f"{count}{total} trials are not done yet{undecided}. To go on: {summary['command']}"


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary of what lies in `folder`: from the store of an advise or study run, else from `summary.json`.

    Raises:
        InputError: where there is neither, or no trial is done yet.
    """
    from equilearn import io
    from equilearn.studies import Store

    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}. Give the --out folder of an advise, audit or study run.")
    if (folder / "store.db").exists():
        with Store.open(folder / "store.db", create=False) as store:
            if store.meta.get("kind") == "study":
                from equilearn import studies

                return studies.summarize(store)
            if store.meta.get("kind") == "advise":
                from equilearn.advisor import summarize

                summary = summarize(store)
                if summary["recommendation"] is None:
                    raise InputError(f"No trial in {str(folder)!r} is done yet. Run the advise command again to go on.")
                return summary
    if not (folder / "summary.json").exists():
        raise InputError(
            f"The folder {str(folder)!r} holds neither a store.db of advise or a study nor a summary.json."
        )
    return io.read_json(folder / "summary.json")
