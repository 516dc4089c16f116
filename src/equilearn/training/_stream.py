"""Training on a stream: batches that are drawn as they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from equilearn._check import InputTypeError, require
from equilearn.training._checkpoint import content_hash
from equilearn.training._metrics import device_of
from equilearn.training._run import Fitted, Plan, Progress, Source, evaluations, train
from equilearn.training._settings import check_model, check_plan, named_device

Draw: TypeAlias = Callable[[int, torch.Generator], Any]
"""`draw(batch_size, generator)` gives a batch."""


def fit_stream(
    model: nn.Module,
    draw: Draw,
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    schedule: str = "cosine",
    warmup: int = 0,
    clip: float | None = None,
    clip_value: float | None = 0.5,
    validation: Sequence[Any] | None = None,
    patience: int | None = None,
    evaluate_every: int | None = None,
    generator: torch.Generator | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
    device: torch.device | str | None = None,
) -> Fitted:
    """Train `model` in place with AdamW on batches that are drawn anew at every step, as from a simulator.

    The loss is all that is trained on: where the model has a penalty of its own, as `forward_with_penalty` tells, add
    it in `loss`.

    Args:
        draw: `draw(batch_size, generator)` gives a batch of any kind, drawn from the generator alone.
        loss: `loss(model, batch)` gives a scalar.
        clip: largest norm of the gradient; None for no limit.
        clip_value: largest entry of the gradient; None for no limit.
        validation: batches held out; the best weights by their mean loss are put back at the end.
        settings: what tells this stream from others, as JSON: a checkpoint of other settings is refused. So is one of
            other held-out tensors: those in tuples, lists, dicts and dataclasses are compared.
        device: where the model is trained; a batch that has `.to(device)`, or what a tuple, list or dict holds that
            has it, is brought there.

    The other settings, what is returned and raised are those of `fit`.

    Example:
        >>> def draw(batch, generator):
        ...     x = torch.rand(batch, 1, generator=generator)
        ...     return x, 3 * x + 1
        >>> def loss(model, batch):
        ...     return (model(batch[0]) - batch[1]).square().mean()
        >>> fitted = fit_stream(torch.nn.Linear(1, 1), draw, loss, steps=300, learning_rate=0.1)
        >>> fitted.history[-1]["loss"] < 1e-2
        True
    """
    for name, function in (("draw", draw), ("loss", loss)):
        if not callable(function):
            raise InputTypeError(f"{name} must be a function, got {type(function).__name__}.")
    every = evaluations(steps, evaluate_every)
    plan = Plan(steps, batch_size, learning_rate, weight_decay, schedule, warmup, clip, clip_value, patience, every)
    check_model(model)
    check_plan(plan, validation is not None)
    require(validation is None or len(validation) > 0, "validation holds no batch: give at least one, or None.")
    where = named_device(device) or device_of(model) or torch.device("cpu")
    source = _Stream(draw, loss, batch_size, validation, settings or {}, where)
    return train(model, source, plan, where, generator, seed, checkpoint, checkpoint_every, progress)


class _Stream(Source):
    fused: bool | None = True

    def __init__(
        self,
        draw: Draw,
        loss: Callable[[nn.Module, Any], Tensor],
        batch_size: int,
        held_out: Sequence[Any] | None,
        named: dict[str, Any],
        device: torch.device,
    ):
        super().__init__()
        self.draw, self.compare, self.held_out = draw, loss, held_out
        self.batch_size, self.named, self.device = batch_size, named, device

    def settings(self) -> dict[str, Any]:
        named = {f"stream.{name}": value for name, value in self.named.items()}  # apart from the settings of the run
        if self.held_out is None:
            return {**named, "validation": None}
        tensors = [tensor for batch in self.held_out for tensor in _tensors(batch)]
        return {**named, "validation": f"{len(self.held_out)} batches, {content_hash(tuple(tensors))}"}

    def batch(self, generator: torch.Generator) -> Any:
        return _moved(self.draw(self.batch_size, generator), self.device)

    def loss(self, model: nn.Module, batch: Any, first: bool) -> tuple[Tensor, Tensor | None]:
        value = self.compare(model, batch)
        if first and (not isinstance(value, Tensor) or value.ndim > 0):
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputTypeError(f"loss(model, batch) must give a scalar tensor, got {kind}.")
        return value, None

    def check_validation(self, model: nn.Module) -> None:
        """Nothing is known of the batches of a stream."""

    def validation(self, model: nn.Module) -> float | None:
        if self.held_out is None:
            return None
        was = model.training
        model.eval()
        try:
            losses = [float(self.compare(model, _moved(batch, self.device))) for batch in self.held_out]
        finally:
            model.train(was)
        return sum(losses) / len(losses)


def _moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device: itself, or its parts, wherever they can be moved."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: _moved(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_moved(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors of a batch that can be found."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        yield from _tensors(list(batch.values()))
    elif isinstance(batch, tuple | list):
        for part in batch:
            yield from _tensors(part)
    elif is_dataclass(batch) and not isinstance(batch, type):
        yield from _tensors([getattr(batch, field.name) for field in fields(batch)])
