"""What every graph network reads its batch through: checked parts, and sums over neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require


def check_mask(mask: object, shape: tuple[int, ...], what: str = "node") -> None:
    """Raise where `mask` is no bool tensor of that shape."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InputTypeError(f"mask must be of dtype bool, True at each {what} that is there; got {given}.")
    require(
        tuple(mask.shape) == tuple(shape),
        f"mask must have shape {tuple(shape)}, one entry a {what}, got {tuple(mask.shape)}.",
    )


def with_mask(x: object, mask: Tensor | None, name: str) -> tuple[Tensor, Tensor | None]:
    """`(x, mask)` of a network that takes either `x, mask` or the tuple `(x, mask)` as one argument."""
    if isinstance(x, tuple | list):
        require(
            mask is None and len(x) in (1, 2),
            f"{name} takes a tensor, or one tuple (x, mask); got a tuple of {len(x)}"
            + (" and another mask." if mask is not None else "."),
        )
        x, mask = x[0], x[1] if len(x) == 2 else None
    if not isinstance(x, Tensor):
        raise InputTypeError(f"{name} takes a tensor, or one tuple (x, mask); got {type(x).__name__}.")
    return x, mask


def cleared(x: Shaped[Tensor, "B N *rest"], mask: Bool[Tensor, "B N"] | None) -> Shaped[Tensor, "B N *rest"]:
    """`x` with zeros at padding, which may hold anything (NaN too) and must not be seen, in gradients neither."""
    if mask is None:
        return x
    inside = mask.reshape(*mask.shape, *(1,) * (x.ndim - 2))
    return torch.where(inside, x, torch.zeros((), dtype=x.dtype, device=x.device))


def cleared_pairs(x: Shaped[Tensor, "B N N *rest"], mask: Bool[Tensor, "B N"] | None) -> Shaped[Tensor, "B N N *rest"]:
    """Pairs of nodes with zeros wherever one of the two is padding."""
    if mask is None:
        return x
    inside = (mask.unsqueeze(1) & mask.unsqueeze(2)).reshape(*x.shape[:3], *(1,) * (x.ndim - 3))
    return torch.where(inside, x, torch.zeros((), dtype=x.dtype, device=x.device))


def counted(x: Float[Tensor, "B N *rest"], mask: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B *ones"]:
    """How many nodes each sample has, at least 1, ready to divide `x.sum(1)` by."""
    shape = (x.shape[0], *(1,) * (x.ndim - 2))
    if mask is None:
        return x.new_full(shape, max(x.shape[1], 1))
    return mask.sum(1).clamp_min(1).to(x.dtype).reshape(shape)


def pooled(x: Float[Tensor, "B N C"], mask: Bool[Tensor, "B N"] | None, how: str) -> Float[Tensor, "B C"]:
    """Sum, mean or maximum over the nodes that are there; 0 where there are none. `x` is zero at padding."""
    if how == "max" and x.shape[1]:
        if mask is None:
            return x.amax(1)
        best = torch.where(mask.unsqueeze(-1), x, torch.full_like(x, -torch.inf)).amax(1)
        return torch.where(mask.any(1, keepdim=True), best, torch.zeros_like(best))
    total = x.sum(1)
    return total if how == "sum" else total / counted(x, mask)


@dataclass(frozen=True)
class GraphBatch:
    """A checked batch of graphs: node features zero at padding, and dense adjacency or edges.

    Exactly one of `adjacency` and `ends` is there. `ends` are the edges `(target, source)` as places
    in the nodes of all graphs in a row, padding left out.
    """

    x: Float[Tensor, "B N C"]
    mask: Bool[Tensor, "B N"] | None
    adjacency: Float[Tensor, "B N N *channels"] | None
    ends: tuple[Int[Tensor, " M"], Int[Tensor, " M"]] | None

    def neighbour_sum(self, h: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        """`(A h)_i = sum_j A_ij h_j`."""
        if self.adjacency is not None:
            return torch.bmm(self.adjacency, h)
        return self.scatter(self.gathered(h)[1])

    def gathered(self, h: Float[Tensor, "B N C"]) -> tuple[Float[Tensor, "M C"], Float[Tensor, "M C"]]:
        """Features at the targets and at the sources of all edges."""
        target, source = self._ends()
        rows = h.flatten(0, 1)
        return rows.index_select(0, target), rows.index_select(0, source)

    def scatter(self, messages: Float[Tensor, "M C"]) -> Float[Tensor, "B N C"]:
        """Messages of all edges, summed at their targets."""
        b, n, c = self.x.shape[0], self.x.shape[1], messages.shape[-1]
        return messages.new_zeros(b * n, c).index_add(0, self._ends()[0], messages).reshape(b, n, c)

    def dense(self) -> Float[Tensor, "B N N *channels"]:
        """The adjacency; of edges a matrix with one channel that counts them."""
        if self.adjacency is not None:
            return self.adjacency
        target, source = self._ends()
        b, n = self.x.shape[:2]
        places = target * n + source % max(n, 1)
        return self.x.new_zeros(b * n * n).index_add(0, places, self.x.new_ones(len(places))).reshape(b, n, n, 1)

    def _ends(self) -> tuple[Tensor, Tensor]:
        if self.ends is None:
            raise InputError("These graphs are given by adjacency matrices, not by edges.")
        return self.ends


def read_graphs(data: object, in_features: int, edge_features: int, name: str) -> GraphBatch:
    """The parts of `(x, adjacency)` or `(x, adjacency, mask)`, checked and with padding set to zero.

    `edge_features = 0` asks for plain adjacency `(B, n, n)`; a larger number for `(B, n, n, C)`, where
    a plain one counts as one channel. Whole numbers `(B, E, 2)` are edges.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        given = f"a tuple of {len(data)}" if isinstance(data, tuple | list) else type(data).__name__
        raise InputTypeError(f"{name} takes one tuple (x, adjacency) or (x, adjacency, mask), got {given}.")
    x, links, mask = data if len(data) == 3 else (*data, None)
    if not isinstance(x, Tensor) or not isinstance(links, Tensor):
        raise InputTypeError(f"{name} takes tensors, got {type(x).__name__} and {type(links).__name__}.")
    require(
        x.ndim == 3 and x.shape[2] == in_features,
        f"{name} takes node features (B, n, {in_features}), got {tuple(x.shape)}.",
    )
    if not x.is_floating_point():
        raise InputTypeError(f"{name} takes floating-point node features, got {x.dtype}. Convert with x.float().")
    if mask is not None:
        check_mask(mask, tuple(x.shape[:2]))
    is_edges = not links.is_floating_point() and links.dtype != torch.bool
    if is_edges:
        require(edge_features <= 1, f"{name} with {edge_features} edge features takes adjacency (B, n, n, channels).")
        return GraphBatch(cleared(x, mask), mask, None, _ends(links, x, mask, name))
    adjacency = links.to(x.dtype)
    if edge_features and adjacency.ndim == 3:
        adjacency = adjacency.unsqueeze(-1)
    need = (*x.shape[:2], x.shape[1], *([edge_features] if edge_features else []))
    require(
        tuple(adjacency.shape) == need,
        f"{name} takes adjacency {('B', 'n', 'n', edge_features)[: len(need)]} here {need}, or edges (B, E, 2) of "
        f"whole numbers; got {tuple(links.shape)}.".replace("'", ""),
    )
    return GraphBatch(cleared(x, mask), mask, cleared_pairs(adjacency, mask), None)


def _ends(edges: Tensor, x: Tensor, mask: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    """Targets and sources among all nodes in a row; rows of -1 and edges at padded nodes left out."""
    b, n = x.shape[:2]
    require(
        edges.ndim == 3 and edges.shape[0] == b and edges.shape[2] == 2,
        f"{name} takes edges ({b}, E, 2), got {tuple(edges.shape)}. A dense adjacency matrix must be of "
        "floating point or bool.",
    )
    if edges.numel() and (int(edges.min()) < -1 or int(edges.max()) >= n):
        raise InputError(
            f"Edges name nodes 0 to {n - 1} (and -1 for padding), got numbers from {int(edges.min())} to "
            f"{int(edges.max())}."
        )
    kept = (edges >= 0).all(-1)
    if mask is not None and n:
        known = mask.gather(1, edges.clamp_min(0).flatten(1)).unflatten(1, (edges.shape[1], 2))
        kept = kept & known.all(-1)
    flat = edges + n * torch.arange(b, device=edges.device).reshape(b, 1, 1)
    chosen = flat[kept]
    return chosen[:, 0], chosen[:, 1]
