"""Inputs of several parts, graphs and point sets with masks among them, and labels of their nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from equilearn._check import InputError, finite, require
from equilearn.actions import Action, Data, GraphAction, batch_size, check_graph, first_leaf, is_edge_list, mask_of
from equilearn.groups import Product
from equilearn.symmetry import Symmetry

NO_LABEL = -1
"""The label of padding, which loss and score leave out."""


def is_graph(parts: Any) -> bool:
    """Whether these parts are graphs: features `(B, n, C)`, and square matrices or lists of edges beside them."""
    if not isinstance(parts, tuple | list) or len(parts) < 2 or any(isinstance(p, tuple | list) for p in parts[:2]):
        return False
    x, second = (tuple(getattr(part, "shape", ())) for part in parts[:2])
    if len(x) != 3 or len(second) < 3 or second[0] != x[0]:
        return False
    return second[1:3] == (x[1], x[1]) or holds_edges(parts[1], x[1])


def holds_edges(part: Any, nodes: int) -> bool:
    """Whether an array lists edges between so many nodes: whole numbers `(B, E, 2)`, -1 for padding."""
    shape = tuple(part.shape)
    if len(shape) != 3 or shape[-1] != 2 or not _is_whole(part) or shape[1:] == (nodes, nodes):
        return is_edge_list(part) if isinstance(part, Tensor) else False
    return part.shape[1] == 0 or (int(part.min()) >= -1 and int(part.max()) < nodes)


def edges_from(part: Tensor | np.ndarray, name: str) -> Int[Tensor, "B E 2"]:
    """Lists of edges, int64."""
    require(part.shape[0] > 0, f"{name} is empty: its shape is {tuple(part.shape)}. At least one sample is needed.")
    return torch.as_tensor(part).detach().cpu().to(torch.int64)


def _is_whole(part: Tensor | np.ndarray) -> bool:
    if isinstance(part, Tensor):
        return not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
    return part.dtype.kind in "iu"


def pad_edges(x: Data, x_test: Data) -> tuple[Data, Data]:
    """Lists of edges of both splits padded to one length."""
    if not is_graph(x) or not is_graph(x_test) or not (is_edge_list(x[1]) and is_edge_list(x_test[1])):
        return x, x_test
    longest = max(x[1].shape[1], x_test[1].shape[1])
    padded = [torch.nn.functional.pad(t[1], (0, 0, 0, longest - t[1].shape[1]), value=-1) for t in (x, x_test)]
    return (x[0], padded[0], *x[2:]), (x_test[0], padded[1], *x_test[2:])


def check_parts(symmetry: Symmetry | None, x: Data, name: str) -> None:
    """Graphs without sense and sets without points are found before anything is trained on them.

    Raises:
        InputError: a mask that leaves nothing of a sample, an edge to a node that is padding.
    """
    if symmetry is None:
        return
    action = symmetry.input
    if isinstance(action, GraphAction) and isinstance(x, tuple | list) and len(x) == len(action.parts):
        try:
            check_graph(x[0], x[1], x[2] if action.has_mask else None, symmetric=False, self_loops=True)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        return
    for index in range(len(action.group.factors) if isinstance(action.group, Product) else 1):
        mask = mask_of(action, index, x) if _fits(action, x) else None
        empty = [] if mask is None else torch.nonzero(~mask.any(1)).flatten().tolist()
        require(
            not empty,
            f"{name}: the mask of {len(empty)} of {batch_size(x)} samples is False everywhere (the first: sample "
            f"{empty[0] if empty else 0}), so that nothing is left of them. Leave them out.",
        )


def _fits(action: Action, x: Data) -> bool:
    """Whether the data have the parts that the action moves; where not, the action says so when it is used."""
    parts = getattr(action, "parts", None)
    if parts is None or not isinstance(x, tuple | list):
        return False
    return len(parts) == len(x)


# --- labels of nodes ----------------------------------------------------------------------


def labels_nodes(x: Data, y: np.ndarray | Tensor) -> bool:
    """Whether targets `(B, n)` can be a label for each point of inputs `(B, n, ...)`."""
    first = first_leaf(x)
    return y.ndim == 2 and first.ndim > 2 and y.shape[1] == first.shape[1] > 1


def node_labels(
    x: Data, y: np.ndarray, x_test: Data | None, y_test: np.ndarray | None
) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """Labels from 0, -1 where there is none, and the names of the classes; padding loses its label.

    Raises:
        InputError: text, fractions, negative labels other than -1, one class only, a class that only the test
            labels have.
    """
    train = _masked(x, _whole(y, "y"))
    values = torch.unique(train[train != NO_LABEL])
    require(
        len(values) > 1,
        f"The nodes have labels of {len(values)} class{'es' * (len(values) != 1)}: one cannot be told from another.",
    )
    held = None
    if y_test is not None and x_test is not None:
        held = _masked(x_test, _whole(y_test, "y_test"))
        unknown = torch.unique(held[(held != NO_LABEL) & ~torch.isin(held, values)])
        require(
            len(unknown) == 0,
            f"The test labels have {len(unknown)} classes that the training labels lack "
            f"({', '.join(map(str, unknown[:4].tolist()))}): they cannot be learned.",
        )
        held = _renumbered(held, values)
    return _renumbered(train, values), held, tuple(map(str, values.tolist()))


def _renumbered(labels: Tensor, values: Tensor) -> Tensor:
    return torch.where(labels == NO_LABEL, NO_LABEL, torch.searchsorted(values, labels))


def _masked(x: Data, labels: Tensor) -> Tensor:
    last = x[-1] if isinstance(x, tuple | list) else None
    if isinstance(last, Tensor) and last.dtype == torch.bool and last.shape == labels.shape:
        return torch.where(last, labels, NO_LABEL)
    return labels


def _whole(y: np.ndarray, name: str) -> Tensor:
    require(y.dtype.kind in "biuf", f"Labels of nodes must be whole numbers, but {name} holds text.")
    labels = torch.from_numpy(y.astype(np.float64))
    finite(labels, name)
    fractions = int((labels != labels.round()).sum())
    require(fractions == 0, f"{name} holds {fractions} labels that are not whole numbers.")
    lowest = int(labels.min())
    require(
        lowest >= NO_LABEL,
        f"Labels of nodes are 0, 1, 2, ..., and -1 where there is none; {name} holds {lowest}.",
    )
    return labels.to(torch.int64)


def require_one_per_node(x: Data, y: Tensor, name: str) -> None:
    """Labels `(B, n)` fit the inputs."""
    first = first_leaf(x)
    require(
        labels_nodes(x, y),
        f"{name} has a label for each of {y.shape[1]} nodes, but the inputs have the shape {tuple(first.shape)} "
        f"({batch_size(x)} samples).",
    )
    require(
        int(y.min()) >= NO_LABEL, f"Labels of nodes are 0, 1, 2, ..., and -1 for none; {name} holds {int(y.min())}."
    )
