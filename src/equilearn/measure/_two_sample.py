"""Can a classifier tell two samples apart? On held-out data, so that the p-value means what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TREES = 300
"""Trees of the forest that tells the samples apart."""


@dataclass(frozen=True)
class TwoSample:
    """A classifier two-sample test (Lopez-Paz and Oquab 2017), on held-out data.

    `auc` is the chance that a moved sample scores higher than one that was not; 0.5 where the two cannot
    be told apart. `p_value` is the one-sided Mann-Whitney test of that: held-out marks are independent
    of their scores where the distributions agree, whatever the classifier. Copies of one sample count
    as one observation.
    """

    auc: float
    interval: tuple[float, float]
    accuracy: float
    p_value: float
    held_out: int


def tell_apart(
    x: Float[Tensor, "B D"],
    moved: Bool[Tensor, "B"],
    *,
    seed: int,
    confidence: float = 0.95,
    trees: int = TREES,
    copies: Int[Tensor, "B"] | None = None,
) -> TwoSample:
    """Train a forest on the first half of the rows, test on the second. O(trees B log B sqrt(D)).

    The rows must be in random order, copies of one sample (equal numbers in `copies`) together; these
    share their mark and stay on one side of the split.
    """
    half = _middle(copies, len(x))
    features, marks = x.numpy(), moved.numpy()
    groups = (torch.arange(len(x)) if copies is None else copies)[half:].numpy()
    scores = _scores(features[:half], marks[:half], features[half:], seed, trees)
    return _judge(scores, marks[half:], groups, confidence)


def cross_scores(
    x: Float[Tensor, "B D"],
    moved: Bool[Tensor, "B"],
    *,
    seed: int,
    trees: int,
    copies: Int[Tensor, "B"] | None = None,
) -> float:
    """Area under the curve, each half scored by a forest that was trained on the other."""
    half = _middle(copies, len(x))
    features, marks = x.numpy(), moved.numpy()
    areas = []
    for train, test in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        scores = _scores(features[train], marks[train], features[test], seed, trees)
        area = _area(scores, marks[test])
        if area is not None:
            areas.append(area)
    return float(np.mean(areas)) if areas else 0.5


def _middle(copies: Int[Tensor, "B"] | None, size: int) -> int:
    """Where to cut: at the middle, or after it where a sample's copies go on."""
    half = size // 2
    if copies is not None and half > 0:
        half += int((copies[half:] == copies[half - 1]).sum())
    return half


def _scores(train: np.ndarray, marks: np.ndarray, test: np.ndarray, seed: int, trees: int) -> np.ndarray:
    from sklearn.ensemble import ExtraTreesClassifier

    if marks.all() or not marks.any() or len(test) == 0:
        return np.zeros(len(test))
    forest = ExtraTreesClassifier(trees, min_samples_leaf=2, random_state=seed, n_jobs=1)
    forest.fit(train, marks)
    return np.asarray(forest.predict_proba(test))[:, 1]


def _area(scores: np.ndarray, marks: np.ndarray) -> float | None:
    from scipy.stats import rankdata

    ones, zeros = int(marks.sum()), int((~marks).sum())
    if ones == 0 or zeros == 0:
        return None
    ranks: Any = rankdata(scores)
    return float((ranks[marks].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _judge(scores: np.ndarray, marks: np.ndarray, groups: np.ndarray, confidence: float) -> TwoSample:
    from scipy.stats import mannwhitneyu, norm

    auc = _area(scores, marks)
    if auc is None:
        return TwoSample(0.5, (0.0, 1.0), 0.5, 1.0, len(marks))
    _, sizes = np.unique(groups, return_counts=True)
    if sizes.max() == 1:
        p_value = float(mannwhitneyu(scores[marks], scores[~marks], alternative="greater").pvalue)
    else:
        p_value = _p_value_of_groups(scores, marks, groups)
    # Standard error of an area under the curve by Hanley and McNeil (1982); copies count by what they add.
    apart = float(sizes.sum()) / float(np.square(sizes).sum())
    ones, zeros = (max(apart * float(side.sum()), 1.0) for side in (marks, ~marks))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (ones - 1) * (q1 - auc**2) + (zeros - 1) * (q2 - auc**2)) / (ones * zeros)
    width = float(norm.ppf(0.5 + confidence / 2)) * max(variance, 1.0 / (ones * zeros) ** 2) ** 0.5
    accuracy = float(((scores > 0.5) == marks).mean())
    return TwoSample(auc, (max(auc - width, 0.0), min(auc + width, 1.0)), accuracy, min(p_value, 1.0), len(marks))


def _p_value_of_groups(scores: np.ndarray, marks: np.ndarray, groups: np.ndarray) -> float:
    """The Mann-Whitney test where whole groups share a mark.

    The statistic is a sum of centred ranks over the marked; permuting marks among groups makes it a sum
    of group totals drawn without replacement, whose variance is known. Normal approximation.
    """
    from scipy.stats import norm, rankdata

    ranks: Any = rankdata(scores)
    _, index = np.unique(groups, return_inverse=True)
    totals = np.bincount(index, weights=ranks - ranks.mean())
    marked = np.bincount(index, weights=marks) > 0
    count, chosen = len(totals), int(marked.sum())
    if chosen in (0, count):
        return 1.0
    variance = chosen * (count - chosen) / (count * (count - 1)) * float(np.square(totals).sum())
    return float(norm.sf(totals[marked].sum() / variance**0.5)) if variance > 0 else 1.0


def seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Seeds for scikit-learn."""
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randint(2**31 - 1, (count,), generator=generator, device=device).tolist()
