"""Two families of tasks whose symmetry a fixed fact about the world breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn.data.fields._gp_tasks import GPTasks
from equilearn.data.fields._kernels import RBF, Gibbs


@dataclass(frozen=True)
class Topography:
    """A landscape that does not move: `height prod_d sin(frequency x_d) exp(-(|x| / extent)^8)`.

    Flat from about 1.5 times `extent` on.

    Example:
        >>> Topography()(torch.tensor([[0.5], [-12.0]]))
        tensor([1.4962, 0.0000])
    """

    height: float = 1.5
    frequency: float = 3.0
    extent: float = 6.0

    def __call__(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch"]:
        """Height at each location."""
        waves = torch.sin(self.frequency * x).prod(-1)
        return self.height * waves * torch.exp(-((x.square().sum(-1) / self.extent**2) ** 4))


def topography_tasks(*, flat: bool = False, **settings: Any) -> GPTasks:
    """A smooth random function on top of a fixed landscape: temperature over mountains, in miniature.

    `y = f + h + noise` with f from a Gaussian process (RBF, lengthscale 1), `h(x) = 1.5 sin(3 x) exp(-(x / 6)^8)`,
    noise 0.2, places in [-3, 3], context within 2 and 48 targets within 3 of them, 1 to 16 context points.

    `topography_tasks().moved(15)` is another continent: the same landscape elsewhere.

    Args:
        flat: no landscape, `h = 0`.
        settings: of `GPTasks`, where others are wanted.

    Source: after Ashman et al., Approximately Equivariant Neural Processes (2024), whose temperatures over Europe it
        stands for. Exact prediction: -0.532 a target; the best that is equivariant to translations about 0.14 less.

    Example:
        >>> family = topography_tasks()
        >>> task = family.tasks(2, torch.Generator().manual_seed(0))
        >>> bool((family.oracle_log_prob(task) > family.averaged_log_prob(task)).all())
        True
    """
    family = GPTasks(RBF(), mean=None if flat else Topography())
    return replace(family, **settings)


def gibbs_tasks(*, outside: bool = False, **settings: Any) -> GPTasks:
    """A function that varies quickly on one side of x = 0 and slowly on the other, side by a fair coin for each task.

    Lengthscales 0.1 and 4, noise 0.2, places in [-7, 7], context within 2 and 128 targets within 3 of them, 1 to 64
    context points.

    Args:
        outside: places in [13, 27] instead, where nothing changes any more.
        settings: of `GPTasks`, where others are wanted.

    Source: Ashman et al., Approximately Equivariant Neural Processes (2024), section 5.1 and appendix E. Exact
        prediction: -0.455 a target, outside -0.439; the best that is equivariant to translations 0.043 less.

    Example:
        >>> gibbs_tasks().tasks(2, torch.Generator().manual_seed(0)).context.x.shape
        torch.Size([2, 64, 1])
    """
    centre = (13.0, 27.0) if outside else (-7.0, 7.0)
    family = GPTasks(Gibbs(), centre=centre, num_context=(1, 64), num_target=128, jitter=1e-8)
    return replace(family, **settings)
