"""The laws of every representation, and that the check catches broken ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from equilearn import reps
from equilearn._check import InputError
from equilearn.groups import (
    GL,
    SL,
    SO,
    Abelian,
    Alternating,
    Cyclic,
    Dihedral,
    Element,
    Euclidean,
    FiniteGroup,
    Group,
    Lorentz,
    O,
    Quaternion,
    Scaling,
    SpecialEuclidean,
    Symmetric,
    Translation,
)
from equilearn.reps import Rep
from equilearn.testing import CheckFailed, check_representation

SQUARE = FiniteGroup.from_permutations(torch.tensor([[1, 2, 3, 0], [0, 3, 2, 1]]))
TURNS = FiniteGroup.from_matrices(torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64))

DEFINING = [
    SO(2), SO(3), SO(4), O(2), O(3), SL(2), SL(3), GL(2), Lorentz(1, 3), Lorentz(1, 1), Translation(2), Euclidean(2),
    SpecialEuclidean(3), Scaling(2), Cyclic(1), Cyclic(2), Cyclic(5), Dihedral(1), Dihedral(4), Symmetric(1),
    Symmetric(4), Alternating(4), SQUARE, TURNS,
]  # fmt: skip
FINITE = [
    Cyclic(1), Cyclic(2), Cyclic(5), Cyclic(6), Dihedral(1), Dihedral(2), Dihedral(3), Dihedral(4), Quaternion(),
    Abelian((2, 4)), Symmetric(3), Alternating(4), SQUARE, Cyclic(3) * Symmetric(3),
]  # fmt: skip
CLOSED = [Cyclic(1), Cyclic(2), Cyclic(7), Dihedral(1), Dihedral(2), Dihedral(5), Dihedral(6), SO(2), O(2), O(3), SL(2)]


def derived(rep: Rep) -> list[Rep]:
    one = reps.trivial(rep.group)
    return [
        rep, rep.dual, rep + one, one + 2 * rep, 3 * rep, rep * rep, (2 * rep + one) * rep, rep * (rep + one),
        reps.symmetric_power(rep, 2), reps.trivial(rep.group, 3), 0 * rep,
    ]  # fmt: skip


@pytest.mark.parametrize("group", DEFINING, ids=str)
def test_defining_and_what_is_made_of_it(group: Group):
    for rep in derived(reps.defining(group)):
        check_representation(rep)


@pytest.mark.parametrize("group", FINITE, ids=str)
def test_regular(group: Group):
    rep = reps.regular(group)
    check_representation(rep)
    check_representation(rep + rep)
    assert rep.dim == group.order
    assert float(rep.character(group.identity())) == group.order


@pytest.mark.parametrize("group", CLOSED, ids=str)
def test_closed_irreps(group: Group):
    for rep in reps.irreps(group, 6):
        check_representation(rep)


@pytest.mark.parametrize("group", [SO(3), O(3)], ids=str)
def test_harmonics_of_high_degree(group: Group):
    for rep in reps.irreps(group, 10)[-2:]:
        check_representation(rep, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("group", [Quaternion(), Alternating(4), Symmetric(4), Abelian((2, 4)), SQUARE], ids=str)
def test_numerical_irreps(group: Group):
    for rep in reps.irreps(group):
        check_representation(rep)


def test_pullbacks():
    group = SO(3) * Symmetric(3) * SL(2)
    V = reps.factor(group, 0, reps.defining(SO(3)))
    P = reps.factor(group, 1, reps.permutation(Symmetric(3)))
    W = reps.factor(group, 2, reps.defining(SL(2)))
    for rep in (V, P, W, V * P, P * P, V + W, W.dual * P, reps.factor(group, 0, 2 * reps.defining(SO(3)))):
        check_representation(rep)
    assert P.is_permutation
    assert not W.is_orthogonal


def planar_turn(g: Tensor) -> Tensor:
    out = torch.zeros(*g.shape[:-2], 3, 3, dtype=g.dtype, device=g.device)
    out[..., :2, :2] = g
    out[..., 2, 2] = 1
    return out


def test_restriction():
    V = reps.defining(SO(3))
    down = reps.restrict(V * V + V, SO(2), planar_turn)
    check_representation(down)
    assert len(reps.invariants(reps.restrict(V, SO(2), planar_turn))) == 1
    # V(3) of SO(3) holds every weight from -3 to 3 once.
    parts = reps.decompose(reps.restrict(reps.irrep(SO(3), 3), SO(2), planar_turn))
    assert parts.multiplicities == (1, 1, 1, 1)
    swaps = reps.restrict(reps.permutation(Symmetric(3)), Cyclic(3), lambda k: (k[..., None] + torch.arange(3)) % 3)
    check_representation(swaps)
    assert swaps.is_permutation
    with pytest.raises(InputError, match="not a homomorphism"):
        reps.restrict(reps.permutation(Symmetric(3)), Cyclic(4), lambda k: (k[..., None] + torch.arange(3)) % 3)


def test_from_function():
    sign = reps.from_function(O(3), lambda g: torch.linalg.det(g)[..., None, None], name="det")
    check_representation(sign)
    assert sign.is_orthogonal
    assert repr(sign) == "det"
    weight = reps.from_function(GL(2), lambda g: torch.linalg.det(g).abs().sqrt()[..., None, None])
    check_representation(weight)
    trace = torch.einsum("kii->k", GL(2).lie_basis().to(torch.float64))
    torch.testing.assert_close(weight.lie_matrices().flatten(), trace / 2, rtol=0, atol=1e-12)
    adjoint = reps.from_function(SL(2), lambda g: torch.kron(g, torch.linalg.inv(g).mT) if g.ndim == 2 else kron(g))
    check_representation(adjoint)
    assert len(reps.invariants(adjoint)) == 1
    with pytest.raises(InputError, match="not a representation of SL2"):
        reps.from_function(SL(2), lambda g: g.mT)
    with pytest.raises(InputError, match="it gave \\(1, 2\\)"):
        reps.from_function(SL(2), lambda g: g[..., 0])
    with pytest.raises(InputError, match="complex"):  # casting would leave a cosine, silently
        reps.from_function(SO(2), lambda g: torch.complex(g[..., :1, :1], g[..., 1:, :1]), name="wave")


def kron(g: Tensor) -> Tensor:
    inverse = torch.linalg.inv(g).mT
    return torch.einsum("...ij,...kl->...ikjl", g, inverse).flatten(-4, -3).flatten(-2)


@given(st.integers(0, 10_000), st.sampled_from([SO(3), Dihedral(3), Symmetric(3), SL(2)]), st.integers(0, 4))
def test_apply_broadcasts_and_takes_empty_batches(seed: int, group: Group, size: int):
    generator = torch.Generator().manual_seed(seed)
    V = reps.defining(group)
    for rep in (V, V * V, V + V * V, 2 * V):
        v = torch.randn(size, rep.dim, generator=generator, dtype=torch.float64)
        g = group.sample((3, 1), generator=generator)
        moved = rep.apply(g, v)
        assert moved.shape == (3, size, rep.dim)
        back = rep.apply(group.inverse(g), moved)
        torch.testing.assert_close(back, v.expand_as(back), rtol=1e-6, atol=1e-6)


def test_algebra_is_flat_and_hashable():
    V, one = reps.defining(SO(3)), reps.trivial(SO(3))
    assert (V + V + one).terms() == ((2, V), (1, one))
    assert (2 * (3 * V)).terms() == ((6, V),)
    assert (2 * (V + one)).terms() == ((1, V), (1, one), (1, V), (1, one))
    assert ((2 * V + one) * V).terms() == ((2, V * V), (1, one * V))
    assert 1 * V is V
    assert V * 2 == 2 * V
    assert len({V, reps.defining(SO(3)), V * V, reps.defining(SO(3)) * V}) == 2
    assert reps.defining(O(3)) != V
    assert V.dual is V
    W = reps.defining(SL(2))
    assert W.dual != W
    assert W.dual.dual == W
    assert (W * W).dual == W.dual * W.dual
    assert repr(4 * V + one) == "4 * V + 1"
    assert repr((V + one) * V) == "(V + 1) * V"
    assert reps.tensor_product(V) is V


def test_permutations_are_never_expanded():
    P = reps.permutation(Symmetric(300))
    rep = P * P + 2 * P  # a matrix of 90,600 x 90,600 would take 60 GiB
    g = Symmetric(300).sample((2,), generator=torch.Generator().manual_seed(0))
    v = torch.randn(2, rep.dim)
    torch.testing.assert_close(rep.apply(Symmetric(300).inverse(g), rep.apply(g, v)), v)


def test_dtype_follows_the_matrix_element(dtype: torch.dtype, tolerance: float):
    group = SO(3) * Symmetric(3)
    V = reps.factor(group, 0, reps.irrep(SO(3), 4))
    P = reps.factor(group, 1, reps.permutation(Symmetric(3)))
    rep = V * P + P + V
    g, h = (group.sample((5,), generator=torch.Generator().manual_seed(i), dtype=dtype) for i in range(2))
    assert rep.matrix(g).dtype == dtype
    both = rep.matrix(g) @ rep.matrix(h)
    torch.testing.assert_close(both, rep.matrix(group.compose(g, h)), rtol=0, atol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu():
    group = O(3) * Symmetric(3)
    V = reps.factor(group, 0, reps.irrep(O(3), 2))
    R = reps.factor(group, 1, reps.irreps(Symmetric(3))[-1])
    for rep in (V, R, V * R + R, reps.trivial(group), reps.factor(group, 1, reps.regular(Symmetric(3)))):
        g = group.sample((4,), generator=torch.Generator().manual_seed(0))
        there = group.to(g, device="cuda")
        torch.testing.assert_close(rep.matrix(there).cpu(), rep.matrix(g))
        v = torch.randn(4, rep.dim)
        torch.testing.assert_close(rep.apply(there, v.cuda()).cpu(), rep.apply(g, v))
        torch.testing.assert_close(rep.apply(g, v.cuda()).cpu(), rep.apply(g, v))


def test_bad_input_is_named():
    V = reps.defining(SO(3))
    with pytest.raises(InputError, match=r"V belongs to SO3, P to S3.*factor"):
        V + reps.permutation(Symmetric(3))
    with pytest.raises(InputError, match=">= 0, got -1"):
        V * -1
    with pytest.raises(InputError, match="at least one"):
        reps.direct_sum()
    with pytest.raises(InputError, match="has no defining representation of its own"):
        reps.defining(SO(3) * Symmetric(3))
    with pytest.raises(InputError, match=r"Use reps\.regular"):
        reps.permutation(Quaternion())
    with pytest.raises(InputError, match="not finite"):
        reps.regular(SO(3))
    with pytest.raises(InputError, match="there is no factor 2"):
        reps.factor(SO(3) * Symmetric(3), 2, V)
    with pytest.raises(InputError, match="but V is a representation of SO3"):
        reps.factor(SO(3) * Symmetric(3), 1, V)
    with pytest.raises(InputError, match="not a product"):
        reps.factor(SO(3), 0, V)
    with pytest.raises(TypeError, match="is not a permutation representation"):
        V.permutation(SO(3).identity())


# --- the checker ----------------------------------------------------------------------------


class Broken(Rep):
    """The defining representation of SO(3), spoilt in one way."""

    def __init__(self, fault: str):
        self.group = SO(3)
        self.dim = 3
        self.fault = fault
        self._sound = reps.defining(SO(3))

    @property
    def name(self) -> str:
        return self.fault

    @property
    def _key(self) -> tuple[str]:
        return (self.fault,)

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return self.fault == "permutation"

    def permutation(self, g: Element) -> Tensor:
        if not self.is_permutation:
            return super().permutation(g)
        return torch.arange(3).expand(*g.shape[:-2], 3)

    def matrix(self, g: Element) -> Tensor:
        faults = {
            "order": lambda: g.mT,
            "scale": lambda: 1.001 * g,
            "orthogonal": lambda: SHEAR @ g.to(torch.float64) @ torch.linalg.inv(SHEAR),
            "dtype": lambda: g.to(torch.float32),
            "nan": lambda: g * float("nan"),
            "noise": lambda: g + 1e-8,
        }
        return faults.get(self.fault, lambda: g)()

    def lie_matrices(self) -> Tensor:
        lie = self._sound.lie_matrices()
        return 2 * lie if self.fault == "derivative" else -lie if self.fault == "sign" else lie

    def apply(self, g: Element, v: Tensor) -> Tensor:
        return self._sound.apply(self.group.inverse(g) if self.fault == "apply" else g, v)

    def character(self, g: Element) -> Tensor:
        return 1 + super().character(g) if self.fault == "character" else super().character(g)

    def terms(self) -> tuple[tuple[int, Rep], ...]:
        return ((1, self), (1, self)) if self.fault == "terms" else ((1, self),)

    def generator_matrices(self) -> Tensor:
        return torch.eye(3)[None] if self.fault == "generators" else super().generator_matrices()


SHEAR = torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)


def test_the_check_passes_what_is_sound():
    check_representation(Broken("sound"))


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("order", "rho\\(gh\\) = rho\\(g\\) rho\\(h\\)"),
        ("scale", "rho\\(e\\) = 1"),
        ("orthogonal", "."),
        ("dtype", "float64"),
        ("nan", "rho\\(e\\) = 1"),
        ("noise", "rho\\(e\\) = 1"),
        ("derivative", "derivative"),
        ("sign", "derivative"),
        ("apply", "apply"),
        ("character", "trace"),
        ("terms", "6 dimensions together, not 3"),
        ("permutation", "p\\[i\\]"),
        ("generators", "generator_matrices"),
    ],
)
def test_the_check_catches(fault: str, law: str):
    with pytest.raises(CheckFailed, match=law):
        check_representation(Broken(fault))
