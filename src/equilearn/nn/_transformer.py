"""Plain transformers: base networks that know nothing of the symmetry, to be given one from outside."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, positive_int, require
from equilearn.nn._graph_batch import check_mask, cleared, counted, with_mask


class TokenTransformer(nn.Module):
    """A pre-norm transformer over tokens.

    Arguments:
        in_features: features a token.
        out_features: features of the result.
        tokens: number of tokens, each with a learned position, which tells them apart; None for any number
            without positions, so that the network commutes with permutations of the tokens.
        width: of the tokens inside.
        depth: layers.
        heads: of the attention; they divide `width`.
        feedforward: width inside the two-layer networks of the tokens; default `width`.
        pooled: one result `(B, out_features)` from the mean over the tokens; False for one a token.
        dropout: share of features that training leaves out.

    A layer is `x + attention(norm(x))`, then `x + MLP(norm(x))` with GELU. After a last norm, two linear layers
    with ReLU give the result. Tokens of a smaller number are told apart by a mask, beside `x (B, T, in_features)`
    or in one tuple `(x, mask)`; what lies in the padding is never seen, and results are zero there.

    Raises `InputError` where shapes do not fit.

    Cost O(depth B T (T + width) width).

    Source: Vaswani et al. 2017; pre-norm: Xiong et al. 2020.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> eq.nn.TokenTransformer(3, 2, tokens=10, depth=1)(torch.randn(4, 10, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        tokens: int | None = None,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        feedforward: int | None = None,
        pooled: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        self.out_features = positive_int(out_features, "out_features")
        self.tokens = tokens if tokens is None else positive_int(tokens, "tokens")
        require(
            positive_int(width, "width") % positive_int(heads, "heads") == 0,
            f"heads must divide width; {heads} does not divide {width}.",
        )
        require(0 <= dropout < 1, f"dropout is a share from 0 to below 1, got {dropout}.")
        self.pooled = pooled
        inside = width if feedforward is None else positive_int(feedforward, "feedforward")
        self.lift = nn.Linear(in_features, width)
        self.places = None if tokens is None else nn.Parameter(torch.randn(tokens, width))
        self.layers = nn.ModuleList(_Layer(width, heads, inside, dropout) for _ in range(positive_int(depth, "depth")))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out_features))

    def forward(
        self, x: Float[Tensor, "B T C"] | tuple[Tensor, ...], mask: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B *T out_features"]:
        x, mask = with_mask(x, mask, "TokenTransformer")
        y = self.encode(x, mask)
        if self.pooled:
            y = cleared(y, mask)
            return self.head(y.sum(1) / counted(y, mask))
        return cleared(self.head(y), mask)

    def encode(self, x: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T W"]:
        """The tokens after the last norm."""
        self._check(x, mask)
        h = self.lift(cleared(x, mask))
        if self.places is not None:
            h = h + self.places
        for layer in self.layers:
            h = layer(h, mask)
        return self.norm(h)

    def _check(self, x: Tensor, mask: Tensor | None) -> None:
        count = "T" if self.tokens is None else self.tokens
        require(
            x.ndim == 3 and x.shape[2] == self.in_features and self.tokens in (None, x.shape[1]),
            f"TokenTransformer takes tokens (B, {count}, {self.in_features}), got {tuple(x.shape)}.",
        )
        if not x.is_floating_point():
            raise InputTypeError(f"TokenTransformer takes floating-point tokens, got {x.dtype}.")
        if mask is not None:
            check_mask(mask, tuple(x.shape[:2]), "token")

    def extra_repr(self) -> str:
        count = "any number of tokens" if self.tokens is None else f"{self.tokens} tokens"
        return f"{self.in_features} -> {self.out_features}, {count}"


class _Layer(nn.Module):
    """Attention between tokens, then a network inside each, both on top of what was there."""

    def __init__(self, width: int, heads: int, inside: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.Linear(width, inside), nn.GELU(), nn.Dropout(dropout), nn.Linear(inside, width), nn.Dropout(dropout)
        )
        self.leave_out = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T W"], mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, "B T W"]:
        x = x + self.leave_out(self.join(self._attend(self.before_attention(x), mask)))
        return x + self.network(self.before_network(x))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Float[Tensor, "B T W"]:
        if x.numel() == 0:
            return x
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.mix(x).chunk(3, dim=-1))
        seen = None
        if mask is not None:
            # A sample without any token sees all of its (zero) padding: a softmax over nothing is no number.
            seen = (mask | ~mask.any(1, keepdim=True))[:, None, None, :]
        share = self.leave_out.p if self.leave_out.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=share)
        return mixed.transpose(1, 2).flatten(2)


class PairTransformer(nn.Module):
    """A plain transformer over all pairs of points: the base model for interacting bodies.

    Arguments:
        points: number of points N; there are N^2 tokens with learned positions.
        vectors, scalars, dimension: what a point holds, as in `actions.points`.
        out_features: None for new positions `(B, N, dimension)`, computed as displacements; otherwise features
            a point, `(B, N, out_features)`.
        width, depth, heads, feedforward, dropout: of the transformer.

    Takes `(B, N, d + vectors d + scalars)`. The token of a pair holds the products of the scalars of both and
    their squared distance, on the diagonal position and vectors of the point and zeros else; the result is read
    off the diagonal. It knows neither rotations nor permutations. With five points, one vector, one scalar and
    the defaults it has 208,387 parameters, as published.

    Raises `InputError` where the data have another shape.

    Cost O(depth B N^2 (N^2 + width) width).

    Source: Kim et al. 2023 (the n-body base model).

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.PairTransformer(5, vectors=1, scalars=1)
        >>> net(torch.randn(2, 5, 7)).shape, sum(p.numel() for p in net.parameters())
        (torch.Size([2, 5, 3]), 208387)
    """

    def __init__(
        self,
        points: int,
        *,
        vectors: int = 0,
        scalars: int = 0,
        dimension: int = 3,
        out_features: int | None = None,
        width: int = 64,
        depth: int = 8,
        heads: int = 4,
        feedforward: int = 64,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.points = positive_int(points, "points")
        self.vectors = positive_int(vectors, "vectors", 0)
        self.scalars = positive_int(scalars, "scalars", 0)
        self.dimension = positive_int(dimension, "dimension")
        self.moves = out_features is None
        self.body = TokenTransformer(
            dimension * (1 + vectors) + scalars + 1,
            dimension if out_features is None else out_features,
            tokens=points**2,
            width=width,
            depth=depth,
            heads=heads,
            feedforward=feedforward,
            pooled=False,
            dropout=dropout,
        )

    def forward(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N W"]:
        d, n = self.dimension, self.points
        need = (n, d * (1 + self.vectors) + self.scalars)
        require(
            isinstance(x, Tensor) and x.ndim == 3 and tuple(x.shape[1:]) == need,
            f"PairTransformer takes points (B, {need[0]}, {need[1]}), got "
            f"{tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__}.",
        )
        own, scalars = x[..., : d * (1 + self.vectors)], x[..., d * (1 + self.vectors) :]
        places = x[..., :d]
        diagonal = torch.diag_embed(own.transpose(1, 2)).permute(0, 2, 3, 1)
        others = 1 - torch.eye(n, dtype=x.dtype, device=x.device).unsqueeze(-1)
        products = scalars.unsqueeze(2) * scalars.unsqueeze(1) * others
        distances = (places.unsqueeze(2) - places.unsqueeze(1)).square().sum(-1, keepdim=True)
        tokens = torch.cat([diagonal, products, distances], dim=-1).flatten(1, 2)
        # Only the diagonal is read: the head need not see the rest.
        y = self.body.head(self.body.encode(tokens)[:, :: n + 1])
        return places + y if self.moves else y
