"""Training on a stream: what differs from training on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn

from equilearn import InputError
from equilearn.training import fit_stream


def draw(batch, generator):
    x = torch.rand(batch, 1, generator=generator)
    return x, 3 * x + 1


def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.1))


def state(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_same_seed_same_weights_and_the_global_stream_is_left_alone():
    found = []
    for _ in range(2):
        model = linear()
        torch.manual_seed(5)
        fit_stream(model, draw, loss, steps=20, seed=3, clip_value=None)
        found.append((state(model), torch.rand(1)))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    other = linear()
    fit_stream(other, draw, loss, steps=20, seed=4, clip_value=None)
    assert not torch.equal(state(other), found[0][0])


def test_stopped_and_resumed_is_the_same_bit_for_bit(tmp_path):
    whole = linear()
    fit_stream(whole, draw, loss, steps=30)

    def stop(step, steps, value):
        if step == 12:
            raise KeyboardInterrupt

    model, path = linear(), tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_stream(model, draw, loss, steps=30, checkpoint=path, checkpoint_every=5, progress=stop)
    again = linear(seed=1)
    fitted = fit_stream(again, draw, loss, steps=30, checkpoint=path, checkpoint_every=5)
    assert torch.equal(state(again), state(whole)) and fitted.steps == 30


def test_checkpoint_of_another_stream_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    fit_stream(linear(), draw, loss, steps=2, checkpoint=path, settings={"kernel": "rbf"})
    with pytest.raises(InputError, match="kernel: 'rbf' there, 'matern' now"):
        fit_stream(linear(), draw, loss, steps=2, checkpoint=path, settings={"kernel": "matern"})


def test_best_weights_on_held_out_batches_are_put_back():
    held_out = [draw(64, torch.Generator().manual_seed(9))]
    model = nn.Linear(1, 1)
    fitted = fit_stream(
        model, draw, loss, steps=40, learning_rate=0.3, schedule="constant", validation=held_out, evaluate_every=4
    )
    best = min(entry["validation"] for entry in fitted.history)
    assert float(loss(model, held_out[0]).detach()) == pytest.approx(best, rel=1e-5)


def test_gradients_are_clipped_by_value():
    model = nn.Linear(1, 1)
    before = state(model)

    def steep(model, batch):
        return 1e6 * loss(model, batch)

    fit_stream(model, draw, steep, steps=1, clip_value=0.5)
    assert max(float(p.grad.abs().max()) for p in model.parameters()) <= 0.5
    assert not torch.equal(state(model), before)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"draw": 3}, "draw must be a function"),
        ({"loss": "mse"}, "loss must be a function"),
        ({"loss": lambda model, batch: model(batch[0])}, "scalar tensor, got"),
        ({"loss": lambda model, batch: 1.0}, "scalar tensor, got float"),
        ({"validation": []}, "validation holds no batch"),
        ({"patience": 3}, "patience needs validation"),
        ({"clip_value": -1.0}, "clip_value must be positive"),
        ({"loss": lambda model, batch: loss(model, batch) * float("nan")}, "loss became nan at step 1"),
    ],
)
def test_bad_settings(given, said):
    with pytest.raises(InputError, match=said):
        fit_stream(nn.Linear(1, 1), **{"draw": draw, "loss": loss, "steps": 2, **given})


@pytest.mark.parametrize("clips", [{}, {"clip_value": None}, {"clip": 1.0}])
def test_a_gradient_of_nan_is_refused_before_it_is_taken(clips):
    """The root is 0 at 0, and its slope is not a number."""
    model = nn.Linear(1, 1)
    before = state(model)

    def kinked(model, batch):
        return (model.weight * 0).sqrt().sum() + 1

    with pytest.raises(InputError, match="gradient became infinite or NaN at step 1 of 3"):
        fit_stream(model, draw, kinked, steps=3, **clips)
    assert torch.equal(state(model), before)


def test_no_limit_on_the_norm_changes_no_gradient():
    model, twin = nn.Linear(1, 1), nn.Linear(1, 1)
    twin.load_state_dict(model.state_dict())
    batch = draw(16, torch.Generator().manual_seed(0))
    fit_stream(model, lambda size, generator: batch, loss, steps=1, clip_value=None)
    loss(twin, batch).backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_held_out_loss_that_is_not_finite_is_refused(value):
    held_out = [(torch.full((2, 1), value), torch.zeros(2, 1))]
    with pytest.raises(InputError, match="held-out data became (nan|inf) after step 2 of 8"):
        fit_stream(linear(), draw, loss, steps=8, validation=held_out, evaluate_every=2, patience=1)


@dataclass
class Batch:
    """Held out in a container of its own."""

    x: torch.Tensor
    more: dict[str, torch.Tensor]


def test_checkpoint_of_other_held_out_batches_is_refused(tmp_path):
    def compare(model, batch):
        return loss(model, (batch.x, batch.more["y"]) if isinstance(batch, Batch) else batch)

    def held_out(seed):
        x, y = draw(4, torch.Generator().manual_seed(seed))
        return [Batch(x, {"y": y})]

    path = tmp_path / "run.safetensors"
    fit_stream(linear(), draw, compare, steps=2, checkpoint=path, validation=held_out(0))
    fit_stream(linear(), draw, compare, steps=2, checkpoint=path, validation=held_out(0))
    with pytest.raises(InputError, match="validation: '1 batches, "):
        fit_stream(linear(), draw, compare, steps=2, checkpoint=path, validation=held_out(1))


def test_settings_of_the_stream_hide_none_of_the_run(tmp_path):
    path = tmp_path / "run.safetensors"
    given = {"checkpoint": path, "settings": {"learning_rate": "of the simulator", "validation": 3}}
    fit_stream(linear(), draw, loss, steps=2, **given)
    with pytest.raises(InputError, match=r"learning_rate: 0\.001 there, 0\.1 now"):
        fit_stream(linear(), draw, loss, steps=2, learning_rate=0.1, **given)


class Pair(NamedTuple):
    x: object
    y: object


@pytest.mark.parametrize("wrap", [tuple, list, lambda parts: Pair(*parts), lambda parts: dict(zip("xy", parts))])  # noqa: B905
def test_what_batches_hold_is_brought_to_the_device(wrap):
    class Far:
        def __init__(self, value):
            self.value = value

        def to(self, device):
            assert device == torch.device("cpu")
            return self.value

    def compare(model, batch):
        assert type(batch) is type(wrap([0, 0]))
        return loss(model, tuple(batch.values()) if isinstance(batch, dict) else batch)

    def draw_far(batch, generator):
        return wrap([Far(part) for part in draw(batch, generator)])

    held_out = [draw_far(4, torch.Generator().manual_seed(0))]
    assert fit_stream(linear(), draw_far, compare, steps=2, validation=held_out).steps == 2
