"""Training on a stream: what differs from training on arrays."""

from __future__ import annotations

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
