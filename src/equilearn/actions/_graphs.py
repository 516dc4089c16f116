"""Graphs: one permutation of the nodes moves their features, their adjacency or edges, and their mask."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.actions._base import Action, Axes, Data, Unbound
from equilearn.actions._elements import paired
from equilearn.actions._permuting import agreed_count, permuted, the_permuting
from equilearn.actions._points import SetAction
from equilearn.actions._simple import CombinedAction
from equilearn.groups import Element, Group

PADDING = -1
"""Both ends of an edge that is none."""


class PairAction(Action):
    """One permutation on axes 1 and 2 of `(B, n, n, ...)`; see `pairs`."""

    def __init__(self, group: Group, count: int | None = None):
        self.group = group
        self._permuting = the_permuting(group, count, "pairs")
        self.count = agreed_count(group, self._permuting, count)
        self.index = self._permuting.index
        """Which factor of a product permutes; 0 for any other group."""

    @property
    def name(self) -> str:
        return f"pairs({self.count})"

    def check(self, x: Data) -> None:
        _require_tensor(x, "pairs")
        require(
            x.ndim >= 3 and x.shape[1] == x.shape[2],
            f"pairs need square data of shape (B, n, n, ...), one entry for every pair of nodes; "
            f"got shape {tuple(x.shape)}.",
        )
        require(
            x.shape[1] == self.count,
            f"pairs need {self.count} nodes on axes 1 and 2, got data of shape {tuple(x.shape)}.",
        )

    def permuted_axes(self, index: int, x: Data) -> Axes:
        return (1, 2) if index == self.index else ()

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        paired(self.group, g, x.shape[0])
        if x.numel() == 0:
            return x.clone()
        return permuted(self._permuting, self.group.to(g, device=x.device), x, axes=2)


class EdgeAction(Action):
    """One permutation on the numbers of the nodes in `(B, E, 2)`; see `edges`."""

    def __init__(self, group: Group, count: int | None = None):
        self.group = group
        self._permuting = the_permuting(group, count, "edges")
        self.count = agreed_count(group, self._permuting, count)
        self.index = self._permuting.index
        """Which factor of a product permutes; 0 for any other group."""

    @property
    def name(self) -> str:
        return f"edges({self.count})"

    @property
    def is_linear(self) -> bool:
        return False

    def check(self, x: Data) -> None:
        _require_tensor(x, "edges")
        if x.dtype != torch.int64:
            raise InputTypeError(f"edges are numbers of nodes, int64; got {x.dtype}. Convert with edges.long().")
        require(
            x.ndim == 3 and x.shape[-1] == 2,
            f"edges need data of shape (B, E, 2), two nodes an edge; got shape {tuple(x.shape)}.",
        )
        if not torch.compiler.is_compiling():
            require_edges(x, self.count or 0)

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        paired(self.group, g, x.shape[0])
        if x.numel() == 0:
            return x.clone()
        p = self._permuting.permutation(self.group.to(g, device=x.device)).to(x.device)
        # One more place at the end, where padding (-1) looks up -1.
        p = torch.cat([p, p.new_full((*p.shape[:-1], 1), PADDING)], dim=-1)
        places = torch.where(x < 0, p.shape[-1] - 1, x)
        if p.ndim == 1:
            return p[places]
        return torch.gather(p, 1, places.flatten(1)).reshape(x.shape)


class GraphAction(CombinedAction):
    """Graphs as tuples `(x, adjacency or edges, mask)`; see `graphs`."""

    def __init__(self, group: Group, count: int | None = None, edge_lists: bool = False, mask: bool = True):
        nodes = SetAction(group, count)
        second = EdgeAction(group, nodes.count) if edge_lists else PairAction(group, nodes.count)
        super().__init__(nodes, second, *([SetAction(group, nodes.count)] if mask else []))
        self.count = nodes.count
        self.index = nodes.index
        self.edge_lists = edge_lists
        self.has_mask = mask

    @property
    def name(self) -> str:
        options = ["edges"] * self.edge_lists + ["no mask"] * (not self.has_mask)
        return f"graphs({', '.join([str(self.count), *options])})"

    def check(self, x: Data) -> None:
        form = f"(x, {'edges' if self.edge_lists else 'adjacency'}{', mask' if self.has_mask else ''})"
        if not isinstance(x, tuple | list):
            raise InputTypeError(f"{self.name} acts on tuples {form}, got {type(x).__name__}.")
        require(len(x) == len(self.parts), f"{self.name} acts on tuples {form}, got a tuple of {len(x)}.")
        super().check(x)
        require(
            x[0].ndim == 3,
            f"The features of the nodes need the shape (B, n, C), got {tuple(x[0].shape)}. "
            "Graphs without features get a column of ones.",
        )
        if self.has_mask:
            require_mask(x[2], x[0])


def pairs(n: int | None = None) -> Unbound:
    """One permutation on both axes of data `(B, n, n, ...)`: `(p A)[p[i], p[j]] = A[i, j]`.

    Adjacency matrices, distances, features of edges; entries may be of any dtype. A product of groups acts
    through the factor that permutes, as in `sets`.

    Args:
        n: number of nodes; None takes it from the group.

    Raises:
        InputError: when bound, a group that does not permute `n` things, or a product with two factors that
            do; when acting, data that are not square, of another size, or elements that are no permutations.

    Cost: O(B n^2) times the size of an entry; no matrix is built.

    Example:
        >>> import torch, equilearn as eq
        >>> move = eq.actions.pairs().on(eq.Symmetric(3))
        >>> path = torch.tensor([[[0, 1, 0], [1, 0, 1], [0, 1, 0]]])  # 0 - 1 - 2
        >>> move(torch.tensor([1, 0, 2]), path)  # 1 - 0 - 2
        tensor([[[0, 1, 1],
                 [1, 0, 0],
                 [1, 0, 0]]])
    """
    return Unbound("pairs", lambda group: PairAction(group, n))


def edges(n: int | None = None) -> Unbound:
    """Permutations of the nodes that edge lists `(B, E, 2)` name: node `i` becomes `p[i]`.

    Entries are int64 numbers of nodes; an edge `(-1, -1)` is padding and stays so. The order of the list
    stays. A product of groups acts through the factor that permutes, as in `sets`.

    Args:
        n: number of nodes; None takes it from the group.

    Raises:
        InputError: when bound, a group that does not permute `n` things, or a product with two factors that
            do; when acting, other data, nodes out of range, or elements that are no permutations.

    Cost: O(B E).

    Example:
        >>> import torch, equilearn as eq
        >>> move = eq.actions.edges().on(eq.Symmetric(3))
        >>> move(torch.tensor([1, 0, 2]), torch.tensor([[[0, 1], [1, 2], [-1, -1]]]))
        tensor([[[ 1,  0],
                 [ 0,  2],
                 [-1, -1]]])
    """
    return Unbound("edges", lambda group: EdgeAction(group, n))


def graphs(n: int | None = None, *, edge_lists: bool = False, mask: bool = True) -> Unbound:
    """Graphs with `n` nodes, as tuples `(x, adjacency, mask)` in which one permutation moves every part.

    `x` `(B, n, C)` holds the features of the nodes, `adjacency` `(B, n, n)` zeros, ones or weights, or
    `(B, n, n, Ce)` the features of the edges; with `edge_lists` edges `(B, E, 2)` stand in its place, int64
    with both directions listed and `(-1, -1)` for padding. `mask` `(B, n)` is True at real nodes: graphs of
    different sizes are padded to the largest, usually but not necessarily at the end.

    Args:
        n: number of nodes, padding included; None takes it from the group.
        edge_lists: whether graphs come as lists of edges.
        mask: whether there is a mask; without, the tuple is `(x, adjacency)`.

    Raises:
        InputError: when bound, as `sets`; when acting, parts that do not fit each other or the group. For
            checks of the graphs themselves see `check_graph`.

    Cost: O(B n^2), or O(B (n + E)) for lists.

    Example:
        >>> import torch, equilearn as eq
        >>> symmetry = eq.Symmetry(eq.Symmetric(3), eq.actions.graphs())
        >>> symmetry
        Symmetry(S3: graphs(3) -> trivial)
        >>> x, mask = torch.tensor([[[5.0], [6.0], [0.0]]]), torch.tensor([[True, True, False]])
        >>> edge = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
        >>> x, edge, mask = symmetry.act_input(torch.tensor([0, 2, 1]), (x, edge, mask))
        >>> mask
        tensor([[ True, False,  True]])
    """
    return Unbound("graphs", lambda group: GraphAction(group, n, edge_lists, mask))


def require_edges(edges: Tensor, count: int) -> None:
    """All ends lie in `0..count-1`, or both are -1."""
    if edges.numel() == 0:
        return
    bad = (edges < PADDING) | (edges >= count) | ((edges < 0) != (edges < 0).all(-1, keepdim=True))
    total = int(bad.any(-1).sum())
    if total:
        b, e, _ = torch.nonzero(bad)[0].tolist()
        raise InputError(
            f"{total} edges do not join two of the nodes 0..{count - 1} (the first: edge {e} of graph {b}, "
            f"{tuple(edges[b, e].tolist())}). Padding is (-1, -1)."
        )


def require_mask(mask: Tensor, x: Tensor) -> None:
    """`mask` is bool, one value a node of `x`."""
    if mask.dtype != torch.bool:
        raise InputTypeError(f"The mask says which nodes are real, bool; got {mask.dtype}. Convert with mask.bool().")
    require(
        mask.shape == x.shape[:2],
        f"The mask needs the shape (B, n) = {tuple(x.shape[:2])}, got {tuple(mask.shape)}.",
    )


def _require_tensor(x: object, what: str) -> None:
    if not isinstance(x, Tensor):
        raise InputTypeError(f"{what} act on one tensor, got {type(x).__name__}. For whole graphs use graphs().")
