"""Which of all connected graphs with eight nodes does an untrained network tell apart?

Networks with random weights embed the 11,117 graphs. Message passing is deterministic and blind to what colour
refinement (1-WL) cannot see. A perceptron on the adjacency matrix is made invariant by averaging over random
orders of the nodes, by orders drawn from a learned distribution (here an untrained one), or by exact frames.

An average over random orders is itself random, so "two embeddings differ by more than 0.001", the test in use,
also tells a graph apart from itself. Here a pair counts as told apart only where a valid two-sample test says
so, at a level for all pairs together, and relabelled copies of the same graphs measure how often it is wrong.
Source: Balcilar et al. 2021 (the benchmark), Kim et al. 2023.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import one_of, positive_int, require
from equilearn.actions import Data, graphs, map_data
from equilearn.data import graph8c, wl_equal_pairs
from equilearn.groups import Symmetric
from equilearn.measure import Separation, separation
from equilearn.nn import GIN
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetrization import Learned, Symmetrized, symmetrize
from equilearn.symmetry import Symmetry

METHODS = ("message passing", "frames", "average", "learned")
EXACT = ("message passing", "frames")
BASES = ("mlp", "gin")

OUTPUTS = 10
PUBLISHED_GAP = 1e-3
PUBLISHED_SAMPLES = 10
"""Embeddings from ten samples whose largest difference, summed over outputs, exceeds 0.001 count as different."""

SAMPLER_WIDTH = 16

MOST_LEFT = 10**6
"""Pairs beyond which further rounds are no use."""


def configs(
    preset: str,
    seed: int,
    methods: tuple[str, ...],
    bases: tuple[str, ...],
    nodes: int,
    samples: int,
    repeats: int,
    rounds: int,
    level: float,
    copies: int,
    trials: int,
) -> list[Row]:
    """Methods x base networks x seeds; frames are exact, so that one base is enough."""
    for method in methods:
        one_of(method, METHODS, "method")
    for base in bases:
        one_of(base, BASES, "base network")
    for count in (nodes, samples, repeats, rounds, copies, trials):
        positive_int(count, "Each of nodes, samples, repeats, rounds, copies and trials")
    require(0 < level < 1, f"level must lie between 0 and 1, got {level!r}.")
    shared = {"nodes": nodes, "samples": samples, "repeats": repeats, "level": level, "copies": copies}
    return [
        {
            "method": method,
            "base": base,
            **shared,
            # More rounds on what is left are for the method in question; the others get the first only.
            "rounds": rounds if method == "learned" else 1,
            "seed": seed * 1000 + trial,
        }
        for method in methods
        for base in (bases if method in ("average", "learned") else bases[:1])
        for trial in range(trials)
    ]


def trial(config: dict[str, Any]) -> Row:
    """Pairs that are not told apart, and copies that are; the same with the published test."""
    # Where nothing is random, only rounding limits what is told apart.
    adjacency = graph8c(config["nodes"]).to(torch.float64 if config["method"] in EXACT else torch.float32)
    x = (adjacency.new_ones(*adjacency.shape[:2], 1), adjacency)
    symmetry = Symmetry(Symmetric(config["nodes"]), input=graphs(mask=False))
    generator = torch.Generator().manual_seed(config["seed"])
    pairs: Tensor | None = None
    wrong = copies = 0
    left: list[int] = []
    again = math.nan
    for number in range(config["rounds"]):
        embed = _embedding(config, symmetry, x, number)
        if number == 0:
            again = _told_from_itself(embed, x, generator, config)
        found = _separated(embed, symmetry, x, pairs, config, number, generator)
        wrong, copies = wrong + found.false_positives, copies + found.copies
        left.append(found.undistinguished)
        if found.undistinguished == 0 or found.undistinguished > MOST_LEFT:
            break
        pairs = found.examples
    return {
        "pairs": len(adjacency) * (len(adjacency) - 1) // 2,
        "undistinguished": left[-1],
        "left": left,
        "beyond_refinement": len(wl_equal_pairs(adjacency)),
        "false_positives": wrong,
        "tested_copies": copies,
        "deterministic": found.deterministic,
        "calls": found.repeats,
        "told_from_itself": again,
    }


def _separated(
    embed: nn.Module,
    symmetry: Symmetry,
    x: Data,
    pairs: Tensor | None,
    config: dict[str, Any],
    number: int,
    generator: torch.Generator,
) -> Separation:
    """The test on the pairs that are left, with twice the calls of the round before.

    Every round has a share of the level, and fresh weights and draws: looking again costs no validity.
    """
    every = torch.arange(len(x[0])) if pairs is None else pairs.unique()
    place = torch.zeros(len(x[0]), dtype=torch.int64)
    place[every] = torch.arange(len(every))
    found = separation(
        embed,
        map_data(lambda leaf: leaf[every], x),
        None if pairs is None else place[pairs],
        repeats=config["repeats"] * 2**number,
        level=config["level"] / config["rounds"],
        symmetry=symmetry,
        copies=config["copies"],
        listed=MOST_LEFT,
        deterministic=True if config["method"] in EXACT else None,
        generator=generator,
    )
    return dataclasses.replace(found, examples=every[found.examples])


def _told_from_itself(embed: nn.Module, x: Data, generator: torch.Generator, config: dict[str, Any]) -> float:
    """The published test, applied to each graph and itself: the share that it calls distinguished."""
    calls = math.ceil(PUBLISHED_SAMPLES / config["samples"])
    few = map_data(lambda leaf: leaf[: config["copies"]], x)
    options = {"generator": generator} if isinstance(embed, Symmetrized) else {}
    with torch.no_grad():
        first, second = (torch.stack([embed(few, **options) for _ in range(calls)]).mean(0) for _ in range(2))
    gap = (first - second).abs().sum(1)
    return float((gap > PUBLISHED_GAP).to(torch.float64).mean())


def _embedding(config: dict[str, Any], symmetry: Symmetry, x: Data, number: int) -> nn.Module:
    """A network of random weights, made invariant by the method, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(config["seed"] * 100 + number)
        if config["method"] == "message passing":
            # As many rounds as colours can take to settle, so that nothing is missed for want of depth.
            net = GIN(1, OUTPUTS, depth=config["nodes"] - 1, virtual_node=False, norm="layer")
            return net.to(x[1].dtype).eval()
        base = _base(config["base"], config["nodes"]).to(x[1].dtype)
        if config["method"] == "learned":
            strategy = Learned(samples=config["samples"], eval_samples=config["samples"], width=SAMPLER_WIDTH)
            return symmetrize(base, symmetry, strategy, example=x).eval()
        options = {"samples": config["samples"]} if config["method"] == "average" else {}
        return symmetrize(base, symmetry, config["method"], **options).eval()


def _base(name: str, nodes: int) -> nn.Module:
    return _OrderedMLP(nodes) if name == "mlp" else _OrderedGIN(nodes)


class _OrderedMLP(nn.Module):
    """The perceptron of the benchmark, on the adjacency matrix as it is written."""

    def __init__(self, nodes: int):
        super().__init__()
        widths = (nodes * nodes, 128, 64)
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())]
        self.body = nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], OUTPUTS))

    def forward(self, graph: tuple[Tensor, Tensor]) -> Float[Tensor, "B out"]:
        return self.body(graph[1])


class _OrderedGIN(nn.Module):
    """Message passing that knows the place of each node in the order."""

    def __init__(self, nodes: int):
        super().__init__()
        self.body = GIN(1 + nodes, OUTPUTS, width=32, virtual_node=False, norm=None)

    def forward(self, graph: tuple[Tensor, Tensor]) -> Float[Tensor, "B out"]:
        x, adjacency = graph
        place = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
        return self.body((torch.cat([x, place], -1), adjacency))


def claims(rows: list[Row]) -> list[Claim]:
    """What message passing misses, what the others do not, and how often the test is wrong."""
    passing = _of(rows, "message passing")
    missed = max((abs(row["undistinguished"] - row["beyond_refinement"]) for row in passing), default=math.nan)
    exact, learned = _of(rows, "frames"), _of(rows, "learned")
    wrong, copies = (sum(row[name] for row in rows) for name in ("false_positives", "tested_copies"))
    again = [row["told_from_itself"] for row in _of(rows, "average")]
    return [
        Claim.at_most(
            "message passing",
            "Message passing misses exactly the pairs that colour refinement cannot tell apart (largest difference)",
            missed,
            0,
        ),
        Claim.at_most(
            "frames",
            "An untrained perceptron over exact Laplacian frames tells all pairs apart (pairs left)",
            max((row["undistinguished"] for row in exact), default=math.nan),
            0,
        ),
        Claim.at_most(
            "learned",
            "Untrained networks over learned orders tell all pairs apart, at the level of the test (pairs left)",
            max((row["undistinguished"] for row in learned), default=math.nan),
            0,
        ),
        Claim.at_most(
            "false positives",
            "Relabelled copies are told apart from their originals at most as often as the level of the test says "
            "(upper end of the 95 % interval of the rate, over all methods)",
            _upper(wrong, copies),
            min((row["level"] for row in rows), default=math.nan),
        ),
        Claim.at_least(
            "published test",
            "The published test tells graphs apart from themselves where orders are uniform (least share)",
            min(again, default=math.nan),
            0.95,
        ),
    ]


def _of(rows: list[Row], method: str) -> list[Row]:
    return [row for row in rows if row["method"] == method]


def _upper(found: int, count: int) -> float:
    """Upper end of the interval of a rate (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    if count == 0:
        return math.nan
    return float(beta.ppf(0.975, found + 1, count - found)) if found < count else 1.0


STUDY = Study(
    name="graph8c",
    takes="a minute on two cores; full: some minutes",
    title="Which small graphs an untrained network tells apart",
    statement=(
        "Message passing cannot tell 312 pairs of connected graphs with eight nodes apart. Any network over exact "
        "frames, or over orders drawn from a learned distribution, can; and a test that allows for its randomness "
        "shows it, where the published one also tells every graph apart from itself."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "methods": METHODS,
        "bases": ("mlp",),
        "nodes": 8,
        "samples": 4,
        "repeats": 72,
        "rounds": 6,
        "level": 0.05,
        "copies": 2048,
        "trials": 1,
    },
    full={"bases": BASES, "samples": 10, "copies": 11117, "trials": 5},
    plot={"x": "method", "y": "undistinguished", "series": "base", "logy": True},
    weight=lambda config: {"learned": 20.0, "average": 3.0}.get(config["method"], 1.0),
)
