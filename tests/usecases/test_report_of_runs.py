"""What the engine counted of guarded runs is what the report tells, through blocks and the database's own sums."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from rollout import Branch, Breaker, Budget, Call, Reserve, Retry, Store, record_usage
from rollout.domain.dispatching import Chosen
from rollout.domain.report import Report
from rollout.domain.report_values import Outcomes
from rollout.usecases import reporting
from rollout_render.page import html_report
from rollout_render.text import text_report
from tests.support.trials import World, answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime

CONTROL = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


class Flaky:
    """Fails at first, then answers, call by call."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, call: Call) -> Any:
        self.calls += 1
        attempt = self.calls
        await asyncio.sleep(0.1)
        if attempt % 2:
            raise ConnectionError
        return 1


async def stubborn(call: Call) -> Any:
    """Swallows its cancellation and goes on for ten seconds."""
    ends = asyncio.get_running_loop().time() + 10.0
    while (left := ends - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


def chosen(call: Call) -> Chosen:
    return Chosen(("a", "b", "c", "d"), "risk=low")


def guarded() -> Any:
    return rollout_of(
        Branch("a", Flaky(), part="$.a", required=False, retry=Retry(attempts=2, base_s=0.001), sla_s=0.15),
        Branch("b", stubborn, part="$.b", required=False, hard_timeout_s=0.1),
        Branch("c", giving(ValueError()), part="$.c", required=False, breaker=Breaker(minimum=1)),
        Branch("d", giving(4), part="$.d", required=False, reserve=Reserve(usd="0.02")),
        Branch("e", giving(5), part="$.e", required=False),
        control=answering(CONTROL),
        budget=Budget(latency_s=1.0, usd="0.01"),
        dispatch=chosen,
    )


async def report_of(world: World) -> Report:
    """The report once the calls have settled and are written."""
    await world.settled()
    assert world.runtime.view is not None
    await asyncio.sleep(world.runtime.view.policy.settle_s + 2.0)
    assert world.engine.recorder is not None
    assert await world.engine.recorder.write_all()
    return await reporting.report(world.backend, "profile")


def told(line: Outcomes) -> dict[str, int]:
    return {outcome: count for outcome, count in line.ended.items() if count}


async def test_a_report_tells_what_became_of_every_run_that_was_asked_for() -> None:
    async with running(guarded()) as world:
        await world.get()
        await world.settled()
        await world.get()
        report = await report_of(world)
        a, b, c, d, e = report.outcomes
        assert {line.mode for line in report.outcomes} == {"shadow"}
        assert (told(a), a.retried, a.sla_missed) == ({"ok": 2}, 2, 2)
        assert (told(b), b.orphaned) == ({"hard_timeout": 2}, 2)
        assert (told(c), c.orphaned) == ({"error": 1, "short_circuited": 1}, 0)
        assert (told(d), d.reasons) == ({"over_budget": 2}, {"over_budget": {"usd": 2}})
        assert (told(e), e.reasons) == ({"skipped": 2}, {"skipped": {"dispatch": 2}})
        assert report.dispatch == {"risk=low": 2}
        assert report.fan_out is not None
        assert report.fan_out.trials == 2
        assert report.fan_out.times == pytest.approx(1.5, abs=0.05)  # twice 0.1 s after each other, 0.1 s beside them
        for text in (text_report(report), html_report(report)):
            for said in ("2 hard timeouts", "2 orphaned now", "1 short-circuited", "2 retried", "2 usd", "risk=low"):
                assert said in text, said
        await asyncio.sleep(10.0)


async def test_what_was_orphaned_and_has_ended_since_is_not_told() -> None:
    async with running(guarded()) as world:
        await world.get()
        await world.settled()
        await asyncio.sleep(10.0)
        await world.get()
        report = await report_of(world)
        assert report.outcomes[1].orphaned == 1
        await asyncio.sleep(10.0)


async def test_live_runs_and_those_in_shadow_are_told_apart() -> None:
    async with running(guarded(), live={"a": 1.0, "c": 1.0}) as world:
        await world.get()
        report = await report_of(world)
        modes = {(line.branch, line.mode) for line in report.outcomes}
        assert modes == {("a", "live"), ("c", "live"), ("b", "shadow"), ("d", "shadow"), ("e", "shadow")}
        await asyncio.sleep(10.0)


@pytest.mark.parametrize(("kept", "month"), [(1.0, True), (0.0, False)])
async def test_a_month_is_told_of_a_model_only_where_the_calls_that_match_are_stored_too(
    kept: float, month: bool
) -> None:
    async def another(_: Call) -> int:
        record_usage(model="small", input_tokens=10, usd="0.001")
        return 2

    declared = rollout_of(
        Branch("a", another, part="$.a", required=False), control=answering(CONTROL), store=Store(sample=kept)
    )
    async with running(declared) as world:
        for _ in range(3):
            await world.get()
        (found,) = (await report_of(world)).models
        assert found.per_run_usd == Decimal("0.001")
        assert (found.month_usd is not None) == month
