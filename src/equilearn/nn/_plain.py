"""Small ordinary networks: what a symmetric one is compared with, and what symmetrizers wrap."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int, require


class PlainCNN(nn.Module):
    """A small convolutional classifier or regressor for images of 5x5 to about 64x64.

    Arguments:
        in_channels: channels of the images.
        out_features: classes, or numbers to predict.
        width: channels of the first stage; the next ones have two and four times as many.
        dropout: share of features that training leaves out before the last layer.

    Three 3x3 convolutions, each with batch normalisation and ReLU, the first two halving the side;
    3x3 means, and one linear layer. It knows nothing of rotations: position and orientation are
    kept to the end.

    Recommended training, 1,000 images: AdamW, 300 steps of 64, learning rate 5e-3 with cosine decay
    (0.99 on scikit-learn's digits of 8x8, 0.95 on MNIST's of 28x28, about 1 and 5 seconds on one core).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.PlainCNN(1, 10)(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, in_channels: int, out_features: int, width: int = 16, dropout: float = 0.2):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        positive_int(out_features, "out_features")
        positive_int(width, "width")
        self.body = nn.Sequential(
            *_block(in_channels, width),
            nn.MaxPool2d(2, ceil_mode=True),
            *_block(width, 2 * width),
            nn.MaxPool2d(2, ceil_mode=True),
            *_block(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(36 * width, out_features))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out_features"]:
        require(
            x.ndim == 4 and x.shape[1] == self.in_channels,
            f"PlainCNN takes images (B, {self.in_channels}, H, W), got {tuple(x.shape)}.",
        )
        return self.head(self.body(x))


def _block(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()


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
