"""Pooling that a turn of the image commutes with: over the group, over space, by two."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import one_of, positive_int, require
from equilearn.groups import Group
from equilearn.nn._kernels import plane_group


class GroupPool(nn.Module):
    """Over the group: regular fields become fields that the group leaves in place.

    Arguments:
        group: `Cyclic(n)` or `Dihedral(n)`, as in the layers before.
        reduction: `"max"` or `"mean"`.

    After it only positions move with the group; an average over them is invariant.
    Cost O(B C H W).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.GroupPool(eq.Cyclic(4))(torch.randn(2, 3 * 4, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, group: Group, reduction: Literal["max", "mean"] = "max"):
        super().__init__()
        self.group = plane_group(group)
        self.order = int(self.group.order or 1)
        self.reduction = one_of(reduction, ("max", "mean"), "reduction")

    def forward(self, x: Float[Tensor, "B C *space"]) -> Float[Tensor, "B F *space"]:
        require(
            x.ndim >= 2 and x.shape[1] % self.order == 0,
            f"GroupPool over {self.group} takes (B, fields * {self.order}, ...), got {tuple(x.shape)}.",
        )
        fields = x.unflatten(1, (x.shape[1] // self.order, self.order))
        return fields.amax(2) if self.reduction == "max" else fields.mean(2)

    def extra_repr(self) -> str:
        return f"{self.group}, reduction={self.reduction!r}"


class Downsample(nn.Module):
    """Half the side, on a grid that turns onto itself whatever the side: 2x2 means where it is
    even, 3x3 means around every second pixel where it is odd.

    `torch.nn.AvgPool2d(2)` drops the last row of an odd image, and with it the symmetry.

    Arguments:
        smallest: images with a side below this stay as they are.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> half = eq.nn.Downsample()
        >>> half(torch.ones(1, 1, 8, 8)).shape, half(torch.ones(1, 1, 7, 7)).shape
        (torch.Size([1, 1, 4, 4]), torch.Size([1, 1, 4, 4]))
    """

    def __init__(self, smallest: int = 1):
        super().__init__()
        self.smallest = positive_int(smallest, "smallest")

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H_out W_out"]:
        if min(x.shape[2:]) < self.smallest:
            return x
        kernel = tuple(2 + size % 2 for size in x.shape[2:])
        padding = tuple(size % 2 for size in x.shape[2:])
        return functional.avg_pool2d(x, kernel, 2, padding, count_include_pad=False)


class FieldNorm(nn.Module):
    """Normalise each sample over all its fields, group elements and positions; scale and shift each field.

    Statistics are of one sample, so the layer is the same in training and evaluation, keeps no
    running state, and takes batches of any size. It commutes with the group since it treats the
    elements of a field alike.

    Arguments:
        fields: number of fields.
        order: channels a field takes, `group.order`; 1 for plain channels.

    Source: GroupNorm with one group (Wu & He 2018). Cost O(B C H W).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> x = eq.nn.FieldNorm(fields=3, order=4)(5 + 2 * torch.randn(2, 12, 8, 8))
        >>> bool(x.mean().abs() < 1e-5), bool((x.std() - 1).abs() < 0.01)
        (True, True)
    """

    def __init__(self, fields: int, order: int = 1):
        super().__init__()
        self.order = order
        self.weight = nn.Parameter(torch.ones(fields))
        self.bias = nn.Parameter(torch.zeros(fields))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        weight, bias = (p.repeat_interleave(self.order) for p in (self.weight, self.bias))
        return functional.group_norm(x, 1, weight, bias)


class FieldBatchNorm(nn.Module):
    """Batch normalisation of fields: statistics over the batch, the group elements and positions.

    One mean and one variance a field, so that it commutes with the group. In training it couples
    the samples of a batch, as every batch normalisation does; in evaluation it is affine.

    Arguments:
        fields: number of fields.
        order: channels a field takes, `group.order`; 1 for plain channels.

    Source: Ioffe & Szegedy 2015; over fields: Cohen & Welling 2016, section 6.3. Cost O(B C H W).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> x = eq.nn.FieldBatchNorm(fields=3, order=4)(5 + 2 * torch.randn(2, 12, 8, 8))
        >>> bool(x.mean().abs() < 1e-5), bool((x.std() - 1).abs() < 0.01)
        (True, True)
    """

    def __init__(self, fields: int, order: int = 1):
        super().__init__()
        self.order = order
        self.norm = nn.BatchNorm3d(fields)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return self.norm(x.unflatten(1, (-1, self.order))).flatten(1, 2)
