"""What ``join="replace"`` needs to know, where branches stand in for control: whether they do for a call, when control
must start after all, whether it may, and what to say where it may not.
"""

from __future__ import annotations

from typing import Final

from rollout.definition import Rollout
from rollout.domain.call import Reply
from rollout.domain.histogram import Histogram
from rollout.domain.outcomes import RunOutcome
from rollout.domain.routing import Assignment
from rollout.engine.fanout import FanOut

_LOOK_S: Final = 1.0  # between two looks at control's latency


class StandIn:
    """``control``: the latencies of control, wherever it ran."""

    def __init__(self, definition: Rollout) -> None:
        self.control = Histogram()
        self._required = frozenset(branch.name for branch in definition.branches if branch.required)
        self._looked_at = float("-inf")
        self._p95 = 0.0

    def serves(self, assignment: Assignment) -> bool:
        """Whether the live branches of a call stand in for control: all the required ones are among them."""
        return self._required.issubset(assignment.live)

    def fallback_at(self, started: float, latency_s: float) -> float:
        """When control must start at the latest, on the loop's clock: the deadline less control's own p95.

        A control that is slower than the deadline would miss it in any case; then the candidate has all of the time.
        """
        if started - self._looked_at > _LOOK_S:
            self._p95 = self.control.quantile(0.95) or 0.0
            self._looked_at = started
        return started + (latency_s - self._p95 if self._p95 < latency_s else latency_s)


def may_not_fall_back(fan: FanOut) -> bool:
    """Whether a write has started that control would do again."""
    return any(
        run.station.branch.writes and run.station.branch.idempotency is None and run.outcome is not RunOutcome.skipped
        for run in fan.runs.values()
        if run.began
    )


def no_answer(fan: FanOut, reason: str) -> Reply:
    """The reply where neither the candidate nor a fallback is possible."""
    errors = [
        {"branch": name, "code": str(run.outcome)} for name, run in fan.runs.items() if run.outcome is not RunOutcome.ok
    ]
    return Reply.json({"errors": errors}, 504 if reason in ("late", "hard_timeout") else 502)
