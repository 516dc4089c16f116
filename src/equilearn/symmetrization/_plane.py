"""Rotations of the plane as matrices."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def rotation_matrices(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """Counter-clockwise rotations by the given angles."""
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack((torch.stack((c, -s), -1), torch.stack((s, c), -1)), -2)


def even_angles(size: int, count: int, generator: torch.Generator | None, device: torch.device) -> Float[Tensor, "B k"]:
    """`2 pi (j + u) / k`, one uniform offset `u` per input: each angle alone is uniform."""
    offset = torch.rand(size, 1, generator=generator, device=device, dtype=torch.float64)
    return (torch.arange(count, device=device, dtype=torch.float64) + offset) * (2 * math.pi / max(count, 1))


def even_rotations(
    size: int, count: int, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "B k 2 2"]:
    """Rotations by evenly spaced angles behind a random offset."""
    return rotation_matrices(even_angles(size, count, generator, device))


def even_orthogonal(
    size: int, count: int, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "B k 2 2"]:
    """The same with every other element behind a reflection, a coin deciding which half: each element
    alone is Haar."""
    turns = even_rotations(size, count, generator, device)
    coin = torch.randint(0, 2, (size, 1), generator=generator, device=device)
    flipped = (torch.arange(count, device=device) + coin) % 2 == 1
    mirror = torch.tensor([1.0, -1.0], dtype=turns.dtype, device=device)
    return torch.where(flipped[..., None, None], turns * mirror, turns)
