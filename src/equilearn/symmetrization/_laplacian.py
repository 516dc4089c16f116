"""Orders of a graph's nodes from the spectrum of its Laplacian."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.symmetrization._node_parts import Nodes
from equilearn.symmetrization._orders import Orders, tied_orders
from equilearn.symmetrization._refine import refine, scrambled, start_ranks

EIGENVALUE_GAP = 1e-8
"""Eigenvalues closer than this share of the largest belong to one eigenspace."""

KEY_GAP = 1e-6
"""Entries of projectors closer than this are equal: across the smallest gap they are known to about 2e-8."""

KERNEL_GAP = 1e-9
"""Entries of the smooth kernel closer than this are equal; they are known to about 1e-14."""


@dataclass(frozen=True)
class GraphOrders:
    """The orders found, which graphs have several, and how far each graph is from where its orders jump."""

    orders: Orders
    tied: Bool[Tensor, "B"]
    margins: dict[str, Float[Tensor, "B"]]


def laplacian_keys(
    adjacency: Float[Tensor, "B n n"], mask: Bool[Tensor, "B n"] | None = None
) -> tuple[Float[Tensor, "B n n"], Float[Tensor, "B"]]:
    """What the eigenspaces of each graph's Laplacian say of its nodes.

    Entry `[b, i, c]` is the diagonal entry at node `i` of the projector onto the `c`-th eigenspace, by
    ascending eigenvalue, and zero where there are fewer. Unlike eigenvectors, projectors have no sign and no
    choice of basis: the keys move with the nodes. Eigenvalues count as equal when they differ by less than
    1e-8 of the largest, in float64; comparing them exactly, in float32, splits eigenspaces at random.

    Args:
        adjacency: weights; those of the two directions are averaged, loops left out.
        mask: True at real nodes. Padding changes nothing: its keys are zero.

    Returns:
        The keys, and the smallest gap between eigenspaces as a share of the largest eigenvalue (infinite
        where there is only one).

    Raises:
        InputError: an adjacency that is not square.

    Source: the Laplacian frame of Puny et al. 2022, section 3.3, with the eigenspaces told apart by gaps.
    Cost: O(B n^3).

    Example:
        >>> import torch
        >>> path = torch.tensor([[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]])
        >>> keys, gap = laplacian_keys(path)
        >>> keys[0].round(decimals=4).abs()  # eigenvalues 0, 1, 3; the middle node is at the origin of the second
        tensor([[0.3333, 0.5000, 0.1667],
                [0.3333, 0.0000, 0.6667],
                [0.3333, 0.5000, 0.1667]], dtype=torch.float64)
    """
    if not isinstance(adjacency, Tensor):
        raise InputTypeError(f"adjacency must be a tensor, got {type(adjacency).__name__}.")
    square = adjacency.ndim == 3 and adjacency.shape[1] == adjacency.shape[2]
    require(square, f"adjacency must have the shape (B, n, n), got {tuple(adjacency.shape)}.")
    real = adjacency.new_ones(adjacency.shape[:2], dtype=torch.bool) if mask is None else mask
    values, vectors = _spectrum(adjacency, real)
    keys, gap = _projector_diagonals(values, vectors, real)
    return torch.where(real.unsqueeze(-1), keys, 0), gap


def _spectrum(
    adjacency: Float[Tensor, "B n n"], real: Bool[Tensor, "B n"]
) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n n"]]:
    """Eigenvalues as shares of the largest in size, ascending, and eigenvectors; padding comes last, at 2 or above."""
    both = real.unsqueeze(-1) & real.unsqueeze(-2)
    weights = torch.where(both, adjacency, 0).to(torch.float64)
    weights = (weights + weights.mT) / 2
    weights = weights - torch.diag_embed(weights.diagonal(dim1=-2, dim2=-1))
    # No eigenvalue exceeds twice the largest sum of a row (Gershgorin), which padding is put beyond.
    bound = (
        2 * weights.abs().sum(-1).amax(-1, keepdim=True) if weights.shape[-1] else weights.new_zeros(len(weights), 1)
    )
    degrees = torch.where(real, weights.sum(-1), 3 * bound + 1)
    values, vectors = torch.linalg.eigh(torch.diag_embed(degrees) - weights)
    values = torch.where(values > 2 * bound + 0.5, values.new_tensor(math.inf), values)
    size = torch.where(values.isinf(), 0, values.abs())
    largest = size.amax(-1, keepdim=True) if size.shape[-1] else size.new_ones(len(size), 1)
    values = values / torch.where(largest > 0, largest, 1)
    return torch.where(values.isinf(), 3.0, values), vectors


def _projector_diagonals(
    values: Float[Tensor, "B n"], vectors: Float[Tensor, "B n n"], real: Bool[Tensor, "B n"]
) -> tuple[Float[Tensor, "B n n"], Float[Tensor, "B"]]:
    gaps = values[:, 1:] - values[:, :-1]
    split = gaps > EIGENVALUE_GAP
    label = torch.cat((torch.zeros_like(values[:, :1]), split.cumsum(-1).to(values.dtype)), -1).to(torch.int64)
    keys = torch.zeros_like(vectors).scatter_add_(-1, label.unsqueeze(1).expand(vectors.shape), vectors.square())
    inside = split & (values[:, 1:] < 2)
    smallest = torch.where(inside, gaps, math.inf)
    return keys, smallest.amin(-1) if smallest.shape[-1] else torch.full_like(values.sum(-1), math.inf)


def graph_orders(
    nodes: Nodes, *, limit: int, draws: int, invariant: bool, generator: torch.Generator | None
) -> GraphOrders:
    """Orders of the nodes that move with the graph: real nodes first, sorted by their features, then by
    their keys in each eigenspace, then by what they see of the other nodes; what is still tied is singled
    out in every possible way (see `tied_orders`)."""
    pairs = nodes.pairs
    if pairs is None:
        raise InputError("A graph needs an adjacency or edges.")
    values, vectors = _spectrum(pairs.sum(-1), nodes.real)
    diagonals, eigen_gap = _projector_diagonals(values, vectors, nodes.real)
    colours = start_ranks(torch.zeros_like(nodes.real, dtype=torch.int64), (~nodes.real).to(torch.int64))
    place = torch.arange(colours.shape[-1], device=colours.device).expand_as(colours)
    colours = start_ranks(colours, torch.where(nodes.real, 0, place))
    key_gap = torch.full_like(eigen_gap, math.inf)
    for columns, tolerance in ((nodes.rows, 0.0), (diagonals, KEY_GAP)):
        colours, step = _split_by(colours, columns, nodes.real, tolerance)
        key_gap = torch.minimum(key_gap, step)
    codes = _pair_codes(nodes, pairs, values, vectors)
    colours = refine(colours, codes, nodes.real)
    orders = tied_orders(colours, codes, nodes.real, limit=limit, draws=draws, invariant=invariant, generator=generator)
    margins = {"eigenvalue gap": eigen_gap, "node key gap": key_gap}
    return GraphOrders(orders, orders.count > 1, margins)


def _split_by(
    colours: Int[Tensor, "B n"], columns: Float[Tensor, "B n C"], real: Bool[Tensor, "B n"], tolerance: float
) -> tuple[Int[Tensor, "B n"], Float[Tensor, "B"]]:
    """Split classes by one column after the other; and the smallest step that split anything, relative to
    the largest entry of its column."""
    smallest = torch.full((len(colours),), math.inf, dtype=torch.float64, device=colours.device)
    n = colours.shape[-1]
    for column in columns.unbind(-1):
        if n == 0 or bool((colours.sort(-1).values == torch.arange(n, device=colours.device)).all()):
            break
        column = torch.where(real, column, 0)
        finer = start_ranks(colours, column, tolerance)
        order = torch.argsort(finer, dim=-1, stable=True)
        c, f, v = (t.gather(-1, order) for t in (colours, finer, column))
        steps = torch.where((c[:, 1:] == c[:, :-1]) & (f[:, 1:] != f[:, :-1]), (v[:, 1:] - v[:, :-1]).abs(), math.inf)
        if n > 1:
            scale = column.abs().amax(-1)
            smallest = torch.minimum(smallest, steps.amin(-1) / torch.where(scale > 0, scale, 1))
        colours = finer
    return colours, smallest


def _pair_codes(
    nodes: Nodes, pairs: Float[Tensor, "B n n E"], values: Float[Tensor, "B n"], vectors: Float[Tensor, "B n n"]
) -> Int[Tensor, "B n n"]:
    """One number for every pair of nodes: their entries in both directions, and that of a smooth function
    of the Laplacian, which sees how they are connected at all distances. On the diagonal also the node's
    own features, so that the codes tell everything about the graph."""
    smooth = torch.where(values < 2, torch.exp(-2 * values) + 0.5 * torch.cos(9 * values), 0)
    kernel = (vectors * smooth.unsqueeze(-2)) @ vectors.mT
    both = nodes.real.unsqueeze(-1) & nodes.real.unsqueeze(-2)
    flat = torch.where(both, kernel, math.inf).flatten(1)  # padding last, so that it moves no rank
    codes = scrambled(start_ranks(torch.zeros_like(flat, dtype=torch.int64), flat, KERNEL_GAP)).reshape(kernel.shape)
    for channel in pairs.unbind(-1):
        codes = scrambled(codes + _bits(channel))
        codes = scrambled(codes + 3 * _bits(channel.mT))
    own = torch.zeros_like(codes[..., 0])
    for column in nodes.rows.unbind(-1):
        own = scrambled(own + _bits(column))
    return torch.where(both, codes + torch.diag_embed(own), 0)


def _bits(t: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """The bits of each number; zero has one sign."""
    return (t.to(torch.float64) + 0.0).contiguous().view(torch.int64)
