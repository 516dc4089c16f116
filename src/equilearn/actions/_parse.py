"""Actions by name, as the command line gives them."""

from __future__ import annotations

from equilearn._check import InputError, one_of, require
from equilearn.actions._base import Action, Unbound
from equilearn.actions._images import INTERPOLATIONS, PADDINGS, images
from equilearn.actions._points import points, sets
from equilearn.actions._simple import CombinedAction, trivial, vectors
from equilearn.groups import Group
from equilearn.reps import defining

NAMES = ("images", "points", "sets", "trivial", "vectors")
"""The actions that `parse` knows."""


def parse(text: str, group: Group) -> Action:
    """The action of `group` that `text` names.

    Args:
        text: `"images"`, `"images:bicubic"`, `"images:bilinear,border"`; `"points"`, `"points:5"`;
            `"sets"`, `"sets:5"`; `"vectors"` (as many copies of the defining representation as fit the
            last axis), `"vectors:3"` (three of them); `"trivial"`; several joined by `+` for a tuple.
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
    if name == "trivial":
        require(not option, f"The trivial action takes no option, got {option!r}.")
        return trivial().on(group)
    count = _whole(option, name) if option else None
    if name == "vectors":
        return vectors(defining(group), count)
    return (points(count) if name == "points" else sets(count)).on(group)


def _images(option: str) -> Unbound:
    chosen = {"interpolation": "bilinear", "padding": "zeros"}
    for word in filter(None, (part.strip() for part in option.split(","))):
        one_of(word, (*INTERPOLATIONS, *PADDINGS), "option of images")
        chosen["interpolation" if word in INTERPOLATIONS else "padding"] = word
    return images(**chosen)


def _whole(option: str, name: str) -> int:
    try:
        return int(option)
    except ValueError as error:
        raise InputError(f"{name}:{option} needs a whole number after the colon, such as {name}:3.") from error
