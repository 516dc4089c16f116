"""Networks on points that commute with rotations, reflections, shifts and permutations."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, positive_int, require
from equilearn.nn._graph_batch import check_mask, cleared, counted, with_mask
from equilearn.nn._vector_network import smooth_norm


class EGNN(nn.Module):
    """Messages on distances between points: E(d)-equivariant positions, or invariant features of the cloud.

    Arguments:
        scalars: numbers a point that space does not touch (charges, masses); 0 for none.
        vectors: vectors a point after its position (velocities, forces); 0 for none.
        dimension: of space.
        out_features: None for new positions `(B, N, d)`; a number for that many invariant features
            `(B, out_features)` of the cloud.
        width: hidden features.
        depth: rounds of messages.

    The input is laid out as `actions.points(N, vectors=, scalars=)` has it: `(B, N, d + vectors d + scalars)`, or
    the tuple `(x, mask)`. A round computes a message for each pair of points from their features, their
    distance, the inner products of their vectors with each other and with `u = (x_i - x_j) / (1 + |x_i - x_j|)`,
    and the products of their scalars; it moves a point by the mean of `u` times a learned weight of the message, and
    along its own vectors; and it updates the features by the mean message. What lies in the padding is never
    seen, and positions are zero there.

    Raises `InputError` where the data have another shape.

    Cost O(depth B N^2 width^2).

    Inner products enter as `s / (1 + s^2)^(1/4)`, so that no feature grows faster than the data.

    Source: Satorras et al. 2021, equations 3 to 7; the inner products and the bounded `u` are added here.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.EGNN(1, vectors=1)
        >>> x = torch.randn(4, 5, 7)
        >>> shift = torch.cat([torch.ones(3), torch.zeros(4)])
        >>> net(x).shape, torch.allclose(net(x + shift), net(x) + 1, atol=1e-4)
        (torch.Size([4, 5, 3]), True)
    """

    def __init__(
        self,
        scalars: int,
        *,
        vectors: int = 0,
        dimension: int = 3,
        out_features: int | None = None,
        width: int = 64,
        depth: int = 4,
    ):
        super().__init__()
        self.scalars = positive_int(scalars, "scalars", 0)
        self.vectors = positive_int(vectors, "vectors", 0)
        self.dimension = positive_int(dimension, "dimension")
        self.out_features = out_features if out_features is None else positive_int(out_features, "out_features")
        positive_int(width, "width")
        own = scalars + vectors**2
        self.lift = nn.Linear(own, width) if own else nn.Identity()
        self.start = None if own else nn.Parameter(torch.randn(width))
        last = positive_int(depth, "depth") - 1
        still = out_features is not None
        self.rounds = nn.ModuleList(
            _Round(width, vectors, scalars, moves=i < last or not still, updates=i < last or still)
            for i in range(depth)
        )
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, out_features)) if still else None

    def forward(
        self, x: Float[Tensor, "B N C"] | tuple[Tensor, ...], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B *N d"]:
        x, mask = with_mask(x, mask, "EGNN")
        self._check(x, mask)
        x = cleared(x, mask)
        d = self.dimension
        places, rest = x[..., :d], x[..., d * (1 + self.vectors) :]
        vectors = x[..., d : d * (1 + self.vectors)].unflatten(-1, (self.vectors, d))
        centre = (places.sum(1) / counted(places, mask)).unsqueeze(1)
        p = cleared(places - centre, mask)
        own = torch.cat([rest, _softened(vectors @ vectors.mT).flatten(2)], dim=-1)
        # Where a point holds nothing of its own, all start from one learned feature.
        h = self.lift(own) if self.start is None else self.start.expand(*x.shape[:2], -1)
        for layer in self.rounds:
            h, p = layer(h, p, vectors, rest, mask)
        if self.head is None:
            return cleared(p + centre, mask)
        h = cleared(h, mask)
        return self.head(h.sum(1) / counted(h, mask))

    def _check(self, x: Tensor, mask: Tensor | None) -> None:
        need = self.dimension * (1 + self.vectors) + self.scalars
        require(
            x.ndim == 3 and x.shape[2] == need,
            f"EGNN with {self.vectors} vectors and {self.scalars} scalars in dimension {self.dimension} takes points "
            f"(B, N, {need}), got {tuple(x.shape)}.",
        )
        if not x.is_floating_point():
            raise InputTypeError(f"EGNN takes floating-point points, got {x.dtype}. Convert with x.float().")
        if mask is not None:
            check_mask(mask, tuple(x.shape[:2]), "point")

    def extra_repr(self) -> str:
        out = "positions" if self.out_features is None else f"{self.out_features} invariant features"
        return f"positions + {self.vectors} vectors + {self.scalars} scalars -> {out}, E({self.dimension})"


def _softened(products: Tensor) -> Tensor:
    """Products of vectors that grow as one of them: like themselves near zero, like a signed root far out."""
    return products / (1 + products.square()).pow(0.25)


class _Round(nn.Module):
    def __init__(self, width: int, vectors: int, scalars: int, moves: bool, updates: bool):
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.geometry = nn.Linear(2 + 3 * vectors + scalars, width, bias=False)
        self.second = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.force = nn.Linear(width, 1, bias=False) if moves else None
        self.drift = nn.Linear(width, vectors) if moves and vectors else None
        self.change = (
            nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width)) if updates else None
        )
        self._start_at_rest()

    def _start_at_rest(self) -> None:
        """Every round feeds the next: points that jump at first are slow to come back."""
        if self.force is not None:
            nn.init.xavier_uniform_(self.force.weight, gain=0.01)
        if self.drift is not None:
            nn.init.xavier_uniform_(self.drift.weight, gain=0.01)
            nn.init.zeros_(self.drift.bias)

    def forward(
        self, h: Tensor, p: Tensor, vectors: Tensor, scalars: Tensor, mask: Tensor | None
    ) -> tuple[Float[Tensor, "B N W"], Float[Tensor, "B N d"]]:
        apart = p.unsqueeze(2) - p.unsqueeze(1)
        distance = smooth_norm(apart)
        # Bounded, so that a round cannot square what the one before it did: far points stay where they are sent.
        toward = apart / (1 + distance).unsqueeze(-1)
        parts = [distance.unsqueeze(-1), (1 / (1 + distance)).unsqueeze(-1)]
        if vectors.shape[2]:
            parts += [
                torch.einsum("bivd,bijd->bijv", vectors, toward),
                torch.einsum("bjvd,bijd->bijv", vectors, toward),
                _softened(torch.einsum("bivd,bjvd->bijv", vectors, vectors)),
            ]
        if scalars.shape[2]:
            parts.append(scalars.unsqueeze(2) * scalars.unsqueeze(1))
        first = self.receiver(h).unsqueeze(2) + self.sender(h).unsqueeze(1) + self.geometry(torch.cat(parts, dim=-1))
        message = self.second(first)
        if mask is not None:
            message = message * mask.reshape(mask.shape[0], 1, mask.shape[1], 1)
        count = counted(message, mask)
        if self.force is not None:
            # The force has no bias, so that masked messages, which are zero, pull nowhere.
            p = p + (self.force(message) * toward).sum(2) / count
            if self.drift is not None:
                p = p + (self.drift(h).unsqueeze(-1) * vectors).sum(2)
        if self.change is not None:
            h = h + self.change(torch.cat([h, message.sum(2) / count], dim=-1))
        return h, p
