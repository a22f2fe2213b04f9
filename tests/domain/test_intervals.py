"""Where a share lies of which only a part was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.intervals import difference, interval

Seen = tuple[int, int]
SEEN = st.integers(1, 1_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(SEEN)
def test_a_share_lies_where_it_likely_is(seen: Seen) -> None:
    k, n = seen
    low, high = interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert (low == 0) == (k == 0)
    assert (high == 1) == (k == n)


def test_the_interval_is_that_of_wilson() -> None:
    assert interval(0, 200) == pytest.approx((0.0, 0.01885), abs=1e-4)
    assert interval(2, 200) == pytest.approx((0.00275, 0.03572), abs=1e-4)
    assert interval(50, 100) == pytest.approx((0.40383, 0.59617), abs=1e-4)


@given(SEEN, SEEN)
def test_a_difference_lies_around_what_was_seen_and_is_the_other_way_round_for_the_other_side(
    one: Seen, other: Seen
) -> None:
    low, high = difference(*one, *other)
    seen = one[0] / one[1] - other[0] / other[1]
    assert -1 <= low <= seen + 1e-12
    assert seen - 1e-12 <= high <= 1
    assert difference(*other, *one) == pytest.approx((-high, -low))


def test_the_difference_is_that_of_newcombe() -> None:
    """The examples of the article's table II: 56/70 against 48/80, 9/10 against 3/10, 0/20 against 0/10."""
    assert difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=1e-4)
    assert difference(0, 20, 0, 10) == pytest.approx((-0.2775, 0.1611), abs=1e-4)


def test_a_share_of_nothing_unusual_is_not_told_from_noise() -> None:
    low, high = difference(10, 1_000, 1, 100)
    assert low < 0 < high
