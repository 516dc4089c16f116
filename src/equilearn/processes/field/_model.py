"""A process fitted to a field, with all that is needed to use it: units, places, how it sees them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn import io
from equilearn._check import InputError, require
from equilearn.data.fields import FieldTask, PointSet
from equilearn.processes._base import NeuralProcess
from equilearn.processes._predictive import Predictive
from equilearn.processes.field._data import FieldData
from equilearn.processes.field._networks import Box, Size, build
from equilearn.processes.field._view import View, nearest
from equilearn.relaxation import relaxations

FORMAT = 1
"""Of the metadata of a saved model."""


@dataclass(frozen=True)
class FieldConfig:
    """What a fitted field is rebuilt from.

    Args:
        model, strict, size: see `build`.
        name, units: of the variable.
        static_names: of the static fields.
        view: how locations and values are seen.
        region: latitudes and longitudes between which the training data lie.
        context: least and most observations of a task in training.
        typical: mean and deviation of the training values.
        grid: rows and columns of the grid.
    """

    model: str
    strict: bool
    size: Size
    name: str
    units: str
    static_names: tuple[str, ...]
    view: View
    region: Box
    context: tuple[int, int]
    typical: tuple[float, float]
    grid: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "format": FORMAT, "view": self.view.as_dict()}

    def outside(self, x: Float[Tensor, "B N X"], mask: Tensor | None, what: str) -> str:
        """What is to be said of points outside of the region of training; empty where all lie inside."""
        low, high = torch.tensor(self.region, dtype=torch.float64).T
        edge = 0.5 * torch.tensor(self.view.step, dtype=torch.float64)
        out = ((x[..., :2].double() < low - edge) | (x[..., :2].double() > high + edge)).any(-1)
        out = out if mask is None else out & mask
        if not bool(out.any()):
            return ""
        (a, b), (c, d) = self.region
        total = out.numel() if mask is None else int(mask.sum())
        return (
            f"{int(out.sum())} of {total} {what} lie outside of the region of training (latitude {a:.6g} to {b:.6g}, "
            f"longitude {c:.6g} to {d:.6g}): there the process knows nothing of the place and predicts by its symmetry."
        )

    @classmethod
    def of(cls, data: FieldData, model: str, strict: bool, size: Size) -> FieldConfig:
        """Of a process for some data."""
        return cls(
            model=model,
            strict=strict,
            size=size,
            name=data.name,
            units=data.units,
            static_names=data.train.static_names,
            view=data.view,
            region=data.box,
            context=data.context,
            typical=data.cells.overall,
            grid=(len(data.lat), len(data.lon)),
        )

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> FieldConfig:
        """Of what `as_dict` gave.

        Raises:
            InputError: something else.
        """
        try:
            require(held.get("format") == FORMAT, f"its format is {held.get('format')!r}, and {FORMAT} is needed")
            made: dict[str, Any] = {name: held[name] for name in ("model", "strict", "name", "units")}
            (a, b), (c, d) = held["region"]
            made |= {name: tuple(held[name]) for name in ("static_names", "context", "typical", "grid")}
            view, size = (
                View.from_dict(held["view"]),
                Size(**{**held["size"], "lengths": tuple(held["size"]["lengths"])}),
            )
            return cls(**made, view=view, size=size, region=((a, b), (c, d)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"This is not a field model that was saved: {error}.") from error


class FieldModel(nn.Module):
    """A process that predicts one variable anywhere, from observations anywhere.

    Made by `fit_field` and `FieldModel.load`. Locations are `(latitude, longitude, static fields)`, values in the units
    of the training data.

    Arguments:
        config: what it is.
        lat, lon, static: the grid on which fields are predicted.
        seed: of the weights.

    Example:
        >>> from equilearn.processes.field._networks import PRESETS
        >>> config = FieldConfig("convcnp", False, PRESETS["quick"], "t2m", "K", (), View((50.0, 0.0), (0.25, 0.25)),
        ...     ((49.0, 51.0), (-1.0, 1.0)), (5, 100), (280.0, 5.0), (2, 2))
        >>> model = FieldModel(config, torch.tensor([50.0, 50.25]), torch.tensor([0.0, 0.25]), torch.zeros(2, 2, 0))
        >>> seen = PointSet(torch.tensor([[[50.1, 0.1]]]), torch.tensor([[[281.0]]]))
        >>> model.predict(seen, model.grid_points()).mean.shape
        torch.Size([1, 4, 1])
    """

    lat: Tensor
    lon: Tensor
    static: Tensor

    def __init__(
        self,
        config: FieldConfig,
        lat: Float[Tensor, "H"],
        lon: Float[Tensor, "W"],
        static: Float[Tensor, "H W S"],
        seed: int = 0,
    ):
        super().__init__()
        self.config = config
        for name, value in (("lat", lat), ("lon", lon), ("static", static)):
            self.register_buffer(name, value.double())
        low, high = config.view.locations(torch.tensor(config.region, dtype=torch.float64).T).tolist()
        ends = list(zip(low, high, strict=True))
        # Half a cell more: fixed inputs are zero on the border of their box.
        box = tuple((a - 0.5, b + 0.5) for a, b in ends)
        self.process: NeuralProcess = build(config.model, config.strict, box, config.size, seed)  # type: ignore[arg-type]
        self.process.set_region(ends)

    @classmethod
    def of(cls, data: FieldData, model: str, strict: bool, size: Size, seed: int) -> FieldModel:
        """An untrained one for some data; the same seed gives the same weights."""
        config = FieldConfig.of(data, model, strict, size)
        made = cls(config, data.lat, data.lon, data.static, seed)
        made.process.set_normalizer(*data.cells.rest)
        return made

    @property
    def relaxed(self) -> bool:
        """Whether it has parts that break its symmetry, and can be switched off."""
        return bool(relaxations(self.process))

    def grid_points(self) -> Float[Tensor, "1 P X"]:
        """All cells of the grid, the last axis running fastest; NaN where a static field is missing."""
        grid = torch.stack(torch.meshgrid(self.lat, self.lon, indexing="ij"), -1)
        return torch.cat([grid, self.static], -1).flatten(0, 1)[None]

    def with_static(self, x: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points X"]:
        """Latitudes and longitudes with the static fields of the nearest cell of the grid."""
        cells = self.grid_points()[0]
        cells = cells[torch.isfinite(cells).all(-1)]
        return torch.cat([x, cells[nearest(x.double(), cells[:, :2])[0]][..., 2:].to(x)], -1)

    @torch.no_grad()
    def predict(self, context: PointSet, x: Float[Tensor, "B N X"]) -> Predictive:
        """The prediction at locations `x` from observations, in units of the data.

        Warns where observations or locations lie outside of the region of training.
        """
        for points, mask, what in ((context.x, context.mask, "observations"), (x, None, "places to predict at")):
            if said := self.config.outside(points, mask, what):
                warnings.warn(said, stacklevel=2)
        return self.on(context, x)

    @torch.no_grad()
    def on(self, context: PointSet, x: Float[Tensor, "B N X"]) -> Predictive:
        """The same without a warning."""
        self.process.eval()
        task = self._task(context, x)
        found = self.process(task)
        return replace(found, mean=found.mean.double() + self.config.view.drift(x.double()), std=found.std.double())

    def off(self, context: PointSet, x: Float[Tensor, "B N X"]) -> Predictive:
        """The prediction of the equivariant part: what is fixed to a place switched off."""
        with self.process.equivariant_only():
            return self.on(context, x)

    def departure(self, context: PointSet, x: Float[Tensor, "B N X"]) -> Float[Tensor, "B N 1"]:
        """Means on less off, in units of the data: what the process knows of these places."""
        return self.on(context, x).mean - self.off(context, x).mean

    def save(self, path: io.PathLike, about: Mapping[str, Any] | None = None) -> None:
        """Write weights, grid and all that rebuilds it as one safetensors file."""
        io.save(self, path, {"field": self.config.as_dict(), **(about or {})})

    @classmethod
    def load(cls, path: io.PathLike) -> FieldModel:
        """What `save` wrote.

        Raises:
            InputError: no such file, or one of something else.
        """
        held = io.read_metadata(path)
        require(
            isinstance(held.get("field"), Mapping),
            f"{path} holds no field model. Give the model.safetensors that `equilearn field` wrote.",
        )
        config = FieldConfig.from_dict(held["field"])
        h, w = config.grid
        empty = cls(config, torch.zeros(h), torch.zeros(w), torch.zeros(h, w, len(config.static_names)))
        return io.load(empty, path).eval()

    def _task(self, context: PointSet, x: Tensor) -> FieldTask:
        """As the process sees it, in its own precision."""
        dtype = next(self.process.parameters()).dtype
        wanted = PointSet(x, torch.zeros_like(x[..., :1]))
        return self.config.view.task(FieldTask(context.to(x.dtype), wanted)).to(dtype)
