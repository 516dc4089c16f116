"""From a summary to one HTML file."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilearn._check import InputError, InputTypeError, one_of
from equilearn.io import as_json, write_text
from equilearn.report import _advise, _audit, _field, _prediction, _study

if TYPE_CHECKING:
    from jinja2 import Environment

_KINDS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "advise": _advise.context,
    "audit": _audit.context,
    "field": _field.context,
    "prediction": _prediction.context,
    "study": _study.context,
}
MOST_EMBEDDED = 150_000
"""Characters of JSON embedded at most; beyond, the rows stay in summary.json alone."""


def render(summary: Mapping[str, Any]) -> str:
    """The report of `summary` as one self-contained HTML page.

    A pure function: the same summary gives the same page, nothing is computed anew, fetched or
    written. What a summary lacks is left out or said to be missing; hostile text is shown as text.

    Args:
        summary: what `summary.json` of an `advise`, `study`, `audit`, `prediction` or `field` holds; its `kind`
            says which.

    Returns:
        The page. It refers to nothing outside itself and works without scripts; with them, tables
        can be sorted and copied.

    Raises:
        InputTypeError: where `summary` is no mapping.
        InputError: where its `kind` is unknown.

    Example:
        >>> page = render({"kind": "study", "study": {"title": "Averaging"}, "claims": [], "rows": []})
        >>> page.startswith("<!doctype html>") and "This study states no claim." in page
        True

    Cost:
        Some 0.1 s a picture; O(rows) beyond.
    """
    if not isinstance(summary, Mapping):
        raise InputTypeError(
            f"A report is drawn from a summary, the dictionary that summary.json holds; got {type(summary).__name__}."
        )
    kind = summary.get("kind")
    if kind is None:
        raise InputError(f"The summary does not say its kind; it needs kind = {' or '.join(map(repr, _KINDS))}.")
    context = _KINDS[one_of(str(kind), _KINDS, "kind of summary")]
    plain = as_json(summary)  # what a summary.json read back would hold: the same page from both
    page = _environment().get_template(f"{kind}.html").render(**context(plain), **_assets(), data=_embedded(plain))
    return page.rstrip() + "\n"


def write_report(summary: Mapping[str, Any], path: str | Path) -> Path:
    """Write the report of `summary` to `path`, at once or not at all.

    Args:
        summary: as for `render`.
        path: the file; an existing one is replaced.

    Returns:
        The path.

    Raises:
        InputError: where the summary cannot be drawn or the file not be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report({"kind": "study", "claims": [], "rows": []}, f"{folder}/report.html").name
        'report.html'
    """
    page = render(summary)
    write_text(Path(path), page)
    return Path(path)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("equilearn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def _assets() -> dict[str, Any]:
    """Style and scripts, and a policy under which the page can fetch nothing and run only these scripts."""
    from markupsafe import Markup

    folder = Path(__file__).parent / "templates"
    style, theme, script = ((folder / name).read_text("utf-8") for name in ("style.css", "theme.js", "script.js"))
    hashes = " ".join(f"'sha256-{_digest(code)}'" for code in (theme, script))
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return {"style": Markup(style), "theme": Markup(theme), "script": Markup(script), "policy": Markup(policy)}


def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")


def _embedded(summary: dict[str, Any]) -> Any:
    """The summary as JSON that cannot end its script element."""
    from markupsafe import Markup

    code = json.dumps(summary, separators=(",", ":"), allow_nan=False)
    if len(code) > MOST_EMBEDDED:
        summary = {**summary, "rows": [], "rows_left_out": "too large for the page; summary.json has them"}
        code = json.dumps(summary, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        code = code.replace(character, f"\\u{ord(character):04x}")
    return Markup(code)
