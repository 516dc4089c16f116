"""The parts of learned distributions: samples, noise, scores, masks, penalties, errors of each input."""

import math

import pytest
import torch
from learned_cases import CLOUDS, S5, SO3, cloud, learned, mlp, seeded
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import combine, factor, graphs, images, points, sets, vectors
from equilearn.symmetrization import Elements, Learned, symmetrize
from equilearn.symmetrization._readouts import ROUNDED, random_descending, readouts_of, score_weights

TURNS = eq.Symmetry(eq.Cyclic(4), images())


def pictures(size=4):
    return torch.rand(size, 1, 5, 5, generator=seeded(0), dtype=torch.float64)


# --- how many samples -------------------------------------------------------------------------------


def test_one_sample_cannot_train_logits():
    with pytest.raises(InputError, match=r"C4 cannot learn from one sample an input.*samples=2 or more"):
        symmetrize(nn.Identity(), TURNS, "learned", samples=1, example=pictures())
    model = symmetrize(mlp(25, (2,)), TURNS, "learned", samples=2, eval_samples=1, example=pictures())
    with pytest.raises(InputError, match="cannot learn from one sample"):
        model(pictures(), k=1)
    assert model.eval()(pictures()).shape == (4, 2) and model.forward_passes() == 1
    assert symmetrize(mlp(15, (5, 3)), CLOUDS, "learned", samples=1, example=cloud())(cloud()).shape == (
        4,
        5,
        3,
    )  # vectors and scores


@pytest.mark.parametrize(
    ("options", "train", "held"),
    [({}, 8, 8), ({"samples": 3}, 3, 16), ({"eval_samples": 5}, 8, 5), ({"samples": "all"}, 8, 8)],
)
def test_small_finite_groups_are_evaluated_whole_unless_told_otherwise(options, train, held):
    symmetry = eq.Symmetry(eq.Dihedral(4), images())
    model = symmetrize(mlp(25, (2,)), symmetry, "learned", example=pictures(), **options)
    assert model.forward_passes() == train and model.is_exact() == (train == 8)
    model.eval()
    assert model.forward_passes() == held and model.is_exact() == (held == 8)
    assert model(pictures(), return_elements=True)[1].count == held


def test_larger_groups_are_drawn_from_by_default():
    symmetry = eq.Symmetry(eq.Cyclic(17), images())
    model = symmetrize(mlp(25, (2,)), symmetry, "learned", example=pictures())
    assert model.forward_passes() == 2 and model.eval().forward_passes() == 16
    clouds = symmetrize(mlp(15, (5, 3)), CLOUDS, "learned")
    assert clouds.forward_passes() == 2 and clouds.eval().forward_passes() == 16


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_gradient_of_a_squared_error_holds_twice_its_share_of_the_variance(k):
    """In expectation over all draws, which are few enough to be listed."""
    logits = torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64, requires_grad=True)
    f, target = torch.tensor([1.0, 2.0, -1.5], dtype=torch.float64), 0.4
    draws = torch.cartesian_prod(*[torch.arange(3)] * k)
    logp = torch.log_softmax(logits, 0)
    chance = logp.detach()[draws].sum(1).exp()
    loss = ((score_weights(logp[draws], 1) * f[draws]).sum(1) - target).square()
    (found,) = torch.autograd.grad((chance * loss).sum(), logits, retain_graph=True)
    p = logp.exp()
    mean = (p * f).sum()
    variance = (p * (f - mean).square()).sum()
    (need,) = torch.autograd.grad((mean - target).square() + 2 / k * variance, logits)
    torch.testing.assert_close(found, need, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "symmetry", [eq.Symmetry(S5, sets(), sets()), eq.Symmetry(eq.O(3), points(), points())], ids=str
)
def test_the_squared_error_falls_to_its_limit_as_one_over_k(symmetry):
    """225 tries of 8 clouds: five standard errors, a false alarm once in a million a number."""
    x, y = cloud(8), torch.randn(8, 5, 3, generator=seeded(9), dtype=torch.float64)
    model = learned(symmetry, x, antithetic=False).eval()
    with torch.no_grad():
        many = torch.cat([model.evaluate(x, model.strategy.sample(symmetry, x, 500, seeded(i))) for i in range(4)], 1)
        limit = (many.mean(1) - y).square().mean() - many.var(1).mean() / many.shape[1]
        variance = many.var(1).mean()
        for k in (1, 2, 4):
            tries = torch.stack([(model(x, k=k, generator=seeded(100 + i)) - y).square().mean() for i in range(225)])
            excess = float(tries.mean() - limit)
            assert abs(excess - float(variance) / k) < 5 * float(tries.std()) / 15
            assert float(variance) / k > 5 * float(tries.std()) / 15  # so that another power of k would be seen


# --- errors, input by input -------------------------------------------------------------------------


def test_pairs_of_opposite_samples_count_as_one():
    """An odd function of opposite samples: every pair has the mean zero, and so no error."""
    one = torch.randn(3, 4, 2, generator=seeded(0), dtype=torch.float64)
    outputs = torch.stack((one, -one), 2).flatten(1, 2)
    weight = torch.full((3, 8), 1 / 8, dtype=torch.float64)
    identity = torch.zeros(3, 8, dtype=torch.int64)

    def net(seen):
        return outputs.flatten(0, 1)

    model = symmetrize(net, TURNS, Fixed(Elements(identity, weight, block=2)))
    y, error = model(pictures(3), return_std=True)
    assert float(y.abs().max()) < 1e-15 and float(error.max()) < 1e-15
    assert (
        float(symmetrize(net, TURNS, Fixed(Elements(identity, weight)))(pictures(3), return_std=True)[1].min()) > 0.05
    )


def test_noise_that_is_antithetic_has_the_error_of_its_pairs():
    """The sampler's vectors are those of the noise alone, nearly; `f` is odd in them: pairs cancel."""
    symmetry = eq.Symmetry(eq.O(3), vectors(3 * eq.reps.defining(eq.O(3))), vectors(3 * eq.reps.defining(eq.O(3))))
    x = 1e-9 * torch.randn(4, 9, generator=seeded(0), dtype=torch.float64)
    fixed = torch.randn(9, generator=seeded(1), dtype=torch.float64)

    class Columns(nn.Module):
        def forward(self, x):
            return x.unflatten(-1, (3, 3)).mT

    errors = {}
    for antithetic in (True, False):
        strategy = Learned(Columns(), antithetic=antithetic)
        model = symmetrize(lambda z: fixed.expand(len(z), 9), symmetry, strategy).eval()
        errors[antithetic] = model(x, k=16, generator=seeded(2), return_std=True)[1]
    assert float(errors[True].max()) < 1e-6  # g f with opposite g
    assert float(errors[False].min()) > 1e-2


class Fixed(eq.symmetrization.Strategy):
    """Elements as given."""

    name = "fixed"

    def __init__(self, elements):
        super().__init__()
        self.elements = elements

    def check(self, symmetry):
        pass

    def sample(self, symmetry, x, k=None, generator=None):
        return self.elements

    def is_exact(self, symmetry, x=None):
        return self.elements.exact

    def forward_passes(self, symmetry):
        return self.elements.count


def test_every_input_has_its_own_error_whatever_the_batch_holds():
    ring = torch.eye(7).roll(1, 0) + torch.eye(7).roll(-1, 0)
    path = torch.diag(torch.ones(6), 1)
    a = torch.stack((path + path.T, ring, torch.zeros(7, 7))).double()
    a[0, 1, 3] = a[0, 3, 1] = 1  # a triangle in a path: no automorphism
    x = torch.ones(3, 7, 1, dtype=torch.float64)
    symmetry = eq.Symmetry(eq.Symmetric(7), graphs(mask=False), sets())

    def net(data):
        return data[1].cumsum(1).square().sum(2, keepdim=True)

    torch.manual_seed(0)
    model = symmetrize(net, symmetry, "learned", example=(x, a), noise=0).eval()
    mixed = model((x, a), k=8, generator=seeded(0), return_std=True)[1].detach()
    alone = model((x[:1], a[:1]), k=8, generator=seeded(0), return_std=True)[1].detach()
    assert float(alone.abs().max()) == 0 == float(mixed[0].abs().max())
    assert float(mixed[1].min()) > 0
    # Of a graph without edges a frame has one order, drawn at random: no error can be told.
    y, error, elements = symmetrize(net, symmetry, "frames")((x, a), return_std=True, return_elements=True)
    assert elements.aux["random"].tolist() == [False, False, True]
    assert float(error[:2].abs().max()) == 0 and bool(error[2].isinf().all())
    with pytest.raises(InputError, match="at least two samples"):
        symmetrize(net, symmetry, "frames")((x[2:], a[2:]), return_std=True)


def test_poses_that_hang_on_one_draw_have_no_error():
    """A regular tetrahedron has no principal axes: its frame is four poses about axes drawn once."""
    tetrahedron = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    x = torch.stack((cloud(1, 4)[0], tetrahedron))
    model = symmetrize(mlp(12, (2,), scale=3.0).requires_grad_(False), eq.Symmetry(SO3, points()), "frames")
    error = model(x, generator=seeded(0), return_std=True)[1]
    assert float(error[0].abs().max()) == 0 and bool(error[1].isinf().all())
    error = model(x, k=2, generator=seeded(0), return_std=True)[1]  # two of four: random for both
    assert bool((error > 0).all()) and bool(error[0].isfinite().all())


# --- scores -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_that_rounding_keeps_apart_tie_wherever_they_lie(dtype):
    """A hundredth of the grid apart, on both sides of one of its lines. 2,000 draws, half of them each way:
    five standard deviations are 112."""
    step = ROUNDED[dtype] / 200
    scores = torch.tensor([step, -step], dtype=dtype).expand(2000, 2)
    first = random_descending(scores, None, seeded(0))[:, 0]
    assert abs(int((first == 0).sum()) - 1000 - 10) < 112


def test_scores_of_a_ring_stay_tied_through_training():
    """Without noise a network cannot tell the nodes apart, whatever it learns: the entropy is 2 ln n."""
    n = 12
    eye = torch.eye(n)
    ring = (eye.roll(1, 0) + eye.roll(-1, 0)).expand(8, n, n)
    x = (torch.ones(8, n, 1), ring)
    y = torch.randn(8, 1, generator=seeded(1))
    symmetry = eq.Symmetry(eq.Symmetric(n), graphs(mask=False))
    torch.manual_seed(0)
    model = symmetrize(Pairs(n), symmetry, "learned", example=x, samples=1, noise=0)
    before = [p.detach().clone() for p in model.strategy.parameters()]
    eq.training.fit(model, x, y, loss="mse", steps=30, learning_rate=1e-2)
    assert any(not torch.equal(p, q) for p, q in zip(model.strategy.parameters(), before, strict=True))
    entropy = model.strategy.sample(symmetry, x, None, seeded(0)).aux["entropy"]
    torch.testing.assert_close(entropy.detach(), torch.full((8,), 2 * math.log(n)), atol=1e-3, rtol=0)


class Pairs(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.net = nn.Linear(n * n, 1)

    def forward(self, data):
        return self.net(data[1].flatten(1))


def test_every_factor_that_permutes_gets_noise():
    group = S5 * eq.Symmetric(4)
    symmetry = eq.Symmetry(group, (factor(0, sets()), factor(1, sets())))
    x = (cloud(2), cloud(2, 4, seed=1))
    model = symmetrize(lambda d: d[0].flatten(1), symmetry, "learned", example=x)
    seen = model.strategy._seen(symmetry, readouts_of(symmetry, 64), x, 3, seeded(0))
    for old, new in zip(x, seen, strict=True):
        noise = new - old.repeat_interleave(3, 0)
        assert 0 <= float(noise.min()) < 0.2 and 0.8 < float(noise.max()) <= 1
    g = model(x, k=64, generator=seeded(0), return_elements=True)[1].g
    assert all(len(part[0].unique(dim=0)) > 1 for part in g)
    # Also where the factors that turn have noise of their own, on points that this one does not permute.
    mixed = eq.Symmetry(SO3 * eq.Symmetric(4), (factor(0, points()), factor(1, sets())))
    strategy = Learned(Turned())
    seen = strategy._seen(mixed, readouts_of(mixed, 64), x, 3, seeded(0))
    assert all(bool((new != old.repeat_interleave(3, 0)).all()) for old, new in zip(x, seen, strict=True))
    model = symmetrize(lambda d: d[0].flatten(1), mixed, strategy, example=x)
    assert len(model(x, k=64, generator=seeded(0), return_elements=True)[1].g[1][0].unique(dim=0)) > 1


class Turned(nn.Module):
    def forward(self, data):
        return data[0][:, :3].mT, data[1].sum(-1)


@pytest.mark.parametrize("times", ["2P", "P+1"])
def test_permutations_of_parts_of_an_axis_are_refused_with_the_reason(times):
    p = eq.reps.permutation(S5)
    rep = 2 * p if times == "2P" else p + eq.reps.trivial(S5)
    with pytest.raises(InputError, match=r"the permutation moves parts of an axis.*sets \(B, n, C\)"):
        symmetrize(nn.Linear(rep.dim, 2), eq.Symmetry(S5, rep), Learned(noise=0), example=torch.randn(3, rep.dim))
    model = symmetrize(nn.Linear(5, 2), eq.Symmetry(S5, p), "learned", example=torch.randn(3, 5))
    assert model(torch.randn(3, 5)).shape == (3, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_of_half_precision_are_held_to_its_rounding(dtype):
    for seed in range(4):
        torch.manual_seed(seed)
        model = symmetrize(nn.Identity(), CLOUDS, "learned", example=cloud().to(dtype))
        assert model(cloud().to(dtype), generator=seeded(0)).dtype == dtype

    class Place(nn.Module):
        def forward(self, x):
            return x[..., 0] + torch.arange(x.shape[1], dtype=x.dtype)

    with pytest.raises(InputError, match="Place is not equivariant"):
        symmetrize(nn.Flatten(), eq.Symmetry(S5, sets()), Learned(Place()), example=cloud().to(dtype))


# --- masks and penalties ----------------------------------------------------------------------------


class Rows(nn.Module):
    """Outputs of the points that are there, from their places in the list."""

    def forward(self, data):
        x, mask = data
        weight = torch.arange(1.0, 6.0, dtype=x.dtype).unsqueeze(-1)
        return torch.where(mask.unsqueeze(-1), x * weight, 0).tanh()


@pytest.mark.parametrize("strategy", ["learned", "average"])
@pytest.mark.parametrize("permuting", [True, False])
def test_points_that_are_not_there_have_no_part_in_the_centroid(strategy, permuting):
    group = eq.SpecialEuclidean(3) * S5 if permuting else eq.SpecialEuclidean(3)
    action = combine(points(), sets() if permuting else eq.actions.trivial())
    symmetry = eq.Symmetry(group, action, points())
    x, mask = cloud(3), torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]).bool()
    far = torch.where(mask.unsqueeze(-1), x, 1e3 * x + 50)
    options = {"example": (x, mask)} if strategy == "learned" else {}
    torch.manual_seed(0)
    model = symmetrize(Rows(), symmetry, strategy, **options).eval()
    with torch.no_grad():
        here = model((x, mask), k=4, generator=seeded(0))
        there = model((far, mask), k=4, generator=seeded(0))
    torch.testing.assert_close(here[mask], there[mask], atol=1e-10, rtol=0)


def test_points_that_are_not_there_get_no_noise():
    for group, action in ((S5, combine(sets(), sets())), (SO3 * S5, combine(points(), sets()))):
        symmetry = eq.Symmetry(group, action)
        x, mask = cloud(2), torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]]).bool()
        strategy = Learned()
        seen = strategy._seen(symmetry, readouts_of(symmetry, 64), (x, mask), 4, seeded(0), paired=True)
        moved = (seen[0] != x.repeat_interleave(4, 0)).any(-1)
        assert torch.equal(moved, mask.repeat_interleave(4, 0))


def test_the_entropy_of_padded_items_is_that_of_the_items_alone():
    x, mask = cloud(2), torch.tensor([[1, 1, 1, 0, 0]] * 2).bool()
    sizes = {n: eq.Symmetry(eq.Symmetric(n), combine(sets(), sets())) for n in (3, 5)}

    class First(nn.Module):
        def forward(self, data):
            return data[0][..., 0]

    found = {}
    for n, symmetry in sizes.items():
        model = symmetrize(nn.Identity(), symmetry, Learned(First(), noise=0))
        scores = x.clone().requires_grad_()  # so that permutations are relaxed
        found[n] = model.strategy.sample(symmetry, (scores[:, :n], mask[:, :n]), 1, seeded(0)).aux["entropy"]
    torch.testing.assert_close(found[3], found[5], atol=1e-10, rtol=0)


def test_the_prior_is_the_squared_distance_from_the_identity_times_its_weight():
    """Vectors that are turned a quarter from the axes: `|R - 1|^2 = 4`."""

    class Quarter(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=x.dtype).expand(len(x), 3, 3)

    symmetry = eq.Symmetry(SO3, points())
    for weight in (1.0, 0.25):
        strategy = Learned(Quarter(), noise=0, prior_weight=weight, entropy_weight=0, check=False)
        _, penalty = symmetrize(nn.Flatten(), symmetry, strategy).forward_with_penalty(cloud())
        assert float(penalty) == pytest.approx(4 * weight, abs=1e-12)
