"""Fair comparisons of data with their transforms: both sides pay the same price of interpolation."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from equilearn.actions import Action, Data, ImageAction, batch_size, first_leaf, mask_of
from equilearn.groups import SO, Cyclic, Dihedral, Element, Group, O, Product, Symmetric, factors_of
from equilearn.measure._evaluate import cast, leaves
from equilearn.measure._labels import choose_elements, sample_moves
from equilearn.symmetry import Symmetry

_SIDE = 32
_WIDTH = 4096
_PROJECTED = 512
_ANGLES = 16

_DETOURS = 2
"""Random elements that both sides go through on a grid; more would leave the image."""

_TURNS = 4
"""The same where they only turn about the middle."""


def kept_and_moved(action: Action, g: Element, x: Data, generator: torch.Generator | None) -> tuple[Data, Data]:
    """`x` and `g x`, `g` one element or one a sample, fit to be told apart by their pose only.
    On a grid `g x` is blurred and has lost its corners, which gives it away whatever the symmetry of the
    data. So there both sides are transformed by the same random `h_1, ..., h_k` first and then brought
    back, with `h = h_k ... h_1`: `h^-1 h_k ... h_1 x` and `g h^-1 h_k ... h_1 x`. Any `k` of the `k + 1`
    elements are independent on either side, so that both lose nearly the same. Where the group turns about
    the middle, what lies outside the largest disc is faded out before, and turns by 1/n go through turns by
    any angle: among eighths of a turn the number of those that interpolate would be even on one side only.

    Nearly: all `k + 1` elements together know `g`, so that a large sample may still see a difference that is
    the grid's, the less the larger `k` is. On sharp blobs under SO(2), 12 x 12 pixels, the area under the
    curve was 0.66, 0.60, 0.56 for k = 2, 3, 4, and 0.95, 0.94, 0.94 on digits, which do differ.
    """
    x = cast(x, torch.float64)
    if action.is_exact(x):
        return x, action(g, x)
    group, size, device = action.group, batch_size(x), first_leaf(x).device
    steps = _DETOURS
    if isinstance(action, ImageAction) and action.keeps_disc:
        x = x * _disc(x.shape[-2], x.shape[-1]).to(x.device)
        action, g = _turning_freely(action, g)
        group, steps = action.group, _TURNS
    way = group.identity((size,), device=device)
    turned = x
    for _ in range(steps):
        h = sample_moves(SO(2) if isinstance(group, O) else group, size, generator, device)
        turned, way = action(h, turned), group.compose(h, way)
    back = group.inverse(way)
    g = group.expand(g, (size,)) if group.batch_shape(g) == () else g
    return action(back, turned), action(group.compose(g, back), turned)


def padding_last(symmetry: Symmetry, x: Data, y: Data | None = None) -> tuple[Data, Data | None]:
    """Sets and graphs, and targets that move with them, with the points that a mask leaves out behind the
    others, which stay in order.

    Where the padding stands says nothing about the data, but a classifier would see nothing else.
    """
    group = symmetry.group
    for index, factor in enumerate(factors := factors_of(group)):
        mask = mask_of(symmetry.input, index, x) if isinstance(factor, Symmetric) else None
        if mask is None:
            continue
        place = (~mask).to(torch.int8).argsort(dim=1, stable=True).argsort(dim=1)
        still = [one.identity((len(mask),), device=mask.device) for one in factors]
        g = (*still[:index], place, *still[index + 1 :]) if isinstance(group, Product) else place
        x, y = symmetry.act_input(g, x), None if y is None else symmetry.act_output(g, y)
    return x, y


def _turning_freely(action: Action, g: Element) -> tuple[Action, Element]:
    """A finite group of turns as part of O(2), on the same grid."""
    if not isinstance(action, ImageAction) or not isinstance(action.group, Cyclic | Dihedral):
        return action, g
    return ImageAction(O(2), action.interpolation, action.padding), action.group.plane_matrix(g)


def _disc(height: int, width: int) -> Float[Tensor, "H W"]:
    """1 in the largest disc, fading to 0 over its last pixel."""
    down = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    right = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    radius = (down[:, None] ** 2 + right**2).sqrt()
    return (min(height, width) / 2 - radius).clamp(0.0, 1.0)


def features(x: Data, projection_seed: int = 0) -> Float[Tensor, "B D"]:
    """One row of numbers a sample, on the CPU: large images are pooled to 32 pixels a side, anything
    wider than 4,096 numbers is projected at random."""
    columns = []
    for leaf in leaves(x):
        if leaf.ndim == 4 and max(leaf.shape[-2:]) > _SIDE:
            leaf = functional.adaptive_avg_pool2d(leaf, (min(_SIDE, leaf.shape[-2]), min(_SIDE, leaf.shape[-1])))
        leaf = torch.view_as_real(leaf) if leaf.is_complex() else leaf
        columns.append(leaf.detach().cpu().to(torch.float64).reshape(leaf.shape[0], -1))
    wide = torch.cat(columns, dim=1)
    if wide.shape[1] <= _WIDTH:
        return wide
    source = torch.Generator().manual_seed(projection_seed)
    mix = torch.randn(wide.shape[1], _PROJECTED, generator=source, dtype=torch.float64)
    return wide @ mix / math.sqrt(_PROJECTED)


def spread_elements(group: Group, generator: torch.Generator | None, device: torch.device) -> Element:
    """Elements that go round the group: all but the identity of a small one, 15 even steps of a circle,
    else 16 random ones; batch shape `(G,)`."""
    if group.lie_dim == 1 and group.is_compact and group.batch_shape(group.generators()) == (0,):
        steps = torch.arange(1, _ANGLES, dtype=torch.float64).unsqueeze(-1) * (2 * math.pi / _ANGLES)
        return group.to(group.exp(steps), device=device)
    g, _ = choose_elements(group, _ANGLES, generator, device)
    return g
