"""Rotations and reflections: SO(n), O(n)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import _random
from equilearn.groups._base import Shape, as_shape
from equilearn.groups._matrix import MatrixGroup, elementary, stack_basis


def haar_orthogonal(
    n: int, batch: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str | None
) -> Float[Tensor, "*batch n n"]:
    """Haar-distributed orthogonal matrices, float64: QR of a Gaussian matrix.

    The columns of Q get the signs of the diagonal of R. Without that the law depends on the
    sign convention of the QR routine and is not Haar (the mean of `Q[0, 0]` is not even zero).
    """
    q, r = torch.linalg.qr(_random.normal((*batch, n, n), generator, device))
    signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    return q * signs.unsqueeze(-2)


def haar_rotation(
    n: int, batch: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str | None
) -> Float[Tensor, "*batch n n"]:
    """Haar-distributed rotations, float64."""
    if n == 1:
        return torch.ones(*batch, 1, 1, dtype=torch.float64, device=device)
    if n == 2:
        return plane_rotation(2 * torch.pi * _random.uniform(batch, generator, device))
    if n == 3:
        return _quaternion_rotation(_random.normal((*batch, 4), generator, device))
    q = haar_orthogonal(n, batch, generator, device)
    # Multiplying one column by det(q) maps Haar on O(n) to Haar on SO(n).
    return torch.cat([q[..., :1] * torch.linalg.det(q)[..., None, None].sign(), q[..., 1:]], dim=-1)


def plane_rotation(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """Counter-clockwise rotations of the plane."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)


def _quaternion_rotation(q: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of a quaternion of any length; uniform directions give Haar rotations."""
    w, x, y, z = (q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _sine_ratios(squared: Tensor) -> tuple[Tensor, Tensor]:
    """`sin(t) / t` and `(1 - cos(t)) / t^2` as functions of `t^2`, smooth at zero.

    Near zero a Taylor polynomial, so that derivatives of every order that training needs are
    exact there; its truncation error is below 1e-17.
    """
    small = squared < 1e-3
    s = torch.where(small, squared, 0.0)
    first = 1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72)))
    second = 0.5 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56 * (1 - s / 90))))
    # Both branches must stay finite: torch.where passes 0 * inf = NaN back otherwise.
    safe = torch.where(small, 1.0, squared)
    t = safe.sqrt()
    half = torch.sin(t / 2)
    return torch.where(small, first, torch.sin(t) / t), torch.where(small, second, 2 * half * half / safe)


def skew(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix of the cross product with `v`."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rodrigues(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation about `v` by its length: `exp` of the cross product with `v` (Rodrigues)."""
    first, second = _sine_ratios(v.square().sum(-1))
    k = skew(v)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    return eye + first[..., None, None] * k + second[..., None, None] * (k @ k)


def rotation_basis(n: int) -> list[Tensor]:
    """A basis of the skew-symmetric matrices, in the order that `SO` states."""
    planes = [(1, 2), (2, 0), (0, 1)] if n == 3 else [(i, j) for i in range(n) for j in range(i + 1, n)]
    return [elementary(n, j, i) - elementary(n, i, j) for i, j in planes]


class _Orthogonal(MatrixGroup):
    """What SO(n) and O(n) share."""

    def __init__(self, n: int):
        self.n = positive_int(n, f"The dimension n of {type(self).__name__}(n)", 2)

    @property
    def name(self) -> str:
        return f"{type(self).__name__}{self.n}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.n,)

    @property
    def is_compact(self) -> bool:
        return True

    def inverse(self, g: Tensor) -> Tensor:
        """The transpose."""
        return g.mT

    def lie_basis(self) -> Float[Tensor, "lie_dim n n"]:
        """Rotations in coordinate planes: from axis `i` to axis `j` for `i < j`; for `n = 3` the
        cross products with the axes x, y, z."""
        return stack_basis(rotation_basis(self.n), self.n)

    @property
    def lie_dim(self) -> int:
        return self.n * (self.n - 1) // 2

    def exp(self, coefficients: Float[Tensor, "*batch lie_dim"]) -> Float[Tensor, "*batch n n"]:
        """`exp(sum_i a_i X_i)`: in closed form for `n = 2` (the angle) and `n = 3` (the rotation vector,
        Rodrigues), safe at zero with gradients; by `torch.matrix_exp` above."""
        if self.n > 3:
            return super().exp(coefficients)
        self._require_coefficients(coefficients)
        return plane_rotation(coefficients[..., 0]) if self.n == 2 else rodrigues(coefficients)

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """The largest entry of `g^T g - 1`."""
        g = g.to(torch.float64)
        eye = torch.eye(self.n, dtype=g.dtype, device=g.device)
        return (g.mT @ g - eye).abs().amax((-2, -1))

    def rotation(
        self, angle: Tensor | float, axis: Tensor | tuple[int, int] | int | None = None
    ) -> Float[Tensor, "*batch n n"]:
        """The rotation by `angle` (radians), counter-clockwise.

        Args:
            angle: `(*batch)`; a number gives one float64 matrix.
            axis: for `n = 2` nothing; for `n = 3` a direction `(*batch, 3)` of any length, or the
                number of a coordinate axis; above, the plane `(i, j)`, turning axis `i` towards `j`.

        Raises:
            InputError: if the axis does not fit `n`, or a direction is zero.

        Example:
            >>> SO(2).angle(SO(2).rotation(0.5))
            tensor(0.5000, dtype=torch.float64)
            >>> SO(3).rotation(torch.pi / 2, axis=2).round().abs().int()
            tensor([[0, 1, 0],
                    [1, 0, 0],
                    [0, 0, 1]], dtype=torch.int32)
        """
        angle = torch.as_tensor(angle, dtype=None if isinstance(angle, Tensor) else torch.float64)
        if self.n == 2:
            require(axis is None, f"{self.name} has one plane to turn in: leave axis out.")
            return plane_rotation(angle)
        if self.n == 3:
            return rodrigues(angle.unsqueeze(-1) * _direction(axis, angle))
        if not (isinstance(axis, tuple) and len(axis) == 2 and len({*axis}) == 2 and {*axis} <= {*range(self.n)}):
            raise InputError(f"axis must be a plane (i, j) of two different axes 0..{self.n - 1}, got {axis!r}.")
        i, j = axis
        turn = (elementary(self.n, j, i) - elementary(self.n, i, j)).to(angle)
        # turn^2 = -P with P the projection on the plane, so this is Rodrigues' formula.
        cos, sin = torch.cos(angle)[..., None, None], torch.sin(angle)[..., None, None]
        return torch.eye(self.n, dtype=angle.dtype, device=angle.device) + sin * turn + (1 - cos) * (turn @ turn)

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are ({self.n}, {self.n}) matrices with g^T g = 1."


def _direction(axis: Any, like: Tensor) -> Tensor:
    if isinstance(axis, int) and not isinstance(axis, bool) and 0 <= axis < 3:
        return torch.eye(3, dtype=like.dtype, device=like.device)[axis]
    if not (isinstance(axis, Tensor) and axis.ndim >= 1 and axis.shape[-1] == 3):
        raise InputError(f"axis must be a direction of shape (*batch, 3) or a coordinate axis 0, 1, 2, got {axis!r}.")
    length = torch.linalg.vector_norm(axis.to(like), dim=-1, keepdim=True)
    require(bool((length > 0).all()), "axis has directions of length zero, which name no axis of rotation.")
    return axis.to(like) / length


class SO(_Orthogonal):
    """Rotations of `n`-dimensional space.

    Basis of the Lie algebra: the plane from axis `i` to axis `j`, `i < j`; for `n = 3` the
    rotations about x, y, z, so that `exp(v)` turns about `v` by its length. `sample` is Haar.

    Args:
        n: the dimension, at least 2.

    Raises:
        InputError: if `n` is not a whole number >= 2.

    Example:
        >>> group = SO(3)
        >>> g = group.sample(5, generator=torch.Generator().manual_seed(0))
        >>> bool(group.contains(g).all()), tuple(g.shape)
        (True, (5, 3, 3))
    """

    @property
    def is_abelian(self) -> bool:
        return self.n == 2

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Haar-distributed rotations."""
        return haar_rotation(self.n, as_shape(batch), generator, device).to(dtype)

    def defect(self, g: Tensor) -> Float[Tensor, "*batch"]:
        """The larger of the largest entry of `g^T g - 1` and `|det(g) - 1|`."""
        return torch.maximum(super().defect(g), (torch.linalg.det(g.to(torch.float64)) - 1).abs())

    def angle(self, g: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch"]:
        """`n = 2`: the angle of each rotation in `(-pi, pi]`.

        Example:
            >>> SO(2).angle(SO(2).rotation(torch.tensor([0.5, -1.0])))
            tensor([ 0.5000, -1.0000])
        """
        require(self.n == 2, f"{self.name} has no single angle; axis_angle serves n = 3.")
        self._require_matrices(g)
        return torch.atan2(g[..., 1, 0] - g[..., 0, 1], g[..., 0, 0] + g[..., 1, 1])

    def axis_angle(self, g: Float[Tensor, "*batch 3 3"]) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch"]]:
        """`n = 3`: the unit axis and the angle in `[0, pi]` of each rotation; the axis of the identity is z.

        Example:
            >>> axis, angle = SO(3).axis_angle(SO(3).rotation(torch.tensor(3.0), torch.tensor([0.0, 2.0, 0.0])))
            >>> axis, angle
            (tensor([0., 1., 0.]), tensor(3.))
        """
        require(self.n == 3, f"axis_angle serves SO3; {self.name} has rotation planes instead of an axis.")
        self._require_matrices(g)
        odd = torch.stack([g[..., 2, 1] - g[..., 1, 2], g[..., 0, 2] - g[..., 2, 0], g[..., 1, 0] - g[..., 0, 1]], -1)
        sine = torch.linalg.vector_norm(odd, dim=-1)
        cosine = g.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
        angle = torch.atan2(sine, cosine)
        # Beyond a right angle the sine loses digits; (g + g^T) / 2 - cos 1 = (1 - cos) a a^T does not.
        eye = torch.eye(3, dtype=g.dtype, device=g.device)
        outer = (g + g.mT) / 2 - (cosine / 2)[..., None, None] * eye
        largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
        column = torch.gather(outer, -1, largest[..., None, None].expand(*outer.shape[:-1], 1)).squeeze(-1)
        column = column * torch.where((column * odd).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        axis = torch.where((cosine < 0).unsqueeze(-1), column, odd)
        length = torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
        return torch.where(length > 0, axis / length.clamp_min(torch.finfo(g.dtype).tiny), eye[2]), angle

    def _membership_rule(self) -> str:
        return f"Elements of {self.name} are ({self.n}, {self.n}) matrices with g^T g = 1 and det g = 1."


class O(_Orthogonal):  # noqa: E742 - the name of the group
    """Rotations and reflections of `n`-dimensional space.

    Lie algebra as `SO(n)`; the one discrete generator is the reflection `diag(1, ..., 1, -1)`.
    `sample` is Haar.

    Args:
        n: the dimension, at least 2.

    Raises:
        InputError: if `n` is not a whole number >= 2.

    Example:
        >>> group = O(2)
        >>> group.generators()
        tensor([[[ 1.,  0.],
                 [ 0., -1.]]], dtype=torch.float64)
    """

    @property
    def is_abelian(self) -> bool:
        return False

    def sample(
        self,
        batch: Shape = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Haar-distributed orthogonal matrices: a Haar rotation, its last column negated at even odds."""
        shape = as_shape(batch)
        g = haar_rotation(self.n, shape, generator, device)
        flip = 1.0 - 2.0 * _random.integers(2, shape, generator, device)
        return torch.cat([g[..., :-1], g[..., -1:] * flip[..., None, None]], dim=-1).to(dtype)

    def generators(self) -> Float[Tensor, "1 n n"]:
        """The reflection of the last coordinate."""
        g = torch.eye(self.n, dtype=torch.float64)
        g[-1, -1] = -1.0
        return g.unsqueeze(0)
