"""The capital of a gate's life adds up to at most 1, and what it finds late it finds fast."""

from math import fsum, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.stats import START, TwoSample, log_mean_exp, log_sum_exp, restart_weight
from rollout.domain.stats.funding import STAGES


@given(st.integers(1, 20), st.integers(0, 5_000))
def test_the_capital_of_a_gates_life_never_exceeds_1(stages: int, blocks: int) -> None:
    trickle = fsum(restart_weight(t) for t in range(1, blocks + 1))
    assert START + fsum([STAGES / stages] * stages) + trickle <= 1
    assert trickle == pytest.approx(0.2 * blocks / (3600 + blocks), rel=1e-9)


def test_it_trickles_on_after_a_hundred_million_blocks() -> None:
    assert 0 < restart_weight(10**8) < restart_weight(10**6)


@pytest.mark.parametrize("t", [0, -1])
def test_blocks_count_from_1(t: int) -> None:
    with pytest.raises(ValueError, match="blocks count from 1"):
        restart_weight(t)


def blocks_until_found(funded: bool) -> int:
    """Blocks of 100 calls in each arm: 500 clean ones, then errors from 1 to 3 %."""
    gate = TwoSample("rollback")
    for t in range(1, 2_000):
        if funded:
            gate.fund(restart_weight(t))
        gate.update(100, 1, 100, 1 if t <= 500 else 3)
        if gate.log_e >= log(100):
            return t - 500
    raise AssertionError("never found")


def test_a_regression_after_50_000_clean_calls_is_found_faster_with_restarts() -> None:
    assert 0 < blocks_until_found(funded=True) <= blocks_until_found(funded=False) / 2


def test_sums_of_exponentials_do_not_overflow() -> None:
    assert log_sum_exp([1000.0, 1000.0]) == pytest.approx(1000 + log(2))
    assert log_sum_exp([-1e9, -1e9]) == pytest.approx(-1e9 + log(2))
    assert log_mean_exp([0.0, -float("inf")]) == pytest.approx(log(0.5))


def test_the_sum_of_nothing_is_nothing_and_its_mean_is_refused() -> None:
    assert log_sum_exp([]) == log_sum_exp([-float("inf")] * 2) == -float("inf")
    with pytest.raises(ValueError, match="no mean of no values"):
        log_mean_exp([])
