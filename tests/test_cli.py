"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import equilearn as eq
from equilearn import cli
from equilearn._check import InputError
from equilearn.cli import _advise, _doctor, _output, _study

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; modules imported from it are forgotten again."""
    monkeypatch.chdir(tmp_path)
    known, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def squares(path: Path, count: int = 40) -> Path:
    """Small images in two classes: a bright row above or below."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % 2
    x = 0.1 * rng.random((count, 1, 6, 6))
    x[np.arange(count), 0, np.where(y == 0, 1, 4)] += 1
    np.savez(path, x=x.astype(np.float32), y=y)
    return path


MODELS = """
import torch

def plain():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

def mean():
    return lambda x: x.mean((1, 2, 3))[:, None]

def pooled():
    return lambda x: x.sum(1).flatten(1)

def nothing():
    return 3

def needy(size):
    return torch.nn.Linear(size, 1)

def broken():
    raise KeyError("no weights")

def mistaken():
    return torch.nn.Linear("3", 1)

class Wrong(torch.nn.Module):
    def forward(self, x):
        return {}["logits"]

class Picky(torch.nn.Module):
    def forward(self, x):
        if len(x) > 2:
            raise AttributeError("only two\\nat a time")
        return x.mean((1, 2, 3))[:, None]

def picky():
    return lambda x: Picky()(x)
"""


@pytest.fixture
def models(folder: Path) -> str:
    (folder / "cli_test_models.py").write_text(MODELS)
    return "cli_test_models"


# --- help, version, doctor ----------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["advise"], ["audit"], ["study"], ["study", "run"], ["report"], ["doctor"]])
def test_help_teaches_by_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: equilearn" in out
    if command != ["study"]:
        assert f"equilearn {' '.join(command)}".strip() in out.split("Usage:")[1].split("\n", 1)[1]


def test_help_needs_no_torch() -> None:
    code = "import sys\nfrom equilearn.cli import main\nassert main(['--help']) == 0\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "equilearn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("equilearn 0")


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"] == torch.__version__
    assert found["machine"]["torch_threads"] == torch.get_num_threads()
    for name, extra in found["extras"].items():
        assert bool(extra["missing"]) == (f"equilearn[{name}]" in extra["install"])
    assert cli.main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


def test_doctor_knows_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def bare(requirements: list[str]) -> tuple[str, ...]:
        return tuple(r.split(">=")[0] for r in requirements)

    assert bare(project["dependencies"]) == _doctor.CORE
    assert {k: bare(v) for k, v in project["optional-dependencies"].items()} == {
        k: packages for k, (packages, _) in _doctor.EXTRAS.items()
    }


def test_constraints_fit_the_ranges() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    declared = [*project["dependencies"], *(r for group in project["optional-dependencies"].values() for r in group)]
    ranges = {(r := Requirement(text)).name: r.specifier for text in declared}
    assert set(pinned) <= set(ranges)
    assert all(version in ranges[name] for name, version in pinned.items())
    assert {Requirement(text).name for text in project["dependencies"]} <= set(pinned)


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["advise", "digits", "--group", "Q44x"], "Q44x"),
        (["advise", "digits", "--group", "C4", "--sizes", "50,many"], "--sizes takes whole numbers"),
        (["advise", "digits", "--group", "C4", "--strategies", "avarage"], "average"),
        (["advise", "digits", "--group", "C4", "--preset", "quik"], "quick"),
        (["advise", "digits", "--group", "C4", "--action", "imagse"], "images"),
        (["advise", "digits"], "Which symmetry? Name its group"),
        (["advise", "cycles", "--action", "graphs"], "name the group too"),
        (["advise", "nowhere.npz", "--group", "C4"], "nowhere.npz"),
        (["advise", "digits", "--group", "S5"], "S5"),
        (["advise", "nbody", "--predict-only"], "No prediction for these data. Only classes can be predicted"),
        (["advise", "modular", "--group", "Lorentz13", "--predict-only"], "Lorentz"),
        (["advise", "digits", "--predict-only"], "Which symmetry? Name its group"),
        (["advise", "digits", "--group", "C4", "--predict-only", "--steps", "3"], "leave --steps out"),
        (["advise", "digits", "--group", "C4", "--predict-only", "--seed", "-1"], "--seed"),
        (["advise", "digits", "--group", "C4", "--predict-only", "--model", "no_such:net"], "no_such"),
        (["audit", "model.pt", "digits", "--group", "C4"], "package.module:function"),
        (["audit", "model.onnx", "digits", "--group", "C4"], "model.onnx"),
        (["audit", "no_such_module:build", "digits", "--group", "C4"], "no_such_module"),
        (["study", "run", "avraging"], "averaging"),
        (["study", "show", "avraging"], "averaging"),
        (["study", "run", "cycles", "--set", "nodes=7"], "nodes must be even"),
        (["report", "nowhere"], "nowhere"),
        (["advise", "digits", "--group", "C4", "--workers", "0"], "--workers must be a whole number >= 1, got 0"),
        (["study", "run", "averaging", "--workers", "0"], "--workers must be a whole number >= 1, got 0"),
    ],
)
def test_bad_input_is_one_sentence_and_2(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out
    written = [p for p in folder.rglob("*") if p.is_file()]
    assert not written, f"half-written: {written}"


@pytest.mark.parametrize("arguments", [["advise"], ["frob"], ["advise", "digits", "--froup", "C4"]])
def test_misuse_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_unwritable_folder_is_said_before_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "taken").write_text("a file where a folder is needed")
    assert cli.main(["advise", "digits", "--group", "C4", "--out", "taken/here"]) == 2
    assert "Cannot write" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(_: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_doctor, "run", stop)
    assert cli.main(["doctor"]) == 130
    assert "run the same command to resume" in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bool) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(_doctor, "run", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["doctor"])


# --- advise, report -----------------------------------------------------------------------


def advise(folder: Path, *more: str) -> list[str]:
    data = squares(folder / "squares.npz")
    options = [
        "--sizes",
        "8",
        "--seeds",
        "1",
        "--steps",
        "30",
        "--strategies",
        "plain,average",
        "--workers",
        "1",
        "--out",
        "out",
    ]
    return ["advise", str(data), "--group", "C4", *options, *more]


def test_advise_writes_report_summary_and_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(advise(folder, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    summary = json.loads((folder / "out/summary.json").read_text())
    assert printed == summary
    assert summary["kind"] == "advise"
    assert {row["strategy"] for row in summary["rows"]} == {"plain", "average"}
    needed = {
        "strategy",
        "train_size",
        "seed",
        "score",
        "score_transformed",
        "equivariance_error",
        "seconds",
        "parameters",
    }
    assert all(needed <= set(row) for row in summary["rows"])
    needed = {"strategy", "reasons", "if_deployed_as_is", "if_deployed_transformed", "confidence"}
    assert needed <= set(summary["recommendation"])

    # Again: nothing is trained twice, and people get sentences and a table.
    assert cli.main(advise(folder)) == 0
    out = capsys.readouterr().out
    assert "average" in out
    assert "report.html" in out
    again = json.loads((folder / "out/summary.json").read_text())
    assert again["rows"] == summary["rows"]

    # The report is a function of the store.
    page = (folder / "out/report.html").read_text()
    (folder / "out/report.html").unlink()
    assert cli.main(["report", "out"]) == 0
    assert (folder / "out/report.html").read_text() == page

    # Another task does not mix into it.
    assert cli.main([*advise(folder)[:3], "C2", *advise(folder)[4:]]) == 2
    assert "another" in capsys.readouterr().err.lower()


def test_predict_only_trains_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from equilearn.advisor import _trial

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(_trial, "fit", fail)
    data = str(squares(folder / "squares.npz"))
    arguments = ["advise", data, "--group", "C2", "--predict-only"]
    assert cli.main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    # A row above, turned by a half turn, is a row below: the other class.
    assert "A plain network would not carry C2 over by itself" in said
    assert "separation density right from" in said
    assert sorted(p.name for p in folder.iterdir()) == ["squares.npz"]

    assert cli.main([*arguments, "--out", "out", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "out/summary.json").read_text())
    assert (printed["kind"], printed["prediction"]["answer"]) == ("prediction", "no")
    page = (folder / "out/report.html").read_text()
    assert printed["prediction"]["sentence"] in page
    assert cli.main(["report", "out"]) == 0
    assert (folder / "out/report.html").read_text() == page

    # It does not write over rows; advise may go on in its folder.
    (folder / "advice").mkdir()
    (folder / "advice/store.db").write_text("rows")
    assert cli.main([*arguments, "--out", "advice"]) == 2
    assert "would overwrite" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert cli.main(advise(folder, "--json")) == 0
    assert json.loads((folder / "out/summary.json").read_text())["kind"] == "advise"


def test_advise_on_sets_that_look_like_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(folder / "sets.npz", x=rng.random((40, 10, 8)).astype(np.float32), y=np.arange(40) % 2)
    options = ["--sizes", "8", "--seeds", "1", "--steps", "5", "--strategies", "plain", "--workers", "1", "--json"]
    assert cli.main(["advise", "sets.npz", "--group", "S10", "--action", "sets", *options]) == 0
    assert json.loads(capsys.readouterr().out)["task"]["input_shape"] == [10, 8]


def test_failed_trials_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from equilearn.cli import _advise

    assert cli.main(advise(folder, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert not summary["failed"]
    _advise.show(summary, folder)
    assert "warning" not in capsys.readouterr().out
    summary["failed"] = [{"strategy": "average", "train_size": 8, "error": "out of [memory]"}] * 2
    _advise.show(summary, folder)
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: 2 trials failed; the first: average at 8 samples: out of [memory]" in said


def test_a_trap_is_said_before_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sizes", "31", "--seeds", "1", "--steps", "2", "--strategies", "plain", "--workers", "1"]
    assert cli.main(["advise", "modular", *options]) == 0
    told = capsys.readouterr()
    assert told.err.index("warning: The split is a trap") < told.err.index("training: ")
    assert "The split is a trap" in " ".join(told.out.split())
    assert "The split is a trap." in (folder / "equilearn-advise-modular-Dih_31_/report.html").read_text()


# --- audit --------------------------------------------------------------------------------


def test_audit_tells_plain_from_invariant(folder: Path, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(squares(folder / "squares.npz"))
    assert cli.main(["audit", f"{models}:mean", data, "--group", "C4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "exact"
    assert cli.main(["audit", f"{models}:plain", data, "--group", "C4", "--out", "audit"]) == 0
    out = capsys.readouterr().out
    assert "verdict:" in out
    summary = json.loads((folder / "audit/summary.json").read_text())
    assert summary["verdict"] != "exact"
    assert len(summary["error"]["per_element"]) == 3
    assert summary["layers"]
    assert (folder / "audit/report.html").exists()
    page = (folder / "audit/report.html").read_text()
    assert cli.main(["report", "audit"]) == 0
    assert (folder / "audit/report.html").read_text() == page


def test_audit_warns_of_a_trap_where_the_data_have_a_split(
    folder: Path, models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    some = rng.random((5, 1, 6, 6))
    x = np.concatenate([np.rot90(some, k, (2, 3)) for k in range(4)]).astype(np.float32)
    y = np.tile(np.arange(5) % 2, 4)
    held = sum(np.rot90(some, k, (2, 3)) for k in range(4)).astype(np.float32)
    np.savez(folder / "trap.npz", x=x, y=y, x_test=held, y_test=np.arange(5) % 2)
    np.savez(folder / "one.npz", x=x, y=y)
    assert cli.main(["audit", f"{models}:mean", "trap.npz", "--group", "C4", "--out", "audit"]) == 0
    assert "warning: The split is a trap" in " ".join(capsys.readouterr().out.split())
    assert "The split is a trap" in (folder / "audit/report.html").read_text()
    assert json.loads((folder / "audit/summary.json").read_text())["split"]["subgroup"] == [0, 1, 2, 3]
    # Targets that do not fit, no test split, built-in data: nothing is said.
    for source, expected in (("one.npz", None), ("digits", "none")):
        model = f"{models}:mean"
        assert cli.main(["audit", model, source, "--group", "C4", "--json"]) == 0
        split = json.loads(capsys.readouterr().out)["split"]
        assert (split and split["verdict"]) == expected


def test_audit_does_not_write_over_the_results_of_advise(
    folder: Path, models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(squares(folder / "squares.npz"))
    (folder / "advice").mkdir()
    (folder / "advice/store.db").write_text("rows")
    assert cli.main(["audit", f"{models}:mean", data, "--group", "C4", "--out", "advice"]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert sorted(path.name for path in (folder / "advice").iterdir()) == ["store.db"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned a int"),
        ("needy", "without arguments"),
        ("absent", "absent"),
        ("broken", "cli_test_models:broken raised KeyError: 'no weights'"),
        ("mistaken", "cli_test_models:mistaken raised TypeError"),
        ("Wrong", "The model cli_test_models:Wrong fails on two of the inputs (data of shape (40, 1, 6, 6)): KeyError"),
        ("Picky", "The model cli_test_models:Picky fails on transformed inputs: AttributeError: only two at a time"),
        ("picky", "The model cli_test_models:picky fails on transformed inputs: AttributeError: only two at a time"),
    ],
)
def test_audit_of_no_model(
    name: str, message: str, folder: Path, models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(squares(folder / "squares.npz"))
    assert cli.main(["audit", f"{models}:{name}", data, "--group", "C4"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_a_bug_of_a_measure_is_not_blamed_on_the_model(
    folder: Path, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equilearn import measure

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(measure, "equivariance_error", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["audit", f"{models}:plain", str(squares(folder / "squares.npz")), "--group", "C4"])


def test_audit_needs_no_targets(folder: Path, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", x=np.random.default_rng(0).random((20, 1, 6, 6)).astype(np.float32))
    assert cli.main(["audit", f"{models}:mean", "x.npz", "--group", "C4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "exact"


def test_audit_of_sets_that_look_like_images(folder: Path, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "sets.npz", x=np.random.default_rng(0).random((20, 10, 8)).astype(np.float32))
    for more in (["--action", "sets"], ["--no-images"]):
        assert cli.main(["audit", f"{models}:pooled", "sets.npz", "--group", "S10", "--json", *more]) == 0
        assert json.loads(capsys.readouterr().out)["verdict"] == "exact"


def test_audit_of_a_model_for_other_shapes(folder: Path, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", f"{models}:plain", "digits", "--group", "C4"]) == 2
    assert "The model cli_test_models:plain fails on two of the inputs" in capsys.readouterr().err


def onnx_model(path: Path, *, batch: int | None = None, invariant: bool = True) -> Path:
    """Mean over the pixels, or the first row of them, for images of 1 x 6 x 6."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    given = helper.make_tensor_value_info("x", kind, [batch or "batch", 1, 6, 6])
    if invariant:
        result = helper.make_tensor_value_info("y", kind, [batch or "batch", 1, 1, 1])
        nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"])]
        constants = [helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])]
    else:
        result = helper.make_tensor_value_info("y", kind, [batch or "batch", 1, 6])
        nodes = [helper.make_node("Gather", ["x", "row"], ["y"], axis=2)]
        constants = [helper.make_tensor("row", onnx.TensorProto.INT64, [], [1])]
    graph = helper.make_graph(nodes, "test", [given], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("batch", [None, 16])
@pytest.mark.parametrize("invariant", [True, False])
def test_audit_of_onnx(batch: int | None, invariant: bool, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    model = str(onnx_model(folder / "model.onnx", batch=batch, invariant=invariant))
    data = str(squares(folder / "squares.npz"))
    assert cli.main(["audit", model, data, "--group", "C4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"] == "exact") == invariant
    assert found["error"]["dtype"] == "float32"
    assert cli.main(["audit", model, "digits", "--group", "C4"]) == 2
    assert "(batch, 1, 6, 6), but the data have" in capsys.readouterr().err


def test_audit_of_a_file_that_is_no_onnx(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    (folder / "model.onnx").write_bytes(b"\x08\x09 cut short")
    data = str(squares(folder / "squares.npz"))
    assert cli.main(["audit", "model.onnx", data, "--group", "C4"]) == 2
    assert "cannot be read as an ONNX model" in capsys.readouterr().err


# --- study --------------------------------------------------------------------------------


def test_study_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "averaging" in [s["name"] for s in found]
    assert cli.main(["study", "list"]) == 0
    assert "averaging" in capsys.readouterr().out


def test_settings_take_the_type_of_their_default() -> None:
    defaults = {"repeats": 10, "rate": 0.1, "sizes": (1, 2), "exact": True, "name": "a"}
    given = ["repeats=3", "rate=1", "sizes=4,5,6", "exact=false", "name=b=c"]
    found = _study.typed_settings(given, defaults, "demo")
    assert found == {"repeats": 3, "rate": 1.0, "sizes": (4, 5, 6), "exact": False, "name": "b=c"}
    for wrong, message in (
        ("repeats=2.5", "whole number"),
        ("reapets=2", "Did you mean 'repeats'"),
        ("repeats", "key=value"),
        ("exact=perhaps", "perhaps"),
    ):
        with pytest.raises(InputError, match=message):
            _study.typed_settings([wrong], defaults, "demo")


def test_strict_fails_where_a_claim_does_not_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from equilearn import studies

    claim = {"name": "a", "statement": "a figure is small", "value": 2.0, "bound": 1.0, "held": False}
    summary = {"kind": "study", "study": {"name": "averaging", "title": "t"}, "rows": [], "claims": [claim]}
    monkeypatch.setattr(studies, "run_study", lambda *_, **__: summary)
    assert cli.main(["study", "run", "averaging", "--out", "out"]) == 0
    assert "NOT HELD" in capsys.readouterr().out
    assert cli.main(["study", "run", "averaging", "--out", "out", "--strict"]) == 3


def test_study_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "show", "averaging", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "averaging" and shown["full"]["repeats"] > shown["defaults"]["repeats"]
    assert cli.main(["study", "show", "averaging"]) == 0
    plain = capsys.readouterr().out
    assert "averaging over all elements leaves none" in " ".join(plain.split()) and "repeats" in plain


def test_every_study_says_what_it_takes() -> None:
    from equilearn import studies

    assert all(study.takes and study.statement for study in map(studies.get, studies.names()))


def test_failed_trials_of_a_study_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    _study._show({"study": {"title": "t"}, "claims": [], "failed": [{"error": "it broke"}, {"error": "so"}]}, Path("x"))
    assert "2 trials failed" in (out := capsys.readouterr().out) and "it broke" in out


def test_the_report_of_a_study_that_was_killed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from equilearn import studies

    def stop(done: int, *_: object) -> None:
        if done == 10:
            raise KeyboardInterrupt

    few = {"repeats": 1, "inputs": 16, "groups": ("C12",)}
    with pytest.raises(KeyboardInterrupt):
        studies.run_study("averaging", settings={**few, "repeats": 2}, out="out", command="typed", progress=stop)
    assert cli.main(["report", "out"]) == 0
    assert "4 of 14 trials are not done yet and no claim is decided. To go on: typed" in capsys.readouterr().out
    page = (folder / "out/report.html").read_text()
    assert "This run is not finished: 4 of 14 trials are missing" in page
    assert "? not tested" in page
    finished = studies.run_study("averaging", settings=few, out="done")
    assert cli.main(["report", "done"]) == 0
    assert "not done yet" not in capsys.readouterr().out
    assert json.loads((folder / "done/summary.json").read_text()) == finished


# --- small parts --------------------------------------------------------------------------


def test_durations() -> None:
    assert [_output.duration(s) for s in (-1, 3.2, 75, 7200)] == ["0 s", "3 s", "1 min 15 s", "2 h 00 min"]


def test_plain_progress_is_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    note = _output._plain_progress("training", every=1000.0)
    for done in range(11):
        note(done, 10, 5.0)
    assert capsys.readouterr().err == "training: 10 of 10\n"


def test_directed_graphs_are_counted() -> None:
    symmetry = eq.Symmetry(eq.Symmetric(4), eq.actions.graphs(4, mask=False))
    ring = torch.eye(4).roll(1, 0)
    x = (torch.ones(3, 4, 1), torch.stack([ring, ring + ring.T, ring]))
    assert _advise.directed_graphs(symmetry.input, x) == 2
    assert _advise.directed_graphs(eq.actions.images().on(eq.Cyclic(4)), torch.rand(2, 1, 4, 4)) == 0
