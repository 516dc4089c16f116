"""The kernel of orbits that are given as arrays, exact where the group acts exactly, else averaged over the group."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, finite, require
from equilearn.groups import Group
from equilearn.kernels._given import a_tensor
from equilearn.kernels._orbit_layout import KernelFunction, _evaluate

COLUMNS = 4_096
"""Points that a kernel is asked for at a time."""

ROWS = 64
"""Points on the other side, where all pairs of elements are needed: among so many both halves are evaluated."""

PROBES = 4
"""Elements at which further rows of the kernel matrix are compared."""

TOLERANCE = 1e-6
"""Kernels that are off by less are put down to rounding (an arc-cosine near 1 loses half of the digits)."""


@dataclass(frozen=True, eq=False)
class OrbitKernel:
    """A kernel on orbits.

    Attributes:
        kappa: `k(x_i, u x_j)`, `(m, m, order)`, symmetric: `kappa[j, i, u^-1]` is `kappa[i, j, u]`. In memory the
            element varies slowest.
        defect: how far the kernel matrix is from being invariant, relative to its norm; measured on all of it where
            it was averaged, else on some rows.
        averaged: whether `kappa` is the mean over all elements.
    """

    kappa: Float[Tensor, "m m order"] = field(repr=False)
    defect: float
    averaged: bool


def orbit_kernel(
    kernel: KernelFunction,
    orbits: Float[Tensor, "order m *shape"],
    group: Group,
    *,
    average: bool | None = None,
    tolerance: float = TOLERANCE,
    generator: torch.Generator | None = None,
) -> OrbitKernel:
    """`kappa[i, j, u] = k(x_i, u x_j)` of a kernel on data of any shape, in `m^2 order` memory.

    An invariant kernel is evaluated at `m^2 order` pairs. One that is not, because turning an image interpolates or
    because the network is finite, is replaced by the nearest invariant one, its mean over **all** elements,
    `kappa[i, j, u] = 1/N sum_g k(g x_i, g u x_j)`: `m^2 order^2 / 2` evaluations, never all in memory. (The values
    at g = e alone are no such thing: their matrix need not be positive semidefinite.)

    Args:
        kernel: `kernel(a, b)` of `(a, *shape)` and `(b, *shape)` gives `(a, b)`; symmetric.
        orbits: `orbits[g, i] = g x_i`, in the order of `group.elements()`: `action.orbit(group.elements(), x)`.
        group: the finite group.
        average: over all elements, always (True) or never (False: a kernel that is not invariant is then refused);
            None: where the measured defect is more than `tolerance`.
        tolerance: the largest relative defect that counts as rounding.
        generator: draws the rows that are compared; default a fixed seed.

    Raises:
        InputError: shapes that do not fit, NaN in the kernel, a kernel that is not symmetric, or not invariant where
            `average` is False (with the measured defect).

    Example:
        >>> import torch
        >>> from equilearn.kernels import rings
        >>> x, symmetry = rings(4)
        >>> orbits = symmetry.input.orbit(symmetry.group.elements(), x)
        >>> found = orbit_kernel(lambda a, b: a @ b.mT, orbits, symmetry.group)
        >>> [round(v, 2) for v in found.kappa[0, 0].tolist()], found.averaged
        ([1.25, 0.25, -0.75, 0.25], False)
    """
    if not isinstance(group, Group):
        raise InputTypeError(f"group must be a finite group, got {type(group).__name__}.")
    order = group._require_enumerable()
    require(
        a_tensor(orbits, "orbits").ndim >= 2 and len(orbits) == order and orbits.shape[1] > 0,
        f"orbits must hold the points by element and seed, ({order}, m, ...); got {tuple(orbits.shape)}.",
    )
    finite(orbits, "orbits")
    if average is None or not average:
        found = _at_identity(kernel, orbits, group, generator)
        if found.defect <= tolerance:
            return found
        require(
            average is None,
            f"The kernel is not invariant under {group} on these points: k(g x, g z) differs from k(x, z) by "
            f"{found.defect:.2g} of its norm (tolerance {tolerance:.2g}). Average it over the group (average=True).",
        )
    return _averaged(kernel, orbits, group)


# --- parts ------------------------------------------------------------------------------------


def _at_identity(
    kernel: KernelFunction, orbits: Tensor, group: Group, generator: torch.Generator | None
) -> OrbitKernel:
    """`k(x_i, u x_j)`, and how far `k(g x_i, g u x_j)` is from it for a few g."""
    order, m = orbits.shape[:2]
    stored: Tensor | None = None
    for u, block in _rows(kernel, orbits):
        stored = block.new_empty(order, m, m) if stored is None else stored
        stored[u] = block
    elements = group.elements()
    inverses = group.index_of(group.inverse(elements)).tolist()
    kappa = stored.permute(1, 2, 0)  # type: ignore[union-attr]
    source = torch.Generator().manual_seed(0) if generator is None else generator
    defect = 0.0
    if order > 1:
        probes = (1 + torch.randperm(order - 1, generator=source)[:PROBES]).tolist()
        seeds = torch.randperm(m, generator=source)[:PROBES].to(orbits.device)
        for g in probes:
            there = group.expand(group.take(elements, g), (order,))
            product = group.index_of(group.compose(there, elements)).to(orbits.device)  # [u]: g u
            moved = orbits[product[:, None], seeds]
            found = _evaluate(kernel, orbits[g, seeds], moved.flatten(0, 1)).unflatten(1, (order, len(seeds)))
            expected = kappa[seeds[:, None], seeds].permute(0, 2, 1)
            norm = float(expected.norm())
            defect = max(defect, float((found - expected).norm()) / norm if norm > 0 else 0.0)
    return OrbitKernel(kappa, max(defect, _symmetrize_(stored, inverses)), averaged=False)  # type: ignore[arg-type]


def _symmetrize_(stored: Float[Tensor, "order m m"], inverses: list[int]) -> float:
    """Make `k(x_i, u x_j)` and `k(x_j, u^-1 x_i)` one, in place; how far apart they were, relative to all."""
    apart = 0.0
    size = float(stored.norm())
    for u, v in enumerate(inverses):
        if u <= v:
            half = (stored[u] - stored[v].mT) / 2
            apart += (4 if u == v else 8) * float(half.norm()) ** 2
            stored[u] -= half
            if u != v:
                stored[v] += half.mT
    return apart**0.5 / size if size > 0 else 0.0


def _averaged(kernel: KernelFunction, orbits: Tensor, group: Group) -> OrbitKernel:
    order, m = orbits.shape[:2]
    elements = group.elements()
    inverses = group.index_of(group.inverse(elements))
    total: Tensor | None = None
    squares = 0.0
    rows, columns = (max(1, size // m) for size in (ROWS, COLUMNS))
    for start in range(0, order, rows):
        left = torch.arange(start, min(start + rows, order))
        back = group.reshape(group.inverse(group.take(elements, left)), (len(left), 1))
        quotient = group.index_of(group.compose(back, group.reshape(elements, (1, order))))  # [g, h]: g^-1 h
        for first in range(start, order, columns):
            right = torch.arange(first, min(first + columns, order))
            block = _evaluate(kernel, orbits[left].flatten(0, 1), orbits[right].flatten(0, 1))
            block = block.unflatten(0, (len(left), m)).unflatten(2, (len(right), m)).transpose(1, 2)  # [g, h, i, j]
            if total is None:
                _check_symmetric(block[0, 0])
                total = block.new_zeros(order, m, m)
            # Those with g < h stand for (h, g) as well.
            for part, once in ((left[:, None] < right, False), (left[:, None] == right, True)):
                found = block[part.to(block.device)]
                place = quotient[:, right][part]
                squares += float(found.norm()) ** 2 * (1 if once else 2)
                total.index_add_(0, place.to(block.device), found)
                if not once:
                    total.index_add_(0, inverses[place].to(block.device), found.mT)
    kappa = (total / order).permute(1, 2, 0)  # type: ignore[operator]
    kept = order * float(kappa.norm()) ** 2
    defect = max(0.0, 1 - kept / squares) ** 0.5 if squares > 0 else 0.0
    return OrbitKernel(kappa, defect, averaged=True)


def _rows(kernel: KernelFunction, orbits: Tensor):
    """`(h, k(x_i, h x_j))` for all h, some at a time."""
    m = orbits.shape[1]
    start = 0
    for chunk in orbits.split(max(1, COLUMNS // m)):
        block = _evaluate(kernel, orbits[0], chunk.flatten(0, 1)).unflatten(1, (len(chunk), m))
        for i in range(len(chunk)):
            yield start + i, block[:, i]
        start += len(chunk)


def _check_symmetric(block: Tensor) -> None:
    norm = float(block.norm())
    defect = float((block - block.mT).norm()) / norm if norm > 0 else 0.0
    require(
        defect <= torch.finfo(block.dtype).eps ** 0.5,
        f"The kernel is not symmetric: k(x, z) - k(z, x) is {defect:.2g} of its norm.",
    )
