"""Learned distributions: copies and files, odd data, and what is refused."""

import copy
import math

import pytest
import torch
from learned_cases import CLOUDS, S5, cloud, learned, mlp, seeded
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points, sets
from equilearn.nn import DeepSets
from equilearn.symmetrization import Average, Learned, symmetrize

# --- copies, files, devices -------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    model, x = learned().eval(), cloud()
    eq.save(model, tmp_path / "model.safetensors")
    torch.manual_seed(7)
    fresh = symmetrize(mlp(15, (5, 3), seed=7), CLOUDS, "learned", example=x).eval()
    fresh = eq.load(fresh, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(model(x, generator=seeded(0)), fresh(x, generator=seeded(0)))
        assert torch.equal(model(x, generator=seeded(0)), copy.deepcopy(model)(x, generator=seeded(0)))


def test_one_strategy_object_serves_two_models():
    strategy = Learned()
    one = symmetrize(nn.Identity(), CLOUDS, strategy)
    other = symmetrize(nn.Identity(), eq.Symmetry(eq.O(3), points()), strategy)
    assert strategy.net is None and one.strategy.net is not other.strategy.net


def test_global_randomness_is_left_alone():
    model, x = learned().eval(), cloud()
    before = torch.get_rng_state()
    model(x, generator=seeded(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    x = cloud().cuda()
    model = symmetrize(mlp(15, (5, 3)), CLOUDS, "learned", example=x).cuda()
    y, penalty = model.forward_with_penalty(x, generator=torch.Generator("cuda").manual_seed(0))
    (y.sum() + penalty).backward()
    assert y.is_cuda


# --- odd data ---------------------------------------------------------------------------------------


def test_an_empty_batch_and_a_single_item():
    model = learned()
    assert model(cloud(0)).shape == (0, 5, 3)
    symmetry = eq.Symmetry(eq.Symmetric(1), sets(), sets())
    single = learned(symmetry, cloud(n=1), 3, (1, 3))
    y, penalty = single.forward_with_penalty(cloud(n=1), generator=seeded(0))
    (y.sum() + penalty).backward()
    torch.testing.assert_close(y, single.model(cloud(n=1)))
    assert float(penalty.detach()) == pytest.approx(0, abs=1e-12)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp(20, (5, 2))

    def forward(self, data):
        x, mask = data
        return self.net(torch.cat([x * mask.unsqueeze(-1), mask.unsqueeze(-1).to(x.dtype)], -1))


@pytest.mark.parametrize("strategy", ["learned", "average"])
def test_padding_comes_last_and_is_never_seen(strategy):
    symmetry = eq.Symmetry(S5, (sets(), sets()), sets())
    x = cloud()
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()
    options = {"example": (x, mask)} if strategy == "learned" else {}
    model = symmetrize(Masked(), symmetry, strategy, **options)
    y, elements = model((x, mask), k=6, generator=seeded(0), return_elements=True)
    ordered = mask.unsqueeze(1).expand(4, 6, 5).gather(2, elements.g)
    assert bool((ordered == ordered.sort(-1, descending=True).values).all())
    other = model((torch.where(mask[..., None], x, 1e3 * x), mask), k=6, generator=seeded(0))
    torch.testing.assert_close(y, other)
    if strategy == "learned":
        loss, penalty = model.forward_with_penalty((x, mask), generator=seeded(0))
        (loss.sum() + penalty).backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
        assert float(elements.aux["entropy"][3].detach()) == 0


def test_random_orders_of_the_items_that_are_there_are_uniform():
    """3 of 5 items: each of the 6 orders once in 6; 6,000 draws, five standard deviations."""
    symmetry = eq.Symmetry(S5, (sets(), sets()))
    mask = torch.tensor([[True, False, True, True, False]])
    g = Average(6000).sample(symmetry, (cloud(1), mask), None, seeded(0)).g[0, :, :3]
    _, counts = g.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert float((counts / 6000 - 1 / 6).abs().max()) < 5 * math.sqrt(5 / 36 / 6000)


@pytest.mark.parametrize("noise", [1.0, 0.0])
def test_points_that_coincide_have_random_finite_poses(noise):
    model = learned(noise=noise)
    x = torch.cat([torch.zeros(1, 5, 3), torch.ones(1, 5, 3), torch.linspace(0, 1, 5)[None, :, None].expand(1, 5, 3)])
    x = x.double().requires_grad_()
    y, penalty = model.forward_with_penalty(x, generator=seeded(0))
    (y.sum() + penalty).backward()
    assert bool(y.isfinite().all()) and x.grad is not None and bool(x.grad.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert not model.is_exact(x)


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be a whole number >= 1, got 0"),
        ({"eval_samples": 0}, "eval_samples must be a whole number >= 1"),
        ({"noise": -1.0}, "noise must be a number >= 0"),
        ({"noise": math.nan}, "noise must be a number >= 0"),
        ({"temperature": 0}, "temperature must be a positive number"),
        ({"entropy_weight": -0.1}, "entropy_weight must be"),
        ({"rounds": 0}, "rounds must be"),
        ({"width": 0}, "width must be"),
        ({"net": "gin"}, "net must be a module"),
        ({"samples": "all"}, r"samples='all' .* SO\(?3\)? and S5"),
        ({"sampels": 2}, "does not take these options"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        symmetrize(nn.Identity(), CLOUDS, "learned", **options)


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="k must be a whole number >= 1, got 0"):
        learned()(cloud(), k=0)


def test_groups_that_cannot_be_sampled_are_named():
    with pytest.raises(InputError, match=r"No learned distribution is known for SO2 acting on images"):
        symmetrize(nn.Identity(), eq.Symmetry(eq.SO(2), images()), "learned")
    with pytest.raises(InputError, match=r"It has 100 elements, more than the 64"):
        symmetrize(nn.Identity(), eq.Symmetry(eq.Cyclic(100), images()), "learned")


def test_whole_numbers_have_no_room_for_noise():
    symmetry = eq.Symmetry(S5, sets())
    with pytest.raises(InputError, match=r"Convert whole numbers with x\.float"):
        symmetrize(nn.Identity(), symmetry, "learned", example=torch.arange(10).reshape(2, 5))


class Position(nn.Module):
    """Not equivariant: scores that depend on the place in the list."""

    def __init__(self, kind="scores"):
        super().__init__()
        self.kind = kind
        self.sets = DeepSets(3, 1, equivariant=True).double()

    def forward(self, x):
        scores = self.sets(x).squeeze(-1)
        if self.kind == "fixed vectors":
            return (torch.ones(3, 3, dtype=x.dtype) + torch.eye(3)).expand(len(x), 3, 3), scores
        vectors = torch.stack([x.mean(1), x.square().sum(-1, keepdim=True).mul(x).mean(1), x[:, 0]], -1)
        return vectors, scores


def test_a_net_that_is_not_equivariant_is_named():
    with pytest.raises(InputError, match=r"Position is not equivariant: when the input is moved by S5"):
        symmetrize(nn.Identity(), eq.Symmetry(S5, sets()), Learned(OnlyScores()), example=cloud())
    for kind, factor in (("place", "S5|SO"), ("fixed vectors", "SO")):
        with pytest.raises(InputError, match=rf"network Position is not equivariant: .* moved by ({factor})"):
            symmetrize(nn.Identity(), CLOUDS, Learned(Position(kind)), example=cloud())
    symmetrize(nn.Identity(), CLOUDS, Learned(Position("place"), check=False), example=cloud())


class OnlyScores(Position):
    def forward(self, x):
        return self.sets(x).squeeze(-1) + torch.arange(x.shape[1])


OnlyScores.__name__ = "Position"


def test_logits_that_do_not_follow_the_group_are_named():
    symmetry = eq.Symmetry(eq.Cyclic(4), images())
    x = torch.rand(4, 1, 5, 5, generator=seeded(0))
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 4))
    with pytest.raises(InputError, match=r"Sequential is not equivariant: .* moved by C4 its logits"):
        symmetrize(nn.Identity(), symmetry, Learned(net), example=x)


def test_the_check_leaves_modes_and_numbers_alone():
    model = learned()
    before = {k: v.clone() for k, v in model.strategy.state_dict().items()}
    assert model.strategy.training
    assert model.strategy.check_net(CLOUDS, cloud()) < 1e-8
    assert model.strategy.training and all(m.training for m in model.strategy.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.strategy.state_dict().items())


class Answer(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x, r"must return a tuple of 2, \(vectors \(8, 3, 3\), scores \(8, 5\)\); got Tensor"),
        (lambda x: (x, x), r"vectors of shape \(8, 3, 3\) for SO3, got \(8, 5, 3\)"),
        (lambda x: (x[:, :3], x), r"scores of shape \(8, 5\) for S5, got \(8, 5, 3\)"),
        (lambda x: (x[:, :3], None), "scores for S5, floating point; got NoneType"),
        (lambda x: (x[:, :3], x[..., 0].long()), "floating point; got torch.int64"),
        (lambda x: (x[:, :3], x[..., 0].log()), r"Scores of the sampler network Answer for S5 holds \d+ NaN"),
    ],
)
def test_answers_of_another_form_are_refused(answer, message):
    model = symmetrize(nn.Identity(), CLOUDS, Learned(Answer(answer)))
    with pytest.raises(InputError, match=message):
        model(cloud(), k=2, generator=seeded(0))


def test_a_strategy_without_a_network_says_how_to_get_one():
    model = eq.symmetrization.Symmetrized(nn.Identity(), CLOUDS, Learned())
    with pytest.raises(InputError, match=r"no network yet.* symmetrize\("):
        model(cloud())


def test_an_empty_batch_of_graphs_gives_an_empty_result():
    x = (torch.ones(3, 5, 2), torch.zeros(3, 5, 5), torch.ones(3, 5, dtype=torch.bool))
    symmetry = eq.Symmetry(eq.Symmetric(5), eq.actions.graphs(5))
    model = symmetrize(eq.nn.FlatMLP(40, 2), symmetry, "learned", example=x).eval()
    empty = tuple(part[:0] for part in x)
    assert model(empty).shape == (0, 2) and model(empty, return_std=True)[1].shape == (0, 2)


def test_what_is_not_finite_is_refused_before_a_network_keeps_it_in_its_running_means():
    x = (torch.randn(6, 5, 2), torch.zeros(6, 5, 5), torch.ones(6, 5, dtype=torch.bool))
    symmetry = eq.Symmetry(eq.Symmetric(5), eq.actions.graphs(5))
    model = symmetrize(eq.nn.FlatMLP(40, 2), symmetry, "learned", example=x).train()
    bad = x[0].clone()
    bad[4, 2, 1] = torch.nan
    with pytest.raises(InputError, match=r"x\[0\] .*NaN"):
        model((bad, *x[1:]))
    assert all(bool(v.isfinite().all()) for v in model.state_dict().values() if v.is_floating_point())
    assert bool(model.eval()(x).isfinite().all())
    hidden = (bad, x[1], torch.arange(5).expand(6, 5) < 2)  # in padding nobody looks
    model.strategy.sample(symmetry, hidden)
