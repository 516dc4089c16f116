"""Certificates of symmetrized models."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import equilearn as eq
from equilearn._check import InputError
from equilearn.actions import graphs, points
from equilearn.symmetrization import Certificate, Elements, Learned, Symmetrized, certify
from equilearn.symmetrization._resampling import resampling_error


def clouds(count: int = 48) -> torch.Tensor:
    return torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(0))


def model(strategy: str = "average", **options: object) -> Symmetrized:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    return eq.symmetrize(net, eq.Symmetry(eq.SO(3), input=points()), strategy, **options)


def certified(m: Symmetrized, x: torch.Tensor, seed: int = 1, **options: float) -> Certificate:
    return certify(m, x, generator=torch.Generator().manual_seed(seed), **options)


def test_the_resampling_error_is_the_equivariance_error_and_falls_as_one_over_the_root():
    few, many = (certified(model(samples=k), clouds()) for k in (4, 64))
    assert not few.exact and few.samples == 4 and few.verdict == "stochastic"
    # Ratio of measured errors: relative deviation about 5 % each, so that 25 % is five of them.
    assert few.error == pytest.approx(few.resampling, rel=0.25)
    assert few.resampling / many.resampling == pytest.approx(4, rel=0.25)
    assert few.resampling < few.resampling_bound < 1.6 * few.resampling
    assert not few.meets_target and few.bound >= few.error


def test_the_samples_needed_meet_the_target():
    first = certified(model(samples=8), clouds(), target=0.2)
    assert first.samples_needed is not None and first.samples_needed > 8
    second = certified(model(samples=first.samples_needed), clouds(), target=0.2)
    assert second.resampling < 0.2 and second.resampling_bound < 0.22
    assert second.samples_needed is not None and second.samples_needed < 1.3 * first.samples_needed


def test_exact_models_need_no_samples_and_know_where_they_jump():
    x = clouds()
    x[7] = torch.tensor([[1.0, 0, 0], [0, 1.001, 0], [0, 0, 2], [0, 0, 0]])
    found = certified(model("frames"), x)
    assert found.exact and found.samples_needed is None and found.resampling == 0 and found.meets_target
    assert found.closest[0][:2] == (7, "eigenvalue gap") and found.closest[0][2] == pytest.approx(5e-4, rel=0.01)
    assert len(found.margins["eigenvalue gap"]) == 48
    text = str(found)
    assert "exact up to rounding" in text and "jump where the eigenvalue gap closes" in text and "1 below 0.001" in text
    canonical = certified(model("canonicalize"), x)
    assert set(canonical.margins) == {"eigenvalue gap", "energy gap"}
    assert certified(model("frames", weighted=True), x).margins == {}


def test_degenerate_clouds_are_counted():
    x = clouds()
    x[:3] = torch.eye(3)[:1].new_tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])  # duplicate axes
    found = certified(model("frames"), x)
    assert not found.exact and found.inexact_inputs == 3
    assert "3 of the inputs have no unique pose" in str(found)
    same = clouds().mean(1, keepdim=True).expand(-1, 4, -1).contiguous()  # all points in one place
    assert certified(model("frames"), same).inexact_inputs == 48


def test_graphs_are_certified_too():
    g = torch.Generator().manual_seed(0)
    upper = (torch.rand(20, 6, 6, generator=g) < 0.5).triu(1)
    x = (torch.rand(20, 6, 1, generator=g), (upper | upper.mT).float(), torch.ones(20, 6, dtype=torch.bool))
    net = eq.nn.FlatMLP(6 + 36 + 6, 3, 16, 1)
    found = certified(eq.symmetrize(net, eq.Symmetry(eq.Symmetric(6), input=graphs()), "frames"), x)  # type: ignore[arg-type]
    assert found.exact and found.verdict == "exact"
    assert set(found.margins) == {"eigenvalue gap", "node key gap"}


def test_learned_orders_jump_where_scores_meet_unless_there_is_noise():
    x = torch.randn(20, 5, 2, generator=torch.Generator().manual_seed(0))
    x[3, 1] = x[3, 0]  # equal rows get equal scores
    symmetry = eq.Symmetry(eq.Symmetric(5), input=eq.actions.sets())
    net = eq.nn.FlatMLP(10, 2, 8, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        still = eq.symmetrize(net, symmetry, Learned(noise=0.0, samples=1), example=x)
        noisy = eq.symmetrize(net, symmetry, Learned(samples=4), example=x)
    found = certified(still, x)
    assert found.closest[0][:2] == (3, "score gap") and found.closest[0][2] < 1e-6
    assert min(value for index, value in enumerate(found.margins["score gap"]) if index != 3) > 1e-6
    assert certified(noisy, x).margins == {}


def test_a_certificate_is_kept_in_a_file(tmp_path: Path):
    x = clouds()
    for m in (model("frames"), model(samples=4)):
        found = certified(m, x)
        found.save(tmp_path / "certificate.json")
        assert Certificate.load(tmp_path / "certificate.json") == found
        assert json.loads((tmp_path / "certificate.json").read_text())["bound"] == found.bound
    (tmp_path / "other.json").write_text('{"kind": "study"}')
    with pytest.raises(InputError, match="holds no certificate"):
        Certificate.load(tmp_path / "other.json")
    (tmp_path / "new.json").write_text('{"kind": "certificate", "format": 7}')
    with pytest.raises(InputError, match="format 7; this version reads format 1"):
        Certificate.load(tmp_path / "new.json")
    (tmp_path / "cut.json").write_text('{"kind": "certificate", "format": 1}')
    with pytest.raises(InputError, match="lacks strategy"):
        Certificate.load(tmp_path / "cut.json")


def test_infinite_margins_survive_a_file(tmp_path: Path):
    alike = eq.symmetrize(lambda x: x.sum((1, 2)), eq.Symmetry(eq.Symmetric(4), input=eq.actions.sets()), "frames")
    found = certified(alike, torch.ones(3, 4, 2))
    assert found.margins["row gap"] == (math.inf,) * 3 and found.closest == ()
    found.save(tmp_path / "one.json")
    assert Certificate.load(tmp_path / "one.json") == found
    assert "no jumps are known" in str(found)


def test_the_same_generator_gives_the_same_certificate_and_the_model_is_left_alone():
    m = model(samples=4)
    m.train()
    before = torch.get_rng_state()
    assert certified(m, clouds(), seed=5) == certified(m, clouds(), seed=5)
    assert m.training and torch.equal(torch.get_rng_state(), before)


def test_few_inputs_get_a_wide_bound():
    found = certified(model(samples=4), clouds(2))
    assert found.resampling_bound == pytest.approx(found.resampling * (15 / 7.2609) ** 0.5, rel=1e-3)


def test_the_bound_holds_as_often_as_it_says():
    """The bound lies above the long-run resampling error at least in 95 % of 60 certificates, up to chance:
    12 misses or more have probability below 1e-4 at a true rate of 5 %."""
    m, x = model(samples=4), clouds(16)
    m.requires_grad_(False)
    calls = torch.stack([m(x, generator=torch.Generator().manual_seed(100 + i)).detach().double() for i in range(400)])
    truth = float(2 * calls.var(0).sum() / calls.square().mean(0).sum()) ** 0.5
    misses = sum(resampling_error(m, x, 0.95, torch.Generator().manual_seed(i))[1] < truth for i in range(60))
    assert misses < 12


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="takes a model from symmetrize"):
        certify(torch.nn.Linear(3, 3), clouds())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="confidence must lie between"):
        certify(model(), clouds(), confidence=1.0)
    with pytest.raises(InputError, match="target must be a positive"):
        certify(model(), clouds(), target=0)
    with pytest.raises(InputError, match="NaN"):
        certify(model(), clouds() * math.nan)
    with pytest.raises(InputError, match="x is empty"):
        certify(model(), clouds()[:0])


# --- what is claimed, and what is not -------------------------------------------------------------------


class Places(torch.nn.Module):
    """No sampler network: its scores depend on the place in the list."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., 0] + torch.arange(x.shape[1])


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_net_that_breaks_the_symmetry_is_named_and_nothing_is_called_exact(noise: float):
    still = eq.symmetrize(
        model().model, eq.Symmetry(eq.Symmetric(4), input=eq.actions.sets()), Learned(Places(), noise=noise, samples=4)
    )
    found = certified(still, clouds(), target=0.001)
    assert not found.exact and not found.meets_target and found.samples_needed is None
    assert found.broken is not None and "sampler network Places is not equivariant" in found.broken
    assert "equivariant. The sampler network Places" in str(found) and "exact" not in str(found)
    assert found.obstacle is not None and ("nothing is drawn" in found.obstacle) == (noise == 0)


def test_a_frame_that_only_claims_to_be_exact_is_found_out(tmp_path: Path):
    def fixed(symmetry: eq.Symmetry, x: torch.Tensor, generator: torch.Generator | None) -> Elements:
        return Elements(symmetry.group.identity((len(x), 1)), torch.ones(len(x), 1), exact=True)

    m = model("frames", frame=fixed)
    assert m.is_exact(clouds())
    found = certified(m, clouds())
    assert not found.exact and found.error > 0.1 and found.obstacle == "two calls agree, so that nothing is drawn"
    assert "NOT equivariant. frames counts as exact here, but the error is beyond rounding" in str(found)
    found.save(tmp_path / "one.json")
    assert Certificate.load(tmp_path / "one.json") == found


def test_interpolation_is_not_mended_by_samples():
    turns = eq.Symmetry(eq.SO(2), input=eq.actions.images())
    x = torch.rand(16, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    m = eq.symmetrize(lambda x: x.square().flatten(1), turns, "canonicalize")
    found = certified(m, x)
    assert not found.exact and found.samples_needed is None and found.broken is not None
    assert "only approximately equivariant" in str(found) or "NOT equivariant" in str(found)


def test_strategies_that_cannot_take_more_samples_say_so():
    cube = torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)]).expand(8, 8, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        rows = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 12), torch.nn.Unflatten(1, (4, 3)))
    degenerate = certified(eq.symmetrize(net, eq.Symmetry(eq.SO(3), points()), "frames"), cube)
    assert degenerate.samples_needed is None and degenerate.broken is None
    assert "no number of samples reaches the target of 0.01: frames evaluates at most 4 poses" in str(degenerate)
    tied = torch.ones(8, 4, 3)
    tied[:, 0] = 2
    orders = eq.Symmetry(eq.Symmetric(4), eq.actions.sets(), eq.actions.sets())
    random = certified(eq.symmetrize(rows, orders, "canonicalize", ties="random"), tied)
    assert random.samples_needed is None and "canonicalize evaluates at most 1 pose an input" in str(random)
    some = certified(model("frames", samples=2), clouds(), target=0.001)
    assert some.samples_needed is None and some.obstacle == (
        "frames has 4 poses; samples='all' takes them all, which is exact"
    )


def test_orders_of_graphs_can_be_drawn_as_often_as_needed():
    nodes = eq.Symmetry(eq.Symmetric(7), graphs(mask=False), eq.actions.sets())
    empty = (torch.ones(8, 7, 1), torch.zeros(8, 7, 7))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = eq.nn.FlatMLP(7 + 49, (7, 1), 8, 1)
    found = certified(eq.symmetrize(net, nodes, "frames"), empty, target=0.1)  # type: ignore[arg-type]
    assert found.samples_needed is not None and found.samples_needed > 1 and found.obstacle is None
    assert found.inexact_inputs == 8


def test_a_model_that_draws_random_numbers_of_its_own_is_not_exact():
    def noisy(x: torch.Tensor) -> torch.Tensor:
        return x.square().sum((1, 2)) + torch.rand(len(x))

    found = certified(eq.symmetrize(noisy, eq.Symmetry(eq.SO(3), points()), "frames"), clouds())
    assert not found.exact and found.verdict == "stochastic" and found.broken is None and found.resampling > 0


def test_the_bound_of_a_single_input_claims_no_confidence():
    one, two = (certified(model(samples=4), clouds(count)) for count in (1, 2))
    assert one.error_interval is None and one.bound_confidence is None
    assert one.as_dict()["bound_confidence"] is None and "one input: no interval" in str(one)
    assert two.bound_confidence == 0.95 and "no interval" not in str(two)
