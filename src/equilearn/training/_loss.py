"""Losses by name, checked against model and targets before any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, one_of, require

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]

_NAMED: dict[str, Loss] = {"cross_entropy": nn.functional.cross_entropy, "mse": nn.functional.mse_loss}


def resolve_loss(loss: str | Loss) -> Loss:
    """The function that a name stands for; a function stands for itself."""
    if isinstance(loss, str):
        return _NAMED[one_of(loss, _NAMED, "loss")]
    if not callable(loss):
        raise InputTypeError(f"loss must be a name ({', '.join(_NAMED)}) or a function of (output, y), got {loss!r}.")
    return loss


def check_fit(loss: str | Loss, output: Any, y: Tensor, y_batch: Tensor, what: str = "training") -> None:
    """Raise `InputError` where a named loss cannot compare this output of a batch with its targets.

    Args:
        y, y_batch: all targets, and those of the batch.
        what: the data they belong to, for the message.

    `mse_loss` would broadcast, and `cross_entropy` would stop with an index error deep inside.
    """
    if not isinstance(loss, str):
        return
    if not isinstance(output, Tensor):
        raise InputTypeError(f"loss={loss!r} needs a model that returns one tensor, got {type(output).__name__}.")
    if loss == "mse":
        require(
            output.shape == y_batch.shape,
            f"The model returns shape {tuple(output.shape)} for {what} targets of shape {tuple(y_batch.shape)}; they "
            "must be equal. Reshape the targets (for example y[:, None]) or the output.",
        )
        return
    if y.dtype != torch.int64 or y.ndim != 1:
        raise InputError(
            f"Cross-entropy needs {what} labels of dtype int64 and shape (B,), got {y.dtype} and {tuple(y.shape)}. "
            "For numbers to be predicted use loss='mse'."
        )
    classes = output.shape[-1] if output.ndim == 2 else 0
    require(
        output.ndim == 2 and output.shape[0] == y_batch.shape[0],
        f"Cross-entropy needs outputs of shape (B, classes), got {tuple(output.shape)} for {y_batch.shape[0]} inputs.",
    )
    low, high = int(y.min()), int(y.max())
    require(
        low >= 0 and high < classes,
        f"The {what} labels run from {low} to {high}, but the model returns {classes} scores. "
        f"It needs {max(high + 1, 1)} outputs and labels from 0.",
    )
