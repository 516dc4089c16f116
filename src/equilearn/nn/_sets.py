"""Functions of sets: invariant under every permutation of their members, or equivariant."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, one_of, positive_int, require


class DeepSets(nn.Module):
    """A function of a set of points, whatever their order and number.

    Arguments:
        in_features: features a point.
        out_features: features of the result.
        width: hidden features.
        depth: set layers before the readout.
        equivariant: one result a point, `(B, N, out_features)`, instead of one a set.
        pooling: `"mean"` or `"sum"` (counts points) or `"max"` of the points' features.

    A set layer is `silu(A x_i + B pool_j x_j)`. The invariant result is an MLP of the pooled
    features. Sets of different sizes are padded to one length and told apart by `mask`. What the
    padding holds is never seen: a padded set gives what the set alone gives, and an empty set the
    pooled value zero. The equivariant result is zero at padding.

    Raises `InputError` where the shapes of `x` and `mask` do not fit.

    Cost O(B N width^2 depth).

    Source: Zaheer et al. 2017, theorem 2 and equation 4.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> net = eq.nn.DeepSets(3, 10)
        >>> x = torch.randn(2, 5, 3)
        >>> net(x).shape, bool(torch.allclose(net(x), net(x.flip(1)), atol=1e-5))
        (torch.Size([2, 10]), True)
        >>> lengths = torch.tensor([3, 5])
        >>> mask = torch.arange(5) < lengths[:, None]
        >>> torch.allclose(net(x, mask)[0], net(x[:1, :3])[0], atol=1e-5)
        True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int = 64,
        depth: int = 2,
        equivariant: bool = False,
        pooling: Literal["mean", "sum", "max"] = "mean",
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        self.out_features = positive_int(out_features, "out_features")
        positive_int(width, "width")
        self.equivariant = equivariant
        self.pooling = one_of(pooling, ("mean", "sum", "max"), "pooling")
        widths = [in_features, *[width] * positive_int(depth, "depth")]
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.others = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.head = nn.Sequential(
            nn.Linear(2 * width if equivariant else width, width), nn.SiLU(), nn.Linear(width, out_features)
        )

    def forward(
        self, x: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B *N out_features"]:
        self._check(x, mask)
        if mask is not None:
            # Padding may hold anything, NaN too, which would enter the gradients of the weights.
            x = torch.where(mask.unsqueeze(-1), x, torch.zeros_like(x))
        for own, others in zip(self.own, self.others, strict=True):
            x = nn.functional.silu(own(x) + others(self._pool(x, mask)).unsqueeze(1))
        pooled = self._pool(x, mask)
        if not self.equivariant:
            return self.head(pooled)
        y = self.head(torch.cat([x, pooled.unsqueeze(1).expand_as(x)], dim=-1))
        return y if mask is None else torch.where(mask.unsqueeze(-1), y, torch.zeros_like(y))

    def _pool(self, x: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B D"]:
        if x.shape[1] == 0:
            return x.new_zeros(x.shape[0], x.shape[2])
        inside = None if mask is None else mask.unsqueeze(-1)
        if self.pooling == "max":
            if inside is None:
                return x.amax(1)
            best = torch.where(inside, x, torch.full_like(x, -torch.inf)).amax(1)
            return torch.where(inside.any(1), best, torch.zeros_like(best))
        total = x.sum(1) if inside is None else torch.where(inside, x, torch.zeros_like(x)).sum(1)
        if self.pooling == "sum":
            return total
        count = x.shape[1] if inside is None else inside.sum(1).clamp_min(1).to(x.dtype)
        return total / count

    def _check(self, x: Tensor, mask: Tensor | None) -> None:
        require(
            x.ndim == 3 and x.shape[2] == self.in_features,
            f"DeepSets takes sets (B, N, {self.in_features}), got {tuple(x.shape)}.",
        )
        if mask is None:
            return
        if mask.dtype != torch.bool:
            raise InputTypeError(f"mask must be of dtype bool, True at points that are there; got {mask.dtype}.")
        require(
            mask.shape == x.shape[:2],
            f"mask must have shape {tuple(x.shape[:2])}, one entry a point, got {tuple(mask.shape)}.",
        )

    def extra_repr(self) -> str:
        kind = "equivariant" if self.equivariant else "invariant"
        return f"{self.in_features} -> {self.out_features}, {kind}, pooling={self.pooling!r}"
