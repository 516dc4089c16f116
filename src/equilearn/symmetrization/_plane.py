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


def even_rotations(count: int, device: torch.device | None = None) -> Float[Tensor, "k 2 2"]:
    """`k` evenly spaced rotations, the identity first."""
    angle = torch.arange(count, device=device, dtype=torch.float64) * (2 * math.pi / max(count, 1))
    return rotation_matrices(angle)


def even_orthogonal(count: int, device: torch.device | None = None) -> Float[Tensor, "k 2 2"]:
    """The same, every other one behind the reflection `(x, y) -> (x, -y)`."""
    turns = even_rotations(count, device)
    mirror = torch.tensor([1.0, -1.0], dtype=turns.dtype, device=device)
    odd = torch.arange(count, device=device) % 2 == 1
    return torch.where(odd[:, None, None], turns * mirror, turns)
