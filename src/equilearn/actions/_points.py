"""Point clouds and sets: space moves the coordinates, permutations move the points."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.actions._base import Action, Axes, Data, Unbound
from equilearn.actions._elements import paired
from equilearn.actions._geometry import geometry
from equilearn.actions._permuting import agreed_count, permuted, the_permuting
from equilearn.groups import Element, Group


class PointAction(Action):
    """Clouds of points `(B, N, d + vectors * d + scalars)`; see `points`."""

    def __init__(self, group: Group, count: int | None = None, vectors: int = 0, scalars: int = 0):
        self.group = group
        self.vectors = positive_int(vectors, "vectors", 0)
        self.scalars = positive_int(scalars, "scalars", 0)
        self._geometry = geometry(group)
        self.count = agreed_count(group, self._geometry.permuting, count)

    @property
    def name(self) -> str:
        extra = [f"{self.vectors} vectors"] * (self.vectors > 0) + [f"{self.scalars} scalars"] * (self.scalars > 0)
        listed = ([str(self.count)] if self.count is not None else []) + extra
        return "points" + (f"({', '.join(listed)})" if listed else "")

    @property
    def is_linear(self) -> bool:
        return not self._geometry.has_shift

    def check(self, x: Data) -> None:
        _require_cloud(x, "points", self.count)
        if not self._geometry.affine:
            return
        dimension = self._dimension(x)
        need = dimension * (1 + self.vectors) + self.scalars
        require(
            x.shape[-1] == need and dimension > 0,
            f"{self} needs {need} columns ({dimension} coordinates"
            + (f", {self.vectors} vectors" if self.vectors else "")
            + (f", {self.scalars} scalars" if self.scalars else "")
            + f"), got data of shape {tuple(x.shape)}.",
        )
        if not x.is_floating_point():
            raise InputTypeError(f"{self} needs floating-point coordinates, got {x.dtype}. Convert with x.float().")

    @property
    def permutes(self) -> bool:
        """Whether the group permutes the points."""
        return self._geometry.permuting is not None

    def permute(self, g: Element, x: Tensor) -> Tensor:
        """The permutation part alone, on axis 1 of data `(B, N, ...)` of any kind."""
        return x if self._geometry.permuting is None else permuted(self._geometry.permuting, g, x)

    @property
    def dimension(self) -> int | None:
        """Dimension of the space that the group turns; None where any fits, or where it turns none."""
        return self._geometry.dimension

    def turn(self, g: Element, x: Tensor) -> Tensor:
        """The linear part alone, on the last axis of vectors `(B, ..., d)` of any kind."""
        matrix, _ = self._geometry.parts(self.group.to(g, device=x.device), x.shape[-1])
        if matrix is None:
            return x
        rows = x.reshape(x.shape[0], -1, x.shape[-1])
        return (rows @ matrix.to(device=x.device, dtype=x.dtype).mT).reshape(x.shape)

    def permuted_axes(self, index: int, x: Data) -> Axes:
        permuting = self._geometry.permuting
        return (1,) if permuting is not None and permuting.index == index else ()

    def _dimension(self, x: Tensor) -> int:
        found = self._geometry.dimension
        return (x.shape[-1] - self.scalars) // (1 + self.vectors) if found is None else found

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        one_each = paired(self.group, g, x.shape[0])
        if x.numel() == 0:
            return x.clone()
        g = self.group.to(g, device=x.device)
        if self._geometry.permuting is not None:
            x = permuted(self._geometry.permuting, g, x)
        return self._move(g, x, one_each) if self._geometry.affine else x

    def _move(self, g: Element, x: Tensor, one_each: bool) -> Tensor:
        dimension = self._dimension(x)
        width = dimension * (1 + self.vectors)
        matrix, shift = self._geometry.parts(g, dimension)
        blocks = x[..., :width].unflatten(-1, (1 + self.vectors, dimension))
        if matrix is not None:
            matrix = matrix.to(device=x.device, dtype=x.dtype).mT
            flat = blocks.flatten(1, 2) @ matrix
            blocks = flat.reshape(blocks.shape)
        if shift is not None:
            # Positions move with the shift; velocities and other vectors only turn.
            shift = shift.to(device=x.device, dtype=x.dtype)
            shift = shift[:, None, None] if one_each else shift
            blocks = torch.cat([blocks[:, :, :1] + shift, blocks[:, :, 1:]], dim=2)
        moved = blocks.flatten(-2)
        return moved if self.scalars == 0 else torch.cat([moved, x[..., width:]], dim=-1)


class SetAction(Action):
    """Permutations of the second axis of `(B, n, ...)`; see `sets`."""

    def __init__(self, group: Group, count: int | None = None):
        self.group = group
        self._permuting = the_permuting(group, count)
        self.count = agreed_count(group, self._permuting, count)
        self.index = self._permuting.index
        """Which factor of a product permutes; 0 for any other group."""

    @property
    def name(self) -> str:
        return f"sets({self.count})"

    @property
    def permutes(self) -> bool:
        """Whether the group permutes the points: always."""
        return True

    def permute(self, g: Element, x: Tensor) -> Tensor:
        """The same as acting; shared with clouds of points."""
        return permuted(self._permuting, g, x)

    def permuted_axes(self, index: int, x: Data) -> Axes:
        return (1,) if index == self.index else ()

    def check(self, x: Data) -> None:
        _require_cloud(x, "sets", self.count, least=2)

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        paired(self.group, g, x.shape[0])
        if x.numel() == 0:
            return x.clone()
        return permuted(self._permuting, self.group.to(g, device=x.device), x)


def points(n: int | None = None, *, vectors: int = 0, scalars: int = 0) -> Unbound:
    """Clouds of points of shape `(B, N, d + vectors * d + scalars)`: positions, then vectors, then scalars.

    Groups of `d x d` matrices turn positions and vectors, affine groups (`Euclidean(d)`, ...) also
    shift the positions, `Symmetric(N)` permutes the points, plane rotations `Cyclic`, `Dihedral` act
    for `d = 2`, and products of those do all of it. Scalars stay as they are.

    Args:
        n: number of points N; None takes it from the group, or allows any number.
        vectors: how many vectors (velocities, forces) follow the position of a point.
        scalars: how many numbers at the end of a point no rotation touches (charges, masses).

    Raises:
        InputError: when bound, a group that does not move points, or `Symmetric(m)` with `m != n`;
            when acting, data of another shape.

    Cost: O(B N d^2).

    Example:
        >>> import torch, equilearn as eq
        >>> move = eq.actions.points(2, scalars=1).on(eq.Cyclic(4) * eq.Symmetric(2))
        >>> x = torch.tensor([[[1.0, 0.0, 7.0], [2.0, 0.0, 8.0]]])
        >>> move((torch.tensor(1), torch.tensor([1, 0])), x)
        tensor([[[0., 2., 8.],
                 [0., 1., 7.]]])
    """
    return Unbound("points", lambda group: PointAction(group, n, vectors, scalars))


def sets(n: int | None = None) -> Unbound:
    """Permutations of the second axis of data `(B, n, ...)`: entry `i` goes to place `p[i]`.

    Entries may be of any dtype: numbers, labels, a mask. A product of groups acts through the factor that
    permutes and leaves the entries themselves alone, so that `combine(points(5), sets(5))` moves the points
    of `SO(3) * Symmetric(5)` together with their mask.

    Args:
        n: size of the sets; None takes it from the group.

    Raises:
        InputError: when bound, a group that does not permute `n` things, or a product with two factors
            that do (then `factor(index, sets())` says which); when acting, other data.

    Cost: O(B n) times the size of an entry; no matrix is built.

    Example:
        >>> import torch, equilearn as eq
        >>> move = eq.actions.sets().on(eq.Symmetric(3))
        >>> move(torch.tensor([1, 2, 0]), torch.tensor([[10, 20, 30]]))
        tensor([[30, 10, 20]])
    """
    return Unbound("sets", lambda group: SetAction(group, n))


def _require_cloud(x: object, what: str, count: int | None, least: int = 3) -> None:
    if not isinstance(x, Tensor):
        raise InputTypeError(f"{what} act on one tensor, got {type(x).__name__}. For tuples use combine(...).")
    form = "(B, N, columns)" if least == 3 else "(B, n, ...)"
    fits = x.ndim == 3 if least == 3 else x.ndim >= 2
    require(fits, f"{what} need data of shape {form}, got shape {tuple(x.shape)}.")
    require(
        count is None or x.shape[1] == count,
        f"{what} need {count} points on axis 1, got data of shape {tuple(x.shape)}.",
    )
