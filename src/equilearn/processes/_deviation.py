"""How far a process departs from its equivariant part, and from its symmetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import require
from equilearn.data.fields import FieldTask
from equilearn.processes._base import NeuralProcess, evaluating

Move = Callable[[Float[Tensor, "B N X"]], Float[Tensor, "B N X"]]


@dataclass(frozen=True)
class FieldDeviation:
    """Of predicted means, with and without fixed inputs.

    Args:
        relative: `|on - off| / |off|`, in the norm over all targets of all tasks.
        ratio: mean over targets of `|(on - off) / off|`, as published: large where a mean crosses zero.
        epsilon: root mean square of `on - off`, in the units of the data; with a move the larger of both places.
        broken: root mean square of what moving the tasks changes in the predictions; None without a move.
    """

    relative: float
    ratio: float
    epsilon: float
    broken: float | None = None

    @property
    def bound(self) -> float:
        """The most that `broken` can be, 2 epsilon, where the equivariant part is exact.

        Source: Ashman et al. 2024, appendix D.
        """
        return 2 * self.epsilon

    def __str__(self) -> str:
        change = "" if self.broken is None else f"; moved, they change by {self.broken:.3g} of at most {self.bound:.3g}"
        return (
            f"departs from its equivariant part by {self.relative:.3g} relative L2 ({self.epsilon:.3g} in the units of "
            f"the data; published ratio {self.ratio:.3g}){change}"
        )


@torch.no_grad()
def deviation(model: NeuralProcess, tasks: FieldTask | Sequence[FieldTask], move: Move | None = None) -> FieldDeviation:
    """How far the predicted means depart from those of the equivariant part.

    Args:
        move: takes all locations to others; predictions there are compared with those here.

    Raises:
        InputError: a model without fixed inputs, no tasks or no targets.
    """
    here = [tasks] if isinstance(tasks, FieldTask) else list(tasks)
    places = [here] if move is None else [here, [task.moved(move) for task in here]]
    on = [torch.cat(_means(model, place)) for place in places]
    with model.equivariant_only():
        off = [torch.cat(_means(model, place)) for place in places]
    require(len(on[0]) > 0, "The tasks have no targets.")
    tiny = torch.finfo(on[0].dtype).tiny
    apart = on[0] - off[0]
    return FieldDeviation(
        relative=float(apart.norm() / off[0].norm().clamp_min(tiny)),
        ratio=float((apart.abs() / off[0].abs().clamp_min(tiny)).mean()),
        epsilon=max(_rms(a - b) for a, b in zip(on, off, strict=True)),
        broken=None if move is None else _rms(on[1] - on[0]),
    )


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


@torch.no_grad()
def equivariance_error(model: NeuralProcess, tasks: FieldTask | Sequence[FieldTask], move: Move) -> float:
    """`|prediction of moved tasks - prediction| / |prediction|` of means and standard deviations together.

    Values at a location do not change when a field moves, so that an equivariant process predicts the same numbers
    at moved targets.

    Args:
        move: takes all locations to others, such as `lambda x: x + 0.5` or a turn `lambda x: x @ R.mT`.

    Example:
        >>> from equilearn.data.fields import PointSet
        >>> from equilearn.processes import CNP
        >>> some = PointSet(torch.rand(4, 8, 1), torch.rand(4, 8, 1))
        >>> equivariance_error(CNP(1), FieldTask(some, some), lambda x: x + 5) > 1e-3
        True
    """
    batches = [tasks] if isinstance(tasks, FieldTask) else list(tasks)
    here, there = (torch.cat(_means(model, some, std=True)) for some in (batches, [b.moved(move) for b in batches]))
    require(len(here) > 0, "The tasks have no targets.")
    return float((there - here).norm() / here.norm().clamp_min(torch.finfo(here.dtype).tiny))


def _means(model: NeuralProcess, tasks: FieldTask | Sequence[FieldTask], std: bool = False) -> list[Tensor]:
    batches = [tasks] if isinstance(tasks, FieldTask) else list(tasks)
    require(len(batches) > 0, "No tasks were given.")
    with evaluating(model):
        found = [model(batch) for batch in batches]
    return [
        torch.cat([p.mean, p.std], -1)[b.target.mask] if std else p.mean[b.target.mask]
        for p, b in zip(found, batches, strict=True)
    ]
