"""A prediction in sentences, and what became of it when it was tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

_VERDICTS = {
    "yes": "A plain network would carry {group} over by itself",
    "in part": "A plain network would carry {group} over in part",
    "no": "A plain network would not carry {group} over by itself",
}


def sentence_of(told: Mapping[str, Any]) -> dict[str, str]:
    """`sentence`: the prediction; `why`: its reason; `growth_sentence`: from how many elements on, "" where unknown.

    Args:
        told: `SymmetryPrediction.as_dict()`, with `asked` and `stand_in`.
    """
    stand_in = f" (for which {told['stand_in']} stands in)" if told["stand_in"] else ""
    sentence = (
        f"{_VERDICTS[told['answer']].format(group=told['asked'] + stand_in)}: of a class that was seen at every "
        f"element but one, it would recognise {_percent(told['accuracy'])} there (mean error {told['error']:.2f}; "
        "below 1 an input is right)."
    )
    return {"sentence": sentence, "why": _why(told), "growth_sentence": _growth(told)}


def _why(told: Mapping[str, Any]) -> str:
    if told["collapsed"]:
        blind = "The network does not see the group at all: all transforms of an input are one point to it"
        if told["answer"] == "yes":
            return f"{blind}, so that nothing has to be learned."
        return f"{blind}, and it cannot tell the classes apart."
    rows = [row for row in told["classes"] if row["error"] is not None]
    over = sum(row["error"] < 1 for row in rows)
    density = f"density {median(row['density'] for row in rows):.2g}"
    known = [row["separation"] for row in rows if row["separation"] is not None]
    figures = f"(median {density}" + (f", median separation {median(known):.2g})" if known else ")")
    said = f"The error is density over separation {figures}"
    rule = "how far a missing transform lies from what was seen, by how far classes lie apart"
    if over == len(rows):
        return f"{said}: {rule}. Separation is the larger for every class."
    if over == 0:
        return f"{said}: {rule}. Density is the larger for every class."
    return f"{said}: {rule}. Separation is the larger for {over} of {len(rows)} classes."


def _growth(told: Mapping[str, Any]) -> str:
    """From how many elements on a cyclic group would be carried over."""
    if not told["growth"]:
        return ""
    sampled = told["growth"][-1]["order"]
    about = "" if told["growth_is_exact"] else ", by a kernel averaged over all of these"
    if told["learnable_order"] is None:
        return f"No number of equal steps up to {sampled} brings the mean error below 1{about}."
    found = told["learnable_order"]
    return f"The mean error is below 1 from {found} equal steps on, of up to {sampled}{about}."


def compared(told: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What training showed on the very points of the prediction: figures, and `sentence`.

    Args:
        told: the prediction.
        tests: one a class: its `place`, `accuracy` on what was not shown to it and `accuracy_seen` on what was shown.
    """
    if not tests:
        return None
    predicted = [told["classes"][test["place"]]["accuracy"] for test in tests]
    measured = [test["accuracy"] for test in tests]
    off = fmean(abs(p - m) for p, m in zip(predicted, measured, strict=True))
    rank = _rank_correlation(predicted, measured)
    classes = f"{len(tests)} classes" if len(tests) > 1 else "1 class"
    sentence = (
        f"Trained on these very points, with {classes} in turn missing one element, the plain network recognised "
        f"{_percent(fmean(measured))} where {_percent(fmean(predicted))} were predicted; by class, they are "
        f"{100 * off:.0f} points apart on average"
    )
    sentence += f", with a rank correlation of {rank:.2f}." if rank is not None and len(tests) > 3 else "."
    seen = fmean(test["accuracy_seen"] for test in tests)
    if seen < 0.9:
        sentence += (
            f" It knew only {_percent(seen)} of what it was shown: it was not trained to the end, as is assumed."
        )
    return {
        "sentence": sentence,
        "classes": len(tests),
        "predicted": fmean(predicted),
        "measured": fmean(measured),
        "difference": off,
        "rank_correlation": rank,
        "accuracy_seen": seen,
    }


def _rank_correlation(a: list[float], b: list[float]) -> float | None:
    """Spearman's; None where one of the two is constant."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    import numpy as np
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
