"""Training on a stream: batches that are drawn as they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from equilearn._check import InputTypeError, require
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

    Args:
        draw: `draw(batch_size, generator)` gives a batch of any kind, drawn from the generator alone.
        loss: `loss(model, batch)` gives a scalar.
        clip: largest norm of the gradient; None for no limit.
        clip_value: largest entry of the gradient; None for no limit.
        validation: batches held out; the best weights by their mean loss are put back at the end.
        settings: what tells this stream from others, as JSON: a checkpoint of other settings is refused.
        device: where the model is trained; a batch that has `.to(device)` is brought there.

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
        return {**self.named, "validation": None if self.held_out is None else len(self.held_out)}

    def batch(self, generator: torch.Generator) -> Any:
        return self._here(self.draw(self.batch_size, generator))

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
            losses = [float(self.compare(model, self._here(batch))) for batch in self.held_out]
        finally:
            model.train(was)
        return sum(losses) / len(losses)

    def _here(self, batch: Any) -> Any:
        return batch.to(self.device) if hasattr(batch, "to") else batch
