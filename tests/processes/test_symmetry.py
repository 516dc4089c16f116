"""Which process commutes with what: exactly, up to a lattice, or not at all."""

from __future__ import annotations

import pytest
import torch
from process_cases import ATTENTION, BOX, FREE, LATTICE, SMALL, make, task

from equilearn.data.fields import collate
from equilearn.groups import Cyclic, Dihedral
from equilearn.processes import ConvCNP, EquivCNP, RelaxedConvCNP, deviation, equivariance_error


def strict(model):
    for module in model.modules():
        if hasattr(module, "enabled"):
            module.enabled = False
    return model


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("name", LATTICE)
def test_lattice_processes_commute_with_steps_of_the_lattice(name, dims):
    model = strict(make(name, dims))
    step = 0.25 * (4 if "UNet" in name else 1)
    by = torch.tensor([3.0, -2.0], dtype=torch.float64)[:dims] * step
    assert equivariance_error(model, task(dims), lambda x: x + by) < 1e-13
    half = equivariance_error(model, task(dims), lambda x: x + 0.5 * 0.25)
    assert 1e-7 < half < 0.2  # between cells a lattice interpolates


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_differences_commutes_with_any_shift(name, dims):
    assert equivariance_error(make(name, dims), task(dims), lambda x: x + 0.1234) < 1e-12


@pytest.mark.parametrize("name", FREE)
def test_free_processes_do_not(name):
    assert equivariance_error(make(name, 2), task(), lambda x: x + 1.0) > 1e-4


def turn(x, quarter=1):
    for _ in range(quarter):
        x = torch.stack([-x[..., 1], x[..., 0]], -1)
    return x


def mirror(x):
    return x * x.new_tensor([-1.0] + [1.0] * (x.shape[-1] - 1))


def test_mirrors_and_turns():
    assert equivariance_error(make("EquivCNP", 1), task(1), mirror) < 1e-7
    assert equivariance_error(make("ConvCNP", 1), task(1), mirror) > 1e-4
    for move in (turn, mirror, lambda x: turn(x, 2)):
        assert equivariance_error(make("EquivCNP", 2), task(), move) < 1e-7
        assert equivariance_error(make("ConvCNP", 2), task(), move) > 1e-4
    assert equivariance_error(make("TETNP distance", 2), task(), turn) < 1e-12
    assert equivariance_error(make("TETNP", 2), task(), turn) > 1e-5
    cyclic = EquivCNP(2, spacing=0.25, kernel_size=3, fields=2, group=Cyclic(4), **SMALL).double().eval()
    assert equivariance_error(cyclic, task(), turn) < 1e-7
    assert equivariance_error(cyclic, task(), mirror) > 1e-6
    assert str(EquivCNP(2, spacing=1.0).net.pool.group) == str(Dihedral(4))


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("name", ["ConvCNP", "UNet", "EquivCNP", "TETNP", "TEPTTNP"])
def test_switched_off_is_strict_to_the_last_bit(name, dims):
    bent, plain = make(name, dims, bent=True), make(name, dims)
    plain.load_state_dict({k: v for k, v in bent.state_dict().items() if not k.startswith("fixed")})
    given = task(dims)
    on = bent(given)
    with bent.equivariant_only():
        off = bent(given)
    wanted = plain(given)
    assert torch.equal(off.mean, wanted.mean) and torch.equal(off.std, wanted.std)
    assert not torch.equal(on.mean, wanted.mean)
    part = bent.equivariant_part()
    assert torch.equal(part(given).mean, wanted.mean) and torch.equal(bent(given).mean, on.mean)


@pytest.mark.parametrize("name", ["ConvCNP", "RelaxedConvCNP", "RelaxedUNet", "TETNP"])
def test_far_from_the_box_nothing_departs(name):
    model = make(name, 2, bent=name in ("ConvCNP", "TETNP"))
    far = task().moved(lambda x: x + 100.0)
    on = model(far)
    with model.equivariant_only():
        off = model(far)
    assert torch.equal(on.mean, off.mean) and torch.equal(on.std, off.std)
    here = deviation(model, task())
    assert here.relative > 1e-4 and here.bound == 2 * here.epsilon and "departs" in str(here)


def test_moved_with_its_fixed_inputs_a_process_is_equivariant():
    """Joint equivariance: shift the data and the functions t alike."""
    model = make("ConvCNP", 2, bent=True)
    here = model(task())
    by = torch.tensor([0.75, -0.5], dtype=torch.float64)
    moved = make("ConvCNP", 2, bent=True)
    moved.fixed.low += by
    moved.fixed.high += by
    there = moved(task().moved(lambda x: x + by))
    torch.testing.assert_close(there.mean, here.mean, rtol=0, atol=1e-13)
    alone = model(task().moved(lambda x: x + by))
    assert float((alone.mean - here.mean).detach().abs().max()) > 1e-4


def test_equivariance_is_broken_by_no_more_than_twice_epsilon():
    """Appendix D."""
    found = deviation(make("ConvCNP", 2, bent=True), task(), lambda x: x + 0.5)
    assert 1e-4 < found.broken <= found.bound and "moved, they change" in str(found)
    model = make("ConvCNP", 2, bent=True)
    assert deviation(model, task()).broken is None and model.deviation(task()) == deviation(model, task())


def test_relaxed_convolutions_begin_as_plain_ones():
    torch.manual_seed(0)
    relaxed = RelaxedConvCNP(2, spacing=0.25, kernel_size=3, domain=BOX, **SMALL).double().eval()
    plain = ConvCNP(2, spacing=0.25, kernel_size=3, **SMALL).double().eval()
    plain.load_state_dict({k: v for k, v in relaxed.state_dict().items() if "modulation" not in k})
    given = task()
    assert torch.equal(relaxed(given).mean, plain(given).mean)


def test_an_empty_context_cannot_bend_attention():
    model = make("TETNP", 2, bent=True)
    nothing = task(context=0)
    on = model(nothing)
    with model.equivariant_only():
        assert torch.equal(on.mean, model(nothing).mean)


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_training_leaves_fixed_inputs_out_task_by_task(drop):
    model = make("ConvCNP", 1, bent=True).train()
    model.fixed.drop = drop
    given = task(1, batch=1)
    many = collate([given] * 64)
    torch.manual_seed(0)
    found = model(many).mean[:, 0, 0]
    values = found.detach().round(decimals=10).unique()
    assert len(values) == (1 if drop == 0 else 2)
    if drop:
        share = float((found == found[0]).double().mean())
        assert 0.2 < share < 0.8  # 64 coins: outside once in a million
