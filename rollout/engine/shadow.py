"""The shadow lane: trials wait here until the user has been answered, and a bounded number of workers runs them.

A trial may be refused at the door, for one of these reasons, each counted: ``lag`` (the event loop is late: shadow
traffic is the first thing to go), ``queue`` (too many wait), ``bytes`` (they hold too much), ``shutdown``. Workers
are long-lived tasks: to wake one is cheaper than to start a task for each call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from rollout.definition import Shadow


class Runnable(Protocol):
    """A trial, as the lane sees it. ``size``: bytes it holds."""

    size: int

    async def run_shadow(self) -> None:
        """Run to the end. Must not raise, other than when cancelled."""
        ...

    def abandon(self, reason: str) -> None:
        """It will not run (``refused:…``), or was stopped on the way (``shutdown``)."""
        ...


class LagMeter:
    """How late the event loop is: a timer that should fire every ``every_s`` seconds, and tells its listeners when
    it did not.
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
        self.running = 0
        self.pauses = 0
        self._loop = loop
        self._queue: deque[Runnable] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._under_way: set[Runnable] = set()
        self._paused_until = 0.0
        self._closed = False

    def __len__(self) -> int:
        return len(self._queue)

    def submit(self, trial: Runnable, now: float) -> bool:
        """Take a trial; False if it was refused (``trial.abandon`` was told why). ``now``: the loop's time in
        seconds.
        """
        if self._closed:
            reason = "shutdown"
        elif now < self._paused_until:
            reason = "lag"
        elif len(self._queue) >= self.limits.queue and not self._idle and len(self._workers) >= self.limits.concurrency:
            reason = "queue"
        elif self.bytes + trial.size > self.limits.max_bytes:
            reason = "bytes"
        else:
            self.bytes += trial.size
            self._queue.append(trial)
            self._wake()
            return True
        trial.abandon(f"refused:{reason}")
        return False

    def pause(self, now: float) -> None:
        """Refuse everything for ``pause_s`` seconds."""
        self.pauses += 1
        self._paused_until = now + self.limits.pause_s

    def paused(self, now: float) -> bool:
        return now < self._paused_until

    def _wake(self) -> None:
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(None)
                return
        if len(self._workers) < self.limits.concurrency:
            worker = self._loop.create_task(self._work(), name="rollout-shadow")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while True:
            while self._queue:
                trial = self._queue.popleft()
                self.running += 1
                self._under_way.add(trial)
                try:
                    await trial.run_shadow()
                finally:
                    self._under_way.discard(trial)
                    self.running -= 1
                    self.bytes -= trial.size
            waiting = self._loop.create_future()
            self._idle.append(waiting)
            await waiting

    async def close(self, grace_s: float) -> None:
        """Take nothing more, drop what waits, give what runs ``grace_s`` seconds, then cut it. Each is told
        ``shutdown``.
        """
        self._closed = True
        while self._queue:
            trial = self._queue.popleft()
            self.bytes -= trial.size
            trial.abandon("refused:shutdown")
        deadline = self._loop.time() + grace_s
        while self._under_way and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        for trial in list(self._under_way):
            trial.abandon("shutdown")
        for worker in list(self._workers):
            worker.cancel()
        if self._workers:
            await asyncio.wait(list(self._workers), timeout=1.0)
