"""Processes of attention: with locations in the tokens (no symmetry), or in differences (equivariant)."""

from __future__ import annotations

from itertools import zip_longest

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import positive_int, require
from equilearn.data.fields import PointSet
from equilearn.processes._attention import Block, Difference
from equilearn.processes._base import NeuralProcess
from equilearn.processes._cnp import mlp
from equilearn.relaxation import FixedInputs


class TNP(NeuralProcess):
    """The transformer neural process: tokens hold locations. No symmetry.

    Context tokens attend to each other, target tokens to the context, layer by layer with the same weights.

    Arguments:
        dims, channels: coordinates of a location, values there.
        width: of tokens.
        depth: layers.
        heads: of attention.

    Cost O(B depth (C + T) (C width + width^2)) for C context and T target points.

    Source: Nguyen and Grover 2022 (TNP-D).

    Example:
        >>> from equilearn.data.fields import FieldTask, PointSet
        >>> seen = PointSet(torch.rand(2, 5, 1), torch.rand(2, 5, 1))
        >>> TNP(1, width=16, depth=1, heads=2)(FieldTask(seen, seen)).std.shape
        torch.Size([2, 5, 1])
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        min_std: float = 0.01,
    ):
        super().__init__(dims, channels, min_std)
        self.embed = mlp(dims + channels + 1, width, width, 2)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(positive_int(depth, "depth")))
        self.head = nn.Sequential(nn.LayerNorm(width), mlp(width, 2 * channels, width, 1))

    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        seen, wanted = self.tokens(context, targets)
        for i, block in enumerate(self.blocks):
            wanted = block(wanted, seen, context.mask)
            if i + 1 < len(self.blocks):
                seen = block(seen, seen, context.mask)
        return self.head(wanted)

    def tokens(self, context: PointSet, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`[x, y, 1]` of what was seen, `[x, 0, 0]` of what is wanted, embedded."""
        seen = torch.cat([context.x, context.y, torch.ones_like(context.x[..., :1])], -1)
        wanted = torch.cat([targets, targets.new_zeros(*targets.shape[:2], self.channels + 1)], -1)
        return self.embed(seen), self.embed(wanted)


class PTTNP(TNP):
    """The same with pseudo-tokens between context and targets: for many points.

    Arguments:
        pseudo: number of pseudo-tokens.

    The others as of `TNP`. Cost O(B depth (C + T) (pseudo width + width^2)).

    Source: Feng et al. 2023 (LBANP), Ashman et al. 2024 (IST-PT-TNP).

    Example:
        >>> PTTNP(2, pseudo=8, width=16, depth=1, heads=2).pseudo.shape
        torch.Size([8, 16])
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        pseudo: int = 32,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        min_std: float = 0.01,
    ):
        super().__init__(dims, channels, width=width, depth=depth, heads=heads, min_std=min_std)
        self.pseudo = nn.Parameter(torch.randn(positive_int(pseudo, "pseudo"), width))
        self.gather = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.spread = nn.ModuleList(Block(width, heads) for _ in range(depth - 1))

    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        seen, wanted = self.tokens(context, targets)
        pseudo = self.pseudo.expand(len(targets), -1, -1)
        every = torch.ones(pseudo.shape[:2], dtype=torch.bool, device=pseudo.device)
        for block, gather, spread in zip_longest(self.blocks, self.gather, self.spread):
            pseudo = gather(pseudo, seen, context.mask)
            wanted = block(wanted, pseudo, every)
            if spread is not None:
                seen = spread(seen, pseudo, every)
        return self.head(wanted)


class TETNP(NeuralProcess):
    """The transformer process that is equivariant under shifts: tokens hold values, scores differences of locations.

    Exact for any shift, without a lattice. With fixed inputs, which are added to the tokens of the context, it can bend
    where there is a context.

    Arguments:
        dims, channels: coordinates of a location, values there.
        width, depth, heads: as of `TNP`.
        distance: scores of squared distances instead of vectors: equivariant under turns and mirrors as well.
        fixed: `FixedInputs` with `out=width`, or None for a strictly equivariant process.

    Cost O(B depth (C + T) C hidden^2) for C context and T target points; memory linear in heads, not in width.

    Source: Ashman et al. 2024, Translation Equivariant Transformer Neural Processes.

    Example:
        >>> from equilearn.data.fields import FieldTask, PointSet
        >>> seen = PointSet(torch.rand(2, 5, 1, dtype=torch.float64), torch.rand(2, 5, 1, dtype=torch.float64))
        >>> process, task = TETNP(1, width=16, depth=1, heads=2).double(), FieldTask(seen, seen)
        >>> shifted = process(task.moved(lambda x: x + 0.3))
        >>> torch.allclose(shifted.mean, process(task).mean)
        True
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        distance: bool = False,
        fixed: FixedInputs | None = None,
        min_std: float = 0.01,
    ):
        super().__init__(dims, channels, min_std)
        self.distance = distance
        self.embed = mlp(channels + 1, width, width, 2)
        apart = 1 if distance else dims
        self.blocks = nn.ModuleList(Block(width, heads, apart) for _ in range(positive_int(depth, "depth")))
        self.head = nn.Sequential(nn.LayerNorm(width), mlp(width, 2 * channels, width, 1))
        self.fixed = fitting(fixed, dims, width)

    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        seen, wanted = self.tokens(context, targets)
        if self.fixed is not None:
            seen = self.fixed.add_to(seen, context.x)
        across = Difference(targets, context.x, self.distance)
        among = Difference(context.x, context.x, self.distance)
        for i, block in enumerate(self.blocks):
            wanted = block(wanted, seen, context.mask, across)
            if i + 1 < len(self.blocks):
                seen = block(seen, seen, context.mask, among)
        return self.head(wanted)

    def tokens(self, context: PointSet, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`[y, 1]` of what was seen, `[0, 0]` of what is wanted, embedded."""
        seen = self.embed(torch.cat([context.y, torch.ones_like(context.y[..., :1])], -1))
        wanted = self.embed(targets.new_zeros(*targets.shape[:2], self.channels + 1))
        return seen, wanted


class TEPTTNP(TETNP):
    """The same with pseudo-tokens, which lie around the mean of the context: for many points.

    Arguments:
        pseudo: number of pseudo-tokens.
        spread: standard deviation of their initial places, in units of the locations.

    The others as of `TETNP`; fixed inputs are added to the pseudo-tokens where these lie. Their places do not turn
    with the data: it commutes with shifts alone. With an empty context they lie around each task's first target.

    Cost O(B depth (C + T) pseudo hidden^2).

    Example:
        >>> TEPTTNP(2, pseudo=8, width=16, depth=1, heads=2).places.shape
        torch.Size([8, 2])
    """

    def __init__(
        self,
        dims: int,
        channels: int = 1,
        *,
        pseudo: int = 32,
        spread: float = 1.0,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        fixed: FixedInputs | None = None,
        min_std: float = 0.01,
    ):
        super().__init__(dims, channels, width=width, depth=depth, heads=heads, fixed=fixed, min_std=min_std)
        require(spread > 0, f"spread must be positive, got {spread}.")
        self.pseudo = nn.Parameter(torch.randn(positive_int(pseudo, "pseudo"), width))
        self.places = nn.Parameter(spread * torch.randn(pseudo, dims))
        self.gather = nn.ModuleList(Block(width, heads, dims) for _ in range(depth))
        self.spread = nn.ModuleList(Block(width, heads, dims) for _ in range(depth - 1))

    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        seen, wanted = self.tokens(context, targets)
        where = self.places + self._middle(context, targets)[:, None]
        pseudo = self.pseudo.expand(len(targets), -1, -1)
        if self.fixed is not None:
            pseudo = self.fixed.add_to(pseudo, where)
        every = torch.ones(pseudo.shape[:2], dtype=torch.bool, device=pseudo.device)
        across, down = Difference(where, context.x), Difference(targets, where)
        for block, gather, spread in zip_longest(self.blocks, self.gather, self.spread):
            pseudo = gather(pseudo, seen, context.mask, across)
            wanted = block(wanted, pseudo, every, down)
            if spread is not None:
                seen = spread(seen, pseudo, every, across.turned())
        return self.head(wanted)

    def _middle(self, context: PointSet, targets: Tensor) -> Float[Tensor, "B X"]:
        count = context.count[:, None]
        seen = (context.x * context.mask[..., None]).sum(1) / count.clamp_min(1)
        wanted = targets[:, 0] if targets.shape[1] else torch.zeros_like(seen)
        return torch.where(count > 0, seen, wanted)


def fitting(fixed: FixedInputs | None, dims: int, width: int) -> FixedInputs | None:
    """The fixed inputs, checked."""
    require(
        fixed is None or (fixed.out == width and len(fixed.low) == dims),
        f"The fixed inputs must take {dims} coordinates to {width} channels (out={width}).",
    )
    return fixed
