"""Linear maps that preserve an indefinite metric: the Lorentz groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import _random
from equilearn.groups._base import Shape, as_shape
from equilearn.groups._matrix import MatrixGroup, elementary, scale, stack_basis
from equilearn.groups._orthogonal import haar_rotation


class Lorentz(MatrixGroup):
    """The connected group of linear maps that preserve the metric `diag(+1 x p, -1 x q)`.

    `Lorentz(1, 3)` is the proper orthochronous Lorentz group of space-time, time first. Not compact.
    Basis of the Lie algebra: the rotations of the planes `i < j` inside the first `p`, then
    inside the last `q` coordinates, then the boosts of `i < p <= j`.

    `sample` draws `R_1 B R_2`: `R_1`, `R_2` Haar rotations of the two blocks, `B` boosts of the
    coordinates `i` and `p + i` with independent normal rapidities of standard deviation
    `rapidity`.

    Args:
        p: number of coordinates with metric +1, at least 1.
        q: number of coordinates with metric -1, at least 1.
        rapidity: scale of the rapidities that `sample` draws.

    Raises:
        InputError: if `p` or `q` is not a whole number >= 1, or the rapidity is not positive.

    Example:
        >>> group = Lorentz(1, 3)
        >>> g = group.boost(1.0, axis=0)
        >>> bool(torch.allclose(g.mT @ group.metric @ g, group.metric))
        True
    """

    def __init__(self, p: int = 1, q: int = 3, rapidity: float = 1.0):
        self.p = positive_int(p, "The number p of positive directions of Lorentz(p, q)")
        self.q = positive_int(q, "The number q of negative directions of Lorentz(p, q)")
        require(0 < rapidity < math.inf, f"rapidity must be a positive number, got {rapidity!r}.")
        self.n = self.p + self.q
        self.rapidity = float(rapidity)

    @property
    def name(self) -> str:
        plain = self.p < 10 and self.q < 10
        return f"Lorentz{self.p}{self.q}" if plain else f"Lorentz({self.p},{self.q})"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.p, self.q, self.rapidity)

    @property
    def is_abelian(self) -> bool:
        return self.n == 2

    @property
    def metric(self) -> Float[Tensor, "n n"]:
        """`diag(+1 x p, -1 x q)`, float64."""
        return torch.diag(self._signs())

    def _signs(self, like: Tensor | None = None) -> Tensor:
        signs = torch.tensor([1.0] * self.p + [-1.0] * self.q, dtype=torch.float64)
        return signs if like is None else signs.to(like)

    def product(self, x: Float[Tensor, "*x n"], y: Float[Tensor, "*y n"]) -> Float[Tensor, "*batch"]:
        """The invariant (Minkowski) product of vectors.

        Example:
            >>> Lorentz(1, 3).product(torch.tensor([2.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
            tensor(1.)
        """
        return (x * self._signs(x) * y).sum(-1)

    def inverse(self, g: Tensor) -> Tensor:
        """`eta g^T eta`, exact and without a solve."""
        signs = self._signs(g)
        return signs.unsqueeze(-1) * g.mT * signs

    def boost(self, rapidity: Tensor | float, axis: Tensor | int = 0) -> Float[Tensor, "*batch n n"]:
        """The boost along a direction, for `p = 1` or `q = 1`.

        It takes the unit vector of the single (time) direction to `cosh(r)` times itself plus
        `sinh(r)` times the direction.

        Args:
            rapidity: `(*batch)`; a number gives one float64 matrix.
            axis: a space axis counted from 0, or directions `(*batch, n - 1)` of any length.

        Raises:
            InputError: if `p > 1` and `q > 1`, or the axis does not fit.

        Example:
            >>> moved = Lorentz(1, 3).boost(1.0, axis=2) @ torch.eye(4, dtype=torch.float64)[0]
            >>> moved
            tensor([1.5431, 0.0000, 0.0000, 1.1752], dtype=torch.float64)
        """
        require(
            self.p == 1 or self.q == 1,
            f"{self.name} has no single time direction: give boosts through exp instead.",
        )
        rapidity = torch.as_tensor(rapidity, dtype=None if isinstance(rapidity, Tensor) else torch.float64)
        direction = self._space_direction(axis, rapidity)
        mixed = torch.zeros(*direction.shape[:-1], self.n, self.n, dtype=rapidity.dtype, device=rapidity.device)
        time, space = (0, slice(1, None)) if self.p == 1 else (self.n - 1, slice(0, -1))
        mixed[..., time, space] = direction
        mixed[..., space, time] = direction
        # mixed^3 = mixed, so the exponential series closes after the square.
        sinh, cosh = torch.sinh(rapidity)[..., None, None], torch.cosh(rapidity)[..., None, None]
        eye = torch.eye(self.n, dtype=rapidity.dtype, device=rapidity.device)
        return eye + sinh * mixed + (cosh - 1) * (mixed @ mixed)

    def _space_direction(self, axis: Any, like: Tensor) -> Tensor:
        size = self.n - 1
        if isinstance(axis, int) and not isinstance(axis, bool) and 0 <= axis < size:
            return torch.eye(size, dtype=like.dtype, device=like.device)[axis]
        if not (isinstance(axis, Tensor) and axis.ndim >= 1 and axis.shape[-1] == size):
            raise InputError(
                f"axis must be a space axis 0..{size - 1} or directions of shape (*batch, {size}), got {axis!r}."
            )
        length = torch.linalg.vector_norm(axis.to(like), dim=-1, keepdim=True)
        require(bool((length > 0).all()), "axis has directions of length zero, which name no boost.")
        return axis.to(like) / length

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        rapidity: float | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Elements under the law that the class states; `rapidity` replaces its scale."""
        shape, p = as_shape(batch), self.p
        left, right = self._rotations(shape, generator, device), self._rotations(shape, generator, device)
        count = min(p, self.q)
        r = _random.normal((*shape, count), generator, device) * (self.rapidity if rapidity is None else rapidity)
        boost = self.identity(shape, device=left.device)
        for i in range(count):
            boost[..., i, i] = boost[..., p + i, p + i] = torch.cosh(r[..., i])
            boost[..., i, p + i] = boost[..., p + i, i] = torch.sinh(r[..., i])
        return (left @ boost @ right).to(dtype)

    def _rotations(self, shape: tuple[int, ...], generator: torch.Generator | None, device: Any) -> Tensor:
        first = haar_rotation(self.p, shape, generator, device)
        second = haar_rotation(self.q, shape, generator, device)
        g = torch.zeros(*shape, self.n, self.n, dtype=torch.float64, device=second.device)
        g[..., : self.p, : self.p] = first.to(second.device)
        g[..., self.p :, self.p :] = second
        return g

    def lie_basis(self) -> Float[Tensor, "lie_dim n n"]:
        n, p = self.n, self.p
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
        inside = [(i, j) for i, j in pairs if j < p] + [(i, j) for i, j in pairs if i >= p]
        rotations = [elementary(n, j, i) - elementary(n, i, j) for i, j in inside]
        boosts = [elementary(n, i, j) + elementary(n, j, i) for i, j in pairs if i < p <= j]
        return stack_basis(rotations + boosts, n)

    @property
    def lie_dim(self) -> int:
        return self.n * (self.n - 1) // 2

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """The largest entry of `g^T eta g - eta`, over the mean squared singular value of `g` where that is
        above 1; infinite outside the connected component."""
        g = g.to(torch.float64)
        signs = self._signs(g)
        off = (g.mT @ (signs.unsqueeze(-1) * g) - torch.diag(signs)).abs().amax((-2, -1)) / scale(g)
        # The four components are told apart by the signs of these two determinants.
        p = self.p
        connected = (torch.linalg.det(g[..., :p, :p]) > 0) & (torch.linalg.det(g[..., p:, p:]) > 0)
        return torch.where(connected | torch.isnan(off), off, torch.inf)

    def _membership_rule(self) -> str:
        return (
            f"Elements of {self.name} are ({self.n}, {self.n}) matrices with g^T eta g = eta, eta = "
            f"diag(+1 x {self.p}, -1 x {self.q}), that reverse the orientation of neither block."
        )
