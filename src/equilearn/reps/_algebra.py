"""New representations from old: sums, tensor products, duals."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, positive_int, require
from equilearn.groups import Element, Group
from equilearn.reps._base import Rep
from equilearn.reps._element import element_device, element_dtype


class DirectSum(Rep):
    """`m_1 rho_1 + m_2 rho_2 + ...`: block-diagonal, the copies of a summand side by side."""

    def __init__(self, group: Group, terms: tuple[tuple[int, Rep], ...]):
        self.group = group
        self._terms = _flatten(terms)
        self.dim = sum(count * rep.dim for count, rep in self._terms)

    @property
    def name(self) -> str:
        parts = [_wrap(rep) if count == 1 else f"{count} * {_wrap(rep)}" for count, rep in self._terms]
        return " + ".join(parts) or "0"

    @property
    def _key(self) -> tuple[Any, ...]:
        return self._terms

    def terms(self) -> tuple[tuple[int, Rep], ...]:
        return self._terms

    @property
    def is_permutation(self) -> bool:
        return all(rep.is_permutation for _, rep in self._terms)

    @property
    def is_orthogonal(self) -> bool:
        return all(rep.is_orthogonal for _, rep in self._terms)

    @property
    def dual(self) -> Rep:
        if self.is_orthogonal:
            return self
        return DirectSum(self.group, tuple((count, rep.dual) for count, rep in self._terms))

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        batch = self.group.batch_shape(g)
        out = torch.zeros(*batch, self.dim, self.dim, dtype=element_dtype(g), device=element_device(g))
        start = 0
        for count, rep in self._terms:
            block = rep.matrix(g)
            for _ in range(count):
                out[..., start : start + rep.dim, start : start + rep.dim] = block
                start += rep.dim
        return out

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        out = torch.zeros(self.group.lie_dim, self.dim, self.dim, dtype=torch.float64)
        start = 0
        for count, rep in self._terms:
            block = rep.lie_matrices()
            for _ in range(count):
                out[:, start : start + rep.dim, start : start + rep.dim] = block
                start += rep.dim
        return out

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        if not self.is_permutation:
            return super().permutation(g)
        parts = [torch.zeros(*self.group.batch_shape(g), 0, dtype=torch.int64, device=element_device(g))]
        start = 0
        for count, rep in self._terms:
            image = rep.permutation(g)
            for _ in range(count):
                parts.append(image + start)
                start += rep.dim
        return torch.cat(parts, dim=-1)

    def apply(self, g: Element, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "... dim"]:
        if self.is_permutation:
            return super().apply(g, v)
        batch = torch.broadcast_shapes(self.group.batch_shape(g), v.shape[:-1])
        v = v.expand(*batch, self.dim)
        copies = self.group.reshape(g, (*self.group.batch_shape(g), 1))
        parts, start = [v[..., :0]], 0
        for count, rep in self._terms:
            stop = start + count * rep.dim
            moved = rep.apply(copies, v[..., start:stop].unflatten(-1, (count, rep.dim)))
            parts.append(moved.flatten(-2))
            start = stop
        return torch.cat(parts, dim=-1)

    def character(self, g: Element) -> Float[Tensor, "*batch"]:
        total = torch.zeros(self.group.batch_shape(g), dtype=element_dtype(g), device=element_device(g))
        for count, rep in self._terms:
            total = total + count * rep.character(g)
        return total


class TensorProduct(Rep):
    """`rho_a (x) rho_b` on `V_a (x) V_b`; coordinate `(i, j)` sits at `i * b.dim + j`."""

    def __init__(self, a: Rep, b: Rep):
        self.group = a.group
        self.a = a
        self.b = b
        self.dim = a.dim * b.dim

    @property
    def name(self) -> str:
        right = f"({self.b.name})" if isinstance(self.b, TensorProduct) else _wrap(self.b)
        return f"{_wrap(self.a)} * {right}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.a, self.b)

    @property
    def is_permutation(self) -> bool:
        return self.a.is_permutation and self.b.is_permutation

    @property
    def is_orthogonal(self) -> bool:
        return self.a.is_orthogonal and self.b.is_orthogonal

    @property
    def dual(self) -> Rep:
        return self if self.is_orthogonal else TensorProduct(self.a.dual, self.b.dual)

    def terms(self) -> tuple[tuple[int, Rep], ...]:
        # The left factor is the most significant, so a sum on the left stays contiguous.
        terms = self.a.terms()
        if terms == ((1, self.a),):
            return ((1, self),)
        return _flatten(tuple((count, TensorProduct(rep, self.b)) for count, rep in terms))

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return kron(self.a.matrix(g), self.b.matrix(g))

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        one_a = torch.eye(self.a.dim, dtype=torch.float64)
        one_b = torch.eye(self.b.dim, dtype=torch.float64)
        return kron(self.a.lie_matrices(), one_b) + kron(one_a, self.b.lie_matrices())

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        if not self.is_permutation:
            return super().permutation(g)
        first, second = self.a.permutation(g), self.b.permutation(g)
        return (first.unsqueeze(-1) * self.b.dim + second.unsqueeze(-2)).flatten(-2)

    def apply(self, g: Element, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "... dim"]:
        if self.is_permutation:
            return super().apply(g, v)
        # One factor at a time: O(dim (a.dim + b.dim)), the product matrix is never built.
        copies = self.group.reshape(g, (*self.group.batch_shape(g), 1))
        moved = self.b.apply(copies, v.unflatten(-1, (self.a.dim, self.b.dim)))
        return self.a.apply(copies, moved.mT).mT.flatten(-2)

    def character(self, g: Element) -> Float[Tensor, "*batch"]:
        return self.a.character(g) * self.b.character(g)


class Dual(Rep):
    """The representation on linear forms, `rho(g^-1)^T`."""

    def __init__(self, rep: Rep):
        self.group = rep.group
        self.rep = rep
        self.dim = rep.dim

    @property
    def name(self) -> str:
        return f"{_wrap(self.rep)}.dual"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.rep,)

    @property
    def is_permutation(self) -> bool:
        return self.rep.is_permutation

    @property
    def is_orthogonal(self) -> bool:
        return self.rep.is_orthogonal

    @property
    def dual(self) -> Rep:
        return self.rep

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return self.rep.matrix(self.group.inverse(g)).mT

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        return -self.rep.lie_matrices().mT

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        return self.rep.permutation(g)


def direct_sum(*reps: Rep) -> DirectSum:
    """The direct sum of representations of one group; equal neighbours are merged.

    Args:
        *reps: at least one representation. Sums among them are flattened.

    Raises:
        InputError: where none is given or the groups differ.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO
        >>> V = reps.defining(SO(3))
        >>> both = reps.direct_sum(V, V, reps.trivial(SO(3)))
        >>> both.dim, [count for count, _ in both.terms()]
        (7, [2, 1])
    """
    require(len(reps) > 0, "direct_sum needs at least one representation.")
    _same_group(reps)
    return DirectSum(reps[0].group, tuple((1, rep) for rep in reps))


def multiple(rep: Rep, count: int) -> Rep:
    """`count` copies of `rep` side by side; `count` may be zero.

    Raises:
        InputError: where `count` is no whole number >= 0.
    """
    count = positive_int(count, "The number of copies", minimum=0)
    return rep if count == 1 else DirectSum(rep.group, ((count, rep),))


def tensor_product(*reps: Rep) -> Rep:
    """The tensor product of representations of one group, the first factor most significant.

    Args:
        *reps: at least one representation.

    Raises:
        InputError: where none is given or the groups differ.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SO
        >>> V = reps.defining(SO(3))
        >>> reps.tensor_product(V, V, V).dim
        27
    """
    require(len(reps) > 0, "tensor_product needs at least one representation.")
    _same_group(reps)
    product = reps[0]
    for rep in reps[1:]:
        product = TensorProduct(product, rep)
    return product


def dual(rep: Rep) -> Rep:
    """The representation on linear forms, `rho(g^-1)^T`; `rep` itself where it is orthogonal.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import SL, SO
        >>> reps.dual(reps.defining(SO(3))) == reps.defining(SO(3))
        True
        >>> reps.dual(reps.defining(SL(2))).dim
        2
    """
    return rep.dual


# --- parts ----------------------------------------------------------------------------------


def kron(a: Tensor, b: Tensor) -> Tensor:
    """The Kronecker product over the last two axes, batch shapes broadcast."""
    product = a[..., :, None, :, None] * b[..., None, :, None, :]
    return product.flatten(-4, -3).flatten(-2, -1)


def _flatten(terms: tuple[tuple[int, Rep], ...]) -> tuple[tuple[int, Rep], ...]:
    """Open nested sums and merge equal neighbours; summands of dimension zero vanish."""
    flat: list[tuple[int, Rep]] = []

    def push(count: int, rep: Rep) -> None:
        if count == 0 or rep.dim == 0:
            return
        if flat and flat[-1][1] == rep:
            flat[-1] = (flat[-1][0] + count, rep)
        else:
            flat.append((count, rep))

    for count, rep in terms:
        inner = rep.terms()
        if len(inner) == 1:  # n copies of m copies are nm copies
            push(count * inner[0][0], inner[0][1])
        else:
            for _ in range(count):
                for inner_count, inner_rep in inner:
                    push(inner_count, inner_rep)
    return tuple(flat)


def _wrap(rep: Rep) -> str:
    """The name, in brackets where it is that of a sum."""
    return f"({rep.name})" if isinstance(rep, DirectSum) else rep.name


def _same_group(reps: tuple[Rep, ...]) -> None:
    for rep in reps:
        if not isinstance(rep, Rep):
            raise InputTypeError(f"A representation is needed, got {type(rep).__name__}.")
        if rep.group != reps[0].group:
            raise InputError(
                f"Representations of different groups cannot be combined: {reps[0].name} belongs to "
                f"{reps[0].group}, {rep.name} to {rep.group}. On a product of groups, pull each back "
                "with reps.factor(product, i, rep) first."
            )
