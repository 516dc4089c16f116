"""All linear maps between tensors on nodes and on pairs of nodes that commute with permutations.

Written as sums and gathers: time and memory O(n^2), where the dense matrices have n^4 entries.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, positive_int, require
from equilearn.nn._graph_batch import check_mask, cleared, cleared_pairs, counted, with_mask

Pairs = Float[Tensor, "B N N C"] | tuple[Tensor, ...]


class PairLinear(nn.Module):
    """All 15 linear maps from node pairs to node pairs that commute with permutations, for each pair of channels.

    Arguments:
        in_channels, out_channels: channels of a pair.
        bias: the two invariant constants, one on the diagonal and one off it.

    `x (B, n, n, in_channels)` to `(B, n, n, out_channels)`. The maps are the pair itself and its transpose;
    diagonal, row mean and column mean of `x`, each spread over rows, over columns and put on the diagonal;
    and the means over all pairs and over the diagonal, each put everywhere and on the diagonal. As means are
    taken, weights carry over to other sizes. For n < 4 the maps are linearly dependent, for n >= 4 they are a
    basis. With a mask `(B, n)`, beside `x` or in one tuple `(x, mask)`, pairs with padding are never seen
    and the result is zero there.

    Raises `InputError` where shapes do not fit.

    Cost O(B n^2 in_channels out_channels); a dense matrix would take n^2 times as much.

    Source: Maron et al. 2019, appendix A (the basis); intertwiners of the permutation representation's
    tensor square.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> layer = eq.nn.PairLinear(2, 3)
        >>> x, p = torch.randn(1, 4, 4, 2), torch.tensor([2, 0, 3, 1])
        >>> y = layer(x)
        >>> torch.allclose(layer(x[:, p][:, :, p]), y[:, p][:, :, p], atol=1e-5)
        True
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        self.out_channels = positive_int(out_channels, "out_channels")
        self.weight = _weights(15, in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(2, out_channels)) if bias else None

    def forward(self, x: Pairs, mask: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B N N W"]:
        x, mask = _pairs(x, mask, self.in_channels, "PairLinear")
        channels, weight = self.out_channels, self.weight
        both = x @ torch.cat([weight[0], weight[1]], dim=1)
        y = both[..., :channels] + both[..., channels:].transpose(1, 2)
        vectors, numbers = _summaries(x, mask)
        # weight[2:11]: source (diagonal, row, column) x target (over rows, over columns, on the diagonal)
        spread = torch.cat(vectors, dim=-1) @ _blocks(weight[2:11], 3, 3)
        rows, columns, diagonal = spread.split(channels, dim=-1)
        everywhere, on_diagonal = (torch.cat(numbers, dim=-1) @ _blocks(weight[11:15], 2, 2)).split(channels, dim=-1)
        if self.bias is not None:
            everywhere, on_diagonal = everywhere + self.bias[0], on_diagonal + self.bias[1]
        y = y + rows.unsqueeze(2) + (columns + everywhere.unsqueeze(1)).unsqueeze(1)
        return cleared_pairs(_add_diagonal(y, diagonal + on_diagonal.unsqueeze(1)), mask)

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}, bias={self.bias is not None}"


class PairToNode(nn.Module):
    """All 5 linear maps from node pairs to nodes that commute with permutations, and a bias.

    Arguments:
        in_channels: channels of a pair.
        out_channels: channels of a node.
        bias: one constant a channel.

    `x (B, n, n, in_channels)` to `(B, n, out_channels)` from diagonal, row mean, column mean, mean over the
    diagonal and mean over all pairs. Masks as in `PairLinear`. Cost O(B n^2 in_channels).

    Source: Maron et al. 2019, appendix A.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.PairToNode(2, 3)(torch.randn(1, 4, 4, 2)).shape
        torch.Size([1, 4, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        self.out_channels = positive_int(out_channels, "out_channels")
        self.weight = _weights(5, in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Pairs, mask: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B N W"]:
        x, mask = _pairs(x, mask, self.in_channels, "PairToNode")
        vectors, numbers = _summaries(x, mask)
        y = torch.cat(vectors, dim=-1) @ _blocks(self.weight[:3], 3, 1)
        y = y + (torch.cat(numbers, dim=-1) @ _blocks(self.weight[3:], 2, 1)).unsqueeze(1)
        return cleared(y if self.bias is None else y + self.bias, mask)

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}, bias={self.bias is not None}"


class NodeToPair(nn.Module):
    """All 5 linear maps from nodes to node pairs that commute with permutations, and two biases.

    Arguments:
        in_channels: channels of a node.
        out_channels: channels of a pair.
        bias: the two invariant constants, one on the diagonal and one off it.

    `x (B, n, in_channels)` to `(B, n, n, out_channels)`: the node's own value over its row, over its column
    and on the diagonal; the mean over all nodes everywhere and on the diagonal. Masks as in `PairLinear`.
    Cost O(B n (in_channels + n) out_channels).

    Source: Maron et al. 2019, appendix A.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.NodeToPair(2, 3)(torch.randn(1, 4, 2)).shape
        torch.Size([1, 4, 4, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        self.out_channels = positive_int(out_channels, "out_channels")
        self.weight = _weights(5, in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(2, out_channels)) if bias else None

    def forward(
        self, x: Float[Tensor, "B N C"] | tuple[Tensor, ...], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N N W"]:
        x, mask = with_mask(x, mask, "NodeToPair")
        require(
            x.ndim == 3 and x.shape[2] == self.in_channels,
            f"NodeToPair takes nodes (B, n, {self.in_channels}), got {tuple(x.shape)}.",
        )
        if mask is not None:
            check_mask(mask, tuple(x.shape[:2]))
        x = cleared(x, mask)
        rows, columns, diagonal = (x @ _blocks(self.weight[:3], 1, 3)).split(self.out_channels, dim=-1)
        mean = x.sum(1) / counted(x, mask)
        everywhere, on_diagonal = (mean @ _blocks(self.weight[3:], 1, 2)).split(self.out_channels, dim=-1)
        if self.bias is not None:
            everywhere, on_diagonal = everywhere + self.bias[0], on_diagonal + self.bias[1]
        y = rows.unsqueeze(2) + (columns + everywhere.unsqueeze(1)).unsqueeze(1)
        return cleared_pairs(_add_diagonal(y, diagonal + on_diagonal.unsqueeze(1)), mask)

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}, bias={self.bias is not None}"


class PairToGraph(nn.Module):
    """Both linear maps from node pairs to numbers that permutations leave alone, and a bias.

    Arguments:
        in_channels: channels of a pair.
        out_channels: numbers of the graph.
        bias: one constant a channel.

    `x (B, n, n, in_channels)` to `(B, out_channels)` from the means over the diagonal and over all pairs.
    Masks as in `PairLinear`. Cost O(B n^2 in_channels).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.PairToGraph(2, 3)(torch.randn(1, 4, 4, 2)).shape
        torch.Size([1, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        self.out_channels = positive_int(out_channels, "out_channels")
        self.weight = _weights(2, in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Pairs, mask: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B W"]:
        x, mask = _pairs(x, mask, self.in_channels, "PairToGraph")
        y = torch.cat(_summaries(x, mask)[1], dim=-1) @ _blocks(self.weight, 2, 1)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}, bias={self.bias is not None}"


def _weights(maps: int, in_channels: int, out_channels: int) -> nn.Parameter:
    """One matrix a map, so small that inputs of size one give outputs of about that size."""
    bound = math.sqrt(3 / (min(maps, 5) * in_channels))
    return nn.Parameter(torch.empty(maps, in_channels, out_channels).uniform_(-bound, bound))


def _blocks(weight: Float[Tensor, "K C W"], sources: int, targets: int) -> Float[Tensor, "SC TW"]:
    """Matrices of source x target (source slowest) as one matrix on concatenated channels."""
    c, w = weight.shape[1:]
    return weight.reshape(sources, targets, c, w).transpose(1, 2).reshape(sources * c, targets * w)


def _summaries(
    x: Float[Tensor, "B N N C"], mask: Bool[Tensor, "B N"] | None
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Diagonal, row means, column means `(B, n, C)`; means of the diagonal and of all pairs `(B, C)`."""
    diagonal = x.diagonal(dim1=1, dim2=2).transpose(1, 2)
    count = counted(diagonal, mask)
    rows, columns = x.sum(2) / count.unsqueeze(1), x.sum(1) / count.unsqueeze(1)
    return (diagonal, rows, columns), (diagonal.sum(1) / count, rows.sum(1) / count)


def _add_diagonal(y: Float[Tensor, "B N N W"], diagonal: Float[Tensor, "B N W"]) -> Float[Tensor, "B N N W"]:
    """`y` with `diagonal` added at `(i, i)`; `y` is freshly made and may be written to."""
    y.diagonal(dim1=1, dim2=2).add_(diagonal.transpose(1, 2))
    return y


def _pairs(x: object, mask: Tensor | None, channels: int, name: str) -> tuple[Tensor, Tensor | None]:
    """Checked pairs, zero at padding, and their mask."""
    x, mask = with_mask(x, mask, name)
    require(
        x.ndim == 4 and x.shape[1] == x.shape[2] and x.shape[3] == channels,
        f"{name} takes node pairs (B, n, n, {channels}), got {tuple(x.shape)}.",
    )
    if not x.is_floating_point():
        raise InputTypeError(f"{name} takes floating-point pairs, got {x.dtype}. Convert with x.float().")
    if mask is not None:
        check_mask(mask, tuple(x.shape[:2]))
    return cleared_pairs(x, mask), mask
