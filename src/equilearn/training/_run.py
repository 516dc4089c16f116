"""The state of a training run between steps: batches, optimizer, schedule, best weights, exact resume."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, positive_int
from equilearn.training._checkpoint import content_hash, load_checkpoint, random_states, restore_random, save_checkpoint

Progress = Callable[[int, int, float], None]


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
class Plan:
    """The settings of a run; a checkpoint is resumed under the same ones only."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: str
    warmup: int
    clip: float | None
    clip_value: float | None
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


def evaluations(steps: int, every: int | None) -> int:
    """Steps between evaluations: as given, or a twentieth of all."""
    positive_int(steps, "steps", 0)
    return max(steps // 20, 1) if every is None else positive_int(every, "evaluate_every")


class Source(ABC):
    """Where batches come from, and the loss of one."""

    fused: bool | None = None
    """True where the optimizer takes a step in one pass over the weights, which pays where models are small."""
    order: Tensor
    """What is left of a permutation of the data, where there is one; kept in checkpoints."""

    def __init__(self) -> None:
        self.order = torch.empty(0, dtype=torch.int64)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What tells these data from others, as JSON; compared with that of a checkpoint."""

    @abstractmethod
    def batch(self, generator: torch.Generator) -> Any:
        """The next batch."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any, first: bool) -> tuple[Tensor, Tensor | None]:
        """The loss of a batch, and what the model itself asks to be added to it; `first`: nothing was trained yet."""

    @abstractmethod
    def check_validation(self, model: nn.Module) -> None:
        """Raise `InputError` where the held-out data do not fit the model."""

    @abstractmethod
    def validation(self, model: nn.Module) -> float | None:
        """The loss on held-out data; None where there are none. Called without gradients."""


class Run:
    """The state of one training, between steps."""

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        plan: Plan,
        generator: torch.Generator,
        device: torch.device,
        path: str | os.PathLike[str] | None,
        origin: dict[str, Any],
    ):
        self.model, self.source, self.plan = model, source, plan
        self.generator, self.device, self.path = generator, device, path
        self.settings = {} if path is None else {**vars(plan), **source.settings(), **origin}
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=source.fused
        )
        self.step, self.stopped, self.seconds, self.whole = 0, False, 0.0, True
        self.history: list[dict[str, float]] = []
        self.sum, self.count, self.best_loss, self.bad = 0.0, 0, math.inf, 0
        self.best: dict[str, Tensor] | None = None

    # --- beginning and keeping ------------------------------------------------------------

    def start(self) -> None:
        """From the checkpoint where there is one, from the beginning otherwise."""
        self.source.check_validation(self.model)  # before the random streams are set: a model may draw from them
        if self.path is not None and Path(self.path).exists():
            self.best, random, kept = load_checkpoint(self.path, self.model, self.optimizer, self.settings)
            if self.best is not None:
                self.best = {name: value.to(self.device) for name, value in self.best.items()}
            self.source.order = random.pop("order")
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
        random = {**random_states(self.generator, self.device), "order": self.source.order}
        kept = {name: getattr(self, name) for name in names}
        save_checkpoint(self.path, self.model, self.optimizer, self.best, random, kept, self.settings)

    # --- the loop -------------------------------------------------------------------------

    def loop(self, interrupted: threading.Event, save_every: int, progress: Progress | None) -> None:
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
            dials = _set_from_outside(self.model)
            kept = {name: value for name, value in self.model.state_dict().items() if name in dials}
            self.model.load_state_dict({**self.best, **kept})

    def _advance(self) -> float:
        """One optimizer step; returns its loss."""
        self.model.train()
        loss, penalty = self.source.loss(self.model, self.source.batch(self.generator), self.step == 0)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if penalty is None else loss + penalty).backward()
        # Without a limit the gradient is left as it is, but its norm tells whether it is finite.
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if self.plan.clip is None else self.plan.clip)
        if self.plan.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, self.plan.clip_value)
        value, size = torch.stack([loss.detach().double(), norm.detach().double().to(loss.device)]).tolist()
        self._require_finite(value, size)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step)
        self.optimizer.step()
        self.step, self.sum, self.count = self.step + 1, self.sum + value, self.count + 1
        return value

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
        with torch.no_grad():
            value = self.source.validation(self.model)
        if value is not None:
            if not math.isfinite(value):
                raise InputError(
                    f"The loss on the held-out data became {value} after step {self.step} of {self.plan.steps}, while "
                    "that of training was finite. Check the scale of the held-out data and that each batch of them has "
                    "targets, or use a smaller learning rate."
                )
            entry["validation"] = value
            if value < self.best_loss:
                self.best_loss, self.bad = value, 0
                self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
            else:
                self.bad += 1
                self.stopped = self.plan.patience is not None and self.bad >= self.plan.patience
        self.history.append(entry)


def _set_from_outside(model: nn.Module) -> set[str]:
    """Entries of the state that no training learns, such as the dial of a relaxation: each module may name some in
    `set_from_outside`. They stay as they are where the best weights are put back."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules(remove_duplicate=False)
        for name in getattr(module, "set_from_outside", ())
    }


def train(
    model: nn.Module,
    source: Source,
    plan: Plan,
    device: torch.device,
    generator: torch.Generator | None,
    seed: int,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: int | None,
    progress: Progress | None,
) -> Fitted:
    """All steps of the plan, from the checkpoint where there is one. See `fit` for the settings."""
    save_every = plan.evaluate_every if checkpoint_every is None else positive_int(checkpoint_every, "checkpoint_every")
    model.to(device)
    origin: dict[str, Any] = (
        {"seed": positive_int(seed, "seed", 0)}
        if generator is None
        else {"generator": content_hash(generator.get_state())}
    )
    generator = torch.Generator().manual_seed(seed) if generator is None else generator
    run = Run(model, source, plan, generator, device, checkpoint, origin)
    modes = [(module, module.training) for module in model.modules()]
    try:
        with forked(device), deferred_interrupt(checkpoint is not None) as interrupted:
            run.start()
            run.loop(interrupted, save_every, progress)
    finally:
        for module, mode in modes:
            module.training = mode
    return Fitted(model, tuple(run.history), run.seconds, run.step, run.stopped)


@contextmanager
def forked(device: torch.device) -> Iterator[None]:
    """Leave the global random streams as they were."""
    cuda = [device.index if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        yield


@contextmanager
def deferred_interrupt(wanted: bool) -> Iterator[threading.Event]:
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
