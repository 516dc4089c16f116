"""Permutations of points: orbits, fixed points, stabilizers, pairs."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.groups._base import Group


def _permutations(perms: Any) -> Tensor:
    if not isinstance(perms, Tensor) or perms.is_floating_point():
        raise InputTypeError("perms must be an integer tensor of permutations, (K, n): perms[k, i] is the image of i.")
    require(perms.ndim >= 1, "perms must have shape (K, n); a single number was given.")
    return perms


def orbits(perms: Int[Tensor, "*K n"]) -> Int[Tensor, " n"]:
    """The orbit of each point under the group that the permutations generate.

    Generators suffice; all elements need not be given.

    Args:
        perms: `(K, n)` (or `(n,)`), `perms[k, i]` the image of point `i`.

    Returns:
        A label for each point, `(n,)`: 0 for the orbit of point 0, then counted by first appearance.

    Raises:
        InputError: if `perms` is not an integer tensor.

    O(K n), as connected components of the graph with an edge from `i` to `perms[k, i]`.

    Example:
        >>> orbits(torch.tensor([[1, 0, 2, 4, 3]]))
        tensor([0, 0, 1, 2, 2])
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    perms = _permutations(perms)
    n = perms.shape[-1]
    if perms.numel() == 0:
        return torch.arange(n, device=perms.device)
    images = perms.reshape(-1, n).detach().cpu().numpy()
    sources = np.broadcast_to(np.arange(n), images.shape)
    moved = images != sources
    edges = (np.ones(int(moved.sum()), dtype=np.int8), (sources[moved], images[moved]))
    _, found = connected_components(coo_array(edges, shape=(n, n)), directed=False)
    # Components come in no stated order: number them by their first point.
    _, first, labels = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return torch.from_numpy(rank[labels].astype(np.int64)).to(perms.device)


def fixed_points(perms: Int[Tensor, "*batch n"]) -> Bool[Tensor, "*batch n"]:
    """Which points each permutation leaves in place.

    `fixed_points(perms).all(0)` are the points that all of them fix; by Burnside's lemma the mean
    number of fixed points over a group is its number of orbits.

    Raises:
        InputError: if `perms` is not an integer tensor.

    Example:
        >>> fixed_points(torch.tensor([[0, 2, 1], [0, 1, 2]]))
        tensor([[ True, False, False],
                [ True,  True,  True]])
    """
    perms = _permutations(perms)
    return perms == torch.arange(perms.shape[-1], device=perms.device)


def stabilizer(
    group: Group, perms: Int[Tensor, "order n"], points: int | Any, *, pointwise: bool = False
) -> Int[Tensor, " size"]:
    """The indices (into `group.elements()`) of the elements that keep the given points.

    Args:
        group: a finite group.
        perms: what each of its elements does to the points, `(order, n)`, in the order of `elements()`.
        points: one point, or a set of points as indices or as a Boolean mask `(n,)`. For a set, the
            elements that map the set to itself: the symmetry that is left in a subset of the data.
        pointwise: whether each point of the set must stay in place.

    Raises:
        InputError: if `perms` does not have one row an element, or a point is out of range.

    O(order n).

    Example:
        >>> from equilearn.groups import Symmetric
        >>> group = Symmetric(3)
        >>> stabilizer(group, group.elements(), 0)
        tensor([0, 1])
    """
    perms = _permutations(perms)
    require(
        perms.ndim == 2 and perms.shape[0] == group.order,
        f"perms must have one row for each of the {group.order} elements of {group.name}, got shape "
        f"{tuple(perms.shape)}.",
    )
    n = perms.shape[1]
    mask = _point_mask(points, n, perms.device)
    members = torch.nonzero(mask).reshape(-1)
    images = perms[:, members]
    keeps = (images == members).all(1) if pointwise else mask[images].all(1)
    return torch.nonzero(keeps).reshape(-1)


def _point_mask(points: Any, n: int, device: torch.device) -> Tensor:
    chosen = torch.as_tensor(points, device=device)
    if chosen.dtype == torch.bool:
        require(tuple(chosen.shape) == (n,), f"A mask of points must have shape ({n},), got {tuple(chosen.shape)}.")
        return chosen
    if chosen.is_floating_point():
        raise InputTypeError(f"points must be whole numbers or a Boolean mask, got dtype {chosen.dtype}.")
    chosen = chosen.reshape(-1).to(torch.int64)
    outside = chosen[(chosen < 0) | (chosen >= n)]
    if len(outside):
        raise InputError(f"Point {int(outside[0])} does not exist: points are numbered 0 to {n - 1}.")
    mask = torch.zeros(n, dtype=torch.bool, device=device)
    mask[chosen] = True
    return mask


def on_pairs(perms: Int[Tensor, "*batch n"]) -> Int[Tensor, "*batch n_squared"]:
    """What permutations of `n` points do to the `n^2` ordered pairs; pair `(i, j)` has index `i n + j`.

    Raises:
        InputError: if `perms` is not an integer tensor.

    Example:
        >>> orbits(on_pairs(torch.tensor([[1, 2, 0]]))).reshape(3, 3)
        tensor([[0, 1, 2],
                [2, 0, 1],
                [1, 2, 0]])
    """
    perms = _permutations(perms)
    n = perms.shape[-1]
    return (perms.unsqueeze(-1) * n + perms.unsqueeze(-2)).flatten(-2)
