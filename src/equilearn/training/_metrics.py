"""Run a model on data in batches, and score what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from equilearn._check import InputError, positive_int, require
from equilearn.actions import Data, batch_size, first_leaf, map_data


@contextmanager
def evaluating(model: Callable[[Data], Data]) -> Iterator[None]:
    """Evaluation mode inside the block; every submodule's own mode again after it."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def device_of(model: Callable[[Data], Data]) -> torch.device | None:
    """Where the first parameter or buffer lives; None for a model without any."""
    if not isinstance(model, nn.Module):
        return None
    tensor = next(model.parameters(), None)
    tensor = next(model.buffers(), None) if tensor is None else tensor
    return None if tensor is None else tensor.device


def predict(model: Callable[[Data], Data], x: Data, batch_size: int = 1024) -> Data:
    """`model(x)` in batches, without gradients and in evaluation mode.

    Args:
        model: any module or callable, batch first. Its mode is restored afterwards.
        x: inputs, a tensor or a tuple of tensors; moved to the model's device batch by batch.
        batch_size: inputs a call.

    Returns:
        The outputs, on the device of `x`. An empty `x` gives an empty output.

    Cost: one pass over `x`; memory of one batch beside the outputs.

    Example:
        >>> predict(torch.nn.Linear(3, 2), torch.ones(5, 3), batch_size=2).shape
        torch.Size([5, 2])
    """
    positive_int(batch_size, "batch_size")
    here, there = first_leaf(x).device, device_of(model) or first_leaf(x).device
    # One call at least: only the model knows the shape of its empty output.
    starts = range(0, max(_count(x), 1), batch_size)
    with evaluating(model), torch.no_grad():
        parts = [
            map_data(lambda t: t.to(here), model(map_data(lambda t, i=i: t[i : i + batch_size].to(there), x)))
            for i in starts
        ]
    return _cat(parts)


def _count(x: Data) -> int:
    return batch_size(x)


def _cat(parts: list[Data]) -> Data:
    if isinstance(parts[0], tuple | list):
        return tuple(_cat([part[i] for part in parts]) for i in range(len(parts[0])))
    return torch.cat(parts)


def accuracy(output: Shaped[Tensor, "B *more"], labels: Shaped[Tensor, "B *nodes"]) -> float:
    """Share of right answers. `output` holds a score for each class, or the classes themselves.

    Labels may be `(B,)`, or `(B, n)` for a label a node; there -1 means no label and is not counted.

    Raises:
        InputError: where the numbers of samples or nodes differ, or there is no label.

    Example:
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        0.5
        >>> accuracy(torch.tensor([[1, 0, 0]]), torch.tensor([[1, 1, -1]]))
        0.5
    """
    guess = output.argmax(-1) if output.ndim == labels.ndim + 1 else output
    _require_same(guess, labels)
    labels = labels.to(guess.device)
    counted = labels != -1 if labels.ndim > 1 else torch.ones_like(labels, dtype=torch.bool)
    require(bool(counted.any()), f"There is nothing to score: all {labels.numel()} labels are -1, which means none.")
    return float((guess == labels)[counted].double().mean())


def relative_error(output: Float[Tensor, "B *shape"], target: Float[Tensor, "B *shape"]) -> float:
    """`||output - target|| / ||target||`, both over all samples, in float64.

    A target of zeros gives 0 where the output is zero too and infinity otherwise.

    Raises:
        InputError: where the shapes differ (nothing is broadcast), or there are no samples.

    Example:
        >>> relative_error(torch.tensor([[3.0], [3.0]]), torch.tensor([[3.0], [4.0]]))
        0.2
    """
    _require_same(output, target)
    wanted = target.double()
    error = float((output.to(wanted.device).double() - wanted).norm())
    size = float(wanted.norm())
    if size == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / size


def _require_same(output: Tensor, target: Tensor) -> None:
    if output.shape != target.shape:
        raise InputError(f"Outputs of shape {tuple(output.shape)} do not fit targets of shape {tuple(target.shape)}.")
    require(target.numel() > 0, f"There is nothing to score: the targets have shape {tuple(target.shape)}.")
