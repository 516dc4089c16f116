"""A study: a grid of trials, and the claims that its rows decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from equilearn._check import InputTypeError, one_of
from equilearn.studies._runner import Trial, Weight

PRESETS = ("quick", "full")

Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A statement with its measured figure, its bound, and whether it held.

    `at_least`, `at_most` and `between` decide `held` and phrase the bound. A figure that is not a
    number holds nothing.

    Example:
        >>> claim = Claim.at_least("accuracy", "Averaged networks reach 0.92", 0.95, 0.92)
        >>> claim.bound, claim.held
        ('>= 0.92', True)
    """

    name: str
    statement: str
    value: float
    bound: str
    held: bool

    @classmethod
    def at_least(cls, name: str, statement: str, value: float, bound: float) -> Claim:
        """Held where `value >= bound`."""
        return cls(name, statement, float(value), f">= {bound:g}", bool(value >= bound))

    @classmethod
    def at_most(cls, name: str, statement: str, value: float, bound: float) -> Claim:
        """Held where `value <= bound`."""
        return cls(name, statement, float(value), f"<= {bound:g}", bool(value <= bound))

    @classmethod
    def between(cls, name: str, statement: str, value: float, low: float, high: float) -> Claim:
        """Held where `low <= value <= high`."""
        return cls(name, statement, float(value), f"{low:g} to {high:g}", bool(low <= value <= high))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; a figure that is not finite becomes None."""
        return {**asdict(self), "value": self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True)
class Study:
    """A grid of independent trials and the claims that their rows decide.

    Args:
        name: as typed on the command line.
        title: one line.
        statement: what is claimed, in a sentence or two.
        configs: `configs(preset, seed, **settings)` gives the grid, a list of JSON dicts.
        trial: `trial(config)` gives a dict of results; at the top of a module, so that workers find it.
        claims: `claims(rows)` decides the claims, from rows alone.
        defaults: the settings and their values in the quick preset.
        full: the settings that differ in the full preset.
        plot: what the report draws: `x`, `y` and perhaps `series`, `logx`, `logy`.
        weight: relative cost of a configuration; default all alike.
        inline: whether trials are too quick to be worth worker processes.
        takes: how long it takes, in words: `"2 minutes on two cores; full: an hour"`.
    """

    name: str
    title: str
    statement: str
    configs: Callable[..., list[Row]]
    trial: Trial
    claims: Callable[[list[Row]], Sequence[Claim]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    full: Mapping[str, Any] = field(default_factory=dict)
    plot: Mapping[str, Any] = field(default_factory=dict)
    weight: Weight | None = None
    inline: bool = False
    takes: str = ""

    def settings(self, preset: str = "quick", given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The preset's settings with the given ones in place.

        Raises:
            InputError: an unknown preset or setting (near names are listed), or a value of another type.
        """
        one_of(preset, PRESETS, "preset")
        chosen = {**self.defaults, **(self.full if preset == "full" else {})}
        for name, value in (given or {}).items():
            default = chosen[one_of(name, chosen, f"setting of the study {self.name}")]
            if not _like(value, default):
                raise InputTypeError(
                    f"The setting {name} of the study {self.name} takes {_kind(default)}, such as {default!r}; "
                    f"got {value!r}."
                )
            chosen[name] = value
        return chosen


def _like(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple | list):
        return isinstance(value, tuple | list) and (not default or all(_like(item, default[0]) for item in value))
    return default is None or isinstance(value, type(default))


def _kind(default: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(type(default), "a list of values")
