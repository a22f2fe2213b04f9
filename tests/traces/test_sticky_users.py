"""Real users are few, some are busy, and no two alike: scored once each they keep the error bound, call by call they
do not.

``gates.md`` says that scoring every call rolls back 13 to 53 % of healthy branches where 5 % are allowed. Here: one
gate, looked at every second, on the ramp "shadow 5% 25% 50% 100%".
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import pytest

from rollout.domain.stats import ALPHA_ALLOCATION, ALPHA_ROLLBACK
from tests.traces.data import needs_traces, web_requests
from tests.traces.replay import Outcome, error_rates, replay

pytestmark = needs_traces

REPLAYS = 210
ALPHA = 0.05
WORLDS = ("one", "another", "a third")  # which clients it is that fail


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[Outcome, Outcome]]:
    """Of many salts, in three worlds: counted by key, counted by call."""
    rates = [error_rates(world) for world in WORLDS]
    return [replay(rates[number % len(WORLDS)], f"salt {number}") for number in range(REPLAYS)]


def share_beyond(outcomes: Sequence[Outcome], alpha: float) -> float:
    """Of the replays in which the account ever reached 1/alpha."""
    return sum(outcome.log_e >= log(1 / alpha) for outcome in outcomes) / len(outcomes)


def share_misdrawn(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.misdrawn for outcome in outcomes) / len(outcomes)


def test_the_users_are_few_and_some_of_them_are_busy() -> None:
    """Else it would not matter how they are counted."""
    calls = [request.client for request in web_requests()]
    assert len(set(calls)) < len(calls) / 5
    assert max(calls.count(client) for client in set(calls[:500])) > len(calls) / 50


def test_users_who_are_scored_once_in_a_stage_keep_the_error_bound(outcomes: list[tuple[Outcome, Outcome]]) -> None:
    by_key = [keys for keys, _ in outcomes]
    for alpha in (ALPHA, ALPHA_ROLLBACK):
        assert share_beyond(by_key, alpha) <= alpha


def test_a_branch_that_is_worse_is_found_by_its_keys() -> None:
    """So the bound is not kept by never finding anything."""
    rates = error_rates(WORLDS[0])
    by_key = [replay(rates, f"salt {number}", worse_by=0.15)[0] for number in range(12)]
    assert share_beyond(by_key, ALPHA_ROLLBACK) > 0.9


def test_calls_that_are_all_scored_do_not(outcomes: list[tuple[Outcome, Outcome]]) -> None:
    by_call = [calls for _, calls in outcomes]
    assert share_beyond(by_call, ALPHA) > 0.13
    assert share_beyond(by_call, ALPHA_ROLLBACK) > 0.1


def test_keys_are_drawn_as_they_should_be(outcomes: list[tuple[Outcome, Outcome]]) -> None:
    assert share_misdrawn([keys for keys, _ in outcomes]) <= ALPHA_ALLOCATION


def test_calls_instead_of_keys_look_as_if_the_draw_were_broken(outcomes: list[tuple[Outcome, Outcome]]) -> None:
    assert share_misdrawn([calls for _, calls in outcomes]) > 0.5
