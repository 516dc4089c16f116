"""Small ordinary networks: what a symmetric one is compared with, and what symmetrizers wrap."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int, require
from equilearn.nn._pool import Downsample, FieldNorm


class PlainCNN(nn.Module):
    """A small convolutional classifier or regressor for images of 5x5 to about 64x64.

    Arguments:
        in_channels: channels of the images.
        out_features: classes, or numbers to predict.
        width: channels of the first stage; the second has twice as many.

    Two 3x3 convolutions, each with normalisation, ReLU and halving, then 2x2 means and two linear
    layers. It knows nothing of rotations: position and orientation are kept to the end.

    Recommended training, 1,000 images of 8x8: AdamW, 300 steps of 64, learning rate 3e-3 with
    cosine decay (0.98 on scikit-learn's digits, about a second on one core).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.PlainCNN(1, 10)(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, in_channels: int, out_features: int, width: int = 32):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        positive_int(out_features, "out_features")
        positive_int(width, "width")
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            FieldNorm(width),
            nn.ReLU(),
            Downsample(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            FieldNorm(2 * width),
            nn.ReLU(),
            Downsample(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(8 * width, 64), nn.ReLU(), nn.Linear(64, out_features))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out_features"]:
        require(
            x.ndim == 4 and x.shape[1] == self.in_channels,
            f"PlainCNN takes images (B, {self.in_channels}, H, W), got {tuple(x.shape)}.",
        )
        return self.head(self.body(x))


class PlainMLP(nn.Module):
    """An ordinary multilayer perceptron.

    Arguments:
        in_features, out_features: lengths of input and output vectors.
        width: of the hidden layers.
        depth: number of hidden layers.

    Recommended training, 1,000 samples: AdamW, 300 steps of 64, learning rate 3e-3 with cosine
    decay.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.PlainMLP(16, 1)(torch.randn(5, 16)).shape
        torch.Size([5, 1])
    """

    def __init__(self, in_features: int, out_features: int, width: int = 128, depth: int = 2):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        positive_int(out_features, "out_features")
        widths = [in_features, *[positive_int(width, "width")] * positive_int(depth, "depth", minimum=0)]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], out_features))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch out_features"]:
        require(
            x.ndim >= 1 and x.shape[-1] == self.in_features,
            f"PlainMLP takes vectors of length {self.in_features}, got shape {tuple(x.shape)}.",
        )
        return self.body(x)
