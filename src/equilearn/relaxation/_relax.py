"""`relax`: an equivariant model in, one that can depart from its symmetry out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, one_of, require
from equilearn.actions import Data, map_data
from equilearn.nn import EquivariantLinear, FlatMLP, GroupConv2d, LiftingConv2d
from equilearn.relaxation._base import relaxations
from equilearn.relaxation._fixed_inputs import FixedInputs
from equilearn.relaxation._kernels import RelaxedGroupConv2d
from equilearn.relaxation._layer import FixedVector, Place, Relaxed, RelaxedLayer
from equilearn.relaxation._model import RelaxedModel
from equilearn.relaxation._pathway import ResidualPathway, start_at_zero
from equilearn.relaxation._where import KNOWN, Spot, box_of, doubled, known_spots, named_spots
from equilearn.symmetry import Symmetry

Method: TypeAlias = Literal["inputs", "kernels", "pathway"]
METHODS = ("inputs", "kernels", "pathway")

Build: TypeAlias = Callable[[nn.Module], RelaxedLayer]


def relax(
    model: nn.Module,
    symmetry: Symmetry,
    inputs: int = 4,
    drop: float | None = None,
    *,
    method: Method = "inputs",
    layers: Sequence[str] | None = None,
    at: Place | None = None,
    domain: Sequence[tuple[float, float]] | None = None,
    features: int = 4,
    width: int = 64,
    banks: int = 1,
    free: nn.Module | None = None,
    penalty: float = 1e-3,
    example: Data | None = None,
) -> RelaxedModel:
    """Let an equivariant model depart from its symmetry where data demand it.

    The model is copied; the copy starts as the equivariant model, to the last bit, and is it again with the dial at 0
    (but for a `free` branch of yours, used as it is).

    Args:
        model: a network whose layers are ours, or any model, see `layers` and `method="pathway"`.
        symmetry: the one that it has.
        inputs: number of functions of location that are learned for each layer. Vectors, which have no location, get
            one learned vector a layer, whatever this number.
        drop: probability with which training leaves all of it out, for a whole sample; default 0.5 for fixed inputs
            and 0 for the other methods, as in their sources.
        method: `"inputs"`: fixed inputs (`Relaxed`), of any layer; `"kernels"`: a sum of kernel banks weighted by
            group element (`RelaxedGroupConv2d`), of group convolutions; `"pathway"`: a free branch (`ResidualPathway`)
            beside each linear map and convolution of ours, or `free` beside the whole of any model.
        layers: names of the layers to relax, as in `model.named_modules()`; default all of ours.
        at: where fixed inputs are taken, see `Relaxed`; default by the layer. Members of sets and tokens: `"points"`,
            or `"order"` where the group does nothing but permute.
        domain: the box `(low, high)` of each coordinate outside of which fixed inputs are zero. Default all of the
            image or the sequence; for points it is needed, or read off `example`.
        features, width: Fourier features and width of the network of fixed inputs.
        banks: kernel banks beside the layer's own.
        free: a branch beside the whole model.
        penalty: of free branches, see `ResidualPathway`.
        example: a few inputs of the model, where `domain`, a layer of your own or the size of a free branch is to be
            read off them.

    Returns:
        A `RelaxedModel`: `strength`, `equivariant_only()`, `equivariant_part()`, `deviation(x)`.

    Raises:
        InputError: a model without layers to relax, unknown names, options that do not fit.

    Cost: `t` at H W, B N, N or no places a layer, or one more convolution, or the free branch.

    Source: Ashman et al. 2024 (fixed inputs), Wang et al. 2022 (kernels), Finzi et al. 2021 (pathway).

    Example:
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> rotations = eq.Symmetry(eq.SO(3), input=3 * V, output=V)
        >>> soft = eq.relax(eq.nn.EquivariantMLP(3 * V, V, width=32, depth=2), rotations)
        >>> soft.deviation(torch.randn(10, 9)).relative
        0.0
    """
    _check(model, method, free, layers, example)
    drop = (0.5 if method == "inputs" else 0.0) if drop is None else drop
    model = copy.deepcopy(model)
    if method == "pathway" and free is not None:
        return RelaxedModel(ResidualPathway(model, free, penalty=penalty, drop=drop), symmetry)
    if method == "inputs":
        spots = known_spots(model, symmetry) if layers is None else named_spots(model, layers, symmetry, at, example)
        if at is not None:
            spots = {
                name: Spot(spot.size, at if spot.at in ("points", "order") else spot.at) for name, spot in spots.items()
            }
        if any(spot.at == "points" for spot in spots.values()) and domain is None:
            domain = box_of(example, symmetry)
        builds = {name: _with_inputs(spot, inputs, drop, domain, features, width) for name, spot in spots.items()}
    else:
        builds = _of_our_layers(model, method, layers, banks, penalty, drop)
        if not builds and method == "pathway" and example is not None:
            branch = start_at_zero(_flat_branch(model, example))
            return RelaxedModel(ResidualPathway(model, branch, penalty=penalty, drop=drop), symmetry)
    require(bool(builds), _nothing_to_relax(model, method))
    return RelaxedModel(_replaced(model, builds), symmetry)


def _check(
    model: nn.Module, method: str, free: nn.Module | None, layers: Sequence[str] | None, example: Data | None
) -> None:
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"relax takes a torch.nn.Module, got {type(model).__name__}.")
    one_of(method, METHODS, "method of relaxing")
    require(
        not relaxations(model),
        f"{type(model).__name__} is relaxed already. Relax its equivariant part: relax(soft.equivariant_part(), ...).",
    )
    require(free is None or method == "pathway", f"free= is a branch of method='pathway', not of {method!r}.")
    require(free is None or layers is None, "free= stands beside the whole model: leave layers= out.")
    if isinstance(layers, str):
        raise InputTypeError(f"layers= is a list of names, got one text; write layers=[{layers!r}].")


def _nothing_to_relax(model: nn.Module, method: str) -> str:
    kinds = {"inputs": KNOWN, "kernels": "LiftingConv2d and GroupConv2d"}
    known = kinds.get(method, "LiftingConv2d, GroupConv2d and EquivariantLinear")
    more = {
        "inputs": "Name layers of your own, layers=[...], or put a free branch beside it all, method='pathway'.",
        "pathway": "Give free=, a branch beside the whole model, or example=, for which one is built.",
    }
    return (
        f"{type(model).__name__} has no equivariant layer that method={method!r} can relax (they are {known}). "
        + more.get(method, "Use fixed inputs, method='inputs', or a free branch, method='pathway'.")
    )


# --- what is built -----------------------------------------------------------------------------


def _with_inputs(
    spot: Spot, inputs: int, drop: float, domain: Sequence[tuple[float, float]] | None, features: int, width: int
) -> Build:
    """Fixed inputs, zero at first."""

    def build(layer: nn.Module) -> RelaxedLayer:
        if spot.at == "vector":
            return Relaxed(layer, FixedVector(spot.size, drop=drop), "vector")
        whole = [(-1.0, 1.0)] * (2 if spot.at == "grid" else 1)
        box = whole if domain is None else domain
        fixed = FixedInputs(inputs, box, drop=drop, features=features, width=width, out=spot.size)
        start_at_zero(fixed)
        return Relaxed(layer, fixed, spot.at)

    return build


def _of_our_layers(
    model: nn.Module, method: str, layers: Sequence[str] | None, banks: int, penalty: float, drop: float
) -> dict[str, Build]:
    """Kernel banks or free branches, for the layers of ours that have them."""
    modules = dict(model.named_modules())
    names = list(modules) if layers is None else [one_of(name, modules, "layer") for name in layers]
    passed = doubled(model)
    kinds = (GroupConv2d, LiftingConv2d) if method == "kernels" else (GroupConv2d, LiftingConv2d, EquivariantLinear)
    fitting = [name for name in names if isinstance(modules[name], kinds) and name not in passed]
    for name in layers or ():
        require(
            name in fitting,
            f"The layer {name!r} is a {type(modules[name]).__name__}; {_nothing_to_relax(model, method)}",
        )

    def build(layer: nn.Module) -> RelaxedLayer:
        if method == "kernels":
            return RelaxedGroupConv2d(layer, banks, drop=drop)  # type: ignore[arg-type]
        return ResidualPathway(layer, start_at_zero(_free_twin(layer)), penalty=penalty, drop=drop)

    return dict.fromkeys(fitting, build)


def _free_twin(layer: nn.Module) -> nn.Module:
    """The ordinary layer of the same shapes."""
    if isinstance(layer, EquivariantLinear):
        return nn.Linear(layer.rep_in.dim, layer.rep_out.dim)
    if not isinstance(layer, GroupConv2d | LiftingConv2d):
        raise InputError(f"There is no free twin of {type(layer).__name__}.")
    return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)


def _flat_branch(model: nn.Module, example: Data) -> nn.Module:
    """A multilayer perceptron on all numbers of an input, to outputs like the model's."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        y = model.eval()(example)
    for module, mode in modes:
        module.training = mode
    require(isinstance(y, Tensor) and y.ndim > 1, "A free branch is built for models that give one tensor (B, ...).")
    counts: list[int] = []
    map_data(lambda t: counts.append(t[:1].numel()) or t, example)
    return FlatMLP(sum(counts), tuple(y.shape[1:]))


def _replaced(model: nn.Module, builds: dict[str, Build]) -> nn.Module:
    """The model with relaxed layers in place of those named, wherever they are used."""
    whole = nn.ModuleDict({"model": model})
    modules = dict(model.named_modules())
    places = [(parent, key, child) for parent in whole.modules() for key, child in parent._modules.items()]
    for name, build in builds.items():
        layer = modules[name]
        relaxed = build(layer)
        like = next(layer.parameters(), None)
        if like is not None and like.is_floating_point():
            relaxed.part.to(like.device, like.dtype)
        for parent, key, child in places:
            if child is layer:
                parent._modules[key] = relaxed
    return whole["model"]
