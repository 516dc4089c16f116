"""Prediction in batches, and scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilearn._check import InputError
from equilearn.training import accuracy, predict, relative_error


@given(st.integers(0, 12), st.integers(1, 5))
def test_batches_do_not_show(count: int, size: int):
    x = torch.arange(2.0 * count).reshape(count, 2)
    model = nn.Linear(2, 3)
    with torch.no_grad():
        assert torch.allclose(predict(model, x, batch_size=size), model(x), atol=1e-5)


def test_tuples_in_and_out_and_plain_functions():
    x = torch.arange(5.0), torch.ones(5, 2)
    a, b = predict(lambda pair: (pair[0] + 1, pair[1] * 2), x, batch_size=2)
    assert torch.equal(a, x[0] + 1)
    assert torch.equal(b, x[1] * 2)
    a, b = predict(lambda pair: pair, (x[0][:0], x[1][:0]))
    assert b.shape == (0, 2)


def test_no_gradients_and_the_mode_is_restored_after_an_error():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))
    assert not predict(model, torch.ones(3, 2)).requires_grad
    with pytest.raises(RuntimeError):
        predict(model, torch.ones(3, 5))
    assert model.training
    assert model[0].training


def test_accuracy_of_scores_and_of_classes():
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert accuracy(scores, torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)
    assert accuracy(torch.tensor([1, 1]), torch.tensor([1, 0])) == 0.5
    with pytest.raises(InputError, match="do not fit"):
        accuracy(scores, torch.tensor([0, 1]))
    with pytest.raises(InputError, match="nothing to score"):
        accuracy(scores[:0], torch.tensor([], dtype=torch.int64))


def test_relative_error_is_scale_free_and_handles_zeros():
    y = torch.tensor([[3.0], [4.0]])
    assert relative_error(y, y) == 0.0
    assert relative_error(torch.zeros_like(y), y) == 1.0
    assert relative_error(1e3 * (y + 1), 1e3 * y) == pytest.approx(relative_error(y + 1, y))
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0.0
    assert relative_error(torch.ones(2), torch.zeros(2)) == float("inf")
    with pytest.raises(InputError, match=r"\(2,\) do not fit targets of shape \(2, 1\)"):
        relative_error(torch.zeros(2), y)
