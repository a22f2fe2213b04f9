"""Budgets: exact sums in every history, and nothing is ever counted twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.budget import Account, DailyBudget, Reserve, utc_day
from rollout.domain.cost import nano_usd

CENT = nano_usd("0.01")
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
TODAY = date(2026, 3, 14)

AMOUNTS = st.integers(0, 60)
LIMITS = st.none() | st.integers(0, 200)


@dataclass
class Held:
    """What a run has reserved, as the engine keeps it: ended once."""

    account: Account
    tokens: int
    nano: int
    is_open: bool = True

    def settle(self, tokens: int | None, nano: int | None) -> None:
        if self.is_open:
            self.account.settle((self.tokens, self.nano), tokens, nano)
            self.is_open = False

    def release(self) -> None:
        if self.is_open:
            self.account.release(self.tokens, self.nano)
            self.is_open = False


def held(account: Account, tokens: int = 0, nano: int = 0) -> Held:
    assert account.reserve(tokens, nano) is None
    return Held(account, tokens, nano)


def fits(account: Account, tokens: int, nano: int) -> bool:
    """Whether both amounts fit now; nothing is held after."""
    refused = account.reserve(tokens, nano)
    if refused is None:
        account.release(tokens, nano)
    return refused is None


# ---- the account of a call


def test_of_five_times_2_cents_two_fit_in_5_cents() -> None:
    account = Account(None, 5 * CENT)
    admitted = [account.reserve(0, 2 * CENT) is None for _ in range(5)]
    assert admitted == [True, True, False, False, False]


def test_ten_times_half_a_cent_fit_in_5_cents_exactly_and_an_eleventh_does_not() -> None:
    account = Account(None, nano_usd("0.05"))
    for _ in range(10):
        held(account, nano=nano_usd(0.005))
    assert account.reserve(0, 1) == "usd"
    assert fits(account, 0, 0)


def test_the_limit_that_refuses_is_named() -> None:
    account = Account(100, 100)
    assert account.reserve(101, 0) == "tokens"
    assert account.reserve(0, 101) == "usd"
    assert account.reserve(101, 101) == "tokens"


def test_a_refusal_changes_nothing() -> None:
    account = Account(100, 100)
    account.reserve(1, 101)
    account.reserve(101, 1)
    assert (account.reserved_tokens, account.reserved_nano) == (0, 0)
    assert fits(account, 100, 100)


def test_without_a_limit_everything_fits() -> None:
    account = Account(None, None)
    held(account, 10**30, 10**30).settle(10**31, 10**31)
    assert fits(account, 10**30, 10**30)
    assert (account.over_tokens, account.over_nano) == (0, 0)


def test_what_a_run_did_not_use_is_there_for_the_next() -> None:
    account = Account(100, 100)
    first = held(account, 80, 80)
    assert not fits(account, 40, 40)
    first.settle(60, 60)
    assert fits(account, 40, 40)
    assert not fits(account, 41, 0)


def test_a_run_that_was_not_dispatched_gives_everything_back() -> None:
    account = Account(100, 100)
    held(account, 100, 100).release()
    assert fits(account, 100, 100)
    assert (account.spent_tokens, account.spent_nano) == (0, 0)


def test_an_unknown_cost_is_what_was_reserved_and_counted() -> None:
    account = Account(100, 100)
    held(account, 50, 70).settle(20, None)
    assert (account.spent_tokens, account.spent_nano, account.unknown) == (20, 70, 1)


def test_an_unknown_number_of_tokens_is_what_was_reserved_and_counted() -> None:
    account = Account(100, 100)
    held(account, 50, 70).settle(None, None)
    assert (account.spent_tokens, account.spent_nano, account.unknown) == (50, 70, 1)


def test_a_cost_of_zero_is_known() -> None:
    account = Account(100, 100)
    held(account, 50, 70).settle(20, 0)
    assert (account.spent_nano, account.unknown) == (0, 0)


def test_what_a_run_used_above_its_reservation_is_booked_and_then_nothing_fits() -> None:
    account = Account(100, 100)
    held(account, 50, 50).settle(50, 130)
    assert (account.spent_nano, account.overrun_nano, account.over_nano) == (130, 80, 30)
    assert account.reserve(0, 0) == "usd"


def test_tokens_over_their_limit_refuse_as_dollars_do() -> None:
    account = Account(100, None)
    held(account, 50).settle(101, 0)
    assert (account.overrun_tokens, account.over_tokens) == (51, 1)
    assert account.reserve(0, 0) == "tokens"


def test_an_overrun_leaves_less_for_those_that_come_after() -> None:
    account = Account(100, 100)
    other = held(account, 0, 30)
    held(account, 0, 50).settle(0, 60)
    assert not fits(account, 0, 11)
    assert fits(account, 0, 10)
    assert other.is_open


@pytest.mark.parametrize("amount", [-1, 1.5, nan, inf, True, "1", Decimal(1)])
def test_what_is_no_whole_amount_is_refused_and_changes_nothing(amount: Any) -> None:
    account = Account(100, 100)
    reservation = held(account, 10, 10)
    before = amounts(account)
    for tokens, nano in ((amount, 0), (0, amount)):
        with pytest.raises(ValueError, match="must be a whole number of 0 or more"):
            reservation.settle(tokens, nano)
    assert amounts(account) == before
    assert reservation.is_open


def amounts(account: Account) -> tuple[int, ...]:
    return tuple(getattr(account, name) or 0 for name in Account.__slots__)


#: One move: begin a run, or end one that is under way or over (by its place), in one way or the other.
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), AMOUNTS, AMOUNTS),
        st.tuples(st.just("release"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.tuples(st.none() | AMOUNTS, st.none() | AMOUNTS)),
    ),
    max_size=60,
)


@given(LIMITS, LIMITS, MOVES)
def test_in_every_history_what_was_reserved_is_spent_released_or_held(
    tokens: int | None, nano: int | None, moves: list[tuple[str, int, Any]]
) -> None:
    account = Account(tokens, nano)
    runs: list[Held] = []
    for move, one, other in moves:
        if move == "reserve":
            if account.reserve(one, other) is None:
                runs.append(Held(account, one, other))
        elif runs and move == "release":
            runs[one % len(runs)].release()
        elif runs:
            runs[one % len(runs)].settle(*other)
        balances(account, runs)
    for run in runs:
        run.settle(None, None)
    balances(account, runs)
    assert (account.held_tokens, account.held_nano) == (0, 0)


def balances(account: Account, runs: list[Held]) -> None:
    """The sums agree with the runs under way, and a limit is passed by no more than what ran over."""
    under_way = [run for run in runs if run.is_open]
    assert account.held_tokens == sum(run.tokens for run in under_way)
    assert account.held_nano == sum(run.nano for run in under_way)
    within = account.spent_tokens - account.overrun_tokens, account.spent_nano - account.overrun_nano
    assert min(within) >= 0
    assert within[0] + account.released_tokens + account.held_tokens == account.reserved_tokens
    assert within[1] + account.released_nano + account.held_nano == account.reserved_nano
    if account.limit_tokens is not None:
        assert account.spent_tokens + account.held_tokens <= account.limit_tokens + account.overrun_tokens
    if account.limit_nano is not None:
        assert account.spent_nano + account.held_nano <= account.limit_nano + account.overrun_nano


# ---- what a branch declares


def test_a_reserve_is_told_in_dollars_and_kept_in_nano_dollars() -> None:
    assert Reserve(usd="0.02").nano == 20_000_000
    assert Reserve().nano == 0


@pytest.mark.parametrize("reserve", [Reserve(), Reserve(tokens=1, usd=0.1, latency_s=2), Reserve(usd=Decimal("1e-9"))])
def test_a_sound_reserve_has_no_problems(reserve: Reserve) -> None:
    assert reserve.problems() == []


def test_every_mistake_of_a_reserve_is_told() -> None:
    first, second, third = Reserve(tokens=-1, usd="much", latency_s=nan).problems()
    assert first.startswith("tokens is -1; it must")
    assert second.startswith('usd: "much" is not an amount of dollars; write')
    assert third.startswith("latency_s is nan; it must")


@pytest.mark.parametrize("mistake", [{"tokens": 1.5}, {"tokens": True}, {"usd": -1}, {"latency_s": inf}])
@pytest.mark.parametrize("more", [{}, {"latency_s": "1s"}])
def test_a_mistake_of_a_reserve_is_one_problem(mistake: dict[str, Any], more: dict[str, Any]) -> None:
    assert len(Reserve(**mistake | more).problems()) == len(mistake | more)


# ---- the dollars of a day


def test_a_day_is_spent_up_to_its_limit_exactly() -> None:
    day = DailyBudget(10)
    assert day.may("a", 10, NOON)
    day.spend("a", 6, NOON)
    assert day.may("a", 4, NOON)
    assert not day.may("a", 5, NOON)


def test_branches_have_a_budget_each() -> None:
    day = DailyBudget(10)
    day.spend("a", 10, NOON)
    assert not day.may("a", 1, NOON)
    assert day.may("b", 10, NOON)


def test_a_day_that_is_overspent_admits_nothing() -> None:
    day = DailyBudget(10)
    day.spend("a", 11, NOON)
    assert not day.may("a", 0, NOON)


def test_without_a_limit_a_day_never_ends_early() -> None:
    day = DailyBudget(None)
    day.spend("a", 10**30, NOON)
    assert day.may("a", 10**30, NOON)


def test_a_new_day_starts_empty_at_midnight_utc() -> None:
    day = DailyBudget(10)
    midnight = datetime(2026, 3, 15, tzinfo=UTC).timestamp()
    day.spend("a", 10, midnight - 0.001)
    assert not day.may("a", 1, midnight - 0.001)
    assert day.may("a", 10, midnight)


def test_what_other_processes_spent_counts() -> None:
    day = DailyBudget(10)
    day.spend("a", 2, NOON)
    day.learn(TODAY, {"a": 7})
    assert day.spent("a", NOON) == 7


def test_what_is_not_in_the_ledger_yet_is_not_forgotten() -> None:
    day = DailyBudget(10)
    day.spend("a", 8, NOON)
    day.learn(TODAY, {"a": 3})
    assert day.spent("a", NOON) == 8


def test_what_was_spent_after_learning_is_added() -> None:
    day = DailyBudget(10)
    day.learn(TODAY, {"a": 7})
    day.spend("a", 2, NOON)
    assert day.spent("a", NOON) == 9


def test_the_ledger_of_yesterday_says_nothing_about_today() -> None:
    day = DailyBudget(10)
    day.spend("a", 2, NOON)
    day.learn(date(2026, 3, 13), {"a": 9})
    assert day.spent("a", NOON) == 2


def test_a_clock_that_is_set_back_over_midnight_empties_no_day() -> None:
    day = DailyBudget(10)
    day.spend("a", 9, NOON)
    day.spend("a", 1, NOON + DAY)
    assert (day.spent("a", NOON), day.spent("a", NOON + DAY)) == (9, 1)


def test_days_long_past_are_dropped() -> None:
    day = DailyBudget(10)
    day.spend("a", 9, NOON)
    assert day.may("a", 10, NOON + 2 * DAY)
    assert day.spent("a", NOON) == 0


@pytest.mark.parametrize("amount", [-1, nan, True])
def test_a_day_refuses_what_is_no_amount(amount: Any) -> None:
    day = DailyBudget(10)
    attempts = (
        lambda: day.may("a", amount, NOON),
        lambda: day.spend("a", amount, NOON),
        lambda: day.learn(TODAY, {"a": amount}),
        lambda: DailyBudget(amount),
    )
    for attempt in attempts:
        with pytest.raises(ValueError, match="must be a whole number of 0 or more"):
            attempt()


#: In order: this process spends, it writes all that it spent, another spends and writes, this one reads the ledger.
DAYS = st.lists(st.tuples(st.sampled_from(["spend", "write", "other", "learn"]), st.integers(0, 9)), max_size=40)


@given(DAYS)
def test_nothing_is_counted_twice_and_nothing_of_ones_own_is_missing(moves: list[tuple[str, int]]) -> None:
    day = DailyBudget(None)
    own = others = ledger = unwritten = 0
    for move, nano in moves:
        if move == "spend":
            day.spend("a", nano, NOON)
            own, unwritten = own + nano, unwritten + nano
        elif move == "write":
            ledger, unwritten = ledger + unwritten, 0
        elif move == "other":
            others, ledger = others + nano, ledger + nano
        else:
            day.learn(TODAY, {"a": ledger})
            assert day.spent("a", NOON) >= ledger
        assert own <= day.spent("a", NOON) <= own + others


def test_a_time_has_a_day_in_utc() -> None:
    assert (utc_day(0.0), utc_day(NOON)) == (date(1970, 1, 1), TODAY)
