"""The networks that `advise` trains: the plain one, the exact ones, and what wraps the plain one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equilearn._check import InputError
from equilearn.actions import (
    CombinedAction,
    Data,
    ImageAction,
    PairAction,
    PointAction,
    SetAction,
    first_leaf,
    flat_rep,
    map_data,
)
from equilearn.data import Task
from equilearn.groups import SO, Cyclic, Dihedral, Euclidean, Group, O, SpecialEuclidean, Symmetric, factors_of
from equilearn.nn import EGNN, DeepSets, EquivariantMLP, FlatMLP, GroupCNN, InvariantGraphNetwork, PlainCNN, PlainMLP
from equilearn.relaxation import relax
from equilearn.symmetrization import Average, Frames, Learned, symmetrize
from equilearn.symmetry import Symmetry

BaseModel = Callable[[Task], nn.Module]
"""Builds a fresh plain network for a task."""

EXAMPLES = 8
"""Training inputs from which a learned strategy reads the widths of its network, and on which it checks it."""


def is_image(task: Task) -> bool:
    """Whether inputs are images, `(B, C, H, W)`."""
    return first_leaf(task.x_train).ndim == 4


def out_features(task: Task) -> int:
    """Width of the output layer: classes, or the number of target values."""
    if task.kind == "classification":
        return task.classes
    return int(task.y_train[0].numel())


def output_shape(task: Task) -> tuple[int, ...]:
    """Shape of one output: logits (of every node, where the labels are those of nodes) or target values."""
    if task.kind == "classification":
        return (*task.y_train.shape[1:], task.classes)
    return tuple(task.y_train.shape[1:])


def plain_network(task: Task) -> nn.Module:
    """The default network without any symmetry: a small CNN for images, an MLP for the rest."""
    x, shape = first_leaf(task.x_train), output_shape(task)
    if is_image(task):
        return PlainCNN(x.shape[1], out_features(task))
    if isinstance(task.x_train, tuple):
        return FlatMLP(_width(task.x_train), shape)
    net = PlainMLP(int(x[0].numel()), out_features(task))
    return net if x.ndim == 2 and len(shape) == 1 else nn.Sequential(nn.Flatten(), net, nn.Unflatten(1, shape))


def _width(x: Data) -> int:
    """Numbers in one input, all parts together."""
    return sum(_width(part) for part in x) if isinstance(x, tuple | list) else int(x[0].numel())


# --- exact networks -----------------------------------------------------------------------


def exact_network(task: Task, symmetry: Symmetry) -> nn.Module:
    """A network whose every layer has the symmetry. Raises `InputError` where there is none."""
    if is_image(task):
        if not symmetry.is_invariance:
            raise InputError("exact image networks here are invariant; this output action moves.")
        return GroupCNN(turning_subgroup(symmetry.group), first_leaf(task.x_train).shape[1], out_features(task))
    for build in (_set_network, _graph_network, _point_network):
        net = build(task, symmetry)
        if net is not None:
            return net
    return equivariant_mlp(task, symmetry)


def _set_network(task: Task, symmetry: Symmetry) -> nn.Module | None:
    """A network of sets, where the group permutes and nothing else."""
    kinds = symmetry.input.parts if isinstance(symmetry.input, CombinedAction) else (symmetry.input,)
    sets = len(kinds) <= 2 and all(isinstance(kind, SetAction) for kind in kinds)
    if not (sets and isinstance(symmetry.group, Symmetric) and first_leaf(task.x_train).ndim == 3):
        return None
    if len(kinds) == 2 and task.x_train[1].dtype != torch.bool:
        return None
    if symmetry.is_invariance:
        return DeepSets(first_leaf(task.x_train).shape[-1], out_features(task))
    per_entry = _entry_width(task, symmetry)
    return None if per_entry is None else DeepSets(first_leaf(task.x_train).shape[-1], per_entry, equivariant=True)


def _graph_network(task: Task, symmetry: Symmetry) -> nn.Module | None:
    """A network of node pairs, where the inputs are graphs."""
    if not (isinstance(symmetry.input, CombinedAction) and isinstance(symmetry.group, Symmetric)):
        return None
    kinds = [type(part) for part in symmetry.input.parts]
    if kinds not in ([SetAction, PairAction], [SetAction, PairAction, SetAction]) or task.x_train[1].ndim != 3:
        return None
    features = task.x_train[0].shape[-1]
    if symmetry.is_invariance:
        return InvariantGraphNetwork(features, out_features(task))
    per_entry = _entry_width(task, symmetry)
    return None if per_entry is None else InvariantGraphNetwork(features, per_entry, equivariant=True)


def _entry_width(task: Task, symmetry: Symmetry) -> int | None:
    """Width of the output of each point or node; None where outputs are not one entry each."""
    shape = output_shape(task)
    return shape[-1] if isinstance(symmetry.output, SetAction) and len(shape) == 2 else None


def _point_network(task: Task, symmetry: Symmetry) -> nn.Module | None:
    """A message-passing network of distances, where points in space are turned (and shifted) and permuted."""
    if not isinstance(symmetry.input, PointAction) or not isinstance(task.x_train, Tensor):
        return None
    factors = factors_of(symmetry.group)
    if not all(isinstance(f, SO | O | Euclidean | SpecialEuclidean | Symmetric) for f in factors):
        return None
    if not any(isinstance(f, Symmetric) for f in factors):
        return None  # the order of the points may matter, which such a network cannot see
    if any(isinstance(f, SO) for f in factors) and flat_rep(symmetry.input, first_leaf(task.x_train).shape[1:]):
        return None  # it cannot tell mirror images either; where another network can, that one is taken
    action, width = symmetry.input, task.x_train.shape[-1]
    dimension = (width - action.scalars) // (1 + action.vectors)
    moves = isinstance(symmetry.output, PointAction) and output_shape(task) == (task.x_train.shape[1], dimension)
    if not (moves or symmetry.is_invariance):
        return None
    features = None if moves else out_features(task)
    return EGNN(action.scalars, vectors=action.vectors, dimension=dimension, out_features=features)


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
    shape_out = output_shape(task)
    rep_in = None if isinstance(task.x_train, tuple) else flat_rep(symmetry.input, shape_in)
    rep_out = flat_rep(symmetry.output, shape_out)
    if rep_in is None or rep_out is None:
        raise InputError(f"no exact network for {symmetry.group} acting on {symmetry.input.name}.")
    net = EquivariantMLP(rep_in, rep_out)
    if len(shape_in) == 1 and len(shape_out) == 1:
        return net
    return nn.Sequential(nn.Flatten(), net, nn.Unflatten(1, shape_out))


RELAXED_DROP = 0.1
"""Share of the samples that training shows to the exact network alone. Where classes differ by pose only, it cannot
tell those and learns them by heart: half of the samples, the default of `relax`, spoils small training sets."""


def relaxed_network(task: Task, symmetry: Symmetry) -> nn.Module:
    """The exact network, with fixed inputs. Raises `InputError` where there is none, or none that takes them."""
    return relax(exact_network(task, symmetry), symmetry, drop=RELAXED_DROP)


def describe_exact(symmetry: Symmetry) -> str:
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


def learned_network(task: Task, symmetry: Symmetry, base: BaseModel) -> nn.Module:
    """The plain network at poses from a learned distribution: all of a small finite group, else 2 drawn in
    training and 8 in use."""
    example = map_data(lambda t: t[:EXAMPLES], task.x_train)
    order = symmetry.group.order
    few = order is not None and order <= 16
    return symmetrize(base(task), symmetry, Learned() if few else Learned(samples=2, eval_samples=8), example=example)
