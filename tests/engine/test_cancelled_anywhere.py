"""Cancelled at every single step of the event loop: nothing is left of a call, wherever it was.

No task, no slot, no orphan, no reservation, no permit of a half-open breaker, no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest

from rollout import WAIT, Branch, Breaker, Budget, Call, FanOut, FanOutFailed, Hedge, Parts, Reserve, Retry
from rollout.context import RunContext, current_run
from rollout.domain.breaker import Ending, State
from rollout.domain.budget import Account
from rollout.engine.station import Station
from rollout.engine.trial import Trial
from tests.engine.test_schedules import accounts_opened, is_settled
from tests.support.trials import World, giving, nothing_left, rollout_of, running

pytestmark = pytest.mark.looptime

MANY_STEPS = 12  # of the loop, in every one of these calls
BUDGET = Budget(latency_s=2.0, tokens=1_000, usd="0.10")
RESERVE = Reserve(tokens=10, usd="0.001")


class Fails:
    """A branch whose attempts fail so often, and then answer."""

    def __init__(self, times: int) -> None:
        self._left = times

    async def __call__(self, call: Call) -> Any:
        self._left -= 1
        if self._left % 2:
            await asyncio.sleep(0.01)  # some attempts end in their first step, some do not
        if self._left >= 0:
            raise ConnectionError
        return 1


class Slow:
    """A branch whose first attempt is slow, and the further ones are not."""

    def __init__(self) -> None:
        self._begun = 0

    async def __call__(self, call: Call) -> Any:
        self._begun += 1
        await asyncio.sleep(0.5 if self._begun == 1 else 0.05)
        return 1


def guarded() -> list[Branch]:
    """A branch for each guard there is."""
    return [
        Branch("retried", Fails(2), part="$.a", retry=Retry(attempts=4), reserve=RESERVE),
        Branch("hedged", Slow(), part="$.b", hedge=Hedge(after_s=0.02, most=2), reserve=RESERVE),
        Branch("probed", giving(1, after_s=0.03), part="$.c", breaker=Breaker(minimum=1, probes=1), reserve=RESERVE),
        Branch("late", giving(1, after_s=9), part="$.d", required=False, soft_timeout_s=0.08, hard_timeout_s=0.3),
        Branch("cheap", giving(1, after_s=0.01), part="$.e", confidence=lambda part: 0.1),
        Branch("dear", giving(2, after_s=0.02), part="$.e", after="cheap", escalate_below=0.9, reserve=RESERVE),
        Branch("at_once", giving(1), part="$.f"),
        Branch("after", giving(1, after_s=0.01), part="$.g", after=("at_once", "retried")),
    ]


async def join(call: Call, *given: Any) -> Any:
    """An aggregator that takes its time, and wants to wait for what is late."""
    parts: Parts = given[-1]
    await asyncio.sleep(0.01)
    return WAIT if parts.missing.get("late") == "soft_timeout" else {"parts": len(parts)}


def half_open(stations: Iterable[Station]) -> None:
    """The next call of each breaker is its only probe."""
    for station in stations:
        if station.circuit is not None:
            permit = station.circuit.admit(0.0)
            assert permit is not None
            station.circuit.report(permit, Ending.failure, 0.0, -station.circuit.policy.open_s)
            assert station.circuit.state is State.open


def check(stations: Iterable[Station], accounts: list[Account]) -> None:
    """Nothing is left."""
    assert accounts
    assert all(is_settled(account) for account in accounts)
    for station in stations:
        assert (station.name, station.inflight, station.orphans) == (station.name, 0, 0)
        if station.circuit is not None and station.circuit.state is State.half_open:
            assert station.circuit.admit(0.0) is not None  # the probe that was cut has given its permit back


class Steps:
    """Counts the steps in which the loop has something to run, and does something before one of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        loop: Any = asyncio.get_running_loop()
        self._step, self._ready = loop._run_once, loop._ready
        self.count = 0
        self._at: int | None = None
        self._then: Callable[[], object] = lambda: None
        patch.setattr(loop, "_run_once", self._next)

    def do(self, at: int | None, then: Callable[[], object]) -> None:
        """Before the step with this number from now on; None: never."""
        self.count, self._at, self._then = 0, at, then

    def _next(self) -> None:
        if self._ready:
            if self.count == self._at:
                self._then()
            self.count += 1
        self._step()


async def cancelled_at(steps: Steps, at: int | None, call: Callable[[], Any]) -> int:
    """Cancel a call at a step. The steps that it took."""
    task = asyncio.create_task(call())
    steps.do(at, task.cancel)
    with suppress(asyncio.CancelledError, FanOutFailed):
        await task
    return steps.count


@pytest.mark.parametrize("aggregate", [None, join])
@pytest.mark.parametrize("shadow", [False, True], ids=["live", "shadow"])
@pytest.mark.parametrize("quorum", [None, 7])
async def test_a_fan_out_on_its_own(
    shadow: bool, aggregate: Any, quorum: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    accounts = accounts_opened(monkeypatch)

    async def one(at: int | None) -> int:
        accounts.clear()
        fan_out = FanOut("all", guarded(), budget=BUDGET, aggregate=aggregate, quorum=quorum, dice=lambda: 0.5)
        of = fan_out._of_loop()
        stations = [*of.live.values(), *of.shadow.values()]
        half_open(stations)

        async def call() -> Any:
            current_run.set(RunContext("around", is_shadow=True) if shadow else None)
            return await fan_out.run()

        took = await cancelled_at(steps, at, call)
        await asyncio.sleep(0.001)
        assert len(asyncio.all_tasks()) == 1
        if at != 0:  # cancelled before it began
            check(stations, accounts)
        return took

    took = await one(None)
    assert took > MANY_STEPS
    for at in range(took + 1):
        await one(at)


@pytest.mark.parametrize("aggregate", [None, join])
async def test_a_live_request(aggregate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    accounts = accounts_opened(monkeypatch)

    async def one(at: int | None) -> int:
        accounts.clear()
        async with running(
            rollout_of(*guarded(), budget=BUDGET, aggregate=aggregate), live=everybody(), record_every_s=3600.0
        ) as world:
            half_open(world.runtime.stations())
            before = asyncio.all_tasks()
            took = await cancelled_at(steps, at, world.get)
            await asyncio.sleep(0.001)
            await nothing_left(world)
            assert asyncio.all_tasks() == before
            if at is None or at > 2:  # before that, control has not begun
                check(world.runtime.stations(), accounts)
            return took

    took = await one(None)
    assert took > MANY_STEPS
    for at in range(took + 1):
        await one(at)


@pytest.mark.parametrize("aggregate", [None, join])
async def test_a_shadow_that_the_end_of_the_process_stops(aggregate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    accounts = accounts_opened(monkeypatch)

    async def one(at: int | None) -> int:
        accounts.clear()
        async with running(rollout_of(*guarded(), budget=BUDGET, aggregate=aggregate)) as world:
            half_open(world.runtime.stations())
            before = asyncio.all_tasks()
            await world.get()
            steps.do(at, lambda: stop(world))
            await asyncio.sleep(0.2)
            took = steps.count
            await nothing_left(world)
            assert asyncio.all_tasks() == before
            check(world.runtime.stations(), accounts)
            return took

    took = await one(None)
    assert took > MANY_STEPS
    for at in range(1, took + 1):
        await one(at)


def everybody() -> dict[str, float]:
    return {branch.name: 1.0 for branch in guarded()}


def stop(world: World) -> None:
    """What the lane does with the trials under way when its time to drain is over; one that is being concluded has no
    branch under way.
    """
    for trial in list(world.runtime.lane._under_way):
        if isinstance(trial, Trial) and trial.task is None:
            trial.abandon("shutdown")
