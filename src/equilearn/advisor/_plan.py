"""The plan of a run: which strategies fit, which trials, what each is trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputError, one_of, positive_int, require
from equilearn.actions import batch_size, first_leaf, map_data
from equilearn.advisor._candidates import Candidate, candidates
from equilearn.advisor._networks import BaseModel, output_shape, plain_network
from equilearn.data import Task, load_function
from equilearn.symmetry import Symmetry


@dataclass(frozen=True)
class Preset:
    """How much work a run does."""

    sizes: tuple[int, ...]
    seeds: int
    steps: int
    batch_size: int = 64
    learning_rate: float = 5e-3
    measured_elements: int = 4
    test_inputs: int = 2000
    """Most test inputs that a trial is scored on: more would narrow intervals that are narrow already."""


PRESETS = {
    "quick": Preset(sizes=(50, 200, 1000), seeds=3, steps=300),
    "full": Preset(
        sizes=(50, 100, 200, 500, 1000, 5000), seeds=5, steps=1500, measured_elements=16, test_inputs=100_000
    ),
}


def make_plan(
    task: Task, preset: str, sizes: Sequence[int] | None, seeds: int | None, seed: int, steps: int | None
) -> dict[str, Any]:
    """The preset with the user's sizes and seeds in place, as JSON-ready values."""
    chosen = PRESETS[one_of(preset, PRESETS, "preset")]
    available = batch_size(task.x_train)
    least = task.classes or 2
    fitting = tuple(size for size in chosen.sizes if size >= least) or (least,)
    wanted = [positive_int(size, "Each training size", least) for size in (sizes or fitting)]
    # More than there is means all there is; asking for it twice does not.
    fitted = sorted({min(size, available) for size in wanted})
    first = positive_int(seed, "seed", 0)
    count = positive_int(chosen.seeds if seeds is None else seeds, "seeds")
    training = {key: getattr(chosen, key) for key in _TRAINING}
    training["steps"] = positive_int(chosen.steps if steps is None else steps, "steps")
    return {"sizes": fitted, "seeds": list(range(first, first + count)), "training": training}


_TRAINING = ("batch_size", "learning_rate", "measured_elements", "test_inputs")


def fitting(
    task: Task, symmetry: Symmetry, strategies: Sequence[str] | None, model: str | None, preset: str
) -> tuple[list[Candidate], list[dict[str, str]]]:
    """The candidates that fit, and the others with the reason. Each is built once and run on two
    inputs, so that a misfit is found before any training. Where none are named, the preset says which to try."""
    base = user_model(model) if model else plain_network
    chosen, skipped = [], []
    for candidate in candidates(tuple(strategies) if strategies else None):
        if not strategies and preset not in candidate.presets:
            skipped.append({"strategy": candidate.name, "reason": _left_out(preset)})
            continue
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                built = candidate.build(task, symmetry, base).eval()
                check_output(try_on_two(built, task, model), task)
            chosen.append(candidate)
        except InputError as error:
            if candidate.name == "plain":
                raise
            skipped.append({"strategy": candidate.name, "reason": str(error)})
    require(bool(chosen), f"No strategy fits {symmetry}: " + "; ".join(s["reason"] for s in skipped))
    return chosen, skipped


def _left_out(preset: str) -> str:
    return f"the {preset} preset leaves it out to save time. Name it among the strategies, or take another preset."


def user_model(name: str) -> BaseModel:
    """The user's function, whose own errors become sentences."""
    function = load_function(name)

    def build(task: Task) -> nn.Module:
        try:
            built = function(task)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name}(task) raised {type(error).__name__}: {error}") from error
        require(
            isinstance(built, nn.Module),
            f"{name}(task) must return a fresh torch.nn.Module, got {type(built).__name__}.",
        )
        return built

    return build


def try_on_two(built: nn.Module, task: Task, model: str | None) -> Any:
    """The output for two training inputs; errors of the user's network become sentences."""
    try:
        return built(map_data(lambda t: t[:2], task.x_train))
    except InputError:
        raise
    except Exception as error:
        if model is None:
            raise
        shape = tuple(first_leaf(task.x_train).shape[1:])
        raise InputError(
            f"The network of {model} fails on two inputs of shape {shape}: {type(error).__name__}: {error}"
        ) from error


def check_output(output: Any, task: Task) -> None:
    """Refuse outputs that are not what the task needs."""
    wanted = output_shape(task)
    require(
        isinstance(output, Tensor) and tuple(output.shape[1:]) == wanted,
        f"The network returns {tuple(getattr(output, 'shape', ()))} for two inputs, but the task needs (2, "
        + ", ".join(map(str, wanted))
        + ").",
    )


MOST_TESTED = 10
"""Most classes on which a prediction is tested, each by a training of the plain network."""

LEAST_TESTED = 2
"""The class predicted lowest and the one predicted highest: one of them alone says little."""

TRIALS_PER_TEST = 8
"""Trials of strategies for each of these: the test is to cost a small part of the whole."""

BEFORE = ("data_symmetry", "prediction")
"""Trials that need no training, before all others."""


def make_grid(
    fingerprint: str,
    symmetry_print: str,
    chosen: Sequence[Candidate],
    plan: dict[str, Any],
    preset: str,
    model: str | None,
) -> list[dict[str, Any]]:
    """One configuration a trial, in the order of the report's rows, but for those of `with_tests`."""
    common = {"data": fingerprint, "symmetry": symmetry_print, "preset": preset}
    first = plan["seeds"][0]
    trials = [
        {
            "trial": "strategy",
            **common,
            **plan["training"],
            "model": model,
            "strategy": candidate.name,
            "train_size": size,
            "seed": seed,
            "grid_seed": first,
        }
        for candidate in chosen
        for size in plan["sizes"]
        for seed in plan["seeds"]
    ]
    before = [{"trial": kind, **common, "seed": first} for kind in BEFORE]
    before[1]["model"] = model
    return [*before, *trials]


def with_tests(
    grid: Sequence[dict[str, Any]], plan: dict[str, Any], prediction: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The grid with trainings of the plain network that show whether the prediction is right.

    They are of classes evenly spread over their ranks in what was predicted, the lowest and the highest among them.

    Args:
        grid: of `make_grid`.
        plan: of `make_plan`.
        prediction: the row of the trial "prediction"; None where it failed.
    """
    before, trials = grid[: len(BEFORE)], grid[len(BEFORE) :]
    classes = prediction["classes"] if prediction is not None and prediction["made"] else []
    if not any(trial["strategy"] == "plain" for trial in trials):
        return list(grid)
    ranked = sorted(range(len(classes)), key=lambda place: _rank(classes[place]))
    count = min(len(ranked), MOST_TESTED, max(LEAST_TESTED, len(trials) // TRIALS_PER_TEST))
    places = [ranked[round(i * (len(ranked) - 1) / max(count - 1, 1))] for i in range(count)]
    kept = {key: before[1][key] for key in ("data", "symmetry", "preset", "model", "seed")}
    tests = [{"trial": "carry_over", **kept, **plan["training"], "place": place} for place in sorted(places)]
    return [*before, *tests, *trials]


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    """By accuracy, then by error; a class of which nothing is known first."""
    accuracy, error = row["accuracy"], row["error"]
    return (-1.0 if accuracy is None else accuracy, -math.inf if error is None else -error)


def weight(config: Mapping[str, Any]) -> float:
    """Relative cost of a trial, for the time left and to start the long ones first."""
    if config["trial"] == "strategy":
        return candidates((config["strategy"],))[0].weight
    return 1.0 if config["trial"] == "carry_over" else 2.0
