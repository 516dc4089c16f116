"""Run the trials of a grid that a store does not hold yet."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from equilearn._check import InputError, positive_int
from equilearn.studies._executor import Executor, Handle, LocalExecutor
from equilearn.studies._store import Store, config_key

Trial: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Progress: TypeAlias = Callable[[int, int, float | None], None]
Weight: TypeAlias = Callable[[Mapping[str, Any]], float]


def run_trials(
    fn: Trial,
    configs: Sequence[Mapping[str, Any]],
    store: Store,
    *,
    executor: Executor | None = None,
    retries: int = 1,
    progress: Progress | None = None,
    weight: Weight | None = None,
) -> list[dict[str, Any]]:
    """Run `fn(config)` for every configuration whose row is not in `store`, and record each as it ends.

    Results land in the store one by one, each in a transaction: a run that is killed and started
    again does what is missing and nothing twice. A trial that raises is tried `retries` more times,
    except after an `InputError`, which no repetition mends; it is then a row with status `"failed"`
    and its error. The other trials go on. A new call tries failed trials again.

    Ctrl-C ends workers at once, leaves the store consistent and raises `KeyboardInterrupt`.

    Args:
        fn: a function at the top of a module (or a `functools.partial` of one) that takes a
            configuration, a dict of JSON values, and returns a dict of JSON values.
        configs: the grid. A configuration that occurs twice runs once.
        store: where rows live.
        executor: where trials run; default worker processes, one a core, ended on return.
        retries: how often a failed trial is tried again.
        progress: called as `progress(done, total, seconds_left)` at the start and after each trial;
            `seconds_left` is None until the first trial has ended.
        weight: relative cost of a configuration, for the time left; the costly ones start first.

    Returns:
        The finished rows, configuration and result together, in the order of `configs`.

    Raises:
        InputError: configurations that are not JSON, a function that workers cannot import.

    Example:
        >>> from equilearn.studies import InlineExecutor, Store
        >>> def square(config):
        ...     return {"square": config["n"] ** 2}
        >>> run_trials(square, [{"n": 2}, {"n": 3}], Store(":memory:"), executor=InlineExecutor())
        [{'n': 2, 'square': 4}, {'n': 3, 'square': 9}]
    """
    positive_int(retries, "retries", 0)
    grid = {config_key(config): dict(config) for config in configs}
    store.plan(list(grid.values()))
    done = store.keys("done")
    pending = {key: config for key, config in grid.items() if key not in done}
    run = _Run(fn, grid, pending, store, retries, progress, weight or (lambda config: 1.0))
    if pending and executor is None:
        with LocalExecutor() as own:
            run.go(own)
    elif pending and executor is not None:
        run.go(executor)
    else:
        run.tell()
    finished = {record["key"]: {**record["config"], **record["result"]} for record in store.records("done")}
    return [finished[key] for key in grid if key in finished]


def _attempt(fn: Trial, config: dict[str, Any]) -> dict[str, Any]:
    """What the executor calls: the result or the error, and how long it took. Only Ctrl-C escapes."""
    started = time.perf_counter()
    try:
        outcome: dict[str, Any] = {"result": fn(config)}
    except (Exception, SystemExit) as error:
        outcome = _failure(error)
    return {**outcome, "seconds": time.perf_counter() - started}


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, InputError):
        return {"error": str(error), "final": True}
    return {"error": f"{type(error).__name__}: {error}", "final": False}


class _Run:
    """The state of one call of `run_trials`."""

    def __init__(
        self,
        fn: Trial,
        grid: dict[str, dict[str, Any]],
        pending: dict[str, dict[str, Any]],
        store: Store,
        retries: int,
        progress: Progress | None,
        weight: Weight,
    ):
        self._fn, self._grid, self._pending, self._store = fn, grid, dict(pending), store
        self._retries, self._progress = retries, progress
        self._weights = {key: max(float(weight(config)), 1e-9) for key, config in pending.items()}
        self._tries = dict.fromkeys(pending, 0)
        self._spent_seconds = self._spent_weight = 0.0
        self._processes = 1
        self._ended: queue.SimpleQueue[tuple[str, Handle]] = queue.SimpleQueue()

    def go(self, executor: Executor) -> None:
        """Submit everything, the costly first, and record what comes back."""
        self._processes = getattr(executor, "processes", 1)
        self.tell()
        try:
            # A stable sort: equal weights keep the order of the grid.
            for key in sorted(self._pending, key=lambda key: -self._weights[key]):
                self._submit(executor, key)
                self._collect(executor, wait=False)
            while self._pending:
                self._collect(executor, wait=True)
        except BaseException:
            # Ctrl-C, or a store that cannot be written: nothing is to go on in the background.
            getattr(executor, "interrupt", lambda: None)()
            raise

    def _submit(self, executor: Executor, key: str) -> None:
        self._tries[key] += 1
        handle = executor.submit(_attempt, self._fn, self._grid[key])
        if hasattr(handle, "add_done_callback"):
            handle.add_done_callback(lambda ended, key=key: self._ended.put((key, ended)))  # type: ignore[attr-defined]
        else:
            threading.Thread(target=self._watch, args=(key, handle), daemon=True).start()

    def _watch(self, key: str, handle: Handle) -> None:
        """For handles that can only be waited for."""
        with suppress(Exception):  # read again, and recorded, when the handle is collected
            handle.result()
        self._ended.put((key, handle))

    def _collect(self, executor: Executor, *, wait: bool) -> None:
        """Record what has ended; with `wait`, at least look for it for a moment."""
        while self._pending:
            try:
                # Short waits, so that Ctrl-C is heard on every system.
                key, handle = self._ended.get(block=wait, timeout=0.2 if wait else None)
            except queue.Empty:
                return
            wait = False
            try:
                outcome = handle.result()
            except Exception as error:
                outcome = {**_failure(error), "seconds": 0.0}
            self._record(executor, key, outcome)

    def _record(self, executor: Executor, key: str, outcome: dict[str, Any]) -> None:
        config, seconds = self._grid[key], outcome["seconds"]
        if "result" in outcome:
            try:
                self._store.put(config, outcome["result"], seconds=seconds)
            except InputError as error:
                outcome = {"error": str(error), "final": True}
        if "error" in outcome:
            self._store.fail(config, outcome["error"], seconds=seconds)
            if not outcome["final"] and self._tries[key] <= self._retries:
                self._submit(executor, key)
                return
        else:
            self._spent_seconds += seconds
            self._spent_weight += self._weights[key]
        del self._pending[key]
        self.tell()

    def tell(self) -> None:
        """Report progress: trials done or given up, all trials, seconds left."""
        if self._progress is None:
            return
        total = len(self._grid)
        self._progress(total - len(self._pending), total, self._seconds_left())

    def _seconds_left(self) -> float | None:
        if not self._pending:
            return 0.0
        if not self._spent_weight:
            return None
        rate = self._spent_seconds / self._spent_weight
        # The last trials cannot be shared out among more processes than there are trials.
        share = min(self._processes, len(self._pending))
        return rate * sum(self._weights[key] for key in self._pending) / share
