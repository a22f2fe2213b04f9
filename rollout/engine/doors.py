"""The doors that a run passes before it begins: wanted, covered by the budgets, not short-circuited."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rollout.domain.outcomes import RunOutcome
from rollout.engine.attempts import HOOK_FAILURES, reserve
from rollout.errors import Rejected

if TYPE_CHECKING:
    from rollout.engine.branchrun import BranchRun
    from rollout.engine.fanout import FanOut


def refused(fan: FanOut, run: BranchRun, now: float) -> bool:
    """Whether a run must not begin; it is settled then. What it needs of budgets and breaker is taken otherwise."""
    station, branch = run.station, run.station.branch
    if branch.when is not None and not _wanted(fan, run):
        run.refuse(RunOutcome.skipped, "when")
    elif branch.escalate_below is not None and _is_sure(fan, run, branch.escalate_below):
        run.refuse(RunOutcome.skipped, "confident")
    elif station.inflight >= branch.max_concurrency:
        refuse_full(run)
    elif (fan.has_budget or station.reserved_s) and (missing := _uncovered(fan, run, now)) is not None:
        run.refuse(RunOutcome.over_budget, missing)
    elif station.circuit is not None:
        run.permit = station.circuit.admit(now)
        if run.permit is not None:
            return False
        run.refuse(RunOutcome.short_circuited)
    else:
        return False
    return True


def refuse_full(run: BranchRun) -> None:
    most = run.station.branch.max_concurrency
    run.refuse(RunOutcome.rejected, error=Rejected(f"branch {run.branch}: {most} runs are under way"))


def _wanted(fan: FanOut, run: BranchRun) -> bool:
    branch = run.station.branch
    try:
        return bool(branch.when(run.call)) if branch.when is not None else True
    except HOOK_FAILURES as error:  # a hook of the user's, counted: what the candidate needs runs, the rest does not
        fan.of.hook_failed("when", error)
        return run.station.required


def _is_sure(fan: FanOut, run: BranchRun, threshold: float) -> bool:
    """Whether every branch that it comes after is as sure of its part as ``threshold`` asks. Who cannot say is not."""
    found = [_noted(fan, fan.runs.get(name)) for name in run.station.after]  # of each of them, for the record
    return all(sure is not None and sure >= threshold for sure in found)


def _noted(fan: FanOut, first: BranchRun | None) -> float | None:
    """How sure a branch is of its part, which its run keeps; None too where there is no part."""
    if first is None or first.outcome is not RunOutcome.ok:
        return None
    first.confidence = _confidence(fan, first)
    return first.confidence


def _confidence(fan: FanOut, run: BranchRun) -> float | None:
    """How sure a branch is of its part, in [0, 1]; None: it cannot say."""
    confidence = run.station.branch.confidence
    try:
        answer = None if confidence is None else confidence(run.part)
        if answer is None or math.isnan(answer):
            return None
        if not 0.0 <= answer <= 1.0:
            raise ValueError(f"confidence= of branch {run.branch} answered {answer!r}; it must be in [0, 1], or None")
    except HOOK_FAILURES as error:  # a hook of the user's
        fan.of.hook_failed("confidence", error)
        return None
    return answer


def _uncovered(fan: FanOut, run: BranchRun, now: float) -> str | None:
    """What does not cover the reservation of a run: ``time``, ``tokens``, ``usd``, ``usd_per_day``; None: all do."""
    deadline = run.call.deadline
    if deadline is not None and deadline - now < run.station.reserved_s:
        return "time"
    return reserve(run, fan) if fan.has_budget else None
