"""Straight-through gradients against dense matrices, `stopgrad(P - S) + S`."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.symmetrization import soft_permutation, straight_through
from equilearn.symmetrization._soft_sort import descending


def setting(seed, n=5, size=3):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, n, dtype=torch.float64, generator=generator)
    soft = soft_permutation(scores).requires_grad_()
    p = descending(scores, None)
    hard = torch.zeros(size, n, n, dtype=torch.float64).scatter_(1, p[:, None], 1.0)
    return generator, soft, p, (hard - soft).detach() + soft


def looked_up(x, p, axes):
    for axis in axes:
        index = p.reshape(len(p), *(1,) * (axis - 1), -1, *(1,) * (x.ndim - axis - 1))
        x = torch.gather(x, axis, index.expand(x.shape))
    return x


FORMS = {
    "features": ((3, 5, 3), (1,)),
    "numbers": ((3, 5), (1,)),
    "pairs": ((3, 5, 5), (1, 2)),
    "pairs with channels": ((3, 5, 5, 2), (1, 2)),
    "last axis": ((3, 4, 5), (2,)),
}


def dense(x, matrix, axes, inverse):
    m = matrix.mT if inverse else matrix
    for axis in axes:
        x = torch.einsum("bji,bi...->bj...", m, x.movedim(axis, 1)).movedim(1, axis)
    return x


@given(st.sampled_from(sorted(FORMS)), st.booleans(), st.integers(0, 99))
def test_the_gradient_is_that_of_matrix_products(form, inverse, seed):
    shape, axes = FORMS[form]
    generator, soft, p, matrix = setting(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(shape, dtype=torch.float64, generator=generator)
    moved = looked_up(x, p if inverse else p.argsort(-1), axes)
    ours = straight_through(moved, soft, p, axes, inverse=inverse)
    theirs = dense(x, matrix, axes, inverse)
    assert torch.equal(ours, moved)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    a = torch.autograd.grad((ours.sin() * weight).sum(), (soft, x), retain_graph=True)
    b = torch.autograd.grad((theirs.sin() * weight).sum(), (soft, x))
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_values_are_exact_in_float32():
    _, soft, p, _ = setting(0)
    moved = torch.rand(3, 5, 2)
    assert torch.equal(straight_through(moved, soft.float(), p), moved)


def test_without_gradients_nothing_is_done():
    _, soft, p, _ = setting(0)
    moved = torch.rand(3, 5, 2)
    with torch.no_grad():
        assert straight_through(moved, soft, p) is moved
    assert straight_through(moved, soft.detach(), p) is moved


def test_axes_of_another_length_are_refused():
    _, soft, p, _ = setting(0)
    with pytest.raises(InputError, match="are not those that 5 items were moved on"):
        straight_through(torch.rand(3, 4, 2), soft, p)


class Graph(nn.Module):
    """Node pairs and node features in, node features and node pairs out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(35, 32), nn.Tanh(), nn.Linear(32, 35)).double()

    def forward(self, data):
        x, a = data
        y = self.net(torch.cat([x.flatten(1), a.flatten(1)], 1))
        return y[:, :10].reshape(-1, 5, 2), y[:, 10:].reshape(-1, 5, 5)


def test_a_whole_model_has_the_gradient_of_dense_matrices():
    """`f(P^T x, P^T A P)`, results back by `P` and `P . P^T`: down to the sampler network's parameters."""
    group = eq.Symmetric(5)
    symmetry = eq.Symmetry(group, eq.actions.graphs(mask=False), eq.actions.graphs(mask=False))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, 2, dtype=torch.float64, generator=generator)
    a = torch.rand(4, 5, 5, dtype=torch.float64, generator=generator)
    torch.manual_seed(0)
    model = eq.symmetrize(Graph(), symmetry, "learned", example=(x, a), samples=4).eval()
    own = [p for p in model.strategy.parameters() if p.requires_grad]

    def loss(y):
        return y[0].square().sum() + (y[1] ** 3).sum()

    ours = torch.autograd.grad(loss(model((x, a), k=4, generator=torch.Generator().manual_seed(1))), own)
    found = model.strategy.sample(symmetry, (x, a), 4, torch.Generator().manual_seed(1))
    soft, p = found.soft[0].flatten(0, 1), found.g.flatten(0, 1)
    hard = torch.zeros_like(soft).scatter_(1, p[:, None], 1.0)
    matrix = (hard - soft).detach() + soft
    xs, as_ = x.repeat_interleave(4, 0), a.repeat_interleave(4, 0)
    y, b = model.model((matrix.mT @ xs, matrix.mT @ as_ @ matrix))
    y, b = (matrix @ y).unflatten(0, (4, 4)).mean(1), (matrix @ b @ matrix.mT).unflatten(0, (4, 4)).mean(1)
    theirs = torch.autograd.grad(loss((y, b)), own)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)
