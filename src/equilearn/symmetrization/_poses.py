"""The poses of an input under one group: how each kind of group reads them from each kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.actions import Action, Data, PointAction, batch_size, first_leaf
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
from equilearn.symmetrization._laplacian import graph_orders
from equilearn.symmetrization._node_parts import Nodes, ReadNodes, is_graph, nodes_view, points_view
from equilearn.symmetrization._pca import axis_gap, gap_tolerance, pca_frame
from equilearn.symmetrization._sorting import cyclic_shifts, smallest_row_gap, sort_order, tied_to_previous
from equilearn.symmetrization._views import View, factors_of, image_view
from equilearn.symmetrization._weighted import weighted_frame

Ties: TypeAlias = Literal["average", "random"]


@dataclass(frozen=True)
class Poses:
    """Elements of one factor, batch shape `(B, k)`, all equally good unless `weight` says otherwise.

    `unique` says for which inputs the set is determined by the input alone; where it is not
    (degenerate axes, ties broken at random) only its law moves with the input. `degenerate` and
    `tied` say why. `margins` says how far each input is from where its poses jump, `count` how many
    orders of its nodes a graph has. `settled`: `unique` has taken ties into account.
    """

    g: Element
    unique: Bool[Tensor, "B"]
    degenerate: Bool[Tensor, "B"] | None = None
    tied: Bool[Tensor, "B"] | None = None
    weight: Float[Tensor, "B k"] | None = None
    margins: dict[str, Float[Tensor, "B"]] = field(default_factory=dict)
    count: Float[Tensor, "B"] | None = None
    settled: bool = False


@dataclass(frozen=True)
class Reading:
    """How poses are to be read.

    Args:
        limit: largest order of a finite group, or number of orders of a graph, whose elements all serve.
        quantised: sort values up to rounding, since another factor has transformed them.
        draws: how many orders to draw of a graph that has more than `limit`.
        invariant: outputs stay as they are, so that poses which write the input alike count once.
        weighted: weighted poses of clouds in place of principal axes.
    """

    limit: int
    quantised: bool = False
    draws: int = 1
    invariant: bool = False
    weighted: bool = False


FindPoses: TypeAlias = Callable[[Data, "torch.Generator | None", Ties], Poses]


def poses_of(action: Action, index: int, how: Reading) -> FindPoses:
    """How to read the poses of the group's factor `index` from data that `action` moves.

    Args:
        action: the action on inputs.
        index: which factor (0 for a group that is no product).
        how: limits and choices.

    Raises:
        InputError: no pose is known; says what is.
    """
    group = factors_of(action.group)[index]
    image = image_view(action, index)
    affine = isinstance(group, Euclidean | SpecialEuclidean | Translation)
    cloud = points_view(action, index, centred=affine)
    if image is not None and isinstance(group, SO | O | Euclidean | SpecialEuclidean | Translation | Scaling):
        return _image(group, image)
    if isinstance(group, Symmetric):
        nodes = nodes_view(action, index)
        if nodes is not None and is_graph(action, index):
            return _graph(nodes, how)
        if nodes is not None:
            return _sorting(nodes, how)
    if cloud is not None:
        found = _weighted(group, cloud, action, how) if how.weighted else _cloud(group, cloud)
        if found is not None:
            return found
    if group.order is not None and group.order <= how.limit:
        return _everything(group)
    raise InputError(_no_pose(action, group, how.limit))


def _no_pose(action: Action, group: Group, limit: int) -> str:
    finite = f" It has {group.order} elements, more than the {limit} that limit= allows to enumerate." * group.is_finite
    return (
        f"No frame is known for {group} acting on {action.name}.{finite} Known: O(n), SO(n), E(n), SE(n), "
        "translations, scalings and Lorentz(1, q) on points or on vectors that hold the defining representation; "
        "SO(2), O(2), E(2), SE(2), translations and scalings on images; Symmetric(n) on sets, graphs, points and "
        "permutation representations; any small finite group; products of those. "
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


def _sorting(view: ReadNodes, how: Reading) -> FindPoses:
    def find(x: Data, generator: torch.Generator | None, ties: Ties) -> Poses:
        nodes = view(x)
        rows, kept = _comparable(nodes, first_leaf(x), how), nodes.real
        keyed = torch.cat(((~kept).unsqueeze(-1).to(rows.dtype), torch.where(kept.unsqueeze(-1), rows, 0)), -1)
        order = sort_order(keyed, generator)
        # Padding holds nothing, so that its places cannot be confused.
        equal = tied_to_previous(keyed, order) & kept.gather(-1, order)
        tied = equal.any(-1)
        turned = cyclic_shifts(order, equal) if ties == "average" else None
        unique = ~tied if turned is None else torch.ones_like(tied)
        margins = {"row gap": smallest_row_gap(keyed, order, equal, kept)}
        return Poses(order.unsqueeze(-2) if turned is None else turned, unique, tied=tied, margins=margins)

    return find


def _comparable(nodes: Nodes, leaf: Tensor, how: Reading) -> Float[Tensor, "B n C"]:
    """Coordinates that agree in exact arithmetic differ by rounding after a rotation; compare them on a
    grid as fine as the rotation is known. What padding holds counts for nothing."""
    rows = torch.where(nodes.real.unsqueeze(-1), nodes.rows, 0)
    if not (how.quantised and leaf.is_floating_point() and rows.numel()):
        return rows
    scale = rows.abs().amax((-1, -2), keepdim=True).clamp_min(torch.finfo(leaf.dtype).tiny)
    return (rows / (scale * gap_tolerance(leaf.dtype))).round()


def _graph(view: ReadNodes, how: Reading) -> FindPoses:
    def find(x: Data, generator: torch.Generator | None, ties: Ties) -> Poses:
        nodes = view(x)
        nodes = Nodes(_comparable(nodes, first_leaf(x), how), nodes.pairs, nodes.real)
        limit = how.limit if ties == "average" or how.invariant else 1
        found = graph_orders(nodes, limit=limit, draws=how.draws, invariant=how.invariant, generator=generator)
        orders = found.orders
        return Poses(
            orders.order,
            orders.complete,
            tied=found.tied,
            weight=orders.weight,
            margins=found.margins,
            count=orders.count,
            settled=True,
        )

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
    return Poses(g, ~degenerate, degenerate=degenerate, margins=_axis_gap(points))


def _axis_gap(points: Float[Tensor, "B N d"]) -> dict[str, Float[Tensor, "B"]]:
    return {"eigenvalue gap": axis_gap(points)}


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
    placed = group.from_parts(g, centre.expand(*g.shape[:-1]))
    return Poses(placed, ~degenerate, degenerate=degenerate, margins=_axis_gap(points - centre))


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
    return Poses(boost.unsqueeze(1) @ turned, ~degenerate, degenerate=degenerate, margins=_axis_gap(rested))


def _weighted(group: Group, view: View, action: Action, how: Reading) -> FindPoses | None:
    """Weighted poses of O(d), SO(d), about the centroid for E(d), SE(d)."""
    if not isinstance(group, SO | O | Euclidean | SpecialEuclidean):
        return None
    affine = isinstance(group, Euclidean | SpecialEuclidean)
    proper = isinstance(group, SO | SpecialEuclidean)
    # Where only positions are seen, turns that fix them all change nothing that is invariant.
    alone = how.invariant and isinstance(action, PointAction) and action.vectors == 0

    def find(x: Data, generator: torch.Generator | None, ties: Ties) -> Poses:
        points = view(x)
        centre = _centroid(points) if affine else None
        centred = points if centre is None else points - centre
        tolerance = gap_tolerance(points.dtype)
        g, weight, degenerate = weighted_frame(centred, proper=proper, generator=generator, tolerance=tolerance)
        unique = torch.ones_like(degenerate) if alone else ~degenerate
        if centre is not None:
            g = group.from_parts(g, centre.expand(*g.shape[:-1]))  # type: ignore[attr-defined]
        return Poses(g, unique, degenerate=degenerate, weight=weight)

    return find


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
