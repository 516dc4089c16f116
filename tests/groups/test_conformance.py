"""Every group of the catalogue keeps its laws; every kind of broken group is caught."""

from __future__ import annotations

import pytest
import torch

from equilearn.groups import (
    GL,
    SL,
    SO,
    Cyclic,
    Dihedral,
    FiniteGroup,
    O,
    Product,
    Symmetric,
    Translation,
    parse,
)
from equilearn.testing import CheckFailed, check_group

# fmt: off
NAMES = [
    "C1", "C2", "C4", "C7", "D1", "D2", "D4", "D5", "Q8", "Q12", "S1", "S2", "S4", "S7", "S20", "A1", "A2",
    "A3", "A4", "A5", "Abelian(2,4)", "Abelian(1,3)", "Dih(2,3)", "SO2", "SO3", "SO4", "O2", "O3", "O4", "SL2",
    "SL3", "GL1", "GL2", "GL3", "Lorentz11", "Lorentz13", "Lorentz31", "Lorentz22", "T1", "T3", "SE2", "SE3",
    "E2", "E3", "Scaling", "Scaling3", "SO3xS5", "C4xT2", "C2xSO2xS3", "D3xC2",
]
# fmt: on

OTHERS = {
    "square": lambda: FiniteGroup.from_permutations([[1, 2, 3, 0], [0, 3, 2, 1]]),
    "C5 of matrices": lambda: FiniteGroup.from_matrices(SO(3).rotation(2 * torch.pi / 5, axis=2).unsqueeze(0)),
    "SL2, kappa in [2, 3]": lambda: SL(2, condition=(2.0, 3.0)),
    "SL3, kappa < 5": lambda: SL(3, condition=5.0),
    "GL2, kappa in [2, 3]": lambda: GL(2, condition=(2.0, 3.0)),
}


@pytest.mark.parametrize("name", NAMES)
def test_catalogue_keeps_its_laws(name, dtype):
    check_group(parse(name), dtype=dtype)


@pytest.mark.parametrize("name", OTHERS)
def test_other_groups_keep_their_laws(name, dtype):
    check_group(OTHERS[name](), dtype=dtype)


# --- broken groups ----------------------------------------------------------------------


class NotAssociative(Cyclic):
    def compose(self, g, h):
        return torch.where((g == 2) & (h == 3), 1, (g + h) % self.n)


class WrongInverse(Dihedral):
    def inverse(self, g):
        return torch.where(g < self.n, (-g) % self.n, (g + 1) % self.n + self.n)


class WrongIdentity(SO):
    def identity(self, batch=(), *, dtype=torch.float64, device=None):
        return -super().identity(batch, dtype=dtype, device=device)


class NoSignFix(O):
    def sample(self, batch=(), *, generator=None, dtype=torch.float64, device=None):
        shape = (batch,) if isinstance(batch, int) else tuple(batch)
        return torch.linalg.qr(torch.randn(*shape, self.n, self.n, generator=generator, dtype=torch.float64)).Q.to(
            dtype
        )


class GlobalNoise(Cyclic):
    def sample(self, batch=(), *, generator=None, dtype=torch.float64, device=None):
        shape = (batch,) if isinstance(batch, int) else tuple(batch)
        return torch.randint(self.n, shape)


class Biased(Cyclic):
    def sample(self, batch=(), *, generator=None, dtype=torch.float64, device=None):
        g = super().sample(batch, generator=generator)
        return torch.where(g == 3, 2, g)


class NotAbelian(Dihedral):
    @property
    def is_abelian(self):
        return True


class ShyAbelian(Cyclic):
    @property
    def is_abelian(self):
        return False


class ContainsAll(SO):
    def contains(self, g, tolerance=1e-6):
        return torch.ones(g.shape[:-2], dtype=torch.bool)


class WrongExp(SO):
    def exp(self, coefficients):
        return super().exp(coefficients).mT


class ExpOutside(Translation):
    def exp(self, coefficients):
        return super().exp(coefficients) * (1 + coefficients.square().sum(-1)[..., None, None])


class NanGradient(SO):
    def exp(self, coefficients):
        angle = torch.linalg.vector_norm(coefficients, dim=-1, keepdim=True)
        return super().exp(coefficients) + 0 * (angle.sqrt() * 0).unsqueeze(-1)


class TooManyDirections(SO):
    @property
    def lie_dim(self):
        return 2

    def lie_basis(self):
        return super().lie_basis().repeat(2, 1, 1)

    def exp(self, coefficients):
        return super(SO, self).rotation(coefficients.sum(-1))


class FewGenerators(Dihedral):
    def generators(self):
        return super().generators()[:1]


class WrongOrder(Symmetric):
    def elements(self):
        return super().elements().flip(0)


class WrongIndex(Symmetric):
    def index_of(self, g):
        return super().index_of(g).flip(-1) if g.ndim > 1 else super().index_of(g)


class FlatDistance(SO):
    def distance(self, g, h):
        return torch.zeros(torch.broadcast_shapes(g.shape[:-2], h.shape[:-2]), dtype=torch.float64)


class NotSymmetricDistance(SO):
    def distance(self, g, h):
        return super().distance(g, h) * (1 + g[..., 0, 0].square())


class OneBatch(SO):
    def compose(self, g, h):
        return torch.bmm(g.reshape(-1, self.n, self.n), h.reshape(-1, self.n, self.n).expand(len(g), -1, -1))


class Float64Only(SO):
    def inverse(self, g):
        return g.mT.to(torch.float64)


class Perturbed(SO):
    """Off by 1e-7: seen in float64, not in float32."""

    def compose(self, g, h):
        return (g @ h) * (1 + 1e-7)


BROKEN = [
    (NotAssociative(5), "associativity|g\\^-1"),
    (WrongInverse(3), "g g\\^-1 = e"),
    (WrongIdentity(3), "not contained|e g = g"),
    (NoSignFix(3), "not Haar"),
    (GlobalNoise(5), "global generator"),
    (Biased(5), "not uniform"),
    (NotAbelian(3), "g h = h g"),
    (ShyAbelian(5), "every pair of elements commutes"),
    (ContainsAll(3), "holds NaN"),
    (WrongExp(3), "matrix_exp"),
    (ExpOutside(2), "exp"),
    (NanGradient(3), "gradient of exp at zero is not finite"),
    (TooManyDirections(2), "independent directions"),
    (FewGenerators(4), "generate 4 of 8"),
    (WrongOrder(3), "begins with the identity"),
    (WrongIndex(3), "index_of does not undo"),
    (FlatDistance(3), "zero between different elements"),
    (NotSymmetricDistance(3), "distance lacks symmetry"),
    (Perturbed(3), "relative"),
]


@pytest.mark.parametrize(("group", "law"), BROKEN, ids=lambda value: type(value).__name__)
def test_broken_groups_are_caught(group, law):
    with pytest.raises(CheckFailed, match=law):
        check_group(group)


def test_a_broken_factor_breaks_the_product():
    with pytest.raises(CheckFailed, match=r"g g\^-1 = e"):
        check_group(Product(SO(2), WrongInverse(3)))


def test_wrong_dtype_is_caught():
    with pytest.raises(CheckFailed, match="dtype"):
        check_group(Float64Only(3), dtype=torch.float32)


def test_wrong_batches_are_caught():
    with pytest.raises((CheckFailed, RuntimeError)):
        check_group(OneBatch(3))


def test_tolerance_is_used():
    check_group(Perturbed(3), tolerance=1e-5)
