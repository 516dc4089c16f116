"""The store: where rows live. One SQLite file, append-only, resumable, survives a kill."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, cast

from equilearn._check import InputError, InputTypeError, one_of, require
from equilearn._version import __version__
from equilearn.io import as_json, canonical_json, existing_file, writable_folder

FORMAT = 1
"""Version of the layout below. A store of another version is refused, never guessed at."""

Status = Literal["done", "failed", "all"]

_APPLICATION = 0x45514C52  # "EQLR" in the file's header: tells our files from other SQLite files
_BUSY_SECONDS = 30.0

_SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION};
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE grid (position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL);
CREATE TABLE rows (
    key TEXT PRIMARY KEY, config TEXT NOT NULL, result TEXT, status TEXT NOT NULL,
    attempts INTEGER NOT NULL, error TEXT, seconds REAL NOT NULL, created TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, outcome TEXT NOT NULL,
    error TEXT, seconds REAL NOT NULL, created TEXT NOT NULL
);
CREATE TRIGGER a_result_stays BEFORE UPDATE ON rows WHEN OLD.status = 'done'
    BEGIN SELECT RAISE(ABORT, 'a finished row is never changed'); END;
CREATE TRIGGER a_row_stays BEFORE DELETE ON rows
    BEGIN SELECT RAISE(ABORT, 'a row is never deleted'); END;
"""


def config_key(config: Mapping[str, Any]) -> str:
    """The key of a configuration: SHA-256 of its canonical JSON, so equal content has equal keys.

    Raises:
        InputError: where the configuration is not a dict of JSON values.

    Example:
        >>> config_key({"seed": 1, "size": 50}) == config_key({"size": 50, "seed": 1})
        True
    """
    if not isinstance(config, Mapping):
        raise InputTypeError(f"A configuration is a dict of JSON values, got {type(config).__name__}.")
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()


class Store:
    """Rows of trials in one SQLite file (write-ahead log, every write a transaction).

    A row belongs to a configuration and is found by the hash of its content. Once done it is
    never changed, not even by hand: triggers refuse it. Every attempt is logged, failures with
    their reason. Two processes may have one store open.

    Args:
        path: the file, or `":memory:"`. Made with its folder where absent, unless `create` is false.
        kind: what the rows are, such as `"advise"` or `"study"`. A store of another kind is refused.
        identity: JSON values that all rows have in common. A store of other values is refused.
        create: whether to make the file where it is absent.

    Raises:
        InputError: a damaged file, another kind of file, another format version, kind or identity.

    Example:
        >>> store = Store(":memory:", kind="demo")
        >>> store.put({"seed": 1}, {"score": 0.9})
        True
        >>> store.put({"seed": 1}, {"score": 0.1})  # there already: the first result stays
        False
        >>> store.rows()
        [{'seed': 1, 'score': 0.9}]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kind: str | None = None,
        identity: Mapping[str, Any] | None = None,
        create: bool = True,
    ):
        self.path = os.fspath(path)
        with _explained(self.path):
            self._connection = self._connect(create)
        try:
            with _explained(self.path):
                self._prepare(kind, identity, create)
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        kind: str | None = None,
        identity: Mapping[str, Any] | None = None,
        create: bool = True,
    ) -> Store:
        """`Store(path, ...)`, for reading in a sentence: `with Store.open(path) as store: ...`"""
        return cls(path, kind=kind, identity=identity, create=create)

    # --- opening ------------------------------------------------------------------------

    def _connect(self, create: bool) -> sqlite3.Connection:
        target, uri = self.path, False
        if self.path != ":memory:":
            file = Path(self.path)
            if not create or file.exists():
                existing_file(file, "store")
            else:
                writable_folder(file.parent)
            if file.exists() and not _writable(file):
                # A report may be drawn from a read-only folder, where no log can be made: then SQLite must be told
                # that nobody writes. Where a killed run has left its log, that log holds rows and must be read.
                log = Path(f"{file}-wal")
                mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
                target, uri = f"{file.resolve().as_uri()}?{mode}", True
        return sqlite3.connect(target, timeout=_BUSY_SECONDS, isolation_level=None, uri=uri)

    def _prepare(self, kind: str | None, identity: Mapping[str, Any] | None, create: bool) -> None:
        if self._tables() == set():
            require(create, f"{self.path} is an empty file, not a store of equilearn.")
            self._start(kind, identity)
        tables = self._tables()
        require(
            {"meta", "rows", "grid", "attempts"} <= tables,
            f"{self.path} is an SQLite file, but not a store of equilearn. Choose another file or folder.",
        )
        (damage,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        require(damage == "ok", f"{self.path} is damaged ({damage}). Restore it from a copy, or start a new one.")
        self._check_meta(kind, identity)

    def _tables(self) -> set[str]:
        return {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - {
            "sqlite_sequence"
        }

    def _start(self, kind: str | None, identity: Mapping[str, Any] | None) -> None:
        self._use_log()
        meta = {"format": FORMAT, "equilearn": __version__, "kind": kind, "identity": as_json(identity or {})}
        try:
            self._connection.executescript(_SCHEMA)
            self._connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [(name, canonical_json(value)) for name, value in meta.items()]
            )
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            # Another process made the store in the same moment: then it is there, and that is fine.
            if "already exists" not in str(error):
                raise

    def _use_log(self) -> None:
        """Switch to the write-ahead log. SQLite does not wait here when another process does the same."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _check_meta(self, kind: str | None, identity: Mapping[str, Any] | None) -> None:
        meta = self.meta
        require(
            meta.get("format") == FORMAT,
            f"{self.path} has store format {meta.get('format')} (written by equilearn {meta.get('equilearn')}); "
            f"this is equilearn {__version__}, which reads format {FORMAT}. Use that version, or a new folder.",
        )
        require(
            kind is None or meta.get("kind") == kind,
            f"{self.path} holds rows of kind {meta.get('kind')!r}, not {kind!r}. Choose another folder.",
        )
        if identity is not None:
            shown = "; ".join(_differences(meta.get("identity") or {}, as_json(identity)))
            require(not shown, f"{self.path} belongs to another run ({shown}). Choose another folder to keep both.")

    # --- writing ------------------------------------------------------------------------

    def plan(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Fix the order of rows to come: as given, behind those planned before. One transaction."""
        keys = [(config_key(config),) for config in configs]
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO grid (key) VALUES (?)", keys)

    def put(self, config: Mapping[str, Any], result: Mapping[str, Any], *, seconds: float = 0.0) -> bool:
        """Record a finished trial. False where its row was there already, which then stays.

        Raises:
            InputError: where the result is not a dict of JSON values, or a name in it stands for
                something else in the configuration.
        """
        if not isinstance(result, Mapping):
            raise InputTypeError(f"A trial must return a dict of JSON values, got {type(result).__name__}.")
        config, result = dict(as_json(config)), as_json(result)
        clash = [name for name in result if name in config and result[name] != config[name]]
        require(not clash, f"The result's {clash} would hide the configuration's. Give them other names.")
        return self._record(config, "done", result, None, seconds)

    def fail(self, config: Mapping[str, Any], error: str, *, seconds: float = 0.0) -> bool:
        """Record a failed attempt. False where the trial is done already: its row then stays."""
        return self._record(as_json(config), "failed", None, error, seconds)

    def _record(self, config: dict[str, Any], status: str, result: Any, error: str | None, seconds: float) -> bool:
        key, now = config_key(config), datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with self._transaction():
            found = self._connection.execute("SELECT status FROM rows WHERE key = ?", (key,)).fetchone()
            if found == ("done",):
                return False
            self._connection.execute(
                "INSERT INTO attempts (key, outcome, error, seconds, created) VALUES (?, ?, ?, ?, ?)",
                (key, status, error, seconds, now),
            )
            text = None if result is None else json.dumps(result, allow_nan=False)
            self._connection.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, 1, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET result = excluded.result, status = excluded.status, "
                "attempts = attempts + 1, error = excluded.error, seconds = excluded.seconds, "
                "created = excluded.created",
                (key, json.dumps(config, allow_nan=False), text, status, error, seconds, now),
            )
        return True

    def set_meta(self, name: str, value: Any) -> None:
        """Keep a JSON value about the run beside its rows."""
        require(name not in ("format", "equilearn", "kind", "identity"), f"{name!r} is fixed when a store is made.")
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(as_json(value))))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, also when Ctrl-C comes in between."""
        with _explained(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # --- reading ------------------------------------------------------------------------

    @property
    def meta(self) -> dict[str, Any]:
        """What is kept about the run: `format`, `equilearn`, `kind`, `identity`, and what `set_meta` added."""
        with _explained(self.path):
            return {name: json.loads(value) for name, value in self._connection.execute("SELECT name, value FROM meta")}

    def records(self, status: Status = "all") -> list[dict[str, Any]]:
        """Rows in full, in the order of the plan: `key, config, result, status, attempts, error, seconds, created`."""
        one_of(status, ("done", "failed", "all"), "status")
        names = ("key", "config", "result", "status", "attempts", "error", "seconds", "created")
        query = (
            f"SELECT {', '.join('rows.' + name for name in names)} FROM rows LEFT JOIN grid USING (key) "
            "WHERE :status IN ('all', rows.status) ORDER BY grid.position IS NULL, grid.position, rows.key"
        )
        with _explained(self.path), closing(self._connection.execute(query, {"status": status})) as cursor:
            found: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in cursor]
            for record in found:
                record["config"] = json.loads(record["config"])
                record["result"] = None if record["result"] is None else json.loads(record["result"])
        return found

    def rows(self, status: Status = "done") -> list[dict[str, Any]]:
        """One flat dict a row, configuration and result together, in the order of the plan.

        Rows that did not finish carry `error` and `attempts` instead of a result.
        """
        return [
            {**record["config"], **record["result"]}
            if record["status"] == "done"
            else {**record["config"], "error": record["error"], "attempts": record["attempts"]}
            for record in self.records(status)
        ]

    def keys(self, status: Status = "done") -> set[str]:
        """Keys of the rows with that status."""
        one_of(status, ("done", "failed", "all"), "status")
        with _explained(self.path):
            found = self._connection.execute("SELECT key FROM rows WHERE ? IN ('all', status)", (status,)).fetchall()
        return {key for (key,) in found}

    def attempts(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The log of one trial, oldest first: `outcome`, `error`, `seconds`, `created` of each attempt."""
        names = ("outcome", "error", "seconds", "created")
        with _explained(self.path):
            found = self._connection.execute(
                f"SELECT {', '.join(names)} FROM attempts WHERE key = ? ORDER BY id", (config_key(config),)
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def __len__(self) -> int:
        return len(self.keys())

    # --- closing ------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.path!r})"


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Phrase what SQLite and JSON complain about."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        reason = str(error)
        if "locked" in reason or "busy" in reason:
            advice = f"Another program has held it for {_BUSY_SECONDS:g} s. Wait for it, or choose another folder."
        elif "readonly" in reason or "read-only" in reason or "unable to open" in reason:
            advice = "It cannot be written there. Choose a folder you may write to."
        elif "full" in reason:
            advice = "The disk is full. Make room and run again: what is done stays."
        else:
            advice = "It is damaged or not a store of equilearn. Restore it from a copy, or choose another folder."
        raise InputError(f"The store {path}: {reason}. {advice}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"The store {path} holds text that is not JSON: it is damaged. Restore it from a copy."
        ) from error


def _writable(file: Path) -> bool:
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def _differences(held: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What differs, by name: settings one by one, so that none hides behind a long list of equal ones."""
    for name in sorted({*given, *held}):
        there, now = held.get(name), given.get(name)
        if isinstance(there, Mapping) and isinstance(now, Mapping):
            yield from _differences(there, now)
        elif there != now:
            yield f"{name}: {_short(there)} there, {_short(now)} now"


def _short(value: Any, limit: int = 60) -> str:
    text = cast(str, canonical_json(value))
    return text if len(text) <= limit else text[: limit - 3] + "..."
