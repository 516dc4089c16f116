"""Tangent kernels of networks as they are: three forms that agree, the infinite limit, what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import equilearn.kernels.neural._empirical as empirical_file
from equilearn._check import InputError, InputTypeError
from equilearn.kernels.neural import (
    Architecture,
    Erf,
    ErfUnit,
    NTKConv2d,
    NTKLinear,
    architecture_of,
    empirical_ntk,
    finite_network,
)


class Tokens(nn.Module):
    """Linear layers on (N, T, F), a residual connection, a mean over tokens."""

    def __init__(self, features: int, units: int):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(features, units), nn.Linear(units, units), nn.Linear(units, 3)

    def forward(self, x):
        h = torch.tanh(self.one(x))
        return self.out((h + F.silu(self.two(h))).mean(1))


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


class InPlace(nn.Module):
    """Changes what a layer has read."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        h = x * 1.0
        y = self.layer(h)
        h += 1
        return y * h


class Borrowed(nn.Module):
    """The weight of a layer that is never called; or, tied, a second use of one that is."""

    def __init__(self, tied: bool):
        super().__init__()
        self.a, self.b, self.tied = nn.Linear(4, 5), None if tied else nn.Linear(5, 3), tied

    def forward(self, x):
        h = torch.relu(self.a(x))
        return F.linear(h, self.a.weight.mT) if self.b is None else F.linear(h, self.b.weight, self.b.bias)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    return net


def frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    net[0].weight.requires_grad_(False)
    net[2].requires_grad_(False)
    return net


def cnn(**options) -> nn.Module:
    first = nn.Conv2d(2, 4, 3, **options)
    rest = [nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2, bias=False), nn.Flatten(), nn.LazyLinear(3)]
    net = nn.Sequential(first, *rest)
    net(torch.zeros(1, 2, 8, 8))
    return net


STRUCTURED = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3, bias=False)), (4,)),
    "inplace": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)), (4,)),
    "frozen": (frozen, (4,)),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3)).eval(), (4,)),
    "tokens": (lambda: Tokens(4, 6), (5, 4)),
    "wide tokens": (lambda: Tokens(16, 32), (2, 16)),
    "circular": (lambda: cnn(padding=1, padding_mode="circular"), (2, 8, 8)),
    "strided": (lambda: cnn(stride=2, dilation=2, padding=3), (2, 8, 8)),
    "same": (lambda: cnn(padding="same"), (2, 8, 8)),
    "reflect": (lambda: cnn(padding=(1, 2), padding_mode="reflect"), (2, 8, 8)),
    "ntk": (lambda: finite_network(Architecture.cnn(2), (2, 4, 4), 6, outputs=3, dtype=torch.float32), (2, 4, 4)),
    "no output axis": (lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), (4,)),
}
OTHERS = {
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)), (4,), "LayerNorm '1'"),
    "batch norm": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval(), (4,), "BatchNorm1d '1'"),
    "groups": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Flatten()), (4, 4, 4), "has groups"),
    "twice": (Twice, (4,), "called twice"),
    "tied": (tied, (4,), "share parameters"),
    "borrowed": (lambda: Borrowed(False), (4,), "parameters of a Linear are used outside of its call"),
    "borrowed twice": (lambda: Borrowed(True), (4,), "parameters of a Linear are used outside of its call"),
}


def build(make, shape, dtype, generator, rows=(5, 3)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make().to(dtype)
    return net, *(torch.randn(n, *shape, generator=generator, dtype=torch.float64).to(dtype) for n in rows)


def slow_full(net: nn.Module, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """One backward pass for each sample and output, all parameters side by side."""
    parameters = [p for p in net.parameters() if p.requires_grad]

    def jacobian(batch):
        rows = []
        for sample in batch:
            y = net(sample[None]).flatten()
            grads = [torch.autograd.grad(v, parameters, retain_graph=True, allow_unused=True) for v in y]
            rows.append(
                torch.stack(
                    [
                        torch.cat(
                            [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(row, parameters)]
                        )
                        for row in grads
                    ]
                )
            )
        return torch.stack(rows)

    return torch.einsum("iap,jbp->ijab", jacobian(x), jacobian(z))


# --- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["structured", "jacobian", "products"])
@pytest.mark.parametrize("name", STRUCTURED)
def test_every_form_is_the_loop_over_gradients(name, method, dtype, tolerance, generator):
    net, x, z = build(*STRUCTURED[name], dtype, generator)
    for other in (z, None):
        wanted = slow_full(net, x, x if other is None else other)
        for chunk in (512, 2):
            full = empirical_ntk(net, x, other, outputs="full", method=method, chunk=chunk)
            torch.testing.assert_close(full, wanted, rtol=tolerance, atol=tolerance)
            mean = empirical_ntk(net, x, other, method=method, chunk=chunk)
            torch.testing.assert_close(mean, wanted.diagonal(0, 2, 3).mean(-1), rtol=tolerance, atol=tolerance)
            last = empirical_ntk(net, x, other, outputs=wanted.shape[-1] - 1, method=method, chunk=chunk)
            torch.testing.assert_close(last, wanted[..., -1, -1], rtol=tolerance, atol=tolerance)
            assert full.dtype == dtype
            if other is None:
                assert torch.equal(mean, mean.mT)
                assert torch.equal(full, full.permute(1, 0, 3, 2))


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_take_other_forms(name, generator):
    make, shape, message = OTHERS[name]
    net, x, z = build(make, shape, torch.float64, generator)
    wanted = slow_full(net, x, z)
    for method in ("auto", "jacobian", "products"):
        found = empirical_ntk(net, x, z, outputs="full", method=method)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    with pytest.raises(InputError, match=message):
        empirical_ntk(net, x, z, method="structured")


def test_inputs_changed_in_place_are_noticed():
    """As in training: no form could use them."""
    with pytest.raises(InputError, match="changed in place"):
        empirical_ntk(InPlace(), torch.ones(2, 4), method="structured")


def test_the_form_follows_memory(generator, monkeypatch):
    net, x, _ = build(OTHERS["layer norm"][0], (4,), torch.float64, generator)
    wanted = empirical_ntk(net, x)
    called = []
    products = empirical_file.products
    monkeypatch.setattr(empirical_file, "products", lambda *given: called.append(1) or products(*given))
    torch.testing.assert_close(empirical_ntk(net, x, memory=1 << 14), wanted)
    assert not called
    torch.testing.assert_close(empirical_ntk(net, x, memory=100), wanted)
    assert called


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("name", ["circular", "tokens", "wide tokens", "mlp"])
def test_memory_bounds_the_samples_at_a_time(name, outputs, generator, monkeypatch):
    net, x, z = build(*STRUCTURED[name], torch.float64, generator, rows=(40, 30))
    wanted = empirical_ntk(net, x, z, outputs=outputs)
    sizes = []
    traced = empirical_file.traces
    monkeypatch.setattr(empirical_file, "traces", lambda *given: sizes.append(len(given[2])) or traced(*given))
    found = empirical_ntk(net, x, z, outputs=outputs, memory=1 << 14, method="structured")
    torch.testing.assert_close(found, wanted)
    assert max(sizes) <= 12
    sizes.clear()
    empirical_ntk(net, x, z, outputs=outputs, method="structured")
    assert max(sizes) == 40


def test_costs_are_counted_per_sample_and_pair(generator):
    net, x, _ = build(*STRUCTURED["circular"], torch.float64, generator)
    cost = empirical_file.empirical_cost(net, x[:1])
    assert cost == empirical_file.empirical_cost(net, x[1:2])  # not timed
    large = nn.Sequential(net[0], nn.AdaptiveAvgPool2d(8), *net[1:])
    more = empirical_file.empirical_cost(large, torch.ones(1, 2, 64, 64, dtype=torch.float64))
    assert more[0] > 20 * cost[0]
    assert more[2] < cost[2]
    other, x, _ = build(OTHERS["layer norm"][0], (4,), torch.float64, generator)
    assert empirical_file.empirical_cost(other, x[:1])[0] > 0


def test_nothing_is_left_behind(generator):
    net, x, _ = build(*STRUCTURED["circular"], torch.float64, generator)
    before = copy.deepcopy(net.state_dict())
    x.requires_grad_()
    for method in ("structured", "jacobian", "products"):
        assert not empirical_ntk(net, x, method=method).requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_hooks_go_when_a_network_fails(generator):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].register_forward_hook(
        lambda *_: (_ for _ in ()).throw(RuntimeError("no")) if torch.is_grad_enabled() else None
    )
    with pytest.raises(RuntimeError, match="no"):
        empirical_ntk(net, torch.ones(2, 4), method="structured")
    assert [len(m._forward_hooks) for m in net] == [0, 1]


# --- the infinite limit -----------------------------------------------------------------------


@pytest.mark.parametrize("net", [Architecture.mlp(1, W_std=1.0, b_std=1.0), Architecture.mlp(1, activation=Erf())])
def test_the_error_falls_with_the_root_of_the_width(net, generator):
    """Root mean squares over 8 draws: the slope over three factors of 4 has a standard error of about 0.07, so that
    0.3 is passed by chance about once in 30,000 runs.
    """
    x = torch.randn(10, 6, generator=generator, dtype=torch.float64)
    wanted = net.ntk(x)
    errors = []
    for width in (64, 256, 1024, 4096):
        squares = 0.0
        for _ in range(8):
            found = empirical_ntk(finite_network(net, (6,), width, generator=generator), x)
            squares += float((found - wanted).norm() / wanted.norm()) ** 2 / 8
        errors.append(math.sqrt(squares))
    slope = math.log(errors[-1] / errors[0]) / math.log(64)
    assert abs(slope + 0.5) < 0.3
    assert errors[-1] < 0.05


@pytest.mark.parametrize("pool", [False, True])
def test_a_torch_network_tends_to_its_architecture(pool):
    """Standard deviations of about 0.03 each at these widths: 0.25 is far out."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if pool else [nn.Flatten()]
        conv = nn.Conv2d(1, 1024, 3, padding=1, padding_mode="circular")
        net = nn.Sequential(conv, nn.ReLU(), *head, nn.Linear(1024 * (1 if pool else 36), 4)).double()
        x = torch.randn(6, 1, 6, 6, dtype=torch.float64)
    found = empirical_ntk(net, x, parametrization="ntk")
    wanted = architecture_of(net).ntk(x)
    assert float((found - wanted).norm() / wanted.norm()) < 0.25


@pytest.mark.parametrize("method", ["structured", "jacobian", "products"])
def test_parametrisations_differ_by_the_scale_of_each_layer(method, generator):
    net, x, _ = build(*STRUCTURED["mlp"], torch.float64, generator)
    scaled = copy.deepcopy(net)
    scaled[0].weight.requires_grad_(False)
    scaled[0].bias.requires_grad_(False)
    last = empirical_ntk(scaled, x, method=method)
    torch.testing.assert_close(empirical_ntk(scaled, x, method=method, parametrization="ntk"), last / (3 * 8))
    first = empirical_ntk(net, x, method=method) - last
    wanted = last / (3 * 8) + first / (3 * 4)
    torch.testing.assert_close(empirical_ntk(net, x, method=method, parametrization="ntk"), wanted)


# --- finite networks --------------------------------------------------------------------------


def test_layers_of_finite_networks(generator):
    layer = NTKLinear(4, 3, W_std=1.5, b_std=0.2, generator=generator)
    x = torch.randn(2, 4, generator=generator)
    torch.testing.assert_close(layer(x), 0.75 * F.linear(x, layer.weight) + 0.2 * layer.bias)
    conv = NTKConv2d(4, 3, size=3, padding="same", b_std=0.0, generator=generator)
    images = torch.randn(2, 4, 5, 5, generator=generator)
    torch.testing.assert_close(conv(images), F.conv2d(images, conv.weight * (2**0.5 / 6), padding=1))
    assert conv.bias is None
    net = finite_network(Architecture.mlp(1, activation=Erf()), (4,), 8, generator=generator)
    assert isinstance(net[1], ErfUnit)


def test_finite_networks_leave_the_global_source_alone(generator):
    before = torch.get_rng_state()
    one, two = (
        finite_network(Architecture.cnn(1), (1, 4, 4), 8, generator=g) for g in (torch.Generator(), torch.Generator())
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


def test_finite_networks_of_other_inputs():
    with pytest.raises(InputError, match="reads images"):
        finite_network(Architecture.cnn(1), (16,), 8)
    with pytest.raises(InputError, match="width"):
        finite_network(Architecture.mlp(1), (16,), 0)
    with pytest.raises(InputTypeError, match="An Architecture is needed.*got str"):
        finite_network("mlp", (16,), 4)


# --- edges, and what is refused ---------------------------------------------------------------


def test_no_samples_and_one():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    none, one = torch.empty(0, 3), torch.ones(1, 3)
    assert empirical_ntk(net, none).shape == (0, 0)
    assert empirical_ntk(net, one, none, outputs="full").shape == (1, 0, 2, 2)
    for method in ("structured", "jacobian", "products"):
        assert empirical_ntk(net, one, outputs="full", method=method).shape == (1, 1, 2, 2)


class Attention(nn.Module):
    """Dropout that is no module of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    def forward(self, x):
        return self.layer(x, x, x)[0]


LINEAR = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("module", "x", "options", "message"),
    [
        (torch.tanh, torch.ones(2, 3), {}, "must be a torch.nn.Module"),
        (LINEAR, [1.0], {}, "floating-point inputs"),
        (LINEAR, torch.tensor([[1.0, math.nan, 0.0]]), {}, "x holds 1 NaN"),
        (LINEAR, torch.ones(2, 3).double(), {}, "convert one of the two"),
        (LINEAR, torch.ones(2, 3), {"z": torch.ones(2, 4)}, "must be alike"),
        (LINEAR, torch.ones(2, 3), {"outputs": 2}, "outputs 0 to 1"),
        (LINEAR, torch.ones(2, 3), {"outputs": "fully"}, "Did you mean 'full'"),
        (LINEAR, torch.ones(2, 3), {"method": "structure"}, "Did you mean 'structured'"),
        (LINEAR, torch.ones(2, 3), {"parametrization": "mup"}, "Unknown parametrization"),
        (nn.Sequential(LINEAR, nn.Dropout()), torch.ones(2, 3), {}, r"module.eval\(\)"),
        (nn.Sequential(LINEAR, nn.BatchNorm1d(2)), torch.ones(2, 3), {}, r"BatchNorm1d '1' is in training mode"),
        (
            nn.Sequential(LINEAR, nn.BatchNorm1d(2, track_running_stats=False)).eval(),
            torch.ones(2, 3),
            {},
            "BatchNorm1d '1' keeps no running statistics",
        ),
        (Attention(), torch.ones(2, 5, 4), {}, "MultiheadAttention 'layer' is in training mode"),
        (LINEAR, torch.ones(2, 5), {}, r"fails on one input of shape \(5,\): RuntimeError: mat1 and mat2"),
        (nn.ReLU(), torch.ones(2, 3), {}, "no trainable parameters"),
        (
            nn.Sequential(LINEAR, nn.LayerNorm(2)),
            torch.ones(2, 3),
            {"parametrization": "ntk"},
            "LayerNorm '1' has no NTK",
        ),
    ],
)
def test_bad_inputs(module, x, options, message):
    with pytest.raises(InputError, match=message):
        empirical_ntk(module, x, **options)


def test_a_network_that_returns_no_tensor():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x), x

    with pytest.raises(InputTypeError, match="must return a tensor, got tuple"):
        empirical_ntk(Pair(), torch.ones(2, 3))
