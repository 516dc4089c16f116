"""The store: append-only, shared between processes, refused when it is not ours or damaged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.studies import Store, config_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


CONFIG = st.dictionaries(
    st.text(min_size=1), st.integers() | st.floats(allow_nan=False) | st.text() | st.none(), max_size=4
)


def test_of_long_settings_only_those_that_differ_are_named(tmp_path):
    settings = {f"setting_{i}": i for i in range(40)}
    with Store.open(tmp_path / "store.db", kind="study", identity={"study": "s", "settings": settings}):
        pass
    changed = {"study": "s", "settings": {**settings, "setting_7": 70}}
    with pytest.raises(InputError, match=r"another run \(setting_7: 7 there, 70 now\)"):
        Store.open(tmp_path / "store.db", kind="study", identity=changed)


@given(CONFIG, CONFIG, st.randoms(use_true_random=False))
def test_equal_content_has_equal_keys_and_other_content_others(first: dict, second: dict, random):
    shuffled = list(first.items())
    random.shuffle(shuffled)
    assert config_key(first) == config_key(dict(shuffled))
    as_text = [{name: repr(value) for name, value in config.items()} for config in (first, second)]
    finite = all(value == value and abs(value) != float("inf") for value in first.values() if isinstance(value, float))
    if as_text[0] != as_text[1] and finite:
        assert config_key(first) != config_key(second)


def test_rows_come_in_the_order_of_the_plan_whatever_ends_first(path: Path):
    configs = [{"n": n} for n in range(5)]
    with Store(path) as store:
        store.put({"n": 99}, {"r": 1})
        store.plan(configs)
        for config in reversed(configs):
            store.put(config, {"r": config["n"] ** 2})
        assert [row["n"] for row in store.rows()] == [0, 1, 2, 3, 4, 99]
        store.plan([{"n": 7}, {"n": 99}, {"n": 0}])
        store.put({"n": 7}, {"r": 0})
        assert [row["n"] for row in store.rows()] == [0, 1, 2, 3, 4, 7, 99]
        assert len(store) == 7


def test_a_finished_row_never_changes(path: Path):
    with Store(path) as store:
        assert store.put({"n": 1}, {"r": 1})
        assert not store.put({"n": 1}, {"r": 2})
        assert not store.fail({"n": 1}, "too late")
        assert store.rows() == [{"n": 1, "r": 1}]
        assert [entry["outcome"] for entry in store.attempts({"n": 1})] == ["done"]
    with sqlite3.connect(path) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            connection.execute("UPDATE rows SET result = '{}'")
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            connection.execute("DELETE FROM rows")
    connection.close()


def test_failures_are_logged_and_give_way_to_a_result(path: Path):
    with Store(path) as store:
        store.fail({"n": 1}, "first", seconds=0.5)
        store.fail({"n": 1}, "second")
        assert store.rows() == []
        assert store.rows("failed") == [{"n": 1, "error": "second", "attempts": 2}]
        store.put({"n": 1}, {"r": 1}, seconds=2.0)
        assert store.rows("failed") == []
        (record,) = store.records()
        assert (record["attempts"], record["status"], record["error"], record["seconds"]) == (3, "done", None, 2.0)
        assert [entry["error"] for entry in store.attempts({"n": 1})] == ["first", "second", None]


def test_results_come_back_bit_for_bit_after_reopening(path: Path):
    result = {"a": 0.1 + 0.2, "b": [1e-300, -0.0], "nan": float("nan"), "text": "ü\n", "deep": {"x": [None, True]}}
    with Store(path) as store:
        store.put({"n": 1}, result)
    with Store(path, create=False) as store:
        (row,) = store.rows()
    assert row == {"n": 1, **result, "nan": None}


def test_a_result_must_not_hide_its_configuration(path: Path):
    with Store(path) as store:
        assert store.put({"n": 1}, {"n": 1, "r": 2})
        with pytest.raises(InputError, match=r"The result's \['n'\] would hide"):
            store.put({"n": 2}, {"n": 1})
        with pytest.raises(InputError, match="must return a dict"):
            store.put({"n": 2}, [1])  # type: ignore[arg-type]
        with pytest.raises(InputError, match="cannot be written as JSON"):
            store.put({"n": 2}, {"r": object()})
        assert len(store) == 1


def test_what_is_said_about_the_run_is_kept(path: Path):
    with Store(path, kind="demo", identity={"data": "abc"}) as store:
        store.set_meta("run", {"sizes": (1, 2)})
        with pytest.raises(InputError, match="'kind' is fixed"):
            store.set_meta("kind", "other")
    with Store(path) as store:
        assert store.meta["run"] == {"sizes": [1, 2]}
        assert store.meta["kind"] == "demo"


def test_another_kind_or_identity_is_refused(path: Path):
    Store(path, kind="advise", identity={"data": "abc", "preset": "quick"}).close()
    Store(path, kind="advise", identity={"preset": "quick", "data": "abc"}).close()
    with pytest.raises(InputError, match="holds rows of kind 'advise', not 'study'"):
        Store(path, kind="study")
    with pytest.raises(InputError, match=r'another run \(data: "abc" there, "xyz" now; seed: null there, 1 now\)'):
        Store(path, kind="advise", identity={"data": "xyz", "preset": "quick", "seed": 1})


def test_another_format_is_refused(path: Path):
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    connection.close()
    with pytest.raises(InputError, match="has store format 99 .*reads format 1"):
        Store(path)


def test_files_that_are_no_store_are_refused(tmp_path: Path):
    (tmp_path / "text.db").write_text("Hello, this is a letter and not a database. " * 50)
    with pytest.raises(InputError, match="not a database.*damaged or not a store"):
        Store(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE meta (a)")
    connection.close()
    with pytest.raises(InputError, match="an SQLite file, but not a store of equilearn"):
        Store(tmp_path / "other.db")
    with pytest.raises(InputError, match="Did you mean .*other.db"):
        Store(tmp_path / "othr.db", create=False)
    (tmp_path / "empty.db").touch()
    with pytest.raises(InputError, match="an empty file"):
        Store(tmp_path / "empty.db", create=False)
    with pytest.raises(InputError, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(InputError, match="Cannot write to the folder"):
        Store(tmp_path / "text.db" / "store.db")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_short_is_refused(path: Path, share: float):
    with Store(path) as store:
        for n in range(300):
            store.put({"n": n}, {"text": "x" * 200})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="damaged"):
        Store(path).rows()


def test_bytes_overwritten_in_the_middle_are_noticed(path: Path):
    with Store(path) as store:
        for n in range(300):
            store.put({"n": n}, {"text": "x" * 200})
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 12000] = b"\xff" * 12000
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        Store(path).rows()


WRITER = """
import sys
from equilearn.studies import Store
with Store(sys.argv[1], kind="shared") as store:
    for n in range(60):
        store.put({"n": n, "who": sys.argv[2]}, {"r": n})
        store.put({"n": n}, {"by": sys.argv[2]})
"""


def test_processes_share_a_store(path: Path):
    """Made, opened and written by two processes in the same moment."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), who]) for who in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    with Store(path) as store:
        rows = store.rows()
        assert len(rows) == 3 * 60
        assert all(len(store.attempts({"n": n})) == 1 for n in range(60))


def test_a_read_only_store_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch):
    with Store(path) as store:
        store.put({"n": 1}, {"r": 1})
    monkeypatch.setattr("equilearn.studies._store._writable", lambda file: False)
    with Store(path, create=False) as store:
        assert store.rows() == [{"n": 1, "r": 1}]
        with pytest.raises(InputError, match="readonly.*Choose a folder you may write to"):
            store.put({"n": 2}, {"r": 1})


def test_a_store_in_memory():
    with Store(":memory:", kind="demo") as store:
        store.put({"n": 1}, {"r": 1})
        assert store.rows() == [{"n": 1, "r": 1}]


def test_a_closed_store_leaves_one_file(path: Path):
    with Store(path) as store:
        store.put({"n": 1}, {"r": 1})
    assert [entry.name for entry in path.parent.iterdir()] == ["store.db"]
