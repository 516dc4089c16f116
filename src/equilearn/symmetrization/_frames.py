"""Frame averaging: over the few poses that the input itself proposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from equilearn._check import InputTypeError, one_of, positive_int
from equilearn.actions import Data, first_leaf
from equilearn.groups import SO, Element, Euclidean, Group, Lorentz, O, SpecialEuclidean, Symmetric
from equilearn.symmetrization._base import Elements, Samples, Strategy, generator_device, uniform_weight
from equilearn.symmetrization._compose import equivariant_frame, plan_frame
from equilearn.symmetrization._poses import Ties
from equilearn.symmetrization._views import factors_of, image_view, rows_view
from equilearn.symmetry import Symmetry

FrameFunction: TypeAlias = Callable[[Symmetry, Data, "torch.Generator | None"], Elements]


class Frames(Strategy):
    """The mean of `g f(g^-1 x)` over a small set of poses `F(x)` that moves with the input.

    Read from the data: principal axes with all signs for O(n), SO(n) (2^n or 2^(n-1) poses) on points
    and vectors; the same about the centroid for E(n), SE(n), so that translations are removed and
    never sampled; the centroid for translations, the size for scalings; the rest frame of the total
    momentum, then spatial axes, for Lorentz(1, q); the sorted order for Symmetric(n); the axis of the
    intensity for SO(2), O(2), E(2), SE(2) on images; all elements of a small finite group. Products
    compose: axes first, then the order of the points seen along those axes.

    Where axes are degenerate (equal second moments) the pose is drawn uniformly among the equivalent
    ones: equivariant on average, flagged in `Elements.aux["degenerate"]`, and then not `exact`.

    Args:
        samples: poses per input in training: `"all"`, or a number to draw from them at random.
        eval_samples: the same in evaluation; default as in training.
        ties: what to do with equal rows of a set: `"average"` over cyclic shifts of them (exact for
            outputs that carry one entry a point, at up to 64 times the cost), or `"random"`.
        limit: largest finite group whose elements all serve as poses.
        frame: your own function `(symmetry, x, generator) -> Elements` in place of these.

    Source: Puny et al. 2022, sections 2 and 3.1. Cost: `k` evaluations of the model per input in one
    batched call, plus O(N n^2 + n^3) for the axes, O(C N log N) for the order.

    Example:
        >>> import torch, equilearn as eq
        >>> clouds = eq.Symmetry(eq.SO(3), input=eq.actions.points(), output=eq.reps.defining(eq.SO(3)))
        >>> model = eq.symmetrize(lambda x: torch.tanh(x).sum(1), clouds, "frames")
        >>> x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> turn = eq.SO(3).sample(generator=torch.Generator().manual_seed(1))
        >>> bool(torch.allclose(model(x @ turn.T), model(x) @ turn.T, atol=1e-12))
        True
        >>> model.forward_passes(), model.is_exact(x)
        (4, True)
    """

    name = "frames"

    def __init__(
        self,
        samples: Samples = "all",
        eval_samples: Samples = None,
        *,
        ties: Ties = "average",
        limit: int = 64,
        frame: FrameFunction | None = None,
    ):
        super().__init__()
        for value, what in ((samples, "samples"), (eval_samples, "eval_samples")):
            if value is not None and value != "all":
                positive_int(value, what)
        if frame is not None and not callable(frame):
            raise InputTypeError(f"frame must be a function (symmetry, x, generator) -> Elements, got {frame!r}.")
        self.train_samples = "all" if samples is None else samples
        self.eval_samples = self.train_samples if eval_samples is None else eval_samples
        self.ties: Ties = one_of(ties, ("average", "random"), "way to treat ties")  # type: ignore[assignment]
        self.limit = positive_int(limit, "limit")
        self.frame = frame

    def check(self, symmetry: Symmetry) -> None:
        if self.frame is None:
            plan_frame(symmetry, self.limit)

    def sample(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        found = self._frame(symmetry, x, generator)
        wanted = self._samples(k)
        if wanted in ("all", None) or int(wanted) >= found.count:  # type: ignore[arg-type]
            return found
        return _drawn(symmetry.group, found, int(wanted), generator)  # type: ignore[arg-type]

    def _frame(self, symmetry: Symmetry, x: Data, generator: torch.Generator | None) -> Elements:
        if self.frame is not None:
            return self.frame(symmetry, x, generator)
        return equivariant_frame(plan_frame(symmetry, self.limit), symmetry, x, generator, self.ties)

    def is_exact(self, symmetry: Symmetry, x: Data | None = None) -> bool:
        if x is None:
            wanted = self._samples(None)
            return wanted in ("all", None) or int(wanted) >= self._poses(symmetry)  # type: ignore[arg-type]
        device = first_leaf(x).device
        return self.sample(symmetry, x, None, torch.Generator(device).manual_seed(0)).exact

    def forward_passes(self, symmetry: Symmetry) -> int:
        wanted = self._samples(None)
        count = self._poses(symmetry)
        return count if wanted in ("all", None) else min(count, int(wanted))  # type: ignore[arg-type]

    def _poses(self, symmetry: Symmetry) -> int:
        """Poses of an input in general position."""
        return pose_count(symmetry, self.limit) if self.frame is None else 1

    def extra_repr(self) -> str:
        return f"samples={self.train_samples!r}, eval_samples={self.eval_samples!r}, ties={self.ties!r}"


def _drawn(group: Group, found: Elements, count: int, generator: torch.Generator | None) -> Elements:
    """`count` of the poses of each input, drawn by weight without replacement within equal weights."""
    weight = found.weight.detach().to(torch.float64)
    where = generator_device(generator, weight.device)
    if len(weight):
        index = torch.multinomial(weight.to(where), count, replacement=False, generator=generator).to(weight.device)
    else:
        index = torch.zeros(0, count, dtype=torch.int64, device=weight.device)
    return Elements(take_each(group, found.g, index), uniform_weight(found.weight, count), aux=found.aux)


def take_each(group: Group, g: Element, index: torch.Tensor) -> Element:
    """`g[b, index[b, j]]` for elements of batch shape `(B, k)`."""
    rows = torch.arange(index.shape[0], device=index.device)[:, None]
    return group.take(g, (rows, index))


def pose_count(symmetry: Symmetry, limit: int) -> int:
    """Poses of an input in general position, from the group alone."""
    count = 1
    for index, factor in enumerate(factors_of(symmetry.group)):
        image = image_view(symmetry.input, index) is not None
        if isinstance(factor, SO | SpecialEuclidean):
            d = factor.n if isinstance(factor, SO) else factor.dimension
            count *= 2 ** (d - 1)
        elif isinstance(factor, O | Euclidean):
            d = factor.n if isinstance(factor, O) else factor.dimension
            count *= 4 if image else 2**d
        elif isinstance(factor, Lorentz):
            count *= 2 ** (factor.q - 1)
        elif isinstance(factor, Symmetric) and rows_view(symmetry.input, index) is not None:
            continue
        elif factor.order is not None:
            count *= factor.order
    return count
