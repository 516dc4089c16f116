"""The infinitesimal equivariance error: how fast a model leaves the symmetry, generator by generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.actions import Data, first_leaf
from equilearn.actions import batch_size as count_samples
from equilearn.groups import Element, Group, Product
from equilearn.measure._bootstrap import ratio, ratio_interval
from equilearn.measure._evaluate import (
    Model,
    cast,
    check_inputs,
    evaluate,
    evaluation,
    isolated_randomness,
    model_dtype,
    move_input,
    squared,
    squared_difference,
    twin,
    twin_outputs,
)
from equilearn.symmetry import Symmetry

STEP = {torch.float64: 1e-4, torch.float32: 1e-2}
"""Steps of the central difference: truncation O(h^2) and rounding O(eps / h) balanced."""


@dataclass(frozen=True)
class GeneratorError:
    """The error along one generator of the Lie algebra."""

    label: str
    error: float

    def as_dict(self) -> dict[str, Any]:
        return {"generator": self.label, "error": self.error}


@dataclass(frozen=True)
class LieDerivativeError:
    """What `lie_derivative_error` found; errors are relative, per unit of the generator (per radian).

    Args:
        mean: mean over generators.
        interval: bootstrap confidence interval of the mean over inputs; None for a single input.
        maximum: the worst generator's.
        per_generator: label and error of each.
        floor: error of the differences themselves: rounding in the precision used, over the step.
        step: of the central differences.
        dtype: precision in which the model was evaluated.
    """

    mean: float
    interval: tuple[float, float] | None
    maximum: float
    per_generator: tuple[GeneratorError, ...]
    floor: float
    step: float
    dtype: str
    inputs: int

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON."""
        return {
            "mean": self.mean,
            "interval": None if self.interval is None else list(self.interval),
            "maximum": self.maximum,
            "per_generator": [e.as_dict() for e in self.per_generator],
            "floor": self.floor,
            "step": self.step,
            "dtype": self.dtype,
            "inputs": self.inputs,
        }

    def __str__(self) -> str:
        worst = max(self.per_generator, key=lambda e: e.error)
        interval = "" if self.interval is None else f" [{self.interval[0]:.2g}, {self.interval[1]:.2g}]"
        count = len(self.per_generator)
        return (
            f"{self.mean:.2g}{interval} relative L2 per unit of the generator, {self.inputs} "
            f"input{'s' * (self.inputs != 1)} x {count} generator{'s' * (count != 1)}; "
            f"worst: {worst.label} ({worst.error:.2g}); floor {self.floor:.1g}"
        )


def lie_derivative_error(
    model: Model,
    symmetry: Symmetry,
    x: Data,
    *,
    generator: torch.Generator | None = None,
    confidence: float = 0.95,
    batch_size: int = 256,
    step: float | None = None,
) -> LieDerivativeError:
    r"""How fast `rho(g)^-1 f(g x)` leaves `f(x)` when `g` leaves the identity (Gruver et al. 2022, eq. 4).

    For every basis element `X_i` of the Lie algebra the Lie derivative of the model,

        L_i f(x) = d/dt rho(exp(-t X_i)) f(exp(t X_i) x)  at t = 0,

    which vanishes for all `i` and `x` exactly where `f` is equivariant under the connected part of the
    group, as `sqrt(sum_b |L_i f(x_b)|^2 / sum_b |f(x_b)|^2)`: relative L2 per radian, per pixel, per unit
    of rapidity. It is a central difference of small transformations through the actions, in a float64 copy
    of the model where one can be made (truncation O(step^2)); images move by a small angle, which is smooth
    enough for interpolation. Unlike `equivariance_error` it says nothing about reflections, nor about
    transformations far from the identity.

    Args:
        model, symmetry, x, generator, confidence, batch_size: as in `equivariance_error`.
        step: of the difference; default 1e-4 in float64, 1e-2 in float32.

    Raises:
        InputError: a discrete group (no Lie algebra), or as `equivariance_error`.

    Cost: 2 evaluations of the model a generator, and one.

    Example:
        >>> import torch, equilearn as eq
        >>> G = eq.SO(3)
        >>> symmetry = eq.Symmetry(G, input=eq.reps.defining(G))
        >>> x = torch.randn(32, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> eq.measure.lie_derivative_error(lambda x: x.square().sum(-1, keepdim=True), symmetry, x).mean < 1e-6
        True
        >>> eq.measure.lie_derivative_error(lambda x: x[:, :1], symmetry, x).mean > 0.1
        True
    """
    limit = positive_int(batch_size, "batch_size")
    group = symmetry.group
    require(group.lie_dim > 0, f"{group} is discrete: it has no Lie algebra. Use equivariance_error.")
    require(0.0 < confidence < 1.0, f"confidence must lie between 0 and 1, got {confidence}.")
    require(step is None or step > 0, f"step must be positive, got {step}.")
    check_inputs(symmetry, x)
    device = first_leaf(x).device
    with isolated_randomness(generator, device):
        model, dtype, plain = _precise(model, x, limit)
        symmetry.output.check(plain)
        h = step or STEP.get(dtype, 3e-2)
        with evaluation(model):
            rows = [_derivative(model, symmetry, x, i, h, dtype, limit) for i in range(group.lie_dim)]
    difference = torch.stack(rows).cpu()
    size = squared(plain).cpu().expand_as(difference)
    errors = ratio(difference, size).tolist()
    labels = generator_labels(group)
    return LieDerivativeError(
        mean=sum(errors) / len(errors),
        interval=ratio_interval(difference, size, confidence=confidence, generator=generator, resample_rows=False),
        maximum=max(errors),
        per_generator=tuple(GeneratorError(label, error) for label, error in zip(labels, errors, strict=True)),
        floor=torch.finfo(dtype).eps / h + (h**2 if dtype == torch.float64 else 0.0),
        step=h,
        dtype=str(dtype).removeprefix("torch."),
        inputs=count_samples(x),
    )


def _precise(model: Model, x: Data, limit: int) -> tuple[Model, torch.dtype, Data]:
    """The model in float64 where a copy can be made, its precision, its outputs on `x`."""
    dtype = model_dtype(model, x)
    copied = twin(model, torch.float64) if dtype != torch.float64 else None
    if copied is not None:
        outputs = twin_outputs(copied, cast(x, torch.float64), limit)
        if outputs is not None:
            return copied, torch.float64, outputs
    with evaluation(model):
        return model, dtype, evaluate(model, cast(x, dtype), limit=limit, what="x")


def _derivative(
    model: Model, symmetry: Symmetry, x: Data, index: int, step: float, dtype: torch.dtype, limit: int
) -> Float[Tensor, "B"]:
    """`|L_i f(x_b)|^2` for every input."""
    ahead, behind = small_element(symmetry.group, index, step, x), small_element(symmetry.group, index, -step, x)
    sides = []
    for there, back in ((ahead, behind), (behind, ahead)):
        moved = evaluate(model, move_input(symmetry, there, x, dtype), limit=limit, what="x moved a little")
        sides.append(symmetry.act_output(back, moved))
    return squared_difference(sides[0], sides[1]) / (2 * step) ** 2


def small_element(group: Group, index: int, amount: float, x: Data) -> Element:
    """`exp(amount X_index)`, on the device of `x`."""
    coefficients = torch.zeros(group.lie_dim, dtype=torch.float64)
    coefficients[index] = amount
    return group.to(group.exp(coefficients), device=first_leaf(x).device)


def generator_labels(group: Group) -> list[str]:
    """A name for each basis element of the Lie algebra: `"SO2"`, `"SO3 generator 2"`, ..."""
    if isinstance(group, Product):
        return [label for factor in group.factors for label in generator_labels(factor)]
    if group.lie_dim == 0:
        return []
    if group.lie_dim == 1:
        return [f"{group}"]
    return [f"{group} generator {i + 1}" for i in range(group.lie_dim)]
