"""A transformer over the patches of an adjacency matrix, read as an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int, require
from equilearn.actions import Data
from equilearn.nn._graph_batch import GraphBatch, cleared, read_graphs
from equilearn.nn._transformer import TokenTransformer


class AdjacencyTransformer(nn.Module):
    """A plain vision transformer that reads graphs `(x, adjacency)` or `(x, adjacency, mask)` as images.

    Arguments:
        in_features: features a node.
        out_features: features of the result.
        nodes: largest number of nodes; smaller graphs are padded to it.
        patch: side of a patch; default such that at most 14 x 14 patches cover the matrix.
        edge_features: channels of the adjacency; 1 also takes `(B, n, n)` and edges `(B, E, 2)`.
        per_node: one result a node, `(B, n, out_features)`, instead of one a graph.
        width, depth, heads, feedforward, dropout: of the transformer; `feedforward` defaults to `width`.

    The image of a graph holds its adjacency, and on the diagonal the node features and a one for each node that is
    there. Patches become tokens by one linear map, with learned positions. The result of a node is read off the
    diagonal, where a linear map turns the token of its patch back into pixels; the result of a graph comes from
    the mean token. The order of the nodes matters to it: it knows no symmetry. What lies in the padding is
    never seen, and results are zero there.

    Raises `InputError` where the parts do not fit each other, or a graph has more than `nodes` nodes.

    Cost O(depth B T (T + width) width) with T = ceil(nodes / patch)^2 tokens.

    Source: Dosovitskiy et al. 2021; adjacency as image: Kim et al. 2023.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.AdjacencyTransformer(1, 2, nodes=12, patch=4, per_node=True)
        >>> net((torch.ones(3, 10, 1), torch.ones(3, 10, 10))).shape
        torch.Size([3, 10, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        nodes: int,
        patch: int | None = None,
        edge_features: int = 1,
        per_node: bool = False,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        self.out_features = positive_int(out_features, "out_features")
        self.edge_features = positive_int(edge_features, "edge_features")
        self.nodes = positive_int(nodes, "nodes")
        self.patch = positive_int(-(-nodes // 14) if patch is None else patch, "patch")
        self.side = -(-nodes // self.patch)
        self.per_node = per_node
        self.body = TokenTransformer(
            (edge_features + in_features + 1) * self.patch**2,
            self.patch * out_features if per_node else out_features,
            tokens=self.side**2,
            width=width,
            depth=depth,
            heads=heads,
            feedforward=feedforward,
            dropout=dropout,
        )

    def forward(self, data: Data) -> Float[Tensor, "B *n out_features"]:
        """`(B, n, out_features)` where `per_node`, `(B, out_features)` otherwise."""
        graphs = read_graphs(data, self.in_features, self.edge_features, "AdjacencyTransformer")
        n = graphs.x.shape[1]
        require(n <= self.nodes, f"AdjacencyTransformer was made for {self.nodes} nodes at most, got graphs of {n}.")
        tokens = self._tokens(graphs)
        if not self.per_node:
            return self.body(tokens)
        on_diagonal = self.body.encode(tokens)[:, :: self.side + 1]
        pixels = self.body.head(on_diagonal).unflatten(-1, (self.patch, self.out_features)).flatten(1, 2)
        return cleared(pixels[:, :n], graphs.mask)

    def _tokens(self, graphs: GraphBatch) -> Float[Tensor, "B T C"]:
        x, pairs = graphs.x, graphs.dense()
        b, n = x.shape[:2]
        here = x.new_ones(b, n, 1) if graphs.mask is None else graphs.mask.unsqueeze(-1).to(x.dtype)
        diagonal = torch.diag_embed(torch.cat([x, here], dim=-1).transpose(1, 2)).permute(0, 2, 3, 1)
        image = torch.cat([pairs, diagonal], dim=-1)
        room = self.side * self.patch - n
        image = nn.functional.pad(image, (0, 0, 0, room, 0, room))
        patches = image.reshape(b, self.side, self.patch, self.side, self.patch, image.shape[-1])
        return patches.transpose(2, 3).reshape(b, self.side**2, self.patch**2 * image.shape[-1])

    def extra_repr(self) -> str:
        kind = "a node" if self.per_node else "a graph"
        return f"{self.in_features} -> {self.out_features} {kind}, {self.side}x{self.side} patches of {self.patch}"
