"""A multilayer perceptron that is equivariant under any group."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int
from equilearn.nn._bilinear import AllProducts, TensorProductLayer, distinct_terms, products, products_size
from equilearn.nn._linear import EquivariantLinear, check_reps
from equilearn.nn._nonlinear import GatedNonlinearity, check_width
from equilearn.reps import Rep, direct_sum, regular, trivial

REGULAR_LIMIT = 32
"""Largest order of a group whose hidden layers are made of regular representations."""

ALL_PRODUCTS_LIMIT = 2048
"""Dimension up to which all products of the inputs are taken; beyond, trainable pairs of features."""

READOUT_SCALE = 20.0
"""The polynomial readout is trained through weights this much smaller, so that an optimizer with
steps of fixed size (Adam) finds a polynomial before the network fits it with something crooked."""


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

    Where the hidden representation permutes coordinates (finite groups), this is an MLP of
    `EquivariantLinear` layers with a nonlinearity on each coordinate. For all other groups the
    input `x` is first joined by its products, `p = [x, x (x) x]`; then

        h_1 = gate(W_1 squash(p)),  h_l = gate(W_l [h_{l-1}, squash(h_{l-1} (x) h_{l-1})]),
        y = A p + B [h, x, [h, x] (x) [h, x]].

    The hidden scalars are an MLP on the invariants of the input, and the last products multiply
    vectors with what it computes. `A p` is every equivariant polynomial of degree two; it starts
    at zero and learns fast, the rest starts small, so that simple laws are found as such. `squash`
    (asinh of scalars and of norms that the group keeps) stops products of products from growing
    without bound. Representations need not be orthogonal, nor the group compact.

    Inputs should be of order one: products square whatever scale they have.

    Recommended training, 300 samples: AdamW, 400 to 1,000 steps of 64, learning rate 3e-3 with
    cosine decay, targets of unit variance (Minkowski products: relative error below 0.02).

    Raises `InputError` where the groups differ, and in `forward` where the last axis does not fit.

    Cost a vector: O(depth width^2).

    Source: Finzi, Welling & Wilson 2021, section 5; that scalars and vectors suffice for functions
    of vectors under the classical groups: Villar et al. 2021.

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
        multiplies = not self.hidden.is_permutation
        kinds = direct_sum(trivial(rep_in.group), self.hidden, rep_out)
        self.products = _input_products(rep_in, kinds, channels, generator) if multiplies else None
        first = rep_in if self.products is None else direct_sum(rep_in, self.products.rep_out)
        self.squash = Squash(first)
        self.layers = nn.ModuleList([_Layer(first, self.hidden, None, channels, generator)])
        # Tensors of a non-compact group cannot be squashed: their products feed the scalars only.
        kinds = self.hidden if self.hidden.is_orthogonal else trivial(rep_in.group)
        for _ in range(depth - 1):
            wanted = kinds if multiplies else None
            self.layers.append(_Layer(self.hidden, self.hidden, wanted, max(4, channels // 2), generator))
        self.polynomial = EquivariantLinear(first, rep_out, generator=generator) if multiplies else None
        last = direct_sum(self.hidden, rep_in) if multiplies else self.hidden
        self.head = _Mix(last, rep_out, rep_out if multiplies else None, channels, generator, squashed=False)
        if self.polynomial is not None:
            nn.init.zeros_(self.polynomial.weight)
            with torch.no_grad():
                self.head.linear.weight.mul_(0.1)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        check_width(x, self.rep_in, "EquivariantMLP")
        p = x if self.products is None else torch.cat([x, self.products(x)], dim=-1)
        h = p if self.polynomial is None else self.squash(p)
        for layer in self.layers:
            h = layer(h)
        if self.polynomial is None:
            return self.head(h)
        return READOUT_SCALE * self.polynomial(p) + self.head(torch.cat([h, x], dim=-1))


def _input_products(
    rep_in: Rep, kinds: Rep, channels: int, generator: torch.Generator | None
) -> AllProducts | TensorProductLayer | None:
    """All products of degree two where they are few enough."""
    size = products_size(rep_in, kinds)
    if size == 0:
        return None
    if size <= ALL_PRODUCTS_LIMIT:
        return AllProducts(rep_in, kinds)
    return TensorProductLayer(rep_in, kinds, channels, generator=generator)


class _Mix(nn.Module):
    """`W [h, squash(h (x) h)]`; without products where none are wanted or exist."""

    def __init__(
        self,
        rep_in: Rep,
        rep_out: Rep,
        kinds: Rep | None,
        channels: int,
        generator: torch.Generator | None,
        squashed: bool,
    ):
        super().__init__()
        self.product, self.squash = None, None
        if kinds is not None and products(rep_in, kinds):
            self.product = TensorProductLayer(rep_in, kinds, channels, generator=generator)
            self.squash = Squash(self.product.rep_out) if squashed else None
        full = rep_in if self.product is None else direct_sum(rep_in, self.product.rep_out)
        self.linear = EquivariantLinear(full, rep_out, generator=generator)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        if self.product is None:
            return self.linear(x)
        product = self.product(x)
        if self.squash is not None:
            product = self.squash(product)
        return self.linear(torch.cat([x, product], dim=-1))


class _Layer(nn.Module):
    """`gate(W [h, squash(h (x) h)])`."""

    def __init__(self, rep_in: Rep, rep_out: Rep, kinds: Rep | None, channels: int, generator: torch.Generator | None):
        super().__init__()
        self.gate = GatedNonlinearity(rep_out)
        self.mix = _Mix(rep_in, self.gate.rep_in, kinds, channels, generator, squashed=True)

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        return self.gate(self.mix(x))


class Squash(nn.Module):
    """asinh of scalars, and of the norms of those summands whose norms the group keeps.

    Linear where small, logarithmic where large; summands that are not orthogonal pass unchanged.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> bool(eq.nn.Squash(V)(torch.tensor([0.0, 0.0, 100.0])).norm() < 9)
        True
    """

    def __init__(self, rep: Rep):
        super().__init__()
        check_reps(rep)
        self.rep = rep
        self._shapes = [(count, term.dim, term.is_permutation, term.is_orthogonal) for count, term in rep.terms()]

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        check_width(x, self.rep, "Squash")
        parts, start = [x[..., :0]], 0
        for count, dim, pointwise, orthogonal in self._shapes:
            part = x[..., start : start + count * dim]
            start += count * dim
            if pointwise:
                part = torch.asinh(part)
            elif orthogonal:
                vectors = part.unflatten(-1, (count, dim))
                norm = (vectors.square().mean(-1, keepdim=True) + 1e-12).sqrt()
                part = (vectors * (torch.asinh(norm) / norm)).flatten(-2)
            parts.append(part)
        return torch.cat(parts, dim=-1)


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
