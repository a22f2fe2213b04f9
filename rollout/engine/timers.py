"""Timers by the thousand: one lane for each timeout value.

Everything in a lane waits equally long, so what was added first is due first: an ordered dict and a single loop
handle stand in for a timer each, which would cost about a microsecond to make and another to cancel, nearly always
for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """What to measure durations with on a loop: its own time, which a test may set. uvloop's counts whole milliseconds,
    so there it is the clock beneath, which has the same zero.
    """
    return time.monotonic if type(loop).__module__.startswith("uvloop") else loop.time


class Expiring(Protocol):
    """Something with a time limit."""

    def expire(self) -> None:
        """Its time is over. Must not raise."""
        ...


class TimerLane:
    """Calls ``expire()`` of each member once, ``timeout_s`` seconds after it was added, unless it was removed
    before."""

    __slots__ = ("_due", "_handle", "_loop", "timeout_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self.timeout_s = timeout_s
        self._due: dict[Expiring, float] = {}
        self._handle: asyncio.TimerHandle | None = None

    def add(self, member: Expiring, now: float) -> None:
        """Start the member's time. ``now``: in seconds, of ``clock_of(loop)``."""
        self._due[member] = now + self.timeout_s
        if self._handle is None:
            self._handle = self._loop.call_at(now + self.timeout_s, self._fire)

    def remove(self, member: Expiring) -> None:
        """End the member's time; nothing happens if it is not in the lane. The handle stays: it finds nothing due."""
        self._due.pop(member, None)

    def _fire(self) -> None:
        self._handle = None
        now = self._loop.time() + 1e-4
        try:
            while self._due:
                member, due = next(iter(self._due.items()))
                if due > now:
                    break
                del self._due[member]
                member.expire()
        finally:  # also where a member raised after all: the others still have their time
            if self._due:
                if self._handle is not None:  # of a member that was added meanwhile; the first one is due before it
                    self._handle.cancel()
                self._handle = self._loop.call_at(next(iter(self._due.values())), self._fire)

    def close(self) -> None:
        """Forget every member without expiring it."""
        self._due.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def __len__(self) -> int:
        return len(self._due)


class Timers:
    """The lanes of one event loop, by timeout. Timeouts are declared, not computed, so there are few of them."""

    __slots__ = ("_lanes", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lanes: dict[float, TimerLane] = {}

    def lane(self, timeout_s: float) -> TimerLane:
        """The lane of a timeout in seconds."""
        found = self._lanes.get(timeout_s)
        if found is None:
            found = self._lanes[timeout_s] = TimerLane(self._loop, timeout_s)
        return found

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
