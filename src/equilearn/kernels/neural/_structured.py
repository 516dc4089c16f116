"""The tangent kernel of a finite network layer by layer, from layer inputs and output gradients: no Jacobian."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from equilearn._check import InputError
from equilearn.kernels.neural._modules import NTKConv2d, NTKLinear

LAYERS = (nn.Linear, nn.Conv2d)
Scales = Callable[[nn.Module], tuple[float, float]]
"""What gradients with respect to the weight and the bias of a layer are multiplied by."""


class NotStructuredError(InputError):
    """The network has parameters outside of what this form knows."""


@dataclass(frozen=True)
class Trace:
    """What one layer saw of a batch.

    Attributes:
        inputs: `(N, T, F)`, T places (tokens, windows of an image) of F features.
        gradients: `(N, O, T, E)`, of O outputs with respect to the layer's outputs.
    """

    layer: nn.Linear | nn.Conv2d
    inputs: Tensor
    gradients: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        return self.gradients, self.inputs

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """O, T, E and F."""
        return self.gradients.shape[1], self.gradients.shape[2], self.gradients.shape[3], self.inputs.shape[2]


@dataclass(frozen=True)
class Work:
    """What this form costs, in numbers kept and in multiplications, of a sample and of a pair of them."""

    sample_memory: float
    pair_memory: float
    sample_products: float
    pair_products: float

    def chunk(self, memory: float) -> int:
        """How many samples on either side keep within so many numbers."""
        a, b = max(self.pair_memory, 1.0), 2 * self.sample_memory
        return max(1, int((math.sqrt(b * b + 4 * a * memory) - b) / (2 * a)))


def work_of(found: list[Trace], full: bool) -> Work:
    """From the traces of one sample."""
    kept, pair_memory, widest, sample, pair = 0.0, 1.0, 0.0, 0.0, 0.0
    for trace in found:
        outputs, places, units, features = trace.sizes
        kept += 2 * trace.inputs.numel() + 3 * trace.gradients.numel()
        sample += places * units * features * (1 + 2 * outputs)
        if places == 1:
            pair += outputs * units + features
        elif _goes_directly(trace, full):
            pair_memory = max(pair_memory, 2.0 * places**2)
            pair += places**2 * (features + outputs * units)
        else:
            widest = max(widest, float(outputs * units * features))
            sample += outputs * places * units * features
            pair += outputs * units * features
        pair_memory = max(pair_memory, 2.0 * outputs**2 if full else 2.0)
    return Work(kept + widest, pair_memory, sample, pair)


def _goes_directly(trace: Trace, full: bool) -> bool:
    """Whether inner products of places cost less than the gradients of the weight."""
    outputs, places, units, features = trace.sizes
    return not full and places**2 * (features + outputs**2 * units) < outputs * units * features


def structured_layers(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The layers that hold all the trainable parameters of a network.

    Raises:
        NotStructuredError: others hold some, or two layers share some.
    """
    found, owners = [], Counter()
    for name, part in module.named_modules():
        trainable = [p for p in part.parameters(recurse=False) if p.requires_grad]
        if not trainable:
            continue
        what = f"{type(part).__name__} {name!r}"
        _known(isinstance(part, LAYERS), f"{what} holds parameters")
        _known(not (isinstance(part, nn.Conv2d) and part.groups != 1), f"{what} has groups")
        _known(not getattr(part, "parametrizations", None), f"{what} is parametrised by others")
        owners.update(id(p) for p in trainable)
        found.append(part)
    _known(max(owners.values(), default=1) == 1, "two layers share parameters")
    return found


def _known(condition: bool, what: str) -> None:
    if not condition:
        raise NotStructuredError(
            f"The structured form knows Linear and Conv2d layers, each called once: here {what}. "
            'Use method="jacobian" or "products".'
        )


def own_scales(layer: nn.Module) -> tuple[float, float]:
    """What a layer itself multiplies its weight and its bias by."""
    return layer.scales if isinstance(layer, NTKLinear | NTKConv2d) else (1.0, 1.0)


def check_structured(module: nn.Module, layers: list[nn.Linear | nn.Conv2d], x: Float[Tensor, "N *shape"]) -> None:
    """Compare the gradients of a few samples with those that the layers' own notes give.

    A weight that is used without calling its layer, `F.linear(h, layer.weight)`, leaves no note.

    Raises:
        NotStructuredError: they differ.
    """
    y, seen = _noted(module, layers, x)
    if not y.requires_grad:
        return
    used = [layer for layer in layers if layer in seen]
    parameters = [p for layer in layers for p in layer.parameters(recurse=False) if p.requires_grad]
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    tops = [seen[layer].output for layer in used]
    found = torch.autograd.grad((y * weights).sum(), parameters + tops, allow_unused=True)
    noted = {layer: delta for layer, delta in zip(used, found[len(parameters) :], strict=True) if delta is not None}
    true = {id(p): torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=False)}
    size = math.sqrt(sum(float(g.norm()) ** 2 for g in true.values()))
    for layer in layers:
        trace = _trace(layer, seen[layer].input.detach(), noted[layer][:, None]) if layer in noted else None
        for which, parameter in enumerate((layer.weight, layer.bias)):
            if parameter is None or not parameter.requires_grad:
                continue
            gradient = true[id(parameter)]
            rebuilt = torch.zeros_like(gradient)
            if trace is not None:
                sums = trace.gradients.sum((0, 1, 2)) if which else torch.einsum("note,ntf->ef", *trace.parts)
                rebuilt = sums.reshape(gradient.shape) * own_scales(layer)[which]
            off = float((gradient - rebuilt).norm())
            told = off <= size * torch.finfo(gradient.dtype).eps ** 0.5
            _known(told, f"parameters of a {type(layer).__name__} are used outside of its call")


@dataclass(frozen=True)
class _Note:
    """What a layer read and gave, and the version of the first."""

    input: Tensor
    output: Tensor
    version: int


def _noted(module: nn.Module, layers: list[nn.Linear | nn.Conv2d], x: Tensor) -> tuple[Tensor, dict[nn.Module, _Note]]:
    """One forward pass: the outputs, `(N, O)`, and the notes of the layers that were called."""
    seen: dict[nn.Module, _Note] = {}

    def note(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        _known(layer not in seen, f"{type(layer).__name__} is called twice")
        seen[layer] = _Note(args[0], output, args[0]._version)
        return output.clone()  # what comes next may work in place

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.enable_grad():
            y = module(x).reshape(len(x), -1)
    finally:
        for handle in handles:
            handle.remove()
    for layer, note_ in seen.items():
        _known(note_.input._version == note_.version, f"what {type(layer).__name__} reads is changed in place")
    return y, seen


def traces(module: nn.Module, layers: list[nn.Linear | nn.Conv2d], x: Tensor, outputs: list[int] | None) -> list[Trace]:
    """One forward pass, and one backward pass an output, in which every layer notes its share."""
    y, seen = _noted(module, layers, x)
    used = [layer for layer in layers if layer in seen]
    tops = [seen[layer].output for layer in used]
    rows = []
    chosen = range(y.shape[1]) if outputs is None else outputs
    for a in chosen:
        rows.append(
            torch.autograd.grad(y[:, a].sum(), tops, retain_graph=True, allow_unused=True)
            if used and y.requires_grad
            else [None] * len(tops)
        )
    found = []
    for index, layer in enumerate(used):
        gradients = [torch.zeros_like(tops[index]) if row[index] is None else row[index] for row in rows]
        found.append(_trace(layer, seen[layer].input.detach(), torch.stack([g.detach() for g in gradients], 1)))
    return found


def _trace(layer: nn.Linear | nn.Conv2d, h: Tensor, delta: Tensor) -> Trace:
    n, count = delta.shape[:2]
    if isinstance(layer, nn.Linear):
        return Trace(layer, h.reshape(n, -1, h.shape[-1]), delta.reshape(n, count, -1, delta.shape[-1]))
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    h = F.pad(h, layer._reversed_padding_repeated_twice, mode=mode)
    windows = F.unfold(h, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    return Trace(layer, windows.mT, delta.flatten(3).mT)


def combine(left: list[Trace], right: list[Trace], scales: Scales, full: bool) -> Float[Tensor, "n m *outputs"]:
    """The sum over layers: `(n, m, O, O)`, or the mean over outputs of its diagonal, `(n, m)`."""
    _known(len(left) > 0, "none is called")
    total: Tensor | None = None
    for a, b in zip(left, right, strict=True):
        weight, bias = scales(a.layer)
        for part in _shares(a, b, weight**2, bias**2, full):
            total = part if total is None else total.add_(part)
    return torch.empty(0) if total is None else total


def _shares(a: Trace, b: Trace, weight: float, bias: float, full: bool) -> Iterator[Tensor]:
    places = a.gradients.shape[2]
    d1, d2 = a.gradients.sum(2), b.gradients.sum(2)  # (n, O, E): with respect to the bias
    if a.layer.bias is not None and a.layer.bias.requires_grad:
        yield _products(d1, d2, full).mul_(bias)
    if not a.layer.weight.requires_grad:
        return
    if places == 1:  # (delta1 delta2^T) * (h1 h2^T)
        same = a.inputs[:, 0] @ b.inputs[:, 0].mT
        yield _products(d1, d2, full).mul_((same * weight)[(...,) + (None,) * (2 * full)])
        return
    n, m, outputs = len(a.inputs), len(b.inputs), a.gradients.shape[1]
    if _goes_directly(a, full):
        h = torch.einsum("ntf,msf->nmts", a.inputs, b.inputs)
        delta = torch.einsum("note,mose->nmts", a.gradients, b.gradients)
        yield h.mul_(delta).sum((2, 3)).mul_(weight / outputs)
        return
    g1, g2 = (torch.einsum("note,ntf->noef", t.gradients, t.inputs).flatten(2) for t in (a, b))
    yield _products(g1.view(n, outputs, -1), g2.view(m, outputs, -1), full).mul_(weight)


def _products(g1: Float[Tensor, "n O P"], g2: Float[Tensor, "m O P"], full: bool) -> Tensor:
    """`(n, m, O, O)` inner products, or the mean of those of equal outputs, `(n, m)`."""
    n, outputs = g1.shape[:2]
    if full:
        return (g1.flatten(0, 1) @ g2.flatten(0, 1).mT).view(n, outputs, len(g2), outputs).transpose(1, 2)
    return (g1.flatten(1) @ g2.flatten(1).mT).div_(outputs)
