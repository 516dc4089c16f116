"""DeepSets: any order, any number, padding never seen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn import InputError, Symmetric, Symmetry
from equilearn.actions import sets, trivial
from equilearn.nn import DeepSets, PlainCNN
from equilearn.testing import check_layer

POOLINGS = ["mean", "sum", "max"]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("equivariant", [False, True])
def test_conforms(pooling, equivariant, generator):
    net = DeepSets(3, 2, width=8, pooling=pooling, equivariant=equivariant)
    x = torch.randn(4, 5, 3, generator=generator)
    check_layer(net, Symmetry(Symmetric(5), sets(5), sets(5) if equivariant else trivial()), x)


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    pooling=st.sampled_from(POOLINGS),
    equivariant=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_padding_is_never_seen(lengths, pooling, equivariant, seed):
    generator = torch.Generator().manual_seed(seed)
    net = DeepSets(2, 3, width=8, pooling=pooling, equivariant=equivariant).double()
    x = torch.randn(len(lengths), 6, 2, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    # What sits in the padding must not matter: put the worst there.
    x[~mask] = torch.nan
    y = net(x, mask)
    assert bool(torch.isfinite(y).all())
    for b, length in enumerate(lengths):
        alone = net(x[b : b + 1, :length])[0]
        mine = y[b, :length] if equivariant else y[b]
        torch.testing.assert_close(mine, alone, rtol=1e-12, atol=1e-12)
    if equivariant:
        assert bool((y[~mask] == 0).all())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("equivariant", [False, True])
def test_gradients_survive_padding_and_empty_sets(pooling, equivariant):
    net = DeepSets(2, 3, pooling=pooling, equivariant=equivariant)
    x = torch.full((2, 4, 2), torch.nan)
    x[0, :2] = 1.0
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    net(x, mask).square().sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in net.parameters())


@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 2), (0, 0, 2)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_nothing_at_all(shape, pooling):
    assert DeepSets(2, 3, pooling=pooling)(torch.zeros(shape)).shape == (shape[0], 3)
    assert DeepSets(2, 3, pooling=pooling, equivariant=True)(torch.zeros(shape)).shape == (*shape[:2], 3)


def test_order_does_not_matter_bit_for_bit_with_max(generator):
    net = DeepSets(3, 2, pooling="max")
    x = torch.randn(2, 6, 3, generator=generator)
    assert torch.allclose(net(x), net(x.flip(1)), atol=1e-6)


def test_learns_a_function_of_sets(generator):
    """The largest member, from sets of 3 to 6."""
    x = torch.rand(400, 6, 1, generator=generator)
    mask = torch.arange(6) < torch.randint(3, 7, (400, 1), generator=generator)
    y = torch.where(mask, x[..., 0], 0.0).amax(1, keepdim=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = DeepSets(1, 1, width=32, pooling="max")
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        loss = (net(x, mask) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 2e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepSets(0, 1), "in_features"),
        (lambda: DeepSets(1, 1, pooling="median"), "pooling"),  # type: ignore[arg-type]
        (lambda: DeepSets(2, 1)(torch.zeros(2, 3)), "sets"),
        (lambda: DeepSets(2, 1)(torch.zeros(2, 3, 2), torch.ones(2, 3)), "bool"),
        (lambda: DeepSets(2, 1)(torch.zeros(2, 3, 2), torch.ones(2, 4) > 0), "one entry a point"),
        (lambda: PlainCNN(1, 10)(torch.zeros(2, 3, 8, 8)), "images"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
