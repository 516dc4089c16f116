"""A random function that changes its character at a fixed place: how much is there to gain, and do short runs show it?

On one side of x = 0 the function varies quickly, on the other slowly, which side by a coin. An equivariant process
does not know the place. Exact prediction, the best that commutes with shifts, and trained convolutional processes,
strict and relaxed, score the same tasks. The whole effect is smaller than what short training leaves open, so that the
oracles are the point of the quick preset.

Source: Ashman et al. 2024, Approximately Equivariant Neural Processes, arXiv 2406.13488, section 5.1.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from equilearn._check import one_of, positive_int
from equilearn.data.fields import FieldTask, gibbs_tasks
from equilearn.processes import ConvCNP, fit_process, log_likelihoods
from equilearn.relaxation import FixedInputs
from equilearn.studies._study import Claim, Row, Study

MODELS = ("strict", "relaxed")
BOX = [(-7.0, 7.0)]
PLACES = 43
"""Places at which the change may be, for the best predictor that commutes with shifts."""
BATCH = 64
CHUNK = 100
"""Tasks of one oracle trial."""


def configs(
    preset: str,
    seed: int,
    models: tuple[str, ...],
    steps: int,
    per_unit: int,
    width: int,
    oracle_tasks: int,
    test_tasks: int,
    repeats: int,
) -> list[Row]:
    """Oracles on so many tasks, in chunks; every model times repeats."""
    for count in (steps, per_unit, width, oracle_tasks, test_tasks, repeats):
        positive_int(count, "Each of steps, per_unit, width, oracle_tasks, test_tasks and repeats")
    for name in models:
        one_of(name, MODELS, "model of this study")
    common = {"seed": seed, "test_tasks": test_tasks}
    oracles = [
        {**common, "model": "oracle", "chunk": chunk, "tasks": min(CHUNK, oracle_tasks - CHUNK * chunk)}
        for chunk in range(math.ceil(oracle_tasks / CHUNK))
    ]
    trained = [
        {**common, "model": name, "repeat": repeat, "steps": steps, "per_unit": per_unit, "width": width}
        for name in models
        for repeat in range(repeats)
    ]
    return oracles + trained


def trial(config: dict[str, Any]) -> Row:
    """The oracles on some tasks; or a trained process on the test tasks, and on such as lie elsewhere."""
    family = gibbs_tasks()
    if config["model"] == "oracle":
        generator = torch.Generator().manual_seed(1000 * config["seed"] + config["chunk"])
        task = family.tasks(config["tasks"], generator)
        exact, averaged = family.oracle_log_prob(task), family.averaged_log_prob(task, PLACES)
        return {"exact_each": _rounded(exact), "averaged_each": _rounded(averaged)}
    seed = 1000 * config["seed"] + config["repeat"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = config["width"]
        fixed = FixedInputs(width, BOX, drop=0.1, out=width, features=4) if config["model"] == "relaxed" else None
        model = ConvCNP(1, spacing=1 / config["per_unit"], width=width, fixed=fixed)
    start = time.process_time()
    fit_process(model, family.tasks, steps=config["steps"], seed=seed)
    row: Row = {"seconds": time.process_time() - start}
    for name, place in (("inside", family), ("outside", gibbs_tasks(outside=True))):
        tasks = _tests(place, config)
        each = log_likelihoods(model, tasks)
        exact = torch.cat([place.oracle_log_prob(task) for task in tasks])
        row |= {name: float(each.mean()), f"{name}_exact": float(exact.mean()), f"{name}_each": _rounded(each)}
    return row


def _tests(family: Any, config: dict[str, Any]) -> list[FieldTask]:
    generator = torch.Generator().manual_seed(10_000 + config["seed"])
    starts = range(0, config["test_tasks"], BATCH)
    return [family.tasks(min(BATCH, config["test_tasks"] - start), generator) for start in starts]


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def claims(rows: list[Row]) -> list[Claim]:
    """The oracles to their digits; how far trained processes are from them, and from each other."""
    exact, averaged = (_pooled(rows, name) for name in ("exact_each", "averaged_each"))
    apart = exact - averaged if len(exact) else torch.tensor([math.nan])
    error = _error(apart)
    slack = 0.01 + 2 * _error(exact)
    strict, relaxed = (_mean(rows, name, "inside") for name in MODELS)
    short = _mean(rows, "strict", "inside_exact") - strict
    return [
        Claim.between(
            "exact",
            f"Exact prediction, nats a target, {len(exact)} tasks",
            _average(exact),
            -0.455 - slack,
            -0.455 + slack,
        ),
        Claim.between(
            "ceiling",
            f"Exact less the best predictor that commutes with shifts (standard error {error:.3f})",
            float(apart.mean()),
            0.043 - 0.003 - 2 * error,
            0.043 + 0.003 + 2 * error,
        ),
        Claim.at_least("open", "What training leaves open: exact less strict, nats", short, float(apart.mean())),
        Claim.between("relaxed", "Relaxed less strict: within what there is to gain", relaxed - strict, -0.06, 0.06),
        Claim.between(
            "outside",
            "Relaxed less strict where nothing changes",
            _mean(rows, "relaxed", "outside") - _mean(rows, "strict", "outside"),
            -0.05,
            0.05,
        ),
    ]


def _error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _pooled(rows: list[Row], name: str) -> Tensor:
    return torch.tensor([value for row in rows for value in row.get(name, [])], dtype=torch.float64)


def _average(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan


def _mean(rows: list[Row], model: str, name: str) -> float:
    found = [row[name] for row in rows if row["model"] == model and name in row]
    return sum(found) / len(found) if found else math.nan


STUDY = Study(
    name="gibbs",
    title="A change of character at a fixed place: there is little to gain by knowing it",
    statement=(
        "Exact prediction of a process that changes its length scale at a known place is 0.04 nats better than the "
        "best predictor that commutes with shifts: less than short training leaves open."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "models": MODELS,
        "steps": 300,
        "per_unit": 10,
        "width": 32,
        "oracle_tasks": 400,
        "test_tasks": 512,
        "repeats": 1,
    },
    full={"steps": 20_000, "per_unit": 46, "width": 64, "oracle_tasks": 10_000, "test_tasks": 4096},
    plot=[{"x": "model", "y": [["inside", "outside"]], "title": "Log-likelihood a target, in nats"}],
    weight=lambda config: 1.0 if config["model"] == "oracle" else 2.0,
    takes="two minutes; full: a day",
)
