"""``FanOut.run`` from any asyncio program: what comes of a call, when, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rollout import (
    WAIT,
    Branch,
    Breaker,
    Budget,
    Call,
    DeclarationError,
    FanOut,
    FanOutFailed,
    Parts,
    in_shadow,
    record_usage,
)
from rollout.context import RunContext, current_run
from rollout.domain.outcomes import RunOutcome
from tests.support.trials import giving

Run = Callable[[Call], Awaitable[Any]]


def stubborn(seconds: float) -> Run:
    """A body that ignores its cancellation for so long."""

    async def run(call: Call) -> Any:
        ends = now() + seconds
        while (left := ends - now()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        return "too late"

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def held(fan_out: FanOut) -> tuple[int, int]:
    """Slots that are taken, and orphans, of all branches, live and in shadow."""
    of = fan_out._of_loop()
    stations = [*of.live.values(), *of.shadow.values()]
    return sum(station.inflight for station in stations), sum(station.orphans for station in stations)


def counted(fan_out: FanOut, branch: str, mode: str = "live") -> dict[str, int]:
    """How the runs of a branch ended."""
    counts = fan_out.counts().get((branch, mode), {})
    return {name.removeprefix("outcome:"): count for name, count in counts.items() if name.startswith("outcome:")}


# What comes of it


@pytest.mark.looptime
async def test_without_an_aggregator_the_answer_is_the_parts_by_name() -> None:
    fan_out = FanOut("search", [Branch("a", giving(1, after_s=0.2)), Branch("b", giving(2, after_s=0.3))])
    answer = await fan_out.run("shoes")
    assert answer.value == {"a": 1, "b": 2}
    assert answer.is_complete
    assert answer.latency_s == pytest.approx(0.3, abs=0.01)
    assert answer.work_s == pytest.approx(0.5, abs=0.01)
    assert {name: (run.outcome, run.attempts) for name, run in answer.runs.items()} == {"a": ("ok", 1), "b": ("ok", 1)}


@pytest.mark.looptime
async def test_an_aggregator_gets_the_call_and_the_parts_and_may_be_async() -> None:
    async def join(call: Call, parts: Parts) -> Any:
        await asyncio.sleep(0.1)
        return f"{call.value}: {sorted(parts.items())}"

    fan_out = FanOut("search", [Branch("a", giving(1))], aggregate=join)
    assert (await fan_out.run("shoes")).value == "shoes: [('a', 1)]"


@pytest.mark.looptime
async def test_an_optional_failure_is_named_and_the_rest_is_the_answer() -> None:
    fan_out = FanOut("search", [Branch("a", giving(ValueError("no")), required=False), Branch("b", giving(2))])
    answer = await fan_out.run()
    assert (answer.value, dict(answer.parts.missing)) == ({"b": 2}, {"a": "error"})
    assert not answer.is_complete
    assert isinstance(answer.runs["a"].error, ValueError)


@pytest.mark.looptime
async def test_a_required_failure_is_told_at_once_with_its_cause_and_cuts_the_rest() -> None:
    failure = ValueError("no")
    fan_out = FanOut("search", [Branch("a", giving(failure, after_s=0.1)), Branch("b", giving(2, after_s=9))])
    with pytest.raises(FanOutFailed, match="branch a ended as error") as raised:
        await fan_out.run()
    assert now() == pytest.approx(0.1, abs=0.01)
    assert raised.value.__cause__ is failure
    assert {name: run.outcome for name, run in raised.value.runs.items()} == {"a": "error", "b": "cancelled"}
    assert all(run.latency_s >= 0 for run in raised.value.runs.values())
    assert dict(raised.value.parts.missing) == {"a": "error", "b": "cancelled"}
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)


@pytest.mark.looptime
@pytest.mark.parametrize("failure", [ValueError("no"), SystemExit(3), asyncio.CancelledError()])
async def test_an_aggregator_that_raises_is_the_cause_and_cuts_what_is_late(failure: BaseException) -> None:
    def join(call: Call, parts: Parts) -> Any:
        raise failure

    late = Branch("b", giving(2, after_s=9), required=False, soft_timeout_s=0.1)
    fan_out = FanOut("search", [Branch("a", giving(1)), late], aggregate=join)
    with pytest.raises(FanOutFailed, match="aggregator raised") as raised:
        await fan_out.run()
    cause = raised.value.__cause__
    assert failure in (cause, cause.__cause__ if cause is not None else None)
    assert counted(fan_out, "b") == {"cancelled": 1}
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)


@pytest.mark.looptime
async def test_an_aggregator_that_is_late_is_cut_at_the_deadline_though_it_minds_no_cancellation() -> None:
    async def join(call: Call, parts: Parts) -> Any:
        return await stubborn(0.5)(call)

    fan_out = FanOut("search", [Branch("a", giving(1))], aggregate=join, budget=Budget(latency_s=0.02))
    with pytest.raises(FanOutFailed, match="deadline"):
        await fan_out.run()
    assert now() < 0.04
    await asyncio.sleep(1)


@pytest.mark.looptime
async def test_an_aggregator_that_waits_for_nothing_fails() -> None:
    fan_out = FanOut("search", [Branch("a", giving(1))], aggregate=lambda call, parts: WAIT)
    with pytest.raises(FanOutFailed, match="none is under way"):
        await fan_out.run()


# When


@pytest.mark.looptime
async def test_the_budget_s_latency_is_the_deadline() -> None:
    fan_out = FanOut("search", [Branch("a", giving(1, after_s=9))], budget=Budget(latency_s=0.5))
    with pytest.raises(FanOutFailed, match="hard_timeout"):
        await fan_out.run()
    assert now() == pytest.approx(0.5, abs=0.01)


@pytest.mark.looptime
async def test_a_sooner_deadline_of_the_call_counts() -> None:
    fan_out = FanOut("search", [Branch("a", stubborn(9))], budget=Budget(latency_s=5))
    with pytest.raises(FanOutFailed, match="hard_timeout"):
        await fan_out.run(Call.of_value(1).with_(deadline=now() + 0.5, clock=now))
    assert now() == pytest.approx(0.5, abs=0.01)
    await asyncio.sleep(10)
    assert held(fan_out) == (0, 0)


@pytest.mark.looptime
async def test_a_call_whose_time_is_over_runs_nothing_for_long() -> None:
    fan_out = FanOut("search", [Branch("a", giving(1, after_s=1))])
    with pytest.raises(FanOutFailed, match="hard_timeout"):
        await fan_out.run(Call.of_value(1).with_(deadline=now() - 1, clock=now))
    assert now() < 0.01


@pytest.mark.looptime
async def test_a_fan_out_below_another_has_its_deadline() -> None:
    seen: list[float | None] = []

    async def look(call: Call) -> Any:
        seen.append(call.remaining_s)

    inner = FanOut("inner", [Branch("a", look)], budget=Budget(latency_s=10))

    async def below(call: Call) -> Any:
        await asyncio.sleep(0.5)
        return (await inner.run()).value

    await FanOut("outer", [Branch("x", below)], budget=Budget(latency_s=2)).run()
    assert seen == [pytest.approx(1.5, abs=0.01)]


# What is left


@pytest.mark.looptime
async def test_the_first_of_two_is_answered_at_once_although_the_other_ignores_its_cancellation() -> None:
    fan_out = FanOut("search", [Branch("a", giving(1, after_s=0.02)), Branch("b", stubborn(0.5))], quorum=1)
    answer = await fan_out.run()
    assert (answer.value, answer.runs["b"].outcome) == ({"a": 1}, "cancelled")
    assert now() < 0.04
    assert held(fan_out) == (1, 1)
    await asyncio.sleep(0.4)
    assert held(fan_out) == (1, 1)
    await asyncio.sleep(0.1)
    assert held(fan_out) == (0, 0)
    assert counted(fan_out, "b") == {"cancelled": 1}


@pytest.mark.looptime
async def test_a_caller_that_goes_away_while_the_aggregator_works_is_no_slowness_of_a_branch() -> None:
    async def join(call: Call, parts: Parts) -> Any:
        await asyncio.sleep(5)

    late = Branch("b", giving(2, after_s=9), required=False, soft_timeout_s=0.1, breaker=Breaker(minimum=1))
    fan_out = FanOut("search", [Branch("a", giving(1)), late], aggregate=join)
    task = asyncio.create_task(fan_out.run())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(fan_out, "b") == {"cancelled": 1}
    await asyncio.sleep(0)
    assert held(fan_out) == (0, 0)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.looptime
async def test_a_run_below_a_shadow_is_a_shadow_with_slots_of_its_own() -> None:
    seen: list[tuple[bool, bool]] = []

    async def look(call: Call) -> Any:
        seen.append((call.is_shadow, in_shadow()))
        await asyncio.sleep(1)

    fan_out = FanOut("search", [Branch("a", look, max_concurrency=1)])

    async def shadowed() -> None:
        current_run.set(RunContext("profile", is_shadow=True))
        await fan_out.run()

    await asyncio.gather(shadowed(), fan_out.run())
    assert seen == [(True, True), (False, False)]
    assert (counted(fan_out, "a", "shadow"), counted(fan_out, "a")) == ({"ok": 1}, {"ok": 1})


def test_each_event_loop_has_slots_of_its_own_and_a_closed_one_is_let_go_of() -> None:
    fan_out = FanOut("search", [Branch("a", stubborn(0), max_concurrency=1)])

    async def once() -> tuple[Any, weakref.ref[asyncio.AbstractEventLoop]]:
        return (await fan_out.run()).value, weakref.ref(asyncio.get_running_loop())

    _, first = asyncio.run(once())
    for _ in range(2):
        value, _ = asyncio.run(once())
        assert value == {"a": "too late"}
    gc.collect()
    assert first() is None


@pytest.mark.looptime
async def test_three_hundred_branches_may_all_be_late_or_cut_at_once() -> None:
    """What ends in a row must not end inside one another: Python allows some thousand frames."""
    late = [Branch(f"b{n}", giving(n, after_s=9), required=False, soft_timeout_s=0.1) for n in range(300)]
    answer = await FanOut("late", [Branch("a", giving(1)), *late]).run()
    assert answer.value == {"a": 1}
    first = [Branch(f"b{n}", giving(n, after_s=1 + n)) for n in range(300)]
    assert (await FanOut("first", first, quorum=1).run()).value == {"b0": 0}


@pytest.mark.looptime
async def test_three_hundred_branches_in_a_row_may_all_be_skipped() -> None:
    row = [Branch("b0", giving(0), when=lambda call: False)]
    row += [Branch(f"b{n}", giving(n), after=f"b{n - 1}") for n in range(1, 300)]
    answer = await FanOut("row", row).run()
    assert {run.outcome for run in answer.runs.values()} == {"skipped"}
    assert len(answer.runs) == 300


# Mistakes


@pytest.mark.looptime
async def test_who_is_told_of_failed_hooks_may_fail_too() -> None:
    told: list[str] = []

    def tell(hook: str, error: BaseException) -> None:
        told.append(hook)
        raise RuntimeError("the pager is down")

    branch = Branch("a", giving(1), meter=lambda part: 1 / 0)  # type: ignore[arg-type, return-value]
    fan_out = FanOut("search", [branch], on_hook_failure=tell)
    assert (await fan_out.run()).value == {"a": 1}
    assert told == ["meter"]
    assert fan_out.hook_failures == {"meter": 1, "on_hook_failure": 1}


def test_every_mistake_is_told_in_one_error() -> None:
    with pytest.raises(DeclarationError) as raised:
        FanOut("2nd", [Branch("a", giving(1)), Branch("a", giving(2)), Branch("b", giving(3), after="ghost")], quorum=4)
    told = str(raised.value)
    for said in ("the name is not usable", 'two branches are called "a"', "ghost", "quorum is 4 of 3 branches"):
        assert said in told


@pytest.mark.parametrize("tracing", [True, "otel", object])
def test_what_makes_no_spans_is_told_before_it_meets_a_call(tracing: Any) -> None:
    with pytest.raises(DeclarationError, match="which makes no spans"):
        FanOut("search", [Branch("a", giving(1))], tracing=tracing)


@pytest.mark.parametrize("branches", [None, "ab", 7, Branch("a", giving(1)), []])
def test_branches_that_are_no_list_of_branches_are_told(branches: Any) -> None:
    with pytest.raises(DeclarationError):
        FanOut("search", branches)


@pytest.mark.looptime
async def test_an_outcome_is_one_of_the_list() -> None:
    fan_out = FanOut("search", [Branch("a", giving(1)), Branch("b", giving(ValueError()), required=False)])
    assert {RunOutcome(run.outcome) for run in (await fan_out.run()).runs.values()} == {"ok", "error"}


async def test_what_an_inner_fan_out_uses_is_used_by_the_run_around_it() -> None:
    async def model(call: Call) -> str:
        record_usage(input_tokens=100, output_tokens=10, model="small", usd="0.01")
        return "said"

    inner = FanOut("inner", [Branch("x", model), Branch("y", model)])

    async def asks(call: Call) -> Any:
        return (await inner.run(call)).value

    answer = await FanOut("outer", [Branch("z", asks)]).run("?")
    usage = answer.runs["z"].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cost) == (200, 20, 20_000_000)
