"""Pairs of formulas as graphs: one can be satisfied, the other cannot, and message passing sees no difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from equilearn._check import InputError, InputTypeError, positive_int, require
from equilearn.data._graph_tasks import graph_symmetry, random_orders, reordered
from equilearn.data._seed import checked_seed
from equilearn.data._task import Task

Clause = list[int]
"""Literals of a clause: `2 i` for variable `i`, `2 i + 1` for its negation."""

CLAUSE_SIZE = 3
ATTEMPTS = 1000


def exp_graphs(
    pairs: int = 600,
    *,
    test: int | None = None,
    variables: Sequence[int] = (4, 6, 8),
    planar: tuple[int, int] = (16, 32),
    pad: int | None = None,
    seed: int = 0,
) -> Task:
    """Pairs of graphs of formulas, one satisfiable (label 1) and one not (label 0), that 1-WL cannot tell apart.

    The recipe of the benchmark EXP. Both graphs of a pair hold the same planar component, the graph of a random
    satisfiable formula, and a core that decides: its chain of implications makes all variables equal in one of them
    and only those of each half in the other, while further clauses ask the halves to differ. Literals and clauses
    are nodes; a literal is linked to its negation and to the clauses that hold it. The nodes of every graph stand
    in random order, which the published files do not have: there the order gives the label away.

    Args:
        pairs: of graphs; graph `2 i` is satisfiable and `2 i + 1` its partner.
        test: pairs held out, the last ones; default a sixth. No pair is split.
        variables: sizes of the core, even and at least 4; each pair draws one of them. A core of L variables has
            4 L nodes and 5 L edges.
        planar: fewest and most nodes of the planar component, from 8 to 40; small ones are more frequent.
        pad: nodes to pad to; default what the largest possible graph needs, 64 here.
        seed: of everything.

    Returns:
        A classification with inputs `(x (B, n, 2), adjacency (B, n, n), mask (B, n))`, where `x` holds the type
        (1 literal, 0 clause) and the degree, invariant under `Symmetric(n)`.

    Raises:
        InputError: a setting out of range.

    Source: R. Abboud et al., The Surprising Power of Graph Neural Networks with Random Node Initialization (2021).

    Cost: about a millisecond a pair.

    Example:
        >>> task = exp_graphs(6, variables=(4,), planar=(12, 16))
        >>> [tuple(part.shape) for part in task.x_train], task.y_train
        ([(10, 32, 2), (10, 32, 32), (10, 32)], tensor([1, 0, 1, 0, 1, 0, 1, 0, 1, 0]))
    """
    held = max(positive_int(pairs, "pairs", 2) // 6, 1) if test is None else positive_int(test, "test")
    require(held < pairs, f"test={held} leaves no pair of {pairs} to train on.")
    sizes, (least, most) = _core_sizes(variables), _planar_range(planar)
    needed = 4 * max(sizes) + most
    n = needed if pad is None else positive_int(pad, "pad")
    require(n >= needed, f"pad={n} is too small: graphs may have {needed} nodes.")
    stream = np.random.default_rng(checked_seed(seed))
    adjacency, kind = torch.zeros(2 * pairs, n, n), torch.full((2 * pairs, n), -1)
    for pair in range(pairs):
        size = int(stream.choice(sizes))
        nodes = least + int(stream.integers(most - least + 1, size=2).min())
        extra, links = planar_formula(nodes, stream), None
        for satisfiable in (True, False):
            clauses = core_clauses(size, satisfiable) + [[2 * size + literal for literal in c] for c in extra.clauses]
            links = formula_graph(size + extra.variables, clauses)
            index = 2 * pair + (not satisfiable)
            adjacency[index, : len(links), : len(links)] = links
            kind[index, : len(links)] = (torch.arange(len(links)) < 2 * (size + extra.variables)).long()
    mask = kind >= 0
    order = random_orders(mask, torch.Generator().manual_seed(seed))
    adjacency, kind = reordered(adjacency, order), kind.gather(1, order)
    x = torch.stack([kind.clamp_min(0).to(adjacency.dtype), adjacency.sum(2)], dim=-1)
    label = 1 - torch.arange(2 * pairs) % 2
    cut = 2 * (pairs - held)
    return Task(
        name="exp",
        x_train=(x[:cut], adjacency[:cut], mask[:cut]),
        y_train=label[:cut],
        x_test=(x[cut:], adjacency[cut:], mask[cut:]),
        y_test=label[cut:],
        kind="classification",
        symmetry=graph_symmetry(n),
        class_names=("unsatisfiable", "satisfiable"),
        about=f"{pairs} pairs of graphs of formulas that message passing cannot tell apart",
    )


def _core_sizes(variables: object) -> list[int]:
    if not isinstance(variables, Sequence) or isinstance(variables, str):
        raise InputTypeError(f"variables are the sizes of cores, such as (4, 6, 8), got {variables!r}.")
    sizes = [positive_int(size, "Each of variables", 4) for size in variables]
    require(bool(sizes) and all(size % 2 == 0 for size in sizes), f"variables must be even, got {tuple(variables)}.")
    return sizes


def _planar_range(planar: object) -> tuple[int, int]:
    if not isinstance(planar, Sequence) or isinstance(planar, str) or len(planar) != 2:
        raise InputTypeError(
            f"planar is a pair, fewest and most nodes of the planar component, such as (16, 32), got {planar!r}."
        )
    least, most = (positive_int(size, "Each of planar") for size in planar)
    require(
        8 <= least <= most <= 40,
        f"planar must be a range within 8 to 40, the fewest nodes first, got ({least}, {most}).",
    )
    return least, most


def core_clauses(variables: int, satisfiable: bool) -> list[Clause]:
    """The deciding clauses: `x_i implies x_next(i)` along one cycle (unsatisfiable) or two, and `x_j xor x_k`
    between the halves."""
    half = variables // 2
    if satisfiable:
        following = [(i + 1) % half for i in range(half)] + [half + (i - 1) % half for i in range(half)]
    else:
        following = [(i + 1) % variables for i in range(variables)]
    clauses = [[2 * i + 1, 2 * following[i]] for i in range(variables)]
    for j in range(half):
        k = variables - 1 - j
        clauses += [[2 * j, 2 * k], [2 * j + 1, 2 * k + 1]]
    return clauses


def formula_graph(variables: int, clauses: list[Clause]) -> Tensor:
    """Adjacency `(m, m)`: first the literals, then the clauses."""
    first = 2 * variables
    ends = [(2 * i, 2 * i + 1) for i in range(variables)]
    ends += [(literal, first + index) for index, clause in enumerate(clauses) for literal in clause]
    index = torch.tensor(ends, dtype=torch.int64).T
    links = torch.zeros(first + len(clauses), first + len(clauses))
    links[index[0], index[1]] = 1.0
    return torch.maximum(links, links.T)


def is_satisfiable(variables: int, clauses: list[Clause]) -> bool:
    """By trying all assignments. Cost: O(2^variables) a literal."""
    values = (np.arange(2**variables)[:, None] >> np.arange(variables)) & 1
    literals = np.stack([values, 1 - values], axis=-1).reshape(len(values), -1).astype(bool)
    good = np.ones(len(values), dtype=bool)
    for clause in clauses:
        good &= literals[:, clause].any(axis=1)
    return bool(good.any())


class Formula:
    """Variables and the clauses over them."""

    def __init__(self, variables: int, clauses: list[Clause]):
        self.variables = variables
        self.clauses = clauses


def planar_formula(nodes: int, stream: np.random.Generator) -> Formula:
    """A random satisfiable formula whose graph of `nodes` literals and clauses is planar and connected.

    Random points of the plane are variables or clauses; a clause holds up to three of the variables that are its
    neighbours in the Delaunay triangulation. The clauses around a variable are cut into two arcs, those of its
    positive and of its negative literal, so that splitting it into the two crosses no lines.
    """
    for _ in range(ATTEMPTS):
        variables = max(2, min(round(nodes * stream.uniform(0.22, 0.3)), 10))
        clauses = nodes - 2 * variables
        points = stream.random((variables + clauses, 2))
        held = _clause_neighbours(points, variables, stream)
        if min(map(len, held)) == 0 or not _connected(variables, held):
            continue
        signed = _signed(points, variables, held, stream)
        if is_satisfiable(variables, signed):
            return Formula(variables, signed)
    raise InputError(f"No planar formula with {nodes} nodes was found. Ask for larger planar components.")


def _clause_neighbours(points: np.ndarray, variables: int, stream: np.random.Generator) -> list[list[int]]:
    """For each clause the variables that it holds."""
    from scipy.spatial import Delaunay

    corners = Delaunay(points).simplices
    ends = {(int(a), int(b)) for s in corners for a in s for b in s if a < variables <= b}
    found: list[list[int]] = [[] for _ in range(len(points) - variables)]
    for a, b in sorted(ends):
        found[b - variables].append(a)
    return [
        sorted(stream.choice(held, CLAUSE_SIZE, replace=False).tolist()) if len(held) > CLAUSE_SIZE else held
        for held in found
    ]


def _connected(variables: int, held: list[list[int]]) -> bool:
    reached, waiting = {0}, [0]
    while waiting:
        here = waiting.pop()
        for clause in held:
            if here in clause:
                new = set(clause) - reached
                reached |= new
                waiting += new
    return len(reached) == variables


def _signed(points: np.ndarray, variables: int, held: list[list[int]], stream: np.random.Generator) -> list[Clause]:
    signed: list[Clause] = [[] for _ in held]
    for variable in range(variables):
        around = [index for index, clause in enumerate(held) if variable in clause]
        gap = points[[variables + index for index in around]] - points[variable]
        turn = [around[place] for place in np.argsort(np.arctan2(gap[:, 1], gap[:, 0]))]
        start = int(stream.integers(len(turn)))
        positive = int(stream.integers(len(turn) + 1))
        for place, index in enumerate(turn[start:] + turn[:start]):
            signed[index].append(2 * variable + (place >= positive))
    return signed
