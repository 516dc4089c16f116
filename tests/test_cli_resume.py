"""A run that is stopped or killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX signals")]


def command(folder: Path, out: str) -> list[str]:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = 0.1 * rng.random((120, 1, 6, 6))
    x[np.arange(120), 0, np.where(y == 0, 1, 4)] += 1
    np.savez(folder / "squares.npz", x=x.astype(np.float32), y=y)
    options = ["--group", "C4", "--sizes", "8,16,32", "--seeds", "2", "--strategies", "plain,average", "--workers", "2"]
    return [sys.executable, "-m", "equilearn", "advise", "squares.npz", *options, "--out", out]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows without what a clock says."""
    timed = ("seconds", "inference_ms")
    found = json.loads((folder / "summary.json").read_text())["rows"]
    return [{key: value for key, value in row.items() if key not in timed} for row in found]


def finished(folder: Path) -> int:
    store = folder / "store.db"
    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM rows WHERE status = 'done'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # not laid out yet


def stopped_by(which: signal.Signals, folder: Path, out: str) -> subprocess.CompletedProcess[str]:
    """Start the command, let two trials finish, send the signal."""
    process = subprocess.Popen(
        command(folder, out),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while finished(folder / out) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, (
        f"ended before it could be stopped: {process.stderr.read() if process.stderr else ''}"
    )
    process.send_signal(which)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_killed_and_stopped_runs_end_as_uninterrupted_ones(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path, "whole"), cwd=tmp_path, check=True, capture_output=True)
    whole = rows(tmp_path / "whole")
    assert len(whole) == 2 * 3 * 2

    killed = stopped_by(signal.SIGKILL, tmp_path, "killed")
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/summary.json").exists()
    subprocess.run(command(tmp_path, "killed"), cwd=tmp_path, check=True, capture_output=True)
    assert rows(tmp_path / "killed") == whole

    stopped = stopped_by(signal.SIGINT, tmp_path, "stopped")
    assert stopped.returncode == 130
    assert "stopped; run the same command to resume" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    subprocess.run(command(tmp_path, "stopped"), cwd=tmp_path, check=True, capture_output=True)
    assert rows(tmp_path / "stopped") == whole
    with sqlite3.connect(tmp_path / "stopped/store.db") as connection:
        twice = connection.execute("SELECT count(*) FROM attempts GROUP BY key HAVING count(*) > 1").fetchall()
    assert not twice
