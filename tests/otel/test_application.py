"""Spans of an instrumented application, on real connections: tree, links, attributes, statuses, what is propagated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry import baggage, trace
from opentelemetry.context import attach
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags

from rollout import Branch, Call, Shadow, record_usage
from rollout.testing import FakeFlags
from rollout_aiohttp import guard
from tests.otel.traced import Traces, about, told, upstream
from tests.support.apps import application, monolith, profile, served

ALICE = {"X-User-Id": "alice"}
LIVE = {"orders": 1.0}
SECRET = "a-secret-in-a-message"


async def fails(call: Call) -> Any:
    raise LookupError(SECRET)


def failing(**declared: Any) -> Any:
    return profile(Branch("orders", fails, part="$.orders"), **declared)


def status_of(span: ReadableSpan) -> StatusCode:
    return span.status.status_code


# The tree


async def test_a_shadow_is_a_trace_of_its_own_linked_to_the_request(traces: Traces, tmp_path: Path) -> None:
    async with served(tmp_path, profile(), traces.application(), tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert traces.names == ["GET", "branch orders", "control profile", "fan_out profile", "shadow profile"]
    assert traces.above("control profile") == ["GET"]
    assert traces.above("branch orders") == ["fan_out profile", "shadow profile"]
    assert traces.one("shadow profile").parent is None
    assert traces.trace_of("branch orders") == traces.trace_of("shadow profile") != traces.trace_of("GET")
    (link,) = traces.one("shadow profile").links
    assert link.context == traces.one("GET").context
    assert about(traces.one("shadow profile")) == {
        "rolloutkit.rollout": "profile",
        "rolloutkit.mode": "shadow",
        "rolloutkit.comparison.outcome": "matched",
    }


async def test_live_branches_are_below_the_request_beside_control(traces: Traces, tmp_path: Path) -> None:
    app = traces.application()
    async with served(tmp_path, profile(), app, live=LIVE, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert traces.above("branch orders") == ["fan_out profile", "GET"]
    assert traces.above("control profile") == ["GET"]
    assert about(traces.one("GET")) == {"rolloutkit.rollout": "profile", "rolloutkit.served_by": "candidate"}
    assert about(traces.one("branch orders")) == {
        "rolloutkit.rollout": "profile",
        "rolloutkit.branch.name": "orders",
        "rolloutkit.mode": "live",
        "rolloutkit.branch.outcome": "ok",
        "rolloutkit.branch.attempts": 1,
    }
    assert {span.kind for span in traces.spans if span.name != "GET"} == {SpanKind.INTERNAL}
    assert not [span.name for span in traces.spans if status_of(span) is not StatusCode.UNSET]


async def test_what_was_live_and_is_compared_has_both_traces(traces: Traces, tmp_path: Path) -> None:
    branches = [Branch("orders", orders, part="$.orders"), Branch("tickets", tickets, part="$.tickets")]
    app = traces.application()
    async with served(tmp_path, profile(*branches), app, live=LIVE, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert traces.trace_of("branch orders") == traces.trace_of("GET")
    assert traces.trace_of("branch tickets") == traces.trace_of("shadow profile") != traces.trace_of("GET")


async def orders(call: Call) -> Any:
    return [1, 2]


async def tickets(call: Call) -> Any:
    return []


async def test_without_an_instrumented_server_a_call_has_a_span_of_its_own(traces: Traces, tmp_path: Path) -> None:
    async with served(tmp_path, profile(), live=LIVE, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert traces.above("branch orders") == ["fan_out profile", "call profile"]
    assert traces.above("control profile") == ["call profile"]
    assert traces.one("call profile").parent is None
    assert about(traces.one("call profile"))["rolloutkit.served_by"] == "candidate"


async def test_nor_is_the_span_of_a_caller_in_another_process_the_request_s(traces: Traces, tmp_path: Path) -> None:
    @web.middleware
    async def extracting(request: web.Request, handler: Any) -> Any:
        attach(extract(request.headers))
        return await handler(request)

    app = application()
    app.middlewares.append(extracting)
    sent = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", **ALICE}
    async with served(tmp_path, profile(), app, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=sent):
            pass
        await wrapped.settled()
    assert f"{traces.trace_of('call profile'):032x}" == "a" * 32
    assert traces.above("control profile") == ["call profile"]


async def test_such_a_span_fails_with_the_call(traces: Traces, tmp_path: Path) -> None:
    async def broken(request: web.Request) -> web.Response:
        raise LookupError(SECRET)

    app = application(("GET", "/profile/{id}", broken))
    async with served(tmp_path, profile(control=broken), app, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE) as response:
            assert response.status == 500
        await wrapped.settled()
    for name in ("call profile", "control profile"):
        assert status_of(traces.one(name)) is StatusCode.ERROR
        assert about(traces.one(name))["error.type"] == "LookupError"
    assert SECRET not in traces.text()


async def test_a_call_that_is_not_drawn_has_no_spans(traces: Traces, tmp_path: Path) -> None:
    rollout = profile(shadow=Shadow(sample=0.0))
    async with served(tmp_path, rollout, traces.application(), tracing=traces.tracing) as wrapped:
        await (await wrapped.client.get("/profile/7", headers=ALICE)).read()
    assert traces.names == ["GET"]
    assert about(traces.one("GET")) == {}


async def test_control_once_more_is_in_the_trace_of_the_shadow(traces: Traces, tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        record_usage(input_tokens=7, model="large")
        return await monolith(request)

    rollout = profile(control=control, shadow=Shadow(noise=1.0, max_lag_s=10.0))
    async with served(tmp_path, rollout, traces.application(control), tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    once, again = [span for span in traces.spans if span.name == "control profile"]
    assert about(once)["rolloutkit.mode"] == "live"
    assert about(again)["rolloutkit.mode"] == "shadow"
    assert again.parent == traces.one("shadow profile").context
    assert used(once)["gen_ai.usage.input_tokens"] == 7
    assert used(again) == {}  # it is run for the noise, and not metered


# What went wrong


async def test_a_live_failure_that_control_answered_is_the_branch_s_alone(traces: Traces, tmp_path: Path) -> None:
    app = traces.application()
    async with served(tmp_path, failing(), app, live=LIVE, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE) as response:
            assert response.status == 200
        await wrapped.settled()
    assert [span.name for span in traces.spans if status_of(span) is not StatusCode.UNSET] == ["branch orders"]
    branch, request = traces.one("branch orders"), traces.one("GET")
    assert status_of(branch) is StatusCode.ERROR
    assert about(branch)["error.type"] == "LookupError"
    assert about(request)["rolloutkit.served_by"] == "fallback"
    assert about(request)["rolloutkit.fallback.reason"] == "error"
    assert about(traces.one("fan_out profile"))["rolloutkit.fan_out.failed_branch"] == "orders"
    assert SECRET not in traces.text()


async def test_a_shadow_that_fails_has_no_status(traces: Traces, tmp_path: Path) -> None:
    async with served(tmp_path, failing(), traces.application(), tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert {status_of(span) for span in traces.spans} == {StatusCode.UNSET}
    assert about(traces.one("branch orders"))["error.type"] == "LookupError"
    assert about(traces.one("shadow profile"))["rolloutkit.comparison.outcome"] == "mismatched"
    assert SECRET not in traces.text()


@pytest.mark.parametrize(("status", "expected"), [(404, StatusCode.UNSET), (503, StatusCode.ERROR)])
@pytest.mark.parametrize("raises", [True, False])
async def test_control_fails_with_500_and_above_raised_or_returned(
    traces: Traces, tmp_path: Path, status: int, expected: StatusCode, raises: bool
) -> None:
    async def control(request: web.Request) -> web.Response:
        if not raises:
            return web.Response(status=status)
        raise web.HTTPNotFound if status == 404 else web.HTTPServiceUnavailable

    app = traces.application(control)
    async with served(tmp_path, profile(control=control), app, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE) as response:
            assert response.status == status
        await wrapped.settled()
    assert status_of(traces.one("control profile")) is expected
    assert about(traces.one("control profile")).get("error.type") == ("503" if status == 503 else None)
    assert "error.type" not in about(traces.one("GET"))  # whose span it is says that itself


# What flags answered, and what was used


@pytest.mark.parametrize("instant", [True, False], ids=["looked up", "asked"])
async def test_the_request_says_what_the_flag_answered(traces: Traces, tmp_path: Path, instant: bool) -> None:
    flags = FakeFlags({("profile", "alice"): "on"}, instant=instant)
    options: dict[str, Any] = {"flags": flags, "tracing": traces.tracing}
    async with served(tmp_path, profile(), traces.application(), **options) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        (trial,) = await wrapped.trials()
    assert told(traces.one("GET")) == {
        "feature_flag.evaluation": {
            "feature_flag.key": "profile",
            "feature_flag.result.variant": "on",
            "feature_flag.result.reason": "targeting_match",
            "feature_flag.context.id": trial.key_hash,
        }
    }
    assert "alice" not in traces.text()


async def test_the_toolkit_s_own_provider_is_named(traces: Traces, tmp_path: Path) -> None:
    options: dict[str, Any] = {"flags": None, "tracing": traces.tracing}
    async with served(tmp_path, profile(key=None), traces.application(), **options) as wrapped:
        async with wrapped.client.get("/profile/7"):
            pass
        await wrapped.settled()
    assert told(traces.one("GET"))["feature_flag.evaluation"] == {
        "feature_flag.key": "profile",
        "feature_flag.result.variant": "auto",
        "feature_flag.result.reason": "default",
        "feature_flag.provider.name": "rolloutkit",
    }


async def test_a_branch_s_own_flag_that_has_no_answer_is_an_error_of_the_evaluation(
    traces: Traces, tmp_path: Path
) -> None:
    branches = [Branch("orders", orders, part="$.orders"), Branch("new", tickets, part="$.tickets", flag="new")]

    class Flags(FakeFlags):
        def peek(self, flag: str, key: str | None) -> Any:
            self.break_with("timeout") if flag == "new" else self.heal()
            return super().peek(flag, key)

    options: dict[str, Any] = {"flags": Flags(), "tracing": traces.tracing}
    async with served(tmp_path, profile(*branches), traces.application(), **options) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    found = [dict(event.attributes or {}) for event in traces.one("GET").events]
    assert [one["feature_flag.key"] for one in found] == ["profile", "new"]
    assert [one.get("error.type") for one in found] == [None, "timeout"]
    assert found[1]["feature_flag.result.reason"] == "error"


async def test_what_a_branch_and_control_used_is_on_their_spans(traces: Traces, tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        record_usage(input_tokens=7, output_tokens=0, model="large", usd="0.01")
        return await monolith(request)

    async def asks(call: Call) -> Any:
        record_usage(input_tokens=100, output_tokens=20, cached_tokens=40, model="small")
        return [1, 2]

    rollout = profile(Branch("orders", asks, part="$.orders"), control=control)
    async with served(tmp_path, rollout, traces.application(control), tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert used(traces.one("branch orders")) == {  # its price is unknown, which is not 0
        "gen_ai.response.model": "small",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
    }
    assert used(traces.one("control profile")) == {
        "gen_ai.response.model": "large",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 0,
        "rolloutkit.usage.usd": 0.01,
    }


def used(span: ReadableSpan) -> dict[str, Any]:
    return {name: value for name, value in about(span).items() if ".usage." in name or name.startswith("gen_ai.")}


# What is propagated


@pytest.mark.parametrize("live", [LIVE, None], ids=["live", "shadow"])
async def test_an_outgoing_request_carries_the_branch_s_trace_and_the_baggage(
    traces: Traces, tmp_path: Path, live: dict[str, float] | None
) -> None:
    sent = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "baggage": "tenant=blue", **ALICE}
    async with upstream(traces) as service:
        rollout = profile(Branch("orders", service.fetch, part="$.orders"))
        async with served(tmp_path, rollout, traces.application(), live=live, tracing=traces.tracing) as wrapped:
            async with wrapped.client.get("/profile/7", headers=sent) as response:
                assert await response.json() == {"id": 7, "orders": [1, 2], "tickets": []}
            await wrapped.settled()
    fetch = traces.one("fetch")
    assert traces.above("fetch")[:2] == ["branch orders", "fan_out profile"]
    assert fetch.context is not None
    (headers,) = service.headers
    where = f"{fetch.context.trace_id:032x}-{fetch.context.span_id:016x}"
    assert headers["traceparent"] == f"00-{where}-{fetch.context.trace_flags:02x}"
    assert headers["baggage"] == "tenant=blue"
    assert (f"{fetch.context.trace_id:032x}" == "a" * 32) is (live is not None)


async def test_a_mark_that_a_caller_wrote_into_its_baggage_goes_no_further(traces: Traces, tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []

    async def looks(call: Call) -> Any:
        seen.append(dict(baggage.get_all()))
        return [1, 2]

    sent = {"baggage": "rollout.shadow=1,tenant=blue", **ALICE}
    rollout = profile(Branch("orders", looks, part="$.orders"))
    async with served(tmp_path, rollout, traces.application(), live=LIVE, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=sent):
            pass
        await wrapped.settled()
    assert seen == [{"tenant": "blue"}]


async def test_the_guard_s_mark_and_the_baggage_go_together(traces: Traces, tmp_path: Path) -> None:
    async with upstream(traces) as service:
        service.session._middlewares = (traces.instrumented, guard())
        rollout = profile(Branch("orders", service.fetch, part="$.orders"))
        async with served(tmp_path, rollout, traces.application(), tracing=traces.tracing) as wrapped:
            async with wrapped.client.get("/profile/7", headers={"baggage": "tenant=blue", **ALICE}):
                pass
            await wrapped.settled()
    assert service.headers[0]["baggage"] == "tenant=blue,rollout.shadow=1"


async def test_each_part_of_a_call_has_its_own_span_as_the_current_one(traces: Traces, tmp_path: Path) -> None:
    current: dict[str, trace.SpanContext] = {}

    def look(name: str) -> None:
        current[name] = trace.get_current_span().get_span_context()

    async def control(request: web.Request) -> web.Response:
        look("control profile")
        return await monolith(request)

    async def looks(call: Call) -> Any:
        look("branch orders")
        await asyncio.sleep(0)
        look("branch orders")
        return [1, 2]

    def aggregate(call: Call, control: Any, parts: Any) -> Any:
        look("shadow profile")
        return dict(parts)

    @web.middleware
    async def afterwards(request: web.Request, handler: Any) -> Any:
        response = await handler(request)
        look("GET")
        return response

    app = traces.application(control)
    app.middlewares.append(afterwards)
    rollout = profile(Branch("orders", looks, part="$.orders"), control=control, aggregate=aggregate)
    async with served(tmp_path, rollout, app, tracing=traces.tracing) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE):
            pass
        await wrapped.settled()
    assert current == {name: traces.one(name).context for name in current}
    assert len(current) == 4


async def test_calls_side_by_side_keep_their_traces_apart(traces: Traces, tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}
    all_here = asyncio.Barrier(20)

    async def looks(call: Call) -> Any:
        await all_here.wait()
        carrier: dict[str, str] = {}
        inject(carrier)
        seen.setdefault(call.path_params["id"], []).append(carrier["traceparent"].split("-")[1])
        return [1, 2]

    async def call(number: int) -> None:
        headers = {"traceparent": f"00-{number:032x}-{'b' * 16}-01", "X-User-Id": f"user-{number}"}
        async with wrapped.client.get(f"/profile/{number}", headers=headers):
            pass

    branches = [Branch("orders", looks, part="$.orders"), Branch("tickets", looks, part="$.tickets")]
    app = traces.application()
    live = {"orders": 1.0, "tickets": 1.0}
    async with served(tmp_path, profile(*branches), app, live=live, tracing=traces.tracing) as wrapped:
        await asyncio.gather(*(call(number) for number in range(1, 11)))
        await wrapped.settled()
    assert seen == {str(number): [f"{number:032x}"] * 2 for number in range(1, 11)}


async def test_without_tracing_a_branch_sees_what_the_request_has(traces: Traces, tmp_path: Path) -> None:
    async with upstream(traces) as service:
        rollout = profile(Branch("orders", service.fetch, part="$.orders"))
        async with served(tmp_path, rollout, traces.application(), live=LIVE) as wrapped:
            async with wrapped.client.get("/profile/7", headers=ALICE):
                pass
            await wrapped.settled()
    assert traces.names == ["GET", "fetch"]
    assert traces.above("fetch") == ["GET"]
    assert TraceFlags(int(service.headers[0]["traceparent"][-2:])).sampled
