"""Small pictures of matrices as PNG: one byte a pixel, one palette for every page."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

ZERO = 127
"""The palette's index of zero; 0 and 254 are its ends."""
BELOW, ABOVE = (0x1F, 0x72, 0xC4), (0xD6, 0x5A, 0x0B)
"""Colours of the negative and of the positive end; style.css has them as `--below` and `--above`."""


def heatmap(values: np.ndarray, limit: float) -> bytes:
    r"""`values` (rows, columns) as a PNG of as many pixels, colours centred at zero.

    Zero is transparent and the ends at plus and minus `limit` are opaque, so that one picture serves
    the light and the dark page: zero has the colour of the paper. What lies beyond is drawn as the end.

    >>> heatmap(np.zeros((2, 3)), 1.0)[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    share = np.clip(values / limit, -1.0, 1.0) if limit > 0 else np.zeros_like(values)
    pixels = np.round(ZERO + ZERO * share).astype(np.uint8)
    rows, columns = pixels.shape
    # Each line of a PNG starts with the number of its filter; 0 is none.
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels], axis=1).tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(BELOW) * ZERO + bytes(ABOVE) * (ZERO + 1)),
        (b"tRNS", bytes(round(255 * abs(i - ZERO) / ZERO) for i in range(2 * ZERO + 1))),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_uri(png: bytes) -> str:
    """`png` as an address that holds the picture itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
