"""`equilearn audit`: how equivariant is this trained model?"""

from __future__ import annotations

import datetime
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equilearn._check import InputError, positive_int, require
from equilearn._version import __version__
from equilearn.actions import Data, batch_size, map_data
from equilearn.cli._models import like_model, load_model
from equilearn.cli._output import command_line, console, loading_options, output_folder, print_json, show_table
from equilearn.symmetry import Symmetry


def run(
    model: str,
    source: str,
    group: str,
    *,
    names: dict[str, str | None],
    loading: dict[str, Any],
    samples: int,
    inputs: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Load model and data, measure, say and write what came out."""
    from equilearn import io
    from equilearn.report import write_report

    start = time.perf_counter()
    positive_int(samples, "--samples")
    positive_int(inputs, "--inputs")
    require(
        out is None or not (out / "store.db").exists(),
        f"{out} holds the results of advise or a study, which an audit would overwrite. Choose another --out.",
    )
    with nullcontext() if out is None else output_folder(out):
        x, symmetry, task = audited_data(source, group, names, loading)
        loaded = load_model(model)
        measured = examine(loaded, model, like_model(pick(x, inputs, seed), loaded), symmetry, samples, seed)
    summary = {
        "kind": "audit",
        "equilearn": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "model": model,
        "data": source,
        "group": str(symmetry.group),
        "symmetry": {"group": str(symmetry.group), "input": symmetry.input.name, "output": symmetry.output.name},
        "seed": seed,
        "environment": environment(),
        "split": split_of(task, symmetry),
        **measured,
        "total_seconds": time.perf_counter() - start,
    }
    summary = io.as_json(summary)
    if out is not None:
        io.write_json(out / "summary.json", summary)
        write_report(summary, out / "report.html")
    if as_json:
        print_json(summary)
    else:
        show(summary, out)


def audited_data(
    source: str, group: str, names: dict[str, str | None], loading: dict[str, Any]
) -> tuple[Data, Symmetry, Any]:
    """The test inputs, the symmetry to look for, and the task where the data have a split of their own.

    An audit asks about the model, whatever the targets are: they need not be there, and the output
    action is not held against them, but bound here and checked on what the model returns.
    """
    from equilearn import actions, data, groups
    from equilearn.advisor import symmetry_from_names

    parsed = groups.parse(group)
    options = loading_options(loading, names["action"])
    whole = data.load_split(source, **options)
    x = data.load_inputs(source, **options) if whole is None else whole.x_test
    nothing = torch.zeros(batch_size(x), 1)
    task = data.Task(Path(source).stem, x, nothing, x, nothing, kind="regression")
    symmetry = symmetry_from_names(group, task, action=names["action"])
    if names["output"] is not None:
        symmetry = Symmetry(parsed, input=symmetry.input, output=actions.parse(names["output"], parsed))
    return x, symmetry, whole


def split_of(task: Any, symmetry: Symmetry) -> dict[str, Any] | None:
    """Whether the model was trained on a symmetric set, where the data tell; None where they do not.

    The output action is that of the model's outputs, which need not fit the targets: then there is nothing to say.
    """
    from equilearn.measure import split_symmetry

    if task is None:
        return None
    try:
        return split_symmetry(task.x_train, task.x_test, symmetry, task.y_train).as_dict()
    except InputError:
        return None


def pick(x: Data, count: int, seed: int) -> Data:
    """At most `count` of the inputs, by chance: data are often sorted by class."""
    total = batch_size(x)
    if total <= count:
        return x
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]
    return map_data(lambda t: t[chosen], x)


def examine(model: Any, name: str, x: Data, symmetry: Symmetry, samples: int, seed: int) -> dict[str, Any]:
    """The error of the model, and of its layers where it has some.

    Raises:
        InputError: also for whatever the model itself raises, on the inputs or on transformed ones.
    """
    from equilearn import measure

    y = _tried(model, name, x)
    symmetry.output.check(y)
    generator = torch.Generator().manual_seed(seed)
    layers: list[dict[str, Any]] = []
    try:
        error = measure.equivariance_error(model, symmetry, x, samples=samples, generator=generator)
        if isinstance(model, nn.Module):
            generator.manual_seed(seed)
            found = measure.layer_errors(model, symmetry, x, samples=samples, generator=generator)
            layers = [layer.as_dict() for layer in found]
    except Exception as problem:
        if isinstance(problem, InputError) or not _raised_in(model, problem):
            raise
        raise InputError(f"The model {name} fails on transformed inputs: {_said(problem)}") from problem
    return {"verdict": error.verdict, "sentence": str(error), "error": error.as_dict(), "layers": layers}


def _tried(model: Any, name: str, x: Data) -> Data:
    """The outputs for two inputs, once the model has shown that it takes these data."""
    about = f"data of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else "a tuple of data"
    try:
        with torch.no_grad():
            return model(map_data(lambda t: t[:2], x))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"The model {name} fails on two of the inputs ({about}): {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def _raised_in(model: Any, error: BaseException) -> bool:
    """Whether the error passed through the model's own code: then it is the user's, and no bug of ours.

    Measures may run a copy of a module in another precision, hence the comparison of types.
    """
    code = getattr(model, "__code__", None)
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        same = isinstance(model, nn.Module) and type(frame.f_locals.get("self")) is type(model)
        if same or frame.f_code is code:
            return True
        trace = trace.tb_next
    return False


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    import platform

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def show(summary: dict[str, Any], folder: Path | None, most: int = 20) -> None:
    """Tables per element and per layer, the verdict last, where eyes end up."""
    elements = sorted(summary["error"]["per_element"], key=lambda e: -e["error"])
    title = "equivariance error by group element, worst first"
    if len(elements) > most:
        title += f" ({most} of {len(elements)})"
    show_table(
        title, ["element", "error"], [[e["element"], f"{e['error']:.2g}"] for e in elements[:most]], figures=True
    )
    if summary["layers"]:
        rows = [[e["layer"], e["kind"], f"{e['error']:.2g}", e["law"]] for e in summary["layers"]]
        show_table(
            "\nby layer, in the order of the model", ["layer", "", "error", "of the law it comes closest to"], rows
        )
    out = console()
    out.print(f"\n{summary['sentence']}", markup=False)
    out.print(f"verdict: {summary['verdict']}", markup=False)
    split = summary.get("split")
    if split and split["verdict"] == "trap":
        out.print(f"\nwarning: {split['sentence']}", style="yellow", markup=False)
    if folder is not None:
        out.print(f"report: {folder / 'report.html'}", markup=False)
