"""What a sampler drops costs nothing and goes on as not sampled; and the sampler for shadows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, set_span_in_context

from rollout import Branch
from rollout_otel.sampling import ShadowSampler
from tests.otel.traced import Traces, upstream
from tests.support.apps import profile, served


async def sent_by(
    tmp_path: Path, traces: Traces, live: dict[str, float] | None = None, **headers: str
) -> Sequence[str]:
    """The trace contexts that the service was sent by a branch, of one call with these headers and its shadow."""
    async with upstream(traces) as service:
        rollout = profile(Branch("orders", service.fetch, part="$.orders"))
        async with served(tmp_path, rollout, traces.application(), live=live, tracing=traces.tracing) as wrapped:
            async with wrapped.client.get("/profile/7", headers={"X-User-Id": "alice", **headers}) as response:
                assert (await response.json())["orders"] == [1, 2]
            await wrapped.settled()
    return [received["traceparent"] for received in service.headers]


def is_sampled(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & 1)


@pytest.mark.parametrize("live", [{"orders": 1.0}, None], ids=["live", "shadow"])
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, DEFAULT_OFF], ids=["always off", "default off"])
async def test_where_nothing_is_sampled_there_are_no_spans_and_those_below_know(
    tmp_path: Path, live: dict[str, float] | None, sampler: Sampler
) -> None:
    traces = Traces(sampler)
    (sent,) = await sent_by(tmp_path, traces, live)
    assert traces.names == []
    assert not is_sampled(sent)


@pytest.mark.parametrize("otherwise", [DEFAULT_ON, ALWAYS_ON], ids=["default on", "always on"])
async def test_shadows_alone_are_dropped(tmp_path: Path, otherwise: Sampler) -> None:
    traces = Traces(ShadowSampler(otherwise))
    await sent_by(tmp_path, traces)
    assert [name for name in traces.names if name != "fetch"] == ["GET", "control profile"]
    assert ("fetch" in traces.names) is (otherwise is ALWAYS_ON)


async def test_live_calls_are_kept_by_the_sampler_for_shadows(tmp_path: Path) -> None:
    traces = Traces(ShadowSampler(DEFAULT_ON))
    (sent,) = await sent_by(tmp_path, traces, {"orders": 1.0})
    assert traces.names == ["GET", "branch orders", "control profile", "fan_out profile", "fetch"]
    assert is_sampled(sent)


@pytest.mark.parametrize(
    "sampler", [DEFAULT_ON, ShadowSampler(DEFAULT_ON, share=1.0)], ids=["default on", "shadows too"]
)
@pytest.mark.parametrize(("flag", "shadows"), [("01", ["shadow profile"]), ("00", [])])
async def test_a_shadow_is_kept_with_its_request(
    tmp_path: Path, sampler: Sampler, flag: str, shadows: list[str]
) -> None:
    traces = Traces(sampler)
    (sent,) = await sent_by(tmp_path, traces, traceparent=f"00-{'a' * 32}-{'b' * 16}-{flag}")
    assert [name for name in traces.names if name.startswith("shadow")] == shadows
    assert is_sampled(sent) is (flag == "01")


class WithoutRequests(Sampler):
    """Drops the spans of servers, and keeps whatever is below them."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, kind: Any = None, *rest: Any) -> Any:
        sampler = ALWAYS_OFF if kind is SpanKind.SERVER else ALWAYS_ON
        return sampler.should_sample(parent_context, trace_id, name, kind, *rest)

    def get_description(self) -> str:
        return "without requests"


async def test_a_request_that_is_dropped_gets_nothing_below_it_whatever_the_sampler_says(tmp_path: Path) -> None:
    traces = Traces(WithoutRequests())
    await sent_by(tmp_path, traces, {"orders": 1.0})
    assert traces.names == ["fetch"]  # of the application's own client


def test_what_is_below_a_span_is_not_the_first_of_a_shadow() -> None:
    parent = set_span_in_context(NonRecordingSpan(SpanContext(1, 1, is_remote=False)))
    about = {"rolloutkit.mode": "shadow"}
    found = ShadowSampler(DEFAULT_ON, share=1.0).should_sample(parent, 1, "fan_out search", attributes=about)
    assert found.decision is Decision.DROP


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="Probability"):
        ShadowSampler(DEFAULT_ON, share)


def test_it_says_what_it_is() -> None:
    assert ShadowSampler(ParentBased(ALWAYS_ON), 0.25).get_description().startswith("ShadowSampler{0.25,ParentBased{")
