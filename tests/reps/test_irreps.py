"""Irreducible representations, characters, decompositions: exact counts and closed values."""

from __future__ import annotations

import math

import pytest
import torch

from equilearn import reps
from equilearn._check import InputError
from equilearn.groups import SL, SO, Abelian, Alternating, Cyclic, Dihedral, Group, Lorentz, O, Quaternion, Symmetric

DEGREES = [
    (Cyclic(1), (1,)),
    (Cyclic(6), (1,) * 6),
    (Cyclic(7), (1,) * 7),
    (Dihedral(3), (1, 1, 2)),
    (Dihedral(4), (1, 1, 1, 1, 2)),
    (Dihedral(5), (1, 1, 2, 2)),
    (Dihedral(6), (1, 1, 1, 1, 2, 2)),
    (Symmetric(4), (1, 1, 2, 3, 3)),
    (Symmetric(5), (1, 1, 4, 4, 5, 5, 6)),
    (Alternating(5), (1, 3, 3, 4, 5)),
    (Quaternion(), (1, 1, 1, 1, 2)),
    (Abelian((2, 4)), (1,) * 8),
    (Symmetric(3) * Cyclic(2), (1, 1, 1, 1, 2, 2)),
]


@pytest.mark.parametrize(("group", "degrees"), DEGREES, ids=[str(g) for g, _ in DEGREES])
def test_character_tables(group: Group, degrees: tuple[int, ...]):
    table = reps.character_table(group)
    assert table.degrees == degrees
    assert sum(d * d for d in table.degrees) == group.order
    assert int(table.class_sizes.sum()) == group.order
    weight = table.class_sizes.to(torch.complex128) / group.order
    one = torch.eye(len(degrees), dtype=torch.complex128)
    torch.testing.assert_close(table.characters * weight @ table.characters.mH, one, rtol=0, atol=1e-12)
    columns = table.characters.mH @ table.characters * weight
    torch.testing.assert_close(columns, one, rtol=0, atol=1e-10)
    torch.testing.assert_close(table.characters[0], torch.ones(len(degrees), dtype=torch.complex128))


def test_the_golden_ratio_in_the_icosahedral_table():
    table = reps.character_table(Alternating(5))
    values = sorted({round(float(v), 9) for v in table.characters[1].real})
    assert values == pytest.approx([-1.0, (1 - 5**0.5) / 2, 0.0, (1 + 5**0.5) / 2, 3.0], abs=1e-8)
    g = Alternating(5).sample((6,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(table.of(g)[3].real, reps.permutation(Alternating(5)).character(g) - 1)


@pytest.mark.parametrize(("group", "degrees"), DEGREES, ids=[str(g) for g, _ in DEGREES])
def test_real_irreps_are_complete_and_irreducible(group: Group, degrees: tuple[int, ...]):
    found = reps.irreps(group)
    sizes = {"real": 1, "complex": 2, "quaternionic": 4}
    assert sum(rep.dim**2 // sizes[reps.irrep_type(rep)] for rep in found) == group.order
    table = reps.character_table(group)
    real = sum(i == 1 for i in table.indicators) + sum(i == -1 for i in table.indicators)
    assert len(found) == real + sum(i == 0 for i in table.indicators) // 2
    everything = group.elements()
    characters = torch.stack([rep.character(everything) for rep in found])
    gram = characters @ characters.mT / group.order
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-9)
    assert all(torch.equal(rep.matrix(everything), again.matrix(everything)) for rep, again in pairs(group))


def pairs(group: Group) -> list[tuple[reps.Rep, reps.Rep]]:
    first, second = reps.irreps(group), reps.irreps(group)
    assert first == second
    return list(zip(first, second, strict=True))


def test_types():
    assert reps.irrep_type(reps.irreps(Quaternion())[-1]) == "quaternionic"
    assert reps.irreps(Quaternion())[-1].dim == 4
    assert reps.irrep_type(reps.irrep(SO(2), 3)) == "complex"
    assert reps.irrep_type(reps.irrep(O(2), 3)) == "real"
    assert reps.irrep_type(reps.irrep(SO(3), 3)) == "real"
    V = reps.defining(SO(3))
    with pytest.raises(InputError, match="not irreducible: 4"):
        reps.irrep_type(2 * V)
    with pytest.raises(InputError, match="not irreducible: 2"):
        reps.irrep_type(V + reps.trivial(SO(3)))


def test_closed_forms_agree_with_the_numerical_ones():
    """The same group seen as a table: the same characters."""
    from equilearn.groups import FiniteGroup, cayley_table

    for group in (Dihedral(6), Cyclic(5)):
        twin = FiniteGroup.from_table(cayley_table(group))
        indices = torch.arange(group.order)

        def values(g: Group, indices: torch.Tensor = indices) -> list[list[float]]:
            found = (rep.character(g.elements()) for rep in reps.irreps(g))
            return sorted([round(v, 8) + 0.0 for v in character.tolist()] for character in found)

        for mine, theirs in zip(values(group), values(twin), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-7)


# --- harmonics ------------------------------------------------------------------------------


def test_degree_one_is_the_defining_representation():
    for group in (SO(3), O(3), SO(2), O(2)):
        g = group.sample((20,), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(reps.irrep(group, 1).matrix(g), g, rtol=0, atol=1e-14)


def test_harmonics_are_those_of_degree_two():
    """In the convention with polar axis y: xy, yz, ... rotate as functions do."""
    generator = torch.Generator().manual_seed(0)
    g = SO(3).sample((8,), generator=generator)
    v = torch.randn(8, 3, generator=generator, dtype=torch.float64)

    def harmonics(p: torch.Tensor) -> torch.Tensor:
        x, y, z = p.unbind(-1)
        s = 3**0.5
        return torch.stack([s * x * z, s * x * y, y * y - (x * x + z * z) / 2, s * y * z, s / 2 * (z * z - x * x)], -1)

    moved = harmonics((g @ v.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(reps.irrep(SO(3), 2).apply(g, harmonics(v)), moved, rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", range(9))
def test_characters_of_rotations(degree: int):
    """sin((l + 1/2) a) / sin(a / 2), and exact orthogonality, at the poles too."""
    angle = torch.tensor([1e-9, 0.3, math.pi / 2, 2.0, math.pi - 1e-9], dtype=torch.float64)
    for axis in range(3):
        coefficients = torch.zeros(len(angle), 3, dtype=torch.float64)
        coefficients[:, axis] = angle
        lie = SO(3).lie_basis()[axis]
        speed = float(torch.linalg.matrix_norm(lie, 2))
        g = SO(3).exp(coefficients / speed)
        rep = reps.irrep(SO(3), degree)
        expected = ((degree + 0.5) * angle).sin() / (angle / 2).sin()
        torch.testing.assert_close(rep.character(g), expected, rtol=0, atol=1e-7 if degree else 1e-12)
        matrix = rep.matrix(g)
        one = torch.eye(rep.dim, dtype=torch.float64).expand_as(matrix)
        torch.testing.assert_close(matrix @ matrix.mT, one, rtol=0, atol=1e-12)


def test_parity_of_harmonics():
    inversion = -torch.eye(3, dtype=torch.float64)
    for degree in range(4):
        rep = reps.irrep(O(3), degree)
        expected = (-1) ** degree * torch.eye(rep.dim, dtype=torch.float64)
        torch.testing.assert_close(rep.matrix(inversion), expected, rtol=0, atol=1e-12)
    assert [str(rep) for rep in reps.irreps(O(3), 2)] == ["0e", "0o", "1e", "1o", "2e", "2o"]


def test_quarter_turns_are_exact():
    for n in (4, 8, 12):
        for degree in range(n // 2 + 1):
            rep = reps.irrep(Dihedral(n), degree)
            matrices = rep.matrix(torch.arange(0, 2 * n, n // 4))
            assert set(matrices.flatten().tolist()) <= {-1.0, 0.0, 1.0}


# --- decompositions -------------------------------------------------------------------------


def check(rep: reps.Rep) -> reps.Decomposition:
    parts = reps.decompose(rep)
    g = rep.group.sample((5,), generator=torch.Generator().manual_seed(0))
    left, right = rep.matrix(g) @ parts.basis, parts.basis @ parts.rep.matrix(g)
    torch.testing.assert_close(left, right, rtol=0, atol=1e-9 * max(1.0, float(left.abs().max())))
    assert sum(m * irrep.dim for m, irrep in zip(parts.multiplicities, parts.irreps, strict=True)) == rep.dim
    if rep.is_orthogonal:
        one = torch.eye(rep.dim, dtype=torch.float64)
        torch.testing.assert_close(parts.basis.mT @ parts.basis, one, rtol=0, atol=1e-10)
    else:
        assert float(torch.linalg.cond(parts.basis)) < 1e3
    return parts


def test_the_regular_representation_holds_every_irrep():
    assert check(reps.regular(Alternating(5))).multiplicities == (1, 3, 3, 4, 5)
    assert check(reps.regular(Dihedral(4))).multiplicities == (1, 1, 2, 1, 1)
    assert check(reps.regular(Cyclic(6))).multiplicities == (1, 1, 1, 1)
    assert check(3 * reps.regular(Quaternion())).multiplicities == (3, 3, 3, 3, 3)


def test_clebsch_gordan():
    V = reps.defining(SO(3))
    assert str(check(V * V * V).rep) == "0 + 3 * 1 + 2 * 2 + 3"
    assert str(check(reps.symmetric_power(V, 3)).rep) == "1 + 3"
    assert str(check(reps.irrep(SO(3), 2) * reps.irrep(SO(3), 3)).rep) == "1 + 2 + 3 + 4 + 5"
    W = reps.defining(O(2))
    assert str(check(W * W).rep) == "0 + 0' + 2"
    assert str(check(reps.irrep(SO(2), 5) * reps.irrep(SO(2), 3)).rep) == "2 + 8"
    forms = reps.defining(SL(2))
    product = reps.symmetric_power(forms, 3) * reps.symmetric_power(forms, 2)
    assert [irrep.dim for irrep in check(product).irreps] == [2, 4, 6]


def test_permutations_of_points():
    parts = check(reps.permutation(Symmetric(5)))
    assert [(m, irrep.dim) for m, irrep in parts.rep.terms()] == [(1, 1), (1, 4)]


def test_what_cannot_be_decomposed_says_so():
    with pytest.raises(InputError, match="not built in"):
        reps.decompose(reps.defining(Lorentz(1, 3)))
    with pytest.raises(InputError, match="Only 4 of the 9 dimensions.*up to degree 1"):
        reps.decompose(reps.defining(SO(3)) * reps.defining(SO(3)), max_degree=1)


# --- symmetric powers -----------------------------------------------------------------------


def test_binary_forms():
    """R_d(diag(a, 1/a)) = diag(a^(2k-d)); det R_d = 1; cond R_d = cond^d in this (Bombieri) basis."""
    V = reps.defining(SL(2))
    a = torch.tensor([[2.0, 0], [0, 0.5]], dtype=torch.float64)
    g = SL(2).sample((4,), generator=torch.Generator().manual_seed(0))
    for degree in (2, 4, 6):
        rep = reps.symmetric_power(V, degree)
        expected = torch.tensor([2.0 ** (degree - 2 * k) for k in range(degree + 1)], dtype=torch.float64)
        torch.testing.assert_close(rep.matrix(a), torch.diag(expected))
        torch.testing.assert_close(torch.linalg.det(rep.matrix(g)), torch.ones(4, dtype=torch.float64))
        torch.testing.assert_close(
            torch.linalg.cond(rep.matrix(g)), torch.linalg.cond(g) ** degree, rtol=1e-6, atol=1e-9
        )
        [form] = reps.invariants(rep * rep).unflatten(-1, (rep.dim, rep.dim))
        torch.testing.assert_close(form, form.mT)  # symmetric for even degree, (-1)^k on the antidiagonal
        signs = form.flip(-1).diagonal() * rep.dim**0.5
        torch.testing.assert_close(signs * signs[0], torch.tensor([(-1.0) ** k for k in range(rep.dim)]).double())


# --- bad input ------------------------------------------------------------------------------


def test_bad_input_is_named():
    with pytest.raises(InputError, match="infinitely many"):
        reps.irreps(SO(3))
    with pytest.raises(InputError, match="not built in"):
        reps.irreps(SO(4), 2)
    with pytest.raises(InputError, match="no irreducible representation of degree 4"):
        reps.irrep(Cyclic(6), 4)
    with pytest.raises(InputError, match="degree 1 and parity -1"):
        reps.irrep(O(2), 1, parity=-1)
    with pytest.raises(InputError, match="parity must be 1 or -1, got 2"):
        reps.irrep(O(3), 1, parity=2)
    with pytest.raises(InputError, match="5 irreducible representations; there is no 9"):
        reps.irrep(Symmetric(4), 9)
    with pytest.raises(InputError, match="up to 1500"):
        reps.irreps(Symmetric(7))
    with pytest.raises(InputError, match="not finite"):
        reps.character_table(SO(3))
