"""Observations of a field: at scattered points, on a grid; a task of predicting some from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equilearn._check import InputTypeError, require


@dataclass(frozen=True, eq=False)
class PointSet:
    """Values of a field at scattered points, a batch of sets; sets of other sizes are padded and masked.

    Args:
        x: locations `(B, N, X)`, finite.
        y: values `(B, N, Y)`. A value that is NaN was not observed: its point is masked.
        mask: `(B, N)`, True where a point was observed; None where all were.

    Masked values are set to zero, so that nothing can leak from them; their locations stay, as one may ask for a
    prediction there. Padding lies where the first point of its set lies. Empty sets are legal (`N = 0`, or no point of
    a set observed). The order of points, and points that coincide, mean nothing: a set is a set.

    Raises:
        InputError: shapes that do not fit, another dtype or device of x and y, infinite values, or a location that is
            not finite where the mask is True.

    Example:
        >>> x = torch.rand(1, 3, 2)
        >>> seen = PointSet(x, torch.tensor([[[1.0], [float("nan")], [3.0]]]))
        >>> seen.mask, seen.count
        (tensor([[ True, False,  True]]), tensor([2]))
    """

    x: Float[Tensor, "B N X"]
    y: Float[Tensor, "B N Y"]
    mask: Bool[Tensor, "B N"] = None  # type: ignore[assignment]  # always a tensor after construction

    def __post_init__(self) -> None:
        x, y = _tensor(self.x, "x"), _tensor(self.y, "y")
        require(
            x.ndim == 3 and y.ndim == 3 and x.shape[:2] == y.shape[:2],
            f"A PointSet takes locations (B, N, X) and values (B, N, Y), got {tuple(x.shape)} and {tuple(y.shape)}.",
        )
        require(
            x.dtype == y.dtype and x.device == y.device,
            f"Locations and values must share one dtype and device, got {x.dtype} on {x.device} and {y.dtype} on "
            f"{y.device}. Bring one to the other, such as y.to(x).",
        )
        mask = _mask(self.mask, y)
        _locations(x, mask, "PointSet")
        object.__setattr__(self, "x", _somewhere(x))
        object.__setattr__(self, "y", torch.where(mask[..., None], y, 0))
        object.__setattr__(self, "mask", mask)

    def __len__(self) -> int:
        """Number of sets B."""
        return len(self.x)

    def __getitem__(self, index: int | slice | Tensor) -> PointSet:
        """Some of the sets; of a number, a batch of that one."""
        index = _one_or_more(index, len(self))
        return self._with(self.x[index], self.y[index], self.mask[index])

    @property
    def count(self) -> Tensor:
        """Observed points of each set, `(B,)`."""
        return self.mask.sum(1)

    def moved(self, move: Callable[[Float[Tensor, "B N X"]], Float[Tensor, "B N X"]]) -> PointSet:
        """The same values elsewhere: `move` takes all locations, those of padding too."""
        return PointSet(move(self.x), self.y, self.mask)

    def to(self, where: torch.device | torch.dtype | str) -> PointSet:
        """On another device, or in another dtype."""
        where = torch.device(where) if isinstance(where, str) else where
        mask = self.mask if isinstance(where, torch.dtype) else self.mask.to(where)
        return self._with(self.x.to(where), self.y.to(where), mask)

    def padded(self, length: int, at: Float[Tensor, "#B 1 X"] | None = None) -> PointSet:
        """The same sets with `length` places each; those of sets without any lie `at`, by default in the origin."""
        more = length - self.x.shape[1]
        require(more >= 0, f"Sets of {self.x.shape[1]} places cannot be padded to {length}.")
        if more == 0:
            return self
        at = self.x.new_zeros(1, 1, self.x.shape[2]) if at is None else at
        first = self.x[:, :1] if self.x.shape[1] else at
        return self._with(
            torch.cat([self.x, first.expand(len(self), more, -1)], 1),
            torch.nn.functional.pad(self.y, (0, 0, 0, more)),
            torch.nn.functional.pad(self.mask, (0, more)),
        )

    def _with(self, x: Tensor, y: Tensor, mask: Tensor) -> PointSet:
        """Of parts that were checked before."""
        made = object.__new__(PointSet)
        for name, value in (("x", x), ("y", y), ("mask", mask)):
            object.__setattr__(made, name, value)
        return made


@dataclass(frozen=True, eq=False)
class GridSet:
    """Values of a field on a grid of lines parallel to the axes, a batch of grids of one size.

    Args:
        axes: for each dimension the coordinates of its lines, `(n,)`, or `(B, n)` where the grids lie elsewhere;
            strictly increasing or decreasing.
        y: values `(B, *sizes, Y)`; NaN where not observed.
        mask: `(B, *sizes)`, True where observed.

    Raises:
        InputError: sizes that do not fit, coordinates that are not monotonic, infinite values.

    Example:
        >>> grid = GridSet((torch.arange(3.0), torch.arange(2.0)), torch.rand(4, 3, 2, 1))
        >>> grid.points().x.shape
        torch.Size([4, 6, 2])
    """

    axes: tuple[Float[Tensor, "*B n"], ...]
    y: Float[Tensor, "B *sizes Y"]
    mask: Bool[Tensor, "B *sizes"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        axes, y = tuple(_tensor(axis, "axes") for axis in self.axes), _tensor(self.y, "y")
        require(
            len(axes) > 0 and y.ndim == len(axes) + 2,
            f"A GridSet of {len(axes)} axes takes values (B, one size an axis, Y), got shape {tuple(y.shape)}.",
        )
        for d, axis in enumerate(axes):
            require(
                axis.ndim in (1, 2) and axis.shape[-1] == y.shape[d + 1] and (axis.ndim == 1 or len(axis) == len(y)),
                f"Axis {d} has coordinates {tuple(axis.shape)}; values {tuple(y.shape)} need {y.shape[d + 1]} of them.",
            )
            steps = axis.diff()
            require(
                bool(torch.isfinite(axis).all()) and bool(((steps > 0).all(-1) | (steps < 0).all(-1)).all()),
                f"The coordinates of axis {d} must be finite and strictly increasing or decreasing. Sort them, and "
                "take out those that occur twice.",
            )
        mask = _mask(self.mask, y)
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "y", torch.where(mask[..., None], y, 0))
        object.__setattr__(self, "mask", mask)

    def __len__(self) -> int:
        """Number of grids B."""
        return len(self.y)

    def points(self) -> PointSet:
        """The same values as scattered points, the last axis running fastest."""
        axes = [axis.expand(len(self), -1) for axis in self.axes]
        sizes = tuple(self.y.shape[1:-1])
        columns = [
            axis.reshape(len(self), *[n if d == e else 1 for e, n in enumerate(sizes)]).expand(len(self), *sizes)
            for d, axis in enumerate(axes)
        ]
        x = torch.stack(columns, -1).flatten(1, -2)
        return PointSet(x, self.y.flatten(1, -2), self.mask.flatten(1))


@dataclass(frozen=True, eq=False)
class FieldTask:
    """Predict the target from the context: a batch of tasks.

    Args:
        context: what was observed; may be empty.
        target: where to predict, and what was observed there; values NaN where they are not known.

    Grids are taken as points.

    Raises:
        InputError: other numbers of tasks, dimensions or values in the two, or another dtype or device.

    Example:
        >>> seen = PointSet(torch.rand(8, 5, 1), torch.rand(8, 5, 1))
        >>> wanted = PointSet(torch.rand(8, 20, 1), torch.rand(8, 20, 1))
        >>> task = FieldTask(seen, wanted)
        >>> len(task), len(task[:3]), task.dims, task.channels
        (8, 3, 1, 1)
    """

    context: PointSet
    target: PointSet

    def __post_init__(self) -> None:
        for name in ("context", "target"):
            given = getattr(self, name)
            if isinstance(given, GridSet):
                object.__setattr__(self, name, given.points())
            elif not isinstance(given, PointSet):
                raise InputTypeError(f"{name} must be a PointSet or a GridSet, got {type(given).__name__}.")
        c, t = self.context, self.target
        shapes = [(len(part), part.x.shape[2], part.y.shape[2]) for part in (c, t)]
        require(
            shapes[0] == shapes[1],
            f"Context and target differ in (tasks, dimensions, values): {shapes[0]} and {shapes[1]}.",
        )
        kinds = {(part.dtype, part.device) for part in (c.x, c.y, t.x, t.y)}
        require(len(kinds) == 1, f"Context and target must share one dtype and device, got {sorted(map(str, kinds))}.")

    def __len__(self) -> int:
        """Number of tasks B."""
        return len(self.context)

    def __getitem__(self, index: int | slice | Tensor) -> FieldTask:
        """Some of the tasks; of a number, a batch of that one."""
        return FieldTask(self.context[index], self.target[index])

    @property
    def dims(self) -> int:
        """Coordinates of a location."""
        return self.context.x.shape[2]

    @property
    def channels(self) -> int:
        """Values at a location."""
        return self.context.y.shape[2]

    def moved(self, move: Callable[[Float[Tensor, "B N X"]], Float[Tensor, "B N X"]]) -> FieldTask:
        """Context and target elsewhere: `(g x, y)` for a move g of locations."""
        return FieldTask(self.context.moved(move), self.target.moved(move))

    def to(self, where: torch.device | torch.dtype | str) -> FieldTask:
        """On another device, or in another dtype."""
        return FieldTask(self.context.to(where), self.target.to(where))

    def with_context(self, context: PointSet) -> FieldTask:
        """The same target from another context."""
        return replace(self, context=context)


def collate(tasks: Sequence[FieldTask]) -> FieldTask:
    """One batch of several: shorter sets are padded and masked.

    Padding lies where the first point of its set lies; that of a set without any where the other set of the same task
    does, or else some other point of the batch: nowhere far from them all.

    Raises:
        InputError: no tasks, or such as differ in dimensions, values, dtype or device.

    Example:
        >>> def one(n):
        ...     some = PointSet(torch.rand(1, n, 1), torch.rand(1, n, 1))
        ...     return FieldTask(some, some)
        >>> collate([one(3), one(5)]).context.count
        tensor([3, 5])
    """
    require(len(tasks) > 0, "No tasks were given: collate needs at least one.")
    for task in tasks:
        if not isinstance(task, FieldTask):
            raise InputTypeError(f"collate takes tasks (FieldTask), got {type(task).__name__}.")
    kinds = {(task.dims, task.channels, task.context.x.dtype, task.context.x.device) for task in tasks}
    require(
        len(kinds) == 1,
        f"Tasks of one batch must share dimensions, values, dtype and device, got {sorted(map(str, kinds))}.",
    )
    firsts = [_first(task) for task in tasks]
    anywhere = next((first[:1] for first in firsts if first is not None and len(first)), None)
    places = [anywhere if first is None else first for first in firsts]
    return FieldTask(*(_joined([getattr(task, name) for task in tasks], places) for name in ("context", "target")))


def _first(task: FieldTask) -> Tensor | None:
    """A place `(B, 1, X)` of each task, of its context where there is one."""
    return next((part.x[:, :1] for part in (task.context, task.target) if part.x.shape[1]), None)


def _joined(sets: list[PointSet], places: list[Tensor | None]) -> PointSet:
    length = max(part.x.shape[1] for part in sets)
    sets = [part.padded(length, at) for part, at in zip(sets, places, strict=True)]
    return sets[0]._with(*(torch.cat([getattr(part, name) for part in sets]) for name in ("x", "y", "mask")))


def _tensor(value: object, name: str) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise InputTypeError(f"{name} must be a floating-point tensor, got {kind}.")
    return value


def _one_or_more(index: int | slice | Tensor, count: int) -> slice | Tensor:
    """A number as the slice of one. `IndexError` beyond the end is how Python's `for` knows where to stop."""
    if isinstance(index, bool):
        raise InputTypeError(f"Sets are chosen by a number, a slice or a tensor, got {index}.")
    if not isinstance(index, int | np.integer):
        return index
    if not -count <= index < count:
        raise IndexError(f"There is no number {index}: there are {count}, counted from 0.")
    index = int(index) % count
    return slice(index, index + 1)


def _mask(mask: Tensor | None, y: Tensor) -> Tensor:
    """What was observed: said by the mask, and not NaN."""
    if mask is not None:
        require(
            isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == y.shape[:-1],
            f"mask must be a boolean tensor of shape {tuple(y.shape[:-1])}, got "
            f"{getattr(mask, 'dtype', type(mask).__name__)} {tuple(getattr(mask, 'shape', ()))}.",
        )
        require(
            mask.device == y.device,
            f"The mask is on {mask.device} and the values on {y.device}. Bring it there: mask.to({str(y.device)!r}).",
        )
    known = ~torch.isnan(y).any(-1)
    mask = known if mask is None else mask & known
    infinite = torch.isinf(y).any(-1) & mask
    require(not bool(infinite.any()), f"{int(infinite.sum())} values are infinite; mark what is missing with NaN.")
    return mask


def _somewhere(x: Float[Tensor, "B N X"]) -> Float[Tensor, "B N X"]:
    """Locations of masked points that are not finite, moved to the first of the set that is; where none
    is, to one of another set, or to 0."""
    bad = ~torch.isfinite(x).all(-1)
    if not bool(bad.any()):
        return x
    known = x[~bad]
    other = known[0] if len(known) else x.new_zeros(x.shape[2])
    first = torch.where(bad.all(1)[:, None], other, x[torch.arange(len(x)), (~bad).int().argmax(1)])
    return torch.where(bad[..., None], first[:, None], x)


def _locations(x: Tensor, mask: Tensor, what: str) -> None:
    bad = ~torch.isfinite(x).all(-1) & mask
    require(
        not bool(bad.any()),
        f"{int(bad.sum())} locations of a {what} are NaN or infinite where a value was observed. Drop those points, "
        "or mask them.",
    )
