"""Energies that choose one pose: analytic ones from moments, and small networks to be learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int
from equilearn.actions import Data, first_leaf, map_data
from equilearn.groups import (
    SO,
    Dihedral,
    Euclidean,
    Group,
    Lorentz,
    O,
    SpecialEuclidean,
    Symmetric,
    Translation,
)
from equilearn.symmetrization._moments import angular_moment, radial_mass
from equilearn.symmetrization._node_parts import is_graph, nodes_view, points_view
from equilearn.symmetrization._pca import skewness
from equilearn.symmetrization._views import View, factors_of, image_view
from equilearn.symmetry import Symmetry

Energy: TypeAlias = Callable[[Data], Tensor]
"""`g^-1 x -> energy`, `(M, ...)` to `(M,)`; the pose of lowest energy is the canonical one."""

POOLED = 4
"""Cells a side of the grid on which `ConvEnergy` reads its features."""

SIDE = 12
"""Pixels a side to about which `ConvEnergy` shrinks larger images."""

FIRST_MOMENT_SHARE = 0.1
"""Weight of the first moment beside the second: it settles the half turn that the axis leaves open."""


def analytic_energy(symmetry: Symmetry) -> Energy:
    """A fixed energy that tells the poses of generic inputs apart.

    Images: the content leans along a fixed direction (second moment) and outwards on its far side
    (first moment). Points: positive third moments along the axes. Anything else under a finite group:
    a fixed irregular polynomial of the entries. Terms of several factors add up.
    """
    terms: list[Energy] = []
    image = image_view(symmetry.input)
    if image is not None:
        terms.append(_image_energy(symmetry.group, image))
    for index, factor in enumerate(factors_of(symmetry.group)):
        cloud = None if image is not None else points_view(symmetry.input, index, centred=False)
        if cloud is not None and isinstance(factor, SO | O | Euclidean | SpecialEuclidean | Lorentz):
            terms.append(_skew_energy(cloud, spatial=1 if isinstance(factor, Lorentz) else 0))
        elif image is None and factor.is_finite and not _is_sorted(symmetry, index):
            terms.append(_irregular_energy)
    return lambda x: _sum_of([term(x) for term in terms], x)


def _is_sorted(symmetry: Symmetry, index: int) -> bool:
    """Whether the factor's pose is a sorted order, which leaves nothing to choose; of a graph it may."""
    permutes = isinstance(factors_of(symmetry.group)[index], Symmetric)
    return permutes and nodes_view(symmetry.input, index) is not None and not is_graph(symmetry.input, index)


def _sum_of(values: list[Tensor], x: Data) -> Tensor:
    leaf = first_leaf(x)
    return sum(values, torch.zeros(len(leaf), dtype=torch.float64, device=leaf.device))


def _image_energy(group: Group, view: View) -> Energy:
    """Negative overlap with a direction in the middle of the fundamental domain: 0 for rotations alone,
    and between two mirror lines where there are reflections (else mirrored copies would tie)."""
    middle = 0.0
    centred = False
    for factor in factors_of(group):
        if isinstance(factor, Dihedral):
            middle = math.pi / (2 * factor.n)
        elif isinstance(factor, O | Euclidean):
            middle = math.pi / 4
        centred = centred or isinstance(factor, Translation | Euclidean | SpecialEuclidean)
    # About its own centre of mass an image has no first moment: there the cubic one decides.
    power = 3.0 if centred else 1.0

    def energy(x: Data) -> Tensor:
        image = view(x)
        lean = _share(image, 2, 2.0, middle)
        return -(lean + FIRST_MOMENT_SHARE * _share(image, 1, power, middle))

    return energy


def _share(x: Float[Tensor, "M C H W"], order: int, power: float, direction: float) -> Float[Tensor, "M"]:
    """The part of a moment along a direction, between -1 and 1."""
    moment = angular_moment(x, order, power)
    along = moment.real * math.cos(order * direction) + moment.imag * math.sin(order * direction)
    return along / radial_mass(x, power).clamp_min(torch.finfo(torch.float64).tiny)


def _skew_energy(view: View, spatial: int) -> Energy:
    return lambda x: -skewness(view(x)[..., spatial:]).sum(-1)


def _irregular_energy(x: Data) -> Tensor:
    """A polynomial of the entries with coefficients that no permutation or rotation respects."""
    flat = torch.cat([leaf.to(torch.float64).flatten(1) for leaf in _leaves(x)], dim=1)
    scale = flat.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    z = flat / scale
    index = torch.arange(1, z.shape[1] + 1, dtype=torch.float64, device=z.device)
    linear, square = torch.sin(index * math.sqrt(2)), torch.sin(index * math.sqrt(3))
    return (z @ linear + z.square() @ square) / max(z.shape[1], 1) ** 0.5


def _leaves(x: Data) -> list[Tensor]:
    found: list[Tensor] = []
    map_data(lambda t: found.append(t) or t, x)
    return found


# --- networks -------------------------------------------------------------------------------------


class ConvEnergy(nn.Module):
    """A small convolutional energy for images `(M, C, H, W)` of any size.

    Two convolutions, then features read on a 4 x 4 grid, so that it sees where things are and not only
    that they are there. Images beyond 24 pixels are shrunk first: a pose shows at low resolution.

    Args:
        channels: C.
        width: feature maps.

    Example:
        >>> energy = ConvEnergy(1)
        >>> energy(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3])
    """

    def __init__(self, channels: int, width: int = 8):
        super().__init__()
        channels, width = positive_int(channels, "channels"), positive_int(width, "width")
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.readout = nn.Linear(width * POOLED * POOLED, 1)

    def forward(self, x: Float[Tensor, "M C H W"]) -> Float[Tensor, "M"]:
        shrink = min(x.shape[-2:]) // SIDE
        if shrink > 1:
            x = nn.functional.avg_pool2d(x, shrink)
        pooled = nn.functional.adaptive_avg_pool2d(self.features(x), POOLED)
        return self.readout(pooled.flatten(1)).squeeze(-1)


class MLPEnergy(nn.Module):
    """A small perceptron as energy for any data, flattened to `features` numbers.

    Args:
        features: numbers per input, all parts of a tuple together.
        width: hidden units.

    Example:
        >>> MLPEnergy(15)(torch.zeros(2, 5, 3)).shape
        torch.Size([2])
    """

    def __init__(self, features: int, width: int = 32):
        super().__init__()
        features, width = positive_int(features, "features"), positive_int(width, "width")
        self.net = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Data) -> Float[Tensor, "M"]:
        return self.net(torch.cat([leaf.flatten(1) for leaf in _leaves(x)], dim=1)).squeeze(-1)


def small_energy(x: Data, width: int | None = None) -> nn.Module:
    """A small energy network that fits data shaped like `x`: convolutional for images, a perceptron
    for the rest.

    Args:
        x: an example batch, of which only the shape matters.
        width: hidden width; 8 maps or 32 units by default.

    Example:
        >>> from equilearn.symmetrization import Canonicalize
        >>> strategy = Canonicalize(energy=small_energy(torch.zeros(1, 1, 8, 8)))
        >>> sum(p.numel() for p in strategy.parameters())
        793
    """
    leaves = _leaves(x)
    if len(leaves) == 1 and leaves[0].ndim == 4:
        return ConvEnergy(leaves[0].shape[1], 8 if width is None else width)
    return MLPEnergy(sum(int(leaf[0].numel()) for leaf in leaves), 32 if width is None else width)
