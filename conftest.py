"""For tests and doctests alike: one thread, fixed seeds, shapes in signatures checked."""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import shape_checks
import torch
from hypothesis import HealthCheck, settings

shape_checks.install("equilearn")
torch.set_num_threads(1)
settings.register_profile(
    "equilearn",
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("equilearn")
