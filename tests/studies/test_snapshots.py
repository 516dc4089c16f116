"""Packed matrices: what is kept, what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.studies import Claim, Study, pack_matrix, unpack_matrix


@given(st.integers(1, 9), st.integers(1, 9), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_comes_back_to_half_a_level(rows: int, columns: int, size: float, seed: int):
    matrix = size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    packed = json.loads(json.dumps(pack_matrix(matrix)))
    assert (packed["rows"], packed["columns"]) == (rows, columns)
    back = unpack_matrix(packed)
    step = float(matrix.max() - matrix.min()) / 255
    assert back.shape == matrix.shape
    assert float((back - matrix).abs().max()) <= 0.5 * step + 1e-9 * size


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_takes_any_real_dtype(dtype: torch.dtype):
    assert unpack_matrix(pack_matrix(torch.eye(3).to(dtype))).equal(torch.eye(3, dtype=torch.float64))
    assert unpack_matrix(pack_matrix(np.full((2, 3), 7.0))).equal(torch.full((2, 3), 7.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.zeros(3), "takes a matrix"),
        (torch.zeros(0, 3), "got the shape \\(0, 3\\)"),
        (torch.zeros(513, 2), "Keep a block"),
        (torch.tensor([[1.0, float("nan")]]), "1 of 2 entries"),
        (torch.tensor([[-1.7e308, 1.7e308]], dtype=torch.float64), "too far apart"),
    ],
)
def test_refuses_what_cannot_be_drawn(matrix: torch.Tensor, message: str):
    with pytest.raises(InputError, match=message):
        pack_matrix(matrix)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 3},
        {"rows": True},
        {"rows": 10**9},
        {"columns": None},
        {"low": "0"},
        {"high": float("inf")},
        {"data": "AAA"},
        {"data": "é"},
        {"data": None},
    ],
)
def test_refuses_what_is_not_whole(change: dict[str, Any]):
    with pytest.raises(InputError):
        unpack_matrix({**pack_matrix(torch.eye(2)), **change})
    with pytest.raises(InputError):
        unpack_matrix([change])


def _study(plot: Any) -> Study:
    return Study("s", "S", "S.", lambda preset, seed: [], lambda config: {}, lambda rows: list[Claim](), plot=plot)


def test_figures_are_checked_when_they_are_declared():
    assert _study({}).figures == _study([]).figures == []
    assert _study({"x": "n", "y": "m"}).figures == [{"x": "n", "y": "m"}]
    with pytest.raises(InputError, match="kind of figure in the study s 'curve'. Did you mean 'curves'"):
        _study([{"kind": "curve"}])
    with pytest.raises(InputError, match="key of the matrices drawn by the study s 'lable'. Did you mean 'label'"):
        _study([{"kind": "matrices", "lable": "kernel"}])
