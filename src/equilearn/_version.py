"""The version, apart from the front door so that every room may name it."""

from __future__ import annotations

__version__ = "0.1.0"
