"""The Fourier transform of finite groups: inversion, Plancherel, convolution, counts of irreps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equilearn import InputError, reps
from equilearn.groups import (
    Abelian,
    Alternating,
    Cyclic,
    Dihedral,
    FiniteGroup,
    GeneralizedDihedral,
    Group,
    O,
    Quaternion,
    Symmetric,
    cayley_table,
)
from equilearn.testing import finite_groups

KLEIN = FiniteGroup([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]], "V4")
GROUPS = [
    Cyclic(1),
    Cyclic(2),
    Cyclic(7),
    Cyclic(8),
    Abelian((3, 4)),
    Abelian((2, 2, 6)),
    Abelian((4, 1)),
    KLEIN,
    Symmetric(3),
    Symmetric(4),
    Dihedral(4),
    GeneralizedDihedral((3, 4)),
    Quaternion(),
    Quaternion(12),
    Alternating(4),
    Symmetric(3) * Cyclic(5),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=str)


def functions(group: Group, dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(2, 3, group.order or 1, generator=generator, dtype=torch.float64)
    return draws[0].to(dtype), draws[1].to(dtype)


def convolve(group: Group, f: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """The slow twin: `sum_x f(x) h(x^-1 g)`."""
    table = cayley_table(group)
    inverses = (table == 0).int().argmax(1)
    return torch.einsum("bx,bxg->bg", f, h[:, table[inverses]])


@every_group
def test_inversion_plancherel_and_convolution(group: Group, dtype: torch.dtype, tolerance: float):
    fourier = reps.GroupFourier(group)
    f, h = functions(group, dtype)
    a, b = fourier.forward(f), fourier.forward(h)
    torch.testing.assert_close(fourier.inverse(a), f, rtol=0, atol=tolerance)
    torch.testing.assert_close(fourier.inner(a, b), (f * h).sum(-1), rtol=0, atol=10 * tolerance)
    product = fourier.inverse([x @ y for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(product, convolve(group, f, h), rtol=0, atol=10 * tolerance)


@every_group
def test_matrices_are_unitary_representations_and_the_transform_is_their_sum(group: Group):
    fourier = reps.GroupFourier(group)
    table = cayley_table(group)
    f, _ = functions(group, torch.float64)
    blocks = fourier.forward(f)
    for i, stack in enumerate(fourier.stacks):
        rho = fourier.matrices(i)
        assert rho.shape == (group.order, stack.count, stack.dim, stack.dim)
        assert rho.is_complex() == (stack.type != "real") == blocks[i].is_complex()
        one = torch.eye(stack.dim, dtype=rho.dtype).expand_as(rho)
        torch.testing.assert_close(rho @ rho.mH, one, rtol=0, atol=1e-10)
        torch.testing.assert_close(rho[:, None] @ rho[None], rho[table], rtol=0, atol=1e-10)
        slow = torch.einsum("bg,gkij->bkij", f.to(rho.dtype), rho)
        torch.testing.assert_close(blocks[i], slow, rtol=0, atol=1e-10)


@every_group
def test_every_complex_irrep_is_there_once(group: Group):
    """Irreducible, pairwise inequivalent, and of the degrees and types of the character table."""
    fourier = reps.GroupFourier(group)
    assert sum(s.count * s.weight * s.dim**2 for s in fourier.stacks) == group.order
    traces = [fourier.matrices(i).diagonal(dim1=-2, dim2=-1).sum(-1) for i in range(len(fourier.stacks))]
    characters = torch.cat([t.to(torch.complex128) for t in traces], 1)
    gram = characters.mH @ characters / group.order
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype), rtol=0, atol=1e-10)
    table = reps.character_table(group)
    found = sorted((s.dim, s.type) for s in fourier.stacks for _ in range(s.count * s.weight))
    names = {1: "real", 0: "complex", -1: "quaternionic"}
    assert found == sorted((d, names[i]) for d, i in zip(table.degrees, table.indicators, strict=True))


def test_the_trivial_irrep_comes_first():
    for group in GROUPS:
        fourier = reps.GroupFourier(group)
        f, _ = functions(group, torch.float64)
        torch.testing.assert_close(fourier.forward(f)[0][:, 0, 0, 0], f.sum(-1))


def test_the_fast_transform_is_the_discrete_fourier_transform():
    f, _ = functions(Cyclic(8), torch.float64)
    spectrum = torch.fft.fft(f)
    real, paired = reps.GroupFourier(Cyclic(8)).forward(f)
    torch.testing.assert_close(real[..., 0, 0].to(spectrum.dtype), spectrum[:, [0, 4]])
    torch.testing.assert_close(paired[..., 0, 0], spectrum[:, 1:4])


def test_abelian_groups_agree_on_both_ways():
    """A group of the same table that does not know that it is a product of cyclic ones."""
    group = Abelian((2, 3))
    plain = FiniteGroup.from_table(cayley_table(group))
    f, h = functions(group, torch.float64)
    results = []
    for each in (group, plain):
        fourier = reps.GroupFourier(each)
        results.append(fourier.inverse([a @ b for a, b in zip(fourier.forward(f), fourier.forward(h), strict=True)]))
    torch.testing.assert_close(*results)


@settings(max_examples=20, deadline=None)
@given(group=finite_groups(max_order=16), seed=st.integers(0, 1000))
def test_translation_multiplies_the_blocks(group: Group, seed: int):
    """`f(x^-1 g)` has the blocks `rho(x) f^(rho)`."""
    fourier = reps.GroupFourier(group)
    f, _ = functions(group, torch.float64, seed)
    table = cayley_table(group)
    inverses = (table == 0).int().argmax(1)
    x = seed % (group.order or 1)
    moved = fourier.forward(f[:, table[inverses[x]]])
    for i, (one, other) in enumerate(zip(moved, fourier.forward(f), strict=True)):
        torch.testing.assert_close(one, fourier.matrices(i)[x] @ other, rtol=0, atol=1e-10)


def test_batches_of_any_shape():
    fourier = reps.GroupFourier(Quaternion())
    f = torch.randn(2, 0, 3, 8)
    blocks = fourier.forward(f)
    assert [tuple(b.shape) for b in blocks] == [(2, 0, 3, 4, 1, 1), (2, 0, 3, 1, 2, 2)]
    assert fourier.inverse(blocks).shape == f.shape
    assert fourier.inverse(fourier.forward(torch.ones(8))).shape == (8,)


def test_bad_input_is_named():
    fourier = reps.GroupFourier(Symmetric(3))
    with pytest.raises(InputError, match=r"one value an element; got \(4, 5\)"):
        fourier.forward(torch.ones(4, 5))
    with pytest.raises(InputError, match="float32 or float64, got torch.complex64"):
        fourier.forward(torch.ones(6, dtype=torch.complex64))
    with pytest.raises(InputError, match="end in the shapes"):
        fourier.inverse(fourier.forward(torch.ones(6))[:1])
    with pytest.raises(InputError, match="there is no 2"):
        fourier.matrices(2)
    with pytest.raises(InputError, match="not finite"):
        reps.GroupFourier(O(2))
