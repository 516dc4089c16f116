"""What a statistician would try first: inverse distances, stationary and empirical Gaussian processes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputError, require
from equilearn.data.fields import FieldTask, PointSet, condition
from equilearn.processes._predictive import Predictive

CELLS_COMPARED = 2_000
"""Cells among which the least distance is looked for."""
FLOOR = 1e-6
"""Least share of the variance that is noise: duplicated places would make a covariance singular."""


class InverseDistance(nn.Module):
    """The mean of what was seen, weighted by `1 / distance^power`, with one standard deviation for all.

    Arguments:
        power: of the distance.

    `fit(task)` sets the deviation, the prior mean (for an empty context) and the deviation there.

    Example:
        >>> seen = PointSet(torch.tensor([[[0.0], [3.0]]]), torch.tensor([[[0.0], [9.0]]]))
        >>> InverseDistance()(FieldTask(seen, PointSet(torch.tensor([[[1.0]]]), torch.zeros(1, 1, 1)))).mean
        tensor([[[1.8000]]])
    """

    mean: Tensor
    std: Tensor
    prior: Tensor

    def __init__(self, power: float = 2.0):
        super().__init__()
        require(power > 0, f"power must be positive, got {power}.")
        self.power = power
        for name in ("mean", "std", "prior"):
            self.register_buffer(name, torch.tensor(float(name != "mean")))

    def forward(self, task: FieldTask) -> Predictive:
        context, target = task.context, task.target
        apart = _distances(target.x, context.x).masked_fill(~context.mask[:, None], math.inf)
        nearest = apart.amin(-1, keepdim=True) if apart.shape[-1] else apart
        floor = 1e-6 * nearest.where(torch.isfinite(nearest), 1).clamp_min(1e-30)
        weight = (nearest.clamp_min(1e-30) / apart.maximum(floor)).pow(self.power)
        weight = weight * context.mask[:, None]
        total = weight.sum(-1, keepdim=True)
        known = total > 0
        mean = torch.where(known, weight @ context.y / total.where(known, 1), self.mean.to(context.y))
        std = torch.where(known, self.std.to(mean), self.prior.to(mean)).expand_as(mean)
        return Predictive(mean, std, target.mask)

    @torch.no_grad()
    def fit(self, task: FieldTask) -> InverseDistance:
        """Deviations from what these tasks show."""
        y, mask = task.target.y, task.target.mask
        require(int(mask.sum()) > 1, f"fit needs two known targets at least, got {int(mask.sum())}.")
        self.mean.copy_(y[mask].mean())
        self.prior.copy_(y[mask].std())
        self.std.copy_((self(task).mean - y)[mask].square().mean().sqrt())
        return self


class StationaryGP(nn.Module):
    """A Gaussian process with one value a place, whose covariance depends on the distance alone: Matern 3/2 and noise.

    Arguments:
        length: initial length, in units of the locations.

    `fit(task)` maximises the likelihood of the contexts of some tasks.

    Cost O(B N^3) for N context points.

    Source: Rasmussen and Williams 2006, equations 2.23 and 4.17.

    Example:
        >>> x = torch.rand(4, 6, 1)
        >>> seen = PointSet(x, torch.sin(6 * x))
        >>> process = StationaryGP().fit(FieldTask(seen, seen), steps=50)
        >>> process(FieldTask(seen, seen)).mean.shape
        torch.Size([4, 6, 1])
    """

    mean: Tensor

    def __init__(self, length: float = 1.0):
        super().__init__()
        require(0 < length < math.inf, f"length must be positive, got {length}.")
        self.log_length = nn.Parameter(torch.tensor(math.log(length), dtype=torch.float64))
        self.log_variance = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.log_noise = nn.Parameter(torch.tensor(-4.0, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

    def covariance(self, x: Float[Tensor, "B N X"], z: Float[Tensor, "B K X"]) -> Float[Tensor, "B N K"]:
        """`variance (1 + r) exp(-r)` with `r = sqrt(3) |x - z| / length`."""
        squared = (x[:, :, None] - z[:, None]).square().sum(-1)
        r = math.sqrt(3) * (squared + 1e-12).sqrt() / self.log_length.exp()
        return self.log_variance.exp() * (1 + r) * torch.exp(-r)

    @property
    def noise(self) -> Tensor:
        """Variance of a single observation about the field."""
        return self.log_noise.exp() + FLOOR * self.log_variance.exp()

    def forward(self, task: FieldTask) -> Predictive:
        _one_channel(task)
        x, z = task.context.x.double(), task.target.x.double()
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        var = (self.log_variance.exp() + self.noise).expand(z.shape[:2])
        residual = task.context.y.double() - self.mean
        found = condition(
            self.covariance(x, x) + self.noise * eye, self.covariance(x, z), var, residual, task.context.mask
        )
        mean, std = found.mean + self.mean, found.var.sqrt()[..., None]
        return Predictive(mean.to(task.context.y), std.to(task.context.y), task.target.mask)

    def fit(self, task: FieldTask, steps: int = 100) -> StationaryGP:
        """Mean from the targets; length, variance and noise by gradient ascent of the log evidence of the contexts."""
        _one_channel(task)
        context = task.context
        require(bool(context.mask.any() and task.target.mask.any()), "fit needs observed contexts and known targets.")
        with torch.no_grad():
            self.mean.copy_(task.target.y[task.target.mask].double().mean())
        x, y = context.x.double(), context.y.double() - self.mean
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        for _ in range(steps):
            cov = self.covariance(x, x) + self.noise * eye
            evidence = condition(cov, x.new_zeros(*x.shape[:2], 0), x.new_zeros(len(x), 0), y, context.mask)
            loss = -evidence.log_evidence.sum() / context.mask.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self


class EmpiricalGP(nn.Module):
    """A Gaussian process on the cells of a grid with the mean and covariance that its training times show.

    What one would pick for a fixed region with much history: knows every hill and coast, and nothing of other regions.

    Arguments:
        cells: locations `(P, X)`.
        values: `(T, P)`, the field at each training time; NaN where missing, which counts as the cell's mean.
        noise: share of each cell's variance that is taken as noise; regularises a covariance of less than full rank.

    Example:
        >>> field = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        >>> process = EmpiricalGP(torch.arange(4.0)[:, None], field)
        >>> seen = PointSet(torch.tensor([[[1.0]]]), torch.tensor([[[0.5]]]))
        >>> process(FieldTask(seen, seen)).mean.shape
        torch.Size([1, 1, 1])
    """

    cells: Tensor
    mean: Tensor
    factor: Tensor
    noise: Tensor

    def __init__(self, cells: Float[Tensor, "P X"], values: Float[Tensor, "T P"], noise: float = 0.01):
        super().__init__()
        require(len(values) > 1, f"A covariance needs at least two times, got {len(values)}.")
        require(noise > 0, f"noise must be positive, got {noise}.")
        values = values.double()
        mean = torch.nan_to_num(torch.nanmean(values, 0))
        away = torch.nan_to_num(values - mean) / math.sqrt(len(values) - 1)
        self.register_buffer("cells", cells.double())
        self.register_buffer("mean", mean)
        self.register_buffer("factor", away.T.contiguous())
        variance = away.square().sum(0)
        known = variance > 0
        require(bool(known.any()), "The field varies nowhere: there is no covariance to use.")
        self.register_buffer("noise", noise * torch.where(known, variance, variance[known].mean()))
        few = cells.double()[:CELLS_COMPARED]
        spacing = float(torch.pdist(few).min()) if len(few) > 1 else 1.0
        self.reach = 0.25 * spacing

    def forward(self, task: FieldTask) -> Predictive:
        _one_channel(task)
        seen = self._cells(task.context, task.context.mask)
        wanted = self._cells(task.target, torch.ones_like(task.target.mask))
        a, b = self.factor[seen], self.factor[wanted]  # (B, N, T)
        cov = a @ a.mT + torch.diag_embed(self.noise[seen])
        var = b.square().sum(-1) + self.noise[wanted]
        residual = task.context.y.double() - self.mean[seen][..., None]
        found = condition(cov, a @ b.mT, var, residual, task.context.mask)
        mean, std = found.mean + self.mean[wanted][..., None], found.var.sqrt()[..., None]
        return Predictive(mean.to(task.context.y), std.to(task.context.y), task.target.mask)

    def _cells(self, points: PointSet, counts: Tensor) -> Tensor:
        """The cell of each point."""
        if points.x.shape[1] == 0:
            return torch.zeros(points.x.shape[:2], dtype=torch.int64, device=points.x.device)
        apart = _distances(points.x.double(), self.cells.expand(len(points), -1, -1)).min(-1)
        off = (apart.values > self.reach) & counts
        if bool(off.any()):
            raise InputError(f"{int(off.sum())} points lie off the cells that this EmpiricalGP knows.")
        return apart.indices


def _distances(x: Float[Tensor, "B N X"], z: Float[Tensor, "B K X"]) -> Float[Tensor, "B N K"]:
    """From differences: the product of matrices that `cdist` takes by itself cancels, far from the origin."""
    return torch.cdist(x, z, compute_mode="donot_use_mm_for_euclid_dist")


def _one_channel(task: FieldTask) -> None:
    require(task.channels == 1, f"This process has one value a place, the task {task.channels}. Take them in turn.")
