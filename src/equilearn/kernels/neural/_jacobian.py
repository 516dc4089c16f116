"""The tangent kernel of any network: Jacobians of single samples, or products with them that form none."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

Parameters = dict[str, Tensor]


def trainable(module: nn.Module) -> tuple[Parameters, Parameters]:
    """The parameters that are trained, and everything else that a call needs; shared ones once."""
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    rest = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return parameters, rest | {name: b.detach() for name, b in module.named_buffers()}


def _outputs(module: nn.Module, values: Parameters, rest: Parameters, x: Tensor, chosen: list[int] | None) -> Tensor:
    y = functional_call(module, (values, rest), (x,)).reshape(len(x), -1)
    return y if chosen is None else y[:, chosen]


def jacobians(
    module: nn.Module, x: Tensor, chosen: list[int] | None, scale: dict[str, float]
) -> list[tuple[str, Tensor]]:
    """For each parameter, `(N, O, P)`."""
    parameters, rest = trainable(module)

    def one(values: Parameters, sample: Tensor) -> Tensor:
        return _outputs(module, values, rest, sample[None], chosen)[0]

    found = vmap(jacrev(one), (None, 0))(parameters, x)
    return [(name, found[name].flatten(2) * scale.get(name, 1.0)) for name in parameters]


def contract(left: list[tuple[str, Tensor]], right: list[tuple[str, Tensor]], full: bool) -> Tensor:
    """Sums over parameters of inner products, `(n, m, O, O)`, or the mean of the diagonal, `(n, m)`."""
    total: Tensor | None = None
    for (_, a), (_, b) in zip(left, right, strict=True):
        n, outputs = a.shape[:2]
        if full:
            part = (a.flatten(0, 1) @ b.flatten(0, 1).mT).view(n, outputs, len(b), outputs).transpose(1, 2)
        else:
            part = (a.flatten(1) @ b.flatten(1).mT) / outputs
        total = part if total is None else total + part
    return torch.empty(0) if total is None else total


def products(
    module: nn.Module, x: Tensor, z: Tensor, chosen: list[int] | None, full: bool, scale: dict[str, float]
) -> Tensor:
    """As `contract`, one sample and output of `x` at a time: pull it back to the parameters, push that to all of `z`.

    One vector-Jacobian product and one Jacobian-vector product over `z` for each: memory of one gradient.
    """
    parameters, rest = trainable(module)
    rows = []
    for sample in x:
        y, pull, *_ = vjp(lambda values, s=sample: _outputs(module, values, rest, s[None], chosen)[0], parameters)
        columns = []
        for a in range(len(y)):
            seed = torch.zeros_like(y)
            seed[a] = 1
            (gradient,) = pull(seed)
            gradient = {name: g * scale.get(name, 1.0) ** 2 for name, g in gradient.items()}
            with warnings.catch_warnings():  # forward-mode rules of torch itself, when first asked for
                warnings.filterwarnings(
                    "ignore", ".*torch.jit.script.* is (deprecated|not supported)", DeprecationWarning
                )
                pushed = jvp(lambda values: _outputs(module, values, rest, z, chosen), (parameters,), (gradient,))[1]
            columns.append(pushed if full else pushed[:, a])
        found = torch.stack(columns, -2 if full else -1)  # (m, O, O): the output of x first
        rows.append(found if full else found.mean(-1))
    return torch.stack(rows).detach()
