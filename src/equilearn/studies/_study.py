"""A study: a grid of trials, and the claims that its rows decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from equilearn._check import InputTypeError, one_of
from equilearn.studies._runner import Trial, Weight

PRESETS = ("quick", "full")
_EVERY = ("kind", "title", "caption", "where")
_AXES = (*_EVERY, "x", "y", "x_label", "y_label", "series", "logx", "logy")
FIGURES = {
    "points": (*_AXES, "reference"),
    "curves": (*_AXES, "reference", "mark"),
    "scatter": (*_AXES, "identity"),
    "matrices": (*_EVERY, "matrix", "label", "scale", "rows", "columns"),
    "animation": (*_EVERY, "frames", "label", "scale"),
}
"""The kinds of figures and the keys that each takes."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A statement with its measured figure, its bound, and whether it held.

    `at_least`, `at_most` and `between` decide `held` and phrase the bound. Where the figure or the bound is not a
    number, as where no row of the grid speaks for or against it, the claim is not tested: `held` is None.

    Example:
        >>> claim = Claim.at_least("accuracy", "Averaged networks reach 0.92", 0.95, 0.92)
        >>> claim.bound, claim.held
        ('>= 0.92', True)
        >>> Claim.at_least("accuracy", "Averaged networks reach 0.92", float("nan"), 0.92).held is None
        True
    """

    name: str
    statement: str
    value: float
    bound: str
    held: bool | None

    @classmethod
    def at_least(cls, name: str, statement: str, value: float, bound: float) -> Claim:
        """Held where `value >= bound`."""
        return cls(name, statement, float(value), f">= {bound:g}", _decided(value >= bound, value, bound))

    @classmethod
    def at_most(cls, name: str, statement: str, value: float, bound: float) -> Claim:
        """Held where `value <= bound`."""
        return cls(name, statement, float(value), f"<= {bound:g}", _decided(value <= bound, value, bound))

    @classmethod
    def between(cls, name: str, statement: str, value: float, low: float, high: float) -> Claim:
        """Held where `low <= value <= high`."""
        return cls(
            name, statement, float(value), f"{low:g} to {high:g}", _decided(low <= value <= high, value, low, high)
        )

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
        plot: what the report draws: one figure, or a list of them; see below.
        weight: relative cost of a configuration; default all alike.
        inline: whether trials are too quick to be worth worker processes.
        takes: how long it takes, in words: `"2 minutes on two cores; full: an hour"`.

    Raises:
        InputError: a figure of an unknown kind or with an unknown key.

    A figure is a dict of names of columns. Its `kind` is one of

    - `"points"`, the default: `y` against `x`, a number a row, means with their 95 % intervals; where
      `x` holds names, a row of dots each.
    - `"curves"`: `x` and `y` are columns of lists, a whole curve a row; means with a band from the
      lowest row to the highest.
    - `"scatter"`: points without lines, `y` against `x`, both columns of numbers, a point a row, or both of lists, a
      point an entry.
    - `"matrices"`: the column `matrix` (default `"matrix"`) holds what `pack_matrix` gives.
    - `"animation"`: the column `frames` (default `"frames"`) holds a list of
      `{"iteration": 5, "matrix": pack_matrix(M)}`; at most 12 of them are drawn.

    Points, curves and scatters take `series` (a line or a colour each; a column or a list of columns), `logx` and
    `logy`, `x_label` and `y_label` (names of the axes instead of those of the columns; of the second also a list, one
    a panel); their `y` may be a list, a panel for each entry, which is a column or a list of columns drawn together.
    Points and curves take `reference`, a level and its name such as `(1, "no information")`; curves `mark`, a column
    of lists with the points that are ringed, None elsewhere, where each panel has one column; scatters `identity`,
    True for the line on which both are equal.

    Matrices and animations take `label` (a column or a list of columns) and `scale`, up to where colours run:
    `"each"` picture's largest entry, `"shared"` by the figure; an animation's default is the largest of its row.
    Matrices take `rows` and `columns`, columns of lists with a name for each of theirs.

    Any figure takes `title`, `caption` (sentences set before what the report says by itself) and `where`, a dict of
    columns and the value, or list of values, that its rows have there. Rows that lack what a figure draws are left out
    of it.

    Example:
        >>> study = Study(
        ...     name="squares",
        ...     title="Squares",
        ...     statement="Squares are not negative.",
        ...     configs=lambda preset, seed: [{"n": n} for n in range(3)],
        ...     trial=lambda config: {"steps": [0, 1], "power": [1, config["n"]]},
        ...     claims=lambda rows: [],
        ...     plot=[{"kind": "curves", "x": "steps", "y": "power", "series": "n"}],
        ... )
        >>> study.figures[0]["kind"]
        'curves'
    """

    name: str
    title: str
    statement: str
    configs: Callable[..., list[Row]]
    trial: Trial
    claims: Callable[[list[Row]], Sequence[Claim]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    full: Mapping[str, Any] = field(default_factory=dict)
    plot: Mapping[str, Any] | Sequence[Mapping[str, Any]] = ()
    weight: Weight | None = None
    inline: bool = False
    takes: str = ""

    def __post_init__(self) -> None:
        for figure in self.figures:
            kind = one_of(figure.get("kind", "points"), FIGURES, f"kind of figure in the study {self.name}")
            for key in figure:
                one_of(key, FIGURES[kind], f"key of the {kind} drawn by the study {self.name}")

    @property
    def figures(self) -> list[Mapping[str, Any]]:
        """What `plot` declares, as a list."""
        if isinstance(self.plot, Mapping):
            return [self.plot] if self.plot else []
        return list(self.plot)

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


def _decided(held: bool, *figures: float) -> bool | None:
    return None if any(map(math.isnan, figures)) else bool(held)


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
