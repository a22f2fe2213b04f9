"""Rows as one JSON document: what goes in comes out, and what no database stores is mended."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_sql.documents import packed


@given(st.lists(st.tuples(st.text().filter(lambda text: "\0" not in text), st.none() | st.integers() | st.booleans())))
def test_ordinary_values_come_out_as_they_went_in(rows: list[tuple[Any, ...]]) -> None:
    assert json.loads(packed(rows)) == [list(row) for row in rows]


@given(st.text(st.sampled_from('\\u0a\0"')))
def test_only_nul_goes_whatever_stands_around_it(text: str) -> None:
    assert json.loads(packed([[text]])) == [[text.replace("\0", "")]]


def test_half_a_surrogate_pair_is_a_question_mark_and_a_whole_one_stays() -> None:
    assert json.loads(packed([["\ud800a", "🦜"]])) == [["?a", "🦜"]]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_null(number: float) -> None:
    assert json.loads(packed([(number, {"a": [number, 1.5]})])) == [[None, {"a": [None, 1.5]}]]


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        packed([[object()]])
