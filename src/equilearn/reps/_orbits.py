"""Intertwiners of permutation representations: one for each orbit on pairs of coordinates."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn.reps._base import Rep


def pair_orbits(rep_in: Rep, rep_out: Rep) -> Int[np.ndarray, " n"]:
    """The orbit of each pair (coordinate out, coordinate in), numbered by first appearance.

    The connected components of the graph that joins every pair to its images under the
    generators: O(K n) for K generators and n = dim_out * dim_in pairs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    generators = rep_in.group.generators()
    into, out = rep_in.permutation(generators).cpu().numpy(), rep_out.permutation(generators).cpu().numpy()
    n = rep_in.dim * rep_out.dim
    images = (out[:, :, None] * rep_in.dim + into[:, None, :]).reshape(-1)
    pairs = np.tile(np.arange(n), len(out))
    graph = coo_array((np.ones(len(images), dtype=np.int8), (pairs, images)), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[labels]


def orbit_basis(labels: Int[np.ndarray, " n"]) -> Float[Tensor, "K n"]:
    """Indicators of the orbits, divided by their norms."""
    label = torch.from_numpy(labels)
    sizes = torch.bincount(label)
    out = torch.zeros(len(sizes), len(label), dtype=torch.float64)
    return out.scatter_(0, label[None], sizes[label].to(torch.float64).rsqrt()[None])
