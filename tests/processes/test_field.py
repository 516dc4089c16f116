"""Fitting a process to a field: units, places, scores."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equilearn._check import InputError

pytest.importorskip("netCDF4")

from equilearn.data.fields import (  # noqa: E402
    FieldTask,
    Gridded,
    PointSet,
    from_xarray,
    write_example_fields,
)
from equilearn.processes import Predictive  # noqa: E402
from equilearn.processes.field import FieldModel, View, answer, fit_field, predict_held_out, verdict  # noqa: E402
from equilearn.processes.field._data import prepare  # noqa: E402
from equilearn.processes.field._networks import PRESETS  # noqa: E402
from equilearn.processes.field._run import _baselines  # noqa: E402
from equilearn.processes.field._score import errors, held_out, score  # noqa: E402
from equilearn.processes.field._view import nearest  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fields")


@pytest.fixture(scope="module")
def field(folder: Path) -> Gridded:
    path = write_example_fields(folder / "uk.nc", torch.Generator().manual_seed(0), days=6, size=(10, 12))
    return from_xarray(path, "t2m", static=["elevation"], held=True)


@pytest.fixture(scope="module")
def land(folder: Path) -> Gridded:
    path = write_example_fields(
        folder / "land.nc", torch.Generator().manual_seed(0), days=6, size=(10, 12), land_only=True
    )
    return from_xarray(path, "t2m", held=True)


def test_the_last_quarter_of_days_is_held_out(field: Gridded) -> None:
    data = prepare(field)
    assert len(data.train) == 5 * 24 and len(data.test) == 24
    data = prepare(field, test_days=2)
    assert len(data.train) == 4 * 24 and len(data.test) == 48
    short = prepare(field.at(slice(30)))  # too few days: the last quarter of times
    assert len(short.train) == 23 and len(short.test) == 7
    with pytest.raises(InputError, match="overlap"):
        prepare(field, train_days=5, test_days=2)


def test_moments_are_those_of_the_training_times(land: Gridded) -> None:
    data = prepare(land, test_days=2)
    values = data.train.values[..., 0].double()
    seen = ~torch.isnan(values)
    mean = torch.nanmean(values, 0)
    assert torch.allclose(data.mean_map().nan_to_num(), mean.nan_to_num(), atol=1e-6)
    assert data.cells.overall[0] == pytest.approx(float(values[seen].mean()), abs=1e-6)
    assert data.cells.overall[1] == pytest.approx(float(values[seen].std(unbiased=False)), rel=1e-6)
    assert data.cells.rest == data.cells.overall


def test_static_fields_explain_what_a_straight_line_does(field: Gridded) -> None:
    data = prepare(field)
    elevation = field.static[..., 0].flatten()
    mean = data.mean_map().flatten()
    away = elevation - elevation.mean()
    slope = float((away * mean).sum() / away.square().sum())
    assert data.view.slopes[0] == pytest.approx(slope, rel=1e-6)
    assert data.cells.rest[1] < data.cells.overall[1]
    x = data.train.coordinates.flatten(0, 1)
    rest = data.train.values[..., 0].double().flatten(1) - data.view.drift(x)[:, 0]
    assert data.cells.rest[0] == pytest.approx(float(rest.mean()), abs=1e-6)
    assert data.cells.rest[1] == pytest.approx(float(rest.std(unbiased=False)), rel=1e-5)


def test_a_view_takes_off_and_refuses() -> None:
    view = View((50.0, 0.0), (0.5, 0.25), (2.0,), (10.0,))
    seen = PointSet(torch.tensor([[[51.0, 1.0, 11.0]]]), torch.tensor([[[7.0]]]))
    found = view.points(seen)
    assert found.x.tolist() == [[[2.0, 4.0]]] and found.y.tolist() == [[[5.0]]]
    assert View.from_dict(view.as_dict()) == view
    with pytest.raises(InputError, match="static"):
        view.drift(torch.zeros(1, 2))
    with pytest.raises(InputError, match="not a View"):
        View.from_dict({"origin": [0, 0]})
    index, distance = nearest(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert index.tolist() == [1] and distance.item() == pytest.approx(0.1)


def test_scores_are_in_nats_of_standardised_values_whatever_the_unit(land: Gridded) -> None:
    data = prepare(land, patch=(5, 5), context=(2, 8))
    held = held_out(data, 24, seed=0)
    mean, std = data.cells.overall

    def told(task: FieldTask) -> Predictive:
        like = torch.ones_like(task.target.y)
        return Predictive(mean * like, std * like, task.target.mask)

    scores = score(told, held)
    z = torch.cat([((t.target.y - mean) / std)[t.target.mask] for t in held.tasks])
    by_hand = (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).mean()
    weights = scores.count / scores.count.sum()
    assert float((weights * scores.log_likelihood).sum()) == pytest.approx(float(by_hand), abs=1e-4)
    assert scores.rmse == pytest.approx(float((std * z).square().mean().sqrt()), rel=1e-4)
    assert scores.coverage == pytest.approx(float((z.abs() <= 1.6448536).double().mean()), abs=1e-6)


def test_standard_errors_over_tasks_and_days() -> None:
    found = errors(torch.tensor([1.0, 3.0, 5.0, 7.0]).double(), torch.tensor([0, 0, 1, 1]))
    assert found["mean"] == 4 and found["over_tasks"] == pytest.approx(math.sqrt(20 / 3) / 2)
    assert found["over_days"] == pytest.approx(2.0)
    assert errors(torch.ones(3).double(), torch.zeros(3).long())["over_days"] is None


def test_baselines_know_what_they_say(land: Gridded) -> None:
    data = prepare(land, patch=(6, 6), context=(4, 12))
    held = held_out(data, 48, seed=0)
    found = {key: score(predict, held) for key, _, predict in _baselines(data, seed=0)}
    assert set(found) == {"gp", "idw", "climatology", "empirical"}
    nats = {key: float(scores.log_likelihood.mean()) for key, scores in found.items()}
    assert nats["empirical"] > nats["climatology"]
    assert all(math.isfinite(value) for value in nats.values())


def test_a_fitted_field_is_saved_and_predicts_the_same(field: Gridded, tmp_path: Path) -> None:
    fit = fit_field(field, steps=3, patch=(6, 6), context=(3, 12), test_days=2)
    predicted = predict_held_out(fit.model, fit.data, "2019-03-06T12")
    assert predicted.times == ["2019-03-06T12:00:00"] and predicted.mean.shape == (1, 10, 12)
    fit.model.save(tmp_path / "m.safetensors")
    again = FieldModel.load(tmp_path / "m.safetensors")
    assert torch.equal(predict_held_out(again, fit.data, "2019-03-06T12").mean, predicted.mean)
    assert again.config == fit.model.config
    assert len(answer(fit)) == 2 and verdict(fit) in ("departs", "holds", "harmed")
    with again.process.equivariant_only():
        x = again.grid_points()
        assert again.departure(predicted.contexts[0], x).abs().max() == 0


def test_switched_off_a_shift_by_whole_cells_changes_nothing(land: Gridded) -> None:
    data = prepare(land, patch=(5, 5), context=(2, 8))
    model = FieldModel.of(data, "convcnp", False, replace(PRESETS["quick"], width=8, depth=2), seed=0)
    model.process.double()
    context = PointSet(
        torch.tensor([[[57.0, -9.0], [56.5, -8.5]]]).double(), torch.tensor([[[280.0], [282.0]]]).double()
    )
    x = torch.tensor([[[56.75, -8.75]]]).double()
    here = model.off(context, x).mean
    moved = context.moved(lambda at: at + 0.5)
    assert torch.allclose(model.off(moved, x + 0.5).mean, here, atol=1e-10)
    assert (model.on(moved, x + 0.5).mean - model.on(context, x).mean).abs().max() > 1e-4


def test_the_same_seed_gives_the_same_rows(land: Gridded) -> None:
    settings = {"steps": 2, "patch": (5, 5), "context": (2, 8), "seed": 3}
    one, two = (fit_field(land, **settings) for _ in range(2))
    assert one.rows == two.rows
    state = torch.get_rng_state()
    fit_field(land, **settings)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from equilearn import io

    io.save(torch.nn.Linear(1, 1), tmp_path / "m.safetensors", {"field": {"format": 99}})
    with pytest.raises(InputError, match="its format is 99"):
        FieldModel.load(tmp_path / "m.safetensors")
