"""The pictures."""

from __future__ import annotations

import re
from typing import Any

import matplotlib as mpl
import pytest

from equilearn.report import plots
from equilearn.report.plots import Reference, Series

LINES = [
    Series("a", (50, 200), (0.5, 0.9), (0.4, None), (0.6, None), 0),
    Series("b", (50, 200), (0.6, 0.7), style=1),
    Series("empty", (), (), style=2),
]


def _draw(**options: object) -> str:
    settings = {"uid": "u", "title": "T", "x_label": "n", "y_label": "score", **options}
    return plots.lines(LINES, **settings)  # type: ignore[arg-type]


def test_takes_colours_and_fonts_from_the_page(read: Any) -> None:
    svg = _draw(log_x=True, reference=Reference(0.55, "guessing"))
    page = read(svg)
    assert "guessing" in page.text
    assert "font-family" not in svg
    assert "<style" not in svg
    assert "xmlns" not in svg
    assert set(re.findall(r"#[0-9a-f]{6}", svg)) <= {"#ffffff", "#000000"}
    assert {"var(--s0)", "var(--s1)", "var(--muted)", "var(--rule)"} <= set(re.findall(r"var\([^)]*\)", svg))
    assert "a: 0.500 at 50, 0.900 at 200." in svg


def test_same_arguments_same_text_and_global_style_untouched() -> None:
    before = dict(mpl.rcParams)
    first = _draw()
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "text.parse_math": True}):
        assert _draw() == first


def test_identifiers_carry_their_prefix(read: Any) -> None:
    for attrs in (a for _, a in read(_draw(uid="left")).tags if "id" in a):
        assert (attrs["id"] or "").startswith("left-")


def test_series_differ_without_colour() -> None:
    shapes = {re.sub(r"var\(--s\d\)", "", plots.swatch(i)) for i in range(8)}
    assert len(shapes) == 8
    assert plots.swatch(9) == plots.swatch(1)


@pytest.mark.parametrize("label", ["$x$", "a & b < c", 'id="x" #fd0001 url(#y)', "中文 🙂", "%d {} \\frac"])
def test_labels_are_text(label: str, read: Any) -> None:
    svg = plots.dots([(label, (0.1, 1.0), 0)], uid="d", title=label, x_label="error")
    page = read(svg)
    assert label in page.text


def test_degenerate_values(read: Any) -> None:
    read(plots.lines([], uid="u", title="T", x_label="n", y_label="y", log_x=True, log_y=True))
    one = Series("a", (5.0,), (0.0,), (0.0,), (0.0,))
    read(plots.lines([one], uid="u", title="T", x_label="n", y_label="y", log_x=True, log_y=True))
    negative = Series("a", (-1.0, 0.0), (-2.0, 3.0))
    read(plots.lines([negative], uid="u", title="T", x_label="n", y_label="y", log_x=True, log_y=True))
    read(plots.dots([], uid="d", title="T", x_label="e"))
    read(plots.dots([("a", (0.0, 0.0), 0), ("b", (), 1)], uid="d", title="T", x_label="e", strokes=(None, 0.1)))
    read(
        plots.dots([("a", (0.2,), 0)], uid="d", title="T", x_label="e", floors=[Reference(0.1, "chance")], linear=True)
    )
    read(plots.dots([("a", (1e-300, 1e300), 0)], uid="d", title="T", x_label="e", floors=[Reference(1e-7, "floor")]))


def test_names_on_the_axis_of_a_study_are_drawn_as_rows_of_dots():
    from equilearn.report._figures import figures

    rows = [{"way": "plain", "score": 0.5}, {"way": "learned", "score": 0.99}, {"way": "learned", "score": 1.0}]
    (figure,) = figures({"x": "way", "y": "score"}, rows)
    assert "learned: 0.990 to 1.00." in figure.panels[0][1]
    assert figures({"x": "way", "y": "score"}, [{"way": "plain", "score": None}]) == []
