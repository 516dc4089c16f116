"""One cycle of twelve nodes or two of six: a network learns which node orders to be shown.

No message-passing network tells the two apart. A perceptron on the adjacency matrix could, but 21,621,600 labelled
copies of the two are too many to learn by heart, so that averaging over random orders stays at chance. Without
noise a learned order is no way out: on these graphs all nodes have the same score, and the order is random
again. A learned distribution of orders breaks the tie with its noise, and succeeds within a few hundred steps. With
eight nodes there are only 2,835 copies, and averaging succeeds too.

A perceptron 2-layers wide sees every node's feature (a one) and the adjacency matrix. Batches are 8 graphs of either
kind in fresh random orders. Source: Kim et al. 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import one_of, positive_int, require
from equilearn.actions import Data, graphs
from equilearn.data import cycles as cycles_task
from equilearn.groups import Symmetric
from equilearn.nn import GIN
from equilearn.studies._study import Claim, Row, Study
from equilearn.symmetrization import Average, Learned, Symmetrized, symmetrize
from equilearn.symmetry import Symmetry
from equilearn.training import fit

STRATEGIES = ("learned", "average", "canonical", "message passing")
COUNTS = (1, 10, 50)
"""Samples with which accuracy is measured."""
HALF_BATCH = 8
CONTROL = 8
"""Nodes of the control, of which there are few labelled copies."""


def configs(
    preset: str,
    seed: int,
    nodes: tuple[int, ...],
    steps: int,
    average_steps: int,
    control_steps: int,
    repeats: int,
    **settings: Any,
) -> list[Row]:
    """Strategies x sizes x repeats, and averaging on small graphs as a control."""
    for count in nodes:
        positive_int(count, "Each of nodes", 6)
        require(count % 2 == 0, f"nodes must be even, to split in two cycles of one length; got {count}.")
    for name in ("samples", "test"):
        positive_int(settings[name], name)
    control = {"strategy": "average", "nodes": CONTROL, "steps": positive_int(control_steps, "control_steps")}
    taken = dict.fromkeys(STRATEGIES, positive_int(steps, "steps"))
    taken["average"] = positive_int(average_steps, "average_steps")
    grid = [{"strategy": name, "nodes": n, "steps": taken[name]} for n in nodes for name in STRATEGIES]
    return [
        {**case, **settings, "seed": seed * 1000 + repeat}
        for repeat in range(positive_int(repeats, "repeats"))
        for case in [*grid, *([] if CONTROL in nodes else [control])]
    ]


def trial(config: dict[str, Any]) -> Row:
    """Accuracy on graphs in fresh orders, with 1, 10 and 50 samples each."""
    n, seed = config["nodes"], config["seed"]
    task = cycles_task(2 * HALF_BATCH, config["test"], n=n, seed=seed)
    x, test = task.x_train[:2], task.x_test[:2]  # no padding: no mask
    group = Symmetric(n)
    symmetry = Symmetry(group, graphs(mask=False))

    def reorder(x: Data, generator: torch.Generator) -> Data:
        return symmetry.act_input(group.sample((2 * HALF_BATCH,), generator=generator), x)

    model = _model(config, symmetry, x)
    fitted = fit(
        model,
        x,
        task.y_train,
        loss=_loss,
        steps=config["steps"],
        batch_size=2 * HALF_BATCH,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        warmup=min(100, config["steps"]),
        clip=0.1,
        augment=reorder,
        seed=seed,
    )
    scores = {f"accuracy_{k}": _accuracy(model, test, task.y_test, k, seed) for k in COUNTS}
    return {
        **scores,
        "train_loss": fitted.history[-1]["loss"],
        "parameters": sum(p.numel() for p in model.parameters()),
    }


class Perceptron(nn.Module):
    """All node features and the adjacency matrix in one vector, to one logit."""

    def __init__(self, n: int):
        super().__init__()
        sizes = (n + n * n, 256, 256, 10)
        layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(10, 1))

    def forward(self, data: Data) -> Tensor:
        x, adjacency = data
        return self.net(torch.cat([x.flatten(1), adjacency.flatten(1)], dim=1))


def _model(config: dict[str, Any], symmetry: Symmetry, x: Data) -> nn.Module:
    """The network of a strategy, with weights from the seed alone."""
    samples, largest = config["samples"], max(COUNTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        if config["strategy"] == "message passing":
            return GIN(1, 1)
        weights = {"entropy_weight": config["entropy_weight"], "eval_samples": largest}
        made = {
            "average": lambda: Average(samples, largest),
            "canonical": lambda: Learned(samples=1, noise=0.0, **weights),
            "learned": lambda: Learned(samples=samples, temperature=config["temperature"], **weights),
        }[one_of(config["strategy"], STRATEGIES, "strategy")]()
        return symmetrize(Perceptron(config["nodes"]), symmetry, made, example=x)


def _loss(output: Tensor, label: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(output.squeeze(-1), label.to(output.dtype))


@torch.no_grad()
def _accuracy(model: nn.Module, x: Data, label: Tensor, count: int, seed: int) -> float:
    model.eval()
    if isinstance(model, Symmetrized):
        output = model(x, k=count, generator=torch.Generator().manual_seed(seed + count))
    else:
        output = model(x)
    return float(((output.squeeze(-1) > 0).long() == label).double().mean())


def claims(rows: list[Row]) -> list[Claim]:
    """The worst run of those that should succeed, and the best of those that should not."""

    def scores(strategy: str, nodes: int, names: tuple[str, ...]) -> Iterator[float]:
        return (row[name] for row in rows if (row["strategy"], row["nodes"]) == (strategy, nodes) for name in names)

    large = max((row["nodes"] for row in rows if row["strategy"] != "average"), default=CONTROL)
    nan, best = float("nan"), f"accuracy_{COUNTS[-1]}"
    every = tuple(f"accuracy_{k}" for k in COUNTS)
    return [
        Claim.at_least(
            "learned",
            f"A learned distribution tells one cycle from two with 50 samples (worst run, {large} nodes)",
            min(scores("learned", large, (best,)), default=nan),
            0.95,
        ),
        Claim.at_most(
            "average",
            f"Averaging over random orders, trained for longer, does not (best run, {large} nodes)",
            max(scores("average", large, (best,)) if large != CONTROL else (), default=nan),
            0.62,
        ),
        Claim.at_most(
            "canonical",
            "One learned order, without noise, does not (best run and number of samples)",
            max(scores("canonical", large, every), default=nan),
            0.6,
        ),
        Claim.at_most(
            "message passing",
            "A message-passing network does not (best run)",
            max(scores("message passing", large, (best,)), default=nan),
            0.6,
        ),
        Claim.at_least(
            "control",
            f"On {CONTROL} nodes, with few labelled copies, averaging succeeds (worst run)",
            min(scores("average", CONTROL, (best,)), default=nan),
            0.95,
        ),
    ]


def _weight(config: Mapping[str, Any]) -> float:
    return config["steps"] * (5 if config["strategy"] in ("learned", "canonical") else 1) * config["nodes"] ** 2


STUDY = Study(
    name="cycles",
    title="Learning which node orders to look at",
    statement=(
        "A perceptron on adjacency matrices tells one cycle of twelve nodes from two of six when it is shown orders "
        "from a learned distribution; random orders, one learned order and message passing leave it at chance."
    ),
    configs=configs,
    trial=trial,
    claims=claims,
    takes="a minute or two on two cores; full: hours",
    defaults={
        "nodes": (12,),
        "steps": 250,
        "average_steps": 2000,
        "control_steps": 1000,
        "samples": 10,
        "temperature": 0.1,
        "entropy_weight": 0.1,
        "repeats": 3,
        "test": 400,
    },
    full={
        "nodes": (12, 16),
        "steps": 1000,
        "average_steps": 20_000,
        "control_steps": 2000,
        "repeats": 10,
        "test": 1000,
    },
    plot={"x": "nodes", "y": "accuracy_50", "series": "strategy"},
    weight=_weight,
)
