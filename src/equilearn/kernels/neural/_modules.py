"""Finite networks in the parametrisation of their infinite limits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equilearn._check import positive_int, require
from equilearn.kernels.neural._architecture import Architecture, checked
from equilearn.kernels.neural._layers import Activation, Conv, Dense, Erf, Flatten, GlobalAveragePool, ReLU


class ErfUnit(nn.Module):
    """`erf`, entry by entry.

    Example:
        >>> ErfUnit()(torch.zeros(1))
        tensor([0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class NTKLinear(nn.Linear):
    """A linear layer in the NTK parametrisation: `x -> W_std / sqrt(fan_in) W x + b_std b`.

    Its parameters W and b are standard normal, so that gradients with respect to them, and their inner products, do
    not grow with its width.

    Args:
        in_features, out_features: as for `nn.Linear`.
        W_std, b_std: standard deviations; no bias where `b_std` is 0.
        generator: draws the parameters; default torch's own source.
        dtype: of the parameters.

    Example:
        >>> layer = NTKLinear(3, 2, W_std=1.0, b_std=0.0)
        >>> layer(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        W_std: float = math.sqrt(2),
        b_std: float = 0.1,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.spec = Dense(W_std, b_std)
        super().__init__(in_features, out_features, bias=b_std > 0, dtype=dtype)
        _standard_normal(self, generator)

    def reset_parameters(self) -> None:
        """Nothing: the parameters are drawn from a generator, torch's own source is left alone."""

    @property
    def scales(self) -> tuple[float, float]:
        """What the weight and the bias are multiplied by."""
        return self.spec.W_std / math.sqrt(self.in_features), self.spec.b_std

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.scales
        return F.linear(input, weight * self.weight, None if self.bias is None else bias * self.bias)


class NTKConv2d(nn.Conv2d):
    """A convolution in the NTK parametrisation, of stride 1 and the size of its input; as `NTKLinear`, fan-in C k^2.

    Args:
        in_channels, out_channels: as for `nn.Conv2d`.
        size, padding, W_std, b_std: as for `Conv`.
        generator, dtype: as for `NTKLinear`.

    Example:
        >>> NTKConv2d(1, 4, size=3)(torch.zeros(2, 1, 5, 5)).shape
        torch.Size([2, 4, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int = 3,
        padding: str = "circular",
        W_std: float = math.sqrt(2),
        b_std: float = 0.1,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.spec = Conv(size, padding, W_std, b_std)
        super().__init__(
            in_channels,
            out_channels,
            size,
            padding=size // 2,
            padding_mode="circular" if padding == "circular" else "zeros",
            bias=b_std > 0,
            dtype=dtype,
        )
        _standard_normal(self, generator)

    def reset_parameters(self) -> None:
        """Nothing: the parameters are drawn from a generator, torch's own source is left alone."""

    @property
    def scales(self) -> tuple[float, float]:
        """What the weight and the bias are multiplied by."""
        return self.spec.W_std / math.sqrt(self.weight[0].numel()), self.spec.b_std

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.scales
        return self._conv_forward(input, weight * self.weight, None if self.bias is None else bias * self.bias)


def finite_network(
    architecture: Architecture,
    shape: tuple[int, ...],
    width: int,
    *,
    outputs: int = 1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> nn.Sequential:
    """A network of finite width whose kernels tend to those of `architecture`, at random parameters.

    Its empirical tangent kernel differs from the infinite one by O(1 / sqrt(width)).

    Args:
        shape: of one input, `(D,)` or `(C, H, W)`.
        width: units or channels of every layer but the last.
        outputs: units of the last dense layer.
        generator: draws the parameters; default torch's own source.
        dtype: of the parameters.

    Raises:
        InputError: an input that the architecture does not read.

    Example:
        >>> net = finite_network(Architecture.cnn(1, b_std=0.0), (1, 8, 8), 16)
        >>> [type(layer).__name__ for layer in net]
        ['NTKConv2d', 'ReLU', 'Flatten', 'NTKLinear']
    """
    positive_int(width, "width")
    positive_int(outputs, "outputs")
    checked(architecture).check(torch.zeros(1, *shape, dtype=torch.float64), "an input")
    dense = [layer for layer in architecture.layers if isinstance(layer, Dense)]
    require(len(dense) > 0, f"{architecture} has no dense layer to read outputs from.")
    modules: list[nn.Module] = []
    features, pixels, left = shape[0], math.prod(shape[1:]), len(dense)
    for layer in architecture.layers:
        if isinstance(layer, Conv):
            stds = {"W_std": layer.W_std, "b_std": layer.b_std, "generator": generator, "dtype": dtype}
            modules.append(NTKConv2d(features, width, size=layer.size, padding=layer.padding, **stds))
            features = width
        elif isinstance(layer, Dense):
            left -= 1
            units = width if left else outputs
            stds = {"W_std": layer.W_std, "b_std": layer.b_std, "generator": generator, "dtype": dtype}
            modules.append(NTKLinear(features, units, **stds))
            features = units
        elif isinstance(layer, Flatten):
            modules.append(nn.Flatten())
            features *= pixels
        elif isinstance(layer, GlobalAveragePool):
            modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        else:
            modules.append(_activation(layer))
    return nn.Sequential(*modules)


def _activation(layer: Activation) -> nn.Module:
    known = {ReLU: nn.ReLU, Erf: ErfUnit}
    require(type(layer) in known, f"{layer!r} has no module here: build the network by hand.")
    return known[type(layer)]()


def _standard_normal(layer: nn.Module, generator: torch.Generator | None) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
