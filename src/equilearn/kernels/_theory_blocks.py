"""Held-out points of a whole data set in orbits of any finite group, exactly, by blocks.

With `K[(s, g), (t, h)] = kappa[s, t, g^-1 h]` and targets that are one on each orbit, `alpha = K^(trivial)^-1 Y` is
`K^-1 Y` at every point of an orbit, and the inverse matrix is known from `beta[s, t, u]`. Points missing from
training then have the residuals `r = B^-1 alpha` with `B = beta[s, s', g^-1 g']` over the missing points alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputTypeError, finite, require
from equilearn.groups import Cyclic, Group
from equilearn.kernels._blocks import _fourier, symmetry_defect
from equilearn.kernels._given import (
    a_tensor,
    check_kappa,
    check_labels,
    check_ridge,
    require_symmetric,
)
from equilearn.kernels._held_out import inverse_of_psd, solve_missing
from equilearn.reps import GroupFourier

AT_A_TIME = 4
"""Entries of irreps that kappa is multiplied by at a time, real and imaginary parts."""

HELD_OUT_LIMIT = 8_192
"""Most points of one held-out set: a dense matrix of its size is solved."""


@dataclass(frozen=True)
class IrrepShare:
    """What one irreducible representation contributes to the inverse spectrum of a kernel.

    Attributes:
        name: "trivial", "frequency 2", or "irrep 3".
        dim, type: its dimension over the complex numbers; real, complex or quaternionic. Of a pair of conjugate
            ones one is listed, for both.
        multiplicity: how often each of its m dim eigenvalues occurs in the kernel matrix.
        inverse: the mean of `1 / lambda` over them.
        share: its part of the mean over all eigenvalues, `<1 / lambda>`: the irreps in which the orbits are sampled
            badly have the large ones. The labels lie in the trivial one.
    """

    name: str
    dim: int
    type: str
    multiplicity: int
    inverse: float
    share: float


@dataclass(frozen=True, eq=False)
class MissingPoints:
    """Points that were not in training, and how they are predicted.

    Attributes:
        seed, element: which, `(n,)`: element `element[i]` of the orbit of seed `seed[i]`.
        residual: `y - f`, `(n, c)`.
        density: squared distance of each from the span of all training points in feature space, `(n,)`: the variance
            that a Gaussian process has left there.
    """

    seed: Int[Tensor, " n"]
    element: Int[Tensor, " n"]
    residual: Float[Tensor, "n c"] = field(repr=False)
    density: Float[Tensor, " n"] = field(repr=False)


@dataclass(frozen=True, eq=False)
class OrbitInverse:
    """`(K + ridge I)^-1` of all points of all orbits, in blocks: made by `orbit_inverse`.

    Attributes:
        fourier: the transform of the group.
        blocks: `(K^(rho) + ridge I)^-1`, `(count, m dim, m dim)` for each stack of irreps.
        ridge: what was added to the diagonal.
    """

    fourier: GroupFourier
    blocks: tuple[Tensor, ...] = field(repr=False)
    ridge: float

    @property
    def seeds(self) -> int:
        return self.blocks[0].shape[-1]  # the trivial representation is among the first, of dimension 1

    @property
    def group(self) -> Group:
        return self.fourier.group

    def at_identity(self) -> Float[Tensor, "m m"]:
        """`beta(e)`: the block of the inverse between the points of one element, the same for each. O(m^2 order)."""
        total = torch.zeros_like(self.blocks[0][0])
        for stack, block in zip(self.fourier.stacks, self.blocks, strict=True):
            sums = (block.real if block.is_complex() else block).sum(0)
            split = sums.unflatten(-1, (self.seeds, stack.dim)).unflatten(-3, (self.seeds, stack.dim))
            traces = split.diagonal(dim1=-3, dim2=-1).sum(-1) if stack.dim > 1 else sums
            total += traces * (stack.multiplicity / self.fourier.order)
        return total

    def whole(self) -> Float[Tensor, "m m order"]:
        """`beta`: the whole inverse, as `block_inverse` gives it."""
        parts = []
        for stack, block in zip(self.fourier.stacks, self.blocks, strict=True):
            split = block.unflatten(-1, (self.seeds, stack.dim)).unflatten(-3, (self.seeds, stack.dim))
            parts.append(split.permute(1, 3, 0, 2, 4))
        return self.fourier.inverse(parts)

    def duals(self, y: Float[Tensor, "m c"]) -> Float[Tensor, "m c"]:
        """`alpha`: the coefficients of all points of each orbit, for targets that are one on an orbit."""
        require(
            a_tensor(y, "y").ndim == 2 and len(y) == self.seeds,
            f"y must hold one row of targets for each of the {self.seeds} seeds, (m, c); got {tuple(y.shape)}.",
        )
        if y.dtype != self.blocks[0].dtype:
            raise InputTypeError(f"The kernel is {self.blocks[0].dtype}, but y is {y.dtype}: give both in one dtype.")
        return self.blocks[0][0] @ finite(y, "y")

    def without_element(self, y: Float[Tensor, "m c"], labels: Int[Tensor, " m"] | Sequence[int]) -> MissingPoints:
        """Each class in turn misses one element, for all its seeds; by symmetry it does not matter which one.

        Args:
            y: targets of the orbits.
            labels: the class of each seed.

        Returns:
            All m seeds at the identity: residuals of the seeds of one class are those of a training set in which
            that class, and no other, misses that element.

        Raises:
            InputError: shapes that do not fit, or NaN.

        Cost: size^3 / 3 for each class.

        Source: the canonical case of arXiv 2412.11521, for any finite group, seeds and classes.
        """
        alpha, beta = self.duals(y), self.at_identity()
        labels = check_labels(labels, self.seeds)
        residual, density = torch.empty_like(alpha), alpha.new_empty(len(alpha))
        for c in labels.unique():
            index = torch.nonzero(labels == c).flatten().to(alpha.device)
            residual[index], density[index] = solve_missing(beta[index[:, None], index], alpha[index], self.ridge)
        seed = torch.arange(len(alpha))
        return MissingPoints(seed, torch.zeros_like(seed), residual, density)

    def without(
        self,
        y: Float[Tensor, "m c"],
        held_out: Bool[Tensor, "m order"],
        *,
        whole: Float[Tensor, "m m order"] | None = None,
    ) -> MissingPoints:
        """All points of one set are missing at once.

        Args:
            y: targets of the orbits.
            held_out: True at (seed, element) where the point is missing.
            whole: `whole()`, where it is at hand already.

        Raises:
            InputError: shapes that do not fit, NaN; no point missing, or every one, or more than 8,192.

        Cost: n^3 / 3 for n missing points, n^2 + m^2 order memory.
        """
        alpha = self.duals(y)
        seed, element = _points(held_out, self.seeds, self.fourier.order)
        group = self.group
        elements = group.elements()
        needed, place = element.unique(return_inverse=True)
        k = len(needed)
        back = group.reshape(group.inverse(group.take(elements, needed)), (k, 1))
        quotient = group.index_of(group.compose(back, group.reshape(group.take(elements, needed), (1, k))))
        beta = self.whole() if whole is None else whole
        rows = seed.to(beta.device)
        between = quotient[place[:, None], place].to(beta.device)
        residual, density = solve_missing(beta[rows[:, None], rows, between], alpha[rows], self.ridge)
        return MissingPoints(seed, element, residual, density)

    def spectrum(self) -> tuple[IrrepShare, ...]:
        """The inverse spectrum by irrep, the trivial one first."""
        rows = []
        names = irrep_names(self.fourier)
        for i, (stack, block) in enumerate(zip(self.fourier.stacks, self.blocks, strict=True)):
            traces = block.diagonal(dim1=-2, dim2=-1).real.sum(-1)
            for j, trace in enumerate(traces.tolist()):
                size = self.seeds * stack.dim
                share = stack.multiplicity * trace / (self.seeds * self.fourier.order)
                rows.append((names[i][j], stack.dim, stack.type, stack.multiplicity, trace / size, share))
        total = sum(row[-1] for row in rows)
        return tuple(IrrepShare(*row[:-1], share=row[-1] / total) for row in rows)


def orbit_inverse(
    kappa: Float[Tensor, "m m order"], group: Group | GroupFourier, *, ridge: float = 0.0
) -> OrbitInverse:
    """Factor the kernel matrix of m orbits once; then ask for the error of any points that might be missing.

    Args:
        kappa: `k(x_i, u x_j)`, `(m, m, order)`: `kappa_from_function`, or `orbit_kernel` for a kernel that is
            invariant in part only.
        group: the group, or its `GroupFourier` where that is at hand already.
        ridge: added to the diagonal.

    Returns:
        The factorised problem: `.without_element(y, labels)`, `.without(y, held_out)`, `.spectrum()`.

    Raises:
        InputError: shapes that do not fit, NaN, a negative ridge, a kernel that is not symmetric, indefinite (the
            irrep and the eigenvalue are named) or singular: then points coincide, or orbits collapse
            (`orbit_spread`), and a ridge is needed.

    Cost: transforms of m^2 functions and about `sum_rho (m dim)^3`, against (m order)^3; a few times m^2 order
    numbers, against (m order)^2. Source: the theory of arXiv 2412.11521 carried over to any finite group, and to
    several seeds and classes without the averages over pairs.

    Example:
        >>> import torch
        >>> from equilearn.kernels import kappa_from_function, rings
        >>> x, symmetry = rings(6, 1.0)
        >>> points = symmetry.input.orbit(symmetry.group.elements(), x).transpose(0, 1).flatten(0, 1)
        >>> kernel = lambda a, b: torch.exp(-(0.85**2) * torch.cdist(a, b) ** 2)
        >>> kappa = kappa_from_function(kernel, points, symmetry.group, torch.arange(12).reshape(2, 6))
        >>> y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
        >>> missing = orbit_inverse(kappa, symmetry.group).without_element(y, torch.tensor([0, 1]))
        >>> [round(v, 10) for v in (missing.residual * y).flatten().tolist()]  # both below 1: predicted
        [0.3976007723, 0.3976007723]
    """
    fourier = _fourier(group)
    check_kappa(kappa, fourier.order, fourier.group)
    require_symmetric(symmetry_defect(kappa, fourier.group), kappa.dtype)
    return inverse_of_symmetric(kappa, fourier, check_ridge(ridge))


def inverse_of_symmetric(kappa: Float[Tensor, "m m order"], fourier: GroupFourier, ridge: float) -> OrbitInverse:
    """`orbit_inverse` of what is known to be symmetric."""
    m = kappa.shape[0]
    rows = kappa.permute(2, 0, 1).flatten(1)
    scale = float(kappa[..., 0].diagonal().max())  # no more than the largest eigenvalue of the whole matrix
    names = irrep_names(fourier)
    found = []
    for i, (name, stack) in enumerate(zip(names, fourier.stacks, strict=True)):
        size, dtype = m * stack.dim, kappa.dtype if stack.type == "real" else kappa.dtype.to_complex()
        inverses = kappa.new_empty(stack.count, size, size, dtype=dtype)
        for j, block in enumerate(_hermitian_blocks(rows, fourier, i)):
            block.diagonal().add_(ridge)
            inverses[j] = inverse_of_psd(block, f"The kernel matrix ({name[j]} of {fourier.group})", scale)
        found.append(inverses)
    return OrbitInverse(fourier, tuple(found), ridge)


def _hermitian_blocks(rows: Float[Tensor, "order m*m"], fourier: GroupFourier, index: int) -> Iterator[Tensor]:
    """`sum_u kappa(u) (x) rho(u)` for each irrep of a stack, some at a time: a product reads all of kappa."""
    stack = fourier.stacks[index]
    table = fourier.matrices(index).to(rows.device)
    m = math.isqrt(rows.shape[1])
    step = max(1, AT_A_TIME // stack.dim**2)
    for start in range(0, stack.count, step):
        entries = table[:, start : start + step].flatten(1).mT
        parts = [entries.real, entries.imag] if table.is_complex() else [entries]
        sums = torch.cat([part.to(rows.dtype) for part in parts]) @ rows
        split = sums.unflatten(0, (len(parts), -1, stack.dim, stack.dim)).unflatten(-1, (m, m))
        for j in range(split.shape[1]):
            both = [part.permute(2, 0, 3, 1).reshape(m * stack.dim, m * stack.dim) for part in split[:, j]]
            yield torch.complex(*both) if len(both) == 2 else both[0]


def orbit_spread(kappa: Float[Tensor, "m m order"]) -> float:
    """The part of the points' variance in feature space that lies within orbits: 0 where orbits collapse to points.

    `sum |g x_s - mu_s|^2 / sum |g x_s - mu|^2` with the means of each orbit and of all. An architecture that is
    invariant under the group gives 0 (`kappa` is constant in the element); one that is only equivariant does not.

    Args:
        kappa: `k(x_i, u x_j)`, `(m, m, order)`.

    Raises:
        InputError: shapes that do not fit, or NaN.

    O(m^2 order).

    Example:
        >>> import torch
        >>> orbit_spread(torch.eye(2)[..., None].expand(2, 2, 5))
        0.0
    """
    check_kappa(kappa)
    means = kappa.mean(-1)  # <mu_s, mu_t>
    size = float(kappa[..., 0].diagonal().mean())
    within = size - float(means.diagonal().mean())
    total = size - float(means.mean())
    return min(1.0, max(0.0, within / total)) if total > 0 else 0.0


def class_signals(kappa: Float[Tensor, "m m order"], labels: Int[Tensor, " m"] | Sequence[int]) -> Float[Tensor, "C C"]:
    """`N/2 |mu_c - mu_d|^2` for every two classes: how far apart the means of their points are in feature space.

    Args:
        kappa: `k(x_i, u x_j)`, `(m, m, order)`.
        labels: the class of each seed; classes are taken in ascending order.

    Raises:
        InputError: shapes that do not fit, or NaN.

    Example:
        >>> import torch
        >>> class_signals(torch.eye(2)[..., None].expand(2, 2, 3), torch.tensor([0, 1]))
        tensor([[0., 3.],
                [3., 0.]])
    """
    labels = check_labels(labels, len(check_kappa(kappa))).to(kappa.device)
    members = (labels[None] == labels.unique()[:, None]).to(kappa)
    weights = members / members.sum(1, keepdim=True)
    inner = weights @ kappa.mean(-1) @ weights.mT
    own = inner.diagonal()
    return kappa.shape[-1] / 2 * (own[:, None] + own - inner - inner.mT).clamp(min=0)


def irrep_names(fourier: GroupFourier) -> list[list[str]]:
    """What the irreps of each stack are called: by frequency for a cyclic group, else by their number."""
    if isinstance(fourier.group, Cyclic) and fourier.order > 1:
        phases = [fourier.matrices(i)[1].flatten() for i in range(len(fourier.stacks))]
        turns = [torch.angle(phase.to(torch.complex128)).abs() / (2 * torch.pi) * fourier.order for phase in phases]
        names = [[f"frequency {round(k)}" for k in turn.tolist()] for turn in turns]
    else:
        counts = [stack.count for stack in fourier.stacks]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        names = [[f"irrep {start + j}" for j in range(count)] for start, count in zip(starts, counts, strict=True)]
    names[0][0] = "trivial"
    return names


# --- parts ------------------------------------------------------------------------------------


def _points(held_out: Tensor, seeds: int, order: int) -> tuple[Tensor, Tensor]:
    require(
        tuple(a_tensor(held_out, "held_out").shape) == (seeds, order),
        f"held_out marks points by seed and element, ({seeds}, {order}); got {tuple(held_out.shape)}.",
    )
    if held_out.dtype != torch.bool:
        raise InputTypeError(f"held_out must be Boolean, got {held_out.dtype}.")
    seed, element = torch.nonzero(held_out.cpu()).unbind(1)
    n = len(seed)
    require(
        0 < n < seeds * order,
        f"{'Every' if n else 'No'} point is held out: {'nothing is left to train on' if n else 'nothing to predict'}.",
    )
    require(
        n <= HELD_OUT_LIMIT,
        f"{n} points are held out at once, and a dense matrix of that size is solved, up to {HELD_OUT_LIMIT}. "
        "Take fewer seeds, or hold out fewer elements.",
    )
    return seed, element
