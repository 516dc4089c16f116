"""Learned distributions: their law, their sampling error, their gradients."""

import dataclasses
import math

import pytest
import torch
from learned_cases import CLOUDS, S5, SO3, cloud, learned, mlp, seeded
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import graphs, images, points, sets
from equilearn.symmetrization import Average, gram_schmidt, symmetrize
from equilearn.symmetrization._readouts import normalised, random_descending, readouts_of
from equilearn.symmetrization._soft_sort import relax
from equilearn.symmetrization._symmetrized import _standard_error

# --- the law ----------------------------------------------------------------------------------------


def test_moving_items_and_noise_together_moves_the_permutation_exactly():
    symmetry = eq.Symmetry(S5, sets(), sets())
    strategy = learned(symmetry).eval().strategy
    seen = strategy._seen(symmetry, readouts_of(symmetry, 64), cloud(), 8, seeded(1))
    h = S5.sample((32,), generator=seeded(2))
    order = random_descending(normalised(strategy.net(seen), None), None, seeded(3))
    moved = random_descending(normalised(strategy.net(symmetry.act_input(h, seen)), None), None, seeded(4))
    assert torch.equal(moved, S5.compose(h, order))


def test_gram_schmidt_turns_with_its_vectors():
    k = cloud(50, 3)
    turn = eq.O(3).sample((50,), generator=seeded(1))
    torch.testing.assert_close(gram_schmidt(turn @ k), turn @ gram_schmidt(k), atol=1e-13, rtol=0)
    proper = gram_schmidt(k, proper=True)
    torch.testing.assert_close(torch.linalg.det(proper), torch.ones(50, dtype=torch.float64), atol=1e-12, rtol=0)
    turn = SO3.sample((50,), generator=seeded(2))
    torch.testing.assert_close(gram_schmidt(turn @ k, proper=True), turn @ proper, atol=1e-13, rtol=0)


def test_the_signs_of_gram_schmidt_make_it_uniform():
    """Of a Gaussian matrix it is a Haar element; plain QR, whose diagonal signs are set by the algorithm, is not.
    100,000 draws: the mean entry has standard deviation 0.0018, so that 0.01 is more than five of them."""
    k = torch.randn(100_000, 3, 3, generator=seeded(0), dtype=torch.float64)
    assert float(torch.linalg.qr(k).Q[:, 0, 0].mean()) < -0.4
    assert abs(float(gram_schmidt(k)[:, 0, 0].mean())) < 0.01


@pytest.mark.parametrize("antithetic", [True, False])
def test_the_equivariance_error_is_the_resampling_error_and_falls_as_the_root_of_k(antithetic):
    """48 clouds, outputs of 15 numbers: root mean squares are known to some 4 %."""
    model, x = learned(antithetic=antithetic).eval(), cloud(48)
    h = CLOUDS.group.sample((48,), generator=seeded(1))
    moved, errors = CLOUDS.act_input(h, x), []
    with torch.no_grad():
        for k in (2, 16, 128):
            here = model(x, k=k, generator=seeded(10 * k))
            again = model(x, k=k, generator=seeded(10 * k + 1))
            there = model(moved, k=k, generator=seeded(10 * k + 2))
            resampling = (again - here).square().mean().sqrt()
            errors.append(float((there - CLOUDS.act_output(h, here)).square().mean().sqrt()))
            assert float(resampling) == pytest.approx(errors[-1], rel=0.15)
    assert errors[0] / errors[1] == pytest.approx(math.sqrt(8), rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(math.sqrt(8), rel=0.2)


def test_the_squared_error_of_k_samples_is_that_of_infinitely_many_and_a_kth_of_the_variance():
    symmetry = eq.Symmetry(eq.Dihedral(4), images())
    x = torch.rand(8, 1, 5, 5, generator=seeded(0), dtype=torch.float64)
    y = torch.randn(8, 2, generator=seeded(1), dtype=torch.float64)
    model = learned(symmetry, x, 25, (2,), antithetic=False).eval()
    with torch.no_grad():
        for parameter in model.strategy.parameters():
            parameter.mul_(3)  # far from uniform
        exact, elements = model(x, k="all", return_elements=True)
        single = model.evaluate(x, elements)
        variance = (elements.weight.unsqueeze(-1) * (single - exact.unsqueeze(1)).square()).sum(1).mean()
        limit = (exact - y).square().mean()
        for k in (1, 2, 4):
            tries = torch.stack([(model(x, k=k, generator=seeded(i)) - y).square().mean() for i in range(225)])
            need = float(limit + variance / k)
            # five standard errors: a false alarm once in a million
            assert abs(float(tries.mean()) - need) < 5 * float(tries.std()) / 15


def test_pairs_are_drawn_in_the_same_proportions():
    symmetry = eq.Symmetry(eq.Cyclic(4), images())
    x = torch.rand(2, 1, 5, 5, generator=seeded(0), dtype=torch.float64)
    model = learned(symmetry, x, 25, (2,)).eval()
    with torch.no_grad():
        _, every = model(x, k="all", return_elements=True)
        _, some = model(x, k=20_000, generator=seeded(1), return_elements=True)
    share = torch.stack([(some.g == i).double().mean(1) for i in range(4)], 1)
    assert some.block == 2
    assert float((share - every.weight).abs().max()) < 5 * 0.5 / math.sqrt(20_000)


# --- symmetric inputs -------------------------------------------------------------------------------


def ring(n):
    eye = torch.eye(n, dtype=torch.float64)
    return eye.roll(1, 0) + eye.roll(-1, 0)


def star(n):
    a = torch.zeros(n, n, dtype=torch.float64)
    a[0, 1:] = a[1:, 0] = 1
    return a


def double_star():
    """Two joined centres, one with three leaves and one with two: automorphisms S3 x S2."""
    a = torch.zeros(7, 7, dtype=torch.float64)
    for i, j in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6)):
        a[i, j] = a[j, i] = 1
    return a


def asymmetric():
    """A path of six nodes with a leaf at the third: the smallest asymmetric tree."""
    a = torch.zeros(7, 7, dtype=torch.float64)
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6)):
        a[i, j] = a[j, i] = 1
    return a


ORBITS = {
    "C7": (ring(7), [0] * 7),
    "star": (star(7), [0] + [1] * 6),
    "double star": (double_star(), [0, 1, 2, 2, 2, 3, 3]),
    "asymmetric": (asymmetric(), list(range(7))),
}


class NodeMLP(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.net = mlp(n * n, (n, 1), scale=2.0)

    def forward(self, data):
        return self.net(data[1])


@pytest.mark.parametrize("name", ORBITS)
def test_exact_node_outputs_are_constant_on_the_orbits_of_automorphisms(name):
    a, orbits = ORBITS[name]
    symmetry = eq.Symmetry(eq.Symmetric(7), graphs(mask=False), sets())
    with torch.no_grad():
        y = symmetrize(NodeMLP(7), symmetry, Average("all"))((torch.ones(1, 7, 1, dtype=torch.float64), a[None]))
    y, labels = y[0, :, 0], torch.tensor(orbits)
    for orbit in labels.unique():
        assert float(y[labels == orbit].std(correction=0)) < 1e-12
    assert float(y.max() - y.min()) > 1e-4 or name == "C7"


@pytest.mark.parametrize(("a", "classes"), [(ring(12), 1), (star(7), 2)])
def test_sampled_node_outputs_of_symmetric_graphs_are_constant_up_to_their_error(a, classes):
    n = len(a)
    symmetry = eq.Symmetry(eq.Symmetric(n), graphs(mask=False), sets())
    x = (torch.ones(1, n, 1, dtype=torch.float64), a[None])
    for noise in (1.0, 0.0):  # without noise all ties are broken at random: the same law
        torch.manual_seed(0)
        model = symmetrize(NodeMLP(n), symmetry, "learned", example=x, noise=noise, antithetic=False).eval()
        with torch.no_grad():
            y, error = model(x, k=4000, generator=seeded(1), return_std=True)
        y, error = y[0, :, 0], error[0, :, 0]
        leaves = slice(0 if classes == 1 else 1, n)
        z = (y - y[leaves].mean()) / error
        assert float(z[leaves].abs().max()) < 5
        assert not model.is_exact(x)


def test_a_fixed_order_of_ties_is_not_constant_on_a_ring():
    a = ring(12)
    order = torch.arange(12)  # what a stable sort of equal scores gives
    y = NodeMLP(12)((torch.ones(1, 12, 1), a[order][:, order][None]))[0, :, 0]
    assert float(y.detach().std()) > 1e-2


def test_canonical_scores_of_a_ring_are_tied_for_ever():
    symmetry = eq.Symmetry(eq.Symmetric(12), graphs(mask=False), sets())
    x = (torch.ones(2, 12, 1, dtype=torch.float64), ring(12).expand(2, 12, 12))
    model = symmetrize(NodeMLP(12), symmetry, "learned", example=x, noise=0)
    elements = model.strategy.sample(symmetry, x, None, seeded(0))
    assert elements.count == 1
    torch.testing.assert_close(elements.aux["entropy"], torch.full((2,), 2 * math.log(12), dtype=torch.float64))


# --- gradients, penalties, errors -------------------------------------------------------------------


def test_the_gradient_of_logits_is_unbiased():
    symmetry = eq.Symmetry(eq.Cyclic(4), images())
    x = torch.rand(1, 1, 5, 5, generator=seeded(0), dtype=torch.float64)
    for antithetic in (True, False):
        model = learned(symmetry, x, 25, (2,), antithetic=antithetic).eval()
        own = list(model.strategy.parameters())

        def gradient(k, seed, model=model, own=own):
            y = model(x, k=k, generator=seeded(seed)).sum()
            return torch.cat([g.flatten() for g in torch.autograd.grad(y, own)])

        exact = gradient("all", 0)
        draws = torch.stack([gradient(4, seed) for seed in range(300)])
        z = (draws.mean(0) - exact) / (draws.std(0) / math.sqrt(300) + 1e-12)
        assert float(z.abs().max()) < 6  # some hundred parameters, far from independent


def test_the_penalty_weighs_entropy_and_distance():
    x = cloud()
    model = learned(entropy_weight=0.5)
    _, penalty = model.forward_with_penalty(x, k=4, generator=seeded(0))
    elements = model.strategy.sample(CLOUDS, x, 4, seeded(0))
    torch.testing.assert_close(penalty, 0.5 * elements.aux["entropy"].mean())
    with torch.no_grad():  # without gradients nothing is relaxed, and the penalty is the same
        assert model.strategy.sample(CLOUDS, x, 4, seeded(0)).soft is None
        torch.testing.assert_close(model.forward_with_penalty(x, k=4, generator=seeded(0))[1], penalty.detach())
    none = learned(entropy_weight=0)
    assert float(none.forward_with_penalty(x, generator=seeded(0))[1]) == 0
    average = symmetrize(mlp(15, (5, 3)), eq.Symmetry(S5, sets(), sets()), "average")
    assert float(average.forward_with_penalty(x)[1]) == 0


def test_the_prior_pulls_elements_to_the_identity():
    """A few steps on the prior alone: rotations near one, items near the order in which they came."""
    x = cloud(16) + 3 * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    x[:, :, 1] += torch.tensor([5.0, 1.0, 0.0, -1.0, -1.0], dtype=torch.float64)  # in one pose and one order
    for symmetry, data in (
        (eq.Symmetry(SO3, points(), points()), x),
        (eq.Symmetry(S5, sets(), sets()), x),
        (eq.Symmetry(eq.Cyclic(4), images()), torch.linspace(0, 1, 64, dtype=torch.float64).reshape(1, 1, 8, 8)),
    ):
        torch.manual_seed(0)
        model = symmetrize(
            nn.Identity(), symmetry, "learned", example=data, prior_weight=1.0, entropy_weight=0.0, noise=0.1
        )
        optimizer = torch.optim.Adam(model.strategy.parameters(), 3e-3)
        values = []
        for step in range(60):
            elements = model.strategy.sample(symmetry, data, 2, seeded(step))
            penalty = model.strategy.penalty(symmetry, data, elements)
            optimizer.zero_grad()
            penalty.backward()
            optimizer.step()
            values.append(float(penalty.detach()))
        assert values[-1] < 0.5 * values[0], symmetry


def test_the_reported_error_is_the_true_one():
    """32 clouds with their standard errors from 20 samples each; against the spread of 40 calls."""
    model, x = learned().eval(), cloud(32)
    with torch.no_grad():
        outputs, errors = zip(*(model(x, k=20, generator=seeded(i), return_std=True) for i in range(40)), strict=True)
    true = torch.stack(outputs).var(0).mean().sqrt()
    reported = torch.stack(errors).square().mean().sqrt()
    assert float(reported / true) == pytest.approx(1, abs=0.08)


def test_two_samples_are_no_pair_so_that_they_have_a_standard_error():
    model = learned().eval()
    assert model(cloud(), k=2, return_elements=True)[1].block == 1
    assert model(cloud(), k=4, return_elements=True)[1].block == 2
    assert bool((model(cloud(), k=2, return_std=True)[1] > 0).any())
    pair = dataclasses.replace(model(cloud(), k=2, return_elements=True)[1], block=2)
    with pytest.raises(InputError, match=r"these 2 samples were drawn together .* k=4 or more"):
        _standard_error(pair, torch.zeros(5, 2, 1))
    with pytest.raises(InputError, match="at least two samples per input, got k=1"):
        model(cloud(), k=1, return_std=True)
    model(cloud(), k=3, return_std=True)  # an odd number has no pairs


def test_all_elements_of_a_finite_group_are_exact_and_differentiable():
    symmetry = eq.Symmetry(eq.Cyclic(2) * eq.Cyclic(4), eq.actions.factor(1, images()))
    x = torch.rand(3, 1, 6, 6, generator=seeded(0), dtype=torch.float64)
    model = learned(symmetry, x, 36, (2,), samples="all")
    y, elements = model(x, return_elements=True)
    torch.testing.assert_close(y, model(torch.rot90(x, 1, (2, 3))), atol=1e-10, rtol=0)
    assert model.is_exact() and elements.exact and elements.count == 8 == model.forward_passes()
    torch.testing.assert_close(elements.weight.sum(1), torch.ones(3, dtype=torch.float64))
    y.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.strategy.parameters())


def test_without_noise_one_evaluation_gives_an_exact_result():
    model, x = learned(noise=0).eval(), cloud()
    assert model.forward_passes() == 1 and model.is_exact() and model.is_exact(x)
    h = CLOUDS.group.sample((4,), generator=seeded(1))
    with torch.no_grad():
        torch.testing.assert_close(model(CLOUDS.act_input(h, x)), CLOUDS.act_output(h, model(x)), atol=1e-8, rtol=0)


def test_training_learns_the_distribution_too(generator):
    """The target is the first item after sorting by the first column: averaging cannot know it."""
    symmetry = eq.Symmetry(S5, sets())
    x = torch.randn(256, 5, 2, generator=generator)
    y = x.gather(1, x[..., :1].argmax(1, keepdim=True).expand(-1, 1, 2))[:, 0, 1:]
    losses = {}
    for name in ("learned", "average"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
        options = {"noise": 0.1, "example": x} if name == "learned" else {"samples": 2}
        model = symmetrize(net, symmetry, name, **options)
        fitted = eq.training.fit(model, x, y, loss="mse", steps=200, learning_rate=1e-2)
        losses[name] = fitted.history[-1]["loss"]
    assert losses["learned"] < 0.6 * losses["average"]


def test_the_soft_permutations_are_those_of_the_elements():
    model, x = learned(), cloud()
    elements = model.strategy.sample(CLOUDS, x, 4, seeded(0))
    scores = elements.aux["scores"][1].flatten(0, 1)
    soft, entropy = relax(scores, elements.g[1].flatten(0, 1), temperature=0.1, rounds=20)
    torch.testing.assert_close(elements.soft[1].flatten(0, 1), soft)
    torch.testing.assert_close(elements.aux["entropy"], entropy.reshape(4, 4).mean(1))
    torch.testing.assert_close(scores.square().sum(-1), torch.ones(16, dtype=torch.float64))
