"""What every test may ask for."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness with a fixed seed."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both precisions: an error that does not shrink with the second is a bug, not rounding."""
    return request.param


@pytest.fixture
def tolerance(dtype: torch.dtype) -> float:
    """How far a law may be off in `dtype`."""
    return 1e-4 if dtype == torch.float32 else 1e-10
