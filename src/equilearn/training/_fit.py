"""Training on arrays: inputs and targets that are there from the beginning."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError
from equilearn.actions import Data, batch_size, first_leaf, map_data
from equilearn.training._checkpoint import content_hash
from equilearn.training._loss import Loss, check_fit, resolve_loss
from equilearn.training._metrics import device_of, predict
from equilearn.training._run import Fitted, Plan, Progress, Source, evaluations, train
from equilearn.training._settings import check_data, check_model, check_plan, check_validation, named_device


def fit(
    model: nn.Module,
    x: Data,
    y: Tensor,
    *,
    loss: str | Loss = "cross_entropy",
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    schedule: str = "cosine",
    warmup: int = 0,
    clip: float | None = 1.0,
    validation: tuple[Data, Tensor] | None = None,
    patience: int | None = None,
    evaluate_every: int | None = None,
    augment: Callable[..., Any] | None = None,
    generator: torch.Generator | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
    device: torch.device | str | None = None,
) -> Fitted:
    """Train `model` in place with AdamW.

    Every batch has `min(batch_size, B)` samples, taken in turn from permutations of the data that
    follow one another, so that each sample is seen equally often.

    Args:
        model: any module, batch first. Its modes (training or evaluation) are restored at the end.
        x: inputs, a tensor or a tuple of tensors, batch first.
        y: labels `(B,)` int64 for `"cross_entropy"`, targets shaped like the output for `"mse"`.
        loss: `"cross_entropy"`, `"mse"`, or a function of `(output, y)` that returns a scalar. Where the model
            has a method `forward_with_penalty(x) -> (output, penalty)`, as symmetrized ones have, the penalty is
            added for the gradient; the history tells the loss alone.
        schedule: `"cosine"` (down to zero) or `"constant"`, after `warmup` steps of linear rise.
        clip: largest norm of the gradient; None for no limit.
        validation: `(x, y)` held out; the best weights by its loss are put back at the end. What a module names in
            `set_from_outside`, as relaxations name their dial, stays as it is then.
        patience: with `validation`: evaluations without improvement after which training stops.
        evaluate_every: steps between entries of the history; default a twentieth of `steps`.
        augment: `augment(x, generator) -> x` or `augment(x, y, generator) -> (x, y)`, on each batch.
        generator: source of batches and augmentations; default a fresh one from `seed`. Dropout
            draws from a stream forked from it: the global random state is left as it was.
        checkpoint: a file. Where it exists, training goes on from it bit for bit; it is written
            every `checkpoint_every` steps (default with each evaluation), at the end and on Ctrl-C.
            Other settings, another seed or other data than it was written with are refused; a loss or
            an `augment` of your own cannot be compared.
        progress: called as `progress(step, steps, loss)` after each step.
        device: where to train; default where the model is.

    Returns:
        `Fitted`: the model, history, seconds, steps, whether it stopped early.

    Raises:
        InputError: data or settings that do not fit together; a loss, a held-out one too, or gradient that is not
            finite (says at which step); a checkpoint of another run (says what differs).
        KeyboardInterrupt: on Ctrl-C, after the step in hand and the checkpoint.

    Cost: `steps` forward and backward passes of one batch, plus the evaluations.

    Example:
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> fitted = fit(torch.nn.Linear(1, 1), x, 3 * x + 1, loss="mse", steps=300, learning_rate=0.1)
        >>> fitted.history[-1]["loss"] < 1e-3
        True
    """
    every = evaluations(steps, evaluate_every)
    plan = Plan(steps, batch_size, learning_rate, weight_decay, schedule, warmup, clip, None, patience, every)
    check_model(model)
    check_plan(plan, validation is not None)
    check_data(x, y, "training")
    if validation is not None:
        check_validation(validation)
    where = named_device(device) or device_of(model) or first_leaf(x).device
    source = _Arrays(x, y, loss, validation, _hook(augment), batch_size, where)
    return train(model, source, plan, where, generator, seed, checkpoint, checkpoint_every, progress)


class _Arrays(Source):
    """Batches of arrays, from permutations that follow one another."""

    def __init__(
        self,
        x: Data,
        y: Tensor,
        loss: str | Loss,
        held_out: tuple[Data, Tensor] | None,
        augment: Callable[..., tuple[Data, Tensor]],
        batch_size: int,
        device: torch.device,
    ):
        super().__init__()
        self.x, self.y, self.held_out, self.augment = x, y, held_out, augment
        self.named_loss, self.compare = loss, resolve_loss(loss)
        self.batch_size, self.device = batch_size, device

    def settings(self) -> dict[str, Any]:
        return {
            "loss": self.named_loss if isinstance(self.named_loss, str) else "custom",
            "samples": batch_size(self.x),
            "x": content_hash(self.x),
            "y": content_hash(self.y),
            "validation": None if self.held_out is None else content_hash(self.held_out),
        }

    def batch(self, generator: torch.Generator) -> tuple[Data, Tensor]:
        total = batch_size(self.x)
        size = min(self.batch_size, total)
        if len(self.order) < size:
            fresh = torch.randperm(total, generator=generator, device=generator.device).cpu()
            self.order = torch.cat([self.order, fresh])
        index, self.order = self.order[:size], self.order[size:]
        x = map_data(lambda t: t[index.to(t.device)].to(self.device), self.x)
        return self.augment(x, self.y[index.to(self.y.device)].to(self.device), generator)

    def loss(self, model: nn.Module, batch: tuple[Data, Tensor], first: bool) -> tuple[Tensor, Tensor | None]:
        x, y = batch
        output, penalty = self._forward(model, x)
        if first:
            check_fit(self.named_loss, output, self.y, y)
        return self.compare(output, y), penalty

    def check_validation(self, model: nn.Module) -> None:
        if self.held_out is None:
            return
        x, y = map_data(lambda t: t[:1], self.held_out)
        with torch.no_grad():
            check_fit(self.named_loss, predict(model, x), self.held_out[1], y, "validation")

    def validation(self, model: nn.Module) -> float | None:
        if self.held_out is None:
            return None
        x, y = self.held_out
        return float(self.compare(predict(model, x), y))

    def _forward(self, model: nn.Module, x: Data) -> tuple[Any, Tensor | None]:
        """The output, and what the model itself asks to be added to the loss."""
        try:
            both = getattr(model, "forward_with_penalty", None)
            return (model(x), None) if both is None else both(x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"The model normalises over the batch, and a batch of {batch_size(x)} has nothing to normalise over. "
                "Give more samples or a larger batch_size, or use another normalisation (GroupNorm, LayerNorm)."
            ) from error


def _hook(augment: Callable[..., Any] | None) -> Callable[..., tuple[Data, Tensor]]:
    """Both forms of the hook as `(x, y, generator) -> (x, y)`."""
    if augment is None:
        return lambda x, y, generator: (x, y)
    required = [
        p
        for p in inspect.signature(augment).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) == 3:
        return augment
    if len(required) == 2:
        return lambda x, y, generator: (augment(x, generator), y)
    raise InputError(
        f"augment must take (x, generator) or (x, y, generator); it takes {[p.name for p in required] or 'nothing'}."
    )
