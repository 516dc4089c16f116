"""Products of equivariant features: the step that turns vectors into invariants."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.nn._exact import ExactModule
from equilearn.nn._linear import EquivariantLinear, check_reps
from equilearn.nn._nonlinear import check_width
from equilearn.reps import Rep, direct_sum, intertwiners

SOLVE_LIMIT = 1100
"""Largest number of unknowns `dim_a dim_b dim_c` of a product that is sought; larger ones are left out."""


class _Path(NamedTuple):
    """A product: `channels` pairs of summands `a` and `b`, `maps` results each, of dimension `dim`."""

    dim_a: int
    dim_b: int
    dim: int
    channels: int
    maps: int


class TensorProductLayer(ExactModule):
    """Pairs of linear features, multiplied in every equivariant way.

    Arguments:
        rep_in: representation of the input.
        rep_out: its distinct summands are the kinds of results that are wanted.
        channels: pairs for each product `a (x) b -> c` of summands.
        generator: for the initial weights.

    Two `EquivariantLinear` layers make the factors; for summands `a`, `b` of the input and `c` of
    the output, each basis map of `Hom(a (x) b, c)` then multiplies them channel by channel. The
    output has representation `self.rep_out`, a sum of such `c`. White factors give results of
    unit mean square. Scalars times scalars are left to the nonlinearity, and so are products of
    more than 1,100 unknowns.

    Raises `InputError` where the groups differ or there is no product at all.

    Cost a vector: O(channels sum dim_a dim_b dim_c) and the two linear layers.

    Source: Finzi, Welling & Wilson 2021, section 5 (bilinear layer); pairing channel by channel
    instead of a random sample of all products.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> G = eq.Lorentz(1, 3)
        >>> V = eq.reps.defining(G)
        >>> layer = eq.nn.TensorProductLayer(4 * V, eq.reps.trivial(G), channels=10)
        >>> layer(torch.randn(5, 16)).shape  # ten Minkowski products
        torch.Size([5, 10])
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, channels: int, *, generator: torch.Generator | None = None):
        super().__init__()
        check_reps(rep_in, rep_out)
        positive_int(channels, "channels")
        self.rep_in = rep_in
        self._paths: list[_Path] = []
        lefts, rights, results = [], [], []
        for a, b, c, basis in products(rep_in, rep_out):
            maps = len(basis)
            # |basis|^2 = 1 gives a mean square of 1 / dim_c from white factors.
            self.register_constant(f"product_{len(self._paths)}", basis * c.dim**0.5)
            self._paths.append(_Path(a.dim, b.dim, c.dim, channels, maps))
            lefts.append(channels * a)
            rights.append(channels * b)
            results.append(channels * maps * c)
        require(
            len(self._paths) > 0,
            f"No product of two summands of {rep_in.name} has an equivariant map to a summand of {rep_out.name}.",
        )
        self.left = EquivariantLinear(rep_in, direct_sum(*lefts), generator=generator)
        self.right = EquivariantLinear(rep_in, direct_sum(*rights), generator=generator)
        self.rep_out = direct_sum(*results)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        check_width(x, self.rep_in, "TensorProductLayer")
        left = self.left(x).split([p.channels * p.dim_a for p in self._paths], dim=-1)
        right = self.right(x).split([p.channels * p.dim_b for p in self._paths], dim=-1)
        parts = []
        for i, (p, a, b) in enumerate(zip(self._paths, left, right, strict=True)):
            a = a.unflatten(-1, (p.channels, p.dim_a, 1))
            b = b.unflatten(-1, (p.channels, 1, p.dim_b))
            basis: Tensor = getattr(self, f"product_{i}")  # (maps, dim, dim_a dim_b)
            product = (a * b).flatten(-2) @ basis.flatten(0, 1).mT  # (*batch, channels, maps * dim)
            parts.append(product.flatten(-2))
        return torch.cat(parts, dim=-1)

    def extra_repr(self) -> str:
        return f"{self.rep_in.name} -> {self.rep_out.name}"


class AllProducts(ExactModule):
    """The products of all pairs of copies in the input: every equivariant map of degree two.

    Arguments:
        rep_in: representation of the input.
        rep_out: its distinct summands are the kinds of results that are wanted.

    Nothing is trained. The result has representation `self.rep_out`, and for standard normal
    input a mean square of about one. Products of more than 1,100 unknowns are left out.

    Raises `InputError` where the groups differ or there is no product at all.

    Cost a vector: O(dim rep_out dim_a dim_b) for summands of dimensions dim_a and dim_b.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> G = eq.Lorentz(1, 3)
        >>> V = eq.reps.defining(G)
        >>> products = eq.nn.AllProducts(4 * V, eq.reps.trivial(G))
        >>> products(torch.randn(5, 16)).shape  # <v_i, v_j> for i <= j
        torch.Size([5, 10])
    """

    def __init__(self, rep_in: Rep, rep_out: Rep):
        super().__init__()
        check_reps(rep_in, rep_out)
        self.rep_in = rep_in
        where, offset = {}, 0
        for count, term in rep_in.terms():
            rows = torch.arange(count * term.dim).reshape(count, term.dim) + offset
            where[term] = torch.cat([where[term], rows]) if term in where else rows
            offset += count * term.dim
        results = []
        for i, (a, b, c, basis) in enumerate(products(rep_in, rep_out, scalars=True)):
            copies_a, copies_b = len(where[a]), len(where[b])
            # Hom(a (x) a, c) holds every map with its arguments swapped: i <= j is enough.
            first, second = torch.triu_indices(copies_a, copies_a) if a == b else _all_pairs(copies_a, copies_b)
            self.register_constant(f"left_{i}", where[a][first])
            self.register_constant(f"right_{i}", where[b][second])
            self.register_constant(f"product_{i}", (basis * c.dim**0.5).flatten(0, 1).mT.contiguous())
            results.append(len(first) * len(basis) * c)
        require(len(results) > 0, f"No product of two summands of {rep_in.name} maps to {rep_out.name}.")
        self.count = len(results)
        self.rep_out = direct_sum(*results)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        check_width(x, self.rep_in, "AllProducts")
        parts = []
        for i in range(self.count):
            a = x[..., getattr(self, f"left_{i}")].unsqueeze(-1)  # (*batch, pairs, dim_a, 1)
            b = x[..., getattr(self, f"right_{i}")].unsqueeze(-2)
            parts.append(((a * b).flatten(-2) @ getattr(self, f"product_{i}")).flatten(-2))
        return torch.cat(parts, dim=-1)

    def extra_repr(self) -> str:
        return f"{self.rep_in.name} -> {self.rep_out.name}"


def _all_pairs(a: int, b: int) -> tuple[Tensor, Tensor]:
    first, second = torch.meshgrid(torch.arange(a), torch.arange(b), indexing="ij")
    return first.flatten(), second.flatten()


def products(
    rep_in: Rep, rep_out: Rep, scalars: bool = False
) -> list[tuple[Rep, Rep, Rep, Float[Tensor, "K dim_c dim_ab"]]]:
    """All `(a, b, c, basis)`: unordered pairs of distinct summands of `rep_in`, summands of `rep_out`.

    `scalars`: products of numbers with numbers, too.
    """
    kinds, targets = distinct_terms(rep_in), distinct_terms(rep_out)
    found = []
    for i, a in enumerate(kinds):
        for b in kinds[i:]:
            for c in targets:
                unknowns = a.dim * b.dim * c.dim
                if unknowns > SOLVE_LIMIT or (unknowns == 1 and not scalars):
                    continue
                basis = intertwiners(a * b, c)
                if len(basis):
                    found.append((a, b, c, basis))
    return found


def products_size(rep_in: Rep, rep_out: Rep) -> int:
    """Dimension of `AllProducts(rep_in, rep_out).rep_out`; 0 where there is no product."""
    copies: dict[Rep, int] = {}
    for count, term in rep_in.terms():
        copies[term] = copies.get(term, 0) + count
    total = 0
    for a, b, c, basis in products(rep_in, rep_out, scalars=True):
        pairs = copies[a] * (copies[a] + 1) // 2 if a == b else copies[a] * copies[b]
        total += pairs * len(basis) * c.dim
    return total


def distinct_terms(rep: Rep) -> list[Rep]:
    """The kinds of summands, in order of appearance."""
    return list(dict.fromkeys(term for _, term in rep.terms()))
