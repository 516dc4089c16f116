"""The strategy `relaxed`: ahead of exact where the data break the symmetry, level where they keep it."""

from __future__ import annotations

import pytest
import torch

from equilearn import InputError, actions, data, reps
from equilearn.advisor import advise_task, candidates
from equilearn.advisor._networks import RELAXED_DROP
from equilearn.advisor._plan import fitting
from equilearn.groups import SO, Cyclic, Euclidean, Symmetric
from equilearn.relaxation import RelaxedModel, relaxations
from equilearn.symmetry import Symmetry
from equilearn.training import fit, predict

TURNS = Symmetry(Cyclic(4), input=actions.images())


def bars(keeps: bool):
    """A bright bar or a bright corner, told from each other; at random sides where the symmetry is kept. Where it is
    broken there are bars only, and the class is the side: left or top."""
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        y = torch.arange(count) % 2
        x = 0.2 * torch.rand(count, 1, 6, 6, generator=generator)
        x[y == 0, :, :, 0] += 1
        if keeps:
            x[y == 1, :, :3, :2] += 1
            return TURNS.act_input(Cyclic(4).sample(count, generator=generator), x), y
        x[y == 1, :, 0, :] += 1
        return x, y

    return data.from_arrays(*draw(80), *draw(80), name="bars")


def trained(task, symmetry, name, steps=80):
    """A strategy's network, trained as `advise` would, and its accuracy or its relative error."""
    (candidate,) = candidates((name,))
    torch.manual_seed(0)
    model = candidate.build(task, symmetry, None)
    fit(model, task.x_train, task.y_train, loss=task.loss, steps=steps, learning_rate=5e-3)
    output = predict(model, task.x_test)
    if task.kind == "classification":
        return float((output.argmax(1) == task.y_test).double().mean())
    return float((output - task.y_test).norm() / task.y_test.norm())


def test_ahead_where_the_data_break_the_symmetry():
    task = bars(keeps=False)
    assert trained(task, TURNS, "exact") < 0.7 < 0.95 < trained(task, TURNS, "relaxed")


def test_level_where_they_keep_it():
    task = bars(keeps=True)
    exact, relaxed = (trained(task, TURNS, name) for name in ("exact", "relaxed"))
    assert exact > 0.95 and abs(relaxed - exact) < 0.05


@pytest.mark.parametrize("wind", [0.0, 1.0])
def test_vectors_in_a_wind(wind):
    generator = torch.Generator().manual_seed(0)
    V = reps.defining(SO(3))
    x = torch.randn(300, 6, generator=generator)
    y = torch.linalg.cross(x[:, :3], x[:, 3:]) + wind * torch.tensor([2.0, 0.0, -2.0])
    task = data.from_arrays(x[:200], y[:200], x[200:], y[200:], kind="regression", name="wind")
    symmetry = Symmetry(SO(3), 2 * V, V)
    exact, relaxed = (trained(task, symmetry, name) for name in ("exact", "relaxed"))
    assert relaxed < (0.5 * exact if wind else exact + 0.05)


def test_the_report_knows_it_and_the_quick_preset_leaves_it_out(tmp_path):
    options = {"sizes": (20,), "seeds": 1, "steps": 2, "workers": 1}
    asked = advise_task(bars(keeps=True), TURNS, strategies=("relaxed",), **options)
    assert [row["strategy"] for row in asked.rows] == ["relaxed"]
    assert "learned inputs that stay where they are" in asked.report(tmp_path / "report.html").read_text()
    chosen, skipped = fitting(bars(keeps=True), TURNS, None, None, "quick")
    assert "relaxed" not in [c.name for c in chosen]
    assert {
        "strategy": "relaxed",
        "reason": "the quick preset leaves it out to save time. Name it among the strategies, or take another preset.",
    } in skipped
    assert "relaxed" in [c.name for c in fitting(bars(keeps=True), TURNS, None, None, "full")[0]]


def test_the_model_is_the_exact_one_relaxed():
    (candidate,) = candidates(("relaxed",))
    built = candidate.build(bars(keeps=True), TURNS, None)
    assert isinstance(built, RelaxedModel)
    assert all(part.drop == RELAXED_DROP for part in relaxations(built))
    assert not candidate.augments(Symmetry(SO(2), input=actions.images()))  # it is to see the data as they come
    assert "departs from the symmetry of C4" in candidate.describe(TURNS)


def test_sets_are_told_apart_by_their_order():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, 2, generator=generator)
    task = data.from_arrays(x, x[:, 0, :1], x, x[:, 0, :1], kind="regression", images=False)
    symmetry = Symmetry(Symmetric(5), input=actions.sets())
    (candidate,) = candidates(("relaxed",))
    assert candidate.build(task, symmetry, None)(x).shape == (40, 1)


@pytest.mark.parametrize(
    ("symmetry", "shape", "reason"),
    [
        (Symmetry(Euclidean(3) * Symmetric(5), input=actions.points(5)), (5, 3), "EGNN has no equivariant layer"),
    ],
)
def test_where_it_does_not_fit_the_reason_is_told(symmetry, shape, reason):
    x, y = torch.randn(20, *shape), torch.arange(20) % 2
    task = data.from_arrays(x, y, x, y)
    (candidate,) = candidates(("relaxed",))
    with pytest.raises(InputError, match=reason):
        candidate.build(task, symmetry, None)
