"""How fast evidence can grow."""

from math import inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.stats import information
from rollout.domain.stats.information import kl

RATE = st.floats(0, 1)


@given(
    RATE, RATE, st.floats(0, 1), st.sampled_from([1.0, 0.5, 1.2, 3.0]), st.sampled_from([0.0, 0.001, 0.05, -0.1, 0.9])
)
def test_no_rate_on_the_boundary_is_nearer(p_a: float, p_b: float, share: float, r: float, d: float) -> None:
    found = information(p_a, p_b, share, r, d)
    assert 0 <= found < inf
    for step in range(1, 200):
        p = step / 200
        if 0 < r * p + d < 1:
            assert found <= (1 - share) * kl(p_a, p) + share * kl(p_b, r * p + d) + 1e-9


def test_rates_on_the_boundary_tell_nothing() -> None:
    assert information(0.01, 0.01, 0.3) == pytest.approx(0.0, abs=1e-15)
    assert information(0.01, 0.022, 0.3, 1.2, 0.01) == pytest.approx(0.0, abs=1e-12)


def test_without_any_error_the_margin_alone_tells() -> None:
    """Control's rate could be 0: then the candidate's calls say all."""
    assert information(0.0, 0.0, 0.5, d=0.01) == pytest.approx(-0.5 * log(0.99), rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_arm_alone_tells_nothing(share: float) -> None:
    assert information(0.1, 0.9, share) == 0.0


def test_a_margin_without_a_boundary_tells_nothing() -> None:
    assert information(0.1, 0.9, 0.5, d=1.0) == 0.0


@pytest.mark.parametrize("rates", [(1.1, 0.1, 0.5), (0.1, -0.1, 0.5), (0.1, 0.1, 1.5), (nan, 0.1, 0.5)])
def test_rates_that_cannot_be_are_refused(rates: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="is no share of calls: give one from 0 to 1"):
        information(*rates)


def test_margins_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="no ratio of rates"):
        information(0.1, 0.1, 0.5, r=0.0)
