"""A few threads for providers that block. What hangs is bounded, and never keeps the process from ending.

Not ``concurrent.futures``: its queue has no bound, and the interpreter waits for its threads at exit, a hung one
included.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Job:
    """A piece of work. ``abandon`` it as soon as nobody waits for it any more."""

    __slots__ = ("_pool", "overdue", "started", "work")

    def __init__(self, pool: Pool, work: Callable[[], None]) -> None:
        self._pool = pool
        self.work: Callable[[], None] | None = work
        self.started = False
        self.overdue = False

    def abandon(self) -> None:
        """Not started: it never is. Running: its thread counts as hung until it returns. Finished: nothing."""
        self._pool._abandon(self)


class Pool:
    """At most ``threads`` at work and ``waiting`` pieces of work before them.

    Threads begin with the first need, after any fork.
    """

    def __init__(self, threads: int = 8, waiting: int = 64) -> None:
        self._limit, self._waiting = threads, waiting
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._threads = self._idle = self._overdue = 0
        self._closed = False

    def submit(self, work: Callable[[], None]) -> Job | None:
        """Have ``work`` done soon; None if the pool is closed, full, or all its threads hang.

        What ``work`` raises is dropped.
        """
        with self._changed:
            if self._closed or len(self._queue) >= self._waiting or self._overdue >= self._limit:
                return None
            job = Job(self, work)
            self._queue.append(job)
            if self._idle >= len(self._queue) or self._threads >= self._limit:
                self._changed.notify()
            else:
                self._threads += 1
                threading.Thread(target=self._serve, name="rollout-flags", daemon=True).start()
        return job

    def close(self) -> None:
        """Take no more work, drop what waits, and let the threads go as they get free. Does not wait."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    @property
    def hung(self) -> int:
        """How many threads are at work that nobody waits for."""
        return self._overdue

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            with suppress(BaseException):  # a provider that raises SystemExit must not end the thread
                if job.work is not None:
                    job.work()
            self._finished(job)
            del job  # an idle thread holds no request

    def _next(self) -> Job | None:
        with self._changed:
            self._idle += 1
            while not self._queue and not self._closed:
                self._changed.wait()
            self._idle -= 1
            if not self._queue:
                self._threads -= 1
                return None
            job = self._queue.popleft()
            job.started = True
            return job

    def _finished(self, job: Job) -> None:
        with self._changed:
            job.work = None
            self._overdue -= job.overdue

    def _abandon(self, job: Job) -> None:
        with self._changed:
            if job.work is None or job.overdue:
                return
            if job.started:
                job.overdue = True
                self._overdue += 1
            elif job in self._queue:
                self._queue.remove(job)
