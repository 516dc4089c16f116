"""Running a grid: only what is missing, retries, order, progress, and what a kill leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trials

from equilearn._check import InputError
from equilearn.studies import InlineExecutor, LocalExecutor, Store, run_trials

INLINE = InlineExecutor()


@pytest.fixture
def store():
    with Store(":memory:", kind="test") as found:
        yield found


def test_rows_come_in_the_order_of_the_grid_and_run_once(store: Store):
    calls = []

    def count(config: dict[str, Any]) -> dict[str, Any]:
        calls.append(config["n"])
        return {"r": -config["n"]}

    grid = [{"n": n} for n in (3, 1, 2, 1)]
    assert run_trials(count, grid, store, executor=INLINE) == [{"n": n, "r": -n} for n in (3, 1, 2)]
    run_trials(count, [{"n": 1}, {"n": 4}], store, executor=INLINE)
    assert calls == [3, 1, 2, 4]
    assert [row["n"] for row in store.rows()] == [3, 1, 2, 4]


def test_an_empty_grid(store: Store):
    told: list[tuple] = []
    assert run_trials(trials.square, [], store, progress=lambda *args: told.append(args)) == []
    assert told == [(0, 0, 0.0)]


def test_workers_give_the_same_rows_as_this_process(workers: LocalExecutor, store: Store):
    grid = [{"n": n} for n in range(6)]
    there = run_trials(trials.seeded, grid, store, executor=workers)
    with Store(":memory:") as other:
        here = run_trials(trials.seeded, grid, other, executor=INLINE)
    assert there == here  # bit for bit: this process has one thread too
    assert {row["threads"] for row in there} == {1}


def test_a_partial_function_and_printing_trials(workers: LocalExecutor, store: Store):
    rows = run_trials(partial(trials.chatty), [{"n": n} for n in range(4)], store, executor=workers)
    assert [row["n"] for row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("how", "error"),
    [("killed", "WorkerDied: .*signal 9"), ("exit", "SystemExit: left"), ("error", "RuntimeError: went wrong")],
)
def test_what_fails_once_is_tried_again_and_recorded(
    workers: LocalExecutor, store: Store, tmp_path: Path, how: str, error: str
):
    config = {"how": how, "marker": str(tmp_path / "marker")}
    assert run_trials(trials.flaky, [config], store, executor=workers) == [{**config, "tried": 2}]
    first, second = store.attempts(config)
    assert (first["outcome"], second["outcome"]) == ("failed", "done")
    assert re.search(error, first["error"])
    assert store.records()[0]["attempts"] == 2


def test_what_fails_always_is_given_up_and_the_others_go_on(workers: LocalExecutor, store: Store, tmp_path: Path):
    bad = {"how": "always", "marker": str(tmp_path / "bad")}
    good = {"how": "error", "marker": str(tmp_path / "good")}
    told: list[int] = []
    rows = run_trials(
        trials.flaky, [bad, good], store, executor=workers, retries=2, progress=lambda done, *_: told.append(done)
    )
    assert rows == [{**good, "tried": 2}]
    assert store.rows("failed") == [{**bad, "error": "RuntimeError: went wrong", "attempts": 3}]
    assert told == [0, 1, 2]
    run_trials(trials.flaky, [bad], store, executor=workers, retries=0)  # a new call tries again
    assert len(store.attempts(bad)) == 4


def test_an_input_error_is_not_tried_again(workers: LocalExecutor, store: Store, tmp_path: Path):
    config = {"how": "input", "marker": str(tmp_path / "marker")}
    assert run_trials(trials.flaky, [config], store, executor=workers, retries=5) == []
    assert store.rows("failed") == [{**config, "error": "This cannot be used.", "attempts": 1}]


def test_results_that_are_no_rows_and_strange_errors(workers: LocalExecutor, store: Store):
    run_trials(trials.not_a_row, [{"n": 1}], store, executor=workers)
    run_trials(trials.unlucky, [{"n": 2}], store, executor=workers, retries=0)
    assert [row["error"] for row in store.rows("failed")] == [
        "A trial must return a dict of JSON values, got list.",
        "Strange: odd",
    ]


def test_bad_arguments(store: Store):
    with pytest.raises(InputError, match="retries must be a whole number >= 0"):
        run_trials(trials.square, [], store, retries=-1)
    with pytest.raises(InputError, match="cannot be written as JSON"):
        run_trials(trials.square, [{"n": object()}], store)
    with pytest.raises(InputError, match="A configuration is a dict"):
        run_trials(trials.square, [3], store)  # type: ignore[list-item]
    with pytest.raises(InputError, match="cannot be sent to a worker"):
        run_trials(lambda config: {}, [{"n": 1}], store)
    assert store.records() == []


def test_the_time_left_goes_by_weight_and_the_costly_start_first(store: Store):
    order: list[int] = []
    told: list[tuple[int, int, float | None]] = []

    def work(config: dict[str, Any]) -> dict[str, Any]:
        order.append(config["n"])
        time.sleep(0.02 * config["n"])
        return {}

    run_trials(
        work,
        [{"n": n} for n in (1, 4, 2)],
        store,
        executor=INLINE,
        weight=lambda config: config["n"],
        progress=lambda *args: told.append(args),
    )
    assert order == [4, 2, 1]
    assert [(done, total) for done, total, _ in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0][2] is None
    assert 0.06 <= told[1][2] < 0.6  # three quarters of what the first took are left
    assert told[-1][2] == 0.0


class Distant:
    """An executor whose handles know only `.result()`, as a cluster's client might give."""

    class Handle:
        def __init__(self, future: Future):
            self._future = future

        def result(self) -> Any:
            return self._future.result()

    def submit(self, fn: Any, /, *args: Any) -> Distant.Handle:
        return self.Handle(INLINE.submit(fn, *args))


def test_any_executor_with_submit_and_result_will_do(store: Store):
    rows = run_trials(trials.square, [{"n": n} for n in range(5)], store, executor=Distant())
    assert [row["square"] for row in rows] == [0, 1, 4, 9, 16]


def test_ctrl_c_in_a_callback_stops_everything(workers: LocalExecutor, store: Store, tmp_path: Path):
    def press(done: int, total: int, left: float | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    grid = trials.grid(str(tmp_path / "log"), count=20, sleep=0.05)
    with pytest.raises(KeyboardInterrupt):
        run_trials(trials.logged, grid, store, executor=workers, progress=press)
    assert len(store) == 2
    assert [row["n"] for row in run_trials(trials.logged, grid, store, executor=workers)] == list(range(20))
    assert all(len(store.attempts(config)) == 1 for config in grid)


# --- killed for real ------------------------------------------------------------------------


def start(folder: Path, count: int = 12, sleep: float = 0.15, **options: Any) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    program = [sys.executable, trials.__file__, str(folder), str(count), str(sleep)]
    return subprocess.Popen(program, env=env, **options)


def wait_for(folder: Path, ended: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while lines(folder, "end") < ended:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)


def lines(folder: Path, word: str) -> int:
    log = folder / "log"
    return sum(line.startswith(word) for line in log.read_text().splitlines()) if log.exists() else 0


def processes(folder: Path) -> set[int]:
    return {int(line.split()[2]) for line in (folder / "log").read_text().splitlines()}


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_run_gives_the_rows_of_one_left_alone_and_none_twice(
    workers: LocalExecutor, tmp_path: Path, kills: int
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    cut.mkdir()
    for kill in range(kills):
        process = start(cut)
        wait_for(cut, 3 * (kill + 1), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert all(gone(pid) for pid in processes(cut))  # workers end with their parent
    grid = trials.grid(str(cut / "log"))
    with Store(cut / "store.db", kind="test") as store, Store(whole / "store.db", kind="test") as left_alone:
        assert 0 < len(store) < 12
        run_trials(trials.logged, grid, store, executor=workers)
        assert store.rows() == run_trials(trials.seeded, grid, left_alone, executor=workers) == left_alone.rows()
        assert len(store.rows()) == 12
        assert [len(store.attempts(config)) for config in grid] == [1] * 12
    # What was recorded before a kill is not started again: only what was under way may be.
    assert lines(cut, "start") <= 12 + 4 * kills


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_workers_at_once_and_the_next_run_goes_on(workers: LocalExecutor, tmp_path: Path):
    process = start(tmp_path, count=16, sleep=0.25, start_new_session=True, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path, 2, process)
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the program and its workers
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors == ""
    assert time.monotonic() - pressed < 5
    assert all(gone(pid) for pid in processes(tmp_path))
    with Store(tmp_path / "store.db") as store:
        assert 0 < len(store) < 16
        assert store.rows("failed") == []  # what was under way is not a failure
        grid = trials.grid(str(tmp_path / "log"), count=16, sleep=0.25)
        assert [row["n"] for row in run_trials(trials.logged, grid, store, executor=workers)] == list(range(16))
        assert [len(store.attempts(config)) for config in grid] == [1] * 16
