"""The studies by name. A new one is one file and one line here."""

from __future__ import annotations

from importlib import import_module

from equilearn._check import InputTypeError, one_of, require
from equilearn.studies._study import Study

_NAMES = (
    "architectures",
    "averaging",
    "cycles",
    "era5",
    "exp",
    "gibbs",
    "graph8c",
    "grokking",
    "image_groups",
    "imposed_features",
    "nbody",
    "nonabelian",
    "pattern",
    "random_circulant",
    "rotated_digits",
    "rotated_networks",
    "shift_collapse",
    "smoke",
    "symmetry_trap",
    "tabular",
    "topography",
    "toy_rings",
)
_BUILT_IN = {name: f"equilearn.studies.{name}" for name in _NAMES}

_REGISTERED: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Make a study of your own known by its name, for this process.

    Raises:
        InputError: where another study has that name.
    """
    if not isinstance(study, Study):
        raise InputTypeError(f"A Study is needed, got {type(study).__name__}.")
    taken = study.name in _BUILT_IN or _REGISTERED.get(study.name, study) != study
    require(not taken, f"There is another study named {study.name!r}. Choose another name.")
    _REGISTERED[study.name] = study
    return study


def names() -> tuple[str, ...]:
    """Names of all studies, in alphabetical order.

    Example:
        >>> "averaging" in names()
        True
    """
    return tuple(sorted({*_BUILT_IN, *_REGISTERED}))


def get(name: str) -> Study:
    """The study of that name. Its file is imported only now.

    Raises:
        InputError: no such study (near names are listed).

    Example:
        >>> get("averaging").name
        'averaging'
    """
    one_of(name, names(), "study")
    if name in _REGISTERED:
        return _REGISTERED[name]
    return import_module(_BUILT_IN[name]).STUDY


def list_studies() -> tuple[Study, ...]:
    """All studies, by name."""
    return tuple(get(name) for name in names())
