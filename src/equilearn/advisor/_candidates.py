"""The strategies that `advise` tries: which fit a symmetry and data, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from equilearn._check import InputError, one_of
from equilearn.actions import ImageAction, first_leaf, flat_rep
from equilearn.data import Task
from equilearn.groups import SO, Cyclic, Dihedral, Group, O, Symmetric
from equilearn.nn import DeepSets, EquivariantMLP, GroupCNN, PlainCNN, PlainMLP
from equilearn.symmetrization import Average, Canonicalize, Frames, symmetrize
from equilearn.symmetry import Symmetry

BaseModel = Callable[[Task], nn.Module]
"""Builds a fresh plain network for a task."""


def _never(symmetry: Symmetry) -> bool:
    return False


@dataclass(frozen=True)
class Candidate:
    """One strategy as the advisor sees it.

    Args:
        name: as in rows and on the command line.
        describe: one line for the report, given the symmetry.
        build: `build(task, symmetry, base)` gives a fresh, untrained model; it raises `InputError`
            with the reason where the strategy does not fit, and the advisor lists it as skipped.
        augments: whether training inputs are transformed at random.
        steps: training steps relative to the preset's. What sees new inputs at every step learns longer.
        weight: rough cost of a trial relative to plain, for the time left.
    """

    name: str
    describe: Callable[[Symmetry], str]
    build: Callable[[Task, Symmetry, BaseModel], nn.Module]
    augments: Callable[[Symmetry], bool] = _never
    steps: float = 1.0
    weight: float = 1.0


_CANDIDATES: dict[str, Candidate] = {}


def register_candidate(candidate: Candidate) -> None:
    """Add a strategy to those that `advise` tries."""
    _CANDIDATES[candidate.name] = candidate


def candidates(names: tuple[str, ...] | None = None) -> tuple[Candidate, ...]:
    """The registered strategies, or those named, in the order of registration."""
    for name in names or ():
        one_of(name, _CANDIDATES, "strategy")
    return tuple(c for c in _CANDIDATES.values() if not names or c.name in names)


def is_image(task: Task) -> bool:
    """Whether inputs are images, `(B, C, H, W)`."""
    return first_leaf(task.x_train).ndim == 4


def out_features(task: Task) -> int:
    """Width of the output layer: classes, or the number of target values."""
    if task.kind == "classification":
        return task.classes
    return int(task.y_train[0].numel())


def plain_network(task: Task) -> nn.Module:
    """The default network without any symmetry: a small CNN for images, an MLP for the rest."""
    x = first_leaf(task.x_train)
    if is_image(task):
        return PlainCNN(x.shape[1], out_features(task))
    net = PlainMLP(int(x[0].numel()), out_features(task))
    shape = tuple(task.y_train.shape[1:]) if task.kind == "regression" else (task.classes,)
    return net if x.ndim == 2 and len(shape) == 1 else nn.Sequential(nn.Flatten(), net, nn.Unflatten(1, shape))


# --- exact networks -----------------------------------------------------------------------


def exact_network(task: Task, symmetry: Symmetry) -> nn.Module:
    """A network whose every layer has the symmetry. Raises `InputError` where there is none."""
    if is_image(task):
        if not symmetry.is_invariance:
            raise InputError("exact image networks here are invariant; this output action moves.")
        return GroupCNN(turning_subgroup(symmetry.group), first_leaf(task.x_train).shape[1], out_features(task))
    if symmetry.input.name.startswith("sets") and isinstance(symmetry.group, Symmetric) and symmetry.is_invariance:
        return DeepSets(first_leaf(task.x_train).shape[-1], out_features(task))
    return equivariant_mlp(task, symmetry)


def turning_subgroup(group: Group) -> Group:
    """The finite group of turns (and flips) that a group convolution can carry: itself for C_n and
    D_n, C8 or D8 for the continuous groups."""
    if isinstance(group, Cyclic | Dihedral):
        return group
    if group == SO(2):
        return Cyclic(8)
    if group == O(2):
        return Dihedral(8)
    raise InputError(f"no group convolution for {group} on images; there is one for C_n, D_n, SO(2), O(2).")


def is_interpolated(symmetry: Symmetry) -> bool:
    """Whether the group moves pixels to places in between, so that an exact network for images holds
    up to interpolation only and the rest has to be taught."""
    return isinstance(symmetry.input, ImageAction) and not symmetry.input.is_exact(torch.empty(1, 1, 2, 2))


def equivariant_mlp(task: Task, symmetry: Symmetry) -> nn.Module:
    """An equivariant MLP between the representations that move flattened inputs and targets."""
    shape_in = tuple(first_leaf(task.x_train).shape[1:])
    shape_out = tuple(task.y_train.shape[1:]) if task.kind == "regression" else (task.classes,)
    rep_in = None if isinstance(task.x_train, tuple) else flat_rep(symmetry.input, shape_in)
    rep_out = flat_rep(symmetry.output, shape_out)
    if rep_in is None or rep_out is None:
        raise InputError(f"no exact network for {symmetry.group} acting on {symmetry.input.name}.")
    net = EquivariantMLP(rep_in, rep_out)
    if len(shape_in) == 1 and len(shape_out) == 1:
        return net
    return nn.Sequential(nn.Flatten(), net, nn.Unflatten(1, shape_out))


def _describe_exact(symmetry: Symmetry) -> str:
    if not is_interpolated(symmetry):
        return f"a network whose every layer has the symmetry of {symmetry.group}"
    part = turning_subgroup(symmetry.group)
    if part == symmetry.group:
        return f"a network built for {part}; what the pixel grid spoils is taught by random transformations"
    return (
        f"a network built for {part}, a finite part of {symmetry.group}; what lies in between is taught by "
        "random transformations"
    )


# --- wrapped networks ---------------------------------------------------------------------


def average_network(task: Task, symmetry: Symmetry, base: BaseModel) -> nn.Module:
    """The plain network averaged over the group: all of a small one, else 4 elements in training
    and 8 in use."""
    order = symmetry.group.order
    few = order is not None and order <= 16
    return symmetrize(base(task), symmetry, Average() if few else Average(samples=4, eval_samples=8))


def frames_network(task: Task, symmetry: Symmetry, base: BaseModel) -> nn.Module:
    """The plain network averaged over a frame, where that is not the whole group anyway."""
    if symmetry.group.is_finite and is_image(task):
        raise InputError("for a finite group of turns and flips the frame is the whole group: the same as average.")
    return symmetrize(base(task), symmetry, Frames())


def _plain(task: Task, symmetry: Symmetry, base: BaseModel) -> nn.Module:
    return base(task)


for _candidate in (
    Candidate("plain", lambda s: "the network as it is, nothing done about the symmetry", _plain),
    Candidate(
        "augment",
        lambda s: f"the plain network, trained on copies transformed at random by {s.group}",
        _plain,
        augments=lambda s: True,
        steps=2.0,
        weight=2.0,
    ),
    Candidate(
        "average",
        lambda s: f"the plain network, averaged over {s.group} in training and in use",
        average_network,
        steps=1.5,
        weight=6.0,
    ),
    Candidate(
        "frames",
        lambda s: "the plain network, averaged over a few poses computed from the input",
        frames_network,
        weight=4.0,
    ),
    Candidate(
        "canonicalize",
        lambda s: "inputs are brought to one canonical pose, then seen by the plain network",
        lambda task, symmetry, base: symmetrize(base(task), symmetry, Canonicalize()),
        weight=1.5,
    ),
    Candidate(
        "exact",
        _describe_exact,
        lambda task, symmetry, base: exact_network(task, symmetry),
        augments=is_interpolated,
        weight=2.5,
    ),
):
    register_candidate(_candidate)
