"""An invariant image network that turns the image instead of its kernels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import positive_int, require
from equilearn.groups import Group
from equilearn.nn._exact import ExactModule
from equilearn.nn._kernels import plane_group
from equilearn.nn._pool import Downsample

_GRID = 3
"""Side of the grid of means that the readout sees."""


class TurnedCNN(ExactModule):
    """An invariant network for images: one ordinary network sees the image turned by every element.

    Arguments:
        group: `Cyclic(n)` or `Dihedral(n)`.
        in_channels: channels of the images.
        out_features: classes, or numbers to predict.
        width: channels of the first convolution; the second has twice as many.
        features: numbers for each element, of which the largest over the group go to the last layer.
        max_side: larger images are halved until they fit.
        dropout: share of features that training leaves out before the last layer.

    `F(g; x) = phi(g^-1 x)` is a function on the group with `F(g; h x) = F(h^-1 g; x)`, whatever
    `phi`; its maximum over the group is invariant. The copies are made by bicubic interpolation,
    in one batch, so that quarter turns and flips in the group leave the output as it is, and
    others nearly so.

    Use it for groups with other than quarter turns. Kernels turned by 45 degrees fit badly to few
    pixels, and the misfit grows layer by layer; here the image is interpolated once. With C8 and
    1,000 of scikit-learn's 8x8 digits, the accuracy is 0.96 on inputs turned by 45 degrees
    and 0.92 over all angles, against 0.43 and 0.72 with turned kernels (`GroupCNN`). For groups of quarter turns
    `GroupCNN` is exact as well and costs less.

    Recommended training, 1,000 images: AdamW, 300 to 400 steps of 64, learning rate 3e-3 with
    cosine decay (digits 0.98 upright, 5 s on one core).

    Raises `InputError` for another group, and in `forward` for other shapes.

    Cost: `|G|` times that of the plain network.

    Source: Laptev et al. 2016, "TI-pooling".

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.TurnedCNN(eq.Cyclic(8), 1, 10).eval()
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.allclose(net(x), net(torch.rot90(x, 1, (-2, -1))), atol=1e-5)
        True
    """

    matrices: Tensor

    def __init__(
        self,
        group: Group,
        in_channels: int,
        out_features: int,
        width: int = 16,
        *,
        features: int = 128,
        max_side: int = 16,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.group = plane_group(group)
        self.in_channels = positive_int(in_channels, "in_channels")
        positive_int(out_features, "out_features")
        positive_int(features, "features")
        self.register_constant("matrices", self.group.plane_matrix(self.group.elements()))
        self.max_side = positive_int(max_side, "max_side")
        self.halve = Downsample()
        self.phi = nn.Sequential(
            *_block(in_channels, positive_int(width, "width")),
            Downsample(),
            *_block(width, 2 * width),
            nn.AdaptiveAvgPool2d(_GRID),
            nn.Flatten(),
            nn.Linear(2 * width * _GRID**2, features),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, out_features))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out_features"]:
        return self.head(self.functions(x).amax(2))

    def functions(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F G"]:
        """Features as functions on the group, before they are pooled."""
        require(
            x.ndim == 4 and x.shape[1] == self.in_channels,
            f"TurnedCNN takes images (B, {self.in_channels}, H, W), got {tuple(x.shape)}.",
        )
        while max(x.shape[2:]) > self.max_side:
            x = self.halve(x)
        turned = self.turned(x)
        features = self.phi(turned.flatten(0, 1))
        return features.view(turned.shape[0], turned.shape[1], features.shape[-1]).permute(1, 2, 0)

    def turned(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "G B C H W"]:
        """`g^-1 x` for every element: the value at `p` is that of `x` at `g p`."""
        batch, channels, height, width = x.shape
        if x.numel() == 0:
            return x.expand(len(self.matrices), *x.shape)
        column = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2
        row = torch.arange(height, device=x.device, dtype=x.dtype) - (height - 1) / 2
        position = torch.stack([column.expand(height, width), -row[:, None].expand(height, width)], dim=-1)
        source = position @ self.matrices.mT[:, None]  # (G, H, W, 2)
        scale = torch.tensor([2 / width, -2 / height], device=x.device, dtype=x.dtype)
        # Samples as channels: each element's grid is then set up once.
        images = x.reshape(1, batch * channels, height, width).expand(len(source), -1, -1, -1)
        moved = functional.grid_sample(images, source * scale, mode="bicubic", align_corners=False)
        return moved.view(len(source), batch, channels, height, width)


def _block(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()
