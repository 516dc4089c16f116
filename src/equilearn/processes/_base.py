"""What every neural process shares: units, checks, the protocol of approximate equivariance."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, positive_int, require
from equilearn.data.fields import FieldTask, PointSet
from equilearn.processes._predictive import Predictive
from equilearn.relaxation import equivariant_only, relaxations, set_strength

if TYPE_CHECKING:
    from equilearn.processes._deviation import FieldDeviation


class NeuralProcess(nn.Module, ABC):
    """Predicts a field from what was observed of it: a `FieldTask` to a `Predictive`.

    A subclass has the method `represent(context, targets)`, which gives two numbers a value of each target.

    Arguments:
        dims: coordinates of a location.
        channels: values at a location.
        min_std: least standard deviation, in units of the normalised values; keeps the likelihood of data without
            noise bounded.

    The normalisation of the values (`set_normalizer`) and the region of training (`set_region`) are part of the model
    and saved with it.
    """

    y_mean: Tensor
    y_std: Tensor
    region: Tensor

    def __init__(self, dims: int, channels: int, min_std: float = 0.01):
        super().__init__()
        self.dims, self.channels = positive_int(dims, "dims"), positive_int(channels, "channels")
        require(0 <= min_std < 1e6, f"min_std must not be negative, got {min_std}.")
        self.min_std = min_std
        self.register_buffer("y_mean", torch.zeros(channels))
        self.register_buffer("y_std", torch.ones(channels))
        self.register_buffer("region", torch.tensor([[-torch.inf, torch.inf]]).repeat(dims, 1))

    @abstractmethod
    def represent(self, context: PointSet, targets: Float[Tensor, "B N X"]) -> Float[Tensor, "B N raw"]:
        """Mean and raw deviation of each normalised value at the targets."""

    def forward(self, task: FieldTask) -> Predictive:
        """The prediction at the targets, in the units of the data.

        Raises:
            InputError: a task of other dimensions or values than the process was made for.
        """
        self.check(task)
        context = task.context
        seen = context._with(context.x, (context.y - self.y_mean) / self.y_std, context.mask)
        found = self.represent(seen, task.target.x)
        mean, raw = found.chunk(2, -1)
        std = (nn.functional.softplus(raw) + self.min_std**2).sqrt()
        return Predictive(mean * self.y_std + self.y_mean, std * self.y_std, task.target.mask)

    @torch.no_grad()
    def predict(self, task: FieldTask) -> Predictive:
        """The prediction in evaluation mode, without gradients.

        Warns where observations or targets lie outside of the region of training: of what is fixed there the model
        knows nothing.
        """
        self._warn_outside(task)
        with evaluating(self):
            return self(task)

    @torch.no_grad()
    def sample(
        self, task: FieldTask, count: int = 1, generator: torch.Generator | None = None
    ) -> Float[Tensor, "count B N Y"]:
        """Joint draws: target by target, each drawn value joins the context of the next, in a random order.

        Cost: N predictions of one target for `count * B` tasks.

        Source: Bruinsma et al. 2023, Autoregressive Conditional Neural Processes.
        """
        self.check(task)
        with evaluating(self):
            return _autoregressive(self, task, positive_int(count, "count"), generator)

    def set_normalizer(self, mean: Tensor | float, std: Tensor | float) -> None:
        """Values are seen as `(y - mean) / std`; one number, or one a channel.

        Raises:
            InputError: numbers that are not finite, or a std that is not positive.
        """
        given = [torch.as_tensor(value).to(self.y_mean) for value in (mean, std)]
        for value in given:
            require(
                value.ndim == 0 or tuple(value.shape) in ((1,), (self.channels,)),
                f"A normaliser is one number, or {self.channels} for the values of a point, got {tuple(value.shape)}.",
            )
        mean, std = (value.expand(self.channels) for value in given)
        require(
            bool(torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()),
            f"A normaliser needs finite means and positive deviations, got {mean.tolist()} and {std.tolist()}.",
        )
        self.y_mean.copy_(mean)
        self.y_std.copy_(std)

    def set_region(self, region: Tensor | list[tuple[float, float]]) -> None:
        """Where the training data lie: `(low, high)` of each coordinate."""
        box = torch.as_tensor(region).to(self.region)
        require(
            box.shape == self.region.shape and bool((box[:, 0] <= box[:, 1]).all()),
            f"A region is (low, high) for each of {self.dims} coordinates, got {box.tolist()}.",
        )
        self.region.copy_(box)

    @contextmanager
    def equivariant_only(self) -> Iterator[NeuralProcess]:
        """Within this context its fixed inputs are off."""
        with equivariant_only(self):
            yield self

    def deviation(self, tasks: FieldTask | Sequence[FieldTask], move: Any = None) -> FieldDeviation:
        """How far its predictions depart from those of its equivariant part: see `equilearn.processes.deviation`."""
        from equilearn.processes._deviation import deviation

        return deviation(self, tasks, move)

    def equivariant_part(self) -> NeuralProcess:
        """A copy whose fixed inputs are at strength 0, which is saved with it; of a strict process simply a copy."""
        part = copy.deepcopy(self)
        if relaxations(part):
            set_strength(part, 0.0)
        return part

    @property
    def strength(self) -> float:
        """The dial of its fixed inputs: 1 as trained, 0 for the equivariant process. May be set."""
        parts = relaxations(self)
        return float(parts[0].strength) if parts else 0.0

    @strength.setter
    def strength(self, value: float) -> None:
        set_strength(self, value)

    def check(self, task: FieldTask) -> None:
        """Raise `InputError` where a task does not fit."""
        if not isinstance(task, FieldTask):
            raise InputTypeError(f"A process takes a FieldTask, got {type(task).__name__}.")
        require(
            (task.dims, task.channels) == (self.dims, self.channels),
            f"This {type(self).__name__} takes {self.dims} coordinates and {self.channels} values a point, got "
            f"{task.dims} and {task.channels}.",
        )
        given, own = task.context.x, self.y_mean
        if given.dtype != own.dtype or given.device != own.device:
            raise InputError(
                f"The task is {given.dtype} on {given.device}, the process {own.dtype} on {own.device}. Use "
                f"task.to({own.dtype}), task.to({str(own.device)!r}), or move the process."
            )

    def _warn_outside(self, task: FieldTask) -> None:
        for name in ("context", "target"):
            part: PointSet = getattr(task, name)
            low, high = self.region.to(part.x).unbind(1)
            counts = part.mask if name == "context" else torch.ones_like(part.mask)
            out = ((part.x < low) | (part.x > high)).any(-1) & counts
            if bool(out.any()):
                warnings.warn(
                    f"{int(out.sum())} of {int(counts.sum())} {name} points lie outside of the region of training "
                    f"({', '.join(f'{a:.4g} to {b:.4g}' for a, b in self.region.tolist())}): what is fixed there is "
                    "unknown to the model.",
                    stacklevel=3,
                )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards every module is in the mode that it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _autoregressive(
    model: NeuralProcess, task: FieldTask, count: int, generator: torch.Generator | None
) -> Float[Tensor, "count B N Y"]:
    target = task.target
    batch, points = target.x.shape[:2]
    where = target.x.device if generator is None else generator.device
    order = torch.rand(batch, points, generator=generator, device=where).argsort(1).to(target.x.device)
    back = order.argsort(1)
    x = target.x.gather(1, order[..., None].expand_as(target.x)).repeat(count, 1, 1)
    context = task.context.padded(task.context.x.shape[1] + points, target.x[:, :1] if points else None)
    seen_x, seen_y = context.x.repeat(count, 1, 1), context.y.repeat(count, 1, 1)
    mask = context.mask.repeat(count, 1)
    known = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
    for i in range(points):
        here = x[:, i : i + 1]
        wanted = PointSet(here, here.new_zeros(len(x), 1, model.channels), known)
        found = model(FieldTask(PointSet(seen_x, seen_y, mask), wanted))
        place = seen_x.shape[1] - points + i
        seen_x, seen_y, mask = seen_x.clone(), seen_y.clone(), mask.clone()
        seen_x[:, place], mask[:, place] = here[:, 0], True
        seen_y[:, place] = found.sample(1, generator)[0, :, 0]
    drawn = seen_y[:, -points:] if points else seen_y[:, :0]
    drawn = drawn.gather(1, back.repeat(count, 1)[..., None].expand_as(drawn))
    return drawn.view(count, batch, points, model.channels)
