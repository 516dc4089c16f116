"""Tasks drawn from Gaussian processes, whose best possible predictions are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.data.fields._gp_oracle import mixture
from equilearn.data.fields._kernels import Kernel
from equilearn.data.fields._posterior import Mixture, factor
from equilearn.data.fields._sets import FieldTask, PointSet

CHUNK = 2**23
"""Entries of covariance matrices held at once while values are drawn: 64 MiB."""

Mean: TypeAlias = Callable[[Tensor], Tensor]
"""Takes locations `(..., X)` to what the process is on average there, `(...)`."""


@dataclass(frozen=True)
class GPTasks:
    """Regression tasks on functions drawn from a Gaussian process, seen around a place drawn anew for each task.

    A task draws its place c from `centre` (each coordinate), the state of the kernel, how many context points it has,
    and all locations uniformly around c; then all values jointly, with noise.

    Args:
        kernel: the covariance.
        mean: what the function is on average, where that is not zero.
        noise: standard deviation of each value about the function.
        centre: range of the places.
        context_width, target_width: side of the box around c in which context and target locations lie.
        num_context: least and most context points; all numbers between are equally likely.
        num_target: target points.
        dims: coordinates X of a location.
        shift: kernel and mean are taken at `x - shift`. `moved` changes it and the places together.
        jitter: added to variances, for the Cholesky factorization, here and in the oracles alike.
        dtype: of the tasks; the computations are in float64.

    Raises:
        InputError: an empty or infinite range, a width or jitter that is not positive, negative noise, fewer than one
            target.

    Example:
        >>> from equilearn.data.fields import RBF
        >>> family = GPTasks(RBF(), num_context=(1, 8), num_target=16)
        >>> task = family.tasks(4, torch.Generator().manual_seed(0))
        >>> task.context.x.shape, task.target.y.shape
        (torch.Size([4, 8, 1]), torch.Size([4, 16, 1]))
        >>> family.oracle_log_prob(task).shape
        torch.Size([4])
    """

    kernel: Kernel
    mean: Mean | None = None
    noise: float = 0.2
    centre: tuple[float, float] = (-3.0, 3.0)
    context_width: float = 4.0
    target_width: float = 6.0
    num_context: tuple[int, int] = (1, 16)
    num_target: int = 48
    dims: int = 1
    shift: float = 0.0
    jitter: float = 1e-6
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, Kernel):
            raise InputTypeError(f"kernel must be a Kernel, such as RBF(), got {type(self.kernel).__name__}.")
        if not self.dtype.is_floating_point:
            raise InputTypeError(f"dtype must be a floating-point dtype, got {self.dtype}.")
        for name in ("centre", "num_context"):
            ends = getattr(self, name)
            if not isinstance(ends, tuple | list) or len(ends) != 2:
                raise InputTypeError(f"{name} must be a range (least, most) of two numbers, got {ends!r}.")
        low, high = self.centre
        require(
            math.isfinite(low) and math.isfinite(high) and low <= high and math.isfinite(self.shift),
            f"centre must be a finite range (low, high) with low <= high, and shift finite, got {self.centre} and "
            f"{self.shift}.",
        )
        require(math.isfinite(self.noise) and self.noise >= 0, f"noise must be 0 or more, got {self.noise}.")
        for name in ("context_width", "target_width", "jitter"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, f"{name} must be positive and finite, got {value}.")
        least, most = (positive_int(n, "num_context", 0) for n in self.num_context)
        require(least <= most, f"num_context must be (least, most) with least <= most, got {self.num_context}.")
        positive_int(self.num_target, "num_target")
        positive_int(self.dims, "dims")

    def tasks(self, batch: int, generator: torch.Generator) -> FieldTask:
        """A batch of tasks, each of a function, place, state and number of context points of its own.

        The context is padded to the largest number of points that a task can have.

        Cost: O(batch (N + T)^3) with N context and T target points.
        """
        positive_int(batch, "batch")
        made = {"generator": generator, "device": generator.device}
        wide = {**made, "dtype": torch.float64}
        low, high = self.centre
        least, most = self.num_context
        centre = low + (high - low) * torch.rand(batch, 1, self.dims, **wide)
        count = torch.randint(least, most + 1, (batch, 1), **made)
        state = torch.randint(self.kernel.states, (batch,), **made)
        unit = torch.rand(batch, most + self.num_target, self.dims, **wide) - 0.5
        width = torch.full((len(unit[0]), 1), self.target_width, dtype=torch.float64, device=generator.device)
        width[:most] = self.context_width
        x = (centre + width * unit).to(self.dtype)
        y = self.values(x.double(), state, generator).to(self.dtype).unsqueeze(-1)
        mask = torch.arange(most, device=x.device) < count
        return FieldTask(PointSet(x[:, :most], y[:, :most], mask), PointSet(x[:, most:], y[:, most:]))

    def values(self, x: Float[Tensor, "B N X"], state: Tensor, generator: torch.Generator) -> Float[Tensor, "B N"]:
        """Noisy values of functions drawn anew, at given locations. Points that coincide have noise each."""
        x = x.double()
        white = torch.randn(*x.shape[:2], 1, dtype=x.dtype, device=x.device, generator=generator)
        nugget = self.nugget * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        step = max(1, CHUNK // max(1, x.shape[1] ** 2))
        parts = [slice(start, start + step) for start in range(0, len(x), step)]
        drawn = [factor(self.covariance(x[p], x[p], state[p]) + nugget) @ white[p] for p in parts]
        return self.average(x) + torch.cat(drawn).squeeze(-1)

    @property
    def nugget(self) -> float:
        """What a single value varies about the function."""
        return self.noise**2 + self.jitter

    def covariance(self, x: Tensor, other: Tensor, state: Tensor) -> Tensor:
        """Of the function at two sets of locations."""
        return self.kernel(x - self.shift, other - self.shift, state)

    def average(self, x: Float[Tensor, "*batch N X"]) -> Float[Tensor, "*batch N"]:
        """The mean function."""
        return torch.zeros_like(x[..., 0]) if self.mean is None else self.mean(x - self.shift)

    def moved(self, by: float) -> GPTasks:
        """The same world elsewhere: kernel, mean and places translated along every axis."""
        return replace(self, shift=self.shift + by, centre=(self.centre[0] + by, self.centre[1] + by))

    def predict(self, task: FieldTask, places: int | None = None) -> Mixture:
        """The exact posterior at every target; with `places`, that of someone who does not know where they are.

        Args:
            task: of this family, or of another one that is to be judged by this one.
            places: where given, so many places, evenly spread over `centre` along each axis, are possible a priori for
                the task's own: the middle of its locations. The answer is then the same wherever a task lies: no
                translation-equivariant prediction is better on average.

        Raises:
            InputError: tasks of another dimension, or of several values at a location.

        Cost: O(H (N^3 + N^2 T)) for H hypotheses (states times places^X) of N context and T target points; for a
            stationary kernel O(N^3 + N^2 (T + H) + H N T). Done in chunks that need some 128 MiB.
        """
        require(
            task.dims == self.dims and task.channels == 1,
            f"These tasks have {self.dims} coordinates and one value a location, the given ones {task.dims} and "
            f"{task.channels}.",
        )
        return mixture(self, task, None if places is None else self._grid(positive_int(places, "places")))

    def oracle_log_prob(self, task: FieldTask) -> Float[Tensor, "B"]:
        """Log density of the target values under the exact posterior, each by itself; mean over a task's targets.

        Raises:
            InputError: as `predict`; a task without targets.

        Cost: as `predict`.
        """
        return self._score(task, None)

    def averaged_log_prob(self, task: FieldTask, places: int = 43) -> Float[Tensor, "B"]:
        """The same, of the best prediction that is equivariant to translations: the ceiling of strict models.

        Raises:
            InputError: as `predict`; a task without targets.

        Cost: as `predict` with `places`.
        """
        return self._score(task, places)

    def _score(self, task: FieldTask, places: int | None) -> Tensor:
        count = task.target.count
        require(bool((count > 0).all()), f"{int((count == 0).sum())} tasks have no target to be judged by.")
        each = self.predict(task, places).log_prob(task.target.y[..., 0].double())
        return torch.where(task.target.mask, each, 0).sum(1) / count

    def _grid(self, places: int) -> Float[Tensor, "S X"]:
        line = torch.linspace(*self.centre, places, dtype=torch.float64)
        return torch.cartesian_prod(*[line] * self.dims).reshape(-1, self.dims)
