"""What `advise` says before it trains: would the plain network carry the symmetry over by itself?"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equilearn._check import InputError, require
from equilearn.actions import Action
from equilearn.advisor._networks import BaseModel, is_image, plain_network
from equilearn.advisor._plan import check_output, try_on_two, user_model
from equilearn.advisor._prediction_words import sentence_of
from equilearn.advisor._symmetry import check_fits
from equilearn.data import Task
from equilearn.groups import Group
from equilearn.kernels import finite_action, predict_symmetry_learning
from equilearn.kernels._predict_orbits import coinciding_seeds
from equilearn.kernels.neural import Architecture, architecture_of
from equilearn.kernels.neural._empirical import empirical_cost
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

PIXEL, PAIR, ENTRY = 4e-8, 1e-7, 1e-10
"""Seconds for one entry of a kernel: a pixel of a convolution, a dense network, and a number of an input."""


@dataclass(frozen=True)
class Stand:
    """The kernel that stands for the plain network.

    Args:
        name: in words, for the report.
        how: `"own"` (the network's own, in closed form), `"relative"` or `"empirical"`.
        architecture: for `predict_symmetry_learning`.
        pair: rough seconds for one entry.
        sample: rough seconds for each input, before it is paired.
        chunk: inputs at a time, where there are such costs.
        scale: what inputs are divided by. A relative sees them with a mean square of 1, whatever the units of the
            data, so that its biases are worth the same.
    """

    name: str
    how: Literal["own", "relative", "empirical"]
    architecture: Any
    pair: float
    sample: float = 0.0
    chunk: int = 1
    scale: float = 1.0

    def most(self, blocks: float) -> int:
        """How many seeds there is time for, where `blocks` kernels of all of them with all of them are needed."""
        for count in range(MOST_SEEDS, 0, -1):
            passes = -(-count // self.chunk)  # inputs on the right are seen anew for each chunk on the left
            if blocks * count * (count * self.pair + passes * self.sample) <= SECONDS:
                return count
        return 0


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
        InputError: a model that is none, or that fails on these inputs; a symmetry that does not fit the data.

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
        stand, index, copies = plan_of(task, action, model, seed)
    except Unpredictable as reason:
        return {"made": False, "reason": str(reason)}
    acted = Symmetry(action.group, action)
    try:
        found = predict_symmetry_learning(
            task.x_train[index].double() / stand.scale, task.y_train[index], acted, {stand.name: stand.architecture}
        ).predictions[stand.name]
    except InputError as reason:  # such as a kernel that is singular on these data
        return {"made": False, "reason": str(reason)}
    told = {**found.as_dict(), "network": stand.name, "how": stand.how, "seeds": len(index)}
    told |= {"asked": symmetry.group.name, "stand_in": None if action.group == symmetry.group else str(action.group)}
    told["assumptions"] = [text.replace(DIRECT, "") for text in told["assumptions"]]
    if copies:
        told["assumptions"].insert(0, _about_copies(copies, len(index), action.group))
    named = [task.class_names[c] if c < len(task.class_names) else str(c) for c in found.classes]
    for row, name in zip(told["classes"], named, strict=True):
        row["name"] = name
    told.pop("notes")
    return {"made": True, **sentence_of(told), **told}


class Unpredictable(InputError):
    """Why there is no prediction for these data, in a sentence."""


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


def plan_of(task: Task, action: Action, model: str | None, seed: int) -> tuple[Stand, Tensor, int]:
    """The kernel; which training inputs are the seeds: the same number of each class, as many as there is time for, but
    for those that are transforms of others; and how many these were. Where there is not enough time for the first
    kernel, a relative that costs less.

    Raises:
        Unpredictable: one class, or too many.
    """
    classes = len(task.y_train.unique())
    if classes < 2:
        raise Unpredictable("All training inputs are of one class: there is nothing to tell apart.")
    for stand in _stands(task, model, seed):
        # One row of the group does where the action and the kernel are exact, as that of a finite network never is.
        # Else the kernel of all pairs of points is averaged, half of which are the other half.
        order, exact = int(action.group.order or 1), action.is_exact(task.x_train[:2])
        rows = (order if exact else 0) + (0 if exact and stand.how != "empirical" else order**2 / 2)
        most = stand.most(rows)
        if most >= LEAST_PER_CLASS * classes:
            index = seeds_of(task.y_train, min(PER_CLASS, most // classes), seed)
            kept = without_copies(task, index, action)
            return stand, kept, len(index) - len(kept)
    raise Unpredictable(
        f"{classes} classes under {action.group} are too many to be predicted in seconds; "
        "kernels.predict_symmetry_learning takes the time it needs."
    )


def seeds_of(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Rows of up to `per_class` inputs of each class, ascending by class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == c][:per_class].sort().values for c in labels.unique().tolist()])


def without_copies(task: Task, index: Tensor, action: Action) -> Tensor:
    """The rows but for transforms of others, which would be in training where these are missing. A class keeps one."""
    capped = True
    while capped:
        orbits = action.orbit(action.group.elements(), task.x_train[index].double())
        flat = orbits.flatten(2)
        found = coinciding_seeds(orbits, (flat[0] @ flat.flatten(0, 1).mT).unflatten(1, flat.shape[:2]).mT)
        labels, keep = task.y_train[index], torch.ones(len(index), dtype=torch.bool)
        for i, j in sorted(found.pairs):
            if keep[i] and int(keep[labels == labels[j]].sum()) > 1:
                keep[j] = False
        index, capped = index[keep], found.capped and not bool(keep.all())
    return index


# --- parts --------------------------------------------------------------------------------


def _about_copies(copies: int, kept: int, group: Group) -> str:
    return (
        f"{copies} of {copies + kept} training inputs that were drawn are transforms of others by {group}, and were "
        "left out here. Where the data hold such copies, a network is shown what is said to be missing, and may do "
        "better."
    )


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
    with torch.no_grad():
        check_output(try_on_two(network.eval(), task, model), task)
    try:
        own = architecture_of(network)
        require(own.head is not None or x.ndim == 2, "Its layers act on the last axis of inputs that have several.")
    except InputError:
        return [*_empirical(network, x, model), *relatives]
    cost = PAIR + ENTRY * size if own.head is None or not own.pixel_layers else PIXEL * pixels * len(own.pixel_layers)
    pooled = type(own.head).__name__ == "GlobalAveragePool"
    return [Stand(model, "own", own, cost * pixels if pooled else cost), *relatives]


def _empirical(network: nn.Module, x: Tensor, model: str) -> list[Stand]:
    """The network as it is, where it has such a kernel."""
    try:
        sample, pair, chunk = empirical_cost(copy.deepcopy(network).double(), x[:1].double())
    except InputError:  # such as a layer that mixes the inputs of a batch
        return []
    return [Stand(f"{model} as it is built", "empirical", network, pair, sample, chunk)]


def _relatives(x: Tensor, title: str, pixels: int, size: int) -> list[Stand]:
    scale = float(x.double().square().mean().sqrt()) or 1.0
    name = f"an infinitely wide {{}}, the closest relative of {title} with a closed form"
    dense = name.format("MLP of two hidden layers")
    found = [Stand(dense, "relative", Architecture.mlp(2), PAIR + ENTRY * size, scale=scale)]
    if pixels:
        conv = name.format("CNN of two convolutions that keeps positions")
        shape = Architecture.cnn(2, padding="same")
        found.insert(0, Stand(conv, "relative", shape, PIXEL * pixels, scale=scale))
    return found
