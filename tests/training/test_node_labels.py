"""A label a node: padding counts in no loss and no score."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equilearn._check import InputError
from equilearn.training import accuracy, fit
from equilearn.training._loss import check_fit, cross_entropy


def test_loss_is_that_of_the_labelled_nodes(generator: torch.Generator):
    output = torch.randn(3, 4, 5, generator=generator, requires_grad=True)
    labels = torch.randint(5, (3, 4), generator=generator)
    labels[0, 2:] = -1
    labels[2] = -1
    known = labels >= 0
    loss = cross_entropy(output, labels)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(output[known], labels[known]))
    loss.backward()
    assert not output.grad[~known].any() and output.grad[known].any()
    assert float(cross_entropy(output.detach(), torch.full((3, 4), -1))) == 0.0
    one_each = labels[:, 0].clamp_min(0)
    assert torch.equal(cross_entropy(output[:, 0], one_each), nn.functional.cross_entropy(output[:, 0], one_each))


def test_accuracy_leaves_out_what_has_no_label():
    labels = torch.tensor([[0, 1, -1], [1, -1, -1]])
    scores = nn.functional.one_hot(torch.tensor([[0, 0, 0], [1, 1, 1]]), 2)
    assert accuracy(scores, labels) == pytest.approx(2 / 3)
    assert accuracy(scores.argmax(-1), labels) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="all 6 labels are -1"):
        accuracy(scores, torch.full((2, 3), -1))


def test_nodes_are_learned(generator: torch.Generator):
    x = torch.randn(64, 6, 2, generator=generator)
    y = (x[..., 0] > 0).long()
    y[:, 4:] = -1
    fitted = fit(nn.Linear(2, 2), x, y, steps=200, learning_rate=0.05, generator=generator)
    assert accuracy(fitted.model(x), y) > 0.95


@pytest.mark.parametrize(
    ("output", "labels", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), r"outputs of shape \(B, n, classes\), got \(2, 3\)"),
        (torch.zeros(2, 4, 2), torch.zeros(2, 3).long(), r"got \(2, 4, 2\) for training labels of shape \(2, 3\)"),
        (torch.zeros(2, 3, 2), torch.full((2, 3), -2), "from -2 to -2"),
        (torch.zeros(2, 3, 2), torch.full((2, 3), 2), "needs 3 outputs"),
        (torch.zeros(2, 3, 2), torch.full((2, 3), -1), "None of the 6 training labels"),
        (torch.zeros(2, 3, 2), torch.zeros(2, 3), "dtype int64"),
        (torch.zeros(2, 3, 2), torch.zeros(2, 3, 1).long(), r"\(B, n\) for a label a node"),
    ],
)
def test_labels_that_do_not_fit_are_refused(output: torch.Tensor, labels: torch.Tensor, message: str):
    with pytest.raises(InputError, match=message):
        check_fit("cross_entropy", output, labels, labels)
