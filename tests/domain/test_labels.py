"""Labels: what reports group trials by, few and short."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.labels import LONGEST, MOST, labels_of


def test_texts_numbers_and_booleans_are_labels() -> None:
    answer = {"plan": "free", "shard": 3, "beta": True, "weight": 0.5}
    assert labels_of(answer) == {"plan": "free", "shard": "3", "beta": "True", "weight": "0.5"}
    assert labels_of(None) == {}


@pytest.mark.parametrize("answer", ["plan", ["plan"], 3, {"plan": None}, {"plan": ["free"]}, {None: "free"}])
def test_anything_else_is_refused(answer: Any) -> None:
    with pytest.raises(TypeError, match="label"):
        labels_of(answer)


@given(st.dictionaries(st.text() | st.integers(), st.text() | st.floats() | st.booleans(), max_size=20))
def test_whatever_they_are_they_are_few_short_and_can_be_stored(answer: dict[Any, Any]) -> None:
    found = labels_of(answer)
    assert len(found) <= MOST
    assert all(len(text) <= LONGEST and "\0" not in text for pair in found.items() for text in pair)
    json.dumps(found).encode()
    assert all(text.encode() is not None for pair in found.items() for text in pair)
