"""What a conformance check raises."""

from __future__ import annotations


class CheckFailed(AssertionError):
    """A law does not hold; the message says which, by how much and where.

    An `AssertionError`, so that every test runner shows it as a failure and not as an error.
    """
