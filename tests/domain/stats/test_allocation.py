"""The allocation check and the account."""

from itertools import product
from math import comb, exp, inf, isfinite, log, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.stats import ALPHA_ALLOCATION, account_log_e, allocation_log_e
from tests.domain.stats.enumeration import ROUNDING


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5])
@pytest.mark.parametrize("n", [1, 6, 30])
def test_under_the_intended_shares_its_expectation_is_1(share: float, n: int) -> None:
    total = sum(
        comb(n, k) * share**k * (1 - share) ** (n - k) * exp(allocation_log_e((n - k, k), (1 - share, share)))
        for k in range(n + 1)
    )
    assert total == pytest.approx(1.0, abs=1e-9)


def test_a_thousand_calls_stand_for_the_intended_shares() -> None:
    assert exp(allocation_log_e((2, 0), (0.5, 0.5))) == pytest.approx(500 * 501 / (1000 * 1001) / 0.25, rel=1e-9)


def test_three_arms_are_checked_together() -> None:
    shares, n = (0.2, 0.3, 0.5), 5
    total = 0.0
    for x, y in product(range(n + 1), repeat=2):
        if x + y <= n:
            z = n - x - y
            ways = comb(n, x) * comb(n - x, y)
            total += ways * 0.2**x * 0.3**y * 0.5**z * exp(allocation_log_e((x, y, z), shares))
    assert total == pytest.approx(1.0, abs=1e-9)


def test_a_sound_draw_is_never_a_breach_and_a_skewed_one_is() -> None:
    dice = Random(1)
    live = sum(dice.random() < 0.25 for _ in range(50_000))
    assert allocation_log_e((50_000 - live, live), (0.75, 0.25)) < 0
    skewed = sum(dice.random() < 0.27 for _ in range(50_000))
    assert allocation_log_e((50_000 - skewed, skewed), (0.75, 0.25)) > log(1 / ALPHA_ALLOCATION)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(1e-6, 0.999999))
def test_every_legal_count_gives_a_number(a: int, b: int, share: float) -> None:
    assert isfinite(allocation_log_e((a, b), (1 - share, share)))


def test_an_arm_of_share_0_must_have_no_calls() -> None:
    assert allocation_log_e((10, 0), (1.0, 0.0)) == pytest.approx(0.0, abs=1e-9)
    assert allocation_log_e((10, 1), (1.0, 0.0)) == inf


@pytest.mark.parametrize("counts", [(1,), (1, -1), (1, nan), (1, inf)])
def test_counts_that_cannot_be_are_refused(counts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="give one count, 0 or more, for each arm"):
        allocation_log_e(counts, (0.5, 0.5))


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5), (nan, 0.5)])
def test_shares_that_are_none_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="1 in all"):
        allocation_log_e((1, 1), shares)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=8))
def test_an_account_is_the_weighted_sum_of_its_gates(log_es: list[float]) -> None:
    weights = [1 / len(log_es)] * len(log_es)
    expected = sum(weight * exp(one) for weight, one in zip(weights, log_es, strict=True))
    assert account_log_e(weights, log_es) == pytest.approx(log(expected), abs=1e-9)
    assert account_log_e(weights, [0.0] * len(log_es)) <= ROUNDING


def test_a_gate_of_weight_0_does_not_count() -> None:
    assert account_log_e((0.5, 0.0), (0.0, 1e9)) == pytest.approx(log(0.5))
    assert account_log_e((), ()) == -inf


def test_weights_that_are_no_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 2 gates"):
        account_log_e((1.0,), (0.0, 0.0))
    for weights in ((0.6, 0.6), (1.2, -0.2), (nan, 0.1)):
        with pytest.raises(ValueError, match="at most 1 in all"):
            account_log_e(weights, (0.0, 0.0))
