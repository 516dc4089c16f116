"""`load`: one name for every source of data."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from equilearn._check import InputError, require
from equilearn.actions import Data, batch_size
from equilearn.data._arrays import from_arrays, inputs_from
from equilearn.data._builtin import digits, minkowski, modular
from equilearn.data._csv import read_csv
from equilearn.data._exp import exp_graphs
from equilearn.data._function import is_function, task_from_function
from equilearn.data._graph_tasks import cycles, pattern
from equilearn.data._idx import is_idx, read_idx_task
from equilearn.data._nbody import PUBLISHED_SEED, nbody
from equilearn.data._npz import read_npz
from equilearn.data._seed import LEGACY_SEEDS, checked_seed
from equilearn.data._task import Task
from equilearn.io import existing_file
from equilearn.symmetry import Symmetry


def _published_nbody(seed: int = 0) -> Task:
    """The published particles for seed 0, as everything else starts from; other seeds give other particles."""
    return nbody(seed=PUBLISHED_SEED + checked_seed(seed, LEGACY_SEEDS - PUBLISHED_SEED))


BUILT_IN: dict[str, Callable[..., Task]] = {
    "cycles": cycles,
    "digits": digits,
    "exp": exp_graphs,
    "minkowski": minkowski,
    "modular": modular,
    "nbody": _published_nbody,
    "pattern": pattern,
}
"""By name, in the sizes that their functions have by default."""

MAX_BYTES = 2**33
"""What a file may unpack to unless `max_bytes` says otherwise: 8 GiB."""

IDX_TEST_FRACTION = 0.5
"""Share held out of IDX images that come without a test set, as the 10,000 test digits of MNIST."""


def load(
    source: str | os.PathLike[str],
    *,
    target: str | None = None,
    kind: str | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    images: bool | None = None,
    symmetry: Symmetry | None = None,
    max_bytes: int = MAX_BYTES,
) -> Task:
    """A task from wherever the data are.

    Args:
        source: one of

            * `"digits"`, `"minkowski"`, `"modular"`, `"nbody"`, `"cycles"`, `"exp"` or `"pattern"`, built in;
            * an `.npz` file with `x`, `y` and perhaps `x_test`, `y_test` (never unpickled); graphs and point
              sets have `adjacency` or `edges` and `mask` beside `x`, other inputs of several parts are `x0`, `x1`, ...;
            * a `.csv` or `.tsv` file with a header line and a `target`;
            * an IDX file of images with its labels beside it, gzipped or not, or their folder;
            * `package.module:function`, which is called without arguments and returns a `Task`.
        target: for a table: the column to predict, or several with commas between.
        kind: `"classification"` or `"regression"`, where `from_arrays` would guess wrong.
        test_fraction: share held out where the source has no test split; default 0.2, and 0.5
            for IDX images.
        seed: of that split.
        images: whether inputs are images, where `from_arrays` would guess wrong.
        symmetry: the suspected symmetry, kept in the task; it says whether inputs are images.
        max_bytes: refuse files that unpack to more.

    Raises:
        InputError: nothing there (near names are listed), or data that cannot be used: says why.

    Example:
        >>> load("digits").x_train.shape
        torch.Size([1200, 1, 8, 8])
    """
    checked_seed(seed)
    text = os.fspath(source)
    path = Path(text)
    if text in BUILT_IN and not path.exists():
        task = BUILT_IN[text](seed=seed)
    elif is_function(text) and not path.exists():
        task = task_from_function(text)
    else:
        options = {"kind": kind, "seed": seed, "images": images, "test_fraction": test_fraction}
        return from_arrays(**_arrays(path, target, max_bytes, options, symmetry is None), symmetry=symmetry)
    require(target is None, f"target={target!r} names a column of a table, but {text!r} is not a table.")
    require(kind in (None, task.kind), f"{text} is a {task.kind}, not a {kind}.")
    return task if symmetry is None else replace(task, symmetry=symmetry)


def load_split(source: str | os.PathLike[str], **options: Any) -> Task | None:
    """`load(source, **options)` where the source has training and test data of its own, both with targets; else None.

    A split that `load` would draw at random is not the one that a given model was trained on.

    Raises:
        InputError: as `load`, for built-in data and functions; files that cannot be used give None.

    Example:
        >>> load_split("digits")
        Task('digits': classification, 1200 training and 597 test inputs of shape (1, 8, 8))
    """
    text = os.fspath(source)
    path = Path(text)
    if not path.exists() and (text in BUILT_IN or is_function(text)):
        return load(source, **options)
    try:
        if path.suffix.lower() == ".npz":
            held = set(read_npz(existing_file(path), options.get("max_bytes", MAX_BYTES)))
        else:
            held = set(read_idx_task(path, options.get("max_bytes", MAX_BYTES))) if _holds_idx(path) else set()
        return load(source, **options) if {"x", "y", "x_test", "y_test"} <= held else None
    except InputError:
        return None


def _holds_idx(path: Path) -> bool:
    return path.exists() and (path.is_dir() or is_idx(path))


def load_inputs(source: str | os.PathLike[str], **options: Any) -> Data:
    """The inputs to try a trained model on: the test inputs of `load(source, **options)`.

    An `.npz` file needs no targets here: `x_test` is taken where it has one, else all of `x`.

    Raises:
        InputError: as `load`.

    Example:
        >>> load_inputs("digits").shape
        torch.Size([597, 1, 8, 8])
    """
    path = Path(os.fspath(source))
    if path.suffix.lower() != ".npz" or options.get("target") is not None:
        return load(source, **options).x_test
    arrays = read_npz(existing_file(path), options.get("max_bytes", MAX_BYTES), inputs_only=True)
    name = "x_test" if "x_test" in arrays else "x"
    return inputs_from(arrays[name], name, options.get("images"))


def _arrays(
    path: Path, target: str | None, max_bytes: int, options: dict[str, Any], guess_images: bool
) -> dict[str, Any]:
    """Arguments for `from_arrays` from a file or folder."""
    suffix = path.suffix.lower()
    named = {**options, "name": path.stem or path.name}
    if suffix in (".csv", ".tsv"):
        x, y = read_csv(existing_file(path), target)
        return {**named, "x": x, "y": y, "images": bool(options["images"]), "about": f"{len(x):,} lines of {path.name}"}
    require(target is None, f"target={target!r} names a column of a table, but {path} is not a .csv or .tsv file.")
    if suffix == ".npz":
        held: dict[str, Any] = read_npz(existing_file(path), max_bytes)
        return {**named, **held, "about": f"{batch_size(held['x']):,} samples of {path.name}"}
    if path.is_dir() or is_idx(path):
        if not path.is_dir():
            existing_file(path)
        arrays = read_idx_task(path, max_bytes)
        if named["test_fraction"] is None:
            named["test_fraction"] = IDX_TEST_FRACTION
        about = f"{len(arrays['x']):,} images of {path.name}"
        if named["images"] is None and guess_images:
            named["images"] = True
        return {**named, "kind": options["kind"] or "classification", **arrays, "about": about}
    raise InputError(_unknown(path))


def _unknown(path: Path) -> str:
    forms = (
        f"Data are {', '.join(BUILT_IN)} (built in), an .npz, .csv or .tsv file, IDX images "
        "(train-images-idx3-ubyte.gz or their folder), or package.module:function."
    )
    if path.is_file():
        return f"{path} is not of a kind that is read here. {forms}"
    folder = path.parent if path.parent.is_dir() else None
    names = [*BUILT_IN, *([str(path.parent / entry.name) for entry in folder.iterdir()] if folder else [])]
    near = difflib.get_close_matches(str(path), dict.fromkeys(names), n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no {str(path)!r}.{hint} {forms}"
