"""A fan-out on its own: ``await fan_out.run(call)`` from any asyncio program, without handler, ramp or database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from time import time as epoch
from typing import Any, Final

from rollout.context import RunContext, current_run
from rollout.definition import Branch, Budget
from rollout.domain.call import Call, Parts
from rollout.domain.cost import Usage
from rollout.domain.dispatching import Dispatch
from rollout.domain.outcomes import RunOutcome
from rollout.domain.prices import PriceBook
from rollout.engine.branchrun import BranchRun
from rollout.engine.fanout import FanOut as Flight
from rollout.engine.fanout import FanOuts
from rollout.engine.joining import Unjoinable, asked
from rollout.engine.runs import RunCell
from rollout.engine.spans import FanOutSpans, Spans
from rollout.engine.station import stations_of
from rollout.engine.timers import Timers, clock_of
from rollout.errors import DeclarationError, FanOutFailed, Problem
from rollout.mistakes.branches import of_branches
from rollout.mistakes.checks import NAME_REMEDY, is_name, is_time, of_hook, of_tracing
from rollout.mistakes.choice import of_budget, of_choice
from rollout.ports import Tracing

Join = Callable[[Call, Parts], Any]
_DEFAULT: Final = Budget()


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How one branch of a fan-out ended. ``reason``: of a branch that did not run. ``latency_s``: seconds."""

    outcome: str
    latency_s: float
    attempts: int
    reason: str = ""
    usage: Usage | None = None
    error: BaseException | None = None


class Answer:
    """What came of one call.

    ``value``: what the aggregator made; without one, the parts by branch name. ``latency_s``: seconds from start to
    answer. ``chosen``: why the dispatch chose these branches.
    """

    __slots__ = ("_fan", "chosen", "latency_s", "value")

    def __init__(self, value: Any, fan: Flight, latency_s: float) -> None:
        self.value = value
        self.latency_s = latency_s
        self.chosen = fan.chosen
        self._fan = fan

    @property
    def parts(self) -> Parts:
        """The parts by branch name; ``missing`` says why the others are not there."""
        return self._fan.parts()

    @property
    def runs(self) -> Mapping[str, RunSummary]:
        """How each branch ended, by name."""
        return _summaries(self._fan)

    @property
    def work_s(self) -> float:
        """Seconds that the branches took together: more than ``latency_s``, as they ran side by side."""
        return sum(run.took_s for run in self._fan.runs.values() if run.began)

    @property
    def is_complete(self) -> bool:
        """Whether every branch that was to run has a part."""
        return all(run.outcome in (RunOutcome.ok, RunOutcome.skipped) for run in self._fan.runs.values())

    def __repr__(self) -> str:
        return f"Answer({self.value!r}, missing={dict(self.parts.missing)})"


class FanOut:
    """Several branches for one call, joined to one answer: ``FanOut("search", [Branch("shop", ask_shop), …])``.

    * ``name``, ``branches``: as of a ``Rollout``; ``part=`` of a branch is not used.
    * ``aggregate``: ``(call, parts) -> value``, sync or async, or ``WAIT``. Default None: the parts as a dict.
    * ``budget``, ``dispatch``, ``quorum``, ``prices``: as of a ``Rollout``.

    Raises ``DeclarationError`` with every mistake. What its runs share (breakers, bulkheads, retry budgets) belongs to
    the event loop it runs on; a run below a shadow is a shadow too, and has its own.
    """

    join: Final = "alone"  # there is no control that it could be laid over, or that could answer instead

    def __init__(
        self,
        name: str,
        branches: Sequence[Branch],
        *,
        aggregate: Join | None = None,
        budget: Budget = _DEFAULT,
        dispatch: Dispatch | None = None,
        quorum: int | None = None,
        prices: PriceBook | None = None,
        on_hook_failure: Callable[[str, BaseException], None] | None = None,
        dice: Callable[[], float] = random.random,
        tracing: Tracing | None = None,
    ) -> None:
        """``on_hook_failure`` is told the name of each hook of yours that raised, and what. ``dice``: for jitter.
        ``tracing``: who makes spans, such as ``rollout_otel.OpenTelemetry()``; default None, nobody.
        """
        self.name = name
        self.branches = branches
        self.aggregate: Any = aggregate if aggregate is not None else _as_dict
        self.budget = budget
        self.dispatch = dispatch
        self.quorum = quorum
        self.prices = prices
        self._tracing = tracing
        problems = [*self._problems()]
        if problems:
            raise DeclarationError(problems)
        self._asks = aggregate is not None
        self._on_hook_failure = on_hook_failure
        self._dice = dice
        self._names = tuple(branch.name for branch in branches)
        self._shared: dict[asyncio.AbstractEventLoop, FanOuts] = {}
        self._live_runs: dict[str, RunCell] = {}
        self._shadow_runs: dict[str, RunCell] = {}
        self.hook_failures: dict[str, int] = {}

    async def run(self, call: Any = None) -> Answer:
        """Run the branches for a call, and join their parts.

        ``call``: a ``Call``, or any value, which is ``call.value`` to the branches. Answers as soon as the outcome is
        decided. Raises ``FanOutFailed`` where a required branch has no part, the quorum cannot be reached, or the
        aggregator raises or is late (its cause says what); a cancellation cuts every branch.
        """
        of = self._of_loop()
        now = of.time()
        around = current_run.get()
        shadow = around is not None and around.is_shadow
        fan = Flight(of, self._names, self._call(call, of, now, around), shadow, copy_context(), self._count)
        if self._tracing is not None:
            FanOutSpans(Spans(self._tracing, of), fan, now)
        try:
            fan.start(now)
            if not fan.is_decided:
                await fan.decided()
            if fan.failed is not None:
                raise self._failed(fan, fan.failed)
            value = await self._made(fan) if self._asks else fan.ok_parts()
            if fan.pending:
                fan.cut(RunOutcome.soft_timeout)  # what the answer was made without
        except BaseException:
            fan.cut(RunOutcome.cancelled)
            raise
        finally:
            if around is not None:
                _pass_on(fan, around)
        return Answer(value, fan, of.time() - now)

    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """(branch, mode) → what its runs came to: ``runs``, ``outcome:<outcome>``, ``retried``, ``sla_missed`` …"""
        both = (("live", self._live_runs), ("shadow", self._shadow_runs))
        return {(name, mode): dict(cell.figures().counts) for mode, cells in both for name, cell in cells.items()}

    def _call(self, given: Any, of: FanOuts, now: float, around: RunContext | None) -> Call:
        """The call with its deadline: that of the budget, or of the run that this one is part of if that is sooner."""
        call = given if isinstance(given, Call) else Call.of_value(given)
        ends = now + self.budget.latency_s
        for outer in (call, around):
            if outer is not None and outer.deadline is not None:
                ends = min(ends, now + (outer.remaining_s or 0.0))
        return call.with_(is_shadow=around is not None and around.is_shadow, deadline=ends, clock=of.time)

    async def _made(self, fan: Flight) -> Any:
        try:
            return await asked(fan, lambda: self.aggregate(fan.call, fan.parts()))
        except Unjoinable as error:
            raise self._failure(fan, str(error)) from error
        except Exception as error:
            raise self._failure(fan, "the aggregator raised") from error

    def _failed(self, fan: Flight, run: BranchRun) -> FanOutFailed:
        why = f"branch {run.branch} ended as {run.outcome}"
        if self.quorum is not None:
            why = f"{fan.ok} of the {self.quorum} parts that are needed, and no more can come ({why})"
        failure = self._failure(fan, why)
        failure.__cause__ = run.error
        return failure

    def _failure(self, fan: Flight, why: str) -> FanOutFailed:
        fan.cut(RunOutcome.cancelled)  # before it is told how each branch ended
        return FanOutFailed(self.name, why, fan.parts(), _summaries(fan))

    def _of_loop(self) -> FanOuts:
        """What is shared by the runs on this event loop."""
        loop = asyncio.get_running_loop()
        found = self._shared.get(loop)
        if found is None:
            self._shared = {known: shared for known, shared in self._shared.items() if not known.is_closed()}
            timers, time = Timers(loop), clock_of(loop)
            found = self._shared[loop] = FanOuts(
                rollout=self.name,
                loop=loop,
                time=time,
                live=stations_of(self.branches, "live", timers, time()),
                shadow=stations_of(self.branches, "shadow", timers, time()),
                deadlines=timers.lane(self.budget.latency_s),
                hook_failed=self._hook_failed,
                blocked=_refused,
                asks=self._asks,
                dispatch=self.dispatch,
                quorum=self.quorum,
                tokens=self.budget.tokens,
                nano=self.budget.nano,
                prices=self.prices,
                dice=self._dice,
                wall=epoch,
            )
        return found

    def _count(self, run: BranchRun) -> None:
        station = run.station
        cells = self._shadow_runs if station.is_shadow else self._live_runs
        cell = cells.get(station.name)
        if cell is None:
            cell = cells[station.name] = RunCell()
        cell.count(run)

    def _hook_failed(self, hook: str, error: BaseException) -> None:
        self._count_failure(hook)
        if self._on_hook_failure is not None:
            try:
                self._on_hook_failure(hook, error)
            except Exception:  # a hook too
                self._count_failure("on_hook_failure")

    def _count_failure(self, hook: str) -> None:
        self.hook_failures[hook] = self.hook_failures.get(hook, 0) + 1

    def _problems(self) -> list[Problem]:
        where = f'fan-out "{self.name}"'
        found = [] if is_name(self.name) else [Problem(where, "the name is not usable", NAME_REMEDY)]
        if isinstance(self.branches, str) or not isinstance(self.branches, Sequence):
            return [*found, Problem(where, f"branches is {self.branches!r}", "give a list of Branch(...)")]
        if not is_time(getattr(self.budget, "latency_s", None)):
            found.append(Problem(f"{where}, budget", "latency_s is no time", "it must be above 0 seconds and finite"))
        return [
            *found,
            *of_branches(self, where),
            *of_choice(self, where),
            *of_budget(self.budget, f"{where}, budget"),
            *of_hook(where, "aggregate", self.aggregate),
            *of_tracing(where, self._tracing),
        ]


def _pass_on(fan: Flight, around: RunContext) -> None:
    """What the branches used is used by the run that they are part of."""
    for run in fan.runs.values():
        if run.usage is not None:
            if around.usage is None:
                around.usage = Usage()
            around.usage.merge(run.usage)


def _as_dict(call: Call, parts: Parts) -> dict[str, Any]:
    return dict(parts)


def _refused(method: str, address: str) -> None:
    """A guarded client has refused a side effect of a shadow: it has raised, and that is the branch's error."""


def _summaries(fan: Flight) -> dict[str, RunSummary]:
    return {
        name: RunSummary(
            str(run.outcome or RunOutcome.soft_timeout), run.took_s, run.attempts, run.reason, run.usage, run.error
        )
        for name, run in fan.runs.items()
    }
