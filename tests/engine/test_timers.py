"""Timer lanes: each member expires once, in time, unless it was removed; one loop handle for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rollout.engine.timers import TimerLane, Timers

pytestmark = pytest.mark.looptime


class Member:
    """Notes when it expired. ``then``: called as it expires."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.expired: list[float] = []
        self.then = then

    def expire(self) -> None:
        self.expired.append(asyncio.get_running_loop().time())
        if self.then is not None:
            self.then()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_member_expires_once_after_the_timeout() -> None:
    lane, member = TimerLane(asyncio.get_running_loop(), 2.0), Member()
    lane.add(member, now())
    await asyncio.sleep(10)
    assert member.expired == [pytest.approx(2.0, abs=1e-3)]
    assert len(lane) == 0


async def test_members_expire_in_the_order_in_which_they_were_added_each_in_its_time() -> None:
    lane, members = TimerLane(asyncio.get_running_loop(), 2.0), [Member() for _ in range(5)]
    for member in members:
        lane.add(member, now())
        await asyncio.sleep(0.5)
    await asyncio.sleep(10)
    assert [member.expired[0] for member in members] == pytest.approx([2.0, 2.5, 3.0, 3.5, 4.0], abs=1e-3)
    assert all(len(member.expired) == 1 for member in members)


async def test_a_member_that_was_removed_does_not_expire() -> None:
    lane, first, second = TimerLane(asyncio.get_running_loop(), 2.0), Member(), Member()
    lane.add(first, now())
    lane.add(second, now())
    lane.remove(first)
    lane.remove(first)
    await asyncio.sleep(10)
    assert (first.expired, len(second.expired)) == ([], 1)


async def test_a_thousand_members_need_one_handle_of_the_loop() -> None:
    loop = asyncio.get_running_loop()
    lane = TimerLane(loop, 2.0)
    before = len(loop._scheduled)  # type: ignore[attr-defined]  # the only place where handles are counted
    members = [Member() for _ in range(1_000)]
    for member in members:
        lane.add(member, now())
    assert len(loop._scheduled) == before + 1  # type: ignore[attr-defined]
    for member in members:
        lane.remove(member)
    assert len(lane) == 0


async def test_a_lane_that_ran_empty_starts_anew() -> None:
    lane, first, second = TimerLane(asyncio.get_running_loop(), 2.0), Member(), Member()
    lane.add(first, now())
    lane.remove(first)
    await asyncio.sleep(5)
    lane.add(second, now())
    await asyncio.sleep(5)
    assert second.expired == [pytest.approx(7.0, abs=1e-3)]


async def test_a_member_may_be_added_or_removed_while_another_expires() -> None:
    lane, late, gone = TimerLane(asyncio.get_running_loop(), 2.0), Member(), Member()

    def change() -> None:
        lane.add(late, now())
        lane.remove(gone)

    lane.add(Member(change), now())
    lane.add(gone, now())
    await asyncio.sleep(10)
    assert late.expired == [pytest.approx(4.0, abs=1e-3)]
    assert gone.expired == []


async def test_a_member_that_raises_keeps_no_other_from_its_end() -> None:
    loop = asyncio.get_running_loop()
    told: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    lane, other, later = TimerLane(loop, 2.0), Member(), Member()
    lane.add(Member(lambda: 1 / 0), now())  # type: ignore[arg-type]
    lane.add(other, now())
    await asyncio.sleep(1)
    lane.add(later, now())
    await asyncio.sleep(10)
    assert len(other.expired) == 1
    assert later.expired == [pytest.approx(3.0, abs=1e-3)]
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_a_closed_lane_expires_nobody() -> None:
    timers, member = Timers(asyncio.get_running_loop()), Member()
    timers.lane(2.0).add(member, now())
    timers.close()
    await asyncio.sleep(10)
    assert member.expired == []


async def test_there_is_one_lane_for_each_timeout() -> None:
    timers = Timers(asyncio.get_running_loop())
    assert timers.lane(2.0) is timers.lane(2.0)
    assert timers.lane(2.0) is not timers.lane(3.0)
