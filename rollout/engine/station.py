"""A branch as this process runs it: what its runs share, live and in shadow apart, so that nothing that a shadow does
moves a breaker, takes a slot or spends a retry of live calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from rollout.definition import Branch
from rollout.domain.breaker import Circuit
from rollout.domain.hedge import Delays
from rollout.domain.retry import Retry, RetryBudget
from rollout.engine.timers import TimerLane, Timers

_NEVER_RETRIED = Retry(attempts=1)  # what hedges draw on, where the branch declares no retries


class Station:
    """One branch of a rollout in one mode. ``inflight``: the runs and attempts that hold a slot of its bulkhead;
    ``orphans``: those of them that were cut and have not ended.
    """

    __slots__ = (
        "after",
        "attempt_s",
        "branch",
        "circuit",
        "delays",
        "hard",
        "inflight",
        "is_shadow",
        "mode",
        "name",
        "open_door",
        "orphans",
        "plain",
        "required",
        "reserved_nano",
        "reserved_s",
        "reserved_tokens",
        "retry_budget",
        "sla_s",
        "soft",
        "waits",
    )

    def __init__(self, branch: Branch, mode: str, timers: Timers, now: float) -> None:
        """``mode``: live or shadow."""
        self.branch = branch
        self.name = branch.name
        self.mode = mode
        self.is_shadow = mode == "shadow"
        self.after = branch.depends_on
        self.sla_s = branch.sla_s if branch.sla_s is not None else float("inf")
        # Without a hard timeout of its own it has no timer: the deadline of the call, which a spec may move, cuts it.
        self.hard: TimerLane | None = None if branch.hard_timeout_s is None else timers.lane(branch.hard_timeout_s)
        self.soft: TimerLane | None = None if branch.soft_timeout_s is None else timers.lane(branch.soft_timeout_s)
        self.circuit = None if branch.breaker is None else Circuit(branch.breaker)
        #: How long one attempt may take, in seconds; None: as long as the run.
        self.attempt_s = None if branch.retry is None else branch.retry.attempt_timeout_s
        self.delays = None if branch.hedge is None else Delays()
        retry = branch.retry or (_NEVER_RETRIED if branch.hedge is not None else None)
        self.retry_budget = None if retry is None else RetryBudget(retry.budget, retry.per_s, now)
        self.reserved_tokens = 0 if branch.reserve is None else branch.reserve.tokens
        self.reserved_s = 0.0 if branch.reserve is None else branch.reserve.latency_s
        self.reserved_nano = 0 if branch.reserve is None else branch.reserve.nano
        #: Whether the candidate is impossible without it. If a second opinion fails, the first one is used.
        self.required = branch.required and branch.escalate_below is None
        #: Whether nothing but a full bulkhead can keep it from running.
        doors = (branch.when, branch.escalate_below, branch.breaker, branch.reserve)
        self.open_door = all(door is None for door in doors)
        #: Whether there is nothing to do at the end of a run but to count it.
        guards = (self.hard, self.soft, branch.meter, self.circuit, self.delays)
        self.plain = all(guard is None for guard in guards)
        #: So many runs more get a task of their own at once, because the last one that shared a task had to wait.
        self.waits = 0
        self.inflight = 0
        self.orphans = 0


def stations_of(branches: Sequence[Branch], mode: str, timers: Timers, now: float) -> dict[str, Station]:
    """The stations of branches for one mode, in the order declared. ``now``: of the loop's clock."""
    return {branch.name: Station(branch, mode, timers, now) for branch in branches}
