"""Actions: what a group does to vectors, images, signals, points, sets, graphs, and tuples of those."""

from equilearn.actions._base import Action, Axes, Data, Unbound, batch_size, first_leaf, map_data
from equilearn.actions._factor import FactorAction, factor
from equilearn.actions._flat import flat_rep
from equilearn.actions._graph_checks import check_graph, is_edge_list
from equilearn.actions._graph_forms import in_matrices, to_adjacency, to_edges
from equilearn.actions._graphs import EdgeAction, GraphAction, PairAction, edges, graphs, pairs
from equilearn.actions._images import ImageAction, images
from equilearn.actions._masks import mask_of
from equilearn.actions._parse import parse
from equilearn.actions._points import PointAction, SetAction, points, sets
from equilearn.actions._shifts import ShiftAction, shifts
from equilearn.actions._simple import CombinedAction, TrivialAction, VectorAction, combine, trivial, vectors

__all__ = [
    "Action",
    "Axes",
    "CombinedAction",
    "Data",
    "EdgeAction",
    "FactorAction",
    "GraphAction",
    "ImageAction",
    "PairAction",
    "PointAction",
    "SetAction",
    "ShiftAction",
    "TrivialAction",
    "Unbound",
    "VectorAction",
    "batch_size",
    "check_graph",
    "combine",
    "edges",
    "factor",
    "first_leaf",
    "flat_rep",
    "graphs",
    "images",
    "in_matrices",
    "is_edge_list",
    "map_data",
    "mask_of",
    "pairs",
    "parse",
    "points",
    "sets",
    "shifts",
    "to_adjacency",
    "to_edges",
    "trivial",
    "vectors",
]
