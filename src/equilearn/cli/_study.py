"""`equilearn study`: list the built-in studies, run one, check its claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from equilearn._check import InputError, one_of, positive_int
from equilearn.cli._output import command_line, console, output_folder, print_json, progress_bar, show_table

CLAIM_BROKEN = 3


def listing(as_json: bool) -> None:
    """Name and title of each study, and how long it takes."""
    from equilearn import studies

    found = [studies.get(name) for name in studies.names()]
    if as_json:
        keys = ("name", "title", "statement", "takes", "defaults", "full")
        print_json([{key: getattr(study, key) for key in keys} for study in found])
        return
    show_table("studies", ["name", "what it tests", "takes"], [[s.name, s.title, s.takes] for s in found])
    console().print("\nequilearn study show NAME: what a study claims, and its settings", markup=False)


def show(name: str, as_json: bool) -> None:
    """What a study claims, how long it takes, and its settings in both presets."""
    from equilearn import studies

    chosen = studies.get(name)
    if as_json:
        keys = ("name", "title", "statement", "takes", "defaults", "full")
        print_json({key: getattr(chosen, key) for key in keys})
        return
    out = console()
    out.print(f"\n{chosen.title}\n\n{chosen.statement}\n", markup=False)
    if chosen.takes:
        out.print(f"It takes {chosen.takes}.\n", markup=False)
    quick, full = chosen.settings("quick"), chosen.settings("full")
    rows = [[key, _setting(quick[key]), _setting(full[key])] for key in quick]
    show_table("settings, changed by --set KEY=VALUE", ["setting", "quick", "full"], rows)


def _setting(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def run(
    name: str,
    *,
    preset: str,
    seed: int,
    settings: list[str],
    out: Path | None,
    workers: int | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Run one study, write its summary and report, say which claims hold."""
    from equilearn import studies
    from equilearn.report import write_report

    if workers is not None:
        positive_int(workers, "--workers")
    chosen = studies.get(name)
    values = typed_settings(settings, chosen.defaults, name)
    with output_folder(out, "study", name) as folder, progress_bar(name) as progress:
        summary = studies.run_study(
            name,
            preset=preset,
            seed=seed,
            settings=values,
            out=folder,
            workers=workers,
            command=command_line(),
            progress=progress,
        )
    write_report(summary, folder / "report.html")
    if as_json:
        print_json(summary)
    else:
        _show(summary, folder)
    if strict and not all(claim["held"] for claim in summary["claims"]):
        raise typer.Exit(CLAIM_BROKEN)


def typed_settings(settings: list[str], defaults: Mapping[str, Any], study: str) -> dict[str, Any]:
    """`["repeats=50"]` as `{"repeats": 50}`, each value of the type of its default.

    Raises:
        InputError: an unknown key, no `=`, or a value that does not read as that type.
    """
    found = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set takes key=value, got {text!r}.")
        default = defaults[one_of(key.strip(), defaults, f"setting of the study {study}")]
        found[key.strip()] = _typed(value.strip(), default, key)
    return found


def _typed(value: str, default: Any, key: str) -> Any:
    """`value` read as the type of `default`; a tuple or list by its commas."""
    if isinstance(default, bool):
        return one_of(value.lower(), ("true", "false"), f"value of {key}") == "true"
    if isinstance(default, tuple | list):
        example = default[0] if len(default) else ""
        return type(default)(_typed(part.strip(), example, key) for part in value.split(",") if part.strip())
    if isinstance(default, int | float):
        try:
            return type(default)(value)
        except ValueError:
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise InputError(f"The setting {key} takes {kind}, such as {default}; got {value!r}.") from None
    return value


def _show(summary: dict[str, Any], folder: Path) -> None:
    rows = [[_outcome(c["held"]), c["statement"], _figure(c["value"]), _figure(c["bound"])] for c in summary["claims"]]
    show_table(summary["study"]["title"], ["", "claim", "measured", "bound"], rows)
    if summary.get("failed"):
        console().print(f"\nwarning: {_failures(summary['failed'])}", style="yellow", markup=False)
    console().print(f"\nreport: {folder / 'report.html'}", markup=False)


def _outcome(held: bool | None) -> str:
    if held is None:
        return "not tested"
    return "held" if held else "NOT HELD"


def _failures(failed: list[dict[str, Any]]) -> str:
    """How many trials failed, and why the first did."""
    count = "1 trial" if len(failed) == 1 else f"{len(failed)} trials"
    return f"{count} failed and say nothing for or against a claim; the first: {failed[0]['error']}"


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
