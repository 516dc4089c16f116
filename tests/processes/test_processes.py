"""Every process: shapes, masks, order, emptiness, precision, state, bad input."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from process_cases import ATTENTION, FREE, LATTICE, make, task

from equilearn import InputError, load, save
from equilearn.data.fields import FieldTask, PointSet, collate
from equilearn.processes import (
    CNP,
    TEPTTNP,
    TETNP,
    ConvCNP,
    EquivCNP,
    Predictive,
    RelaxedConvCNP,
    deviation,
    fit_process,
    log_likelihoods,
)
from equilearn.processes._attention import Attention, Difference
from equilearn.relaxation import FixedInputs

ALL = (*LATTICE, *ATTENTION, *FREE)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_shapes_and_emptiness(name, dims):
    model = make(name, dims)
    for context, targets in ((6, 9), (0, 3), (1, 1), (4, 0)):
        found = model(task(dims, context=context, targets=targets))
        assert found.mean.shape == found.std.shape == (3, targets, 1)
        assert bool(torch.isfinite(found.mean).all()) and bool((found.std > 0).all())
    assert model(task(dims)[:0]).mean.shape == (0, 9, 1)
    nothing = task(dims)
    unseen = PointSet(nothing.context.x, nothing.context.y, torch.zeros_like(nothing.context.mask))
    assert bool(torch.isfinite(model(nothing.with_context(unseen)).mean).all())


@pytest.mark.parametrize("name", ALL)
def test_padding_and_order_mean_nothing(name):
    model = make(name, 2)
    long, short = task(batch=1, context=6, seed=1), task(batch=1, context=3, seed=2)
    both = collate([long, short])
    alone = [model(part) for part in (long, short)]
    together = model(both)
    for i, part in enumerate(alone):
        torch.testing.assert_close(together.mean[i : i + 1], part.mean, rtol=0, atol=1e-7)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    context = long.context
    mixed = PointSet(context.x[:, order], context.y[:, order], context.mask[:, order])
    torch.testing.assert_close(model(long.with_context(mixed)).mean, alone[0].mean, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_targets_do_not_see_each_other(name):
    """A far target changes no other prediction: the lattice has a margin as wide as the network sees."""
    model = make(name, 2)
    given = task(batch=1)
    far = PointSet(
        torch.cat([given.target.x, given.target.x[:, :1] + 6.0], 1),
        torch.cat([given.target.y, given.target.y[:, :1]], 1),
        torch.cat([given.target.mask, given.target.mask[:, :1]], 1),
    )
    more = model(FieldTask(given.context, far)).mean[:, :-1]
    torch.testing.assert_close(more, model(given).mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_state_survives(name, tmp_path):
    model = make(name, 2)
    model.set_normalizer(3.0, 2.0)
    model.set_region([(-1.0, 1.0), (0.0, 2.0)])
    save(model, tmp_path / "model.safetensors")
    other = load(make(name, 2), tmp_path / "model.safetensors")
    given = task()
    for twin in (other, copy.deepcopy(model)):
        assert torch.equal(twin(given).mean, model(given).mean)
        assert torch.equal(twin.region, model.region)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_double_rounded(name):
    model = make(name, 2)
    found = copy.deepcopy(model).float()(task().to(torch.float32))
    wanted = model(task())
    assert found.mean.dtype == torch.float32
    torch.testing.assert_close(found.mean.double(), wanted.mean, rtol=1e-3, atol=1e-4)


def test_normaliser_is_a_change_of_units():
    model = make("ConvCNP", 1)
    given = task(1)
    wanted = model(given)

    def scaled(part):
        return PointSet(part.x, 5 * part.y + 7, part.mask)

    model.set_normalizer(7.0, 5.0)
    found = model(FieldTask(scaled(given.context), scaled(given.target)))
    torch.testing.assert_close(found.mean, 5 * wanted.mean + 7)
    torch.testing.assert_close(found.std, 5 * wanted.std)


def test_a_zero_raw_deviation_is_the_root_of_ln_2():
    model = CNP(1, width=4, depth=1, min_std=0.0)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert float(model(task(1, dtype=torch.float32)).std[0, 0, 0].detach()) == pytest.approx(
        math.sqrt(math.log(2)), rel=1e-6
    )


def test_attention_against_a_loop(monkeypatch):
    import equilearn.processes._attention as room

    torch.manual_seed(0)
    layer = Attention(8, 2, difference=2, hidden=5).double()
    to, of = torch.randn(2, 4, 8, dtype=torch.float64), torch.randn(2, 3, 8, dtype=torch.float64)
    x, z = torch.randn(2, 4, 2, dtype=torch.float64), torch.randn(2, 3, 2, dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = layer(to, of, mask, Difference(x, z))
    q, k, v = layer.query(to), layer.key(of), layer.value(of)
    for i in range(4):
        heads = []
        dots = torch.stack([q[0, i, 4 * h : 4 * h + 4] @ k[0, :, 4 * h : 4 * h + 4].T / 2 for h in range(2)], -1)
        scores = layer.score(torch.cat([dots, x[0, i] - z[0]], -1))[[0, 2]].softmax(0)
        for h in range(2):
            heads.append(scores[:, h] @ v[0, [0, 2], 4 * h : 4 * h + 4])
        torch.testing.assert_close(found[0, i], layer.out(torch.cat(heads)))
    assert not bool(found[1].any())
    grads = torch.autograd.grad(found.square().sum(), list(layer.parameters()))
    monkeypatch.setattr(room, "CHUNK", 1)
    again = torch.autograd.grad(layer(to, of, mask, Difference(x, z)).square().sum(), list(layer.parameters()))
    for a, b in zip(grads, again, strict=True):
        torch.testing.assert_close(a, b)


def test_joint_draws_follow_their_own_past():
    """Targets at one place are drawn alike by a process that interpolates its context; independent draws are not."""

    class Copying(CNP):
        def represent(self, context, targets):
            near = (targets - context.x.mT).abs() + torch.where(context.mask[:, None], 0.0, 1e9)
            known = context.mask.any(1)[:, None, None]
            mean = torch.where(known, context.y[:, :, 0].gather(1, near.argmin(-1))[..., None], 0.0)
            return torch.cat([mean, torch.where(known, -30.0, 2.0).expand_as(mean)], -1)

    model = Copying(1, width=2, depth=1, min_std=1e-6)
    wanted = PointSet(torch.zeros(2, 5, 1), torch.zeros(2, 5, 1))
    given = FieldTask(PointSet(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1), torch.zeros(2, 1, dtype=torch.bool)), wanted)
    drawn = model.sample(given, 50, torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 2, 5, 1)
    assert float(drawn.std(2).max()) < 1e-3 and float(drawn[:, :, 0].std(0).min()) > 0.5
    again = model.sample(given, 50, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    assert model.sample(task(1, targets=0, dtype=torch.float32), 2).shape == (2, 3, 0, 1)


def test_predictive_scores():
    mask = torch.tensor([[True, False], [False, False]])
    found = Predictive(torch.zeros(2, 2, 1), torch.full((2, 2, 1), 2.0), mask)
    y = torch.tensor([[[2.0], [math.nan]], [[1.0], [1.0]]])
    one = -0.5 - math.log(2) - 0.5 * math.log(2 * math.pi)
    assert float(found.log_prob(y)) == pytest.approx(one, rel=1e-6)
    assert float(found.log_prob(y, "tasks")[0]) == pytest.approx(one, rel=1e-6)
    assert bool(found.log_prob(y, "tasks")[1].isnan())
    assert found.log_prob(y, "none")[0].tolist() == pytest.approx([one, 0.0], rel=1e-6)
    with pytest.raises(InputError, match="No target"):
        found[1:].log_prob(y[1:])
    with pytest.raises(InputError, match="shape"):
        found.log_prob(y[..., 0])
    draws = found.sample(4000, torch.Generator().manual_seed(0))
    assert float(draws.std()) == pytest.approx(2.0, rel=0.05)  # 16,000 draws: 9 standard errors


def test_training_lowers_the_loss_and_keeps_the_best(tmp_path):
    def draw(batch, generator):
        x = 4 * torch.rand(batch, 24, 1, generator=generator)
        y = torch.sin(3 * x) + torch.rand(batch, 1, 1, generator=generator)
        return FieldTask(PointSet(x[:, :8], y[:, :8]), PointSet(x[:, 8:], y[:, 8:]))

    torch.manual_seed(0)
    model = ConvCNP(1, spacing=0.1, width=8, depth=2, kernel_size=5)
    held_out = [draw(64, torch.Generator().manual_seed(1))]
    before = log_likelihoods(model, held_out).mean()
    fitted = fit_process(model, draw, steps=60, learning_rate=1e-2, validation=held_out, seed=3)
    after = log_likelihoods(model, held_out)
    assert 0 <= float(model.region[0, 0]) < 0.1 < 3.9 < float(model.region[0, 1]) <= 4
    assert after.shape == (64,) and float(after.mean() - before) > 0.2
    assert fitted.steps == 60
    with pytest.raises(InputError, match="NeuralProcess"):
        fit_process(torch.nn.Linear(1, 1), draw)  # type: ignore[arg-type]


def test_equivariant_part_stays_so_when_saved(tmp_path):
    model = ConvCNP(1, spacing=0.5, width=4, depth=1, fixed=FixedInputs(2, [(-2.0, 2.0)], out=4)).double()
    part = model.equivariant_part()
    save(part, tmp_path / "part.safetensors")
    again = load(copy.deepcopy(model), tmp_path / "part.safetensors").eval()
    given = task(1)
    assert torch.equal(again(given).mean, part.eval()(given).mean) and again.strength == part.strength == 0
    assert not torch.equal(again(given).mean, model.eval()(given).mean) and model.strength == 1
    model.strength = 0.0
    assert torch.equal(model(given).mean, part(given).mean)


@pytest.mark.parametrize("name", ATTENTION)
def test_padding_of_targets_means_nothing_without_a_context(name):
    model = make(name, 2)
    long, short = task(batch=1, context=0, targets=9, seed=1), task(batch=1, context=0, targets=3, seed=2)
    together = model(collate([long, short]))
    torch.testing.assert_close(together.mean[1:, :3], model(short).mean, rtol=0, atol=1e-13)


def test_every_parameter_learns():
    for name in ("TNP", "PTTNP", "TETNP", "TEPTTNP"):
        model = make(name, 2)
        model(task()).mean.square().sum().backward()
        assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_a_unet_sees_no_farther_than_it_says():
    from equilearn.processes._lattice_nets import UNet

    for levels, kernel in ((1, 3), (2, 3), (3, 5)):
        net = UNet(1, 2, levels, kernel).double()
        field = torch.randn(1, 2, 256, dtype=torch.float64, requires_grad=True)
        for cell in range(128, 128 + net.multiple):
            (grad,) = torch.autograd.grad(net(field)[0, :, cell].sum(), field)
            seen = grad[0].abs().sum(0).nonzero().flatten()
            assert int((seen - cell).abs().max()) <= net.reach


def test_outside_of_the_region_it_says_so():
    model = make("ConvCNP", 2)
    model.set_region([(-1.0, 1.0), (-1.0, 1.0)])
    inside = task().moved(lambda x: x / 2)
    model.predict(inside)
    with pytest.warns(UserWarning, match="context points lie outside of the region"):
        model.predict(FieldTask(inside.context.moved(lambda x: x + 2), inside.target))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: ConvCNP(1, spacing=-1.0), "spacing must be positive"),
        (lambda: ConvCNP(4, spacing=1.0), "at most 3"),
        (lambda: ConvCNP(1, spacing=1.0, net="resnet"), "network of a ConvCNP"),
        (lambda: ConvCNP(1, spacing=1.0, kernel_size=4), "must be odd"),
        (lambda: ConvCNP(1, spacing=1.0, net="unet", separable=True), "separable"),
        (lambda: ConvCNP(1, spacing=1.0, fixed=FixedInputs(4, [(0, 1)])), "out=32"),
        (lambda: ConvCNP(2, spacing=1.0, fixed=FixedInputs(4, [(0, 1)], out=32)), "2 coordinates"),
        (lambda: TETNP(1, fixed=FixedInputs(4, [(0, 1)])), "out=64"),
        (lambda: TETNP(1, width=10, heads=4), "multiple of heads"),
        (lambda: TEPTTNP(2, spread=-1.0), "spread must be positive"),
        (lambda: CNP(1)(task(1)), "float64"),
        (lambda: CNP(1).set_normalizer(torch.zeros(3), 1.0), "got \\(3,\\)"),
        (lambda: ConvCNP(1, spacing=1.0, depth=0), "depth"),
        (lambda: ConvCNP(1, spacing=1.0, lengths=()), "lengths"),
        (lambda: EquivCNP(3, spacing=1.0), "1 or 2 dimensions"),
        (lambda: EquivCNP(1, spacing=1.0, group=object()), "mirror"),
        (lambda: CNP(0), "dims"),
        (lambda: CNP(1, min_std=-1.0), "min_std"),
        (lambda: RelaxedConvCNP(1, spacing=1.0, domain=[(1.0, 0.0)]), "low < high"),
        (lambda: CNP(1).set_normalizer(0.0, 0.0), "positive deviations"),
        (lambda: CNP(1).set_region([(0, 1), (0, 1)]), "1 coordinates"),
        (lambda: CNP(1)(torch.zeros(1, 2, 3)), "FieldTask"),
        (lambda: CNP(1)(task(2, dtype=torch.float32)), "takes 1 coordinates"),
        (lambda: deviation(CNP(1), task(1, dtype=torch.float32)), "no part that breaks"),
        (lambda: log_likelihoods(CNP(1), []), "No tasks"),
    ],
)
def test_bad_input(build, said):
    with pytest.raises(InputError, match=said):
        build()
