"""What the estimators are given: tensors and arrays checked, targets, seeds, validation data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, positive_int, require

Score: TypeAlias = Callable[[Tensor], Callable[[Any], float]]
"""`score(offset)(machine)`: how far `machine(x) + offset` is off on validation data."""


def check_tensor(x: Tensor) -> Float[Tensor, "N D"]:
    """Inputs that are a tensor, without gradients; an `InputError` where they cannot be used."""
    _has_values(x, "X")
    require(x.ndim == 2 and x.shape[1] > 0, f"X must be (samples, features), got shape {tuple(x.shape)}.")
    require(len(x) > 0, "X is empty: at least one sample is needed.")
    require(
        x.dtype in (torch.float32, torch.float64),
        f"X has dtype {x.dtype}, too coarse or no number for a kernel solve. Convert with X.float() or X.double().",
    )
    return finite(x.detach(), "X")


def check_tensor_targets(y: Any, x: Tensor, *, one_column: bool = False) -> Tensor:
    """Targets `(N,)` or `(N, C)` for inputs that are a tensor; `(N,)` where only one column will do."""
    if not isinstance(y, Tensor):
        raise InputError(
            f"X is a tensor on {x.device}, y a {type(y).__name__}. Pass both as tensors on one device, or both as "
            "arrays."
        )
    require(y.device == x.device, f"X is on {x.device}, y on {y.device}. Move both to one device.")
    _has_values(y, "y")
    require(
        y.ndim == 1 or (y.ndim == 2 and (y.shape[1] == 1 or not one_column)),
        f"y must be (samples,){'' if one_column else ' or (samples, outputs)'}, got shape {tuple(y.shape)}.",
    )
    require(len(y) == len(x), f"X holds {len(x)} samples, y {len(y)}.")
    y = finite(y.detach(), "y")
    y = y.float() if y.dtype in (torch.bfloat16, torch.float16) else y
    return y.reshape(-1) if one_column else y


def _has_values(x: Tensor, name: str) -> None:
    require(x.layout == torch.strided, f"{name} is a sparse tensor. Convert with {name}.to_dense().")
    require(x.device.type != "meta", f"{name} is on the device meta, which holds no values.")


def refuse_tensor(y: Any) -> None:
    """An `InputError` where y is a tensor and the inputs are not."""
    if isinstance(y, Tensor):
        raise InputError(f"X is no tensor, but y is one on {y.device}. Pass both as tensors, or both as arrays.")


def placed(array: Any, device: Any) -> Tensor:
    """An array as a tensor on a device; None is the CPU."""
    array = np.require(array, requirements=["C", "W"])  # a tensor must not share memory that is read-only
    try:
        return torch.as_tensor(array).to("cpu" if device is None else device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch has one for each way that a device is missing
        first = str(error).split(chr(10), 1)[0]
        raise InputError(
            f"device={device!r} cannot be used: {first} Take None or 'cpu', or one that there is."
        ) from error


def as_given(values: Tensor, as_tensor: bool) -> Any:
    """A tensor, or its values as an array."""
    return values if as_tensor else values.cpu().numpy()


def metric_of(metric: Any, x: Float[Tensor, "N D"]) -> Tensor | None:
    """Where M starts: `"variance"` (the inverse of each), `"identity"`, or a matrix or diagonal as it is."""
    if isinstance(metric, Tensor):
        return metric
    if not isinstance(metric, str):
        try:
            return torch.as_tensor(np.array(metric, dtype=np.float64))  # a copy: it may be read-only
        except (TypeError, ValueError) as error:
            raise InputTypeError(_no_metric(metric)) from error
    if metric == "identity":
        return None
    require(metric == "variance", _no_metric(metric))
    variance = x.var(0, correction=0)
    # A constant feature tells nothing: no weight, rather than an infinite one.
    constant = variance <= (8 * torch.finfo(x.dtype).eps * x.abs().amax(0)) ** 2
    found = torch.where(constant, 0.0, 1 / variance.masked_fill(constant, 1.0))
    bad = torch.nonzero(~found.isfinite()).flatten().tolist()
    require(
        not bad,
        f"{len(bad)} features, the first in column {(bad or [0])[0]}, have a variance whose inverse overflows "
        f"{x.dtype}. Scale them.",
    )
    return found


def _no_metric(metric: Any) -> str:
    return f"metric must be 'identity', 'variance' (features at unit scale) or a matrix of numbers; got {metric!r}."


def whole_seed(random_state: Any) -> int:
    """The seed that `random_state` stands for; None is 0."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return 0 if random_state is None else positive_int(random_state, "random_state", 0)


# --- validation -------------------------------------------------------------------------------


def validation_pair(validation: Any) -> tuple[Any, Any]:
    """`(X_val, y_val)`; an `InputError` for anything else."""
    require(
        isinstance(validation, tuple | list) and len(validation) == 2,
        f"validation must be a pair (X_val, y_val), got {type(validation).__name__}.",
    )
    return validation[0], validation[1]


def squared_error(x: Float[Tensor, "V D"], y: Any, target: Float[Tensor, "N C"]) -> Score:
    """The mean square of errors on validation data, whose targets must be like `target`."""
    if not isinstance(y, Tensor):
        try:
            y = torch.as_tensor(np.array(y, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InputTypeError("validation: y_val must be numbers.") from error
    _as_many(x, y)
    y = finite(y.detach().to(target), "validation: y_val").reshape(len(y), -1)
    require(
        y.shape[1] == target.shape[1],
        f"validation: y_val has {y.shape[1]} outputs, the training targets {target.shape[1]}.",
    )
    return lambda offset: lambda machine: float((machine(x) + offset - y).square().mean())


def misses(x: Float[Tensor, "V D"], index: Int[Tensor, " V"]) -> Score:
    """The share of wrong classes on validation data."""
    _as_many(x, index)
    return lambda offset: lambda machine: float(((machine(x) + offset).argmax(1) != index).double().mean())


def _as_many(x: Tensor, y: Tensor) -> None:
    count = len(y) if y.ndim else 0
    require(len(x) == count, f"validation: X_val holds {len(x)} samples, y_val {count}.")


# --- probabilities ----------------------------------------------------------------------------


def on_simplex(scores: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    """The nearest point with entries >= 0 that sum to 1. O(C log C) a row (Held et al. 1974)."""
    descending = scores.sort(1, descending=True).values
    rank = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    shift = (descending.cumsum(1) - 1) / rank
    last = (descending > shift).sum(1, keepdim=True) - 1
    return (scores - shift.gather(1, last)).clamp_min(0)
