"""Processes that see their context on a lattice: equivariant under shifts, and under mirrors or turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputError, one_of, positive_int, require
from equilearn.data.fields import PointSet
from equilearn.groups import Group
from equilearn.nn import Lattice, SetConv, lattice_around
from equilearn.nn._set_conv import READ_REACH
from equilearn.processes._base import NeuralProcess
from equilearn.processes._lattice_nets import MirrorCNN, Modulation, ResidualCNN, TurningCNN, UNet
from equilearn.relaxation import FixedInputs


class _LatticeProcess(NeuralProcess):
    """Set convolution onto a lattice, a convolutional network and a head there, set convolution to the targets."""

    def __init__(
        self,
        dims: int,
        channels: int,
        spacing: float,
        width: int,
        net: nn.Module,
        fixed: FixedInputs | None,
        margin: int | None,
        lengths: Sequence[float],
        centred: bool,
        min_std: float,
    ):
        super().__init__(dims, channels, min_std)
        self.centred = centred
        require(
            len(lengths) > 0 and all(0 < length < float("inf") for length in lengths),
            f"lengths must be positive numbers, got {lengths}.",
        )
        require(0 < spacing < float("inf"), f"spacing must be positive, got {spacing}.")
        self.spacing, self.width = float(spacing), positive_int(width, "width")
        self.net = net
        self.margin = net.reach + READ_REACH if margin is None else positive_int(margin, "margin", 0)  # type: ignore[operator]
        self.encode = nn.ModuleList(SetConv(length * spacing) for length in lengths)
        self.decode = SetConv(min(lengths) * spacing)
        inputs = len(lengths) * (1 + channels) + channels * centred
        self.embed = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2 * channels))
        self.fixed = fixed
        if fixed is not None:
            require(
                fixed.out == width and len(fixed.low) == dims,
                f"The fixed inputs must take {dims} coordinates to {width} channels (out={width}), got "
                f"{len(fixed.low)} to {fixed.out}.",
            )

    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        everywhere = torch.ones(targets.shape[:2], dtype=torch.bool, device=targets.device)
        parts = [(context.x, context.mask), (targets, everywhere)]
        lattice = lattice_around(parts, self.spacing, self.margin, self.net.multiple)  # type: ignore[arg-type]
        level = _level(context) if self.centred else torch.zeros_like(context.y.sum(1, keepdim=True))
        context = context._with(context.x, torch.where(context.mask[..., None], context.y - level, 0), context.mask)
        convs = [conv for conv in self.encode if isinstance(conv, SetConv)]
        seen = torch.cat([conv.to_lattice(context.x, context.y, context.mask, lattice) for conv in convs], 1)
        if self.centred:
            shape = [len(seen), self.channels, *[1] * self.dims]
            seen = torch.cat([seen, level.reshape(shape).expand(-1, -1, *lattice.sizes)], 1)
        field = self.embed(seen.movedim(1, -1)).movedim(-1, 1)
        field = self.within(self.with_fixed(_laid_out(field), lattice), lattice)
        found = self.head(field.movedim(1, -1)).movedim(-1, 1)
        found = self.decode.to_points(found, lattice, targets)
        return found + torch.cat([level, torch.zeros_like(level)], -1)

    def within(self, field: Tensor, lattice: Lattice) -> Tensor:
        """The network on the lattice."""
        return self.net(field)

    def with_fixed(self, field: Float[Tensor, "B C *sizes"], lattice: Lattice) -> Float[Tensor, "B C *sizes"]:
        """Add the fixed inputs, computed once for the cells that several tasks share."""
        fixed = self.fixed
        if fixed is None or fixed.is_off or len(field) == 0:
            return field
        union, offset = lattice.union()
        t = fixed.values(union.locations(field.dtype)[0]) if _shared(lattice, union) else None
        if t is None:
            t = fixed.values(lattice.locations(field.dtype))
        else:
            places = [
                offset[:, d].view(-1, *[1] * self.dims)
                + torch.arange(size, device=field.device).view(1, *[size if d == e else 1 for e in range(self.dims)])
                for d, size in enumerate(lattice.sizes)
            ]
            t = t[tuple(places)]
        amount = fixed.amount(len(field), field).view(-1, *[1] * (self.dims + 1))
        return field + t.movedim(-1, 1) * amount


def _level(context: PointSet) -> Float[Tensor, "B 1 Y"]:
    """The mean of what was observed; 0 where nothing was."""
    return (context.y.sum(1) / context.count.clamp_min(1)[:, None])[:, None]


def _laid_out(field: Tensor) -> Tensor:
    """Channels last in memory, where convolutions of few channels are faster."""
    return field.contiguous(memory_format=torch.channels_last) if field.ndim == 4 else field


def _shared(lattice: Lattice, union: Lattice) -> bool:
    """Whether the cells of the union are fewer than those of all pieces."""
    cells = len(lattice.first)
    for part, whole in zip(lattice.sizes, union.sizes, strict=True):
        cells = cells * part / whole
    return cells > 1


class ConvCNP(_LatticeProcess):
    """The convolutional conditional neural process, equivariant under shifts.

    Arguments:
        dims: coordinates of a location, at most 3.
        channels: values at a location.
        spacing: of the lattice, in units of the locations; about half of the shortest length that matters.
        width: channels on the lattice.
        net: `"residual"` (convolutions one after another) or `"unet"` (sees far on large fields).
        depth: convolutions, or times that the U-Net halves the lattice.
        kernel_size: odd, in cells.
        separable: of the residual network: far fewer weights.
        fixed: `FixedInputs` added on the lattice, or None for a strictly equivariant process.
        margin: cells of the lattice beyond the outermost points; default as far as the network sees, so that nothing
            depends on where the lattice ends.
        lengths: initial lengths of the set convolutions onto the lattice, in cells; back from it goes the smallest.
            Several, such as (0.7, 2, 6), show sparse observations to all cells around at once. Less than 1 where
            points lie on the lattice.
        centred: whether the network sees values less the mean of the context, and that mean beside them: learns faster
            where tasks differ by their level, as the weather of different hours does.
        min_std: see `NeuralProcess`.

    The lattice snaps to absolute multiples of the spacing (a U-Net's to `2^depth` of them): shifts by these are exact,
    other shifts hold as far as the lattice resolves the field.

    Cost O(B cells width^2 kernel_size^dims depth), and of the set convolutions.

    Source: Gordon et al. 2020; fixed inputs: Ashman et al. 2024.

    Example:
        >>> from equilearn.data.fields import FieldTask, PointSet
        >>> seen = PointSet(torch.rand(2, 5, 1), torch.rand(2, 5, 1))
        >>> task = FieldTask(seen, PointSet(torch.rand(2, 9, 1), torch.rand(2, 9, 1)))
        >>> ConvCNP(1, spacing=0.1, width=8, depth=2)(task).mean.shape
        torch.Size([2, 9, 1])
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        spacing: float,
        width: int = 32,
        net: Literal["residual", "unet"] = "residual",
        depth: int | None = None,
        kernel_size: int | None = None,
        separable: bool = False,
        fixed: FixedInputs | None = None,
        margin: int | None = None,
        lengths: Sequence[float] = (2.0,),
        centred: bool = False,
        min_std: float = 0.01,
    ):
        made = _network(dims, width, net, depth, kernel_size, separable)
        super().__init__(dims, channels, spacing, width, made, fixed, margin, lengths, centred, min_std)


def _network(
    dims: int, width: int, net: str, depth: int | None, kernel_size: int | None, separable: bool
) -> ResidualCNN | UNet:
    if one_of(net, ("residual", "unet"), "network of a ConvCNP") == "unet":
        require(not separable, "separable=True is for the residual network; the U-Net has whole convolutions.")
        return UNet(dims, width, 3 if depth is None else depth, 5 if kernel_size is None else kernel_size)
    side = (9 if dims == 1 else 5) if kernel_size is None else kernel_size
    return ResidualCNN(dims, width, 5 if depth is None else depth, side, separable)


class RelaxedConvCNP(_LatticeProcess):
    """The convolutional process with every convolution relaxed: its input is multiplied by `1 + t_l(x)`.

    A baseline for `ConvCNP(fixed=...)`. Arguments as there, and of the functions t_l:
        domain: the box outside of which they are zero.
        drop: probability with which training leaves them all out, for a task.
        features: Fourier features of location.

    At `t = 0` it is the plain process, exactly; it begins there.

    Source: Ashman et al. 2024, appendix C and section 5; Wang et al. 2022.

    Example:
        >>> process = RelaxedConvCNP(1, spacing=0.1, domain=[(0.0, 1.0)], width=8, depth=2)
        >>> len(process.modulation.fixed)
        2
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        spacing: float,
        domain: list[tuple[float, float]],
        drop: float = 0.5,
        features: int = 0,
        width: int = 32,
        net: Literal["residual", "unet"] = "residual",
        depth: int | None = None,
        kernel_size: int | None = None,
        separable: bool = False,
        margin: int | None = None,
        lengths: Sequence[float] = (2.0,),
        centred: bool = False,
        min_std: float = 0.01,
    ):
        made = _network(dims, width, net, depth, kernel_size, separable)
        super().__init__(dims, channels, spacing, width, made, None, margin, lengths, centred, min_std)
        self.modulation = Modulation(made.widths, domain, drop, features)

    def within(self, field: Tensor, lattice: Lattice) -> Tensor:
        return self.net(field, self.modulation.at(lattice.locations(field.dtype)))


class EquivCNP(_LatticeProcess):
    """The convolutional process that commutes with mirrors (one dimension) or with turns and flips (two).

    Arguments:
        dims: 1 or 2.
        group: in the plane `Cyclic(n)` or `Dihedral(n)`, default `Dihedral(4)`; on the line there is but the mirror.
        fields: regular fields inside the network in the plane.

    The others as of `ConvCNP`. Turns by quarters and flips about points of the lattice are exact, others hold up to the
    interpolation of the kernels.

    Source: Kawano et al. 2021, Group Equivariant Conditional Neural Processes; Cohen and Welling 2016.

    Example:
        >>> from equilearn.groups import Cyclic
        >>> EquivCNP(2, group=Cyclic(4), spacing=1.0, width=8, fields=2, depth=1).net.pool.group
        C4
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        spacing: float,
        group: Group | None = None,
        width: int = 32,
        fields: int = 8,
        depth: int = 4,
        kernel_size: int | None = None,
        fixed: FixedInputs | None = None,
        margin: int | None = None,
        lengths: Sequence[float] = (2.0,),
        centred: bool = False,
        min_std: float = 0.01,
    ):
        if dims not in (1, 2):
            raise InputError(f"EquivCNP is for 1 or 2 dimensions, got {dims}. TETNP(distance=True) takes any number.")
        if dims == 1:
            require(group is None, "On the line EquivCNP commutes with the mirror; a group is for the plane.")
            net: nn.Module = MirrorCNN(width, depth, 9 if kernel_size is None else kernel_size)
        else:
            from equilearn.groups import Dihedral

            net = TurningCNN(group or Dihedral(4), width, fields, depth, 5 if kernel_size is None else kernel_size)
        super().__init__(dims, channels, spacing, width, net, fixed, margin, lengths, centred, min_std)
