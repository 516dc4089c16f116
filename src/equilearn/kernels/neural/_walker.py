"""Read the architecture of a torch network: what its kernels would be at infinite width."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from equilearn._check import InputError, InputTypeError
from equilearn.kernels.neural._architecture import Architecture
from equilearn.kernels.neural._layers import Conv, Dense, Erf, Flatten, GlobalAveragePool, Layer, ReLU
from equilearn.kernels.neural._modules import ErfUnit, NTKConv2d, NTKLinear

IGNORED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
PLAIN = (nn.Sequential, NTKLinear, NTKConv2d, nn.Linear, nn.Conv2d, nn.ReLU, ErfUnit, nn.Flatten, nn.AdaptiveAvgPool2d)
"""Layers that are read, where they do what their class does: a subclass may do anything."""
ELSEWHERE = "Its kernel as it is, at finite width: empirical_ntk(module, x)."


def architecture_of(module: nn.Module, *, W_std: float | None = None, b_std: float | None = None) -> Architecture:
    """The `Architecture` that a network of linear layers, convolutions and ReLUs tends to as it gets wide.

    Reads `nn.Sequential`, nested or not, of `Linear`, `Conv2d` (odd square kernels, stride 1, padding that keeps the
    size, `padding_mode` zeros or circular), `ReLU`, `ErfUnit`, `Flatten`, `AdaptiveAvgPool2d(1)`, and the layers of
    `finite_network`. Dropout is the identity, as in evaluation mode. Widths are not kept: they are infinite.

    Args:
        W_std, b_std: standard deviations of the weights times sqrt(fan-in) and of the biases, for all layers. By
            default those of torch's initialisation: both are uniform within `1 / sqrt(fan_in)`, which makes
            `W_std = 1 / sqrt(3)` and `b_std = 1 / sqrt(3 fan_in)`. Layers without bias have `b_std = 0`. Layers in
            the NTK parametrisation keep their own.

    Returns:
        The architecture. Its `nngp` is that of the network at initialisation; its `ntk` is the kernel of training in
        the NTK parametrisation, in which no layer's share depends on its width:
        `empirical_ntk(module, x, parametrization="ntk")` tends to it. Without biases, W_std only scales the kernels of
        ReLU networks.

    Raises:
        InputError: a layer without closed form (named, with its place), or an order of layers that has none; a
            subclass with a `forward` of its own, a layer with hooks or parametrisations, or with parameters that are
            not trained; layers whose sizes do not fit each other.

    Example:
        >>> net = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 10))
        >>> architecture_of(net, W_std=2.0**0.5, b_std=0.1)
        Dense(1.414,0.1)-ReLU-Dense(1.414,0.1)
        >>> architecture_of(net)
        Dense(0.5774,0.02062)-ReLU-Dense(0.5774,0.02552)
    """
    if not isinstance(module, nn.Module):
        raise InputTypeError(f"module must be a torch.nn.Module, got {type(module).__name__}.")
    layers: list[Layer] = []
    given = _Given()
    for name, leaf in _leaves(module, ""):
        found = _layer(leaf, name, W_std, b_std)
        _check_plain(leaf, name)
        given.check(leaf, name)
        if isinstance(found, Flatten) and any(isinstance(layer, GlobalAveragePool | Dense) for layer in layers):
            continue  # vectors already
        if found is not None:
            layers.append(found)
    if layers and isinstance(layers[0], Flatten) and not any(isinstance(layer, Dense) for layer in layers):
        raise InputError("The network flattens its input and has no linear layer: it has no kernel to speak of.")
    return Architecture(layers)


@dataclass
class _Given:
    """What a layer is given: how many features, of a vector, of every pixel, or (behind a flattened map) per pixel."""

    features: int | None = None
    kind: str = "unknown"

    def check(self, module: nn.Module, name: str) -> None:
        """Say where the sizes of two layers do not fit; go on behind the layer."""
        if isinstance(module, nn.Flatten) and self.kind != "unknown":
            self.kind = "flattened" if self.kind == "pixels" else "vector"
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            self.kind = "pooled"
        elif isinstance(module, nn.Linear):
            self._need(module.in_features, module, name)
            self.features, self.kind = module.out_features, "vector"
        elif isinstance(module, nn.Conv2d):
            self._need(module.in_channels, module, name)
            self.features, self.kind = module.out_channels, "pixels"

    def _need(self, wanted: int, module: nn.Module, name: str) -> None:
        if isinstance(module, nn.Linear):
            _need(self.kind != "pooled", module, name, "it stands right behind the pooling: put Flatten() between them")
        if self.features is None:
            return
        whole = wanted % self.features == 0 if self.kind == "flattened" else wanted == self.features
        _need(whole, module, name, f"it takes {wanted} features, and the layers before it give {self.features}")


def _check_plain(module: nn.Module, name: str) -> None:
    """Refuse a layer that does more, or other, than its class says."""
    known = next((kind for kind in PLAIN + IGNORED if isinstance(module, kind)), nn.Module)
    own = type(module).forward is known.forward and "forward" not in vars(module)
    _need(own, module, name, f"it has a forward of its own, not that of {known.__name__}")
    _need(not getattr(module, "parametrizations", None), module, name, "its parameters are made from others")
    _need(not module._forward_hooks and not module._forward_pre_hooks, module, name, "it has hooks")
    trained = all(p.requires_grad for p in module.parameters(recurse=False))
    _need(trained, module, name, "its parameters are not trained (requires_grad=False)")


def _leaves(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        _check_plain(module, name)
        for key, child in module.named_children():
            yield from _leaves(child, f"{name}.{key}" if name else key)
    else:
        yield name, module


def _layer(module: nn.Module, name: str, W_std: float | None, b_std: float | None) -> Layer | None:
    if isinstance(module, NTKLinear | NTKConv2d):
        return module.spec
    if isinstance(module, nn.Linear):
        return Dense(*_stds(module.in_features, module.bias is not None, W_std, b_std))
    if isinstance(module, nn.Conv2d):
        return _convolution(module, name, W_std, b_std)
    if isinstance(module, nn.ReLU):
        return ReLU()
    if isinstance(module, ErfUnit):
        return Erf()
    if isinstance(module, nn.Flatten):
        _need(module.start_dim == 1 and module.end_dim == -1, module, name, "it must flatten all but the batch")
        return Flatten()
    if isinstance(module, nn.AdaptiveAvgPool2d):
        _need(module.output_size in (1, (1, 1), [1, 1]), module, name, "only the mean over the whole map is known")
        return GlobalAveragePool()
    if isinstance(module, IGNORED):
        return None
    raise InputError(
        f"{_where(module, name)} has no closed form: known are Linear, Conv2d, ReLU, ErfUnit, Flatten and "
        f"AdaptiveAvgPool2d(1) in an nn.Sequential. {ELSEWHERE}"
    )


def _convolution(module: nn.Conv2d, name: str, W_std: float | None, b_std: float | None) -> Conv:
    height, width = module.kernel_size
    _need(height == width and height % 2 == 1, module, name, "the kernel must be square and odd")
    _need(tuple(module.stride) == (1, 1), module, name, "the stride must be 1")
    _need(height == 1 or tuple(module.dilation) == (1, 1), module, name, "the dilation must be 1")
    _need(module.groups == 1, module, name, "groups must be 1")
    _need(module.padding_mode in ("zeros", "circular"), module, name, "padding_mode must be zeros or circular")
    keeps = module.padding == "same" or module.padding in (height // 2, (height // 2, height // 2))
    _need(keeps or (height == 1 and module.padding == "valid"), module, name, f"padding must be {height // 2}")
    stds = _stds(module.in_channels * height * width, module.bias is not None, W_std, b_std)
    return Conv(height, "circular" if module.padding_mode == "circular" else "same", *stds)


def _stds(fan_in: int, bias: bool, W_std: float | None, b_std: float | None) -> tuple[float, float]:
    weight = 1 / math.sqrt(3) if W_std is None else W_std
    if not bias:
        return weight, 0.0
    return weight, 1 / math.sqrt(3 * fan_in) if b_std is None else b_std


def _need(condition: bool, module: nn.Module, name: str, what: str) -> None:
    if not condition:
        raise InputError(f"{_where(module, name)} has no closed form here: {what}. {ELSEWHERE}")


def _where(module: nn.Module, name: str) -> str:
    text = repr(module) if not any(module.children()) else f"{type(module).__name__}(...)"
    return f"Layer {name!r}, {text}," if name else f"{text}"
