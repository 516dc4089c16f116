"""Layers and networks that are equivariant by construction, and the plain ones to compare with.

* any group, vectors: `EquivariantLinear`, `TensorProductLayer`, `GatedNonlinearity`,
  `NormNonlinearity`, `EquivariantMLP`;
* C_n and D_n, images: `LiftingConv2d`, `GroupConv2d`, `FieldNorm`, `FieldBatchNorm`, `GroupPool`, `Downsample`,
  `GroupCNN`, `TurnedCNN`; `feature_maps` is the action on what lies between them;
* permutations, sets: `DeepSets`; graphs: `GIN`;
* points in space: `VectorNetwork`;
* none: `PlainCNN`, `PlainMLP`, `FlatMLP`.
"""

from equilearn.nn._bilinear import AllProducts, TensorProductLayer
from equilearn.nn._cnn import GroupCNN
from equilearn.nn._conv import GroupConv2d, LiftingConv2d
from equilearn.nn._fields import FeatureMapAction, feature_maps
from equilearn.nn._flat import FlatMLP
from equilearn.nn._gin import GIN
from equilearn.nn._linear import EquivariantLinear
from equilearn.nn._mlp import EquivariantMLP, Squash, hidden_rep
from equilearn.nn._nonlinear import GatedNonlinearity, NormNonlinearity
from equilearn.nn._plain import PlainCNN, PlainMLP
from equilearn.nn._pool import Downsample, FieldBatchNorm, FieldNorm, GroupPool
from equilearn.nn._sets import DeepSets
from equilearn.nn._turned import TurnedCNN
from equilearn.nn._vector_network import VectorNetwork

__all__ = [
    "AllProducts",
    "DeepSets",
    "Downsample",
    "EquivariantLinear",
    "EquivariantMLP",
    "FeatureMapAction",
    "FieldBatchNorm",
    "FieldNorm",
    "FlatMLP",
    "GIN",
    "GatedNonlinearity",
    "GroupCNN",
    "GroupConv2d",
    "GroupPool",
    "LiftingConv2d",
    "NormNonlinearity",
    "PlainCNN",
    "PlainMLP",
    "Squash",
    "TensorProductLayer",
    "TurnedCNN",
    "VectorNetwork",
    "feature_maps",
    "hidden_rep",
]
