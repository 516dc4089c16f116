"""One place that validates what users pass and phrases what is wrong with it.

Every message says what was given, what is needed and how to fix it. The command line
prints the message of an `InputError` and exits with 2; anything else that escapes is a bug.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

import torch
from torch import Tensor


class InputError(ValueError):
    """A value that cannot be used: wrong shape, unknown name, NaN, not in the group, ..."""


class InputTypeError(InputError, TypeError):
    """A value of the wrong type."""


class MissingExtraError(InputError, ImportError):
    """An optional dependency is needed and not installed."""


def require(condition: bool, message: str) -> None:
    """Raise `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def positive_int(value: object, name: str, minimum: int = 1) -> int:
    """`value` as an `int` of at least `minimum`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputTypeError(f"{name} must be a whole number >= {minimum}, got {value!r}.")
    number = value.__index__()  # type: ignore[attr-defined]
    require(number >= minimum, f"{name} must be a whole number >= {minimum}, got {number}.")
    return number


def one_of(value: str, options: Iterable[str], what: str) -> str:
    """`value` if it is one of `options`; otherwise an error that lists the nearest names."""
    names = list(options)
    if value in names:
        return value
    near = difflib.get_close_matches(str(value), names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InputError(f"Unknown {what} {value!r}.{hint} Known: {', '.join(names)}.")


def finite(x: Tensor, name: str) -> Tensor:
    """`x` if all its entries are finite; otherwise an error that counts and places the bad ones."""
    if not x.dtype.is_floating_point and not x.dtype.is_complex:
        return x
    if bool(torch.isfinite(x.sum())):  # a sum with such a value is none; one without may overflow
        return x
    bad = ~torch.isfinite(x)
    count = int(bad.sum())
    if count:
        first = tuple(torch.nonzero(bad)[0].tolist())
        nans = int(torch.isnan(x).sum())
        raise InputError(
            f"{name} holds {nans} NaN and {count - nans} infinite values among {x.numel()} "
            f"(the first at index {first}). Remove or fill them before going on."
        )
    return x


def not_empty(x: Tensor, name: str) -> Tensor:
    """`x` if it has at least one entry."""
    require(x.numel() > 0, f"{name} is empty: its shape is {tuple(x.shape)}. At least one sample is needed.")
    return x


def extra(module: str, extra_name: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed. "
            f"Install it with: pip install 'equilearn[{extra_name}]'"
        ) from error
