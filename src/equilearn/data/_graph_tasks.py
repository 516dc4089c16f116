"""Generated graphs to tell apart or to label: cycles, and a pattern planted among communities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.actions import graphs, sets, trivial
from equilearn.data._seed import checked_seed
from equilearn.data._task import Task
from equilearn.groups import Symmetric
from equilearn.symmetry import Symmetry

SIGNALS = 3
"""Values a node of the planted pattern's graphs may carry."""
SMALLEST, LARGEST, COMMUNITIES = 5, 35, 5
PATTERN_NODES, PATTERNS = 20, 100
INSIDE, ACROSS, IN_PATTERN, TO_PATTERN = 0.5, 0.35, 0.5, 0.5
DRAWN = torch.float32
"""Of random numbers: a seed gives the same graphs whatever the default dtype."""


def graph_symmetry(nodes: int, *, node_labels: bool = False) -> Symmetry:
    """Relabelling the nodes of a graph: the answer stays, or moves with the nodes where each has its own."""
    return Symmetry(Symmetric(nodes), input=graphs(nodes), output=sets(nodes) if node_labels else trivial())


def random_orders(mask: Bool[Tensor, "B n"], generator: torch.Generator) -> Int[Tensor, "B n"]:
    """For each graph a uniformly random order of its nodes, padding last: place `i` takes node `order[i]`."""
    keys = torch.rand(mask.shape, generator=generator, dtype=torch.float64)
    return torch.where(mask, keys, torch.inf).argsort(dim=1, stable=True)


def reordered(adjacency: Shaped[Tensor, "B n n"], order: Int[Tensor, "B n"]) -> Shaped[Tensor, "B n n"]:
    """The adjacency matrices with node `order[i]` at place `i`."""
    n = order.shape[1]
    rows = adjacency.gather(1, order[:, :, None].expand(-1, -1, n))
    return rows.gather(2, order[:, None, :].expand(-1, n, -1))


def cycle_adjacency(nodes: int, parts: int = 1) -> Float[Tensor, "nodes nodes"]:
    """`parts` disjoint cycles of equal length on `nodes` nodes."""
    size = nodes // parts
    index = torch.arange(nodes)
    following = index - index % size + (index + 1) % size
    adjacency = torch.zeros(nodes, nodes)
    adjacency[index, following] = 1.0
    return torch.maximum(adjacency, adjacency.T)


def cycles(train: int = 1000, test: int = 200, *, n: int = 12, seed: int = 0) -> Task:
    """One cycle of `n` nodes (label 0) or two of `n / 2` (label 1), in random node order.

    Every node has two neighbours and the feature 1, so that message passing sees no difference.

    Args:
        train, test: numbers of graphs; half of each, rounded up, are single cycles.
        n: nodes, even and at least 6.
        seed: of the node orders.

    Returns:
        A classification with inputs `(x (B, n, 1), adjacency (B, n, n), mask (B, n))`, invariant under
        `Symmetric(n)`.

    Raises:
        InputError: `n` is odd or below 6, a number is not positive, or `seed` is out of range.

    Example:
        >>> task = cycles(4, 2)
        >>> [tuple(part.shape) for part in task.x_train], task.y_train
        ([(4, 12, 1), (4, 12, 12), (4, 12)], tensor([0, 1, 0, 1]))
        >>> task.x_train[1].sum((1, 2))
        tensor([24., 24., 24., 24.])
    """
    positive_int(train, "train")
    positive_int(test, "test")
    positive_int(n, "n", 6)
    require(n % 2 == 0, f"Two cycles of equal length need an even number of nodes, got n={n}.")
    generator = torch.Generator().manual_seed(checked_seed(seed))
    count = train + test
    label = torch.cat([torch.arange(train) % 2, torch.arange(test) % 2])
    mask = torch.ones(count, n, dtype=torch.bool)
    both = torch.stack([cycle_adjacency(n), cycle_adjacency(n, 2)]).to(torch.get_default_dtype())
    adjacency = reordered(both[label], random_orders(mask, generator))
    data = (torch.ones(count, n, 1), adjacency, mask)
    return Task(
        name="cycles",
        x_train=tuple(part[:train] for part in data),
        y_train=label[:train],
        x_test=tuple(part[train:] for part in data),
        y_test=label[train:],
        kind="classification",
        symmetry=graph_symmetry(n),
        class_names=(f"one cycle of {n}", f"two of {n // 2}"),
        about=f"One cycle of {n} nodes or two of {n // 2}, nodes in random order",
    )


def pattern(train: int = 1000, test: int = 200, *, seed: int = 0, pad: int | None = None) -> Task:
    """Find the nodes of a planted pattern in a graph of communities.

    A graph has five communities of 5 to 34 nodes; two nodes are linked with probability 0.5 inside a community and
    0.35 across. One of 100 random patterns of 20 nodes, linked with probability 0.5 inside and to each node of the
    graph, is planted in it. Nodes carry one of three signals, those of a pattern being part of it. The recipe of
    the benchmark PATTERN, which has 10,000 training and 2,000 test graphs; these ones are drawn anew.

    Args:
        train, test: numbers of graphs.
        seed: of everything.
        pad: nodes to pad to; default those of the largest graph, 190 at most.

    Returns:
        A classification of nodes: inputs `(x (B, n, 3) one-hot, adjacency (B, n, n), mask (B, n))`, labels
        `(B, n)`, 1 in the pattern, 0 outside, -1 at padding. Equivariant under `Symmetric(n)`.

    Raises:
        InputError: `pad` is too small for a graph, a number is not positive, or `seed` is out of range.

    Source: V. P. Dwivedi et al., Benchmarking Graph Neural Networks (2023), section on stochastic block models.

    Cost: memory of `4 (train + test) n^2` bytes: 1.7 GB for the full benchmark, 0.2 GB for the default.

    Example:
        >>> task = pattern(3, 2)
        >>> (task.y_train == 1).sum(1)
        tensor([20, 20, 20])
    """
    count = positive_int(train, "train") + positive_int(test, "test")
    generator = torch.Generator().manual_seed(checked_seed(seed))
    shapes = torch.rand(PATTERNS, PATTERN_NODES, PATTERN_NODES, generator=generator, dtype=DRAWN) < IN_PATTERN
    signals = torch.randint(SIGNALS, (PATTERNS, PATTERN_NODES), generator=generator)
    sizes = torch.randint(SMALLEST, LARGEST, (count, COMMUNITIES), generator=generator)
    total = sizes.sum(1) + PATTERN_NODES
    largest = int(total.max())
    n = largest if pad is None else positive_int(pad, "pad")
    require(n >= largest, f"pad={n} is too small: the largest graph has {largest} nodes.")
    mask = torch.arange(n) < total[:, None]
    x = torch.zeros(count, n, SIGNALS)
    adjacency = torch.zeros(count, n, n)
    label = torch.full((count, n), -1)
    for index in range(count):
        size = int(total[index])
        place = torch.randperm(size, generator=generator)
        links, signal = _planted(sizes[index], shapes, signals, generator)
        adjacency[index, :size, :size][place[:, None], place] = links
        x[index, place, signal] = 1.0
        label[index, place] = (torch.arange(size) >= size - PATTERN_NODES).long()
    return Task(
        name="pattern",
        x_train=(x[:train], adjacency[:train], mask[:train]),
        y_train=label[:train],
        x_test=(x[train:], adjacency[train:], mask[train:]),
        y_test=label[train:],
        kind="classification",
        symmetry=graph_symmetry(n, node_labels=True),
        class_names=("community", "pattern"),
        about="Random graphs of five communities with one of 100 patterns of 20 nodes planted in them",
    )


def _planted(
    sizes: Int[Tensor, " communities"],
    shapes: Bool[Tensor, "patterns k k"],
    signals: Int[Tensor, "patterns k"],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "m m"], Int[Tensor, " m"]]:
    """Links and signals of one graph, its communities first, its pattern last."""
    community = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    base = len(community)
    which = int(torch.randint(len(shapes), (1,), generator=generator))
    size = base + PATTERN_NODES
    chance = torch.full((size, size), TO_PATTERN, dtype=DRAWN)
    chance[:base, :base] = torch.where(community[:, None] == community, INSIDE, ACROSS).to(DRAWN)
    links = torch.rand(size, size, generator=generator, dtype=DRAWN) < chance
    links[base:, base:] = shapes[which]
    links = links.triu(1)
    signal = torch.randint(SIGNALS, (base,), generator=generator)
    return (links | links.T).to(torch.get_default_dtype()), torch.cat([signal, signals[which]])
