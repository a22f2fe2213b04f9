"""The shadow lane: trials wait here until the user has been answered, and so many of them run at once.

A trial may be refused at the door, for one of these reasons, each counted: ``lag`` (the event loop is late: shadow
traffic is the first thing to go), ``queue`` (too many wait), ``bytes`` (they hold too much), ``shutdown``. There is no
task for each: what waits is begun by one task, one trial after another, until one has to wait for something. That one
keeps the task, and another is made for those that come after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Final, Protocol

from rollout.definition import Shadow
from rollout.engine.timers import clock_of

_LONG_S: Final = 0.001  # of computing, after which the loop is to breathe


class Runnable(Protocol):
    """A trial, as the lane sees it. ``size``: bytes it holds."""

    size: int

    def begin(self, task: asyncio.Task[Any], now: float) -> Coroutine[Any, Any, None] | None:
        """Start in ``task``, which is the one that runs now; what is returned is to be awaited in it. ``now``: of
        ``clock_of`` the loop. Must not raise; calls ``lane.ended(self)`` once, now or later.
        """
        ...

    def abandon(self, reason: str) -> None:
        """It will not run (``refused:…``), or is stopped on the way (``shutdown``): then it ends at once."""
        ...


class LagMeter:
    """How late the event loop is: a timer that should fire every ``every_s`` seconds pauses the lanes when it did
    not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, every_s: float = 0.05) -> None:
        self._loop = loop
        self._every_s = every_s
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self.lanes: list[ShadowLane] = []
        self.last_s = 0.0
        self.worst_s = 0.0

    def start(self) -> None:
        self._due = self._loop.time() + self._every_s
        self._handle = self._loop.call_at(self._due, self._fire)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        now = self._loop.time()
        self.last_s = now - self._due
        self.worst_s = max(self.worst_s, self.last_s)
        for lane in self.lanes:
            if self.last_s > lane.limits.max_lag_s:
                lane.pause(now)
        self._due = now + self._every_s
        self._handle = self._loop.call_at(self._due, self._fire)


class ShadowLane:
    """See the module. One for each rollout of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Shadow) -> None:
        self.limits = limits
        self.bytes = 0
        self.pauses = 0
        self._loop = loop
        self._time = clock_of(loop)
        self._waiting: deque[Runnable] = deque()
        self._under_way: set[Runnable] = set()
        self._worker: asyncio.Task[None] | None = None  # the task that is about to begin what waits
        self._context = Context()  # a task that serves many requests must not hold what one of them set
        self._paused_until = 0.0
        self._closed = False
        self._empty: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Trials under way."""
        return len(self._under_way)

    def submit(self, trial: Runnable, now: float) -> bool:
        """Take a trial; False if it was refused (``trial.abandon`` was told why). ``now``: the loop's time in
        seconds.
        """
        limits = self.limits
        waiting = len(self._waiting)
        if self._closed:
            reason = "shutdown"
        elif now < self._paused_until:
            reason = "lag"
        elif waiting >= limits.queue and waiting + len(self._under_way) >= limits.concurrency + limits.queue:
            reason = "queue"
        elif self.bytes + trial.size > limits.max_bytes:
            reason = "bytes"
        else:
            self.bytes += trial.size
            self._waiting.append(trial)
            if self._worker is None:  # it begins all that wait by then: the user's reply goes out first
                self._hand_on()
            return True
        trial.abandon(f"refused:{reason}")
        return False

    def pause(self, now: float) -> None:
        """Refuse everything for ``pause_s`` seconds."""
        self.pauses += 1
        self._paused_until = now + self.limits.pause_s

    def paused(self, now: float) -> bool:
        return now < self._paused_until

    def _hand_on(self) -> None:
        self._worker = self._loop.create_task(self._work(), name="rollout-shadow", context=self._context)

    async def _work(self) -> None:
        """Begin what waits, as far as there is room, until a trial has to wait or has computed for long."""
        task = self._worker
        assert task is not None
        under_way, most, time = self._under_way, self.limits.concurrency, self._time
        now = time()
        until = now + _LONG_S
        rest = None
        try:
            while self._waiting and len(under_way) < most and now < until:
                trial = self._waiting.popleft()
                under_way.add(trial)
                rest = trial.begin(task, now)
                if rest is not None or task.cancelling():
                    break
                now = time()
        finally:
            self._worker = None
            if self._waiting and len(under_way) < most:
                self._hand_on()
        if rest is not None:
            await rest

    def ended(self, trial: Runnable) -> None:
        """A trial has ended: there is room for the next."""
        self._under_way.discard(trial)
        self.bytes -= trial.size
        if self._waiting and self._worker is None:
            self._hand_on()
        if self._empty is not None and not self._under_way and not self._empty.done():
            self._empty.set_result(None)

    async def close(self, grace_s: float) -> None:
        """Take nothing more, drop what waits, give what runs ``grace_s`` seconds, then cut it. Each is told
        ``shutdown``.
        """
        self._closed = True
        while self._waiting:
            trial = self._waiting.popleft()
            self.bytes -= trial.size
            trial.abandon("refused:shutdown")
        if self._under_way and grace_s > 0:
            self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=grace_s)
        for trial in list(self._under_way):
            trial.abandon("shutdown")
