"""How far a relaxed model departs from its equivariant part, and what that bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, finite, not_empty, require
from equilearn.actions import Data, batch_size, first_leaf, map_data
from equilearn.measure import EquivarianceError
from equilearn.symmetry import Symmetry


@dataclass(frozen=True, eq=False)
class Deviation:
    """A relaxed model `f` against its equivariant part `f_off`. All numbers are in units of `|f_off(x)|`, the root of
    the sum of squares over all inputs and outputs: relative L2.

    Args:
        relative: `|f(x) - f_off(x)| / |f_off(x)|`.
        per_output: the same for each output by itself, over the inputs; the shape of one output.
        per_input: `|f(x_b) - f_off(x_b)|` for each input, in units of the root mean square of `|f_off(x_b)|`.
        strength: of the dial, as measured.
        epsilon: the largest deviation met on the inputs and on their transforms; None where none were made. It is
            `|f(g x) - f_off(g x)|` or `|g f(x) - g f_off(x)|`, whichever is larger.
        error: `|f(g x) - g f(x)|` at the worst element: the equivariance error. At most `2 epsilon + strict_error`.
        strict_error: `|f_off(g x) - g f_off(x)|` at the worst element: rounding, or what a pixel grid spoils.
        equivariance: what `equivariance_error` says of the relaxed model; relative to its own outputs.

    Source: Ashman et al. 2024, appendix D: where `d(f, f_off) <= epsilon` everywhere, `d(g f(x), f(g x)) <= 2 epsilon`.
    """

    relative: float
    per_output: Float[Tensor, "*output"]
    per_input: Float[Tensor, "B"]
    strength: float
    epsilon: float | None = None
    error: float | None = None
    strict_error: float | None = None
    equivariance: EquivarianceError | None = None

    @property
    def bound(self) -> float | None:
        """`2 epsilon`: the equivariance error can be no larger, where the equivariant part is exact."""
        return None if self.epsilon is None else 2 * self.epsilon

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON. None too where a number is infinite, as that relative
        to a part that is zero."""
        names = ("relative", "strength", "epsilon", "bound", "error", "strict_error")
        held = {
            **{name: getattr(self, name) for name in names},
            "per_output": self.per_output.tolist(),
            "per_input": self.per_input.tolist(),
            "equivariance": None if self.equivariance is None else self.equivariance.as_dict(),
        }
        return _finite_only(held)

    def __str__(self) -> str:
        count = len(self.per_input)
        outputs = self.per_output.flatten().sort().values
        middle = outputs[len(outputs) // 2]
        text = (
            f"{self.relative:.2g} relative L2 from its equivariant part at strength {self.strength:g}, {count} "
            f"input{'s' * (count != 1)} (largest {float(self.per_input.max()):.2g}); by output "
            f"{float(outputs[0]):.2g} to {float(outputs[-1]):.2g}, median {float(middle):.2g}"
        )
        if self.equivariance is None or self.bound is None or self.error is None or self.strict_error is None:
            return text
        spoilt = "" if self.equivariance.interpolation_floor is None else f" + {self.strict_error:.2g} of the grid"
        elements = self.equivariance.samples
        return (
            f"{text}; equivariance error {self.error:.2g} at the worst of {elements} element{'s' * (elements != 1)}, "
            f"bound 2 epsilon = {self.bound:.2g}{spoilt}"
        )


def deviation_between(on: Data, off: Data, strength: float = 1.0) -> Deviation:
    """The deviation of outputs from those of the equivariant part, for the same inputs.

    Args:
        on, off: outputs `(B, ...)`, or tuples of them.
        strength: of the dial, to be told with the result.

    Raises:
        InputError: outputs that are empty, not finite, or of different shapes.

    Example:
        >>> off = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        >>> deviation_between(off + torch.tensor([0.0, 0.5]), off).relative  # sqrt(2) 0.5 / 5
        0.1414213562373095
    """
    a, b = rows(on), rows(off)
    require(a.shape == b.shape, f"Outputs of one shape are compared, got {tuple(a.shape)} and {tuple(b.shape)}.")
    finite(not_empty(a, "The relaxed output"), "The relaxed output")
    finite(b, "The equivariant output")
    apart = a - b
    per_output = _ratio(apart.norm(dim=0), b.norm(dim=0))
    return Deviation(
        relative=float(_ratio(apart.norm(), b.norm())),
        per_output=per_output.reshape(off.shape[1:]) if isinstance(off, Tensor) else per_output,
        per_input=_ratio(apart.norm(dim=1), (b.norm() / math.sqrt(len(b))).expand(len(b))),
        strength=strength,
    )


def largest(
    on: Callable[[Data], Data],
    off: Callable[[Data], Data],
    symmetry: Symmetry,
    x: Data,
    found: EquivarianceError,
) -> dict[str, float]:
    """`epsilon`, `error` and `strict_error` over the elements that `found` was measured at."""
    dtype = first_leaf(x).dtype
    here, base = on(x), off(x)
    unit = rows(base).norm()
    apart = (rows(here) - rows(base)).norm()
    epsilon, error, strict = apart, torch.zeros_like(apart), torch.zeros_like(apart)
    for e in found.per_element:
        moved = _cast(_moved(symmetry.act_input, e.element, x), dtype)
        there, strict_there = rows(on(moved)), rows(off(moved))
        carried, strict_carried = (rows(_moved(symmetry.act_output, e.element, y)) for y in (here, base))
        epsilon = torch.stack([epsilon, (there - strict_there).norm(), (carried - strict_carried).norm()]).max()
        error = torch.maximum(error, (there - carried).norm())
        strict = torch.maximum(strict, (strict_there - strict_carried).norm())
    names = ("epsilon", "error", "strict_error")
    return {name: float(_ratio(value, unit)) for name, value in zip(names, (epsilon, error, strict), strict=True)}


def check_inputs(x: Data) -> None:
    """Not empty, and finite."""
    require(batch_size(x) > 0, "A deviation is measured on inputs, got none: the batch is empty.")
    map_data(lambda t: finite(t, "x"), x)


def rows(y: Data) -> Float[Tensor, "B K"]:
    """All outputs of a sample in one row, in float64."""
    if isinstance(y, tuple | list):
        return torch.cat([rows(part) for part in y], 1)
    if not isinstance(y, Tensor):
        raise InputTypeError(f"Outputs must be a tensor or a tuple of tensors, got {type(y).__name__}.")
    return y.detach().double().flatten(1) if y.ndim > 1 else y.detach().double()[:, None]


def _finite_only(value: Any) -> Any:
    """With None for numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite_only(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_only(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _moved(act: Callable[[Any, Data], Data], g: Any, x: Data) -> Data:
    return act(g, _cast(x, torch.float64))


def _cast(x: Data, dtype: torch.dtype) -> Data:
    return map_data(lambda t: t.to(dtype) if t.is_floating_point() else t, x)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`; zero over zero is zero, anything else over zero infinite."""
    return torch.where(a == 0, torch.zeros_like(a), a / b)
