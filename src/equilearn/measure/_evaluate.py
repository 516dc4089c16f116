"""Calling somebody's model in order to measure it: in evaluation mode, without gradients, in batches,
leaving the model and the random state of the process as they were."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, finite, not_empty, require
from equilearn.actions import Data, batch_size, first_leaf, map_data
from equilearn.groups import Element
from equilearn.symmetry import Symmetry

Model: TypeAlias = Callable[[Data], Data]

Difference: TypeAlias = Tensor  # (B,) squared norms, float64


def check_inputs(symmetry: Symmetry, x: Data) -> None:
    """`x` is not empty, holds finite numbers and fits the input action; else `InputError`."""
    for number, leaf in enumerate(leaves(x)):
        name = "x" if isinstance(x, Tensor) else f"x[{number}]"
        if not isinstance(leaf, Tensor):
            raise InputTypeError(
                f"{name} must be a tensor, got {type(leaf).__name__}. Convert with torch.as_tensor(...)."
            )
        if leaf.dtype != torch.int64 or leaf.shape[:1] == (0,):  # graphs without edges have an empty list of them
            not_empty(leaf, name)
        finite(leaf, name)
    symmetry.input.check(x)


def leaves(x: Data) -> list[Tensor]:
    """All tensors in `x`, in order."""
    if isinstance(x, tuple | list):
        return [leaf for part in x for leaf in leaves(part)]
    return [x]


def model_dtype(model: Model, x: Data) -> torch.dtype:
    """The dtype that a model works in: that of its first floating-point parameter, else of `x`."""
    if isinstance(model, nn.Module):
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                return value.dtype
    for leaf in leaves(x):
        if leaf.is_floating_point():
            return leaf.dtype
    return torch.get_default_dtype()


def cast(x: Data, dtype: torch.dtype) -> Data:
    """Floating-point tensors of `x` in `dtype`, the others as they are."""
    return map_data(lambda t: t.to(dtype) if t.is_floating_point() else t, x)


def promote(x: Data) -> Data:
    """Numbers of any kind in double precision; masks stay masks, as actions on graphs want them."""
    return map_data(lambda t: t if t.dtype == torch.bool else number(t), x)


def number(t: Tensor) -> Tensor:
    """Anything that can be subtracted, in double precision."""
    return t.to(torch.complex128 if t.is_complex() else torch.float64)


def take(x: Data, index: slice | Tensor) -> Data:
    """Samples of `x`."""
    return map_data(lambda t: t[index], x)


@contextlib.contextmanager
def evaluation(model: Model) -> Iterator[None]:
    """Evaluation mode and no gradients inside; every submodule's mode is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def isolated_randomness(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """What a stochastic model draws inside depends on `generator` alone, and the process's random state
    is put back afterwards. Without a generator nothing is touched."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    on_gpu = device.type == "cuda"
    before = torch.default_generator.get_state()
    before_gpu = torch.cuda.get_rng_state(device) if on_gpu else None
    try:
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(before)
        if before_gpu is not None:
            torch.cuda.set_rng_state(before_gpu, device)


def evaluate(model: Model, x: Data, *, limit: int, what: str) -> Data:
    """The model's outputs on `x` in float64, computed in batches.

    Raises:
        InputError: outputs that are not numbers of a batch as long as the input's, or not finite.
    """
    size = batch_size(x)
    parts = []
    for start in range(0, size, limit):
        piece = take(x, slice(start, start + limit))
        parts.append(promote(_checked(model(piece), batch_size(piece), what)))
    return join(parts)


def join(parts: list[Data]) -> Data:
    """Concatenate batches."""
    if isinstance(parts[0], tuple):
        return tuple(join([part[i] for part in parts]) for i in range(len(parts[0])))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=0)


def _checked(y: object, size: int, what: str) -> Data:
    has_numbers = any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in leaves(y))
    for leaf in leaves(y):
        if not isinstance(leaf, Tensor):
            raise InputTypeError(f"The model must return a tensor or a tuple of tensors, got {type(leaf).__name__}.")
        given = leaf.shape[0] if leaf.ndim else None
        require(
            given == size,
            f"The model returned outputs of shape {tuple(leaf.shape)} for {size} inputs. "
            "Its outputs need the batch as their first axis, one output an input.",
        )
        if leaf.dtype == torch.bool and has_numbers:
            continue  # a mask beside the numbers that it belongs to
        if not (leaf.is_floating_point() or leaf.is_complex()):
            raise InputTypeError(
                f"The model returned {leaf.dtype} values. Return scores (logits, probabilities, predictions as "
                "floating-point numbers), not class indices: distances between class indices mean nothing."
            )
        finite(leaf, f"The model's output on {what}")
    return y


def move_input(symmetry: Symmetry, g: Element, x: Data, dtype: torch.dtype) -> Data:
    """`g x`, computed in float64 and handed over in `dtype`."""
    return cast(symmetry.act_input(g, cast(x, torch.float64)), dtype)


def squared(y: Data) -> Difference:
    """`|y_b|^2` for every sample."""
    total = torch.zeros(batch_size(y), dtype=torch.float64, device=first_leaf(y).device)
    for leaf in leaves(y):
        total = total + number(leaf).abs().square().reshape(leaf.shape[0], -1).sum(-1)
    return total


def squared_difference(a: Data, b: Data) -> Difference:
    """`|a_b - b_b|^2` for every sample."""
    return squared(difference(a, b))


def difference(a: Data, b: Data) -> Data:
    """`a - b`, tensor by tensor."""
    first, second = leaves(a), leaves(b)
    shapes = [[tuple(leaf.shape) for leaf in part] for part in (first, second)]
    require(
        shapes[0] == shapes[1],
        f"The model's outputs change shape with its input: {shapes[0]} after the transformation, {shapes[1]} before.",
    )
    return tuple(number(p) - number(q) for p, q in zip(first, second, strict=True))


def inner(a: Data, b: Data) -> Difference:
    """The real part of `<a_b, b_b>` for every sample."""
    total = torch.zeros(batch_size(a), dtype=torch.float64, device=first_leaf(a).device)
    for left, right in zip(leaves(a), leaves(b), strict=True):
        total = total + (left.conj() * right).real.reshape(left.shape[0], -1).sum(-1)
    return total


def twin(model: Model, dtype: torch.dtype) -> nn.Module | None:
    """A copy of a module in another precision; None where it cannot be copied."""
    if not isinstance(model, nn.Module):
        return None
    try:
        copied = copy.deepcopy(model).to(dtype)
    except Exception:  # a module may hold anything: whatever stops the copy, there is no twin
        return None
    return copied


def twin_outputs(model: nn.Module, x: Data, limit: int) -> Data | None:
    """Outputs of a twin, or None where the code of the model insists on its own precision."""
    try:
        with evaluation(model):
            return evaluate(model, x, limit=limit, what="x")
    except (RuntimeError, TypeError, InputError):
        return None
