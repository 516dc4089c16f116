"""How columns and rows are called in pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report._format import number, sentence, strings, text


def plainly(column: object) -> str:
    """A column's name for reading.

    >>> plainly("test_accuracy")
    'test accuracy'
    """
    return text(column).replace("_", " ")


def capital(words: str) -> str:
    """`words` as the start of a sentence; names in them keep their case."""
    return words[:1].upper() + words[1:]


def led(spec: Mapping[str, Any], otherwise: str) -> str:
    """How a caption starts: with what the study says of the figure, or else with what its columns say."""
    return sentence(text(spec.get("caption"))) or otherwise


def named(row: Mapping[str, Any], columns: object) -> str:
    """What tells a row apart: its values in `columns`, a number with the name of its column.

    >>> named({"kernel": "gaussian", "modulus": 61}, ["kernel", "modulus"])
    'gaussian, modulus 61'
    """
    return ", ".join(_said(row.get(column), column) for column in strings(columns))


def _said(value: object, column: str) -> str:
    if isinstance(value, str):
        return text(value, "–")
    if isinstance(value, bool):
        return plainly(column) if value else f"not {plainly(column)}"
    x = number(value)
    if x is None:
        return "–"
    return f"{plainly(column)} " + (str(value) if isinstance(value, int) else f"{x:.4g}")
