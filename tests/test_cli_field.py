"""`equilearn field`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equilearn import cli
from equilearn._check import MissingExtraError
from equilearn.cli import _field

pytest.importorskip("netCDF4")
xarray = pytest.importorskip("xarray")

from equilearn.data.fields import from_xarray, write_example_fields  # noqa: E402
from equilearn.processes.field import FieldModel  # noqa: E402

QUICK = ["--steps", "3", "--patch", "8,8", "--context", "3,20"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A netCDF file, and a folder in which a model was fitted to it."""
    folder = tmp_path_factory.mktemp("field")
    write_example_fields(folder / "uk.nc", torch.Generator().manual_seed(0), days=4, size=(12, 14))
    assert cli.main(["field", str(folder / "uk.nc"), "--var", "t2m", *QUICK, "--out", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stations(path: Path, *, times: int = 40, missing: bool = False, shift: float = 0.0, scale: str = "K") -> Path:
    """A CSV of ten stations in the country of the example, hour by hour."""
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(10, 2, generator=generator) * torch.tensor([2.5, 3.0]) + torch.tensor([55.3 + shift, -9.8])
    lines = ["id,lat,lon,time,t2m"]
    for hour in range(times):
        day, clock = divmod(hour, 24)
        for i, (lat, lon) in enumerate(places.tolist()):
            value = (280.0 if scale == "K" else 7.0) + i * 0.3 + 0.1 * hour
            shown = "" if missing and i == 0 else f"{value:.2f}"
            lines.append(f"s{i},{lat:.3f},{lon:.3f},2019-03-{1 + day:02d}T{clock:02d}:00,{shown}")
    path.write_text("\n".join(lines) + "\n")
    return path


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


# --- what it writes --------------------------------------------------------------------------


def test_writes_the_prediction_the_model_and_a_page(home: Path) -> None:
    out = home / "out"
    with xarray.open_dataset(out / "predictions.nc") as found:
        assert set(found.data_vars) == {"mean", "std", "observed", "departure"}
        assert all(found[name].attrs["units"] == "K" for name in found.data_vars)
        assert found.sizes == {"time": 24, "latitude": 12, "longitude": 14}
        assert float(found["std"].min()) > 0 and bool(found["observed"].isnull().any())
    kept = summary(out)
    assert [row["method"] for row in kept["rows"]] == ["fitted", "off", "gp", "idw", "climatology", "empirical"]
    assert all(row["rmse"] > 0 for row in kept["rows"]) and kept["rows"][1]["less"]["over_tasks"] > 0
    assert len(kept["answer"]) == 2 and "nats" in kept["answer"][0] and " K" in kept["answer"][1]
    page = (out / "report.html").read_text()
    assert "map-departure" in page and "longitude (°E)" in page
    assert cli.main(["report", str(out)]) == 0  # from summary.json alone
    assert (out / "report.html").read_text() == page


def test_observed_and_departure_are_what_they_say(home: Path) -> None:
    with xarray.open_dataset(home / "uk.nc") as truth, xarray.open_dataset(home / "out/predictions.nc") as found:
        both = truth["t2m"].sel(time=found["time"])
        seen = found["observed"].notnull().values
        assert abs(both.values[seen] - found["observed"].values[seen]).max() < 1e-3
    model = FieldModel.load(home / "out/model.safetensors")
    assert model.relaxed and model.config.units == "K"
    field = from_xarray(home / "uk.nc", "t2m")
    context = field.at([90]).points(dtype=torch.float64)
    on, off = model.on(context, context.x).mean, model.off(context, context.x).mean
    assert torch.equal(model.departure(context, context.x), on - off)


def test_the_same_command_gives_the_same_rows(home: Path, folder: Path) -> None:
    command = ["field", str(home / "uk.nc"), "--var", "t2m", *QUICK, "--out", str(folder)]
    assert cli.main(command) == 0
    assert summary(folder)["rows"] == summary(home / "out")["rows"]


def test_json_is_alone_on_stdout(home: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["field", str(home / "uk.nc"), "--var", "t2m", *QUICK, "--strict", "--time", "2019-03-04T05", "--json"]
    assert cli.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "not asked" and "maps" not in found
    assert found["prediction"]["count"] == 1 and found["model"]["strict"]
    with xarray.open_dataset(folder / "equilearn-field-uk/predictions.nc") as written:
        assert "departure" not in written


def test_compare_trains_the_strict_process_too(home: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["field", str(home / "uk.nc"), "--var", "t2m", *QUICK, "--compare", "--out", "o"]) == 0
    assert "against the strict process" in " ".join(capsys.readouterr().out.split())
    assert [row["method"] for row in summary(folder / "o")["rows"]][:3] == ["fitted", "off", "strict"]


@pytest.mark.parametrize("model", ["unet", "equivcnp", "relaxedconvcnp", "tetnp", "tepttnp", "cnp", "tnp", "pttnp"])
def test_every_model_fits_and_is_saved(model: str, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = _small()
    monkeypatch.setattr("equilearn.processes.field._networks.PRESETS", {"quick": small, "full": small})
    command = ["field", str(home / "uk.nc"), "--var", "t2m", "--model", model, "--time", "2019-03-04T05"]
    assert cli.main([*command, "--patch", "6,6", "--context", "3,9", "--out", "o"]) == 0
    again = FieldModel.load(folder / "o/model.safetensors")
    assert again.config.model == model and again.relaxed == (model not in ("cnp", "tnp", "pttnp"))


def _small() -> Any:
    from equilearn.processes.field._networks import Size

    return Size(width=8, depth=2, features=2, tokens=8, layers=1, heads=2, steps=1, batch=2, tasks=4)


def test_static_fields_are_taken_off_and_put_back(home: Path, folder: Path) -> None:
    command = ["field", str(home / "uk.nc"), "--var", "t2m", *QUICK, "--out", "o"]
    assert cli.main([*command, "--static", f"{home / 'uk.nc'}:elevation"]) == 0
    slope = summary(folder / "o")["field"]["static"]["elevation"]
    assert slope == pytest.approx(-0.0065, abs=0.002)  # kelvins a metre, as the example has it
    csv_file = stations(folder / "at.csv", times=1)  # without elevations: those of the nearest cells
    assert (
        cli.main(["field", "--load", "o/model.safetensors", "--at", str(csv_file), "--units", "K", "--out", "p"]) == 0
    )


# --- stations --------------------------------------------------------------------------------


def test_fits_stations(folder: Path) -> None:
    stations(folder / "s.csv", times=80)
    assert cli.main(["field", "s.csv", "--var", "t2m", "--units", "K", "--steps", "3", "--out", "o"]) == 0
    kept = summary(folder / "o")
    assert kept["field"]["stations"] and kept["field"]["places"] == 10
    assert kept["model"]["units"] == "K" and kept["maps"]["errors"]
    assert (folder / "o/stations.csv").exists()


def test_predicts_from_stations_without_training(home: Path, folder: Path) -> None:
    stations(folder / "at.csv", times=2, missing=True)
    load = ["field", "--load", str(home / "out/model.safetensors"), "--at", "at.csv", "--units", "K", "--out", "o"]
    assert cli.main(load) == 0
    with (folder / "o/stations.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 20 and {line["units"] for line in lines} == {"K"}
    assert lines[0]["observed"] == "" and float(lines[0]["std"]) > 0  # asked for
    assert float(lines[1]["observed"]) == pytest.approx(280.3) and lines[1]["mean"] != ""  # left out, predicted
    assert not (folder / "o/model.safetensors").exists()
    first, second = summary(folder / "o")["answer"]
    assert "nothing was trained" in first and "18 observations of stations" in second and " K " in second


def test_warns_of_observations_outside_of_the_region(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stations(folder / "at.csv", times=1, shift=20.0)
    load = ["field", "--load", str(home / "out/model.safetensors"), "--at", "at.csv", "--units", "K", "--out", "o"]
    assert cli.main(load) == 0
    assert "10 of 10 observations lie outside of the region of training" in capsys.readouterr().out
    model = FieldModel.load(home / "out/model.safetensors")
    far = from_xarray(home / "uk.nc", "t2m").at([0]).points(dtype=torch.float64)
    with pytest.warns(UserWarning, match="outside of the region"):
        model.predict(far.moved(lambda x: x + 40), far.x)


def test_predicts_from_a_grid_with_holes(home: Path, folder: Path) -> None:
    with xarray.open_dataset(home / "uk.nc") as data:
        some = data[["t2m"]].isel(time=[3]).load()
    some["t2m"] = some["t2m"].where(some["t2m"].longitude < -8)
    some.to_netcdf(folder / "some.nc")
    load = ["field", "--load", str(home / "out/model.safetensors"), "--at", "some.nc", "--out", "o"]
    assert cli.main(load) == 0
    some["t2m"].attrs["units"] = "degC"
    some.to_netcdf(folder / "warm.nc")
    assert cli.main([*load[:-3], "warm.nc", "--out", "p"]) == 2


# --- what it refuses -------------------------------------------------------------------------


def _broken(change: Callable[[Any], Any]) -> Callable[[Path, Path], Path]:
    def made(source: Path, folder: Path) -> Path:
        with xarray.open_dataset(source) as data:
            change(data.load()).to_netcdf(folder / "bad.nc")
        return folder / "bad.nc"

    return made


def _cut(source: Path, folder: Path) -> Path:
    (folder / "bad.nc").write_bytes(source.read_bytes()[:5000])
    return folder / "bad.nc"


def _text(source: Path, folder: Path) -> Path:
    (folder / "bad.nc").write_text("not a field\n")
    return folder / "bad.nc"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda source, folder: folder / "uk.nc", "No file"),
        (_cut, "cannot be read as netCDF"),
        (_text, "cannot be read as netCDF"),
        (_broken(lambda data: data.rename(t2m="t2mm")), "Did you mean 't2mm'"),
        (_broken(lambda data: data.assign(t2m=data["t2m"] * float("nan"))), "everything is NaN"),
        (_broken(lambda data: data.isel(time=0, drop=True)), "no time coordinate"),
        (_broken(lambda data: data.assign_coords(time=range(96))), "calendar"),
        (_broken(lambda data: data.isel(time=slice(4))), "Too few times"),
        (_broken(lambda data: data.isel(time=slice(None, None, -1))), "backwards"),
    ],
)
def test_bad_files_end_in_one_sentence(
    made: Callable[[Path, Path], Path],
    words: str,
    home: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = made(home / "uk.nc", folder)
    assert cli.main(["field", str(path), "--var", "t2m", *QUICK, "--out", "o"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("equilearn: ") and words in said
    assert not (folder / "o").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "tetpn"], "Did you mean 'tetnp'"),
        (["--model", "tnp", "--strict"], "no symmetry to be strict about"),
        (["--model", "tnp", "--compare"], "Leave --compare out"),
        (["--strict", "--compare"], "strict process already"),
        (["--patch", "99,99"], "does not fit"),
        (["--patch", "9"], "two whole numbers"),
        (["--context", "5,64"], "at least one is to be predicted"),
        (["--context", "many"], "whole numbers"),
        (["--test-days", "9"], "leave none to train on"),
        (["--train-days", "0"], "positive"),
        (["--time", "2030"], "No time begins with"),
        (["--static", "nowhere.nc:z"], "No file"),
        (["--static", "elevatoin"], "elevation"),
        (["--units", "degC"], "is in K, not in degC"),
        (["--select", "level"], "--select takes pairs"),
        (["--steps", "0"], "steps"),
        (["--preset", "slow"], "preset"),
        (["--load", "model.safetensors"], "--load trains nothing"),
    ],
)
def test_bad_options_end_in_one_sentence(
    options: list[str], words: str, home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["field", str(home / "uk.nc"), "--var", "t2m", *QUICK, "--out", "o", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Give a netCDF file or a CSV"),
        (["--load", "MODEL"], "--at stations.csv"),
        (["--load", "nowhere.safetensors", "--at", "at.csv"], "No file"),
        (["--load", "MODEL", "--at", "at.csv", "--var", "t"], "The model is of t2m, not of t"),
        (["--load", "MODEL", "--at", "at.csv", "--steps", "5"], "leave --steps out"),
        (["--load", "MODEL", "--at", "at.csv", "--units", "degC"], "Units differ"),
        (["--load", "MODEL", "--at", "cold.csv"], "seem to be in another unit"),
        (["--load", "other.safetensors", "--at", "at.csv"], "holds no field model"),
        (["at.csv"], "Say --var"),
    ],
)
def test_bad_ways_to_predict_end_in_one_sentence(
    options: list[str], words: str, home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from equilearn import io

    stations(folder / "at.csv", times=1)
    stations(folder / "cold.csv", times=1, scale="degC")
    io.save(torch.nn.Linear(1, 1), folder / "other.safetensors")
    options = [str(home / "out/model.safetensors") if option == "MODEL" else option for option in options]
    assert cli.main(["field", *options]) == 2
    assert words in capsys.readouterr().err


def test_says_which_extra_is_missing(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtraError, match=r"equilearn\[fields\]"):
        _field.read_field(home / "uk.nc", dict.fromkeys(("var", "units", "coords", "select", "since")))
    assert cli.main(["field", str(home / "uk.nc"), "--var", "t2m", "--out", "o"]) == 2


# --- stopped and resumed ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGKILL])
def test_goes_on_where_it_was(which: signal.Signals, home: Path, folder: Path) -> None:
    def command(out: str) -> list[str]:
        options = ["--var", "t2m", "--steps", "120", "--patch", "8,8", "--context", "3,20", "--out", out]
        return [sys.executable, "-m", "equilearn", "field", str(home / "uk.nc"), *options]

    process = subprocess.Popen(command("o"), cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (folder / "o/training.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(which)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if which == signal.SIGINT else -which)
    assert "Traceback" not in said
    subprocess.run(command("o"), cwd=folder, check=True, capture_output=True)
    subprocess.run(command("whole"), cwd=folder, check=True, capture_output=True)
    assert summary(folder / "o")["rows"] == summary(folder / "whole")["rows"]
