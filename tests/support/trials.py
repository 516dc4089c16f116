"""Trials for the tests of the engine: worker processes import them by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from equilearn._check import InputError
from equilearn.studies import LocalExecutor, Store, run_trials


def square(config: dict[str, Any]) -> dict[str, Any]:
    return {"square": config["n"] ** 2}


def seeded(config: dict[str, Any]) -> dict[str, Any]:
    """Some floating-point work whose last bits would show another number of threads."""
    generator = torch.Generator().manual_seed(config["n"])
    x = torch.randn(200, 200, generator=generator)
    time.sleep(config.get("sleep", 0.0))
    return {"value": float((x @ x).square().sum()), "threads": torch.get_num_threads()}


def logged(config: dict[str, Any]) -> dict[str, Any]:
    """Note the start and the process in a log, work for a while, note the end."""
    with Path(config["log"]).open("a") as log:
        log.write(f"start {config['n']} {os.getpid()}\n")
    result = seeded(config)
    with Path(config["log"]).open("a") as log:
        log.write(f"end {config['n']} {os.getpid()}\n")
    return result


def flaky(config: dict[str, Any]) -> dict[str, Any]:
    """Fails in the manner of `how` until a marker file says that it was tried."""
    marker = Path(config["marker"])
    if config["how"] in ("always", "input") or not marker.exists():
        marker.touch()
        if config["how"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if config["how"] == "exit":
            sys.exit("left")
        if config["how"] == "input":
            raise InputError("This cannot be used.")
        raise RuntimeError("went wrong")
    return {"tried": 2}


def chatty(config: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.write("said on the output\n")
    return {"n": config["n"]}


def not_a_row(config: dict[str, Any]) -> Any:
    return [config["n"]]


def unlucky(config: dict[str, Any]) -> Any:
    class Strange(Exception):
        """Defined where no other process can find it."""

    raise Strange("odd")


def grid(log: str, count: int = 12, sleep: float = 0.15) -> list[dict[str, Any]]:
    return [{"n": n, "sleep": sleep, "log": log} for n in range(count)]


def main(folder: str, count: int, sleep: float) -> None:
    """A program that a test can kill: runs the grid of `logged` into `folder/store.db`."""
    with Store.open(Path(folder) / "store.db", kind="test") as store, LocalExecutor(2) as executor:
        try:
            run_trials(logged, grid(str(Path(folder) / "log"), count, sleep), store, executor=executor)
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    from trials import main as importable  # the module by its name, which workers can find

    importable(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
