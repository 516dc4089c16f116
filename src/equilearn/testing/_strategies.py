"""Hypothesis strategies: groups, elements, representations and data, for property tests of your own.

They need hypothesis (`pip install 'equilearn[dev]'`); the checks beside them do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from equilearn import groups as catalogue
from equilearn import reps as representations
from equilearn._check import extra
from equilearn.groups import Element, Group
from equilearn.reps import Rep

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SEEDS = 2**31 - 1


def _hypothesis() -> Any:
    return extra("hypothesis.strategies", "dev", "equilearn.testing's strategies")


def finite_groups(max_order: int = 24) -> SearchStrategy[Group]:
    """Finite groups of order at most `max_order` (at least 1): cyclic, dihedral, symmetric, abelian, Q8, products.

    Example:
        >>> from hypothesis import given
        >>> @given(finite_groups(max_order=12))
        ... def test_order(group):
        ...     assert len(group.elements()) == group.order <= 12
        >>> test_order()
    """
    st = _hypothesis()
    fitting: list[Callable[[], Group]] = [lambda n=n: catalogue.Cyclic(n) for n in range(1, max_order + 1)]
    fitting += [lambda n=n: catalogue.Dihedral(n) for n in range(1, max_order // 2 + 1)]
    fitting += [
        lambda n=n: catalogue.Symmetric(n) for n, order in ((2, 2), (3, 6), (4, 24), (5, 120)) if order <= max_order
    ]
    if max_order >= 4:
        fitting.append(lambda: catalogue.Abelian((2, 2)))
    if max_order >= 8:
        fitting.append(lambda: catalogue.Quaternion())
        fitting.append(lambda: catalogue.Abelian((2, 4)))
    return st.sampled_from(fitting).map(lambda make: make())


def matrix_groups(max_dimension: int = 4) -> SearchStrategy[Group]:
    """Groups of matrices of `max_dimension` at most (2 or more): SO, O, SL, GL, Lorentz."""
    st = _hypothesis()
    sizes = st.integers(2, max_dimension)
    simple = [catalogue.SO, catalogue.O, catalogue.SL, catalogue.GL]
    families = [st.builds(family, sizes) for family in simple]
    families.append(st.integers(1, max_dimension - 1).map(lambda q: catalogue.Lorentz(1, q)))
    return st.one_of(*families)


def groups(max_order: int = 24, max_dimension: int = 3) -> SearchStrategy[Group]:
    """Groups of every kind: finite, matrix, affine."""
    st = _hypothesis()
    affine = st.builds(
        lambda family, n: family(n),
        st.sampled_from([catalogue.Translation, catalogue.Euclidean, catalogue.SpecialEuclidean]),
        st.integers(2, max_dimension),
    )
    return st.one_of(finite_groups(max_order), matrix_groups(max_dimension), affine)


def elements(
    group: Group, batch: int | Sequence[int] = (), dtype: torch.dtype = torch.float64
) -> SearchStrategy[Element]:
    """Random elements of `group`, with batch shape `batch`, drawn by the group's own law.

    Shrinks towards small seeds, not towards the identity.

    Example:
        >>> import equilearn as eq
        >>> from hypothesis import given
        >>> G = eq.SO(3)
        >>> @given(elements(G, 2))
        ... def test_inverse(g):
        ...     assert bool((G.distance(G.compose(g, G.inverse(g)), G.identity()) < 1e-6).all())
        >>> test_inverse()
    """

    def draw(seed: int) -> Element:
        return group.sample(batch, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return _hypothesis().integers(0, SEEDS).map(draw)


def reps(group: Group, max_dim: int = 12) -> SearchStrategy[Rep]:
    """Representations of `group` of dimension `max_dim` at most: trivial, defining, regular, sums and products."""
    st = _hypothesis()
    simple = _simple_reps(group, max_dim)

    def grow(parts: SearchStrategy[Rep]) -> SearchStrategy[Rep]:
        return st.one_of(
            st.builds(lambda a, b: a + b, parts, parts),
            st.builds(lambda a, b: a * b, parts, parts),
            st.builds(lambda n, a: n * a, st.integers(1, 3), parts),
            parts.map(lambda a: a.dual),
        )

    return st.recursive(st.sampled_from(simple), grow, max_leaves=3).filter(lambda rep: rep.dim <= max_dim)


def _simple_reps(group: Group, max_dim: int) -> list[Rep]:
    """The representations that a group comes with, as far as it has them."""
    found: list[Rep] = [representations.trivial(group)]
    candidates: list[Callable[[Group], Rep]] = [representations.defining]
    if group.order is not None and group.order <= max_dim:
        candidates.append(representations.regular)
    for make in candidates:
        try:
            rep = make(group)
        except ValueError:
            continue  # this group has no such representation
        if rep.dim <= max_dim:
            found.append(rep)
    return found


def batches(*shape: int, max_batch: int = 4, dtype: torch.dtype = torch.float64) -> SearchStrategy[torch.Tensor]:
    """Standard normal data of shape `(B, *shape)` with `B` from 0 to `max_batch`.

    Example:
        >>> from hypothesis import given
        >>> @given(batches(5, 3))
        ... def test_shape(x):
        ...     assert x.shape[1:] == (5, 3)
        >>> test_shape()
    """
    st = _hypothesis()

    def draw(size: int, seed: int) -> torch.Tensor:
        return torch.randn(size, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return st.builds(draw, st.integers(0, max_batch), st.integers(0, SEEDS))
