"""Kernels of a learned metric: quadratic, Gaussian, Laplace, generalised; Gram matrices in place."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, one_of, require
from equilearn.kernels._metric import psd_power, times_metric

Metric: TypeAlias = Tensor
"""A positive semidefinite matrix `(D, D)`, or its diagonal `(D,)`."""

BLOCK = 1 << 20
"""Entries of a Gram matrix that are worked on at a time: they stay in the cache."""

TILE = 2_048
"""Side of the tiles of a Gram matrix that is used without being stored."""


class Kernel(ABC):
    """A kernel `k_M(x, z)` that depends on a metric M."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def bandwidth(self) -> float | None:
        """The length L; None for a kernel that has none."""
        return None

    def with_bandwidth(self, bandwidth: float) -> Kernel:
        """The same kernel of another length."""
        raise InputError(f"The {self.name} kernel has no bandwidth.")

    @abstractmethod
    def gram(
        self,
        x: Float[Tensor, "N D"],
        z: Float[Tensor, "K D"] | None,
        metric: Metric,
        out: Float[Tensor, "N K"] | None = None,
    ) -> Float[Tensor, "N K"]:
        """`k_M(x_i, z_j)`; with `z=None` among the rows of `x`, where the diagonal is exact.

        O(N K D), in blocks that stay in the cache; no memory beyond the result and O((N + K) D).
        """

    def product(
        self, x: Float[Tensor, "N D"], z: Float[Tensor, "K D"], metric: Metric, vectors: Float[Tensor, "K C"]
    ) -> Float[Tensor, "N C"]:
        """`k_M(x, z) vectors` without the matrix: O(N K (D + C)), memory of a tile."""
        out = x.new_zeros(len(x), vectors.shape[1])
        tile = x.new_empty(min(len(x), TILE) * min(len(z), TILE))
        for rows in row_blocks(len(x), 1, TILE):
            for columns in row_blocks(len(z), 1, TILE):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                part = self.gram(x[rows], z[columns], metric, tile[: shape[0] * shape[1]].view(shape))
                out[rows].addmm_(part, vectors[columns])
        return out


class RadialKernel(Kernel):
    """A function of the squared distance `D = (x - z)^T M (x - z)`."""

    @property
    def is_sharp(self) -> bool:
        """Whether the kernel has a cusp at 0, where the rounding of a distance would count with its root."""
        return False

    @abstractmethod
    def profile_(self, distance: Tensor) -> Tensor:
        """`k` from squared distances, in place."""

    @abstractmethod
    def slope_(self, distance: Tensor) -> Tensor:
        """`dk/dD` from squared distances, in place; 0 at distance 0 where it does not exist."""

    def gram(
        self,
        x: Float[Tensor, "N D"],
        z: Float[Tensor, "K D"] | None,
        metric: Metric,
        out: Float[Tensor, "N K"] | None = None,
    ) -> Float[Tensor, "N K"]:
        out = x.new_empty(len(x), len(x if z is None else z)) if out is None else out
        for _, block in squared_distances(x, z, metric, out, exact_zeros=self.is_sharp):
            self.profile_(block)
        return out

    def slope(
        self, x: Float[Tensor, "N D"], z: Float[Tensor, "K D"], metric: Metric, same: int | None = None
    ) -> Float[Tensor, "N K"]:
        """`dk/dD` for all pairs; row `i` of `x` is row `same + i` of `z` where `same` is given."""
        out = x.new_empty(len(x), len(z))
        for part, block in squared_distances(x, z, metric, out, exact_zeros=self.is_sharp):
            if same is not None:
                _diagonal(block, same + part.start).zero_()
            self.slope_(block)
        return out


@dataclass(frozen=True)
class Gaussian(RadialKernel):
    """`exp(-D / (2 L^2))`. The convention of the published code; its paper writes `exp(-D / L)`, so that
    L = 2.5 here is 12.5 there.

    Example:
        >>> Gaussian(2.0).gram(torch.eye(2), None, torch.eye(2))
        tensor([[1.0000, 0.7788],
                [0.7788, 1.0000]])
    """

    length: float = 2.5

    def __post_init__(self) -> None:
        _check_length(self.length)

    @property
    def name(self) -> str:
        return "gaussian"

    @property
    def bandwidth(self) -> float:
        return self.length

    def with_bandwidth(self, bandwidth: float) -> Gaussian:
        return replace(self, length=bandwidth)

    def profile_(self, distance: Tensor) -> Tensor:
        return distance.mul_(-0.5 / self.length**2).exp_()

    def slope_(self, distance: Tensor) -> Tensor:
        return self.profile_(distance).mul_(-0.5 / self.length**2)


@dataclass(frozen=True)
class Laplace(RadialKernel):
    """`exp(-sqrt(D) / L)`."""

    length: float = 10.0

    def __post_init__(self) -> None:
        _check_length(self.length)

    @property
    def name(self) -> str:
        return "laplace"

    @property
    def bandwidth(self) -> float:
        return self.length

    def with_bandwidth(self, bandwidth: float) -> Laplace:
        return replace(self, length=bandwidth)

    @property
    def is_sharp(self) -> bool:
        return True

    def profile_(self, distance: Tensor) -> Tensor:
        return distance.sqrt_().mul_(-1 / self.length).exp_()

    def slope_(self, distance: Tensor) -> Tensor:
        root = distance.sqrt()
        self.profile_(distance).mul_(-0.5 / self.length)
        return distance.div_(root.masked_fill_(root == 0, math.inf))


@dataclass(frozen=True)
class Generalized(RadialKernel):
    """`exp(-|A (x - z)|_p^q / L^q)` with `A = M^(1/2)`, `0 < q <= p <= 2`.

    p = 2 is a function of the distance (q = 2 Gaussian, q = 1 Laplace); p < 2 prefers differences in
    few coordinates and costs O(N K D) powers instead of one matrix product. Source: D. Beaglehole et
    al., xRFM (2025), who tune p and q by validation.
    """

    p: float = 2.0
    q: float = 1.0
    length: float = 10.0

    def __post_init__(self) -> None:
        _check_length(self.length)
        numbers = isinstance(self.p, Real) and isinstance(self.q, Real)
        require(numbers, f"p and q must be numbers, got p={self.p!r}, q={self.q!r}.")
        require(
            0 < self.q <= self.p <= 2,
            f"The generalised kernel is positive definite for 0 < q <= p <= 2, got p={self.p:g}, q={self.q:g}.",
        )

    @property
    def name(self) -> str:
        return f"generalized({self.p:g},{self.q:g})"

    @property
    def bandwidth(self) -> float:
        return self.length

    @property
    def is_radial(self) -> bool:
        """Whether the kernel depends on the Euclidean distance alone."""
        return self.p == 2

    @property
    def is_sharp(self) -> bool:
        return self.q < 2

    def with_bandwidth(self, bandwidth: float) -> Generalized:
        return replace(self, length=bandwidth)

    def gram(
        self,
        x: Float[Tensor, "N D"],
        z: Float[Tensor, "K D"] | None,
        metric: Metric,
        out: Float[Tensor, "N K"] | None = None,
    ) -> Float[Tensor, "N K"]:
        if self.is_radial:
            return super().gram(x, z, metric, out)
        root = psd_power(metric, 0.5)
        left = times_metric(x, root)
        found = torch.cdist(left, left if z is None else times_metric(z, root), p=self.p)
        found.div_(self.length).pow_(self.q).neg_().exp_()
        return found if out is None else out.copy_(found)

    def profile_(self, distance: Tensor) -> Tensor:
        return distance.div_(self.length**2).pow_(self.q / 2).neg_().exp_()

    def slope_(self, distance: Tensor) -> Tensor:
        # d/dD exp(-(D / L^2)^(q/2)) = -k (q/2) (D / L^2)^(q/2) / D
        safe = distance.masked_fill(distance == 0, math.inf)
        power = distance.div(self.length**2).pow_(self.q / 2)
        return torch.exp(-power, out=distance).mul_(power).mul_(-self.q / 2).div_(safe)


@dataclass(frozen=True)
class Quadratic(Kernel):
    """`<x, z>_M^2`. Of finite rank, at most D (D + 1) / 2: its Gram matrix is often singular.

    Example:
        >>> Quadratic().gram(torch.tensor([[1.0, 2.0]]), None, torch.ones(2))
        tensor([[25.]])
    """

    @property
    def name(self) -> str:
        return "quadratic"

    def gram(
        self,
        x: Float[Tensor, "N D"],
        z: Float[Tensor, "K D"] | None,
        metric: Metric,
        out: Float[Tensor, "N K"] | None = None,
    ) -> Float[Tensor, "N K"]:
        out = x.new_empty(len(x), len(x if z is None else z)) if out is None else out
        left, right = times_metric(x, metric), (x if z is None else z).mT
        for part in row_blocks(len(x), right.shape[1]):
            torch.mm(left[part], right, out=out[part]).square_()
        return out


KERNELS = ("gaussian", "generalized", "laplace", "quadratic")


def kernel_of(name: str | Kernel, bandwidth: float | None = None, p: float = 2.0, q: float = 1.0) -> Kernel:
    """The kernel of that name: `"gaussian"` (bandwidth 2.5 by default), `"laplace"` (10), `"generalized"` (10) or
    `"quadratic"`.

    A `Kernel` stays as it is, but for its bandwidth where one is given.

    Raises:
        InputError: no such kernel, parameters out of range, or a bandwidth for a kernel that has none.

    Example:
        >>> kernel_of("laplace", 3.0)
        Laplace(length=3.0)
    """
    if isinstance(name, Kernel):
        return name if bandwidth is None else name.with_bandwidth(bandwidth)
    one_of(name, KERNELS, "kernel")
    made = {"gaussian": Gaussian(), "laplace": Laplace(), "quadratic": Quadratic()}.get(name) or Generalized(p, q)
    return made if bandwidth is None else made.with_bandwidth(bandwidth)


# --- parts ----------------------------------------------------------------------------------


def _check_length(length: float) -> None:
    require(
        isinstance(length, Real) and 0 < length < math.inf,
        f"The bandwidth of a kernel must be a positive number, got {length!r}.",
    )


def row_blocks(rows: int, columns: int, entries: int = BLOCK) -> Iterator[slice]:
    """Slices of rows of about `entries` entries."""
    step = max(1, entries // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def squared_distances(
    x: Float[Tensor, "N D"],
    z: Float[Tensor, "K D"] | None,
    metric: Metric,
    out: Float[Tensor, "N K"],
    exact_zeros: bool = False,
) -> Iterator[tuple[slice, Tensor]]:
    """Fill `out` with `(x_i - z_j)^T M (x_i - z_j)`, block by block, each yielded while it is in the cache.

    One matrix product gives `q_i + q_j - 2 x_i^T M z_j`: the two squared norms are two more columns.

    Args:
        exact_zeros: take distances that are no more than their own rounding as 0. Rounding is judged row by row: one
            far point must not blur the distances of the others.
    """
    same = z is None
    z = x if z is None else z
    if len(z) == 0 or len(x) == 0:
        return
    centre = z.mean(0)  # distances do not change, the numbers that cancel get smaller
    x, z = x - centre, z - centre
    moved = times_metric(x, metric)
    left = torch.cat([-2 * moved, _row_dots(moved, x)[:, None], x.new_ones(len(x), 1)], dim=1)
    norms = _row_dots(times_metric(z, metric), z)
    right = torch.cat([z, x.new_ones(len(z), 1), norms[:, None]], dim=1).mT
    unit = _rounding(x, metric, norms) if exact_zeros else None
    if unit is not None:  # in units of its rounding every row has the threshold 1
        left /= unit
    for part in row_blocks(len(x), len(z)):
        block = torch.mm(left[part], right, out=out[part])
        if unit is None:
            block.clamp_min_(0)
        else:
            torch.threshold_(block, 1.0, 0.0).mul_(unit[part])
        if same:
            _diagonal(block, part.start).zero_()
        yield part, block


def _rounding(x: Tensor, metric: Metric, norms: Float[Tensor, " K"]) -> Float[Tensor, "N 1"]:
    """How far the squared distances of each row to points near it may be off: what `|x|^T |M| |x|` rounds to, as a
    power of two, by which one divides and multiplies exactly. Rows of norm 0 have none: they get less than their least
    distance, which is a norm of the other side.
    """
    info = torch.finfo(x.dtype)
    noise = 32 * info.eps * _row_dots(times_metric(x.abs(), metric.abs()), x.abs())
    longest = norms.amax()
    least = torch.where(norms > info.eps**3 * longest, norms, longest).amin()  # quotients by less would overflow
    noise = noise.maximum(info.eps * least).clamp_min_(info.tiny)
    mantissa, _ = torch.frexp(noise)
    return (noise / mantissa)[:, None]


def _row_dots(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


def _diagonal(block: Tensor, offset: int) -> Tensor:
    """Entries `(i, offset + i)` of a block of rows."""
    return block.diagonal(offset) if offset < block.shape[1] else block[:0, 0]
