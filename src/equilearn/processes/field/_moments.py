"""Mean and spread of training times, over all places and at each; what static fields explain of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import require
from equilearn.data.fields import Gridded, PointSet, Stations
from equilearn.processes.field._view import nearest

CHUNK = 2**22
"""Values looked at at once."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the values of training, and of what is left of them without the static fields.

    Args:
        places: `(P, 2)`, latitude and longitude of each cell or station.
        count: observations at each.
        mean, std: at each; those of all where a place was observed less than twice.
        overall: mean and deviation of all values.
        rest: mean and deviation of all values less what static fields explain.
    """

    places: Float[Tensor, "P 2"]
    count: Int[Tensor, "P"]
    mean: Float[Tensor, "P"]
    std: Float[Tensor, "P"]
    overall: tuple[float, float]
    rest: tuple[float, float]


def moments(train: Gridded | Stations) -> tuple[Moments, tuple[float, ...], tuple[float, ...]]:
    """Of all training times, with the slopes and centres of the static fields.

    Raises:
        InputError: nothing was observed.
    """
    x = _places(train)
    places = x[:, :2]
    sums = torch.zeros(3, len(x), dtype=torch.float64)
    origin = 0.0
    for i, (points, index) in enumerate(_parts(train, places)):
        y = points.y[..., 0][points.mask]
        if i == 0 and len(y):  # about which sums lose no digits
            origin = float(y.mean())
        y, index = y - origin, index[points.mask]
        for row, values in enumerate((torch.ones_like(y), y, y.square())):
            sums[row].index_add_(0, index, values)
    count = sums[0]
    require(bool(count.any()), f"{train.names[0]} has no value at all in the training times: everything is NaN.")
    overall = _mean_std(*sums.sum(1))
    mean, std = _mean_std(count, sums[1], sums[2])
    some = count > 1
    mean = torch.where(some, mean, overall[0])
    std = torch.where(some, std, overall[1])
    slopes, centres = _slopes(x[:, 2:], mean, count)
    drift = ((x[:, 2:] - x.new_tensor(centres)) * x.new_tensor(slopes)).sum(-1)
    # Sum over observations of (y - d) and (y - d)^2, from sums at each place: d does not change with time.
    rest = _mean_std(
        count.sum(), (sums[1] - count * drift).sum(), (sums[2] - 2 * drift * sums[1] + count * drift.square()).sum()
    )
    whole = [(float(m) + origin, float(s)) for m, s in (overall, rest)]
    return Moments(places, count.long(), mean + origin, std, whole[0], whole[1]), slopes, centres


def _places(train: Gridded | Stations) -> Float[Tensor, "P X"]:
    """Each cell or station once; cells whose static fields are missing are left out."""
    if isinstance(train, Gridded):
        x = train.coordinates.flatten(0, 1).double()
        return x[torch.isfinite(x).all(-1)]
    return torch.unique(train.x.double(), dim=0)


def _parts(train: Gridded | Stations, places: Tensor) -> Iterator[tuple[PointSet, Tensor]]:
    """All observations, some times at once, and the number of the place of each."""
    step = max(1, CHUNK // len(places))
    index: Tensor | None = None
    for start in range(0, len(train), step):
        points = train.points(slice(start, start + step), dtype=torch.float64)
        if index is None or isinstance(train, Stations):
            index = nearest(points.x[..., :2] if isinstance(train, Stations) else points.x[:1, :, :2], places)[0]
        yield points, index.expand(points.mask.shape)


def _mean_std(count: Tensor, total: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    n = count.clamp_min(1)
    mean = total / n
    var = (square / n - mean.square()).clamp_min(0)
    return mean, torch.where(var > 1e-12 * (square / n), var, 1.0).sqrt()


def _slopes(
    static: Float[Tensor, "P S"], mean: Float[Tensor, "P"], count: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of the straight line through the means at places that were observed; 0 for a field that does not vary."""
    if static.shape[1] == 0:
        return (), ()
    static, mean, weight = static[count > 1], mean[count > 1], count[count > 1].sqrt()[:, None]
    if len(static) <= static.shape[1] + 1:
        return (0.0,) * static.shape[1], (0.0,) * static.shape[1]
    centre = static.mean(0)
    spread = (static - centre).square().mean(0).sqrt().clamp_min(1e-12)
    design = torch.cat([(static - centre) / spread, torch.ones_like(weight)], 1)
    found = torch.linalg.lstsq(design * weight, mean[:, None] * weight, driver="gelsd").solution[:-1, 0] / spread
    return tuple(found.tolist()), tuple(centre.tolist())
