"""Clocks that differ: each process has its own, and the database another, which is the one that counts."""

from __future__ import annotations

from tests.fleet.timeline import Timeline

BEGIN = 1_767_614_400.0  # 2026-01-05 12:00 UTC, a Monday


class DatabaseClock:
    """The clock that decides. Somebody may set it."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._set_by = 0.0

    def monotonic(self) -> float:
        return self._timeline.now

    def wall(self) -> float:
        return BEGIN + self._timeline.now + self._set_by

    def step(self, seconds: float) -> None:
        """It is set, forward or back."""
        self._set_by += seconds


class ProcessClock:
    """A clock that is off by ``offset_s`` and runs too fast by the share ``drift``. ``step`` sets its wall clock."""

    def __init__(self, timeline: Timeline, offset_s: float, drift: float) -> None:
        self._timeline = timeline
        self._offset_s = offset_s
        self._rate = 1.0 + drift

    def monotonic(self) -> float:
        return 1_000.0 + self._timeline.now * self._rate

    def wall(self) -> float:
        return BEGIN + self._offset_s + self._timeline.now * self._rate

    def step(self, seconds: float) -> None:
        self._offset_s += seconds
