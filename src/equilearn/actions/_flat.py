"""The representation by which an action moves flattened samples, for layers made of intertwiners."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equilearn.actions._base import Action
from equilearn.actions._factor import FactorAction
from equilearn.actions._graphs import PairAction
from equilearn.actions._points import PointAction, SetAction
from equilearn.actions._simple import TrivialAction, VectorAction
from equilearn.groups import Group, Product, Scaling
from equilearn.reps import Rep, defining, factor, trivial


def flat_rep(action: Action, shape: Sequence[int]) -> Rep | None:
    """The representation on `x.flatten(1)` for samples of the given shape; None where there is none.

    Args:
        action: an action on one tensor.
        shape: shape of a sample, without the batch.

    Returns:
        A representation of dimension `prod(shape)`; None for actions that are not linear (shifts), or
        whose representation would be of no use to a dense layer (images).

    Example:
        >>> import equilearn as eq
        >>> clouds = eq.actions.points(5).on(eq.SO(3) * eq.Symmetric(5))
        >>> flat_rep(clouds, (5, 3)).dim
        15
    """
    if isinstance(action, TrivialAction):
        return trivial(action.group, math.prod(shape))
    if isinstance(action, VectorAction):
        return _copies(math.prod(shape) // action.rep.dim, action.rep)
    if isinstance(action, SetAction):
        return _permuting(action) * trivial(action.group, math.prod(shape[1:]))
    if isinstance(action, PairAction):
        nodes = _permuting(action)
        return nodes * nodes * trivial(action.group, math.prod(shape[2:]))
    if isinstance(action, FactorAction):
        inner = flat_rep(action.inner, shape)
        return None if inner is None else factor(action.group, action.index, inner)
    if isinstance(action, PointAction) and action.is_linear and not action.scalars:
        return _point_cloud(action.group, shape)
    return None


def _point_cloud(group: Group, shape: Sequence[int]) -> Rep | None:
    if any(isinstance(one, Scaling) for one in _factors(group)):
        return None
    spaces = [rep for rep in _parts(group) if not rep.is_permutation]
    if len(spaces) > 1:
        return None
    return _cloud(
        group, shape[0], _copies(shape[1] // spaces[0].dim, spaces[0]) if spaces else trivial(group, shape[1])
    )


def _cloud(group: Group, count: int, point: Rep) -> Rep:
    """Points one after the other, each moved by `point`, and permuted where a factor permutes."""
    permuting = next((rep for rep in _parts(group) if rep.is_permutation), None)
    return _copies(count, point) if permuting is None else permuting * point


def _permuting(action: SetAction | PairAction) -> Rep:
    group = action.group
    if not isinstance(group, Product):
        return defining(group)
    return factor(group, action.index, defining(group.factors[action.index]))


def _factors(group: Group) -> tuple[Group, ...]:
    return group.factors if isinstance(group, Product) else (group,)


def _parts(group: Group) -> list[Rep]:
    """The defining representation of every factor, as one of the whole group."""
    if not isinstance(group, Product):
        return [defining(group)]
    return [factor(group, index, defining(one)) for index, one in enumerate(group.factors)]


def _copies(count: int, rep: Rep) -> Rep:
    return rep if count == 1 else count * rep
