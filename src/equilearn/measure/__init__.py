"""How exactly a symmetry holds: in a model, in its layers, in the data."""

from equilearn.measure._data import ClassCoverage, DataSymmetry, data_symmetry
from equilearn.measure._error import equivariance_error
from equilearn.measure._floor import interpolation_floor
from equilearn.measure._labels import describe
from equilearn.measure._layers import LayerError, layer_errors
from equilearn.measure._lie import GeneratorError, LieDerivativeError, lie_derivative_error
from equilearn.measure._pose import Confusion, PoseInformation
from equilearn.measure._results import ElementError, EquivarianceError
from equilearn.measure._separation import Separation, separation
from equilearn.measure._split import SplitSymmetry, split_symmetry

__all__ = [
    "ClassCoverage",
    "Confusion",
    "DataSymmetry",
    "ElementError",
    "EquivarianceError",
    "GeneratorError",
    "LayerError",
    "LieDerivativeError",
    "PoseInformation",
    "Separation",
    "SplitSymmetry",
    "data_symmetry",
    "describe",
    "equivariance_error",
    "interpolation_floor",
    "layer_errors",
    "lie_derivative_error",
    "separation",
    "split_symmetry",
]
