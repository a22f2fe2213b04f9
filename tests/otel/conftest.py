from collections.abc import Iterator

import pytest

from tests.otel.traced import Traces


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Spans that are kept. Whatever began must have ended at the end of the test."""
    found = Traces()
    yield found
    assert found.open == 0
