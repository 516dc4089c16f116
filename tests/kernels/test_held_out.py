"""The held-out identity against training again without the points."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orbit_cases import refit
from torch import Tensor

from equilearn import InputError
from equilearn.kernels import leave_one_out, leave_sets_out


def problem(n: int = 12, columns: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n + 3, generator=generator, dtype=torch.float64)
    y = torch.randn(n, columns, generator=generator, dtype=torch.float64)
    return (x @ x.mT / n).to(dtype), y.to(dtype)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_every_single_point_equals_a_refit(ridge: float, dtype: torch.dtype, tolerance: float):
    gram, y = problem(dtype=dtype)
    found = leave_one_out(gram, y, ridge=ridge)
    wide, targets = problem()
    expected = torch.cat([refit(wide, targets, torch.tensor([i]), ridge) for i in range(len(y))])
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=20 * tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_sets_equal_refits(ridge: float):
    gram, y = problem()
    sets = [torch.tensor([5]), torch.tensor([3, 0, 11]), torch.arange(12) % 2 == 0, torch.arange(1, 12)]
    found = leave_sets_out(gram, y, sets, ridge=ridge)
    indices = [torch.nonzero(one).flatten() if one.dtype == torch.bool else one for one in sets]
    for one, index in zip(found, indices, strict=True):
        torch.testing.assert_close(one, refit(gram, y, index, ridge), rtol=0, atol=1e-10)
    torch.testing.assert_close(found[0], leave_one_out(gram, y, ridge=ridge)[5:6], rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 9), seed=st.integers(0, 10_000), data=st.data())
def test_any_set_of_any_matrix(n: int, seed: int, data: st.DataObject):
    gram, y = problem(n, seed=seed)
    gram = gram + 0.1 * torch.eye(n, dtype=gram.dtype)
    chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n - 1, unique=True))
    index = torch.tensor(chosen)
    (found,) = leave_sets_out(gram, y, [index])
    torch.testing.assert_close(found, refit(gram, y, index), rtol=1e-8, atol=1e-8)


def test_a_kernel_that_knows_nothing_has_error_one():
    """K = c I predicts 0 everywhere."""
    y = torch.tensor([[1.0], [-1.0], [1.0]])
    torch.testing.assert_close(leave_one_out(3.0 * torch.eye(3), y) * y, torch.ones(3, 1))


def test_nothing_is_changed_in_place():
    gram, y = problem()
    before = gram.clone()
    leave_one_out(gram, y, ridge=0.5)
    leave_sets_out(gram, y, [torch.tensor([0])], ridge=0.5)
    assert torch.equal(gram, before)


def test_bad_input_is_named():
    gram, y = problem()
    with pytest.raises(InputError, match=r"shape \(n, n\), got \(12, 11\)"):
        leave_one_out(gram[:, 1:], y)
    with pytest.raises(InputError, match="gram is empty"):
        leave_one_out(gram[:0, :0], y[:0])
    with pytest.raises(InputError, match="must be float32 or float64"):
        leave_one_out(gram.to(torch.int64), y)
    with pytest.raises(InputError, match="gram holds 144 NaN"):
        leave_one_out(gram * float("nan"), y)
    with pytest.raises(InputError, match=r"not symmetric: K - K\^T is 0\.\d+ of its norm"):
        leave_one_out(gram.triu(), y)
    with pytest.raises(InputError, match="one row of targets for each of the 12 points"):
        leave_one_out(gram, y[1:])
    with pytest.raises(InputError, match="one dtype"):
        leave_one_out(gram, y.float())
    with pytest.raises(InputError, match="y holds 0 NaN and 24 infinite"):
        leave_one_out(gram, y / 0)
    with pytest.raises(InputError, match="ridge must be"):
        leave_one_out(gram, y, ridge=-1.0)
    with pytest.raises(InputError, match=r"indefinite: its smallest eigenvalue is -\d"):
        leave_one_out(gram - 3 * torch.eye(12, dtype=gram.dtype), y)
    with pytest.raises(InputError, match="singular to working precision in torch.float64.*Add a ridge"):
        leave_one_out(torch.ones(12, 12, dtype=gram.dtype), y)
    with pytest.raises(InputError, match="put a single set into a list"):
        leave_sets_out(gram, y, torch.tensor([0]))  # type: ignore[arg-type]
    for wrong in (torch.arange(12), torch.tensor([], dtype=torch.int64), torch.tensor([0, 0]), torch.tensor([12])):
        with pytest.raises(InputError, match="distinct indices from 0 to 11"):
            leave_sets_out(gram, y, [wrong])
    with pytest.raises(InputError, match=r"mask of points has shape \(12,\)"):
        leave_sets_out(gram, y, [torch.ones(3, dtype=torch.bool)])
    with pytest.raises(InputError, match="tensor of indices or a mask, got list"):
        leave_sets_out(gram, y, [[0]])  # type: ignore[list-item]
