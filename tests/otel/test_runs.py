"""Spans of runs that end in every way there is, in virtual time: over when the run is, and saying how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from rollout import Branch, Breaker, Budget, Call, FanOut, FanOutFailed, Hedge, Retry, Shadow
from rollout.engine.trial import Trial
from tests.otel.traced import Traces, about, seconds, told
from tests.support.trials import Request, World, answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime

LIVE = {"a": 1.0}


async def one_call(traces: Traces, *branches: Branch, live: dict[str, float] | None = LIVE, **declared: Any) -> World:
    """One call of a rollout with these branches, and its shadow, to the end."""
    async with running(rollout_of(*branches, **declared), live=live, tracing=traces.tracing) as world:
        await world.get()
        await world.settled()
    return world


async def test_a_span_lasts_as_long_as_what_it_stands_for(traces: Traces) -> None:
    quick, slow = Branch("a", giving(1, after_s=0.5), part="$.a"), Branch("b", giving(2, after_s=1.5), part="$.b")
    control = answering({"a": 1, "b": 2}, after_s=1.0)
    await one_call(traces, quick, slow, control=control, live={"a": 1.0, "b": 1.0}, shadow=Shadow(sample=0.0))
    lengths = {span.name: round(seconds(span), 3) for span in traces.spans}
    assert lengths == {
        "call profile": 1.5,
        "control profile": 1.0,
        "fan_out profile": 1.5,
        "branch a": 0.5,
        "branch b": 1.5,
    }


async def test_where_nobody_traces_a_trial_is_a_plain_one() -> None:
    async with running(rollout_of()) as world:
        admitted = world.runtime.admit(Request(headers={"X-User-Id": "alice"}), world.runtime.time())
        assert type(admitted) is Trial
        await admitted.serve(world.control)
        await world.settled()


async def test_what_is_traced_is_counted_as_ever(traces: Traces) -> None:
    world = await one_call(traces, live=None)
    assert world.engine.metrics().branches[("profile", "a", "shadow")].counts["outcome:ok"] == 1


async def test_the_flag_of_a_call_whose_body_comes_first_is_told_once(traces: Traces) -> None:
    async with running(rollout_of(), live=LIVE, tracing=traces.tracing) as world:
        await world.get(body=b"{}", pace_s=0.5)
    assert [event.name for event in traces.one("call profile").events] == ["feature_flag.evaluation"]


async def test_a_shadow_that_is_refused_is_said_on_the_request(traces: Traces) -> None:
    await one_call(traces, live=None, shadow=Shadow(max_bytes=1))
    assert traces.names == ["call profile", "control profile"]
    assert about(traces.one("call profile"))["rolloutkit.shadow.refused"] == "bytes"


@pytest.mark.parametrize(("live", "status"), [(LIVE, StatusCode.ERROR), (None, StatusCode.UNSET)])
async def test_a_run_that_is_cut_ends_there_though_its_orphan_goes_on(
    traces: Traces, live: dict[str, float] | None, status: StatusCode
) -> None:
    current: list[trace.Span] = []

    async def stubborn(call: Call) -> Any:
        try:
            await asyncio.sleep(9.0)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            current.append(trace.get_current_span())
        return 1

    await one_call(traces, Branch("a", stubborn, part="$.a", hard_timeout_s=0.5), live=live)
    branch = traces.one("branch a")
    assert about(branch)["rolloutkit.branch.outcome"] == "hard_timeout"
    assert about(branch)["error.type"] == "BranchTimeout"
    assert branch.status.status_code is status
    assert round(seconds(branch), 3) == 0.5
    assert [span.get_span_context() for span in current] == [branch.context]


async def test_a_run_that_is_cut_softly_is_no_error(traces: Traces) -> None:
    late = Branch("b", giving(2, after_s=9.0), part="$.b", soft_timeout_s=0.5, required=False)
    await one_call(traces, Branch("a", giving(1), part="$.a"), late, live={"a": 1.0, "b": 1.0})
    branch = traces.one("branch b")
    assert about(branch)["rolloutkit.branch.outcome"] == "soft_timeout"
    assert branch.status.status_code is StatusCode.UNSET
    assert round(seconds(branch), 3) == 0.5


async def test_a_caller_who_goes_away_cancels_and_nothing_is_an_error(traces: Traces) -> None:
    rollout = rollout_of(
        Branch("a", giving(1, after_s=9.0), part="$.a"),
        control=answering({"a": 1}, after_s=9.0),
        budget=Budget(latency_s=60.0),
    )
    async with running(rollout, live=LIVE, tracing=traces.tracing) as world:
        call = asyncio.create_task(world.get())
        await asyncio.sleep(0.5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
    assert about(traces.one("branch a"))["rolloutkit.branch.outcome"] == "cancelled"
    assert {span.status.status_code for span in traces.spans} == {StatusCode.UNSET}
    assert {round(seconds(span), 3) for span in traces.spans} == {0.5}
    assert traces.names == ["branch a", "call profile", "control profile", "fan_out profile"]


@pytest.mark.parametrize("join", ["overlay", "replace"])
async def test_a_call_that_is_cancelled_at_any_moment_leaves_no_span_open(traces: Traces, join: str) -> None:
    async def looks(call: Call) -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return {"a": 1}

    async def aggregate(call: Call, control: Any, parts: Any) -> Any:
        await asyncio.sleep(0)
        return parts["a"]

    branch = Branch("a", looks, part="$", hedge=Hedge(after_s=0.0), retry=Retry(attempts=2))
    before = trace.get_current_span()
    async with running(rollout_of(branch, join=join, aggregate=aggregate), live=LIVE, tracing=traces.tracing) as world:
        for moment in range(25):
            call = asyncio.create_task(world.get())
            for _ in range(moment):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await world.settled()
            assert trace.get_current_span() is before
        assert not call.cancelled()  # the last ones came too late
        assert "hook:tracing" not in world.funnel.counts
    assert traces.open == 0
    assert len([span for span in traces.spans if span.name == "call profile"]) >= 24


async def test_a_shadow_that_the_shutdown_stops_ends_with_it(traces: Traces) -> None:
    rollout = rollout_of(Branch("a", giving(1, after_s=9.0), part="$.a"), budget=Budget(latency_s=60.0))
    async with running(rollout, tracing=traces.tracing) as world:
        await world.get()
        await asyncio.sleep(0.1)
    assert about(traces.one("branch a"))["rolloutkit.branch.outcome"] == "shutdown"
    assert "rolloutkit.comparison.outcome" not in about(traces.one("shadow profile"))


async def test_a_retry_is_an_event_of_the_run_and_its_attempts_are_below_it(traces: Traces) -> None:
    parts = iter([ConnectionError("a secret"), 1])
    seen: list[trace.Span] = []

    async def flaky(call: Call) -> Any:
        seen.append(trace.get_current_span())
        part = next(parts)
        if isinstance(part, Exception):
            raise part
        return part

    await one_call(traces, Branch("a", flaky, part="$.a", retry=Retry(attempts=3)))
    branch = traces.one("branch a")
    assert about(branch)["rolloutkit.branch.attempts"] == 2
    assert branch.status.status_code is StatusCode.UNSET
    event = told(branch)["rolloutkit.branch.retry"]
    assert event["rolloutkit.branch.attempt"] == 2
    assert event["error.type"] == "ConnectionError"
    assert [span.get_span_context() for span in seen] == [branch.context] * 2
    assert "a secret" not in traces.text()


async def test_a_hedge_is_an_event_of_the_run(traces: Traces) -> None:
    delays = iter([9.0, 0.1])

    async def slow(call: Call) -> Any:
        await asyncio.sleep(next(delays))
        return 1

    await one_call(traces, Branch("a", slow, part="$.a", hedge=Hedge(after_s=0.5)), budget=Budget(latency_s=60.0))
    branch = traces.one("branch a")
    assert told(branch) == {"rolloutkit.branch.hedge": {"rolloutkit.branch.attempt": 2}}
    assert about(branch)["rolloutkit.branch.hedges"] == 1
    assert round(seconds(branch), 3) == 0.6


def refusing(name: str) -> Branch:
    """A branch that does not begin in the second call, for the reason named."""
    run = giving(RuntimeError())
    if name == "skipped":
        return Branch("a", run, part="$.a", when=lambda call: False)
    return Branch("a", run, part="$.a", breaker=Breaker(minimum=1, failure_rate=0.01))


@pytest.mark.parametrize(("outcome", "reason"), [("skipped", "when"), ("short_circuited", None)])
async def test_a_run_that_did_not_begin_is_an_event_of_the_fan_out(
    traces: Traces, outcome: str, reason: str | None
) -> None:
    async with running(rollout_of(refusing(outcome)), live=LIVE, tracing=traces.tracing) as world:
        await world.get()
        await world.get()
    *_, fan_out = [span for span in traces.spans if span.name == "fan_out profile"]
    expected = {"rolloutkit.branch.name": "a", "rolloutkit.branch.outcome": outcome, "rolloutkit.branch.reason": reason}
    assert told(fan_out) == {
        "rolloutkit.branch.not_run": {name: value for name, value in expected.items() if value is not None}
    }
    assert "branch a" not in traces.names or outcome == "short_circuited"


async def test_a_branch_that_comes_after_another_is_beside_it(traces: Traces) -> None:
    branches = [Branch("a", giving(1), part="$.a"), Branch("b", giving(2, after_s=0.1), part="$.b", after="a")]
    await one_call(traces, *branches, live={"a": 1.0, "b": 1.0})
    assert traces.above("branch b") == traces.above("branch a") == ["fan_out profile", "call profile"]


async def test_control_is_a_span_only_where_it_ran(traces: Traces) -> None:
    rollout = rollout_of(Branch("a", giving({"a": 1}), part="$"), join="replace", shadow=Shadow(reverse=0.0, noise=0.0))
    async with running(rollout, live=LIVE, tracing=traces.tracing) as world:
        await world.get()
        await world.settled()
    assert traces.names == ["branch a", "call profile", "fan_out profile"]


async def test_the_control_of_a_reverse_shadow_is_in_the_shadow_s_trace(traces: Traces) -> None:
    rollout = rollout_of(
        Branch("a", giving({"a": 1}), part="$"),
        control=answering({"a": 1}, status=500),
        join="replace",
        shadow=Shadow(reverse=1.0, noise=0.0),
    )
    async with running(rollout, live=LIVE, tracing=traces.tracing) as world:
        await world.get()
        await world.settled()
    assert traces.above("control profile") == ["shadow profile"]
    assert traces.one("control profile").status.status_code is StatusCode.UNSET
    assert about(traces.one("control profile"))["error.type"] == "500"


async def test_a_fan_out_on_its_own_is_below_the_span_it_is_run_in(traces: Traces) -> None:
    search = FanOut("search", [Branch("shop", giving([1])), Branch("docs", giving([2]))], tracing=traces.tracing)
    with traces.tracer.start_as_current_span("job"):
        await search.run("query")
        assert trace.get_current_span() is not trace.INVALID_SPAN
    assert traces.above("branch shop") == traces.above("branch docs") == ["fan_out search", "job"]


async def test_a_fan_out_that_fails_says_whose_fault_it_is(traces: Traces) -> None:
    search = FanOut("search", [Branch("shop", giving(RuntimeError()))], tracing=traces.tracing)
    with pytest.raises(FanOutFailed):
        await search.run("query")
    assert about(traces.one("fan_out search"))["rolloutkit.fan_out.failed_branch"] == "shop"


# A tracer that fails


class Broken:
    """A tracer whose spans raise in one of their methods."""

    def __init__(self, traces: Traces, method: str, error: BaseException) -> None:
        self._tracing = traces.tracing
        self._method = method
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self._make(name, arguments)

    def _make(self, name: str, arguments: Sequence[Any]) -> BrokenSpan:
        if name == self._method:
            raise self._error
        return BrokenSpan(getattr(self._tracing, name)(*arguments), self._method, self._error)


class BrokenSpan:
    def __init__(self, span: Any, method: str, error: BaseException) -> None:
        self._span, self._method, self._error = span, method, error

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise self._error
        return getattr(self._span, name)


@pytest.mark.parametrize("error", [RuntimeError("secret"), asyncio.CancelledError(), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
@pytest.mark.parametrize("method", ["begin", "around", "apart", "recording", "enter", "leave", "event", "end"])
async def test_a_tracer_that_raises_is_counted_and_costs_nobody_anything(
    method: str, live: dict[str, float], error: BaseException
) -> None:
    traces = Traces()
    rollout = rollout_of(Branch("a", giving(1), part="$.a"), Branch("b", giving(2), part="$.b", when=bool))
    tracing: Any = Broken(traces, method, error)
    async with running(rollout, live=live, tracing=tracing) as world:
        response = await world.get()
        assert response.json() == {"a": 1, "b": 2, "c": 3}
        await world.settled()
        (trial,) = await world.trials()
        assert trial.outcome == "matched"
        assert world.funnel.counts["hook:tracing"] > 0
        assert not {name for name in world.funnel.counts if name.startswith("fault:")}
        assert world.held == 0
