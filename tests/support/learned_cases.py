"""Small learned distributions that several tests start from."""

from __future__ import annotations

import torch
from torch import nn

import equilearn as eq
from equilearn.actions import points
from equilearn.symmetrization import symmetrize

S5, SO3 = eq.Symmetric(5), eq.SO(3)
CLOUDS = eq.Symmetry(SO3 * S5, points(), points())


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cloud(size=4, n=5, width=3, seed=0):
    return torch.randn(size, n, width, generator=seeded(seed), dtype=torch.float64)


def mlp(width, shape, seed=0, scale=1.0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, torch.Size(shape).numel()))
    with torch.no_grad():
        net[1].weight.mul_(scale)
    return nn.Sequential(net, nn.Unflatten(1, shape)).double()


def learned(symmetry=CLOUDS, x=None, width=15, shape=(5, 3), **options):
    torch.manual_seed(0)
    return symmetrize(mlp(width, shape, scale=3.0), symmetry, "learned", example=cloud() if x is None else x, **options)
