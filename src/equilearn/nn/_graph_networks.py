"""Networks of graphs beside GIN: linear maps between node pairs, and messages that see their edge."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import one_of, positive_int
from equilearn.actions import Data
from equilearn.nn._graph_batch import GraphBatch, cleared, pooled, read_graphs
from equilearn.nn._pairs import NodeToPair, PairLinear, PairToGraph, PairToNode


class InvariantGraphNetwork(nn.Module):
    """Layers of all linear maps between node pairs, on graphs `(x, adjacency)` or `(x, adjacency, mask)`.

    Arguments:
        in_features: features a node.
        out_features: features of the result.
        edge_features: channels of the adjacency; 1 also takes `(B, n, n)` and edges `(B, E, 2)`.
        width: hidden channels a pair of nodes.
        depth: `PairLinear` layers, the first included.
        equivariant: one result a node, `(B, n, out_features)`, instead of one a graph.
        norm: `"layer"` (over the channels of each pair) or None.

    Inputs and padding as in `GIN`; edges become a dense adjacency here.

    It works on pairs and so looks stronger than message passing, but it tells no plain graphs apart that colour
    refinement (1-WL) does not: a cycle of twelve nodes and two cycles of six give the same result.
    What separates those takes tensors of higher order, node identities or a symmetrized plain network.

    Raises `InputError` where the parts do not fit each other.

    Cost O(depth B n^2 width^2).

    Source: Maron et al. 2019; its limits: Chen et al. 2020, Can graph neural networks count substructures?

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.InvariantGraphNetwork(1, 2, width=8)
        >>> net((torch.ones(3, 6, 1), torch.ones(3, 6, 6))).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        edge_features: int = 1,
        width: int = 32,
        depth: int = 3,
        equivariant: bool = False,
        norm: Literal["layer"] | None = "layer",
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        self.out_features = positive_int(out_features, "out_features")
        self.edge_features = positive_int(edge_features, "edge_features")
        if norm is not None:
            one_of(norm, ("layer",), "norm")
        self.equivariant = equivariant
        widths = [edge_features, *[positive_int(width, "width")] * positive_int(depth, "depth")]
        self.nodes = NodeToPair(in_features, width, bias=False)
        self.layers = nn.ModuleList(PairLinear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.Identity() if norm is None else nn.LayerNorm(width) for _ in self.layers)
        self.readout = PairToNode(width, width) if equivariant else PairToGraph(width, width)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(width, out_features))

    def forward(self, data: Data) -> Float[Tensor, "B *n out_features"]:
        """`(B, n, out_features)` where equivariant, `(B, out_features)` otherwise."""
        graphs = read_graphs(data, self.in_features, self.edge_features, "InvariantGraphNetwork")
        pairs, mask = graphs.dense(), graphs.mask
        start = self.nodes(graphs.x, mask)
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            pairs = layer(pairs, mask)
            pairs = nn.functional.silu(norm(pairs + start if i == 0 else pairs))
        y = self.head(self.readout(pairs, mask))
        return cleared(y, mask) if self.equivariant else y

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {'equivariant' if self.equivariant else 'invariant'}"


class MessagePassing(nn.Module):
    """Messages along edges that see both ends and the edge itself, on `(x, adjacency)` or `(x, adjacency, mask)`.

    Arguments:
        in_features: features a node.
        out_features: features of the result.
        edge_features: channels of the adjacency; 1 also takes `(B, n, n)` and edges `(B, E, 2)`.
        width: hidden features.
        depth: rounds of messages.
        equivariant: one result a node, `(B, n, out_features)`, instead of one a graph.
        pooling: `"sum"`, `"mean"` or `"max"` over the nodes, for the result of a graph.

    A round is `h_i + U(h_i, sum_j A_ij0 M(h_i, h_j, A_ij))` under layer norm: channel 0 of the adjacency is the
    weight of the message, zero where there is no edge; all channels, that one too, enter the message. Inputs
    and padding as in `GIN`.

    Raises `InputError` where the parts do not fit each other.

    Cost O(depth B n^2 width^2) dense, O(depth B (E + n) width^2) with edges.

    Source: Gilmer et al. 2017, equations 1 and 2.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.MessagePassing(2, 1, edge_features=3)
        >>> net((torch.randn(2, 4, 2), torch.rand(2, 4, 4, 3))).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        edge_features: int = 1,
        width: int = 64,
        depth: int = 3,
        equivariant: bool = False,
        pooling: Literal["sum", "mean", "max"] = "sum",
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        self.out_features = positive_int(out_features, "out_features")
        self.edge_features = positive_int(edge_features, "edge_features")
        positive_int(width, "width")
        self.equivariant = equivariant
        self.pooling = one_of(pooling, ("sum", "mean", "max"), "pooling")
        self.lift = nn.Linear(in_features, width)
        self.rounds = nn.ModuleList(_Messages(width, edge_features) for _ in range(positive_int(depth, "depth")))
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, out_features))

    def forward(self, data: Data) -> Float[Tensor, "B *n out_features"]:
        """`(B, n, out_features)` where equivariant, `(B, out_features)` otherwise."""
        graphs = read_graphs(data, self.in_features, self.edge_features, "MessagePassing")
        h = self.lift(graphs.x)
        for layer in self.rounds:
            h = layer(h, graphs)
        if self.equivariant:
            return cleared(self.head(h), graphs.mask)
        return self.head(pooled(cleared(h, graphs.mask), graphs.mask, self.pooling))

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {'equivariant' if self.equivariant else 'invariant'}"


class _Messages(nn.Module):
    def __init__(self, width: int, edge_features: int):
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(edge_features, width, bias=False)
        self.second = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.change = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Float[Tensor, "B N W"], graphs: GraphBatch) -> Float[Tensor, "B N W"]:
        if graphs.adjacency is not None:
            heard = self._messages(h.unsqueeze(2), h.unsqueeze(1), graphs.adjacency).sum(2)
        else:
            target, source = graphs.gathered(h)
            heard = graphs.scatter(self._messages(target, source, graphs.x.new_ones(len(target), 1)))
        return self.norm(h + self.change(torch.cat([h, heard], dim=-1)))

    def _messages(self, target: Tensor, source: Tensor, edge: Tensor) -> Tensor:
        """Of every edge; the shapes of the three broadcast."""
        return edge[..., :1] * self.second(self.receiver(target) + self.sender(source) + self.edge(edge))
