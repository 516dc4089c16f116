"""Public conformance checks: does your group, representation, action, layer or symmetrizer keep its laws?

Each check takes an object and raises `CheckFailed`, with the law, the size of the breach and the
element where it happened. They are what this library runs on its own parts.

>>> import equilearn as eq
>>> eq.testing.check_group(eq.Cyclic(4))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equilearn.testing._action import check_action
    from equilearn.testing._failed import CheckFailed
    from equilearn.testing._group import check_group
    from equilearn.testing._layer import check_layer
    from equilearn.testing._rep import check_representation
    from equilearn.testing._strategies import batches, elements, finite_groups, groups, matrix_groups, reps
    from equilearn.testing._symmetrizer import check_symmetrizer

_HOME = {
    "CheckFailed": "_failed",
    "check_action": "_action",
    "check_group": "_group",
    "check_layer": "_layer",
    "check_representation": "_rep",
    "check_symmetrizer": "_symmetrizer",
    "batches": "_strategies",
    "elements": "_strategies",
    "finite_groups": "_strategies",
    "groups": "_strategies",
    "matrix_groups": "_strategies",
    "reps": "_strategies",
}

__all__ = [
    "CheckFailed",
    "batches",
    "check_action",
    "check_group",
    "check_layer",
    "check_representation",
    "check_symmetrizer",
    "elements",
    "finite_groups",
    "groups",
    "matrix_groups",
    "reps",
]


def __getattr__(name: str) -> Any:
    """Load a check on first use; the strategies need hypothesis, the checks do not."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
