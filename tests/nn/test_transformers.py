"""Plain base networks: shapes, masks, parameter counts, and that they do know the order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn import InputError, Symmetric, Symmetry
from equilearn.actions import combine, graphs, points, sets, trivial
from equilearn.nn import AdjacencyTransformer, FlatMLP, PairTransformer, TokenTransformer
from equilearn.testing import CheckFailed, check_layer


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_the_published_parameter_count():
    """Of the n-body base model: 8 layers of width 64, feed-forward 64, 25 tokens of 8 channels, 3 outputs."""
    assert parameters(PairTransformer(5, vectors=1, scalars=1)) == 208_387
    layer = 4 * 64 * 64 + 4 * 64 + 2 * (64 * 64 + 64) + 4 * 64
    head = 64 * 64 + 64 + 64 * 3 + 3
    assert parameters(TokenTransformer(8, 3, tokens=25, depth=8)) == 8 * 64 + 64 + 25 * 64 + 8 * layer + 128 + head


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_without_positions_it_is_a_network_of_sets(pooled, masked, generator):
    net = TokenTransformer(3, 2, width=8, depth=2, heads=2, pooled=pooled, dropout=0.1)
    x = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64)
    out = trivial() if pooled else sets()
    if masked:
        x = (x, torch.tensor([[True, False, True, True], [True] * 4, [False, False, True, False]]))
    check_layer(net, Symmetry(Symmetric(4), combine(sets(), sets()) if masked else sets(), out), x)


def test_with_positions_it_knows_the_order(generator):
    net = TokenTransformer(3, 2, tokens=4, width=8, depth=1)
    x = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64)
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(net, Symmetry(Symmetric(4), sets(), trivial()), x)
    identity = Symmetry(Symmetric(1) * Symmetric(1), trivial(), trivial())
    check_layer(net, identity, x)


def test_the_other_plain_networks_conform_but_for_the_symmetry(generator):
    """Batches, gradients and state under the group of one element; and they break the real ones."""
    one = Symmetry(Symmetric(1) * Symmetric(1), trivial(), trivial())
    x = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64)
    graph = (
        x,
        torch.rand(3, 4, 4, generator=generator, dtype=torch.float64),
        torch.rand(3, 4, generator=generator) < 0.8,
    )
    cases = [
        (PairTransformer(4, vectors=1, scalars=1, width=8, depth=1), x, points(4, vectors=1, scalars=1), points(4)),
        (AdjacencyTransformer(7, 2, nodes=6, patch=2, per_node=True, width=8, depth=1), graph, graphs(), sets()),
        (AdjacencyTransformer(7, 2, nodes=4, width=8, depth=1), graph, graphs(), trivial()),
        (FlatMLP(28 + 16 + 4, 3), graph, graphs(), trivial()),
        (FlatMLP(28, (4, 3)), x, sets(), sets()),
    ]
    for net, data, moved, out in cases:
        check_layer(net, one, data)
        with pytest.raises(CheckFailed, match="not equivariant"):
            check_layer(net, Symmetry(Symmetric(4), moved, out), data)


@pytest.mark.parametrize("tokens", [None, 5])
@pytest.mark.parametrize("pooled", [False, True])
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3), seed=st.integers(0, 2**31 - 1))
def test_padding_is_never_seen(tokens, pooled, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    net = TokenTransformer(2, 3, tokens=tokens, width=8, depth=2, heads=2, pooled=pooled).double()
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    x = torch.randn(len(sizes), 5, 2, generator=generator, dtype=torch.float64)
    x = x.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    y = net(x, mask)
    assert bool(torch.isfinite(y).all())
    if tokens is None:
        for b, size in enumerate(sizes):
            alone = net(x[b : b + 1, :size])[0]
            torch.testing.assert_close(y[b] if pooled else y[b, :size], alone, rtol=1e-10, atol=1e-10)
    else:
        other = torch.where(mask.unsqueeze(-1), x.detach(), torch.full_like(x, 5.0))
        assert torch.equal(net(other, mask), y)
    assert pooled or bool((y[~mask] == 0).all())
    y.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all()) and bool((x.grad[~mask] == 0).all())
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in net.parameters())


@pytest.mark.parametrize("per_node", [False, True])
@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=3), edges=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_adjacency_transformer_never_sees_padding(per_node, sizes, edges, seed):
    """A graph alone, in its own size, gives what it gives among larger ones."""
    generator = torch.Generator().manual_seed(seed)
    net = AdjacencyTransformer(2, 3, nodes=8, patch=3, per_node=per_node, width=8, depth=1).double()
    mask = torch.arange(7) < torch.tensor(sizes)[:, None]
    outside = ~(mask.unsqueeze(1) & mask.unsqueeze(2))
    x = torch.randn(len(sizes), 7, 2, generator=generator, dtype=torch.float64)
    adjacency = (torch.rand(len(sizes), 7, 7, generator=generator) < 0.5).double()
    links = adjacency.masked_fill(outside, torch.nan)
    if edges:
        links = torch.stack(
            [torch.nn.functional.pad(a.nonzero(), (0, 0, 0, 49 - int(a.sum())), value=-1) for a in adjacency]
        )
    y = net((x.masked_fill(~mask.unsqueeze(-1), torch.nan), links, mask))
    for b, size in enumerate(sizes):
        alone = net((x[b : b + 1, :size], adjacency[b : b + 1, :size, :size]))[0]
        torch.testing.assert_close(y[b, :size] if per_node else y[b], alone, rtol=1e-10, atol=1e-10)
    assert not per_node or bool((y[~mask] == 0).all())


def test_patches_hold_the_pixels_they_should(generator):
    """Against slices of the image: adjacency, features on the diagonal, a one for each node."""
    net = AdjacencyTransformer(2, 3, nodes=5, patch=2)
    x, adjacency = torch.randn(1, 5, 2, generator=generator), torch.rand(1, 5, 5, generator=generator)
    from equilearn.nn._graph_batch import read_graphs

    tokens = net._tokens(read_graphs((x, adjacency), 2, 1, "test"))
    image = torch.zeros(6, 6, 4)
    image[:5, :5, 0] = adjacency[0]
    for i in range(5):
        image[i, i, 1:3], image[i, i, 3] = x[0, i], 1
    for row in range(3):
        for column in range(3):
            expected = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten()
            assert torch.equal(tokens[0, 3 * row + column], expected)


def test_pair_tokens_hold_what_they_should(generator):
    """By the attention of nobody: a network whose body is replaced by the tokens themselves."""
    x = torch.randn(1, 3, 7, generator=generator)
    net = PairTransformer(3, vectors=1, scalars=1)
    seen = []
    net.body.lift.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    net(x)
    tokens = seen[0].reshape(3, 3, 8)
    for i in range(3):
        for j in range(3):
            if i == j:
                torch.testing.assert_close(tokens[i, i], torch.cat([x[0, i, :6], torch.zeros(2)]))
            else:
                distance = (x[0, i, :3] - x[0, j, :3]).square().sum()
                expected = torch.stack([x[0, i, 6] * x[0, j, 6], distance])
                torch.testing.assert_close(tokens[i, j], torch.cat([torch.zeros(6), expected]))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (1, 1)])
def test_next_to_nothing(shape):
    assert TokenTransformer(2, 3)(torch.ones(*shape, 2)).shape == (shape[0], 3)
    assert TokenTransformer(2, 3, pooled=False)(torch.ones(*shape, 2)).shape == (*shape, 3)
    graph = torch.ones(*shape, 2), torch.ones(*shape, shape[1])
    assert AdjacencyTransformer(2, 3, nodes=4, patch=2)(graph).shape == (shape[0], 3)
    assert AdjacencyTransformer(2, 3, nodes=4, patch=2, per_node=True)(graph).shape == (*shape, 3)
    assert PairTransformer(1)(torch.ones(shape[0], 1, 3)).shape == (shape[0], 1, 3)
    assert FlatMLP(3, (2, 2))(torch.ones(shape[0], 3)).shape == (shape[0], 2, 2)


def test_gradients(generator):
    net = TokenTransformer(2, 1, width=4, depth=1, heads=2).double()
    torch.autograd.gradcheck(net, torch.randn(2, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True))
    net = PairTransformer(2, vectors=1, scalars=1, width=4, depth=1, heads=2).double()
    torch.autograd.gradcheck(net, torch.randn(1, 2, 7, generator=generator, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenTransformer(2, 1, width=10, heads=4), "heads must divide"),
        (lambda: TokenTransformer(2, 1, dropout=-0.1), "share"),
        (lambda: TokenTransformer(2, 1, tokens=3)(torch.zeros(2, 4, 2)), r"\(B, 3, 2\)"),
        (lambda: TokenTransformer(2, 1)(torch.zeros(2, 4, 2, dtype=torch.int64)), "floating-point"),
        (lambda: TokenTransformer(2, 1)(torch.zeros(2, 4, 2), torch.ones(2, 3) > 0), "one entry a token"),
        (lambda: PairTransformer(5)(torch.zeros(2, 4, 3)), r"\(B, 5, 3\)"),
        (lambda: AdjacencyTransformer(1, 1, nodes=3)((torch.zeros(2, 4, 1), torch.zeros(2, 4, 4))), "3 nodes at most"),
        (lambda: AdjacencyTransformer(1, 1, nodes=0), "nodes"),
        (lambda: FlatMLP(3, 1)(torch.zeros(2, 4)), "3 numbers in all, got 4"),
        (lambda: FlatMLP(3, 0), "out_shape"),
        (lambda: FlatMLP(3, 1, activation="sine"), "activation"),
        (lambda: FlatMLP(3, 1)("graph"), "tensors"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
