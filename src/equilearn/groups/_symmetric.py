"""Groups of permutations that never build a table: S_n and A_n."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import _random
from equilearn.groups._base import Group, Shape, as_shape

_RANKED = 20
"""Largest `n` for which `n!` fits into int64."""


def permutation_sign(p: Int[Tensor, "*batch n"]) -> Int[Tensor, "*batch"]:
    """`+1` for even, `-1` for odd permutations. O(n^2) an element.

    Example:
        >>> permutation_sign(torch.tensor([[0, 1, 2], [1, 0, 2]]))
        tensor([ 1, -1])
    """
    return 1 - 2 * (_lehmer(p).sum(-1) % 2)


def permutation_matrix(p: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
    """The matrix with `M e_i = e_{p[i]}`, float64.

    Example:
        >>> permutation_matrix(torch.tensor([1, 2, 0])) @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        tensor([3., 1., 2.], dtype=torch.float64)
    """
    n = p.shape[-1]
    return (p.unsqueeze(-2) == torch.arange(n, device=p.device).unsqueeze(-1)).to(torch.float64)


def _lehmer(p: Tensor) -> Tensor:
    """`code[i]`: how many later entries are smaller than `p[i]`."""
    smaller = p.unsqueeze(-2) < p.unsqueeze(-1)  # [..., i, j]: p[j] < p[i]
    return smaller.triu(1).sum(-1)


def _rank(p: Tensor) -> Tensor:
    n = p.shape[-1]
    weights = torch.tensor([math.factorial(n - 1 - i) for i in range(n)], dtype=torch.int64, device=p.device)
    return (_lehmer(p) * weights).sum(-1)


def _unrank(rank: Tensor, n: int) -> Tensor:
    """The permutations of lexicographic rank `rank`, `(*batch, n)`. O(n^2) an element."""
    code = [(rank // math.factorial(n - 1 - i)) % (n - i) for i in range(n)]
    result = torch.empty(*rank.shape, n, dtype=torch.int64, device=rank.device)
    for i in reversed(range(n)):
        result[..., i] = code[i]
        # Entries placed later stand for ranks among what is left: make room for this one.
        later = result[..., i + 1 :]
        later += (later >= code[i].unsqueeze(-1)).to(torch.int64)
    return result


class PermutationGroup(Group):
    """A group of permutations of `n` points; `p[i]` is the image of point `i`."""

    n: int

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n,)

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.n,)

    def identity(
        self, batch: Shape = (), *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Int[Tensor, "*batch n"]:
        return torch.arange(self.n, device=device).expand(*as_shape(batch), self.n).clone()

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """`(g h)[i] = g[h[i]]`. O(n) an element."""
        batch = torch.broadcast_shapes(g.shape[:-1], h.shape[:-1])
        return torch.gather(g.expand(*batch, self.n), -1, h.expand(*batch, self.n))

    def inverse(self, g: Tensor) -> Tensor:
        places = torch.arange(self.n, device=g.device).expand_as(g)
        return torch.empty_like(g).scatter_(-1, g, places)

    def distance(self, g: Tensor, h: Tensor) -> Float[Tensor, "*batch"]:
        """The share of points that the two send to different places (normalised Hamming)."""
        return (g != h).to(torch.float64).mean(-1)

    def contains(self, g: Any, tolerance: float = 1e-6) -> Bool[Tensor, "*batch"]:
        """Which rows of an integer tensor are permutations that belong to the group."""
        if not isinstance(g, Tensor) or g.ndim < 1 or g.shape[-1] != self.n:
            got = f"a tensor of shape {tuple(g.shape)}" if isinstance(g, Tensor) else type(g).__name__
            raise InputError(f"{self._membership_rule()} Got {got}.")
        if g.is_floating_point() or g.is_complex() or g.dtype == torch.bool:
            return torch.zeros(g.shape[:-1], dtype=torch.bool, device=g.device)
        return (g.sort(-1).values == torch.arange(self.n, device=g.device)).all(-1)

    def sign(self, g: Int[Tensor, "*batch n"]) -> Int[Tensor, "*batch"]:
        """`+1` for even, `-1` for odd permutations."""
        return permutation_sign(g)

    def matrix(self, g: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """The permutation matrix, `M e_i = e_{g[i]}`, float64."""
        return permutation_matrix(g)

    def to(self, g: Tensor, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Tensor:
        return g.to(device=device)

    def _require_ranked(self) -> None:
        require(
            self.n <= _RANKED,
            f"Elements of {self.name} have no index: {self.n}! does not fit into 64 bits (n <= {_RANKED} does). "
            "Work with the permutations themselves.",
        )

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are permutations of 0..{self.n - 1} in the last axis, integer dtype."


class Symmetric(PermutationGroup):
    """All permutations of `n` points. No table, whatever `n`: every law costs O(n) an element.

    `elements()` (for `n <= 8`) lists them in lexicographic order, the identity first;
    `index_of` (for `n <= 20`) is the lexicographic rank. `sample` is uniform.

    Args:
        n: the number of points, at least 1.

    Raises:
        InputError: if `n` is not a whole number >= 1.

    Example:
        >>> group = Symmetric(3)
        >>> group.compose(torch.tensor([1, 0, 2]), torch.tensor([0, 2, 1]))
        tensor([1, 2, 0])
        >>> group.index_of(torch.tensor([2, 1, 0]))
        tensor(5)
        >>> len(str(Symmetric(100).order))
        158
    """

    def __init__(self, n: int):
        self.n = positive_int(n, "The number n of points of Symmetric(n)")

    @property
    def name(self) -> str:
        return f"S{self.n}"

    @property
    def order(self) -> int:
        return math.factorial(self.n)

    @property
    def is_abelian(self) -> bool:
        return self.n <= 2

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Int[Tensor, "*batch n"]:
        """Uniform permutations."""
        return _random.permutations(self.n, as_shape(batch), generator, device)

    def generators(self) -> Int[Tensor, "K n"]:
        """The transposition of the first two points and the cycle through all."""
        points = list(range(self.n))
        swap, cycle = [1, 0, *points[2:]], [*points[1:], 0]
        chosen = {1: [], 2: [swap]}.get(self.n, [swap, cycle])
        return torch.tensor(chosen, dtype=torch.int64).reshape(-1, self.n)

    def elements(self) -> Int[Tensor, "order n"]:
        """All permutations in lexicographic order."""
        return _unrank(torch.arange(self._require_enumerable()), self.n)

    def index_of(self, g: Tensor) -> Int[Tensor, "*batch"]:
        """The lexicographic rank. O(n^2) an element; `n <= 20`."""
        self._require_ranked()
        return _rank(g)


class Alternating(PermutationGroup):
    """The even permutations of `n` points; elements are permutations, as in `Symmetric`.

    `elements()` lists them in lexicographic order. No table.

    Args:
        n: the number of points, at least 1.

    Raises:
        InputError: if `n` is not a whole number >= 1.

    Example:
        >>> Alternating(5).order
        60
        >>> Alternating(3).elements()
        tensor([[0, 1, 2],
                [1, 2, 0],
                [2, 0, 1]])
    """

    def __init__(self, n: int):
        self.n = positive_int(n, "The number n of points of Alternating(n)")

    @property
    def name(self) -> str:
        return f"A{self.n}"

    @property
    def order(self) -> int:
        return max(math.factorial(self.n) // 2, 1)

    @property
    def is_abelian(self) -> bool:
        return self.n <= 3

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Int[Tensor, "*batch n"]:
        """Uniform even permutations: a uniform permutation, its last two entries swapped if odd."""
        return self._make_even(_random.permutations(self.n, as_shape(batch), generator, device))

    def _make_even(self, p: Tensor) -> Tensor:
        if self.n == 1:
            return p
        swap = torch.arange(self.n, device=p.device)
        swap[-2:] = swap[-2:].flip(0)
        return torch.where((permutation_sign(p) < 0).unsqueeze(-1), p[..., swap], p)

    def contains(self, g: Any, tolerance: float = 1e-6) -> Bool[Tensor, "*batch"]:
        """Which rows are even permutations."""
        inside = super().contains(g, tolerance)
        return inside & (permutation_sign(g) > 0)

    def generators(self) -> Int[Tensor, "K n"]:
        """A 3-cycle and the longest odd cycle that ends at the last point."""
        points = list(range(self.n))
        if self.n < 3:
            chosen = []
        else:
            three = [1, 2, 0, *points[3:]]
            cycle = [*points[1:], 0] if self.n % 2 else [0, *points[2:], 1]
            chosen = [three] if self.n == 3 else [three, cycle]
        return torch.tensor(chosen, dtype=torch.int64).reshape(-1, self.n)

    def elements(self) -> Int[Tensor, "order n"]:
        """All even permutations in lexicographic order."""
        # Ranks 2k and 2k + 1 differ by a swap of the last two entries: exactly one is even.
        return self._make_even(_unrank(2 * torch.arange(self._require_enumerable()), self.n))

    def index_of(self, g: Tensor) -> Int[Tensor, "*batch"]:
        """The lexicographic rank among even permutations. O(n^2) an element; `n <= 20`."""
        self._require_ranked()
        return _rank(g) // 2

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are even permutations of 0..{self.n - 1} in the last axis, integer dtype."
