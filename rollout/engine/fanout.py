"""One fan-out: every chosen branch at most once, each in a task of its own or in turn, each cut from outside.

``FanOut.start`` starts what comes after nothing; what ends starts what waited for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from time import time as epoch
from typing import TYPE_CHECKING, Any, Final

from rollout.domain.budget import Account, DailyBudget
from rollout.domain.call import Call, Parts
from rollout.domain.cost import Usage
from rollout.domain.dispatching import Dispatch, chosen_by
from rollout.domain.outcomes import RunOutcome
from rollout.domain.prices import PriceBook, priced
from rollout.engine.attempts import HOOK_FAILURES
from rollout.engine.branchrun import BranchRun
from rollout.engine.doors import refuse_full, refused
from rollout.engine.runs import OK
from rollout.engine.station import Station
from rollout.engine.timers import TimerLane

if TYPE_CHECKING:
    from rollout.engine.spans import FanOutSpans

_LONG_S: Final = 0.001
#: A branch that is skipped was not wanted: by its `when=`, or because what it comes after was not, or has failed.
_NO_FAILURE: Final = (OK, RunOutcome.answered, RunOutcome.skipped)


@dataclass(slots=True, kw_only=True, eq=False)
class FanOuts:
    """What the fan-outs of a rollout share.

    ``deadlines``: the timer lane of whole calls. ``hook_failed`` is told of hooks of the user's that raise, ``blocked``
    of side effects that the guarded client refused in shadow. ``asks``: whether an aggregator of the user's makes the
    candidate, so that it may make one without a required branch that is late. ``tokens`` and ``nano``: the budget of
    one call. ``daily``: of shadows. ``dice``, ``wall``: for jitter, and the epoch seconds of this machine.
    """

    rollout: str
    loop: asyncio.AbstractEventLoop
    time: Callable[[], float]
    live: Mapping[str, Station]
    shadow: Mapping[str, Station]
    deadlines: TimerLane
    hook_failed: Callable[[str, BaseException], None]
    blocked: Callable[[str, str], None]
    asks: bool = False
    dispatch: Dispatch | None = None
    quorum: int | None = None
    tokens: int | None = None
    nano: int | None = None
    prices: PriceBook | None = None
    daily: DailyBudget | None = None
    dice: Callable[[], float] = random.random
    wall: Callable[[], float] = epoch

    def account(self) -> Account | None:
        """What one call may spend; None where nothing limits it."""
        if self.tokens is None and self.nano is None:
            return None
        return Account(self.tokens, self.nano)

    def price(self, usage: Usage | None) -> Usage | None:
        """The usage with its cost, where a model's price is known and nobody said the cost."""
        return usage if usage is None or self.prices is None else priced(usage, self.prices)


class FanOut:
    """The runs of one call.

    ``failed``: the run that makes a candidate impossible, if one does. ``begun``: when it started, on the loop's clock.
    ``pending``: runs that are not settled; ``soft``: those of them that the candidate may be made without by now.
    ``chosen``: why the dispatch chose these branches. ``spans``: of this fan-out, where calls are traced.
    """

    __slots__ = (
        "_any_end",
        "_begins",
        "_names",
        "_needed",
        "_on_end",
        "_shared",
        "_sooner",
        "_timed",
        "_together",
        "_waiter",
        "_wanted",
        "account",
        "begun",
        "call",
        "chosen",
        "context",
        "count",
        "failed",
        "has_budget",
        "of",
        "pending",
        "runs",
        "shadow",
        "soft",
        "spans",
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
        self.soft = 0
        self.failed: BranchRun | None = None
        self.account = of.account()
        self.has_budget = self.account is not None or (shadow and of.daily is not None)
        self.chosen = ""
        self.spans: FanOutSpans | None = None
        self._names = names
        self._on_end: Callable[[], None] | None = None
        self._together: list[BranchRun] | None = None
        self._wanted: list[str] | None = None  # those that wait for others
        self._begins = False  # some of them, at this moment
        self._timed = False
        self._sooner: asyncio.TimerHandle | None = None
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
        self._needed = 0  # parts, to the quorum
        stations = self.stations
        together: list[BranchRun] = []
        self._together = together
        waiting: list[str] | None = None
        names = self._names
        if names and self.of.dispatch is not None:
            names = self._dispatched(self.of.dispatch)
        for name in names:
            station = stations[name]
            if not station.after:
                self._begin(station, self.call, now)
            elif waiting is None:
                waiting = [name]
            else:
                waiting.append(name)
        self._together = None
        self._wanted = waiting
        if self.of.quorum is not None:
            self._needed = min(self.of.quorum, self.ok + len(names)) - self.ok
        rest = None
        if together:
            if task is not None:
                rest = self._take_turns(together, task)
            else:
                self._shared = self.of.loop.create_task(self._in_turn(together))
        if self._wanted:
            self._begin_waiting()
        self.pending -= 1
        if self.of.quorum is not None:
            self._despair()
        if not self.pending:
            self._ended()
        elif task is not None or self.pending > len(together):
            self._limit_time()
        return rest

    def _limit_time(self) -> None:
        """The call has to wait for something: its deadline begins, counted from its start."""
        if self._timed:
            return
        self._timed = True
        self.of.deadlines.add(self, self.begun)
        deadline = self.call.deadline
        if deadline is not None and deadline < self.begun + self.of.deadlines.timeout_s - _LONG_S:
            self._sooner = self.of.loop.call_later(deadline - self.of.time(), self.expire)  # of whoever asked

    def _dispatched(self, dispatch: Dispatch) -> Sequence[str]:
        """The names that the dispatch chose for this call; the others are skipped."""
        try:
            found = chosen_by(dispatch, self.call, self.stations)
            names, self.chosen = found.names, found.reason
        except HOOK_FAILURES as error:  # a hook of the user's, counted: what the candidate needs runs
            self.of.hook_failed("dispatch", error)
            names, self.chosen = [name for name, station in self.stations.items() if station.required], "failed"
        for name in self._names:
            if name not in names:
                self._skip(self.stations[name], self.call, "dispatch")
        return [name for name in self._names if name in names]

    def _begin(self, station: Station, call: Call, now: float) -> None:
        run = BranchRun(station, self, call, now)
        self.runs[station.name] = run
        self.pending += 1
        if (self.has_budget or not station.open_door) and refused(self, run, now):
            return
        if station.inflight >= station.branch.max_concurrency:
            refuse_full(run)
            return
        station.inflight += 1
        if station.retry_budget is not None:
            station.retry_budget.deposit(now)
        if self._together is not None and not station.waits:
            self._together.append(run)
        else:
            station.waits = max(0, station.waits - 1)
            run.begin_alone(self.context.copy() if self.spans is None else self.spans.context_of(run))

    async def _in_turn(self, together: list[BranchRun]) -> None:
        task = asyncio.current_task()
        assert task is not None
        rest = self._take_turns(together, task)
        if self.pending:
            self._limit_time()
        if rest is not None:
            await rest

    def _take_turns(self, together: list[BranchRun], task: asyncio.Task[Any]) -> Coroutine[Any, Any, None] | None:
        """The first steps of the runs, one after another in ``task`` (``stepping``), which the first that has to wait
        keeps: what is left of it is returned, and the others get tasks.
        """
        context, spans = self.context, self.spans
        at = self.begun
        rest = None
        for number, run in enumerate(together):
            if run.outcome is not None:
                continue
            rest = run.begin(task, context.copy() if spans is None else spans.context_of(run))
            # One that computed instead of waiting: let the loop breathe before the next. One that was cancelled and
            # did not mind: the cancellation would meet the next.
            if rest is not None or run.finished - at > _LONG_S or task.cancelling():
                for other in together[number + 1 :]:
                    if other.outcome is None:
                        other.begin_alone(context.copy() if spans is None else spans.context_of(other))
                break
            at = run.finished or at
        return rest

    def _begin_waiting(self) -> None:
        """Start what only waited for branches that are settled; skip what waited for one that has no part."""
        if self._begins:
            return  # a run that began below has ended there: what waited for it is found in the next round
        self._begins = True
        self.pending += 1  # until all have begun, so that nothing ends before
        moved = True
        while moved and self._wanted:
            moved = False
            for name in list(self._wanted):
                station = self.stations[name]
                needed = [self.runs.get(other) for other in station.after]
                if any(run is None and other in self._wanted for run, other in zip(needed, station.after, strict=True)):
                    continue
                if any(run is not None and run.outcome is None for run in needed):
                    continue
                self._wanted.remove(name)
                moved = True
                parts = {run.branch: run.part for run in needed if run is not None and run.outcome is OK}
                missing = {other: _why_missing(self.runs.get(other)) for other in station.after if other not in parts}
                call = self.call.with_(parts=Parts(parts, missing))
                if all(other in parts or not self.stations[other].required for other in station.after):
                    self._begin(station, call, self.of.time())
                else:
                    self._skip(station, call, "after")
        self.pending -= 1
        self._begins = False

    def _skip(self, station: Station, call: Call, reason: str) -> None:
        run = BranchRun(station, self, call, self.of.time())
        self.runs[station.name] = run
        self.pending += 1
        run.refuse(RunOutcome.skipped, reason)

    @property
    def watched(self) -> bool:
        """Whether the end of a single run matters, and not only that of the last."""
        return self._wanted is not None or self.soft > 0 or self.of.quorum is not None

    @property
    def ok(self) -> int:
        """How many parts there are."""
        return sum(run.outcome is OK for run in self.runs.values())

    def settled(self, run: BranchRun) -> None:
        """A run has ended: start what waited for it, end what is not needed any more, wake whoever waits."""
        if run.is_soft:
            self.soft -= 1
        if self._wanted:
            self._begin_waiting()
        if self.of.quorum is not None:
            self._count_vote(run)
        elif run.station.required and run.outcome not in _NO_FAILURE:
            self.failed = self.failed or run
        self._look()

    def softened(self, run: BranchRun) -> None:
        """A run has passed its soft timeout: the candidate may be made without it, if that is possible at all."""
        if self.of.asks or (self.of.quorum is None and not run.station.required):
            self.soft += 1
            self._look()
        else:
            run.is_soft = False

    def _count_vote(self, run: BranchRun) -> None:
        """So many parts are enough."""
        if run.outcome is OK:
            self._needed -= 1
            if self._needed == 0:
                self.cut(RunOutcome.cancelled, "quorum")
        self._despair()

    def _despair(self) -> None:
        """So few parts as are left to come are not enough."""
        if self.failed is None and self.pending + len(self._wanted or ()) < self._needed:
            self.failed = next(run for run in self.runs.values() if run.outcome not in (None, OK))

    def _look(self) -> None:
        """Whether this was the last run, or what somebody waits for."""
        waiter = self._waiter
        if self.pending and self.pending == self.soft and self._on_end is not None:
            self._go_on_without()
        elif not self.pending:
            self._ended()
        if waiter is not None and not waiter.done() and (self._any_end or self.is_decided):
            waiter.set_result(None)

    @property
    def is_decided(self) -> bool:
        """Whether there can be a candidate by now, or can be none."""
        return self.pending <= self.soft or self.failed is not None

    def _go_on_without(self) -> None:
        """In shadow, as in a live call: an aggregator of the user's is asked with what is there, and may wait for more;
        else what is late is cut.
        """
        if self.of.asks:
            self._tell_end()
        else:
            self.cut(RunOutcome.soft_timeout)

    def _ended(self) -> None:
        if self._timed:
            self.of.deadlines.remove(self)
            if self._sooner is not None:
                self._sooner.cancel()
                self._sooner = None
        if self.spans is not None:
            self.spans.end(self)
        self._tell_end()

    def _tell_end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    async def decided(self) -> None:
        """Wait until every run is settled or late, or a candidate is impossible."""
        while not self.is_decided:
            await self._next(any_end=False)

    @property
    def ended(self) -> int:
        """How many runs are settled."""
        return sum(run.outcome is not None for run in self.runs.values())

    async def more_than(self, ended: int) -> None:
        """Wait until more runs than these are settled, as long as one is under way and a candidate possible."""
        while self.pending and self.failed is None and self.ended <= ended:
            await self._next(any_end=True)

    def _next(self, *, any_end: bool) -> asyncio.Future[None]:
        """Done when the outcome is decided, or, with ``any_end``, when a run is settled."""
        self._any_end = any_end
        self._waiter = self.of.loop.create_future()
        return self._waiter

    def expire(self) -> None:
        """The deadline of the call."""
        self.cut(RunOutcome.hard_timeout)

    def cut(self, outcome: RunOutcome, reason: str = "") -> None:
        """End every run that is not settled, and start none of those that wait."""
        if not self.pending:
            return
        waiting, self._wanted = self._wanted, None
        self.pending += 1  # until all have ended, so that nobody sees some of them only
        for run in list(self.runs.values()):
            if run.outcome is None:
                run.reason = reason
                run.cut(outcome)
        for name in waiting or ():
            self._skip(self.stations[name], self.call, reason or "after")
        self.pending -= 1
        self._look()

    def ok_parts(self) -> dict[str, Any]:
        """The parts that are there, by branch name."""
        return {name: run.part for name, run in self.runs.items() if run.outcome is OK}

    def parts(self) -> Parts:
        """What the aggregator gets."""
        parts: dict[str, Any] = {}
        missing: dict[str, str] = {}
        for name in self.stations:
            run = self.runs.get(name)
            if run is not None and run.outcome is OK:
                parts[name] = run.part
            else:
                missing[name] = _why_missing(run)
        return Parts(parts, missing)


def _why_missing(run: BranchRun | None) -> str:
    """Such as ``"error"``, ``"skipped(when)"``, ``"not_live"``, ``"soft_timeout"`` (also of one that is under way)."""
    if run is None:
        return "not_live"
    if run.outcome is None:
        return "soft_timeout" if run.is_soft else "pending"
    return f"{run.outcome}({run.reason})" if run.reason else str(run.outcome)
