"""Poses of an image under plane groups, from the moments of its intensity."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn.symmetrization._base import generator_device
from equilearn.symmetrization._moments import axis_angle, intensity
from equilearn.symmetrization._plane import rotation_matrices

ROUND = 1e-6
"""Strength of the second moment below which an image has no axis."""

CANONICAL_RADIUS = 0.5
"""Radius of gyration, in half edges, to which scalings bring an image."""


def image_poses(
    x: Float[Tensor, "B C H W"],
    centre: Float[Tensor, "B 2"] | None,
    *,
    reflections: bool,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "B k 2 2"], Bool[Tensor, "B"]]:
    """The rotations (and reflections) that lay the widest axis of the image horizontally: 2 (or 4).

    The image counterpart of a principal-axes frame: pixels are points, intensities weights. An image
    without an axis gets a random angle, which keeps the law of the frame equivariant; it is flagged.
    """
    angle, strength = axis_angle(x, centre)
    blurred = ~(strength > ROUND)
    if bool(blurred.any()):
        where = generator_device(generator, x.device)
        drawn = torch.rand(len(x), generator=generator, device=where, dtype=torch.float64).to(x.device)
        angle = torch.where(blurred, drawn * 2 * math.pi, angle)
    turns = rotation_matrices(torch.stack((angle, angle + math.pi), -1))
    if reflections:
        mirror = torch.tensor([1.0, -1.0], dtype=turns.dtype, device=turns.device)
        turns = torch.cat((turns, turns * mirror), 1)
    return turns, blurred


def image_centre(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 2"]:
    """Centre of mass in pixels from the middle, first to the right, second upwards; zero for a blank image."""
    weight = intensity(x)
    height, width = weight.shape[-2:]
    right = torch.arange(width, dtype=weight.dtype, device=x.device) - (width - 1) / 2
    up = (height - 1) / 2 - torch.arange(height, dtype=weight.dtype, device=x.device)
    mass = weight.sum((-2, -1))
    moment = torch.stack(((weight * right).sum((-2, -1)), (weight * up[:, None]).sum((-2, -1))), -1)
    return torch.where(mass[:, None] > 0, moment / mass.clamp_min(1e-300)[:, None], torch.zeros_like(moment))


def image_scale(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """How much larger than canonical the image is: its radius of gyration about the middle, over
    `CANONICAL_RADIUS` half edges; 1 for a blank image."""
    weight = intensity(x)
    height, width = weight.shape[-2:]
    right = torch.arange(width, dtype=weight.dtype, device=x.device) - (width - 1) / 2
    up = (height - 1) / 2 - torch.arange(height, dtype=weight.dtype, device=x.device)
    mass = weight.sum((-2, -1))
    inertia = (weight * (right.square() + up.square()[:, None])).sum((-2, -1))
    radius = (inertia / mass.clamp_min(1e-300)).sqrt() / (min(height, width) / 2)
    return torch.where(radius > 0, radius / CANONICAL_RADIUS, torch.ones_like(radius))
