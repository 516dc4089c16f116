"""One short training loop: AdamW, schedule, clipping, early stop, exact resume."""

from __future__ import annotations

import inspect
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, positive_int
from equilearn.actions import Data, batch_size, first_leaf, map_data
from equilearn.training._checkpoint import content_hash, load_checkpoint, random_states, restore_random, save_checkpoint
from equilearn.training._loss import Loss, check_fit, resolve_loss
from equilearn.training._metrics import device_of, predict
from equilearn.training._settings import check_data, check_model, check_plan, check_validation, named_device


@dataclass(frozen=True)
class Fitted:
    """What `fit` gives back.

    Args:
        model: the model that was given, trained; with `validation`, at its best weights.
        history: one entry an evaluation: `step`, `loss` (mean since the last entry),
            `learning_rate` and, with `validation`, `validation` (its loss).
        seconds: training time, over all parts of a resumed run.
        steps: optimizer steps taken.
        stopped: whether patience ended it before all steps.
    """

    model: nn.Module
    history: tuple[dict[str, float], ...]
    seconds: float
    steps: int
    stopped: bool


@dataclass(frozen=True)
class _Plan:
    """The settings of a run; a checkpoint is resumed under the same ones only."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: str
    warmup: int
    clip: float | None
    patience: int | None
    evaluate_every: int

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


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
    progress: Callable[[int, int, float], None] | None = None,
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
        validation: `(x, y)` held out; the best weights by its loss are put back at the end.
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
        InputError: data or settings that do not fit together; a loss or gradient that is not finite
            (says at which step); a checkpoint of another run (says what differs).
        KeyboardInterrupt: on Ctrl-C, after the step in hand and the checkpoint.

    Cost: `steps` forward and backward passes of one batch, plus the evaluations.

    Example:
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> fitted = fit(torch.nn.Linear(1, 1), x, 3 * x + 1, loss="mse", steps=300, learning_rate=0.1)
        >>> fitted.history[-1]["loss"] < 1e-3
        True
    """
    steps = positive_int(steps, "steps", 0)
    every = max(steps // 20, 1) if evaluate_every is None else positive_int(evaluate_every, "evaluate_every")
    save_every = every if checkpoint_every is None else positive_int(checkpoint_every, "checkpoint_every")
    plan = _Plan(steps, batch_size, learning_rate, weight_decay, schedule, warmup, clip, patience, every)
    check_model(model)
    check_plan(plan, validation is not None)
    check_data(x, y, "training")
    if validation is not None:
        check_validation(validation)
    where = named_device(device) or device_of(model) or first_leaf(x).device
    model.to(where)
    source = (
        {"seed": positive_int(seed, "seed", 0)}
        if generator is None
        else {"generator": content_hash(generator.get_state())}
    )
    generator = torch.Generator().manual_seed(seed) if generator is None else generator
    run = _Run(model, x, y, loss, plan, validation, _hook(augment), generator, where, checkpoint, source)
    modes = [(module, module.training) for module in model.modules()]
    try:
        with _forked(where), _deferred_interrupt(checkpoint is not None) as interrupted:
            run.start()
            run.loop(interrupted, save_every, progress)
    finally:
        for module, mode in modes:
            module.training = mode
    return Fitted(model, tuple(run.history), run.seconds, run.step, run.stopped)


class _Run:
    """The state of one call of `fit`, between steps."""

    def __init__(
        self,
        model: nn.Module,
        x: Data,
        y: Tensor,
        loss: str | Loss,
        plan: _Plan,
        validation: tuple[Data, Tensor] | None,
        augment: Callable[..., tuple[Data, Tensor]],
        generator: torch.Generator,
        device: torch.device,
        path: str | os.PathLike[str] | None,
        source: dict[str, Any],
    ):
        self.model, self.x, self.y, self.plan = model, x, y, plan
        self.named_loss, self.loss, self.validation, self.augment = loss, resolve_loss(loss), validation, augment
        self.generator, self.device, self.path = generator, device, path
        self.settings = {} if path is None else {**self._settings(), **source}
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self.order = torch.empty(0, dtype=torch.int64)
        self.step, self.stopped, self.seconds, self.whole = 0, False, 0.0, True
        self.history: list[dict[str, float]] = []
        self.sum, self.count, self.best_loss, self.bad = 0.0, 0, math.inf, 0
        self.best: dict[str, Tensor] | None = None

    # --- beginning and keeping ------------------------------------------------------------

    def start(self) -> None:
        """From the checkpoint where there is one, from the beginning otherwise."""
        if self.validation is not None:  # before the random streams are set, as a model may draw from them
            x, y = map_data(lambda t: t[:1], self.validation)
            with torch.no_grad():
                check_fit(self.named_loss, predict(self.model, x), self.validation[1], y, "validation")
        if self.path is not None and Path(self.path).exists():
            self.best, random, kept = load_checkpoint(self.path, self.model, self.optimizer, self.settings)
            if self.best is not None:
                self.best = {name: value.to(self.device) for name, value in self.best.items()}
            self.order = random.pop("order")
            restore_random(random, self.generator, self.device)
            for name, value in kept.items():
                setattr(self, name, value)
            if self.best_loss is None:  # infinity, which JSON lacks
                self.best_loss = math.inf
        else:
            # The stream that dropout draws from follows from the generator, not from the caller's global state.
            seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
            torch.default_generator.manual_seed(int(seed))
            if self.device.type == "cuda":
                torch.cuda.manual_seed(int(seed))

    def save(self) -> None:
        if self.path is None:
            return
        names = ("step", "stopped", "seconds", "history", "sum", "count", "best_loss", "bad")
        random = {**random_states(self.generator, self.device), "order": self.order}
        kept = {name: getattr(self, name) for name in names}
        save_checkpoint(self.path, self.model, self.optimizer, self.best, random, kept, self.settings)

    def _settings(self) -> dict[str, Any]:
        name = self.named_loss if isinstance(self.named_loss, str) else "custom"
        return {
            **vars(self.plan),
            "loss": name,
            "samples": batch_size(self.x),
            "x": content_hash(self.x),
            "y": content_hash(self.y),
            "validation": None if self.validation is None else content_hash(self.validation),
        }

    # --- the loop -------------------------------------------------------------------------

    def loop(
        self, interrupted: threading.Event, save_every: int, progress: Callable[[int, int, float], None] | None
    ) -> None:
        """Steps until all are done or patience ends; then the best weights, where there are any."""
        started, before = time.perf_counter(), self.seconds
        try:
            while self.step < self.plan.steps and not self.stopped:
                self.whole = False
                value = self._advance()
                if self.step % self.plan.evaluate_every == 0 or self.step == self.plan.steps:
                    self._evaluate()
                self.seconds, self.whole = before + time.perf_counter() - started, True
                if progress is not None:
                    progress(self.step, self.plan.steps, value)
                if interrupted.is_set():
                    raise KeyboardInterrupt
                if self.step % save_every == 0:
                    self.save()
        except KeyboardInterrupt:
            # From within a step (a hook may raise it) the state is not one to go on from: the last one kept is.
            if self.whole:
                self.save()
            raise
        self.save()
        if self.best is not None:
            self.model.load_state_dict(self.best)

    def _advance(self) -> float:
        """One optimizer step; returns its loss."""
        self.model.train()
        x, y = self._batch()
        output, penalty = self._forward(x)
        if self.step == 0:
            check_fit(self.named_loss, output, self.y, y)
        loss = self.loss(output, y)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if penalty is None else loss + penalty).backward()
        norm = torch.zeros((), device=loss.device)
        if self.plan.clip is not None:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)
        value, size = torch.stack([loss.detach().double(), norm.detach().double().to(loss.device)]).tolist()
        self._require_finite(value, size)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step)
        self.optimizer.step()
        self.step, self.sum, self.count = self.step + 1, self.sum + value, self.count + 1
        return value

    def _forward(self, x: Data) -> tuple[Any, Tensor | None]:
        """The output, and what the model itself asks to be added to the loss."""
        try:
            both = getattr(self.model, "forward_with_penalty", None)
            return (self.model(x), None) if both is None else both(x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"The model normalises over the batch, and a batch of {batch_size(x)} has nothing to normalise over. "
                "Give more samples or a larger batch_size, or use another normalisation (GroupNorm, LayerNorm)."
            ) from error

    def _batch(self) -> tuple[Data, Tensor]:
        total = batch_size(self.x)
        size = min(self.plan.batch_size, total)
        if len(self.order) < size:
            fresh = torch.randperm(total, generator=self.generator, device=self.generator.device).cpu()
            self.order = torch.cat([self.order, fresh])
        index, self.order = self.order[:size], self.order[size:]
        x = map_data(lambda t: t[index.to(t.device)].to(self.device), self.x)
        return self.augment(x, self.y[index.to(self.y.device)].to(self.device), self.generator)

    def _require_finite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"The loss became {loss}" if not math.isfinite(loss) else "The gradient became infinite or NaN"
        raise InputError(
            f"{what} at step {self.step + 1} of {self.plan.steps}. Use a smaller learning rate (now "
            f"{self.plan.learning_rate:g}), a warm-up, or a smaller clip; and check the scale of the inputs."
        )

    def _evaluate(self) -> None:
        entry = {"step": self.step, "loss": self.sum / self.count, "learning_rate": self.plan.rate(self.step - 1)}
        self.sum, self.count = 0.0, 0
        if self.validation is not None:
            x, y = self.validation
            with torch.no_grad():
                value = float(self.loss(predict(self.model, x), y))
            entry["validation"] = value
            if value < self.best_loss:
                self.best_loss, self.bad = value, 0
                self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
            else:
                self.bad += 1
                self.stopped = self.plan.patience is not None and self.bad >= self.plan.patience
        self.history.append(entry)


# --- hooks and contexts ------------------------------------------------------------------


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


@contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    """Leave the global random streams as they were."""
    cuda = [device.index if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        yield


@contextmanager
def _deferred_interrupt(wanted: bool) -> Iterator[threading.Event]:
    """Let the step in hand finish on Ctrl-C, so that the checkpoint is whole; a second one ends at once.

    Signals reach the main thread only; elsewhere, and without a checkpoint, nothing changes.
    """
    flag = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    if not wanted or threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield flag
        return

    def note(number: int, frame: Any) -> None:
        if flag.is_set():
            previous(number, frame)
        flag.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
