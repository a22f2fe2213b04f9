"""One fan-out: every chosen branch at most once, each in a task of its own, each cut from outside.

``FanOut.start`` starts what comes after nothing; what ends starts what waited for it. A ``BranchRun`` is the
supervisor, the context and the outcome of one run in one object, because at three runs a call every object more is
felt. It is settled exactly once, synchronously: by the branch that returns or raises, by the timer that cuts it, or
by the caller that goes away. A body that swallows its cancellation is left behind as an orphan: nobody waits for it,
but its slot in the bulkhead stays taken until it really ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from types import CoroutineType
from typing import Any, Final

from rollout.context import RunContext, current_run
from rollout.definition import Branch
from rollout.domain.call import Call, Parts
from rollout.domain.cost import Usage
from rollout.domain.outcomes import RunOutcome
from rollout.engine.runs import OK
from rollout.engine.stepping import stepped
from rollout.engine.timers import TimerLane, Timers
from rollout.errors import BranchTimeout, Rejected

_LONG_S: Final = 0.001
#: A branch that is skipped was not wanted: by its `when=`, or because what it comes after was not, or has failed.
_NO_FAILURE = (RunOutcome.answered, RunOutcome.skipped)


class Station:
    """One branch of a rollout in this process: its bulkhead and its timer lane. ``mode``: live or shadow."""

    __slots__ = ("after", "branch", "inflight", "lane", "mode", "name", "orphans", "plain", "sla_s")

    def __init__(self, branch: Branch, mode: str, lane: TimerLane | None) -> None:
        """``lane``: of its hard timeout; None where it has none of its own."""
        self.branch = branch
        self.name = branch.name
        self.mode = mode
        self.after = branch.depends_on
        self.sla_s = branch.sla_s if branch.sla_s is not None else float("inf")
        self.lane = lane
        self.plain = lane is None and branch.meter is None  # nothing to do at the end of a run but to count it
        self.inflight = 0
        self.orphans = 0


class BranchRun(RunContext):
    """One run of one branch. Settled when ``outcome`` is set; ``part`` where it is ok, ``error`` where it raised."""

    # Without slots, so that what most runs never set can be a default of the class.
    usage: Usage | None = None
    outcome: RunOutcome = None  # type: ignore[assignment]  # not settled yet
    part: Any = None
    error: BaseException | None = None
    reason = ""
    began = False
    task: asyncio.Task[None] | None = None
    finished = 0.0

    def __init__(self, station: Station, fan: FanOut, call: Call, started: float) -> None:
        self.station = station
        self.branch = station.name
        self.is_shadow = fan.shadow
        self.call = call
        self.started = started
        self._fan: FanOut | None = fan
        self._of = fan.of

    @property
    def rollout(self) -> str:  # type: ignore[override]  # a field of the base: here it belongs to the fan-out
        return self._of.rollout

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        return self.call.deadline

    @property
    def clock(self) -> Callable[[], float]:  # type: ignore[override]
        return self._of.time

    @property
    def blocked(self) -> Callable[[str, str], None] | None:  # type: ignore[override]
        return self._of.blocked if self.is_shadow else None

    async def drive(self, context: Context | None = None, waits: Callable[[], None] | None = None) -> None:
        """The body of the run's task. In a task that it shares: ``context`` is its own, and ``waits`` is called when
        it has to wait for the first time.
        """
        self.began = True
        station = self.station
        try:
            if context is None or waits is None:
                current_run.set(self)
                part = await station.branch.run(self.call)
            else:
                context.run(current_run.set, self)
                body = context.run(station.branch.run, self.call)
                if body.__class__ is CoroutineType:
                    part = await stepped(body, context, waits)
                else:  # another awaitable: it may belong to a task already, so nothing shares one with it
                    waits()
                    part = await body
        except asyncio.CancelledError as error:
            task = self.task
            if task is None or task.cancelling():
                self.settle(RunOutcome.cancelled)
            else:  # nobody cancelled the run: something that it waited for was cancelled, and that is its failure
                self.settle(RunOutcome.error, error=error)
        except (KeyboardInterrupt, GeneratorExit):
            self.settle(RunOutcome.cancelled)
            raise
        except BaseException as error:  # data, SystemExit included: it must not end the user's server
            answered = station.branch.answers and isinstance(error, tuple(station.branch.answers))
            self.settle(RunOutcome.answered if answered else RunOutcome.error, error=error)
        else:
            self.settle(OK, part)
        finally:
            self._release()

    def settle(self, outcome: RunOutcome, part: Any = None, error: BaseException | None = None) -> None:
        """End the run, once; whatever comes later changes nothing."""
        fan = self._fan
        if fan is None:
            return
        self._fan = None  # the fan-out holds its runs: a reference back would leave a circle for the garbage collector
        self.finished = self._of.time()
        self.outcome = outcome
        self.part = part
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

    @property
    def took_s(self) -> float:
        """Seconds from start to end."""
        return self.finished - self.started


class FanOuts:
    """What the fan-outs of a rollout share. ``hook_failed`` is told of hooks of the user's that raise, ``blocked``
    of side effects that
    the guarded client refused in shadow; ``deadlines`` is the timer lane of whole calls."""

    __slots__ = ("blocked", "deadlines", "hook_failed", "live", "loop", "rollout", "shadow", "time")

    def __init__(
        self,
        rollout: str,
        loop: asyncio.AbstractEventLoop,
        time: Callable[[], float],
        live: Mapping[str, Station],
        shadow: Mapping[str, Station],
        deadlines: TimerLane,
        hook_failed: Callable[[str, BaseException], None],
        blocked: Callable[[str, str], None],
    ) -> None:
        self.rollout = rollout
        self.loop = loop
        self.time = time
        self.live = live
        self.shadow = shadow
        self.deadlines = deadlines
        self.hook_failed = hook_failed
        self.blocked = blocked


class FanOut:
    """The runs of one call. ``failed``: the first required one that ended without a part or an answer; ``begun``:
    when it started, on
    the loop's clock."""

    __slots__ = (
        "_for_all",
        "_names",
        "_on_end",
        "_shared",
        "_together",
        "_waiter",
        "_wanted",
        "begun",
        "call",
        "context",
        "count",
        "failed",
        "of",
        "pending",
        "runs",
        "shadow",
        "stations",
    )

    def __init__(
        self,
        of: FanOuts,
        names: Sequence[str],
        call: Call,
        shadow: bool,
        context: Context,
        count: Callable[[BranchRun], None],
        earlier: Mapping[str, BranchRun] | None = None,
    ) -> None:
        """``names``: what is to run. ``count`` is told of each run that ends. ``earlier``: runs of the same call that
        ended before, whose parts count."""
        self.of = of
        self.stations = of.shadow if shadow else of.live
        self.call = call
        self.shadow = shadow
        self.context = context
        self.count = count
        self.runs: dict[str, BranchRun] = dict(earlier) if earlier else {}
        self.pending = 0
        self.failed: BranchRun | None = None
        self._names = names
        self._on_end: Callable[[], None] | None = None
        self._together: list[BranchRun] | None = None
        self._wanted: list[str] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def start(self, on_end: Callable[[], None] | None = None) -> None:
        """Start every branch that waits for nothing. ``on_end`` is called once, when all are settled; it must not
        raise.
        """
        now = self.begun = self.of.time()
        stations = self.stations
        together: list[BranchRun] = []
        self._together = together
        waiting: list[str] | None = None
        for name in self._names:
            station = stations[name]
            if not station.after:
                self._begin(station, self.call, now)
            elif waiting is None:
                waiting = [name]
            else:
                waiting.append(name)
        self._together = None
        if together:
            if len(together) == 1:
                self._drive_alone(together[0])
            else:
                self._shared = self.of.loop.create_task(self._in_turn(together))
        if waiting:
            self._wanted = waiting
            self._begin_waiting()
        if self.pending:
            self.of.deadlines.add(self, now)
            self._on_end = on_end
        elif on_end is not None:
            on_end()

    def _begin(self, station: Station, call: Call, now: float) -> None:
        run = BranchRun(station, self, call, now)
        self.runs[station.name] = run
        self.pending += 1
        branch = station.branch
        if branch.when is not None and not self._wants(branch, call):
            run.reason = "when"
            run.settle(RunOutcome.skipped)
        elif station.inflight >= branch.max_concurrency:
            run.settle(
                RunOutcome.rejected,
                error=Rejected(f"branch {branch.name}: {branch.max_concurrency} runs are under way"),
            )
        else:
            station.inflight += 1
            if station.lane is not None:
                station.lane.add(run, now)
            if self._together is not None:
                self._together.append(run)
            else:
                self._drive_alone(run)

    def _drive_alone(self, run: BranchRun) -> None:
        run.task = self.of.loop.create_task(run.drive(), context=self.context.copy())

    async def _in_turn(self, together: list[BranchRun]) -> None:
        """Drive runs in this task, in turn, while none has to wait (``stepping``)."""
        mine = asyncio.current_task()

        def part_ways() -> None:
            for other in together:
                if other.outcome is None:
                    self._drive_alone(other)
            together.clear()

        together.reverse()
        time = self.of.time
        at = time()
        while together:
            run = together.pop()
            if run.outcome is None:
                run.task = mine
                await run.drive(self.context.copy(), part_ways)
                if run.finished - at > _LONG_S:  # it computed instead of waiting: let the loop breathe before the next
                    part_ways()
                at = run.finished

    def _begin_waiting(self) -> None:
        """Start what only waited for branches that are settled; skip what waited for one that has no part."""
        moved = True
        while moved and self._wanted:
            moved = False
            for name in list(self._wanted):
                if not self._wanted or name not in self._wanted:
                    continue  # a run that began here has ended here, and the walk that this began was faster
                station = self.stations[name]
                needed = [self.runs.get(other) for other in station.after]
                if any(run is None and other in self._wanted for run, other in zip(needed, station.after, strict=True)):
                    continue
                if any(run is not None and run.outcome is None for run in needed):
                    continue
                self._wanted.remove(name)
                moved = True
                parts = {run.branch: run.part for run in needed if run is not None and run.outcome is OK}
                call = self.call.with_(
                    parts=Parts(parts, {name: "missing" for name in station.after if name not in parts})
                )
                if all(other in parts or not self.stations[other].branch.required for other in station.after):
                    self._begin(station, call, self.of.time())
                else:
                    self._skip(station, call)

    def _skip(self, station: Station, call: Call) -> None:
        run = BranchRun(station, self, call, self.of.time())
        self.runs[station.name] = run
        self.pending += 1
        run.reason = "after"
        run.settle(RunOutcome.skipped)

    def _wants(self, branch: Branch, call: Call) -> bool:
        try:
            return bool(branch.when(call)) if branch.when is not None else True
        except Exception as error:  # a hook of the user's, counted: what the candidate needs runs, the rest does not
            self.of.hook_failed("when", error)
            return branch.required

    @property
    def watched(self) -> bool:
        """Whether the end of a single run matters: a branch comes after it, or somebody waits for the first failure."""
        return self._wanted is not None or self._waiter is not None

    def settled(self, run: BranchRun) -> None:
        """A run has ended: start what waited for it; wake whoever waits for all, or for the first failure."""
        if self._wanted:
            self._begin_waiting()
        if run.outcome is not OK and run.station.branch.required and run.outcome not in _NO_FAILURE:
            self.failed = self.failed or run
        if not self.pending:
            self.of.deadlines.remove(self)
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end()
        waiter = self._waiter
        if (
            waiter is not None
            and not waiter.done()
            and (not self.pending or (self.failed is not None and not self._for_all))
        ):
            waiter.set_result(None)

    async def decided(self) -> None:
        """Wait until every run is settled, or a required one has failed."""
        if self.pending and self.failed is None:
            await self._wait(for_all=False)

    async def finished(self) -> None:
        """Wait until every run is settled."""
        while self.pending:
            await self._wait(for_all=True)

    async def _wait(self, *, for_all: bool) -> None:
        waiter = self._waiter = self.of.loop.create_future()
        self._for_all = for_all
        try:
            await waiter
        finally:
            self._waiter = None

    def expire(self) -> None:
        """The deadline of the call."""
        self.cut(RunOutcome.hard_timeout)

    def cut(self, outcome: RunOutcome) -> None:
        """End every run that is not settled, and start none of those that wait."""
        waiting, self._wanted = self._wanted, None
        for name in waiting or ():
            self._skip(self.stations[name], self.call)
        for run in list(self.runs.values()):
            run.cut(outcome)

    def parts(self) -> Parts:
        """What the aggregator gets."""
        parts: dict[str, Any] = {}
        missing: dict[str, str] = {}
        for name in self.stations:
            run = self.runs.get(name)
            if run is None:
                missing[name] = "not_live"
            elif run.outcome is OK:
                parts[name] = run.part
            else:
                missing[name] = f"{run.outcome}({run.reason})" if run.reason else str(run.outcome or "pending")
        return Parts(parts, missing)


def stations_of(branches: Sequence[Branch], mode: str, timers: Timers) -> dict[str, Station]:
    """The stations of a rollout's branches for one mode, in the order declared.

    A branch without a hard timeout of its own has no timer: the deadline of the call, which a spec may move, cuts it.
    """
    lanes = {b.name: None if b.hard_timeout_s is None else timers.lane(b.hard_timeout_s) for b in branches}
    return {branch.name: Station(branch, mode, lanes[branch.name]) for branch in branches}
