"""The report of `advise`: from its summary to what the template shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilearn.report import _common as common
from equilearn.report import _evidence as evidence
from equilearn.report import _prediction as prediction
from equilearn.report import _symmetry as symmetry
from equilearn.report._common import Fact
from equilearn.report._estimate import Estimate
from equilearn.report._format import count, number, plural, record, records, sentence, strings, text
from equilearn.report._rows import Rows
from equilearn.report._table import Column, Table, figure, words

_LEVELS = {"high": "high", "medium": "medium", "low": "low"}


def context(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of an advise report needs."""
    rows = Rows.of(summary)
    task, sym = record(summary.get("task")), record(summary.get("symmetry"))
    name, group = text(task.get("name"), "your data"), text(sym.get("group"), "the symmetry")
    return {
        "title": f"{name} under {group}: which symmetry strategy?",
        "heading": f"Which symmetry strategy for {name} under {group}?",
        "eyebrow": "equilearn advise",
        "about": sentence(text(task.get("about"))),
        "facts_of_task": _facts(task, sym),
        "answer": _answer(summary, rows),
        "picture": evidence.picture(rows),
        "scores": evidence.score_table(rows),
        "cost": evidence.cost_table(rows),
        "strategies": _strategies(summary),
        "data_of_task": symmetry.data_symmetry(summary, rows),
        "split": symmetry.split(summary),
        "prediction": prediction.section(summary.get("prediction")),
        "learnt": symmetry.learnt(summary, rows),
        "errors": symmetry.errors(summary, rows),
        "would_change": strings(record(summary.get("recommendation")).get("would_change")),
        "skipped": _skipped(summary),
        "failed": _failed(summary, rows),
        "reproduce": common.reproduce(
            summary,
            [
                Fact("training sizes", common.listed([count(s) for s in rows.sizes])),
                Fact("seeds", common.listed(rows.seeds)),
            ],
        ),
        "definitions": _definitions(rows, task, sym, summary.get("prediction")),
    }


def _facts(task: Mapping[str, Any], sym: Mapping[str, Any]) -> list[Fact]:
    facts = []
    if number(task.get("train")) is not None:
        facts.append(Fact("Training samples", count(task["train"])))
    if number(task.get("test")) is not None:
        facts.append(Fact("Test samples", count(task["test"])))
    classes = number(task.get("classes"))
    facts.append(Fact("Target", plural(int(classes), "class", "classes") if classes else text(task.get("kind"), "–")))
    shape = task.get("input_shape")
    if isinstance(shape, list | tuple) and shape:
        facts.append(Fact("Input", " × ".join(text(s) for s in shape)))
    moves = " → ".join(text(sym.get(k), "–") for k in ("input", "output"))
    facts.append(Fact("Group acts on", moves.replace("→ trivial", "→ nothing (invariance)")))
    if sym.get("exact") is not None:
        facts.append(Fact("Transforms are", "exact" if sym["exact"] else "interpolated"))
    return facts


def _answer(summary: Mapping[str, Any], rows: Rows) -> dict[str, Any] | None:
    found = summary.get("recommendation")
    if not isinstance(found, Mapping) or not found:
        return None
    moved = text(record(summary.get("symmetry")).get("moved"), "transformed")
    cards = [
        _card(found.get("if_deployed_as_is"), "If inputs come as in your data", rows),
        _card(found.get("if_deployed_transformed"), f"If inputs come {moved}", rows),
    ]
    confidence = record(found.get("confidence"))
    chance = number(confidence.get("probability"))
    return {
        "headline": sentence(text(found.get("headline"), f"Use {rows.label(text(found.get('strategy'), 'plain'))}.")),
        "strategy": rows.label(text(found.get("strategy"))),
        "cards": [card for card in cards if card],
        "reasons": [sentence(reason) for reason in strings(found.get("reasons"))],
        "level": _LEVELS.get(text(confidence.get("level")).lower(), text(confidence.get("level"), "not stated")),
        "chance": "" if chance is None else f"{100 * chance:.0f} %",
        "confidence": sentence(text(confidence.get("sentence"))),
    }


def _card(found: object, condition: str, rows: Rows) -> dict[str, Any] | None:
    deployment = record(found)
    if not deployment:
        return None
    ends = deployment.get("interval")
    low, high = ends if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
    mean = number(deployment.get("score"))
    shown = Estimate(mean, number(low), number(high), 1, 1).shown
    return {
        "condition": condition,
        "strategy": rows.label(text(deployment.get("strategy"), "–")),
        "score": shown[0],
        "interval": shown[1],
        "metric": rows.metric,
        "sentence": sentence(text(deployment.get("sentence"))),
        "style": rows.style(text(deployment.get("strategy"))),
    }


def _strategies(summary: Mapping[str, Any]) -> list[Fact]:
    described = records(summary.get("strategies"))
    return [Fact(text(s.get("label"), text(s.get("name"), "–")), sentence(text(s.get("describe")))) for s in described]


def _skipped(summary: Mapping[str, Any]) -> Table | None:
    found = records(summary.get("skipped"))
    if not found:
        return None
    rows = [[words(s.get("strategy")), words(s.get("reason"), default="no reason recorded")] for s in found]
    return Table("skipped", "Strategies left out, and why", [Column("Strategy"), Column("Reason")], rows, wrap=True)


def _failed(summary: Mapping[str, Any], rows: Rows) -> Table | None:
    """Trials that ended with an error, and those that left no score."""
    failed = records(summary.get("failed")) + [r for r in rows.all if _without_score(r)]
    if not failed:
        return None
    cells = [
        [
            words(rows.label(text(r.get("strategy")))),
            figure(r.get("train_size"), count(r.get("train_size"))),
            words(r.get("seed")),
            words(r.get("error"), default="no score: training diverged or was cut short"),
        ]
        for r in failed
    ]
    columns = [Column("Strategy"), Column("Training samples", numeric=True), Column("Seed"), Column("What happened")]
    return Table("failed", "Trials without a result", columns, cells, wrap=True)


def _without_score(row: Mapping[str, Any]) -> bool:
    return number(row.get("score")) is None or number(row.get("score_transformed")) is None


def _definitions(rows: Rows, task: Mapping[str, Any], sym: Mapping[str, Any], predicted: object) -> list[Fact]:
    group = text(sym.get("group"), "the group")
    if rows.higher:
        score = "Accuracy: the share of test samples whose class is right. Higher is better."
    else:
        score = "Relative error: the root mean square of the error over that of the targets. Lower is better."
    if rows.metric not in ("accuracy", "relative error"):
        score = f"{rows.metric}. {'Higher' if rows.higher else 'Lower'} is better."
    effect = (
        "The area under the curve of a classifier that tells the data from their transforms on held-out samples, less "
        "0.5: 0 where they look alike, 0.5 where they never do. p: the chance of so large an effect in symmetric data."
    )
    found = [
        Fact("Score", score),
        Fact("As seen", "On the test samples as they are."),
        Fact(
            "Transformed",
            f"On copies of the test samples moved by elements of {group}: every one but the identity where the group "
            "is finite and small, otherwise one random element a sample. All strategies and seeds meet "
            "the same copies.",
        ),
        Fact("Interval", _interval_definition(rows, task)),
        Fact("Effect", effect),
        Fact(*common.NORM),
        Fact(*common.VERDICT),
        Fact(*common.FLOOR),
    ]
    if any(number(r.get("resampling")) for r in rows.all):
        found.append(Fact(*common.SAMPLING))
    if number(sym.get("interpolation_floor")) or any(number(r.get("interpolation_floor")) for r in rows.all):
        found.append(Fact(*common.INTERPOLATION))
    if record(predicted).get("made"):
        found += prediction.DEFINITIONS
    found.append(
        Fact(
            "Cost",
            "Training is wall time on the machine named above. Inference is the median time of one batch "
            "of up to 64 test "
            "inputs. Neither holds the loading of the data.",
        )
    )
    return found


def _interval_definition(rows: Rows, task: Mapping[str, Any]) -> str:
    if len(rows.seeds) < 2:
        return "Only one seed was run, so there is no interval: the spread between trainings is not known."
    said = (
        f"[low, high] is the 95 % Student-t interval of the mean over {plural(len(rows.seeds), 'seed')} "
        "(each a new draw "
        "of training samples and weights)"
    )
    said += ", cut at 0 and 1." if rows.bounds else "."
    tests = number(task.get("test"))
    if rows.bounds and tests:
        half = 1.96 * (0.9 * 0.1 / tests) ** 0.5
        said += (
            f" It does not hold the chance in which test samples were drawn: with {count(tests)} of them "
            "that adds about "
            f"±{half:.3f} at an accuracy of 0.9, the same for all strategies."
        )
    return said + " Intervals in the answer come from resampling test inputs and seeds together."
