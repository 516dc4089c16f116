"""The training loop: it learns, it is deterministic, it resumes bit for bit, it says what is wrong."""

from __future__ import annotations

import copy
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from equilearn._check import InputError
from equilearn.io import load_state, save
from equilearn.training import accuracy, fit, predict


def blobs(count: int = 120, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes of points around three corners."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    corners = torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    return corners[y] + 0.5 * torch.randn(count, 2, generator=generator), y


def network(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_it_learns():
    x, y = blobs()
    fitted = fit(network(), x, y, steps=150, learning_rate=1e-2)
    assert accuracy(predict(fitted.model, x), y) > 0.97
    assert fitted.steps == 150
    assert not fitted.stopped
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert [entry["step"] for entry in fitted.history][:2] == [7, 14]


def test_the_penalty_of_a_model_is_descended_and_not_reported():
    class Penalised(nn.Module):
        """The output does not depend on `extra`: only the penalty moves it."""

        def __init__(self):
            super().__init__()
            self.net, self.extra = nn.Linear(2, 3), nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def forward_with_penalty(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self(x), 10 * (self.extra - 1).square() + 100

    x, y = blobs()
    model = Penalised()
    fitted = fit(model, x, y, steps=150, learning_rate=5e-2, weight_decay=0)
    assert abs(float(model.extra.detach()) - 1) < 0.05
    assert fitted.history[-1]["loss"] < 2


def test_regression_of_a_tuple_of_inputs(dtype: torch.dtype):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)

        def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
            return self.a(x[0]) + self.b(x[1])

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 1, generator=generator, dtype=dtype), torch.randn(50, 1, generator=generator, dtype=dtype)
    fitted = fit(Sum().to(dtype), x, 2 * x[0] - x[1], loss="mse", steps=300, learning_rate=0.05, weight_decay=0.0)
    assert fitted.history[-1]["loss"] < 1e-4


def test_one_seed_gives_one_model_whatever_the_global_state():
    x, y = blobs()
    models = []
    for noise in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise)
            before = torch.get_rng_state()
            models.append(fit(network(dropout=0.5), x, y, steps=20, augment=jitter, seed=3).model)
            assert torch.equal(before, torch.get_rng_state())
    assert same(*models)
    assert not same(models[0], fit(network(dropout=0.5), x, y, steps=20, augment=jitter, seed=4).model)


def test_a_given_generator_is_used_and_moves_on():
    x, y = blobs()
    first, second = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    assert same(fit(network(), x, y, steps=5, generator=first).model, fit(network(), x, y, steps=5, seed=5).model)
    assert not torch.equal(first.get_state(), second.get_state())


def test_each_sample_is_seen_equally_often():
    seen: list[Tensor] = []

    class Watch(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach()[:, 0].clone())
            return super().forward(x)

    x = torch.arange(10.0)[:, None]
    fit(Watch(1, 1), x, x, loss="mse", steps=10, batch_size=3, learning_rate=1e-6)
    assert [len(batch) for batch in seen] == [3] * 10
    assert torch.cat(seen).long().bincount().tolist() == [3] * 10


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_of_small_data(size: int):
    x = torch.randn(size, 2, generator=torch.Generator().manual_seed(0))
    fitted = fit(nn.Linear(2, 1), x, x[:, :1], loss="mse", steps=3, batch_size=64)
    assert fitted.steps == 3


# --- checkpoints --------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 7, 13, 40])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, at: int):
    x, y = blobs()
    options = {
        "steps": 40,
        "learning_rate": 1e-2,
        "warmup": 5,
        "augment": jitter,
        "validation": blobs(30, seed=1),
        "patience": 50,
        "batch_size": 32,
    }
    whole = fit(network(dropout=0.5), x, y, **options)

    def stop(step: int, steps: int, loss: float) -> None:
        if step == at:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(network(dropout=0.5), x, y, **options, checkpoint=path, checkpoint_every=1000, progress=stop)
    resumed = fit(network(seed=99, dropout=0.5), x, y, **options, checkpoint=path)
    assert same(whole.model, resumed.model)
    assert whole.history == resumed.history
    assert (whole.steps, whole.stopped) == (resumed.steps, resumed.stopped)


def test_resume_from_a_periodic_checkpoint_after_a_crash(tmp_path: Path):
    x, y = blobs()
    calls = []

    def crash(x: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(1)
        if len(calls) == 18:
            raise RuntimeError("crashed")
        return jitter(x, generator)

    path = tmp_path / "run.safetensors"
    with pytest.raises(RuntimeError, match="crashed"):
        fit(network(), x, y, steps=30, augment=crash, checkpoint=path, checkpoint_every=5)
    resumed = fit(network(), x, y, steps=30, augment=jitter, checkpoint=path)
    assert same(resumed.model, fit(network(), x, y, steps=30, augment=jitter).model)


def test_a_finished_run_is_not_trained_again(tmp_path: Path):
    x, y = blobs()
    path = tmp_path / "run.safetensors"
    first = fit(network(), x, y, steps=10, checkpoint=path)
    told: list[int] = []
    second = fit(network(seed=5), x, y, steps=10, checkpoint=path, progress=lambda step, *_: told.append(step))
    assert told == []
    assert same(first.model, second.model)
    assert second.seconds == first.seconds


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_ctrl_c_finishes_the_step_and_keeps_the_checkpoint(tmp_path: Path):
    x, y = blobs()

    def press(x: Tensor, generator: torch.Generator) -> Tensor:
        out = jitter(x, generator)
        if not pressed:
            pressed.append(1)
            signal.raise_signal(signal.SIGINT)  # in the middle of a step
        return out

    pressed: list[int] = []
    path = tmp_path / "run.safetensors"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), x, y, steps=12, augment=press, checkpoint=path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert path.exists()
    resumed = fit(network(), x, y, steps=12, augment=jitter, checkpoint=path)
    assert same(resumed.model, fit(network(), x, y, steps=12, augment=jitter).model)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path):
    x, y = blobs()
    path = tmp_path / "run.safetensors"
    fit(network(), x, y, steps=4, checkpoint=path)
    with pytest.raises(InputError, match="learning_rate: 0.001 there, 0.1 now"):
        fit(network(), x, y, steps=4, learning_rate=0.1, checkpoint=path)
    with pytest.raises(InputError, match="samples: 120 there, 60 now"):
        fit(network(), x[:60], y[:60], steps=4, checkpoint=path)
    with pytest.raises(InputError, match="weights of another model"):
        fit(nn.Linear(2, 3), x, y, steps=4, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="not a complete safetensors file"):
        fit(network(), x, y, steps=4, checkpoint=path)
    save(network(), path)
    with pytest.raises(InputError, match="not a training checkpoint"):
        fit(network(), x, y, steps=4, checkpoint=path)


def test_a_checkpoint_of_another_seed_or_of_other_data_is_refused(tmp_path: Path):
    x, y = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), torch.ones(30, 1)
    path, held = tmp_path / "run.safetensors", (x[:5], y[:5])

    def again(x: Tensor = x, y: Tensor = y, **options):
        return fit(nn.Linear(2, 1), x, y, loss="mse", steps=4, checkpoint=path, **{"validation": held, **options})

    again()
    again(generator=None)  # all as before: goes on
    for options, differing in (
        ({"seed": 7}, r"seed: 0 there, 7 now\)"),
        ({"x": x + 100}, "x: '[0-9a-f]{16}' there, '[0-9a-f]{16}' now"),
        ({"y": 50 * y}, "y: '[0-9a-f]{16}' there, '[0-9a-f]{16}' now"),
        ({"x": x.double()}, "x: "),
        ({"validation": (x[:5], 2 * y[:5])}, "validation: '"),
        ({"validation": None}, "validation: '[0-9a-f]{16}' there, None now"),
        ({"generator": torch.Generator().manual_seed(0)}, "seed: 0 there, None now; generator: None there, '"),
    ):
        with pytest.raises(InputError, match=rf"other settings or data \(.*{differing}.*another path"):
            again(**options)
    path.unlink()
    again(generator=torch.Generator().manual_seed(3))
    again(generator=torch.Generator().manual_seed(3))
    with pytest.raises(InputError, match="generator: '"):
        again(generator=torch.Generator().manual_seed(4))


def test_a_checkpoint_is_plain_tensors(tmp_path: Path):
    x, y = blobs()
    fit(network(), x, y, steps=4, checkpoint=tmp_path / "run.safetensors")
    names = load_state(tmp_path / "run.safetensors").keys()
    assert {"random.generator", "random.cpu", "random.order", "model.0.weight", "optimizer.0.exp_avg"} <= names


# --- validation, schedules, modes -----------------------------------------------------------


def test_the_best_weights_come_back_and_patience_ends_it():
    x, y = blobs(30)
    held = blobs(30, seed=1)[0], (blobs(30, seed=1)[1] + 1) % 3  # labels that training can only get wrong
    fitted = fit(network(), x, y, steps=100, learning_rate=1e-2, validation=held, patience=2, evaluate_every=5)
    losses = [entry["validation"] for entry in fitted.history]
    assert fitted.stopped
    assert fitted.steps < 100
    final = float(nn.functional.cross_entropy(predict(fitted.model, held[0]), held[1]))
    assert final == min(losses)
    assert losses.index(min(losses)) == len(losses) - 3


def test_the_learning_rate_rises_then_falls():
    x, y = blobs()
    history = fit(network(), x, y, steps=40, warmup=10, learning_rate=1.0e-2, evaluate_every=1).history
    rates = [entry["learning_rate"] for entry in history]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[9] == max(rates) == 1e-2
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-4
    flat = fit(network(), x, y, steps=5, schedule="constant", evaluate_every=1).history
    assert {entry["learning_rate"] for entry in flat} == {1e-3}


def test_modes_are_restored_module_by_module():
    model = network()
    model.eval()
    model[1].train()
    x, y = blobs()
    fit(model, x, y, steps=2, validation=(x, y))
    predict(model, x)
    assert [module.training for module in model] == [False, True, False, False, False]


def test_both_forms_of_the_augmentation_hook():
    x, y = blobs()
    one = fit(network(), x, y, steps=5, augment=jitter).model
    two = fit(network(), x, y, steps=5, augment=lambda x, y, generator: (jitter(x, generator), y)).model
    assert same(one, two)
    with pytest.raises(InputError, match=r"augment must take \(x, generator\)"):
        fit(network(), x, y, augment=lambda x: x)


def test_gradients_are_clipped():
    x = torch.full((8, 1), 1e6)
    sizes: list[float] = []
    model = nn.Linear(1, 1)
    fit(model, x, x, loss="mse", steps=1, clip=0.5, progress=lambda *_: sizes.append(float(model.weight.grad.norm())))
    assert sizes[0] <= 0.5 + 1e-6


def test_frozen_parameters_stay():
    model = network()
    model[0].requires_grad_(False)
    before = copy.deepcopy(model[0])
    x, y = blobs()
    fit(model, x, y, steps=3)
    assert same(before, model[0])


def test_zero_steps_change_nothing():
    x, y = blobs()
    fitted = fit(network(), x, y, steps=0)
    assert same(fitted.model, network())
    assert fitted.history == ()


# --- what is refused ------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_step():
    x, y = blobs()
    calls = []

    def spoil(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return nn.functional.cross_entropy(output, target) * (float("nan") if len(calls) == 4 else 1.0)

    with pytest.raises(InputError, match=r"The loss became nan at step 4 of 10\. Use a smaller learning rate"):
        fit(network(), x, y, steps=10, loss=spoil)


def test_a_gradient_that_is_not_finite_names_the_step():
    with pytest.raises(InputError, match="The gradient became infinite or NaN at step 1"):
        fit(nn.Linear(1, 1), torch.ones(4, 1), torch.ones(4, 1), steps=2, loss=lambda out, y: (out - out).sum().sqrt())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "cross_entrpy"}, "Did you mean 'cross_entropy'"),
        ({"loss": 3}, "loss must be a name"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"steps": -1}, "steps must be a whole number >= 0"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"clip": -1.0}, "clip must be positive or None"),
        ({"patience": 3}, "patience needs validation"),
        ({"steps": "a"}, "steps must be a whole number >= 0, got 'a'"),
        ({"checkpoint_every": -3}, "checkpoint_every must be a whole number >= 1, got -3"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number >= 1, got 0"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"clip": float("nan")}, "clip must be a number"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"validation": 3}, r"validation must be a pair \(x, y\), got int"),
        ({"loss": "mse"}, r"returns shape \(64, 3\) for training targets of shape \(64,\)"),
    ],
)
def test_bad_settings(options: dict, message: str):
    x, y = blobs()
    with pytest.raises(InputError, match=message):
        fit(network(), x, y, **options)


def test_bad_data():
    x, y = blobs()
    with pytest.raises(InputError, match="120 inputs and 119 targets"):
        fit(network(), x, y[:-1])
    with pytest.raises(InputError, match="are empty"):
        fit(network(), x[:0], y[:0])
    spoiled = x.clone()
    spoiled[3, 1] = float("nan")
    with pytest.raises(
        InputError, match=r"holds 1 NaN and 0 infinite values among 240 \(the first at index \(3, 1\)\)"
    ):
        fit(network(), spoiled, y)
    with pytest.raises(InputError, match="The training labels run from 0 to 5, but the model returns 3 scores"):
        fit(network(), x, torch.arange(120) % 6)
    with pytest.raises(InputError, match="training labels of dtype int64"):
        fit(network(), x, y.float())
    with pytest.raises(InputError, match="no parameters to train"):
        fit(nn.ReLU(), x, y)
    with pytest.raises(InputError, match=r"trains a torch\.nn\.Module, got function"):
        fit(lambda x: x, x, y)  # type: ignore[arg-type]


def test_data_that_are_no_tensors():
    x, y = blobs()
    with pytest.raises(InputError, match=r"training targets must be a tensor, got list\. Use torch\.as_tensor"):
        fit(network(), x, y.tolist())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="training inputs must be a tensor or a tuple of tensors; they hold a ndarray"):
        fit(network(), x.numpy(), y)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="single value"):
        fit(network(), x, torch.tensor(1))


def test_validation_targets_must_fit_the_output():
    """`mse_loss` would broadcast (64, 1) against (64, 2), and patience would follow a figure that means nothing."""
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    steps: list[int] = []
    options = {"loss": "mse", "steps": 5, "progress": lambda step, *_: steps.append(step)}
    with pytest.raises(InputError, match=r"returns shape \(1, 1\) for validation targets of shape \(1, 2\)"):
        fit(nn.Linear(3, 1), x, x[:, :1], validation=(x, x[:, :2]), **options)
    x, y = blobs()
    with pytest.raises(InputError, match="The validation labels run from 0 to 5, but the model returns 3 scores"):
        fit(network(), x, y, validation=(x, torch.arange(120) % 6))
    assert steps == []


def test_one_sample_and_a_network_that_normalises_over_the_batch():
    x, y = blobs()
    for data, size in ((x[:1], 64), (x, 1)):
        with pytest.raises(InputError, match="normalises over the batch, and a batch of 1 has nothing"):
            fit(network(), data, y[: len(data)], batch_size=size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_with_exact_resume(tmp_path: Path):
    x, y = blobs()
    options = {"steps": 20, "augment": lambda x, g: x + 0.1 * torch.randn(x.shape, generator=g).to(x), "device": "cuda"}
    state = torch.cuda.get_rng_state()
    whole = fit(network(dropout=0.5), x, y, **options)
    assert torch.equal(state, torch.cuda.get_rng_state())

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 7:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(network(dropout=0.5), x, y, **options, checkpoint=path, progress=stop)
    resumed = fit(network(dropout=0.5), x, y, **options, checkpoint=path)
    assert same(whole.model, resumed.model)
    assert next(whole.model.parameters()).device.type == "cuda"
    assert predict(whole.model, x).device.type == "cpu"
