"""Matplotlib figures as inline SVG that takes its colours and fonts from the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that nobody draws with: each is replaced by a CSS variable, so that one picture serves
# the light and the dark page.
INK, MUTED, GRID = "#fd0001", "#fd0002", "#fd0003"
_NAMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--rule)"}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "equilearn",
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "path.simplify": False,
}


def series_colour(index: int) -> str:
    """The stand-in for the page's colour of series `index`."""
    return f"#fe00{index % 8:02x}"


@contextmanager
def drawing() -> Iterator[None]:
    """The house's drawing style, whatever the user's matplotlibrc says."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # The page's font draws the text; that matplotlib's own lacks a glyph changes nothing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message=".*Matplotlib currently does not support.*")
        yield


def inline(figure: Figure, *, uid: str, title: str, description: str) -> str:
    """`figure` as an `<svg>` element to set into a page.

    The same figure gives the same text. Identifiers start with `uid`, which must be unique on
    the page; title and description are what a screen reader says.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its style element would apply to the whole page; the page's own sheet has the same rule, scoped.
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # Only tags are rewritten, so that no label can be mistaken for markup.
    used = set(re.findall(r'<[^>]*(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r"<[^>]*>", lambda tag: _rewrite(tag[0], uid, used), svg)
    return re.sub(r"\n\s*", "\n", _head(svg, uid, title, description)).strip()


def _rewrite(tag: str, uid: str, used: set[str]) -> str:
    """One tag with the page's fonts and colours, and identifiers: unique, and only those referred to."""
    tag = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
    tag = re.sub(r"font-family: ?[^;\"]*;? ?", "", tag)
    tag = re.sub(r' id="([^"]+)"', lambda m: f' id="{uid}-{m[1]}"' if m[1] in used else "", tag)
    tag = tag.replace("xlink:href=", "href=").replace("url(#", f"url(#{uid}-").replace('href="#', f'href="#{uid}-')
    tag = re.sub(r"#fe00(0\d)", lambda m: f"var(--s{int(m[1])})", tag)
    for stand_in, variable in _NAMED.items():
        tag = tag.replace(stand_in, variable)
    return tag


def _head(svg: str, uid: str, title: str, description: str) -> str:
    """Replace the opening tag: no fixed size, no namespaces (HTML knows them), a name and a description."""
    opening = svg[: svg.index(">") + 1]
    box = re.search(r'viewBox="[^"]+"', opening)
    named = (
        f'<svg class="plot" role="img" {box[0] if box else ""} '
        f'aria-labelledby="{uid}-title" aria-describedby="{uid}-desc">'
        f'<title id="{uid}-title">{escape(title)}</title><desc id="{uid}-desc">{escape(description)}</desc>'
    )
    return named + svg[len(opening) :]
