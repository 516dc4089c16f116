"""Which inputs does an embedding tell apart, beyond its own randomness?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, not_empty, positive_int, require
from equilearn.actions import Data, first_leaf, map_data
from equilearn.actions import batch_size as count_samples
from equilearn.measure._evaluate import evaluation, isolated_randomness, take
from equilearn.measure._pair_tests import ROUNDING_MARGIN, Found, by_gap, by_test, pair_count, rate_interval
from equilearn.symmetry import Symmetry


@dataclass(frozen=True)
class Separation:
    """What `separation` found.

    Args:
        pairs: how many were tested.
        undistinguished: how many of them the embedding did not tell apart.
        examples: the first of those, indices `(K, 2)`.
        level: the chance, at most, that any pair of inputs with one law of embeddings is called different.
        threshold: the p-value below which a pair counts as different, level shared out over all pairs; None
            for a deterministic embedding.
        deterministic: whether calls on the same input agree up to rounding.
        repeats: calls of the embedding.
        copies: transformed copies on which false positives were counted.
        false_positives: how many copies were told apart from their originals.
        false_positive_interval: of the rate, at 95 % (Clopper and Pearson); None without copies.
        calibration: share of copies with a p-value below `level`, not shared out: at most `level` if the
            test keeps its promise; None for a deterministic embedding or without copies.
        smallest: the smallest evidence among pairs that were told apart: the difference over its threshold.
        noise: of a stochastic embedding the typical standard deviation of one call; of a deterministic one the
            relative difference that is put down to rounding.
    """

    pairs: int
    undistinguished: int
    examples: Int[Tensor, "K 2"] = field(repr=False, compare=False)
    level: float
    threshold: float | None
    deterministic: bool
    repeats: int
    copies: int
    false_positives: int
    false_positive_interval: tuple[float, float] | None
    calibration: float | None
    smallest: float | None
    noise: float

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the copies told apart from their originals; None without copies."""
        return self.false_positives / self.copies if self.copies else None

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and None only, ready for JSON."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain["examples"] = self.examples.tolist()
        interval = self.false_positive_interval
        plain["false_positive_interval"] = None if interval is None else list(interval)
        plain["false_positive_rate"] = self.false_positive_rate
        return plain

    def __str__(self) -> str:
        how = (
            "deterministic"
            if self.deterministic
            else f"{self.repeats} independent calls, level {self.level:g} for all pairs together"
        )
        text = f"{self.undistinguished} of {self.pairs} pairs not told apart ({how})"
        interval = self.false_positive_interval
        if interval is None:
            return f"{text}; false positives not measured: give symmetry= to test transformed copies"
        return (
            f"{text}; {self.false_positives} of {self.copies} transformed copies told apart from their originals "
            f"(rate at most {interval[1]:.2g})"
        )


def separation(
    embed: Callable[[Data], Tensor],
    x: Data,
    pairs: Int[Tensor, "P 2"] | None = None,
    *,
    repeats: int | None = None,
    level: float = 0.05,
    symmetry: Symmetry | None = None,
    copies: int | None = None,
    listed: int = 1000,
    deterministic: bool | None = None,
    batch_size: int = 4096,
    generator: torch.Generator | None = None,
) -> Separation:
    """Which pairs of inputs does an embedding tell apart, beyond its own randomness?

    Counting a pair as distinguished when two embeddings differ by more than some small number means nothing
    where they are random: then the same input embedded twice is "distinguished". Here a stochastic embedding
    is called `repeats` times on everything. For one pair and one coordinate let `d_r` be the differences of
    the calls. Where both inputs have the same law (as transformed copies of each other have under an
    equivariant law) the `d_r` are independent and symmetric about zero, so that
    `t = sum d_r / sqrt(sum d_r^2)` exceeds `s` with probability at most `exp(-s^2 / 2)`: whatever the
    law, without any approximation (Efron 1969). A pair is distinguished where this bound, both signs and
    all coordinates counted, falls below `level` over the number of pairs. A *deterministic* embedding is
    compared with what rounding does to it.

    Args:
        embed: from inputs, batch first, to `(B, ...)` numbers; fresh randomness for every input and call.
        x: the inputs.
        pairs: indices of the inputs to compare; None for all pairs.
        repeats: calls; None for one and a half times the fewest that could distinguish anything.
        level: the chance, at most, of any false distinction among all pairs.
        symmetry: whose group makes transformed copies of the inputs, on which false positives are counted.
        copies: how many of these; default one for each input, at most 2,048.
        listed: most undistinguished pairs that are listed in the result.
        deterministic: True where you know that nothing is random: two calls are enough then. None finds out,
            from as many calls as the test takes: fewer that agree do not show that all would.
        batch_size: most inputs in one call.
        generator: draws the transformations; with it, a stochastic embedding repeats too.

    Raises:
        InputError: an embedding that is called deterministic and is not, pairs out of range or of an input with
            itself, a level out of range, fewer repeats than can distinguish anything at that level, embeddings
            that are not finite or of another batch size.

    Cost: `repeats` calls on `x` and on the copies; O(P repeats D) for the test (all pairs: by matrix products,
    about ten times faster than listed ones), O(P D) if deterministic.

    Source: bound on self-normalised sums of symmetric variables, Efron 1969, Student's t-test under symmetry
    conditions; the test it replaces, Kim et al. 2023.

    Example:
        >>> import torch, equilearn as eq
        >>> x = torch.tensor([[0.0], [0.1], [2.0]])
        >>> noisy = lambda x: x + torch.rand(x.shape)
        >>> found = separation(noisy, x, torch.tensor([[0, 2], [1, 2]]), generator=torch.Generator().manual_seed(0))
        >>> found.undistinguished, found.deterministic, found.repeats
        (0, False, 14)
        >>> separation(lambda x: 0 * x, x).undistinguished
        3
    """
    require(0 < level < 1, f"level must lie between 0 and 1, got {level!r}.")
    map_data(lambda leaf: finite(not_empty(leaf, "x"), "x"), x)
    index = _checked_pairs(pairs, x)
    limit = positive_int(batch_size, "batch_size")
    listed = positive_int(listed, "listed", 0)
    with evaluation(embed), isolated_randomness(generator, first_leaf(x).device):  # type: ignore[arg-type]
        moved, origin = _copies(x, symmetry, copies, generator)
        call = _caller(embed, limit)
        first = call(x)
        total = pair_count(index, len(first))
        least = least_repeats(total, first.shape[1], level)
        count = math.ceil(1.5 * least) if repeats is None else positive_int(repeats, "repeats", 2)
        calls, constant = _calls(call, x, first, 2 if deterministic else count)
        if deterministic and not constant:
            raise InputError(
                "The embedding is called deterministic, but two calls on the same inputs differ. "
                "Leave deterministic= out."
            )
        if constant:
            other = None if moved is None else call(moved)
            found = by_gap(first, other, origin, index, listed)
            return _result(found, level, len(calls), len(origin))
        require(
            count >= least,
            f"{count} repeats cannot distinguish anything at level {level:g} shared by {total} pairs in "
            f"{first.shape[1]} coordinates: at least {least} are needed.",
        )
        others = None if moved is None else torch.stack([call(moved) for _ in range(count)])
    return _result(by_test(calls, others, origin, index, level, listed), level, len(calls), len(origin))


def _result(found: Found, level: float, repeats: int, copies: int) -> Separation:
    return Separation(
        pairs=found.pairs,
        undistinguished=found.undistinguished,
        examples=found.examples,
        level=level,
        threshold=found.threshold,
        deterministic=found.threshold is None,
        repeats=repeats,
        copies=copies,
        false_positives=found.false_positives,
        false_positive_interval=rate_interval(found.false_positives, copies),
        calibration=found.calibration,
        smallest=found.smallest,
        noise=found.noise,
    )


def least_repeats(pairs: int, coordinates: int, level: float) -> int:
    """The fewest calls that can tell any of so many pairs apart: `t` is at most the root of their number.

    Example:
        >>> least_repeats(1, 1, 0.05), least_repeats(61_788_286, 10, 0.05)
        (8, 48)
    """
    return math.floor(2 * math.log(2 * max(pairs, 1) * coordinates / level)) + 1


# --- inputs ------------------------------------------------------------------------------------------


def _checked_pairs(pairs: Tensor | None, x: Data) -> Int[Tensor, "P 2"] | None:
    size = count_samples(x)
    if pairs is None:
        require(size > 1, "A single input makes no pair. At least two are needed.")
        return None
    if not isinstance(pairs, Tensor) or pairs.is_floating_point() or pairs.dtype == torch.bool:
        raise InputTypeError("pairs must be a tensor of whole numbers (P, 2), indices of two inputs each.")
    require(pairs.ndim == 2 and pairs.shape[1] == 2, f"pairs must have the shape (P, 2), got {tuple(pairs.shape)}.")
    require(len(pairs) > 0, "No pairs were given. At least one is needed.")
    index = pairs.to(device="cpu", dtype=torch.int64)
    bad = (index < 0) | (index >= size)
    require(not bool(bad.any()), f"{int(bad.sum())} of the indices in pairs are not among the inputs 0..{size - 1}.")
    same = int((index[:, 0] == index[:, 1]).sum())
    require(same == 0, f"{same} pairs compare an input with itself.")
    return index


def _copies(
    x: Data, symmetry: Symmetry | None, copies: int | None, generator: torch.Generator | None
) -> tuple[Data | None, Int[Tensor, "C"]]:
    """Some inputs, each moved by a random element, and which they are."""
    if symmetry is None:
        require(copies is None, "copies= needs symmetry=, whose group makes them.")
        return None, torch.zeros(0, dtype=torch.int64)
    size = count_samples(x)
    count = min(size, 2048) if copies is None else positive_int(copies, "copies")
    device = first_leaf(x).device
    # Spread evenly over the inputs, going round where there are more copies than inputs.
    origin = (torch.arange(count) * max(size // count, 1)) % size
    g = symmetry.group.sample((count,), generator=generator, device="cpu" if generator is None else generator.device)
    return symmetry.act_input(symmetry.group.to(g, device=device), take(x, origin.to(device))), origin


def _caller(embed: Callable[[Data], Tensor], limit: int) -> Callable[[Data], Float[Tensor, "B D"]]:
    def call(x: Data) -> Tensor:
        size = count_samples(x)
        found = []
        for start in range(0, size, limit):
            piece = take(x, slice(start, start + limit))
            y = embed(piece)
            count = count_samples(piece)
            if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim == 0 or len(y) != count:
                raise InputError(
                    f"The embedding must give floating-point numbers of shape ({count}, ...) for {count} inputs, "
                    f"got {tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__}."
                )
            found.append(finite(y.detach().reshape(count, -1), "The embedding"))
        return torch.cat(found)

    return call


def _calls(
    call: Callable[[Data], Tensor], x: Data, first: Float[Tensor, "B D"], count: int
) -> tuple[Float[Tensor, "R B D"], bool]:
    """`count` calls, and whether all agree up to rounding."""
    rounding = ROUNDING_MARGIN * torch.finfo(first.dtype).eps * first.abs().amax(-1, keepdim=True)
    found, constant = [first], True
    for _ in range(count - 1):
        found.append(call(x))
        constant = constant and bool(((found[-1] - first).abs() <= rounding).all())
    return torch.stack(found), constant
