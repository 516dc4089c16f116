"""A landscape under a random field: fixed inputs learn it, and what they leave of the symmetry.

`y = f + h + noise`: f is drawn anew for every task from a stationary Gaussian process, h is a fixed landscape. One
that is equivariant under shifts cannot know h; a free one learns it and is lost elsewhere. The same equivariant process
with learned fixed inputs, left out of half of the training tasks, predicts better over the landscape and falls back to
the strict one where the fixed inputs are off: on a copy of the landscape somewhere else.

Source: Ashman et al. 2024, Approximately Equivariant Neural Processes, arXiv 2406.13488, in miniature.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from equilearn._check import one_of, positive_int
from equilearn.data.fields import FieldTask, PointSet, topography_tasks
from equilearn.processes import (
    TNP,
    ConvCNP,
    NeuralProcess,
    RelaxedConvCNP,
    deviation,
    fit_process,
    log_likelihoods,
)
from equilearn.relaxation import FixedInputs, relaxations
from equilearn.studies._study import Claim, Row, Study

MODELS = ("strict", "relaxed", "one input", "never dropped", "free", "relaxed convolutions")
"""A convolutional process: strict; with 32 fixed inputs, with one, with 32 that training never leaves out; a
transformer without symmetry; convolutions relaxed one by one."""
BOX = [(-6.0, 6.0)]
SPACING, WIDTH = 1 / 8, 32
FEATURES = 4
"""Fourier features of location; more fit a landscape faster, and leave the equivariant part less to do."""
ELSEWHERE = 15.0
"""How far the copy of the landscape lies."""
BATCH = 64


def configs(preset: str, seed: int, models: tuple[str, ...], steps: int, test_tasks: int, repeats: int) -> list[Row]:
    """The oracle, and every model times repeats."""
    for count in (steps, test_tasks, repeats):
        positive_int(count, "Each of steps, test_tasks and repeats")
    for name in models:
        one_of(name, MODELS, "model of this study")
    common = {"steps": steps, "test_tasks": test_tasks, "seed": seed}
    trained = [{**common, "model": name, "repeat": repeat} for name in models for repeat in range(repeats)]
    return [{**common, "model": "oracle", "repeat": 0}, *trained]


def trial(config: dict[str, Any]) -> Row:
    """Train one model, and score it over the landscape, over its copy elsewhere, and where there is none."""
    family = topography_tasks()
    places = {"inside": family, "copy": family.moved(ELSEWHERE), "flat": topography_tasks(flat=True)}
    tests = {name: _tests(place, config) for name, place in places.items()}
    if config["model"] == "oracle":
        exact = {name: _mean([places[name].oracle_log_prob(t) for t in tasks]) for name, tasks in tests.items()}
        averaged = torch.cat([family.averaged_log_prob(task) for task in tests["inside"]])
        x = torch.linspace(-9, 9, 181)
        return {**exact, "averaged": float(averaged.mean()), "x": x.tolist(), "unseen": _rounded(_height(x))}
    model = _model(config["model"], 1000 * config["seed"] + config["repeat"])
    rate = 1e-3 if config["model"] == "free" else 3e-3
    seed = 1000 * config["seed"] + config["repeat"]
    start = time.process_time()
    fit_process(model, family.tasks, steps=config["steps"], learning_rate=rate, seed=seed)
    row: Row = {"seconds": time.process_time() - start, "parameters": sum(p.numel() for p in model.parameters())}
    for name, tasks in tests.items():
        each = log_likelihoods(model, tasks)
        row |= {name: float(each.mean()), f"{name}_each": _rounded(each)}
    return row | _departure(model, tests)


def _tests(family: Any, config: dict[str, Any]) -> list[FieldTask]:
    """The same tasks for every model."""
    generator = torch.Generator().manual_seed(10_000 + config["seed"])
    starts = range(0, config["test_tasks"], BATCH)
    return [family.tasks(min(BATCH, config["test_tasks"] - start), generator) for start in starts]


def _model(name: str, seed: int) -> NeuralProcess:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "free":
            return TNP(1)
        if name == "relaxed convolutions":
            return RelaxedConvCNP(1, spacing=SPACING, width=WIDTH, domain=BOX, features=FEATURES)
        if name == "strict":
            return ConvCNP(1, spacing=SPACING, width=WIDTH)
        number, drop = (1 if name == "one input" else WIDTH), (0.0 if name == "never dropped" else 0.5)
        fixed = FixedInputs(number, BOX, drop=drop, features=FEATURES, out=WIDTH)
        return ConvCNP(1, spacing=SPACING, width=WIDTH, fixed=fixed)


def _departure(model: NeuralProcess, tests: dict[str, list[FieldTask]]) -> Row:
    """What the fixed inputs do: the score without them, the deviation, the prediction when nothing was seen."""
    if not relaxations(model):
        return {}
    found = deviation(model, tests["inside"])
    with model.equivariant_only():
        off = float(log_likelihoods(model, tests["inside"]).mean())
    x = torch.linspace(-9, 9, 181)
    nothing = PointSet(x.new_zeros(1, 0, 1), x.new_zeros(1, 0, 1))
    wanted = FieldTask(nothing, PointSet(x[None, :, None], torch.zeros(1, len(x), 1)))
    with torch.no_grad():
        unseen = model.eval()(wanted).mean[0, :, 0]
    return {
        "inside_off": off,
        "deviation": found.relative,
        "ratio": found.ratio,
        "x": x.tolist(),
        "unseen": _rounded(unseen),
    }


def _height(x: Tensor) -> Tensor:
    return topography_tasks().average(x[:, None]).flatten()


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def _mean(parts: list[Tensor]) -> float:
    return float(torch.cat(parts).mean())


def claims(rows: list[Row]) -> list[Claim]:
    """What fixed inputs gain over the landscape, and what they leave elsewhere."""
    gain = _paired(rows, "relaxed", "strict", "inside")
    one = _paired(rows, "one input", "strict", "inside")
    copy = _paired(rows, "relaxed", "strict", "copy")
    dropless = _paired(rows, "never dropped", "strict", "copy")
    free = _paired(rows, "free", "strict", "copy")
    oracle = next((row for row in rows if row["model"] == "oracle"), {})
    exact, best = oracle.get("inside", math.nan), oracle.get("averaged", math.nan)
    return [
        Claim.at_least("relaxed gains", f"Relaxed less strict over the landscape, nats ({_error(gain)})", gain[0], 0.1),
        Claim.between("falls back", f"The same over its copy elsewhere ({_error(copy)})", copy[0], -0.05, 0.05),
        Claim.at_least("one is enough", "Share of the gain that one fixed input has", _ratio(one[0], gain[0]), 0.8),
        Claim.at_most("dropout matters", "Never dropped less strict, over the copy", dropless[0], -0.4),
        Claim.at_most("free is lost", "A transformer without symmetry less strict, over the copy", free[0], -1.0),
        Claim.between("exact", "Exact prediction over the landscape, nats a target", exact, -0.56, -0.5),
        Claim.between(
            "ceiling", "Exact less the best predictor that commutes with shifts, nats", exact - best, 0.12, 0.165
        ),
    ]


def _paired(rows: list[Row], one: str, other: str, place: str) -> tuple[float, float]:
    """Mean difference over the test tasks, which the models share, and its standard error."""
    each = {}
    for name in (one, other):
        found = [row[f"{place}_each"] for row in rows if row["model"] == name and f"{place}_each" in row]
        if not found:
            return math.nan, math.nan
        each[name] = torch.tensor(found, dtype=torch.float64).mean(0)
    apart = each[one] - each[other]
    return float(apart.mean()), float(apart.std() / math.sqrt(len(apart)))


def _error(found: tuple[float, float]) -> str:
    return f"standard error {found[1]:.3f}, paired over tasks"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


STUDY = Study(
    name="topography",
    title="Fixed inputs learn a landscape and leave the symmetry in place elsewhere",
    statement=(
        "An equivariant neural process with learned fixed inputs, left out at random in training, beats the strict one "
        "where a fixed landscape breaks the symmetry, and equals it elsewhere; one fixed input is nearly enough."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={"models": MODELS[:5], "steps": 1000, "test_tasks": 1024, "repeats": 1},
    full={"models": MODELS, "steps": 5000, "test_tasks": 4096, "repeats": 3},
    plot=[
        {
            "x": "model",
            "y": [["inside", "inside_off", "copy"]],
            "title": "Log-likelihood a target, in nats",
            "caption": "Inside: over the landscape; off: the same without fixed inputs; copy: the landscape elsewhere",
        },
        {
            "kind": "curves",
            "x": "x",
            "y": ["unseen"],
            "series": ["model"],
            "where": {"model": ["oracle", "relaxed", "one input", "never dropped"]},
            "title": "Predicted when nothing was observed, and the landscape (oracle)",
            "caption": "Beyond the box from -6 to 6 the fixed inputs are zero",
        },
    ],
    weight=lambda config: 0.2 if config["model"] == "oracle" else 1.0 + (config["model"] == "free"),
    takes="two minutes; full: an hour",
)
