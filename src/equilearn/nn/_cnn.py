"""An invariant image classifier made of group convolutions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int, require
from equilearn.groups import Group
from equilearn.nn._conv import GroupConv2d, LiftingConv2d
from equilearn.nn._kernels import plane_group
from equilearn.nn._pool import Downsample, FieldBatchNorm


class GroupCNN(nn.Module):
    """A small invariant network for images: group convolutions, then pooling over group and plane.

    Arguments:
        group: `Cyclic(n)` or `Dihedral(n)`.
        in_channels: channels of the images.
        out_features: classes, or numbers to predict.
        fields: regular fields of the first stages; the last has twice as many.
        depth: convolutions, the lifting one included.
        kernel_size: odd.
        generator: for the initial weights of the convolutions.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.GroupCNN(eq.Cyclic(4), 1, 10)
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.allclose(net(x), net(torch.rot90(x, 1, (-2, -1))), atol=1e-5)
        True
    """

    def __init__(
        self,
        group: Group,
        in_channels: int,
        out_features: int,
        fields: int = 8,
        depth: int = 3,
        *,
        kernel_size: int = 3,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.group = plane_group(group)
        self.order = int(self.group.order or 1)
        self.in_channels = positive_int(in_channels, "in_channels")
        positive_int(out_features, "out_features")
        positive_int(fields, "fields")
        widths = [fields] * (positive_int(depth, "depth") - 1) + [2 * fields]
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i == 0:
                layers.append(LiftingConv2d(group, in_channels, width, kernel_size, generator=generator))
            else:
                layers.append(GroupConv2d(group, widths[i - 1], width, kernel_size, generator=generator))
            layers += [FieldBatchNorm(width, self.order), nn.ReLU()]
            if i == depth - 2:
                layers.append(Downsample())
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(4 * fields, 64), nn.ReLU(), nn.Linear(64, out_features))

    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """Invariant features: of each field the largest mean over the plane, and the largest value."""
        maps = self.body(x).unflatten(1, (-1, self.order))  # (B, F, G, H, W)
        return torch.cat([maps.mean((-2, -1)).amax(2), maps.amax((2, 3, 4))], dim=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out_features"]:
        require(
            x.ndim == 4 and x.shape[1] == self.in_channels,
            f"GroupCNN takes images (B, {self.in_channels}, H, W), got {tuple(x.shape)}.",
        )
        return self.head(self.features(x))
