"""The worker's side of `LocalExecutor`: reads calls from its standard input, answers on its output."""

from __future__ import annotations

import os
import pickle
import queue
import struct
import sys
import threading
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


def write_message(stream: IO[bytes] | None, payload: bytes) -> None:
    """One message: its length, then its bytes."""
    if stream is None:
        raise OSError("no pipe")
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_message(stream: IO[bytes] | None) -> bytes:
    """The next message. Raises `EOFError` where the other side is gone."""
    if stream is None:
        raise OSError("no pipe")
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return payload


def main() -> None:
    """Serve calls until the parent closes the pipe."""
    # Answers own the real output; what a trial prints goes to the error stream instead.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()

    import torch

    torch.set_num_threads(1)
    while True:
        answer = _answer(calls.get())
        try:
            write_message(answers, answer)
        except OSError:
            return


def _listen(calls: queue.SimpleQueue[bytes]) -> None:
    """Pass calls on, and end this process at once when the parent is gone, even during a call."""
    while True:
        try:
            calls.put(read_message(sys.stdin.buffer))
        except (EOFError, OSError):
            os._exit(1)


def _answer(payload: bytes) -> bytes:
    try:
        fn, args = pickle.loads(payload)
    except Exception as error:
        return _failure(_cannot_load(error))
    try:
        return pickle.dumps((True, fn(*args)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return _failure(error)


def _cannot_load(error: Exception) -> Exception:
    from equilearn._check import InputError

    return InputError(
        f"The call cannot be loaded in a worker process ({type(error).__name__}: {error}). What it needs must live "
        "in modules that can be imported, not in the program being run; or pass executor=InlineExecutor()."
    )


def _failure(error: Any) -> bytes:
    """The exception itself where it survives the trip, otherwise its text."""
    try:
        payload = pickle.dumps((False, error), protocol=pickle.HIGHEST_PROTOCOL)
        pickle.loads(payload)
        return payload
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
