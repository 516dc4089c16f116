"""Convolutional networks on lattices: a residual one, a U-Net, one whose kernels turn or mirror with a group."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import InputError, positive_int, require
from equilearn.groups import Group
from equilearn.nn import GroupConv2d, GroupPool, LiftingConv2d
from equilearn.nn._set_conv import conv_class
from equilearn.relaxation import FixedInputs

Modulate = Callable[[Tensor, int], Tensor]
"""`(1 + t_l) f` for the convolution of number l; the identity where nothing is relaxed."""


def _as_is(field: Tensor, layer: int) -> Tensor:
    return field


class ResidualCNN(nn.Module):
    """`f + conv(relu(f))`, some times.

    Arguments:
        dims, channels: of the lattice and its fields.
        depth: convolutions.
        kernel_size: odd, in cells.
        separable: a convolution a channel and then one of all channels at each cell: fewer weights.

    `reach` is how many cells to each side can change an output, `multiple` the shifts that are exact, `widths` the
    channels and the level (cells of `2^level` spacings) of the input of each convolution.
    """

    def __init__(self, dims: int, channels: int, depth: int = 5, kernel_size: int = 9, separable: bool = False):
        super().__init__()
        _odd(kernel_size)
        conv = conv_class(dims)
        self.multiple = 1
        self.reach = positive_int(depth, "depth") * (kernel_size // 2)
        self.widths = [(channels, 0)] * depth
        self.convs = nn.ModuleList(
            nn.Sequential(
                conv(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels),
                conv(channels, channels, 1),
            )
            if separable
            else conv(channels, channels, kernel_size, padding=kernel_size // 2)
            for _ in range(depth)
        )

    def forward(self, field: Float[Tensor, "B C *sizes"], modulate: Modulate = _as_is) -> Float[Tensor, "B C *sizes"]:
        for layer, conv in enumerate(self.convs):
            field = field + conv(modulate(field.relu(), layer))
        return field


class UNet(nn.Module):
    """Means over pairs of cells on the way down, linear interpolation and skip connections on the way up.

    Arguments:
        dims, channels: of the lattice and its fields.
        levels: times the lattice is halved; channels double with each.
        kernel_size: odd.

    Equivariant under shifts by `multiple = 2^levels` cells.
    """

    def __init__(self, dims: int, channels: int, levels: int = 3, kernel_size: int = 5):
        super().__init__()
        _odd(kernel_size)
        conv = conv_class(dims)
        self.dims, self.levels = dims, positive_int(levels, "levels")
        self.multiple = 2**levels
        half = kernel_size // 2
        # Half a kernel of cells of each size on the way down and up, a cell for pooling, two for the interpolation.
        self.reach = sum(2**level * (2 * half + 3) for level in range(levels)) + 2**levels * half
        wide = [channels * 2**level for level in range(levels + 1)]
        down = list(zip([channels, *wide[:-1]], wide, strict=True))
        up = [(wide[level] + wide[level + 1], wide[level]) for level in reversed(range(levels))]
        self.widths = [(a, level) for level, (a, _) in enumerate(down)]
        self.widths += [(a, levels - 1 - i) for i, (a, _) in enumerate(up)]
        self.down, self.up = (
            nn.ModuleList(conv(a, b, kernel_size, padding=half) for a, b in sizes) for sizes in (down, up)
        )

    def forward(self, field: Float[Tensor, "B C *sizes"], modulate: Modulate = _as_is) -> Float[Tensor, "B C *sizes"]:
        require(
            all(size % self.multiple == 0 for size in field.shape[2:]),
            f"This U-Net takes sides that are multiples of {self.multiple}, got {tuple(field.shape[2:])}.",
        )
        kept = []
        pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[self.dims - 1]
        for level, conv in enumerate(self.down):
            field = conv(modulate(field, level)).relu()
            if level < self.levels:
                kept.append(field)
                field = pool(field, 2)
        mode = ("linear", "bilinear", "trilinear")[self.dims - 1]
        for i, conv in enumerate(self.up):
            field = functional.interpolate(field, scale_factor=2, mode=mode, align_corners=False)
            field = conv(modulate(torch.cat([kept.pop(), field], 1), self.levels + 1 + i))
            field = field.relu() if i + 1 < self.levels else field
        return field


class MirrorConv1d(nn.Conv1d):
    """A convolution whose kernel is its own mirror image."""

    def forward(self, input: Float[Tensor, "B C n"]) -> Float[Tensor, "B C_out n"]:
        return self._conv_forward(input, (self.weight + self.weight.flip(-1)) / 2, self.bias)


class MirrorCNN(ResidualCNN):
    """The residual network in one dimension with kernels that are their own mirror images."""

    def __init__(self, channels: int, depth: int = 5, kernel_size: int = 9):
        super().__init__(1, channels, depth, kernel_size)
        self.convs = nn.ModuleList(
            MirrorConv1d(channels, channels, kernel_size, padding=kernel_size // 2) for _ in range(depth)
        )


class TurningCNN(nn.Module):
    """A residual network in the plane of group convolutions; its result is the mean over the group.

    Arguments:
        group: `Cyclic(n)` or `Dihedral(n)`; turns by quarters and flips are exact.
        channels: of the fields that come in and go out.
        fields: regular fields inside, each with as many channels as the group has elements.
    """

    def __init__(self, group: Group, channels: int, fields: int = 8, depth: int = 4, kernel_size: int = 5):
        super().__init__()
        _odd(kernel_size)
        positive_int(depth, "depth")
        self.multiple, self.reach = 1, (depth + 1) * (kernel_size // 2)
        self.lift = LiftingConv2d(group, channels, fields, kernel_size)
        self.widths = [(channels, 0)] + [(fields * self.lift.order, 0)] * depth
        self.convs = nn.ModuleList(GroupConv2d(group, fields, fields, kernel_size) for _ in range(depth))
        self.pool = GroupPool(group, "mean")
        self.out = nn.Conv2d(fields, channels, 1)

    def forward(self, field: Float[Tensor, "B C H W"], modulate: Modulate = _as_is) -> Float[Tensor, "B C H W"]:
        found = self.lift(modulate(field, 0))
        for layer, conv in enumerate(self.convs):
            found = found + conv(modulate(found.relu(), layer + 1))
        return self.out(self.pool(found.relu()))


class Modulation(nn.Module):
    """Multiplies the input of every convolution of a network by `1 + t_l(x)`, with functions t_l of location.

    Source: Wang et al. 2022, relaxed group convolutions with one filter; as neural processes Ashman et al. 2024,
    appendix C. There t stands inside of the convolution, at the place of its input; so it does here.
    """

    def __init__(self, widths: list[tuple[int, int]], domain: list[tuple[float, float]], drop: float, features: int):
        super().__init__()
        self.levels = [level for _, level in widths]
        made = [FixedInputs(channels, domain, drop=drop, features=features) for channels, _ in widths]
        for part in made:  # 1 + t begins at 1: the plain network
            for parameter in part.net[-1].parameters():
                nn.init.zeros_(parameter)
        self.fixed = nn.ModuleList(made)

    def at(self, x: Float[Tensor, "B *sizes X"]) -> Modulate:
        """The factors at the cells of a lattice; one decision to leave them out, for all layers of a task."""
        layers = [part for part in self.fixed if isinstance(part, FixedInputs)]
        if layers[0].is_off:
            return _as_is
        amount = layers[0].amount(len(x), x)
        amount = amount.view(-1, *[1] * (x.ndim - 1))
        places = [x]
        for _ in range(max(self.levels, default=0)):
            places.append(_halved(places[-1]))

        def modulate(field: Tensor, layer: int) -> Tensor:
            t = layers[layer].values(places[self.levels[layer]]) * amount
            return field * (1 + t.movedim(-1, 1))

        return modulate


def _halved(x: Float[Tensor, "B *sizes X"]) -> Tensor:
    """Centres of pairs of cells."""
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[x.ndim - 3]
    return pool(x.movedim(-1, 1), 2).movedim(1, -1)


def _odd(kernel_size: int) -> None:
    if positive_int(kernel_size, "kernel_size") % 2 == 0:
        raise InputError(f"kernel_size must be odd, so that a kernel has a middle; got {kernel_size}.")
