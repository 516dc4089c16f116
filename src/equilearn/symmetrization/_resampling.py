"""How much two calls of a symmetrized model differ, and how many samples would make them agree."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn.actions import Data, first_leaf, map_data
from equilearn.measure import EquivarianceError
from equilearn.symmetrization._frames import Frames
from equilearn.symmetrization._symmetrized import Symmetrized

CALLS = 16
"""Independent calls from which the resampling error is measured."""

RESAMPLES = 1000


def resampling_error(
    model: Symmetrized, x: Data, confidence: float, generator: torch.Generator | None
) -> tuple[float, float]:
    """The relative difference of two independent calls, and its upper confidence bound."""
    calls = [_flat(model(x, generator=generator)) for _ in range(CALLS)]
    y = torch.stack(calls)
    noise = 2 * y.var(0).sum(-1)
    size = y.square().mean(0).sum(-1)
    if float(noise.sum()) == 0:
        return 0.0, 0.0
    if float(size.sum()) == 0:
        return math.inf, math.inf
    ratio = float(noise.sum() / size.sum())
    return ratio**0.5, _upper(noise, size, ratio, confidence, generator) ** 0.5


def _upper(
    noise: Float[Tensor, "B"],
    size: Float[Tensor, "B"],
    ratio: float,
    confidence: float,
    generator: torch.Generator | None,
) -> float:
    count = len(noise)
    if count < 8:
        from scipy.stats import chi2

        return ratio * (CALLS - 1) / float(chi2.ppf(1 - confidence, CALLS - 1))
    where = "cpu" if generator is None else generator.device
    index = torch.randint(count, (RESAMPLES, count), generator=generator, device=where).to(noise.device)
    ratios = noise[index].sum(-1) / size[index].sum(-1).clamp_min(torch.finfo(size.dtype).tiny)
    return max(ratio, float(ratios.quantile(confidence)))


def _flat(y: Data) -> Float[Tensor, "B D"]:
    leaves: list[Tensor] = []
    map_data(lambda leaf: leaves.append(leaf.to(torch.float64)) or leaf, y)
    return torch.cat([leaf.reshape(len(first_leaf(y)), -1) for leaf in leaves], 1)


def samples_needed(
    model: Symmetrized,
    x: Data,
    bound: float,
    measured: EquivarianceError,
    target: float,
    generator: torch.Generator | None,
) -> tuple[int | None, str | None]:
    """Evaluations per input at which `bound`, that on the resampling error, falls to the target; None with the
    reason where none do."""
    samples = model.forward_passes()
    if bound == 0:
        return None, "two calls agree, so that nothing is drawn"
    if not math.isfinite(bound):
        return None, "the outputs are zero, and no error is relative to that"
    left = _not_drawn(measured)
    if left > target:
        return None, f"an error of {left:.2g} does not come from sampling"
    needed = math.ceil(samples * (bound / target) ** 2)
    if bound <= target:
        return samples, None
    return _within_reach(model, x, needed, math.ceil(needed / samples), generator)


def _not_drawn(measured: EquivarianceError) -> float:
    """The least error that is left when the model's own randomness is taken away."""
    if measured.verdict in ("exact", "stochastic"):
        return 0.0
    if measured.excess is None:
        return measured.mean
    return measured.excess if measured.excess_interval is None else measured.excess_interval[0]


def _within_reach(
    model: Symmetrized, x: Data, needed: int, calls: int, generator: torch.Generator | None
) -> tuple[int | None, str | None]:
    """`needed`, or the reason where the strategy has fewer poses than that."""
    strategy, symmetry = model.strategy, model.symmetry
    most = strategy.sample(symmetry, x, "all" if isinstance(strategy, Frames) else None, generator)
    if needed <= most.count or strategy.sample(symmetry, x, most.count + 1, generator).count > most.count:
        return needed, None
    if most.exact:
        return None, f"{strategy.name} has {most.count} poses; samples='all' takes them all, which is exact"
    poses = f"{most.count} pose{'s' * (most.count != 1)}"
    return None, (
        f"{strategy.name} evaluates at most {poses} an input, whatever k is; the mean of {calls} calls would do it"
    )
