"""Which layers of a model take fixed inputs, how many channels they have, and where they look at `t`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, one_of
from equilearn.actions import Data, PointAction, SetAction, first_leaf
from equilearn.groups import Symmetric
from equilearn.nn import DeepSets, EquivariantLinear, EquivariantMLP, GroupConv2d, LiftingConv2d, TokenTransformer
from equilearn.relaxation._layer import Place
from equilearn.reps import Rep, trivial
from equilearn.symmetry import Symmetry

KNOWN = "LiftingConv2d, GroupConv2d, EquivariantLinear, DeepSets, TokenTransformer, and networks made of these"


@dataclass(frozen=True)
class Spot:
    """A layer that is to be relaxed: channels of its output, and where fixed inputs are taken."""

    size: int
    at: Place


def known_spots(model: nn.Module, symmetry: Symmetry) -> dict[str, Spot]:
    """The layers of ours in a model that fixed inputs go to, by name: all convolutions and linear maps, and of sets
    and tokens the embedding. Not those on which the group does nothing: a constant there breaks no symmetry."""
    found: dict[str, Spot] = {}
    passed = doubled(model)
    for name, module in model.named_modules():
        if isinstance(module, LiftingConv2d | GroupConv2d):
            found[name] = Spot(module.out_channels, "grid")
        elif isinstance(module, EquivariantLinear) and name not in passed and _moves(module.rep_out):
            found[name] = Spot(module.rep_out.dim, "vector")
        elif isinstance(module, DeepSets):
            found[_join(name, "own.0")] = Spot(_width(module.own[0]), at_of_items(symmetry))
        elif isinstance(module, TokenTransformer):
            found[_join(name, "lift")] = Spot(_width(module.lift), at_of_items(symmetry))
    return found


def doubled(model: nn.Module) -> set[str]:
    """Layers that need no relaxing: the polynomial of an `EquivariantMLP` is added to its head, which is relaxed."""
    return {_join(name, "polynomial") for name, module in model.named_modules() if isinstance(module, EquivariantMLP)}


def named_spots(
    model: nn.Module, names: Sequence[str], symmetry: Symmetry, at: Place | None, example: Data | None
) -> dict[str, Spot]:
    """The layers that a user names. What torch's own layers give is known, of others it is seen on the example."""
    modules = dict(model.named_modules())
    known = known_spots(model, symmetry)
    listed = [name for name in modules if name]
    found: dict[str, Spot] = {}
    unclear = []
    for name in names:
        layer = modules[name if name == "" else one_of(name, listed, "layer")]
        if name in known:
            found[name] = known[name]
        elif isinstance(layer, nn.Conv2d):
            found[name] = Spot(layer.out_channels, "grid")
        elif isinstance(layer, nn.Linear) and at is not None:
            found[name] = Spot(layer.out_features, at)
        else:
            unclear.append(name)
    if unclear:
        found.update(_observed(model, {name: modules[name] for name in unclear}, symmetry, example))
    return {name: found[name] if at is None else Spot(found[name].size, at) for name in names}


def at_of_items(symmetry: Symmetry) -> Place:
    """Members of a set are told apart by where they lie; by their order where all that the group does is permute."""
    only_permutes = isinstance(symmetry.group, Symmetric) and isinstance(symmetry.input, SetAction | PointAction)
    return "order" if only_permutes else "points"


def _observed(
    model: nn.Module, layers: Mapping[str, nn.Module], symmetry: Symmetry, example: Data | None
) -> dict[str, Spot]:
    """What the layers give when the model sees the example."""
    if example is None:
        first, layer = next(iter(layers.items()))
        raise InputError(
            f"What the layer {first!r} ({type(layer).__name__}) gives is not known beforehand. Give example=, a few "
            "inputs of the model, so that it can be seen."
        )
    seen: dict[str, Any] = {}
    hooks = [
        layer.register_forward_hook(lambda module, given, y, name=name: seen.__setitem__(name, y))
        for name, layer in layers.items()
    ]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return {name: _spot(name, seen.get(name), symmetry) for name in layers}


def _spot(name: str, y: Any, symmetry: Symmetry) -> Spot:
    if y is None:
        raise InputError(f"The layer {name!r} is not called when the model sees the example. Name one that is.")
    if isinstance(y, Tensor) and y.ndim == 4:
        return Spot(y.shape[1], "grid")
    if isinstance(y, Tensor) and y.ndim in (2, 3):
        return Spot(y.shape[-1], "vector" if y.ndim == 2 else at_of_items(symmetry))
    shown = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
    raise InputError(
        f"The layer {name!r} gives {shown}. Fixed inputs go with one tensor (B, C), (B, N, C) or (B, C, H, W)."
    )


def box_of(example: Data | None, symmetry: Symmetry) -> list[tuple[float, float]]:
    """The box in which the points of an example lie, and a twentieth of its sides more all around."""
    if example is None:
        raise InputError(
            "Fixed inputs are functions of where the points lie: give domain=, the (low, high) of each coordinate in "
            "which your data lie, or example=, a few inputs to read it off."
        )
    x = first_leaf(example)
    action = symmetry.input
    if isinstance(action, PointAction):
        x = x[..., : (x.shape[-1] - action.scalars) // (1 + action.vectors)]
    x = x.reshape(-1, x.shape[-1]).double()
    low, high = x.amin(0), x.amax(0)
    margin = 0.05 * (high - low).clamp_min(1e-6)
    return list(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))


def _moves(rep: Rep) -> bool:
    return any(term != trivial(rep.group) for _, term in rep.terms())


def _width(layer: nn.Module) -> int:
    return int(layer.out_features)  # type: ignore[arg-type]


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
