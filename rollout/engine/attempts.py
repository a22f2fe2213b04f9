"""What guards a run beyond being run once: timers of its own, its breaker, its reservation, and further attempts.

A plain branch pays for none of it.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Final

from rollout.domain.breaker import Ending, State
from rollout.domain.budget import Account, DailyBudget
from rollout.domain.cost import Usage, checked
from rollout.domain.outcomes import RunOutcome
from rollout.domain.retry import mark_retried, next_attempt
from rollout.engine.runs import OK

if TYPE_CHECKING:
    from rollout.engine.branchrun import BranchRun
    from rollout.engine.fanout import FanOut
    from rollout.engine.station import Station

#: What a hook of the user's may raise without ending a run. To exit or to be cancelled is its failure, nobody's end.
HOOK_FAILURES: Final = (Exception, asyncio.CancelledError, SystemExit)
#: What the end of a run says to its breaker. Whatever is not named says nothing about the branch.
_ENDINGS: Final = {
    RunOutcome.ok: Ending.success,
    RunOutcome.answered: Ending.success,
    RunOutcome.error: Ending.failure,
    RunOutcome.hard_timeout: Ending.failure,
    RunOutcome.soft_timeout: Ending.slow,
}
#: Ends from outside: what the run had used by then is not known, unless it said so.
_CUT: Final = (RunOutcome.hard_timeout, RunOutcome.soft_timeout, RunOutcome.cancelled, RunOutcome.shutdown)


class SoftTimer:
    """The member of a soft timeout's lane."""

    __slots__ = ("_run",)

    def __init__(self, run: BranchRun) -> None:
        self._run = run

    def expire(self) -> None:
        self._run.soften()


class Timers:
    """What else than a hard timeout may happen to a run while it waits. ``hedges``: the tasks of further attempts."""

    __slots__ = ("_hedge_at", "_soft", "hedges")

    def __init__(self, run: BranchRun, context: Context) -> None:
        """Counted from the start of the run."""
        self._soft: SoftTimer | None = None
        self._hedge_at: asyncio.TimerHandle | None = None
        self.hedges: list[asyncio.Task[None]] = []
        station = run.station
        if station.soft is not None:
            self._soft = SoftTimer(run)
            station.soft.add(self._soft, run.started)
        if station.delays is not None:
            assert station.branch.hedge is not None
            delay_s = station.delays.delay_s(station.branch.hedge)
            if delay_s is not None:
                self._hedge_at = run.of.loop.call_later(delay_s, self._hedge, run, context, delay_s)

    def stop(self, run: BranchRun) -> None:
        """The run has ended."""
        if self._soft is not None and run.station.soft is not None:
            run.station.soft.remove(self._soft)
        if self._hedge_at is not None:
            self._hedge_at.cancel()
            self._hedge_at = None

    def _hedge(self, run: BranchRun, context: Context, delay_s: float) -> None:
        """The run is slower than most: begin a further attempt beside it, if breaker, slot and budgets allow."""
        self._hedge_at = None
        station, hedge = run.station, run.station.branch.hedge
        assert hedge is not None
        assert station.retry_budget is not None
        if run.outcome is not None or station.inflight >= station.branch.max_concurrency or not _is_closed(station):
            return
        if not station.retry_budget.withdraw(run.of.time()) or run.reserve() is not None:
            return  # an exhausted budget does not fail the call
        station.inflight += 1
        run.attempts += 1
        run.hedges += 1
        if run.span is not None:
            run.span.event("hedge", run.of.time(), {"attempt": run.attempts})
        run.under_way += 1
        self.hedges.append(run.of.loop.create_task(run.beside(), context=context.copy()))
        if run.hedges < hedge.most:
            self._hedge_at = run.of.loop.call_later(delay_s, self._hedge, run, context, delay_s)


def reserve(run: BranchRun, fan: FanOut) -> str | None:
    """Reserve for one attempt, or say what does not cover it: ``tokens``, ``usd`` or ``usd_per_day``."""
    station, account = run.station, fan.account
    daily = fan.of.daily if station.is_shadow else None
    if daily is not None and not daily.may(station.name, station.reserved_nano, fan.of.wall()):
        return "usd_per_day"
    if account is None:
        return None
    refusal = account.reserve(station.reserved_tokens, station.reserved_nano)
    if refusal is None:
        run.holds += 1
    return refusal


def give_back(run: BranchRun, account: Account) -> None:
    """Nothing was used of what was reserved."""
    station, holds = run.station, run.holds
    account.release(holds * station.reserved_tokens, holds * station.reserved_nano)
    run.holds = 0


def close(run: BranchRun, fan: FanOut) -> None:
    """A run has ended: stop its timers, meter it, and tell breaker, hedge delay and account."""
    station, of = run.station, fan.of
    if run.is_timed and station.hard is not None:
        station.hard.remove(run)
    if run.timers is not None:
        run.timers.stop(run)
    if run.outcome is OK:
        if station.branch.meter is not None:
            _meter(run)
        if station.delays is not None:
            station.delays.add(run.finished - run.started)
    if run.usage is not None and of.prices is not None:
        run.usage = of.price(run.usage)
    if run.permit is not None and station.circuit is not None:
        ending = _ENDINGS.get(run.outcome, Ending.neutral)
        station.circuit.report(run.permit, ending, run.finished - run.started, run.finished)
    if run.holds and fan.account is not None:
        if run.usage is None and run.outcome is OK and run.under_way == 1:
            give_back(run, fan.account)
        else:
            _settle(run, fan.account)
    if station.is_shadow and of.daily is not None and run.began:
        _spend_of_the_day(run, of.daily)


def _settle(run: BranchRun, account: Account) -> None:
    """What the run used is spent; of what was lost, what it had reserved."""
    station, usage, lost = run.station, run.usage, _lost(run)
    if lost:
        account.settle((lost * station.reserved_tokens, lost * station.reserved_nano), None, None)
    left = run.holds - lost
    reserved = left * station.reserved_tokens, left * station.reserved_nano
    if usage is None:
        account.release(*reserved)
    else:
        tokens, nano = usage.input_tokens + usage.output_tokens, usage.cost
        account.settle(reserved, None if nano is None and not tokens else tokens, nano)
    run.holds = 0


def _lost(run: BranchRun) -> int:
    """Attempts that were cut, so that nobody knows what they used: all that had not ended but the one that ended the
    run. One that was alone is believed where it said what it had used by then.
    """
    if not run.began or (run.usage is not None and run.attempts == 1):
        return 0
    return run.under_way if run.outcome in _CUT else run.under_way - 1


def _spend_of_the_day(run: BranchRun, daily: DailyBudget) -> None:
    """What a shadow cost, of its budget of the day; what is not known counts as what was reserved."""
    reserved, lost = run.station.reserved_nano, _lost(run)
    known = 0 if run.usage is None else run.usage.cost
    if known is None:
        known = reserved * (run.attempts - lost)
    run.booked = known + reserved * lost
    daily.spend(run.branch, run.booked, run.of.wall())


def _meter(run: BranchRun) -> None:
    meter = run.station.branch.meter
    try:
        used = meter(run.part) if meter is not None else None
        if used is not None:
            run.usage = checked(used)
    except HOOK_FAILURES as error:  # a hook of the user's must not end a run
        run.of.hook_failed("meter", error)
        if run.usage is None:
            run.usage = Usage(priced=False)  # unknown, which is not nothing


def wait_before_retry(run: BranchRun, error: BaseException) -> float | None:
    """Seconds until the next attempt of a run whose last one raised; None: there is none. What it draws on, the retry
    budget and a reservation, is taken.
    """
    station = run.station
    retry, budget = station.branch.retry, station.retry_budget
    if retry is None or budget is None or not isinstance(error, Exception) or run.under_way > 1:
        return None
    if not _is_closed(station):
        mark_retried(error)
        return None
    now = run.of.time()
    try:
        found = next_attempt(
            retry,
            error,
            attempt=run.attempts,
            remaining_s=_remaining_s(run, now),
            dice=run.of.dice(),
            budget=budget,
            now=now,
            wall=run.of.wall(),
        )
    except HOOK_FAILURES as failure:  # of `transient=`, a hook of the user's
        run.of.hook_failed("transient", failure)
        return None
    if isinstance(found, str):
        return None
    if run.reserve() is not None:
        mark_retried(error)  # this layer has given up on it, as for want of a retry budget
        return None
    run.attempts += 1
    if run.span is not None:
        run.span.event("retry", now, {"attempt": run.attempts, "wait_s": found, "error": type(error).__qualname__})
    return found


def _remaining_s(run: BranchRun, now: float) -> float | None:
    """Seconds until the run is cut, by its hard timeout or the deadline of the call."""
    hard, deadline = run.station.hard, run.call.deadline
    ends = [] if hard is None else [run.started + hard.timeout_s]
    if deadline is not None:
        ends.append(deadline)
    return min(ends) - now if ends else None


def _is_closed(station: Station) -> bool:
    """Whether a run may try further: what an open breaker refuses, and a half-open one counts, are attempts."""
    circuit = station.circuit
    return circuit is None or circuit.state is State.closed or circuit.policy.observe
