"""Graphs, masks and lists of edges as data: what stays what it is, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import equilearn as eq
from equilearn.actions import graphs, points, sets, to_adjacency, to_edges
from equilearn.data import check_task, from_arrays, load, load_inputs, subsample

RNG = np.random.default_rng(0)
MASK = np.arange(4) < RNG.integers(2, 5, (30, 1))
UPPER = np.triu(RNG.random((30, 4, 4)) < 0.6, 1)
ADJACENCY = ((UPPER | UPPER.transpose(0, 2, 1)) & MASK[:, :, None] & MASK[:, None]).astype(np.float32)
X = RNG.standard_normal((30, 4, 2)) * MASK[..., None]
EDGES = to_edges(torch.from_numpy(ADJACENCY))
Y = np.arange(30) % 2
NODES = eq.Symmetric(4)
SYMMETRY = eq.Symmetry(NODES, graphs())
LABELS = np.where(MASK, RNG.integers(0, 3, (30, 4)), 7)


def kinds(x: tuple[torch.Tensor, ...]) -> list[torch.dtype]:
    return [part.dtype for part in x]


def test_masks_stay_masks_and_edges_whole_numbers() -> None:
    task = from_arrays((X, ADJACENCY, MASK), Y, symmetry=SYMMETRY)
    assert kinds(task.x_train) == [torch.float32, torch.float32, torch.bool] == kinds(task.x_test)
    assert len(task.x_train[0]) == 24 and task.kind == "classification"
    task.symmetry.input.check(task.x_train)
    lists = eq.Symmetry(NODES, graphs(edge_lists=True))
    for edges in (EDGES, EDGES.numpy().astype(np.int16)):
        task = from_arrays((X, edges, MASK), Y, symmetry=lists)
        assert kinds(task.x_train) == [torch.float32, torch.int64, torch.bool]
        task.symmetry.input.check(task.x_train)
    order = torch.cat([check_task(task).x_train[0], task.x_test[0]])
    dense = torch.cat([to_adjacency(task.x_train[1], 4), to_adjacency(task.x_test[1], 4)])
    found = [int((torch.from_numpy(X).float() == x).flatten(1).all(1).nonzero()[0]) for x in order]
    assert torch.equal(dense, torch.from_numpy(ADJACENCY)[found])  # every graph kept its edges


def test_in_graphs_no_number_is_a_pixel() -> None:
    task = from_arrays((X, ADJACENCY.astype(np.uint8), MASK), Y)
    assert set(task.x_train[1].unique().tolist()) == {0.0, 1.0}
    from_arrays((X, ADJACENCY.astype(np.uint8)), Y, (X, ADJACENCY), Y)  # bytes and numbers mean the same here
    pixels = from_arrays((X, np.full((30, 3), 255, np.uint8)), Y)
    assert bool((pixels.x_train[1] == 1).all())
    whole = from_arrays((X, ADJACENCY.astype(np.int64), MASK), Y)
    assert whole.x_train[1].dtype == torch.float32
    flags = from_arrays((X, ADJACENCY.astype(bool), MASK), Y)
    assert kinds(flags.x_train) == [torch.float32, torch.float32, torch.bool]


def test_lists_of_edges_get_one_length() -> None:
    short = torch.cat([EDGES, torch.full((30, 3, 2), -1)], dim=1)
    task = from_arrays((X, EDGES, MASK), Y, (X, short, MASK), Y)
    assert task.x_train[1].shape == task.x_test[1].shape
    assert torch.equal(to_adjacency(task.x_train[1], 4), torch.from_numpy(ADJACENCY))
    bare = from_arrays((X, torch.empty(30, 0, 2, dtype=torch.int64), MASK), Y)
    assert check_task(bare).x_train[1].shape == (24, 0, 2)


def test_points_with_a_mask() -> None:
    symmetry = eq.Symmetry(eq.SO(3) * eq.Symmetric(4), (points(4), sets(4)))
    cloud = RNG.standard_normal((30, 4, 3)) * MASK[..., None]
    task = from_arrays((cloud, MASK), Y, symmetry=symmetry)
    assert kinds(task.x_train) == [torch.float32, torch.bool]
    nothing = MASK.copy()
    nothing[3] = False
    with pytest.raises(eq.InputError, match="1 of .* samples is False everywhere"):
        from_arrays((cloud, nothing), Y, symmetry=symmetry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, a, m: (x, a, m & (np.arange(30) != 5)[:, None]), "no real node"),
        (lambda x, a, m: (x, np.ones_like(a), m), "joins? padded nodes"),
        (lambda x, a, m: (x, np.where(a > 0, np.nan, a), m), "NaN"),
        (lambda x, a, m: (x[:29], a, m), "29, 30 samples"),
        (lambda x, a, m: (x[:0], a, m), "empty"),
    ],
)
def test_graphs_without_sense_are_refused(change: Any, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        from_arrays(change(X, ADJACENCY, MASK), Y, symmetry=SYMMETRY)


def test_a_task_made_by_hand_is_checked() -> None:
    task = from_arrays((X, ADJACENCY, MASK), Y, symmetry=SYMMETRY)
    x, adjacency, mask = task.x_test
    with pytest.raises(eq.InputError, match="x_test: .*no real node"):
        check_task(replace(task, x_test=(x, adjacency, mask & False)))


# --- labels of nodes --------------------------------------------------------------------------


def test_labels_of_nodes_are_numbered_and_padding_has_none() -> None:
    task = from_arrays((X, ADJACENCY, MASK), LABELS, symmetry=eq.Symmetry(NODES, graphs(), sets()))
    assert task.kind == "classification" and task.node_labels and task.class_names == ("0", "1", "2")
    assert task.y_train.dtype == torch.int64 and task.classes == 3
    for (_, _, mask), y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        assert torch.equal(y >= 0, mask)
    assert check_task(task) is task
    assert len(subsample(task, 5).y_train) == 5
    far = from_arrays((X, ADJACENCY), np.where(LABELS == 7, -1, LABELS * 10 + 5), (X, ADJACENCY), LABELS * 0 + 15)
    assert far.class_names == ("5", "15", "25") and sorted(far.y_train.unique().tolist()) == [-1, 0, 1, 2]
    assert bool((far.y_test == 1).all())
    asked = from_arrays(X, np.where(MASK, LABELS, -1), kind="classification")  # a plain set of points
    assert asked.node_labels
    assert from_arrays(X, LABELS).kind == "regression"  # nothing says that these are labels


@pytest.mark.parametrize(
    ("y", "y_test", "message"),
    [
        (LABELS * 0, None, "1 class:"),
        (np.where(MASK, LABELS, 7) - 3, None, "holds -3"),
        (LABELS + 0.5, None, "not whole"),
        (LABELS.astype(str), None, "text"),
        (np.where(MASK, LABELS, np.nan), None, "NaN"),
        (LABELS, LABELS + 1, "1 classes that the training labels lack \\(3\\)"),
    ],
)
def test_labels_of_nodes_that_are_none(y: np.ndarray, y_test: np.ndarray | None, message: str) -> None:
    held = {} if y_test is None else {"x_test": (X, ADJACENCY, MASK), "y_test": y_test}
    with pytest.raises(eq.InputError, match=message):
        from_arrays((X, ADJACENCY, MASK), y, **held, kind="classification")


def test_labels_of_nodes_of_hand_made_tasks() -> None:
    task = from_arrays((X, ADJACENCY, MASK), LABELS)
    for changes, message in (
        ({"y_test": task.y_test[:, :3]}, "3 nodes"),
        ({"y_train": torch.full_like(task.y_train, 1)}, "equal"),
        ({"y_train": task.y_train - 1}, "holds -2"),
        ({"y_train": task.y_train.unsqueeze(-1)}, r"\(B, n\)"),
    ):
        with pytest.raises(eq.InputError, match=message):
            check_task(replace(task, **changes))


# --- archives ---------------------------------------------------------------------------------


def test_graphs_in_archives(tmp_path: Path) -> None:
    file = tmp_path / "graphs.npz"
    np.savez(file, x=X, adjacency=ADJACENCY, mask=MASK, y=Y)
    task = load(file, symmetry=SYMMETRY)
    assert kinds(task.x_train) == [torch.float32, torch.float32, torch.bool]
    assert task.about == "30 samples of graphs.npz"
    assert kinds(load_inputs(file)) == kinds(task.x_train) and len(load_inputs(file)[2]) == 30
    np.savez(
        file, mask=MASK, edges=EDGES.numpy(), x=X, y=Y, x_test=X, edges_test=EDGES.numpy(), mask_test=MASK, y_test=Y
    )
    task = load(file)
    assert kinds(task.x_test) == [torch.float32, torch.int64, torch.bool] and len(task.x_test[0]) == 30
    np.savez(file, x0=X, x1=MASK, x2=X[..., 0], y=Y, x0_test=X[:9], x1_test=MASK[:9], x2_test=X[:9, :, 0], y_test=Y[:9])
    task = load(file)
    assert kinds(task.x_train) == [torch.float32, torch.bool, torch.float32] and len(task.x_test[1]) == 9
    assert len(load_inputs(file)[0]) == 9
    np.savez(file, x=X, mask=MASK)
    assert kinds(load_inputs(file)) == [torch.float32, torch.bool]
    np.savez(file, x0=X, y=Y)  # one part alone is no tuple
    assert load(file).x_train.shape == (24, 4, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "x0": X, "y": Y}, "both x and x0"),
        ({"x": X, "adjacency": ADJACENCY, "edges": EDGES.numpy(), "y": Y}, "both adjacency and edges"),
        ({"x": X, "mask": MASK, "y": Y, "x_test": X, "y_test": Y}, "different parts.*x, mask and x_test"),
        ({"adjacency": ADJACENCY, "mask": MASK, "y": Y}, "lacks x"),
        ({"x1": X, "x2": X, "y": Y}, "lacks x"),
        ({"x": X, "adjacency": ADJACENCY, "mask": MASK}, "lacks y"),
        ({"x": X, "mask": np.array([None] * 30), "y": Y}, "mask is an object array"),
        ({"x": X, "mask": MASK[:20], "y": Y}, "20, 30 samples"),
    ],
)
def test_archives_of_parts_that_do_not_fit(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "graphs.npz", **arrays)
    with pytest.raises(eq.InputError, match=message):
        load(tmp_path / "graphs.npz")


def test_the_limit_counts_every_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "graphs.npz", x=X, adjacency=ADJACENCY, mask=MASK, y=Y)
    with pytest.raises(eq.InputError, match="unpacks to"):
        load(tmp_path / "graphs.npz", max_bytes=X.nbytes + Y.nbytes + 500)
