"""Networks on the nodes that are there, taken out of their padding; statistics of those alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from equilearn._check import one_of


@dataclass(frozen=True)
class Rows:
    """Where the nodes lie that are there: `pack` takes them out, `unpack` puts them back among zeros."""

    shape: tuple[int, int]
    index: Int[Tensor, " M"] | None

    @staticmethod
    def of(x: Float[Tensor, "B N C"], mask: Bool[Tensor, "B N"] | None) -> Rows:
        """All nodes where there is no mask."""
        return Rows((x.shape[0], x.shape[1]), None if mask is None else mask.flatten().nonzero().squeeze(1))

    def pack(self, h: Float[Tensor, "B N C"]) -> Float[Tensor, "M C"]:
        flat = h.flatten(0, 1)
        return flat if self.index is None else flat.index_select(0, self.index)

    def unpack(self, rows: Float[Tensor, "M C"]) -> Float[Tensor, "B N C"]:
        b, n = self.shape
        if self.index is not None:
            rows = rows.new_zeros(b * n, rows.shape[1]).index_copy(0, self.index, rows)
        return rows.reshape(b, n, rows.shape[1])


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows `(M, C)`; with fewer than two rows by the running statistics."""

    def forward(self, input: Float[Tensor, "M C"]) -> Float[Tensor, "M C"]:
        if self.training and len(input) < 2:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


def normalisation(kind: str | None, width: int) -> nn.Module:
    """`"batch"`, `"layer"` or None, for rows `(M, width)`."""
    if kind is None:
        return nn.Identity()
    one_of(kind, ("batch", "layer"), "norm")
    return RowNorm(width) if kind == "batch" else nn.LayerNorm(width)


def uniform_parameter(*shape: int) -> nn.Parameter:
    """Uniform in [0, 1], from torch's generator as all initial weights are."""
    return nn.Parameter(torch.rand(*shape))
