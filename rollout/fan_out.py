"""A fan-out on its own: ``await fan_out.run(call)`` from any asyncio program, without handler, ramp or database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from time import time as epoch
from typing import Any, Final
from weakref import WeakKeyDictionary

from rollout.context import current_run, in_shadow
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
from rollout.engine.station import stations_of
from rollout.engine.timers import Timers, clock_of
from rollout.errors import DeclarationError, FanOutFailed, Problem
from rollout.mistakes.branches import of_branches
from rollout.mistakes.checks import NAME_REMEDY, is_name, is_time, of_hook
from rollout.mistakes.choice import of_budget, of_choice

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


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    ``value``: what the aggregator made; without one, the parts by branch name. ``runs``: by branch name. ``latency_s``:
    from start to answer; ``work_s``: what the branches took together. ``chosen``: why the dispatch chose them.
    """

    value: Any
    parts: Parts
    runs: Mapping[str, RunSummary]
    latency_s: float
    work_s: float
    chosen: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether every branch that was to run has a part."""
        return all(run.outcome in (RunOutcome.ok, RunOutcome.skipped) for run in self.runs.values())


class FanOut:
    """Several branches for one call, joined to one answer: ``FanOut("search", [Branch("shop", ask_shop), …])``.

    * ``name``, ``branches``: as of a ``Rollout``; ``part=`` of a branch is not used.
    * ``aggregate``: ``(call, parts) -> value``, sync or async, or ``WAIT``. Default None: the parts as a dict.
    * ``budget``, ``dispatch``, ``quorum``, ``prices``: as of a ``Rollout``.

    Raises ``DeclarationError`` with every mistake. What its runs share (breakers, bulkheads, retry budgets) belongs to
    the event loop it runs on; a run below a shadow is a shadow too, and has its own.
    """

    join: Final = "replace"  # there is no control that it could be laid over

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
    ) -> None:
        """``on_hook_failure`` is told the name of each hook of yours that raised, and what. ``dice``: for jitter."""
        self.name = name
        self.branches = branches
        self.aggregate: Any = aggregate if aggregate is not None else _as_dict
        self.budget = budget
        self.dispatch = dispatch
        self.quorum = quorum
        self.prices = prices
        problems = [*self._problems()]
        if problems:
            raise DeclarationError(problems)
        self._asks = aggregate is not None
        self._on_hook_failure = on_hook_failure
        self._dice = dice
        self._names = tuple(branch.name for branch in branches)
        self._shared: WeakKeyDictionary[asyncio.AbstractEventLoop, FanOuts] = WeakKeyDictionary()
        self._runs: dict[tuple[str, str], RunCell] = {}
        self.hook_failures: dict[str, int] = {}

    async def run(self, call: Any = None) -> Answer:
        """Run the branches for a call, and join their parts.

        ``call``: a ``Call``, or any value, which is ``call.value`` to the branches. Answers as soon as the outcome is
        decided. Raises ``FanOutFailed`` where a required branch has no part, the quorum cannot be reached, or the
        aggregator raises or is late (its cause says what); a cancellation cuts every branch.
        """
        of = self._of_loop()
        now = of.time()
        fan = Flight(of, self._names, self._call(call, of, now), in_shadow(), copy_context(), self._count)
        try:
            fan.start(now)
            await fan.decided()
            if fan.failed is not None:
                raise self._failed(fan, fan.failed)
            value = await self._made(fan)
        finally:
            late = fan.failed is None
            fan.cut(RunOutcome.soft_timeout if late and fan.is_decided else RunOutcome.cancelled)
        return Answer(value, fan.parts(), _summaries(fan), of.time() - now, _work_s(fan), fan.chosen)

    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """(branch, mode) → what its runs came to: ``runs``, ``outcome:<outcome>``, ``retried``, ``sla_missed`` …"""
        return {name: dict(cell.figures().counts) for name, cell in self._runs.items()}

    def _call(self, given: Any, of: FanOuts, now: float) -> Call:
        """The call with its deadline: that of the budget, or of the run that this one is part of if that is sooner."""
        call = given if isinstance(given, Call) else Call.of_value(given)
        around = current_run.get()
        ends = [now + self.budget.latency_s]
        if around is not None and around.remaining_s is not None:
            ends.append(now + around.remaining_s)
        if call.remaining_s is not None:
            ends.append(now + call.remaining_s)
        return call.with_(is_shadow=in_shadow(), deadline=min(ends), clock=of.time)

    async def _made(self, fan: Flight) -> Any:
        try:
            return await asked(fan, lambda: self.aggregate(fan.call, fan.parts()))
        except Unjoinable as error:
            raise FanOutFailed(self.name, str(error), fan.parts(), _summaries(fan)) from error
        except Exception as error:
            raise FanOutFailed(self.name, "the aggregator raised", fan.parts(), _summaries(fan)) from error

    def _failed(self, fan: Flight, run: BranchRun) -> FanOutFailed:
        why = f"branch {run.branch} ended as {run.outcome}"
        if self.quorum is not None:
            why = f"{fan.ok} of the {self.quorum} parts that are needed, and no more can come ({why})"
        failure = FanOutFailed(self.name, why, fan.parts(), _summaries(fan))
        failure.__cause__ = run.error
        return failure

    def _of_loop(self) -> FanOuts:
        """What is shared by the runs on this event loop."""
        loop = asyncio.get_running_loop()
        found = self._shared.get(loop)
        if found is None:
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
        name = (run.station.name, run.station.mode)
        cell = self._runs.get(name)
        if cell is None:
            cell = self._runs[name] = RunCell()
        cell.count(run)

    def _hook_failed(self, hook: str, error: BaseException) -> None:
        self.hook_failures[hook] = self.hook_failures.get(hook, 0) + 1
        if self._on_hook_failure is not None:
            self._on_hook_failure(hook, error)

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
        ]


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


def _work_s(fan: Flight) -> float:
    return sum(run.took_s for run in fan.runs.values() if run.began)
