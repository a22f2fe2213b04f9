"""Where a unit stands on its ramp now, and what keeps it there: from here a plan goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rollout.domain.durations import duration_text
from rollout.domain.intervals import difference
from rollout.domain.judgement import context_of
from rollout.domain.lifecycle import mode_of, share_of
from rollout.domain.state import Mode
from rollout.usecases.rates import Rates
from rollout.usecases.standpoint import Standpoint

#: A unit of whose runs in shadow no larger share fails is not told to be failing.
_SICK: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """How many of a unit's ``runs`` in shadow ``failed`` since it was rolled back, under the policy in force."""

    runs: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Where the unit stands now. ``seconds``: since it entered its stage; ``calls``: about so many came in that time
    under the policy in force, 0 where they tell nothing of what is planned. ``waits``: why it goes no further before a
    person does something, and what; ``""`` where nothing stands in the way. ``failing``: None unless it is rolled back
    and its runs in shadow clearly fail more often than control since, so that no plan of a healthy branch is its own.
    """

    share: float
    mode: Mode
    seconds: float
    calls: float
    waits: str
    failing: Failing | None


def reached_by(at: Standpoint, unit: str, rates: Rates) -> Reached:
    """Where a unit of the rollout stands, by what is decided and what was recorded."""
    members, traffic = at.members(unit), rates.traffic
    entered_at = max(state.entered_at for state in members)
    return Reached(
        share=share_of(members),
        mode=mode_of(members),
        seconds=max(0.0, at.now - entered_at),
        calls=0.0 if traffic is None else traffic.since_then(max(entered_at, at.policy.registered_at)),
        waits=_waits(at, unit),
        failing=_failing(at, unit, rates),
    )


def _failing(at: Standpoint, unit: str, rates: Rates) -> Failing | None:
    """See ``Reached``. Clearly: more than 5 % fail, and the difference to control is no chance (95 %)."""
    members = at.members(unit)
    if mode_of(members) is not Mode.rolled_back:
        return None
    pairs = rates.pairs_of(unit, max(state.entry for state in members))
    runs, failed = pairs["pairs"], pairs["candidate_bad"]
    if failed <= _SICK * runs:
        return None
    low, _ = difference(failed, runs, pairs["control_bad"], runs)
    return Failing(runs=runs, failed=failed) if low > 0 else None


def _waits(at: Standpoint, unit: str) -> str:
    """See ``Reached``."""
    context, thing = context_of(at.case(unit)), f"{at.policy.rollout} {unit}"
    if context.mode in (Mode.rolled_back, Mode.paused):
        cause = f" ({context.cause})" if context.cause else ""
        return f"{context.mode.text}{cause}: rollout resume {thing}"
    if context.target is None or context.mode is Mode.completed:
        return ""
    if context.late_s > 0:
        passed = f"the deadline of its stage passed {duration_text(context.late_s)} ago"
        return f"{passed}: rollout promote {thing}, or rollout reset {thing}"
    return context.closed_by or _waits_for_another(at, unit, context.waits_for)


def _waits_for_another(at: Standpoint, unit: str, why: str) -> str:
    """``why``: which branch it comes after that is below it, which matters here where that does not move either."""
    before = {name for branch in at.policy.units()[unit] for name in branch.after}
    moving = all(at.states[name].mode in (Mode.active, Mode.completed) for name in before if name in at.states)
    return "" if moving else why
