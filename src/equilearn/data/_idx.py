"""IDX files, the format in which MNIST is published: a magic number, sizes, bytes; often gzipped.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, "File formats".
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from equilearn._check import InputError, require
from equilearn.io import existing_file

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGES = re.compile(r"^(?P<part>.+?)-images[-.]idx3-ubyte(?P<gz>\.gz)?$")


def is_idx(path: Path) -> bool:
    """Whether the name is that of an IDX file of images."""
    return _IMAGES.match(path.name) is not None


def read_idx_task(path: Path, limit: int) -> dict[str, np.ndarray]:
    """`x`, `y` and, where train and test files lie together, `x_test`, `y_test`.

    Args:
        path: a file of images, whose labels lie beside it, or a folder of such files.
        limit: bytes that one file may unpack to.

    Raises:
        InputError: no such files, labels missing, numbers of images and labels that differ, damage.
    """
    folder = path if path.is_dir() else path.parent
    parts = {match["part"]: file for file in sorted(folder.iterdir()) if (match := _IMAGES.match(file.name))}
    if not path.is_dir():
        match = _IMAGES.match(path.name)
        parts = {**parts, match["part"]: existing_file(path)} if match else parts
    require(
        bool(parts),
        f"The folder {path} holds no IDX images, which are named like train-images-idx3-ubyte or "
        "t10k-images-idx3-ubyte.gz, with their labels beside them.",
    )
    if "train" in parts and "t10k" in parts:
        x, y = _pair(parts["train"], limit)
        x_test, y_test = _pair(parts["t10k"], limit)
        return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}
    if path.is_dir():
        require(len(parts) == 1, f"{path} holds several sets of images ({', '.join(parts)}). Name one of the files.")
        path = next(iter(parts.values()))
    x, y = _pair(path, limit)
    return {"x": x, "y": y}


def _pair(images: Path, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and their labels, gzipped or not."""
    match = _IMAGES.match(images.name)
    stem = images.parent / (match["part"] if match else images.name)
    names = [f"{stem}-labels{dash}idx1-ubyte{end}" for dash in "-." for end in ("", ".gz")]
    found = next((Path(name) for name in names if Path(name).is_file()), None)
    if found is None:
        raise InputError(f"{images} has no labels beside it: {Path(names[0]).name} or {Path(names[1]).name} is needed.")
    x, y = read_idx(images, limit), read_idx(found, limit)
    require(x.ndim == 3, f"{images} holds an array of shape {x.shape}; images are (count, height, width).")
    require(y.ndim == 1, f"{found} holds an array of shape {y.shape}; labels are (count,).")
    require(len(x) == len(y), f"{images.name} holds {len(x)} images but {found.name} {len(y)} labels.")
    return x, y


def read_idx(file: Path, limit: int) -> np.ndarray:
    """One IDX file, gzipped or not.

    Raises:
        InputError: a wrong magic number, a size that is not that of the data, damaged compression.
    """
    existing_file(file)
    opener = gzip.open if file.name.endswith(".gz") else open
    try:
        with opener(file, "rb") as stream:
            magic = stream.read(4)
            require(
                len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES and magic[3] > 0,
                f"{file} is not an IDX file: it starts with {magic.hex(' ') or 'nothing'}, not 00 00 type rank.",
            )
            sizes = stream.read(4 * magic[3])
            require(len(sizes) == 4 * magic[3], f"{file} ends within its header: it is cut short.")
            shape = struct.unpack(f">{magic[3]}I", sizes)
            dtype = np.dtype(_TYPES[magic[2]])
            promised = math.prod(shape) * dtype.itemsize
            require(promised <= limit, f"{file} promises {promised} bytes, more than the limit of {limit} (max_bytes).")
            data = stream.read(promised + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{file} is not a complete gzip file ({error}). It may be cut short; fetch it again."
        ) from error
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    require(
        len(data) == promised,
        f"{file} promises shape {shape}, {promised} bytes, but holds {'more' if len(data) > promised else len(data)}: "
        "it is damaged or cut short.",
    )
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
