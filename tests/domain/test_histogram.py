"""Histograms of log buckets: they merge exactly, and a quantile is known to 2 %."""

from math import ceil, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.histogram import LAST, RATIO, SMALLEST, Histogram, bucket_of, lower_edge, middle

SECONDS = st.floats(SMALLEST * 1.001, 19_000.0)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(SECONDS)
def test_a_value_lies_between_the_edges_of_its_bucket(value: float) -> None:
    bucket = bucket_of(value)
    tiny = 1e-9  # a value on an edge may fall to either side
    assert lower_edge(bucket) * (1 - tiny) <= value <= lower_edge(bucket + 1) * (1 + tiny)
    assert 0 <= bucket <= LAST


@given(SECONDS, SECONDS)
def test_a_larger_value_never_lies_in_a_smaller_bucket(one: float, other: float) -> None:
    assert (bucket_of(one) <= bucket_of(other)) or one > other


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, SMALLEST])
def test_what_is_below_a_microsecond_is_bucket_0(value: float) -> None:
    assert bucket_of(value) == 0


@pytest.mark.parametrize("value", [2e4, 1e9, inf, nan])
def test_what_is_too_long_or_no_number_is_the_last_bucket(value: float) -> None:
    assert bucket_of(value) == LAST


@given(st.lists(SECONDS, min_size=1, max_size=60), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_2_percent_of_the_exact_one(values: list[float], q: float) -> None:
    exact = sorted(values)[max(0, ceil(round(q * len(values), 9)) - 1)]
    found = filled(values).quantile(q)
    assert found is not None
    assert exact / RATIO <= found <= exact * RATIO


def test_the_seventh_of_a_hundred_is_the_7_percent_quantile() -> None:
    histogram = filled([float(n) for n in range(1, 101)])
    assert histogram.quantile(0.07) == middle(bucket_of(7.0))


def test_nothing_has_no_quantile_and_no_mean() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean() is None
    assert Histogram().total == 0


def test_calls_that_failed_lie_beyond_every_value() -> None:
    histogram = filled([0.1] * 9)
    assert histogram.quantile(0.9, beyond=1) == middle(bucket_of(0.1))
    assert histogram.quantile(0.95, beyond=1) == inf
    assert Histogram().quantile(0.5, beyond=1) == inf


def test_above_counts_what_lies_in_a_higher_bucket() -> None:
    histogram = filled([0.1, 0.2, 0.2, 0.4])
    assert [histogram.above(value) for value in (0.05, 0.1, 0.2, 0.4)] == [4, 3, 1, 0]


@given(st.lists(SECONDS, min_size=1, max_size=30))
def test_the_mean_is_within_1_percent(values: list[float]) -> None:
    mean = filled(values).mean()
    assert mean is not None
    assert mean == pytest.approx(sum(values) / len(values), rel=0.01)


@given(st.lists(SECONDS, max_size=20), st.lists(SECONDS, max_size=20))
def test_two_that_are_merged_are_the_one_of_all_values(some: list[float], others: list[float]) -> None:
    merged = filled(some)
    merged.merge(filled(others))
    assert merged == filled(some + others)
    assert merged.total == len(some) + len(others)


@given(st.lists(SECONDS, max_size=20))
def test_it_survives_json(values: list[float]) -> None:
    assert Histogram.from_json(filled(values).to_json()) == filled(values)
