"""Random draws that follow a generator wherever it lives, then move to where they are wanted."""

from __future__ import annotations

import torch
from torch import Tensor

Device = torch.device | str | None


def _home(generator: torch.Generator | None, device: Device) -> Device:
    # A CPU generator gives the same elements whatever the target device.
    return generator.device if generator is not None else device


def _place(x: Tensor, device: Device) -> Tensor:
    return x if device is None else x.to(device)


def normal(shape: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Standard normal draws in float64."""
    x = torch.randn(shape, generator=generator, dtype=torch.float64, device=_home(generator, device))
    return _place(x, device)


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Uniform draws on `[0, 1)` in float64."""
    x = torch.rand(shape, generator=generator, dtype=torch.float64, device=_home(generator, device))
    return _place(x, device)


def integers(high: int, shape: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Uniform draws from `0 .. high - 1` in int64."""
    x = torch.randint(high, shape, generator=generator, dtype=torch.int64, device=_home(generator, device))
    return _place(x, device)


def permutations(n: int, shape: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Uniform permutations of `n` points, `(*shape, n)`: the order of `n` independent uniforms.

    Two of the 53-bit uniforms tie with probability below `n^2 / 2^54`, so the law is uniform to that.
    """
    return torch.argsort(uniform((*shape, n), generator, device), dim=-1)
