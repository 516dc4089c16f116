"""The conditional neural process: one vector for the whole context."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int
from equilearn.data.fields import PointSet
from equilearn.processes._base import NeuralProcess


class CNP(NeuralProcess):
    """Each point of the context becomes a vector; their mean, with a location, the prediction there. No symmetry.

    Arguments:
        dims, channels: coordinates of a location, values there.
        width: of all hidden layers.
        depth: hidden layers of the encoder and of the decoder.

    Cost O(B (N_context + N_target) width^2).

    Source: Garnelo et al. 2018.

    Example:
        >>> from equilearn.data.fields import FieldTask, PointSet
        >>> empty = PointSet(torch.rand(2, 0, 2), torch.rand(2, 0, 1))
        >>> CNP(2)(FieldTask(empty, PointSet(torch.rand(2, 4, 2), torch.rand(2, 4, 1)))).mean.shape
        torch.Size([2, 4, 1])
    """

    def __init__(self, dims: int, channels: int = 1, *, width: int = 128, depth: int = 3, min_std: float = 0.01):
        super().__init__(dims, channels, min_std)
        positive_int(width, "width")
        self.encoder = mlp(dims + channels, width, width, positive_int(depth, "depth"))
        self.decoder = mlp(width + dims, 2 * channels, width, depth)

    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        each = self.encoder(torch.cat([context.x, context.y], -1)) * context.mask[..., None]
        count = context.mask.sum(1, keepdim=True).clamp_min(1)
        whole = (each.sum(1) / count)[:, None].expand(-1, targets.shape[1], -1)
        return self.decoder(torch.cat([whole, targets], -1))


def mlp(inputs: int, outputs: int, width: int, depth: int) -> nn.Sequential:
    """`depth` hidden layers with ReLU."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
