"""`advise`: run the candidates on the user's own data and say which pays."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from equilearn import io
from equilearn._check import InputError, positive_int, require
from equilearn._version import __version__
from equilearn.actions import Data, ImageAction, ShiftAction, batch_size, first_leaf
from equilearn.advisor._candidates import Candidate
from equilearn.advisor._plan import BEFORE, fitting, make_grid, make_plan, weight, with_tests
from equilearn.advisor._snapshot import fingerprint_of, fingerprint_of_symmetry, forget_task, save_task
from equilearn.advisor._summary import summarize
from equilearn.advisor._symmetry import check_fits, symmetry_from_names
from equilearn.advisor._trial import run
from equilearn.data import Task, from_arrays
from equilearn.groups import (
    SO,
    Cyclic,
    Dihedral,
    Euclidean,
    Lorentz,
    O,
    Product,
    Scaling,
    SpecialEuclidean,
    Symmetric,
    Translation,
)
from equilearn.measure import SplitSymmetry, split_symmetry
from equilearn.studies import LocalExecutor, Store, config_key, cores, environment, run_trials
from equilearn.symmetry import Symmetry


@dataclass(frozen=True)
class Recommendation:
    """What to do, and on what it rests."""

    strategy: str
    headline: str
    reasons: tuple[str, ...]
    if_deployed_as_is: dict[str, Any]
    if_deployed_transformed: dict[str, Any]
    confidence: dict[str, Any]
    would_change: tuple[str, ...]

    def __str__(self) -> str:
        return self.headline


@dataclass(frozen=True)
class Advice:
    """The result of `advise`: the recommendation, and the summary that it was drawn from."""

    summary: dict[str, Any]
    folder: Path | None = None
    recommendation: Recommendation = field(init=False)

    def __post_init__(self) -> None:
        given = dict(self.summary["recommendation"])
        given["reasons"], given["would_change"] = tuple(given["reasons"]), tuple(given["would_change"])
        object.__setattr__(self, "recommendation", Recommendation(**given))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a trial."""
        return self.summary["rows"]

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file, to `path`."""
        # The report room stands below this one; it is reached when asked for, never at import.
        from importlib import import_module

        return import_module("equilearn.report").write_report(self.summary, path)

    def __str__(self) -> str:
        return self.recommendation.headline


def advise(
    x: Data | np.ndarray,
    y: Tensor | np.ndarray,
    *,
    symmetry: Symmetry | str,
    x_test: Data | np.ndarray | None = None,
    y_test: Tensor | np.ndarray | None = None,
    kind: str | None = None,
    name: str = "your data",
    **options: Any,
) -> Advice:
    """Which way of giving a model this symmetry pays on these data, by measurement.

    Args:
        x, y: inputs, batch first, and labels (int) or targets (float).
        symmetry: the suspected symmetry, or the name of its group where the shape of `x` tells how it acts.
        x_test, y_test: held-out data; a stratified split of `x`, `y` where absent.
        kind: `"classification"` or `"regression"`; told from `y` where absent.
        name: for the report.
        options: as for `advise_task`: `sizes`, `seeds`, `preset`, `out`, `strategies`, `workers`, ...

    Raises:
        InputError: data that cannot be used, or that the symmetry does not fit.

    Example:
        >>> import equilearn as eq
        >>> digits = eq.data.digits()
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> advice = eq.advise(  # doctest: +SKIP
        ...     digits.x_train, digits.y_train, symmetry=turns, sizes=(50, 200), seeds=2
        ... )
        >>> advice.recommendation.strategy  # doctest: +SKIP
        'plain'
    """
    images = isinstance(symmetry.input, ImageAction) if isinstance(symmetry, Symmetry) else None
    task = from_arrays(x, y, x_test, y_test, kind=kind, name=name, images=images)
    if isinstance(symmetry, str):
        symmetry = symmetry_from_names(symmetry, task)
    return advise_task(task, symmetry, **options)


def advise_task(
    task: Task,
    symmetry: Symmetry | None = None,
    *,
    sizes: Sequence[int] | None = None,
    seeds: int | None = None,
    preset: str = "quick",
    strategies: Sequence[str] | None = None,
    model: str | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    seed: int = 0,
    command: str = "",
    progress: Callable[..., None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Advice:
    """`advise` on a `Task`: a grid of strategies x training sizes x seeds, then the recommendation.

    Args:
        task: the data.
        symmetry: the suspected symmetry; default the task's own.
        sizes: training sizes; those beyond the data are cut to all of them.
        seeds: number of repetitions, each with its own training subset and initial weights.
        preset: `"quick"` (minutes on two cores) or `"full"`.
        strategies: names of those to try; default all that fit, in the quick preset without `relaxed`.
        model: `"package.module:function"` that takes the task and returns a fresh network, used as
            the plain one in every strategy that wraps a network; default a small CNN or MLP.
        steps: training steps of the plain network; default the preset's.
        out: folder for the store, which a later call resumes; default a temporary one.
        workers: processes; default one per core.
        seed: the first seed.
        command: what the user typed, for the report.
        progress: called as `progress(done, total, seconds_left)`.
        notify: called with a sentence, before training starts, where the split is a trap; see
            `measure.split_symmetry`.

    Raises:
        InputError: unknown names, sizes that do not fit, a folder that holds another run.

    Cost: strategies x sizes x seeds trainings of the preset's number of steps.
    """
    symmetry = symmetry or task.symmetry
    if symmetry is None:
        raise InputError("Which symmetry? Give one, such as symmetry=Symmetry(Cyclic(4), input=actions.images()).")
    check_fits(symmetry, task)
    _require_spread(task)
    plan = make_plan(task, preset, sizes, seeds, seed, steps)
    split = split_symmetry(task.x_train, task.x_test, symmetry, task.y_train)
    if split.verdict == "trap" and notify is not None:
        notify(split.sentence)
    chosen, skipped = fitting(task, symmetry, strategies, model, preset)
    with _folder(out) as folder:
        fingerprint = fingerprint_of(task)
        symmetry_print = fingerprint_of_symmetry(symmetry, task)
        configs = make_grid(fingerprint, symmetry_print, chosen, plan, preset, model)
        identity = {"data": fingerprint, "symmetry": symmetry_print}
        with Store.open(folder / "store.db", kind="advise", identity=identity) as store:
            save_task(task, folder)
            about = _about(task, symmetry, split, chosen, skipped, plan, preset, command)
            trial = partial(run, str(folder), symmetry)
            with LocalExecutor(cores() if workers is None else positive_int(workers, "workers")) as executor:
                _run(trial, configs, plan, store, about, executor, progress)
            summary = summarize(store)
        forget_task(folder)
        if out is not None:
            io.write_json(folder / "summary.json", summary)
    if summary["recommendation"] is None:
        failures = "; ".join(sorted({f"{f['strategy']}: {f['error']}" for f in summary["failed"]}))
        raise InputError(f"Every trial failed. {failures}")
    return Advice(summary, Path(out) if out is not None else None)


def _run(
    trial: Callable[[dict[str, Any]], dict[str, Any]],
    grid: list[dict[str, Any]],
    plan: dict[str, Any],
    store: Store,
    about: dict[str, Any],
    executor: LocalExecutor,
    progress: Callable[..., None] | None,
) -> None:
    """All trials; first those before any training, as what is predicted says on which classes to test it."""

    def keep(configs: list[dict[str, Any]]) -> None:
        store.set_meta("run", {**about, "keys": [config_key(config) for config in configs]})

    def tell(done: int, total: int, left: float | None) -> None:
        if progress is not None and done < total:  # how many trials there will be is not known yet
            progress(done, len(grid), None)

    keep(grid)
    known = run_trials(trial, grid[: len(BEFORE)], store, executor=executor, progress=tell, weight=weight)
    grid = with_tests(grid, plan, next((row for row in known if row["trial"] == "prediction"), None))
    keep(grid)
    run_trials(trial, grid, store, executor=executor, progress=progress, weight=weight)


# --- the record ---------------------------------------------------------------------------


def _require_spread(task: Task) -> None:
    """A target that never changes can be had without any model."""
    if task.kind == "regression":
        still = bool((task.y_train == task.y_train[:1]).all())
        require(not still, "All training targets are equal: there is nothing to learn. Check the target column.")


def _refuse_other_results(folder: Path) -> None:
    """The results of another command are not to be written over."""
    summary = folder / "summary.json"
    if summary.is_file() and not (folder / "store.db").exists():
        kind = io.read_json(summary).get("kind")
        known = kind in ("advise", "prediction")  # what was predicted is part of what is measured next
        require(known, f"{folder} holds the results of another command ({kind}). Choose another folder.")


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """The folder of the store: the user's, made if need be, or a temporary one."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="equilearn-") as name:
            yield Path(name)
        return
    _refuse_other_results(Path(out))
    yield io.writable_folder(out)


def _about(
    task: Task,
    symmetry: Symmetry,
    split: SplitSymmetry,
    chosen: Sequence[Candidate],
    skipped: list[dict[str, str]],
    plan: dict[str, Any],
    preset: str,
    command: str,
) -> dict[str, Any]:
    """What the summary says of the run besides its rows."""
    return {
        "equilearn": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "preset": preset,
        "environment": environment(),
        "task": {
            "name": task.name,
            "about": task.about,
            "kind": task.kind,
            "classes": task.classes,
            "class_names": list(task.class_names),
            "train": batch_size(task.x_train),
            "test": min(batch_size(task.x_test), plan["training"]["test_inputs"]),
            "input_shape": list(first_leaf(task.x_train).shape[1:]),
            "metric": task.metric,
            "higher_is_better": task.kind == "classification",
        },
        "symmetry": {
            "group": symmetry.group.name,
            "input": symmetry.input.name,
            "output": symmetry.output.name,
            "exact": symmetry.input.is_exact(task.x_test),
            "moved": moved_word(symmetry),
        },
        "split": split.as_dict(),
        "strategies": [{"name": c.name, "describe": c.describe(symmetry)} for c in chosen],
        "skipped": skipped,
        "grid": {
            "strategies": [c.name for c in chosen],
            "sizes": plan["sizes"],
            "seeds": plan["seeds"],
            "training": plan["training"],
        },
    }


_MOVED = (
    (Dihedral | O, "turned or flipped"),
    (Cyclic | SO, "rotated"),
    (Symmetric, "permuted"),
    (Lorentz, "boosted"),
    (Translation, "shifted"),
    (Scaling, "rescaled"),
    (Euclidean | SpecialEuclidean, "moved"),
)


def moved_word(symmetry: Symmetry) -> str:
    """What an input is once the group has acted on it, in a word or two for sentences."""
    group = symmetry.group
    if isinstance(symmetry.input, ShiftAction):
        return "shifted"
    factors = group.factors if isinstance(group, Product) else (group,)
    found = [next((word for kind, word in _MOVED if isinstance(one, kind)), "transformed") for one in factors]
    if "transformed" in found or any(" or " in word for word in found[:-1]):
        return found[0] if len(found) == 1 else "transformed"
    return " and ".join(dict.fromkeys(found))
