"""One fan-out: every chosen branch at most once, each in a task of its own or in turn, each cut from outside.

``FanOut.start`` starts what comes after nothing; what ends starts what waited for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from typing import Any, Final

from rollout.definition import Branch
from rollout.domain.call import Call, Parts
from rollout.domain.outcomes import RunOutcome
from rollout.engine.branchrun import BranchRun
from rollout.engine.runs import OK
from rollout.engine.station import Station
from rollout.engine.timers import TimerLane
from rollout.errors import Rejected

_LONG_S: Final = 0.001
#: A branch that is skipped was not wanted: by its `when=`, or because what it comes after was not, or has failed.
_NO_FAILURE = (RunOutcome.answered, RunOutcome.skipped)


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
        "_timed",
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
        self._wanted: list[str] | None = None  # those that wait for others
        self._timed = False
        self._waiter: asyncio.Future[None] | None = None

    def start(
        self, now: float, on_end: Callable[[], None] | None = None, task: asyncio.Task[Any] | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """Start every branch that waits for nothing. ``now``: of the clock. ``on_end`` is called once, when all are
        settled; it must not raise.

        ``task``: the one that runs now, if it may be used; what is returned then is to be awaited in it. Without, the
        branches get tasks.
        """
        self.begun = now
        self._on_end = on_end
        self.pending = 1  # until all have begun, so that nothing ends before
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
        self._wanted = waiting
        rest = None
        if together:
            if task is not None:
                rest = self._take_turns(together, task)
            elif len(together) == 1:
                together[0].begin_alone(self.context.copy())
            else:
                self._shared = self.of.loop.create_task(self._in_turn(together))
        if self._wanted:
            self._begin_waiting()
        self.pending -= 1
        if self.pending:
            self._timed = True
            self.of.deadlines.add(self, now)
        else:
            self._ended()
        return rest

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
            if self._together is not None:
                self._together.append(run)
            else:
                run.begin_alone(self.context.copy())

    async def _in_turn(self, together: list[BranchRun]) -> None:
        task = asyncio.current_task()
        assert task is not None
        rest = self._take_turns(together, task)
        if rest is not None:
            await rest

    def _take_turns(self, together: list[BranchRun], task: asyncio.Task[Any]) -> Coroutine[Any, Any, None] | None:
        """The first steps of the runs, one after another in ``task`` (``stepping``), which the first that has to wait
        keeps: what is left of it is returned, and the others get tasks.
        """
        context = self.context
        at = self.begun
        rest = None
        for number, run in enumerate(together):
            if run.outcome is not None:
                continue
            rest = run.begin(task, context.copy())
            # One that computed instead of waiting: let the loop breathe before the next. One that was cancelled and
            # did not mind: the cancellation would meet the next.
            if rest is not None or run.finished - at > _LONG_S or task.cancelling():
                for other in together[number + 1 :]:
                    if other.outcome is None:
                        other.begin_alone(context.copy())
                break
            at = run.finished
        return rest

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
            self._ended()
        waiter = self._waiter
        if (
            waiter is not None
            and not waiter.done()
            and (not self.pending or (self.failed is not None and not self._for_all))
        ):
            waiter.set_result(None)

    def _ended(self) -> None:
        if self._timed:
            self.of.deadlines.remove(self)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

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
