"""Which elements to measure at, and what to call them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilearn._check import require
from equilearn.groups import (
    AffineGroup,
    Cyclic,
    Dihedral,
    Element,
    Group,
    Lorentz,
    MatrixGroup,
    Product,
    Scaling,
    Symmetric,
)

ALL_ELEMENTS_LIMIT = 32
"""A finite group of at most this order is measured at every element but the identity."""

_TURNS = {90: "quarter turn", 180: "half turn", 270: "three-quarter turn"}
_NEAR = 1e-6


def choose_elements(
    group: Group, samples: int, generator: torch.Generator | None, device: torch.device
) -> tuple[Element, bool]:
    """Elements of batch shape `(G,)` and whether they are all of the group (else they are sampled)."""
    order = group.order
    require(order != 1, f"{group} has one element only: there is nothing to measure.")
    if order is not None and order <= ALL_ELEMENTS_LIMIT:
        return group.take(group.to(group.elements(), device=device), slice(1, None)), True
    return sample_moves(group, samples, generator, device), False


def sample_moves(group: Group, count: int, generator: torch.Generator | None, device: torch.device) -> Element:
    """`count` random elements other than the identity, batch shape `(count,)`."""
    order = group.order
    if order is not None and order <= ALL_ELEMENTS_LIMIT and order > 1:
        index = torch.randint(1, order, (count,), generator=generator, device=_home(generator))
        return group.to(group.take(group.elements(), index.cpu()), device=device)
    g = _sample(group, count, generator)
    still = group.distance(g, group.identity((count,))) < _NEAR
    for _ in range(8):
        if not bool(still.any()):
            break
        fresh = _sample(group, count, generator)
        chosen = torch.where(still, torch.arange(count) + count, torch.arange(count))
        g = group.take(group.cat([g, fresh]), chosen)
        still = group.distance(g, group.identity((count,))) < _NEAR
    return group.to(g, device=device)


def _home(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _sample(group: Group, count: int, generator: torch.Generator | None) -> Element:
    return group.to(group.sample((count,), generator=generator, device=_home(generator)), device="cpu")


def describe(group: Group, g: Element) -> str:
    """A short name for one element (batch shape `()`): "quarter turn", "permutation (0 2 1)", ...

    Example:
        >>> import torch, equilearn as eq
        >>> eq.measure.describe(eq.Cyclic(4), torch.tensor(1))
        'quarter turn'
    """
    if isinstance(group, Product):
        parts = [describe(factor, part) for factor, part in zip(group.factors, g, strict=True)]
        return " x ".join(part for part in parts if part != "identity") or "identity"
    g = group.to(g, device="cpu")
    if bool(group.distance(g, group.identity(())) < _NEAR):
        return "identity"
    if isinstance(group, Cyclic | Dihedral):
        return _plane(group.plane_matrix(g))
    if isinstance(group, Symmetric):
        return _permutation(g)
    if isinstance(group, AffineGroup):
        return _affine(group, g)
    if isinstance(group, Scaling):
        return f"scaling by {float(g[0, 0]):.3g}"
    if isinstance(group, Lorentz):
        return _lorentz(group, g)
    if isinstance(group, MatrixGroup):
        return _matrix(g.to(torch.float64))
    if group.is_finite:
        return f"element {int(group.index_of(g))}"
    return "element"


def _angle(radians: float) -> int:
    return round(math.degrees(radians)) % 360


def _plane(matrix: Tensor) -> str:
    """A rotation or reflection of the plane."""
    c, s = float(matrix[0, 0]), float(matrix[1, 0])
    degrees = _angle(math.atan2(s, c))
    if float(torch.linalg.det(matrix)) > 0:
        return _TURNS.get(degrees, f"rotation {degrees}°") if degrees else "rotation below 1°"
    return f"reflection, axis at {_angle(math.atan2(s, c) / 2) % 180}°"


def _matrix(matrix: Tensor) -> str:
    size = matrix.shape[-1]
    one = torch.eye(size, dtype=matrix.dtype)
    if float((matrix @ matrix.mT - one).abs().max()) > _NEAR:
        return f"matrix at distance {float((matrix - one).norm()):.2g} from 1"
    if size == 2:
        return _plane(matrix)
    proper = float(torch.linalg.det(matrix)) > 0
    if size != 3:
        return f"{'rotation' if proper else 'improper rotation'} at distance {float((matrix - one).norm()):.2g} from 1"
    turn = matrix if proper else -matrix
    cosine = max(-1.0, min(1.0, (float(turn.trace()) - 1) / 2))
    label = f"rotation {_angle(math.acos(cosine))}°"
    if proper:
        return label
    return f"inversion and {label}" if float(turn.trace()) < 3 - _NEAR else "inversion"


def _permutation(p: Tensor) -> str:
    """Cycle notation, or the number of points moved where that would be long."""
    image = p.tolist()
    moved = [i for i, j in enumerate(image) if i != j]
    if len(moved) > 8:
        return f"permutation moving {len(moved)} of {len(image)}"
    cycles, seen = [], set()
    for start in moved:
        if start in seen:
            continue
        cycle = [start]
        while (after := image[cycle[-1]]) != start:
            cycle.append(after)
        seen.update(cycle)
        cycles.append("(" + " ".join(map(str, cycle)) + ")")
    return "permutation " + "".join(cycles)


def _affine(group: AffineGroup, g: Tensor) -> str:
    linear, shift = group.linear(g).to(torch.float64), group.shift(g)
    parts = []
    if float((linear - torch.eye(linear.shape[-1], dtype=linear.dtype)).abs().max()) > _NEAR:
        parts.append(_matrix(linear))
    if float(shift.abs().max()) > _NEAR:
        parts.append("shift (" + ", ".join(f"{value:.2g}" for value in shift.tolist()) + ")")
    return " and ".join(parts)


def _lorentz(group: Lorentz, g: Tensor) -> str:
    """Rapidity of the boost, from the largest stretching of space-time."""
    stretch = float(torch.linalg.matrix_norm(g.to(torch.float64), ord=2))
    rapidity = math.log(stretch) if stretch > 1 + 1e-9 else 0.0
    return f"boost of rapidity {rapidity:.2f}" if rapidity > 1e-6 else "rotation"
