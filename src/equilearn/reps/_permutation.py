"""Representations that permute coordinates."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, require
from equilearn.groups import Alternating, Element, Group, Symmetric
from equilearn.reps._base import Rep
from equilearn.reps._element import element_device


class Permutation(Rep):
    """A finite group permuting coordinates: `rho(g) e_i = e_{g(i)}`."""

    def __init__(self, group: Group, images: Int[Tensor, "order dim"] | None, dim: int):
        self.group = group
        self.dim = dim
        self._images = images  # None where elements are their own images
        self._digest = None if images is None else digest(images)

    @property
    def name(self) -> str:
        return "P"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.dim, self._digest)

    @property
    def is_permutation(self) -> bool:
        return True

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        return g if self._images is None else self._images.to(element_device(g))[self.group.index_of(g)]

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return permutation_matrix(self.permutation(g))

    def character(self, g: Element) -> Float[Tensor, "*batch"]:
        return count_fixed(self.permutation(g))


def permutation(group: Group, images: Int[Tensor, "order dim"] | None = None) -> Rep:
    """A permutation representation: the natural one, or the one that `images` gives.

    S_n, A_n and groups made from permutations have a natural one. Any finite group permutes coordinates in
    ways of its own, which `images` states.

    Args:
        group: the group; finite where `images` are given.
        images: `images[g, i]` is the coordinate to which element `g` (in the order of `elements()`) takes
            coordinate `i`, whole numbers `(order, dim)`.

    Raises:
        InputError: without `images`, where the group does not permute anything by nature; with them, where a row
            is no permutation or products do not go to products (says which elements).

    Checking images costs O(order dim K) for K generators; acting costs O(dim) a vector.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic, Symmetric
        >>> P = reps.permutation(Symmetric(3))
        >>> P.apply(torch.tensor([1, 2, 0]), torch.tensor([10.0, 20.0, 30.0]))
        tensor([30., 10., 20.])
        >>> swap = reps.permutation(Cyclic(2), torch.tensor([[0, 1, 2], [1, 0, 2]]))
        >>> swap.apply(torch.tensor(1), torch.tensor([10.0, 20.0, 30.0]))
        tensor([20., 10., 30.])
    """
    if images is not None:
        images = _checked(group, images)
        return Permutation(group, images, images.shape[-1])
    if isinstance(group, Symmetric | Alternating):
        return Permutation(group, None, group.n)
    faithful = getattr(group, "faithful", None)
    if isinstance(faithful, Tensor) and not faithful.is_floating_point():
        return Permutation(group, faithful, faithful.shape[-1])
    raise InputError(
        f"{group} is not given by permutations, so it has no natural permutation representation. "
        "Use reps.regular(group) for a finite group, or give the images of all its elements."
    )


def _checked(group: Group, images: Any) -> Tensor:
    """The images as an int64 tensor of its own, once they are known to be a homomorphism."""
    order = group._require_enumerable()
    if not isinstance(images, Tensor) or images.is_floating_point() or images.dtype == torch.bool:
        kind = str(images.dtype) if isinstance(images, Tensor) else type(images).__name__
        raise InputTypeError(f"images must be a tensor of whole numbers, images[g, i] the image of i; got {kind}.")
    require(
        images.ndim == 2 and images.shape[0] == order and images.shape[1] > 0,
        f"images must have one row for each of the {order} elements of {group}, ({order}, dim); got shape "
        f"{tuple(images.shape)}.",
    )
    images = images.detach().to("cpu", torch.int64, copy=True)
    points = torch.arange(images.shape[1])
    wrong = (images.sort(-1).values != points).any(-1)
    require(
        not bool(wrong.any()),
        f"Row {int(wrong.int().argmax())} of images is not a permutation of 0..{len(points) - 1}: every coordinate "
        "must occur exactly once.",
    )
    _require_homomorphism(group, images)
    return images


def _require_homomorphism(group: Group, images: Int[Tensor, "order dim"]) -> None:
    """`images[g s] = images[g] images[s]` for all `g` and generators `s`; the rest follows by induction."""
    order = len(images)
    elements, generators = group.elements(), group.generators()
    (count,) = group.batch_shape(generators)
    for k in range(count):
        s = group.take(generators, k)
        product = group.index_of(group.compose(elements, group.expand(group.reshape(s, (1,)), (order,))))
        index = int(group.index_of(s))
        breach = (images[product] != images[:, images[index]]).any(-1)
        if bool(breach.any()):
            g = int(breach.int().argmax())
            raise InputError(
                f"images is no representation of {group}: element {g} times element {index} is element "
                f"{int(product[g])}, but the permutations in rows {g} and {index} do not compose to row "
                f"{int(product[g])} (first row {index}, then row {g}). Is the order of the product the right one?"
            )
    require(bool((images[0] == torch.arange(images.shape[1])).all()), "Row 0 of images must be the identity.")


def permutation_matrix(p: Int[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim dim"]:
    """The matrix of a permutation, float64."""
    out = torch.zeros(*p.shape, p.shape[-1], dtype=torch.float64, device=p.device)
    return out.scatter_(-2, p.unsqueeze(-2), 1.0)  # column i has its one in row p[i]


def count_fixed(p: Int[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    """How many coordinates each permutation leaves in place."""
    return (p == torch.arange(p.shape[-1], device=p.device)).sum(-1).to(torch.float64)


def digest(x: Tensor) -> str:
    """SHA-256 of the entries."""
    import hashlib

    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
