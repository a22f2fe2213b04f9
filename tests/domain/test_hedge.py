"""Hedging: the delay is a quantile of the branch's recent successes, once there are enough of them."""

from __future__ import annotations

import random
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.hedge import GENERATION, Delays, Hedge


def known(*times: float) -> Delays:
    delays = Delays()
    for took_s in times:
        delays.add(took_s)
    return delays


def test_there_is_no_hedge_before_enough_successes() -> None:
    delays, policy = known(*[0.1] * 19), Hedge(minimum=20)
    assert delays.delay_s(policy) is None
    delays.add(0.1)
    assert delays.delay_s(policy) == pytest.approx(0.1, rel=0.02)


def test_a_fixed_delay_needs_no_successes() -> None:
    assert known().delay_s(Hedge(after_s=0.0)) == 0.0
    assert known(*[0.1] * 50).delay_s(Hedge(after_s=0.3)) == 0.3


@given(st.lists(st.floats(0.001, 10), min_size=20, max_size=500), st.floats(0.01, 0.99))
def test_the_delay_is_the_quantile_of_the_successes(times: list[float], quantile: float) -> None:
    delay = known(*times).delay_s(Hedge(quantile=quantile))
    assert delay is not None
    assert sum(took_s <= delay * 1.02 for took_s in times) >= quantile * len(times) - 1e-6
    assert sum(took_s < delay / 1.02 for took_s in times) <= quantile * len(times) + 1e-6


@pytest.mark.parametrize("now_s", [0.01, 1.0])
def test_the_delay_follows_a_branch_that_grows_faster_or_slower(now_s: float) -> None:
    delays, policy = known(*[0.1] * 100_000), Hedge()
    assert delays.delay_s(policy) == pytest.approx(0.1, rel=0.02)
    for _ in range(2 * GENERATION):
        delays.add(now_s)
    assert delays.delay_s(policy) == pytest.approx(now_s, rel=0.02)


@given(st.integers(20, 3 * GENERATION))
def test_enough_successes_stay_known_at_any_moment(count: int) -> None:
    assert known(*[0.1] * count).delay_s(Hedge(minimum=min(count, GENERATION))) is not None


def test_the_quantile_is_worked_out_anew_after_64_successes() -> None:
    delays, policy = known(*[0.1] * 20), Hedge(quantile=0.5)
    first = delays.delay_s(policy)
    found = []
    for _ in range(65):
        found.append(delays.delay_s(policy))
        delays.add(1.0)
    assert found == [first] * 64 + [pytest.approx(1.0, rel=0.02)]


def test_another_policy_is_answered_at_once() -> None:
    delays = known(*[0.1] * 60, *[1.0] * 40)
    assert delays.delay_s(Hedge(quantile=0.5)) == pytest.approx(0.1, rel=0.02)
    assert delays.delay_s(Hedge(quantile=0.9)) == pytest.approx(1.0, rel=0.02)
    assert delays.delay_s(Hedge(minimum=101)) is None


def test_times_that_are_none_do_not_break_it() -> None:
    delays = known(*[0.1] * 95, nan, inf, -1.0, 0.0, 1e300)
    assert delays.delay_s(Hedge(quantile=0.9)) == pytest.approx(0.1, rel=0.02)


def test_hedging_itself_does_not_draw_the_delay_down() -> None:
    dice, delays, policy, hedged = random.Random(7), Delays(), Hedge(quantile=0.95), 0
    for _ in range(20_000):
        delay, first = delays.delay_s(policy), dice.lognormvariate(-2.0, 0.8)
        if delay is None or first <= delay:
            delays.add(first)
            continue
        hedged += 1
        delays.add(min(first, delay + dice.lognormvariate(-2.0, 0.8)))
    assert 0.04 < hedged / 20_000 < 0.07


# The declaration


def test_the_defaults_have_no_problem() -> None:
    assert Hedge().problems() == []
    assert Hedge(after_s=0.0, most=3, minimum=1, quantile=0.5).problems() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("after_s", value) for value in (-1, nan, inf, "1", True)),
        *(("quantile", value) for value in (0, 1, 95, -0.5, nan, "p95", None, True)),
        *(("minimum", value) for value in (0, 513, 2.0, True, nan, None)),
        *(("most", value) for value in (0, 4, 1.0, True, None)),
    ],
)
def test_a_mistake_is_named_with_its_remedy(field: str, value: Any) -> None:
    (problem,) = Hedge(**{field: value}).problems()
    assert problem.startswith(f"{field} is {value!r}; ")


def test_all_mistakes_are_named_at_once() -> None:
    assert len(Hedge(after_s=-1, quantile=2, minimum=0, most=9).problems()) == 4
