"""SL, GL, scalings, Lorentz and affine groups: their laws of sampling, their closed forms, their borders."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.groups import (
    GL,
    SL,
    SO,
    Euclidean,
    Lorentz,
    O,
    Scaling,
    SpecialEuclidean,
    Translation,
)

COUNT = 40_000
FALSE_ALARM = 1e-9
"""Of each statistical test, were its seed not fixed."""


def cumulative(kappa):
    """F(kappa) = 1 - 2 kappa / (1 + kappa^2), the law of a normalised Gaussian 2 x 2 matrix."""
    return 1 - 2 * kappa / (1 + kappa**2)


# --- SL(n) ------------------------------------------------------------------------------


def test_condition_numbers_follow_the_exact_law(generator):
    from scipy.stats import ks_1samp

    kappa = torch.linalg.cond(SL(2).sample(COUNT, generator=generator)).numpy()
    assert ks_1samp(kappa, cumulative).pvalue > FALSE_ALARM
    # P(kappa > 3) = 0.6, P(kappa > 10) = 20/101, median 2 + sqrt(3).
    for x, p in ((3.0, 0.6), (10.0, 20 / 101), (2 + math.sqrt(3), 0.5)):
        assert abs(float((kappa > x).mean()) - p) < 6.5 * math.sqrt(p * (1 - p) / COUNT)


def test_the_law_is_that_of_normalised_gaussians(generator):
    from scipy.stats import ks_2samp

    gaussian = torch.randn(COUNT, 2, 2, generator=generator, dtype=torch.float64)
    sign, log = torch.linalg.slogdet(gaussian)
    gaussian[:, 0] *= sign[:, None]
    gaussian *= (-log / 2).exp()[:, None, None]
    ours = SL(2).sample(COUNT, generator=generator)
    for i in range(2):
        for j in range(2):
            assert ks_2samp(gaussian[:, i, j], ours[:, i, j]).pvalue > FALSE_ALARM


@pytest.mark.parametrize("window", [(1.0, 2.0), (2.0, 3.0), (3.0, math.inf), (50.0, 50.5), (1.0, 1.0 + 1e-6)])
def test_windows_restrict_the_law(window, generator):
    from scipy.stats import ks_1samp

    group = SL(2, condition=window)
    kappa = torch.linalg.cond(group.sample(10_000, generator=generator))
    low, high = window
    slack = 1e-9 * low
    assert float(kappa.min()) >= low - slack and float(kappa.max()) <= high * (1 + 1e-9)
    f_low, f_high = cumulative(low), 1.0 if math.isinf(high) else cumulative(high)
    if f_high - f_low > 1e-6:
        assert ks_1samp(kappa.numpy(), lambda k: (cumulative(k) - f_low) / (f_high - f_low)).pvalue > FALSE_ALARM


def test_windows_cost_no_rejection(generator):
    """However narrow the window, as many numbers are drawn as there are parameters."""
    states = []
    for window in (None, (3.0, 3.001)):
        source = torch.Generator().manual_seed(5)
        SL(2).sample(100, generator=source, condition=window)
        states.append(source.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("family", [SL, GL])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_condition_is_bounded_in_any_dimension(family, n, generator):
    group = family(n, condition=(2.0, 5.0))
    kappa = torch.linalg.cond(group.sample(2_000, generator=generator))
    assert float(kappa.min()) >= 2.0 - 1e-9 and float(kappa.max()) <= 5.0 + 1e-9
    if family is GL or n > 2:  # log-uniform
        share = ((kappa.log() - math.log(2.0)) / math.log(2.5) < 0.5).double().mean()
        assert abs(float(share) - 0.5) < 6.5 * 0.5 / 2_000**0.5
    assert bool(group.contains(group.sample(100, generator=generator)).all())


@pytest.mark.parametrize("condition", [0.5, 1.0, (3.0, 2.0), (2.0, 2.0), (0.5, 2.0), math.nan])
@pytest.mark.parametrize("family", [SL, GL])
def test_empty_windows_are_refused(family, condition):
    with pytest.raises(InputError, match="condition must be"):
        family(2, condition=condition)


def test_half_open_windows_need_the_exact_law():
    with pytest.raises(InputError, match="needs an upper end"):
        SL(3, condition=(2.0, math.inf))
    with pytest.raises(InputError, match="needs an upper end"):
        GL(2, condition=(2.0, math.inf))


def test_the_window_is_part_of_the_group():
    assert SL(2) == SL(2) != SL(2, condition=3.0)
    assert SL(2, condition=3.0) == SL(2, condition=(1.0, 3.0))
    assert SL(2).name == SL(2, condition=3.0).name == "SL2"


def test_sl2_basis_is_h_e_f():
    h, e, f = SL(2).lie_basis()

    def bracket(a, b):
        return a @ b - b @ a

    assert torch.equal(bracket(h, e), 2 * e) and torch.equal(bracket(h, f), -2 * f) and torch.equal(bracket(e, f), h)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_sl_exponentials_have_determinant_one(n, generator):
    group = SL(n)
    a = torch.randn(50, group.lie_dim, generator=generator, dtype=torch.float64)
    assert torch.allclose(torch.linalg.det(group.exp(a)), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(group.lie_basis().diagonal(dim1=-2, dim2=-1).sum(-1), torch.zeros(1, dtype=torch.float64))


def test_membership_of_linear_groups():
    singular = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    matrices = torch.stack([torch.eye(2), -torch.eye(2), 2 * torch.eye(2), singular, torch.full((2, 2), torch.nan)])
    for given_matrices in (matrices, matrices.double()):
        assert SL(2).contains(given_matrices).tolist() == [True, True, False, False, False]
        assert GL(2).contains(given_matrices).tolist() == [True, True, True, False, False]
        assert Scaling(2).contains(given_matrices).tolist() == [True, False, True, False, False]
    with pytest.raises(InputError, match=r"3 of 5 given matrices.*SL2.*1 hold NaN.*det g = 1"):
        SL(2).validate(matrices)
    with pytest.raises(InputError, match="invertible"):
        GL(2).validate(matrices)
    # Ill-conditioned elements are elements.
    stretched = torch.diag(torch.tensor([1e6, 1e-6], dtype=torch.float64))
    assert bool(SL(2).contains(stretched)) and bool(GL(2).contains(stretched))


def test_gl_has_two_components(generator):
    det = torch.linalg.det(GL(3).sample(4_000, generator=generator))
    assert abs(float((det > 0).double().mean()) - 0.5) < 6.5 * 0.5 / 4_000**0.5
    assert float(torch.linalg.det(GL(3).generators()[0])) == -1.0


# --- scalings ---------------------------------------------------------------------------


def test_scalings_are_log_normal(generator):
    group = Scaling(3, spread=0.5)
    log = group.factor(group.sample(COUNT, generator=generator)).log()
    assert abs(float(log.mean())) < 6.5 * 0.5 / COUNT**0.5
    assert abs(float(log.std()) - 0.5) < 6.5 * 0.5 / (2 * COUNT) ** 0.5
    assert torch.allclose(group.exp(torch.tensor([[0.5]])), math.exp(0.5) * torch.eye(3))
    with pytest.raises(InputError, match="must be positive"):
        group.from_factor(torch.tensor([1.0, -1.0]))
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="spread"):
            Scaling(2, spread=bad)


# --- Lorentz ----------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
def test_lorentz_elements_preserve_the_metric(p, q, seed):
    group = Lorentz(p, q)
    source = torch.Generator().manual_seed(seed)
    eta = group.metric
    assert torch.equal(eta.diagonal(), torch.tensor([1.0] * p + [-1.0] * q, dtype=torch.float64))
    for g in (group.sample(20, generator=source), group.exp(torch.randn(20, group.lie_dim, generator=source).double())):
        size = g.square().sum((-2, -1)).max()
        assert float((g.mT @ eta @ g - eta).abs().max()) < 1e-13 * size
        assert bool(group.contains(g).all())
        x, y = torch.randn(2, 20, p + q, generator=source, dtype=torch.float64)
        moved = group.product((g @ x[..., None])[..., 0], (g @ y[..., None])[..., 0])
        assert float((moved - group.product(x, y)).abs().max()) < 1e-12 * size


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 2**31))
def test_boosts_add_their_rapidities(r, s, seed):
    for group in (Lorentz(1, 3), Lorentz(3, 1), Lorentz(1, 1)):
        axis = torch.randn(group.n - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        product = group.compose(group.boost(r, axis), group.boost(s, axis))
        assert torch.allclose(product, group.boost(r + s, axis), rtol=1e-12, atol=1e-11 * math.cosh(6))
        assert bool(group.contains(product))
        assert torch.allclose(group.inverse(group.boost(r, axis)), group.boost(-r, axis))


def test_boost_conventions():
    r = 0.7
    group = Lorentz(1, 3)
    for axis in range(3):
        moved = group.boost(r, axis)[:, 0]
        expected = torch.zeros(4, dtype=torch.float64)
        expected[0], expected[1 + axis] = math.cosh(r), math.sinh(r)
        assert torch.allclose(moved, expected)
    # The last three basis elements are the boosts along x, y, z; the first three rotations.
    a = torch.zeros(6, dtype=torch.float64)
    a[3] = r
    assert torch.allclose(group.exp(a), group.boost(r, 0))
    assert torch.equal(group.lie_basis()[:3, 0], torch.zeros(3, 4, dtype=torch.float64))
    # Time last for Lorentz(3, 1).
    moved = Lorentz(3, 1).boost(r, 2)[:, 3]
    assert torch.allclose(moved, torch.tensor([0, 0, math.sinh(r), math.cosh(r)], dtype=torch.float64))
    many = group.boost(torch.rand(5, 2), torch.rand(2, 3) + 0.1)
    assert many.shape == (5, 2, 4, 4) and many.dtype == torch.float32 and bool(group.contains(many).all())


def test_boost_refusals():
    with pytest.raises(InputError, match="no single time direction"):
        Lorentz(2, 2).boost(1.0)
    for axis in (3, -1, torch.ones(4), (0, 1)):
        with pytest.raises(InputError, match="axis"):
            Lorentz(1, 3).boost(1.0, axis)
    with pytest.raises(InputError, match="length zero"):
        Lorentz(1, 3).boost(1.0, torch.zeros(3))
    with pytest.raises(InputError, match="rapidity"):
        Lorentz(1, 3, rapidity=0.0)
    with pytest.raises(InputError, match="whole number >= 1"):
        Lorentz(0, 3)


def test_rapidities_have_the_stated_scale(generator):
    from scipy.stats import kstest

    for group, options, scale in ((Lorentz(1, 3), {}, 1.0), (Lorentz(1, 3), {"rapidity": 0.3}, 0.3)):
        g = group.sample(10_000, generator=generator, **options)
        rapidity = torch.acosh(g[:, 0, 0].clamp_min(1.0)).numpy()
        assert kstest(rapidity / scale, "halfnorm").pvalue > FALSE_ALARM
    assert Lorentz(1, 3) != Lorentz(1, 3, rapidity=0.3)


def test_other_components_are_not_contained():
    flips = [(1, 1, 1, 1), (-1, 1, 1, 1), (1, -1, 1, 1), (-1, -1, 1, 1), (1, -1, -1, 1)]
    matrices = torch.stack([torch.diag(torch.tensor(f, dtype=torch.float64)) for f in flips])
    assert Lorentz(1, 3).contains(matrices).tolist() == [True, False, False, False, True]
    with pytest.raises(InputError, match=r"3 of 5 given matrices do not lie in Lorentz13.*eta"):
        Lorentz(1, 3).validate(matrices)
    nan = torch.full((4, 4), torch.nan)
    assert not bool(Lorentz(1, 3).contains(nan))
    assert not bool(Lorentz(1, 3).contains(2 * torch.eye(4)))


# --- affine groups ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "group", [Translation(1), Translation(3), SpecialEuclidean(2), SpecialEuclidean(3), Euclidean(2)]
)
def test_affine_elements_move_points(group, generator):
    d = group.dimension
    g, h = group.sample((2, 20), generator=generator)
    x = torch.randn(20, d, generator=generator, dtype=torch.float64)
    assert torch.allclose(group.move(group.compose(g, h), x), group.move(g, group.move(h, x)))
    assert torch.allclose(group.move(group.inverse(g), group.move(g, x)), x)
    one = torch.ones(20, 1, dtype=torch.float64)
    homogeneous = (g @ torch.cat([x, one], -1)[..., None])[..., 0]
    assert torch.allclose(homogeneous, torch.cat([group.move(g, x), one], -1))
    assert torch.equal(group.from_parts(group.linear(g), group.shift(g)), g)
    # Distances stay.
    assert torch.allclose((group.move(g, x) - group.move(g, 2 * x)).norm(dim=-1), x.norm(dim=-1))
    assert float(group.shift(group.sample(4_000, generator=generator)).std()) == pytest.approx(1.0, abs=0.1)


def test_affine_algebra_splits():
    group = SpecialEuclidean(3)
    assert group.lie_dim == 6 and group.n == 4 and group.dimension == 3
    v = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    t = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    turn = group.exp(torch.cat([v, torch.zeros(3, dtype=torch.float64)]))
    assert torch.allclose(group.linear(turn), SO(3).exp(v)) and torch.allclose(
        group.shift(turn), torch.zeros(3).double()
    )
    move = group.exp(torch.cat([torch.zeros(3, dtype=torch.float64), t]))
    assert torch.allclose(group.shift(move), t)
    assert torch.equal(Translation(3).exp(t), move)
    assert Euclidean(2).generators().shape == (1, 3, 3) and SpecialEuclidean(2).generators().shape == (0, 3, 3)
    assert torch.equal(Euclidean(2).linear(Euclidean(2).generators()), O(2).generators())


def test_affine_scale_is_stated(generator):
    for group in (Translation(2, scale=5.0), SpecialEuclidean(2, scale=5.0)):
        assert float(group.shift(group.sample(10_000, generator=generator)).std()) == pytest.approx(5.0, rel=0.05)
        assert float(group.shift(group.sample(10_000, generator=generator, scale=0.1)).std()) == pytest.approx(
            0.1, rel=0.05
        )
    assert Translation(2) != Translation(2, scale=5.0)
    with pytest.raises(InputError, match="scale"):
        Euclidean(2, scale=-1.0)


def test_membership_of_affine_groups():
    good = Euclidean(2).from_parts(torch.diag(torch.tensor([1.0, -1.0])), torch.tensor([1e6, 0.0]))
    skewed = good.clone()
    skewed[2, 0] = 0.1
    nan = good.clone()
    nan[0, 2] = torch.nan
    matrices = torch.stack([good, skewed, nan, torch.eye(3)])
    assert Euclidean(2).contains(matrices).tolist() == [True, False, False, True]
    assert SpecialEuclidean(2).contains(matrices).tolist() == [False, False, False, True]
    assert Translation(2).contains(matrices).tolist() == [False, False, False, True]
    with pytest.raises(InputError, match=r"2 of 4 given matrices do not lie in E2.*A in O2; from_parts"):
        Euclidean(2).validate(matrices)


def test_from_parts_broadcasts_and_refuses():
    group = SpecialEuclidean(2)
    g = group.from_parts(SO(2).sample(5), torch.ones(2))
    assert g.shape == (5, 3, 3) and g.dtype == torch.float64
    assert group.from_parts(SO(2).sample(5)).shape == (5, 3, 3)
    with pytest.raises(InputError, match="needs a linear part, a shift, or both"):
        group.from_parts()
    with pytest.raises(InputError, match=r"takes a linear part of shape \(\*batch, 2, 2\)"):
        group.from_parts(torch.eye(3), torch.ones(2))
