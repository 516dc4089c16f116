"""Functions of sets: invariant under every permutation of their members, or equivariant."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equilearn._check import one_of, positive_int, require
from equilearn.nn._graph_batch import check_mask, cleared, pooled, with_mask


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
    features. Sets of different sizes are padded to one length and told apart by `mask`, given beside
    `x` or in one tuple `(x, mask)`. What the padding holds is never seen: a padded set gives what the
    set alone gives, and an empty set the pooled value zero. The equivariant result is zero at padding.

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
        self,
        x: Float[Tensor, "B N D"] | tuple[Tensor, Tensor],
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B *N out_features"]:
        x, mask = with_mask(x, mask, "DeepSets")
        self._check(x, mask)
        x = cleared(x, mask)
        for own, others in zip(self.own, self.others, strict=True):
            together = pooled(cleared(x, mask), mask, self.pooling)
            x = nn.functional.silu(own(x) + others(together).unsqueeze(1))
        together = pooled(cleared(x, mask), mask, self.pooling)
        if not self.equivariant:
            return self.head(together)
        return cleared(self.head(torch.cat([x, together.unsqueeze(1).expand_as(x)], dim=-1)), mask)

    def _check(self, x: Tensor, mask: Tensor | None) -> None:
        require(
            x.ndim == 3 and x.shape[2] == self.in_features,
            f"DeepSets takes sets (B, N, {self.in_features}), got {tuple(x.shape)}.",
        )
        if mask is not None:
            check_mask(mask, tuple(x.shape[:2]), "point")

    def extra_repr(self) -> str:
        kind = "equivariant" if self.equivariant else "invariant"
        return f"{self.in_features} -> {self.out_features}, {kind}, pooling={self.pooling!r}"
