"""Arrays become a `Task`: every check that data need, in one place."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from equilearn._check import InputError, InputTypeError, finite, not_empty, one_of, require
from equilearn.actions import Data, ImageAction, batch_size, is_edge_list, map_data
from equilearn.data._parts import (
    check_parts,
    edges_from,
    holds_edges,
    is_graph,
    labels_nodes,
    node_labels,
    pad_edges,
    require_one_per_node,
)
from equilearn.data._split import stratified_choice, take
from equilearn.data._task import Kind, Task
from equilearn.symmetry import Symmetry

KINDS = ("classification", "regression")

MOST_CLASSES = 100
"""Whole-number targets with more distinct values than this are taken for a regression."""

TEST_FRACTION = 0.2
"""Share of the data that is held out where no test split is given."""


def from_arrays(
    x: Data | np.ndarray,
    y: Tensor | np.ndarray,
    x_test: Data | np.ndarray | None = None,
    y_test: Tensor | np.ndarray | None = None,
    *,
    name: str = "data",
    kind: str | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    symmetry: Symmetry | None = None,
    images: bool | None = None,
    class_names: tuple[str, ...] = (),
    about: str = "",
) -> Task:
    """A task from arrays, validated.

    Targets that are text, or whole numbers with few distinct values (at most 100, and at most half
    as many as samples), make a classification; labels are renumbered from 0 in ascending order.
    Anything else makes a regression; targets `(B,)` become `(B, 1)`.

    Inputs may be a tuple. In a tuple, masks (bool) stay masks, and in graphs `(x, adjacency, mask)` or `(x, edges,
    mask)`, see `actions.graphs`, lists of edges stay int64. Whole numbers `(B, n)` beside graphs with `n` nodes are
    labels of the nodes, -1 where there is none; nodes that a mask at the end leaves out lose theirs.

    Inputs become float32 (the default dtype). Arrays of uint8 are pixels and are scaled to
    [0, 1], training and test inputs alike (not in graphs). Images become `(B, C, H, W)`: `(B, H, W)` gets one channel,
    and `(B, H, W, C)` with 1, 3 or 4 channels in the last place and not in the second is turned
    round. Inputs are images where `symmetry` acts on images; without one, where both sides are at
    least 8 (smaller ones are point sets).

    Args:
        x, y: inputs and targets, batch first; `x` may be a tuple of tensors.
        x_test, y_test: held-out data; a random split of `x`, `y` (stratified by class) where absent.
        name, about, class_names, symmetry: kept in the task.
        kind: `"classification"` or `"regression"` where the rule above is wrong.
        test_fraction: share held out where no test data are given; default 0.2.
        seed: of that split.
        images: whether `x` holds images, where the rule above is wrong.

    Raises:
        InputError: empty data, NaN or infinity (how many, where), numbers of samples that differ,
            one class only, labels that do not fit, text where numbers are needed, pixels (uint8) in
            one split and other numbers in the other, a mask that leaves nothing of a sample, edges to padding.

    Example:
        >>> import numpy as np
        >>> task = from_arrays(np.zeros((10, 8, 8), np.uint8), np.array(["cat", "dog"] * 5))
        >>> task.kind, task.class_names, task.x_train.shape, sorted(task.y_test.tolist())
        ('classification', ('cat', 'dog'), torch.Size([8, 1, 8, 8]), [0, 1])
    """
    require(
        (x_test is None) == (y_test is None),
        "Test inputs and test targets come together: give both x_test and y_test, or neither.",
    )
    if images is None and symmetry is not None:
        images = isinstance(symmetry.input, ImageAction)
    inputs = inputs_from(x, "x", images)
    targets = _to_numpy(y, "y")
    _require_pairs(inputs, targets, "x", "y")
    chosen = cast(Kind, infer_kind(targets, inputs) if kind is None else one_of(kind, KINDS, "kind of task"))
    held_targets = None if y_test is None else _to_numpy(y_test, "y_test")
    held = None if x_test is None else inputs_from(x_test, "x_test", images)
    if chosen == "classification":
        nodes = labels_nodes(inputs, targets)
        found = node_labels(inputs, targets, held, held_targets) if nodes else _labels(targets, held_targets)
        labels, held_labels = found[:2]
        class_names = class_names or found[2]
    else:
        labels, held_labels = _numbers(targets, "y"), None if held_targets is None else _numbers(held_targets, "y_test")
    if held is None or held_labels is None:
        splits = _split(inputs, labels, chosen, TEST_FRACTION if test_fraction is None else test_fraction, seed)
    else:
        _require_one_scale(x, x_test)
        inputs, held = pad_edges(inputs, held)
        _require_pairs(held, held_labels, "x_test", "y_test")
        _require_alike(inputs, labels, held, held_labels)
        splits = (inputs, labels, held, held_labels)
    for place, split in ((0, "x"), (2, "x_test")):
        check_parts(symmetry, splits[place], split)
    return Task(name, *splits, kind=chosen, symmetry=symmetry, class_names=class_names, about=about)


def check_task(task: Task) -> Task:
    """`task` if it can be used: finite, not empty, as many inputs as targets, more than one class.

    Raises:
        InputError: says what is wrong with which split.
    """
    one_of(task.kind, KINDS, "kind of task")
    for split in ("train", "test"):
        x, y = getattr(task, f"x_{split}"), getattr(task, f"y_{split}")
        for part in (x, y):
            map_data(lambda t, split=split: _tensor(t, f"x_{split} or y_{split}"), part)
        _require_pairs(x, y, f"x_{split}", f"y_{split}")
        check_parts(task.symmetry, x, f"x_{split}")
    if task.kind == "classification":
        _check_labels(task)
    return task


def _check_labels(task: Task) -> None:
    y = task.y_train
    require(
        y.ndim in (1, 2) and not y.is_floating_point(),
        "Labels must be whole numbers of shape (B,), or (B, n) for labels of nodes, got "
        f"{y.dtype} of {tuple(y.shape)}.",
    )
    if y.ndim == 2:
        require_one_per_node(task.x_train, y, "y_train")
        require_one_per_node(task.x_test, task.y_test, "y_test")
        y = y[y >= 0]
    require(len(y.unique()) > 1, "All training labels are equal: one class cannot be told from another.")


def _tensor(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputTypeError(f"{name} must hold tensors, got {type(value).__name__}.")
    # Graphs without edges have an empty list of them.
    return value if is_edge_list(value) and len(value) else finite(not_empty(value, name), name)


# --- inputs -------------------------------------------------------------------------------


def inputs_from(x: Data | np.ndarray, name: str, images: bool | None) -> Data:
    """Inputs as `from_arrays` takes them: numbers, finite, pixels scaled, images in their layout."""
    if isinstance(x, tuple) and all(isinstance(part, Tensor | np.ndarray | tuple) for part in x):
        return _tuple_from(x, name)
    array = _to_numpy(x, name)
    tensor = _numbers(array, name)
    if array.dtype == np.uint8:
        tensor = tensor / 255
    return as_images(tensor, images)


def _tuple_from(x: tuple[Any, ...], name: str) -> Data:
    """Inputs of several parts: masks and lists of edges as they are, in graphs no number is a pixel."""
    graph = is_graph(x)
    found = []
    for i, part in enumerate(x):
        where = f"{name}[{i}]"
        if isinstance(part, tuple):
            found.append(_tuple_from(part, where))
        elif graph and i == 1 and holds_edges(part, x[0].shape[1]):
            found.append(edges_from(part, where))
        else:
            array = _to_numpy(part, where)
            if array.dtype.kind == "b" and not (graph and i == 1):
                found.append(torch.from_numpy(array.copy()))
            else:
                found.append(_numbers(array, where) / (255 if array.dtype == np.uint8 and not graph else 1))
    return tuple(found)


def _require_one_scale(x: Any, x_test: Any, names: tuple[str, str] = ("x", "x_test")) -> None:
    """Bytes are scaled to [0, 1] and other numbers are not: that must be the same in both splits."""
    if is_graph(x) and is_graph(x_test):
        return
    if isinstance(x, tuple) and isinstance(x_test, tuple):
        for i, (part, held) in enumerate(zip(x, x_test, strict=False)):
            _require_one_scale(part, held, (f"{names[0]}[{i}]", f"{names[1]}[{i}]"))
        return
    kinds = [str(getattr(part, "dtype", "a list")).removeprefix("torch.") for part in (x, x_test)]
    require(
        (kinds[0] == "uint8") == (kinds[1] == "uint8"),
        f"{names[0]} is {kinds[0]} and {names[1]} is {kinds[1]}. Arrays of uint8 are pixels, which are scaled to "
        "[0, 1]; others are taken as they are. Give both as uint8, or both as floating-point numbers on one scale.",
    )


def as_images(x: Tensor, images: bool | None = None) -> Tensor:
    """`(B, C, H, W)` by the rule of `from_arrays`; other shapes as they are."""
    if images is False:
        return x
    if x.ndim == 3 and (images or min(x.shape[1:]) >= 8):
        return x.unsqueeze(1)
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return x.movedim(-1, 1).contiguous()
    require(
        not images or x.ndim == 4,
        f"Images must be (B, H, W), (B, H, W, C) or (B, C, H, W); got {tuple(x.shape)}.",
    )
    return x


def _to_numpy(value: Any, name: str) -> np.ndarray:
    """An array that is not empty, has a batch axis and holds numbers, truth values or text."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:  # ragged lists
        raise InputError(f"{name} is not a rectangular array: {error}.") from error
    if array.dtype == object:
        raise InputTypeError(
            f"{name} is an object array, which can hold anything. Give an array of numbers or of text: "
            "samples of different length must be padded, labels may be np.array([...], dtype=str)."
        )
    require(array.ndim > 0, f"{name} is a single value; an array with one entry a sample is needed.")
    require(array.size > 0, f"{name} is empty: its shape is {array.shape}. At least one sample is needed.")
    if array.dtype.kind not in "biufUS":
        raise InputTypeError(f"{name} has dtype {array.dtype}; real numbers or text are needed.")
    return array


def _numbers(array: np.ndarray, name: str) -> Tensor:
    """Finite numbers in the default dtype; targets `(B,)` as `(B, 1)`."""
    if array.dtype.kind in "US":
        raise InputTypeError(f"{name} holds text ({array.flat[0]!r}, ...); numbers are needed.")
    dtype = torch.get_default_dtype()
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.float64)  # torch lacks the larger unsigned types
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    given = torch.tensor(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("=")))
    finite(given, name)
    numbers = finite(given.to(dtype), f"{name} in {dtype}".replace("torch.", ""))
    return numbers.unsqueeze(1) if numbers.ndim == 1 else numbers


def _require_pairs(x: Data, y: Tensor | np.ndarray, x_name: str, y_name: str) -> None:
    sizes: set[int] = set()
    map_data(lambda t: sizes.add(len(t)) or t, x)
    held = ", ".join(map(str, sorted(sizes)))
    require(
        sizes == {len(y)},
        f"{x_name} holds {held} samples and {y_name} {len(y)}; one target a sample is needed.",
    )


def _require_alike(x: Data, y: Tensor, x_test: Data, y_test: Tensor) -> None:
    shapes: list[tuple[int, ...]] = []
    for data in (x, x_test, y, y_test):
        map_data(lambda t: shapes.append(tuple(t.shape[1:])) or t, data)
    half = (len(shapes) - 2) // 2
    require(
        shapes[:half] == shapes[half : 2 * half] and shapes[-2] == shapes[-1],
        f"Training and test samples differ in shape: inputs {shapes[:half]} and {shapes[half:-2]}, "
        f"targets {shapes[-2]} and {shapes[-1]}.",
    )


# --- targets ------------------------------------------------------------------------------


def infer_kind(y: np.ndarray, x: Data | None = None) -> Kind:
    """The kind of task that targets suggest, by the rule of `from_arrays`."""
    if x is not None and is_graph(x) and labels_nodes(x, y) and y.dtype.kind in "biu":
        return "classification" if len(np.unique(y)) <= MOST_CLASSES else "regression"
    flat = y.ndim == 1 or y.shape[1:] == (1,)
    if y.dtype.kind in "US":
        return "classification"
    if y.dtype.kind not in "biu" or not flat:
        return "regression"
    distinct = len(np.unique(y))
    return "classification" if distinct <= MOST_CLASSES and 2 * distinct <= len(y) else "regression"


def _labels(y: np.ndarray, y_test: np.ndarray | None) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """Labels from 0, and the names of the classes."""
    y = _whole(y, "y")
    values, codes = np.unique(y, return_inverse=True)
    names = tuple(_text(value) for value in values)
    require(len(values) > 1, f"All {len(y)} labels are {names[0]!r}: one class cannot be told from another.")
    _require_few(values, y)
    if y_test is None:
        return torch.from_numpy(codes.astype(np.int64)), None, names
    y_test = _whole(y_test, "y_test")
    require(
        (y.dtype.kind in "US") == (y_test.dtype.kind in "US"),
        f"Labels are of different type in y ({y.dtype}) and y_test ({y_test.dtype}).",
    )
    unknown = np.setdiff1d(y_test, values)
    shown = ", ".join(_text(value) for value in unknown[:4])
    require(
        len(unknown) == 0,
        f"The test labels have {len(unknown)} classes that the training labels lack ({shown}): they cannot be learned.",
    )
    held = np.searchsorted(values, y_test)
    return torch.from_numpy(codes.astype(np.int64)), torch.from_numpy(held.astype(np.int64)), names


def _require_few(values: np.ndarray, y: np.ndarray) -> None:
    require(
        len(values) < len(y) or len(y) < 3,
        f"Each of the {len(y)} samples has a class of its own, so none can be learned. For a regression use "
        "kind='regression'.",
    )


def _whole(y: np.ndarray, name: str) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    require(y.ndim == 1, f"Labels of a classification have shape (B,), but {name} has {y.shape}.")
    if y.dtype.kind == "f":
        finite(torch.from_numpy(y.astype(np.float64)), name)
        fractions = np.flatnonzero(y != np.round(y))
        require(
            len(fractions) == 0,
            f"{name} holds {len(fractions)} labels that are not whole numbers (the first: {y[fractions[:1]]} at index "
            f"{fractions[:1]}). For numbers to be predicted use kind='regression'.",
        )
        return y.astype(np.int64)
    return y


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _split(x: Data, y: Tensor, kind: Kind, fraction: float, seed: int) -> tuple[Data, Tensor, Data, Tensor]:
    require(0 < fraction < 1, f"test_fraction must lie between 0 and 1, got {fraction}.")
    total = batch_size(x)
    require(total >= 2, "One sample alone cannot be split into training and test data.")
    size = min(max(round(total * fraction), 1), total - 1)
    generator = torch.Generator().manual_seed(seed)
    test, train = stratified_choice(y, size, generator, stratified=kind == "classification" and y.ndim == 1)
    return take(x, train), y[train], take(x, test), y[test]
