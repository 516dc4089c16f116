"""A dial from strict to free: an equivariant model that departs from its symmetry where data demand it.

* `relax` copies an equivariant model and lets it bend; the result, a `RelaxedModel`, has the dial, the equivariant
  part and the `Deviation` from it;
* layers: `Relaxed` (with `FixedInputs` or a `FixedVector`), `RelaxedGroupConv2d`, `ResidualPathway`;
* linear maps: `split_map`, `fixed_inputs_sufficient`, `fixed_inputs_of`, `joint_map`, `commutation_error`.
"""

from equilearn.relaxation._base import Relaxation, equivariant_only, relaxations, set_strength, shared_draw
from equilearn.relaxation._deviation import Deviation, deviation_between
from equilearn.relaxation._fixed_inputs import FixedInputs
from equilearn.relaxation._kernels import RelaxedGroupConv2d
from equilearn.relaxation._layer import FixedVector, Relaxed, RelaxedLayer
from equilearn.relaxation._linear_maps import (
    SplitMap,
    commutation_error,
    fixed_inputs_of,
    fixed_inputs_sufficient,
    joint_map,
    split_map,
)
from equilearn.relaxation._model import RelaxedModel, anneal
from equilearn.relaxation._pathway import ResidualPathway
from equilearn.relaxation._relax import relax

__all__ = [
    "Deviation",
    "FixedInputs",
    "FixedVector",
    "Relaxation",
    "Relaxed",
    "RelaxedGroupConv2d",
    "RelaxedLayer",
    "RelaxedModel",
    "ResidualPathway",
    "SplitMap",
    "anneal",
    "commutation_error",
    "deviation_between",
    "equivariant_only",
    "fixed_inputs_sufficient",
    "fixed_inputs_of",
    "joint_map",
    "relax",
    "relaxations",
    "set_strength",
    "shared_draw",
    "split_map",
]
