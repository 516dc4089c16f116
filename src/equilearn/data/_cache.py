"""A folder of generated data, so that what takes seconds to make is made once. Never needed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equilearn import io
from equilearn._check import InputError

FOLDER_VARIABLE = "EQUILEARN_CACHE"


def cache_folder() -> Path | None:
    """Where generated data are kept: `$EQUILEARN_CACHE`, else the system's folder for caches.

    Set but empty, the variable turns the cache off (None); so does a system without a home folder where one is
    needed. A leading `~` stands for that folder.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    named = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen is not None:
            return Path(chosen).expanduser() if chosen else None
        if named:
            return Path(named) / "equilearn"
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "equilearn"
    except RuntimeError:
        return None


def cached(
    name: str, recipe: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], build: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What `build()` gives, from the cache where the same recipe has been built before.

    Args:
        name: of the data; a word for the file's name.
        recipe: everything that the result depends on, JSON-ready, among it the version of the code that
            builds. Another recipe is another file.
        shapes: of the tensors, by name.
        build: makes the tensors. A file that is missing, damaged, of another recipe or with other tensors is made
            again, and one that cannot be written is not missed.
    """
    text = io.canonical_json({"name": name, **recipe})
    folder = cache_folder()
    if folder is None:
        return build()
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    if (found := _read(path, text, shapes)) is not None:
        return found
    tensors = build()
    with suppress(InputError, OSError):
        io.save(tensors, path, {"recipe": text, "digest": _digest(tensors)})
    return tensors


def _read(path: Path, recipe: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor] | None:
    try:
        if not path.is_file():
            return None
        tensors, header = io.load_state(path, with_metadata=True)
        whole = header.get("recipe") == recipe and header.get("digest") == _digest(tensors)
    except (InputError, OSError):
        return None
    fits = {name: tuple(t.shape) for name, t in tensors.items()} == {name: tuple(s) for name, s in shapes.items()}
    return tensors if whole and fits else None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Tells a flipped bit from what was written, which a safetensors header does not."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        found.update(f"{name} {tuple(tensors[name].shape)}".encode())
        found.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
