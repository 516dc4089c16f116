"""The Fourier transform of a finite group: functions on it as one block for each irreducible representation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, require
from equilearn.groups import Abelian, Group
from equilearn.reps._decompose import IrrepType
from equilearn.reps._irreps import irreps


@dataclass(frozen=True)
class IrrepStack:
    """Irreducible representations of one dimension and type, handled as one batch.

    Attributes:
        dim: their dimension over the complex numbers.
        count: how many there are. Of a pair of conjugate ones only one is listed.
        type: real (their blocks are real), complex or quaternionic (complex blocks).
    """

    dim: int
    count: int
    type: IrrepType

    @property
    def weight(self) -> int:
        """How often each of them stands for itself or its conjugate: 2 for the complex type."""
        return 2 if self.type == "complex" else 1

    @property
    def multiplicity(self) -> int:
        """How often an eigenvalue of a block occurs in the operator that the block comes from."""
        return self.weight * self.dim


class GroupFourier:
    """The Fourier transform of real functions on a finite group, `f^(rho) = sum_g f(g) rho(g)`.

    One block `(dim, dim)` for each complex irreducible representation, unitary; those of one dimension
    and type are stacked, so that everything that follows is a few batched calls. Because the functions
    are real, blocks of the real type are real, and of two conjugate representations one is kept
    (`IrrepStack.weight` counts it twice). An `Abelian` group goes through the fast Fourier transform
    with the characters `exp(-2 pi i <k, g>)`; any other through `reps.irreps`, whose real irreducibles
    of complex or quaternionic type are split by a complex structure of their commutant. The trivial
    representation is the first of the first stack.

    Args:
        group: a finite group; functions list their values in the order of `group.elements()`.

    Raises:
        InputError: the group is not finite, or too large for `reps.irreps`.

    Cost: a transform of F functions is O(F order log order) for an `Abelian` group, else
    O(F order^2) in one matrix product; the irreducible representations are found once, O(order^3).
    Source: Diaconis, "Group Representations in Probability and Statistics" (1988), chapter 2.

    Example:
        >>> import torch, equilearn.reps as reps
        >>> from equilearn.groups import Symmetric
        >>> fourier = reps.GroupFourier(Symmetric(3))
        >>> [(stack.dim, stack.count, stack.type) for stack in fourier.stacks]
        [(1, 2, 'real'), (2, 1, 'real')]
        >>> f = torch.arange(6.0, dtype=torch.float64)
        >>> blocks = fourier.forward(f)
        >>> [tuple(block.shape) for block in blocks], float(blocks[0][0])  # the trivial one holds the sum
        ([(2, 1, 1), (1, 2, 2)], 15.0)
        >>> bool(torch.allclose(fourier.inverse(blocks), f))
        True
    """

    def __init__(self, group: Group):
        self.group = group
        self.order = group._require_enumerable()
        if isinstance(group, Abelian):
            self._plan: _Grid | _Matrices = _Grid(group.orders)
        else:
            self._plan = _matrices(group)
        self.stacks: tuple[IrrepStack, ...] = self._plan.stacks

    def matrices(self, index: int) -> Tensor:
        """The representations of stack `index` on all elements, `(order, count, dim, dim)`: float64, or
        complex128 where the type is not real. O(order count dim^2) memory."""
        require(0 <= index < len(self.stacks), f"There are {len(self.stacks)} stacks of irreps; there is no {index}.")
        return self._plan.matrices(index)

    def forward(self, f: Float[Tensor, "*batch order"]) -> tuple[Tensor, ...]:
        """The blocks of real functions.

        Args:
            f: values in the order of `group.elements()`, `(*batch, order)`, float32 or float64.

        Returns:
            For each stack the blocks, `(*batch, count, dim, dim)`, real for the real type.

        Raises:
            InputError: another last axis, or not a real floating-point tensor.
        """
        if f.dtype not in (torch.float32, torch.float64):
            raise InputTypeError(f"Functions on {self.group} must be float32 or float64, got {f.dtype}.")
        require(
            f.ndim >= 1 and f.shape[-1] == self.order,
            f"Functions on {self.group} have shape (..., {self.order}), one value an element; got {tuple(f.shape)}.",
        )
        return self._plan.forward(f)

    def inverse(self, blocks: Sequence[Tensor]) -> Float[Tensor, "*batch order"]:
        """The functions with these blocks: `f(g) = (1/order) sum_rho dim tr(f^(rho) rho(g)^-1)`.

        Args:
            blocks: as `forward` returns them.

        Raises:
            InputError: where their number or shapes do not fit the group.
        """
        self._check(blocks)
        return self._plan.inverse(blocks, self.order)

    def inner(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Float[Tensor, "*batch"]:
        """The inner product `sum_g f(g) h(g)` from the blocks of `f` and `h` (Plancherel).

        Example:
            >>> import torch, equilearn.reps as reps
            >>> from equilearn.groups import Cyclic
            >>> fourier = reps.GroupFourier(Cyclic(4))
            >>> blocks = fourier.forward(torch.tensor([1.0, 2.0, 0.0, 0.0]))
            >>> round(float(fourier.inner(blocks, blocks)), 4)
            5.0
        """
        self._check(a)
        self._check(b)
        parts = [
            s.multiplicity * (x * y.conj()).real.sum((-1, -2, -3)) for s, x, y in zip(self.stacks, a, b, strict=True)
        ]
        return torch.stack(parts).sum(0) / self.order

    def _check(self, blocks: Sequence[Tensor]) -> None:
        need = [(s.count, s.dim, s.dim) for s in self.stacks]
        got = [tuple(block.shape[-3:]) for block in blocks]
        require(got == need, f"The blocks of a function on {self.group} end in the shapes {need}, got {got}.")


# --- abelian groups: the fast Fourier transform -----------------------------------------------


class _Grid:
    """Characters of a product of cyclic groups, at the frequencies that `rfftn` keeps."""

    def __init__(self, orders: tuple[int, ...]):
        self.orders = orders
        self.shape = (*orders[:-1], orders[-1] // 2 + 1)
        axes = torch.meshgrid(*(torch.arange(n) for n in self.shape), indexing="ij")
        self.digits = torch.stack([axis.flatten() for axis in axes], -1)  # (frequencies, factors)
        sizes = torch.tensor(orders)
        mirror = (-self.digits) % sizes
        strides = torch.tensor([math.prod(self.shape[i + 1 :]) for i in range(len(orders))])
        own, other = (self.digits * strides).sum(-1), (mirror * strides).sum(-1)
        inside = mirror[:, -1] < self.shape[-1]  # whether rfftn keeps the conjugate frequency too
        same = (mirror == self.digits).all(-1)
        self.real = torch.nonzero(same).flatten()
        self.paired = torch.nonzero(~same & ~(inside & (other < own))).flatten()
        doubled = inside[self.paired]
        self.doubled = torch.nonzero(doubled).flatten()
        self.mirrors = other[self.paired[doubled]]
        stacks = (IrrepStack(1, len(self.real), "real"), IrrepStack(1, len(self.paired), "complex"))
        self.stacks = tuple(stack for stack in stacks if stack.count)

    def matrices(self, index: int) -> Tensor:
        real = self.stacks[index].type == "real"
        k = self.digits[self.real if real else self.paired].to(torch.float64)
        axes = torch.meshgrid(*(torch.arange(n) for n in self.orders), indexing="ij")
        g = torch.stack([axis.flatten() for axis in axes], -1).to(torch.float64)
        turns = (g / torch.tensor(self.orders)) @ k.mT
        if real:
            return (1.0 - 2.0 * ((2 * turns).round() % 2))[..., None, None]
        return torch.polar(torch.ones_like(turns), -2 * math.pi * turns)[..., None, None]

    def forward(self, f: Tensor) -> tuple[Tensor, ...]:
        axes = tuple(range(-len(self.orders), 0))
        spectrum = torch.fft.rfftn(f.unflatten(-1, self.orders), dim=axes).flatten(-len(self.orders))
        blocks = [spectrum[..., self.real].real, spectrum[..., self.paired]]
        return tuple(block[..., None, None] for block in blocks[: len(self.stacks)])

    def inverse(self, blocks: Sequence[Tensor], order: int) -> Tensor:
        real = blocks[0][..., 0, 0]
        batch = real.shape[:-1]
        spectrum = torch.zeros(*batch, len(self.digits), dtype=real.dtype.to_complex(), device=real.device)
        spectrum[..., self.real] = real.to(spectrum.dtype)
        if len(self.stacks) == 2:
            paired = blocks[1][..., 0, 0]
            spectrum[..., self.paired] = paired
            spectrum[..., self.mirrors] = paired[..., self.doubled].conj()
        axes = tuple(range(-len(self.orders), 0))
        return torch.fft.irfftn(spectrum.unflatten(-1, self.shape), s=self.orders, dim=axes).reshape(*batch, order)


# --- any group: one matrix product ------------------------------------------------------------


class _Matrices(NamedTuple):
    """The matrices of all elements, `(order, count, dim, dim)` for each stack."""

    stacks: tuple[IrrepStack, ...]
    tables: tuple[Tensor, ...]

    def matrices(self, index: int) -> Tensor:
        return self.tables[index]

    def forward(self, f: Tensor) -> tuple[Tensor, ...]:
        out = []
        for table in self.tables:
            product = f @ _rows(table).to(f)
            shape = (*f.shape[:-1], *table.shape[1:])
            out.append(torch.view_as_complex(product.reshape(*shape, 2)) if table.is_complex() else product.view(shape))
        return tuple(out)

    def inverse(self, blocks: Sequence[Tensor], order: int) -> Tensor:
        total: Tensor | None = None
        for stack, table, block in zip(self.stacks, self.tables, blocks, strict=True):
            flat = torch.view_as_real(block.resolve_conj()) if block.is_complex() else block
            flat = flat.flatten(-4) if block.is_complex() else flat.flatten(-3)
            # Re tr(F rho(g)^H) is the real inner product of F and rho(g).
            part = flat @ _rows(table).to(flat).mT * (stack.multiplicity / order)
            total = part if total is None else total + part
        require(total is not None, "There are no blocks to invert.")
        return total  # type: ignore[return-value]


def _rows(table: Tensor) -> Tensor:
    """One row an element, real: real and imaginary parts side by side."""
    flat = torch.view_as_real(table) if table.is_complex() else table
    return flat.reshape(len(table), -1)


def _matrices(group: Group) -> _Matrices:
    elements = group.elements()
    kinds: dict[tuple[int, IrrepType], list[Tensor]] = {}
    for rep in irreps(group):
        kind, matrices = _over_the_complex_numbers(rep.matrix(elements).to(torch.float64))
        kinds.setdefault((matrices.shape[-1], kind), []).append(matrices)
    stacks = tuple(IrrepStack(dim, len(found), kind) for (dim, kind), found in kinds.items())
    return _Matrices(stacks, tuple(torch.stack(found, 1) for found in kinds.values()))


def _over_the_complex_numbers(matrices: Float[Tensor, "order d d"]) -> tuple[IrrepType, Tensor]:
    """The type of a real orthogonal irrep, and one complex irrep that it holds: `(order, dim, dim)`.

    Over the complex numbers the complex type splits into two conjugate irreps, the quaternionic one
    into two equal ones. Either way one is the +i eigenspace of a skew J with J^2 = -1 that commutes
    with everything, and the skew part of the commutant (found by averaging) holds such a J.
    """
    order, dim = matrices.shape[0], matrices.shape[-1]
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    kind: IrrepType = ("real", "complex", "quaternionic")[round(math.log2(max(float((trace**2).mean()), 1.0)))]
    if kind == "real":
        return kind, matrices
    start = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    average = (matrices @ start @ matrices.mT).sum(0) / order
    skew = (average - average.mT) / 2
    structure = skew * (dim**0.5 / skew.norm())
    basis = torch.linalg.eigh(-1j * structure).eigenvectors[:, dim // 2 :]
    return kind, basis.mH @ matrices.to(torch.complex128) @ basis
