"""Train a process on tasks that are drawn as needed; score it on tasks that are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, require
from equilearn.data.fields import FieldTask
from equilearn.processes._base import NeuralProcess, evaluating
from equilearn.training import Fitted, fit_stream

REGION_BATCHES = 16
"""Batches by which the region of training is known."""


def fit_process(
    model: NeuralProcess,
    draw: Callable[[int, torch.Generator], FieldTask],
    *,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    warmup: int | None = None,
    clip_value: float | None = 0.5,
    validation: Sequence[FieldTask] | None = None,
    patience: int | None = None,
    evaluate_every: int | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    settings: dict[str, Any] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    device: torch.device | str | None = None,
) -> Fitted:
    """Maximise the log-likelihood of targets: AdamW, a linear rise, a cosine down to zero, gradients clipped by value.

    Args:
        model: trained in place.
        draw: `draw(batch_size, generator)` gives tasks.
        warmup: steps of the rise; default three tenths of all.
        validation: tasks held out; the weights that score best there are put back at the end.

    The others as of `equilearn.training.fit_stream`. Where the process knows no region of training yet, it gets the box
    around the points of 16 batches: `predict` warns outside of it.

    Raises:
        InputError: what is not a process, tasks that do not fit it, a loss that is not finite.

    Cost: `steps` forward and backward passes.

    Example:
        >>> from equilearn.data.fields import PointSet
        >>> from equilearn.processes import CNP
        >>> def draw(batch, generator):
        ...     x = torch.rand(batch, 8, 1, generator=generator)
        ...     seen = PointSet(x, x)
        ...     return FieldTask(seen, seen)
        >>> fit_process(CNP(1, width=8), draw, steps=3).steps
        3
    """
    if not isinstance(model, NeuralProcess):
        raise InputTypeError(f"fit_process trains a NeuralProcess, got {type(model).__name__}.")
    if bool(torch.isinf(model.region).any()):
        model.set_region(_region(draw, batch_size, seed))
    return fit_stream(
        model,
        draw,
        negative_log_likelihood,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=(3 * steps) // 10 if warmup is None else warmup,
        clip_value=clip_value,
        validation=validation,
        patience=patience,
        evaluate_every=evaluate_every,
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        settings=settings,
        progress=progress,
        device=device,
    )


def _region(draw: Callable[[int, torch.Generator], FieldTask], batch_size: int, seed: int) -> Float[Tensor, "X 2"]:
    """The box around some batches, drawn from a stream of its own."""
    generator = torch.Generator().manual_seed(seed)
    boxes = []
    for _ in range(REGION_BATCHES):
        task = draw(batch_size, generator)
        x = torch.cat([task.context.x[task.context.mask], task.target.x[task.target.mask]])
        if len(x):
            boxes.append(torch.stack([x.amin(0), x.amax(0)], 1))
    require(len(boxes) > 0, f"The first {REGION_BATCHES} batches hold no observed point.")
    both = torch.stack(boxes)
    return torch.stack([both[..., 0].amin(0), both[..., 1].amax(0)], 1).cpu()


def negative_log_likelihood(model: nn.Module, task: FieldTask) -> Float[Tensor, ""]:
    """Less the mean log density of all known targets of a batch."""
    return -model(task).log_prob(task.target.y)


@torch.no_grad()
def log_likelihoods(model: NeuralProcess, tasks: FieldTask | Sequence[FieldTask]) -> Float[Tensor, " tasks"]:
    """The mean log density of the targets of each task, in evaluation mode: compare models by pairs.

    Raises:
        InputError: no tasks.

    Example:
        >>> from equilearn.data.fields import PointSet
        >>> from equilearn.processes import CNP
        >>> some = PointSet(torch.rand(4, 8, 1), torch.rand(4, 8, 1))
        >>> log_likelihoods(CNP(1), FieldTask(some, some)).shape
        torch.Size([4])
    """
    batches = [tasks] if isinstance(tasks, FieldTask) else list(tasks)
    require(len(batches) > 0, "No tasks were given to score.")
    with evaluating(model):
        return torch.cat([model(batch).log_prob(batch.target.y, "tasks") for batch in batches])
