"""The pages: sound, self-contained, safe, complete, whatever the summary lacks."""

from __future__ import annotations

import copy
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from equilearn._check import InputError, InputTypeError
from equilearn.report import plots, render, write_report

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)>"\'&<!--$x^2$ {{ 7*7 }} \x00\ud800 中文 id="a"'
KINDS = ("advise", "study", "audit", "prediction")


@pytest.fixture(params=KINDS)
def summary(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A summary of each kind."""
    return request.getfixturevalue(request.param)


# --- every kind ------------------------------------------------------------------------------


def test_is_one_sound_page(summary: dict[str, Any], read: Any) -> None:
    page = read(render(summary))
    assert page.source.startswith('<!doctype html>\n<html lang="en">')
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby", "headers"):
            for target in (attrs.get(name) or "").split():
                assert target in ids
        link = attrs.get("href")
        if link is not None:
            assert link.startswith("#")
            assert link[1:] in ids


def test_fetches_nothing(summary: dict[str, Any], read: Any) -> None:
    source = render(summary)
    page = read(source)
    assert not re.search(r"https?:|url\((?!#)|@import|//[a-z]+\.", source.replace("// ", ""))
    assert not page.all("link")
    assert not any("src" in attrs for _, attrs in page.tags)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline'; script-src 'sha256-" in policy
    assert len(source.encode()) < 500_000


def test_is_deterministic_and_leaves_its_input(summary: dict[str, Any]) -> None:
    before = copy.deepcopy(summary)
    assert render(summary) == render(json.loads(json.dumps(summary)))
    assert summary == before


def test_headings_and_landmarks_are_in_order(summary: dict[str, Any], read: Any) -> None:
    page = read(render(summary))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    for landmark in ("header", "main", "nav", "footer"):
        assert len(page.all(landmark)) == 1
    assert page.all("html")[0]["lang"] == "en"


def test_tables_and_figures_speak(summary: dict[str, Any], read: Any) -> None:
    page = read(render(summary))
    assert len(page.all("caption")) == len(page.all("table")) > 0
    for heading in page.all("th"):
        assert heading["scope"] in ("col", "row")
    sortable = [h for h in page.all("th") if h["scope"] == "col"]
    assert all(h["aria-sort"] == "none" for h in sortable)
    assert len(sortable) == sum("sort" in (b.get("class") or "") for b in page.all("button"))
    plots = [s for s in page.all("svg") if s["class"] == "plot"]
    assert plots
    for plot in plots:
        assert plot["role"] == "img"
        assert plot["aria-labelledby"]
        assert plot["aria-describedby"]


def test_embeds_the_summary(summary: dict[str, Any], read: Any) -> None:
    assert read(render(summary)).embedded == json.loads(json.dumps(summary))


def _poisoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v if k == "kind" else _poisoned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(v) for v in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_hostile_text_is_shown_as_text(summary: dict[str, Any], read: Any) -> None:
    poisoned = _poisoned(summary)
    source = render(poisoned)
    page = read(source)
    assert not page.all("img")
    assert len(page.all("script")) == 3
    assert "<script>alert" not in source
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "49" not in re.findall(r"\{\{.*?\}\}|(?<=\^2\$ )\d+", source)
    assert "{{ 7*7 }}" in page.text
    assert page.embedded["command"] == poisoned["command"]
    source.encode("utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_empty_summaries_are_pages_too(kind: str, read: Any) -> None:
    assert len(read(render({"kind": kind})).all("h1")) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [None, {}, [None], "text", float("nan")])
def test_wrong_values_do_not_break_it(
    kind: str, nothing: Any, request: pytest.FixtureRequest, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Drawing is tested on its own, and would take most of the time here.
    for name in ("lines", "dots"):
        monkeypatch.setattr(plots, name, lambda *_, **__: "<svg></svg>")
    summary = request.getfixturevalue(kind)
    for key in summary.keys() - {"kind"}:
        read(render({**summary, key: nothing}))
        if isinstance(summary[key], dict):
            read(render({**summary, key: dict.fromkeys(summary[key], nothing)}))
        if isinstance(summary[key], list) and summary[key] and isinstance(summary[key][0], dict):
            read(render({**summary, key: [dict.fromkeys(row, nothing) for row in summary[key]]}))


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="Unknown kind of summary 'advice'. Did you mean 'advise'"):
        render({"kind": "advice"})
    with pytest.raises(InputError, match="does not say its kind"):
        render({})
    with pytest.raises(InputTypeError, match="got list"):
        render([])  # type: ignore[arg-type]


def test_writes_a_file(study: dict[str, Any], tmp_path: Path) -> None:
    path = write_report(study, tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert path.read_text("utf-8") == render(study)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(InputError):
        write_report(study, tmp_path / "report.html" / "inside.html")


def test_templates_are_in_the_package() -> None:
    folder = resources.files("equilearn.report") / "templates"
    names = {"base.html", "macros.html", "style.css", "script.js", "theme.js", *(f"{kind}.html" for kind in KINDS)}
    assert names <= {entry.name for entry in folder.iterdir()}


# --- colours ---------------------------------------------------------------------------------


def _luminance(colour: tuple[float, ...]) -> float:
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["light", "dark by system", "dark by choice"])
def test_contrast_is_aa(place: int) -> None:
    style = (resources.files("equilearn.report") / "templates" / "style.css").read_text("utf-8")
    blocks = [b for b in re.findall(r"\{([^{}]*)\}", style) if "--s0" in b]
    assert len(blocks) == 3
    colours = {
        name: tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
        for name, code in re.findall(r"--([\w]+): #([0-9a-f]{6})", blocks[place])
    }
    for ground in ("paper", "raised"):
        for name in ("ink", "muted", "accent", "warn"):
            assert _contrast(colours[name], colours[ground]) >= 4.5, name
        for index in range(8):
            assert _contrast(colours[f"s{index}"], colours[ground]) >= 3.0, index
    shade = tuple((a + b) / 2 for a, b in zip(colours["warm"], colours["paper"], strict=True))
    assert _contrast(colours["ink"], shade) >= 4.5


def test_confusions_that_may_be_chance_are_not_listed(advise):
    advise["data_symmetry"]["pose"]["confusions"].append(
        {"a": 4, "b": 7, "rate": 0.0123, "element": "eighth turn", "p_value": 0.75}
    )
    page = render(advise)
    visible = page.split('type="application/json"')[0]
    assert "half turn" in visible
    assert "eighth turn" not in visible
