"""Networks on graphs: any order of the nodes, padding never seen, edges as good as matrices, limits as stated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilearn import InputError, Symmetric, Symmetry
from equilearn.actions import graphs, sets, trivial
from equilearn.nn import GIN, InvariantGraphNetwork, MessagePassing
from equilearn.testing import CheckFailed, check_layer

POOLINGS = ["sum", "mean", "max"]
MAKERS = {
    "GIN": lambda **o: GIN(2, 3, width=8, **o),
    "GIN without hub": lambda **o: GIN(2, 3, width=8, virtual_node=False, norm="layer", **o),
    "GIN without norm": lambda **o: GIN(2, 3, width=8, norm=None, dropout=0.1, **o),
    "MessagePassing": lambda **o: MessagePassing(2, 3, width=8, depth=2, **o),
    "InvariantGraphNetwork": lambda **o: InvariantGraphNetwork(2, 3, width=8, **o),
}
every_network = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
either_kind = pytest.mark.parametrize("equivariant", [False, True], ids=["invariant", "equivariant"])


def random_graphs(generator, sizes, n=None, dtype=torch.float64):
    """Features, symmetric 0/1 adjacency without loops and mask of graphs with these sizes."""
    n = max(sizes) if n is None else n
    x = torch.randn(len(sizes), n, 2, generator=generator, dtype=dtype)
    upper = (torch.rand(len(sizes), n, n, generator=generator) < 0.5).triu(1).to(dtype)
    mask = torch.arange(n) < torch.tensor(sizes)[:, None]
    return x, upper + upper.mT, mask


def edge_list(adjacency, mask):
    """The same graphs by their edges, padded with rows of -1."""
    inside = adjacency * (mask.unsqueeze(1) & mask.unsqueeze(2))
    lists = [a.nonzero() for a in inside]
    longest = max(len(found) for found in lists) + 2
    padded = [nn.functional.pad(found, (0, 0, 0, longest - len(found)), value=-1) for found in lists]
    return torch.stack(padded)


def cycles():
    """A cycle of twelve nodes and two of six."""
    ring = lambda n: torch.eye(n).roll(1, 0) + torch.eye(n).roll(-1, 0)  # noqa: E731
    return torch.stack([ring(12), torch.block_diag(ring(6), ring(6))])


def symmetry(n, equivariant):
    return Symmetry(Symmetric(n), graphs(), sets() if equivariant else trivial())


@every_network
@either_kind
def test_conforms(make, equivariant, generator):
    x, adjacency, mask = random_graphs(generator, [5, 4, 5])
    weights = adjacency + 0.1 * torch.randn(adjacency.shape, generator=generator, dtype=torch.float64)
    check_layer(make(equivariant=equivariant), symmetry(5, equivariant), (x, weights, mask))


@every_network
def test_conforms_on_edges(make, generator):
    x, adjacency, mask = random_graphs(generator, [5, 4, 5])
    data = (x, edge_list(adjacency, mask), mask)
    check_layer(make(equivariant=True), Symmetry(Symmetric(5), graphs(edge_lists=True), sets()), data)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("network", [GIN, MessagePassing])
def test_every_pooling_conforms(network, pooling, generator):
    data = random_graphs(generator, [4, 3])
    check_layer(network(2, 1, width=8, depth=1, pooling=pooling), symmetry(4, False), data)


def test_edge_channels_conform(generator):
    x, _, mask = random_graphs(generator, [4, 3])
    edges = torch.randn(2, 4, 4, 3, generator=generator, dtype=torch.float64)
    for net in (MessagePassing(2, 2, edge_features=3, width=8), InvariantGraphNetwork(2, 2, edge_features=3, width=8)):
        check_layer(net, symmetry(4, False), (x, edges, mask))


class Reader(nn.Module):
    """Broken on purpose: every node also sees its number."""

    def __init__(self, net, equivariant):
        super().__init__()
        self.net = net
        self.places = nn.Parameter(torch.randn(5, 2))

    def forward(self, data):
        return self.net((data[0] + self.places[: data[0].shape[1]], *data[1:]))


@every_network
@either_kind
def test_the_check_catches_a_network_that_knows_the_order(make, equivariant, generator):
    data = random_graphs(generator, [5, 4, 5])
    broken = Reader(make(equivariant=equivariant), equivariant)
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(broken, symmetry(5, equivariant), data)


@every_network
@either_kind
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    room=st.integers(0, 2),
    edges=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_padding_is_never_seen(make, equivariant, sizes, room, edges, seed):
    """Outputs as each graph alone has them, whatever the padding holds; gradients finite and zero there."""
    generator = torch.Generator().manual_seed(seed)
    net = make(equivariant=equivariant).double().eval()
    x, adjacency, mask = random_graphs(generator, sizes, n=max(sizes) + room)
    outside = ~(mask.unsqueeze(1) & mask.unsqueeze(2))
    links = edge_list(adjacency, mask) if edges else adjacency.masked_fill(outside, torch.nan)
    x = x.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    y = net((x, links, mask))
    for b, size in enumerate(sizes):
        alone = net((x[b : b + 1, :size], adjacency[b : b + 1, :size, :size]))[0]
        torch.testing.assert_close(y[b, :size] if equivariant else y[b], alone, rtol=1e-10, atol=1e-10)
    if equivariant:
        assert bool((y[~mask] == 0).all())
    net.train()((x, links, mask)).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad[~mask] == 0).all()) and bool(torch.isfinite(x.grad).all())
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in net.parameters())


@every_network
def test_padding_may_be_anywhere_and_its_content_leaves_no_trace(make, generator):
    net = make().double()
    net.train()
    x, adjacency, mask = random_graphs(generator, [4, 5, 3])
    order = torch.tensor([4, 0, 2, 1, 3])
    moved = x[:, order], adjacency[:, order][:, :, order], mask[:, order]
    other = torch.where(mask.unsqueeze(-1), x, x + 7), torch.where(mask.unsqueeze(1), adjacency, 5.0), mask
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = []
        for data in ((x, adjacency, mask), other):
            torch.manual_seed(0)  # dropout
            outputs.append(net(data))
        assert bool((outputs[0] == outputs[1]).all())
        net.eval()
        torch.testing.assert_close(net(moved), net((x, adjacency, mask)), rtol=1e-10, atol=1e-10)


@every_network
@either_kind
def test_edges_are_as_good_as_matrices(make, equivariant, generator):
    net = make(equivariant=equivariant).double().eval()
    x, adjacency, mask = random_graphs(generator, [6, 3, 0])
    dense = net((x, adjacency, mask))
    torch.testing.assert_close(net((x, edge_list(adjacency, mask), mask)), dense, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net((x, adjacency > 0, mask)), dense, rtol=1e-10, atol=1e-10)
    # Edges at padded nodes are none.
    stray = torch.cat([edge_list(adjacency, mask), torch.tensor([[[5, 0]], [[1, 4]], [[2, 3]]])], dim=1)
    stray[0, -1] = -1
    torch.testing.assert_close(net((x, stray, mask)), dense, rtol=1e-10, atol=1e-10)


@every_network
@either_kind
@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0), (1, 1), (3, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_next_to_nothing(make, equivariant, shape, training):
    net = make(equivariant=equivariant)
    net.train(training)
    x = torch.ones(*shape, 2)
    expected = (*shape, 3) if equivariant else (shape[0], 3)
    for links in (torch.zeros(*shape, shape[1]), torch.zeros(shape[0], 0, 2, dtype=torch.int64)):
        y = net((x, links))
        assert y.shape == expected and bool(torch.isfinite(y).all())
        assert net((x, links, torch.zeros(shape, dtype=torch.bool))).shape == expected


@pytest.mark.parametrize("kind", ["GIN", "GIN without hub", "MessagePassing", "InvariantGraphNetwork"])
def test_colour_refinement_is_the_limit(kind, generator):
    """All three see one colour in C12 and in two C6; with node features they tell them apart."""
    net = MAKERS[kind]().double().eval()
    adjacency = cycles().double()
    blind = net((torch.ones(2, 12, 2, dtype=torch.float64), adjacency))
    torch.testing.assert_close(blind[0], blind[1], rtol=1e-10, atol=1e-12)
    named = torch.randn(1, 12, 2, generator=generator, dtype=torch.float64).expand(2, -1, -1)
    seen = net((named, adjacency))
    assert float((seen[0] - seen[1]).detach().norm() / seen.detach().norm()) > 1e-7


def test_one_round_of_gin_is_its_formula(generator):
    """Against loops over nodes and neighbours, hub included."""
    net = GIN(2, 3, width=4, depth=1, equivariant=True).double().eval()
    x, adjacency, _ = random_graphs(generator, [5])
    layer, hub = net.rounds[0], net.virtual
    for i in range(5):
        own = x[0, i] * (1 + layer.epsilon)
        heard = hub + sum(x[0, j] for j in range(5) if adjacency[0, i, j])
        expected = net.head(layer.body((own + heard)[None]))[0]
        torch.testing.assert_close(net((x, adjacency))[0, i], expected, rtol=1e-10, atol=1e-10)


def test_statistics_are_those_of_the_nodes_that_are_there(generator):
    """Batch normalisation of a padded batch is that of its nodes, for the running statistics too."""
    x, adjacency, mask = random_graphs(generator, [4, 2])
    pad = nn.functional.pad
    wide = pad(x, (0, 0, 0, 9)), pad(adjacency, (0, 9, 0, 9)), pad(mask, (0, 9))
    states = []
    for data in ((x, adjacency, mask), wide):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = GIN(2, 1, width=4).double()
        net(data)
        states.append(net.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", list(MAKERS))
def test_gradients(kind, generator):
    net = MAKERS[kind]().double().eval()
    x, adjacency, mask = random_graphs(generator, [3, 2])
    torch.autograd.gradcheck(lambda x, a: net((x, a, mask)), (x.requires_grad_(), adjacency.requires_grad_()))


A, X = torch.zeros(2, 4, 4), torch.zeros(2, 4, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GIN(0, 1), "in_features"),
        (lambda: GIN(1, 1, pooling="median"), "pooling"),  # type: ignore[arg-type]
        (lambda: GIN(1, 1, norm="group"), "norm"),  # type: ignore[arg-type]
        (lambda: GIN(1, 1, dropout=1.0), "share"),
        (lambda: InvariantGraphNetwork(1, 1, norm="batch"), "norm"),  # type: ignore[arg-type]
        (lambda: GIN(2, 1)(X), "one tuple"),
        (lambda: GIN(2, 1)((X,)), "tuple of 1"),
        (lambda: GIN(2, 1)((X, None)), "tensors"),
        (lambda: GIN(3, 1)((X, A)), r"node features \(B, n, 3\)"),
        (lambda: GIN(2, 1)((X.long(), A)), "floating-point"),
        (lambda: GIN(2, 1)((X, A[:, :3])), r"adjacency \(B, n, n\) here \(2, 4, 4\)"),
        (lambda: MessagePassing(2, 1, edge_features=3)((X, A)), r"\(B, n, n, 3\)"),
        (lambda: GIN(2, 1)((X, A.unsqueeze(-1))), "adjacency"),
        (lambda: GIN(2, 1)((X, A.long())), r"edges \(2, E, 2\)"),
        (lambda: MessagePassing(2, 1, edge_features=3)((X, A[..., :2].long())), "3 edge features"),
        (lambda: GIN(2, 1)((X, torch.tensor([[[0, 4]], [[0, 1]]]))), "from 0 to 4"),
        (lambda: GIN(2, 1)((X, torch.tensor([[[-2, 1]], [[0, 1]]]))), "from -2 to 1"),
        (lambda: GIN(2, 1)((X, A, torch.ones(2, 4))), "bool"),
        (lambda: GIN(2, 1)((X, A, torch.ones(2, 3) > 0)), "one entry a node"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
