"""The dial: parts of a model that depart from its symmetry, and can be turned off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, require


class Relaxation(nn.Module):
    """A part of a model that breaks its symmetry. Turned off, the model is the equivariant one, to the last bit.

    Arguments:
        drop: probability with which training leaves it out, for each sample by itself. What the symmetry explains is
            then learned by the equivariant part, and this part learns the rest.

    `strength` is the dial, 1 as trained and 0 for the equivariant model; it is saved with the model. `enabled` is a
    switch like `train` and `eval`: see `equivariant_only`.
    """

    strength: Tensor
    set_from_outside = ("strength",)
    """What training leaves as it is where it puts the best weights back."""

    def __init__(self, drop: float = 0.0):
        super().__init__()
        number(drop, "drop")
        require(0 <= drop < 1, f"drop must be a probability below 1, got {drop}.")
        self.drop = drop
        self.enabled = True
        self.register_buffer("strength", torch.ones(()))
        self._draw: Tensor | None = None  # set while a call of `shared_draw` lasts, None ever after

    @property
    def is_off(self) -> bool:
        """Whether it does nothing: switched off, or at strength 0.

        Cost: reads one number, for which a GPU has to finish what it has in hand: once a relaxed layer and call, but
        in compiled models.
        """
        if torch.compiler.is_compiling():  # a compiled model does not read numbers: there, 0 times it is added
            return not self.enabled
        return not self.enabled or float(self.strength) == 0

    def amount(self, batch: int, like: Tensor) -> Float[Tensor, "B"]:
        """How much of it each sample gets, `(B,)`: the strength, or 0 for the samples that training leaves without.

        Draws from torch's global generator, as `torch.nn.Dropout` does; within `shared_draw`, all parts of a model
        leave out the same samples.

        Raises:
            InputError: within `shared_draw`, where this part sees another number of samples than the model does.
        """
        amount = self.strength.to(like).expand(batch)
        if self.training and self.drop > 0:
            draw = torch.rand(batch, device=like.device) if self._draw is None else self._draw
            require(
                len(draw) == batch,
                f"The model was called on {len(draw)} samples, but a relaxed layer in it sees a batch of {batch}: "
                "which samples drop leaves out cannot be told. Use drop=0, or relax layers that keep the batch.",
            )
            amount = amount * (draw >= self.drop)
        return amount

    def penalty(self) -> Float[Tensor, ""]:
        """What this part asks to be added to the loss: nothing, but for a free branch."""
        return self.strength.new_zeros(())


def number(value: Any, name: str) -> None:
    """Raise `InputError` unless `value` is a single number."""
    single = isinstance(value, Tensor) and value.ndim == 0
    if isinstance(value, bool) or not (isinstance(value, Real) or single):
        raise InputTypeError(f"{name} must be a number, got {value!r}.")


def relaxations(model: nn.Module) -> list[Relaxation]:
    """The parts of a model that break its symmetry."""
    return [module for module in model.modules() if isinstance(module, Relaxation)]


def set_strength(model: nn.Module, strength: float) -> None:
    """Turn the dial of every part: 0 is the equivariant model, 1 the model as trained.

    Raises:
        InputError: a strength outside of [0, 1], or a model without such parts.
    """
    number(strength, "strength")
    require(0 <= strength <= 1, f"The strength of a relaxation lies between 0 and 1, got {strength}.")
    for part in _parts(model):
        part.strength.fill_(strength)


@contextmanager
def equivariant_only(model: nn.Module) -> Iterator[nn.Module]:
    """Within this context the model is its equivariant part, to the last bit.

    Raises:
        InputError: a model that has no part to switch off.

    Example:
        >>> from equilearn.relaxation import FixedInputs
        >>> fixed = FixedInputs(4, [(0, 1)])
        >>> x = torch.rand(2, 5, 1)
        >>> with equivariant_only(fixed):
        ...     bool(fixed(x).any())
        False
    """
    parts = _parts(model)
    before = [part.enabled for part in parts]
    for part in parts:
        part.enabled = False
    try:
        yield model
    finally:
        for part, enabled in zip(parts, before, strict=True):
            part.enabled = enabled


@contextmanager
def shared_draw(model: nn.Module, batch: int, device: torch.device | None = None) -> Iterator[nn.Module]:
    """Within this context all parts of a model leave out the same samples, where training drops them.

    One uniform number a sample is drawn from torch's global generator; each part keeps the samples whose number is at
    least its `drop`. When the context ends the parts hold nothing of it. `RelaxedModel` opens one around each call.

    Arguments:
        model: the model; nothing is drawn in evaluation, or where no part drops anything.
        batch: its samples in the call inside.
        device: where they live.

    Example:
        >>> from equilearn.relaxation import FixedInputs
        >>> pair = torch.nn.ModuleList(FixedInputs(1, [(0, 1)], drop=0.5) for _ in range(2))
        >>> with shared_draw(pair, 100):
        ...     first, second = (part.amount(100, torch.zeros(1)) for part in pair)
        >>> bool((first == second).all()), 0 < int(first.sum()) < 100
        (True, True)
    """
    parts = [part for part in relaxations(model) if part.training and part.drop > 0]
    draw = torch.rand(batch, device=device) if parts else None
    before = [part._draw for part in parts]
    for part in parts:
        part._draw = draw
    try:
        yield model
    finally:
        for part, old in zip(parts, before, strict=True):
            part._draw = old


def _parts(model: nn.Module) -> list[Relaxation]:
    parts = relaxations(model)
    if not parts:
        raise InputError(
            f"{type(model).__name__} has no part that breaks its symmetry. Make one with equilearn.relax(model, ...), "
            "or give it FixedInputs."
        )
    return parts
