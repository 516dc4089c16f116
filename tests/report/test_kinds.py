"""What each kind of report says."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from equilearn.report import render

NAN = float("nan")


def _order(page: Any, *phrases: str) -> None:
    places = [page.text.index(phrase) for phrase in phrases]
    assert places == sorted(places)


# --- advise ----------------------------------------------------------------------------------


def test_sections_come_in_the_promised_order(advise: dict[str, Any], read: Any) -> None:
    page = read(render(advise))
    headings = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert headings == ["answer", "evidence", "costs", "data", "learnt", "error", "change", "reproduce", "definitions"]
    _order(
        page, "96.6 %", "Under transformations", "Parameters", "Not symmetric", "loses", "rotation 45°", "it pays once"
    )
    assert advise["command"] in page.text


def test_pose_names_the_classes(advise: dict[str, Any], read: Any) -> None:
    advise["data_symmetry"]["coverage"] = []
    advise["task"]["class_names"] = [f"digit {i}" for i in range(10)]
    page = read(render(advise))
    assert "p < 0.001, effect 0.450 [0.430, 0.470] of at most 0.5" in page.text
    _order(page, "Classes that pass for another", "digit 6", "half turn", "digit 9", "21.4 %")


def test_every_strategy_size_and_reason_is_there(advise: dict[str, Any], read: Any) -> None:
    page = read(render(advise))
    for strategy in advise["strategies"]:
        assert strategy["label"] in page.text
    for reason in (*advise["recommendation"]["reasons"], *advise["recommendation"]["would_change"]):
        assert reason in page.text
    assert advise["skipped"][0]["reason"] in page.text
    plots = [s for s in page.all("svg") if s["class"] == "plot"]
    assert len(plots) == 3


def test_numbers_carry_intervals(advise: dict[str, Any], read: Any) -> None:
    for row in advise["rows"]:
        row["score"] = 0.9 + 0.01 * row["seed"]
    page = read(render(advise))
    # 0.91 with t(2, 0.975) * 0.01 / sqrt(3) on either side, by hand.
    assert "0.910 [0.885, 0.935]" in page.text
    assert "95 % Student-t interval of the mean over 3 seeds" in page.text


def test_one_seed_has_no_interval_and_says_so(advise: dict[str, Any], read: Any) -> None:
    advise["rows"] = [row for row in advise["rows"] if row["seed"] == 0]
    page = read(render(advise))
    assert "One seed: no interval." in page.text
    assert "Only one seed was run" in page.text
    assert "bootstrap over inputs, one seed" in page.text


def test_failed_and_diverged_trials_are_shown(advise: dict[str, Any], read: Any) -> None:
    for row in advise["rows"]:
        if row["strategy"] == "exact":
            row["score"] = row["score_transformed"] = NAN
    advise["rows"][0]["score"] = None
    advise["failed"] = [{"strategy": "average", "train_size": 1000, "error": "out of memory"}]
    page = read(render(advise))
    assert "out of memory" in page.text
    assert "training diverged" in page.text
    assert "2 of 3" in page.text
    assert "no value" in page.text


def test_without_rows_or_recommendation(advise: dict[str, Any], read: Any) -> None:
    advise.update(rows=[], recommendation=None, data_symmetry=None, strategies=[])
    page = read(render(advise))
    for said in ("No recommendation yet", "There is no score to draw", "No trial has finished", "was not measured"):
        assert said in page.text


def test_what_a_plain_network_learns(advise: dict[str, Any], read: Any) -> None:
    assert "more data of this kind did not close the gap" in read(render(advise)).text
    closing = copy.deepcopy(advise)
    for row in closing["rows"]:
        lost = {50: 0.5, 200: 0.2, 1000: 0.1}[row["train_size"]]
        row["score_transformed"] = row["score"] - lost * (1 + 0.01 * row["seed"])
    assert "more data closed 80 % of the gap" in read(render(closing)).text
    for row in closing["rows"]:
        if row["train_size"] == 1000:
            row["score_transformed"] = row["score"] + 0.001 * (row["seed"] - 1)
    assert "no loss is measurable" in read(render(closing)).text
    page = read(render(closing)).text
    assert "Predicted." not in page
    assert "shown no transform" not in page


def test_what_was_predicted_stands_before_what_was_measured(
    advise: dict[str, Any], prediction: dict[str, Any], read: Any
) -> None:
    advise["prediction"] = prediction["prediction"]
    page = read(render(advise))
    _order(page, "Predicted. It will not learn it.", "Tested. Trained", "a kernel", "Bent <b>.", "Measured. With 50")
    assert "six 1.30 10 % 25 % 0.150 0.200 not yet nine 0.800 90 % – 0.250 0.200 4" in page.text
    assert "shown no transform at all" in page.text
    assert "Separation and density" in page.text
    assert len([s for s in page.all("svg") if s["class"] == "plot"]) == 6


def test_why_there_is_no_prediction(advise: dict[str, Any], read: Any) -> None:
    advise["prediction"] = {"made": False, "reason": "Only classes can be predicted"}
    page = read(render(advise))
    _order(page, "Not predicted. Only classes can be predicted.", "Measured. With 50")
    assert "shown no transform" not in page.text


def test_a_prediction_of_its_own(prediction: dict[str, Any], read: Any) -> None:
    page = read(render(prediction))
    _order(
        page, "Would a plain network learn C8 on digits alone?", "It will not learn it.", "six", "Nothing was trained."
    )
    assert page.text.count("Guessing among 2 classes gets 50 % right.") == 2  # in words and under the table
    assert [f["id"] for f in page.all("figure")] == ["classes", "spectrum", "growth"]
    assert "six: 0.100. nine: 0.900." in page.source and "trivial: 3.00. frequency 1: 0.500." in page.source
    assert page.source.count(">chance<") == 2
    prediction["prediction"]["growth"] = []  # as for a group of few elements
    prediction["prediction"]["spectrum"] = [{"name": f"frequency {k}", "inverse": 1.0 + k} for k in (32, *range(1, 32))]
    prediction["prediction"]["spectrum"] += [{"name": "trivial", "inverse": 1.0}]
    few = read(render(prediction))
    assert [f["id"] for f in few.all("figure")] == ["classes", "spectrum"]
    assert "1 / eigenvalue: 1.00 at 0, 33.0 at 32" in few.source and ">frequency<" in few.source
    assert read(render({"kind": "prediction"})).text.count("The summary holds no prediction.") == 1
    page = read(render({"kind": "prediction", "prediction": {"made": True, "classes": [{"error": NAN}, 3]}}))
    assert "Predicted before training" in page.text


def test_a_regression_says_that_lower_is_better(advise: dict[str, Any], read: Any) -> None:
    advise["task"].update(kind="regression", classes=0, metric="relative error", higher_is_better=False)
    for row in advise["rows"]:
        row["score"], row["score_transformed"] = 0.01, 1.7 if row["strategy"] == "plain" else 0.012
    page = read(render(advise))
    assert "relative error (lower is better)" in page.text
    assert "plain network loses 1.69" in page.text
    assert "cut at 0 and 1" not in page.text


def test_many_elements_are_cut_to_the_worst(advise: dict[str, Any], read: Any) -> None:
    for row in advise["rows"]:
        row["per_element"] = [{"element": f"g{i}", "error": 0.001 * i} for i in range(120)]
    page = read(render(advise))
    assert "The 40 worst of 120 elements." in page.text
    assert "g119" in page.text
    assert "g10 " not in page.text


# --- study -----------------------------------------------------------------------------------


def test_claims_are_told_in_words(study: dict[str, Any], read: Any) -> None:
    page = read(render(study))
    assert "1 of 3 claims held; 1 could not be tested." in page.text
    for outcome in ("✓ held", "✗ not held", "? not tested"):
        assert outcome in page.text
    assert study["study"]["statement"] in page.text
    assert len([s for s in page.all("svg") if s["class"] == "plot"]) == 1


def test_small_and_negative_figures_of_claims(study: dict[str, Any], read: Any) -> None:
    study["claims"] = [
        {"name": "n", "statement": "s", "value": v, "bound": 1e-12, "held": True} for v in (2e-16, -3e-7)
    ]
    page = read(render(study))
    assert "2e-16" in page.text
    assert "−3e-07" in page.text


def test_all_claims_and_no_plot(study: dict[str, Any], read: Any) -> None:
    for claim in study["claims"]:
        claim["held"] = True
    study["plot"] = {"x": "group", "y": "nothing"}
    page = read(render(study))
    assert "Every claim held." in page.text
    assert not [s for s in page.all("svg") if s["class"] == "plot"]


def test_failed_trials_of_a_study_are_shown(study: dict[str, Any], read: Any) -> None:
    study["failed"] = [{"k": 64, "error": "out of memory", "attempts": 2}]
    assert "out of memory" in read(render(study)).text


def test_long_studies_stay_small(study: dict[str, Any], read: Any) -> None:
    study["rows"] = [{"x": i, "y": i * 0.1, "note": {"deep": [1, 2, i]}} for i in range(20_000)]
    study["plot"] = None
    source = render(study)
    page = read(source)
    assert len(source.encode()) < 500_000
    assert "The first 300 of 20,000 rows" in page.text
    assert page.embedded["rows"] == []


# --- audit -----------------------------------------------------------------------------------


def test_audit_gives_verdict_elements_layers_and_floors(audit: dict[str, Any], read: Any) -> None:
    page = read(render(audit))
    _order(page, "Approximate.", "rotation 45°", "features.0", "Rounding: 1.8e-7", audit["command"])
    assert "0.072 [0.066, 0.078]" in page.text
    assert "Interpolation: 0.040" in page.text


@pytest.mark.parametrize("verdict", ["exact", "absent"])
def test_audit_explains_each_verdict(audit: dict[str, Any], verdict: str, read: Any) -> None:
    audit["verdict"] = verdict
    audit["error"].update(interval=None, interpolation_floor=None, per_element=[], chance=None)
    audit["layers"] = None
    page = read(render(audit))
    assert f"{verdict.capitalize()}." in page.text
    assert "Layers were not measured." in page.text
