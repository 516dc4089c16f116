"""Which nodes belong to the planted pattern: ways to make a vision transformer see a graph and not its node order.

A transformer reads the adjacency matrix of a graph as an image and labels its nodes. It is trained as it is, averaged
over random orders, over orders from Laplacian eigenspaces (frames), under one learned order (canonical: the learned
distribution without noise) and under a learned distribution of orders. Beside them: the equivariant network that
the learned distribution uses as its sampler, and a threshold on the number of neighbours. The score is balanced
accuracy, the mean over both classes of the share of nodes found, since one node in six is in the pattern.

What the quick preset shows and does not show: learned orders put this transformer far ahead of given ones after a
few hundred steps (0.86 against 0.65 at most). Of the published order, learned > canonical > frames > average, the
first link does not show: one learned order does as well as a distribution of them. And the task hardly needs either:
the message-passing network is 0.03 behind at equal steps, 0.004 with three times as many, in a quarter of the time,
and a threshold on the number of neighbours 0.01. No pretrained weights are used: the published figures start from
ImageNet. Source: Kim et al. 2023; the recipe of the data is that of the benchmark PATTERN
(Dwivedi et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import fmean, stdev, variance
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import one_of, positive_int, require
from equilearn.actions import Data, batch_size, graphs, map_data, sets
from equilearn.data import Task
from equilearn.data import pattern as pattern_task
from equilearn.data._seed import TORCH_SEEDS, checked_seed
from equilearn.groups import Symmetric
from equilearn.nn import GIN, AdjacencyTransformer
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetrization import Average, Frames, Learned, Symmetrized, symmetrize
from equilearn.symmetry import Symmetry
from equilearn.training import fit

STRATEGIES = ("degree", "exact", "exact-long", "plain", "average", "frames", "canonical", "learned")
GIVEN = ("plain", "average", "frames")
"""The strategies whose order of the nodes is not learned."""
PUBLISHED = ("learned", "canonical", "frames", "average")
"""From the best to the worst."""
LARGEST = 190
"""Nodes of the largest graph there can be: five communities of 34 and the pattern's 20."""
TEST_BATCH = 25
PARTS = 20
"""Parts of the test graphs, scored one by one: what they differ by tells the standard error of a score."""
LONGER = 3
"""Times more steps in `exact-long`, which take the message-passing network less time than others their own."""
SECONDS = {"degree": 1, "exact": 7, "exact-long": 20, "plain": 25, "average": 50}
"""Of a quick trial; other strategies take about 70."""


def configs(
    preset: str, seed: int, strategies: tuple[str, ...], repeats: int, train: int, test: int, **settings: Any
) -> list[Row]:
    """Strategies x repeats; the data of a repeat are the same for all strategies."""
    for name in strategies:
        one_of(name, STRATEGIES, "strategy")
    checked_seed(seed, (TORCH_SEEDS - positive_int(repeats, "repeats")) // 1000)
    shared = {"train": positive_int(train, "train"), "test": positive_int(test, "test"), **_checked(settings)}
    # A GPU is taken for the long runs alone: the quick preset gives the same rows with and without one.
    shared["gpu"] = preset == "full"
    return [
        {"strategy": name, "seed": seed * 1000 + repeat, **shared, "steps": settings["steps"] * _times(name)}
        for repeat in range(repeats)
        for name in strategies
    ]


def _times(strategy: str) -> int:
    return LONGER if strategy == "exact-long" else 1


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, if they can be used."""
    for name in ("steps", "batch", "width", "depth", "heads", "patch", "samples", "eval_samples"):
        positive_int(settings[name], name)
    width, heads = settings["width"], settings["heads"]
    require(width % heads == 0, f"width must be a multiple of heads, got width={width} and heads={heads}.")
    require(settings["patch"] <= LARGEST, f"patch must be at most {LARGEST} nodes, got {settings['patch']}.")
    for name in ("learning_rate", "temperature"):
        require(0 < settings[name] < math.inf, f"{name} must be a positive number, got {settings[name]}.")
    for name in ("weight_decay", "entropy_weight"):
        require(0 <= settings[name] < math.inf, f"{name} must be a number >= 0, got {settings[name]}.")
    require(0 <= settings["warmup"] <= 1, f"warmup is a share of the steps from 0 to 1, got {settings['warmup']}.")
    return settings


def trial(config: dict[str, Any]) -> Row:
    """Balanced accuracy on graphs not seen in training, with the full number of samples and with one."""
    task = pattern_task(config["train"], config["test"], seed=config["seed"], pad=LARGEST)
    if config["strategy"] == "degree":
        guess = _by_degree(task)
        score = balanced_accuracy(guess, task.y_test)
        found = {"accuracy": score, "accuracy_one_sample": score, "accuracy_parts": _parts(guess, task.y_test)}
        return {**found, "train_loss": None, "parameters": 1}
    device = torch.device("cuda" if config["gpu"] and torch.cuda.is_available() else "cpu")
    model = _model(config, task).to(device)
    counts = torch.bincount(task.y_train[task.y_train >= 0], minlength=2).double()
    fitted = fit(
        model,
        task.x_train,
        task.y_train,
        loss=partial(_balanced_loss, (counts.sum() / (2 * counts)).float().to(device)),
        steps=config["steps"],
        batch_size=config["batch"],
        learning_rate=config["learning_rate"],
        weight_decay=config["weight_decay"],
        warmup=int(config["warmup"] * config["steps"]),
        seed=config["seed"],
    )
    guess, single = (
        _labels(model, task.x_test, count, config["seed"], device) for count in (config["eval_samples"], 1)
    )
    return {
        "accuracy": balanced_accuracy(guess, task.y_test),
        "accuracy_one_sample": balanced_accuracy(single, task.y_test),
        "accuracy_parts": _parts(guess, task.y_test),
        "train_loss": fitted.history[-1]["loss"],
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _model(config: dict[str, Any], task: Task) -> nn.Module:
    """The network of a strategy, with weights from the seed alone."""
    name, samples = config["strategy"], config["samples"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        if name.startswith("exact"):
            return GIN(3, 2, equivariant=True)
        base = AdjacencyTransformer(
            3,
            2,
            nodes=LARGEST,
            patch=config["patch"],
            per_node=True,
            width=config["width"],
            depth=config["depth"],
            heads=config["heads"],
            feedforward=4 * config["width"],
        )
        base = _Half(base) if config["gpu"] else base
        counts = {"samples": samples, "eval_samples": config["eval_samples"]}
        learned = partial(Learned, temperature=config["temperature"], entropy_weight=config["entropy_weight"])
        makers: dict[str, Callable[[], Any]] = {
            "average": lambda: Average(**counts),
            "frames": lambda: Frames(**counts),
            "canonical": lambda: learned(samples=1, eval_samples=1, noise=0.0),
            "learned": lambda: learned(**counts),
        }
        if name == "plain":
            return base
        example = map_data(lambda t: t[:4], task.x_train)
        return symmetrize(base, Symmetry(Symmetric(LARGEST), graphs(), sets()), makers[name](), example=example)


class _Half(nn.Module):
    """The base model in bfloat16 where it runs on a GPU, as in the published runs; the sampler stays in full."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base

    def forward(self, data: Data) -> Tensor:
        on_gpu = data[0].device.type == "cuda"
        with torch.autocast(data[0].device.type, dtype=torch.bfloat16, enabled=on_gpu):
            return self.base(data).float()


def _balanced_loss(weight: Tensor, output: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in which both classes weigh the same; padding has the label -1."""
    return nn.functional.cross_entropy(output.movedim(-1, 1), labels, weight=weight, ignore_index=-1)


def _labels(model: nn.Module, x: Data, count: int, seed: int, device: torch.device) -> Tensor:
    """The likelier class of every node, from `count` samples where the model draws any."""
    generator = torch.Generator(device).manual_seed(seed)
    found = []
    model.eval()
    with torch.no_grad():
        for start in range(0, batch_size(x), TEST_BATCH):
            part = map_data(lambda t, i=start: t[i : i + TEST_BATCH].to(device), x)
            y = model(part, k=count, generator=generator) if isinstance(model, Symmetrized) else model(part)
            found.append(y.argmax(-1).cpu())
    return torch.cat(found)


def _by_degree(task: Task) -> Tensor:
    """1 where a node's share of neighbours lies nearer to the pattern's mean than to the others'."""
    shares = []
    for _, adjacency, mask in (task.x_train, task.x_test):
        shares.append(adjacency.sum(-1) / mask.sum(1, keepdim=True))
    means = [float(shares[0][task.y_train == label].mean()) for label in (0, 1)]
    return (shares[1] > sum(means) / 2).long()


def balanced_accuracy(guess: Tensor, labels: Tensor) -> float:
    """Mean over the two classes of the share of their nodes that are found."""
    return sum(float((guess[labels == c] == c).double().mean()) for c in (0, 1)) / 2


def _parts(guess: Tensor, labels: Tensor) -> list[float]:
    """Balanced accuracy on up to `PARTS` equal parts of the graphs."""
    pieces = (t.tensor_split(min(PARTS, len(labels))) for t in (guess, labels))
    return [balanced_accuracy(*pair) for pair in zip(*pieces, strict=True)]


def claims(rows: list[Row]) -> list[Claim]:
    """Who is ahead of whom: each by two standard errors of the difference, or not held.

    A standard error is the larger of that over test graphs, paired, and that over repeats. The published order of
    ways to choose node orders is claimed link by link, whatever it turns out to be.
    """
    held = {row["strategy"] for row in rows}
    found = []

    def ahead(name: str, statement: str, better: str, worse: str) -> None:
        if {better, worse} <= held:
            gap, error = difference(rows, better, worse)
            said = f"{statement} (difference in balanced accuracy, two standard errors)"
            found.append(Claim.at_least(name, said, gap, 2 * error))

    ahead("degree", "What is learned is more than a threshold on the number of neighbours", "learned", "degree")
    if "learned" in held and (given := [name for name in GIVEN if name in held]):
        gaps = {name: difference(rows, "learned", name) for name in given}
        least = min(given, key=lambda name: gaps[name][0] - 2 * gaps[name][1])
        orders = "in the order given, averaged over orders, or over Laplacian frames"
        ahead(
            "given",
            f"Learned orders see more than the transformer does {orders} (least clear: {least})",
            "learned",
            least,
        )
    for better, worse in zip(PUBLISHED, PUBLISHED[1:], strict=False):
        ahead(f"{better} > {worse}", f"As published, {better} is ahead of {worse}", better, worse)
    even = ""
    if {"learned", "exact"} <= held:
        gap, error = difference(rows, "learned", "exact")
        even = f"; ahead by {gap:.3f} +- {2 * error:.3f} at equal steps"
    ahead(
        "network",
        "The transformer under learned orders is ahead of the equivariant message-passing network alone with "
        f"{LONGER}x the steps{even}",
        "learned",
        "exact-long",
    )
    return found


def difference(rows: list[Row], better: str, worse: str) -> tuple[float, float]:
    """Mean difference in accuracy of two strategies over the seeds they share, and its standard error.

    The error is the larger of two: over test graphs, from the differences on their parts, and over seeds.
    """
    of = {name: {row["seed"]: row for row in rows if row["strategy"] == name} for name in (better, worse)}
    seeds = [seed for seed in of[better] if seed in of[worse]]
    gaps = [of[better][seed]["accuracy"] - of[worse][seed]["accuracy"] for seed in seeds]
    spreads = []
    for seed in seeds:
        first, second = (of[name][seed]["accuracy_parts"] for name in (better, worse))
        apart = [a - b for a, b in zip(first, second, strict=True)]
        spreads.append(variance(apart) / len(apart) if len(apart) > 1 else math.nan)
    if not seeds:
        return math.nan, math.nan
    over_graphs = math.sqrt(sum(spreads)) / len(seeds)
    over_seeds = stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    return fmean(gaps), over_graphs if math.isnan(over_graphs) else max(over_graphs, over_seeds)


STUDY = Study(
    name="pattern",
    plot={"x": "strategy", "y": "accuracy"},
    takes="5 minutes on two cores; full: days, on a GPU",
    title="Finding a planted pattern with a transformer that must not know the node order",
    statement=(
        "A vision transformer on adjacency matrices finds the nodes of a planted pattern when the order of the nodes "
        "is learned; with given orders it is far behind after the same training. Whether a learned distribution beats "
        "one learned order, frames beat averaging, and all of it beats a message-passing network, is measured beside."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    defaults={
        "strategies": STRATEGIES,
        "repeats": 2,
        "train": 1000,
        "test": 200,
        "steps": 200,
        "batch": 16,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "width": 64,
        "depth": 2,
        "heads": 4,
        "patch": 14,
        "samples": 1,
        "eval_samples": 10,
        "temperature": 0.01,
        "entropy_weight": 0.1,
    },
    full={
        "repeats": 3,
        "train": 10_000,
        "test": 2_000,
        "steps": 25_000,
        "batch": 128,
        "learning_rate": 1e-4,
        "warmup": 0.2,
        "width": 768,
        "depth": 12,
        "heads": 12,
    },
    weight=lambda config: SECONDS.get(config["strategy"], 70),
)
