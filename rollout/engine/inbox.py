"""Events of a webhook, delivered: taken from the inbox under a lease, handed to the user's function, brought to an end.

    worker = InboxWorker(inbox, "user-created", deliver)
    worker.start()
    ...
    await worker.stop(within_s=5)

At least once: an event whose process dies is due again when its lease has run out. A delivery runs in a task of its
own, watched by another that renews the lease, so that one which hangs, or swallows its cancellation, can be cut from
outside; until it really ends it keeps its place and its lease, and so does not run twice at a time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from rollout.domain.inbox import MOST_TEXT, Redelivery, idempotency_key, is_short_text, payload_of
from rollout.engine.timers import clock_of
from rollout.errors import DatabaseError, Fenced
from rollout.ports import Inbox, LeasedEvent

GRACE_S: Final = 1.0  # what a delivery that was cut by a shutdown has to end in
_HOUSEKEEPING_S: Final = 60.0
_AGAIN_S: Final = 0.5  # between two tries to write how a delivery ended
_EARLY_S: Final = 0.001  # a timer may fire so much before its time
_LONGEST_WAIT_S: Final = 5.0  # between two tries while the database is away

_DELIVERED: Final = "delivered"
_TIMED_OUT: Final = "timed_out"
_SHUTDOWN: Final = "shutdown"
_LOST: Final = "lost"
_FAILED: Final = "failed"
_DEAD: Final = "dead"

#: What a worker counts: attempts by their end, and events that died of the last of them. ``lost``: the lease ran out
#: before the end could be written, so that another process may deliver the event once more.
COUNTED: Final = (_DELIVERED, _FAILED, _TIMED_OUT, _SHUTDOWN, _LOST, _DEAD)

log = logging.getLogger("rollout.inbox")


class Event:
    """One event, in one attempt to deliver it.

    * ``id``: as its sender named it. ``name``: of the webhook. ``key``: who it belongs to, or ``""``.
    * ``payload``: what was signed, a JSON object; ``body``: the same as bytes.
    * ``received_at``: epoch seconds by the database's clock. ``attempt``: counts from 1.
    * ``done``: the names of the steps that are finished; the next attempt leaves them out.
    """

    __slots__ = ("_inbox", "_leased", "attempt", "body", "done", "id", "key", "name", "payload", "received_at")

    def __init__(self, leased: LeasedEvent, inbox: Inbox, key: Callable[[Mapping[str, Any]], str]) -> None:
        self.id = leased.id
        self.name = leased.webhook
        self.body = leased.body
        self.payload = payload_of(leased.body)
        self.key = key(self.payload)
        self.received_at = leased.received_at
        self.attempt = leased.attempt
        self.done = leased.done
        self._leased = leased
        self._inbox = inbox

    async def finish(self, step: str) -> None:
        """Remember that a step (a branch, say) is done, so that no later attempt does it again.

        ``step``: 1 to 200 printable characters, at most 1 000 steps; ``ValueError`` otherwise. ``Fenced`` if another
        process has taken the event over meanwhile, ``DatabaseError`` if it cannot be written: then let the error out.
        """
        _check_step(step)
        await self._inbox.finish(self._leased, step)
        self.done |= {step}

    def idempotency_key(self, step: str) -> str:
        """64 hex digits that are the same in every attempt of this step, to be sent along with whatever it writes."""
        _check_step(step)
        return idempotency_key(self.name, self.id, step)


Deliver = Callable[[Event], Awaitable[Any]]


def _check_step(step: str) -> None:
    if not is_short_text(step):
        raise ValueError(f"{step!r} cannot name a step; write 1 to {MOST_TEXT} printable characters")


def _no_key(_: Mapping[str, Any]) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxOptions:
    """How events are delivered.

    * ``concurrency``: at most so many at a time in this process. Default 8.
    * ``timeout_s``: what one attempt may take. Default 60 seconds; then it is cut and has failed.
    * ``lease_s``: how long an event of a process that died waits for another. Default 30 seconds.
    * ``redelivery``: when a failed one is tried again. ``ttl_s``: how long ids (to refuse replays) and the dead are
      kept. Default 7 days. ``poll_s``: seconds between two looks for what other processes received. Default 1.
    """

    concurrency: int = 8
    timeout_s: float = 60.0
    lease_s: float = 30.0
    redelivery: Redelivery = field(default_factory=Redelivery)
    ttl_s: float = 7 * 86400.0
    poll_s: float = 1.0


@dataclass(eq=False, slots=True)
class _Run:
    """One delivery under way. ``cut_why``: why it was cancelled, if it was. Times of the loop's clock."""

    leased: LeasedEvent
    task: asyncio.Task[None]
    lease_until: float
    cut_at: float
    cut_why: str = ""

    def cut(self, why: str) -> None:
        if not self.cut_why:
            self.cut_why = why
            self.task.cancel()

    def outcome(self) -> tuple[str, BaseException | None]:
        """How it ended, as counted, and what it raised. One that ended well is delivered even if it was cut: its work
        is done.
        """
        if self.task.cancelled():
            return self.cut_why or _FAILED, None
        error = self.task.exception()
        if error is None:
            return _DELIVERED, None
        return (_LOST if isinstance(error, Fenced) else _FAILED), error


class _Crashed(Exception):
    """No attempt lived to its end: each of them took its process with it, or its lease."""


class InboxWorker:
    """See the module. ``counts``: what was counted since the start, by the words of ``COUNTED``; may be given, to
    count into. ``key``: from the payload to who the event belongs to. ``holder``: a name of this process's own.
    """

    def __init__(
        self,
        inbox: Inbox,
        webhook: str,
        deliver: Deliver,
        *,
        holder: str,
        options: InboxOptions | None = None,
        key: Callable[[Mapping[str, Any]], str] = _no_key,
        dice: Callable[[], float] = random.random,
        counts: Counter[str] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.options = options or InboxOptions()
        self._inbox = inbox
        self._webhook = webhook
        self._deliver = deliver
        self._holder = holder
        self._key = key
        self._dice = dice
        self._clock = clock_of(asyncio.get_running_loop())
        self._kept_house_at = -inf
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failing = False
        self._loop_task: asyncio.Task[None] | None = None
        self._runs: dict[asyncio.Task[None], _Run] = {}  # by the task that watches

    def start(self) -> None:
        """Begin to take events."""
        self._loop_task = asyncio.create_task(self._run(), name=f"rollout-inbox-{self._webhook}")

    def wake(self) -> None:
        """An event was put in by this process: look now, not at the next turn."""
        self._wake.set()

    async def stop(self, within_s: float) -> None:
        """Take no more, let what is under way end for ``within_s`` seconds, then cut it: it is given back, uncounted.
        What does not end within a second of that is left to its lease.
        """
        self._stopping.set()
        self._wake.set()
        await self._ended(within_s)
        for run in self._runs.values():
            run.cut(_SHUTDOWN)
        await self._ended(GRACE_S)
        if self._runs:
            words = "%d events of webhook %s did not end with the process; their leases run out"
            log.warning(words, len(self._runs), self._webhook, extra={"event": "inbox_left"})
        if left := self._tasks():
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    async def _ended(self, within_s: float) -> None:
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=within_s)

    def _tasks(self) -> set[asyncio.Task[None]]:
        loop_task = {self._loop_task} if self._loop_task is not None and not self._loop_task.done() else set()
        return loop_task | set(self._runs)

    # ---- taking

    async def _run(self) -> None:
        delay = self.options.poll_s
        while not self._stopping.is_set():
            self._wake.clear()
            if await self._survive_turn():
                delay = self.options.poll_s
                await _within(delay, self._wake)
            else:  # not woken by what ends meanwhile: while the database is away, each of them would ask it again
                delay = min(_LONGEST_WAIT_S, delay * 2)
                await _within(delay, self._stopping)

    async def _survive_turn(self) -> bool:
        try:
            await self._take()
            await self._keep_house()
        except Exception as error:  # a defect must not end the worker, nor an outage
            if not self._failing:
                exc_info = None if isinstance(error, DatabaseError) else error
                words = "events of webhook %s wait: the inbox cannot be read: %s"
                log.error(words, self._webhook, error, exc_info=exc_info, extra={"event": "inbox_gone"})
            self._failing = True
            return False
        if self._failing:
            log.info("events of webhook %s go on", self._webhook, extra={"event": "inbox_back"})
        self._failing = False
        return True

    async def _take(self) -> None:
        free = self.options.concurrency - len(self._runs)
        if free <= 0:
            return
        asked = self._clock()
        for leased in await self._inbox.take(self._webhook, self._holder, free, self.options.lease_s):
            run = self._begin(leased, asked + self.options.lease_s)
            if self._stopping.is_set():
                run.cut(_SHUTDOWN)

    async def _keep_house(self) -> None:
        if self._clock() - self._kept_house_at >= _HOUSEKEEPING_S:
            self._kept_house_at = self._clock()
            await self._inbox.expire(self._webhook, self.options.ttl_s)

    # ---- delivering

    def _begin(self, leased: LeasedEvent, lease_until: float) -> _Run:
        run = _Run(
            leased, asyncio.create_task(self._hand_over(leased)), lease_until, self._clock() + self.options.timeout_s
        )
        watcher = asyncio.create_task(self._see_through(run), name=f"rollout-event-{leased.id}")
        self._runs[watcher] = run
        watcher.add_done_callback(self._let_go)
        return run

    def _let_go(self, watcher: asyncio.Task[None]) -> None:
        del self._runs[watcher]
        self._wake.set()

    async def _hand_over(self, leased: LeasedEvent) -> None:
        if leased.attempt > self.options.redelivery.attempts:
            raise _Crashed
        await self._deliver(Event(leased, self._inbox, self._key))

    async def _see_through(self, run: _Run) -> None:
        beat_s = self.options.lease_s / 3
        while not run.task.done():
            await asyncio.wait({run.task}, timeout=max(0.0, min(beat_s, run.cut_at - self._clock())))
            if self._clock() + _EARLY_S >= run.cut_at:
                run.cut(_TIMED_OUT)
                run.cut_at = inf
            if not run.task.done():
                await self._renew(run, beat_s)
        await self._write(run)

    async def _renew(self, run: _Run, within_s: float) -> None:
        asked = self._clock()
        try:
            async with asyncio.timeout(within_s):
                await self._inbox.renew(run.leased, self.options.lease_s)
            run.lease_until = asked + self.options.lease_s
        except Fenced:
            run.cut(_LOST)
        except (DatabaseError, TimeoutError):
            if self._clock() >= run.lease_until:
                run.cut(_LOST)

    # ---- writing how it ended

    async def _write(self, run: _Run) -> None:
        """Tried until the lease runs out; then the event is delivered once more, to somebody."""
        ended, error = run.outcome()
        while ended != _LOST:
            try:
                await self._settle(run.leased, ended, error)
            except Fenced:
                ended = _LOST
            except Exception as failure:  # the database is away, or a defect of ours: neither may end the watcher
                if self._clock() + _AGAIN_S < run.lease_until:
                    await asyncio.sleep(_AGAIN_S)
                    continue
                ended, error = _LOST, failure
            else:
                break
        self.counts[ended] += 1
        if ended == _LOST:
            words = "event %s of webhook %s was lost to its lease; it is delivered again"
            log.warning(words, run.leased.id, self._webhook, exc_info=error, extra={"event": "inbox_lost"})

    async def _settle(self, leased: LeasedEvent, ended: str, error: BaseException | None) -> None:
        if ended == _DELIVERED:
            await self._inbox.complete(leased)
        elif ended == _SHUTDOWN:
            await self._inbox.give_back(leased)
        else:
            await self._failed(leased, _word(ended, error), error)

    async def _failed(self, leased: LeasedEvent, why: str, error: BaseException | None) -> None:
        wait_s = self.options.redelivery.wait_s(leased.attempt, self._dice())
        if wait_s is None:
            await self._inbox.bury(leased, why)
            self.counts[_DEAD] += 1
            words = "event %s of webhook %s is dead after attempt %d: %s; it is kept, and can be revived"
            log.error(
                words, leased.id, self._webhook, leased.attempt, why, exc_info=error, extra={"event": "inbox_dead"}
            )
            return
        await self._inbox.postpone(leased, wait_s, why)
        words = "event %s of webhook %s failed in attempt %d (%s) and is tried again in %.1f s"
        log.warning(
            words, leased.id, self._webhook, leased.attempt, why, wait_s, exc_info=error, extra={"event": "inbox_retry"}
        )


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, but no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _word(ended: str, error: BaseException | None) -> str:
    """Why an attempt failed, without the error's text: that may hold what was in the payload."""
    if isinstance(error, _Crashed):
        return "crash"
    if error is not None:
        return type(error).__name__
    return "timeout" if ended == _TIMED_OUT else "CancelledError"
