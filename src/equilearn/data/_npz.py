"""NumPy archives, read with suspicion: nothing is unpickled, and sizes are checked before memory is taken."""

from __future__ import annotations

import difflib
import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np

from equilearn._check import InputError, require

NAMES = ("x", "y", "x_test", "y_test")

PARTS = ("adjacency", "edges", "mask")
"""What may stand beside `x` and make the inputs a tuple, in this order; with `_test` for the test split."""

Arrays: TypeAlias = np.ndarray | tuple[np.ndarray, ...]


def read_npz(file: Path, limit: int, *, inputs_only: bool = False) -> dict[str, Arrays]:
    """The arrays `x`, `y` and, where there are any, `x_test`, `y_test` of an `.npz` file.

    Inputs of several parts are a tuple: `x` with `adjacency` or `edges` and perhaps `mask` beside it (graphs, point
    sets), or `x0`, `x1`, ...; in the test split `x_test`, `adjacency_test`, ... or `x0_test`, `x1_test`, ...

    With `inputs_only` the last of `x`, `x_test` that is there, and nothing else.

    Every member's own header is read before its data: object arrays are refused, and so is a
    header that promises more than the archive holds, or an archive of more than `limit` bytes.

    Raises:
        InputError: says what is wrong with which member.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            parts = {name: _parts(file, name, members) for name in NAMES}
            wanted = [name for name in NAMES if parts[name]]
            if inputs_only:
                wanted = [name for name in wanted if name.startswith("x")][-1:]
            _require_names(file, wanted, list(members), inputs_only)
            _require_same_parts(file, [parts[name] for name in wanted if name.startswith("x")])
            total = sum(members[member].file_size for name in wanted for member in parts[name])
            require(
                total <= limit,
                f"{file} unpacks to {_size(total)}, more than the limit of {_size(limit)}. If that is right, "
                "raise it with max_bytes=..., or save fewer samples.",
            )
            return {name: _read(archive, file, [members[member] for member in parts[name]]) for name in wanted}
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{file} is not a complete .npz file ({error}). It may be cut short; save it again."
        ) from error
    except (OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{file} cannot be read ({error}). It may be damaged; save it again with numpy.savez."
        ) from error


def _parts(file: Path, name: str, members: Collection[str]) -> list[str]:
    """The members that make up `x`, `x_test`, ..., in order."""
    ending = "_test" if name.endswith("_test") else ""
    if not name.startswith("x"):
        return [name] if name in members else []
    numbered = [f"x{i}{ending}" for i in range(len(members))]
    count = next((i for i, part in enumerate(numbered) if part not in members), len(numbered))
    if name not in members:
        return numbered[:count]
    require(count == 0, f"{file} holds both {name} and {numbered[0]}. Save inputs of several parts as x0, x1, ...")
    beside = [f"{part}{ending}" for part in PARTS if f"{part}{ending}" in members]
    require(
        len({f"adjacency{ending}", f"edges{ending}"}.intersection(beside)) < 2,
        f"{file} holds both adjacency{ending} and edges{ending}: graphs are given by one of them.",
    )
    return [name, *beside]


def _require_same_parts(file: Path, splits: list[list[str]]) -> None:
    named = [[part.removesuffix("_test") for part in split] for split in splits]
    require(
        all(split == named[0] for split in named),
        f"{file} has inputs of different parts in the two splits: {' and '.join(', '.join(s) for s in splits)}.",
    )


def _read(archive: zipfile.ZipFile, file: Path, members: list[zipfile.ZipInfo]) -> Arrays:
    arrays = [_read_member(archive, info, f"{file}: {info.filename.removesuffix('.npy')}") for info in members]
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _require_names(file: Path, found: list[str], members: list[str], inputs_only: bool) -> None:
    missing = [] if inputs_only and found else [name for name in NAMES[: 1 if inputs_only else 2] if name not in found]
    if not inputs_only and ("x_test" in found) != ("y_test" in found):
        missing.append("x_test" if "y_test" in found else "y_test")
    if missing:
        near = sorted({close for name in missing for close in difflib.get_close_matches(name, members, cutoff=0.4)})
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        held = ", ".join(members[:12]) or "nothing"
        form = "x=..." if inputs_only else "x=..., y=..."
        more = "" if inputs_only else ", and x_test=..., y_test=... for a test split of your own"
        raise InputError(
            f"{file} lacks {' and '.join(missing)}; it holds {held}.{hint} "
            f"Save it with numpy.savez(file, {form}){more}."
        )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> np.ndarray:
    with archive.open(info) as stream:
        shape, fortran, dtype, used = _header(stream, name)
        held, promised = info.file_size - used, math.prod(shape) * dtype.itemsize
        require(
            promised == held,
            f"{name} promises {_size(promised)} (shape {shape}, {dtype}) but holds {_size(held)}: it is damaged.",
        )
        data = stream.read(promised)
    require(len(data) == promised, f"{name} ends after {_size(len(data))} of {_size(promised)}: it is cut short.")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C").copy()


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, order, dtype and length of the header of a `.npy` stream."""
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        require(version in readers, f"{name} has the array format {version}, which is not read here.")
        shape, fortran, dtype = readers[version](stream)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is not a NumPy array ({str(error).splitlines()[0]}).") from error
    if dtype.hasobject:
        raise InputError(
            f"{name} is an object array. These are pickled, and opening them could run code, so they are refused. "
            "Save numbers as a rectangular array (pad samples of different length) and text labels as "
            "np.array(labels, dtype=str)."
        )
    require(dtype.names is None, f"{name} has named fields {dtype.names}; save the columns as one plain array.")
    require(all(side >= 0 for side in shape), f"{name} has the impossible shape {shape}: it is damaged.")
    return shape, fortran, dtype, stream.tell()


def _size(count: int) -> str:
    """Bytes for people."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if units[0] != "bytes" else f"{count} bytes"
