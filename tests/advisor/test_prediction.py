"""Whether the plain network would learn the symmetry alone: the prediction, its words, and its test by training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import equilearn as eq
from equilearn import InputError, actions, data
from equilearn.advisor import advise_task, prediction_of
from equilearn.advisor._candidates import Candidate
from equilearn.advisor._plan import make_grid, make_plan, with_tests
from equilearn.advisor._prediction import PER_CLASS, acting, plan_of, seeds_of
from equilearn.advisor._prediction_words import compared
from equilearn.groups import SO, Cyclic, Lorentz, O, Symmetric

TURNS = eq.Symmetry(Cyclic(4), input=actions.images())


def images_of(kind: str, count: int = 120) -> data.Task:
    """`easy`: a dark or a bright image, which no turn changes. `hard`: a bar at one of four sides of the image, of two
    classes that a quarter turn exchanges."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 2
    x = 0.2 * torch.rand(count, 1, 6, 6, generator=generator)
    if kind == "easy":
        x += y[:, None, None, None]
    else:
        x[y == 0, :, :, 1] += 1
        x[y == 1, :, 1, :] += 1
    return data.from_arrays(x, y, x, y, name=kind)


def wrong_width(task: data.Task) -> nn.Module:
    return nn.Sequential(nn.Linear(10, 8), nn.Tanh())


def wrong_outputs(task: data.Task) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 7))


def on_rows(task: data.Task) -> nn.Module:
    """Linear layers on the last axis of images, which would be read as a network of vectors."""
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4), nn.Flatten(), nn.Linear(24, task.classes))


def heavy(task: data.Task) -> nn.Module:
    """Few parameters, many positions."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, task.classes),
    )


def pooled(task: data.Task) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, task.classes),
    )


class Unread(nn.Module):
    """A network that is not read layer by layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def unread(task: data.Task) -> nn.Module:
    return Unread()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Path(__file__).stem


# --- the prediction -----------------------------------------------------------------------


def test_what_no_turn_changes_is_carried_over():
    found = prediction_of(images_of("easy"), TURNS)
    assert found["answer"] == "yes"
    assert found["accuracy"] == 1.0
    assert found["error"] < 0.2
    assert found["sentence"].startswith("A plain network would carry C4 over by itself: ")
    assert "100 %" in found["sentence"]
    assert "Separation is the larger for every class." in found["why"]
    assert found["growth_sentence"] == "The mean error is below 1 from 2 equal steps on, of up to 4."


def test_classes_that_a_turn_exchanges_are_not():
    found = prediction_of(images_of("hard"), TURNS)
    assert found["answer"] == "no"
    assert found["error"] > 1
    assert found["sentence"].startswith("A plain network would not carry C4 over by itself: ")
    assert "Density is the larger for every class." in found["why"]
    assert "No number of equal steps up to 4" in found["growth_sentence"]


def test_the_prediction_is_that_of_the_kernels_room():
    task = data.digits()
    found = prediction_of(task, TURNS, seed=3)
    stand, index, copies = plan_of(task, acting(task, TURNS), None, 3)
    assert copies == 0
    labels = task.y_train[index]
    alone = eq.predict_symmetry_learning(task.x_train[index].double() / stand.scale, labels, TURNS, stand.architecture)
    assert [row["accuracy"] for row in found["classes"]] == alone.class_accuracy.tolist()
    assert found["seeds"] == 10 * PER_CLASS
    assert {row["name"] for row in found["spectrum"]} == {"trivial", "frequency 1", "frequency 2"}  # for the report
    assert labels.bincount().tolist() == [PER_CLASS] * 10
    assert eq.kernels.predict_symmetry_learning is eq.predict_symmetry_learning


def test_units_do_not_matter():
    task = images_of("hard")
    loud = data.from_arrays(1000 * task.x_train, task.y_train, 1000 * task.x_test, task.y_test, name="loud")
    one, other = prediction_of(task, TURNS), prediction_of(loud, TURNS)
    assert one["error"] == pytest.approx(other["error"], rel=1e-4)


def test_continuous_turns_have_a_stand_in():
    task = images_of("easy", 24)
    found = prediction_of(task, eq.Symmetry(SO(2), input=actions.images()))
    assert (found["stand_in"], found["order"]) == ("C16", 16)
    assert "SO2 (for which C16 stands in)" in found["sentence"]
    assert not any("method=" in text for text in found["assumptions"])
    assert any("interpolation" in text for text in found["assumptions"])
    assert prediction_of(task, eq.Symmetry(O(2), input=actions.images()))["order"] == 16


def test_a_network_that_can_be_read_speaks_for_itself_and_pooling_collapses_shifts(here: str):
    task = images_of("hard")
    shifts = eq.Symmetry(Cyclic(6), input=actions.shifts())
    found = prediction_of(task, shifts, model=f"{here}:pooled")
    assert (found["how"], found["collapsed"], found["answer"]) == ("own", True, "yes")
    assert "does not see the group at all" in found["why"]
    assert not prediction_of(task, shifts)["collapsed"]


def test_any_other_network_by_its_empirical_kernel(here: str):
    found = prediction_of(images_of("hard"), TURNS, model=f"{here}:unread")
    assert (found["how"], found["source"], found["answer"]) == ("empirical", "empirical ntk", "no")
    assert prediction_of(images_of("hard"), TURNS)["how"] == "relative"


@pytest.mark.parametrize(
    ("model", "message"),
    [("wrong_width", "fails on two inputs of shape .*RuntimeError"), ("wrong_outputs", "but the task needs")],
)
def test_a_network_that_does_not_fit_is_named(model: str, message: str, here: str):
    with pytest.raises(InputError, match=message):
        prediction_of(images_of("hard"), TURNS, model=f"{here}:{model}")


def test_a_network_of_rows_is_not_read_as_one_of_vectors(here: str):
    assert prediction_of(images_of("hard"), TURNS, model=f"{here}:on_rows")["how"] == "empirical"


def test_an_empirical_kernel_that_costs_too_much_is_left_to_a_relative(here: str):
    """Its cost grows with the positions, not only with the parameters."""
    x = torch.rand(60, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for classes, size, how in ((2, 128, "relative"), (2, 64, "empirical")):
        y = torch.arange(60) % classes
        shown = x[..., :size, :size]
        task = data.from_arrays(shown, y, shown, y, name="large")
        stand, index, _ = plan_of(task, acting(task, TURNS), f"{here}:heavy", 0)
        assert stand.how == how and len(index) >= 2 * classes
    assert len(index) <= 16 and stand.chunk < 60
    small = data.from_arrays(x[..., :8, :8], y, x[..., :8, :8], y, name="small")
    stand, index, _ = plan_of(small, acting(small, TURNS), f"{here}:heavy", 0)
    assert stand.how == "empirical" and stand.sample > 0 and len(index) == 40


def test_seeds_that_are_turned_copies_of_others_are_left_out():
    """Otherwise what is missing would be in training, and the answer a confident yes."""
    digits = data.digits()
    rows = torch.cat([torch.nonzero(digits.y_train == c).flatten()[:5] for c in range(10)])
    x, y = digits.x_train[rows], digits.y_train[rows]
    turned = torch.cat([torch.rot90(x, k, (-2, -1)) for k in range(4)])
    task = data.from_arrays(turned, y.repeat(4), x, y, name="turned")
    found = prediction_of(task, TURNS)
    assert found["seeds"] == 50 and found["answer"] == "no"
    assert "150 of 200 training inputs that were drawn are transforms of others by C4" in found["assumptions"][0]
    assert not any("share" in text for text in found["assumptions"])
    one, two = x[:1].repeat(8, 1, 1, 1), torch.arange(8) % 2
    same = data.from_arrays(one, two, one, two, name="same")
    _, index, copies = plan_of(same, acting(same, TURNS), None, 0)
    assert copies == 6 and same.y_train[index].tolist() == [0, 1]  # a class keeps one


def test_words_for_orbits_that_collapse():
    x, y = torch.ones(40, 1, 4, 4), torch.arange(40) % 2
    found = prediction_of(data.from_arrays(x, y, x, y, name="plain"), TURNS)
    assert found["collapsed"] and found["answer"] != "yes"
    assert "and it cannot tell the classes apart" in found["why"]
    assert "nothing has to be learned" not in found["why"]


def test_seeds_are_cut_to_the_time_there_is():
    labels = torch.arange(1000) % 3
    assert labels[seeds_of(labels, 5, 0)].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    few = torch.tensor([0] * 30 + [1])
    assert few[seeds_of(few, 5, 0)].tolist() == [0] * 5 + [1]
    x, y = torch.rand(80, 1, 40, 40), torch.arange(80) % 2
    task = data.from_arrays(x, y, x, y, name="large")
    many = len(plan_of(task, acting(task, TURNS), None, 0)[1])
    fewer = len(plan_of(task, acting(task, s := eq.Symmetry(SO(2), input=actions.images())), None, 0)[1])
    assert many == 40 > fewer >= 4
    assert s.group.order is None


def vectors_of(group: eq.Group, width: int, kind: str = "classification") -> tuple[data.Task, eq.Symmetry]:
    x = torch.randn(20, width, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 2 if kind == "classification" else x[:, :1]
    return data.from_arrays(x, y, x, y, kind=kind, name=kind), eq.Symmetry(group, eq.reps.defining(group))


@pytest.mark.parametrize(
    ("task", "symmetry", "reason"),
    [
        (*vectors_of(Symmetric(4), 4, "regression"), "this is a regression"),
        (*vectors_of(Lorentz(1, 3), 4), "is infinite, and only SO2 and O2"),
        (*vectors_of(Symmetric(7), 7), "5,040 elements; groups of 2 to 256"),
        (*vectors_of(Symmetric(1), 1), "has 1 element;"),
        ((t := data.pattern(3, 2)), t.symmetry, "every node has one"),
        ((t := data.cycles(6, 4, n=6)), t.symmetry, "of one part"),
    ],
)
def test_where_there_is_no_prediction_it_says_why(task: data.Task, symmetry: eq.Symmetry, reason: str):
    found = prediction_of(task, symmetry)
    assert not found["made"]
    assert reason in found["reason"]
    assert set(found) == {"made", "reason"}


def test_one_class_and_a_missing_model():
    x, y = torch.rand(10, 1, 4, 4), torch.zeros(10, dtype=torch.long)
    task = data.Task("one", x, y, x, y, kind="classification", class_names=("a", "b"))
    assert "of one class" in prediction_of(task, TURNS)["reason"]
    with pytest.raises(InputError, match="no_such_module"):
        prediction_of(images_of("easy"), TURNS, model="no_such_module:build")


# --- its test by training -----------------------------------------------------------------


def told(accuracies: list[float]) -> dict[str, object]:
    return {"classes": [{"accuracy": a} for a in accuracies]}


def test_how_well_a_prediction_did_is_computed_class_by_class():
    rows = [{"place": c, "accuracy": a, "accuracy_seen": 1.0} for c, a in enumerate((0.2, 0.1, 0.4, 0.3))]
    found = compared(told([0.1, 0.2, 0.3, 0.4]), rows)
    assert found is not None
    assert found["difference"] == pytest.approx(0.1)
    assert found["rank_correlation"] == pytest.approx(0.6)
    assert "25 % where 25 % were predicted" in found["sentence"]
    assert "not trained to the end" not in found["sentence"]
    one = compared(told([0.5]), [{"place": 0, "accuracy": 1.0, "accuracy_seen": 0.5}])
    assert one is not None and one["rank_correlation"] is None
    assert "not trained to the end" in one["sentence"]
    assert compared(told([0.5]), []) is None


@pytest.mark.parametrize(("kind", "low", "high"), [("easy", 0.95, 1.0), ("hard", 0.0, 0.3)])
def test_every_run_tests_the_theory(kind: str, low: float, high: float, tmp_path: Path):
    task = images_of(kind)
    options = {"sizes": (20,), "seeds": 1, "steps": 60, "workers": 1, "strategies": ("plain",)}
    advice = advise_task(task, TURNS, out=tmp_path, **options)
    found = advice.summary["prediction"]
    assert found["test"]["classes"] == 2
    assert all(low <= row[key] <= high for row in found["classes"] for key in ("measured", "accuracy"))
    page = advice.report(tmp_path / "report.html").read_text()
    assert found["sentence"] in page and found["test"]["sentence"] in page
    assert not advice.summary["failed"] and not advice.summary["missing"]


def places_tested(chosen: tuple[Candidate, ...], accuracies: list[float | None]) -> list[int]:
    """The classes on which a run of these strategies would test a prediction of these accuracies."""
    plan = make_plan(data.digits(), "quick", None, None, 0, None)
    rows = [{"accuracy": accuracy, "error": 1.0} for accuracy in accuracies]
    grid = make_grid("data", "symmetry", chosen, plan, "quick", None)
    with_them = with_tests(grid, plan, {"made": bool(rows), "classes": rows})
    assert [config for config in with_them if config["trial"] != "carry_over"] == grid
    return [config["place"] for config in with_them if config["trial"] == "carry_over"]


def test_the_tests_cost_a_small_part_of_the_run():
    (plain,) = eq.advisor.candidates(("plain",))
    everything = eq.advisor.candidates()
    most = min(10, 9 * len(everything) // 8)  # three sizes and three seeds a strategy
    for chosen, classes, count in (((plain,), 10, 2), (everything, 10, most), (everything, 3, 3), (everything, 0, 0)):
        places = places_tested(chosen, [0.1 * c for c in range(classes)])
        assert len(places) == len(set(places)) == count
        assert not places or max(places) < classes
    without = tuple(c for c in everything if c.name != "plain")
    assert places_tested(without, [0.5] * 10) == []


def test_few_tests_are_of_the_classes_predicted_lowest_and_highest():
    (plain,) = eq.advisor.candidates(("plain",))
    accuracies = [0.9, 0.3, 0.2, 0.0, 0.8, 0.3, 0.1, 1.0, 0.6, 0.5]
    assert places_tested((plain,), accuracies) == [3, 7]
    places = places_tested(eq.advisor.candidates(), accuracies)
    assert {3, 7} < set(places)
    assert places_tested((plain,), [0.5, None, 0.4]) == [0, 1]
    plan = make_plan(data.digits(), "quick", None, None, 0, None)
    grid = make_grid("d", "s", (plain,), plan, "quick", None)
    assert with_tests(grid, plan, None) == grid


def test_a_run_that_cannot_be_predicted_says_why():
    task, symmetry = vectors_of(Symmetric(4), 4, "regression")
    advice = advise_task(task, symmetry, sizes=(10,), seeds=1, steps=3, workers=1, strategies=("plain",))
    assert advice.summary["prediction"] == {
        "made": False,
        "reason": "Only classes can be predicted, and this is a regression.",
    }
