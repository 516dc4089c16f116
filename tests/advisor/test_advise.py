"""The main job from end to end, on data small enough to take seconds."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from equilearn import actions, advisor, data, reps
from equilearn._check import InputError
from equilearn.advisor import advise as eq_advise
from equilearn.advisor import advise_task, candidates, symmetry_from_names
from equilearn.advisor._advise import moved_word
from equilearn.advisor._plan import make_plan
from equilearn.advisor._snapshot import fingerprint_of, fingerprint_of_symmetry, load_task, save_task
from equilearn.advisor._trial import TargetScaler, _hits
from equilearn.groups import SO, Cyclic, Euclidean, FiniteGroup, Lorentz, O, Symmetric
from equilearn.studies import Store
from equilearn.symmetry import Symmetry


@pytest.fixture(scope="module")
def bars():
    """Images of a bright bar at the left (class 0) or at the top (class 1)."""
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        y = torch.arange(count) % 2
        x = 0.2 * torch.rand(count, 1, 6, 6, generator=generator)
        x[y == 0, :, :, 0] += 1
        x[y == 1, :, 0, :] += 1
        return x, y

    return data.from_arrays(*draw(80), *draw(40), name="bars")


@pytest.fixture(scope="module")
def turns():
    return Symmetry(Cyclic(4), input=actions.images())


def advise(task, symmetry, **options):
    given = {"sizes": (20,), "seeds": 1, "steps": 5, "workers": 1, "strategies": ("plain", "exact"), **options}
    return advise_task(task, symmetry, **given)


def comparable(rows):
    """Rows without what the clock says."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "inference_ms")} for row in rows]


def test_a_run_leaves_rows_a_recommendation_and_a_report(bars, turns, tmp_path):
    advice = advise(bars, turns, seeds=2, out=tmp_path / "run")
    assert [(row["strategy"], row["seed"]) for row in advice.rows] == [
        ("plain", 0),
        ("plain", 1),
        ("exact", 0),
        ("exact", 1),
    ]
    exact = [row for row in advice.rows if row["strategy"] == "exact"]
    assert all(row["verdict"] == "exact" and row["score"] == row["score_transformed"] for row in exact)
    assert advice.recommendation.strategy in ("plain", "exact")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["rows"] == advice.rows
    assert "bars" in advice.report(tmp_path / "report.html").read_text()


def test_the_same_call_again_trains_nothing_and_more_seeds_only_what_is_missing(bars, turns, tmp_path):
    first = advise(bars, turns, out=tmp_path)
    seen = []
    again = advise(bars, turns, out=tmp_path, progress=lambda done, total, left: seen.append((done, total)))
    assert seen == [(6, 6)]  # two strategies, the symmetry of the data, the prediction and its two tests
    assert again.rows == first.rows
    more = advise(bars, turns, out=tmp_path, seeds=2)
    assert [row for row in more.rows if row["seed"] == 0] == first.rows
    assert len(more.rows) == 4
    # A smaller grid shows only its own rows, though the store holds more.
    assert advise(bars, turns, out=tmp_path).rows == first.rows


def test_worker_processes_give_the_rows_of_this_process(bars, turns, tmp_path):
    here = advise(bars, turns)
    there = advise(bars, turns, workers=2)
    assert comparable(here.rows) == comparable(there.rows)


def test_a_summary_is_redrawn_from_the_store(bars, turns, tmp_path):
    advice = advise(bars, turns, out=tmp_path)
    with Store.open(tmp_path / "store.db") as store:
        assert advisor.summarize(store) == advice.summary


def test_a_folder_of_other_data_is_refused(bars, turns, tmp_path):
    advise(bars, turns, out=tmp_path)
    other = dataclasses.replace(bars, x_train=bars.x_train + 1)
    with pytest.raises(InputError, match="another run"):
        advise(other, turns, out=tmp_path)
    # What was there is still whole.
    assert advise(bars, turns, out=tmp_path).rows


def test_another_plan_in_the_same_folder_never_mixes_with_the_first(bars, turns, tmp_path):
    first = advise(bars, turns, out=tmp_path)
    longer = advise(bars, turns, out=tmp_path, steps=7)
    assert len(longer.rows) == len(first.rows) == 2
    assert comparable(longer.rows) == comparable(advise(bars, turns, steps=7).rows)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Lorentz(1, 3, rapidity=0.5), Lorentz(1, 3, rapidity=3.0)),
        (FiniteGroup.from_permutations([[1, 2, 3, 0]]), FiniteGroup.from_permutations([[1, 0, 3, 2], [2, 3, 0, 1]])),
    ],
)
def test_symmetries_of_one_name_have_their_own_fingerprints(one, other):
    task = data.from_arrays(torch.randn(8, 4), torch.randn(8, 1), torch.randn(8, 4), torch.randn(8, 1))
    prints = {fingerprint_of_symmetry(Symmetry(g, reps.defining(g)), task) for g in (one, other)}
    assert repr(Symmetry(one, reps.defining(one))) == repr(Symmetry(other, reps.defining(other)))
    assert len(prints) == 2
    assert fingerprint_of_symmetry(Symmetry(one, reps.defining(one)), task) in prints


def test_default_sizes_below_the_number_of_classes_are_left_out(turns):
    x, y = torch.rand(240, 1, 4, 4), torch.arange(240) % 60
    task = data.from_arrays(x, y, x, y, name="many")
    assert make_plan(task, "quick", None, None, 0, None)["sizes"] == [200, 240]
    with pytest.raises(InputError, match=">= 60"):
        make_plan(task, "quick", (50,), None, 0, None)


def raises(task):
    raise RuntimeError("no such layer")


def misfit(task):
    return torch.nn.Linear(3, 3)


@pytest.mark.parametrize(("name", "message"), [("raises", "no such layer"), ("misfit", "fails on two inputs")])
def test_errors_of_the_user_s_network_become_sentences(bars, turns, monkeypatch, name, message):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(InputError, match=message):
        advise(bars, turns, model=f"{Path(__file__).stem}:{name}")


def test_sets_are_not_taken_for_images():
    x, y = torch.rand(60, 10, 8), torch.rand(60, 1)
    advice = eq_advise(
        x, y, symmetry=Symmetry(Symmetric(10), actions.sets(10)), seeds=1, steps=3, workers=1, sizes=(20,)
    )
    assert advice.summary["task"]["input_shape"] == [10, 8]


def test_the_caller_s_random_stream_is_left_alone(bars, turns):
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    advise(bars, turns)
    assert torch.equal(torch.rand(1), wanted)


def test_a_strategy_that_does_not_fit_is_skipped_with_its_reason(bars):
    advice = advise(bars, Symmetry(Cyclic(4), input=actions.images()), strategies=("plain", "frames"))
    assert [row["strategy"] for row in advice.summary["skipped"]] == ["frames"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategies": ("plane",)}, "Did you mean 'plain'"),
        ({"preset": "quik"}, "Did you mean 'quick'"),
        ({"sizes": (0,)}, "training size"),
        ({"seeds": 0}, "seeds"),
        ({"steps": 0}, "steps"),
        ({"model": "no_such_module:build"}, "no_such_module"),
    ],
)
def test_bad_options_are_named_before_work_starts(bars, turns, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        advise(bars, turns, out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_sizes_beyond_the_data_mean_all_of_it_once(bars, turns):
    advice = advise(bars, turns, sizes=(70, 500, 1000), strategies=("plain",))
    assert [row["train_size"] for row in advice.rows] == [70, 80]


def test_a_tuple_of_inputs_survives_the_snapshot(bars, tmp_path):
    pair = dataclasses.replace(bars, x_train=(bars.x_train, (bars.x_train, bars.x_train)), x_test=(bars.x_test,))
    save_task(pair, tmp_path)
    loaded = load_task(tmp_path)
    assert torch.equal(loaded.x_train[1][1], bars.x_train)
    assert torch.equal(loaded.x_test[0], bars.x_test)
    assert fingerprint_of(loaded) == fingerprint_of(pair) != fingerprint_of(bars)


def test_points_get_frames_and_an_exact_network():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, 3, generator=generator)
    y = x.norm(dim=-1).sum(1, keepdim=True)
    task = data.from_arrays(x, y, kind="regression", name="lengths")
    symmetry = Symmetry(SO(3), input=actions.points(4))
    advice = advise(task, symmetry, strategies=tuple(c.name for c in candidates()))
    used = {row["strategy"]: row for row in advice.rows}
    assert {"plain", "augment", "average", "frames", "canonicalize", "learned", "exact"} <= set(used)
    assert used["learned"]["resampling"] > 0 and used["learned"]["verdict"] == "stochastic"
    for name in ("frames", "exact"):
        assert used[name]["equivariance_error"] < 1e-4
    assert used["plain"]["equivariance_error"] > 0.01


def particles(generator, group):
    """Four points with a velocity and a charge; they move on by their velocity."""
    x = torch.randn(40, 4, 7, generator=generator)
    return data.from_arrays(
        x,
        x[..., :3] + x[..., 3:6],
        kind="regression",
        name="drift",
        symmetry=Symmetry(group, actions.points(4, vectors=1, scalars=1), actions.points(4)),
    )


@pytest.mark.parametrize("group", [Euclidean(3) * Symmetric(4), O(3) * Symmetric(4)], ids=str)
def test_permuted_points_in_space_get_an_exact_network_and_a_learned_strategy(group):
    task = particles(torch.Generator().manual_seed(0), group)
    used = {row["strategy"]: row for row in advise(task, None, strategies=("plain", "learned", "exact")).rows}
    assert used["exact"]["equivariance_error"] < 1e-5 < 0.01 < used["plain"]["equivariance_error"]
    assert used["learned"]["resampling"] > 0


def test_targets_that_a_group_shifts_are_not_rescaled():
    task = particles(torch.Generator().manual_seed(0), Euclidean(3) * Symmetric(4))
    assert not TargetScaler(task, task.symmetry).active
    turned = Symmetry(O(3) * Symmetric(4), actions.points(4, vectors=1, scalars=1), actions.points(4))
    assert TargetScaler(task, turned).active


def test_graphs_are_told_from_the_shapes_of_their_parts():
    task = data.cycles(40, 12, n=8)
    assert symmetry_from_names("S8", task).input.name == task.symmetry.input.name
    used = {
        row["strategy"]: row for row in advise(task, None, strategies=("plain", "average", "learned", "exact")).rows
    }
    assert used["exact"]["equivariance_error"] < 1e-4
    assert set(used) == {"plain", "average", "learned", "exact"}


def test_parts_that_are_no_graph_leave_the_action_open():
    x = (torch.randn(6, 4, 2), torch.randn(6, 3, 3))
    task = data.from_arrays(x, torch.randn(6, 1), x, torch.randn(6, 1))
    with pytest.raises(InputError, match="2 parts of shapes"):
        symmetry_from_names("S4", task)


def test_classes_of_nodes_count_by_node_without_padding():
    found = torch.tensor([[0, 1, 1], [1, 1, 0]])
    labels = torch.tensor([[0, 1, -1], [1, 0, 0]])
    assert _hits(found, labels).tolist() == pytest.approx([1.0, 2 / 3])


def test_words_for_what_moved():
    assert moved_word(Symmetry(SO(3) * Symmetric(4), actions.points(4))) == "rotated and permuted"
    assert moved_word(Symmetry(Euclidean(3), actions.points(4))) == "moved"
    assert moved_word(Symmetry(Cyclic(4), actions.shifts())) == "shifted"


@pytest.mark.parametrize(
    ("group", "shape", "action"),
    [("C4", (5, 1, 6, 6), "images"), ("SO3", (5, 4, 3), "points"), ("SO3", (5, 6), "2 * V"), ("S5", (5, 5), "vectors")],
)
def test_the_action_is_told_from_the_shape(group, shape, action):
    task = data.from_arrays(torch.randn(shape), torch.randn(5, 1), torch.randn(shape), torch.randn(5, 1))
    assert action in repr(symmetry_from_names(group, task))


def test_a_shape_that_leaves_the_action_open_lists_the_choices():
    task = data.from_arrays(torch.randn(5, 7), torch.randn(5, 1), torch.randn(5, 7), torch.randn(5, 1))
    with pytest.raises(InputError, match="--action"):
        symmetry_from_names("SO3", task)


def test_flat_images_are_not_taken_for_vectors_in_silence():
    task = data.from_arrays(torch.randn(5, 64), torch.randn(5, 1), torch.randn(5, 64), torch.randn(5, 1))
    with pytest.raises(InputError, match="8 x 8 images laid flat"):
        symmetry_from_names("C4", task)


def test_a_constant_target_is_refused():
    x, y = torch.randn(40, 6), torch.ones(40, 1)
    with pytest.raises(InputError, match="nothing to learn"):
        eq_advise(x, y, symmetry="SO3")


def test_results_of_another_command_are_not_overwritten(bars, turns, tmp_path):
    (tmp_path / "summary.json").write_text('{"kind": "audit"}')
    with pytest.raises(InputError, match="another command"):
        advise(bars, turns, out=tmp_path)


def test_no_copy_of_the_data_stays_behind(bars, turns, tmp_path):
    advise(bars, turns, out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store.db", "summary.json"]


def test_labels_do_not_move(bars):
    with pytest.raises(InputError, match="classification"):
        symmetry_from_names("C4", bars, output="images")


def test_an_equivariant_regression_moves_its_targets():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=generator)
    y = x[:, :3] * x[:, 3:].norm(dim=1, keepdim=True)
    V = reps.defining(SO(3))
    task = data.from_arrays(x, y, kind="regression", name="scaled")
    advice = advise(task, Symmetry(SO(3), input=2 * V, output=V), strategies=("plain", "exact"), steps=30)
    exact = next(row for row in advice.rows if row["strategy"] == "exact")
    assert exact["score"] == pytest.approx(exact["score_transformed"], rel=1e-3)


def test_every_candidate_says_what_it_does():
    for candidate in candidates():
        assert candidate.describe(Symmetry(Symmetric(3), input=actions.sets()))


def test_a_trap_is_said_before_training_and_kept(tmp_path):
    task = data.modular(7)
    said, started = [], []

    def notify(sentence):
        assert not started
        said.append(sentence)

    options = {"sizes": (42,), "strategies": ("plain", "canonicalize"), "steps": 30, "out": tmp_path / "run"}
    advice = advise(task, task.symmetry, notify=notify, progress=lambda *a: started.append(a), **options)
    split = advice.summary["split"]
    assert (split["verdict"], split["subgroup"]) == ("trap", [0, 7])
    assert said == [split["sentence"]]
    assert started
    assert split["sentence"] in advice.recommendation.reasons
    page = advice.report(tmp_path / "report.html").read_text()
    assert "The split is a trap." in page
    scores = {row["strategy"]: row["score"] for row in advice.rows}
    assert scores["canonicalize"] > scores["plain"]


def test_no_trap_is_not_said_but_kept(bars, turns, tmp_path):
    said = []
    advice = advise(bars, turns, notify=said.append)
    assert not said
    assert advice.summary["split"]["verdict"] == "none"
    assert not any("carries the training set" in reason for reason in advice.recommendation.reasons)
    assert "The split is no trap." in advice.report(tmp_path / "report.html").read_text()
