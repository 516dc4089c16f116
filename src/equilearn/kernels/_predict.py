"""Would a network learn this symmetry alone? Predicted from its kernel, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, one_of, require
from equilearn.kernels._given import check_ridge
from equilearn.kernels._orbit_layout import _evaluate, kappa_from_gram
from equilearn.kernels._predict_kernels import KernelSource, Which, kernel_sources
from equilearn.kernels._predict_missing import by_blocks, directly, growth_of, joined, outcome_of, scenarios_of
from equilearn.kernels._predict_orbits import Seeds, Twins, coinciding_seeds, held_out_points, seeds_of
from equilearn.kernels._predict_result import Band, Growth, SymmetryComparison, SymmetryPrediction
from equilearn.kernels._theory_blocks import IrrepShare, class_signals, inverse_of_symmetric, orbit_spread
from equilearn.kernels._theory_kappa import TOLERANCE, orbit_kernel
from equilearn.reps import GroupFourier
from equilearn.symmetry import Symmetry

Method = Literal["blocks", "direct"]

DIRECT_LIMIT = 6_000
"""Most points of the direct solution, a dense matrix of their number."""

BLOCKS_LIMIT = 1 << 28
"""Most numbers of a kernel on orbits, 2 GiB; the whole takes about four times that."""

COLLAPSED = 1e-6
"""The part of the variance within orbits below which there is none."""


class _Keywords(TypedDict, total=False):
    ridge: float
    kernel: Which
    method: Method
    rotations: int
    draws: int
    whole_cosets: bool
    generator: torch.Generator | None


@overload
def predict_symmetry_learning(
    x: Tensor,
    labels: Tensor | Sequence[int],
    symmetry: Symmetry,
    architecture: Mapping[str, Any],
    seen: Tensor | Sequence[Sequence[bool]] | None = None,
    **keywords: Unpack[_Keywords],
) -> SymmetryComparison: ...
@overload
def predict_symmetry_learning(
    x: Tensor,
    labels: Tensor | Sequence[int],
    symmetry: Symmetry,
    architecture: Any,
    seen: Tensor | Sequence[Sequence[bool]] | None = None,
    **keywords: Unpack[_Keywords],
) -> SymmetryPrediction: ...
def predict_symmetry_learning(
    x: Float[Tensor, "m *shape"],
    labels: Int[Tensor, " m"] | Sequence[int],
    symmetry: Symmetry,
    architecture: Any,
    seen: Bool[Tensor, "rows order"] | Sequence[Sequence[bool]] | None = None,
    *,
    ridge: float = 1e-6,
    kernel: Which = "ntk",
    method: Method = "blocks",
    rotations: int = 16,
    draws: int = 5,
    whole_cosets: bool = False,
    generator: torch.Generator | None = None,
) -> SymmetryPrediction | SymmetryComparison:
    """Whether a network would carry a symmetry over to the transforms that it was not shown, per class and element.

    Training holds every transform `g x_s` of every seed, with the label of the seed, but for some (class, element)
    pairs. The kernel of the architecture says exactly what a very wide network, fitted to squared error to the end,
    makes of the missing ones: one-vs-rest targets of +1 and -1, decided by the largest output. The reason is given
    too: the error is `density`, how far the missing points lie from what was seen, over `separation`, how far
    classes lie apart.

    Args:
        x: seeds, `(m, ...)`, what the input action of `symmetry` acts on; computed in float64.
        labels: their classes, `(m,)`, whole numbers.
        symmetry: the group and its action on inputs; labels are invariant. A finite group, or SO(2) or O(2), for
            which turns by equal angles stand in.
        architecture: what has `.ntk(x, z)` and `.nngp(x, z)`; or a `torch.nn.Sequential` that can be read as such; or
            any other module (its empirical kernel as it is); or a function `kernel(x, z)`, the matrix; or a function
            without arguments that builds a fresh module (`draws` of them give a band). Or a dictionary of these by
            name: then all are compared.
        seen: which elements were in training, True at (class, element), `(classes, order)`, or at (seed, element),
            `(m, order)` (read by class where both fit); classes ascending, elements in the order of `elements()`.
            Default: each class in turn misses the identity, for all its seeds, and all else was seen.
        ridge: added to the kernel's diagonal, in units of the mean k(x, x).
        kernel: `"ntk"` (all layers are trained) or `"nngp"` (the last one is).
        method: `"blocks"`, exact where the group acts exactly and the kernel is invariant, else with the kernel
            averaged over the group; `"direct"` solves for all points as they are, up to 6,000 of them.
        rotations: elements of the stand-in for SO(2) (for O(2), half of them).
        draws: of a factory.
        whole_cosets: where an element leaves a seed as it is, or takes it to another seed, the missing point is in
            training under another name; this takes all its names away.
        generator: draws networks, and the rows on which invariance is checked; default a fixed seed.

    Returns:
        A `SymmetryPrediction`; of a dictionary a `SymmetryComparison`.

    Raises:
        InputError: empty or not finite x; labels that do not fit or have one class; an output action that is not
            trivial; an infinite group without stand-in; `seen` of another shape, all True, or with nothing seen of
            a class; an architecture without the kernel asked for, or that fails on these inputs; a kernel that is
            indefinite, or singular where `ridge` is 0 (points that coincide are named); too many points.

    Cost: `m^2 order` values of the kernel (half of `m^2 order^2` where it has to be averaged) and blocks of
    `m dim` for each irrep: see `orbit_inverse`; memory `m^2 order`. Twice that for the growth with the order.

    Source: "On the Ability of Deep Networks to Learn Symmetries from Data: A Neural Kernel Theory", arXiv 2412.11521,
    there for two orbits of a cyclic group; here for any finite group, seeds, classes and missing elements.

    Example:
        >>> import torch
        >>> from equilearn.kernels import predict_symmetry_learning, rings
        >>> kernel = lambda a, b: torch.exp(-(1.4**2) * torch.cdist(a, b) ** 2)
        >>> for n in (4, 8):
        ...     x, symmetry = rings(n)
        ...     found = predict_symmetry_learning(x, [0, 1], symmetry, kernel, ridge=0.0)
        ...     print(n, round(found.mean_error, 4), found.answer)
        4 1.0474 no
        8 0.54 yes
    """
    options = _Options(check_ridge(ridge), one_of(method, ("blocks", "direct"), "method"), whole_cosets, generator)
    seeds = seeds_of(x, labels, symmetry, rotations)
    missing = None if seen is None else held_out_points(seen, seeds)
    sample = seeds.orbits[0, :1]
    if not isinstance(architecture, Mapping):
        return _predict(seeds, missing, kernel_sources(architecture, kernel, draws, generator, sample), options)
    require(len(architecture) > 0, "No architecture was given: the dictionary is empty.")
    sources = {
        str(name): kernel_sources(one, kernel, draws, generator, sample, str(name))
        for name, one in architecture.items()
    }
    return SymmetryComparison({name: _predict(seeds, missing, found, options) for name, found in sources.items()})


# --- parts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    ridge: float
    method: str
    whole_cosets: bool
    generator: torch.Generator | None


def _predict(
    seeds: Seeds, missing: Tensor | None, sources: Sequence[KernelSource], options: _Options
) -> SymmetryPrediction:
    found = [_predict_one(seeds, missing, source, options) for source in sources]
    first = found[0]
    if len(found) == 1:
        return first
    errors, accuracies = torch.stack([f.error for f in found]), torch.stack([f.accuracy for f in found])
    return replace(
        first,
        error=errors.mean(0),
        accuracy=accuracies.mean(0),
        signal=torch.stack([f.signal for f in found]).mean(0),
        density=torch.stack([f.density for f in found]).mean(0),
        spectrum=tuple(map(_mean_share, zip(*(f.spectrum for f in found), strict=True))),
        spread=sum(f.spread for f in found) / len(found),
        collapsed=all(f.collapsed for f in found),
        kernel_defect=max(f.kernel_defect for f in found),
        growth=tuple(map(_mean_growth, zip(*(f.growth for f in found), strict=True))),
        assumptions=max(found, key=lambda f: f.kernel_defect).assumptions,
        band=Band(len(found), torch.stack(errors.aminmax(dim=0)), torch.stack(accuracies.aminmax(dim=0))),
    )


def _mean_share(shares: tuple[IrrepShare, ...]) -> IrrepShare:
    inverse, share = (fmean(values) for values in zip(*((s.inverse, s.share) for s in shares), strict=True))
    return replace(shares[0], inverse=inverse, share=share)


def _mean_growth(steps: tuple[Growth, ...]) -> Growth:
    error, accuracy = (torch.stack(part).mean(0) for part in zip(*((s.error, s.accuracy) for s in steps), strict=True))
    return Growth(steps[0].order, error, accuracy)


def _predict_one(seeds: Seeds, missing: Tensor | None, source: KernelSource, options: _Options) -> SymmetryPrediction:
    kappa, defect, gram = _kernel(seeds, source, options)
    targets = 2 * torch.nn.functional.one_hot(seeds.labels, len(seeds.classes)).to(kappa) - 1
    twins = coinciding_seeds(seeds.orbits, kappa)
    remarks = [*seeds.remarks, *_kernel_remarks(seeds, source, defect, options)]
    remarks += _about_copies(seeds, twins, options)
    shared = twins if options.whole_cosets else None
    scenarios = scenarios_of(seeds, missing, shared)
    wanted = torch.stack([s.wanted for s in scenarios]).any(0)
    inverse = inverse_of_symmetric(kappa, GroupFourier(seeds.group), options.ridge)
    if gram is not None:
        parts = directly(gram, targets, scenarios, options.ridge)
    else:
        parts = by_blocks(inverse, targets, seeds.labels, scenarios, missing is None)
    outcome = outcome_of(seeds, targets, joined(parts, scenarios, seeds.order))
    spectrum, spread = inverse.spectrum(), orbit_spread(kappa)
    del inverse  # as large as the kernel
    grows = missing is None and gram is None
    growth = growth_of(seeds, kappa, targets, options.ridge, shared, outcome) if grows else ()
    signals = class_signals(kappa, seeds.labels)
    signals.fill_diagonal_(math.inf)
    collapsed = spread < COLLAPSED
    return SymmetryPrediction(
        architecture=source.name,
        source=source.source,
        group=seeds.group,
        classes=seeds.classes,
        counts=seeds.counts,
        held_out=torch.stack([wanted[seeds.labels == c].any(0) for c in range(len(seeds.classes))]),
        error=outcome.error,
        accuracy=outcome.accuracy,
        signal=signals.amin(1).cpu(),
        density=outcome.density * (not collapsed),  # what is left of it then is the ridge
        spectrum=spectrum,
        spread=spread,
        collapsed=collapsed,
        action_defect=seeds.defect,
        kernel_defect=defect,
        growth=growth,
        band=None,
        ridge=options.ridge,
        method=options.method,
        assumptions=tuple(remarks),
    )


def _kernel(seeds: Seeds, source: KernelSource, options: _Options) -> tuple[Tensor, float, Tensor | None]:
    """`kappa` in units of its mean diagonal, how far the kernel is from invariant; for the direct way all of K."""
    order, m = seeds.orbits.shape[:2]
    gram = None

    def evaluate(a: Tensor, b: Tensor) -> Tensor:
        return _values(source, a, b)

    if options.method == "direct":
        require(
            order * m <= DIRECT_LIMIT,
            f"method='direct' solves for all {order * m} points, more than {DIRECT_LIMIT}: use method='blocks', or "
            "fewer seeds or elements.",
        )
        points = seeds.orbits.transpose(0, 1).flatten(0, 1)
        gram = _evaluate(evaluate, points, points)
        kappa = kappa_from_gram(gram, seeds.group, torch.arange(order * m).reshape(m, order), project=True)
        rest = float(gram.norm()) ** 2 - order * float(kappa.norm()) ** 2
        defect = max(0.0, rest) ** 0.5 / max(float(gram.norm()), 1e-300)
    else:
        require(
            order * m * m <= BLOCKS_LIMIT,
            f"{m} seeds under {seeds.group} make a kernel of {order * m * m:,} numbers, more than {BLOCKS_LIMIT:,}: "
            "use fewer seeds or elements. Shares and mean errors change little with more of them.",
        )
        found = orbit_kernel(
            evaluate, seeds.orbits, seeds.group, average=None if seeds.is_exact else True, generator=options.generator
        )
        kappa, defect = found.kappa, found.defect
    scale = float(kappa[..., 0].diagonal().mean())
    require(scale > 0, f"The mean of k(x, x) for {source.name} is {scale:.3g}: it must be positive.")
    return kappa.div_(scale), defect, None if gram is None else gram.div_(scale)


def _values(source: KernelSource, a: Tensor, b: Tensor) -> Tensor:
    """The kernel as a user gave it, whose own errors become sentences."""
    whose = "The kernel" if source.name == "the kernel" else f"The kernel of {source.name}"
    try:
        values = source.kernel(a, b)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{whose} fails on inputs of shape {tuple(a.shape)} and {tuple(b.shape)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(values, Tensor):
        raise InputTypeError(f"{whose} must return the matrix as a tensor, got {type(values).__name__}.")
    return values.detach().to(torch.float64)


def _kernel_remarks(seeds: Seeds, source: KernelSource, defect: float, options: _Options) -> list[str]:
    found = [] if source.remark is None else [source.remark]
    if defect > TOLERANCE:
        done = "averaged over the group" if options.method == "blocks" else "used as it is"
        found.append(f"The kernel is not invariant under {seeds.group}: by {defect:.2g} of its norm. It was {done}.")
    return found


def _about_copies(seeds: Seeds, twins: Twins, options: _Options) -> list[str]:
    """Which points are in the data more than once, and what that means.

    Raises:
        InputError: some are, and there is no ridge.
    """
    moved = seeds.still[:, 1:].any(1)
    own, shared = int(moved.sum()), twins.pairs
    copies = []
    if own:
        copies.append(
            f"{own} of {len(moved)} seeds are left as they are by some element (the first: seed "
            f"{int(moved.int().argmax())}), so that their orbits hold points twice"
        )
    if shared:
        i, j, u = twins.triples[0]
        clash = sum(int(seeds.labels[a] != seeds.labels[b]) for a, b in shared)
        count = "1 pair of seeds shares" if len(shared) == 1 else f"{len(shared)} pairs of seeds share"
        copies.append(
            f"{'at least ' if twins.capped else ''}{count} an orbit (seed {i} is element {u} on seed {j})"
            + (f", {clash} of them with different labels" if clash else "")
        )
    require(
        not copies or options.ridge > 0,
        f"Points coincide, so that the kernel matrix is singular: {'; '.join(copies)}. Give a ridge such as 1e-6 (with "
        "whole_cosets=True to hold out all copies of a point), or leave such seeds out.",
    )
    if options.whole_cosets:
        said = ["all names of a missing point were held out"] * 2
    else:
        said = [
            f"a missing point of theirs is in training under another {what} (whole_cosets=True takes it away)"
            for what in ("name", "seed, and so is not missing")
        ]
    which = [said[0]] * bool(own) + [said[1]] * bool(shared)
    return [f"{text[0].upper()}{text[1:]}; {then}." for text, then in zip(copies, which, strict=True)]
