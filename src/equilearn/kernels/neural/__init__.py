"""Neural kernels: the covariance (NNGP) and tangent kernel (NTK) of networks, infinitely wide or as they are."""

from equilearn.kernels.neural._architecture import Architecture
from equilearn.kernels.neural._empirical import empirical_ntk
from equilearn.kernels.neural._layers import Activation, Conv, Dense, Erf, Flatten, GlobalAveragePool, ReLU, Spread
from equilearn.kernels.neural._modules import ErfUnit, NTKConv2d, NTKLinear, finite_network
from equilearn.kernels.neural._shifts import shift_kappa
from equilearn.kernels.neural._walker import architecture_of

__all__ = [
    "Activation",
    "Architecture",
    "Conv",
    "Dense",
    "Erf",
    "ErfUnit",
    "Flatten",
    "GlobalAveragePool",
    "NTKConv2d",
    "NTKLinear",
    "ReLU",
    "Spread",
    "architecture_of",
    "empirical_ntk",
    "finite_network",
    "shift_kappa",
]
