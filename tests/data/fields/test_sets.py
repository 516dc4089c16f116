"""Containers of fields: what they take, mask, pad and refuse."""

from __future__ import annotations

import pytest
import torch

from equilearn._check import InputError, InputTypeError
from equilearn.data.fields import FieldTask, GridSet, PointSet, collate

NAN, INF = float("nan"), float("inf")


def points(sizes: list[int], dims: int = 2, channels: int = 1, dtype: torch.dtype = torch.float32) -> PointSet:
    """Sets of these sizes, padded with what must not leak."""
    n = max(sizes)
    x, y = torch.rand(len(sizes), n, dims, dtype=dtype), torch.rand(len(sizes), n, channels, dtype=dtype)
    mask = torch.arange(n) < torch.tensor(sizes)[:, None]
    return PointSet(torch.where(mask[..., None], x, NAN), torch.where(mask[..., None], y, 7.0), mask)


def test_padding_is_cleared(dtype):
    made = points([3, 0, 5], dtype=dtype)
    assert made.count.tolist() == [3, 0, 5] and len(made) == 3
    assert made.x.dtype == made.y.dtype == dtype
    assert not made.y[~made.mask].any()
    assert torch.isfinite(made.x).all()


def test_nan_is_masked_whole_points():
    y = torch.tensor([[[1.0, 2.0], [NAN, 2.0], [3.0, NAN]]])
    made = PointSet(torch.rand(1, 3, 2), y)
    assert made.mask.tolist() == [[True, False, False]]
    assert not made.y[0, 1:].any()
    assert not PointSet(torch.rand(1, 3, 2), y, torch.zeros(1, 3, dtype=torch.bool)).mask.any()


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_sets_are_legal(shape):
    made = PointSet(torch.zeros(*shape, 2), torch.zeros(*shape, 1))
    assert made.count.tolist() == [0] * shape[0]
    task = FieldTask(made, points([4] * shape[0]) if shape[0] else made)
    assert len(task) == shape[0] and len(task.moved(lambda x: x + 1)) == shape[0]


def test_points_that_coincide_are_legal():
    made = PointSet(torch.ones(1, 4, 1), torch.arange(4.0).view(1, 4, 1))
    assert made.count.tolist() == [4]


def test_padding_lies_and_moves_with_its_set():
    here = points([2, 4, 0])
    moved = here.moved(lambda x: x + 10)
    assert (moved.x >= 10).all() and torch.equal(here.x[0, 2:], here.x[0, :1].expand(2, -1))
    longer = here.padded(6)
    assert torch.equal(longer.x[:, 4:], here.x[:, :1].expand(-1, 2, -1)) and not longer.mask[:, 4:].any()


def test_locations_of_unknown_values_stay():
    x = torch.rand(1, 3, 2)
    made = PointSet(x, torch.full((1, 3, 1), NAN))
    assert torch.equal(made.x, x) and not made.mask.any()


def test_order_of_points_means_nothing():
    made = points([3, 5])
    turn = torch.randperm(5)
    other = PointSet(made.x[:, turn], made.y[:, turn], made.mask[:, turn])
    for name in ("x", "y"):
        assert torch.equal(getattr(made, name).sum(1), getattr(other, name).sum(1)) or torch.allclose(
            getattr(made, name).sum(1), getattr(other, name).sum(1)
        )
    assert made.count.tolist() == other.count.tolist()


def test_indexing_padding_and_dtype():
    made = points([3, 1, 2])
    assert made[1:].count.tolist() == [1, 2]
    assert made[torch.tensor([2, 0])].count.tolist() == [2, 3]
    longer = made.padded(6)
    assert longer.x.shape == (3, 6, 2) and longer.count.tolist() == [3, 1, 2]
    assert made.padded(3) is made
    with pytest.raises(InputError, match="cannot be padded to 2"):
        made.padded(2)
    wide = made.to(torch.float64)
    assert wide.x.dtype == wide.y.dtype == torch.float64 and wide.mask.dtype == torch.bool
    assert made.to("cpu").mask.equal(made.mask)


def test_bad_points():
    x, y = torch.rand(2, 3, 1), torch.rand(2, 3, 1)
    with pytest.raises(InputError, match=r"\(B, N, X\).*got \(2, 3\) and \(2, 3, 1\)"):
        PointSet(x[..., 0], y)
    with pytest.raises(InputError, match=r"got \(2, 2, 1\) and \(2, 3, 1\)"):
        PointSet(x[:, :2], y)
    with pytest.raises(InputError, match="1 values are infinite; mark what is missing with NaN"):
        PointSet(x, torch.where(torch.arange(6).view(2, 3, 1) == 0, INF, y))
    for bad in (NAN, INF):
        with pytest.raises(InputError, match="6 locations of a PointSet are NaN or infinite"):
            PointSet(torch.full_like(x, bad), y)
    with pytest.raises(InputError, match=r"mask must be a boolean tensor of shape \(2, 3\), got torch.float32"):
        PointSet(x, y, torch.ones(2, 3))
    with pytest.raises(InputTypeError, match="x must be a floating-point tensor, got torch.int64"):
        PointSet(x.long(), y)
    with pytest.raises(InputTypeError, match="y must be a floating-point tensor, got list"):
        PointSet(x, [1.0])
    # Infinite, but not observed: nothing of it stays.
    masked = PointSet(x, torch.full_like(y, INF), torch.zeros(2, 3, dtype=torch.bool))
    assert not masked.y.any()


def test_grid_as_points():
    lat, lon = torch.tensor([58.0, 57.0, 56.0]), torch.tensor([[0.0, 1.0], [10.0, 11.0]])
    y = torch.arange(12.0).view(2, 3, 2, 1)
    y[1, 2, 1] = NAN
    made = GridSet((lat, lon), y).points()
    assert made.x[1, 0].tolist() == [58, 10] and made.x[1, 1].tolist() == [58, 11] and made.x[1, 2].tolist() == [57, 10]
    assert made.count.tolist() == [6, 5]
    assert made.y[0, :, 0].tolist() == list(range(6))


@pytest.mark.parametrize("axis", [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, NAN, 1.0], [0.0, 1.0, INF]])
def test_axes_must_be_monotonic(axis):
    with pytest.raises(InputError, match="axis 0 must be finite and strictly increasing or decreasing"):
        GridSet((torch.tensor(axis), torch.arange(2.0)), torch.rand(1, 3, 2, 1))


def test_bad_grids():
    with pytest.raises(InputError, match="A GridSet of 1 axes takes values"):
        GridSet((torch.arange(3.0),), torch.rand(1, 3, 2, 1))
    with pytest.raises(InputError, match=r"Axis 1 has coordinates \(3,\).* need 2"):
        GridSet((torch.arange(3.0), torch.arange(3.0)), torch.rand(1, 3, 2, 1))
    with pytest.raises(InputError, match=r"Axis 0 has coordinates \(2, 3\)"):
        GridSet((torch.arange(3.0).expand(2, 3), torch.arange(2.0)), torch.rand(1, 3, 2, 1))


def test_tasks_refuse_what_does_not_fit():
    fits = points([3, 2])
    assert FieldTask(fits, points([9, 9])).dims == 2
    with pytest.raises(InputError, match=r"\(2, 2, 1\) and \(3, 2, 1\)"):
        FieldTask(fits, points([1, 1, 1]))
    with pytest.raises(InputError, match=r"\(2, 2, 1\) and \(2, 1, 1\)"):
        FieldTask(fits, points([1, 1], dims=1))
    with pytest.raises(InputError, match=r"\(2, 2, 1\) and \(2, 2, 3\)"):
        FieldTask(fits, points([1, 1], channels=3))
    with pytest.raises(InputError, match="share one dtype and device"):
        FieldTask(fits, points([1, 1], dtype=torch.float64))
    with pytest.raises(InputTypeError, match="context must be a PointSet or a GridSet, got Tensor"):
        FieldTask(fits.x, fits)


def test_collate_of_ragged_tasks():
    tasks = [FieldTask(points([n]), points([m])) for n, m in ((3, 7), (0, 2), (5, 4))]
    batch = collate(tasks)
    assert batch.context.x.shape == (3, 5, 2) and batch.target.x.shape == (3, 7, 2)
    assert batch.context.count.tolist() == [3, 0, 5] and batch.target.count.tolist() == [7, 2, 4]
    for i, task in enumerate(tasks):
        assert torch.equal(batch.target.x[i][batch.target.mask[i]], task.target.x[0])
        assert torch.equal(batch.context.y[i][batch.context.mask[i]], task.context.y[0])
    assert collate([batch, tasks[0]]).context.count.tolist() == [3, 0, 5, 3]
    with pytest.raises(InputError, match="No tasks"):
        collate([])
    with pytest.raises(InputError, match="must share"):
        collate([tasks[0], tasks[1].to(torch.float64)])


@pytest.mark.parametrize("given", [[1, 2, 3], "points"])
def test_collate_takes_tasks_alone(given):
    with pytest.raises(InputTypeError, match="collate takes tasks"):
        collate(given)


def test_a_loop_over_tasks_sees_each_one():
    made = FieldTask(points([3, 0, 5]), points([2, 2, 2]))
    for whole in (made, made.context):
        parts = list(whole)
        assert [len(part) for part in parts] == [1, 1, 1]
        assert torch.equal(whole[-1].x if whole is made.context else whole[-1].context.x, made.context.x[2:])
        for index in (3, -4):
            with pytest.raises(IndexError, match=f"no number {index}: there are 3"):
                whole[index]
        with pytest.raises(InputTypeError, match="by a number, a slice or a tensor, got True"):
            whole[True]
    assert [int(task.context.count) for task in made] == [3, 0, 5]
    assert collate(list(made)).context.count.tolist() == [3, 0, 5]


def test_sets_can_be_compared_by_identity():
    one, other = points([2]), points([2])
    assert one == one and one != other and len({one, other}) == 2  # noqa: PLR0124
    task, grid = FieldTask(one, other), GridSet((torch.arange(2.0),), torch.rand(1, 2, 1))
    assert task != FieldTask(one, other) and grid == grid  # noqa: PLR0124


def test_padding_of_empty_sets_lies_where_their_task_does():
    def far(n, dims=1):
        return PointSet(1e6 + torch.rand(1, n, dims), torch.rand(1, n, 1))

    made = collate([FieldTask(far(3), far(0)), FieldTask(far(0), far(2)), FieldTask(far(0), far(0))])
    assert made.context.count.tolist() == [3, 0, 0] and made.target.count.tolist() == [0, 2, 0]
    assert (made.context.x >= 1e6).all() and (made.target.x >= 1e6).all()
    assert torch.equal(made.target.x[0], made.context.x[0, :1].expand(2, 1))
    assert torch.equal(made.context.x[1], made.target.x[1, :1].expand(3, 1))
    nowhere = collate([FieldTask(far(0), far(0))] * 2)
    assert nowhere.context.x.shape == (2, 0, 1)
    assert len(collate([FieldTask(far(2), far(2))[:0], FieldTask(far(0), far(0))])) == 1


def test_sets_without_a_location_lie_where_another_does():
    x = torch.full((2, 2, 1), NAN)
    x[1] = 1e6
    made = PointSet(x, torch.where(torch.isnan(x), NAN, 1.0))
    assert (made.x == 1e6).all() and made.count.tolist() == [0, 2]
    assert not PointSet(x[:1], x[:1]).x.any()


def test_locations_and_values_share_dtype_and_device():
    x, y = torch.rand(1, 3, 1), torch.rand(1, 3, 1)
    with pytest.raises(InputError, match=r"share one dtype and device, got torch.float32 on cpu and torch.float64"):
        PointSet(x, y.double())
    with pytest.raises(InputError, match=r"got torch.float32 on cpu and torch.float32 on meta"):
        PointSet(x, y.to("meta"))
    seen = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(InputError, match=r"mask is on meta and the values on cpu. Bring it there: mask.to\('cpu'\)"):
        PointSet(x, y, seen.to("meta"))
    with pytest.raises(InputError, match="mask is on meta"):
        GridSet((torch.arange(3.0),), y, seen.to("meta"))
