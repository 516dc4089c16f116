"""Worker processes that the tests of the engine share: starting one imports torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from equilearn.studies import LocalExecutor


@pytest.fixture(scope="session")
def workers() -> Iterator[LocalExecutor]:
    with LocalExecutor(2) as executor:
        yield executor
