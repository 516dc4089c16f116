"""Exact predictions under several hypotheses at once: which state a kernel is in, where a task lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equilearn.data.fields._posterior import Mixture, condition
from equilearn.data.fields._sets import FieldTask

if TYPE_CHECKING:
    from equilearn.data.fields._gp_tasks import GPTasks

CHUNK = 2**24
"""Entries of covariance matrices held at once: 128 MiB in float64."""


def mixture(family: GPTasks, task: FieldTask, places: Tensor | None) -> Mixture:
    """The posterior over all hypotheses, each as likely as the others a priori.

    `places` `(S, X)` are what the middle of a task's locations may be; None where it is what it is.
    """
    n, t = task.context.x.shape[1], task.target.x.shape[1]
    where = 1 if places is None else len(places)
    covariances = 1 if family.kernel.stationary else family.kernel.states * where
    size = covariances * (n * (n + 2 * t) + t) + where * (n + t) * (2 + task.dims)
    step = max(1, CHUNK // max(1, size))
    parts = [_chunk(family, task[start : start + step], places) for start in range(0, len(task), step)]
    return Mixture(*(torch.cat([getattr(part, name) for part in parts]) for name in ("log_weights", "means", "vars")))


def _chunk(family: GPTasks, task: FieldTask, places: Tensor | None) -> Mixture:
    """All of some tasks: hypotheses that need a covariance each are C, those that share one R."""
    x, x_t = (part.x.double().unsqueeze(1) for part in (task.context, task.target))
    y = task.context.y[..., 0].double()
    if places is not None:
        to = places.to(x)[:, None] - _middle(task)[:, None, None]
        x, x_t = x + to, x_t + to
    mean, mean_t = family.average(x), family.average(x_t)  # (B, S, N), (B, S, T)
    residual = y.unsqueeze(1) - mean
    if family.kernel.stationary:
        state = torch.zeros(len(task), 1, dtype=torch.long, device=x.device)
        x, x_t = x[:, :1], x_t[:, :1]
        residual, mean_t = residual.unsqueeze(1), mean_t.unsqueeze(1)  # (B, 1, S, N): one covariance for all places
    else:
        states = family.kernel.states
        state = torch.arange(states, device=x.device).repeat_interleave(x.shape[1]).expand(len(task), -1)
        x, x_t = x.repeat(1, states, 1, 1), x_t.repeat(1, states, 1, 1)
        residual, mean_t = (v.repeat(1, states, 1).unsqueeze(2) for v in (residual, mean_t))  # (B, C, 1, N)
    nugget = family.nugget
    found = condition(
        family.covariance(x, x, state) + nugget * torch.eye(x.shape[2], dtype=x.dtype, device=x.device),
        family.covariance(x, x_t, state),
        torch.full(x_t.shape[:3], family.kernel.variance + nugget, dtype=x.dtype, device=x.device),
        residual.transpose(-1, -2),
        task.context.mask.unsqueeze(1).expand(x.shape[:3]),
    )
    means = (found.mean + mean_t.transpose(-1, -2)).transpose(1, 2).flatten(2)  # (B, T, C R)
    vars = found.var.unsqueeze(-1).expand_as(found.mean).transpose(1, 2).flatten(2)
    return Mixture(torch.log_softmax(found.log_evidence.flatten(1), 1), means, vars)


def _middle(task: FieldTask) -> Tensor:
    """Half-way between the least and the largest coordinates of a task, `(B, X)`: moves along with it."""
    x = torch.cat([task.context.x, task.target.x], 1).double()
    mask = torch.cat([task.context.mask, task.target.mask], 1).unsqueeze(-1)
    low = torch.where(mask, x, torch.inf).amin(1)
    high = torch.where(mask, x, -torch.inf).amax(1)
    return torch.nan_to_num((low + high) / 2)
