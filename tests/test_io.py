"""Atomic writes, JSON, safetensors: what is written is whole, and safe to read."""

from __future__ import annotations

import json
import math
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilearn import io
from equilearn._check import InputError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_comes_back_as_written(tmp_path: Path, value: object):
    io.write_json(tmp_path / "value.json", value)
    assert io.read_json(tmp_path / "value.json") == value
    assert json.loads(io.canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.randoms(use_true_random=False))
def test_canonical_json_forgets_the_order_of_keys(value: dict[str, int], random):
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert io.canonical_json(value) == io.canonical_json(dict(shuffled))


def test_json_of_tensors_arrays_dataclasses_and_what_it_lacks():
    @dataclass
    class Point:
        x: float

    value = {
        "t": torch.ones(2),
        "n": np.int64(3),
        "p": Point(1.5),
        "path": Path("a"),
        "bad": (math.nan, math.inf),
        "s": {2, 1},
    }
    assert io.as_json(value) == {
        "t": [1.0, 1.0],
        "n": 3,
        "p": {"x": 1.5},
        "path": "a",
        "bad": [None, None],
        "s": [1, 2],
    }
    with pytest.raises(InputError, match="object cannot be written as JSON"):
        io.as_json({"a": object()})
    with pytest.raises(InputError, match="needs text as keys"):
        io.as_json({1: "a"})


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "a.txt"
    io.write_text(path, "old")

    def killed() -> None:
        with io.atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_folders_are_made_and_permissions_are_ordinary(tmp_path: Path):
    io.write_text(tmp_path / "deep" / "er" / "a.txt", "text")
    other = tmp_path / "plain"
    other.write_text("x")
    assert (tmp_path / "deep/er/a.txt").stat().st_mode == other.stat().st_mode


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Cannot write"):
        io.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(InputError, match="Cannot write to the folder"):
        io.writable_folder(tmp_path / "file" / "sub")
    with pytest.raises(InputError, match="is a folder"):
        io.write_text(tmp_path, "x")
    assert io.writable_folder(tmp_path / "new") == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_read_only_folder_is_named(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        io.write_text(tmp_path / "a.txt", "x")


def test_json_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "half.json").write_text('{"a": [1,\n 2')
    with pytest.raises(InputError, match=r"not valid JSON \(line 2"):
        io.read_json(tmp_path / "half.json")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="not"):
        io.read_json(tmp_path / "deep.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a JSON text file"):
        io.read_json(tmp_path / "bytes.json")
    with pytest.raises(InputError, match="Did you mean .*half.json"):
        io.read_json(tmp_path / "halv.json")
    with pytest.raises(InputError, match="folder .* does not exist"):
        io.read_json(tmp_path / "no" / "a.json")


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_model_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype):
    first, second = model().to(dtype), model().to(dtype)
    io.save(first, tmp_path / "m.safetensors", {"epoch": 3, "text": "3", "nested": {"a": [1]}})
    assert io.load(second, tmp_path / "m.safetensors") is second
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert io.read_metadata(tmp_path / "m.safetensors") == {"epoch": 3, "text": "3", "nested": {"a": [1]}}
    state, metadata = io.load_state(tmp_path / "m.safetensors", with_metadata=True)
    assert metadata["epoch"] == 3
    assert state.keys() == first.state_dict().keys()


def test_tied_weights_and_odd_shapes_are_kept(tmp_path: Path):
    tied = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    tied[1].weight = tied[0].weight
    io.save(tied, tmp_path / "t.safetensors")
    io.load(tied, tmp_path / "t.safetensors")
    odd = {"empty": torch.zeros(0, 3), "scalar": torch.tensor(2.0), "turned": torch.arange(6).reshape(2, 3).T}
    io.save(odd, tmp_path / "o.safetensors")
    assert all(torch.equal(odd[name], value) for name, value in io.load_state(tmp_path / "o.safetensors").items())


def test_a_state_that_does_not_fit_changes_nothing(tmp_path: Path):
    io.save(model(), tmp_path / "m.safetensors")
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(InputError, match=r"'2.bias' has shape \(2,\) in the file and \(5,\)"):
        io.load(other, tmp_path / "m.safetensors")
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    with pytest.raises(InputError, match="it lacks 'weight'"):
        io.load(nn.Linear(1, 1, bias=False), tmp_path / "m.safetensors")


def test_files_that_are_not_safetensors_are_refused(tmp_path: Path):
    io.save(model(), tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    for name, content in {
        "half": whole[: len(whole) // 2],
        "header": whole[:20],
        "empty": b"",
        "huge": (2**62).to_bytes(8, "little") + b"{}",
        "garbage": b"not a tensor at all",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a complete safetensors file"):
            io.load_state(tmp_path / name)
        with pytest.raises(InputError, match="not a complete safetensors file"):
            io.read_metadata(tmp_path / name)


class Bomb:
    """Would write a file if it were ever unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "unpickled")


def test_a_pickle_is_never_opened(tmp_path: Path):
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "harm"), protocol=2))
    with pytest.raises(InputError, match="pickled file, which could run code"):
        io.load_state(tmp_path / "m.pt")
    assert not (tmp_path / "harm").exists()


def test_only_tensors_are_saved(tmp_path: Path):
    with pytest.raises(InputError, match="'a' is a str"):
        io.save({"a": "text"}, tmp_path / "a.safetensors")  # type: ignore[dict-item]
    assert not (tmp_path / "a.safetensors").exists()
