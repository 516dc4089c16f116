"""One trial of `advise`: build, train, score as seen and transformed, measure the symmetry."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from equilearn.actions import Data, batch_size, map_data
from equilearn.advisor._candidates import Candidate, candidates
from equilearn.advisor._networks import plain_network
from equilearn.advisor._prediction import acting, plan_of, prediction_of
from equilearn.advisor._snapshot import load_task
from equilearn.data import Task, load_function, subsample
from equilearn.groups import Element, Group
from equilearn.measure import data_symmetry, equivariance_error
from equilearn.symmetrization import Symmetrized
from equilearn.symmetry import Symmetry
from equilearn.training import fit, predict

ALL_ELEMENTS_UP_TO = 16
"""Largest finite group of which every element transforms every test input."""

MEASURED_INPUTS = 256
"""Test inputs on which the equivariance error is measured."""


def run(folder: str, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    """The trial that `config` describes, on the data saved in `folder`; a JSON-ready row."""
    task = load_task(folder)
    trial = _TRIALS[config["trial"]]
    # Layers draw their weights and stochastic models their elements from the global stream: fork
    # it, so that the trial is reproducible and the caller's stream stays where it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        return trial(task, symmetry, config)


def _data_symmetry(task: Task, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    labels = task.y_train if task.kind == "classification" and task.y_train.ndim == 1 else None
    generator = torch.Generator().manual_seed(config["seed"])
    return data_symmetry(task.x_train, labels, symmetry, generator=generator).as_dict()


def _prediction(task: Task, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    return prediction_of(task, symmetry, model=config["model"], seed=config["seed"])


def _carry_over(task: Task, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    """The test of the prediction: the plain network, trained on the very points that it is made for, but for one
    element of one class, and what it makes of that."""
    (candidate,) = candidates(("plain",))
    action = acting(task, symmetry)
    _, index, _ = plan_of(task, action, config["model"], config["seed"])
    orbits = action.orbit(action.group.elements(), task.x_train[index])
    labels = task.y_train[index]
    seen = torch.ones(orbits.shape[:2], dtype=torch.bool)
    seen[0] = labels != labels.unique()[config["place"]]
    y = labels.expand(seen.shape)
    train = replace(task, x_train=orbits[seen], y_train=y[seen])
    model = candidate.build(task, symmetry, load_function(config["model"]) if config["model"] else plain_network)
    _fit(model, train, TargetScaler(train, symmetry), candidate, symmetry, config)
    right = (predict(model.eval(), orbits.flatten(0, 1)).argmax(-1).reshape(seen.shape) == y).double()
    return {"accuracy": float(right[~seen].mean()), "accuracy_seen": float(right[seen].mean())}


def _train_and_score(task: Task, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    (candidate,) = candidates((config["strategy"],))
    task = _with_fewer_tests(task, config)
    train = subsample(task, config["train_size"], config["seed"])
    base = load_function(config["model"]) if config.get("model") else plain_network
    model = candidate.build(task, symmetry, base)
    scaler = TargetScaler(train, symmetry)
    started = time.perf_counter()
    _fit(model, train, scaler, candidate, symmetry, config)
    seconds = time.perf_counter() - started
    model.eval()
    passes = model.forward_passes() if isinstance(model, Symmetrized) else 1
    model = scaler.undone(model).eval()
    return {
        **_scores(model, task, symmetry, config),
        **_equivariance(model, task, symmetry, config),
        "seconds": seconds,
        "inference_ms": _inference_ms(model, task),
        "forward_passes": passes,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


_TRIALS = {
    "data_symmetry": _data_symmetry,
    "prediction": _prediction,
    "carry_over": _carry_over,
    "strategy": _train_and_score,
}


def _with_fewer_tests(task: Task, config: dict[str, Any]) -> Task:
    """The same random part of the test inputs for every trial, where there are more than the preset scores."""
    count, most = batch_size(task.x_test), config["test_inputs"]
    if count <= most:
        return task
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(config["grid_seed"]))[:most].sort().values
    return replace(task, x_test=map_data(lambda t: t[chosen], task.x_test), y_test=task.y_test[chosen])


class TargetScaler:
    """Targets of a regression at unit scale for training; labels of a classification untouched.

    Invariant targets are standardised feature by feature. Targets that move with the group are
    divided by one number, the only scaling that commutes with every linear action, and left alone
    where the group shifts them.
    """

    def __init__(self, task: Task, symmetry: Symmetry):
        self.active = task.kind == "regression" and symmetry.output.is_linear
        if self.active:
            y = task.y_train
            self.shift = y.mean(0) if symmetry.is_invariance else torch.zeros_like(y[0])
            spread = (y - self.shift).square()
            self.scale = (spread.mean(0) if symmetry.is_invariance else spread.mean()).sqrt().clamp_min(1e-12)

    def down(self, y: Tensor) -> Tensor:
        """Targets for training."""
        return (y - self.shift) / self.scale if self.active else y

    def undone(self, model: nn.Module) -> nn.Module:
        """The trained model with outputs at the scale of the data: the function that is scored and measured."""
        return Rescaled(model, self.shift, self.scale) if self.active else model


class Rescaled(nn.Module):
    """`scale * model(x) + shift`."""

    def __init__(self, model: nn.Module, shift: Tensor, scale: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, x: Data) -> Tensor:
        return self.model(x) * self.scale + self.shift


def _fit(
    model: nn.Module,
    train: Task,
    scaler: TargetScaler,
    candidate: Candidate,
    symmetry: Symmetry,
    config: dict[str, Any],
) -> None:
    def augment(x: Data, y: Tensor, generator: torch.Generator) -> tuple[Data, Tensor]:
        g = symmetry.group.sample(batch_size(x), generator=generator)
        moved = symmetry.act_input(g, x)
        return moved, y if symmetry.is_invariance else symmetry.act_output(g, y)

    fit(
        model,
        train.x_train,
        scaler.down(train.y_train),
        loss=train.loss,
        steps=round(config["steps"] * candidate.steps),
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        augment=augment if candidate.augments(symmetry) else None,
        seed=config["seed"],
    )


# --- scores -------------------------------------------------------------------------------


def transforming_elements(group: Group, count: int, seed: int) -> list[Element]:
    """The elements that make the transformed test copies, each list entry of batch `()` or `(count,)`.

    Every non-identity element of a small finite group; otherwise one random element per input
    (Haar, or the stated law of a non-compact group).
    """
    if group.order is not None and group.order <= ALL_ELEMENTS_UP_TO:
        elements = group.elements()
        return [group.take(elements, i) for i in range(1, group.order)]
    return [group.sample(count, generator=torch.Generator().manual_seed(10_000 + seed))]


def _scores(model: nn.Module, task: Task, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    # Test inputs only carry the seed of the grid, not of the trial: strategies and seeds are
    # compared on the same transformed copies.
    moved = [
        _losses(model, task, symmetry, g)
        for g in transforming_elements(symmetry.group, batch_size(task.x_test), config["grid_seed"])
    ]
    seen = _losses(model, task, symmetry, None)
    transformed = torch.stack(moved).mean(0) if moved else seen
    return {
        "score": _summary_score(seen, task),
        "score_transformed": _summary_score(transformed, task),
        "per_sample": _compact(seen),
        "per_sample_transformed": _compact(transformed),
    }


def _losses(model: nn.Module, task: Task, symmetry: Symmetry, g: Element | None) -> Tensor:
    """Per test input: 1 where the class is right, or the squared error over the mean squared target."""
    x, y = task.x_test, task.y_test
    scale = y  # what errors are relative to
    if g is not None:
        x = symmetry.act_input(g, x)
        y = y if symmetry.is_invariance else symmetry.act_output(g, y)
        scale = y if symmetry.output.is_linear else scale  # a shift makes targets larger, not errors smaller
    output = predict(model, x)
    if task.kind == "classification":
        return _hits(output.argmax(-1), y)
    error = (output.reshape(len(y), -1) - y.reshape(len(y), -1)).double().square().sum(-1)
    return error / scale.double().reshape(len(y), -1).square().sum(-1).mean().clamp_min(1e-300)


def _hits(found: Tensor, labels: Tensor) -> Tensor:
    """1 where the class is right; the share of right nodes, padding left out, where nodes have classes."""
    right = (found == labels).double()
    if labels.ndim == 1:
        return right
    there = (labels >= 0).double()
    return (right * there).sum(1) / there.sum(1).clamp_min(1)


def _summary_score(losses: Tensor, task: Task) -> float:
    mean = float(losses.mean())
    return mean if task.kind == "classification" else mean**0.5


def _compact(losses: Tensor) -> list[float]:
    """Six digits are plenty for the bootstrap, and keep a row small."""
    return [float(f"{value:.6g}") for value in losses.tolist()]


# --- what it costs, and whether it holds ----------------------------------------------------


def _equivariance(model: nn.Module, task: Task, symmetry: Symmetry, config: dict[str, Any]) -> dict[str, Any]:
    x = map_data(lambda t: t[:MEASURED_INPUTS], task.x_test)
    generator = torch.Generator().manual_seed(config["grid_seed"])
    error = equivariance_error(model, symmetry, x, samples=config["measured_elements"], generator=generator)
    return {
        "equivariance_error": error.mean,
        "equivariance_interval": None if error.interval is None else list(error.interval),
        "per_element": [{"element": e.label, "error": e.error} for e in error.per_element],
        "floor": error.floor,
        "interpolation_floor": error.interpolation_floor,
        "resampling": error.resampling,
        "verdict": error.verdict,
    }


def _inference_ms(model: nn.Module, task: Task) -> float:
    """Median milliseconds for a batch of up to 64 inputs."""
    x = map_data(lambda t: t[:64], task.x_test)
    times = []
    for _ in range(7):
        started = time.perf_counter()
        predict(model, x)
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times)[len(times) // 2]
