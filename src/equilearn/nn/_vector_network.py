"""Networks on scalars and vectors of points: vectors turn with space, scalars do not, order is free."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputError, one_of, positive_int, require
from equilearn.nn._graph_batch import check_mask, cleared, counted


class VectorNetwork(nn.Module):
    """Scalars and vectors of points to scalars and vectors of points, or to vectors of the whole cloud.

    Arguments:
        vectors: input vectors a point (position, velocity, ...). Nothing is done about translations:
            subtract the centroid from positions first.
        scalars: input scalars a point; 0 where there are none.
        out_vectors: result vectors a point, or of the cloud where `pooled_vectors`; 0 for none.
        out_scalars: result scalars a point; 0 for none.
        dimension: of space.
        width: hidden scalars a point; there are `max(width // 4, 4)` hidden vectors.
        depth: rounds of messages between points.
        pooled_vectors: vectors of the cloud, means over its points, instead of one each.
        proper: may use cross products and determinants (dimension 2 and 3): rotations then commute with it
            and reflections do not.
        norm: `"layer"` normalises scalars by layer norm and scales vectors by their size in a point, in
            every round; None does neither.

    A round: each pair of points exchanges a message computed from their scalars, from the squared distances
    `|p_i - p_j|^2` and from the inner products `<p_i, p_j>` of learned mixtures `p` of their vectors. The mean
    message updates the scalars, its mean weight on `p_i - p_j` the vectors; inside a point, norms of mixed
    vectors enter the scalars and scalars gate mixed vectors.

    `forward(vectors (B, N, V, d), scalars (B, N, S) or None, mask (B, N) or None)` gives
    `(vectors (B, N, out_vectors, d), scalars (B, N, out_scalars))`; with `pooled_vectors` the first is
    `(B, out_vectors, d)`. What lies in the padding is never seen and results are zero there. It commutes with
    O(d) (with SO(d) where `proper`) and with permutations of the points. As means are taken, a cloud and the same
    cloud with every point doubled give the same results.

    Raises `InputError` where shapes do not fit, or for `proper` in another dimension.

    Cost O(depth B N^2 width (width + d)).

    Source: vector neurons, Deng et al. 2021; messages on distances, Satorras et al. 2021, equations 3 to 6.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.VectorNetwork(2, 1, out_vectors=3, out_scalars=1, pooled_vectors=True)
        >>> v, s = torch.randn(4, 5, 2, 3), torch.randn(4, 5, 1)
        >>> turn = eq.O(3).sample(generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        >>> frame, score = net(v, s)
        >>> moved, same = net(v @ turn.mT, s)
        >>> frame.shape, score.shape
        (torch.Size([4, 3, 3]), torch.Size([4, 5, 1]))
        >>> torch.allclose(moved, frame @ turn.mT, atol=1e-5), torch.allclose(same, score, atol=1e-5)
        (True, True)
    """

    def __init__(
        self,
        vectors: int,
        scalars: int = 0,
        *,
        out_vectors: int,
        out_scalars: int,
        dimension: int = 3,
        width: int = 32,
        depth: int = 2,
        pooled_vectors: bool = False,
        proper: bool = False,
        norm: Literal["layer"] | None = "layer",
    ):
        super().__init__()
        self.vectors = positive_int(vectors, "vectors")
        self.scalars = positive_int(scalars, "scalars", 0)
        self.out_vectors = positive_int(out_vectors, "out_vectors", 0)
        self.out_scalars = positive_int(out_scalars, "out_scalars", 0)
        require(out_vectors + out_scalars > 0, "VectorNetwork needs out_vectors or out_scalars of at least 1.")
        self.dimension = positive_int(dimension, "dimension")
        if proper and dimension not in (2, 3):
            raise InputError(f"proper=True uses cross products, which dimension {dimension} lacks: use 2 or 3.")
        if norm is not None:
            one_of(norm, ("layer",), "norm")
        self.pooled_vectors = pooled_vectors
        self.proper = proper
        mixed = max(positive_int(width, "width", 2) // 4, 4)
        self.lift_vectors = _Mixture(vectors, mixed)
        self.lift_scalars = _linear(self.scalars, width) if self.scalars else None
        size = dimension if proper else 0
        last = positive_int(depth, "depth") - 1
        self.rounds = nn.ModuleList(
            _Round(width, mixed, size, norm, moves=i < last or out_vectors > 0) for i in range(depth)
        )
        self.head_scalars = (
            nn.Sequential(_linear(width, width), nn.SiLU(), _linear(width, out_scalars)) if out_scalars else None
        )
        self.head_vectors = _Mixture(mixed + vectors, out_vectors) if out_vectors else None
        self.head_gates = _linear(width, out_vectors) if out_vectors else None

    def forward(
        self,
        vectors: Float[Tensor, "B N V d"],
        scalars: Float[Tensor, "B N S"] | None = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B *N W d"], Float[Tensor, "B N T"]]:
        self._check(vectors, scalars, mask)
        b, n = vectors.shape[:2]
        given = cleared(vectors, mask)
        v = self.lift_vectors(given)
        width = self.rounds[0].width
        h = v.new_zeros(b, n, width)
        if self.lift_scalars is not None and scalars is not None:
            h = self.lift_scalars(cleared(scalars, mask))
        for layer in self.rounds:
            h, v = layer(h, v, mask)
        out_scalars = h.new_zeros(b, n, 0)
        if self.head_scalars is not None:
            out_scalars = cleared(self.head_scalars(h), mask)
        return self._vectors(h, v, given, mask), out_scalars

    def _vectors(self, h: Tensor, v: Tensor, given: Tensor, mask: Tensor | None) -> Tensor:
        b, n = h.shape[:2]
        if self.head_vectors is None or self.head_gates is None:
            out = h.new_zeros(b, n, 0, self.dimension)
        else:
            out = self.head_vectors(torch.cat([v, given], dim=2)) * (1 + self.head_gates(h)).unsqueeze(-1)
        out = cleared(out, mask)
        return out.sum(1) / counted(out, mask) if self.pooled_vectors else out

    def _check(self, vectors: Tensor, scalars: Tensor | None, mask: Tensor | None) -> None:
        require(
            vectors.ndim == 4 and tuple(vectors.shape[2:]) == (self.vectors, self.dimension),
            f"VectorNetwork takes vectors (B, N, {self.vectors}, {self.dimension}), got {tuple(vectors.shape)}.",
        )
        if self.scalars:
            need = (*vectors.shape[:2], self.scalars)
            given = None if scalars is None else tuple(scalars.shape)
            require(given == need, f"VectorNetwork takes scalars {need} with these vectors, got {given}.")
        else:
            require(
                scalars is None or scalars.shape[-1] == 0,
                "This VectorNetwork was made with scalars=0 and takes none; got scalars of shape "
                f"{None if scalars is None else tuple(scalars.shape)}.",
            )
        if mask is not None:
            check_mask(mask, tuple(vectors.shape[:2]), "point")

    def extra_repr(self) -> str:
        where = "of the cloud" if self.pooled_vectors else "a point"
        return (
            f"{self.vectors} vectors + {self.scalars} scalars -> {self.out_vectors} vectors {where} + "
            f"{self.out_scalars} scalars, {'SO' if self.proper else 'O'}({self.dimension})"
        )


def _linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """With weights that keep the size of what passes: torch's default shrinks it threefold a layer, and scores
    that differ by a hundredth are next to ties."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / max(in_features, 1)))
    return layer


class _Mixture(nn.Module):
    """`y_c = sum_k W_ck x_k` over vectors: linear maps that commute with every matrix on the last axis."""

    def __init__(self, in_vectors: int, out_vectors: int):
        super().__init__()
        # Mixtures are as long as what they mix: products of three of them must not vanish at the start.
        self.weight = nn.Parameter(torch.randn(out_vectors, in_vectors) / math.sqrt(max(in_vectors, 1)))

    def forward(self, x: Float[Tensor, "*batch V d"]) -> Float[Tensor, "*batch W d"]:
        return self.weight @ x


class _Round(nn.Module):
    """One exchange of messages between all pairs of points, then one step inside each point."""

    def __init__(self, width: int, mixed: int, size: int, norm: str | None, moves: bool):
        super().__init__()
        self.width, self.size = width, size
        self.places = _Mixture(mixed, mixed)
        self.receiver = _linear(width, width)
        self.sender = _linear(width, width, bias=False)
        self.geometry = _linear(2 * mixed, width, bias=False)
        self.message = _linear(width, width)
        self.force = _linear(width, mixed) if moves else None
        self.turned = _Mixture(mixed, mixed) if size and moves else None
        self.inner = _Mixture(mixed, 3 * mixed)
        self.update = nn.Sequential(
            _linear(2 * width + (3 if size else 2) * mixed, width), nn.SiLU(), _linear(width, width)
        )
        self.gates = _linear(width, 2 * mixed) if moves else None
        self.norm = None if norm is None else nn.LayerNorm(width)
        self.scaled = norm is not None

    def forward(
        self, h: Float[Tensor, "B N W"], v: Float[Tensor, "B N V d"], mask: Bool[Tensor, "B N"] | None
    ) -> tuple[Float[Tensor, "B N W"], Float[Tensor, "B N V d"]]:
        messages, apart = self._messages(h, v)
        inside = None if mask is None else mask.reshape(mask.shape[0], 1, mask.shape[1], 1)
        count = counted(messages, mask)
        if inside is not None:
            messages = messages * inside
        heard = messages.sum(2) / count
        a, b, c = self.inner(v).chunk(3, dim=2)
        invariants = [smooth_norm(a), torch.tanh((a * b).sum(-1))]
        if self.size:
            invariants.append(torch.tanh((turned(a, b) * c).sum(-1)))
        h = h + self.update(torch.cat([h, heard, *invariants], dim=-1))
        h = h if self.norm is None else self.norm(h)
        if self.force is None or self.gates is None:
            return h, v
        weights = self.force(messages)
        if inside is not None:
            weights = weights * inside
        # sum_j w_ij (p_i - p_j), without the differences of all pairs in memory
        pull = weights.sum(2).unsqueeze(-1) * apart - torch.einsum("bijv,bjvd->bivd", weights, apart)
        keep, mix = self.gates(h).chunk(2, dim=-1)
        v = v * (1 + keep).unsqueeze(-1) + b * mix.unsqueeze(-1) + pull / count.unsqueeze(-1)
        if self.turned is not None:
            v = v + self.turned(turned(a, b))
        if self.scaled:
            v = v / (1 + v.square().sum(-1).mean(-1)).sqrt()[..., None, None]
        return h, v

    def _messages(self, h: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`silu(M silu(...))` for every pair, and the places that distances were taken between."""
        p = self.places(v)
        products = torch.einsum("bivd,bjvd->bijv", p, p)
        squares = p.square().sum(-1)
        distances = (squares.unsqueeze(2) + squares.unsqueeze(1) - 2 * products).clamp_min(0)
        geometry = torch.cat([distances / (1 + (1 + distances).sqrt()), torch.tanh(products)], dim=-1)
        first = self.receiver(h).unsqueeze(2) + self.sender(h).unsqueeze(1) + self.geometry(geometry)
        silu = nn.functional.silu
        return silu(self.message(silu(first))), p


def smooth_norm(v: Float[Tensor, "*batch d"]) -> Float[Tensor, " *batch"]:
    """`sqrt(1 + |v|^2) - 1`, without cancellation: smooth at zero, linear far out."""
    square = v.square().sum(-1)
    return square / (1 + (1 + square).sqrt())


def turned(a: Float[Tensor, "*batch d"], b: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """What rotations and not reflections commute with, scaled to stay small: in space `a x b`, in the plane
    the quarter turn of `a`."""
    if a.shape[-1] == 2:
        return torch.stack([-a[..., 1], a[..., 0]], dim=-1)
    cross = torch.linalg.cross(a, b)
    return cross / (1 + cross.square().sum(-1, keepdim=True)).sqrt()
