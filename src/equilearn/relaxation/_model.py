"""A whole model behind one dial."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, positive_int, require
from equilearn.actions import Data, first_leaf
from equilearn.measure import equivariance_error
from equilearn.relaxation._base import equivariant_only, number, relaxations, set_strength, shared_draw
from equilearn.relaxation._deviation import Deviation, check_inputs, deviation_between, largest
from equilearn.relaxation._layer import RelaxedLayer
from equilearn.symmetry import Symmetry
from equilearn.training import predict


class RelaxedModel(nn.Module):
    """A model with parts that break its symmetry, and the dial that turns them all.

    Arguments:
        model: any module with such parts: what `relax` builds, or a network of your own that holds `FixedInputs`.
        symmetry: the one that holds with the parts off.

    In training one draw a sample decides for all parts together whether they are left out, as in the source. It is made
    at the start of a call, lent to the parts while the call lasts and taken back at its end: no state stays. (So a
    layer that is run again later, as activation checkpointing does, would draw anew: use drop=0 with it.)

    Raises `InputError` for a model without such parts.

    Source: Ashman et al. 2024, section 4 and appendix D.

    Example:
        >>> import equilearn as eq
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> net = eq.nn.GroupCNN(eq.Cyclic(4), 1, 10)
        >>> soft = eq.relax(net, turns).eval()
        >>> x = torch.rand(3, 1, 8, 8)
        >>> soft.strength = 0.5  # half way
        >>> with soft.equivariant_only():
        ...     torch.equal(soft(x), net.eval()(x))
        True
    """

    def __init__(self, model: nn.Module, symmetry: Symmetry):
        super().__init__()
        if not isinstance(symmetry, Symmetry):
            raise InputTypeError(f"symmetry must be a Symmetry(group, input, output), got {type(symmetry).__name__}.")
        self.model, self.symmetry = model, symmetry
        require(
            bool(relaxations(model)),
            f"{type(model).__name__} has no part that breaks its symmetry. Use relax(model, ...), or FixedInputs.",
        )

    def forward(self, *inputs: Any, **options: Any) -> Any:
        leaf = first_leaf(inputs)
        with shared_draw(self.model, len(leaf), leaf.device):
            return self.model(*inputs, **options)

    def forward_with_penalty(self, *inputs: Any) -> tuple[Any, Float[Tensor, ""]]:
        """The output, and what the parts ask to be added to the loss: free branches their prior, fixed inputs nothing.
        `training.fit` calls this.
        """
        y = self(*inputs)
        penalties = [part.penalty() for part in relaxations(self.model)]
        return y, torch.stack([p.to(penalties[0]) for p in penalties]).sum()

    @property
    def strength(self) -> float:
        """The dial: 0 is the equivariant model, 1 the model as trained. Setting it turns every part."""
        return max(float(part.strength) for part in relaxations(self.model))

    @strength.setter
    def strength(self, value: float) -> None:
        set_strength(self.model, value)

    def equivariant_only(self) -> AbstractContextManager[nn.Module]:
        """Within this context the model is its equivariant part, to the last bit."""
        return equivariant_only(self)

    def equivariant_part(self) -> nn.Module:
        """The equivariant model by itself, on copies of its weights: relaxed layers are replaced by what they relax,
        and parts of other kinds are turned off for good.
        """
        whole = nn.Sequential(copy.deepcopy(self.model))
        _unwrap(whole)
        for part in relaxations(whole):
            part.strength.zero_()
            part.enabled = False
        return whole[0]

    def deviation(self, x: Data, *, samples: int = 8, generator: torch.Generator | None = None) -> Deviation:
        """How far the model departs from its equivariant part on these inputs; in evaluation mode.

        Args:
            x: inputs, batch first.
            samples: elements to draw where the group is not a small finite one.
            generator: where given, the equivariance error is measured too, and the bound on it.

        Raises:
            InputError: inputs that are empty, not finite or do not fit the symmetry.

        Cost: two passes over `x`; with a generator four more an element, and what `equivariance_error` takes.

        Example:
            >>> import equilearn as eq
            >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
            >>> soft = eq.relax(eq.nn.GroupCNN(eq.Cyclic(4), 1, 10), turns)
            >>> soft.deviation(torch.rand(3, 1, 8, 8)).relative  # fixed inputs start at zero
            0.0
        """
        check_inputs(x)
        self.symmetry.input.check(x)
        on, off = predict(self, x), self._strict(x)
        found = deviation_between(on, off, self.strength)
        if generator is None:
            return found
        error = equivariance_error(self, self.symmetry, x, samples=samples, generator=generator)
        most = largest(lambda t: predict(self, t), self._strict, self.symmetry, x, error)
        return Deviation(found.relative, found.per_output, found.per_input, found.strength, **most, equivariance=error)

    def _strict(self, x: Data) -> Data:
        with self.equivariant_only():
            return predict(self, x)

    def extra_repr(self) -> str:
        return f"symmetry={self.symmetry!r}"


def _unwrap(module: nn.Module) -> None:
    """Put the layers of relaxed layers in their place."""
    for name, child in module._modules.items():  # named_children tells a layer that is used twice only once
        while isinstance(child, RelaxedLayer):
            child = child.layer
        module._modules[name] = child
        if child is not None:
            _unwrap(child)


def anneal(
    model: nn.Module, start: float = 1.0, end: float = 0.0, steps: int | None = None
) -> Callable[[int, int, float], None]:
    """A schedule for the dial: from `start` to `end` in a straight line, then constant.

    Args:
        model: any model with parts that break its symmetry.
        start: strength before the first step; set at once.
        end: strength after `steps` steps.
        steps: default the number that training announces.

    With held-out data the best weights are put back at the end of training, and the dial stays where the schedule has
    brought it (part way, where patience ended it before). Each evaluation sees the strength of its time: the best
    weights may be those of a strength that is no more.

    Returns:
        A function of `(step, steps, loss)`: the `progress` of `training.fit`, which calls it after each step.

    Raises:
        InputError: strengths outside of [0, 1], or a model without such parts.

    Example:
        >>> from equilearn.relaxation import FixedInputs
        >>> fixed = FixedInputs(1, [(0, 1)])
        >>> hook = anneal(fixed, start=1, end=0, steps=4)
        >>> hook(1, 100, 0.3)
        >>> float(fixed.strength)
        0.75
    """
    number(end, "end")
    require(0 <= end <= 1, f"The strength of a relaxation lies between 0 and 1, got end={end}.")
    if steps is not None:
        positive_int(steps, "steps")
    set_strength(model, start)

    def hook(step: int, total: int, loss: float) -> None:
        done = min(step / (total if steps is None else steps), 1.0)
        set_strength(model, start + (end - start) * done)

    return hook
