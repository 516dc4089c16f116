"""How exactly a symmetry holds: in a model, in its layers, in the data."""

from equilearn.measure._error import equivariance_error
from equilearn.measure._floor import interpolation_floor
from equilearn.measure._labels import describe
from equilearn.measure._results import ElementError, EquivarianceError

__all__ = [
    "ElementError",
    "EquivarianceError",
    "describe",
    "equivariance_error",
    "interpolation_floor",
]
