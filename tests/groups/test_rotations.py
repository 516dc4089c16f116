"""SO(n) and O(n): exponential, axes and angles, Haar moments, membership."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.groups import SO, O
from equilearn.groups._orthogonal import haar_orthogonal, haar_rotation

COUNT = 40_000
SIGMA = 6.5
"""Two-sided false-alarm rate 8e-11 a mean; all seeds are fixed besides."""


def close_in_mean(values: torch.Tensor, expected: float) -> bool:
    error = values.std(0) / len(values) ** 0.5
    return bool(((values.mean(0) - expected).abs() <= SIGMA * error + 1e-12).all())


# --- Haar -------------------------------------------------------------------------------


def _sampler(kind, n):
    def draw(generator):
        if kind == "QR":
            return haar_orthogonal(n, (COUNT,), generator, None)
        return (SO(n) if kind == "SO" else O(n)).sample(COUNT, generator=generator)

    return draw


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["SO", "O", "QR"])
def test_haar_moments(kind, n, generator):
    q = _sampler(kind, n)(generator)
    trace = q.diagonal(dim1=-2, dim2=-1).sum(-1)
    plane = kind == "SO" and n == 2
    assert close_in_mean(trace, 0.0)
    # The number of invariants in V (x) V and V^(x)4: 1 and 3, for SO(2) 2 and 6, and one more volume form for SO(4).
    assert close_in_mean(trace**2, 2.0 if plane else 1.0)
    assert close_in_mean(trace**4, 6.0 if plane else 4.0 if kind == "SO" and n == 4 else 3.0)
    assert close_in_mean(q.reshape(COUNT, -1), 0.0)
    assert close_in_mean(q[:, 0, 0], 0.0)  # -E|Q_00| without the sign fix
    # Each column is uniform on the sphere.
    assert close_in_mean(q.reshape(COUNT, -1) ** 2, 1 / n)
    assert close_in_mean(q.reshape(COUNT, -1) ** 4, 3 / (n * (n + 2)))
    det = torch.linalg.det(q)
    if kind == "SO":
        assert torch.allclose(det, torch.ones_like(det))
    else:
        assert close_in_mean(det.round(), 0.0)


def test_qr_without_the_sign_fix_is_not_haar(generator):
    raw = torch.linalg.qr(torch.randn(COUNT, 3, 3, generator=generator, dtype=torch.float64)).Q
    assert abs(float(raw[:, 0, 0].mean()) + 0.5) < 0.01


@pytest.mark.parametrize("n", [2, 3])
def test_closed_forms_have_the_law_of_qr(n, generator):
    """The angle of SO(2) is uniform; that of SO(3) has distribution function (t - sin t) / pi."""
    from scipy.stats import kstest

    g = haar_rotation(n, (COUNT,), generator, None)
    if n == 2:
        result = kstest(SO(2).angle(g).numpy(), lambda t: (t + math.pi) / (2 * math.pi))
    else:
        axis, angle = SO(3).axis_angle(g)
        result = kstest(angle.numpy(), lambda t: (t - torch.as_tensor(t).sin().numpy()) / math.pi)
        # The height of a uniform direction is uniform (Archimedes).
        assert kstest(axis[:, 2].numpy(), lambda z: (z + 1) / 2).pvalue > 1e-9
    assert result.pvalue > 1e-9  # the false-alarm rate, were the seed not fixed


# --- exponential ------------------------------------------------------------------------


@given(st.integers(2, 5), st.sampled_from([1e-12, 1e-4, 1e-2, 0.03, 1.0, 10.0]), st.integers(0, 2**31))
def test_exp_is_the_matrix_exponential(n, size, seed):
    group = SO(n)
    a = size * torch.randn(8, group.lie_dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    direct = torch.matrix_exp(torch.einsum("bi,ijk->bjk", a, group.lie_basis()))
    assert torch.allclose(group.exp(a), direct, atol=1e-12 * max(1.0, size))
    assert bool(group.contains(group.exp(a)).all())
    small = group.exp(a.float())
    assert small.dtype == torch.float32
    assert torch.allclose(small.double(), direct, atol=1e-5 * max(1.0, size))


def test_conventions():
    x, y, z = torch.eye(3, dtype=torch.float64)
    quarter = math.pi / 2
    assert torch.allclose(SO(3).exp(quarter * z) @ x, y)
    assert torch.allclose(SO(3).exp(quarter * x) @ y, z)
    assert torch.allclose(SO(3).exp(quarter * y) @ z, x)
    ex, ey = torch.eye(2, dtype=torch.float64)
    assert torch.allclose(SO(2).exp(torch.tensor([quarter], dtype=torch.float64)) @ ex, ey)
    # Above, the first basis element turns axis 0 towards axis 1.
    a = torch.zeros(6, dtype=torch.float64)
    a[0] = quarter
    e = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(SO(4).exp(a) @ e[0], e[1])
    assert torch.allclose(SO(4).rotation(quarter, (0, 1)), SO(4).exp(a))
    # [X_x, X_y] = X_z.
    lx, ly, lz = SO(3).lie_basis()
    assert torch.equal(lx @ ly - ly @ lx, lz)
    assert torch.equal(O(3).lie_basis(), SO(3).lie_basis())


@pytest.mark.parametrize("n", [2, 3])
def test_derivatives_at_zero_are_exact(n):
    group = SO(n)
    zero = torch.zeros(group.lie_dim, dtype=torch.float64)
    first = torch.autograd.functional.jacobian(group.exp, zero)
    assert torch.allclose(first.movedim(-1, 0), group.lie_basis(), atol=1e-15)
    # d^2 exp at 0 is the symmetrised product of basis elements.
    for i in range(n):
        for j in range(n):
            second = torch.autograd.functional.hessian(lambda a, i=i, j=j: group.exp(a)[i, j], zero)
            x = group.lie_basis()
            product = torch.einsum("aik,bkj->abij", x, x)[..., i, j]
            assert torch.allclose(second, (product + product.T) / 2, atol=1e-13)


@pytest.mark.parametrize("size", [1e-9, 0.0316, 0.0317, 1.0, 3.14])
def test_gradients_agree_with_matrix_exp(size, generator):
    direction = torch.randn(3, generator=generator, dtype=torch.float64)
    v = size * direction / direction.norm()
    weights = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    ours = torch.autograd.functional.jacobian(lambda a: (SO(3).exp(a) * weights).sum(), v)
    theirs = torch.autograd.functional.jacobian(
        lambda a: (torch.matrix_exp(torch.einsum("i,ijk->jk", a, SO(3).lie_basis())) * weights).sum(), v
    )
    assert torch.allclose(ours, theirs, atol=1e-9)
    assert torch.autograd.gradcheck(SO(3).exp, (v.clone().requires_grad_(),))


def test_exp_refuses_wrong_coefficients():
    with pytest.raises(InputError, match="exp on SO3 takes 3"):
        SO(3).exp(torch.zeros(2))
    with pytest.raises(InputError, match="exp on SO4 takes 6"):
        SO(4).exp(torch.zeros(5, 3))
    with pytest.raises(InputError, match="floating-point"):
        SO(2).exp(torch.zeros(1, dtype=torch.int64))
    assert SO(3).exp(torch.zeros(0, 3)).shape == (0, 3, 3)
    assert SO(5).exp(torch.zeros(0, 10)).shape == (0, 5, 5)


# --- axes and angles --------------------------------------------------------------------


@given(st.floats(-3.1, 3.1))
def test_angle_undoes_rotation(angle):
    assert float(SO(2).angle(SO(2).rotation(angle))) == pytest.approx(angle, abs=1e-14)


@given(st.floats(0, math.pi), st.integers(0, 2**31))
def test_axis_angle_undoes_rotation(angle, seed):
    axis = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = SO(3).rotation(torch.tensor(angle, dtype=torch.float64), axis)
    found_axis, found = SO(3).axis_angle(g)
    assert torch.allclose(SO(3).rotation(found, found_axis), g, atol=1e-10)
    assert 0 <= float(found) <= math.pi + 1e-12
    assert float(found) == pytest.approx(angle, abs=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-9, math.pi / 2, math.pi - 1e-9, math.pi])
def test_axis_angle_at_the_edges(angle):
    axis = torch.tensor([[1.0, 2.0, -2.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    g = SO(3).rotation(torch.full((3,), angle, dtype=torch.float64), axis)
    found_axis, found = SO(3).axis_angle(g)
    assert torch.allclose(found_axis.norm(dim=-1), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(SO(3).rotation(found, found_axis), g, atol=1e-9)


def test_rotation_axes():
    g = SO(3).rotation(torch.tensor([0.1, 0.2]), axis=1)
    assert g.dtype == torch.float32 and g.shape == (2, 3, 3)
    assert torch.allclose(g, SO(3).exp(torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.2, 0.0]])))
    assert torch.allclose(SO(5).rotation(0.3, (4, 1)), SO(5).rotation(-0.3, (1, 4)))
    assert bool(SO(5).contains(SO(5).rotation(0.3, (4, 1))))
    assert SO(5).rotation(torch.rand(2, 4), (0, 1)).shape == (2, 4, 5, 5)
    for group, axis in ((SO(2), 0), (SO(3), None), (SO(3), 3), (SO(3), torch.ones(2)), (SO(4), 1), (SO(4), (1, 1))):
        with pytest.raises(InputError, match="axis"):
            group.rotation(0.3, axis)
    with pytest.raises(InputError, match="length zero"):
        SO(3).rotation(0.3, torch.zeros(3))
    with pytest.raises(InputError, match="axis_angle serves n = 3"):
        SO(3).angle(torch.eye(3))
    with pytest.raises(InputError, match="axis_angle serves SO3"):
        SO(2).axis_angle(torch.eye(2))


# --- membership -------------------------------------------------------------------------


def test_membership_of_rotations():
    bad = torch.stack(
        [
            torch.eye(3),
            torch.diag(torch.tensor([1.0, 1.0, -1.0])),
            1.001 * torch.eye(3),
            torch.full((3, 3), torch.nan),
            torch.full((3, 3), torch.inf),
            torch.zeros(3, 3),
        ]
    )
    for matrices in (bad, bad.double()):
        assert SO(3).contains(matrices).tolist() == [True, False, False, False, False, False]
        assert O(3).contains(matrices).tolist() == [True, True, False, False, False, False]
    with pytest.raises(InputError, match=r"5 of 6 given matrices do not lie in SO3.*2 hold NaN or infinite.*det g = 1"):
        SO(3).validate(bad)
    with pytest.raises(InputError, match=r"The largest defect is 0.002"):
        O(3).validate(bad[2])
    assert O(3).validate(bad[:2]) is not None


def test_rounded_rotations_are_contained():
    g = SO(3).sample(1_000, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        assert bool(SO(3).contains(g.to(dtype)).all())


def test_what_is_no_matrix_is_refused():
    with pytest.raises(InputError, match="trailing shape"):
        SO(3).contains(torch.eye(2))
    with pytest.raises(InputError, match="trailing shape"):
        SO(3).contains(torch.ones(3))
    with pytest.raises(InputError, match="floating-point"):
        SO(3).contains(torch.eye(3, dtype=torch.int64))
    with pytest.raises(InputError, match="tensors of matrices"):
        SO(3).contains([[1.0]])
    for family in (SO, O):
        for size in (0, 1, 2.0, "3"):
            with pytest.raises(InputError, match="whole number >= 2"):
                family(size)


def test_dtypes_mix_upwards():
    g = SO(3).sample(2)
    assert SO(3).compose(g, g.float()).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(
    "name", ["C6", "D4", "Q8", "A5", "S20", "SO2", "SO3", "O4", "SL2", "SL3", "GL2", "Lorentz13", "SE3", "SO3xS5"]
)
def test_elements_live_where_they_are_wanted(name):
    from equilearn.groups import parse

    group = parse(name)
    g = group.sample(5, generator=torch.Generator().manual_seed(0), device="cuda")
    same = group.sample(5, generator=torch.Generator().manual_seed(0))
    product = group.compose(group.compose(g, group.inverse(g)), group.to(same, device="cuda"))
    assert bool(group.contains(product).all())
    assert float(group.distance(group.to(product, device="cpu"), same).max()) < 1e-6
    if group.lie_dim:
        group.exp(torch.zeros(2, group.lie_dim, device="cuda"))
