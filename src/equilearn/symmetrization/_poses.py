"""The poses of an input under one group: how each kind of group reads them from each kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.actions import Action, Data, batch_size, first_leaf
from equilearn.groups import (
    SO,
    Element,
    Euclidean,
    Group,
    Lorentz,
    O,
    Scaling,
    SpecialEuclidean,
    Symmetric,
    Translation,
)
from equilearn.symmetrization._image_poses import image_centre, image_poses, image_scale
from equilearn.symmetrization._pca import gap_tolerance, pca_frame
from equilearn.symmetrization._sorting import cyclic_shifts, sort_order, tied_to_previous
from equilearn.symmetrization._views import View, cloud_view, factors_of, image_view, rows_view

Ties: TypeAlias = Literal["average", "random"]


@dataclass(frozen=True)
class Poses:
    """Elements of one factor, batch shape `(B, k)`, all equally good.

    `unique` says for which inputs the set is determined by the input alone; where it is not
    (degenerate axes, ties broken at random) only its law moves with the input. `degenerate` and
    `tied` say why.
    """

    g: Element
    unique: Bool[Tensor, "B"]
    degenerate: Bool[Tensor, "B"] | None = None
    tied: Bool[Tensor, "B"] | None = None


FindPoses: TypeAlias = Callable[[Data, "torch.Generator | None", Ties], Poses]


def poses_of(action: Action, index: int, limit: int, quantised: bool = False) -> FindPoses:
    """How to read the poses of the group's factor `index` from data that `action` moves.

    Args:
        action: the action on inputs.
        index: which factor (0 for a group that is no product).
        limit: largest order of a finite group whose elements all serve as poses.
        quantised: sort values up to rounding, since another factor has transformed them.

    Raises:
        InputError: no pose is known; says what is.
    """
    group = factors_of(action.group)[index]
    image, cloud = image_view(action, index), cloud_view(action, index)
    if image is not None and isinstance(group, SO | O | Euclidean | SpecialEuclidean | Translation | Scaling):
        return _image(group, image)
    if isinstance(group, Symmetric):
        rows = rows_view(action, index)
        if rows is not None:
            return _sorting(rows, quantised)
    if cloud is not None:
        found = _cloud(group, cloud)
        if found is not None:
            return found
    if group.order is not None and group.order <= limit:
        return _everything(group)
    raise InputError(_no_pose(action, group, limit))


def _no_pose(action: Action, group: Group, limit: int) -> str:
    finite = f" It has {group.order} elements, more than the {limit} that limit= allows to enumerate." * group.is_finite
    return (
        f"No frame is known for {group} acting on {action.name}.{finite} Known: O(n), SO(n), E(n), SE(n), "
        "translations, scalings and Lorentz(1, q) on points or on vectors that hold the defining representation; "
        "SO(2), O(2), E(2), SE(2), translations and scalings on images; Symmetric(n) on sets, points and permutation "
        "representations; any small finite group; products of those. "
        + ("Use strategy 'average', or " if group.is_compact else "Use an exact network (equilearn.nn), or ")
        + "give a frame of your own: Frames(frame=function)."
    )


# --- finite groups, sets ------------------------------------------------------------------------


def _everything(group: Group) -> FindPoses:
    def find(x: Data, generator: torch.Generator | None, ties: Ties) -> Poses:
        size, device = batch_size(x), first_leaf(x).device
        listed = group.to(group.elements(), device=device)
        return Poses(group.expand(listed, (size, int(group.order or 0))), _all_true(size, device))

    return find


def _sorting(view: View, quantised: bool) -> FindPoses:
    def find(x: Data, generator: torch.Generator | None, ties: Ties) -> Poses:
        rows = view(x)
        if quantised and rows.is_floating_point():
            # Coordinates that agree in exact arithmetic differ by rounding after a rotation; compare
            # them on a grid as fine as the rotation is known.
            scale = rows.abs().amax((-1, -2), keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
            rows = (rows.to(torch.float64) / (scale * gap_tolerance(rows.dtype))).round()
        order = sort_order(rows, generator)
        equal = tied_to_previous(rows, order)
        tied = equal.any(-1)
        turned = cyclic_shifts(order, equal) if ties == "average" else None
        unique = ~tied if turned is None else torch.ones_like(tied)
        return Poses(order.unsqueeze(-2) if turned is None else turned, unique, tied=tied)

    return find


# --- points in space ------------------------------------------------------------------------------


def _cloud(group: Group, view: View) -> FindPoses | None:
    if isinstance(group, SO | O):
        return lambda x, generator, ties: _axes(view(x), isinstance(group, SO), generator)
    if isinstance(group, Euclidean | SpecialEuclidean):
        return lambda x, generator, ties: _centred_axes(group, view(x), generator)
    if isinstance(group, Translation):
        return lambda x, generator, ties: _centre(group, view(x))
    if isinstance(group, Scaling):
        return lambda x, generator, ties: _size(group, view(x))
    if isinstance(group, Lorentz) and group.p == 1:
        return lambda x, generator, ties: _rest_frame(view(x), generator)
    return None


def _axes(points: Float[Tensor, "B N d"], proper: bool, generator: torch.Generator | None) -> Poses:
    g, degenerate = pca_frame(points, proper=proper, generator=generator)
    return Poses(g, ~degenerate, degenerate=degenerate)


def _centroid(points: Float[Tensor, "B N d"]) -> Float[Tensor, "B 1 d"]:
    require(points.shape[1] > 0, "A cloud without points has no centre.")
    return points.to(torch.float64).mean(1, keepdim=True)


def _centred_axes(
    group: Euclidean | SpecialEuclidean, points: Float[Tensor, "B N d"], generator: torch.Generator | None
) -> Poses:
    centre = _centroid(points)
    g, degenerate = pca_frame(
        points - centre,
        proper=isinstance(group, SpecialEuclidean),
        generator=generator,
        tolerance=gap_tolerance(points.dtype),
    )
    return Poses(group.from_parts(g, centre.expand(*g.shape[:-1])), ~degenerate, degenerate=degenerate)


def _centre(group: Translation, points: Float[Tensor, "B N d"]) -> Poses:
    centre = _centroid(points)
    eye = torch.eye(points.shape[-1], dtype=torch.float64, device=points.device)
    g = group.from_parts(eye.expand(*centre.shape, -1), centre)
    return Poses(g, _all_true(len(points), points.device))


def _size(group: Scaling, points: Float[Tensor, "B N d"]) -> Poses:
    """Root mean square distance from the origin; 1 for a cloud that is all zero, which every scale fixes."""
    size = points.to(torch.float64).square().sum(-1).mean(-1)
    # One before the root: the root of zero has no derivative.
    norm = torch.where(size > 0, size, torch.ones_like(size)).sqrt()
    return Poses(group.from_factor(norm.unsqueeze(-1)), size >= 0)


def _rest_frame(vectors: Float[Tensor, "B N d"], generator: torch.Generator | None) -> Poses:
    """Boost the total momentum to rest, then the principal axes of the spatial parts.

    A boost changes by a rotation (Wigner's) when the input is boosted, which the axes take up.
    """
    total = vectors.to(torch.float64).sum(1)
    time, space = total[:, :1], total[:, 1:]
    mass2 = time.square().squeeze(-1) - space.square().sum(-1)
    spacelike = ~(mass2 > 0)
    require(
        not bool(spacelike.any()),
        f"{int(spacelike.sum())} of {len(total)} inputs have a total momentum that is not timelike, so no rest frame "
        "exists for them. Leave them out, or use an exact network (equilearn.nn.EquivariantMLP).",
    )
    # Past-directed momenta are brought to rest as well: the connected group keeps the sign of time.
    unit = total * time.sign() / mass2.sqrt().unsqueeze(-1)
    gamma, u = unit[:, :1], unit[:, 1:]
    inner = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device) + u[:, :, None] * u[:, None] / (1 + gamma)[..., None]
    boost = torch.cat((torch.cat((gamma, u), -1)[:, None], torch.cat((u[..., None], inner), -1)), 1)
    inverse = torch.cat((torch.cat((gamma, -u), -1)[:, None], torch.cat((-u[..., None], inner), -1)), 1)
    rested = (vectors.to(torch.float64) @ inverse.mT)[..., 1:]
    axes, degenerate = pca_frame(rested, proper=True, generator=generator, tolerance=gap_tolerance(vectors.dtype))
    turned = torch.nn.functional.pad(axes, (1, 0, 1, 0))
    turned[..., 0, 0] = 1
    return Poses(boost.unsqueeze(1) @ turned, ~degenerate, degenerate=degenerate)


# --- images -----------------------------------------------------------------------------------------


def _image(group: Group, view: View) -> FindPoses:
    def find(x: Data, generator: torch.Generator | None, ties: Ties) -> Poses:
        image = view(x)
        everywhere = _all_true(len(image), image.device)
        if isinstance(group, Scaling):
            return Poses(group.from_factor(image_scale(image).unsqueeze(-1)), everywhere)
        if isinstance(group, SO | O):
            turns, blurred = image_poses(image, None, reflections=isinstance(group, O), generator=generator)
            return Poses(turns, ~blurred, degenerate=blurred)
        centre = image_centre(image)
        if isinstance(group, Translation):
            eye = torch.eye(2, dtype=torch.float64, device=image.device).expand(len(image), 1, 2, 2)
            return Poses(group.from_parts(eye, centre[:, None]), everywhere)
        turns, blurred = image_poses(image, centre, reflections=isinstance(group, Euclidean), generator=generator)
        g = group.from_parts(turns, centre[:, None].expand(*turns.shape[:-1]))  # type: ignore[attr-defined]
        return Poses(g, ~blurred, degenerate=blurred)

    return find


def _all_true(size: int, device: torch.device) -> Bool[Tensor, "B"]:
    return torch.ones(size, dtype=torch.bool, device=device)
