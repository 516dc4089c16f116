"""From the names that a user types to a `Symmetry` that fits the data."""

from __future__ import annotations

import math

from equilearn import actions, groups, reps
from equilearn._check import InputError
from equilearn.actions import Data, first_leaf
from equilearn.data import Task
from equilearn.groups import Group
from equilearn.symmetry import Symmetry


def symmetry_from_names(group: str, task: Task, *, action: str | None = None, output: str | None = None) -> Symmetry:
    """The symmetry that `--group`, `--action` and `--output` name, checked against the data.

    Args:
        group: such as `"C4"`, `"SO2"`, `"S5"`, `"Lorentz13"`, `"SO3xS5"`.
        task: the data; their shape decides the action where none is named.
        action: such as `"images"`, `"points:5"`, `"vectors:3"`, `"sets"`; see `actions.parse`.
        output: the action on targets; default trivial, that is invariance.

    Raises:
        InputError: unknown names, or an action that does not fit the shape of the data.

    Example:
        >>> from equilearn import data
        >>> symmetry_from_names("C4", data.digits())
        Symmetry(C4: images -> trivial)
    """
    bound = groups.parse(group)
    acts = actions.parse(action, bound) if action else guess_action(bound, task.x_train)
    symmetry = Symmetry(bound, input=acts, output=actions.parse(output, bound) if output else None)
    check_fits(symmetry, task)
    return symmetry


def guess_action(group: Group, x: Data) -> actions.Unbound | actions.Action:
    """The action that the shape of `x` suggests; an error that lists the choices where none does."""
    if isinstance(x, tuple):
        return _guess_parts(group, x)
    shape = tuple(first_leaf(x).shape[1:])
    if len(shape) == 3:
        return actions.images()
    if len(shape) == 2:
        return actions.points(shape[0])
    if len(shape) == 1:
        copies, rest = _copies_of_defining(group, shape[0])
        side = math.isqrt(shape[0])
        if rest == 0 and reps.defining(group).dim == 2 and side >= 4 and side**2 == shape[0]:
            raise InputError(
                f"Inputs of width {shape[0]} may be {side} x {side} images laid flat or {copies} vectors of the plane. "
                f"Give images as (N, {side}, {side}), or say --action vectors:{copies}."
            )
        if rest == 0:
            return actions.vectors(copies * reps.defining(group))
    raise InputError(
        f"Inputs of shape {shape} leave open how {group} acts on them. Say it with --action: "
        "images, points:N, vectors:K (K copies of the group's own vectors), sets, shifts, graphs."
    )


def _guess_parts(group: Group, x: tuple[Data, ...]) -> actions.Unbound:
    """Graphs: features of nodes, an adjacency of nodes by nodes, and perhaps a mask."""
    shapes = [tuple(first_leaf(part).shape[1:]) for part in x]
    nodes = shapes[0][:1]
    of_pairs = len(shapes) in (2, 3) and len(shapes[0]) == 2 and shapes[1][:2] == nodes * 2
    if of_pairs and shapes[2:] in ([], [nodes]):
        return actions.graphs(nodes[0], mask=len(shapes) == 3)
    listed = ", ".join(map(str, shapes))
    raise InputError(
        f"Inputs of {len(shapes)} parts of shapes {listed} leave open how {group} acts on them. Say it with --action, "
        "such as graphs, or one name for each part joined by +."
    )


def _copies_of_defining(group: Group, width: int) -> tuple[int, int]:
    try:
        dim = reps.defining(group).dim
    except (InputError, TypeError):
        return 0, 1
    return divmod(width, dim) if width >= dim else (0, 1)


def check_fits(symmetry: Symmetry, task: Task) -> None:
    """Raise `InputError` unless the symmetry acts on all of the task's inputs and targets."""
    for x in (task.x_train, task.x_test):
        symmetry.input.check(x)
    if task.kind == "regression" or task.y_train.ndim > 1:
        symmetry.output.check(task.y_train)
    elif not symmetry.is_invariance:
        raise InputError(
            f"The task is a classification, whose labels do not move, but the output action is {symmetry.output.name}. "
            "Leave the output action out, or give regression targets."
        )
