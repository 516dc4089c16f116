"""Actions by name, as the command line gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from equilearn._check import InputError, one_of, require
from equilearn.actions._base import Action, Unbound
from equilearn.actions._graphs import edges, graphs, pairs
from equilearn.actions._images import INTERPOLATIONS, PADDINGS, images
from equilearn.actions._points import points, sets
from equilearn.actions._shifts import shifts
from equilearn.actions._simple import CombinedAction, trivial, vectors
from equilearn.groups import Group
from equilearn.reps import defining

NAMES = ("edges", "graphs", "images", "pairs", "points", "sets", "shifts", "trivial", "vectors")
"""The actions that `parse` knows."""

_BUILDERS: dict[str, Callable[..., Unbound]] = {
    "edges": edges,
    "graphs": graphs,
    "pairs": pairs,
    "points": points,
    "sets": sets,
}
"""Those that take a number of points."""


def parse(text: str, group: Group) -> Action:
    """The action of `group` that `text` names.

    Args:
        text: `"images"`, `"images:bicubic"`, `"images:bilinear,border"`; `"points"`, `"points:5"`,
            `"points:5,vectors=1,scalars=1"`; `"sets"`, `"sets:5"`; `"graphs"`, `"graphs:12"`,
            `"graphs:12,edges"` (lists of edges), `"graphs:12,nomask"`; `"pairs"`, `"edges"`; `"shifts"` (circular,
            along the last axis; for two cyclic groups the last two), `"shifts:-2"`, `"shifts:1,2"` (along those axes);
            `"vectors"` (as many copies of the defining representation as fit the last axis), `"vectors:3"` (three of
            them); `"trivial"`; several joined by `+` for a tuple.
        group: the group that acts.

    Raises:
        InputError: an unknown name or option (near names are listed), or a group that cannot act so.

    Example:
        >>> import equilearn as eq
        >>> eq.actions.parse("images:bicubic", eq.Cyclic(8))
        images (bicubic) under C8
    """
    pieces = [piece.strip() for piece in text.split("+")]
    found = [_single(piece, group) for piece in pieces]
    return found[0] if len(found) == 1 else CombinedAction(*found)


def _single(text: str, group: Group) -> Action:
    name, _, option = text.partition(":")
    name = one_of(name.strip().lower(), NAMES, "action")
    option = option.strip()
    if name == "images":
        return _images(option).on(group)
    if name == "shifts":
        parts = filter(None, (part.strip() for part in option.split(",")))
        return shifts(*(_whole(part, "shifts:", option) for part in parts)).on(group)
    if name == "trivial":
        require(not option, f"The trivial action takes no option, got {option!r}.")
        return trivial().on(group)
    if name == "vectors":
        return vectors(defining(group), _whole(option, "vectors:", option) if option else None)
    count, words = _options(option, name)
    return _BUILDERS[name](count, **words).on(group)


def _images(option: str) -> Unbound:
    chosen = {"interpolation": "bilinear", "padding": "zeros"}
    for word in filter(None, (part.strip() for part in option.split(","))):
        one_of(word, (*INTERPOLATIONS, *PADDINGS), "option of images")
        chosen["interpolation" if word in INTERPOLATIONS else "padding"] = word
    return images(**chosen)


_SWITCHES: dict[str, dict[str, tuple[str, bool]]] = {
    "graphs": {"edges": ("edge_lists", True), "nomask": ("mask", False)},
}
"""Words that stand alone, and which argument they set to what."""

_NUMBERS: dict[str, tuple[str, ...]] = {"points": ("vectors", "scalars")}
"""Words that come with a number, `vectors=1`."""


def _options(option: str, name: str) -> tuple[int | None, dict[str, Any]]:
    """`5,vectors=1` as a count and arguments."""
    count: int | None = None
    arguments: dict[str, Any] = {}
    switches, numbers = _SWITCHES.get(name, {}), _NUMBERS.get(name, ())
    for place, part in enumerate(filter(None, (part.strip() for part in option.split(",")))):
        word, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and numbers:
            arguments[one_of(word, numbers, f"option of {name}")] = _whole(value, f"{name}:{word}=", part)
        elif word in switches:
            argument, setting = switches[word]
            arguments[argument] = setting
        elif word.isalpha() and (switches or numbers) and place > 0:
            one_of(word, (*switches, *(f"{number}=1" for number in numbers)), f"option of {name}")
        else:
            count = _whole(part, f"{name}:", part)
    return count, arguments


def _whole(option: str, before: str, given: str) -> int:
    try:
        return int(option)
    except ValueError as error:
        name = before.partition(":")[0]
        raise InputError(f"{name}:{given} needs a whole number, such as {before}3.") from error
