"""`Symmetry`: exactly what "f is equivariant" means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from equilearn._check import InputTypeError, require
from equilearn.actions import Action, Data, Unbound, combine, trivial, vectors
from equilearn.groups import Element, Group
from equilearn.reps import Rep

ActionLike: TypeAlias = Action | Unbound | Rep | Sequence["Action | Unbound | Rep"]


@dataclass(frozen=True, init=False, repr=False)
class Symmetry:
    """A group, what it does to inputs and what it does to outputs.

    `f` is equivariant when `f(input(g, x)) == output(g, f(x))` for every `g` and `x`; with a
    trivial output action that is invariance.

    Args:
        group: the transformations.
        input: the action on inputs. An `Action`, an action without its group (`images()`),
            a `Rep` (acts on vectors), or a tuple of those for a model of several inputs.
        output: the action on outputs; default trivial (invariance).

    Raises:
        InputError: where the group cannot act so, or an action belongs to another group.

    Example:
        >>> import equilearn as eq
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> turns
        Symmetry(C4: images -> trivial)
    """

    group: Group
    input: Action
    output: Action

    def __init__(self, group: Group, input: ActionLike, output: ActionLike | None = None):
        object.__setattr__(self, "group", group)
        object.__setattr__(self, "input", as_action(group, input, "input"))
        object.__setattr__(self, "output", as_action(group, trivial() if output is None else output, "output"))

    @property
    def is_invariance(self) -> bool:
        """Whether outputs stay as they are."""
        return self.output.is_trivial

    def act_input(self, g: Element, x: Data) -> Data:
        """`g x`, `g` of batch `()` or `(B,)`."""
        return self.input(g, x)

    def act_output(self, g: Element, y: Data) -> Data:
        """`g y`, `g` of batch `()` or `(B,)`."""
        return self.output(g, y)

    def __repr__(self) -> str:
        return f"Symmetry({self.group}: {self.input.name} -> {self.output.name})"


def as_action(group: Group, action: ActionLike, role: str) -> Action:
    """Bind whatever may stand for an action to `group`."""
    if isinstance(action, Rep):
        action = vectors(action)
    if isinstance(action, Unbound):
        return action.on(group)
    if isinstance(action, tuple | list):
        return combine(*(as_action(group, part, role) for part in action))
    if not isinstance(action, Action):
        raise InputTypeError(
            f"The {role} action must be an Action (such as actions.images()), a Rep, or a tuple of those; "
            f"got {type(action).__name__}."
        )
    require(
        action.group == group,
        f"The {role} action belongs to {action.group}, but the symmetry's group is {group}. Build both on one group.",
    )
    return action
