"""Splits and subsets that keep the shares of the classes."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.actions import Data, batch_size, map_data
from equilearn.data._seed import checked_seed
from equilearn.data._task import Task


def quotas(counts: Int[Tensor, " classes"], size: int, minimum: int = 0) -> Int[Tensor, " classes"]:
    """How many of `size` samples each class gets: proportional to `counts`, rounded by largest
    remainder (ties to the first class), at least `minimum` and at most all of each class.

    Example:
        >>> import torch
        >>> quotas(torch.tensor([50, 30, 20]), 5)
        tensor([3, 1, 1])
    """
    exact = counts.double() * size / max(int(counts.sum()), 1)
    whole = torch.minimum(exact.floor().long().clamp_min(minimum), counts)
    while (left := size - int(whole.sum())) != 0:
        # Whoever lies furthest below (above) the exact share gets (gives) the next one.
        lack = exact - whole if left > 0 else whole - exact
        open_ = whole < counts if left > 0 else whole > minimum
        lack = torch.where(open_, lack, -torch.inf)
        index = torch.sort(lack, descending=True, stable=True).indices[: min(abs(left), int(open_.sum()))]
        whole[index] += 1 if left > 0 else -1
    return whole


def stratified_choice(
    y: Shaped[Tensor, "B *shape"], size: int, generator: torch.Generator, *, stratified: bool, minimum: int = 0
) -> tuple[Int[Tensor, " size"], Int[Tensor, " rest"]]:
    """Indices of `size` random samples and of the others, each in ascending order."""
    order = torch.randperm(len(y), generator=generator)
    if stratified:
        labels = y.cpu()[order]
        share = quotas(torch.bincount(y.cpu()), size, minimum)
        # Rank of each sample within its class, in random order: the first `share[c]` are chosen.
        by_class = torch.sort(labels, stable=True).indices
        counts = torch.bincount(labels, minlength=len(share))
        rank = torch.arange(len(y)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        chosen = order[by_class[rank < share[labels[by_class]]]]
    else:
        chosen = order[:size]
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[chosen] = True
    return torch.nonzero(mask).flatten(), torch.nonzero(~mask).flatten()


def take(x: Data, index: Tensor) -> Data:
    """The samples at `index`."""
    return map_data(lambda t: t[index.to(t.device)], x)


def subsample(task: Task, size: int, seed: int = 0) -> Task:
    """The task with `size` of its training samples; the test split stays.

    Classes keep their shares, and each has at least one sample; where each node has a label, samples are drawn
    at random. One seed gives one subset.

    Args:
        task: any task.
        size: training samples to keep, up to all of them.
        seed: which subset.

    Raises:
        InputError: where `size` is larger than the training split or smaller than the number of
            its classes.

    Example:
        >>> from equilearn.data import digits
        >>> small = subsample(digits(), 50, seed=0)
        >>> small.x_train.shape, small.x_test.shape
        (torch.Size([50, 1, 8, 8]), torch.Size([597, 1, 8, 8]))
        >>> small.y_train.bincount()
        tensor([5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    """
    available, size = batch_size(task.x_train), positive_int(size, "size")
    require(size <= available, f"{size} training samples were asked for, but {task.name!r} has {available}.")
    stratified = task.kind == "classification" and not task.node_labels
    if stratified:
        present = len(task.y_train.unique())
        require(
            size >= present,
            f"{size} training samples cannot hold one of each of the {present} classes. Ask for {present} at least.",
        )
    generator = torch.Generator().manual_seed(checked_seed(seed))
    kept, _ = stratified_choice(task.y_train, size, generator, stratified=stratified, minimum=1 if stratified else 0)
    return replace(task, x_train=take(task.x_train, kept), y_train=take(task.y_train, kept))
