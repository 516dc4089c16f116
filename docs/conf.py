"""Sphinx: `sphinx-build -W docs docs/_build/html`."""

import re

import equilearn

project = "equilearn"
author = "equilearn developers"
copyright = "2026, equilearn developers"
version = release = equilearn.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"equilearn {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# jaxtyping's shapes make signatures long
maximum_signature_line_length = 80
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Element": "Element", "Data": "Data", "Shape": "Shape", "ActionLike": "ActionLike"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

napoleon_custom_sections = ["Cost", "Source"]

LITERAL = re.compile(r"(?<!`)`([^`]+)`(?!`)")
EMPHASIS = re.compile(r"(?<![\w*])(\*\w[\w -]*\w\*)(?![\w*])")


def to_restructured_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code` in single backticks: keep the code literal, and let no `*` or `|`
    in the words around it count as markup, but for *emphasis*.
    """
    pieces = LITERAL.split("\n".join(lines))
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = "``" + " ".join(piece.split()) + "``"
        elif ">>>" not in piece and "``" not in piece:
            words = EMPHASIS.split(piece)
            words[::2] = [re.sub(r"([*|])(?=\S)", r"\\\1", word) for word in words[::2]]
            pieces[i] = "".join(words)
    lines[:] = "".join(pieces).split("\n")


def name_aliases(app, what, name, obj, options, signature, return_annotation):
    """Type aliases by their own name."""

    def named(text):
        return text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)

    return named(signature), named(return_annotation)


def setup(app):
    # before napoleon, which listens at the default priority of 500
    app.connect("autodoc-process-docstring", to_restructured_text, priority=400)
    app.connect("autodoc-process-signature", name_aliases)
