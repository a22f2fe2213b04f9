"""One run of one branch: supervisor, context and outcome in one object, because at three runs a call every object more
is felt.

It is settled exactly once, synchronously: by the attempt that returns, by the last one that raises, by the timer that
cuts it, or by the caller that goes away. An attempt that goes on after that (it swallowed its cancellation, or lost
against a hedge) is an orphan: nobody waits for it, but its slot in the bulkhead stays taken until it really ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from rollout.context import RunContext, current_run
from rollout.domain.call import Call
from rollout.domain.cost import Usage
from rollout.domain.outcomes import RunOutcome
from rollout.domain.prices import PriceBook
from rollout.engine.attempts import Timers, close, reserve, wait_before_retry
from rollout.engine.runs import OK
from rollout.engine.station import Station
from rollout.engine.stepping import first_step, stepped
from rollout.errors import BranchTimeout

if TYPE_CHECKING:
    from rollout.engine.fanout import FanOut
    from rollout.engine.spans import Span


_WAITS: Final = 30  # runs after one that had to wait, until another is tried in a shared task


class BranchRun(RunContext):
    """Settled when ``outcome`` is set; ``part`` where it is ok, ``error`` where it raised."""

    # Without slots, so that what most runs never set can be a default of the class.
    usage: Usage | None = None
    jobs: list[Future[Any]] | None = None
    outcome: RunOutcome = None  # type: ignore[assignment]  # None until settled; who asks earlier compares with None
    part: Any = None
    error: BaseException | None = None
    reason = ""
    confidence: float | None = None  # of its part, in [0, 1], where a second opinion was weighed
    began = False
    attempts = 1  # begun, hedges included
    hedges = 0
    under_way = 1  # attempts that have not ended
    is_soft = False  # past its soft timeout, so that the candidate may be made without it
    is_timed = False  # in the lane of its hard timeout
    permit: int | None = None  # of its breaker
    booked = 0  # nano-dollars, of the budget of the day
    holds = 0  # reservations of the call's account, one for each attempt
    timers: Timers | None = None
    body: Any = None  # what the branch returned when it was called, until its first step is taken
    task: asyncio.Task[Any] | None = None
    span: Span | None = None  # until it is settled, where calls are traced
    finished = 0.0

    def __init__(self, station: Station, fan: FanOut, call: Call, started: float) -> None:
        self.station = station
        self.call = call
        self.started = started
        self._fan: FanOut | None = fan
        self.of = fan.of

    # What the base holds in fields is shared here by all runs of a branch or of a call, and looked up when somebody
    # asks: seven copies a run would be felt. mypy minds that a field, which could be set, is read only here; nobody
    # sets one of these seven after a context was made.

    @property
    def branch(self) -> str:  # type: ignore[override]
        return self.station.name

    @property
    def is_shadow(self) -> bool:  # type: ignore[override]
        return self.station.is_shadow

    @property
    def rollout(self) -> str:  # type: ignore[override]
        return self.of.rollout

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        return self.call.deadline

    @property
    def clock(self) -> Callable[[], float]:  # type: ignore[override]
        return self.of.time

    @property
    def blocked(self) -> Callable[[str, str], None] | None:  # type: ignore[override]
        return self.of.blocked if self.station.is_shadow else None

    @property
    def prices(self) -> PriceBook | None:  # type: ignore[override]
        return self.of.prices

    @property
    def took_s(self) -> float:
        """Seconds from start to end."""
        return self.finished - self.started

    # ---- driving

    def begin(self, task: asyncio.Task[Any], context: Context) -> Coroutine[Any, Any, None] | None:
        """Take the first step in ``task``, which is the one that runs now. None: it was the last one. Else what is
        left, to be awaited in that task, which belongs to this run from then on.
        """
        self.began = True
        self.task = task
        try:
            waited = context.run(first_step, self)
        except StopIteration as done:
            self.settle(OK, done.value)
        except BaseException as error:
            wait_s = wait_before_retry(self, error)
            if wait_s is not None:
                self.body = None
                self._wait_for_it(context)
                self.task = self.of.loop.create_task(self._until_end(context, wait_s=wait_s), context=context)
                return None
            self._raised(error)
        else:
            body, self.body = self.body, None
            self.station.waits = _WAITS
            self._wait_for_it(context)
            if body.__class__ is CoroutineType:
                return self._until_end(context, stepped(body, context, waited))
            # Another awaitable: it may belong to a task already, so nothing shares one with it.
            self.task = self.of.loop.create_task(self._until_end(context, body), context=context)
            return None
        self.body = None
        self.release()
        return None

    def begin_alone(self, context: Context) -> None:
        """Run in a task of its own from the first step on."""
        self._wait_for_it(context)
        self.task = self.of.loop.create_task(self._until_end(context), context=context)

    def _wait_for_it(self, context: Context) -> None:
        """The run has to wait for something: what limits its time begins."""
        station = self.station
        if station.hard is not None:
            self.is_timed = True
            station.hard.add(self, self.started)
        if station.soft is not None or station.delays is not None:
            self.timers = Timers(self, context)

    def reserve(self) -> str | None:
        """Reserve for one attempt more; or what does not cover it, which for a run that has ended is everything."""
        return reserve(self, self._fan) if self._fan is not None else "ended"

    async def _until_end(self, context: Context, begun: Awaitable[Any] | None = None, wait_s: float = 0.0) -> None:
        """Wait for what the branch has begun, and try again where that may help. Without ``begun``: call it first, in
        this task, whose context is the run's own, after ``wait_s`` seconds.
        """
        shares = begun is not None  # the task was another's to begin with, so its context is not the run's
        late = False
        try:
            while True:
                try:
                    if wait_s:
                        await asyncio.sleep(wait_s)
                    if begun is None:
                        self.began = True
                        if shares:
                            begun = self.of.loop.create_task(self.attempt(), context=context)
                        else:  # as `attempt`, without a coroutine around it
                            current_run.set(self)
                            begun = self.station.branch.run(self.call)
                    part = await (begun if self.station.attempt_s is None else self._within(begun))
                except BaseException as error:
                    late = self.outcome is not None
                    again_s = None if late else wait_before_retry(self, error)
                    if again_s is None:
                        self._raised(error)
                        return
                    begun, wait_s = None, again_s
                else:
                    late = self.outcome is not None
                    self.settle(OK, part)
                    return
        finally:
            self.release(late=late)

    async def beside(self) -> None:
        """A further attempt, beside one that is slow."""
        late = False
        try:
            part = await self._within(self.attempt())
        except BaseException as error:
            late = self.outcome is not None
            self._raised(error)
        else:
            late = self.outcome is not None
            self.settle(OK, part)
        finally:
            self.release(late=late)

    async def attempt(self) -> Any:
        """Call the branch once more, in a context of the run."""
        current_run.set(self)
        return await self.station.branch.run(self.call)

    async def _within(self, begun: Awaitable[Any]) -> Any:
        """The part of one attempt, within its own limit of time."""
        async with asyncio.timeout(self.station.attempt_s):
            return await begun

    def _raised(self, error: BaseException) -> None:
        """An attempt has raised, which is data, ``SystemExit`` included: it must not end the user's server."""
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            self.settle(RunOutcome.cancelled)
            raise error
        # Where nobody cancelled the run, something that it waited for was cancelled, and that is its failure.
        if isinstance(error, asyncio.CancelledError) and _is_cancelled(asyncio.current_task()):
            self.settle(RunOutcome.cancelled)
        elif self.under_way == 1:  # else another attempt is under way, and may still succeed
            answers = self.station.branch.answers
            answered = answers and isinstance(error, tuple(answers))
            self.settle(RunOutcome.answered if answered else RunOutcome.error, error=error)

    # ---- its end

    def settle(self, outcome: RunOutcome, part: Any = None, error: BaseException | None = None) -> None:
        """End the run, once; whatever comes later changes nothing."""
        fan = self._fan
        if fan is None:
            return
        self._fan = None  # the fan-out holds its runs: a reference back would leave a circle for the garbage collector
        self.finished = self.of.time()
        self.outcome = outcome
        self.part = part
        if error is not None:
            self.error = error
        if fan.has_budget or not self.station.plain:
            close(self, fan)
        fan.count(self)
        fan.pending -= 1
        if fan.pending and outcome is OK and not fan.watched:
            return  # the common case: others are under way, and nobody waits for this one alone
        fan.settled(self)

    def refuse(self, outcome: RunOutcome, reason: str = "", error: BaseException | None = None) -> None:
        """End the run before it began."""
        self.reason = reason
        self.settle(outcome, error=error)

    def soften(self) -> None:
        """The soft timeout: the candidate may be made without it."""
        fan = self._fan
        if fan is not None:
            self.is_soft = True
            fan.softened(self)

    def expire(self) -> None:
        """The hard timeout."""
        self.cut(RunOutcome.hard_timeout)

    def cut(self, outcome: RunOutcome) -> None:
        """End the run from outside: settled at once, its task cancelled. If it goes on regardless, it is an orphan."""
        if self.outcome is not None:
            return
        error = BranchTimeout(f"branch {self.branch} was cut") if outcome is RunOutcome.hard_timeout else None
        self.settle(outcome, error=error)
        self._leave_attempts()

    def _leave_attempts(self, *, but: asyncio.Task[Any] | None = None) -> None:
        """Cancel the attempts that are under way, ``but`` the one that has won: they are orphans until they end."""
        self.station.orphans += self.under_way
        for task in [self.task] if self.timers is None else [self.task, *self.timers.hedges]:
            if task is None:  # its turn has not come
                self.release(late=True)
            elif task is not but and not task.done():
                task.cancel()
                if getcoroutinestate(task.get_coro()) == CORO_CREATED:  # type: ignore[arg-type]  # ours are coroutines
                    self.release(late=True)  # cancelled before its first step, it never comes to its `finally`

    def release(self, *, late: bool = False) -> None:
        """An attempt has ended. ``late``: after the run."""
        station = self.station
        self.under_way -= 1
        if late:
            station.orphans -= 1
        elif self.under_way > 0 and self.outcome is not None:  # it has won, and the others have lost
            self._leave_attempts(but=asyncio.current_task())
        if self.jobs is None or not self._held_by_jobs():
            station.inflight -= 1
        if self.under_way < 1:
            self.task = None  # the task holds this run: no circle here either
            self.timers = None

    def _held_by_jobs(self) -> bool:
        """Whether jobs in a pool go on, which nobody can cancel: the slot is given back when the last one has ended."""
        jobs, self.jobs = [job for job in self.jobs or () if not job.done()], None
        if not jobs:
            return False
        left, station, loop = len(jobs), self.station, self.of.loop
        station.orphans += 1

        def ended() -> None:
            nonlocal left
            left -= 1
            if not left:
                station.inflight -= 1
                station.orphans -= 1

        def from_its_thread(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody asks for the slot any more
                loop.call_soon_threadsafe(ended)

        for job in jobs:
            job.add_done_callback(from_its_thread)
        return True


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    return task is None or task.cancelling() > 0
