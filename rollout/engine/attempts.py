"""What guards a run beyond being run once: timers of its own, its breaker, its reservation, and further attempts.

Made only where a branch declares some of it, so that a plain branch pays for nothing.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Final

from rollout.domain.breaker import Ending
from rollout.domain.budget import Account, DailyBudget, Reservation
from rollout.domain.cost import checked
from rollout.domain.outcomes import RunOutcome
from rollout.domain.retry import next_attempt

if TYPE_CHECKING:
    from rollout.engine.branchrun import BranchRun

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


class Guards:
    """The guards of one run."""

    __slots__ = ("_hedge_at", "_reservations", "_soft", "account", "hedges", "permit")

    def __init__(self) -> None:
        self.permit: int | None = None  # of the breaker
        self.account: Account | None = None  # of the call
        self._reservations: list[Reservation] = []
        self._soft: SoftTimer | None = None
        self._hedge_at: asyncio.TimerHandle | None = None
        self.hedges: list[asyncio.Task[None]] = []

    # ---- time

    def start_timers(self, run: BranchRun, context: Context) -> None:
        """The run has to wait: what limits its time begins, counted from its start."""
        station = run.station
        if station.hard is not None:
            station.hard.add(run, run.started)
        if station.soft is not None:
            self._soft = SoftTimer(run)
            station.soft.add(self._soft, run.started)
        if station.delays is not None:
            assert station.branch.hedge is not None
            delay_s = station.delays.delay_s(station.branch.hedge)
            if delay_s is not None:
                self._hedge_at = run.of.loop.call_later(delay_s, self._hedge, run, context, delay_s)

    def _hedge(self, run: BranchRun, context: Context, delay_s: float) -> None:
        """The run is slower than most: begin a second attempt beside it, if slot, budget and breaker allow."""
        self._hedge_at = None
        station, hedge = run.station, run.station.branch.hedge
        assert hedge is not None
        assert station.retry_budget is not None
        now = run.of.time()
        if run.outcome is not None or station.inflight >= station.branch.max_concurrency:
            return
        if not station.retry_budget.withdraw(now) or not self.reserve(run):
            return  # an exhausted budget does not fail the call
        station.inflight += 1
        run.attempts += 1
        run.hedges += 1
        run.under_way += 1
        self.hedges.append(run.of.loop.create_task(run.beside(), context=context.copy()))
        if run.hedges < hedge.most:
            self._hedge_at = run.of.loop.call_later(delay_s, self._hedge, run, context, delay_s)

    # ---- tokens and dollars

    def reserve(self, run: BranchRun) -> bool:
        """Reserve for one attempt more; whether it fits. Without an account there is nothing to reserve."""
        return self.refusal(run, self.account) is None

    def refusal(self, run: BranchRun, account: Account | None) -> str | None:
        """Reserve for an attempt, or say what does not cover it: ``tokens``, ``usd`` or ``usd_per_day``."""
        station = run.station
        daily = run.of.daily if station.is_shadow else None
        if daily is not None and not daily.may(station.name, station.reserved_nano, run.of.wall()):
            return "usd_per_day"
        if account is None:
            return None
        found = account.reserve(station.reserved_tokens, station.reserved_nano)
        if isinstance(found, str):
            return found
        self.account = account
        self._reservations.append(found)
        return None

    def give_back(self) -> None:
        """Nothing was begun of what was reserved for."""
        for reservation in self._reservations:
            reservation.release()
        self._reservations.clear()

    def _settle(self, run: BranchRun) -> None:
        usage = run.usage
        tokens = 0 if usage is None else usage.input_tokens + usage.output_tokens
        nano = 0 if usage is None else usage.cost
        if usage is None and run.began and run.outcome in _CUT:  # it may have used anything: what was reserved is spent
            for reservation in self._reservations:
                reservation.settle(reservation.tokens, None if reservation.nano else 0)
        else:
            for reservation in self._reservations[:-1]:  # of several attempts, in turn, and the last takes the rest
                part = min(tokens, reservation.tokens)
                paid = None if nano is None else min(nano, reservation.nano)
                reservation.settle(part, paid)
                tokens -= part
                nano = None if nano is None or paid is None else nano - paid
            self._reservations[-1].settle(tokens, nano)
        self._reservations.clear()

    def _spend_of_the_day(self, run: BranchRun, daily: DailyBudget) -> None:
        """What a shadow cost, of its budget of the day; what is not known counts as what was reserved."""
        usage = run.usage
        known = usage.cost if usage is not None else (None if run.outcome in _CUT else 0)
        expected = run.station.reserved_nano * run.attempts
        if run.began:
            daily.spend(run.branch, expected if known is None else known, run.of.wall())

    # ---- the end

    def close(self, run: BranchRun) -> None:
        """The run has ended: stop its timers, meter it, and tell breaker, hedge delay and account."""
        station = run.station
        if station.hard is not None:
            station.hard.remove(run)
        if self._soft is not None and station.soft is not None:
            station.soft.remove(self._soft)
        if self._hedge_at is not None:
            self._hedge_at.cancel()
            self._hedge_at = None
        ok = run.outcome is RunOutcome.ok
        if ok and station.branch.meter is not None:
            _meter(run)
        run.usage = run.of.price(run.usage)
        if ok and station.delays is not None:
            station.delays.add(run.took_s)
        if self.permit is not None and station.circuit is not None:
            ending = _ENDINGS.get(run.outcome, Ending.neutral)
            station.circuit.report(self.permit, ending, run.took_s, run.finished)
        if self._reservations:
            self._settle(run)
        if station.is_shadow and run.of.daily is not None:
            self._spend_of_the_day(run, run.of.daily)


def _meter(run: BranchRun) -> None:
    meter = run.station.branch.meter
    try:
        used = meter(run.part) if meter is not None else None
        if used is not None:
            run.usage = checked(used)
    except Exception as error:  # a hook of the user's must not end a run
        run.of.hook_failed("meter", error)


def wait_before_retry(run: BranchRun, error: BaseException) -> float | None:
    """Seconds until the next attempt of a run whose last one raised; None: there is none. What it draws on, the retry
    budget and a reservation, is taken.
    """
    station = run.station
    retry, budget = station.branch.retry, station.retry_budget
    if retry is None or budget is None or not isinstance(error, Exception) or run.under_way > 1:
        return None
    now = run.of.time()
    try:
        found = next_attempt(
            retry,
            error,
            attempt=run.attempts,
            remaining_s=None if run.call.deadline is None else run.call.deadline - now,
            dice=run.of.dice(),
            budget=budget,
            now=now,
            wall=run.of.wall(),
        )
    except Exception as failure:  # of `transient=`, a hook of the user's
        run.of.hook_failed("transient", failure)
        return None
    if isinstance(found, str) or (run.guards is not None and not run.guards.reserve(run)):
        return None
    run.attempts += 1
    return found
