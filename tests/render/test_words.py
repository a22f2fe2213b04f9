"""Numbers as people read them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from math import log
from typing import Any

import pytest

from rollout import gates
from rollout.domain.gates import Finding, Grade
from rollout_render import words
from tests.support import thresholds


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


@pytest.mark.parametrize(
    ("times", "text"),
    [
        (1.0, "1 : 1"), (0.99, "1 : 1"), (1.26, "1.3 : 1"), (9.94, "9.9 : 1"), (9.96, "10 : 1"), (12.4, "12 : 1"),
        (299.9999999, "300 : 1"), (12_345.0, "12,300 : 1"), (1e7, ">1,000,000 : 1"), (1 / 12, "1 : 12"),
        (0.4, "1 : 2.5"), (1 / 900, "1 : 900"), (1e-9, "1 : >1,000"),
    ],
)  # fmt: skip
def test_evidence_is_told_as_odds(times: float, text: str) -> None:
    assert words.odds(log(times)) == text


def test_odds_of_any_evidence_are_told() -> None:
    assert words.odds(None) == "–"
    assert words.odds(float("inf")) == words.odds(50_000.0) == ">1,000,000 : 1"
    assert words.odds(float("-inf")) == "1 : >1,000"


def finding(grade: Grade = Grade.doubt, **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "log_e": log(1 / 12), "log_limit": log(300), "log_promote": 0.63 * log(20), "log_promote_limit": log(20),
        "n": 900, "more_calls": 3_100, "bound": True,
    }  # fmt: skip
    return Finding(gate="errors", unit="orders", grade=grade, **{**values, **changes})


def test_the_way_to_a_boundary_is_over_only_where_it_is_reached() -> None:
    assert words.way(-3.0, 5.0) == 0.0
    assert words.way(2.5, 5.0) == 0.5
    assert words.way(4.9999, 5.0) == 0.99
    assert words.way(5.0, 5.0) == words.way(float("inf"), 5.0) == 1.0
    assert words.way(None, 5.0) is words.way(3.0, None) is None


@pytest.mark.parametrize(
    ("found", "evidence", "missing"),
    [
        (finding(), "evidence 1 : 12, step 63% shown", "about 3,100 calls"),
        (finding(counted="callers"), "evidence 1 : 12, step 63% shown", "about 3,100 callers"),
        (finding(Grade.passed, log_promote=3.5, more_calls=None), "evidence 1 : 12, step shown", ""),
        (finding(Grade.passed, log_promote=None, log_promote_limit=None), "evidence 1 : 12", ""),
        (finding(Grade.breach, log_e=9.0, more_calls=None), "evidence 8,100 : 1, step 63% shown", ""),
        (finding(Grade.error), "evidence 1 : 12, step 63% shown", "cannot judge"),
        (finding(more_calls=None), "evidence 1 : 12, step 63% shown", "never at this rate"),
        (finding(more_calls=None, n=0, log_promote=0.0), "evidence 1 : 12, step 0% shown", "nothing seen yet"),
        (finding(log_e=None, log_promote=None, bound=False), "no error bound", ""),
    ],
)
def test_what_a_gate_holds_and_what_is_missing(found: Finding, evidence: str, missing: str) -> None:
    assert words.evidence(found) == evidence
    assert words.missing(found) == missing


def test_a_wrong_split_of_calls_is_told_as_one_and_not_as_a_limit() -> None:
    found = finding(Grade.breach, observed=0.31, limit=0.25, unit_name="%", log_e=40.0, log_limit=log(1_000))
    found = replace(found, gate="allocation", log_promote=None, log_promote_limit=None)
    assert words.both_numbers(found) == "31% of the calls were drawn, 25% should be"
    assert words.evidence(found) == "evidence >1,000,000 : 1, a fault at 1,000 : 1"


def test_a_limit_that_is_not_known_is_not_told() -> None:
    assert words.both_numbers(finding(observed=0.01, unit_name="%")) == "1%"
    assert words.both_numbers(finding(observed=0.01, limit=0.02, unit_name="%")) == "1% against at most 2%"


def test_evidence_climbs_to_a_full_bar_at_its_boundary() -> None:
    assert words.climb([None, -2.0, 0.0, 0.1, 2.5, 4.99, 5.0, 80.0], 5.0) == " ··▁▄▇██"


def test_a_gate_is_told_with_its_mode() -> None:
    assert words.value(gates.errors().to_dict()) == "errors, worse by at most 0%, sequential"
    noisy = gates.mismatches(beyond_noise=True)
    assert words.value(noisy.to_dict()) == "mismatches, at most 0.1%, beyond noise, sequential"
    assert words.value(thresholds.errors().to_dict()) == (
        "errors, worse by at most 1%, threshold over 1m of at least 50 calls"
    )


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


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("5%", "25%", "orders 5% → 25%"),
        ("100%", "100%, completed", "orders completed at 100%"),
        ("25%", "shadow, rolled back", "orders 25% → shadow, rolled back"),
        ("5%", "5%, approved for 25%", "orders approved for 25% at 5%"),
        ("25%, paused", "25%", "orders 25%, paused → 25%"),
    ],
)
def test_what_stays_where_it_is_does_not_read_like_a_move(before: str, after: str, told: str) -> None:
    assert words.moves([{"branch": "orders", "from": before, "to": after}]) == told
