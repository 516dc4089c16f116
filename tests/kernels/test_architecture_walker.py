"""Reading the architecture of torch networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from equilearn._check import InputError, InputTypeError
from equilearn.kernels.neural import (
    Architecture,
    Conv,
    Dense,
    Erf,
    ErfUnit,
    Flatten,
    GlobalAveragePool,
    ReLU,
    architecture_of,
    finite_network,
)

ROOT3 = math.sqrt(3)


def test_a_dense_network_of_torch():
    net = nn.Sequential(
        nn.Linear(12, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8, bias=False), ErfUnit(), nn.Linear(8, 3)
    )
    assert architecture_of(net).layers == (
        Dense(1 / ROOT3, 1 / math.sqrt(36)),
        ReLU(),
        Dense(1 / ROOT3, 0.0),
        Erf(),
        Dense(1 / ROOT3, 1 / math.sqrt(24)),
    )
    assert architecture_of(net, W_std=1.5, b_std=0.1).layers[::2] == (Dense(1.5, 0.1), Dense(1.5, 0.0), Dense(1.5, 0.1))


@pytest.mark.parametrize(
    ("conv", "found"),
    [
        (nn.Conv2d(2, 4, 3, padding=1), Conv(3, "same", 1 / ROOT3, 1 / math.sqrt(54))),
        (nn.Conv2d(2, 4, 3, padding="same"), Conv(3, "same", 1 / ROOT3, 1 / math.sqrt(54))),
        (nn.Conv2d(2, 4, 5, padding=2, padding_mode="circular"), Conv(5, "circular", 1 / ROOT3, 1 / math.sqrt(150))),
        (nn.Conv2d(2, 4, 1, bias=False), Conv(1, "same", 1 / ROOT3, 0.0)),
    ],
)
def test_convolutions_of_torch(conv, found):
    pooled = nn.Sequential(nn.Sequential(conv, nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    assert architecture_of(pooled).layers == (found, ReLU(), GlobalAveragePool(), Dense(1 / ROOT3, 1 / math.sqrt(12)))
    flat = nn.Sequential(conv, nn.ReLU(), nn.Identity(), nn.Flatten(), nn.Linear(64, 3))
    assert architecture_of(flat).layers[2] == Flatten()


def test_the_standard_deviations_are_those_of_torch():
    """200,000 uniform numbers: a relative error of 0.01 is ten standard deviations."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(400, 500)
        biases = torch.cat([nn.Linear(400, 2000).bias.detach() for _ in range(100)])
    (found,) = architecture_of(layer).layers
    assert float(layer.weight.detach().std()) * math.sqrt(400) == pytest.approx(found.W_std, rel=0.01)
    assert float(biases.std()) == pytest.approx(found.b_std, rel=0.01)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (Architecture.mlp(2, activation=Erf()), (5,)),
        (Architecture([Flatten(), *Architecture.mlp(1).layers]), (1, 4, 4)),
        *(
            (Architecture.cnn(2, size=5, padding=p, pool=g, b_std=b), (2, 5, 5))
            for p in ("circular", "same")
            for g in (False, True)
            for b in (0.0, 0.2)
        ),
    ],
)
def test_finite_networks_are_read_back(net, shape):
    module = finite_network(net, shape, 8)
    assert architecture_of(module) == net
    assert architecture_of(module, W_std=9.0) == net
    assert module(torch.zeros(2, *shape, dtype=torch.float64)).shape == (2, 1)


def test_flattening_vectors_does_nothing():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    assert architecture_of(net) == architecture_of(nn.Sequential(net[0], net[1], net[3]))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GELU(), r"Layer '1', GELU\(approximate='none'\), has no closed form"),
        (nn.MaxPool2d(2), "Layer '1', MaxPool2d"),
        (nn.AvgPool2d(2), "Layer '1', AvgPool2d"),
        (nn.BatchNorm2d(4), "Layer '1', BatchNorm2d"),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), "Layer '1.1', Tanh"),
        (nn.AdaptiveAvgPool2d(2), "only the mean over the whole map"),
        (nn.Conv2d(4, 4, 3), "padding must be 1"),
        (nn.Conv2d(4, 4, 3, padding=1, stride=2), "stride must be 1"),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2), "dilation must be 1"),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), "groups must be 1"),
        (nn.Conv2d(4, 4, (3, 5), padding="same"), "square and odd"),
        (nn.Conv2d(4, 4, 2, padding="same"), "square and odd"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "zeros or circular"),
        (nn.Flatten(2), "all but the batch"),
    ],
)
def test_layers_without_closed_form(layer, message):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), layer, nn.Flatten(), nn.Linear(4, 1))
    with pytest.raises(InputError, match=message) as caught:
        architecture_of(net)
    assert "empirical_ntk(module, x)" in str(caught.value)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Doubled(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Wrapped(nn.Conv2d):
    def forward(self, input):
        return super().forward(input).square()


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False)


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, given, output: 3 * output)
    return layer


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            Residual(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
            "Residual.* it has a forward of its own",
        ),
        (nn.Sequential(Residual(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 1)), "Layer '0', Residual"),
        (Doubled(4, 2), "forward of its own, not that of Linear"),
        (nn.Sequential(Wrapped(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 1)), "forward of its own, not that of"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2)), "its parameters are made from others"),
        (hooked(nn.Linear(4, 2)), "it has hooks"),
        (nn.Sequential(frozen(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 1)), "Layer '0'.*not trained"),
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2)), "Layer '2'.*takes 9 features.*give 8"),
        (
            nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 1)),
            "takes 3 features.*give 4",
        ),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(30, 1)), "takes 30 features.*give 4"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 1)), r"put Flatten\(\) between them"),
    ],
)
def test_layers_that_do_other_than_their_class(net, message):
    with pytest.raises(InputError, match=message):
        architecture_of(net)


def test_what_is_no_network():
    with pytest.raises(InputTypeError, match="must be a torch.nn.Module"):
        architecture_of(torch.relu)
    with pytest.raises(InputError, match="at least one layer"):
        architecture_of(nn.Sequential())
    with pytest.raises(InputError, match="no linear layer"):
        architecture_of(nn.Flatten())
    with pytest.raises(InputError, match="needs a head"):
        architecture_of(nn.Conv2d(1, 4, 3, padding=1))
