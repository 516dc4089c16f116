"""Tables as text: a header line, one sample a line, numbers everywhere but perhaps in the target."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from equilearn._check import InputError, one_of, require

_SEPARATORS = ",;\t|"
MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")


def read_csv(file: Path, target: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (all other columns, in order) and targets (the named column, or several with commas).

    Raises:
        InputError: no header, an unknown column, missing or non-numeric cells (which), ragged lines.
    """
    header, lines = read_table(file)
    columns = {name: [line[i] for line in lines] for i, name in enumerate(header)}
    targets = _targets(file, target, header)
    inputs = [name for name in header if name not in targets]
    require(bool(inputs), f"{file} has no columns besides the target {target!r}: there is nothing to predict it from.")
    _require_complete(file, columns)
    x, text = _numeric(columns, inputs)
    require(
        not text,
        f"{file} has columns that are not numbers: {_examples(columns, text)}. Drop them or encode them as numbers.",
    )
    y, text = _numeric(columns, targets)
    if not text:
        return x, y[:, 0] if len(targets) == 1 else y
    require(len(targets) == 1, f"The target columns {', '.join(text)} are not numbers. Several targets must be.")
    return x, np.array(columns[targets[0]], dtype=str)


def read_table(file: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns and the cells of each line, as text.

    Raises:
        InputError: what is no text, has no header, repeats a name, or has lines of other lengths.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            separator = _separator(opened.readline())
            opened.seek(0)
            lines = [line for line in csv.reader(opened, delimiter=separator, skipinitialspace=True) if line]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise InputError(f"{file} is not a table as CSV: {error}.") from error
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    require(bool(lines), f"{file} is empty. A header line and one line a sample are needed.")
    header = [name.strip() for name in lines[0]]
    _require_header(file, header)
    require(len(lines) > 1, f"{file} has a header line but no samples.")
    ragged = [(i, len(line)) for i, line in enumerate(lines[1:], start=2) if len(line) != len(header)]
    require(
        not ragged,
        f"{file} has {len(ragged)} lines whose number of cells is not that of the header, {len(header)} "
        f"(the first: line {ragged[0][0] if ragged else 0} with {ragged[0][1] if ragged else 0}).",
    )
    return header, [[cell.strip() for cell in line] for line in lines[1:]]


def _separator(first: str) -> str:
    """The separator that is most frequent in the header line."""
    return max(_SEPARATORS, key=first.count)


def _require_header(file: Path, header: list[str]) -> None:
    require(
        not all(_is_number(name) for name in header),
        f"The first line of {file} holds numbers ({', '.join(header[:4])}, ...), not names of columns. "
        "Add a header line, such as x1,x2,energy.",
    )
    require(
        "" not in header, f"Column {header.index('') + 1 if '' in header else 0} of {file} has no name in the header."
    )
    repeated = sorted({name for name in header if header.count(name) > 1})
    require(not repeated, f"{file} has several columns named {', '.join(repeated)}. Names must differ.")


def _targets(file: Path, target: str | None, header: list[str]) -> list[str]:
    if target is None:
        raise InputError(
            f"Which column of {file} is to be predicted? Name it with target=... (--target on the command line). "
            f"Columns: {', '.join(header)}."
        )
    names = [target] if target in header else [name.strip() for name in target.split(",")]
    return [one_of(name, header, f"column of {file.name}") for name in names]


def _require_complete(file: Path, columns: dict[str, list[str]]) -> None:
    holes = {
        name: rows
        for name, cells in columns.items()
        if (rows := [row for row, cell in enumerate(cells, start=2) if cell.lower() in MISSING])
    }
    if holes:
        name, rows = next(iter(holes.items()))
        count = sum(map(len, holes.values()))
        raise InputError(
            f"{file} has {count} missing cells in {len(holes)} columns ({', '.join(list(holes)[:6])}); the first is "
            f"{name!r} in line {rows[0]}. Fill them in, or drop those lines or columns."
        )


def _numeric(columns: dict[str, list[str]], names: list[str]) -> tuple[np.ndarray, list[str]]:
    """The named columns as one array, whole numbers as integers; and the names of those that are text."""
    arrays, text = [], []
    for name in names:
        try:
            arrays.append(np.array([int(cell) for cell in columns[name]], dtype=np.int64))
        except (ValueError, OverflowError):
            try:
                arrays.append(np.array([float(cell) for cell in columns[name]], dtype=np.float64))
            except ValueError:
                text.append(name)
    return (np.stack(arrays, axis=1) if arrays else np.empty((0, 0))), text


def _examples(columns: dict[str, list[str]], names: list[str]) -> str:
    shown = [f"{name!r} ({next(c for c in columns[name] if not _is_number(c))!r})" for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
