"""What a calendar says: mean and spread of each place in training, whatever was observed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilearn.data.fields import FieldTask
from equilearn.processes._predictive import Predictive
from equilearn.processes.field._moments import Moments
from equilearn.processes.field._view import View, nearest


class Climatology(nn.Module):
    """Mean and standard deviation of each cell or station in training; of all where a place is new.

    Locations and values are those that a process sees.
    """

    def __init__(self, cells: Moments, view: View, drift: Tensor):
        super().__init__()
        self.places = view.locations(cells.places)
        self.mean, self.std = cells.mean - drift, cells.std
        self.rest = cells.rest

    def forward(self, task: FieldTask) -> Predictive:
        index, distance = nearest(task.target.x.to(self.places), self.places)
        known = (distance < 0.5)[..., None]
        mean, std = (
            torch.where(known, values[index][..., None], other)
            for values, other in zip((self.mean, self.std), self.rest, strict=True)
        )
        return Predictive(mean.to(task.target.y), std.to(task.target.y), task.target.mask)
