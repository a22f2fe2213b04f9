"""Figures that were computed by independent implementations of the same formulas."""

from math import exp, log

import pytest

from rollout.domain.stats import TwoSample, block_log_e, discordant_log_e, one_sample_log_e, restart_weight
from rollout.domain.stats.boundary import nearest_null
from tests.domain.stats.enumeration import of_two_arms


def worse(m: float, odds: float) -> float:
    """The rate whose odds are ``odds`` times those of ``m``."""
    return odds * m / (1 - m + odds * m)


@pytest.mark.parametrize(
    ("counts", "odds", "r", "d", "expected"),
    [
        ((95, 1, 5, 1), 2.0, 1.0, 0.0, 0.5962288546),
        ((50, 0, 50, 3), 5.0, 1.0, 0.0, 1.5527240531),
        ((95, 1, 5, 1), 2.0, 1.2, 0.001, 0.5774826992),
    ],
)
def test_one_block_of_two_arms(
    counts: tuple[int, int, int, int], odds: float, r: float, d: float, expected: float
) -> None:
    found = block_log_e(*counts, a=0.01, b=worse(r * 0.01 + d, odds), r=r, d=d)
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_solver_finds_the_closed_form_where_there_is_one() -> None:
    b = worse(0.01, 2.0)
    assert b == pytest.approx(0.0198019802, abs=1e-9)
    assert nearest_null(0.05, 0.01, b, 1.0, 0.0) == pytest.approx(0.0104900990, abs=1e-9)


@pytest.mark.parametrize(("p_b", "expected"), [(0.1, 0.99649866), (0.3, 1.56860301)])
def test_the_expectation_of_a_small_block(p_b: float, expected: float) -> None:
    def gain(k_a: int, k_b: int) -> float:
        return exp(block_log_e(6, k_a, 3, k_b, a=0.1, b=worse(0.1, 3.0)))

    assert of_two_arms(gain, 6, 3, 0.1, p_b) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("k", "expected"), [(1, -1.31756341), (5, 2.70382822)])
def test_one_arm(k: int, expected: float) -> None:
    assert one_sample_log_e(1000, k, 0.001, "rollback") == pytest.approx(expected, abs=1e-8)


def test_discordant_pairs() -> None:
    assert discordant_log_e(3, 0) == pytest.approx(1.41288263, abs=1e-8)


def test_3338_calls_without_a_mismatch_prove_less_than_one_in_a_thousand() -> None:
    assert one_sample_log_e(3337, 0, 0.001, "promote") < log(20) <= one_sample_log_e(3338, 0, 0.001, "promote")


def test_a_rollback_gate_starts_with_four_tenths_and_a_promotion_gate_with_all() -> None:
    assert TwoSample("rollback").log_e == pytest.approx(log(0.4), abs=1e-12)
    assert TwoSample("promote").log_e == pytest.approx(0.0, abs=1e-12)


def test_funding_is_spread_over_the_alternatives() -> None:
    gate = TwoSample("rollback")
    gate.update(95, 1, 5, 1)
    before = [exp(one) for one in gate.to_state()["logs"]]
    gate.fund(0.2)
    assert [exp(one) for one in gate.to_state()["logs"]] == pytest.approx([one + 0.2 / 8 for one in before], rel=1e-12)


def test_the_weight_of_a_block_is_a_fifth_of_a_telescope() -> None:
    assert restart_weight(1) == pytest.approx(0.2 * (1 - 3600 / 3601), rel=1e-9)
    assert restart_weight(3601) == pytest.approx(0.2 * (3600 / 7200 - 3600 / 7201), rel=1e-9)
