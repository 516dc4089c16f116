"""Translations are taken out, not sampled: data about their centroid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import require
from equilearn.actions import Action, Data, batch_size
from equilearn.groups import Product
from equilearn.symmetrization._readouts import Readout
from equilearn.symmetrization._views import cloud_mask, cloud_view
from equilearn.symmetry import Symmetry


def centroid_of(action: Action, index: int, x: Data) -> Float[Tensor, "B d"]:
    """The mean position of the points that are there; the origin where there are none. float64."""
    view = cloud_view(action, index)
    require(view is not None, f"{action.name} holds no points that factor {index} of {action.group} moves.")
    points = view(x)  # type: ignore[misc]
    points = points.to(torch.float64)
    mask = cloud_mask(action, x, points.shape[1])
    if mask is None:
        return points.sum(1) / max(points.shape[1], 1)
    inside = mask.unsqueeze(-1)
    return torch.where(inside, points, torch.zeros_like(points)).sum(1) / inside.sum(1).clamp_min(1)


def shifted_to_origin(symmetry: Symmetry, plan: tuple[Readout, ...], x: Data) -> Data:
    """`x` about the centroid of its points, for every factor that translates."""
    for part in plan:
        if part.shifts:
            centre = -centroid_of(symmetry.input, part.index, x)
            eye = torch.eye(part.size, dtype=centre.dtype, device=centre.device).expand(batch_size(x), -1, -1)
            shift = part.group.from_parts(eye, centre)  # type: ignore[attr-defined]
            g = symmetry.group.embed(part.index, shift) if isinstance(symmetry.group, Product) else shift
            x = symmetry.act_input(g, x)
    return x
