"""A multilayer perceptron that is equivariant under any group."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int
from equilearn.nn._bilinear import TensorProductLayer, distinct_terms, products
from equilearn.nn._linear import EquivariantLinear, check_reps
from equilearn.nn._nonlinear import GatedNonlinearity, check_width
from equilearn.reps import Rep, direct_sum, regular, trivial

REGULAR_LIMIT = 32
"""Largest order of a group whose hidden layers are made of regular representations."""


class EquivariantMLP(nn.Module):
    """Linear maps, products and gates, all equivariant, between any two representations.

    Arguments:
        rep_in, rep_out: representations of one group; `rep_out = reps.trivial(group, k)` for an
            invariant network with k outputs.
        width: dimension of the hidden layers, about.
        depth: number of hidden layers.
        hidden: representation of the hidden layers, where the automatic one is not wanted:
            `hidden_rep(rep_in, rep_out, width)`.
        generator: for the initial weights.

    A hidden layer is `gate(W [h, h (x) h])`: the products (`TensorProductLayer`) make the network
    universal for groups whose invariants are polynomials, such as SO(n), O(n) or the Lorentz
    group, and let a layer turn vectors into the invariants that its scalars compute with. Where
    the hidden representation is a permutation of coordinates (finite groups), a nonlinearity on
    each coordinate does the same, and products are left out. No norm enters, so representations
    need not be orthogonal, nor the group compact.

    Inputs should be of order one: products square whatever scale they have.

    Raises `InputError` where the groups differ, and in `forward` where the last axis does not fit.

    Cost a vector: O(depth width^2).

    Source: Finzi, Welling & Wilson 2021, section 5; scalars and vectors suffice for functions of
    vectors under the classical groups (Villar et al. 2021).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.Lorentz(1, 3))
        >>> net = eq.nn.EquivariantMLP(4 * V, V * V, width=64, depth=2)
        >>> net(torch.randn(5, 16)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        rep_in: Rep,
        rep_out: Rep,
        width: int = 128,
        depth: int = 3,
        *,
        hidden: Rep | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_reps(rep_in, rep_out)
        positive_int(width, "width")
        positive_int(depth, "depth")
        self.rep_in, self.rep_out = rep_in, rep_out
        self.hidden = hidden_rep(rep_in, rep_out, width) if hidden is None else hidden
        check_reps(rep_in, self.hidden)
        channels = max(4, width // 8)
        reps = [rep_in, *[self.hidden] * depth]
        self.layers = nn.ModuleList(_Layer(a, self.hidden, channels, generator) for a in reps[:-1])
        self.head = _Mix(self.hidden, rep_out, channels, generator)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        check_width(x, self.rep_in, "EquivariantMLP")
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class _Mix(nn.Module):
    """`W [h, h (x) h]`; without products where none are needed or exist."""

    def __init__(self, rep_in: Rep, rep_out: Rep, channels: int, generator: torch.Generator | None):
        super().__init__()
        wanted = not (rep_in.is_permutation and rep_out.is_permutation)
        self.product = None
        if wanted and products(rep_in, rep_out):
            self.product = TensorProductLayer(rep_in, rep_out, channels, generator=generator)
        full = rep_in if self.product is None else direct_sum(rep_in, self.product.rep_out)
        self.linear = EquivariantLinear(full, rep_out, generator=generator)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        if self.product is not None:
            x = torch.cat([x, self.product(x)], dim=-1)
        return self.linear(x)


class _Layer(nn.Module):
    """`gate(W [h, h (x) h])`."""

    def __init__(self, rep_in: Rep, rep_out: Rep, channels: int, generator: torch.Generator | None):
        super().__init__()
        self.gate = GatedNonlinearity(rep_out)
        self.mix = _Mix(rep_in, self.gate.rep_in, channels, generator)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        return self.gate(self.mix(x))


def hidden_rep(rep_in: Rep, rep_out: Rep, width: int) -> Rep:
    """The hidden representation that `EquivariantMLP` picks: of dimension about `width`.

    Copies of the regular representation for a finite group of order up to 32, on which pointwise
    nonlinearities are universal. Otherwise half scalars, and for the rest the kinds of summands
    that occur in the input and the output, with their tensor squares where they permute few
    coordinates; at least one of each.

    Example:
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> eq.nn.hidden_rep(4 * V, V, width=60)
        30 * 1 + 10 * V
        >>> C4 = eq.Cyclic(4)
        >>> eq.nn.hidden_rep(eq.reps.regular(C4), eq.reps.trivial(C4), width=32).dim
        32
    """
    group = rep_in.group
    if group.order is not None and group.order <= REGULAR_LIMIT:
        return max(1, round(width / group.order)) * regular(group)
    one = trivial(group)
    kinds = [term for term in distinct_terms(direct_sum(rep_in, rep_out)) if term != one]
    squares = [term * term for term in kinds if term.is_permutation and term.dim**2 <= width // 2]
    kinds += [square for square in squares if square not in kinds]
    share = width // 2 / max(len(kinds), 1)
    copies = [max(1, int(share // term.dim)) for term in kinds]
    rest = width - sum(count * term.dim for count, term in zip(copies, kinds, strict=True))
    scalars = max(rest, width // 4, 1)
    return direct_sum(scalars * one, *(count * term for count, term in zip(copies, kinds, strict=True)))
