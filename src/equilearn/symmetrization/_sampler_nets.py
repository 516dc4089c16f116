"""The networks that a learned distribution has by default: equivariant, and small."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputError, require
from equilearn.actions import (
    Action,
    CombinedAction,
    Data,
    EdgeAction,
    FactorAction,
    PointAction,
    VectorAction,
    batch_size,
    first_leaf,
)
from equilearn.groups import Product
from equilearn.nn import GIN, DeepSets, VectorNetwork
from equilearn.symmetrization._energies import small_energy
from equilearn.symmetrization._moving import copies
from equilearn.symmetrization._readouts import Readout, place
from equilearn.symmetrization._views import cloud_mask, cloud_view, factors_of, mask_of, permuted_leaves
from equilearn.symmetry import Symmetry

NODE_WIDTH, VECTOR_WIDTH = 64, 32
"""Hidden features of networks on nodes, and of those on vectors."""


def default_net(symmetry: Symmetry, plan: tuple[Readout, ...], example: Data | None, width: int | None) -> nn.Module:
    """A network that gives every factor of the group what it needs.

    Raises:
        InputError: an example is needed to see how wide it must be, or no network is known for this product.
    """
    kinds = {part.kind for part in plan} - {"centroid"}
    if "vectors" in kinds:
        require(
            "logits" not in kinds and sum(part.kind == "vectors" for part in plan) == 1,
            f"No default sampler network is known for {symmetry.group}, which mixes rotations with other factors than "
            "permutations. Give Learned(net=...).",
        )
        net: nn.Module = _vector_net(symmetry, plan, example, VECTOR_WIDTH if width is None else width)
    else:
        _require_example(symmetry, example)
        if "logits" in kinds:
            net = CopyNet(symmetry, plan, example, width)
        else:
            net = NodeNet(symmetry, plan, example, NODE_WIDTH if width is None else width)
    if example is not None:
        leaf = first_leaf(example)
        net.to(device=leaf.device, dtype=leaf.dtype if leaf.is_floating_point() else None)
    return net


def _require_example(symmetry: Symmetry, example: Data | None) -> None:
    require(
        example is not None,
        f"A learned distribution for {symmetry.group} on {symmetry.input.name} builds its network for the width of the "
        "data, which the action alone does not tell. Give a few inputs: symmetrize(model, symmetry, 'learned', "
        "example=x), or a network of your own: Learned(net=...).",
    )


# --- nodes of graphs, items of sets -----------------------------------------------------------------


class NodeNet(nn.Module):
    """One score an item for every permuting factor: `GIN` with a virtual node where the data hold
    adjacency or edges, `DeepSets` otherwise."""

    def __init__(self, symmetry: Symmetry, plan: tuple[Readout, ...], example: Data, width: int):
        super().__init__()
        self.action, self.plan = symmetry.input, plan
        self.nets, self.channels = nn.ModuleDict(), nn.ModuleDict()
        for part in plan:
            if part.kind != "scores":
                continue
            x, links, _ = read_nodes(self.action, part.index, example)
            name = str(part.index)
            if links is None:
                self.nets[name] = DeepSets(x.shape[-1], 1, width=width, equivariant=True)
                continue
            if links.is_floating_point() and links.ndim == 4:
                self.channels[name] = nn.Linear(links.shape[-1], 1, bias=False)
            self.nets[name] = GIN(x.shape[-1], 1, width=width, equivariant=True)

    def forward(self, x: Data) -> Any:
        outputs = [self._scores(part, x) if part.kind == "scores" else None for part in self.plan]
        return tuple(outputs) if isinstance(self.action.group, Product) else outputs[0]

    def _scores(self, part: Readout, x: Data) -> Float[Tensor, "M n"]:
        name = str(part.index)
        features, links, mask = read_nodes(self.action, part.index, x)
        if links is None:
            return self.nets[name](features, mask).squeeze(-1)
        if name in self.channels:
            links = self.channels[name](links).squeeze(-1)
        return self.nets[name]((features, links) if mask is None else (features, links, mask)).squeeze(-1)


def read_nodes(
    action: Action, index: int, x: Data
) -> tuple[Float[Tensor, "M n C"], Tensor | None, Bool[Tensor, "M n"] | None]:
    """Features of the items that factor `index` permutes; what links them (adjacency, edges or None); the mask.

    All floating-point tensors with one permuted axis are features, side by side; node pairs without any
    have their diagonals as features.
    """
    features: list[Tensor] = []
    links = _edges_in(action, index, x)
    for leaf, axes in permuted_leaves(action, index, x):
        if not leaf.is_floating_point() and not (len(axes) == 2 and leaf.dtype == torch.bool):
            continue
        if len(axes) == 1:
            items = leaf.movedim(axes[0], 1)
            features.append(items.reshape(*items.shape[:2], math.prod(items.shape[2:])))
        elif len(axes) == 2 and links is None:
            links = leaf
    if not features and links is not None and links.is_floating_point() and links.shape[1] == links.shape[2]:
        diagonal = links.diagonal(dim1=1, dim2=2)
        features = [diagonal.unsqueeze(-1) if links.ndim == 3 else diagonal.mT]
        off = ~torch.eye(links.shape[1], dtype=torch.bool, device=links.device)
        links = links * off.reshape(*off.shape, *(1,) * (links.ndim - 3))
    if not features:
        raise InputError(
            f"{action.name} on these data has no floating-point features of items. Convert whole numbers with "
            "x.float(), or give nodes a feature of ones."
        )
    return torch.cat(features, dim=-1), links, mask_of(action, index, x)


def _edges_in(action: Action, index: int, x: Data) -> Tensor | None:
    if isinstance(action, CombinedAction):
        for part, piece in zip(action.parts, x, strict=True):
            found = _edges_in(part, index, piece)
            if found is not None:
                return found
        return None
    if isinstance(action, FactorAction):
        return _edges_in(action.inner, 0, x) if index == action.index else None
    return x if isinstance(action, EdgeAction) and action.index == index else None  # type: ignore[return-value]


# --- vectors in space -------------------------------------------------------------------------------


def _vector_net(symmetry: Symmetry, plan: tuple[Readout, ...], example: Data | None, width: int) -> VectorNet:
    part = next(p for p in plan if p.kind == "vectors")
    found = _points_in(symmetry.input)
    if found is not None:
        return VectorNet(symmetry.input, plan, 1 + found.vectors, found.scalars, width)
    copies_ = _copies_in(symmetry.input)
    if example is not None:
        view = cloud_view(symmetry.input, part.index)
        copies_ = None if view is None else view(example).shape[1]
    if copies_ is None:
        _require_example(symmetry, None)
    return VectorNet(symmetry.input, plan, copies_ or 1, 0, width)


class VectorNet(nn.Module):
    """`d` vectors for the factor that rotates, as columns, and one score a point for the one that permutes.

    Points come with their vectors and scalars; data of plain vectors count as one point that has them all.
    """

    def __init__(self, action: Action, plan: tuple[Readout, ...], vectors: int, scalars: int, width: int):
        super().__init__()
        self.action, self.plan, self.vectors, self.scalars = action, plan, vectors, scalars
        turning = next(p for p in plan if p.kind == "vectors")
        self.index, self.dimension = turning.index, turning.size
        self.net = VectorNetwork(
            vectors,
            scalars,
            out_vectors=turning.size,
            out_scalars=sum(p.kind == "scores" for p in plan),
            dimension=turning.size,
            width=width,
            pooled_vectors=True,
            proper=turning.proper and turning.size in (2, 3),
        )

    def forward(self, x: Data) -> Any:
        vectors, scores = self.net(*self._read(x))
        outputs: list[Tensor | None] = []
        for part in self.plan:
            if part.kind == "vectors":
                outputs.append(vectors.mT)
            elif part.kind == "scores":
                outputs.append(scores[..., sum(p.kind == "scores" for p in self.plan[: part.index])])
            else:
                outputs.append(None)
        return tuple(outputs) if isinstance(self.action.group, Product) else outputs[0]

    def _read(self, x: Data) -> tuple[Tensor, Tensor | None, Tensor | None]:
        piece = _first_points(self.action, x)
        if piece is not None:
            width = self.vectors * self.dimension
            v = piece[..., :width].unflatten(-1, (self.vectors, self.dimension))
            s = piece[..., width:] if self.scalars else None
            return v, s, cloud_mask(self.action, x, piece.shape[1])
        view = cloud_view(self.action, self.index)
        return view(x).unsqueeze(1), None, None  # type: ignore[misc]


def _points_in(action: Action) -> PointAction | None:
    if isinstance(action, PointAction):
        return action
    if isinstance(action, FactorAction):
        return _points_in(action.inner)
    if isinstance(action, CombinedAction):
        return next((found for part in action.parts if (found := _points_in(part)) is not None), None)
    return None


def _first_points(action: Action, x: Data) -> Tensor | None:
    """The first tensor in the data that is a cloud of points."""
    if isinstance(action, CombinedAction):
        pieces = (_first_points(part, piece) for part, piece in zip(action.parts, x, strict=True))
        return next((found for found in pieces if found is not None), None)
    if isinstance(action, FactorAction):
        return _first_points(action.inner, x)
    return x if isinstance(action, PointAction) else None  # type: ignore[return-value]


def _copies_in(action: Action) -> int | None:
    """Number of vectors in data `(B, D)` of plain vectors, where the action alone tells it."""
    if not isinstance(action, VectorAction) or action.copies is None:
        return None
    view = cloud_view(action, 0)
    return None if view is None else view(torch.zeros(1, action.copies * action.rep.dim)).shape[1]


# --- finite groups ----------------------------------------------------------------------------------


class CopyNet(nn.Module):
    """One logit an element for every finite factor: minus the energy of each transformed copy of the input.

    The energy is any network, for it sees all copies, and `E(g^-1 x)` moves with `x` by itself. Of several
    finite factors each has the marginal of their joint distribution. Beside factors that permute the
    energy is one of sets, and the scores of the items are means over the copies.
    """

    def __init__(self, symmetry: Symmetry, plan: tuple[Readout, ...], example: Data, width: int | None):
        super().__init__()
        self.symmetry, self.plan = symmetry, plan
        self.finite = [part for part in plan if part.kind == "logits"]
        self.permuting = [part for part in plan if part.kind == "scores"]
        require(
            len(self.permuting) <= 1,
            f"No default sampler network is known for {symmetry.group}, with two factors that permute beside finite "
            "ones. Give Learned(net=...).",
        )
        if self.permuting:
            x, links, _ = read_nodes(symmetry.input, self.permuting[0].index, example)
            require(links is None, "No default sampler network is known for graphs under other groups. Give net=....")
            width = NODE_WIDTH if width is None else width
            self.items: nn.Module | None = DeepSets(x.shape[-1], 2, width=width, equivariant=True)
            self.energy: nn.Module | None = None
        else:
            self.items, self.energy = None, small_energy(example, width)

    def forward(self, x: Data) -> Any:
        size = batch_size(x)
        sizes = [part.size for part in self.finite]
        seen = copies(self.symmetry.input, self._inverses(x, sizes), x, shared=True)
        scores = None
        if self.items is not None:
            part = self.permuting[0]
            features, _, mask = read_nodes(self.symmetry.input, part.index, seen)
            out = self.items(features, mask)
            scores = out[..., 0].reshape(size, -1, part.size).mean(1)
            joint = out[..., 1].mean(1)
        else:
            joint = -self.energy(seen)  # type: ignore[misc]
        joint = joint.reshape(size, *sizes)
        outputs: list[Tensor | None] = []
        for part in self.plan:
            if part.kind == "logits":
                axis = 1 + self.finite.index(part)
                others = [a for a in range(1, joint.ndim) if a != axis]
                outputs.append(joint.logsumexp(others) if others else joint)
            else:
                outputs.append(scores if part.kind == "scores" else None)
        return tuple(outputs) if isinstance(self.symmetry.group, Product) else outputs[0]

    def _inverses(self, x: Data, sizes: list[int]) -> Any:
        """The inverse of every element of the finite factors, the same for all inputs."""
        group, device = self.symmetry.group, first_leaf(x).device
        picks = torch.tensor(list(product(*(range(size) for size in sizes))), device=device)
        parts: list[Any] = []
        for factor, part in zip(factors_of(group), self.plan, strict=True):
            if part.kind == "logits":
                listed = factor.to(factor.elements(), device=device)
                parts.append(factor.take(listed, picks[:, self.finite.index(part)]))
            else:
                parts.append(factor.to(factor.identity((len(picks),)), device=device))
        g = group.inverse(place(group, parts))
        return group.expand(g, (batch_size(x), len(picks)))
