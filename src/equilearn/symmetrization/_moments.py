"""Angular moments of images: how an image says which way it is turned."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def polar_grid(
    height: int, width: int, device: torch.device | None = None
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Radius (1 at the middle of the nearest edge) and counter-clockwise angle of every pixel about
    the centre, float64; rows go downwards, so up is the negative row direction."""
    rows = torch.arange(height, dtype=torch.float64, device=device) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64, device=device) - (width - 1) / 2
    y, x = torch.meshgrid(-rows, columns, indexing="ij")
    return torch.hypot(x, y) / max(min(height, width) / 2, 0.5), torch.atan2(y, x)


def disc(height: int, width: int, device: torch.device | None = None) -> Float[Tensor, "H W"]:
    """One inside the inscribed disc, zero outside, with an edge one pixel wide: a disc cut hard on the
    grid would break the rotation law."""
    radius, _ = polar_grid(height, width, device)
    pixel = 1 / max(min(height, width) / 2, 0.5)
    return ((1 + pixel / 2 - radius) / pixel).clamp(0, 1)


def intensity(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H W"]:
    """Channels summed, the darkest pixel at zero: weights for centres and sizes; float64."""
    total = x.to(torch.float64).sum(1)
    return total - total.amin((-2, -1), keepdim=True) if total.numel() else total


def angular_moment(x: Float[Tensor, "B C H W"], order: int, radial_power: float | None = None) -> Complex[Tensor, "B"]:
    """`sum over pixels of x r^p exp(i m angle)` inside the inscribed disc, channels summed; complex128.

    Turning the image by `a` multiplies the moment by `exp(i m a)`; mirroring it in the horizontal
    axis conjugates it. `p` is `m` by default, which makes the kernel a polynomial and so smooth at
    the centre. A constant background contributes nothing.
    """
    height, width = x.shape[-2:]
    radius, angle = polar_grid(height, width, x.device)
    power = order if radial_power is None else radial_power
    # The centre has no angle, so it has no part in a moment.
    weight = torch.where(radius > 0, radius**power, torch.zeros_like(radius)) * disc(height, width, x.device)
    flat = x.to(torch.float64).sum(1).reshape(x.shape[0], height * width)
    real, imaginary = ((weight * wave).reshape(-1) for wave in (torch.cos(order * angle), torch.sin(order * angle)))
    return torch.complex(flat @ real, flat @ imaginary)


def radial_mass(x: Float[Tensor, "B C H W"], radial_power: float) -> Float[Tensor, "B"]:
    """`sum of |x| r^p` inside the inscribed disc: the largest that a moment of that power can be."""
    height, width = x.shape[-2:]
    radius, _ = polar_grid(height, width, x.device)
    weight = (radius**radial_power * disc(height, width, x.device)).reshape(-1)
    return x.to(torch.float64).abs().sum(1).reshape(x.shape[0], height * width) @ weight


def axis_angle(
    x: Float[Tensor, "B C H W"], centre: Float[Tensor, "B 2"] | None = None
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Angle of the widest axis, in (-pi/2, pi/2], and its strength (0: no axis, 1: a line).

    The principal axis of the intensity, which fixes the pose up to a half turn: about the middle of
    the image and inside its disc, or about `centre` (pixels to the right and upwards).
    """
    tiny = torch.finfo(torch.float64).tiny
    if centre is None:
        second = angular_moment(x, 2)
        return torch.angle(second) / 2, second.abs() / radial_mass(x, 2).clamp_min(tiny)
    weight = intensity(x)
    height, width = weight.shape[-2:]
    right = torch.arange(width, dtype=torch.float64, device=x.device) - (width - 1) / 2 - centre[:, :1]
    up = (height - 1) / 2 - torch.arange(height, dtype=torch.float64, device=x.device) - centre[:, 1:]
    real = (weight * (right.square()[:, None] - up.square()[..., None])).sum((-2, -1))
    imaginary = 2 * (weight * right[:, None] * up[..., None]).sum((-2, -1))
    mass = (weight * (right.square()[:, None] + up.square()[..., None])).sum((-2, -1)).clamp_min(tiny)
    return torch.atan2(imaginary, real) / 2, torch.hypot(real, imaginary) / mass
