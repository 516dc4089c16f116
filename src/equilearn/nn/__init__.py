"""Layers and networks that are equivariant by construction, and the plain ones to compare with.

* any group, vectors: `EquivariantLinear`, `TensorProductLayer`, `GatedNonlinearity`,
  `NormNonlinearity`, `EquivariantMLP`;
* C_n and D_n, images: `LiftingConv2d`, `GroupConv2d`, `FieldNorm`, `FieldBatchNorm`, `GroupPool`, `Downsample`,
  `GroupCNN`, `TurnedCNN`; `feature_maps` is the action on what lies between them;
* permutations, sets: `DeepSets`; pairs of nodes: `PairLinear`, `PairToNode`, `NodeToPair`, `PairToGraph`; graphs
  `(x, adjacency, mask)`: `GIN`, `MessagePassing`, `InvariantGraphNetwork`;
* points in space: `VectorNetwork`, `EGNN`; scattered observations of a field: `SetConv`, on a `Lattice`;
* none: `PlainCNN`, `PlainMLP`, `FlatMLP`, `TokenTransformer`, `PairTransformer` (points), `AdjacencyTransformer`
  (graphs).
"""

from equilearn.nn._bilinear import AllProducts, TensorProductLayer
from equilearn.nn._cnn import GroupCNN
from equilearn.nn._conv import GroupConv2d, LiftingConv2d
from equilearn.nn._egnn import EGNN
from equilearn.nn._fields import FeatureMapAction, feature_maps
from equilearn.nn._flat import FlatMLP
from equilearn.nn._gin import GIN
from equilearn.nn._graph_networks import InvariantGraphNetwork, MessagePassing
from equilearn.nn._linear import EquivariantLinear
from equilearn.nn._mlp import EquivariantMLP, Squash, hidden_rep
from equilearn.nn._nonlinear import GatedNonlinearity, NormNonlinearity
from equilearn.nn._pairs import NodeToPair, PairLinear, PairToGraph, PairToNode
from equilearn.nn._patches import AdjacencyTransformer
from equilearn.nn._plain import PlainCNN, PlainMLP
from equilearn.nn._pool import Downsample, FieldBatchNorm, FieldNorm, GroupPool
from equilearn.nn._set_conv import Lattice, SetConv, lattice_around
from equilearn.nn._sets import DeepSets
from equilearn.nn._transformer import PairTransformer, TokenTransformer
from equilearn.nn._turned import TurnedCNN
from equilearn.nn._vector_network import VectorNetwork

__all__ = [
    "AdjacencyTransformer",
    "AllProducts",
    "DeepSets",
    "Downsample",
    "EGNN",
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
    "InvariantGraphNetwork",
    "Lattice",
    "LiftingConv2d",
    "MessagePassing",
    "NodeToPair",
    "NormNonlinearity",
    "PairLinear",
    "PairToGraph",
    "PairToNode",
    "PairTransformer",
    "PlainCNN",
    "PlainMLP",
    "SetConv",
    "Squash",
    "TensorProductLayer",
    "TokenTransformer",
    "TurnedCNN",
    "VectorNetwork",
    "feature_maps",
    "hidden_rep",
    "lattice_around",
]
