"""How a process sees a field: locations in cells, values less what static fields explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.data.fields import FieldTask, PointSet


@dataclass(frozen=True)
class View:
    """Locations less an origin, in steps; values less a multiple of each static field.

    Static fields, such as elevation, stand behind latitude and longitude in a location. What a straight line through
    the means of the training times explains of the values (a lapse rate) is taken off before and put back after; the
    process sees latitude and longitude alone.

    Args:
        origin, step: of latitude and longitude.
        slopes: units of the values for one of each static field.
        centres: values of the static fields at which nothing is taken off.
    """

    origin: tuple[float, float]
    step: tuple[float, float]
    slopes: tuple[float, ...] = ()
    centres: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(min(self.step) > 0, f"Steps of latitude and longitude must be positive, got {self.step}.")
        require(
            len(self.slopes) == len(self.centres), f"{len(self.slopes)} slopes need as many centres: {self.centres}."
        )

    def locations(self, x: Float[Tensor, "*points X"]) -> Float[Tensor, "*points 2"]:
        """Where points lie, as the process sees them."""
        return (x[..., :2] - x.new_tensor(self.origin)) / x.new_tensor(self.step)

    def drift(self, x: Float[Tensor, "*points X"]) -> Float[Tensor, "*points 1"]:
        """What the static fields explain at each location."""
        require(
            x.shape[-1] == 2 + len(self.slopes),
            f"A location is latitude, longitude and {len(self.slopes)} static fields, got {x.shape[-1]} numbers.",
        )
        away = x[..., 2:] - x.new_tensor(self.centres)
        return (away * x.new_tensor(self.slopes)).sum(-1, keepdim=True)

    def points(self, points: PointSet) -> PointSet:
        """Observations as the process sees them."""
        return PointSet(self.locations(points.x), points.y - self.drift(points.x), points.mask)

    def task(self, task: FieldTask) -> FieldTask:
        """A task as the process sees it."""
        return FieldTask(self.points(task.context), self.points(task.target))

    def as_dict(self) -> dict[str, Any]:
        """As plain lists, for JSON."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> View:
        """Of what `as_dict` gave."""
        try:
            return cls(**{name: tuple(map(float, held[name])) for name in ("origin", "step", "slopes", "centres")})  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"This is not a View that was saved: {error}.") from error


def nearest(x: Float[Tensor, "*points 2"], places: Float[Tensor, "P 2"]) -> tuple[Tensor, Tensor]:
    """The number of the place nearest to each point, and how far it is."""
    flat = x.flatten(0, -2)
    step = max(1, 2**24 // max(1, len(places)))
    found = [torch.cdist(part, places.to(x)).min(1) for part in flat.split(step)]
    shape = x.shape[:-1]
    distance = torch.cat([f.values for f in found]) if found else flat.new_zeros(0)
    index = torch.cat([f.indices for f in found]) if found else torch.zeros(0, dtype=torch.int64)
    return index.view(shape), distance.view(shape)
