"""Matrices kept in rows, drawn side by side or as a film over the iterations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equilearn._check import InputError
from equilearn.report._format import MISSING, count, number, plural, records, shorten, significant, text
from equilearn.report._names import capital, led, named, plainly
from equilearn.report._png import data_uri, heatmap
from equilearn.studies import unpack_matrix

MOST_MATRICES = 12
MOST_FILMS = 6
MOST_FRAMES = 12
MOST_NAMES = 20
"""Entries to a side that still have room for a name each."""
SIDE, WIDE = 280, 420
"""Pixels of the page that the longer side of a picture takes at most: three beside each other, or two."""


@dataclass(frozen=True)
class Frame:
    """One matrix: its picture, what it says, and at which iteration (None outside films)."""

    values: np.ndarray
    at: float | None
    source: str = ""
    alt: str = ""
    end: str = ""
    pixels: int = 1
    """Of the page for an entry: a whole number, so that all entries are alike."""

    @property
    def width(self) -> int:
        """Pixels of the page."""
        return self.pixels * self.values.shape[1]

    @property
    def height(self) -> int:
        """Pixels of the page."""
        return self.pixels * self.values.shape[0]

    @property
    def iteration(self) -> str:
        """Where the frame stands in the film."""
        return "" if self.at is None else f"iteration {count(self.at)}"

    @property
    def limit(self) -> float:
        """The largest size of an entry."""
        return float(np.abs(self.values).max())


@dataclass(frozen=True)
class Panel:
    """What belongs to one row: a matrix, or the frames of a film."""

    label: str
    frames: tuple[Frame, ...]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    """Names beside and under the picture, one an entry; empty where there are none."""


@dataclass(frozen=True)
class Gallery:
    """Matrices with one caption; `ticks` are the iterations of a film, empty where nothing moves."""

    id: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    ticks: tuple[float, ...] = ()

    @property
    def stops(self) -> str:
        """The ticks as JSON, for the page's script."""
        return json.dumps(self.ticks)


def matrices(spec: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], id: str, title: str) -> Gallery | None:
    """The matrices in the column `matrix`, one a row."""
    found = [
        Panel(
            named(row, spec.get("label")),
            (Frame(values, None),),
            *(
                _names(row, spec.get(key), length)
                for key, length in zip(("rows", "columns"), values.shape, strict=True)
            ),
        )
        for row in rows
        if (values := _unpacked(row.get(_column(spec, "matrix")))) is not None
    ]
    if not found:
        return None
    drawn = _drawn(found[:MOST_MATRICES], spec.get("scale"))
    caption = led(spec, f"{capital(plainly(_column(spec, 'matrix')))}.") + _colours(spec.get("scale"), film=False)
    return Gallery(id, title, caption + _left_out(found, MOST_MATRICES), drawn)


def animation(spec: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], id: str, title: str) -> Gallery | None:
    """The films in the column `frames`, one a row, run together."""
    column = _column(spec, "frames")
    found = [Panel(named(row, spec.get("label")), frames) for row in rows if (frames := tuple(_film(row.get(column))))]
    if not found:
        return None
    drawn = _drawn(found[:MOST_FILMS], spec.get("scale"))
    ticks = sorted({frame.at for panel in drawn for frame in panel.frames if frame.at is not None})
    caption = led(spec, f"{capital(plainly(column))} over the iterations.") + _colours(spec.get("scale"), film=True)
    return Gallery(id, title, caption + _left_out(found, MOST_FILMS), drawn, tuple(ticks) if len(ticks) > 1 else ())


def _column(spec: Mapping[str, Any], key: str) -> str:
    name = spec.get(key, key)
    return name if isinstance(name, str) else key


def _names(row: Mapping[str, Any], column: object, length: int) -> tuple[str, ...]:
    """What a row holds in `column`: a name for each of `length` entries, short enough to stand in a margin."""
    found = row.get(column) if isinstance(column, str) else None
    if not isinstance(found, list | tuple) or len(found) != length or length > MOST_NAMES:
        return ()
    return tuple(shorten(text(name, MISSING), 12) for name in found)


def _unpacked(value: object) -> np.ndarray | None:
    try:
        return unpack_matrix(value).numpy()
    except InputError:
        return None


def _film(value: object) -> Iterator[Frame]:
    """The frames in order of iteration, the first and the last always among them."""
    found = {
        at: values
        for item in records(value)
        if (at := number(item.get("iteration"))) is not None and (values := _unpacked(item.get("matrix"))) is not None
    }
    places = sorted(found)
    if len(places) > MOST_FRAMES:
        places = [places[round(i * (len(places) - 1) / (MOST_FRAMES - 1))] for i in range(MOST_FRAMES)]
    return (Frame(found[at], at) for at in places)


def _drawn(panels: Sequence[Panel], scale: object) -> tuple[Panel, ...]:
    """The panels with their pictures, each frame coloured up to its own largest entry, its panel's or all."""
    everywhere = max(frame.limit for panel in panels for frame in panel.frames)
    side = SIDE if len(panels) > 2 else WIDE
    drawn = []
    for panel in panels:
        here = max(frame.limit for frame in panel.frames)
        frames = []
        for frame in panel.frames:
            limit = {"shared": everywhere, "each": frame.limit}.get(str(scale), here)
            frames.append(
                replace(
                    frame,
                    source=data_uri(heatmap(frame.values, limit)),
                    alt=_said(panel.label, frame),
                    end=significant(limit, 2),
                    pixels=min(32, max(1, side // max(frame.values.shape))),
                )
            )
        drawn.append(replace(panel, frames=tuple(frames)))
    return tuple(drawn)


def _said(label: str, frame: Frame) -> str:
    rows, columns = frame.values.shape
    ends = " to ".join(significant(v, 2) for v in (frame.values.min(), frame.values.max()))
    about = ", ".join(part for part in (label, frame.iteration) if part)
    return (f"{about}: a" if about else "A") + f" matrix of {rows} by {columns} entries from {ends}."


def _colours(scale: object, *, film: bool) -> str:
    if scale == "shared":
        return " One colour scale for all, centred at zero."
    if film and scale != "each":
        return " Colours are centred at zero and the same in all frames of a row."
    return " Colours are centred at zero and run to each picture's own largest entry."


def _left_out(found: Sequence[Panel], most: int) -> str:
    return f" The first {most} of {plural(len(found), 'row')} are drawn." if len(found) > most else ""
