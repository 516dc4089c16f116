"""equilearn: find, measure, build in and price the symmetries of a model.

Everything here is loaded on first use, so that `import equilearn` costs next to nothing.

>>> import equilearn as eq
>>> eq.Cyclic(4)
C4
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from equilearn._version import __version__

if TYPE_CHECKING:
    from equilearn import (
        actions,
        advisor,
        data,
        discovery,
        groups,
        io,
        kernels,
        measure,
        nn,
        processes,
        relaxation,
        report,
        reps,
        studies,
        symmetrization,
        testing,
        training,
    )
    from equilearn._check import InputError
    from equilearn.advisor import advise
    from equilearn.data import Task
    from equilearn.groups import (
        GL,
        SL,
        SO,
        Abelian,
        Alternating,
        Cyclic,
        Dihedral,
        Euclidean,
        FiniteGroup,
        Group,
        Lorentz,
        MatrixGroup,
        O,
        Product,
        Quaternion,
        Scaling,
        SpecialEuclidean,
        Symmetric,
        Translation,
    )
    from equilearn.io import load, save
    from equilearn.kernels import predict_symmetry_learning
    from equilearn.measure import data_symmetry, equivariance_error
    from equilearn.relaxation import relax
    from equilearn.reps import Rep, intertwiners
    from equilearn.symmetrization import symmetrize
    from equilearn.symmetry import Symmetry

_ROOMS = (
    "actions",
    "advisor",
    "data",
    "discovery",
    "groups",
    "io",
    "kernels",
    "measure",
    "nn",
    "processes",
    "relaxation",
    "report",
    "reps",
    "studies",
    "symmetrization",
    "testing",
    "training",
)

_HOME = {
    "InputError": "_check",
    "Symmetry": "symmetry",
    "Task": "data",
    "advise": "advisor",
    "data_symmetry": "measure",
    "equivariance_error": "measure",
    "intertwiners": "reps",
    "predict_symmetry_learning": "kernels",
    "load": "io",
    "relax": "relaxation",
    "save": "io",
    "Rep": "reps",
    "symmetrize": "symmetrization",
    **dict.fromkeys(
        (
            "Abelian",
            "Alternating",
            "Cyclic",
            "Dihedral",
            "Euclidean",
            "FiniteGroup",
            "GL",
            "Group",
            "Lorentz",
            "MatrixGroup",
            "O",
            "Product",
            "Quaternion",
            "SL",
            "SO",
            "Scaling",
            "SpecialEuclidean",
            "Symmetric",
            "Translation",
        ),
        "groups",
    ),
}

__all__ = [
    "GL",
    "SL",
    "SO",
    "Abelian",
    "Alternating",
    "Cyclic",
    "Dihedral",
    "Euclidean",
    "FiniteGroup",
    "Group",
    "InputError",
    "Lorentz",
    "MatrixGroup",
    "O",
    "Product",
    "Quaternion",
    "Rep",
    "Scaling",
    "SpecialEuclidean",
    "Symmetric",
    "Symmetry",
    "Task",
    "Translation",
    "__version__",
    "actions",
    "advise",
    "advisor",
    "data",
    "data_symmetry",
    "discovery",
    "equivariance_error",
    "groups",
    "intertwiners",
    "io",
    "kernels",
    "load",
    "measure",
    "nn",
    "predict_symmetry_learning",
    "processes",
    "relax",
    "relaxation",
    "report",
    "reps",
    "save",
    "studies",
    "symmetrization",
    "symmetrize",
    "testing",
    "training",
]


def __getattr__(name: str) -> Any:
    """Load a room, or a name from its room, on first use (PEP 562)."""
    if name in _ROOMS:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
