"""Reading and writing that is safe: safetensors and JSON, never pickle; every write is atomic.

A file appears under its name only when it is complete: bytes go to a temporary file beside it,
are flushed to the disk, and take its name in one step. A killed program leaves the old file or
the new one, never half of one.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, overload

import numpy as np
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, require

PathLike: TypeAlias = str | os.PathLike[str]
Module = TypeVar("Module", bound=nn.Module)

__all__ = [
    "as_json",
    "atomic_path",
    "canonical_json",
    "existing_file",
    "load",
    "load_state",
    "read_json",
    "read_metadata",
    "save",
    "writable_folder",
    "write_json",
    "write_text",
]


# --- atomic writes ----------------------------------------------------------------------


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends without an error.

    Missing folders are made. Whatever ends the block early removes the temporary file and
    leaves what was at `path` before.

    Raises:
        InputError: where the folder cannot be made or written, or `path` is a folder.
    """
    target = Path(path)
    require(not target.is_dir(), f"{target} is a folder; a file name is needed.")
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise InputError(
            f"Cannot write {target}: {error.strerror or error}. Choose a folder you may write to."
        ) from error
    finally:
        # Gone already after a rename; a failure to tidy up must not hide the real error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets folders be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def writable_folder(path: PathLike) -> Path:
    """`path` as a folder that can be written to, made if need be.

    Raises:
        InputError: where it cannot be made or written, or is a file.
    """
    folder = Path(path)
    probe = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"Cannot write to the folder {folder}: {error.strerror or error}. Choose another one."
        ) from error
    return folder


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


# --- JSON -------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """`value` as what JSON knows: dict, list, str, int, float, bool, None.

    Tensors, arrays and NumPy scalars become numbers and lists; dataclasses become dicts (through
    `as_dict()` where they have one); paths become strings. NaN and infinity, which JSON lacks,
    become None.

    Raises:
        InputTypeError: on anything else.

    Example:
        >>> import torch
        >>> as_json({"score": torch.tensor(0.5), "sizes": (50, 200), "missing": float("nan")})
        {'score': 0.5, 'sizes': [50, 200], 'missing': None}
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Tensor):
        return as_json(value.detach().cpu().tolist())
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputTypeError(f"JSON needs text as keys, got {key!r} of type {type(key).__name__}.")
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(as_json(item) for item in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "as_dict"):
        return as_json(value.as_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    raise InputTypeError(f"{type(value).__name__} cannot be written as JSON: {value!r:.80}.")


def canonical_json(value: Any) -> str:
    """One text for one value, whatever the order of its keys: what content hashes are taken of.

    Example:
        >>> canonical_json({"b": 1, "a": (2, 3)})
        '{"a":[2,3],"b":1}'
    """
    return json.dumps(as_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def write_json(path: PathLike, value: Any) -> None:
    """Write `as_json(value)`, atomically, indented, keys in the order given."""
    write_text(path, json.dumps(as_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: PathLike) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: where there is no such file, or it is not JSON: says at which line.
    """
    file = existing_file(path)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file} is not valid JSON (line {error.lineno}: {error.msg}). It may be cut short."
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} is not a JSON text file ({type(error).__name__}).") from error
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error


def existing_file(path: PathLike, what: str = "file") -> Path:
    """`path` if it is a file; otherwise an error that lists names close to it in its folder."""
    file = Path(path)
    if file.is_file():
        return file
    require(not file.is_dir(), f"{file} is a folder; a {what} is needed.")
    if not file.parent.is_dir():
        raise InputError(f"No {what} {str(file)!r}: the folder {str(file.parent)!r} does not exist.")
    try:
        names = [entry.name for entry in os.scandir(file.parent)]
    except OSError:
        names = []
    near = difflib.get_close_matches(file.name, names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(str(file.parent / name)) for name in near)}?" if near else ""
    raise InputError(f"No {what} {str(file)!r}.{hint}")


# --- tensors ----------------------------------------------------------------------------


def save(model: nn.Module | Mapping[str, Tensor], path: PathLike, metadata: Mapping[str, Any] | None = None) -> None:
    """Write the state of a module, or a dict of tensors, as safetensors with a JSON header.

    Args:
        model: a module (its `state_dict` is kept) or a mapping from names to tensors.
        path: the file; missing folders are made. Written atomically.
        metadata: JSON values kept in the header; `read_metadata` gives them back.

    Raises:
        InputError: where the state holds something that is not a tensor, or the folder cannot
            be written.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(model, f"{folder}/model.safetensors", {"trained_on": "digits"})
        ...     _ = load(nn.Linear(2, 1), f"{folder}/model.safetensors")
        ...     read_metadata(f"{folder}/model.safetensors")
        {'trained_on': 'digits'}
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state: dict[str, Any] = dict(model) if isinstance(model, Mapping) else model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise InputTypeError(
                f"The state's entry {name!r} is a {type(value).__name__}; only tensors are saved (nothing is pickled)."
            )
    # Tied weights are written once under each name: safetensors refuses memory that is shared.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    header = {name: canonical_json(value) for name, value in (metadata or {}).items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except (SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"Cannot save to {path}: {error}.") from error


@overload
def load_state(path: PathLike, *, with_metadata: Literal[False] = False) -> dict[str, Tensor]: ...


@overload
def load_state(path: PathLike, *, with_metadata: Literal[True]) -> tuple[dict[str, Tensor], dict[str, Any]]: ...


def load_state(
    path: PathLike, *, with_metadata: bool = False
) -> dict[str, Tensor] | tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, on the CPU; with the header's metadata if asked for.

    Raises:
        InputError: where there is no such file or it is not a complete safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = existing_file(path)
    try:
        state = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise InputError(_not_safetensors(file, error)) from error
    return (state, read_metadata(file)) if with_metadata else state


def read_metadata(path: PathLike) -> dict[str, Any]:
    """The metadata in the header of a safetensors file. Raises as `load_state` does."""
    from safetensors import SafetensorError, safe_open

    file = existing_file(path)
    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(_not_safetensors(file, error)) from error
    return {name: _json_or_text(text) for name, text in header.items()}


def _json_or_text(text: str) -> Any:
    """Headers written by other programs hold plain text."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text


def _not_safetensors(file: Path, error: Exception) -> str:
    with file.open("rb") as opened:
        start = opened.read(4)
    if start[:2] in (b"PK", b"\x80\x02"):
        return f"{file} looks like a pickled file, which could run code and is never opened. Save it as safetensors."
    return f"{file} is not a complete safetensors file ({error}). It may be cut short; write it again."


def load(model: Module, path: PathLike) -> Module:
    """Put the saved state into `model` and return it; dtypes and devices stay those of `model`.

    Names and shapes are checked before anything is changed: a file that does not fit leaves
    `model` as it was.

    Raises:
        InputError: where the file cannot be read, or names or shapes differ: says which.
    """
    state, own = load_state(path), model.state_dict()
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or surplus:
        raise InputError(
            f"{path} does not fit this {type(model).__name__}: it lacks {_some(missing)} and has {_some(surplus)}. "
            "Build the model with the settings it was saved with."
        )
    for name, value in state.items():
        require(
            value.shape == own[name].shape,
            f"{path} does not fit this {type(model).__name__}: {name!r} has shape {tuple(value.shape)} in the file "
            f"and {tuple(own[name].shape)} in the model.",
        )
    model.load_state_dict(state)
    return model


def _some(names: list[str], limit: int = 4) -> str:
    shown = ", ".join(map(repr, names[:limit])) or "nothing"
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
