"""Neural processes: predict a field from scattered observations, with stated symmetries, strict or relaxed.

* equivariant under shifts: `ConvCNP`, `TETNP`, `TEPTTNP`; under mirrors or turns as well: `EquivCNP`,
  `TETNP(distance=True)`; each takes `fixed=FixedInputs(...)` and bends where the data demand it;
* `RelaxedConvCNP`: the same by relaxed convolutions;
* no symmetry: `CNP`, `TNP`, `PTTNP`;
* to compare with: `InverseDistance`, `StationaryGP`, `EmpiricalGP`.
"""

from equilearn.processes._base import NeuralProcess
from equilearn.processes._baselines import EmpiricalGP, InverseDistance, StationaryGP
from equilearn.processes._cnp import CNP
from equilearn.processes._conv_cnp import ConvCNP, EquivCNP, RelaxedConvCNP
from equilearn.processes._deviation import FieldDeviation, deviation, equivariance_error
from equilearn.processes._fit import fit_process, log_likelihoods, negative_log_likelihood
from equilearn.processes._predictive import Predictive
from equilearn.processes._tnp import PTTNP, TEPTTNP, TETNP, TNP

__all__ = [
    "CNP",
    "ConvCNP",
    "EmpiricalGP",
    "EquivCNP",
    "FieldDeviation",
    "InverseDistance",
    "NeuralProcess",
    "PTTNP",
    "Predictive",
    "RelaxedConvCNP",
    "StationaryGP",
    "TEPTTNP",
    "TETNP",
    "TNP",
    "deviation",
    "equivariance_error",
    "fit_process",
    "log_likelihoods",
    "negative_log_likelihood",
]
