"""`equilearn field`: scattered observations in, a field with its uncertainty out."""

from __future__ import annotations

import csv
import io as text_io
import time as clock
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilearn._check import InputError, positive_int, require
from equilearn.cli._field_summary import about, described, learned_maps, maps, named, told
from equilearn.cli._output import (
    console,
    output_folder,
    print_json,
    print_note,
    progress_bar,
    show_table,
    whole_numbers,
    words,
)

if TYPE_CHECKING:
    from equilearn.data.fields import Gridded, Stations
    from equilearn.processes.field import FieldConfig, FieldData, FieldModel, Predicted

TABLES = (".csv", ".tsv", ".txt")
SPOKEN = {
    "Name it: var=...": "Name it: --var NAME",
    "coords={'lat': ..., 'lon': ..., 'time': ...}": "--coords lat=...,lon=...,time=...",
    "with since='2019-01-01'": "with --since 2019-01-01",
    "select={": "--select with {",
}
"""What messages of the library call an option, and what the command line does."""
TRAINING = ("model", "strict", "compare", "patch", "context", "train_days", "test_days", "steps", "static")


def run(
    source: Path | None,
    *,
    reading: dict[str, Any],
    training: dict[str, Any],
    load: Path | None,
    at: Path | None,
    time: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Fit or load, predict, write, say what came out."""
    start = clock.perf_counter()
    positive_int(training["seed"], "--seed", 0)
    if load is None:
        require(source is not None, "Which field? Give a netCDF file or a CSV of stations; or --load a model.")
    else:
        _loading(source, training, at)
    given = source if source is not None else at
    with output_folder(out, "field", given.stem if given is not None else "") as folder:
        require(
            not (folder / "store.db").exists(),
            f"{folder} holds the results of advise or a study, which this would overwrite. Choose another --out.",
        )
        try:
            if source is not None:
                summary, predicted, model = _fitted(source, folder, reading, training, at, time)
            else:
                summary, predicted, model = _loaded(load, at, reading, time)  # type: ignore[arg-type]
        except InputError as error:
            raise InputError(_spoken(str(error))) from error
        _write(summary, predicted, model, folder, start)
    if as_json:
        print_json({key: value for key, value in summary.items() if key != "maps"})
    else:
        show(summary, folder)


def _loading(source: Path | None, training: dict[str, Any], at: Path | None) -> None:
    """Options that make no sense where nothing is trained."""
    require(source is None, f"--load trains nothing: give the observations with --at, instead of FILE {source}.")
    require(at is not None, "--load needs observations to predict from: --at stations.csv.")
    for option in TRAINING:
        given = training[option]
        require(given in (None, False, []), f"--load trains nothing: leave --{option.replace('_', '-')} out.")


def _spoken(message: str) -> str:
    for python, command in SPOKEN.items():
        message = message.replace(python, command)
    return message


# --- reading -------------------------------------------------------------------------------


def read_field(path: Path, reading: dict[str, Any], static: Sequence[str] = ()) -> Gridded | Stations:
    """A netCDF file, or a CSV file of stations: its ending says which.

    Raises:
        InputError: what cannot be read, an unknown variable, units that differ, ...
    """
    from equilearn.data.fields import from_stations, from_xarray

    coords = _pairs(reading["coords"], "--coords", "lat=y,lon=x")
    if path.suffix.lower() not in TABLES:
        select = {k: _number(v) for k, v in (_pairs(reading["select"], "--select", "level=850") or {}).items()}
        given = _static(static)
        return from_xarray(path, reading["var"], coords=coords, static=given, select=select, units=reading["units"])
    from equilearn.data._csv import read_table
    from equilearn.io import existing_file

    header, _ = read_table(existing_file(path))
    require(
        reading["var"] is not None, f"Which column of {path} is the variable? It has {', '.join(header)}. Say --var."
    )
    units = reading["units"] or ""
    return from_stations(path, reading["var"], coords=coords, static=static, units=units, since=reading["since"])


def _static(given: Sequence[str]) -> Any:
    """`elevation` is a variable of the same file, `elevation.nc:z` one of another."""
    if not any(":" in part for part in given):
        return list(given)
    require(all(":" in part for part in given), f"--static: FILE:VAR for all static fields or for none, got {given}.")
    found = {}
    for part in given:
        path, _, name = part.rpartition(":")
        found[name] = path
    return found


def _pairs(text: str | None, option: str, example: str) -> dict[str, str] | None:
    if text is None:
        return None
    parts = [part.partition("=") for part in text.split(",")]
    require(all(k and v for k, _, v in parts), f"{option} takes pairs such as {example}, got {text!r}.")
    return {key.strip(): value.strip() for key, _, value in parts}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _range(text: str | None, option: str, example: str) -> tuple[int, int] | None:
    found = whole_numbers(text, option)
    require(found is None or len(found) == 2, f"{option} takes two whole numbers, such as {example}; got {text!r}.")
    return found  # type: ignore[return-value]


def _observations(path: Path, config: FieldConfig, reading: dict[str, Any]) -> Gridded | Stations:
    """What a model is to predict from, with its static fields where the file has them."""
    asked = {**reading, "var": config.name}
    if path.suffix.lower() not in TABLES:
        return read_field(path, {**asked, "units": config.units or None})
    from equilearn.data._csv import read_table
    from equilearn.io import existing_file

    header, _ = read_table(existing_file(path))
    static = [name for name in config.static_names if name in header]
    return read_field(path, asked, static if len(static) == len(config.static_names) else ())


# --- the two ways to predict ---------------------------------------------------------------


def _fitted(
    source: Path, folder: Path, reading: dict[str, Any], training: dict[str, Any], at: Path | None, time: str | None
) -> tuple[dict[str, Any], Predicted, FieldModel]:
    from equilearn.processes.field import (
        answer,
        departure_map,
        fit_field,
        predict_at,
        predict_held_out,
        require_fitting,
        require_times,
        verdict,
    )

    patch = _range(training["patch"], "--patch", "16,16")
    context = _range(training["context"], "--context", "5,100")
    field = read_field(source, reading, words(",".join(training["static"] or [])) or ())
    print_note(repr(field))
    asked: list[Gridded | Stations] = []  # what --at says, read before the training and used after it

    def check(data: FieldData, config: FieldConfig) -> None:
        if at is not None:
            asked.append(_observations(at, config, reading))
            require_fitting(config, asked[0])
        require_times(asked[0] if asked else data.test, time)

    with progress_bar("training") as progress:
        fit = fit_field(
            field,
            model=training["model"] or "convcnp",
            strict=training["strict"],
            compare=training["compare"],
            patch=patch,
            context=context,
            train_days=training["train_days"],
            test_days=training["test_days"],
            preset=training["preset"],
            steps=training["steps"],
            seed=training["seed"],
            checkpoints=folder,
            check=check,
            progress=progress,
        )
    print_note("predicting")
    if asked:
        predicted = predict_at(fit.model, asked[0], time)
    else:
        predicted = predict_held_out(fit.model, fit.data, time, training["seed"])
    found = {
        **about(training["seed"]),
        "preset": training["preset"],
        "answer": answer(fit) + ([trust(predicted, fit.data.units)] if asked and predicted.stations else []),
        "verdict": verdict(fit),
        "gain": fit.gain(),
        "field": described(source, fit),
        "model": named(fit.model, fit),
        "tasks": fit.tasks,
        "rows": list(fit.rows),
        "maps": {**maps(predicted, fit.model), **learned_maps(fit, departure_map(fit.model, predicted))},
    }
    return {**found, **told(predicted, at or source, held_out=at is None)}, predicted, fit.model


def _loaded(
    load: Path, at: Path, reading: dict[str, Any], time: str | None
) -> tuple[dict[str, Any], Predicted, FieldModel]:
    from equilearn.processes.field import FieldModel, predict_at, trust

    model = FieldModel.load(load)
    require(
        reading["var"] in (None, model.config.name), f"The model is of {model.config.name}, not of {reading['var']}."
    )
    predicted = predict_at(model, _observations(at, model.config, reading), time)
    first = f"{model.config.name} was predicted from {at} by the model {load}; nothing was trained."
    found = {
        **about(0),
        "answer": [said for said in (first, trust(predicted, model.config.units)) if said],
        "verdict": "not asked",
        "model": named(model),
        "rows": [],
        "maps": maps(predicted, model),
    }
    return {**found, **told(predicted, at, held_out=False)}, predicted, model


# --- what is written -----------------------------------------------------------------------


def _write(summary: dict[str, Any], predicted: Predicted, model: FieldModel, folder: Path, start: float) -> None:
    """All files; the report last, once there is something to report."""
    from equilearn import io
    from equilearn.report import write_report

    predicted.write(folder / "predictions.nc", model, {"history": summary["command"]})
    files = ["predictions.nc"]
    if "steps" in summary["model"]:
        model.save(
            folder / "model.safetensors", {"trained": {k: summary[k] for k in ("command", "created", "equilearn")}}
        )
        files.append("model.safetensors")
    if predicted.stations:
        io.write_text(folder / "stations.csv", _table(predicted.stations, model.config.units))
        files.append("stations.csv")
    summary["files"] = files
    summary["total_seconds"] = clock.perf_counter() - start
    io.write_json(folder / "summary.json", summary)
    write_report(io.as_json(summary), folder / "report.html")


def _table(lines: Sequence[dict[str, Any]], units: str) -> str:
    file = text_io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["station", "time", "latitude", "longitude", "observed", "mean", "std", "units"])
    for line in lines:
        figures = ["" if (v := line[k]) is None or v != v else f"{v:.6g}" for k in ("observed", "mean", "std")]
        writer.writerow([line["station"], line["time"], f"{line['lat']:.6g}", f"{line['lon']:.6g}", *figures, units])
    return file.getvalue()


# --- what is said --------------------------------------------------------------------------


def show(summary: dict[str, Any], folder: Path) -> None:
    """The answer, the table, where the files lie."""
    out = console()
    out.print()
    for place, sentence in enumerate(summary["answer"]):
        out.print(sentence, style="bold" if place == 0 else None, markup=False)
    if summary["rows"]:
        unit = summary["model"]["units"] or "no units"
        out.print()
        header = ["method", "nats", "±", "less the first", "±", f"rmse ({unit})", "in 90 %"]
        title = (
            f"nats a target (more is better) on {summary['tasks']} tasks of {summary['field']['days']} held-out days; "
            "±: the larger standard error"
        )
        show_table(title, header, [_row(row) for row in summary["rows"]], figures=True)
    for note in summary["notes"]:
        out.print(f"\nwarning: {note}", style="yellow", markup=False)
    out.print(f"\n{', '.join(summary['files'])} in {folder}", markup=False)
    out.print(f"report: {folder / 'report.html'}", markup=False)


def _row(row: dict[str, Any]) -> list[str]:
    nats, less = _figures(row["log_likelihood"]), _figures(row["less"] or {})
    return [row["label"], *nats, *less, f"{row['rmse']:.3g}", f"{row['coverage']:.0%}"]


def _figures(found: dict[str, Any]) -> list[str]:
    """A mean and the larger of its standard errors."""
    errors = [e for e in (found.get("over_tasks"), found.get("over_days")) if e is not None]
    mean = found.get("mean")
    return ["-" if mean is None else f"{mean:.3f}", f"{max(errors):.3f}" if errors else "-"]
