"""What is decided about events, as values."""

import json
from contextlib import suppress
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.inbox import Redelivery, idempotency_key, is_short_text, payload_of

DICE = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(1, 100), dice=DICE, base_s=st.floats(0, 1e300), cap_s=st.floats(0, 1e300))
def test_no_wait_is_negative_or_longer_than_its_cap(attempt: int, dice: float, base_s: float, cap_s: float) -> None:
    wait = Redelivery(attempts=100, base_s=base_s, cap_s=cap_s).wait_s(attempt, dice)
    assert (wait is None) == (attempt == 100)
    assert wait is None or 0 <= wait <= cap_s


def test_the_waits_double_until_they_are_capped() -> None:
    policy = Redelivery(attempts=6, base_s=2.0, cap_s=10.0)
    assert [policy.wait_s(attempt, 0.5) for attempt in range(1, 7)] == [1.0, 2.0, 4.0, 5.0, 5.0, None]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": 101}, "attempts is 101"),
        ({"attempts": 2.5}, "attempts is 2.5"),
        ({"attempts": True}, "attempts is True"),
        ({"base_s": -1.0}, "base_s is -1.0"),
        ({"base_s": nan}, "base_s is nan"),
        ({"cap_s": inf}, "cap_s is inf"),
        ({"base_s": 5.0, "cap_s": 1.0}, "base_s=5 is above cap_s=1"),
    ],
)
def test_a_redelivery_that_cannot_be_is_named(values: dict[str, Any], named: str) -> None:
    (problem,) = Redelivery(**values).problems()
    assert problem.startswith(named)


def test_the_defaults_are_right() -> None:
    assert list(Redelivery().problems()) == []


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)), unique=True, max_size=20))
def test_no_two_steps_share_a_key_and_each_keeps_its_own(steps: list[tuple[str, str, str]]) -> None:
    keys = [idempotency_key(*step) for step in steps]
    assert len(set(keys)) == len(steps)
    assert keys == [idempotency_key(*step) for step in steps]


def test_a_key_cannot_be_had_by_shifting_its_parts() -> None:
    assert idempotency_key("users", "a:b", "c") != idempotency_key("users", "a", "b:c")


def test_a_key_is_the_same_in_every_version() -> None:
    assert idempotency_key("users", "e-1", "mail") == (
        "8dfbecfb78f1ee27ccf7b1c87805114d76d367341c7c1e6ea30940cb7884bfe8"
    )


@pytest.mark.parametrize("text", ["e-1", "ü", "a" * 200, "jti:1/2"])
def test_what_can_name_an_event_or_a_step(text: str) -> None:
    assert is_short_text(text)


@pytest.mark.parametrize("text", ["", "a" * 201, "a\nb", "a\0b", "\ud800", "\x1b[31m", 7, None, b"e-1"])
def test_what_cannot(text: object) -> None:
    assert not is_short_text(text)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_an_object_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert payload_of(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_an_object_or_a_value_error(body: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(payload_of(body), dict)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"null", b'"a"', b"[" * 60_000, b'{"a":' * 30_000])
def test_what_is_no_object_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own errors are of many kinds
        payload_of(body)
