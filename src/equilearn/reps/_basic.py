"""The representations to begin with: trivial, defining, regular, your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import Cyclic, Dihedral, Element, Group, MatrixGroup, Product
from equilearn.reps._base import Rep
from equilearn.reps._derivative import lie_matrices_of
from equilearn.reps._element import element_device, element_dtype
from equilearn.reps._permutation import count_fixed, digest, permutation, permutation_matrix


class Trivial(Rep):
    """Every element does nothing."""

    def __init__(self, group: Group, dim: int = 1):
        self.group = group
        self.dim = dim

    @property
    def name(self) -> str:
        return "1" if self.dim == 1 else f"1^{self.dim}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.dim,)

    @property
    def is_permutation(self) -> bool:
        return True

    def terms(self) -> tuple[tuple[int, Rep], ...]:
        return ((1, self),) if self.dim == 1 else ((self.dim, Trivial(self.group)),)

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        one = torch.eye(self.dim, dtype=element_dtype(g), device=element_device(g))
        return one.expand(*self.group.batch_shape(g), self.dim, self.dim)

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        return torch.zeros(self.group.lie_dim, self.dim, self.dim, dtype=torch.float64)

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        return torch.arange(self.dim, device=element_device(g)).expand(*self.group.batch_shape(g), self.dim)


class Defining(Rep):
    """A matrix group acting on its own space."""

    group: MatrixGroup

    def __init__(self, group: MatrixGroup):
        self.group = group
        self.dim = group.n
        # The inverse is the transpose on the whole group when it is on the generators and the
        # Lie algebra is skew.
        self._orthogonal = _is_orthogonal(group.generators().to(torch.float64), group.lie_basis())

    @property
    def name(self) -> str:
        return "V"

    @property
    def _key(self) -> tuple[Any, ...]:
        return ()

    @property
    def is_orthogonal(self) -> bool:
        return self._orthogonal

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return g

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        return self.group.lie_basis().to(torch.float64)


class Plane(Rep):
    """A cyclic or dihedral group acting on the plane by rotations and reflections."""

    group: Cyclic | Dihedral
    dim = 2

    def __init__(self, group: Cyclic | Dihedral):
        self.group = group

    @property
    def name(self) -> str:
        return "V"

    @property
    def _key(self) -> tuple[Any, ...]:
        return ()

    @property
    def is_orthogonal(self) -> bool:
        return True

    def matrix(self, g: Element) -> Float[Tensor, "*batch 2 2"]:
        return self.group.plane_matrix(g)


class Table(Rep):
    """A representation of a finite group given by the matrices of all its elements."""

    def __init__(self, group: Group, matrices: Float[Tensor, "order dim dim"], name: str):
        self.group = group
        self.matrices = matrices.to(torch.float64)
        self.dim = matrices.shape[-1]
        self._name = name
        gram = self.matrices.mT @ self.matrices
        self._orthogonal = bool((gram - torch.eye(self.dim, dtype=torch.float64)).abs().max() < 1e-10)
        self._digest = digest(self.matrices)

    @property
    def name(self) -> str:
        return self._name

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self._name, self._digest)

    @property
    def is_orthogonal(self) -> bool:
        return self._orthogonal

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return self.matrices.to(element_device(g))[self.group.index_of(g)]


class Regular(Rep):
    """A finite group acting on functions on itself: `rho(g) e_h = e_{gh}`."""

    def __init__(self, group: Group):
        self.group = group
        self.dim = group._require_enumerable()

    @property
    def name(self) -> str:
        return "R"

    @property
    def _key(self) -> tuple[Any, ...]:
        return ()

    @property
    def is_permutation(self) -> bool:
        return True

    def permutation(self, g: Element) -> Int[Tensor, "*batch dim"]:
        group = self.group
        everything = group.to(group.elements(), device=element_device(g))
        return group.index_of(group.compose(group.reshape(g, (*group.batch_shape(g), 1)), everything))

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return permutation_matrix(self.permutation(g))

    def character(self, g: Element) -> Float[Tensor, "*batch"]:
        return count_fixed(self.permutation(g))


class FunctionRep(Rep):
    """A representation given by a function from elements to matrices."""

    def __init__(
        self,
        group: Group,
        function: Callable[[Element], Tensor],
        dim: int,
        name: str,
        orthogonal: bool | None,
        lie_matrices: Tensor | None,
    ):
        self.group = group
        self.function = function
        self.dim = dim
        self._name = name
        _refuse_non_homomorphism(self)
        self._lie = lie_matrices_of(group, self.matrix, dim) if lie_matrices is None else lie_matrices.to(torch.float64)
        if orthogonal is None:
            orthogonal = _is_orthogonal(self.generator_matrices(), self._lie)
        self._orthogonal = orthogonal

    @property
    def name(self) -> str:
        return self._name

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self._name, self.dim, self.function)

    @property
    def is_orthogonal(self) -> bool:
        return self._orthogonal

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        return self.function(g).to(element_dtype(g))

    def lie_matrices(self) -> Float[Tensor, "lie_dim dim dim"]:
        return self._lie


def trivial(group: Group, dim: int = 1) -> Rep:
    """The representation in which nothing moves, on `dim` coordinates.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic
        >>> reps.trivial(Cyclic(4), 2).matrix(Cyclic(4).identity()).shape
        torch.Size([2, 2])
    """
    return Trivial(group, positive_int(dim, "dim"))


def defining(group: Group) -> Rep:
    """The representation that a group comes with.

    A matrix group acts on its column vectors (an affine group on homogeneous ones), a cyclic or
    dihedral group on the plane, a permutation group on its points.

    Raises:
        InputError: where the group has none, such as a product; the message says what to use.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Lorentz
        >>> reps.defining(Lorentz(1, 3)).dim
        4
    """
    if isinstance(group, MatrixGroup):
        return Defining(group)
    if isinstance(group, Dihedral | Cyclic):
        return Plane(group)
    if isinstance(group, Product):
        raise InputError(
            f"{group} is a product and has no defining representation of its own. Pull those of its factors back, "
            "for example reps.factor(group, 0, reps.defining(group.factors[0])), and add (+) or multiply (*) them."
        )
    faithful = getattr(group, "faithful", None)
    if isinstance(faithful, Tensor) and faithful.is_floating_point():
        return Table(group, faithful, "V")
    return permutation(group)


def regular(group: Group) -> Rep:
    """The regular representation of a finite group: `rho(g) e_h = e_{gh}`, of dimension `order`.

    Raises:
        InputError: where the group is infinite or too large to list.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Cyclic
        >>> reps.regular(Cyclic(4)).permutation(torch.tensor(1))
        tensor([1, 2, 3, 0])
    """
    return Regular(group)


def from_function(
    group: Group,
    function: Callable[[Element], Tensor],
    dim: int | None = None,
    *,
    name: str = "rho",
    orthogonal: bool | None = None,
    lie_matrices: Float[Tensor, "lie_dim dim dim"] | None = None,
) -> Rep:
    """A representation from any function `g -> rho(g)`, batched over elements.

    Args:
        group: what acts.
        function: from elements, batch `*batch`, to matrices `(*batch, dim, dim)`.
        dim: the dimension; read off the matrix of the identity where it is not given.
        name: how it prints. Two such representations are equal when name and function are.
        orthogonal: whether all matrices are orthogonal; measured on generators and the Lie
            algebra where it is not given.
        lie_matrices: derivatives on the basis of the Lie algebra. Where they are not given, they
            are matrix logarithms of `function(exp(t X_i))` for a small `t`.

    Raises:
        InputError: where the function does not return real square matrices, or is no representation
            (products must go to products; tried on a few random elements).

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import O
        >>> sign = reps.from_function(O(3), lambda g: torch.linalg.det(g)[..., None, None], name="det")
        >>> sign.dim, sign.is_orthogonal
        (1, True)
    """
    one = function(group.identity((1,)))
    shape = tuple(one.shape)
    require(
        len(shape) == 3 and shape[0] == 1 and shape[1] == shape[2] and dim in (None, shape[1]),
        f"The function must map elements of batch shape (1,) to matrices of shape (1, {dim or 'dim'}, {dim or 'dim'}); "
        f"it gave {shape}.",
    )
    real = "Representations here are real: return [[Re, -Im], [Im, Re]] instead."
    require(not one.is_complex(), f"{name!r} gives complex matrices. {real}")
    return FunctionRep(group, function, shape[1], name, orthogonal, lie_matrices)


# --- parts ----------------------------------------------------------------------------------


def _is_orthogonal(generators: Tensor, lie: Tensor, tolerance: float = 1e-10) -> bool:
    one = torch.eye(lie.shape[-1], dtype=torch.float64, device=generators.device)
    skew = lie + lie.mT
    gram = generators.mT @ generators - one
    return all(breach.numel() == 0 or float(breach.abs().max()) <= tolerance for breach in (skew, gram))


def _refuse_non_homomorphism(rep: Rep, tolerance: float = 1e-6) -> None:
    """An early, cheap refusal; `equilearn.testing.check_representation` is the thorough check."""
    group = rep.group
    generator = torch.Generator().manual_seed(0)
    g, h = group.sample((4,), generator=generator), group.sample((4,), generator=generator)
    both, product = rep.matrix(g) @ rep.matrix(h), rep.matrix(group.compose(g, h))
    breach = float((both - product).abs().max() / both.abs().max().clamp_min(1.0))
    require(
        breach <= tolerance,
        f"{rep.name!r} is not a representation of {group}: rho(gh) and rho(g) rho(h) differ by {breach:.2g} "
        "(relative) on random elements. Is the order of the product the right one?",
    )
