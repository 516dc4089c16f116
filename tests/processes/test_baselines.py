"""The baselines against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from process_cases import task

from equilearn import InputError
from equilearn.data.fields import FieldTask, PointSet, condition
from equilearn.processes import EmpiricalGP, InverseDistance, StationaryGP


def test_inverse_distances_by_hand():
    model = InverseDistance(power=1.0)
    seen = PointSet(
        torch.tensor([[[0.0], [4.0], [9.0]]]),
        torch.tensor([[[1.0], [5.0], [99.0]]]),
        torch.tensor([[True, True, False]]),
    )
    wanted = PointSet(torch.tensor([[[1.0], [0.0]]]), torch.zeros(1, 2, 1))
    found = model(FieldTask(seen, wanted)).mean[0, :, 0]
    assert float(found[0]) == pytest.approx((1 / 1 + 5 / 3) / (1 + 1 / 3), rel=1e-5)
    assert float(found[1]) == pytest.approx(1.0, abs=1e-4)  # upon a point: its value
    many = task(2, context=40, dtype=torch.float32)
    far = many.moved(lambda x: x + 60)
    torch.testing.assert_close(InverseDistance()(far).mean, InverseDistance()(many).mean, rtol=1e-3, atol=1e-3)
    fitted = InverseDistance().fit(task(1, dtype=torch.float32))
    empty = fitted(task(1, context=0, dtype=torch.float32))
    assert torch.equal(empty.mean, fitted.mean.expand_as(empty.mean)) and float(fitted.prior) > 0


def test_stationary_process_by_hand():
    model = StationaryGP(0.7)
    given = task(1)
    found = model(given)
    b = 1
    seen = given.context.mask[b]
    x, z = given.context.x[b, seen, 0], given.target.x[b, :, 0]

    def k(a, c):
        r = math.sqrt(3) * (a[:, None] - c).abs() / 0.7
        return (1 + r) * torch.exp(-r)

    noise = float(model.noise.detach())
    inverse = torch.linalg.inv(k(x, x) + noise * torch.eye(len(x), dtype=x.dtype))
    mean = k(z, x) @ inverse @ given.context.y[b, seen, 0]
    var = 1 + noise - (k(z, x) @ inverse * k(z, x)).sum(1)
    torch.testing.assert_close(found.mean[b, :, 0].detach(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.std[b, :, 0].detach(), var.sqrt(), rtol=1e-5, atol=1e-6)


def test_stationary_process_finds_the_length():
    """Eight draws of 60 places: the length within a third, six standard errors of such a fit."""
    generator = torch.Generator().manual_seed(0)
    x = 10 * torch.rand(8, 60, 1, generator=generator, dtype=torch.float64)
    truth = StationaryGP(1.5)
    with torch.no_grad():
        cov = truth.covariance(x, x) + 0.01 * torch.eye(60, dtype=x.dtype)
        y = torch.linalg.cholesky(cov) @ torch.randn(8, 60, 1, generator=generator, dtype=x.dtype)
    fitted = StationaryGP(0.3).fit(FieldTask(PointSet(x, y), PointSet(x, y)), steps=150)
    assert 1.0 < float(fitted.log_length.detach().exp()) < 2.25
    assert 0.003 < float(fitted.noise.detach()) < 0.03


def test_empirical_process_is_conditioning_of_its_covariance():
    generator = torch.Generator().manual_seed(0)
    cells = torch.cartesian_prod(torch.arange(3.0), torch.arange(4.0))
    mix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    values = torch.randn(40, 12, generator=generator, dtype=torch.float64) @ mix
    model = EmpiricalGP(cells, values, noise=0.02)
    cov = torch.cov(values.T)
    cov += torch.diag(0.02 * cov.diagonal())
    seen, wanted = torch.tensor([0, 5, 7]), torch.tensor([1, 11])
    y = torch.randn(1, 3, 1, generator=generator, dtype=torch.float64)
    given = FieldTask(
        PointSet(cells[seen][None].double(), y),
        PointSet(cells[wanted][None].double(), torch.zeros(1, 2, 1, dtype=torch.float64)),
    )
    found = model(given)
    hand = condition(
        cov[seen][:, seen],
        cov[seen][:, wanted],
        cov.diagonal()[wanted],
        y[0] - values.mean(0)[seen, None],
        torch.ones(3, dtype=torch.bool),
    )
    torch.testing.assert_close(found.mean[0, :, 0], hand.mean[:, 0] + values.mean(0)[wanted])
    torch.testing.assert_close(found.std[0, :, 0], hand.var.sqrt())
    unknown = PointSet(given.target.x + 1e6, torch.full_like(given.target.y, math.nan))
    with pytest.raises(InputError, match="off the cells"):
        model(FieldTask(given.context, unknown))
    with pytest.raises(InputError, match="off the cells"):
        model(given.moved(lambda x: x + 0.5))


def test_bad_input():
    with pytest.raises(InputError, match="two times"):
        EmpiricalGP(torch.zeros(2, 1), torch.zeros(1, 2))
    with pytest.raises(InputError, match="length must be positive"):
        StationaryGP(0.0)
    with pytest.raises(InputError, match="two known targets"):
        InverseDistance().fit(task(1, targets=0, dtype=torch.float32))
    with pytest.raises(InputError, match="varies nowhere"):
        EmpiricalGP(torch.zeros(2, 1), torch.zeros(3, 2))
    with pytest.raises(InputError, match="power"):
        InverseDistance(0.0)
    two = PointSet(torch.zeros(1, 2, 1), torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match="one value a place"):
        StationaryGP()(FieldTask(two, two))
