"""The cache of generated data: used where it can be, never needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from equilearn import io
from equilearn.data._cache import _digest, cache_folder, cached

SHAPES = {"x": (2, 3), "mask": (2,)}


class Builder:
    """Counts how often it had to build."""

    def __init__(self):
        self.calls = 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        return {"x": torch.arange(6.0).reshape(2, 3), "mask": torch.tensor([True, False])}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_builds_once_a_recipe(folder: Path):
    build = Builder()
    first = cached("thing", {"size": 2}, SHAPES, build)
    second = cached("thing", {"size": 2}, SHAPES, build)
    assert build.calls == 1 and torch.equal(first["x"], second["x"]) and torch.equal(first["mask"], second["mask"])
    cached("thing", {"size": 3}, SHAPES, build)
    cached("other", {"size": 2}, SHAPES, build)
    assert build.calls == 3 and len(list(folder.iterdir())) == 3


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def swap(path: Path) -> None:
    io.save(Builder()(), path, {"recipe": "another", "digest": "x"})


def other_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A whole file with a digest that fits, of tensors that are not the ones."""
    _, header = io.load_state(path, with_metadata=True)
    io.save(tensors, path, {**header, "digest": _digest(tensors)})


def rename(path: Path) -> None:
    other_tensors(path, {"y": torch.zeros(2, 3), "mask": torch.ones(2).bool()})


def drop(path: Path) -> None:
    other_tensors(path, {"x": torch.zeros(2, 3)})


def shorten(path: Path) -> None:
    other_tensors(path, {"x": torch.zeros(1, 3), "mask": torch.ones(2).bool()})


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [flip, cut, swap, rename, drop, shorten, into_folder])
def test_damage_is_mended_silently(folder: Path, damage: Callable[[Path], None]):
    build = Builder()
    wanted = cached("thing", {}, SHAPES, build)
    damage(next(folder.iterdir()))
    assert torch.equal(cached("thing", {}, SHAPES, build)["x"], wanted["x"]) and build.calls == 2
    cached("thing", {}, SHAPES, build)
    assert build.calls == (3 if damage is into_folder else 2)


def test_a_folder_that_cannot_be_written_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("EQUILEARN_CACHE", str(file))
    build = Builder()
    assert cached("thing", {}, SHAPES, build)["x"].shape == (2, 3) and build.calls == 1


def test_off_and_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EQUILEARN_CACHE", "")
    build = Builder()
    assert cache_folder() is None
    cached("thing", {}, SHAPES, build)
    cached("thing", {}, SHAPES, build)
    assert build.calls == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("EQUILEARN_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"
    monkeypatch.setenv("EQUILEARN_CACHE", "~nobody-of-this-name/kept")
    assert cache_folder() is None
    monkeypatch.delenv("EQUILEARN_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "equilearn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "equilearn"
