"""The figures of a study: curves, matrices and films from rows, whatever the rows lack."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from importlib import resources
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from equilearn.report import _figures, render
from equilearn.report._figures import MOST_PLACES, MOST_POINTS, MOST_SERIES
from equilearn.report._matrices import MOST_FILMS, MOST_FRAMES, MOST_MATRICES
from equilearn.report._png import ABOVE, BELOW, heatmap
from equilearn.report._table import anything
from equilearn.studies import pack_matrix
from equilearn.studies._study import FIGURES

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)>"\'&<!--$x^2$ {{ 7*7 }} \x00 id="a"'
STEPS = [0, 1, 2, 5]
FILM = [{"iteration": t, "matrix": pack_matrix(torch.eye(4) - 0.1 * t)} for t in STEPS]


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "kernel": kernel,
            "width": 8,
            "seed": seed,
            "iterations": STEPS,
            "train_accuracy": [1.0] * 4,
            "test_accuracy": [0.1, 0.2 + 0.1 * seed, 0.8, 0.9],
            "loss": [1.0, 0.1, 0.01, 0.001],
            "score": 0.9 + 0.01 * seed,
            "features": FILM[-1]["matrix"],
            "frames": FILM,
            "names": ["one", "two", "three", "four"],
            "last": [None, None, None, 0.9],
        }
        for kernel in ("gaussian", "laplace")
        for seed in range(2)
    ]


CURVES = {"kind": "curves", "x": "iterations", "y": "test_accuracy", "series": "kernel"}
DECLARED = [
    {**CURVES, "title": "Accuracy", "caption": "It jumps late"},
    {"x": "seed", "y": "score", "series": "kernel"},
    {**CURVES, "mark": "last", "reference": [0.5, "halfway"], "x_label": "steps", "y_label": "share right"},
    {"kind": "scatter", "x": "train_accuracy", "y": "test_accuracy", "series": "kernel", "identity": True},
    {"kind": "scatter", "x": "seed", "y": ["score", "width"], "y_label": ["the score", "the width"], "logy": True},
    {
        "kind": "matrices",
        "matrix": "features",
        "label": ["kernel", "width"],
        "rows": "names",
        "columns": "names",
        "where": {"seed": 0},
    },
    {"kind": "animation", "label": "kernel", "where": {"seed": [0]}},
]


def _page(plot: Any, rows: list[dict[str, Any]]) -> str:
    return render({"kind": "study", "study": {"title": "T"}, "claims": [], "rows": rows, "plot": plot})


def figures(declared: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """Figures and galleries, untyped: tests know which they asked for."""
    return list(_figures.figures(declared, rows))


def _svgs(figure: Any) -> str:
    return " ".join(svg for _, svg in figure.panels)


# --- several figures --------------------------------------------------------------------------


def test_every_figure_is_drawn_on_a_sound_page(read: Any) -> None:
    page = read(_page(DECLARED, _rows()))
    assert len(page.all("figure")) == len(DECLARED)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "It jumps late. Lines are means over the rows of a series" in page.text
    assert len(page.source) < 200_000
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


def test_pictures_come_with_the_page_and_nothing_else_may(read: Any) -> None:
    page = read(_page(DECLARED, _rows()))
    for image in page.all("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert image["alt"]
    assert not any("src" in attrs for tag, attrs in page.tags if tag != "img")
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "img-src data:;" in policy
    assert policy.startswith("default-src 'none'")


def test_one_figure_needs_no_list_and_rows_are_chosen_by_where() -> None:
    (alone,) = figures({"x": "seed", "y": "score", "series": "kernel", "where": {"kernel": "laplace"}}, _rows())
    assert [name for _, name in alone.legend] == ["laplace"]
    assert figures({"x": "seed", "y": "score", "where": {"kernel": "none"}}, _rows()) == []
    assert figures({"kind": "pie", "x": "seed", "y": "score"}, _rows()) == []


# --- curves -----------------------------------------------------------------------------------


def test_curves_are_means_with_bands() -> None:
    (figure,) = figures(CURVES, _rows())
    assert "gaussian: 0.100 at 0, 0.900 at 5, within 0.100 to 0.900." in _svgs(figure)
    assert _svgs(figure).count("fill-opacity: 0.18") == 2
    (alone,) = figures({**CURVES, "where": {"seed": 0}}, _rows())
    assert "fill-opacity: 0.18" not in _svgs(alone)
    assert "bands" not in alone.caption


def test_panels_and_columns_drawn_together() -> None:
    y = [["train_accuracy", "test_accuracy"], "loss"]
    (figure,) = figures({**CURVES, "y": y, "series": ["kernel", "width"], "logy": True}, _rows())
    assert len(figure.panels) == 2
    assert [name for _, name in figure.legend][:3] == [
        "gaussian, width 8, train accuracy",
        "laplace, width 8, train accuracy",
        "gaussian, width 8, test accuracy",
    ]
    (bare,) = figures({**CURVES, "y": ["loss", "test_accuracy"], "series": None}, _rows())
    assert bare.legend == ()
    assert "var(--s2)" not in _svgs(bare)


def test_long_curves_are_thinned_and_many_are_cut() -> None:
    places = list(range(5000))
    long = [{"iterations": places, "test_accuracy": [0.5] * 4999 + [1.0], "kernel": f"k{i}"} for i in range(10)]
    (figure,) = figures(CURVES, long)
    assert "0.500 at 0, 1.00 at 4,999" in _svgs(figure)
    assert len(_svgs(figure)) < 60 * MOST_PLACES * MOST_SERIES
    assert f"The first {MOST_SERIES} of 10 series are drawn." in figure.caption


@pytest.mark.parametrize(
    "broken",
    [None, [], "text", 3.0, {"a": 1}, [None, math.nan, "x", [1]], [[1, 2], [3, 4]], [1.0], float("nan"), True],
)
def test_what_rows_lack_is_left_out(broken: Any, read: Any) -> None:
    for column in ("iterations", "test_accuracy", "score", "features", "frames", "kernel", "seed"):
        rows = _rows()
        rows[0][column] = broken
        del rows[1][column]
        read(_page(DECLARED, rows))
    assert figures(CURVES, [{"iterations": broken, "test_accuracy": broken if broken != [1.0] else []}]) == []


@pytest.mark.parametrize("value", [None, 3, "text", ["kernel", None, 4], {"a": 1}, [["a"], ["b"]], True])
def test_declarations_that_make_no_sense_do_not_break_a_page(value: Any, read: Any) -> None:
    read(_page(value, _rows()))
    for figure in DECLARED:
        for key in {key for kind in FIGURES.values() for key in kind}:
            read(_page([{**figure, key: value}], _rows()[:1]))


def test_hostile_text_in_figures_is_text(read: Any) -> None:
    rows = [{**row, "kernel": HOSTILE, HOSTILE: row["test_accuracy"], "width": HOSTILE} for row in _rows()]
    declared = [{**figure, "title": HOSTILE, "caption": HOSTILE} for figure in DECLARED]
    source = _page([*declared, {**CURVES, "y": HOSTILE, "series": HOSTILE}], rows)
    page = read(source)
    assert len(page.all("script")) == 3
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(image["src"].startswith("data:") for image in page.all("img"))


def test_points_of_curves_are_ringed_and_told_in_the_legend() -> None:
    (plain,) = figures(CURVES, _rows())
    (ringed,) = figures({**CURVES, "mark": "last"}, _rows())
    assert [name for _, name in ringed.legend] == ["gaussian", "laplace", "last"]
    assert "<circle" in ringed.legend[-1][0]
    assert "stroke: var(--ink)" in _svgs(ringed) and "stroke: var(--ink)" not in _svgs(plain)
    (alone,) = figures({**CURVES, "series": None, "mark": "last"}, _rows())
    assert [name for _, name in alone.legend] == ["last"] and "stroke: var(--ink)" in _svgs(alone)
    (nothing,) = figures({**CURVES, "mark": "absent"}, _rows())
    assert [name for _, name in nothing.legend] == ["gaussian", "laplace"]


def test_axes_take_names_and_a_level() -> None:
    named = {**CURVES, "x_label": "steps", "y_label": "share right", "reference": [0.5, "halfway"]}
    (figure,) = figures(named, _rows())
    assert all(f">{words}<" in _svgs(figure) for words in ("steps", "share right", "halfway"))
    assert figure.caption.startswith("Share right against steps, by kernel.")
    (both,) = figures({**named, "y": ["loss", "test_accuracy"], "y_label": ["the loss"]}, _rows())
    assert ">the loss<" in both.panels[0][1] and ">test accuracy<" in both.panels[1][1]
    (dots,) = figures({"x": "kernel", "y": ["score", "width"], "y_label": ["the score", "of a layer"]}, _rows())
    assert [title for title, _ in dots.panels] == ["the score", "of a layer"]


# --- clouds of points --------------------------------------------------------------------------

CLOUD = {"kind": "scatter", "x": "train_accuracy", "y": "test_accuracy", "series": "kernel"}


def test_a_cloud_has_points_and_no_lines() -> None:
    (figure,) = figures(CLOUD, _rows())
    assert "gaussian: 8 points, 1.00 across, 0.100 to 0.900 up." in _svgs(figure)
    assert _svgs(figure).count("stroke-dasharray") == 0
    assert [name for _, name in figure.legend] == ["gaussian", "laplace"]
    assert all("stroke=" not in swatch for swatch, _ in figure.legend)
    (pairs,) = figures({**CLOUD, "x": "seed", "y": "score"}, _rows())
    assert "laplace: 2 points, 0 to 1.00 across, 0.900 to 0.910 up." in _svgs(pairs)


def test_the_line_on_which_both_are_equal() -> None:
    (figure,) = figures({**CLOUD, "identity": True}, _rows())
    assert _svgs(figure).count("stroke-dasharray") == 1
    assert "On the dashed line both are equal." in figure.caption
    for log in ({}, {"logx": True, "logy": True}):
        (same,) = figures({**CLOUD, "identity": True, **log}, [{"train_accuracy": [0.5], "test_accuracy": [0.5]}])
        assert "1 point, 0.500 across, 0.500 up." in _svgs(same)


def test_large_clouds_are_thinned() -> None:
    many = [{"train_accuracy": list(range(5000)), "test_accuracy": list(range(5000))}]
    (figure,) = figures({**CLOUD, "series": None}, many)
    assert f"{MOST_POINTS:,} points" in _svgs(figure)


# --- matrices ---------------------------------------------------------------------------------


def _decoded(png: bytes) -> np.ndarray:
    """Values between -1 and 1, read off colours and opacity."""
    pixels = np.round(255 * imread(io.BytesIO(png))).astype(int)
    sign = np.where((pixels[..., :3] == BELOW).all(-1), -1, 1)
    assert ((pixels[..., :3] == ABOVE).all(-1) | (sign < 0)).all()
    return sign * pixels[..., 3] / 255


def test_a_png_decodes_to_its_values() -> None:
    values = np.random.default_rng(0).uniform(-2, 2, (7, 5))
    assert np.abs(_decoded(heatmap(values, 2.0)) - values / 2).max() < 1 / 127
    assert (_decoded(heatmap(np.array([[-9.0, 0.0, 9.0]]), 2.0)) == [[-1, 0, 1]]).all()
    assert (_decoded(heatmap(np.zeros((2, 2)), 0.0)) == 0).all()


def test_matrices_say_what_they_are() -> None:
    matrix = torch.tensor([[0.0, -0.5], [0.25, 1.0]])
    rows = [{"kernel": "gaussian", "p": 31, "matrix": pack_matrix(m)} for m in (matrix, 4 * matrix)]
    (figure,) = figures([{"kind": "matrices", "label": ["kernel", "p"]}], rows)
    first, second = (panel.frames[0] for panel in figure.panels)
    assert first.alt == "gaussian, p 31: a matrix of 2 by 2 entries from −0.50 to 1.0."
    assert (first.end, second.end) == ("1.0", "4.0")
    assert first.source == second.source  # each to its own largest entry
    drawn = _decoded(base64.b64decode(first.source.partition(",")[2]))
    assert np.abs(drawn - matrix.numpy()).max() < 1 / 127
    (shared,) = figures([{"kind": "matrices", "scale": "shared"}], rows)
    assert {panel.frames[0].end for panel in shared.panels} == {"4.0"}


def test_rows_and_columns_of_a_matrix_have_names(read: Any) -> None:
    spec = {"kind": "matrices", "rows": "r", "columns": "c"}
    row = {"matrix": pack_matrix(torch.eye(2)), "r": ["zero", HOSTILE], "c": ["0°", 90]}
    (figure,) = figures(spec, [row])
    assert figure.panels[0].rows[0] == "zero" and len(figure.panels[0].rows[1]) <= 12
    assert figure.panels[0].columns == ("0°", "90")
    page = read(_page(spec, [row]))
    assert "zero" in page.text and "0°" in page.text
    for wrong in (["zero"], "ab", None, [1, 2, 3]):
        (bare,) = figures(spec, [{**row, "r": wrong}])
        assert bare.panels[0].rows == ()


def test_colours_of_pictures_and_of_their_scale_agree() -> None:
    style = (resources.files("equilearn.report") / "templates" / "style.css").read_text("utf-8")
    for name, colour in (("below", BELOW), ("above", ABOVE)):
        assert f"--{name}: #{bytes(colour).hex()};" in style


@pytest.mark.parametrize("side", [1, 3, 62, 122, 512])
def test_an_entry_takes_whole_pixels(side: int) -> None:
    (figure,) = figures({"kind": "matrices"}, [{"matrix": pack_matrix(torch.zeros(side, 1))}])
    frame = figure.panels[0].frames[0]
    assert frame.height % side == 0
    assert 0 < frame.height <= max(420, side)


def test_many_matrices_and_films_are_cut() -> None:
    packed = pack_matrix(torch.eye(3))
    film = [{"iteration": t, "matrix": packed} for t in range(100)]
    rows = [{"matrix": packed, "frames": film}] * 20
    still, moving = figures([{"kind": "matrices"}, {"kind": "animation"}], rows)
    assert len(still.panels) == MOST_MATRICES
    assert "The first 12 of 20 rows are drawn." in still.caption
    assert len(moving.panels) == MOST_FILMS
    shown = [frame.at for frame in moving.panels[0].frames]
    assert (len(shown), shown[0], shown[-1]) == (MOST_FRAMES, 0, 99)


# --- films ------------------------------------------------------------------------------------


def test_a_film_shows_its_ends_without_scripts(read: Any) -> None:
    page = read(_page({"kind": "animation", "where": {"seed": 0}}, _rows()))
    frames = [attrs for attrs in page.all("div") if (attrs.get("class") or "").startswith("frame ")]
    frames += [attrs for attrs in page.all("div") if attrs.get("class") == "frame"]
    seen = sorted(float(f["data-at"]) for f in frames if "hidden" not in f)
    assert seen == [0, 0, 5, 5]
    assert len(frames) == 2 * len(STEPS)
    player = next(f for f in page.all("figure") if f.get("class") == "player")
    assert json.loads(player["data-ticks"]) == STEPS
    controls = next(d for d in page.all("div") if d.get("class") == "controls")
    assert "hidden" in controls  # the script shows them
    slider = page.all("input")[0]
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "3")
    assert slider["aria-label"] == "Iteration"


def test_the_script_lets_readers_have_it_still() -> None:
    script = (resources.files("equilearn.report") / "templates" / "script.js").read_text("utf-8")
    assert "prefers-reduced-motion: reduce" in script
    assert "still.matches ? null" in script


def test_films_in_any_order_with_gaps_run_together() -> None:
    shuffled = [FILM[2], {"iteration": "soon", "matrix": FILM[0]["matrix"]}, {"iteration": 3}, FILM[0], None]
    (figure,) = figures({"kind": "animation"}, [{"frames": shuffled}, {"frames": FILM}])
    assert [[f.at for f in panel.frames] for panel in figure.panels] == [[0, 2], [0, 1, 2, 5]]
    assert figure.ticks == (0, 1, 2, 5)
    assert {f.end for f in figure.panels[1].frames} == {"1.0"}
    (one,) = figures({"kind": "animation"}, [{"frames": FILM[:1]}])
    assert one.ticks == ()


# --- the table of rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([0.5] * 30 + [0.98], "31 values, last 0.98"),
        ([1, 2], "[1, 2]"),
        ([0.1] * 5 + [None], "6 entries"),
        (FILM, "4 entries"),
        (FILM[0]["matrix"], "4 by 4 matrix"),
        ({"rows": HOSTILE * 9, "columns": None, "data": 3}, None),
        ({"kind": "C4"}, '{"kind": "C4"}'),
        ({"curve": [1.0] * 50}, "1 entry"),
        ([], "[]"),
    ],
)
def test_rows_stay_readable(value: Any, shown: str | None) -> None:
    cell = anything(value)
    assert len(cell.shown) <= 60
    assert shown is None or cell.shown == shown
