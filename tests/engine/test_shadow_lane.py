"""The shadow lane: what it takes, what it refuses, how much runs at once, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rollout import Shadow
from rollout.engine.shadow import LagMeter, ShadowLane

pytestmark = pytest.mark.looptime


class Work:
    """A trial that takes some seconds."""

    def __init__(
        self, lane: ShadowLane, *, takes_s: float = 1.0, size: int = 100, began: Callable[[], None] | None = None
    ) -> None:
        self.lane = lane
        self.size = size
        self.takes_s = takes_s
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.told: list[str] = []
        self._began = began
        self._handle: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[Any], now: float) -> None:
        loop = asyncio.get_running_loop()
        self.began_at = loop.time()
        if self._began is not None:
            self._began()
        self._handle = loop.call_later(self.takes_s, self._end)

    def _end(self) -> None:
        self.ended_at = asyncio.get_running_loop().time()
        self.lane.ended(self)

    def abandon(self, reason: str) -> None:
        self.told.append(reason)
        if self._handle is not None:
            self._handle.cancel()
            self.lane.ended(self)


def lane_of(**limits: Any) -> ShadowLane:
    return ShadowLane(asyncio.get_running_loop(), Shadow(**limits))


def submit(lane: ShadowLane, *works: Work) -> list[bool]:
    return [lane.submit(work, asyncio.get_running_loop().time()) for work in works]


async def test_a_trial_begins_after_whoever_submitted_it_has_gone_on() -> None:
    lane = lane_of()
    work = Work(lane)
    submit(lane, work)
    assert work.began_at is None
    await asyncio.sleep(0)
    assert work.began_at is not None


async def test_no_more_run_at_once_than_allowed_and_the_rest_follows_in_order() -> None:
    lane = lane_of(concurrency=2)
    works = [Work(lane) for _ in range(5)]
    assert all(submit(lane, *works))
    await asyncio.sleep(0.5)
    assert (lane.running, len(lane)) == (2, 3)
    await asyncio.sleep(5)
    assert [work.began_at for work in works] == pytest.approx([0, 0, 1, 1, 2], abs=0.01)
    assert (lane.running, len(lane), lane.bytes) == (0, 0, 0)


async def test_a_full_queue_refuses_and_takes_again_when_there_is_room() -> None:
    lane = lane_of(concurrency=1, queue=2)
    works = [Work(lane) for _ in range(4)]
    assert submit(lane, *works) == [True, True, True, False]
    assert works[3].told == ["refused:queue"]
    await asyncio.sleep(1.5)
    assert submit(lane, Work(lane)) == [True]
    assert submit(lane, Work(lane)) == [False]


async def test_without_a_queue_only_what_can_run_now_is_taken() -> None:
    lane = lane_of(concurrency=2, queue=0)
    assert submit(lane, Work(lane), Work(lane), Work(lane)) == [True, True, False]


async def test_bytes_are_bounded_over_what_waits_and_what_runs() -> None:
    lane = lane_of(concurrency=1, max_bytes=1_000)
    first, second, third = Work(lane, size=600), Work(lane, size=400), Work(lane, size=1)
    assert submit(lane, first, second, third) == [True, True, False]
    assert third.told == ["refused:bytes"]
    await asyncio.sleep(1.5)
    assert lane.bytes == 400
    assert submit(lane, Work(lane, size=600)) == [True]


async def test_a_trial_that_ends_as_it_begins_makes_room_at_once() -> None:
    lane = lane_of(concurrency=1)

    class Instant(Work):
        def begin(self, task: asyncio.Task[Any], now: float) -> None:
            super().begin(task, now)
            assert self._handle is not None
            self._handle.cancel()
            self._end()

    works = [Instant(lane) for _ in range(100)]
    submit(lane, *works)
    await asyncio.sleep(0.001)
    assert all(work.ended_at is not None for work in works)


# Lag


async def test_a_late_loop_pauses_the_lane_for_a_while() -> None:
    loop = asyncio.get_running_loop()
    lane, meter = lane_of(max_lag_s=0.05, pause_s=5.0), LagMeter(loop)
    meter.lanes = [lane]
    meter.start()
    await asyncio.sleep(1)
    assert submit(lane, Work(lane)) == [True]
    meter._due -= 0.06  # as if the loop had come 60 ms late
    await asyncio.sleep(0.1)
    late = Work(lane)
    assert submit(lane, late) == [False]
    assert late.told == ["refused:lag"]
    assert meter.worst_s == pytest.approx(0.06, abs=0.01)
    await asyncio.sleep(4.8)
    assert submit(lane, Work(lane)) == [False]
    await asyncio.sleep(0.3)
    assert submit(lane, Work(lane)) == [True]
    assert lane.pauses == 1
    meter.stop()


async def test_a_loop_in_time_never_pauses_it() -> None:
    lane, meter = lane_of(), LagMeter(asyncio.get_running_loop())
    meter.lanes = [lane]
    meter.start()
    await asyncio.sleep(60)
    meter.stop()
    assert lane.pauses == 0
    assert meter.worst_s == pytest.approx(0, abs=0.01)


# The end


async def test_a_closed_lane_drops_what_waits_and_lets_what_runs_end_in_its_grace() -> None:
    lane = lane_of(concurrency=1)
    running, waiting = Work(lane, takes_s=0.4), Work(lane)
    submit(lane, running, waiting)
    await asyncio.sleep(0.1)
    await lane.close(0.5)
    assert asyncio.get_running_loop().time() == pytest.approx(0.4, abs=0.01)
    assert (running.told, waiting.told) == ([], ["refused:shutdown"])
    assert (lane.running, len(lane), lane.bytes) == (0, 0, 0)


async def test_what_still_runs_when_the_grace_is_over_is_stopped() -> None:
    lane = lane_of()
    work = Work(lane, takes_s=60)
    submit(lane, work)
    await asyncio.sleep(0.1)
    await lane.close(0.5)
    assert asyncio.get_running_loop().time() == pytest.approx(0.6, abs=0.01)
    assert work.told == ["shutdown"]
    assert lane.running == 0


async def test_a_closed_lane_takes_nothing() -> None:
    lane = lane_of()
    await lane.close(0.5)
    late = Work(lane)
    assert submit(lane, late) == [False]
    assert late.told == ["refused:shutdown"]


async def test_an_idle_lane_closes_at_once() -> None:
    await lane_of().close(60.0)
    assert asyncio.get_running_loop().time() < 0.01
