"""What `fit` is given: checked before anything is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, finite, one_of, positive_int, require
from equilearn.actions import map_data

SCHEDULES = ("cosine", "constant")


def check_model(model: Any) -> None:
    """Raise `InputError` unless `model` is a module with something to train."""
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"fit trains a torch.nn.Module, got {type(model).__name__}.")
    require(any(p.requires_grad for p in model.parameters()), "The model has no parameters to train.")


def check_plan(plan: Any, validated: bool) -> None:
    """Raise `InputError` where a setting of a run cannot be used."""
    positive_int(plan.batch_size, "batch_size")
    positive_int(plan.warmup, "warmup", 0)
    one_of(plan.schedule, SCHEDULES, "schedule")
    require(
        _number(plan.learning_rate, "learning_rate") > 0, f"learning_rate must be positive, got {plan.learning_rate}."
    )
    require(_number(plan.weight_decay, "weight_decay") >= 0, f"weight_decay must not be negative: {plan.weight_decay}.")
    if plan.clip is not None:
        require(_number(plan.clip, "clip") > 0, f"clip must be positive or None, got {plan.clip}.")
    if plan.clip_value is not None:
        require(_number(plan.clip_value, "clip_value") > 0, f"clip_value must be positive or None: {plan.clip_value}.")
    if plan.patience is not None:
        require(validated, "patience needs validation data: without any held out nothing says when to stop.")
        positive_int(plan.patience, "patience")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputTypeError(f"{name} must be a number, got {value!r}.")
    require(not math.isnan(value), f"{name} must be a number, got {value!r}.")
    return float(value)


def check_data(x: Any, y: Any, what: str) -> None:
    """Raise `InputError` unless `x` and `y` are tensors, finite, not empty, and as many.

    Args:
        what: `"training"` or `"validation"`, for the message.
    """
    if not isinstance(y, Tensor):
        raise InputTypeError(f"The {what} targets must be a tensor, got {type(y).__name__}. Use torch.as_tensor(y).")
    sizes: list[int] = []

    def visit(tensor: Any) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise InputTypeError(
                f"The {what} inputs must be a tensor or a tuple of tensors; they hold a {type(tensor).__name__}. "
                "Use torch.as_tensor(x)."
            )
        require(tensor.ndim > 0, f"The {what} data hold a single value; the batch is the first axis.")
        sizes.append(len(tensor))
        return finite(tensor, f"The {what} input")

    map_data(visit, (x, y))
    require(
        len(set(sizes)) == 1,
        f"The {what} data hold {sizes[0]} inputs and {sizes[-1]} targets (all sizes: {sizes}); they must match.",
    )
    require(sizes[0] > 0, f"The {what} data are empty. At least one sample is needed.")


def check_validation(validation: Any) -> None:
    """Raise `InputError` unless `validation` is a pair that `check_data` lets pass."""
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise InputTypeError(f"validation must be a pair (x, y), got {type(validation).__name__}.")
    x, y = validation
    check_data(x, y, "validation")


def named_device(device: torch.device | str | None) -> torch.device | None:
    """`device` as torch knows it."""
    try:
        return None if device is None else torch.device(device)
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Unknown device {device!r}: {reason}. Use 'cpu', 'cuda' or None.") from error
