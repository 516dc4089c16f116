"""NumPy archives, read with suspicion: nothing is unpickled, and sizes are checked before memory is taken."""

from __future__ import annotations

import difflib
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from equilearn._check import InputError, require

NAMES = ("x", "y", "x_test", "y_test")


def read_npz(file: Path, limit: int, *, inputs_only: bool = False) -> dict[str, np.ndarray]:
    """The arrays `x`, `y` and, where there are any, `x_test`, `y_test` of an `.npz` file.

    With `inputs_only` the last of `x`, `x_test` that is there, and nothing else.

    Every member's own header is read before its data: object arrays are refused, and so is a
    header that promises more than the archive holds, or an archive of more than `limit` bytes.

    Raises:
        InputError: says what is wrong with which member.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = [name for name in NAMES if name in members]
            if inputs_only:
                wanted = [name for name in wanted if name.startswith("x")][-1:]
            _require_names(file, wanted, list(members), inputs_only)
            total = sum(members[name].file_size for name in wanted)
            require(
                total <= limit,
                f"{file} unpacks to {_size(total)}, more than the limit of {_size(limit)}. If that is right, "
                "raise it with max_bytes=..., or save fewer samples.",
            )
            return {name: _read_member(archive, members[name], f"{file}: {name}") for name in wanted}
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{file} is not a complete .npz file ({error}). It may be cut short; save it again."
        ) from error
    except (OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{file} cannot be read ({error}). It may be damaged; save it again with numpy.savez."
        ) from error


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
