"""What `advise` says before it trains: would the plain network carry the symmetry over by itself?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equilearn._check import InputError, require
from equilearn.actions import Action
from equilearn.advisor._networks import BaseModel, is_image, out_features, plain_network
from equilearn.advisor._plan import user_model
from equilearn.advisor._prediction_words import sentence_of
from equilearn.advisor._symmetry import check_fits
from equilearn.data import Task
from equilearn.kernels import finite_action, predict_symmetry_learning
from equilearn.kernels.neural import Architecture, architecture_of
from equilearn.symmetry import Symmetry

ROTATIONS = 16
"""Elements of the stand-in for SO(2); O(2) gets half as many turns, each with its mirror image."""

MOST_ELEMENTS = 256
"""Largest group: every seed is moved by all of it."""

PER_CLASS = 20
"""Most seeds of a class. More of them would narrow shares, at a cost that grows with their square."""

LEAST_PER_CLASS = 2

MOST_SEEDS = 400

DIRECT = "; method='direct' does without, for few points"
"""What a remark on an action that interpolates offers, and `advise` does not."""

SECONDS = 5.0
"""What the kernel may cost, by the rough rates below. It bounds the seeds, so that the same data get the same seeds."""

PIXEL, PAIR, ENTRY, PARAMETER = 4e-8, 1e-7, 1e-10, 7e-10
"""Seconds for one entry of a kernel: a pixel of a convolution, a dense network, a number of an input, and the gradient
of one output by one parameter."""


@dataclass(frozen=True)
class Stand:
    """The kernel that stands for the plain network.

    Args:
        name: in words, for the report.
        how: `"own"` (the network's own, in closed form), `"relative"` or `"empirical"`.
        architecture: for `predict_symmetry_learning`.
        seconds: rough cost of one entry.
    """

    name: str
    how: Literal["own", "relative", "empirical"]
    architecture: Any
    seconds: float


class _AtUnitScale:
    """A closed form on inputs of mean square 1, whatever the units of the data: biases are then worth the same."""

    def __init__(self, architecture: Architecture, scale: float, name: str):
        self.name = name
        self._architecture, self._scale = architecture, scale
        self.ntk, self.nngp = self._scaled("ntk"), self._scaled("nngp")

    def _scaled(self, which: str) -> Any:
        kernel = getattr(self._architecture, which)
        flat = self._architecture.head is None

        def at_unit_scale(x: Tensor, z: Tensor) -> Tensor:
            x, z = x / self._scale, z / self._scale
            return kernel(x.flatten(1), z.flatten(1)) if flat else kernel(x, z)

        return at_unit_scale


def prediction_of(task: Task, symmetry: Symmetry, *, model: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Whether the plain network would carry the symmetry over to what it was not shown, before any training.

    Some training inputs of each class are taken as seeds. Each class in turn misses all its seeds as they are; their
    other transforms, and all those of the other classes, count as seen. See `kernels.predict_symmetry_learning`.

    Args:
        task: a classification.
        symmetry: its symmetry; the group finite, or SO(2) or O(2).
        model: as for `advise_task`.
        seed: draws the seeds.

    Returns:
        JSON-ready. `made`: whether there is a prediction; if not, `reason` says why. Else `sentence`, `why`, and all of
        `SymmetryPrediction.as_dict()`, with `network`, `how` (the kernel is the network's own in closed form, that of
        its closest relative, or empirical) and `stand_in`, the name of the group that stands in for `asked`, if any.

    Raises:
        InputError: a model that is none, or a symmetry that does not fit the data.

    Example:
        >>> import equilearn as eq
        >>> digits = eq.data.digits()
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> found = prediction_of(digits, turns)
        >>> found["answer"], found["how"], len(found["classes"])
        ('no', 'relative', 10)
        >>> rings = eq.data.cycles(20, 10)
        >>> prediction_of(rings, rings.symmetry)["reason"]
        'Only inputs of one part, of real numbers, have a neural kernel here.'

    Cost: some seconds at most; the number of seeds is cut to fit.
    """
    check_fits(symmetry, task)
    try:
        action = acting(task, symmetry)
        stand, index = plan_of(task, action, model, seed)
    except Unpredictable as reason:
        return {"made": False, "reason": str(reason)}
    acted = Symmetry(action.group, action)
    try:
        found = predict_symmetry_learning(
            task.x_train[index], task.y_train[index], acted, {stand.name: stand.architecture}
        ).predictions[stand.name]
    except InputError as reason:  # such as a kernel that is singular on these data
        return {"made": False, "reason": str(reason)}
    told = {**found.as_dict(), "network": stand.name, "how": stand.how, "seeds": len(index)}
    told |= {"asked": symmetry.group.name, "stand_in": None if action.group == symmetry.group else str(action.group)}
    told["assumptions"] = [text.replace(DIRECT, "") for text in told["assumptions"]]
    named = [task.class_names[c] if c < len(task.class_names) else str(c) for c in found.classes]
    for row, name in zip(told["classes"], named, strict=True):
        row["name"] = name
    for unused in ("spectrum", "notes"):
        told.pop(unused)
    return {"made": True, **sentence_of(told), **told}


class Unpredictable(InputError):
    """Why there is no prediction for these data, in a sentence."""


def predictable(task: Task, symmetry: Symmetry) -> int:
    """For how many classes `prediction_of` would say something; 0 where it cannot."""
    try:
        plan_of(task, acting(task, symmetry), None, 0)
    except Unpredictable:
        return 0
    return len(task.y_train.unique())


def acting(task: Task, symmetry: Symmetry) -> Action:
    """The action of the finite group by which the prediction is made.

    Raises:
        Unpredictable: for what the theory does not cover.
    """
    if task.kind != "classification":
        raise Unpredictable("Only classes can be predicted, and this is a regression.")
    if task.y_train.ndim > 1:
        raise Unpredictable("Only one class for each input can be predicted, and here every node has one.")
    if not isinstance(task.x_train, Tensor) or not task.x_train.is_floating_point():
        raise Unpredictable("Only inputs of one part, of real numbers, have a neural kernel here.")
    order = symmetry.group.order
    if order is not None and not 1 < order <= MOST_ELEMENTS:
        raise Unpredictable(
            f"{symmetry.group} has {order:,} element{'s' if order > 1 else ''}; groups of 2 to {MOST_ELEMENTS} can be "
            "predicted, as every seed is moved by every element."
        )
    rotations = ROTATIONS if "SO" in type(symmetry.group).__name__ else ROTATIONS // 2
    try:
        return finite_action(symmetry, rotations)[0]
    except InputError as error:
        raise Unpredictable(
            f"{symmetry.group} is infinite, and only SO2 and O2 have a finite group to stand in for them."
        ) from error


def plan_of(task: Task, action: Action, model: str | None, seed: int) -> tuple[Stand, Tensor]:
    """The kernel, and which training inputs are the seeds: the same number of each class, as many as there is time
    for. Where there is not enough for the first kernel, a relative that costs less.

    Raises:
        Unpredictable: one class, or too many.
    """
    classes = len(task.y_train.unique())
    if classes < 2:
        raise Unpredictable("All training inputs are of one class: there is nothing to tell apart.")
    for stand in _stands(task, model, seed):
        # Where the action interpolates, the kernel of all pairs of points is averaged; else one row of the group does.
        order = int(action.group.order or 1)
        pairs = order if action.is_exact(task.x_train[:2]) else order**2 / 2
        most = min(MOST_SEEDS, math.isqrt(int(SECONDS / (pairs * stand.seconds))))
        if most >= LEAST_PER_CLASS * classes:
            return stand, seeds_of(task.y_train, min(PER_CLASS, most // classes), seed)
    raise Unpredictable(
        f"{classes} classes under {action.group} are too many to be predicted in seconds; "
        "kernels.predict_symmetry_learning takes the time it needs."
    )


def seeds_of(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Rows of up to `per_class` inputs of each class, ascending by class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == c][:per_class].sort().values for c in labels.unique().tolist()])


# --- parts --------------------------------------------------------------------------------


def _stands(task: Task, model: str | None, seed: int) -> list[Stand]:
    """What can stand for the plain network, the closest first."""
    base: BaseModel = user_model(model) if model else plain_network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = base(task)
    require(isinstance(network, nn.Module), "The plain network must be a torch.nn.Module.")
    x = task.x_train
    size, pixels = int(x[0].numel()), int(x[0].numel()) // x.shape[1] if is_image(task) else 0
    title = model or type(network).__name__
    relatives = _relatives(x, title, pixels, size)
    if not model:
        return relatives
    try:
        own = architecture_of(network)
    except InputError:
        parameters = sum(p.numel() for p in network.parameters())
        cost = PARAMETER * parameters * out_features(task)
        return [Stand(f"{model} as it is built", "empirical", network, cost), *relatives]
    cost = PAIR + ENTRY * size if own.head is None or not own.pixel_layers else PIXEL * pixels * len(own.pixel_layers)
    pooled = type(own.head).__name__ == "GlobalAveragePool"
    return [Stand(model, "own", own, cost * pixels if pooled else cost), *relatives]


def _relatives(x: Tensor, title: str, pixels: int, size: int) -> list[Stand]:
    scale = float(x.double().square().mean().sqrt()) or 1.0
    name = f"an infinitely wide {{}}, the closest relative of {title} with a closed form"
    dense = name.format("MLP of two hidden layers")
    found = [Stand(dense, "relative", _AtUnitScale(Architecture.mlp(2), scale, dense), PAIR + ENTRY * size)]
    if pixels:
        conv = name.format("CNN of two convolutions that keeps positions")
        shape = Architecture.cnn(2, padding="same")
        found.insert(0, Stand(conv, "relative", _AtUnitScale(shape, scale, conv), PIXEL * pixels))
    return found
