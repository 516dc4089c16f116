"""Linear groups that are not compact: SL(n), GL(n), positive scalings."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import _random
from equilearn.groups._base import Shape, as_shape
from equilearn.groups._matrix import MatrixGroup, elementary, stack_basis
from equilearn.groups._orthogonal import plane_rotation

Window = tuple[float, float]


def _window(condition: float | Window | None) -> Window:
    """`(lowest, highest)` condition number, from what the user gave."""
    low, high = (
        (1.0, math.inf) if condition is None else condition if isinstance(condition, tuple) else (1.0, condition)
    )
    if not (1.0 <= low < high):
        raise InputError(
            f"condition must be a number above 1 or a window (low, high) with 1 <= low < high, got {condition!r}."
        )
    return float(low), float(high)


def _window_key(window: Window) -> tuple[Any, ...]:
    return () if window == (1.0, math.inf) else window


def _log_condition(window: Window, u: Tensor) -> Tensor:
    """The logarithm of the condition number of a normalised Gaussian 2 x 2 matrix, by inversion.

    `F(kappa) = 1 - 2 kappa / (1 + kappa^2) = 1 - 1 / cosh(log kappa)`, restricted to the window:
    no rejection, whatever the window.
    """
    # 1 - F rather than F: it keeps its digits for large kappa.
    upper = 1 / math.cosh(math.log(window[0]))
    lower = 0.0 if math.isinf(window[1]) else 1 / math.cosh(math.log(window[1]))
    # u in [0, 1), so the survival probability is never zero.
    return torch.acosh(1 / (upper - u * (upper - lower)))


def _reshape_spectrum(singular: Tensor, window: Window, u: Tensor) -> Tensor:
    """Singular values whose log-condition number is uniform on the window, the product unchanged."""
    log = singular.log()
    mean = log.mean(-1, keepdim=True)
    width = (log[..., :1] - log[..., -1:]).clamp_min(1e-300)
    wanted = math.log(window[0]) + u.unsqueeze(-1) * (math.log(window[1]) - math.log(window[0]))
    return (mean + (log - mean) * (wanted / width)).exp()


class SL(MatrixGroup):
    """Matrices of determinant 1, that is volume-preserving linear maps. Not compact.

    Basis of the Lie algebra: `E_ii - E_{i+1,i+1}`, then `E_ij` for `i != j` row by row; for
    `n = 2` these are H, E, F.

    The law of `sample` is that of a Gaussian matrix, a row flipped if its determinant is
    negative, divided by the n-th root of the determinant. For `n = 2` it is drawn exactly and
    without rejection as `R(a) diag(e^{t/2}, e^{-t/2}) R(b)`, `t` the logarithm of the condition
    number, `P(kappa > x) = 2x / (1 + x^2)`: median `2 + sqrt(3)`, infinite mean. A window for
    the condition number restricts that law exactly for `n = 2`; for `n > 2` it makes the
    logarithm of the condition number uniform on the window. Source: "Learning polynomial
    problems with SL(2,R) equivariance", the augmentation law.

    Args:
        n: the dimension, at least 2.
        condition: the largest condition number that `sample` draws, or a window `(low, high)`;
            default none. For `n > 2` a window must be bounded.

    Raises:
        InputError: if `n` is not a whole number >= 2, or the window is empty.

    Example:
        >>> group = SL(2, condition=3.0)
        >>> g = group.sample(100, generator=torch.Generator().manual_seed(0))
        >>> bool((torch.linalg.cond(g) <= 3.0 + 1e-9).all())
        True
    """

    def __init__(self, n: int, condition: float | Window | None = None):
        self.n = positive_int(n, "The dimension n of SL(n)", 2)
        self.condition = _window(condition)
        require(
            self.n == 2 or self.condition[0] == 1.0 or not math.isinf(self.condition[1]),
            f"For SL({self.n}) a window of condition numbers needs an upper end.",
        )

    @property
    def name(self) -> str:
        return f"SL{self.n}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.n, *_window_key(self.condition))

    @property
    def is_abelian(self) -> bool:
        return False

    def inverse(self, g: Tensor) -> Tensor:
        if self.n > 2:
            return super().inverse(g)
        # The adjugate: exact for determinant 1, and no solve.
        a, b, c, d = g[..., 0, 0], g[..., 0, 1], g[..., 1, 0], g[..., 1, 1]
        return torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        condition: float | Window | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Elements under the law that the class states; `condition` replaces its window."""
        shape = as_shape(batch)
        window = self.condition if condition is None else _window(condition)
        if self.n > 2:
            g = _gaussian(self.n, shape, window, generator, device)
            sign, log = torch.linalg.slogdet(g)
            g = torch.cat([g[..., :1, :] * sign[..., None, None], g[..., 1:, :]], dim=-2)
            return (g * (-log / self.n).exp()[..., None, None]).to(dtype)
        u = _random.uniform((*shape, 3), generator, device)
        half = _log_condition(window, u[..., 0]) / 2
        stretch = torch.stack([half.exp(), (-half).exp()], dim=-1)
        left, right = plane_rotation(2 * torch.pi * u[..., 1]), plane_rotation(2 * torch.pi * u[..., 2])
        return ((left * stretch.unsqueeze(-2)) @ right).to(dtype)

    def lie_basis(self) -> Float[Tensor, "lie_dim n n"]:
        n = self.n
        diagonal = [elementary(n, i, i) - elementary(n, i + 1, i + 1) for i in range(n - 1)]
        return stack_basis(diagonal + [elementary(n, i, j) for i in range(n) for j in range(n) if i != j], n)

    @property
    def lie_dim(self) -> int:
        return self.n**2 - 1

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """`|det(g) - 1|`, over the product of the row lengths where that is above 1 (Hadamard's bound, the
        size of the terms that cancel in the determinant)."""
        g = g.to(torch.float64)
        size = torch.linalg.vector_norm(g, dim=-1).prod(-1).clamp_min(1.0)
        return (torch.linalg.det(g) - 1).abs() / size

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are ({self.n}, {self.n}) matrices with det g = 1."


def _gaussian(
    n: int,
    shape: tuple[int, ...],
    window: Window,
    generator: torch.Generator | None,
    device: torch.device | str | None,
) -> Tensor:
    """Gaussian matrices; for a bounded window with log-uniform condition number."""
    g = _random.normal((*shape, n, n), generator, device)
    if math.isinf(window[1]) or n == 1:
        return g
    left, singular, right = torch.linalg.svd(g)
    singular = _reshape_spectrum(singular, window, _random.uniform(shape, generator, device))
    return (left * singular.unsqueeze(-2)) @ right


class GL(MatrixGroup):
    """Invertible matrices. Not compact, two components.

    Basis of the Lie algebra: `E_ij` row by row. The discrete generator is `diag(-1, 1, ..., 1)`.
    `sample` draws Gaussian entries of variance `1 / n`, which are invertible with probability 1;
    with a bound on the condition number, its logarithm is uniform on the window.

    Args:
        n: the dimension, at least 1.
        condition: the largest condition number that `sample` draws, or a window `(low, high)`.

    Raises:
        InputError: if `n` is not a whole number >= 1, or the window is empty or has no upper end
            but a lower one.

    Example:
        >>> GL(2).contains(torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [2.0, 5.0]]]))
        tensor([False,  True])
    """

    def __init__(self, n: int, condition: float | Window | None = None):
        self.n = positive_int(n, "The dimension n of GL(n)")
        self.condition = _window(condition)
        require(
            self.condition[0] == 1.0 or not math.isinf(self.condition[1]),
            "For GL(n) a window of condition numbers needs an upper end.",
        )

    @property
    def name(self) -> str:
        return f"GL{self.n}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.n, *_window_key(self.condition))

    @property
    def is_abelian(self) -> bool:
        return self.n == 1

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        condition: float | Window | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Elements under the law that the class states; `condition` replaces its window."""
        window = self.condition if condition is None else _window(condition)
        return (_gaussian(self.n, as_shape(batch), window, generator, device) / math.sqrt(self.n)).to(dtype)

    def lie_basis(self) -> Float[Tensor, "lie_dim n n"]:
        return stack_basis([elementary(self.n, i, j) for i in range(self.n) for j in range(self.n)], self.n)

    @property
    def lie_dim(self) -> int:
        return self.n**2

    def generators(self) -> Float[Tensor, "1 n n"]:
        """The reflection of the first coordinate."""
        g = torch.eye(self.n, dtype=torch.float64)
        g[0, 0] = -1.0
        return g.unsqueeze(0)

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """0 for an invertible matrix, 1 for one that is singular to the precision of its dtype, NaN where an
        entry is not finite."""
        fine = torch.isfinite(g).all(-1).all(-1)
        filled = torch.where(fine[..., None, None], g, 0.0).to(torch.float64)
        singular = torch.linalg.svdvals(filled)
        invertible = singular[..., -1] > self.n * torch.finfo(g.dtype).eps * singular[..., 0]
        return torch.where(fine, (~invertible).to(torch.float64), torch.nan)

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are invertible ({self.n}, {self.n}) matrices."


class Scaling(MatrixGroup):
    """Positive multiples of the unit matrix. Abelian, not compact.

    The Lie algebra is spanned by the unit matrix, so `exp(a)` scales by `e^a`. `sample` draws
    `e^{spread z}`, `z` standard normal.

    Args:
        n: the dimension of the space that is scaled, at least 1.
        spread: standard deviation of the logarithm of the factors that `sample` draws.

    Raises:
        InputError: if `n` is not a whole number >= 1, or the spread is not a positive number.

    Example:
        >>> group = Scaling(2)
        >>> group.factor(group.from_factor(torch.tensor([0.5, 2.0])))
        tensor([0.5000, 2.0000])
    """

    def __init__(self, n: int = 1, spread: float = 0.25):
        self.n = positive_int(n, "The dimension n of Scaling(n)")
        require(0 < spread < math.inf, f"spread must be a positive number, got {spread!r}.")
        self.spread = float(spread)

    @property
    def name(self) -> str:
        return "Scaling" if self.n == 1 else f"Scaling{self.n}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.n, self.spread)

    @property
    def is_abelian(self) -> bool:
        return True

    def factor(self, g: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
        """The factor by which each element scales."""
        return g[..., 0, 0]

    def from_factor(self, factor: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch n n"]:
        """The scaling by each factor.

        Raises:
            InputError: if a factor is not a positive number.
        """
        require(bool((factor > 0).all()) and bool(torch.isfinite(factor).all()), "Scaling factors must be positive.")
        return factor[..., None, None] * torch.eye(self.n, dtype=factor.dtype, device=factor.device)

    def inverse(self, g: Tensor) -> Tensor:
        return torch.eye(self.n, dtype=g.dtype, device=g.device) / g[..., :1, :1]

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Log-normal factors, as the class states."""
        return self.exp(self.spread * _random.normal((*as_shape(batch), 1), generator, device)).to(dtype)

    def lie_basis(self) -> Float[Tensor, "1 n n"]:
        return torch.eye(self.n, dtype=torch.float64).unsqueeze(0)

    @property
    def lie_dim(self) -> int:
        return 1

    def exp(self, coefficients: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch n n"]:
        """The scaling by `e^a`."""
        self._require_coefficients(coefficients)
        eye = torch.eye(self.n, dtype=coefficients.dtype, device=coefficients.device)
        return coefficients.exp().unsqueeze(-1) * eye

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """The largest entry of `g - g_00 1`, relative to `g_00`; infinite where `g_00` is not positive."""
        g = g.to(torch.float64)
        first = g[..., 0, 0]
        eye = torch.eye(self.n, dtype=g.dtype, device=g.device)
        off = (g - first[..., None, None] * eye).abs().amax((-2, -1)) / first
        return torch.where((first > 0) & torch.isfinite(first), off, torch.inf)

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are positive multiples of the ({self.n}, {self.n}) unit matrix."
