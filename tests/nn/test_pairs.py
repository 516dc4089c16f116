"""Linear maps between nodes and pairs: as many as there are, the same ones, and never a dense matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilearn import InputError, Symmetric, Symmetry
from equilearn.actions import combine, pairs, sets, trivial
from equilearn.nn import NodeToPair, PairLinear, PairToGraph, PairToNode
from equilearn.reps import intertwiners, permutation
from equilearn.reps import trivial as trivial_rep
from equilearn.testing import CheckFailed, check_layer

KINDS = {
    "PairLinear": (PairLinear, 15, 2, 2),
    "PairToNode": (PairToNode, 5, 2, 1),
    "NodeToPair": (NodeToPair, 5, 1, 2),
    "PairToGraph": (PairToGraph, 2, 2, 0),
}
every_layer = pytest.mark.parametrize("kind", list(KINDS))
ACTIONS = {0: trivial, 1: sets, 2: pairs}


def data(kind, batch, n, channels, generator, dtype=torch.float64):
    shape = (batch, *[n] * KINDS[kind][2], channels)
    return torch.randn(shape, generator=generator, dtype=dtype)


def span_of_layer(layer, order_in, n):
    """The matrix of every map of a one-channel layer: one weight one, the others zero."""
    inputs = torch.eye(n**order_in, dtype=torch.float64).reshape(-1, *[n] * order_in, 1)
    matrices = []
    with torch.no_grad():
        for k in range(len(layer.weight)):
            layer.weight.zero_()
            layer.weight[k] = 1
            matrices.append(layer(inputs).flatten(1).mT)
    return torch.stack(matrices)


def projector(matrices):
    """Onto the span of the rows, and its dimension."""
    _, values, rows = torch.linalg.svd(matrices.flatten(1), full_matrices=False)
    kept = rows[values > 1e-9 * values[0]]
    return kept.mT @ kept, len(kept)


@every_layer
@pytest.mark.parametrize("n", [4, 5])
def test_the_maps_are_all_there_are(kind, n):
    """Their span is that of the intertwiners of tensor powers of the permutation representation."""
    make, count, order_in, order_out = KINDS[kind]
    P = permutation(Symmetric(n))
    powers = [trivial_rep(Symmetric(n)), P, P * P]
    basis = intertwiners(powers[order_in], powers[order_out])
    layer = make(1, 1, bias=False).double()
    mine, rank = projector(span_of_layer(layer, order_in, n))
    theirs, wanted = projector(basis)
    assert len(layer.weight) == rank == wanted == len(basis) == count
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


@every_layer
def test_the_bias_is_all_that_may_be_added(kind):
    """As many constants as invariant tensors of the output."""
    make, _, _, order_out = KINDS[kind]
    group = Symmetric(4)
    P = permutation(group)
    invariant = intertwiners(trivial_rep(group), [trivial_rep(group), P, P * P][order_out])
    bias = make(1, 1).bias
    assert bias.numel() == len(invariant)


@every_layer
def test_conforms(kind, generator):
    make, _, order_in, order_out = KINDS[kind]
    symmetry = Symmetry(Symmetric(4), ACTIONS[order_in](), ACTIONS[order_out]())
    layer = make(2, 3)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, generator=generator)
    check_layer(layer, symmetry, data(kind, 3, 4, 2, generator))


@every_layer
def test_conforms_with_masks(kind, generator):
    make, _, order_in, order_out = KINDS[kind]
    symmetry = Symmetry(Symmetric(4), combine(ACTIONS[order_in](), sets()), ACTIONS[order_out]())
    mask = torch.tensor([[True, False, True, True], [True, True, False, False], [True] * 4])
    check_layer(make(2, 3), symmetry, (data(kind, 3, 4, 2, generator), mask))


class Lopsided(PairLinear):
    """Broken on purpose: the first node gives nothing."""

    def forward(self, x, mask=None):
        return super().forward(torch.cat([0 * x[:, :1], x[:, 1:]], dim=1))


def test_the_check_catches_a_layer_that_knows_the_order(generator):
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(Lopsided(2, 3), Symmetry(Symmetric(4), pairs(), pairs()), data("PairLinear", 3, 4, 2, generator))


@every_layer
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3), seed=st.integers(0, 2**31 - 1))
def test_padding_is_never_seen(kind, sizes, seed):
    make, _, order_in, order_out = KINDS[kind]
    generator = torch.Generator().manual_seed(seed)
    layer = make(2, 3).double()
    x = data(kind, len(sizes), 6, 2, generator)
    mask = torch.arange(6) < torch.tensor(sizes)[:, None]
    inside = mask if order_in == 1 else mask.unsqueeze(1) & mask.unsqueeze(2)
    x = x.masked_fill(~inside.unsqueeze(-1), torch.nan).requires_grad_()
    y = layer(x, mask)
    assert torch.equal(y, layer((x, mask)))
    for b, size in enumerate(sizes):
        alone = layer(x[b : b + 1, :size] if order_in == 1 else x[b : b + 1, :size, :size])[0]
        mine = y[b][(slice(size),) * order_out]
        torch.testing.assert_close(mine, alone, rtol=1e-11, atol=1e-11)
    if order_out:
        outside = ~mask if order_out == 1 else ~(mask.unsqueeze(1) & mask.unsqueeze(2))
        assert bool((y[outside] == 0).all())
    y.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all()) and bool((x.grad[~inside] == 0).all())
    assert all(bool(torch.isfinite(p.grad).all()) for p in layer.parameters())


@every_layer
@pytest.mark.parametrize(("batch", "n"), [(0, 4), (2, 0), (0, 0), (2, 1)])
def test_next_to_nothing(kind, batch, n, generator):
    make, _, _, order_out = KINDS[kind]
    y = make(2, 3)(data(kind, batch, n, 2, generator, torch.float32))
    assert y.shape == (batch, *[n] * order_out, 3)
    assert bool(torch.isfinite(y).all())


@every_layer
def test_gradients(kind, generator):
    layer = KINDS[kind][0](1, 2).double()
    x = data(kind, 2, 3, 1, generator).requires_grad_()
    torch.autograd.gradcheck(layer, (x,))
    torch.autograd.gradcheck(lambda w: torch.func.functional_call(layer, {"weight": w}, (x.detach(),)), (layer.weight,))


@pytest.mark.parametrize("n", [5, 40])
def test_outputs_are_about_as_large_as_inputs(n, generator):
    """So that layers stack; random and constant inputs are the two ends. Bounds are wide: no statistics here."""
    layer = PairLinear(64, 64, bias=False)
    for x in (
        torch.randn(2, n, n, 64, generator=generator),
        torch.randn(2, 1, 1, 64, generator=generator).expand(2, n, n, 64),
    ):
        size = float(layer(x).detach().square().mean().sqrt())
        assert 0.3 < size < 4


def test_a_large_pair_tensor_takes_little_memory():
    """A dense matrix at n = 300 would hold 300^4 numbers, 65 GB in double precision."""
    assert PairLinear(1, 1)(torch.ones(1, 300, 300, 1)).shape == (1, 300, 300, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairLinear(0, 1), "in_channels"),
        (lambda: PairLinear(1, 1.5), "out_channels"),  # type: ignore[arg-type]
        (lambda: PairLinear(2, 1)(torch.zeros(2, 3, 4, 2)), "node pairs"),
        (lambda: PairToNode(2, 1)(torch.zeros(2, 4, 4, 3)), r"\(B, n, n, 2\)"),
        (lambda: PairToGraph(2, 1)(torch.zeros(2, 4, 4, 2, dtype=torch.int64)), "floating-point"),
        (lambda: NodeToPair(2, 1)(torch.zeros(2, 4, 4, 2)), "nodes"),
        (lambda: NodeToPair(2, 1)(torch.zeros(2, 4, 2), torch.ones(2, 3) > 0), "one entry a node"),
        (lambda: PairLinear(2, 1)(torch.zeros(2, 4, 4, 2), torch.ones(2, 4)), "bool"),
        (lambda: PairLinear(2, 1)((torch.zeros(2, 4, 4, 2),) * 3), "tuple of 3"),
        (lambda: PairLinear(2, 1)((torch.zeros(2, 4, 4, 2), None), torch.ones(2, 4) > 0), "another mask"),
        (lambda: PairLinear(2, 1)([[1.0]]), "tensor"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
