"""Smoke that rises from a source and meets an obstacle, many plumes side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from equilearn._check import positive_int, require
from equilearn.data.fields._projection import Flow, Projection

SIDE = 128.0
"""Side of the box in units of length, whatever the number of cells."""
OBSTACLE = (64.0, 90.0, 16.0)
"""Centre (x, y) and radius of the ball in the upper half: half of the plumes reach it."""
INFLOW = 2.0
"""Smoke that a unit of time adds at the source."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Where smoke comes from, and how strongly it rises, of S plumes.

    Args:
        x, y, radius: of a disc.
        buoyancy: acceleration upwards for each unit of smoke.
    """

    x: Float[Tensor, "S"]
    y: Float[Tensor, "S"]
    radius: Float[Tensor, "S"]
    buoyancy: Float[Tensor, "S"]

    def __post_init__(self) -> None:
        shapes = {tuple(value.shape) for value in vars(self).values()}
        require(len(shapes) == 1 and len(next(iter(shapes))) == 1, "All of x, y, radius and buoyancy must be (S,).")
        require(
            all(bool(torch.isfinite(value).all()) for value in vars(self).values()) and bool((self.radius > 0).all()),
            "Sources must be finite and radius positive.",
        )


class Box:
    """A closed square box of `size x size` cells with a ball in it.

    Args:
        size: cells along a side, 8 or more; the side measures 128.

    Cost: one factorization, 20 ms for 64 x 64 and 150 ms for 128 x 128.

    Example:
        >>> one = torch.ones(1)
        >>> smoke, flow = Box(16).simulate(Sources(64 * one, 5 * one, 20 * one, 0.3 * one), steps=4)
        >>> smoke.shape, bool((smoke >= 0).all())
        (torch.Size([1, 16, 16]), True)
    """

    def __init__(self, size: int = 128):
        self.size = positive_int(size, "size", 8)
        self.step = SIDE / size
        at = (torch.arange(size, dtype=torch.float64) + 0.5) * self.step
        self.y, self.x = torch.meshgrid(at, at, indexing="ij")
        x, y, radius = OBSTACLE
        self.project = Projection(((self.x - x).square() + (self.y - y).square()).sqrt() > radius)

    def simulate(self, sources: Sources, steps: int = 35, dt: float = 0.5) -> tuple[Float[Tensor, "S H W"], Flow]:
        """Smoke and flow after some steps from still and clear air.

        In each step smoke is carried along (semi-Lagrangian: what the air brings from where it was) and some is added;
        the flow is carried along, lifted by the smoke, and made free of divergence.

        Raises:
            InputError: no step, or a step of no time.

        Cost: 9 interpolations and a solve a step for each plume.
        """
        positive_int(steps, "steps")
        require(dt > 0, f"dt must be positive, got {dt}.")
        count = len(sources.x)
        inflow = dt * INFLOW * self.disc(sources)
        lift = dt * sources.buoyancy.double()[:, None, None]
        smoke = torch.zeros(count, self.size, self.size, dtype=torch.float64)
        flow = Flow(smoke.new_zeros(count, self.size, self.size + 1), smoke.new_zeros(count, self.size + 1, self.size))
        for _ in range(steps):
            smoke, (u, v) = self.carry(smoke, flow, dt)
            smoke = (smoke + inflow) * self.project.fluid
            v = v.clone()
            v[:, 1:-1] += lift * (smoke[:, 1:] + smoke[:, :-1]) / 2
            flow = self.project(Flow(u, v))
        return smoke, flow

    def disc(self, sources: Sources) -> Float[Tensor, "S H W"]:
        """1 at the source, 0 away from it, between at its rim; nothing inside the obstacle."""
        x, y, radius = (v.double()[:, None, None] for v in (sources.x, sources.y, sources.radius))
        distance = ((self.x - x).square() + (self.y - y).square()).sqrt()
        return ((radius - distance) / self.step + 0.5).clamp(0, 1) * self.project.fluid

    def carry(self, smoke: Float[Tensor, "S H W"], flow: Flow, dt: float) -> tuple[Tensor, Flow]:
        """Smoke and flow carried along by the flow."""
        u, v = flow
        dt = dt / self.step
        u_cell, v_cell = (u[..., 1:] + u[..., :-1]) / 2, (v[:, 1:] + v[:, :-1]) / 2
        v_at_u = _faces(v_cell.transpose(1, 2)).transpose(1, 2)
        return _moved(smoke, v_cell, u_cell, dt), Flow(_moved(u, v_at_u, u, dt), _moved(v, v, _faces(u_cell), dt))


def _faces(cells: Float[Tensor, "S H W"]) -> Float[Tensor, "S H+1 W"]:
    """Averages of the rows below and above each face; the outermost as they are."""
    inner = (cells[:, 1:] + cells[:, :-1]) / 2
    return torch.cat([cells[:, :1], inner, cells[:, -1:]], 1)


def _moved(values: Tensor, up: Tensor, right: Tensor, dt: float) -> Tensor:
    """At each place what was where its air came from, by the speed that it had half-way."""
    h, w = values.shape[1:]
    rows, columns = torch.arange(h, dtype=values.dtype)[:, None], torch.arange(w, dtype=values.dtype)
    half = rows - dt / 2 * up, columns - dt / 2 * right
    return _at(values, rows - dt * _at(up, *half), columns - dt * _at(right, *half))


def _at(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values between those of the grid; outside of it those of the nearest edge."""
    h, w = values.shape[1:]
    where = torch.stack([2 * columns / (w - 1) - 1, 2 * rows / (h - 1) - 1], -1)
    found = F.grid_sample(values.unsqueeze(1), where, mode="bilinear", padding_mode="border", align_corners=True)
    return found.squeeze(1)
