"""Does an action keep its laws?"""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn.actions import Action, Data, batch_size, first_leaf, map_data
from equilearn.groups import Element
from equilearn.testing._failed import CheckFailed

_ELEMENTS = 4
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 2e-1}

_GRID_MARGIN = 2.0
"""How many round-trip errors the group law of an interpolated action may be off by."""


def check_action(
    action: Action, x: Data, *, generator: torch.Generator | None = None, tolerance: float | None = None
) -> None:
    """Raise `CheckFailed` unless `action` is a left action on data like `x`.

    Checked at random elements: the identity leaves `x` alone; `g (h x) = (g h) x`; `g^-1 (g x) = x`;
    one element a sample gives the same as sample by sample; `orbit` gives the same as a loop; dtype,
    device and shape are kept; `x` is not modified. An action that calls itself linear is.

    Where `action.is_exact(x)` is False (interpolation), the law may be off by twice the error of going
    there and back, `|g^-1 (g x) - x|`: give smooth data, so that this says something.

    Args:
        action: the action.
        x: data that it acts on, batch first, two samples or more.
        generator: draws the elements.
        tolerance: relative to the largest number involved; default 1e-10 in float64, 1e-4 in float32.

    Raises:
        CheckFailed: names the law, the size of the breach and the tolerance.

    Example:
        >>> import torch, equilearn as eq
        >>> x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> eq.testing.check_action(eq.actions.images().on(eq.Dihedral(4)), x)
    """
    action.check(x)
    group = action.group
    device = first_leaf(x).device
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    tolerance = _tolerance(x) if tolerance is None else tolerance
    g, h = (_draw(action, _ELEMENTS, generator, device) for _ in range(2))
    before = map_data(lambda t: t.clone(), x)
    action(group.take(g, 0), x)
    _check_untouched(action, before, x)
    _check_identity(action, x, tolerance)
    for i in range(_ELEMENTS):
        first, second = group.take(g, i), group.take(h, i)
        _check_form(action, first, x)
        _check_law(action, first, second, x, tolerance)
        if action.is_linear:
            _check_linear(action, first, x, tolerance)
    _check_pairing(action, generator, x, tolerance)
    _check_orbit(action, g, x, tolerance)
    _check_untouched(action, before, x)


def _tolerance(x: Data) -> float:
    return max(_TOLERANCE.get(leaf.real.dtype if leaf.is_complex() else leaf.dtype, 0.0) for leaf in _leaves(x))


def _draw(action: Action, count: int, generator: torch.Generator, device: torch.device) -> Element:
    drawn = action.group.sample((count,), generator=generator, device=generator.device)
    return action.group.to(drawn, device=device)


def _leaves(x: Data) -> list[Tensor]:
    return [leaf for part in x for leaf in _leaves(part)] if isinstance(x, tuple | list) else [x]


def _equal(a: Data, b: Data) -> bool:
    return all(torch.equal(p, q) for p, q in zip(_leaves(a), _leaves(b), strict=True))


def _gap(a: Data, b: Data) -> float:
    """Largest difference, relative to the largest number."""
    worst = 0.0
    for p, q in zip(_leaves(a), _leaves(b), strict=True):
        if p.shape != q.shape:
            return float("inf")
        if p.numel() == 0:
            continue
        p, q = _wide(p), _wide(q)
        scale = max(float(p.abs().max()), float(q.abs().max()), 1e-30)
        gap = float((p - q).abs().max()) / scale
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def _wide(leaf: Tensor) -> Tensor:
    """Numbers and masks in double precision, so that they can be subtracted."""
    return leaf.to(torch.complex128 if leaf.is_complex() else torch.float64)


def _root_mean_square(a: Data, b: Data) -> float:
    pairs = zip(_leaves(a), _leaves(b), strict=True)
    top = sum(float((_wide(p) - _wide(q)).abs().square().sum()) for p, q in pairs)
    bottom = sum(float(_wide(q).abs().square().sum()) for q in _leaves(b))
    return (top / bottom) ** 0.5 if bottom > 0 else top**0.5


def _require_equal(action: Action, law: str, a: Data, b: Data, tolerance: float) -> None:
    gap = _gap(a, b)
    if not gap <= tolerance:
        raise CheckFailed(
            f"{action}: {law} is off by {gap:.3g}, relative to the largest number; allowed {tolerance:.3g}."
        )


def _check_untouched(action: Action, before: Data, x: Data) -> None:
    if not _equal(before, x):
        raise CheckFailed(f"{action} modifies its input; it must return new data.")


def _check_identity(action: Action, x: Data, tolerance: float) -> None:
    device = first_leaf(x).device
    for batch in ((), (batch_size(x),)):
        moved = action(action.group.identity(batch, device=device), x)
        _require_equal(action, "the identity must leave x as it is; e x = x", moved, x, tolerance)


def _check_form(action: Action, g: Element, x: Data) -> None:
    for before, after in zip(_leaves(x), _leaves(action(g, x)), strict=True):
        for what in ("dtype", "device", "shape"):
            old, new = getattr(before, what), getattr(after, what)
            if old != new:
                raise CheckFailed(f"{action} changes the {what} of its data from {old} to {new}.")


def _check_law(action: Action, g: Element, h: Element, x: Data, tolerance: float) -> None:
    group = action.group
    stepwise, at_once = action(g, action(h, x)), action(group.compose(g, h), x)
    back = action(group.inverse(g), action(g, x))
    if action.is_exact(x):
        _require_equal(action, "the law of a left action, g (h x) = (g h) x,", stepwise, at_once, tolerance)
        _require_equal(action, "the inverse, g^-1 (g x) = x,", back, x, tolerance)
        return
    grid = _root_mean_square(back, x) + _root_mean_square(action(group.inverse(h), action(h, x)), x)
    law = _root_mean_square(stepwise, at_once)
    if not law <= max(_GRID_MARGIN * grid, tolerance):
        raise CheckFailed(
            f"{action}: the law of a left action, g (h x) = (g h) x, is off by {law:.3g} (relative L2), more than "
            f"{_GRID_MARGIN:g} times what going there and back costs on this grid ({grid:.3g})."
        )


def _check_linear(action: Action, g: Element, x: Data, tolerance: float) -> None:
    if not all(leaf.is_floating_point() for leaf in _leaves(x)):
        return
    other = map_data(lambda t: t.flip(0), x)
    total = tuple(p + 2 * q for p, q in zip(_leaves(x), _leaves(other), strict=True))
    moved = _leaves(action(g, _like(x, list(total))))
    parts = [p + 2 * q for p, q in zip(_leaves(action(g, x)), _leaves(action(g, other)), strict=True)]
    _require_equal(action, "linearity, g (x + 2 y) = g x + 2 g y,", tuple(moved), tuple(parts), tolerance)


def _like(x: Data, flat: list[Tensor]) -> Data:
    """The tensors of `flat`, nested as `x` is."""
    if isinstance(x, tuple | list):
        return tuple(_like(part, flat) for part in x)
    return flat.pop(0)


def _check_pairing(action: Action, generator: torch.Generator, x: Data, tolerance: float) -> None:
    size = batch_size(x)
    g = _draw(action, size, generator, first_leaf(x).device)
    together = action(g, x)
    for b in range(min(size, _ELEMENTS)):
        alone = action(action.group.take(g, b), map_data(lambda t, b=b: t[b : b + 1], x))
        here = map_data(lambda t, b=b: t[b : b + 1], together)
        _require_equal(action, "one element a sample, against sample by sample,", here, alone, tolerance)


def _check_orbit(action: Action, g: Element, x: Data, tolerance: float) -> None:
    orbit = action.orbit(g, x)
    for i in range(_ELEMENTS):
        here = map_data(lambda t, i=i: t[i], orbit)
        _require_equal(
            action, "orbit(g, x), against a loop over g,", here, action(action.group.take(g, i), x), tolerance
        )
