"""A further attempt beside one that is slow: who wins, who holds what, and what it may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rollout import Branch, Budget, Call, FanOut, FanOutFailed, Hedge, Reserve, Retry, record_usage
from tests.engine.test_schedules import accounts_opened, is_settled
from tests.test_fan_out import counted, held, now, stubborn

pytestmark = pytest.mark.looptime

AT_ONCE = Hedge(after_s=0.01)


def attempts(*each: Callable[[Call], Any]) -> Callable[[Call], Any]:
    """A branch whose attempts are these, in turn."""
    left = list(each)

    async def run(call: Call) -> Any:
        return await left.pop(0)(call)

    return run


def part(value: Any, after_s: float) -> Callable[[Call], Any]:
    async def run(call: Call) -> Any:
        await asyncio.sleep(after_s)
        if isinstance(value, BaseException):
            raise value
        return value

    return run


def hedged(*each: Callable[[Call], Any], hedge: Hedge = AT_ONCE, **declared: Any) -> FanOut:
    budget = declared.pop("budget", Budget())
    return FanOut("one", [Branch("a", attempts(*each), hedge=hedge, **declared)], budget=budget)


async def test_the_first_success_wins_and_the_loser_holds_its_slot_until_it_ends() -> None:
    fan_out = hedged(stubborn(0.5), part("second", 0.01))
    answer = await fan_out.run()
    assert (answer.value, answer.runs["a"].attempts) == ({"a": "second"}, 2)
    assert now() < 0.04
    assert held(fan_out) == (1, 1)
    await asyncio.sleep(0.45)
    assert held(fan_out) == (1, 1)
    await asyncio.sleep(0.1)
    assert held(fan_out) == (0, 0)
    assert fan_out.counts()["a", "live"]["hedged"] == 1


async def test_the_first_attempt_may_win_too() -> None:
    fan_out = hedged(part("first", 0.02), stubborn(0.5))
    assert (await fan_out.run()).value == {"a": "first"}
    assert now() < 0.04
    assert held(fan_out) == (1, 1)
    await asyncio.sleep(1)
    assert held(fan_out) == (0, 0)


async def test_a_quick_success_is_not_hedged() -> None:
    fan_out = hedged(part("first", 0.005))
    assert (await fan_out.run()).runs["a"].attempts == 1


@pytest.mark.parametrize("failure", [ValueError(), SystemExit(3), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("order", [(0.02, 0.1), (0.2, 0.01)])
async def test_an_error_of_one_does_not_end_the_run_while_the_other_is_alive(
    failure: BaseException, order: Sequence[float]
) -> None:
    first, second = (part(failure, order[0]), part("won", order[1]))
    if order[0] > order[1]:
        first, second = (part("won", order[0]), part(failure, order[1]))
    fan_out = hedged(first, second)
    assert (await fan_out.run()).value == {"a": "won"}
    assert held(fan_out) == (0, 0)


async def test_where_every_attempt_fails_the_last_error_is_the_run_s() -> None:
    last = ValueError("second")
    fan_out = hedged(part(ValueError("first"), 0.02), part(last, 0.1))
    with pytest.raises(FanOutFailed) as raised:
        await fan_out.run()
    assert raised.value.__cause__ is last
    assert counted(fan_out, "a") == {"error": 1}
    assert held(fan_out) == (0, 0)


async def test_each_of_several_hedges_waits_for_its_own_delay() -> None:
    begun: list[float] = []

    async def run(call: Call) -> Any:
        begun.append(now())
        await asyncio.sleep(9)

    fan_out = hedged(run, run, run, run, hedge=Hedge(after_s=0.1, most=2), hard_timeout_s=1.0)
    with pytest.raises(FanOutFailed):
        await fan_out.run()
    assert begun == pytest.approx([0.0, 0.1, 0.2], abs=0.001)
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)


async def test_without_enough_successes_there_is_no_hedge_and_then_it_follows_the_quantile() -> None:
    takes = [0.1] * 20 + [5.0, 0.01]

    async def run(call: Call) -> Any:
        await asyncio.sleep(takes.pop(0))
        return 1

    fan_out = FanOut("one", [Branch("a", run, hedge=Hedge(minimum=20))])
    for _ in range(20):
        assert (await fan_out.run()).runs["a"].attempts == 1
    begun = now()
    assert (await fan_out.run()).runs["a"].attempts == 2
    assert now() - begun == pytest.approx(0.11, rel=0.05)


async def test_an_exhausted_budget_does_not_fail_the_call() -> None:
    fan_out = hedged(part("slow", 0.2), hedge=AT_ONCE, retry=Retry(attempts=1, budget=0.0, per_s=0.0))
    answer = await fan_out.run()
    assert (answer.value, answer.runs["a"].attempts) == ({"a": "slow"}, 1)


async def test_a_hedge_needs_a_slot_of_its_own() -> None:
    fan_out = hedged(part("slow", 0.2), max_concurrency=1)
    answer = await fan_out.run()
    assert (answer.value, answer.runs["a"].attempts) == ({"a": "slow"}, 1)


@pytest.mark.parametrize(("usd", "expected"), [("0.03", 1), ("0.04", 2)])
async def test_a_hedge_reserves_too(usd: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = accounts_opened(monkeypatch)
    reserve = Reserve(usd="0.02")
    fan_out = hedged(part("slow", 0.2), part("slow too", 0.3), reserve=reserve, budget=Budget(usd=usd))
    answer = await fan_out.run()
    assert (answer.value, answer.runs["a"].attempts) == ({"a": "slow"}, expected)
    assert is_settled(accounts[0])


async def test_what_the_loser_had_reserved_is_spent_as_nobody_knows_what_it_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = accounts_opened(monkeypatch)

    async def paid(call: Call) -> Any:
        await asyncio.sleep(0.01)
        record_usage(input_tokens=5, usd="0.005")
        return "second"

    fan_out = hedged(part("slow", 9), paid, reserve=Reserve(tokens=10, usd="0.02"), budget=Budget(usd=1, tokens=100))
    await fan_out.run()
    (account,) = accounts
    assert (account.spent_nano, account.spent_tokens, account.unknown) == (25_000_000, 15, 1)
    assert is_settled(account)


async def test_a_hedge_that_is_cut_before_its_first_step_leaves_no_slot() -> None:
    """The winner ends in the very step in which the hedge was made."""
    fan_out = hedged(part("first", 0.01), part("second", 9), hedge=Hedge(after_s=0.01))
    assert (await fan_out.run()).value == {"a": "first"}
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)
    assert len(asyncio.all_tasks()) == 1
