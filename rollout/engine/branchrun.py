"""One run of one branch: supervisor, context and outcome in one object, because at three runs a call every object more
is felt.

It is settled exactly once, synchronously: by the branch that returns or raises, by the timer that cuts it, or by the
caller that goes away. A body that swallows its cancellation is left behind as an orphan: nobody waits for it, but its
slot in the bulkhead stays taken until it really ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from rollout.context import RunContext, current_run
from rollout.domain.call import Call
from rollout.domain.cost import Usage
from rollout.domain.outcomes import RunOutcome
from rollout.engine.runs import OK
from rollout.engine.station import Station
from rollout.engine.stepping import first_step, stepped
from rollout.errors import BranchTimeout

if TYPE_CHECKING:
    from rollout.engine.fanout import FanOut


class BranchRun(RunContext):
    """Settled when ``outcome`` is set; ``part`` where it is ok, ``error`` where it raised."""

    # Without slots, so that what most runs never set can be a default of the class.
    usage: Usage | None = None
    outcome: RunOutcome = None  # type: ignore[assignment]  # not settled yet
    part: Any = None
    error: BaseException | None = None
    reason = ""
    began = False
    body: Any = None  # what the branch returned when it was called, until its first step is taken
    task: asyncio.Task[Any] | None = None
    finished = 0.0

    def __init__(self, station: Station, fan: FanOut, call: Call, started: float) -> None:
        self.station = station
        self.call = call
        self.started = started
        self._fan: FanOut | None = fan
        self._of = fan.of

    @property
    def branch(self) -> str:  # type: ignore[override]  # a field of the base, like those below: here it is shared
        return self.station.name

    @property
    def is_shadow(self) -> bool:  # type: ignore[override]
        return self.station.is_shadow

    @property
    def rollout(self) -> str:  # type: ignore[override]
        return self._of.rollout

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        return self.call.deadline

    @property
    def clock(self) -> Callable[[], float]:  # type: ignore[override]
        return self._of.time

    @property
    def blocked(self) -> Callable[[str, str], None] | None:  # type: ignore[override]
        return self._of.blocked if self.station.is_shadow else None

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
            self._raised(error)
        else:
            body, self.body = self.body, None
            if self.station.lane is not None:
                self.station.lane.add(self, self.started)
            if body.__class__ is CoroutineType:
                return self._until_end(stepped(body, context, waited))
            # Another awaitable: it may belong to a task already, so nothing shares one with it.
            self.task = self._of.loop.create_task(self._until_end(body), context=context)
            return None
        self.body = None
        self._release()
        return None

    def begin_alone(self, context: Context) -> None:
        """Run in a task of its own from the first step on."""
        if self.station.lane is not None:
            self.station.lane.add(self, self.started)
        self.task = self._of.loop.create_task(self._until_end(), context=context)

    async def _until_end(self, begun: Awaitable[Any] | None = None) -> None:
        """Wait for what the branch has begun; without ``begun``, call it first."""
        try:
            if begun is None:
                self.began = True
                current_run.set(self)
                begun = self.station.branch.run(self.call)
            part = await begun
        except BaseException as error:
            self._raised(error)
        else:
            self.settle(OK, part)
        finally:
            self._release()

    def _raised(self, error: BaseException) -> None:
        """The branch has raised, which is data, ``SystemExit`` included: it must not end the user's server."""
        if isinstance(error, asyncio.CancelledError):
            task = self.task
            if task is None or task.cancelling():
                self.settle(RunOutcome.cancelled)
            else:  # nobody cancelled the run: something that it waited for was cancelled, and that is its failure
                self.settle(RunOutcome.error, error=error)
        elif isinstance(error, KeyboardInterrupt | GeneratorExit):
            self.settle(RunOutcome.cancelled)
            raise error
        else:
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
        self.finished = self._of.time()
        self.outcome = outcome
        self.part = part
        if error is not None:
            self.error = error
        if not self.station.plain:
            if self.station.lane is not None:
                self.station.lane.remove(self)
            if outcome is OK:
                self._meter(part, fan)
        fan.count(self)
        fan.pending -= 1
        if fan.pending and outcome is OK and not fan.watched:
            return  # the common case: others are under way, and nobody waits for this one alone
        fan.settled(self)

    def expire(self) -> None:
        """The hard timeout."""
        self.cut(RunOutcome.hard_timeout)

    def cut(self, outcome: RunOutcome) -> None:
        """End the run from outside: settled at once, its task cancelled. If it goes on regardless, it is an orphan."""
        if self.outcome is not None:
            return
        error = BranchTimeout(f"branch {self.branch} was cut") if outcome is RunOutcome.hard_timeout else None
        self.settle(outcome, error=error)
        task = self.task
        if not self.began:
            self._release()  # a task cancelled before its first step never runs its finally
        else:
            self.station.orphans += 1
            self.reason = "orphan"
        if task is not None:
            task.cancel()

    def _release(self) -> None:
        self.station.inflight -= 1
        if self.reason == "orphan":
            self.station.orphans -= 1
        self.task = None  # the task holds this run: no circle here either

    def _meter(self, part: Any, fan: FanOut) -> None:
        meter = self.station.branch.meter
        try:
            used = meter(part) if meter is not None else None
        except Exception as error:  # a hook of the user's must not end a run
            fan.of.hook_failed("meter", error)
            return
        if used is not None:
            self.usage = used
