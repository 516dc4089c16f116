"""What the commands share: folders, progress, tables, JSON."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from equilearn._check import InputError

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[..., None]


def command_line() -> str:
    """What the user typed, ready to be pasted."""
    return shlex.join(["equilearn", *sys.argv[1:]])


def console() -> Console:
    """Where results for people go: stdout."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def output_folder(out: Path | None, *default: str) -> Iterator[Path]:
    """The folder to write to, made and tried now, so that no work is done for nothing.

    Where bad input ends the work before anything was written, it is gone again.

    Raises:
        InputError: where it cannot be written to.
    """
    from equilearn._check import InputError
    from equilearn.io import writable_folder

    folder = out or Path("-".join(["equilearn", *(re.sub(r"[^\w.]+", "_", part) for part in default)]))
    existed = folder.exists()
    writable_folder(folder)
    try:
        yield folder
    except InputError:
        if not existed:
            with suppress(OSError):  # not empty: what is there may be wanted
                folder.rmdir()
        raise


def print_note(text: str) -> None:
    """A line on stderr about what is being done, beside the results on stdout."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_json(value: Any) -> None:
    """JSON, and nothing else, on stdout; NaN and infinity, which JSON lacks, as null."""
    from equilearn.io import as_json

    typer.echo(json.dumps(as_json(value), indent=2, ensure_ascii=False, allow_nan=False))


def whole_numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """`"50,200"` as `(50, 200)`."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(
            f"{option} takes whole numbers with commas between, such as 50,200,1000; got {text!r}."
        ) from None


def words(text: str | None) -> tuple[str, ...] | None:
    """`"plain, average"` as `("plain", "average")`."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def loading_options(given: dict[str, Any], action: str | None) -> dict[str, Any]:
    """What `data.load` is to be told: the options given, and whether inputs are images where `action` says so."""
    found = {key: value for key, value in given.items() if value is not None}
    if action is not None and "images" not in found and action.partition(":")[0].strip().lower() != "trivial":
        found["images"] = action.partition(":")[0].strip().lower() == "images"
    return found


def duration(seconds: float) -> str:
    """Seconds in words short enough for a status line."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """`progress(done, total, seconds_left=None)`, drawn on stderr; a line now and then where that is no terminal."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None, left="")

            def draw(done: int, total: int, seconds_left: float | None = None, *_: Any) -> None:
                left = "" if seconds_left is None else f"about {duration(seconds_left)} left"
                bar.update(task, completed=done, total=total, left=left)

            yield draw
    else:
        yield _plain_progress(what)


def _plain_progress(what: str, every: float = 10.0) -> Progress:
    """A line on stderr at most every ten seconds: for logs."""
    last = time.monotonic()

    def note(done: int, total: int, seconds_left: float | None = None, *_: Any) -> None:
        nonlocal last
        if time.monotonic() - last < every and done != total:
            return
        last = time.monotonic()
        left = "" if seconds_left is None or done == total else f", about {duration(seconds_left)} left"
        sys.stderr.write(f"{what}: {done} of {total}{left}\n")
        sys.stderr.flush()

    return note


def show_table(title: str, header: list[str], rows: list[list[str]], *, figures: bool = False) -> None:
    """A table for people; `figures` puts every column but the first flush right."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(escape(name), justify="right" if figures and i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console().print(table)
