"""Layers on vectors, for any group and any representation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilearn import GL, SL, SO, Cyclic, Dihedral, InputError, Lorentz, O, Symmetric, Symmetry, reps
from equilearn.nn import (
    AllProducts,
    EquivariantLinear,
    EquivariantMLP,
    GatedNonlinearity,
    NormNonlinearity,
    PlainMLP,
    Squash,
    TensorProductLayer,
    hidden_rep,
)
from equilearn.reps import defining, intertwiners, permutation, regular, trivial
from equilearn.testing import CheckFailed, check_layer

ONE = trivial


def pairs():
    """Pairs of representations between which there are maps."""
    v3, lorentz, sl = defining(SO(3)), defining(Lorentz(1, 3)), defining(SL(2))
    c4, s4 = regular(Cyclic(4)), permutation(Symmetric(4))
    product = SO(3) * Symmetric(3)
    both = reps.factor(product, 0, v3) * reps.factor(product, 1, permutation(Symmetric(3)))
    return [
        (4 * v3 + 2 * ONE(SO(3)), 3 * v3 + ONE(SO(3), 5)),
        (v3 * v3, v3 + 2 * ONE(SO(3))),
        (4 * lorentz, 2 * lorentz),
        (lorentz * lorentz, 3 * ONE(lorentz.group) + lorentz * lorentz),
        (2 * sl, sl),
        (2 * c4 + defining(Cyclic(4)), 3 * c4),
        (3 * s4 + s4 * s4, s4 + ONE(Symmetric(4), 2)),
        (2 * both, both + ONE(product, 2)),
        (2 * regular(Dihedral(3)), regular(Dihedral(3)) + 2 * defining(Dihedral(3))),
    ]


IDS = [f"{a.group}: {a.name} -> {b.name}" for a, b in pairs()]


def draw(rep, generator, batch=6, dtype=torch.float32):
    return torch.randn(batch, rep.dim, generator=generator, dtype=dtype)


# --- EquivariantLinear ------------------------------------------------------------------------


@pytest.mark.parametrize(("rep_in", "rep_out"), pairs(), ids=IDS)
def test_linear_conforms(rep_in, rep_out, generator):
    layer = EquivariantLinear(rep_in, rep_out, generator=generator)
    check_layer(layer, Symmetry(rep_in.group, rep_in, rep_out), draw(rep_in, generator))


@pytest.mark.parametrize(("rep_in", "rep_out"), pairs(), ids=IDS)
def test_linear_spans_all_equivariant_maps(rep_in, rep_out, generator):
    layer = EquivariantLinear(rep_in, rep_out, generator=generator).double()
    basis = intertwiners(rep_in, rep_out)
    assert layer.weight.numel() == len(basis)
    matrix = layer.matrix().flatten()
    projected = (basis.flatten(1) @ matrix) @ basis.flatten(1)
    torch.testing.assert_close(projected, matrix)


@pytest.mark.parametrize(("rep_in", "rep_out"), pairs(), ids=IDS)
def test_both_ways_of_multiplying_agree(rep_in, rep_out, generator):
    layer = EquivariantLinear(rep_in, rep_out, generator=generator).double()
    x = draw(rep_in, generator, dtype=torch.float64)
    layer.factored = True
    first = layer(x)
    layer.factored = False
    torch.testing.assert_close(layer(x), first)


def test_many_copies_are_multiplied_summand_by_summand():
    V, G = defining(SO(3)), SO(3)
    assert EquivariantLinear(64 * V + 64 * ONE(G), 64 * V + 64 * ONE(G)).factored
    assert not EquivariantLinear(8 * regular(Cyclic(4)), 8 * regular(Cyclic(4))).factored


@pytest.mark.parametrize(("rep_in", "rep_out"), pairs(), ids=IDS)
def test_linear_keeps_the_mean_square(rep_in, rep_out, generator):
    """`E |W|^2` of the rows of each output summand, one map at a time: one a row."""
    layer = EquivariantLinear(rep_in, rep_out, generator=generator).double()
    moments = torch.zeros(rep_out.dim, dtype=torch.float64)
    for i, deviation in enumerate(layer._blocks.deviations()):
        only = torch.zeros_like(layer.weight)
        only[i] = deviation
        moments += layer._expand(only).square().sum(1)
    start = 0
    for count, term in rep_out.terms():
        block = moments[start : start + count * term.dim]
        start += count * term.dim
        if bool(block.any()):  # there are maps to this summand
            assert float(block.mean()) == pytest.approx(1.0)


def test_initial_weights_have_the_stated_deviation(generator):
    """9,216 weights: the mean square is within 6 % (four standard errors)."""
    V = defining(SO(3))
    layer = EquivariantLinear(96 * V, 96 * V, generator=generator)
    assert float((layer.weight.detach() / layer._blocks.deviations()).square().mean()) == pytest.approx(1.0, abs=0.06)


def test_leading_axes_are_free(generator):
    V = defining(SO(3))
    layer = EquivariantLinear(2 * V, V, generator=generator)
    assert layer(torch.randn(6)).shape == (3,)
    assert layer(torch.randn(2, 0, 6)).shape == (2, 0, 3)
    assert layer(torch.randn(2, 5, 6)).shape == (2, 5, 3)


def test_weights_follow_the_generator():
    V = defining(SO(3))
    a, b = (EquivariantLinear(2 * V, V, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a.weight, b.weight)


@given(
    copies=st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)),
    group=st.sampled_from([SO(2), SO(3), O(3), Lorentz(1, 2), SL(2), GL(2)]),
    seed=st.integers(0, 2**31 - 1),
)
def test_linear_commutes_with_its_group(copies, group, seed):
    generator = torch.Generator().manual_seed(seed)
    V = defining(group)
    rep_in, rep_out = copies[0] * V + copies[1] * (V * V), copies[2] * V + V * V.dual
    layer = EquivariantLinear(rep_in, rep_out, generator=generator).double()
    g = group.sample(generator=generator)
    x = torch.randn(5, rep_in.dim, generator=generator, dtype=torch.float64)
    left, right = layer(rep_in.apply(g, x)), rep_out.apply(g, layer(x))
    scale = float(rep_in.matrix(g).norm() * rep_out.matrix(g).norm())
    assert float((left - right).norm().detach()) < 1e-10 * scale * (1 + float(right.norm().detach()))


# --- nonlinearities ---------------------------------------------------------------------------


@pytest.mark.parametrize("rep", [b for _, b in pairs()], ids=lambda r: f"{r.group}: {r.name}")
def test_gates_conform(rep, generator):
    layer = GatedNonlinearity(rep)
    check_layer(layer, Symmetry(rep.group, layer.rep_in, rep), draw(layer.rep_in, generator))


@pytest.mark.parametrize("group", [SO(3), O(3), O(2)], ids=str)
def test_norm_nonlinearity_conforms(group, generator):
    V = defining(group)
    rep = 2 * V + 3 * ONE(group) + V * V
    check_layer(NormNonlinearity(rep), Symmetry(group, rep, rep), draw(rep, generator))
    check_layer(Squash(rep), Symmetry(group, rep, rep), draw(rep, generator))


def test_norm_nonlinearity_is_smooth_at_zero():
    layer = NormNonlinearity(2 * defining(SO(3)))
    x = torch.zeros(1, 6, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_norms_that_are_not_kept_are_refused():
    with pytest.raises(InputError, match="GatedNonlinearity"):
        NormNonlinearity(defining(Lorentz(1, 3)))


@pytest.mark.parametrize("rep", [ONE(SO(3), 500), 200 * defining(SO(3))], ids=str)
def test_nonlinearities_keep_the_mean_square(rep, generator):
    """200 x 500+ white entries: 1 +- 0.05 is more than five standard errors."""
    layer = GatedNonlinearity(rep)
    assert float(layer(draw(layer.rep_in, generator, 200)).square().mean()) == pytest.approx(1, abs=0.05)


# --- products ---------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [SO(3), O(3), Lorentz(1, 3), SL(2)], ids=str)
def test_products_conform(group, generator):
    V = defining(group)
    wanted = ONE(group) + V * V
    layer = TensorProductLayer(3 * V, wanted, channels=2, generator=generator)
    x = draw(3 * V, generator)
    check_layer(layer, Symmetry(group, 3 * V, layer.rep_out), x)
    full = AllProducts(3 * V, wanted)
    check_layer(full, Symmetry(group, 3 * V, full.rep_out), x)


def test_all_products_are_the_minkowski_products(generator):
    G = Lorentz(1, 3)
    V = defining(G)
    v = torch.randn(20, 4, 4, generator=generator, dtype=torch.float64)
    gram = torch.einsum("bik,k,bjk->bij", v, torch.tensor([1.0, -1, -1, -1]).double(), v)
    i, j = torch.triu_indices(4, 4)
    found = AllProducts(4 * V, ONE(G)).double()(v.flatten(1))
    ratio = found / gram[:, i, j]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))


def test_summands_that_are_not_neighbours_are_multiplied_too(generator):
    G = SO(3)
    V = defining(G)
    scattered = AllProducts(reps.direct_sum(V, ONE(G), V), ONE(G))
    assert scattered.rep_out.dim == 3 + 1  # <v, v>, <v, w>, <w, w>, and the square of the scalar


def test_products_that_do_not_exist_are_refused():
    V = defining(Lorentz(1, 3))
    with pytest.raises(InputError, match="No product"):
        TensorProductLayer(2 * V, V, channels=2)


# --- EquivariantMLP ---------------------------------------------------------------------------


@pytest.mark.parametrize(("rep_in", "rep_out"), pairs(), ids=IDS)
def test_mlp_conforms(rep_in, rep_out, generator):
    net = EquivariantMLP(rep_in, rep_out, width=24, depth=2, generator=generator)
    x = draw(rep_in, generator)
    x = x / x.norm(dim=-1, keepdim=True) * rep_in.dim**0.5
    check_layer(net, Symmetry(rep_in.group, rep_in, rep_out), x)


def test_hidden_representations():
    V, P = defining(SO(3)), permutation(Symmetric(5))
    assert hidden_rep(4 * V, V, 60).dim == 60
    assert hidden_rep(regular(Cyclic(4)), ONE(Cyclic(4)), 30).dim == 32
    assert hidden_rep(P, P, 128).is_permutation
    assert any(term.dim == 25 for _, term in hidden_rep(P, P, 128).terms())


def test_a_hidden_representation_of_ones_own(generator):
    V = defining(SO(3))
    hidden = 8 * ONE(SO(3)) + 4 * V + 2 * (V * V)
    net = EquivariantMLP(2 * V, V, hidden=hidden, depth=2, generator=generator)
    check_layer(net, Symmetry(SO(3), 2 * V, V), draw(2 * V, generator))


def test_no_blow_up(generator):
    """Products of products stay in bounds: depth 4, inputs of ten times the expected size."""
    V = defining(Lorentz(1, 3))
    net = EquivariantMLP(4 * V, ONE(V.group), depth=4, generator=generator)
    assert float(net(10 * draw(4 * V, generator, 200)).detach().abs().max()) < 1e4


def train(net, x, y, steps):
    """AdamW with cosine decay, batches of 64, as the docstrings recommend."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        index = torch.randint(len(x), (64,), generator=generator)
        loss = nn.functional.mse_loss(net(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())


def boosted(x, rep):
    """The samples of `x`, boosted by rapidity 1 along the first axis."""
    eta = torch.tensor(1.0)
    boost = torch.eye(4)
    boost[0, 0] = boost[1, 1] = eta.cosh()
    boost[0, 1] = boost[1, 0] = eta.sinh()
    return rep.apply(boost, x)


@pytest.mark.parametrize("target", ["products", "tensor"])
def test_extrapolates_to_boosts_where_a_plain_network_does_not(target):
    """300 samples at rest; the test inputs are boosted by rapidity 1."""
    G = Lorentz(1, 3)
    V = defining(G)
    v = torch.randn(1300, 4, 4, generator=torch.Generator().manual_seed(1))
    if target == "products":
        gram = torch.einsum("bik,k,bjk->bij", v, torch.tensor([1.0, -1, -1, -1]), v)
        i, j = torch.triu_indices(4, 4)
        y, rep_out = gram[:, i, j], ONE(G, 10)
    else:
        y = (v[:, 0, :, None] * v[:, 1, None, :] + v[:, 2, :, None] * v[:, 3, None, :]).flatten(1)
        rep_out = V * V
    x = v.flatten(1)
    scale = y[:300].square().mean().sqrt()
    moved_x, moved_y = boosted(x[300:], 4 * V), boosted(y[300:], rep_out)
    errors = {}
    for name in ("equivariant", "plain"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            width = 128 if target == "products" else 64
            equivariant = name == "equivariant"
            net = EquivariantMLP(4 * V, rep_out, width, 2) if equivariant else PlainMLP(16, rep_out.dim)
        train(net, x[:300], y[:300] / scale, 400)
        with torch.no_grad():
            errors[name] = relative(scale * net(moved_x), moved_y)
    assert errors["equivariant"] < 0.05
    assert errors["plain"] > 0.3


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EquivariantLinear(defining(SO(3)), ONE(SO(3)), bias=False), "zero"),
        (lambda: EquivariantLinear(defining(SO(3)), defining(SO(2))), "one group"),
        (lambda: EquivariantLinear(3, defining(SO(2))), "representation"),  # type: ignore[arg-type]
        (lambda: EquivariantLinear(defining(SO(3)), defining(SO(3)))(torch.randn(2, 4)), "length 3"),
        (lambda: EquivariantMLP(defining(SO(3)), defining(SO(3)))(torch.randn(2, 4)), "length 3"),
        (lambda: EquivariantMLP(defining(SO(3)), defining(SO(3)), width=0), "width"),
        (lambda: GatedNonlinearity(defining(SO(3)))(torch.randn(2, 3)), "length 4"),
        (lambda: PlainMLP(3, 1)(torch.randn(2, 4)), "length 3"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_plain_linear_map_is_caught():
    V = defining(Lorentz(1, 3))
    with pytest.raises(CheckFailed, match="not equivariant"):
        check_layer(nn.Linear(8, 4), Symmetry(V.group, 2 * V, V), torch.randn(4, 8))
