"""Where trials run: in this process, or in worker processes of this machine.

An executor has `submit(fn, *args)`, which gives back something with `.result()`. That is all the
runner asks for, so a cluster's client fits behind the same two methods.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from equilearn._check import InputError, positive_int
from equilearn.studies._worker import read_message, write_message

_Call: TypeAlias = tuple[Future[Any], bytes, threading.Event]


class WorkerDied(RuntimeError):
    """A worker process ended before it gave its result: killed, out of memory, or crashed."""


class Handle(Protocol):
    """What `submit` gives back."""

    def result(self) -> Any: ...


@runtime_checkable
class Executor(Protocol):
    """Anything with `submit(fn, *args) -> handle`, where `handle.result()` waits for the value."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Handle: ...


class InlineExecutor:
    """Runs each call at once in this process: for quick trials and for debugging.

    Example:
        >>> InlineExecutor().submit(divmod, 7, 2).result()
        (3, 1)
    """

    processes = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def interrupt(self) -> None:
        """Nothing runs between calls."""

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


class LocalExecutor:
    """Worker processes on this machine, one torch thread each, kept alive between calls.

    Workers are fresh interpreters (nothing is forked), started when first needed. They do not
    import the program that started them, so no `if __name__ == "__main__"` guard is needed; the
    function must live in a module that can be imported. A worker that dies takes only its own
    call with it (`WorkerDied`) and is replaced. Workers end when their parent does, however it ends.

    Args:
        processes: how many; default one per core this process may use.

    Example:
        >>> with LocalExecutor(1) as executor:
        ...     executor.submit(divmod, 7, 2).result()
        (3, 1)
    """

    def __init__(self, processes: int | None = None):
        self.processes = positive_int(cores() if processes is None else processes, "processes")
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._abandoned = threading.Event()
        self._waiting: set[Future[Any]] = set()
        self._slots: list[_Slot] = []
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Queue `fn(*args)` for the next free worker.

        Raises:
            InputError: where `fn` or an argument cannot be sent to another process.
        """
        if self._closed:
            raise InputError("This executor is closed. Make a new one.")
        payload = _pack(fn, args)
        future: Future[Any] = Future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        self._calls.put((future, payload, self._abandoned))
        if len(self._slots) < self.processes:
            self._slots.append(_Slot(self._calls))
        return future

    def interrupt(self) -> None:
        """Cancel what waits and kill what runs. The executor can be used again."""
        for future in list(self._waiting):
            future.cancel()
        abandoned, self._abandoned = self._abandoned, threading.Event()
        abandoned.set()
        for slot in self._slots:
            slot.kill()

    def close(self) -> None:
        """End the workers. Calls that still wait are cancelled, those that run are killed."""
        self._closed = True
        self.interrupt()
        for _ in self._slots:
            self._calls.put(None)
        for slot in self._slots:
            slot.join()
        self._slots = []

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Slot:
    """One worker process and the thread that talks to it."""

    def __init__(self, calls: queue.SimpleQueue[_Call | None]):
        self._calls = calls
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._serve, name="equilearn-worker", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            if call[0].set_running_or_notify_cancel():
                self._run(*call)
            del call  # a finished call holds no memory while the next is awaited
        self.kill()

    def _run(self, future: Future[Any], payload: bytes, abandoned: threading.Event) -> None:
        try:
            process = self._alive()
            # Looked at once there is a process: `interrupt` sets it before it kills, so one of the two stops this call.
            if abandoned.is_set():
                raise EOFError
            write_message(process.stdin, payload)
            answer = read_message(process.stdout)
        except (OSError, EOFError, ValueError):
            future.set_exception(WorkerDied(f"The worker process {self._end()} before it gave a result."))
            return
        try:
            ok, value = pickle.loads(answer)  # from our own child over a private pipe, never from a file
        except Exception as error:
            future.set_exception(InputError(f"The result cannot be sent back from the worker: {error}."))
            return
        if ok:
            future.set_result(value)
        else:
            future.set_exception(value)

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = _start_worker()
            paths = [str(Path(path).absolute()) for path in sys.path]
            self._process.stdin.write(json.dumps(paths).encode() + b"\n")  # type: ignore[union-attr]
        return self._process

    def _end(self) -> str:
        """Tidy up the process, and say how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "could not be started"
        with suppress(OSError):
            process.kill()
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def kill(self) -> None:
        process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def join(self) -> None:
        self._thread.join(timeout=10)
        self._end()


_PRELUDE = (
    "import json, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from equilearn.studies._worker import main; main()"
)


def _start_worker() -> subprocess.Popen[bytes]:
    """A fresh interpreter with our import path. Ctrl-C reaches it too and is ignored: the parent
    decides. One thread for every numerical library, before any of them is loaded."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.Popen(
        [sys.executable, "-c", _PRELUDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **threads}
    )


def _pack(fn: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    inner = fn
    while hasattr(inner, "func"):  # functools.partial
        inner = inner.func  # type: ignore[attr-defined]
    name = getattr(inner, "__qualname__", repr(inner))
    if getattr(inner, "__module__", None) == "__main__":
        raise InputError(
            f"{name} is defined in the program being run, which worker processes do not import. "
            "Move it to a module of its own, or pass executor=InlineExecutor()."
        )
    try:
        return pickle.dumps((fn, args), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise InputError(
            f"{name} or its arguments cannot be sent to a worker process ({error}). "
            "Use a function at the top of a module, or pass executor=InlineExecutor()."
        ) from error


def cores() -> int:
    """Cores that this process may use, which on a shared machine can be fewer than there are.

    Example:
        >>> cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
