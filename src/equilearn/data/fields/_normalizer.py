"""Values in units of their own spread about their mean, as a training set has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, require
from equilearn.data.fields._sets import FieldTask, PointSet


@dataclass(frozen=True, eq=False)
class Normalizer:
    """Mean and standard deviation of each variable: one for all places, or one for each cell of a grid.

    Belongs to the training data, and travels with a model: `as_dict` is plain JSON.

    Args:
        names, units: of the C variables; other units are refused.
        mean, std: `(C,)`, or `(H, W, C)` on the grid of `lat` and `lon`.
        lat, lon: centres of the cells; None where one mean serves all places.

    Example:
        >>> scale = Normalizer(("t2m",), ("K",), torch.tensor([280.0]), torch.tensor([5.0]))
        >>> task = FieldTask(*[PointSet(torch.zeros(1, 2, 2), torch.tensor([[[275.0], [290.0]]]))] * 2)
        >>> scale.normalize(task).context.y.flatten()
        tensor([-1.,  2.])
        >>> Normalizer.from_dict(scale.as_dict()).mean
        tensor([280.], dtype=torch.float64)
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    mean: Float[Tensor, "*cells C"]
    std: Float[Tensor, "*cells C"]
    lat: Float[Tensor, "H"] | None = None
    lon: Float[Tensor, "W"] | None = None

    def __post_init__(self) -> None:
        channels = len(self.names)
        sizes = () if self.lat is None or self.lon is None else (len(self.lat), len(self.lon))
        require(
            self.mean.shape == self.std.shape == (*sizes, channels) and len(self.units) == channels,
            f"A Normalizer of {channels} variables takes mean and std of shape {(*sizes, channels)}, got "
            f"{tuple(self.mean.shape)} and {tuple(self.std.shape)}.",
        )
        require(
            bool(torch.isfinite(self.mean).all() and torch.isfinite(self.std).all() and (self.std > 0).all()),
            "mean must be finite and std positive and finite.",
        )

    @property
    def per_cell(self) -> bool:
        """Whether each cell has a mean of its own."""
        return self.lat is not None

    def centre(self, x: Float[Tensor, "*points X"]) -> Float[Tensor, "*points C"]:
        """The mean at each location, whose first two coordinates are latitude and longitude."""
        return self._at(self.mean, x)

    def scale(self, x: Float[Tensor, "*points X"]) -> Float[Tensor, "*points C"]:
        """The standard deviation at each location: a log density of normalised values less its log is one of values."""
        return self._at(self.std, x)

    def normalize(self, task: FieldTask) -> FieldTask:
        """A task of values as one of normalised values."""
        return FieldTask(self._points(task.context), self._points(task.target))

    def denormalize(
        self, x: Float[Tensor, "*points X"], mean: Float[Tensor, "*points C"], std: Float[Tensor, "*points C"]
    ) -> tuple[Float[Tensor, "*points C"], Float[Tensor, "*points C"]]:
        """A prediction of normalised values as one of values."""
        return mean * self.scale(x) + self.centre(x), std * self.scale(x)

    def require_units(self, names: tuple[str, ...], units: tuple[str, ...]) -> None:
        """Raise `InputError` unless data are of the same variables, in the same units."""
        same_units("the data", names, units, "the training data", self.names, self.units)

    def as_dict(self) -> dict[str, Any]:
        """As plain lists and words, for JSON."""
        tensors = {name: getattr(self, name) for name in ("mean", "std", "lat", "lon")}
        listed = {name: None if value is None else value.double().tolist() for name, value in tensors.items()}
        return {"names": list(self.names), "units": list(self.units), **listed}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Normalizer:
        """Of what `as_dict` gave.

        Raises:
            InputError: something else.
        """
        try:
            tensors = {
                name: None if held[name] is None else torch.tensor(held[name], dtype=torch.float64)
                for name in ("mean", "std", "lat", "lon")
            }
            return cls(tuple(map(str, held["names"])), tuple(map(str, held["units"])), **tensors)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"This is not a Normalizer that was saved: {error}.") from error

    def _points(self, points: PointSet) -> PointSet:
        require(
            points.y.shape[2] == len(self.names),
            f"The tasks have {points.y.shape[2]} values a location, this Normalizer {len(self.names)}.",
        )
        centre, scale = (self._at(held, points.x, points.mask) for held in (self.mean, self.std))
        return replace(points, y=(points.y - centre) / scale)

    def _at(self, held: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What is held, at each location that there is."""
        if self.lat is None or self.lon is None:
            return held.to(x).expand(*x.shape[:-1], -1)
        off = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
        index = []
        for d, axis in enumerate((self.lat, self.lon)):
            line, order = axis.to(x).sort()
            middles = (line[1:] + line[:-1]) / 2
            nearest = torch.searchsorted(middles, x[..., d].contiguous())
            step = line.diff().max() if len(line) > 1 else torch.ones_like(line[0])
            off |= (line[nearest] - x[..., d]).abs() > step
            index.append(order[nearest])
        count = int((off if mask is None else off & mask).sum())
        require(
            count == 0,
            f"{count} locations lie off the grid of this Normalizer, which knows a mean for each of its cells. "
            "Take one mean for all places: per_cell=False.",
        )
        return held.to(x)[tuple(index)]


def same_units(
    what: str,
    names: tuple[str, ...],
    units: tuple[str, ...],
    other: str,
    others: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    """Raise `InputError` unless two sets of data hold the same variables in the same units."""
    require(names == others, f"{what} hold {', '.join(names)}, {other} {', '.join(others)}.")
    unlike = [
        f"{name} is in {a or 'no units'} in {what} and in {b or 'no units'} in {other}"
        for name, a, b in zip(names, units, wanted, strict=True)
        if a != b
    ]
    require(not unlike, f"Units differ: {'; '.join(unlike)}. Convert one of them.")
