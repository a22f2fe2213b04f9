"""Numbers as people read them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rollout_render import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.0, "0%"), (1.0, "100%"), (0.25, "25%"), (0.0123, "1.23%"), (0.000417, "0.0417%"),
        (0.000001, "<0.001%"), (0.99999, "99.999%"), (0.9996, "99.960%"), (0.969, "96.9%"),
    ],
)  # fmt: skip
def test_shares(value: float | None, text: str) -> None:
    assert words.share(value) == text


def test_almost_nothing_never_reads_as_nothing_and_almost_all_never_as_all() -> None:
    for value in (1e-9, 1e-6, 1e-5, 1e-4):
        assert words.share(value) != "0%"
    for value in (0.9995, 0.99995, 0.9999999):
        assert words.share(value) != "100%"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (float("inf"), "failed"), (0.0000042, "4 µs"), (0.0421, "42.1 ms"), (0.25, "250 ms"),
        (1.5, "1.50 s"), (7200.0, "2h"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


def test_unknown_dollars_are_unknown_and_not_free() -> None:
    assert words.dollars(None) == "unknown"
    assert words.dollars(Decimal(0)) == "$0"
    assert words.dollars(Decimal("0.00184")) == "$0.00184"
    assert words.dollars(Decimal("397703.99")) == "$397,704"


def test_times_are_utc_and_say_so() -> None:
    assert words.utc(1_767_614_400.0) == "2026-01-05 12:00:00Z"
    assert words.utc(None) == "–"


def test_a_sparkline_shows_gaps_and_zeros_apart() -> None:
    assert words.sparkline([0, 1, None, 8]) == "·▁ █"
    assert words.sparkline([]) == ""
    assert len(words.sparkline(list(range(100)), width=24)) == 24


def test_the_ramp_as_boxes() -> None:
    assert words.steps(0, 3) == "■□□"
    assert words.steps(2, 3) == "■■■"
    assert words.steps(2, 3, on=False) == "□□□"


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (None, "absent"),
        ({"type": "missing"}, "absent"),
        ({"type": "null"}, "null"),
        ({"type": "denied"}, "withheld"),
        ({"type": "string", "hash": "9f2c41d07be3a655", "length": 12}, "string, 12 characters, #9f2c41d0"),
        ({"type": "array", "hash": "9f2c41d07be3a655", "size": 3}, "array, size 3, #9f2c41d0"),
        ({"type": "object", "size": 2, "shown": {"state": "open"}}, 'object, size 2, {"state": "open"}'),
        ("open", "open"),
        (7, "7"),
        ({"type": "parcel", "weight": 3}, '{"type": "parcel", "weight": 3}'),
    ],
)
def test_a_stored_value_tells_what_it_may(thing: object, text: str) -> None:
    assert words.stored(thing) == text
