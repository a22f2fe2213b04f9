"""Attempts after attempts: when there is another, how long it waits, and what it draws on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rollout import Branch, Budget, Call, FanOut, FanOutFailed, Reserve, Retry, record_usage
from rollout.domain.retry import was_retried
from tests.engine.test_schedules import accounts_opened, is_settled
from tests.support.trials import giving
from tests.test_fan_out import held, now, stubborn

pytestmark = pytest.mark.looptime


class Busy(Exception):
    """A reply that asks to come again later."""

    def __init__(self, status: int, after: str | None = None) -> None:
        self.status = status
        self.headers = {} if after is None else {"retry-after": after}


class Failing:
    """A branch whose attempts raise these, in turn, and then answer. ``at``: when each began."""

    def __init__(self, *errors: BaseException, takes_s: float = 0.0) -> None:
        self._errors = list(errors)
        self._takes_s = takes_s
        self.at: list[float] = []

    async def __call__(self, call: Call) -> Any:
        self.at.append(now())
        if self._takes_s:
            await asyncio.sleep(self._takes_s)
        if self._errors:
            raise self._errors.pop(0)
        return "ok"


def retried(branch: Callable[[Call], Any], retry: Retry, dice: float = 0.5, **declared: Any) -> FanOut:
    budget = declared.pop("budget", Budget())
    return FanOut("one", [Branch("a", branch, retry=retry, **declared)], budget=budget, dice=lambda: dice)


@pytest.mark.parametrize("takes_s", [0.0, 0.1])
async def test_a_transient_error_is_tried_again_after_a_wait_of_full_jitter(takes_s: float) -> None:
    branch = Failing(ConnectionError(), Busy(503), takes_s=takes_s)
    fan_out = retried(branch, Retry(attempts=3, base_s=0.2))
    answer = await fan_out.run()
    assert (answer.value, answer.runs["a"].attempts) == ({"a": "ok"}, 3)
    waits = [later - sooner - takes_s for sooner, later in zip(branch.at, branch.at[1:], strict=False)]
    assert waits == pytest.approx([0.1, 0.2], abs=0.001)
    assert fan_out.counts()["a", "live"]["retried"] == 2
    assert held(fan_out) == (0, 0)


@pytest.mark.parametrize("failure", [ValueError(), Busy(404), asyncio.CancelledError(), SystemExit(1)], ids=repr)
async def test_what_is_not_transient_is_not_tried_again(failure: BaseException) -> None:
    branch = Failing(failure)
    with pytest.raises(FanOutFailed) as raised:
        await retried(branch, Retry(attempts=3)).run()
    assert len(branch.at) == 1
    assert raised.value.__cause__ is failure


async def test_when_the_attempts_are_over_the_last_error_is_the_run_s() -> None:
    last = ConnectionError("third")
    branch = Failing(ConnectionError(), ConnectionError(), last)
    with pytest.raises(FanOutFailed) as raised:
        await retried(branch, Retry(attempts=3)).run()
    assert raised.value.__cause__ is last
    assert raised.value.runs["a"].attempts == 3


async def test_retry_after_is_waited_for() -> None:
    branch = Failing(Busy(429, "2"))
    await retried(branch, Retry(), dice=0.0).run()
    assert branch.at[1] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("limit", [{"budget": Budget(latency_s=1.2)}, {"hard_timeout_s": 1.2}], ids=str)
async def test_a_retry_after_beyond_the_end_fails_now(limit: dict[str, Any]) -> None:
    branch = Failing(Busy(503, "2"))
    with pytest.raises(FanOutFailed, match="ended as error"):
        await retried(branch, Retry(), **limit).run()
    assert now() < 0.01


async def test_one_attempt_has_its_own_limit_and_a_late_one_is_transient() -> None:
    async def run(call: Call) -> Any:
        begun.append(now())
        await asyncio.sleep(9 if len(begun) == 1 else 0.1)
        return "ok"

    begun: list[float] = []
    answer = await retried(run, Retry(attempt_timeout_s=0.5), dice=0.0).run()
    assert (answer.value, begun) == ({"a": "ok"}, [0.0, pytest.approx(0.5, abs=0.01)])


async def test_the_retry_budget_is_shared_by_the_calls_of_a_branch() -> None:
    async def run(call: Call) -> Any:
        asked.append(1)
        raise ConnectionError

    asked: list[int] = []
    fan_out = retried(run, Retry(attempts=2, budget=0.2, per_s=0.0))
    for _ in range(100):
        with pytest.raises(FanOutFailed):
            await fan_out.run()
    assert len(asked) == 120


@pytest.mark.parametrize(("usd", "expected"), [("0.03", 1), ("0.04", 2)])
async def test_a_retry_reserves_too_and_what_is_refused_no_layer_above_tries_again(
    usd: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = accounts_opened(monkeypatch)

    async def run(call: Call) -> Any:
        record_usage(input_tokens=1, usd="0.02")
        await asyncio.sleep(0.01)
        raise failure

    failure = ConnectionError()
    with pytest.raises(FanOutFailed) as raised:
        await retried(run, Retry(attempts=2), reserve=Reserve(usd="0.02"), budget=Budget(usd=usd)).run()
    assert raised.value.runs["a"].attempts == expected
    assert was_retried(failure)
    assert accounts[0].spent_nano == expected * 20_000_000
    assert is_settled(accounts[0])


@pytest.mark.parametrize("takes_s", [0.0, 0.1], ids=["in its first step", "later"])
async def test_a_run_that_is_cut_while_it_waits_for_its_next_attempt_leaves_no_slot(takes_s: float) -> None:
    branch = Failing(ConnectionError(), takes_s=takes_s)
    fan_out = retried(branch, Retry(base_s=1.0))
    task = asyncio.create_task(fan_out.run())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert len(branch.at) == 1
    assert held(fan_out) == (0, 0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_retry_that_is_cut_before_its_task_begins_leaves_no_slot() -> None:
    """One branch fails in its first step and is to be tried again; in the same step the quorum is reached."""
    branches = [
        Branch("a", Failing(ConnectionError()), retry=Retry()),
        Branch("b", giving(1)),
    ]
    fan_out = FanOut("two", branches, quorum=1)
    assert (await fan_out.run()).value == {"b": 1}
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)
    assert len(asyncio.all_tasks()) == 1


async def test_the_attempts_of_a_run_share_one_slot() -> None:
    fan_out = retried(Failing(ConnectionError(), takes_s=0.1), Retry(base_s=0.0), max_concurrency=1)
    assert (await fan_out.run()).value == {"a": "ok"}


async def test_an_attempt_that_ignores_its_limit_is_cut_with_the_run() -> None:
    fan_out = retried(stubborn(5), Retry(attempt_timeout_s=0.1), hard_timeout_s=0.5)
    with pytest.raises(FanOutFailed, match="hard_timeout"):
        await fan_out.run()
    assert now() == pytest.approx(0.5, abs=0.01)
    assert held(fan_out) == (1, 1)
    await asyncio.sleep(5)
    assert held(fan_out) == (0, 0)
