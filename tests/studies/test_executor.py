"""Worker processes: results, errors, deaths, an end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
import torch

from equilearn._check import InputError
from equilearn.studies import Executor, InlineExecutor, LocalExecutor, WorkerDied, cores


@pytest.fixture
def executor(workers: LocalExecutor) -> LocalExecutor:
    return workers


def test_results_errors_and_one_thread(executor: LocalExecutor):
    assert [executor.submit(divmod, 7, n).result() for n in (2, 3)] == [(3, 1), (2, 1)]
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result()
    assert executor.submit(torch.get_num_threads).result() == 1
    assert executor.submit(os.getpid).result() != os.getpid()
    assert isinstance(executor, Executor)


def test_tensors_go_there_and_back(executor: LocalExecutor):
    x = torch.randn(3000, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(executor.submit(torch.neg, x).result(), -x)


def test_a_dead_worker_takes_only_its_own_call(executor: LocalExecutor):
    calls = [executor.submit(os._exit, 3), *(executor.submit(divmod, n, 2) for n in range(6))]
    with pytest.raises(WorkerDied, match="ended with code 3"):
        calls[0].result()
    assert [call.result()[0] for call in calls[1:]] == [0, 0, 1, 1, 2, 2]


def test_a_signal_is_named(executor: LocalExecutor):
    call = executor.submit(os.abort)
    with pytest.raises(WorkerDied, match="ended by signal 6"):
        call.result()


def test_interrupt_kills_what_runs_cancels_what_waits_and_leaves_it_usable(executor: LocalExecutor):
    calls = [executor.submit(time.sleep, 60) for _ in range(5)]
    time.sleep(0.3)
    started = time.monotonic()
    executor.interrupt()
    for call in calls:
        with pytest.raises((WorkerDied, CancelledError)):
            call.result(timeout=10)
    assert sum(call.cancelled() for call in calls) == 3
    assert time.monotonic() - started < 10
    assert executor.submit(divmod, 7, 2).result() == (3, 1)


def test_what_cannot_be_sent_is_refused(executor: LocalExecutor):
    with pytest.raises(InputError, match="cannot be sent to a worker process"):
        executor.submit(lambda: 1)
    with pytest.raises(InputError, match="cannot be sent to a worker process"):
        executor.submit(id, threading.Lock())


def test_a_closed_executor_is_refused():
    executor = LocalExecutor(1)
    executor.close()
    executor.close()
    with pytest.raises(InputError, match="closed"):
        executor.submit(divmod, 1, 1)
    with pytest.raises(InputError, match="processes must be a whole number"):
        LocalExecutor(0)


def test_the_inline_executor():
    with InlineExecutor() as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()


SCRIPT = """
from trials import square
from equilearn.studies import LocalExecutor
with LocalExecutor(1) as executor:
    print(executor.submit(square, {"n": 5}).result())
"""


def test_a_script_needs_no_main_guard(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env=environment())
    assert done.stdout == "{'square': 25}\n", done.stderr


def test_a_function_of_the_program_itself_is_refused(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text("def own(): return 1\n" + SCRIPT.replace("square, {", "own, {"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env=environment())
    assert "own is defined in the program being run" in done.stderr


def environment() -> dict[str, str]:
    """So that other programs find what this one imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_cores_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    assert cores() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
        with LocalExecutor() as one:
            assert one.processes == 1
    finally:
        os.sched_setaffinity(0, allowed)
