"""Points arranged in orbits of a group, and kernel ridge regression on them by blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, finite, require
from equilearn.groups import Group, fixed_points, orbits
from equilearn.kernels._blocks import block_solve, symmetry_defect
from equilearn.kernels._given import members
from equilearn.kernels._solve import SolveInfo
from equilearn.reps import GroupFourier, permutation

KernelFunction = Callable[[Tensor, Tensor], Tensor]
"""`kernel(A, B)` of rows `(a, D)` and `(b, D)` is the matrix `(a, b)`."""

PROBES = 4
"""Rows of the kernel matrix that `kappa_from_function` compares for each generator of the group."""


def orbit_layout(
    group: Group,
    permutations: Int[Tensor, "order N"],
    points: Bool[Tensor, " N"] | Int[Tensor, " n"] | None = None,
) -> Int[Tensor, "m order"]:
    """Points as m orbits of `order` points: entry `[i, g]` is the place of `g x_i`.

    Args:
        group: a finite group.
        permutations: where each of its elements takes each point, `(order, N)`, in the order of `elements()`.
        points: the points in question, such as a training set: a mask `(N,)`, or distinct indices `(n,)` in the
            order in which they are stored; default all. They must be a union of orbits.

    Returns:
        Places within `points` (within all points where it is not given), `(m, order)`; `x_i`, the point in
        column 0, is the first of its orbit.

    Raises:
        InputError: `permutations` is no action of the group, the points are not a union of orbits (says how many
            leave), or an element other than the identity fixes some of them (says which and how many).

    O(order N).

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> turn = torch.stack([torch.arange(6).roll(2 * k) for k in range(3)])
        >>> orbit_layout(Cyclic(3), turn)
        tensor([[0, 4, 2],
                [1, 5, 3]])
    """
    permutation(group, permutations)  # says what is wrong where they are no action
    permutations = permutations.to("cpu", torch.int64)
    place = torch.arange(permutations.shape[1])
    if points is not None:
        chosen = members(points, len(place), "points").cpu()
        require(len(chosen) > 0, "points is empty: at least one orbit is needed.")
        place = torch.full_like(place, -1)
        place[chosen] = torch.arange(len(chosen))
        permutations = place[permutations[:, chosen]]
        left = int((permutations < 0).any(0).sum())
        require(
            left == 0,
            f"The {len(chosen)} points are not a union of orbits of {group}: {left} of them are taken outside.",
        )
    still = fixed_points(permutations)[1:].sum(1)
    if bool((still > 0).any()):
        worst = int(still.argmax())
        raise InputError(
            f"{group} does not act freely on the {permutations.shape[1]} points: {int((still > 0).sum())} of its "
            f"{len(still)} elements other than the identity have fixed points; element {worst + 1} fixes "
            f"{int(still[worst])} of them. Use a subgroup that fixes none, such as the rotations, or leave those "
            "points out."
        )
    labels = orbits(permutations)
    first = torch.full((int(labels.max()) + 1,), len(labels)).scatter_reduce(
        0, labels, torch.arange(len(labels)), "amin"
    )
    return permutations[:, first].mT.contiguous()


def kappa_from_gram(
    gram: Float[Tensor, "n n"],
    group: Group,
    layout: Int[Tensor, "m order"],
    *,
    project: bool = False,
    tolerance: float | None = None,
) -> Float[Tensor, "m m order"]:
    """The kernel of every pair of orbits at every element, from a whole kernel matrix.

    `kappa[i, j, u]` is the mean over g of `gram[(i, g), (j, g u)]`, all equal for an invariant kernel.

    Args:
        gram: the kernel matrix of the points, `(n, n)`.
        group, layout: the group and the `orbit_layout` of the points.
        project: take the mean even where the entries differ: the invariant kernel matrix nearest to `gram`. (Any
            one row instead of the mean need not give a positive semidefinite matrix.)
        tolerance: the largest relative defect that is put down to rounding; default the root of the epsilon.

    Raises:
        InputError: shapes that do not fit, NaN, or a kernel that is not invariant (with the measured defect).

    O(n^2) time and memory.

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> turn = torch.stack([torch.arange(4).roll(-k) for k in range(4)])
        >>> angle = torch.arange(4) * torch.pi / 2
        >>> gram = torch.cos(angle[:, None] - angle)
        >>> kappa_from_gram(gram, Cyclic(4), orbit_layout(Cyclic(4), turn)).round().abs()
        tensor([[[1., 0., 1., 0.]]])
    """
    n = layout.numel()
    require(tuple(gram.shape) == (n, n), f"The kernel matrix of {n} points is ({n}, {n}), got {tuple(gram.shape)}.")
    finite(gram, "gram")
    order = layout.shape[1]
    elements = group.elements()
    rows, columns = group.reshape(elements, (order, 1)), group.reshape(elements, (1, order))
    product = group.index_of(group.compose(rows, columns))  # [g, u]: g u
    # entries[i, j, g, u] = gram[(i, g), (j, g u)]
    entries = gram[layout[:, None, :, None], layout[:, product][None]]
    kappa = entries.mean(2)
    if not project:
        norm = float(gram.norm())
        defect = float((entries - kappa[:, :, None]).norm()) / norm if norm > 0 else 0.0
        _require_invariant(defect, tolerance, gram.dtype, group)
    return kappa


def kappa_from_function(
    kernel: KernelFunction,
    x: Float[Tensor, "n D"],
    group: Group,
    layout: Int[Tensor, "m order"],
    *,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
) -> Float[Tensor, "m m order"]:
    """The kernel of every pair of orbits at every element, `kappa[i, j, u] = k(x_i, u x_j)`: n m evaluations, not n^2.

    Invariance is checked on what is evaluated anyway, `k(g x_i, x_j)` against `k(x_i, g^-1 x_j)` for all orbits
    and elements (by the symmetry of the kernel), and on 4 further rows for each generator of the group.

    Args:
        kernel: `kernel(A, B)` of rows `(a, D)` and `(b, D)` gives `(a, b)`; symmetric.
        x: the points, `(n, D)`.
        group, layout: the group and the `orbit_layout` of the points.
        generator: draws the rows that are compared; default a fixed seed.
        tolerance: as for `kappa_from_gram`.

    Raises:
        InputError: shapes that do not fit, NaN, or a kernel that is not invariant (with the measured defect).

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> turn = torch.stack([torch.arange(4).roll(-k) for k in range(4)])
        >>> layout = orbit_layout(Cyclic(4), turn)
        >>> kappa_from_function(lambda a, b: a @ b.mT, torch.eye(4), Cyclic(4), layout)
        tensor([[[1., 0., 0., 0.]]])
    """
    m, order = layout.shape
    n = layout.numel()
    require(
        x.ndim == 2 and len(x) == n,
        f"The layout places {n} points, so x must be ({n}, D), got {tuple(x.shape)}.",
    )
    finite(x, "x")
    layout = layout.to(x.device)
    everything = x[layout.flatten()]
    kappa = _evaluate(kernel, x[layout[:, 0]], everything).unflatten(1, (m, order))
    defect = symmetry_defect(kappa, group)
    source = torch.Generator().manual_seed(0) if generator is None else generator
    moves = group.index_of(group.generators()).tolist()
    if moves and n > 1:
        orbit = torch.randint(m, (len(moves), PROBES), generator=source).flatten()
        moved = torch.tensor(moves).repeat_interleave(PROBES)
        found = _evaluate(kernel, x[layout[orbit, moved]], everything).unflatten(1, (m, order))
        elements = group.elements()
        back = group.reshape(group.inverse(group.take(elements, moved)), (len(moved), 1))
        quotient = group.index_of(group.compose(back, group.reshape(elements, (1, order))))  # [probe, h]: g^-1 h
        expected = kappa[orbit].gather(2, quotient[:, None].expand(-1, m, -1).to(x.device))
        norm = float(expected.norm())
        defect = max(defect, float((found - expected).norm()) / norm if norm > 0 else 0.0)
    _require_invariant(defect, tolerance, kappa.dtype, group)
    return kappa


def group_kernel_ridge(
    kernel: KernelFunction,
    x: Float[Tensor, "n D"],
    y: Float[Tensor, "n c"],
    group: Group | GroupFourier,
    permutations: Int[Tensor, "order N"],
    *,
    ridge: float = 0.0,
    points: Bool[Tensor, " N"] | Int[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "n c"], SolveInfo]:
    """Dual coefficients of kernel ridge regression, `(K + ridge I)^-1 y`, through the blocks of a group.

    Equal to the dense solve, for a group that acts freely on the training points and leaves the kernel alone:
    the rotations of a whole operation table, say, or of a training set that is a union of their orbits.

    Args:
        kernel: `kernel(A, B)` of rows `(a, D)` and `(b, D)` gives `(a, b)`; symmetric and invariant.
        x: training points, `(n, D)`.
        y: targets, `(n, c)`.
        group: the group, or its `GroupFourier`.
        permutations: where its elements take the points, `(order, N)`.
        ridge: added to the diagonal.
        points: which of the N points the rows of `x` are; default all.

    Returns:
        The coefficients, `(n, c)` in the order of `x`, and how they were found.

    Raises:
        InputError: as `orbit_layout`, `kappa_from_function` and `block_solve`.

    Cost: n m kernel evaluations for m = n / order, then as `block_solve`.

    Example:
        >>> import torch
        >>> from equilearn.groups import Cyclic
        >>> circle = torch.arange(6, dtype=torch.float64) * torch.pi / 3
        >>> x = torch.stack([circle.cos(), circle.sin()], 1)
        >>> kernel = lambda a, b: torch.exp(-torch.cdist(a, b))
        >>> turns = torch.stack([torch.arange(6).roll(-k) for k in range(6)])
        >>> alpha, info = group_kernel_ridge(kernel, x, x[:, :1], Cyclic(6), turns)
        >>> bool(torch.allclose(kernel(x, x) @ alpha, x[:, :1])), info.rank
        (True, 6)
    """
    fourier = group if isinstance(group, GroupFourier) else GroupFourier(group)
    layout = orbit_layout(fourier.group, permutations, points).to(x.device)
    require(
        y.ndim == 2 and len(y) == layout.numel(),
        f"y must hold one row for each of the {layout.numel()} points, (n, c); got {tuple(y.shape)}.",
    )
    kappa = kappa_from_function(kernel, x, fourier.group, layout)
    found, info = block_solve(kappa, y[layout], fourier, ridge=ridge)
    alpha = torch.empty_like(y)
    alpha[layout.flatten()] = found.flatten(0, 1)
    return alpha, info


# --- parts ------------------------------------------------------------------------------------


def _evaluate(kernel: KernelFunction, a: Tensor, b: Tensor) -> Tensor:
    values = kernel(a, b)
    require(
        tuple(values.shape) == (len(a), len(b)),
        f"kernel(A, B) must give one value for each pair, ({len(a)}, {len(b)}); it gave {tuple(values.shape)}.",
    )
    return finite(values, "the kernel")


def _require_invariant(defect: float, tolerance: float | None, dtype: torch.dtype, group: Group) -> None:
    limit = torch.finfo(dtype).eps ** 0.5 if tolerance is None else tolerance
    require(
        defect <= limit,
        f"The kernel is not invariant under {group} on these points: k(g x, g z) differs from k(x, z) by {defect:.2g} "
        f"of its norm (tolerance {limit:.2g}). Use a smaller group, or project a whole kernel matrix with "
        "kappa_from_gram(..., project=True).",
    )
