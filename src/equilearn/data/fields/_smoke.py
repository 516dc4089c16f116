"""Plumes of smoke as fields: the laws of flow are the same everywhere, walls and an obstacle are not."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, finite, positive_int, require
from equilearn.data._cache import cached
from equilearn.data.fields._patches import divide, observed_patches, range_of
from equilearn.data.fields._plume import INFLOW, OBSTACLE, Box, Sources
from equilearn.data.fields._sets import FieldTask

PLACES = (30.0, 64.0, 110.0)
HEIGHT = 5.0
RADIUS = (5.0, 30.0)
BUOYANCY = (0.1, 0.5)
STEPS, DT = 35, 0.5
CHUNK = 2**18
"""Cells simulated together: what they need stays near the cache."""
WORTH_KEEPING = 50


def draw_sources(count: int, generator: torch.Generator) -> Sources:
    """Sources at one of three places at the bottom, of radius 5 to 30 and buoyancy 0.1 to 0.5."""
    made = {"generator": generator, "device": generator.device}
    place = torch.randint(len(PLACES), (count,), **made).cpu()
    unit = torch.rand(2, count, dtype=torch.float64, **made).cpu()
    x = torch.tensor(PLACES, dtype=torch.float64)[place]
    radius, buoyancy = (low + (high - low) * u for (low, high), u in zip((RADIUS, BUOYANCY), unit, strict=True))
    return Sources(x, torch.full_like(x, HEIGHT), radius, buoyancy)


def smoke_fields(count: int, generator: torch.Generator, *, size: int = 128) -> Float[Tensor, "count H W"]:
    """Smoke of random plumes after 35 steps of half a unit of time in a closed box with a ball in its upper half.

    The box measures 128, whatever the number of cells: a smaller size is the same experiment, coarser. Sources have
    radius U[5, 30] at x in {30, 64, 110}, y = 5, and buoyancy U[0.1, 0.5]. Row 0 is the bottom.

    Args:
        count: number of plumes.
        generator: of the sources.
        size: cells along a side: 128 as published, 64 for quick studies.

    Returns:
        `(count, size, size)`, float32, 0 inside the ball; about 77 % of the air is clear.

    Raises:
        InputError: no plume, or fewer than 8 cells along a side.

    Cost: on one core 0.08 s a plume for 64 x 64, 0.35 s for 128 x 128. More than 50 are kept in the cache folder.

    Source: the experiment of Ashman et al., Approximately Equivariant Neural Processes (2024), section 5.2, by a solver
        of our own (staggered grid, semi-Lagrangian by the midpoint rule, exact projection). Where the ball lies and how
        much smoke a source gives are not published; they are chosen so that half of the plumes reach the ball.

    Example:
        >>> smoke = smoke_fields(2, torch.Generator().manual_seed(0), size=16)
        >>> smoke.shape, bool((smoke >= 0).all())
        (torch.Size([2, 16, 16]), True)
    """
    sources = draw_sources(positive_int(count, "count"), generator)
    positive_int(size, "size", 8)
    if count <= WORTH_KEEPING:
        return _simulated(sources, size)
    drawn = torch.stack([sources.x, sources.radius, sources.buoyancy])
    recipe = {
        "sources": hashlib.sha256(drawn.numpy().astype("<f8").tobytes()).hexdigest(),
        **{"size": size, "inflow": INFLOW, "ball": list(OBSTACLE), "steps": STEPS, "torch": torch.__version__},
        **{"numpy": np.__version__, "version": 1},
    }
    build = lambda: {"smoke": _simulated(sources, size)}  # noqa: E731
    return cached("smoke", recipe, {"smoke": (count, size, size)}, build)["smoke"]


def _simulated(sources: Sources, size: int) -> Tensor:
    box = Box(size)
    step = max(1, CHUNK // size**2)
    parts = []
    for start in range(0, len(sources.x), step):
        some = Sources(*(value[start : start + step] for value in vars(sources).values()))
        parts.append(box.simulate(some, STEPS, DT)[0].float())
    return torch.cat(parts)


def smoke_tasks(
    fields: Float[Tensor, "S H W"],
    batch: int,
    generator: torch.Generator,
    *,
    patch: tuple[int, int] = (32, 32),
    context: int | tuple[int, int] = (10, 250),
    target: int | tuple[int, int] | None = None,
    clear: bool = True,
) -> FieldTask:
    """Random patches of random fields, of which some cells are seen and the others are to be predicted.

    Args:
        fields: as `smoke_fields` gives them, or any other.
        batch: number of tasks.
        generator: of all randomness.
        patch: rows and columns; as published (32, 32) for 128 x 128 cells. Take (16, 16) for 64 x 64.
        context: how many cells are seen, or the least and most.
        target: how many are to be predicted, or the least and most; all the others by default.
        clear: whether patches may be without any smoke.

    Returns:
        Tasks whose locations are `(row, column)` in cells from the bottom left corner of the field, not of the patch.

    Raises:
        InputError: a patch larger than the fields, an empty range, no cell left for a target, values in a patch drawn
            that are not finite; no smoke anywhere where patches must have some.

    Cost: O(batch P log P) for patches of P cells.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> task = smoke_tasks(torch.rand(5, 16, 16), 4, generator, patch=(8, 8), context=(5, 20))
        >>> (task.context.count + task.target.count).tolist()
        [64, 64, 64, 64]
    """
    if not isinstance(fields, Tensor):
        raise InputTypeError(f"fields must be a tensor (S, H, W), got {type(fields).__name__}.")
    require(
        fields.ndim == 3 and fields.is_floating_point() and fields.numel() > 0,
        f"fields must be (S, H, W), floating-point and not empty, got {fields.dtype} {tuple(fields.shape)}.",
    )
    positive_int(batch, "batch")
    require(isinstance(patch, tuple | list) and len(patch) == 2, f"patch must be (rows, columns), got {patch!r}.")
    h, w = (positive_int(n, "patch") for n in patch)
    require(
        h <= fields.shape[1] and w <= fields.shape[2],
        f"A patch of {h} x {w} cells does not fit into fields of {fields.shape[1]} x {fields.shape[2]}.",
    )
    seen, wanted = range_of(context, "context"), None if target is None else range_of(target, "target", 1)
    least = seen[0] + 1
    require(least <= h * w, f"Of {h * w} cells {seen[0]} are to be seen: none is left to be predicted.")
    sizes = (len(fields), fields.shape[1] - h + 1, fields.shape[2] - w + 1)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        which, row, column = (
            torch.randint(many, (n,), generator=generator, device=generator.device).to(fields.device) for many in sizes
        )
        rows = (row[:, None] + torch.arange(h, device=fields.device))[:, :, None].expand(n, h, w)
        columns = (column[:, None] + torch.arange(w, device=fields.device))[:, None].expand(n, h, w)
        y = finite(fields[which[:, None, None], rows, columns], "fields").flatten(1).unsqueeze(-1)
        if not clear:  # air without smoke counts as not observed, and is drawn again
            y = torch.where((y > 0.01).any(1, keepdim=True), y, torch.nan)
        return torch.stack([rows, columns], -1).flatten(1, 2).to(y), y

    x, y, observed = observed_patches(draw, batch, least)
    return divide(x, y, observed, seen, wanted, generator)
