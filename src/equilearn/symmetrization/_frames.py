"""Frame averaging: over the few poses that the input itself proposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from equilearn._check import InputError, InputTypeError, one_of, positive_int, require
from equilearn.actions import CombinedAction, Data, PointAction, first_leaf
from equilearn.groups import SO, Element, Euclidean, Group, Lorentz, O, SpecialEuclidean, Symmetric
from equilearn.symmetrization._base import Elements, Samples, Strategy, generator_device, uniform_weight
from equilearn.symmetrization._compose import equivariant_frame, plan_frame
from equilearn.symmetrization._node_parts import nodes_view
from equilearn.symmetrization._poses import Ties
from equilearn.symmetrization._views import factors_of, image_view
from equilearn.symmetrization._weighted import MAX_DIMENSION, pose_total
from equilearn.symmetry import Symmetry

FrameFunction: TypeAlias = Callable[[Symmetry, Data, "torch.Generator | None"], Elements]


class Frames(Strategy):
    """The mean of `g f(g^-1 x)` over a small set of poses `F(x)` that moves with the input.

    Read from the data: principal axes with all signs for O(n), SO(n) (2^n or 2^(n-1) poses) on points
    and vectors; the same about the centroid for E(n), SE(n), so that translations are removed and
    never sampled; the centroid for translations, the size for scalings; the rest frame of the total
    momentum, then spatial axes, for Lorentz(1, q); the sorted order for Symmetric(n) on sets; the axis of
    the intensity for SO(2), O(2), E(2), SE(2) on images; all elements of a small finite group. Products
    compose: axes first, then the order of the points seen along those axes.

    On graphs, under Symmetric(n), features and adjacency decide together: nodes are sorted by their
    features, then by their entries in the projectors onto the eigenspaces of the Laplacian, then by what
    they see of the other nodes; classes that are still tied are told apart in every way, which is exact, up
    to `limit` orders, and beyond that at random. `Elements.aux["frame_size"]` says how many orders there
    are. Orders that write the graph alike count once where outputs are invariant. Masked nodes come last.

    Where axes are degenerate (equal second moments) the pose is drawn uniformly among the equivalent
    ones: equivariant on average, flagged in `Elements.aux["degenerate"]`, and then not `exact`. Near such
    clouds the axes jump. `weighted=True` is continuous there, and exact: see `weighted_frame`.

    Args:
        samples: poses per input in training: `"all"`, or a number to draw from them at random.
        eval_samples: the same in evaluation; default as in training.
        ties: what to do with equal rows of a set: `"average"` over cyclic shifts of them (exact for
            outputs that carry one entry a point, at up to 64 times the cost), or `"random"`.
        limit: largest finite group whose elements all serve as poses, and most orders of a graph.
        weighted: for O(d), SO(d), E(d), SE(d) in up to three dimensions: poses from every choice of
            `d - 1` points, with weights that vanish where a direction is undefined, in place of
            principal axes. N (N - 1) poses in space (O and E: twice that); draw a few with `samples`.
        frame: your own function `(symmetry, x, generator) -> Elements` in place of these.

    Source: Puny et al. 2022, sections 2 and 3.1 to 3.3; weighted frames: Dym et al. 2024. Cost: `k`
    evaluations of the model per input in one batched call, plus O(N n^2 + n^3) for the axes, O(C N log N)
    for the order of a set, O(n^3) and a few rounds of O(n^2) for that of a graph.

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
        weighted: bool = False,
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
        self.weighted = bool(weighted)
        self.frame = frame

    def check(self, symmetry: Symmetry) -> None:
        if self.frame is not None:
            return
        plan_frame(symmetry, self.limit, weighted=self.weighted)
        if self.weighted:
            _require_weighted(symmetry)

    def sample(
        self, symmetry: Symmetry, x: Data, k: Samples = None, generator: torch.Generator | None = None
    ) -> Elements:
        wanted = self._samples(k)
        found = self._frame(symmetry, x, generator, 1 if wanted in ("all", None) else int(wanted))  # type: ignore[arg-type]
        if wanted in ("all", None) or int(wanted) >= found.count:  # type: ignore[arg-type]
            return found
        return _drawn(symmetry.group, found, int(wanted), generator)  # type: ignore[arg-type]

    def _frame(self, symmetry: Symmetry, x: Data, generator: torch.Generator | None, draws: int) -> Elements:
        if self.frame is not None:
            return self.frame(symmetry, x, generator)
        plan = plan_frame(symmetry, self.limit, draws, self.weighted)
        return equivariant_frame(plan, symmetry, x, generator, self.ties)

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
        return pose_count(symmetry, self.weighted) if self.frame is None else 1

    def extra_repr(self) -> str:
        weighted = ", weighted=True" if self.weighted else ""
        return f"samples={self.train_samples!r}, eval_samples={self.eval_samples!r}, ties={self.ties!r}{weighted}"


def _require_weighted(symmetry: Symmetry) -> None:
    for factor in factors_of(symmetry.group):
        d = _space(factor)
        if d is not None:
            require(
                d <= MAX_DIMENSION,
                f"Weighted frames are known for up to {MAX_DIMENSION} dimensions, not for {factor}: their number grows "
                "as N^(d-1). Use weighted=False.",
            )
            return
    raise InputError(
        f"Weighted frames are for O(d), SO(d), E(d) and SE(d) on points or vectors, not for {symmetry.group}. "
        "Use weighted=False."
    )


def _space(factor: Group) -> int | None:
    """The dimension of the space that a group of rotations turns; None for any other group."""
    if isinstance(factor, SO | O):
        return factor.n
    return factor.dimension if isinstance(factor, Euclidean | SpecialEuclidean) else None


def _drawn(group: Group, found: Elements, count: int, generator: torch.Generator | None) -> Elements:
    """`count` of the poses of each input: drawn by weight, or without replacement among equal weights,
    which varies less. Inputs with no more poses than that keep them all."""
    weight = found.weight.detach().to(torch.float64)
    where = generator_device(generator, weight.device)
    size = len(weight)
    used = weight > 0
    equal = (weight.amax(1) - torch.where(used, weight, 1).amin(1) <= 1e-9) if size else used.any(1)
    few = used.sum(1) <= count
    index = torch.zeros(size, count, dtype=torch.int64, device=weight.device)
    share = uniform_weight(found.weight, count)
    if size:
        drawn = torch.multinomial(weight.to(where), count, replacement=True, generator=generator).to(weight.device)
        keys = torch.rand(weight.shape, generator=generator, device=where, dtype=torch.float64).to(weight.device)
        first = torch.where(used, 1 + keys, keys).topk(count, dim=1).indices
        index = torch.where((equal | few).unsqueeze(1), first, drawn)
        kept = found.weight.gather(1, index)
        share = torch.where(few.unsqueeze(1), kept / kept.sum(1, keepdim=True).clamp_min(1e-30), share)
    random = ~few | found.aux.get("random", torch.zeros_like(few))
    return Elements(take_each(group, found.g, index), share, aux=found.aux, random=random)


def take_each(group: Group, g: Element, index: torch.Tensor) -> Element:
    """`g[b, index[b, j]]` for elements of batch shape `(B, k)`."""
    rows = torch.arange(index.shape[0], device=index.device)[:, None]
    return group.take(g, (rows, index))


def pose_count(symmetry: Symmetry, weighted: bool = False) -> int:
    """Poses of an input in general position, from the group alone."""
    count = 1
    for index, factor in enumerate(factors_of(symmetry.group)):
        image = image_view(symmetry.input, index) is not None
        d = _space(factor)
        proper = isinstance(factor, SO | SpecialEuclidean)
        if d is not None and weighted and not image:
            count *= pose_total(_points(symmetry) or d, d, proper)
        elif d is not None and proper:
            count *= 2 ** (d - 1)
        elif d is not None:
            count *= 4 if image else 2**d
        elif isinstance(factor, Lorentz):
            count *= 2 ** (factor.q - 1)
        elif isinstance(factor, Symmetric) and nodes_view(symmetry.input, index) is not None:
            continue
        elif factor.order is not None:
            count *= factor.order
    return count


def _points(symmetry: Symmetry) -> int | None:
    """How many points a cloud has, where the symmetry says so."""
    action = symmetry.input
    for part in action.parts if isinstance(action, CombinedAction) else (action,):
        if isinstance(part, PointAction) and part.count is not None:
            return int(part.count)
    return next((f.n for f in factors_of(symmetry.group) if isinstance(f, Symmetric)), None)
