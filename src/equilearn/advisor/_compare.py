"""Comparing strategies from rows: means, intervals and how sure an order is.

Two things make a measured score uncertain: which test inputs happened to be drawn, and the seed
of the training. The first is the same for all strategies (they see the same test inputs), so it
is resampled jointly, by a bootstrap; the second is independent, so each strategy's mean gets a
draw from the t distribution of the between-seed variance, pooled over strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

REPLICATES = 2000
_CHUNK = 200


@dataclass(frozen=True)
class Comparison:
    """Scores of several strategies at one training size.

    Args:
        names: strategies, in the order of the columns.
        mean: mean score over seeds, `(strategies,)`.
        draws: replicates of that mean under resampling, `(replicates, strategies)`.
        higher_is_better: the direction of the score.
        seeds: number of seeds behind each mean (the smallest).
    """

    names: tuple[str, ...]
    mean: np.ndarray
    draws: np.ndarray
    higher_is_better: bool
    seeds: int

    def score(self, name: str) -> float:
        return float(self.mean[self.names.index(name)])

    def interval(self, name: str) -> tuple[float, float]:
        """95 % interval of the mean score."""
        low, high = np.quantile(self.draws[:, self.names.index(name)], (0.025, 0.975))
        # An accuracy lies between 0 and 1, an error is not negative; normal draws know neither.
        return max(float(low), 0.0), min(float(high), 1.0) if self.higher_is_better else float(high)

    def best(self) -> str:
        """The strategy with the best mean."""
        return self.names[int(np.argmax(self._gain(self.mean)))]

    def deficit(self, name: str, other: str) -> tuple[float, float, float]:
        """How much worse `name` is than `other`: mean and 95 % interval (positive: worse)."""
        i, j = self.names.index(name), self.names.index(other)
        gain = self._gain(self.draws)
        low, high = np.quantile(gain[:, j] - gain[:, i], (0.025, 0.975))
        return float(self._gain(self.mean)[j] - self._gain(self.mean)[i]), float(low), float(high)

    def tied_with_best(self, margin: float) -> tuple[str, ...]:
        """Strategies not shown to be worse than the best one: the 95 % interval of the deficit
        reaches zero, or the deficit is below `margin`, too small to matter."""
        best = self.best()
        deficits = {name: self.deficit(name, best) for name in self.names}
        return tuple(n for n, (mean, low, _) in deficits.items() if n == best or low <= 0 or mean < margin)

    def probability_best(self, name: str, margin: float) -> float:
        """Share of replicates in which `name` is the best one, or within `margin` of it."""
        gain = self._gain(self.draws)
        return float(np.mean(gain[:, self.names.index(name)] >= gain.max(1) - margin))

    def _gain(self, scores: np.ndarray) -> np.ndarray:
        return scores if self.higher_is_better else -scores


def compare(rows: Sequence[dict[str, Any]], column: str, *, higher_is_better: bool, seed: int = 0) -> Comparison:
    """Compare the strategies in `rows`, all of one training size.

    Args:
        rows: trials with `strategy`, `seed` and per-input losses under `column`.
        column: `"per_sample"` or `"per_sample_transformed"`.
        higher_is_better: True where losses are hits (accuracy); False where they are relative
            squared errors, whose score is the root of the mean.

    Cost: O(replicates x test inputs x rows) time, O(200 x test inputs) memory.
    """
    names = tuple(dict.fromkeys(row["strategy"] for row in rows))
    losses = np.array([row[column] for row in rows], dtype=float)  # (rows, T)
    owner = np.array([names.index(row["strategy"]) for row in rows])
    rng = np.random.default_rng(seed)
    by_row = _resample_inputs(losses, rng)  # (R, rows)
    if not higher_is_better:
        by_row, point = np.sqrt(by_row), np.sqrt(losses.mean(1))
    else:
        point = losses.mean(1)
    mean = np.array([point[owner == i].mean() for i in range(len(names))])
    draws = np.stack([by_row[:, owner == i].mean(1) for i in range(len(names))], axis=1)
    counts = np.array([(owner == i).sum() for i in range(len(names))])
    return Comparison(names, mean, draws + _seed_noise(point, owner, counts, rng), higher_is_better, int(counts.min()))


def _resample_inputs(losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean loss of every row under bootstrap samples of the test inputs, shared by the rows."""
    inputs = losses.shape[1]
    parts = []
    for start in range(0, REPLICATES, _CHUNK):
        size = min(_CHUNK, REPLICATES - start)
        weights = rng.multinomial(inputs, np.full(inputs, 1 / inputs), size=size) / inputs
        parts.append(weights @ losses.T)
    return np.concatenate(parts)


def _seed_noise(point: np.ndarray, owner: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws of the error of each mean that comes from the training seeds."""
    centred = point - np.array([point[owner == i].mean() for i in owner])
    freedom = int(len(point) - len(counts))
    if freedom == 0:  # one seed each: the spread over seeds cannot be known
        return np.zeros((REPLICATES, len(counts)))
    pooled = np.sqrt((centred**2).sum() / freedom)
    return pooled / np.sqrt(counts) * rng.standard_t(freedom, size=(REPLICATES, len(counts)))
