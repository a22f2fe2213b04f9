"""A branch as this process runs it: what its runs share."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.definition import Branch
from rollout.engine.timers import TimerLane, Timers


class Station:
    """One branch of a rollout in this process: its bulkhead and its timer lane. ``mode``: live or shadow."""

    __slots__ = ("after", "branch", "inflight", "is_shadow", "lane", "mode", "name", "orphans", "plain", "sla_s")

    def __init__(self, branch: Branch, mode: str, lane: TimerLane | None) -> None:
        """``lane``: of its hard timeout; None where it has none of its own."""
        self.branch = branch
        self.name = branch.name
        self.mode = mode
        self.is_shadow = mode == "shadow"
        self.after = branch.depends_on
        self.sla_s = branch.sla_s if branch.sla_s is not None else float("inf")
        self.lane = lane
        self.plain = lane is None and branch.meter is None  # nothing to do at the end of a run but to count it
        self.inflight = 0
        self.orphans = 0


def stations_of(branches: Sequence[Branch], mode: str, timers: Timers) -> dict[str, Station]:
    """The stations of a rollout's branches for one mode, in the order declared.

    A branch without a hard timeout of its own has no timer: the deadline of the call, which a spec may move, cuts it.
    """
    lanes = {b.name: None if b.hard_timeout_s is None else timers.lane(b.hard_timeout_s) for b in branches}
    return {branch.name: Station(branch, mode, lanes[branch.name]) for branch in branches}
