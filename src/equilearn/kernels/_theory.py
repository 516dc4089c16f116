"""Two orbits, one point missing: the error of a kernel machine as class separation against orbit density."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.kernels._given import a_tensor, check_kappa, check_ridge
from equilearn.kernels._held_out import check_gram, inverse_of_psd
from equilearn.kernels._solve import cutoff


@dataclass(frozen=True, eq=False)
class OrbitGeometry:
    """Why a missing point is predicted or not.

    Attributes:
        signal: how far apart the classes are, `N/2 |mu_A - mu_B|^2` with the means of the orbits in feature space.
        density: how badly the orbits are sampled, `d^2`: the squared distance of a missing point from the span of all
            the others (the harmonic mean over points), `1 / <lambda^-1>`.
        error: `density / signal`; below 1 the missing point is put into its class.
    """

    signal: float
    density: float

    @property
    def error(self) -> float:
        return self.density / self.signal


@dataclass(frozen=True, eq=False)
class SpectralError(OrbitGeometry):
    """The same, read off the spectrum of two interleaved orbits of a cyclic group.

    Attributes:
        eigenvalues: `(2N,)`, at the frequencies 0, 1, ..., 2N - 1; the labels are frequency N.
    """

    eigenvalues: Float[Tensor, " n"] = field(repr=False)


def spectral_error(gram: Float[Tensor, "n n"], *, ridge: float = 0.0) -> SpectralError:
    """The error of a missing point of one of two orbits of a cyclic group: `lambda_N^-1 / <lambda^-1>`.

    The points are interleaved, `a_0, b_0, a_1, b_1, ...`. Where `b_j` lies half a step after `a_j` and both orbits
    look alike (`rings`), the kernel matrix is circulant and the labels `+, -, +, -` are one of its eigenvectors; the
    formula is exact. Elsewhere the matrix is averaged along its wrapped diagonals, as in the source; positive
    eigenvalues are required, not made by taking magnitudes.

    Args:
        gram: kernel matrix of the interleaved points, `(2N, 2N)`.
        ridge: added to the diagonal.

    Raises:
        InputError: no symmetric matrix of even size, NaN, a negative ridge, an average that is indefinite (named
            with its eigenvalue) or singular.

    Source: arXiv 2412.11521, equation for the spectral error, and its code. O(N^2).

    Example:
        >>> import torch
        >>> from equilearn.kernels import rings
        >>> x, symmetry = rings(6, 1.0)
        >>> points = symmetry.input.orbit(symmetry.group.elements(), x).flatten(0, 1)
        >>> found = spectral_error(torch.exp(-(0.85**2) * torch.cdist(points, points) ** 2))
        >>> round(found.error, 10), round(found.signal, 8)
        (0.3976007723, 1.1609956)
    """
    check_gram(gram)
    n = len(gram)
    require(n % 2 == 0 and n >= 4, f"Two interleaved orbits of N >= 2 points make an even number >= 4, got {n}.")
    index = torch.arange(n, device=gram.device)
    row = gram[index[:, None], (index[:, None] + index) % n].mean(0)
    return _from_row(row, check_ridge(ridge))


def orbit_geometry(gram: Float[Tensor, "n n"], layout: Int[Tensor, "2 order"], *, ridge: float = 0.0) -> OrbitGeometry:
    """Separation of two orbits and density of their sampling in feature space, for any kernel matrix.

    Args:
        gram: kernel matrix, `(n, n)` with n = 2N.
        layout: which points make up each orbit, `(2, N)`, as from `orbit_layout`.
        ridge: added to the diagonal: `ridge` is then part of both figures.

    Raises:
        InputError: shapes that do not fit, NaN, a negative ridge, indefinite or singular matrices.

    Source: arXiv 2412.11521; `lambda_N = N/2 |mu_A - mu_B|^2` because it is the Rayleigh quotient of the labels,
    `1 / (K^-1)_ii = d_i^2` by the partitioned inverse. Cost: one inverse, n^3.

    Example:
        >>> import torch
        >>> found = orbit_geometry(torch.eye(6), torch.arange(6).reshape(2, 3))  # a kernel that knows nothing
        >>> round(found.signal, 4), round(found.density, 4), round(found.error, 4)
        (1.0, 1.0, 1.0)
    """
    check_gram(gram)
    n = len(gram)
    places = sorted(a_tensor(layout, "layout").flatten().tolist())
    require(
        tuple(layout.shape) == (2, n // 2) and places == list(range(n)),
        f"layout must place the {n} points, 0 to {n - 1}, into two orbits of equal size, (2, {n // 2}); got "
        f"{len(set(places))} places in shape {tuple(layout.shape)}.",
    )
    signs = gram.new_empty(n)
    signs[layout[0]], signs[layout[1]] = 1.0, -1.0
    matrix = gram.clone()
    matrix.diagonal().add_(check_ridge(ridge))
    inverse = inverse_of_psd(matrix, "The kernel matrix")
    return OrbitGeometry(float(signs @ matrix @ signs) / n, 1 / float(inverse.diagonal().mean()))


def equicorrelated_error(order: int, diagonal: float, within: float, between: float, *, ridge: float = 0.0) -> float:
    """The error in closed form when a kernel takes three values: on a point, within an orbit, between the two orbits.

    Eigenvalues `a + (N-1) b + N c` (constants), `a + (N-1) b - N c` (labels), and `a - b`, 2N - 2 times.

    Args:
        order: N, the points of an orbit.
        diagonal, within, between: the values a, b, c.
        ridge: added to a.

    Raises:
        InputError: a number that is no order, or values that are those of no kernel.

    Example:
        >>> round(equicorrelated_error(5, 1.0, 0.6, 0.2), 10)
        0.2018348624
    """
    n = positive_int(order, "order", minimum=2)
    a = diagonal + check_ridge(ridge)
    constant, label, rest = a + (n - 1) * within + n * between, a + (n - 1) * within - n * between, a - within
    low = min(constant, label, rest)
    require(
        low > 0,
        f"The values ({diagonal}, {within}, {between}) with ridge {ridge} have the eigenvalue {low:.3g}: a kernel "
        "matrix that can be inverted has only positive ones.",
    )
    mean = (1 / constant + 1 / label + (2 * n - 2) / rest) / (2 * n)
    return 1 / (label * mean)


def pair_spectral_errors(kappa: Float[Tensor, "m m order"], *, ridge: float = 0.0) -> Float[Tensor, "m m"]:
    """`spectral_error` of every pair of orbits of a cyclic group: the paper's figure for many seeds is their mean.

    Args:
        kappa: `k(x_i, u x_j)` for u in the order of `Cyclic(N).elements()`, `(m, m, N)`.
        ridge: added to the diagonal.

    Returns:
        Errors, `(m, m)`, entry `[i, j]` with the points of orbit i first; NaN on the diagonal. Of classes with several
        seeds, average over the pairs that differ in class: that ignores what other seeds add, and is off where they
        matter (`orbit_inverse` is not).

    Raises:
        InputError: shapes that do not fit, a negative ridge, an indefinite or singular pair.

    Source: arXiv 2412.11521, its section on several seeds. O(m^2 N log N).

    Example:
        >>> import torch
        >>> eye = torch.zeros(2, 2, 3)
        >>> eye[[0, 1], [0, 1], 0] = 1
        >>> pair_spectral_errors(eye)[0, 1]
        tensor(1.)
    """
    m, n = check_kappa(kappa).shape[1:]
    require(
        m >= 2 and n >= 2,
        f"kappa must have shape (m, m, N) with m, N >= 2, got {tuple(kappa.shape)}.",
    )
    own = kappa.diagonal(dim1=0, dim2=1).mT  # (m, N)
    even = (own[:, None] + own[None]) / 2
    # a_g to b_(g + u), and b_g to a_(g + u + 1), are both 2u + 1 places on.
    odd = (kappa + kappa.transpose(0, 1).roll(-1, -1)) / 2
    rows = torch.stack([even, odd], -1).flatten(-2)
    values = torch.fft.fft(rows).real
    off = ~torch.eye(m, dtype=torch.bool, device=kappa.device)
    values = _positive(values[off], check_ridge(ridge))
    errors = kappa.new_full((m, m), float("nan"))
    errors[off] = 1 / (values[:, n] * (1 / values).mean(-1))
    return errors


# --- parts ------------------------------------------------------------------------------------


def _from_row(row: Tensor, ridge: float) -> SpectralError:
    values = _positive(torch.fft.fft(row).real, ridge)
    n = len(row)
    return SpectralError(float(values[n // 2]), 1 / float((1 / values).mean()), values)


def _positive(values: Tensor, ridge: float) -> Tensor:
    """The eigenvalues with the ridge, which must all be positive."""
    top = float(values.abs().max())
    low = float(values.min())
    if low < -1e3 * cutoff(values.dtype) * top:
        raise InputError(
            f"The kernel matrix averaged along its wrapped diagonals is indefinite: its smallest eigenvalue is "
            f"{low:.3g}, its largest {top:.3g}. Are the points interleaved, a_0, b_0, a_1, b_1, ...?"
        )
    values = values + ridge
    require(
        float(values.min()) > cutoff(values.dtype) * top,
        f"The averaged kernel matrix is singular to working precision in {values.dtype}: its smallest eigenvalue is "
        f"{low:.2g}, its largest {top:.2g}. Add a ridge.",
    )
    return values
