"""One self-contained HTML file from a summary: nothing fetched, nothing computed again."""

from equilearn.report import plots
from equilearn.report._render import render, write_report

__all__ = ["plots", "render", "write_report"]
