"""Symmetrization: make any model equivariant, without touching the model."""

from equilearn.symmetrization._average import Average
from equilearn.symmetrization._base import Elements, Strategy, register_strategy, strategies
from equilearn.symmetrization._canonicalize import Canonicalize
from equilearn.symmetrization._certificate import Certificate, certify
from equilearn.symmetrization._energies import ConvEnergy, MLPEnergy, small_energy
from equilearn.symmetrization._frames import Frames
from equilearn.symmetrization._gram_schmidt import gram_schmidt
from equilearn.symmetrization._laplacian import laplacian_keys
from equilearn.symmetrization._learned import Learned
from equilearn.symmetrization._soft_sort import soft_permutation
from equilearn.symmetrization._straight_through import straight_through
from equilearn.symmetrization._symmetrized import Symmetrized, symmetrize
from equilearn.symmetrization._weighted import weighted_frame

for _build in (Average, Frames, Canonicalize, Learned):
    register_strategy(_build.name, _build)

__all__ = [
    "Average",
    "Canonicalize",
    "Certificate",
    "ConvEnergy",
    "Elements",
    "Frames",
    "Learned",
    "MLPEnergy",
    "Strategy",
    "Symmetrized",
    "certify",
    "gram_schmidt",
    "laplacian_keys",
    "register_strategy",
    "small_energy",
    "soft_permutation",
    "straight_through",
    "strategies",
    "symmetrize",
    "weighted_frame",
]
