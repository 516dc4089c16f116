"""Is a sampler network equivariant? Without that, nothing that it samples is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilearn._check import InputError
from equilearn.actions import Data, batch_size, first_leaf
from equilearn.groups import Element, Product
from equilearn.symmetrization._readouts import Readout, place, read_outputs
from equilearn.symmetry import Symmetry

TOLERANCE = {torch.float16: 5e-2, torch.bfloat16: 3e-1, torch.float32: 1e-3, torch.float64: 1e-6}
"""Relative deviations that rounding explains, by the coarsest number format in play."""

TRIES = 3
"""Group elements tried on every input."""


def check_net(
    net: nn.Module,
    symmetry: Symmetry,
    plan: tuple[Readout, ...],
    seen: Data,
    generator: torch.Generator,
) -> float:
    """The largest relative deviation of `net(h seen)` from `h net(seen)`, over factors and elements `h`.

    Raises:
        InputError: it is more than rounding; names the network, the factor, and the deviation.
    """
    if not symmetry.input.is_exact(seen):
        return 0.0  # an interpolated action moves no network exactly
    modes = [(module, module.training) for module in net.modules()] if isinstance(net, nn.Module) else []
    worst = 0.0
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            for _ in range(TRIES):
                worst = max(worst, _deviation(net, symmetry, plan, seen, generator))
    finally:
        for module, mode in modes:
            module.training = mode
    return worst


def _deviation(
    net: nn.Module, symmetry: Symmetry, plan: tuple[Readout, ...], seen: Data, generator: torch.Generator
) -> float:
    size, group, name = batch_size(seen), symmetry.group, type(net).__name__
    h = [_sample(part, size, generator) for part in plan]
    before = read_outputs(plan, group, net(seen), size, name)
    moved = symmetry.act_input(group.to(place(group, h), device=first_leaf(seen).device), seen)
    after = read_outputs(plan, group, net(moved), size, name)
    worst = 0.0
    for part, element, x, y in zip(plan, h, before, after, strict=True):
        if x is None or y is None:
            continue
        need = _moved(part, element, x)
        gap = float((need - y).abs().max()) if y.numel() else 0.0
        error = gap / _spread(need) if gap else 0.0
        if error > max(TOLERANCE[x.dtype], TOLERANCE.get(first_leaf(seen).dtype, 0.0)):
            whole = f", factor {part.index} of {group}," if isinstance(group, Product) else ""
            raise InputError(
                f"The sampler network {name} is not equivariant: when the input is moved by {part.group}{whole} its "
                f"{part.kind} differ from the moved {part.kind} by {error:.2g} of their spread. {_advice(part)} "
                "Without net=... a fitting network is built. With check=False this test is left out."
            )
        worst = max(worst, error)
    return worst


def _sample(part: Readout, size: int, generator: torch.Generator) -> Element:
    """A random element for each input; translations are left out, since inputs come about their centroid."""
    g = part.group.sample((size,), generator=generator, device=generator.device)
    if not part.shifts:
        return g
    linear = part.group.linear(g)  # type: ignore[attr-defined]
    return part.group.from_parts(linear, linear.new_zeros(size, part.size))  # type: ignore[attr-defined]


def _moved(part: Readout, h: Element, x: Tensor) -> Tensor:
    """What the output must become when the input is moved."""
    group = part.group
    if part.kind == "scores":
        return torch.empty_like(x).scatter_(1, group.to(h, device=x.device), x)
    if part.kind == "vectors":
        turn = group.linear(h) if part.shifts else h  # type: ignore[attr-defined]
        return turn.to(device=x.device, dtype=x.dtype) @ x
    listed = group.to(group.elements(), device=x.device)
    count = x.shape[1]
    h = group.expand(group.reshape(group.to(h, device=x.device), (len(x), 1)), (len(x), count))
    index = group.index_of(group.compose(h, group.expand(listed, (len(x), count))))
    return torch.empty_like(x).scatter_(1, index.to(x.device), x)


def _spread(x: Tensor) -> float:
    """Size of the differences within the output; a millionth of its size where it has none."""
    centred = x - x.mean()
    return max(float(centred.abs().max()), 1e-6 * float(x.abs().max()), 1e-30)


def _advice(part: Readout) -> str:
    if part.kind == "scores":
        return "Scores must be permuted with the items, and not change otherwise."
    if part.kind == "vectors":
        return "Its vectors, the columns, must turn with the input, and not change otherwise."
    return "The logit of g for the input hx must be that of h^-1 g for x."
