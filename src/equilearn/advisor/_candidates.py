"""The strategies that `advise` tries: which fit a symmetry and data, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from equilearn._check import one_of
from equilearn.advisor._networks import (
    BaseModel,
    average_network,
    describe_exact,
    exact_network,
    frames_network,
    is_interpolated,
    learned_network,
    relaxed_network,
)
from equilearn.data import Task
from equilearn.symmetrization import Canonicalize, symmetrize
from equilearn.symmetry import Symmetry


def _never(symmetry: Symmetry) -> bool:
    return False


@dataclass(frozen=True)
class Candidate:
    """One strategy as the advisor sees it.

    Args:
        name: as in rows and on the command line.
        describe: one line for the report, given the symmetry.
        build: `build(task, symmetry, base)` gives a fresh, untrained model; it raises `InputError`
            with the reason where the strategy does not fit, and the advisor lists it as skipped.
        augments: whether training inputs are transformed at random.
        steps: training steps relative to the preset's. What sees new inputs at every step learns longer.
        weight: rough cost of a trial relative to plain, for the time left.
        presets: those that try it unasked.
    """

    name: str
    describe: Callable[[Symmetry], str]
    build: Callable[[Task, Symmetry, BaseModel], nn.Module]
    augments: Callable[[Symmetry], bool] = _never
    steps: float = 1.0
    weight: float = 1.0
    presets: tuple[str, ...] = ("quick", "full")


_CANDIDATES: dict[str, Candidate] = {}


def register_candidate(candidate: Candidate) -> None:
    """Add a strategy to those that `advise` tries."""
    _CANDIDATES[candidate.name] = candidate


def candidates(names: tuple[str, ...] | None = None) -> tuple[Candidate, ...]:
    """The registered strategies, or those named, in the order of registration."""
    for name in names or ():
        one_of(name, _CANDIDATES, "strategy")
    return tuple(c for c in _CANDIDATES.values() if not names or c.name in names)


def _plain(task: Task, symmetry: Symmetry, base: BaseModel) -> nn.Module:
    return base(task)


for _candidate in (
    Candidate("plain", lambda s: "the network as it is, nothing done about the symmetry", _plain),
    Candidate(
        "augment",
        lambda s: f"the plain network, trained on copies transformed at random by {s.group}",
        _plain,
        augments=lambda s: True,
        steps=2.0,
        weight=2.0,
    ),
    Candidate(
        "average",
        lambda s: f"the plain network, averaged over {s.group} in training and in use",
        average_network,
        steps=1.5,
        weight=6.0,
    ),
    Candidate(
        "frames",
        lambda s: "the plain network, averaged over a few poses computed from the input",
        frames_network,
        weight=4.0,
    ),
    Candidate(
        "canonicalize",
        lambda s: "inputs are brought to one canonical pose, then seen by the plain network",
        lambda task, symmetry, base: symmetrize(base(task), symmetry, Canonicalize()),
        weight=1.5,
    ),
    Candidate(
        "learned",
        lambda s: (
            "the plain network at random poses from a small learned distribution, which depends on the input: "
            "2 draws in training, 8 in use (all elements of a small finite group)"
        ),
        learned_network,
        steps=1.5,
        weight=5.0,
    ),
    Candidate(
        "exact",
        describe_exact,
        lambda task, symmetry, base: exact_network(task, symmetry),
        augments=is_interpolated,
        weight=2.5,
    ),
    Candidate(
        "relaxed",
        lambda s: (
            "the network of exact, with learned inputs that stay where they are when the data move: it departs from "
            f"the symmetry of {s.group} where the data ask for it"
        ),
        lambda task, symmetry, base: relaxed_network(task, symmetry),
        weight=4.0,
        presets=("full",),  # a fifth of the time of all others together
    ),
):
    register_candidate(_candidate)
