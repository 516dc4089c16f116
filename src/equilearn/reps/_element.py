"""What an element tells about precision and place, whatever its kind."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn.groups import Element


def element_leaves(g: Element) -> tuple[Tensor, ...]:
    """The tensors that make up an element: one, or those of all factors of a product."""
    return (g,) if isinstance(g, Tensor) else tuple(leaf for part in g for leaf in element_leaves(part))


def element_dtype(g: Element) -> torch.dtype:
    """The dtype that `rho(g)` has: that of the first matrix in `g`; float64 where there is none."""
    return next((leaf.dtype for leaf in element_leaves(g) if leaf.dtype.is_floating_point), torch.float64)


def element_device(g: Element) -> torch.device:
    """The device that holds `g`."""
    return element_leaves(g)[0].device
