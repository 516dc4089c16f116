"""Arrays become tasks: kinds, labels, images, splits; and everything that is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn import actions
from equilearn._check import InputError
from equilearn.data import Task, check_task, digits, from_arrays, subsample
from equilearn.data._arrays import as_images, infer_kind
from equilearn.data._split import quotas
from equilearn.groups import Cyclic, Symmetric
from equilearn.symmetry import Symmetry

X = np.arange(40.0).reshape(20, 2)


# --- kinds and labels -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.arange(20) % 3, "classification"),
        (np.arange(20) % 3 == 0, "classification"),
        (np.array(["a", "b"] * 10), "classification"),
        (np.array([b"a", b"b"] * 10), "classification"),
        ((np.arange(20) % 3)[:, None], "classification"),
        (np.arange(20), "regression"),  # as many values as samples
        (np.arange(20) / 3, "regression"),
        ((np.arange(20) % 3).astype(float), "regression"),
        (np.arange(40).reshape(20, 2) % 2, "regression"),
        (np.arange(1000) % 101, "regression"),
    ],
)
def test_the_kind_is_told_from_the_targets(y: np.ndarray, kind: str):
    assert infer_kind(y) == kind
    assert from_arrays(np.zeros((len(y), 2)), y).kind == kind


def test_the_kind_can_be_forced():
    y = (np.arange(20) % 3).astype(float)
    task = from_arrays(X, y, kind="classification")
    assert task.y_train.dtype == torch.int64
    assert task.class_names == ("0", "1", "2")
    assert from_arrays(X, y.astype(int), kind="regression").y_train.shape == (16, 1)
    with pytest.raises(InputError, match="Did you mean 'regression'"):
        from_arrays(X, y, kind="regresion")


@pytest.mark.parametrize("y", [[7, -3, 7, -3, 100, 100], ["cat", "dog", "cat", "dog", "eel", "eel"], [True, False] * 3])
def test_labels_are_renumbered_and_named(y: list):
    task = from_arrays(np.zeros((6, 2)), np.array(y), np.zeros((2, 2)), np.array(y[:2]))
    names = [task.class_names[int(label)] for label in task.y_train]
    assert names == [str(value) for value in y]
    assert [task.class_names[int(label)] for label in task.y_test] == [str(value) for value in y[:2]]
    assert task.classes == len(set(y))
    assert list(task.class_names) == [str(value) for value in sorted(set(y))]


def test_numbers_become_float32_in_any_byte_order():
    for dtype in ("f8", ">f4", "f2", "i4", ">i2", "u4", "?", np.longdouble):
        task = from_arrays((X > 3).astype(dtype), X[:, 0] / 7)
        assert task.x_train.dtype == task.y_train.dtype == torch.float32
        assert set(task.x_train.unique().tolist()) == {0.0, 1.0}


def test_tensors_lists_and_tuples_are_taken():
    x, y = torch.tensor(X), torch.arange(20) % 2
    task = from_arrays((x, x[:, :1]), y)
    assert [part.shape for part in task.x_train] == [(16, 2), (16, 1)]
    assert from_arrays(X.tolist(), y.tolist()).x_train.shape == (16, 2)
    with pytest.raises(InputError, match="x holds 19, 20 samples and y 20"):
        from_arrays((x, x[:19]), y)


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "images", "wanted"),
    [
        ((5, 8, 8), None, (5, 1, 8, 8)),
        ((5, 28, 20), None, (5, 1, 28, 20)),
        ((5, 7, 3), None, (5, 7, 3)),  # a set of seven points in space
        ((5, 7, 3), True, (5, 1, 7, 3)),
        ((5, 28, 28), False, (5, 28, 28)),
        ((5, 16, 12, 3), None, (5, 3, 16, 12)),
        ((5, 3, 16, 12), None, (5, 3, 16, 12)),
        ((5, 3, 16, 3), None, (5, 3, 16, 3)),
        ((5, 10), None, (5, 10)),
    ],
)
def test_images_get_their_channel_axis(shape: tuple, images: bool | None, wanted: tuple):
    x = torch.arange(float(np.prod(shape))).reshape(shape)
    assert as_images(x, images).shape == wanted


def test_channels_are_moved_not_reshaped():
    x = torch.randn(2, 9, 8, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(as_images(x)[1, 2], x[1, :, :, 2])
    with pytest.raises(InputError, match=r"Images must be \(B, H, W\)"):
        as_images(torch.zeros(5, 10), True)


def test_bytes_are_pixels():
    x = np.array([[0, 255], [51, 102]] * 5, dtype=np.uint8)
    assert from_arrays(x, X[:10, 0] / 7).x_train.unique().tolist() == pytest.approx([0, 0.2, 0.4, 1])


def test_bytes_are_scaled_alike_in_both_splits():
    x, y = np.array([[0, 255], [51, 102]] * 5, dtype=np.uint8), X[:10, 0] / 7
    task = from_arrays(x, y, x[:2], y[:2])
    assert torch.equal(task.x_test, task.x_train[:2])
    for mixed in (x[:2].astype(np.float32), torch.tensor(x[:2].astype(np.int64)), x[:2].tolist()):
        with pytest.raises(InputError, match=r"x is uint8 and x_test is .* Give both as uint8"):
            from_arrays(x, y, mixed, y[:2])
    with pytest.raises(InputError, match="x is float64 and x_test is uint8"):
        from_arrays(x.astype(float), y, x[:2], y[:2])
    with pytest.raises(InputError, match=r"x\[1\] is float64 and x_test\[1\] is uint8"):
        from_arrays((x, x.astype(float)), y, (x[:2], x[:2]), y[:2])


def test_the_symmetry_says_whether_inputs_are_images():
    x, y = torch.randn(12, 10, 8, generator=torch.Generator().manual_seed(0)), np.arange(12) % 2
    sets = Symmetry(Symmetric(10), actions.sets(10))
    assert from_arrays(x, y).x_train.shape[1:] == (1, 10, 8)  # by their shape they might be images
    assert from_arrays(x, y, symmetry=sets).x_train.shape[1:] == (10, 8)
    small = Symmetry(Cyclic(2), actions.images())
    assert from_arrays(x[:, :4, :4], y, symmetry=small).x_train.shape[1:] == (1, 4, 4)
    assert from_arrays(x, y, symmetry=sets, images=True).x_train.shape[1:] == (1, 10, 8)


# --- splits -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), st.floats(0, 1), st.integers(0, 1))
def test_quotas_add_up_and_stay_near_the_exact_shares(counts: list[int], share: float, minimum: int):
    counts = [max(count, minimum) for count in counts]
    size = max(round(share * sum(counts)), minimum * len(counts))
    found = quotas(torch.tensor(counts), size, minimum).tolist()
    assert sum(found) == size
    for quota, count in zip(found, counts, strict=True):
        assert minimum <= quota <= count
        if minimum == 0:
            assert abs(quota - count * size / sum(counts)) < 1


@given(st.integers(4, 60), st.integers(0, 5))
def test_a_split_loses_and_doubles_nothing(count: int, seed: int):
    x = np.arange(float(count))[:, None]
    for y in (np.arange(count) % 2, x[:, 0] / 7):
        task = from_arrays(x, y, seed=seed)
        assert sorted([*task.x_train[:, 0].tolist(), *task.x_test[:, 0].tolist()]) == x[:, 0].tolist()
        assert len(task.x_test) == round(count * 0.2)
        again = from_arrays(x, y, seed=seed)
        assert torch.equal(task.x_test, again.x_test)


def test_splits_keep_the_shares_of_classes_and_pairs():
    y = np.array([0] * 80 + [1] * 20)
    task = from_arrays(np.stack([y, y], 1), y, test_fraction=0.3, seed=4)
    assert task.y_test.bincount().tolist() == [24, 6]
    assert torch.equal(task.x_train[:, 0].long(), task.y_train)
    with pytest.raises(InputError, match="test_fraction must lie between 0 and 1"):
        from_arrays(X, X[:, 0] / 7, test_fraction=1.0)


def test_a_given_test_split_is_kept():
    task = from_arrays(X, X[:, :1] / 7, X[:3], X[:3, :1] / 7)
    assert len(task.x_train) == 20
    assert len(task.x_test) == 3


@pytest.mark.parametrize("size", [10, 11, 50, 1200])
def test_subsets_hold_every_class(size: int):
    task = digits()
    small = subsample(task, size, seed=1)
    counts = small.y_train.bincount(minlength=10)
    assert len(small.y_train) == len(small.x_train) == size
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 7
    assert torch.equal(small.x_test, task.x_test)
    assert torch.equal(small.x_train, subsample(task, size, seed=1).x_train)
    if size < 1200:
        assert not torch.equal(small.x_train, subsample(task, size, seed=2).x_train)


def test_subsets_of_rare_classes_and_regressions():
    y = np.array([0] * 97 + [1, 1, 2])
    task = from_arrays(np.zeros((100, 1)), y, np.zeros((1, 1)), np.array([0]))
    assert subsample(task, 3).y_train.tolist() == [0, 1, 2]
    assert len(subsample(from_arrays(X, X / 7), 5).y_train) == 5


def test_subsets_that_cannot_be():
    with pytest.raises(InputError, match="9 training samples cannot hold one of each of the 10 classes"):
        subsample(digits(), 9)
    with pytest.raises(InputError, match="1201 training samples were asked for, but 'digits' has 1200"):
        subsample(digits(), 1201)
    with pytest.raises(InputError, match="size must be a whole number"):
        subsample(digits(), 0)


# --- what is refused ------------------------------------------------------------------------------


def spoiled(value: float) -> np.ndarray:
    x = X.copy()
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, np.arange(19) / 7, "x holds 20 samples and y 19"),
        (X[:0], np.zeros(0), r"x is empty: its shape is \(0, 2\)"),
        (X, np.zeros((20, 0)), r"y is empty: its shape is \(20, 0\)"),
        (np.float64(3), X, "x is a single value"),
        (spoiled(np.nan), X, r"x holds 1 NaN and 0 infinite values among 40 \(the first at index \(4, 1\)\)"),
        (X, spoiled(np.inf), "y holds 0 NaN and 1 infinite values"),
        (spoiled(1e300), X, "x in float32 holds 0 NaN and 1 infinite"),
        (X, np.zeros(20, dtype=int), "All 20 labels are '0': one class cannot be told from another"),
        (X, np.array(list("abcdefghijklmnopqrst")), "Each of the 20 samples has a class of its own"),
        (X.astype(object), X, "x is an object array"),
        (X.astype(complex), X, "x has dtype complex128"),
        (X.astype(str), X, r"x holds text \(.*\); numbers are needed"),
        (X.astype("M8[s]"), X, "x has dtype datetime64"),
        ([[1.0, 2.0], [3.0]], X, "x is not a rectangular array"),
        (X[:1], X[:1], "One sample alone cannot be split"),
    ],
)
def test_arrays_that_cannot_be_used(x: np.ndarray, y: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        from_arrays(x, y)


def test_labels_that_do_not_fit():
    with pytest.raises(InputError, match=r"y holds 13 labels that are not whole numbers .*kind='regression'"):
        from_arrays(X, np.arange(20) / 3, kind="classification")
    with pytest.raises(InputError, match=r"have shape \(B,\), but y has \(20, 2\)"):
        from_arrays(X, X.astype(int), kind="classification")
    with pytest.raises(InputError, match=r"2 classes that the training labels lack \(5, 7\)"):
        from_arrays(X, np.arange(20) % 2, X[:3], np.array([0, 5, 7]))
    with pytest.raises(InputError, match="different type"):
        from_arrays(X, np.arange(20) % 2, X[:2], np.array(["0", "1"]))
    with pytest.raises(InputError, match="y holds text"):
        from_arrays(X, np.array(["a", "b"] * 10), kind="regression")


def test_test_splits_that_do_not_fit():
    y = X[:, 0] / 7
    with pytest.raises(InputError, match="come together"):
        from_arrays(X, y, X[:2])
    with pytest.raises(InputError, match=r"differ in shape: inputs \[\(2,\)\] and \[\(1,\)\]"):
        from_arrays(X, y, X[:2, :1], y[:2])
    with pytest.raises(InputError, match="x_test holds 2 samples and y_test 3"):
        from_arrays(X, y, X[:2], y[:3])
    with pytest.raises(InputError, match="y_test holds 1 NaN"):
        from_arrays(X, y, X[:2], np.array([1.0, np.nan]))


def test_tasks_made_by_hand_are_checked():
    good = from_arrays(X, np.arange(20) % 2)
    assert check_task(good) is good
    for change, message in (
        ({"x_train": good.x_train.clone().fill_(float("nan"))}, "x_train or y_train holds 32 NaN"),
        ({"y_test": good.y_test[:1]}, "x_test holds 4 samples and y_test 1"),
        ({"y_train": good.y_train.float()}, "Labels must be whole numbers"),
        ({"y_train": torch.zeros(16, dtype=torch.int64)}, "All training labels are equal"),
        ({"x_test": X[:4]}, "must hold tensors, got ndarray"),
        ({"kind": "ranking"}, "Unknown kind of task 'ranking'"),
        ({"x_test": good.x_test[:0]}, "is empty"),
    ):
        with pytest.raises(InputError, match=message):
            check_task(replace(good, **change))


def test_a_task_is_immutable():
    task = from_arrays(X, np.arange(20) % 2)
    assert isinstance(task, Task)
    with pytest.raises(AttributeError):
        task.name = "other"  # type: ignore[misc]


def test_a_task_names_its_loss_and_metric():
    assert (digits().loss, digits().metric) == ("cross_entropy", "accuracy")
    task = from_arrays(X, np.arange(20) / 3)
    assert (task.loss, task.metric) == ("mse", "relative error")
