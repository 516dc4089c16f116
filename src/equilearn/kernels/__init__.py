"""Kernel machines that learn their features, and what they tell of symmetry.

`fit_rfm` is the recursive feature machine on tensors; `RFMRegressor` and `RFMClassifier` are the same as scikit-learn
estimators. `symmetry_report` says which group element a learned metric has picked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from equilearn.kernels._agop import kernel_agop
from equilearn.kernels._blocks import block_eigenvalues, block_inverse, block_matvec, block_solve
from equilearn.kernels._cg import solve_cg
from equilearn.kernels._held_out import leave_one_out, leave_sets_out
from equilearn.kernels._imposed import imposed_features, random_circulant_features
from equilearn.kernels._kernel import Gaussian, Generalized, Kernel, Laplace, Quadratic, kernel_of
from equilearn.kernels._matrix_shape import Spectrum, alignment, circulant_deviation, hankel_deviation, spectrum
from equilearn.kernels._metric import psd_power
from equilearn.kernels._network_agop import agop
from equilearn.kernels._orbit_layout import group_kernel_ridge, kappa_from_function, kappa_from_gram, orbit_layout
from equilearn.kernels._orbit_score import OrbitScore, orbit_precision_recall
from equilearn.kernels._predict import predict_symmetry_learning
from equilearn.kernels._predict_orbits import finite_action
from equilearn.kernels._predict_result import Band, Growth, SymmetryComparison, SymmetryPrediction
from equilearn.kernels._rfm import RFM, Settings, fit_rfm
from equilearn.kernels._solve import SingularKernelWarning, SolveInfo, solve_psd
from equilearn.kernels._stochastic import solve_stochastic
from equilearn.kernels._symmetry_report import SymmetryReport, symmetry_report
from equilearn.kernels._theory import (
    OrbitGeometry,
    SpectralError,
    equicorrelated_error,
    orbit_geometry,
    pair_spectral_errors,
    spectral_error,
)
from equilearn.kernels._theory_blocks import (
    IrrepShare,
    MissingPoints,
    OrbitInverse,
    class_signals,
    orbit_inverse,
    orbit_spread,
)
from equilearn.kernels._theory_kappa import OrbitKernel, orbit_kernel
from equilearn.kernels._theory_toy import rings
from equilearn.kernels._tree import LocalMachines, Split, fit_local_machines

if TYPE_CHECKING:
    from equilearn.kernels._estimators import RFMClassifier, RFMRegressor

__all__ = [
    "RFM",
    "Band",
    "Gaussian",
    "Generalized",
    "Growth",
    "IrrepShare",
    "Kernel",
    "Laplace",
    "LocalMachines",
    "MissingPoints",
    "OrbitGeometry",
    "OrbitInverse",
    "OrbitKernel",
    "OrbitScore",
    "Quadratic",
    "RFMClassifier",
    "RFMRegressor",
    "Settings",
    "SingularKernelWarning",
    "SolveInfo",
    "SpectralError",
    "Spectrum",
    "Split",
    "SymmetryComparison",
    "SymmetryPrediction",
    "SymmetryReport",
    "agop",
    "alignment",
    "block_eigenvalues",
    "block_inverse",
    "block_matvec",
    "block_solve",
    "circulant_deviation",
    "class_signals",
    "equicorrelated_error",
    "finite_action",
    "fit_local_machines",
    "fit_rfm",
    "group_kernel_ridge",
    "hankel_deviation",
    "imposed_features",
    "kappa_from_function",
    "kappa_from_gram",
    "kernel_agop",
    "kernel_of",
    "leave_one_out",
    "leave_sets_out",
    "orbit_geometry",
    "orbit_inverse",
    "orbit_kernel",
    "orbit_layout",
    "orbit_precision_recall",
    "orbit_spread",
    "pair_spectral_errors",
    "predict_symmetry_learning",
    "psd_power",
    "random_circulant_features",
    "rings",
    "solve_cg",
    "solve_psd",
    "solve_stochastic",
    "spectral_error",
    "spectrum",
    "symmetry_report",
]


def __getattr__(name: str) -> Any:
    """The estimators inherit from scikit-learn, which is imported when one is first asked for."""
    if name in ("RFMClassifier", "RFMRegressor"):
        from equilearn.kernels import _estimators

        return getattr(_estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
