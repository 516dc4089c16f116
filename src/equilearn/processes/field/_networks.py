"""The processes that a field can be given to, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from equilearn._check import one_of, require
from equilearn.processes._base import NeuralProcess
from equilearn.processes._cnp import CNP
from equilearn.processes._conv_cnp import ConvCNP, EquivCNP, RelaxedConvCNP
from equilearn.processes._tnp import PTTNP, TEPTTNP, TETNP, TNP
from equilearn.relaxation import FixedInputs

Box = tuple[tuple[float, float], tuple[float, float]]

LATTICE = ("convcnp", "unet", "equivcnp", "relaxedconvcnp")
"""Those that see a field on a lattice: locations come in cells."""
ATTENTION = ("tetnp", "tepttnp")
FREE = ("cnp", "tnp", "pttnp")
"""Those without a symmetry, of which nothing can be switched off."""
NAMES = (*LATTICE, *ATTENTION, *FREE)


@dataclass(frozen=True)
class Size:
    """How large a network is, and how long it is trained.

    Args:
        width: channels on a lattice.
        depth, kernel_size: of the residual network.
        margin: cells beyond the outermost points. Fewer than the network sees: much less work, for a few cells at the
            border of a patch that notice where the lattice ends.
        lengths: in cells, at which observations are shown to the lattice.
        features: Fourier features of each coordinate in the fixed inputs.
        tokens, layers, heads: width, depth and heads of attention.
        steps, batch: of training.
        tasks: held-out tasks that are scored.
    """

    width: int = 32
    depth: int = 6
    kernel_size: int = 5
    margin: int = 6
    lengths: tuple[float, ...] = (2.0,)
    features: int = 6
    tokens: int = 64
    layers: int = 3
    heads: int = 4
    steps: int = 2000
    batch: int = 8
    tasks: int = 280


PRESETS = {
    "quick": Size(),
    "full": Size(width=48, features=12, tokens=128, layers=4, heads=8, steps=10_000, batch=16, tasks=2048),
}


def build(model: str, strict: bool, box: Box, size: Size, seed: int = 0) -> NeuralProcess:
    """A process of two coordinates and one value; the same seed gives the same weights.

    Args:
        model: one of `NAMES`.
        strict: without fixed inputs.
        box: where fixed inputs live, as the process sees locations.

    Raises:
        InputError: an unknown name, or strict=True of a process that has no symmetry to keep.
    """
    one_of(model, NAMES, "model of a field")
    require(
        not (strict and model in FREE),
        f"{model} has no symmetry to be strict about. Take one that has: {', '.join((*LATTICE, *ATTENTION))}.",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (
            _attention(model, strict, box, size) if model in (*ATTENTION, *FREE) else _lattice(model, strict, box, size)
        )


def _lattice(model: str, strict: bool, box: Box, size: Size) -> NeuralProcess:
    seen: dict[str, Any] = {"spacing": 1.0, "lengths": size.lengths}
    fixed = None if strict else FixedInputs(size.width, box, features=size.features, out=size.width)
    if model == "equivcnp":
        return EquivCNP(2, width=size.width, fixed=fixed, **seen)
    if model == "unet":
        return ConvCNP(2, width=size.width // 2, net="unet", fixed=_half(fixed, size, box), **seen)
    made: dict[str, Any] = {"depth": size.depth, "kernel_size": size.kernel_size, "separable": True, **seen}
    made["margin"] = size.margin
    if model == "relaxedconvcnp" and not strict:
        return RelaxedConvCNP(2, domain=list(box), features=size.features, width=size.width, **made)
    return ConvCNP(2, width=size.width, fixed=fixed, **made)


def _half(fixed: FixedInputs | None, size: Size, box: Box) -> FixedInputs | None:
    width = size.width // 2  # a U-Net doubles its channels on the way down
    return None if fixed is None else FixedInputs(width, box, features=size.features, out=width)


def _attention(model: str, strict: bool, box: Box, size: Size) -> NeuralProcess:
    if model == "cnp":
        return CNP(2, width=2 * size.tokens)
    made: dict[str, Any] = {"width": size.tokens, "depth": size.layers, "heads": size.heads}
    if model in FREE:
        return (TNP if model == "tnp" else PTTNP)(2, **made)
    fixed = None if strict else FixedInputs(size.tokens, box, features=size.features, out=size.tokens)
    return (TETNP if model == "tetnp" else TEPTTNP)(2, fixed=fixed, **made)
