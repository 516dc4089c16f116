"""Machines on the leaves of a tree: routing, sizes, many equal values, what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_twins import randn, relative

from equilearn._check import InputError
from equilearn.kernels import Settings, fit_local_machines, fit_rfm
from equilearn.kernels._tree import _cut, _gap

QUICK = Settings(kernel="laplace", bandwidth=2.0, iterations=1, ridge=1e-2, normalize="max")


def data(points=240, width=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = randn(points, width, generator=generator, dtype=dtype)
    return x, (x[:, :1] * x[:, 1:2]).sin() + x[:, :1].abs()


def rows_of(machines, x):
    """Which training points each leaf holds, found by their values."""
    return [torch.stack([(x == center).all(1) for center in leaf.centers]).any(0) for leaf in machines.leaves]


def test_leaves_part_the_points_and_keep_their_size(dtype):
    x, y = data(dtype=dtype)
    machines = fit_local_machines(x, y, QUICK, 40)
    held = torch.stack(rows_of(machines, x))
    assert bool((held.sum(0) == 1).all())
    sizes = [len(leaf.centers) for leaf in machines.leaves]
    assert sum(sizes) == 240 and max(sizes) <= 40 and min(sizes) >= 20
    assert len(machines.splits) == len(machines.leaves) - 1
    torch.testing.assert_close(torch.tensor(machines.shares), torch.tensor(sizes) / 240)
    assert repr(machines) == "LocalMachines(8 leaves of about 30 points)"


def test_training_points_go_to_their_own_leaf_alone_or_together(dtype):
    """A threshold on a point would send it astray when a product of another shape rounds otherwise."""
    x, y = data(dtype=dtype, width=17, points=300)
    machines = fit_local_machines(x, y, QUICK, 40)
    home = torch.stack(rows_of(machines, x)).int().argmax(0)
    assert torch.equal(machines.leaf_of(x), home)
    assert torch.equal(torch.cat([machines.leaf_of(row[None]) for row in x]), home)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(machines.leaf_of(x[order]), home[order])


def test_outputs_and_gradients_are_those_of_the_leaves():
    x, y = data()
    machines = fit_local_machines(x, y, QUICK, 40)
    z = randn(50, 3, generator=torch.Generator().manual_seed(5))
    where, outputs = machines.leaf_of(z), machines(z)
    for number, leaf in enumerate(machines.leaves):
        torch.testing.assert_close(outputs[where == number], leaf(z[where == number]))
    whole = machines.agop(z, centered=False)
    parts = [
        leaf.agop(z[where == i], centered=False) * (where == i).sum()
        for i, leaf in enumerate(machines.leaves)
        if (where == i).any()
    ]
    torch.testing.assert_close(whole, torch.stack(parts).sum(0) / 50)
    metric = sum(leaf.metric * share for leaf, share in zip(machines.leaves, machines.shares, strict=True))
    torch.testing.assert_close(machines.metric, metric)
    assert machines(z[:0]).shape == (0, 1)
    assert {record["leaf"] for record in machines.history} == set(range(8))
    assert machines.best == 1


def test_one_leaf_is_a_plain_machine():
    x, y = data(60)
    machines = fit_local_machines(x, y, QUICK, 60)
    plain = fit_rfm(x, y, QUICK)
    assert machines.splits == () and machines.shares == (1.0,)
    assert torch.equal(machines.metric, plain.metric)
    assert torch.equal(machines(x[:7]), plain(x[:7]))
    assert torch.equal(machines.agop(x), plain.agop(x.clone()))


def test_fits_about_as_well_as_one_machine():
    x, y = data(400)
    z, wanted = data(200, seed=1)
    scale = float(wanted.var())
    one, many = (
        float((m(z) - wanted).square().mean()) / scale
        for m in (fit_rfm(x, y, QUICK), fit_local_machines(x, y, QUICK, 120))
    )
    assert many < 0.25 and many < 6 * one + 0.05


def test_deterministic():
    x, y = data()
    first, second = (fit_local_machines(x, y, QUICK, 40) for _ in range(2))
    assert torch.equal(first(x), second(x))
    assert [s.threshold for s in first.splits] == [s.threshold for s in second.splits]


def test_diagonal_metric_and_an_initial_one():
    x, y = data()
    found = fit_local_machines(
        x,
        y,
        Settings(kernel="laplace", iterations=1, ridge=1e-2, diagonal=True),
        100,
        metric=torch.tensor([1.0, 2.0, 0.0]),
    )
    assert found.leaves[0].metric.shape == (3,) and found.metric.shape == (3, 3)
    assert float(found.metric[2, 2]) == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.integers(2, 4), size=st.integers(12, 30))
def test_many_equal_values(seed, levels, size):
    """Discrete features: leaves of two points at least, and none too large, or a readable refusal."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(levels, (90, 4), generator=generator).double()
    y = x[:, :1] + randn(90, 1, generator=generator)
    if int(x.unique(dim=0, return_counts=True)[1].max()) > size - 2:  # one value may not fit into a leaf
        return
    machines = fit_local_machines(x, y, QUICK, size)
    sizes = torch.tensor([len(leaf.centers) for leaf in machines.leaves])
    assert int(sizes.min()) >= 2 and int(sizes.max()) <= size and int(sizes.sum()) == 90
    assert torch.equal(machines.leaf_of(x).bincount(minlength=len(sizes)), sizes)


def test_leading_direction_that_does_not_part_the_points():
    """All points alike along it: the feature that parts them most evenly takes its place."""
    x = torch.tensor([[1.0, i % 2, i % 5] for i in range(10)])
    direction, threshold = _cut(x, torch.tensor([1.0, 0.0, 0.0]))
    assert direction.tolist() == [0.0, 1.0, 0.0] and threshold == 0.5
    assert _gap(torch.tensor([0.0, 1.0, 1.0, 1.0])) is None  # one point alone is no leaf
    assert _gap(torch.tensor([3.0, 0.0, 1.0, 0.0, 1.0, 3.0])) == (0.5, 2)


def test_what_is_refused():
    x, y = data(60)
    with pytest.raises(InputError, match="60 samples cannot be parted in two by any of their features"):
        fit_local_machines(torch.ones_like(x), y, QUICK, 20)
    with pytest.raises(InputError, match="Validation is not offered .* 60 samples, more than max_leaf_size=20"):
        fit_local_machines(x, y, QUICK, 20, score=lambda _: 0.0)
    with pytest.raises(InputError, match="leaf_size must be a whole number >= 3, got 2"):
        fit_local_machines(x, y, QUICK, 2)
    with pytest.raises(InputError, match="x holds 1 NaN"):
        fit_local_machines(x.index_fill(0, torch.tensor([59]), torch.nan)[:, :1], y, QUICK, 20)


def test_shares_weigh_the_metrics():
    x, y = data(61)
    machines = fit_local_machines(x, y, QUICK, 40)
    assert [len(leaf.centers) for leaf in machines.leaves] in ([30, 31], [31, 30])
    wanted = sum(len(leaf.centers) * leaf.metric for leaf in machines.leaves) / 61
    assert relative(machines.metric, wanted) < 1e-12
