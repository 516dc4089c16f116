"""What rounding and interpolation alone do, so that an error can be read against them."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn._check import positive_int
from equilearn.actions import Action, Data, batch_size, first_leaf, map_data
from equilearn.groups import Element
from equilearn.measure._evaluate import (
    Model,
    cast,
    difference,
    evaluate,
    inner,
    move_input,
    squared,
    squared_difference,
    take,
    twin,
    twin_outputs,
)
from equilearn.measure._labels import choose_elements
from equilearn.measure._results import FloorMethod
from equilearn.symmetry import Symmetry

_FLOOR_INPUTS = 256
_FLOOR_ELEMENTS = 3
_EPS_MARGIN = 8.0


def rounding_floor(
    model: Model,
    symmetry: Symmetry,
    x: Data,
    g: Element,
    *,
    dtype: torch.dtype,
    unit: float,
    stochastic: bool,
    limit: int,
) -> tuple[float, FloorMethod]:
    """The relative change that rounding makes to the outputs, at the elements `g`.

    The outputs on `g x` in the model's precision are held against those of a copy of the model in
    float64 on the unrounded `g x` (for a float64 model: a float32 copy, scaled by the ratio of the unit
    roundoffs). Where there is no copy, inputs are moved by one unit in the last place instead; a
    stochastic model gets a multiple of the unit roundoff. Never below the unit roundoff.
    """
    eps = torch.finfo(dtype).eps
    if stochastic:
        return _EPS_MARGIN * eps, "estimate"
    piece = take(x, slice(0, _FLOOR_INPUTS))
    (count,) = symmetry.group.batch_shape(g)
    some = [symmetry.group.take(g, i) for i in range(min(count, _FLOOR_ELEMENTS))]
    other = torch.float32 if dtype == torch.float64 else torch.float64
    copied = twin(model, other)
    if copied is not None:
        found = [_twin_change(model, copied, symmetry, h, piece, dtype, other, limit) for h in some]
        known = [value for value in found if value is not None]
        if len(known) == len(found):
            change = max(known) ** 0.5
            relative = change / unit**0.5 if unit > 0 else 0.0
            if other == torch.float64:
                return max(relative, eps), "float64 twin"
            return max(relative * eps / torch.finfo(torch.float32).eps, eps), "float32 twin, scaled"
    changes = [_nudged_change(model, symmetry, h, piece, dtype, limit) for h in some]
    relative = (max(changes) / unit) ** 0.5 if unit > 0 else 0.0
    return max(relative, _EPS_MARGIN * eps), "perturbation"


def _twin_change(
    model: Model,
    copied: torch.nn.Module,
    symmetry: Symmetry,
    g: Element,
    x: Data,
    dtype: torch.dtype,
    other: torch.dtype,
    limit: int,
) -> float | None:
    """Mean squared difference between the model and its copy on `g x`."""
    theirs = twin_outputs(copied, move_input(symmetry, g, x, other), limit)
    if theirs is None:
        return None
    ours = evaluate(model, move_input(symmetry, g, x, dtype), limit=limit, what="x")
    return float(squared_difference(theirs, ours).mean())


def _nudged_change(model: Model, symmetry: Symmetry, g: Element, x: Data, dtype: torch.dtype, limit: int) -> float:
    """Mean squared change of the outputs when every input number moves by one unit in the last place, whole
    numbers apart: they are held exactly, and what counts or says yes and no does not come in between."""
    moved = move_input(symmetry, g, x, dtype)
    nudged = map_data(lambda t: _nudged(t) if t.is_floating_point() else t, moved)
    before = evaluate(model, moved, limit=limit, what="x")
    after = evaluate(model, nudged, limit=limit, what="x")
    return float(squared_difference(after, before).mean())


def _nudged(t: Tensor) -> Tensor:
    # A fixed pattern of signs: the floor is a scale, it need not be random.
    return torch.where(t == t.round(), t, t * (1 + torch.finfo(t.dtype).eps * _signs(t)))


def _signs(t: Tensor) -> Tensor:
    pattern = torch.randint(2, t.shape, generator=torch.Generator().manual_seed(0))
    return (2 * pattern - 1).to(device=t.device, dtype=t.dtype)


def grid_floor(
    model: Model,
    symmetry: Symmetry,
    x: Data,
    plain: Data,
    g: Element,
    *,
    dtype: torch.dtype,
    unit: float,
    limit: int,
    again: Data | None = None,
) -> float | None:
    """How much the outputs change when inputs go there and back, and outputs too; None where exact.

    Mean over elements of `sqrt(a^2 + b^2)` with `a = |f(g^-1 (g x)) - f(x)|` and
    `b = |rho(g)^-1 (rho(g) f(x)) - f(x)|`, relative to the outputs. Of a stochastic model, whose second
    outputs on `x` are `again`, `a` leaves the randomness out: products of two independent differences.
    """
    input_exact, output_exact = symmetry.input.is_exact(x), symmetry.output.is_exact(plain)
    if input_exact and output_exact:
        return None
    (count,) = symmetry.group.batch_shape(g)
    total = 0.0
    for i in range(count):
        element = symmetry.group.take(g, i)
        squares = torch.zeros((), dtype=torch.float64)
        if not input_exact:
            back = cast(there_and_back(symmetry.input, element, cast(x, torch.float64)), dtype)
            what = "inputs moved there and back"
            changed = evaluate(model, back, limit=limit, what=what)
            if again is None:
                lost = squared_difference(changed, plain).mean()
            else:
                second = evaluate(model, back, limit=limit, what=what)
                lost = inner(difference(changed, plain), difference(second, again)).mean().clamp(min=0.0)
            squares = squares + lost.cpu()
        if not output_exact:
            squares = squares + squared_difference(there_and_back(symmetry.output, element, plain), plain).mean().cpu()
        total += float(squares / unit) ** 0.5 if unit > 0 else 0.0
    return total / count


def there_and_back(action: Action, g: Element, x: Data) -> Data:
    """`g^-1 (g x)`."""
    return action(action.group.inverse(g), action(g, x))


def interpolation_floor(
    action: Action,
    x: Data,
    *,
    samples: int = 8,
    elements: Element | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """How far an action on these data is from being invertible: `|g^-1 (g x) - x| / |x|`.

    Zero up to rounding for an exact action. On a grid it is what interpolation and the edge take away
    from the data: small for smooth images, large for noise. An equivariance error of a model on such
    data means nothing without it.

    Args:
        action: the action, on data like `x`.
        x: the data, batch first.
        samples: elements drawn, where the group has more than 32.
        elements: use these instead, batch shape `(G,)`.
        generator: draws the elements.

    Returns:
        The mean over elements of the relative L2 error over the batch.

    Cost: 2 G calls of the action.

    Example:
        >>> import torch, equilearn as eq
        >>> turn = eq.actions.images().on(eq.Cyclic(8))
        >>> noise = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> grid = torch.linspace(-1, 1, 16)
        >>> blob = torch.exp(-4 * (grid[:, None] ** 2 + grid**2)).reshape(1, 1, 16, 16)
        >>> bool(eq.measure.interpolation_floor(turn, noise) > 5 * eq.measure.interpolation_floor(turn, blob))
        True
    """
    action.check(x)
    if elements is None:
        elements, _ = choose_elements(action.group, positive_int(samples, "samples"), generator, first_leaf(x).device)
    exact = cast(x, torch.float64)
    size = float(squared(exact).sum())
    (count,) = action.group.batch_shape(elements)
    if size == 0 or batch_size(x) == 0:
        return 0.0
    total = 0.0
    for i in range(count):
        back = there_and_back(action, action.group.take(elements, i), exact)
        total += (float(squared_difference(back, exact).sum()) / size) ** 0.5
    return total / count
