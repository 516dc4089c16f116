"""What the functions on kernel matrices are given, checked in one place."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from equilearn._check import InputTypeError, finite, require


def a_tensor(x: object, name: str) -> Tensor:
    """`x`, which must be a tensor."""
    if not isinstance(x, Tensor):
        raise InputTypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}.")
    return x


def real(x: Tensor, name: str) -> Tensor:
    """`x`, which must be of a precision that linear algebra has."""
    if a_tensor(x, name).dtype not in (torch.float32, torch.float64):
        raise InputTypeError(f"{name} must be float32 or float64, got {x.dtype}.")
    return x


def check_ridge(ridge: object) -> float:
    """A number >= 0."""
    if isinstance(ridge, bool) or not isinstance(ridge, Real):
        raise InputTypeError(f"ridge must be a finite number >= 0, got {ridge!r}.")
    value = float(ridge)
    require(0 <= value < float("inf"), f"ridge must be a finite number >= 0, got {ridge!r}.")
    return value


def check_kappa(kappa: Tensor, order: int | None = None, group: object = None) -> Tensor:
    """The kernel of m orbits at each element, `(m, m, order)`."""
    shape = tuple(real(kappa, "kappa").shape)
    wanted, of = ("order", "") if order is None else (str(order), f" for {group}")
    require(
        len(shape) == 3 and shape[0] == shape[1] > 0 and shape[2] > 0 and order in (None, shape[2]),
        f"kappa must have shape (m, m, {wanted}){of}, the kernel of m orbits at each element; got {shape}.",
    )
    return finite(kappa, "kappa")


def check_labels(labels: Any, seeds: int) -> Shaped[Tensor, " m"]:
    """One class for each seed."""
    values = as_tensor(labels, "labels")
    require(
        tuple(values.shape) == (seeds,),
        f"labels must hold one class for each of the {seeds} seeds, got shape {tuple(values.shape)}.",
    )
    return values


def as_tensor(values: Any, name: str, kind: str = "numbers") -> Tensor:
    """Numbers or Booleans in a list or an array, as a tensor on the CPU."""
    try:
        return torch.as_tensor(values).cpu()
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputTypeError(
            f"{name} must be a tensor, or a list of {kind} (of rows of equal length); got {_shown(values)}."
        ) from error


def members(points: Tensor, n: int, what: str) -> Int[Tensor, " k"]:
    """A set of points as distinct indices, from these or from a mask."""
    if not isinstance(points, Tensor):
        raise InputTypeError(f"{what} is a tensor of indices or a mask, got {type(points).__name__}.")
    if points.dtype == torch.bool:
        require(tuple(points.shape) == (n,), f"A mask of points has shape ({n},), got {tuple(points.shape)}.")
        return torch.nonzero(points).flatten()
    index = points.detach().flatten().to(torch.int64)
    require(
        bool(((index >= 0) & (index < n)).all()) and len(index.unique()) == len(index),
        f"{what} must be distinct indices from 0 to {n - 1}, or a Boolean mask.",
    )
    return index


def require_symmetric(defect: float, dtype: torch.dtype) -> None:
    """Refuse a `kappa` that is not that of an invariant symmetric kernel."""
    require(
        defect <= torch.finfo(dtype).eps ** 0.5,
        f"kappa is not that of an invariant symmetric kernel: kappa[j, i, g^-1] differs from kappa[i, j, g] by "
        f"{defect:.2g} of its norm. Is k(g x, g z) = k(x, z), and are the elements in the order of elements()?",
    )


def _shown(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= 60 else text[:57] + "..."
