"""Networks on points in space: turned, mirrored, shifted and permuted inputs, padding, degenerate clouds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilearn import SO, Euclidean, InputError, O, Symmetric, Symmetry
from equilearn.actions import combine, points, sets, trivial
from equilearn.nn import EGNN, DeepSets, VectorNetwork
from equilearn.testing import CheckFailed, check_layer


class OnPoints(nn.Module):
    """A vector network on the layout of `points(n, vectors=, scalars=)`, for the checks that take one tensor."""

    def __init__(self, dimension, scalars=1, pooled=False, broken=None, **options):
        super().__init__()
        self.dimension, self.scalars, self.broken = dimension, scalars, broken
        self.net = VectorNetwork(
            2,
            scalars,
            out_vectors=3,
            out_scalars=0 if pooled else 2,
            dimension=dimension,
            width=8,
            pooled_vectors=pooled,
            **options,
        )

    def forward(self, x):
        d = self.dimension
        vectors, rest = x[..., : 2 * d].unflatten(-1, (2, d)), x[..., 2 * d :] if self.scalars else None
        if self.broken == "coordinates":
            rest = rest + vectors[..., 0, :1]
        if self.broken == "order" and x.shape[1]:
            rest = rest + torch.arange(x.shape[1], dtype=x.dtype)[:, None]
        v, s = self.net(vectors, rest)
        return torch.cat([v.flatten(-2), s], dim=-1) if v.ndim == 4 else v


def symmetry(group, n, scalars=1, pooled=False):
    if pooled:
        return Symmetry(group, points(n, vectors=1, scalars=scalars), points())
    return Symmetry(group * Symmetric(n), points(n, vectors=1, scalars=scalars), points(n, vectors=2, scalars=2))


def clouds(generator, d=3, scalars=1, n=4):
    return torch.randn(3, n, 2 * d + scalars, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("norm", ["layer", None])
def test_vector_network_commutes_with_orthogonal_matrices(d, pooled, norm, generator):
    check_layer(OnPoints(d, pooled=pooled, norm=norm), symmetry(O(d), 4, pooled=pooled), clouds(generator, d))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("pooled", [False, True])
def test_proper_networks_commute_with_rotations_alone(d, pooled, generator):
    net, x = OnPoints(d, pooled=pooled, proper=True), clouds(generator, d)
    check_layer(net, symmetry(SO(d), 4, pooled=pooled), x)
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(net, symmetry(O(d), 4, pooled=pooled), x)


def test_without_scalars(generator):
    check_layer(OnPoints(3, scalars=0, depth=1), symmetry(O(3), 4, scalars=0), clouds(generator, scalars=0))


def test_vectors_alone_and_scalars_alone(generator):
    v = torch.randn(2, 4, 1, 3, generator=generator)
    frame, none = VectorNetwork(1, out_vectors=3, out_scalars=0, pooled_vectors=True)(v)
    assert frame.shape == (2, 3, 3) and none.shape == (2, 4, 0)
    none, scores = VectorNetwork(1, out_vectors=0, out_scalars=1)(v)
    assert none.shape == (2, 4, 0, 3) and scores.shape == (2, 4, 1)


@pytest.mark.parametrize("broken", ["coordinates", "order"])
def test_the_check_catches_what_is_not_equivariant(broken, generator):
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(OnPoints(3, broken=broken), symmetry(O(3), 4), clouds(generator))


@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    pooled=st.booleans(),
    proper=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_vector_network_never_sees_padding(sizes, pooled, proper, seed):
    generator = torch.Generator().manual_seed(seed)
    net = VectorNetwork(2, 1, out_vectors=2, out_scalars=1, width=8, pooled_vectors=pooled, proper=proper).double()
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    v = torch.randn(len(sizes), 5, 2, 3, generator=generator, dtype=torch.float64)
    s = torch.randn(len(sizes), 5, 1, generator=generator, dtype=torch.float64)
    v = v.masked_fill(~mask[..., None, None], torch.nan).requires_grad_()
    s = s.masked_fill(~mask[..., None], torch.inf).requires_grad_()
    y, t = net(v, s, mask)
    for b, size in enumerate(sizes):
        y1, t1 = net(v[b : b + 1, :size], s[b : b + 1, :size])
        torch.testing.assert_close(y[b] if pooled else y[b, :size], y1[0], rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(t[b, :size], t1[0], rtol=1e-11, atol=1e-11)
    assert bool((t[~mask] == 0).all()) and (pooled or bool((y[~mask] == 0).all()))
    (y.square().sum() + t.square().sum()).backward()
    for leaf in (v, s):
        assert bool(torch.isfinite(leaf.grad).all()) and bool((leaf.grad[~mask] == 0).all())
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in net.parameters())


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (2, 1)])
@pytest.mark.parametrize("pooled", [False, True])
def test_next_to_nothing(shape, pooled):
    net = VectorNetwork(2, 1, out_vectors=3, out_scalars=2, pooled_vectors=pooled)
    y, t = net(torch.ones(*shape, 2, 3), torch.ones(*shape, 1))
    assert y.shape == ((shape[0], 3, 3) if pooled else (*shape, 3, 3)) and t.shape == (*shape, 2)
    assert bool(torch.isfinite(y).all()) and bool(torch.isfinite(t).all())
    assert EGNN(1)(torch.ones(*shape, 4)).shape == (*shape, 3)
    invariant = EGNN(1, out_features=2)(torch.ones(*shape, 4))
    assert invariant.shape == (shape[0], 2) and bool(torch.isfinite(invariant).all())


@pytest.mark.parametrize("proper", [False, True])
def test_degenerate_clouds_have_gradients(proper):
    """All points in one place, and no vectors at all: where norms would have a kink."""
    net = VectorNetwork(2, 0, out_vectors=3, out_scalars=1, proper=proper, pooled_vectors=True).double()
    for v in (torch.zeros(1, 4, 2, 3), torch.ones(1, 4, 2, 3)):
        v = v.double().requires_grad_()
        y, t = net(v)
        (y.sum() + t.sum()).backward()
        assert bool(torch.isfinite(v.grad).all())
    x = torch.zeros(1, 4, 3, dtype=torch.float64, requires_grad=True)
    EGNN(0, out_features=1).double()(x).sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_mirror_images_are_told_apart_only_where_proper(generator):
    """A chiral cloud and its mirror image: the same invariants under O(3), others under SO(3)."""
    v = torch.randn(1, 5, 1, 3, generator=generator, dtype=torch.float64)
    mirrored = v * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    for proper in (False, True):
        net = VectorNetwork(1, out_vectors=0, out_scalars=4, proper=proper).double()
        gap = float((net(v)[1] - net(mirrored)[1]).detach().abs().max())
        assert gap > 1e-7 if proper else gap < 1e-12


def test_pair_distances_enter(generator):
    """Two clouds with the same vectors point by point up to one rotation each, so with the same norms."""
    v = torch.randn(1, 6, 1, 3, generator=generator, dtype=torch.float64)
    turns = SO(3).sample((6,), generator=generator)
    other = torch.einsum("nij,bnvj->bnvi", turns, v)
    net = VectorNetwork(1, out_vectors=0, out_scalars=2).double()
    assert float((net(v)[1].mean(1) - net(other)[1].mean(1)).detach().abs().max()) > 1e-5


@pytest.mark.parametrize("proper", [False, True])
def test_gradients(proper, generator):
    net = VectorNetwork(1, 1, out_vectors=1, out_scalars=1, width=4, depth=1, proper=proper).double()
    v = torch.randn(1, 3, 1, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    s = torch.randn(1, 3, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(net, (v, s))
    egnn = EGNN(1, vectors=1, width=4, depth=2).double()
    torch.autograd.gradcheck(egnn, torch.randn(1, 3, 7, generator=generator, dtype=torch.float64, requires_grad=True))


# --- EGNN -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vectors", "scalars"), [(0, 0), (1, 1), (2, 0), (0, 2)])
@pytest.mark.parametrize("d", [2, 3])
def test_egnn_conforms(vectors, scalars, d, generator):
    x = torch.randn(3, 4, d * (1 + vectors) + scalars, generator=generator, dtype=torch.float64)
    given = points(4, vectors=vectors, scalars=scalars)
    options = {"vectors": vectors, "dimension": d, "width": 8, "depth": 2}
    group = Euclidean(d) * Symmetric(4)
    check_layer(EGNN(scalars, **options), Symmetry(group, given, points(4)), x)
    check_layer(EGNN(scalars, out_features=2, **options), Symmetry(group, given, trivial()), x)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_far_points_are_not_thrown_away(scale):
    # With forces proportional to distances, as each round feeds the next, five rounds gave 1e13 at scale 10.
    x = scale * torch.randn(20, 5, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        step = EGNN(1, vectors=1, depth=5)(x) - x[..., :3]
    assert 0 < step.abs().max() < 10 * scale**2  # a speed times a velocity


class Anchored(EGNN):
    """Broken on purpose: it also feels how far a point is from the origin."""

    def forward(self, x, mask=None):
        y = super().forward(x, mask)
        return y + 0.1 * x[..., :3] * x[..., :3].square().sum(-1, keepdim=True)


def test_the_check_catches_an_egnn_with_an_origin(generator):
    x = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64)
    layout = points(4, vectors=1, scalars=1)
    check_layer(Anchored(1, vectors=1), Symmetry(O(3) * Symmetric(4), layout, points(4)), x)
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(Anchored(1, vectors=1), Symmetry(Euclidean(3) * Symmetric(4), layout, points(4)), x)


@pytest.mark.parametrize("out_features", [None, 2])
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=3), seed=st.integers(0, 2**31 - 1))
def test_egnn_never_sees_padding(out_features, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    net = EGNN(1, vectors=1, width=8, depth=2, out_features=out_features).double()
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    x = torch.randn(len(sizes), 5, 7, generator=generator, dtype=torch.float64)
    x = x.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    y = net((x, mask))
    for b, size in enumerate(sizes):
        alone = net(x[b : b + 1, :size])[0]
        mine = y[b, :size] if out_features is None else y[b]
        torch.testing.assert_close(mine, alone, rtol=1e-11, atol=1e-11)
    assert out_features or bool((y[~mask] == 0).all())
    y.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all()) and bool((x.grad[~mask] == 0).all())


def test_egnn_keeps_its_precision_far_from_the_origin(generator):
    """Differences are taken from centred positions: a shift by 1000 costs float32 no more than the shift itself."""
    net = EGNN(0)
    x = torch.randn(2, 5, 3, generator=generator)
    torch.testing.assert_close(net(x + 1000) - 1000, net(x), rtol=0, atol=2e-3)


# --- one tuple for sets ----------------------------------------------------------------------------


def test_deep_sets_take_set_and_mask_in_one(generator):
    x = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True], [True] * 4, [False] * 4])
    net = DeepSets(2, 3, width=8).double()
    assert torch.equal(net((x, mask)), net(x, mask))
    check_layer(net, Symmetry(Symmetric(4), combine(sets(), sets()), trivial()), (x, mask))
    with pytest.raises(InputError, match="tuple of 3"):
        net((x, mask, mask))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorNetwork(0, out_vectors=1, out_scalars=1), "vectors"),
        (lambda: VectorNetwork(1, out_vectors=0, out_scalars=0), "at least 1"),
        (lambda: VectorNetwork(1, out_vectors=1, out_scalars=1, proper=True, dimension=4), "dimension 4"),
        (lambda: VectorNetwork(1, out_vectors=1, out_scalars=1, norm="batch"), "norm"),  # type: ignore[arg-type]
        (lambda: VectorNetwork(2, out_vectors=1, out_scalars=1)(torch.zeros(2, 4, 3)), r"\(B, N, 2, 3\)"),
        (lambda: VectorNetwork(1, 2, out_vectors=1, out_scalars=1)(torch.zeros(2, 4, 1, 3)), "scalars"),
        (
            lambda: VectorNetwork(1, out_vectors=1, out_scalars=1)(torch.zeros(2, 4, 1, 3), torch.zeros(2, 4, 1)),
            "scalars=0",
        ),
        (
            lambda: VectorNetwork(1, out_vectors=1, out_scalars=1)(torch.zeros(2, 4, 1, 3), None, torch.ones(2, 4)),
            "bool",
        ),
        (lambda: EGNN(-1), "scalars"),
        (lambda: EGNN(1, vectors=1)(torch.zeros(2, 4, 6)), r"\(B, N, 7\)"),
        (lambda: EGNN(0)(torch.zeros(2, 4, 3, dtype=torch.int64)), "floating-point"),
        (lambda: EGNN(0)(torch.zeros(2, 4, 3), torch.ones(2, 5) > 0), "one entry a point"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
