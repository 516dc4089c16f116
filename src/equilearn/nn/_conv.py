"""Group convolutions on images for C_n and D_n (Cohen & Welling 2016).

A feature map of `F` regular fields is a tensor `(B, F |G|, H, W)`: channel `f |G| + g` holds
field `f` at the group element of index `g`. An element `h` moves it as
`(h F)(g, p) = F(h^-1 g, h^-1 p)`; `feature_maps` is that action.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import positive_int, require
from equilearn.groups import Group
from equilearn.nn._exact import ExpandedWeight
from equilearn.nn._kernels import kernel_basis, plane_group, quotients


class _PlaneConv(ExpandedWeight):
    """What lifting and group convolutions share: basis, bias, geometry, the call of `conv2d`."""

    basis: Tensor
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        group: Group,
        in_channels: int,
        out_fields: int,
        kernel_size: int,
        stride: int,
        padding: int | str,
        bias: bool,
        max_frequency: int | None,
        generator: torch.Generator | None,
        weight_shape: tuple[int, ...],
    ):
        super().__init__()
        self.group = plane_group(group)
        self.order = int(self.group.order or 1)
        self.in_channels, self.out_fields = in_channels, positive_int(out_fields, "out_fields")
        self.out_channels = self.out_fields * self.order
        self.kernel_size, self.stride = kernel_size, positive_int(stride, "stride")
        self.padding = _padding(padding, kernel_size)
        basis = kernel_basis(self.group, kernel_size, max_frequency)  # (G, M, P)
        # One matrix product turns all kernels at once: (M, G P).
        self.register_constant("basis", basis.transpose(0, 1).reshape(basis.shape[1], -1))
        self.weight = nn.Parameter(torch.empty(*weight_shape, basis.shape[1]))
        # E[W^2] summed over the fan-in is 1: variance of white inputs is kept.
        fan_in = math.prod(self.weight.shape[1:])
        nn.init.normal_(self.weight, std=fan_in**-0.5, generator=generator)
        self.bias = nn.Parameter(torch.zeros(self.out_fields)) if bias else None

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H_out W_out"]:
        self._check(x)
        bias = None if self.bias is None else self.bias.repeat_interleave(self.order)
        return functional.conv2d(x, self.expanded(), bias, self.stride, self.padding)

    def _check(self, x: Tensor) -> None:
        require(
            x.ndim == 4 and x.shape[1] == self.in_channels,
            f"This layer takes images of shape (B, {self.in_channels}, H, W), got {tuple(x.shape)}.",
        )
        for size in x.shape[2:]:
            left = size + 2 * self.padding - self.kernel_size
            require(
                left >= 0 and left % self.stride == 0,
                f"An image side of {size} with kernel {self.kernel_size}, padding {self.padding} and stride "
                f"{self.stride} has no grid that turns onto itself: (side + 2 padding - kernel) must be a multiple "
                f"of the stride, and is {left}. Change the kernel or the padding by one, or crop the image.",
            )

    def extra_repr(self) -> str:
        return (
            f"{self.group}, {self.in_channels} -> {self.out_channels} channels, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


def _padding(padding: int | str, kernel_size: int) -> int:
    """`"same"` is half an odd kernel on each side."""
    positive_int(kernel_size, "kernel_size")
    if padding != "same":
        return positive_int(padding, "padding", minimum=0)
    require(kernel_size % 2 == 1, f"padding='same' needs an odd kernel_size, got {kernel_size}. Give a number.")
    return kernel_size // 2


class LiftingConv2d(_PlaneConv):
    """The first layer: from images to functions on the group and the plane.

    Arguments:
        group: `Cyclic(n)` or `Dihedral(n)`.
        in_channels: channels of the images, which the group leaves in place.
        out_fields: regular fields; the output has `out_fields * group.order` channels.
        kernel_size, stride: as in `torch.nn.Conv2d`, square.
        padding: zeros on each side, or `"same"` (default, odd kernels).
        bias: one number a field.
        max_frequency: band limit of the kernels; default all that the grid resolves. Pixels are
            free for groups of quarter turns, whose kernels turn exactly.
        generator: for the initial weights.

    The layer is exactly equivariant under quarter turns and flips in the group, on square images
    whose grid of windows turns onto itself: `(side + 2 padding - kernel)` a multiple of the
    stride (other sizes are refused; stride 2 wants an odd kernel on odd sides, an even one on
    even sides). Other turns hold up to the interpolation of the grid.

    Raises `InputError` for another group, another number of channels, or such a size.

    Cost: a `Conv2d` of equal width, plus O(parameters * G * kernel_size^2) to turn the kernels.

    Source: Cohen & Welling 2016, eq. 10; rings and harmonics: Weiler & Cesa 2019, section 2.8.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> lift = eq.nn.LiftingConv2d(eq.Cyclic(4), in_channels=1, out_fields=3, kernel_size=3)
        >>> x = torch.randn(2, 1, 8, 8)
        >>> lift(x).shape
        torch.Size([2, 12, 8, 8])
        >>> turned = lift(torch.rot90(x, 1, (-2, -1))).unflatten(1, (3, 4))
        >>> expected = torch.rot90(lift(x), 1, (-2, -1)).unflatten(1, (3, 4)).roll(1, 2)
        >>> torch.allclose(turned, expected, atol=1e-5)
        True
    """

    def __init__(
        self,
        group: Group,
        in_channels: int,
        out_fields: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | str = "same",
        bias: bool = True,
        max_frequency: int | None = None,
        generator: torch.Generator | None = None,
    ):
        channels = positive_int(in_channels, "in_channels")
        super().__init__(
            group,
            channels,
            out_fields,
            kernel_size,
            stride,
            padding,
            bias,
            max_frequency,
            generator,
            weight_shape=(out_fields, channels),
        )

    def _expand(self, weight: Float[Tensor, "O I M"]) -> Float[Tensor, "O*G I k k"]:
        k = self.kernel_size
        turned = (weight.flatten(0, 1) @ self.basis).view(*weight.shape[:2], self.order, k, k)
        return turned.transpose(1, 2).reshape(self.out_channels, self.in_channels, k, k)


class GroupConv2d(_PlaneConv):
    """From regular fields to regular fields: a convolution over the group and the plane.

    Arguments:
        group: `Cyclic(n)` or `Dihedral(n)`.
        in_fields, out_fields: regular fields; a field takes `group.order` channels.
        kernel_size, stride, padding, bias, max_frequency, generator: as in `LiftingConv2d`, and so
            are exactness and the sizes that are refused.

    Cost: a `Conv2d` of equal width, plus O(parameters * G * kernel_size^2) to turn the kernels,
    once a call in training, once a change of the weights in evaluation without gradients.

    Source: Cohen & Welling 2016, eq. 11.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> layer = eq.nn.GroupConv2d(eq.Dihedral(4), in_fields=8, out_fields=16, kernel_size=3)
        >>> layer(torch.randn(2, 8 * 8, 9, 9)).shape
        torch.Size([2, 128, 9, 9])
    """

    pairs: Tensor

    def __init__(
        self,
        group: Group,
        in_fields: int,
        out_fields: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | str = "same",
        bias: bool = True,
        max_frequency: int | None = None,
        generator: torch.Generator | None = None,
    ):
        order = int(plane_group(group).order or 1)
        fields = positive_int(in_fields, "in_fields")
        super().__init__(
            group,
            fields * order,
            out_fields,
            kernel_size,
            stride,
            padding,
            bias,
            max_frequency,
            generator,
            weight_shape=(out_fields, fields, order),
        )
        self.in_fields = fields
        # The kernel from h to g is the one of g^-1 h, turned by g: position (g^-1 h, g) of (G, G).
        own = torch.arange(order)[:, None]
        self.register_constant("pairs", (quotients(self.group) * order + own).reshape(-1))

    def _expand(self, weight: Float[Tensor, "O I G M"]) -> Float[Tensor, "O*G I*G k k"]:
        out, fields, order, k = self.out_fields, self.in_fields, self.order, self.kernel_size
        turned = (weight.flatten(0, 2) @ self.basis).view(out, fields, order * order, k * k)
        kernel = turned.index_select(2, self.pairs).view(out, fields, order, order, k * k)
        return kernel.transpose(1, 2).reshape(self.out_channels, self.in_channels, k, k)
