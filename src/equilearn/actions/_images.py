"""Groups of the plane on images: exact where pixels go to pixels, interpolated elsewhere.

The plane has its origin in the middle of the image, its first axis to the right and its second axis
upwards, in pixels; a positive angle turns counter-clockwise as seen. `(g f)(p) = f(g^-1 p)`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from equilearn._check import InputError, InputTypeError, one_of, require
from equilearn.actions._base import Action, Data, Unbound
from equilearn.actions._elements import paired
from equilearn.actions._geometry import Geometry, geometry
from equilearn.groups import Element, Group

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
PADDINGS = ("zeros", "border", "reflection", "circular")

_ON_GRID = 1e-9
"""How far a matrix may be from a signed permutation to count as one; float32 elements get 1e-5."""

_CONTEXT = 2
"""Pixels of context that the widest interpolation (bicubic) reads beyond the image."""


class ImageAction(Action):
    """A group of plane transformations on images `(B, C, H, W)`; see `images`."""

    def __init__(self, group: Group, interpolation: str = "bilinear", padding: str = "zeros"):
        self.group = group
        self.interpolation = one_of(interpolation, INTERPOLATIONS, "interpolation")
        self.padding = one_of(padding, PADDINGS, "padding")
        self._geometry = _plane(group)
        self._exact_on_squares, self._exact_on_rectangles = self._exact_shapes()

    @property
    def name(self) -> str:
        options = [self.interpolation] * (self.interpolation != "bilinear") + [self.padding] * (self.padding != "zeros")
        return "images" + (f" ({', '.join(options)})" if options else "")

    def check(self, x: Data) -> None:
        if not isinstance(x, Tensor):
            raise InputTypeError(
                f"images act on one tensor (B, C, H, W), got {type(x).__name__}. For tuples use combine(...)."
            )
        hint = " Add the channel axis with x.unsqueeze(1)." if x.ndim == 3 else ""
        require(x.ndim == 4, f"images need data of shape (B, C, H, W), got shape {tuple(x.shape)}.{hint}")
        if not (x.is_floating_point() or self.is_exact(x)):
            raise InputTypeError(
                f"{self.group} moves pixels of a {x.shape[-2]} x {x.shape[-1]} image to places between pixels; "
                f"that needs floating-point images, got {x.dtype}. Convert with x.float()."
            )

    def is_exact(self, x: Data) -> bool:
        """Whether every element takes pixels to pixels: quarter turns and flips on a square, half turns
        and flips on a rectangle."""
        return self._exact_on_squares if x.shape[-2] == x.shape[-1] else self._exact_on_rectangles

    @property
    def keeps_disc(self) -> bool:
        """Whether the group only turns and reflects about the middle, so that what lies in the largest
        disc stays in the image."""
        if self._geometry.has_shift:
            return False
        g = self.group.sample((4,), generator=torch.Generator().manual_seed(0))
        matrix, _ = self._geometry.parts(g, 2)
        if matrix is None:
            return True
        return bool((matrix @ matrix.mT - torch.eye(2, dtype=torch.float64)).abs().max() < 1e-6)

    def _exact_shapes(self) -> tuple[bool, bool]:
        if self.group.lie_dim > 0 or self._geometry.has_shift:
            return False, False
        (count,) = self.group.batch_shape(self.group.generators())
        matrix, _ = self._geometry.parts(self.group.generators(), 2)
        if count == 0 or matrix is None:
            return True, True
        square, rectangle = (bool(_on_grid(matrix, None, 2, width, _ON_GRID).all()) for width in (2, 3))
        return square, rectangle

    def __call__(self, g: Element, x: Data) -> Data:
        self.check(x)
        one_each = paired(self.group, g, x.shape[0])
        if x.numel() == 0:
            return x.clone()
        g = self.group.to(g, device=x.device)
        matrix, shift = self._inverse_map(g, x)
        if self.is_exact(x):
            return _gather(x, _pixel_index(matrix, shift, x.shape[-2], x.shape[-1]), one_each)
        exact = _on_grid(matrix, shift, x.shape[-2], x.shape[-1], self._tolerance(g)) & self._keeps_pixels(shift)
        if bool(exact.all()):
            return _gather(x, _pixel_index(matrix, shift, x.shape[-2], x.shape[-1]), one_each)
        moved = self._interpolate(matrix, shift, x)
        if one_each and bool(exact.any()):
            # Elements that do fall on the grid stay exact whatever company they are in.
            kept = _gather(x, _pixel_index(matrix.round(), shift, x.shape[-2], x.shape[-1]), True)
            moved = torch.where(exact[:, None, None, None], kept, moved)
        return moved

    def _inverse_map(
        self, g: Element, x: Tensor
    ) -> tuple[Float[Tensor, "*batch 2 2"], Float[Tensor, "*batch 2"] | None]:
        """`(A, t)` with `g^-1 p = A p + t`: where the pixel at `p` is read."""
        matrix, shift = self._geometry.parts(self.group.inverse(g), 2)
        if matrix is None:  # a geometry of the plane has a linear part; this keeps the types honest
            raise InputError(f"{self.group} has no action on the plane.")
        return matrix.to(x.device), None if shift is None else shift.to(x.device)

    def _tolerance(self, g: Element) -> float:
        leaf = g
        while isinstance(leaf, tuple):
            leaf = leaf[0]
        return 1e-5 if leaf.dtype in (torch.float32, torch.float16, torch.bfloat16) else _ON_GRID

    def _keeps_pixels(self, shift: Tensor | None) -> Tensor:
        """A shift by whole pixels needs no interpolation only where the image wraps round."""
        if shift is None:
            return torch.tensor(True)
        still = (shift.abs() < _ON_GRID).all(-1)
        whole = ((shift - shift.round()).abs() < _ON_GRID).all(-1)
        return whole if self.padding == "circular" else still

    def _interpolate(
        self, matrix: Tensor, shift: Tensor | None, x: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "B C H W"]:
        height, width = x.shape[-2:]
        where = _pixel_centres(height, width, x.device) @ matrix.mT
        if shift is not None:
            where = where + shift.unsqueeze(-2)
        column, row = where[..., 0] + (width - 1) / 2, (height - 1) / 2 - where[..., 1]
        source, padding = x, self.padding
        if padding == "circular":
            # Wrapped coordinates read at most `_CONTEXT` pixels beyond an edge.
            column, row = column.remainder(width), row.remainder(height)
            source = x[..., torch.arange(-_CONTEXT, height + _CONTEXT + 1, device=x.device) % height, :]
            source = source[..., torch.arange(-_CONTEXT, width + _CONTEXT + 1, device=x.device) % width]
            column, row, padding = column + _CONTEXT, row + _CONTEXT, "border"
        grid = torch.stack([(2 * column + 1) / source.shape[-1] - 1, (2 * row + 1) / source.shape[-2] - 1], dim=-1)
        # grid_sample has no half precision on the CPU: work in float32 there.
        work = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        grid = grid.reshape(-1, height, width, 2).expand(x.shape[0], height, width, 2).to(work)
        moved = functional.grid_sample(
            source.to(work), grid, mode=self.interpolation, padding_mode=padding, align_corners=False
        )
        return moved.to(x.dtype)


def images(interpolation: str = "bilinear", padding: str = "zeros") -> Unbound:
    """Transformations of the plane on images of shape `(B, C, H, W)`, about the middle of the image.

    Groups: `Cyclic(n)` and `Dihedral(n)`, `SO(2)`, `O(2)`, any group of 2x2 matrices, `Translation(2)`,
    `Euclidean(2)`, `SpecialEuclidean(2)` (shifts in pixels, first to the right, second upwards),
    `Scaling`, and products whose factors commute on the plane. Quarter turns and flips of a square
    image, half turns and flips of a rectangle, are exact (pixels are copied, any dtype); other
    elements interpolate, so that the group law holds up to `measure.interpolation_floor` only.

    Args:
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        padding: what is read outside the image: `"zeros"`, `"border"`, `"reflection"` or `"circular"`.

    Raises:
        InputError: unknown interpolation or padding; when bound, a group that does not act on the
            plane; when acting, data that are not `(B, C, H, W)`.

    Cost: O(B C H W), one batched gather or one `grid_sample`.

    Example:
        >>> import torch, equilearn as eq
        >>> turn = eq.actions.images().on(eq.Cyclic(4))
        >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> torch.equal(turn(torch.tensor(1), x), torch.rot90(x, 1, (-2, -1)))
        True
    """
    one_of(interpolation, INTERPOLATIONS, "interpolation")
    one_of(padding, PADDINGS, "padding")
    return Unbound("images", lambda group: ImageAction(group, interpolation, padding))


def _plane(group: Group) -> Geometry:
    found = geometry(group)
    if found.permuting is not None or not found.affine:
        raise InputError(f"{group} permutes points and does not act on images. Use sets() or points().")
    require(
        found.dimension in (2, None),
        f"{group} acts on {found.dimension}-dimensional space; images need a group of the plane, such as SO(2).",
    )
    return found


def _pixel_centres(height: int, width: int, device: torch.device) -> Float[Tensor, "pixels 2"]:
    """Plane coordinates of the pixels in reading order, float64."""
    right = torch.arange(width, dtype=torch.float64, device=device) - (width - 1) / 2
    up = (height - 1) / 2 - torch.arange(height, dtype=torch.float64, device=device)
    return torch.stack([right.expand(height, width), up[:, None].expand(height, width)], dim=-1).reshape(-1, 2)


def _on_grid(matrix: Tensor, shift: Tensor | None, height: int, width: int, tolerance: float) -> Tensor:
    """Which maps take pixel centres to pixel centres: signed permutations that fit the shape, whole shifts."""
    whole = (matrix - matrix.round()).abs().amax((-2, -1)) < tolerance
    rounded = matrix.round()
    signed = (rounded.abs().sum(-1) == 1).all(-1) & (rounded.abs().sum(-2) == 1).all(-1)
    fits = whole & signed
    if height != width:
        fits = fits & (rounded[..., 0, 1] == 0)
    if shift is not None:
        fits = fits & ((shift - shift.round()).abs() < tolerance).all(-1)
    return fits


def _pixel_index(matrix: Tensor, shift: Tensor | None, height: int, width: int) -> Int[Tensor, "*batch pixels"]:
    """For every pixel, the index of the pixel that it is read from; whole shifts wrap round."""
    where = _pixel_centres(height, width, matrix.device) @ matrix.round().mT
    if shift is not None:
        where = where + shift.round().unsqueeze(-2)
    column = (where[..., 0] + (width - 1) / 2).round().long() % width
    row = ((height - 1) / 2 - where[..., 1]).round().long() % height
    return row * width + column


def _gather(x: Tensor, index: Int[Tensor, "*batch pixels"], one_each: bool) -> Tensor:
    flat = x.flatten(-2)
    if one_each:
        moved = torch.gather(flat, -1, index.unsqueeze(1).expand(-1, flat.shape[1], -1))
    else:
        moved = flat[..., index]
    return moved.reshape(x.shape)
