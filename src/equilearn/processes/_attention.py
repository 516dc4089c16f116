"""Attention whose scores may depend on differences of locations, in memory linear in heads."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from equilearn._check import positive_int, require

CHUNK = 1 << 22
"""Numbers of the largest temporary of the score network."""


class Attention(nn.Module):
    """Queries from one set, keys and values from another; keys that are masked are never seen.

    Arguments:
        width: of tokens.
        heads: divides the width.
        difference: numbers that say where a query lies from a key, of which the scores depend through a small network
            `mu(scores, difference)`; 0 for scores alone.

    Where all keys are masked, or there are none, the result is zero.

    Cost O(B N K width), with differences O(B N K hidden^2); memory O(B heads N K): what the score network makes on the
    way is made again in the backward pass, some queries at a time, and never kept.

    Source: Vaswani et al. 2017; scores of differences: Ashman et al. 2024, Translation Equivariant Transformer Neural
    Processes, equation 7.
    """

    def __init__(self, width: int, heads: int = 8, difference: int = 0, hidden: int = 32):
        super().__init__()
        positive_int(heads, "heads")
        require(width % heads == 0, f"width must be a multiple of heads, got {width} and {heads}.")
        self.heads, self.hidden = heads, hidden
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=i == 3) for i in range(4))
        self.score: nn.Sequential | None = None
        if difference:
            self.score = nn.Sequential(
                nn.Linear(heads + difference, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, heads),
            )

    def forward(
        self,
        to: Float[Tensor, "B N W"],
        of: Float[Tensor, "B K W"],
        mask: Bool[Tensor, "B K"],
        difference: Difference | None = None,
    ) -> Float[Tensor, "B N W"]:
        if of.shape[1] == 0 or to.shape[1] == 0:
            return torch.zeros_like(to)
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, to), (self.key, of), (self.value, of))
        )  # (B, H, N or K, W / H)
        some = mask.any(1)
        seen = mask | ~some[:, None]  # a softmax over nothing is not a number
        if self.score is None or difference is None:
            found = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
        else:
            scores = self._scores(q, k, difference).masked_fill(~seen[:, None, None, :], -math.inf)
            found = scores.softmax(-1) @ v
        found = self.out(found.transpose(1, 2).flatten(-2))
        return torch.where(some[:, None, None], found, 0)

    def _scores(self, q: Tensor, k: Tensor, difference: Difference) -> Float[Tensor, "B H N K"]:
        plain = q @ k.mT / math.sqrt(q.shape[-1])
        step = max(1, CHUNK // max(1, len(q) * k.shape[2] * self.hidden))
        parts = []
        for start in range(0, q.shape[2], step):
            rows = slice(start, start + step)
            given = (plain[:, :, rows], difference.to[:, rows], difference.of)
            if torch.is_grad_enabled():
                parts.append(
                    checkpoint(self._bent, *given, difference.distance, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                parts.append(self._bent(*given, difference.distance))
        return torch.cat(parts, 2)

    def _bent(self, plain: Tensor, to: Tensor, of: Tensor, distance: bool) -> Tensor:
        apart = to[:, :, None] - of[:, None]
        apart = apart.square().sum(-1, keepdim=True) if distance else apart
        return self.score(torch.cat([plain.movedim(1, -1), apart], -1)).movedim(-1, 1)  # type: ignore[misc]


class Difference:
    """Where queries and keys lie; as vectors between them, or as squared distances."""

    def __init__(self, to: Float[Tensor, "B N X"], of: Float[Tensor, "B K X"], distance: bool = False):
        self.to, self.of, self.distance = to, of, distance

    def turned(self) -> Difference:
        """From keys to queries."""
        return Difference(self.of, self.to, self.distance)


class Block(nn.Module):
    """Attention and a pointwise network, each on normalised tokens and added to what was there."""

    def __init__(self, width: int, heads: int, difference: int = 0):
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, difference)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(
        self, to: Tensor, of: Tensor, mask: Tensor, difference: Difference | None = None
    ) -> Float[Tensor, "B N W"]:
        to = to + self.attention(self.norm(to), self.norm(of), mask, difference)
        return to + self.mlp(self.inner(to))
