"""Certificates: what is known of a symmetrized model's equivariance on given inputs, to be kept with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, not_empty, positive_int, require
from equilearn.actions import Data, batch_size, map_data, mask_of
from equilearn.io import PathLike, read_json, write_json
from equilearn.measure import EquivarianceError, equivariance_error
from equilearn.symmetrization._learned import Learned
from equilearn.symmetrization._resampling import resampling_error, samples_needed
from equilearn.symmetrization._symmetrized import Symmetrized

FORMAT = 1
"""Version of the file."""

CLOSEST = 5
"""Inputs nearest to a jump that are named."""

NEAR = 1e-3
"""Margins below this are called close in the text."""


@dataclass(frozen=True)
class Certificate:
    """What `certify` found. All errors are relative (1 is 100 %).

    Args:
        strategy: its name.
        group: the group's name.
        inputs: how many were looked at.
        exact: whether the result is equivariant up to rounding on all of them: the strategy says so, and the
            measured error agrees.
        inexact_inputs: on how many it is not, where single inputs decide; None where the strategy does.
        samples: evaluations of the model per input, as the strategy stood.
        error: measured equivariance error, the model's own randomness included.
        error_interval: its confidence interval; None for a single input.
        verdict: of that measurement, see `measure.equivariance_error`.
        resampling: difference between two calls on the same inputs; 0 where nothing is drawn.
        resampling_bound: what it stays below, at the stated confidence.
        target: the error that was asked for.
        samples_needed: evaluations per input at which the bound falls to the target, as its square falls
            with one over their number; None where no number does (see `obstacle`) or none is needed.
        confidence: of interval and bound.
        margins: for every kind of jump the distance of each input to it, such as the relative gap between
            second moments whose axes change places at zero; infinite where there is none.
        elements: group elements at which the error was measured.
        broken: what was seen to break the symmetry, in words; None where nothing was. Chance makes an
            equivariant model that draws samples look broken with probability `(1 - confidence) / 2` at most.
        obstacle: why no number of samples reaches the target; None where some number does or none is needed.
    """

    strategy: str
    group: str
    inputs: int
    exact: bool
    inexact_inputs: int | None
    samples: int
    error: float
    error_interval: tuple[float, float] | None
    verdict: str
    resampling: float
    resampling_bound: float
    target: float
    samples_needed: int | None
    confidence: float
    margins: dict[str, tuple[float, ...]]
    elements: int
    broken: str | None
    obstacle: str | None

    @property
    def bound(self) -> float:
        """What the equivariance error stays below: the larger of the measured error's upper end and the bound
        on the resampling error. Of a single input the measured error has no upper end and counts as it
        is: then the bound is a measurement, and holds at no stated confidence (`bound_confidence` is None)."""
        measured = self.error if self.error_interval is None else self.error_interval[1]
        return max(measured, self.resampling_bound)

    @property
    def bound_confidence(self) -> float | None:
        """The confidence at which `bound` holds; None for a single input, of which there is no interval."""
        return None if self.error_interval is None else self.confidence

    @property
    def meets_target(self) -> bool:
        """Whether the bound lies below the target with the samples in use."""
        return self.bound <= self.target

    @property
    def closest(self) -> tuple[tuple[int, str, float], ...]:
        """The inputs nearest to a jump: index, kind of jump, distance."""
        found = [
            (index, name, value)
            for name, values in self.margins.items()
            for index, value in enumerate(values)
            if math.isfinite(value)
        ]
        return tuple(sorted(found, key=lambda one: one[2])[:CLOSEST])

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON; an infinite margin is None."""
        plain = asdict(self)
        plain["margins"] = {
            name: [value if math.isfinite(value) else None for value in values] for name, values in self.margins.items()
        }
        plain["error_interval"] = None if self.error_interval is None else list(self.error_interval)
        plain["bound"] = self.bound
        plain["bound_confidence"] = self.bound_confidence
        plain["meets_target"] = self.meets_target
        plain["closest"] = [list(one) for one in self.closest]
        return plain

    def save(self, path: PathLike) -> None:
        """Write it as JSON, atomically."""
        write_json(path, {"kind": "certificate", "format": FORMAT, **self.as_dict()})

    @classmethod
    def load(cls, path: PathLike) -> Certificate:
        """Read what `save` wrote. Raises `InputError` where the file is something else."""
        plain = read_json(path)
        if not isinstance(plain, dict) or plain.get("kind") != "certificate":
            raise InputError(f"{path} holds no certificate. Write one with certificate.save(path).")
        given = plain.get("format")
        require(given == FORMAT, f"{path} is a certificate of format {given!r}; this version reads format {FORMAT}.")
        missing = [f.name for f in fields(cls) if f.name not in plain]
        require(not missing, f"{path} lacks {', '.join(missing)}. It may have been edited; certify the model again.")
        values = {f.name: plain[f.name] for f in fields(cls)}
        ends = values["error_interval"]
        values["error_interval"] = None if ends is None else (float(ends[0]), float(ends[1]))
        values["margins"] = {
            name: tuple(math.inf if value is None else float(value) for value in found)
            for name, found in values["margins"].items()
        }
        return cls(**values)

    def __str__(self) -> str:
        lines = [
            f"{self.strategy} under {self.group}, {self.inputs} input{'s' * (self.inputs != 1)}: {self._verdict()}"
        ]
        ends = self.error_interval
        interval = " (one input: no interval)" if ends is None else f" [{ends[0]:.2g}, {ends[1]:.2g}]"
        lines.append(f"  equivariance error {self.error:.2g}{interval} at {self.elements} elements")
        if self.resampling > 0:
            lines.append(
                f"  two calls on the same input differ by {self.resampling:.2g} "
                f"(below {self.resampling_bound:.2g} at {self.confidence:.0%}) with k={self.samples}; {self._advice()}"
            )
        lines += self._jumps()
        return "\n".join(lines)

    def _verdict(self) -> str:
        if self.exact:
            return "exact up to rounding"
        if self.broken is not None:
            return f"{'NOT' if self.verdict == 'absent' else 'only approximately'} equivariant. {self.broken}"
        some = "" if not self.inexact_inputs else f" ({self.inexact_inputs} of the inputs have no unique pose)"
        return f"equivariant on average, not exact{some}"

    def _advice(self) -> str:
        if self.resampling_bound <= self.target:
            return f"that{' alone' * (not self.meets_target)} meets the target of {self.target:g}"
        if self.samples_needed is None:
            return f"no number of samples reaches the target of {self.target:g}: {self.obstacle}"
        return f"k={self.samples_needed} would bring the bound to the target of {self.target:g}"

    def _jumps(self) -> list[str]:
        if not any(math.isfinite(value) for values in self.margins.values() for value in values):
            return ["  no jumps are known: the poses change continuously, or nothing was near one"] * bool(self.margins)
        lines = []
        for name, values in self.margins.items():
            near = sum(value < NEAR for value in values)
            smallest = min(values)
            if math.isfinite(smallest):
                lines.append(f"  poses jump where the {name} closes: smallest {smallest:.2g}, {near} below {NEAR:g}")
        nearest = ", ".join(f"{index} ({name} {value:.2g})" for index, name, value in self.closest)
        return [*lines, f"  inputs nearest to a jump: {nearest}"]


def certify(
    model: Symmetrized,
    x: Data,
    *,
    target: float = 0.01,
    confidence: float = 0.95,
    elements: int = 8,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Measure how equivariant a symmetrized model is on inputs like `x`, and what it would take to be more so.

    Three things go together: the equivariance error, measured at random group elements; the resampling
    error, which is all there is to it where the strategy draws from an equivariant law, and which falls
    with one over the square root of the samples; and the margin of every input to the nearest place where
    the poses of frames or canonical forms jump, near which a small change of the input may change the
    output a lot although the symmetry holds.

    Args:
        model: from `symmetrize`. It is called in evaluation mode and left as it was.
        x: inputs, batch first.
        target: the equivariance error to be reached.
        confidence: of the interval and of the bound.
        elements: group elements at which the error is measured.
        generator: where randomness comes from; None for torch's default generator.

    Raises:
        InputTypeError: a model that does not come from `symmetrize`.
        InputError: `x` empty, not finite or not fitting; a target or confidence out of range.

    The bound on the resampling error is the upper end of a bootstrap over inputs (of fewer than eight:
    of a chi-squared law with 15 degrees of freedom, as if their errors were the same draw).

    Nothing is taken on trust: where a strategy counts as exact and the measured error is beyond rounding,
    the certificate says so, and a sampler network that is not equivariant is named (`broken`).

    Cost: 16 calls of the model on `x`, and those of `measure.equivariance_error`.

    Source: resampling error against equivariance error, Kim et al. 2023; jumps of unweighted
    frames, Dym et al. 2024.

    Example:
        >>> import torch, equilearn as eq
        >>> from equilearn.symmetrization import certify
        >>> turns = eq.Symmetry(eq.SO(3), input=eq.actions.points())
        >>> model = eq.symmetrize(lambda x: x[:, 0].abs(), turns, "average", samples=4)
        >>> x = torch.randn(64, 5, 3, generator=torch.Generator().manual_seed(0))
        >>> found = certify(model, x, target=0.05, generator=torch.Generator().manual_seed(1))
        >>> found.exact, found.meets_target, found.samples_needed > 100
        (False, False, True)
    """
    if not isinstance(model, Symmetrized):
        raise InputTypeError(
            f"certify takes a model from symmetrize(model, symmetry, strategy), got {type(model).__name__}. "
            "For any other model use measure.equivariance_error."
        )
    require(0 < confidence < 1, f"confidence must lie between 0 and 1, got {confidence!r}.")
    require(math.isfinite(target) and target > 0, f"target must be a positive number, got {target!r}.")
    map_data(lambda leaf: finite(not_empty(leaf, "x"), "x"), x)
    model.symmetry.input.check(x)
    measured = equivariance_error(
        model,
        model.symmetry,
        x,
        samples=positive_int(elements, "elements"),
        generator=generator,
        confidence=confidence,
    )
    with _evaluating(model):
        declared = model.is_exact(x)
        broken = _broken(model, x, measured, declared)
        exact = declared and broken is None and measured.verdict == "exact"
        samples = model.forward_passes()
        found = model.strategy.sample(model.symmetry, x, None, generator)
        resampling, bound = (0.0, 0.0) if exact else resampling_error(model, x, confidence, generator)
        needed, obstacle = (
            (None, None) if exact else samples_needed(model, x, bound, measured, float(target), generator)
        )
    return Certificate(
        strategy=model.strategy.name,
        group=str(model.symmetry.group),
        inputs=batch_size(x),
        exact=exact,
        inexact_inputs=_unresolved(found.aux),
        samples=samples,
        error=measured.mean,
        error_interval=measured.interval,
        verdict=measured.verdict,
        resampling=resampling,
        resampling_bound=bound,
        target=float(target),
        samples_needed=needed,
        confidence=float(confidence),
        margins={name: tuple(values.tolist()) for name, values in _margins(model, x, found.aux).items()},
        elements=measured.samples,
        broken=broken,
        obstacle=obstacle,
    )


def _broken(model: Symmetrized, x: Data, measured: EquivarianceError, declared: bool) -> str | None:
    """What breaks the symmetry, as far as it can be seen."""
    strategy = model.strategy
    if isinstance(strategy, Learned) and strategy.net is not None:
        try:
            strategy.check_net(model.symmetry, x)
        except InputError as error:
            return str(error)
    if measured.verdict in ("exact", "stochastic"):
        return None
    error = measured.mean if measured.excess is None else measured.excess
    grid = measured.interpolation_floor
    if grid is not None and error <= 1.5 * grid:
        return f"The error is that of interpolating on the grid ({grid:.2g})."
    if declared:
        return (
            f"{strategy.name} counts as exact here, but the error is beyond rounding ({measured.floor:.1g}): "
            "the poses do not move with the inputs, or jump between them."
        )
    if measured.excess is None:
        return f"The error is beyond rounding ({measured.floor:.1g}), and nothing is drawn."
    return f"The error is beyond the model's own randomness, by {error:.2g}."


def _unresolved(aux: dict[str, Any]) -> int | None:
    """How many inputs have poses that had to be drawn; None where the strategy does not say."""
    drawn = aux.get("random")
    return int(drawn.sum()) if isinstance(drawn, Tensor) else None


def _margins(model: Symmetrized, x: Data, aux: dict[str, Any]) -> dict[str, Float[Tensor, "B"]]:
    """What the strategy says; of a learned order without noise, the smallest step between scores."""
    margins = dict(aux.get("margins", {}))
    if getattr(model.strategy, "noise", None) == 0:
        for index, scores in aux.get("scores", {}).items():
            mask = mask_of(model.symmetry.input, index, x)
            known = scores.to(torch.float64)
            known = known if mask is None else torch.where(mask.unsqueeze(1), known, math.inf)
            steps = known.sort(-1).values.diff(dim=-1)
            steps = torch.where(steps.isfinite(), steps, math.inf).flatten(1)
            margins["score gap"] = steps.amin(-1) if steps.shape[-1] else torch.full_like(known[:, 0, 0], math.inf)
    return margins


@contextmanager
def _evaluating(model: Symmetrized) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the modes of all parts are put back."""
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
