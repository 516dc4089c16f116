"""`equilearn advise`: data and a suspected symmetry in, a report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilearn._check import InputError, positive_int, require
from equilearn.cli._output import (
    command_line,
    console,
    loading_options,
    output_folder,
    print_json,
    print_note,
    progress_bar,
    show_table,
    whole_numbers,
    words,
)

if TYPE_CHECKING:
    from equilearn.actions import Action, Data
    from equilearn.data import Task
    from equilearn.symmetry import Symmetry


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
    """Load, advise, write the three files, say what came out."""
    from equilearn import data, groups, io
    from equilearn.advisor import advise_task, symmetry_from_names

    if options["workers"] is not None:
        positive_int(options["workers"], "--workers")
    if group is not None:
        groups.parse(group)  # a wrong name is found before the data are read
    sizes, strategies = whole_numbers(options.pop("sizes"), "--sizes"), words(options.pop("strategies"))
    task = data.load(source, **loading_options(loading, names["action"]))
    symmetry = symmetry_from_names(group, task, **names) if group else own_symmetry(task, names)
    print_note(f"{task}; {symmetry}")
    directed = directed_graphs(symmetry.input, task.x_train)
    if directed:
        print_note(f"{directed} of the training graphs have an adjacency that is not symmetric: taken as directed")
    with (
        output_folder(out, "advise", Path(source).stem, symmetry.group.name) as folder,
        progress_bar("training") as progress,
    ):
        advice = advise_task(
            task,
            symmetry,
            sizes=sizes,
            strategies=strategies,
            out=folder,
            command=command_line(),
            progress=progress,
            notify=lambda sentence: print_note(f"warning: {sentence}"),
            **options,
        )
    io.write_json(folder / "summary.json", advice.summary)
    advice.report(folder / "report.html")
    if as_json:
        print_json(advice.summary)
    else:
        show(advice.summary, folder)


def own_symmetry(task: Task, names: dict[str, str | None]) -> Symmetry:
    """The symmetry that the data come with, where no group is named."""
    if task.symmetry is None:
        raise InputError("Which symmetry? Name its group, such as --group C4, --group SO3 or --group S5.")
    for option, given in names.items():
        require(given is None, f"--{option} {given} says how a group acts: name the group too, with --group.")
    return task.symmetry


def directed_graphs(action: Action, x: Data) -> int:
    """How many graphs have an adjacency that is not symmetric; 0 where the data are no graphs."""
    from equilearn.actions import CombinedAction, PairAction

    parts = zip(action.parts, x, strict=True) if isinstance(action, CombinedAction) else [(action, x)]
    adjacencies = [piece for part, piece in parts if isinstance(part, PairAction)]
    return sum(int((a != a.transpose(1, 2)).flatten(1).any(1).sum()) for a in adjacencies[:1])


def show(summary: dict[str, Any], folder: Path) -> None:
    """The answer, the figures behind it, and where the report lies."""
    recommendation = summary["recommendation"]
    out = console()
    out.print(f"\n[bold]{_plain(recommendation['headline'])}[/bold]\n")
    for reason in recommendation["reasons"]:
        out.print(f"- {_plain(reason)}")
    out.print(f"- {_plain(recommendation['confidence']['sentence'])}\n")
    show_table(_title(summary), *_scores(summary), figures=True)
    if summary.get("failed"):
        out.print(f"\nwarning: {_plain(failures(summary['failed']))}", style="yellow")
    out.print(f"\nreport: {_plain(str(folder / 'report.html'))}")


def failures(failed: list[dict[str, Any]]) -> str:
    """How many trials failed, and why the first did."""
    first = failed[0]
    size = "" if first.get("train_size") is None else f" at {first['train_size']} samples"
    count = "1 trial" if len(failed) == 1 else f"{len(failed)} trials"
    others = "It is" if len(failed) == 1 else "They are"
    return (
        f"{count} failed; the first: {first['strategy']}{size}: {first['error']} "
        f"{others} left out of the answer; the same command tries again."
    )


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _title(summary: dict[str, Any]) -> str:
    task = summary["task"]
    better = "higher" if task["higher_is_better"] else "lower"
    return f"{task['metric']} ({better} is better), as seen / transformed, mean over seeds, by training size"


def _scores(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One line a strategy, one column a training size."""
    cells: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in summary["rows"]:
        cells.setdefault((row["strategy"], row["train_size"]), []).append((row["score"], row["score_transformed"]))
    sizes = sorted({size for _, size in cells})
    strategies = list(dict.fromkeys(row["strategy"] for row in summary["rows"]))
    chosen = summary["recommendation"]["strategy"]
    lines = []
    for strategy in strategies:
        line = [f"{strategy} <-" if strategy == chosen else strategy]
        for size in sizes:
            scores = cells.get((strategy, size), [])
            line.append(" / ".join(f"{sum(part) / len(part):.3f}" for part in zip(*scores, strict=True)) or "-")
        lines.append(line)
    return ["strategy", *map(str, sizes)], lines
