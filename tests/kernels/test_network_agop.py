"""The average gradient outer product of networks and other functions."""

from __future__ import annotations

import pytest
import torch
from kernel_twins import randn, relative
from torch import nn

from equilearn._check import InputError, InputTypeError
from equilearn.kernels import Settings, agop, fit_local_machines, fit_rfm


def network(dtype, outputs=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).to(dtype)


def by_jacobians(model, x, centered):
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda v: model(v[None])[0], row) for row in x])
    flat = jacobians.reshape(len(x), -1, x[0].numel())
    flat = flat - flat.mean(0) if centered else flat
    return torch.einsum("ncd,nce->de", flat, flat) / len(x)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_network(centered, chunk, dtype, generator):
    net, x = network(dtype), randn(9, 4, generator=generator, dtype=dtype)
    found = agop(net, x, centered=centered, chunk=chunk)
    assert found.dtype == dtype and torch.equal(found, found.mT)
    assert relative(found, by_jacobians(net, x, centered)) < (1e-5 if dtype == torch.float32 else 1e-13)
    assert all(p.grad is None for p in net.parameters()) and not x.requires_grad


def test_inputs_and_outputs_of_any_shape(generator):
    x = randn(5, 2, 3, generator=generator)

    def model(v):
        return torch.stack([v.square(), v.sin()], dim=-1)  # (N, 2, 3, 2)

    found = agop(model, x)
    flat = x.flatten(1)
    torch.testing.assert_close(found, torch.diag((4 * flat.square() + flat.cos().square()).mean(0)))
    one = agop(lambda v: v.flatten(1).square().sum(1), x)
    torch.testing.assert_close(one, 4 * flat.mT @ flat / 5)


def test_output_that_depends_on_nothing_counts_nothing(generator):
    x = randn(5, 3, generator=generator)
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    found = agop(lambda v: torch.stack([v[:, 0], weight.expand(len(v))], 1), x)
    torch.testing.assert_close(found, torch.diag(torch.tensor([1.0, 0.0, 0.0])).double())
    assert not bool(agop(lambda v: weight.expand(len(v)), x).any())


def test_in_inference_and_without_gradients(generator):
    net, x = network(torch.float64), randn(6, 4, generator=generator)
    wanted = agop(net, x)
    with torch.no_grad():
        assert torch.equal(agop(net, x), wanted)


def test_machines_have_their_closed_form(generator):
    x = randn(40, 4, generator=generator)
    y = x[:, :1] * x[:, 1:2]
    options = {"kernel": "gaussian", "iterations": 1, "ridge": 0.1}
    for diagonal in (False, True):
        machine = fit_rfm(x, y, diagonal=diagonal, **options)
        wanted = by_jacobians(lambda v: smooth(machine, v), x, True)  # noqa: B023
        wanted = torch.diag(wanted.diagonal()) if diagonal else wanted
        assert relative(agop(machine, x, centered=True), wanted) < 1e-10
    local = fit_local_machines(x, y, Settings(**options), 25)
    assert torch.equal(agop(local, x), local.agop(x, centered=False))


def smooth(machine, v):
    """The outputs of a Gaussian machine, with gradients."""
    metric = torch.diag(machine.metric) if machine.metric.ndim == 1 else machine.metric
    w = v[:, None, :] - machine.centers
    return torch.exp(-((w @ metric) * w).sum(-1) / (2 * machine.kernel.bandwidth**2)) @ machine.dual


def test_what_is_refused():
    net, x = network(torch.float32), torch.zeros(3, 4)
    for bad, error, message in (
        ([[0.0]], InputTypeError, "floating-point inputs"),
        (x.int(), InputTypeError, "floating-point inputs"),
        (x[:0], InputError, "x is empty"),
        (x + torch.nan, InputError, "x holds 12 NaN"),
    ):
        with pytest.raises(error, match=message):
            agop(net, bad)
    for model, error, message in (
        (lambda v: v.tolist(), InputTypeError, "must return a tensor, got list"),
        (lambda v: v.sum(), InputError, r"one row an input: 3 inputs gave an output of shape \(\)"),
        (lambda v: v[:2], InputError, r"3 inputs gave an output of shape \(2, 4\)"),
        (lambda v: v.argmax(1), InputError, "do not depend on its inputs"),
        (lambda v: v.detach(), InputError, "do not depend on its inputs"),
        (
            lambda v: v.sqrt(),
            InputError,
            "the AGOP of the model holds 1[26] NaN|the AGOP of the model holds .* infinite",
        ),
    ):
        with pytest.raises(error, match=message):
            agop(model, x)
    with pytest.raises(InputError, match="chunk must be a whole number >= 1, got 0"):
        agop(net, x, chunk=0)
