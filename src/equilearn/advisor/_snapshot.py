"""The data of a run, kept beside its rows: trials in other processes read them from there."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from equilearn import io
from equilearn._check import InputError
from equilearn.actions import Data, map_data
from equilearn.data import Task
from equilearn.symmetry import Symmetry

_FILE = "data.safetensors"
_SPLITS = ("x_train", "y_train", "x_test", "y_test")


def save_task(task: Task, folder: Path) -> None:
    """Write the arrays of `task` to `folder`, atomically."""
    about = {
        "name": task.name,
        "kind": task.kind,
        "class_names": list(task.class_names),
        "about": task.about,
    }
    io.save(_flatten(task), folder / _FILE, {"task": about})


def forget_task(folder: Path) -> None:
    """Remove what `save_task` wrote: workers have ended, and a resumed run writes it again."""
    (folder / _FILE).unlink(missing_ok=True)


def load_task(folder: str | Path) -> Task:
    """The task that `save_task` wrote. Kept in memory: a worker runs many trials on the same data."""
    path = Path(folder) / _FILE
    return _load(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load(path: str, stamp: int) -> Task:
    tensors, metadata = io.load_state(path, with_metadata=True)
    try:
        about = metadata["task"]
        splits = {split: _unflatten(tensors, split) for split in _SPLITS}
    except KeyError as error:
        raise InputError(f"{path} was not written by equilearn advise.") from error
    return Task(
        name=about["name"],
        kind=about["kind"],
        class_names=tuple(about["class_names"]),
        about=about["about"],
        **splits,
    )


def _flatten(task: Task) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}

    def visit(name: str, data: Data) -> None:
        if isinstance(data, tuple | list):
            for i, part in enumerate(data):
                visit(f"{name}.{i}", part)
        else:
            flat[name] = data.detach().cpu().contiguous().clone()

    for split in _SPLITS:
        visit(split, getattr(task, split))
    return flat


def _unflatten(tensors: dict[str, Tensor], name: str) -> Data:
    if name in tensors:
        return tensors[name]
    parts = []
    while any(key == f"{name}.{len(parts)}" or key.startswith(f"{name}.{len(parts)}.") for key in tensors):
        parts.append(_unflatten(tensors, f"{name}.{len(parts)}"))
    if not parts:
        raise KeyError(name)
    return tuple(parts)


def fingerprint_of(task: Task) -> str:
    """SHA-256 of the task's arrays, their shapes and types, and its kind."""
    digest = hashlib.sha256(task.kind.encode())
    for name, tensor in sorted(_flatten(task).items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def fingerprint_of_symmetry(symmetry: Symmetry, task: Task) -> str:
    """SHA-256 of what the symmetry does: where elements drawn with a fixed seed take the first inputs
    and targets. Names would not do: groups of different laws or generators may share one."""
    digest = hashlib.sha256(repr(symmetry).encode())
    g = symmetry.group.sample(4, generator=torch.Generator().manual_seed(0))
    for act, data in ((symmetry.act_input, task.x_train), (symmetry.act_output, task.y_train)):
        for leaf in _leaves(act(g, map_data(lambda t: t[[0, 0, 0, 0]], data))):
            # Rounded, so that the last digit of a library's next release changes nothing.
            digest.update(leaf.double().mul(1e6).round().to(torch.int64).numpy().tobytes())
    return f"{symmetry} {digest.hexdigest()[:16]}"


def _leaves(data: Data) -> list[Tensor]:
    return [leaf for part in data for leaf in _leaves(part)] if isinstance(data, tuple | list) else [data]
