"""`empirical_ntk`: the tangent kernel of a network as it is, in three forms."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from equilearn._check import InputError, InputTypeError, finite, one_of, positive_int, require
from equilearn.kernels.neural._jacobian import contract, jacobians, products
from equilearn.kernels.neural._modules import NTKConv2d, NTKLinear
from equilearn.kernels.neural._structured import (
    NotStructuredError,
    Work,
    check_structured,
    combine,
    own_scales,
    structured_layers,
    traces,
    work_of,
)

METHODS = ("auto", "structured", "jacobian", "products")
PARAMETRIZATIONS = ("standard", "ntk")
RANDOM = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
RANDOM_INSIDE = (nn.MultiheadAttention, nn.RNNBase)
"""Layers with an attribute `dropout`, a probability."""
JACOBIANS = 4
"""How often those of a chunk are there at once: on either side, scaled, and on the way."""
RATE = 5e9
"""Multiplications a second in double precision, roughly, on one thread."""


def empirical_ntk(
    module: nn.Module,
    x: Float[Tensor, "N *shape"],
    z: Float[Tensor, "M *shape"] | None = None,
    *,
    outputs: str | int = "trace",
    method: str = "auto",
    parametrization: str = "standard",
    chunk: int = 512,
    memory: int = 1 << 30,
) -> Float[Tensor, "N M *outputs"]:
    """`Theta[i, j] = sum over parameters of df(x_i) df(z_j)`, for the trainable parameters of any network.

    Args:
        module: maps a batch to outputs `(N, ...)`, each from its own input alone; in evaluation mode where it has
            dropout or batch normalisation.
        x, z: inputs; with `z=None` among those of `x`, exactly symmetric.
        outputs: `"full"` for all pairs of the O outputs, `(N, M, O, O)`; `"trace"` for the mean of the O diagonal
            entries, `(N, M)`; a whole number for that output alone, `(N, M)`.
        method: `"structured"`, for networks whose parameters all sit in `Linear` and `Conv2d` layers, each called
            once: from the inputs of each layer and the gradients at its outputs. `"jacobian"`: Jacobians of single
            samples, contracted parameter by parameter. `"products"`: vector-Jacobian and Jacobian-vector products,
            for networks too large for a Jacobian. `"auto"`: the first of these that applies and fits in `memory`.
        parametrization: `"standard"` takes gradients with respect to the parameters as they are, so that the shares
            of wide layers grow with their fan-in. `"ntk"` multiplies those of a linear or convolution layer by
            `1 / sqrt(3 fan_in)`, the standard deviation of torch's initial weights and biases: as if they were that
            factor times parameters of unit variance. It tends to `architecture_of(module).ntk` with the width. Layers
            of `finite_network` have such parameters already, and no factor in either.
        chunk: samples at a time, at most.
        memory: bytes that Jacobians, or the inputs and gradients of layers, may take: it bounds the samples at a time.

    Raises:
        InputError: NaN, dropout or batch normalisation in training mode, no trainable parameters, an output that is
            not there, or a method or parametrisation that does not apply (says to which layer).

    Source: R. Novak et al., ICML 2022, arXiv 2206.08720.

    Cost, for O outputs and P parameters: structured, O backward passes and O(N M O (fan_in + fan_out)) a dense layer;
    a convolution forms the gradient of its own weight alone. Jacobian: O(N M O P), memory O(chunk O P), O^2 where
    full. Products: N O backward and M N O forward passes, memory O(P).

    Example:
        >>> net = nn.Linear(2, 1).double()
        >>> empirical_ntk(net, torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64))  # <x, z> + 1
        tensor([[6., 3.],
                [3., 2.]], dtype=torch.float64)
    """
    one_of(method, METHODS, "method")
    one_of(parametrization, PARAMETRIZATIONS, "parametrization")
    positive_int(chunk, "chunk")
    positive_int(memory, "memory")
    x = _checked(module, x, "x")
    other = None if z is None else _checked(module, z, "z")
    if other is not None:
        require(
            x.shape[1:] == other.shape[1:] and x.dtype == other.dtype,
            f"x and z must be alike, got samples of shape {tuple(x.shape[1:])} ({x.dtype}) and "
            f"{tuple(other.shape[1:])} ({other.dtype}).",
        )
    count = _output_count(module, x)
    chosen, full = _chosen(outputs, count)
    kept = count if chosen is None else len(chosen)
    scales = _scales(module, parametrization)
    if len(x) == 0 or (other is not None and len(other) == 0):
        return x.new_zeros(len(x), len(x if other is None else other), *([kept, kept] if full else []))
    if method in ("auto", "structured"):
        try:
            return _structured(module, x, other, chosen, full, scales, chunk, memory)
        except NotStructuredError:
            if method == "structured":
                raise
    sample = kept * sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    fits = memory // max(1, JACOBIANS * sample)
    if method == "jacobian" or (method == "auto" and fits > 0):
        return _by_jacobians(module, x, other, chosen, full, scales, min(chunk, max(1, fits)))
    right = x if other is None else other
    parts = [products(module, x, part, chosen, full, scales) for part in right.split(chunk)]
    found = torch.cat(parts, 1)
    return _symmetric(found) if other is None else found


def empirical_cost(module: nn.Module, x: Float[Tensor, "1 *shape"], memory: int = 1 << 30) -> tuple[float, float, int]:
    """Rough seconds of `empirical_ntk` for a sample and for a pair, and how many samples it takes at a time.

    Counted, not timed: the same network costs the same on every machine.
    """
    x = _checked(module, x, "x")
    count = _output_count(module, x)
    size = x.element_size()
    try:
        layers = structured_layers(module)
        check_structured(module, layers, x)
        work = work_of(traces(module, layers, x, None), full=False)
    except NotStructuredError:
        forward = _multiplications(module, x)
        jacobian = float(count * sum(p.numel() for p in module.parameters() if p.requires_grad))
        # An entry is written and read several times over, which takes as long as some 30 multiplications.
        work = Work(JACOBIANS / 2 * jacobian, 1.0, forward * (1 + 2 * count) + 30 * jacobian, jacobian)
    return work.sample_products / RATE, work.pair_products / RATE, min(512, work.chunk(memory / size))


def _multiplications(module: nn.Module, x: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() / 2


# --- forms ------------------------------------------------------------------------------------


def _structured(
    module: nn.Module,
    x: Tensor,
    z: Tensor | None,
    chosen: list[int] | None,
    full: bool,
    scales: dict[str, float],
    chunk: int,
    memory: int,
) -> Tensor:
    layers = structured_layers(module)
    check_structured(module, layers, x[sorted({0, len(x) // 2, len(x) - 1})])
    work = work_of(traces(module, layers, x[:1], chosen), full)
    chunk = min(chunk, work.chunk(memory / x.element_size()))
    names = {id(p): name for name, p in module.named_parameters()}

    def scales_of(layer: nn.Module) -> tuple[float, float]:
        own = own_scales(layer)
        given = [scales.get(names.get(id(p), ""), 1.0) for p in (layer.weight, layer.bias)]
        return own[0] * given[0], own[1] * given[1]

    found: list[Tensor] = []
    right = x if z is None else z
    for rows in range(0, len(x), chunk):
        left = traces(module, layers, x[rows : rows + chunk], chosen)
        row = []
        for start in range(rows if z is None else 0, len(right), chunk):
            here = z is None and start == rows
            columns = left if here else traces(module, layers, right[start : start + chunk], chosen)
            row.append(combine(left, columns, scales_of, full))
        found.append(torch.cat(row, 1))
    return _assemble(found, symmetric=z is None)


def _by_jacobians(
    module: nn.Module,
    x: Tensor,
    z: Tensor | None,
    chosen: list[int] | None,
    full: bool,
    scales: dict[str, float],
    chunk: int,
) -> Tensor:
    found: list[Tensor] = []
    right = x if z is None else z
    for rows in range(0, len(x), chunk):
        left = jacobians(module, x[rows : rows + chunk], chosen, scales)
        row = []
        for start in range(rows if z is None else 0, len(right), chunk):
            here = z is None and start == rows
            columns = left if here else jacobians(module, right[start : start + chunk], chosen, scales)
            row.append(contract(left, columns, full))
        found.append(torch.cat(row, 1))
    return _assemble(found, symmetric=z is None)


def _assemble(rows: list[Tensor], symmetric: bool) -> Tensor:
    """Stack row blocks; where they start at the diagonal, fill in what is left of it."""
    if not symmetric:
        return torch.cat(rows)
    n = rows[0].shape[1]
    out = rows[0].new_empty(n, n, *rows[0].shape[2:])
    start = 0
    for row in rows:
        stop = start + len(row)
        out[start:stop, start:] = row
        out[stop:, start:stop] = _swapped(row[:, stop - start :])
        start = stop
    return _symmetric(out)


def _swapped(theta: Tensor) -> Tensor:
    """The kernel of `(z, x)` from that of `(x, z)`."""
    theta = theta.transpose(0, 1)
    return theta.transpose(2, 3) if theta.ndim == 4 else theta


def _symmetric(theta: Tensor) -> Tensor:
    return (theta + _swapped(theta)) / 2


# --- what is given ----------------------------------------------------------------------------


def _checked(module: nn.Module, x: Tensor, name: str) -> Tensor:
    if not isinstance(module, nn.Module):
        raise InputTypeError(f"module must be a torch.nn.Module, got {type(module).__name__}.")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InputTypeError(f"{name} must be a tensor of floating-point inputs, batch first.")
    require(x.ndim >= 1, f"{name} must have a batch axis.")
    for label, part in module.named_modules():
        _check_alone(part, label)
    kinds = {p.dtype for p in module.parameters() if p.requires_grad}
    require(len(kinds) > 0, "The network has no trainable parameters.")
    require(
        kinds == {x.dtype},
        f"{name} has dtype {x.dtype}, the parameters of the network {', '.join(map(str, sorted(kinds, key=str)))}: "
        "convert one of the two.",
    )
    return finite(x.detach(), name)


def _check_alone(part: nn.Module, label: str) -> None:
    """Refuse a layer that makes the output of a sample random, or depend on the rest of the batch."""
    drops = getattr(part, "dropout", 0) if isinstance(part, RANDOM_INSIDE) else getattr(part, "p", 1)
    if isinstance(part, RANDOM + RANDOM_INSIDE) and part.training and drops != 0:
        raise InputError(
            f"{type(part).__name__} {label!r} is in training mode, where outputs are random or depend on the "
            "whole batch. Call module.eval() first."
        )
    if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
        raise InputError(
            f"{type(part).__name__} {label!r} keeps no running statistics, so that each output depends on the whole "
            "batch in evaluation mode too. Use track_running_stats=True, or a normalisation of single samples."
        )


def _output_count(module: nn.Module, x: Tensor) -> int:
    probe = x[:1] if len(x) else x.new_zeros(1, *x.shape[1:])
    try:
        with torch.no_grad():
            y = functional_call(module, {n: p.detach() for n, p in module.named_parameters()}, (probe,))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The network fails on one input of shape {tuple(x.shape[1:])}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(y, Tensor):
        raise InputTypeError(f"The network must return a tensor, got {type(y).__name__}.")
    require(
        y.ndim >= 1 and len(y) == 1,
        f"The network must return one row an input: one input gave an output of shape {tuple(y.shape)}.",
    )
    return y.numel()


def _chosen(outputs: str | int, count: int) -> tuple[list[int] | None, bool]:
    if isinstance(outputs, str):
        one_of(outputs, ("trace", "full"), "choice of outputs")
        return None, outputs == "full"
    index = positive_int(outputs, "outputs", 0)
    require(index < count, f"The network has outputs 0 to {count - 1}, got outputs={index}.")
    return [index], False


def _scales(module: nn.Module, parametrization: str) -> dict[str, float]:
    """Factors of gradients by the name of the parameter."""
    if parametrization == "standard":
        return {}
    found: dict[str, float] = {}
    for prefix, part in module.named_modules():
        own = [name for name, p in part.named_parameters(prefix, recurse=False) if p.requires_grad]
        if not own or isinstance(part, NTKLinear | NTKConv2d):
            continue
        if not isinstance(part, nn.Linear | nn.Conv2d):
            raise InputError(
                f"{type(part).__name__} {prefix!r} has no NTK parametrisation; known are Linear and Conv2d. "
                'Use parametrization="standard".'
            )
        found |= dict.fromkeys(own, 1 / math.sqrt(3 * part.weight[0].numel()))
    return found
