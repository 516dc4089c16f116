"""Losses by name, checked against model and targets before any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, one_of, require

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]

NO_LABEL = -1
"""The label of what has none, such as padded nodes: counts in no loss and no score."""


def cross_entropy(output: Float[Tensor, "B *nodes classes"], labels: Int[Tensor, "B *nodes"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over samples, or over all labelled nodes of all samples.

    Labels `(B,)` are all taken; among labels `(B, n)` those of -1 are left out. Without any label the loss is 0.

    Example:
        >>> cross_entropy(torch.zeros(1, 3, 2), torch.tensor([[0, 1, -1]]))
        tensor(0.6931)
    """
    if labels.ndim == 1:
        return nn.functional.cross_entropy(output, labels)
    total = nn.functional.cross_entropy(output.movedim(-1, 1), labels, ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp_min(1)


_NAMED: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": nn.functional.mse_loss}


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
    if y.dtype != torch.int64 or y.ndim not in (1, 2):
        raise InputError(
            f"Cross-entropy needs {what} labels of dtype int64 and shape (B,), or (B, n) for a label a node, got "
            f"{y.dtype} and {tuple(y.shape)}. For numbers to be predicted use loss='mse'."
        )
    wanted = "(B, classes)" if y.ndim == 1 else "(B, n, classes)"
    require(
        output.shape[:-1] == y_batch.shape and output.ndim == y.ndim + 1,
        f"Cross-entropy needs outputs of shape {wanted}, got {tuple(output.shape)} for {what} labels of shape "
        f"{tuple(y_batch.shape)}.",
    )
    classes = output.shape[-1]
    low, high = int(y.min()), int(y.max())
    require(
        low >= (0 if y.ndim == 1 else NO_LABEL) and high < classes,
        f"The {what} labels run from {low} to {high}, but the model returns {classes} scores. "
        f"It needs {max(high + 1, 1)} outputs and labels from 0" + (" (-1: none)." if y.ndim > 1 else "."),
    )
    require(high >= 0, f"None of the {y.numel()} {what} labels is a class: all are {NO_LABEL}, which means no label.")
