"""`equilearn doctor`: what is installed, what is missing and how to add it."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

from equilearn.cli._output import console, print_json, show_table

CORE = (
    "torch",
    "numpy",
    "scipy",
    "einops",
    "jaxtyping",
    "safetensors",
    "scikit-learn",
    "typer",
    "rich",
    "jinja2",
    "matplotlib",
)
EXTRAS = {
    "ray": (("ray",), "trials on a cluster"),
    "fields": (("xarray", "netcdf4"), "fields on grids, netCDF files"),
    "sdp": (("clarabel", "cvxpy"), "semidefinite programs"),
    "physics": (("mujoco",), "simulated bodies"),
    "graphs": (("networkx", "torch-geometric"), "graphs"),
    "onnx": (("onnxruntime",), "audit of ONNX models"),
    "peers": (("e3nn", "xrfm"), "benchmarks against other libraries"),
    "dev": (
        (
            *("pytest", "pytest-xdist", "hypothesis", "beartype", "ruff", "pyright"),
            *("onnx", "torch-geometric", "xarray", "netcdf4"),
        ),
        "tests and checks",
    ),
    "docs": (("sphinx", "myst-parser", "furo"), "documentation"),
}


def run(as_json: bool) -> None:
    """Look, and say."""
    found = examine()
    if as_json:
        print_json(found)
        return
    show_table("packages", ["package", "version"], [[k, v or "MISSING"] for k, v in found["packages"].items()])
    rows = [
        [name, "installed" if not e["missing"] else "no " + ", ".join(e["missing"]), e["purpose"], e["install"]]
        for name, e in found["extras"].items()
    ]
    show_table("\nextras", ["extra", "state", "for", "add it with"], rows)
    show_table("\nmachine", ["", ""], [[k, str(v)] for k, v in found["machine"].items()])
    missing = [name for name, version in found["packages"].items() if version is None]
    if missing:
        console().print(f"\nmissing: {', '.join(missing)}. Mend it with: pip install equilearn", markup=False)


def examine() -> dict[str, Any]:
    """Versions, extras, threads and devices, ready for JSON."""
    from equilearn._version import __version__

    return {
        "kind": "doctor",
        "equilearn": __version__,
        "packages": {name: version(name) for name in CORE},
        "extras": {name: _extra(name, *contents) for name, contents in EXTRAS.items()},
        "machine": _machine(),
    }


def version(package: str) -> str | None:
    """The installed version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extra(name: str, packages: tuple[str, ...], purpose: str) -> dict[str, Any]:
    found = {package: version(package) for package in packages}
    missing = [package for package, v in found.items() if v is None]
    install = f"pip install 'equilearn[{name}]'" if missing else ""
    return {"purpose": purpose, "packages": found, "missing": missing, "install": install}


def _machine() -> dict[str, Any]:
    import torch

    from equilearn.studies import cores

    devices = ["cpu"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": cores(),
        "torch_threads": torch.get_num_threads(),
        "devices": ", ".join(devices),
    }
