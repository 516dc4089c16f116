"""Set convolutions and lattices, against slow twins."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn import InputError
from equilearn.nn._set_conv import SetConv, lattice_around


def points(seed, batch=2, count=7, dims=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.rand(batch, count, dims, generator=generator, dtype=dtype) - 1
    y = torch.randn(batch, count, 2, generator=generator, dtype=dtype)
    return x, y, torch.rand(batch, count, generator=generator) < 0.8


def slow_to_lattice(conv, x, y, mask, cells):
    """One cell after another."""
    length = float(conv.length.detach())
    out = torch.zeros(len(x), cells.shape[1], 1 + y.shape[2], dtype=x.dtype)
    for b in range(len(x)):
        for c in range(cells.shape[1]):
            apart = (x[b] - cells[b, c]).square().sum(-1)
            weight = torch.exp(-apart / (2 * length**2)) * mask[b]
            out[b, c, 0] = weight.sum()
            out[b, c, 1:] = weight @ y[b] / (weight.sum() + 1e-8)
    return out


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_to_lattice_and_back(dims, dtype, tolerance):
    x, y, mask = points(0, dims=dims, dtype=dtype)
    conv = SetConv(0.4).to(dtype)
    lattice = lattice_around([(x, mask)], 0.5, 2)
    cells = lattice.locations(dtype).flatten(1, -2)
    found = conv.to_lattice(x, y, mask, lattice)
    wanted = slow_to_lattice(conv, x, y, mask, cells)
    torch.testing.assert_close(found.flatten(2).mT, wanted, rtol=50 * tolerance, atol=50 * tolerance)
    field = torch.randn(2, 3, *lattice.sizes, dtype=dtype, generator=torch.Generator().manual_seed(1))
    read = conv.to_points(field, lattice, x)
    apart = x[:, :, None] - cells[:, None]
    taper = (1 - (apart / (6 * 0.5)).square()).clamp_min(0).square().prod(-1)
    length = float(conv.length.detach())
    weight = torch.exp(-apart.square().sum(-1) / (2 * length**2)) * taper
    wanted = weight @ field.flatten(2).mT / weight.sum(-1, keepdim=True)
    torch.testing.assert_close(read, wanted, rtol=50 * tolerance, atol=50 * tolerance)


def test_reading_in_pieces(monkeypatch):
    import equilearn.nn._set_conv as room

    x, _, mask = points(0)
    conv, lattice = SetConv(0.4).double(), lattice_around([(x, mask)], 0.5, 2)
    field = torch.randn(2, 3, *lattice.sizes, dtype=torch.float64)
    whole = conv.to_points(field, lattice, x)
    monkeypatch.setattr(room, "CHUNK", 1)
    torch.testing.assert_close(conv.to_points(field, lattice, x), whole)
    assert conv.to_points(field, lattice, x[:, :0]).shape == (2, 0, 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_reading_near_cells_alone(dims, dtype, monkeypatch):
    """As from tables of all cells, gradients too, and where the cells around a point are not all there."""
    import equilearn.nn._set_conv as room

    x, _, mask = points(0, dims=dims, dtype=dtype)
    conv, lattice = SetConv(0.4).to(dtype), lattice_around([(x, mask)], 0.5, 1)
    field = torch.randn(2, 3, *lattice.sizes, dtype=dtype, requires_grad=True)
    found = []
    for gather in (10**9, 0):
        monkeypatch.setattr(room, "GATHER", gather)
        read = conv.to_points(field, lattice, x)
        found.append((read, *torch.autograd.grad(read.square().sum(), [field, conv.log_ratio])))
    slack = 1e-5 if dtype == torch.float32 else 1e-12
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * slack, atol=slack)


def test_constants_are_read_as_constants():
    x, _, mask = points(3)
    lattice = lattice_around([(x, mask)], 0.5, 0)
    field = torch.full((2, 1, *lattice.sizes), 7.0, dtype=torch.float64)
    torch.testing.assert_close(
        SetConv(0.4).double().to_points(field, lattice, x), torch.full((2, 7, 1), 7.0, dtype=torch.float64)
    )


def test_one_point_alone():
    """Its value wherever it is near, and the density that its distance says."""
    x, y, mask = torch.zeros(1, 1, 1), torch.full((1, 1, 1), 5.0), torch.ones(1, 1, dtype=torch.bool)
    lattice = lattice_around([(x, mask)], 0.5, 2)
    found = SetConv(0.5).to_lattice(x, y, mask, lattice)
    cells = torch.arange(-2, 3) * 0.5
    torch.testing.assert_close(found[0, 0], torch.exp(-2 * cells.square()))
    torch.testing.assert_close(found[0, 1], torch.full((5,), 5.0))


def test_far_from_all_points_there_is_nothing():
    x, mask = torch.tensor([[[0.0], [100.0]]]), torch.ones(1, 2, dtype=torch.bool)
    lattice = lattice_around([(x, mask)], 1.0, 0)
    found = SetConv(1.0).to_lattice(x, torch.ones(1, 2, 1), mask, lattice).detach()
    assert float(found[0, :, 50].abs().max()) < 1e-8
    assert bool(torch.isfinite(found).all())


@given(st.integers(0, 10**6), st.integers(-50, 50), st.integers(1, 4), st.sampled_from([1, 2, 4]))
def test_lattices_move_with_the_points(seed, shift, margin, multiple):
    x, _, mask = points(seed)
    spacing = 0.25
    here = lattice_around([(x, mask)], spacing, margin, multiple)
    there = lattice_around([(x + shift * multiple * spacing, mask)], spacing, margin, multiple)
    assert there.sizes == here.sizes and torch.equal(there.first, here.first + shift * multiple)
    assert all(size % multiple == 0 for size in here.sizes) and not bool((here.first % multiple).any())
    for d, axis in enumerate(here.axes(x.dtype)):
        seen = torch.where(mask, x[..., d], axis.mean(1, keepdim=True))
        assert bool((axis.amin(1) <= seen.amin(1) - margin * spacing + 1e-9).all())
        assert bool((axis.amax(1) >= seen.amax(1) + margin * spacing - 1e-9).all())


def test_what_is_masked_does_not_count():
    x, _, mask = points(1)
    far = torch.where(mask[..., None], x, 1e9)
    assert lattice_around([(far, mask)], 0.5, 1).sizes == lattice_around([(x, mask)], 0.5, 1).sizes
    nothing = lattice_around([(far, torch.zeros_like(mask))], 0.5, 1)
    assert nothing.sizes == (3, 3)
    empty = lattice_around([(far[:, :0], mask[:, :0])], 0.5, 1)
    assert empty.sizes == (3, 3) and not bool((empty.first + 1).any())


def test_union_holds_every_piece():
    x, _, mask = points(5, batch=3)
    lattice = lattice_around([(x + torch.tensor([0.0, 2.0, -1.0])[:, None, None], mask)], 0.5, 1)
    union, offset = lattice.union()
    whole = union.locations(torch.float64)[0]
    for b in range(3):
        rows, columns = (slice(int(o), int(o) + n) for o, n in zip(offset[b], lattice.sizes, strict=True))
        assert torch.equal(whole[rows, columns], lattice.locations(torch.float64)[b])


def test_gradients():
    x, y, mask = points(2, batch=1, count=3)
    conv = SetConv(0.4).double()
    lattice = lattice_around([(x, mask)], 0.7, 1)

    def run(x, y):
        return conv.to_points(conv.to_lattice(x, y, mask, lattice), lattice, x)

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), y.requires_grad_()))


def test_a_lattice_that_is_too_large():
    x = torch.tensor([[[0.0, 0.0], [1e6, 1e6]]])
    with pytest.raises(InputError, match="larger"):
        lattice_around([(x, torch.ones(1, 2, dtype=torch.bool))], 0.1, 1)
    with pytest.raises(InputError, match="length must be positive"):
        SetConv(-math.inf)
