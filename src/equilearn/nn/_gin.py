"""Graph isomorphism networks: as strong as message passing gets, and no stronger."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import one_of, positive_int, require
from equilearn.actions import Data
from equilearn.nn._graph_batch import cleared, pooled, read_graphs
from equilearn.nn._rows import Rows, normalisation, uniform_parameter


class GIN(nn.Module):
    """A graph isomorphism network on batches of graphs `(x, adjacency)` or `(x, adjacency, mask)`.

    Arguments:
        in_features: features a node.
        out_features: features of the result.
        width: hidden features.
        depth: rounds of message passing.
        virtual_node: one more node, with a learned feature, linked both ways to every node and to
            itself. It is dropped before the readout.
        equivariant: one result a node, `(B, n, out_features)`, instead of one a graph.
        pooling: `"sum"`, `"mean"` or `"max"` over the nodes, for the result of a graph.
        norm: `"batch"` (statistics of the nodes that are there, over the whole batch), `"layer"` or None.
        dropout: share of hidden features that training leaves out.

    A round is `relu(norm(MLP(A x + (1 + e) x)))` with a learned `e` that starts uniform in [0, 1] and
    `MLP = Linear, norm, relu, Linear`. The readout is linear.

    The input is one tuple: `x (B, n, in_features)`; `adjacency` either `(B, n, n)`, floating (0/1 or
    weights) or bool, or edges `(B, E, 2)` of whole numbers, a row `(i, j)` standing for `A_ij = 1`, both
    directions listed, -1 for padding; `mask (B, n)`, True at the nodes that are there. What lies in the
    padding, edges to it included, is never seen: a padded graph gives what the graph alone gives. The
    equivariant result is zero at padding.

    With constant node features it cannot tell graphs apart that colour refinement (1-WL) cannot, such as
    a cycle of twelve nodes and two cycles of six.

    Raises `InputError` where the parts do not fit each other.

    Cost O(depth B n (n + width) width) dense, O(depth B (E + n width) width) with edges.

    Source: Xu et al. 2019, equation 4.1; virtual node and layer as in Kim et al. 2023.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> ring = torch.eye(5).roll(1, 0) + torch.eye(5).roll(-1, 0)
        >>> net = eq.nn.GIN(1, 3, equivariant=True).eval()
        >>> x = torch.randn(1, 5, 1)
        >>> y = net((x, ring[None]))
        >>> turned = net((x.roll(1, 1), ring[None]))
        >>> y.shape, torch.allclose(turned, y.roll(1, 1), atol=1e-5)
        (torch.Size([1, 5, 3]), True)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int = 64,
        depth: int = 3,
        virtual_node: bool = True,
        equivariant: bool = False,
        pooling: Literal["sum", "mean", "max"] = "sum",
        norm: Literal["batch", "layer"] | None = "batch",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        self.out_features = positive_int(out_features, "out_features")
        positive_int(width, "width")
        require(0 <= dropout < 1, f"dropout is a share from 0 to below 1, got {dropout}.")
        self.equivariant = equivariant
        self.pooling = one_of(pooling, ("sum", "mean", "max"), "pooling")
        widths = [in_features, *[width] * positive_int(depth, "depth")]
        self.rounds = nn.ModuleList(_Round(a, b, norm, dropout) for a, b in pairwise(widths))
        self.virtual = uniform_parameter(in_features) if virtual_node else None
        self.head = nn.Linear(width, out_features)

    def forward(self, data: Data) -> Float[Tensor, "B *n out_features"]:
        """`(B, n, out_features)` where equivariant, `(B, out_features)` otherwise."""
        graphs = read_graphs(data, self.in_features, 0, "GIN")
        h, rows = graphs.x, Rows.of(graphs.x, graphs.mask)
        hub = None if self.virtual is None else self.virtual.to(h.dtype).expand(len(h), -1)
        for layer in self.rounds:
            gathered = graphs.neighbour_sum(h)
            if hub is None:
                h = rows.unpack(layer(rows.pack(h), rows.pack(gathered)))
                continue
            # The hub hears every node and itself; every node hears the hub.
            nodes, heard = rows.pack(h), rows.pack(gathered + hub.unsqueeze(1))
            out = layer(torch.cat([nodes, hub]), torch.cat([heard, h.sum(1) + hub]))
            h, hub = rows.unpack(out[: len(nodes)]), out[len(nodes) :]
        if self.equivariant:
            return cleared(self.head(h), graphs.mask)
        return self.head(pooled(h, graphs.mask, self.pooling))

    def extra_repr(self) -> str:
        kind = "equivariant" if self.equivariant else f"invariant, pooling={self.pooling!r}"
        return f"{self.in_features} -> {self.out_features}, {kind}"


class _Round(nn.Module):
    """`relu(norm(MLP(A x + (1 + e) x)))` on the rows that are there."""

    def __init__(self, in_features: int, width: int, norm: str | None, dropout: float):
        super().__init__()
        self.epsilon = uniform_parameter(1)
        layers = [nn.Linear(in_features, width), normalisation(norm, width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] * (dropout > 0) + [nn.Linear(width, width), normalisation(norm, width)]
        self.body = nn.Sequential(*layers, nn.ReLU(), *[nn.Dropout(dropout)] * (dropout > 0))

    def forward(self, own: Float[Tensor, "M C"], heard: Float[Tensor, "M C"]) -> Float[Tensor, "M W"]:
        return self.body(heard + (1 + self.epsilon) * own)
