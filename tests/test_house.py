"""The order of the house and its rules, read off the source."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import equilearn

SRC = Path(equilearn.__file__).parent
FILES = sorted(SRC.rglob("*.py"))

# data and training stand before the rooms that learn something of their own (a softened symmetry, a stand-in for
# another model, an unknown symmetry): those take a Task and call fit.
ORDER = (
    "_version",
    "_check",
    "io",
    "groups",
    "reps",
    "actions",
    "symmetry",
    "measure",
    "nn",
    "symmetrization",
    "data",
    "training",
    "relaxation",
    "cloning",
    "discovery",
    "kernels",
    "processes",
    "studies",
    "advisor",
    "report",
    "testing",
    "cli",
)
PIPES = ("studies/_executor.py", "studies/_worker.py")
"""May pickle: to and from worker processes of their own, over a pipe, never a file."""
EXCEPTIONS = {("advisor", "report")}
"""`Advice.report(path)` draws its own page: the one call up the house, made when asked for and never at import."""
OUTSIDE = ("__init__", "__main__")  # the front door: may name every room, and only re-exports
HEAVY = (
    "hypothesis",
    "jinja2",
    "matplotlib",
    "mujoco",
    "netCDF4",
    "networkx",
    "onnx",
    "onnxruntime",
    "pandas",
    "ray",
    "scipy.stats",
    "sklearn",
    "torch_geometric",
    "xarray",
)


HEAVY_FILES = {"kernels/_estimators.py": "sklearn"}
"""Classes that inherit from a heavy package: the room imports the file when one of them is first asked for."""

IMPORTERS = ("import_module", "importlib.import_module", "__import__")


def room_of(path: Path) -> str:
    """The room that a source file belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every room that a file imports from, anywhere in it, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "equilearn":
            names = [f"equilearn.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: write the full name"
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        else:
            continue
        for name in names:
            if name.startswith("equilearn."):
                yield node.lineno, name.split(".")[1]


def breaches_of_order(room: str, tree: ast.AST) -> list[str]:
    """Imports from rooms below `room`."""
    found = []
    for line, other in imported_rooms(tree):
        if other == room or (room, other) in EXCEPTIONS:
            continue
        if other not in ORDER or ORDER.index(other) > ORDER.index(room):
            found.append(f"line {line} imports {other}")
    return found


def forbidden(tree: ast.AST) -> list[str]:
    """Unsafe loading, running of text, printing, and `assert` (which vanishes under -O)."""
    found = []
    borrowed = seeds_in_a_fork(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if node in borrowed:
            continue
        if isinstance(node, ast.Assert):
            found.append(f"line {line}: assert; raise InputError instead")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            found += [
                f"line {line}: {n}" for n in names if n.split(".")[0] in ("pickle", "cloudpickle", "joblib", "dill")
            ]
        elif isinstance(node, ast.Call):
            found += [f"line {line}: {n}" for n in [ast.unparse(node.func)] if n in FORBIDDEN_CALLS]
            found += [
                f"line {line}: allow_pickle"
                for keyword in node.keywords
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
            ]
    return found


def seeds_in_a_fork(tree: ast.AST) -> set[ast.AST]:
    """Calls of `torch.manual_seed` under `with torch.random.fork_rng()`, which puts the global state back."""
    forks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item) for item in node.items)
    ]
    calls = (call for fork in forks for call in ast.walk(fork) if isinstance(call, ast.Call))
    return {call for call in calls if ast.unparse(call.func) == "torch.manual_seed"}


FORBIDDEN_CALLS = (
    "eval",
    "exec",
    "print",
    "torch.load",
    "torch.save",
    "torch.manual_seed",
    "torch.set_default_dtype",
    "torch.set_default_device",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
)


def heavy_at_import(tree: ast.Module) -> list[str]:
    """Heavy packages imported when the file is."""
    found = []
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            pending += node.body + getattr(node, "orelse", [])
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [f"{module}.{a.name}" for a in node.names] if module else [a.name for a in node.names]
            found += [f"line {node.lineno}: {n}" for n in names if any(n == h or n.startswith(f"{h}.") for h in HEAVY)]
    return found


def relative(path: Path) -> str:
    return str(path.relative_to(SRC))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_file_keeps_the_rules(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    room = room_of(path)
    found = forbidden(tree)
    if path.relative_to(SRC).as_posix() in PIPES:
        found = [breach for breach in found if not breach.endswith("pickle")]
    if room not in OUTSIDE:
        assert room in ORDER, f"{room} is no room of the house: add it to ORDER"
        inherits = HEAVY_FILES.get(path.relative_to(SRC).as_posix())
        heavy = [h for h in heavy_at_import(tree) if inherits is None or f" {inherits}." not in h]
        found += breaches_of_order(room, tree) + heavy
    assert not found, f"{relative(path)}: " + "; ".join(found)


def test_rules_catch_breaches() -> None:
    bad = ast.parse(
        "import pickle\nimport sklearn.svm\nfrom scipy import stats\nfrom equilearn.report import render\n"
        "def f(x):\n    assert x\n    print(eval(x))\n    np.load(x, allow_pickle=True)\n"
        "    from equilearn import cli\n"
        "    importlib.import_module('equilearn.nn')\n"
    )
    assert breaches_of_order("groups", bad) == ["line 4 imports report", "line 9 imports cli", "line 10 imports nn"]
    assert breaches_of_order("advisor", bad) == ["line 9 imports cli"]
    assert [f.split(":")[0] for f in sorted(forbidden(bad))] == ["line 1", "line 6", "line 7", "line 7", "line 8"]
    assert len(heavy_at_import(bad)) == 2
    seeded = "torch.manual_seed(0)\nwith torch.random.fork_rng():\n    torch.manual_seed(1)\n"
    assert forbidden(ast.parse(seeded)) == ["line 1: torch.manual_seed"]


def test_import_is_light() -> None:
    """`import equilearn` brings nothing heavy, nor does using the groups, nor the kernels but for the estimators."""
    code = (
        "import sys, equilearn\n"
        "light = [m for m in ('torch', *HEAVY) if m in sys.modules]\n"
        "equilearn.Cyclic(4).elements(); equilearn.Symmetry; equilearn.symmetrize\n"
        "late = [m for m in HEAVY if m in sys.modules]\n"
        "import equilearn.kernels as kernels; kernels.fit_rfm, kernels.agop\n"
        "rooms = [m for m in HEAVY if m in sys.modules]\n"
        "assert not light and not late and not rooms, (light, late, rooms)\n"
        "kernels.RFMRegressor; assert 'sklearn' in sys.modules\n"
    ).replace("HEAVY", repr(HEAVY))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def rooms() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules([str(SRC)]) if not m.name.startswith("_"))


@pytest.mark.parametrize("room", rooms())
def test_public_names_exist_and_are_documented(room: str) -> None:
    module = importlib.import_module(f"equilearn.{room}")
    assert module.__doc__, f"equilearn.{room} has no docstring"
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__ and value.__doc__.strip(), f"equilearn.{room}.{name} has no docstring"


@pytest.mark.parametrize("name", equilearn.__all__)
def test_top_level_name_resolves(name: str) -> None:
    assert getattr(equilearn, name) is not None
    assert name in dir(equilearn)


def test_unknown_top_level_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cyclik'"):
        equilearn.Cyclik  # noqa: B018


def test_version_is_the_installed_one() -> None:
    metadata = pytest.importorskip("importlib.metadata")
    try:
        installed = metadata.version("equilearn")
    except metadata.PackageNotFoundError:
        pytest.skip("equilearn runs from its source, not installed")
    assert installed == equilearn.__version__
