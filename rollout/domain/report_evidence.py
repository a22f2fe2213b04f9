"""The evidence of a unit's sequential gates over time: what reports and screens draw against the two boundaries.

All evidence is a natural logarithm; people are told odds. The curve is the one that the account keeps (few points); the
findings of decisions and of now stand between and after its points, so that what a decision saw is on it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, TypeAlias

from rollout.domain.gates import Finding
from rollout.domain.lifecycle import ALLOCATION
from rollout.domain.sequential.account import log_limit
from rollout.domain.sequential.curve import Curve
from rollout.domain.sequential.part import LOG_PROMOTE
from rollout.domain.standing import Standing
from rollout.domain.state import Decision, Mode, Policy
from rollout.domain.stats import log_sum_exp


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePoint:
    """The evidence at a time (epoch seconds), with this share of calls live. ``against``: what each gate adds to the
    account for a rollback; ``account``: all of it; ``step``: of each gate for the next step, None where there is none
    to be taken. It begins anew where the share changes."""

    at: float
    share: float
    account: float
    against: Sequence[float]
    step: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChange:
    """A decision that moved the unit. ``to``: where it went, as ``"25%"`` or ``"shadow, rolled back"``."""

    at: float
    action: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEvidence:
    """The evidence of one unit in the account that is open now.

    ``gates``: names, in the order of the values of a point; ``limit``: what the account must reach for a rollback,
    ``step_limit``: each gate for a step. ``changes``: of stage, within the time of the points, oldest first.
    """

    unit: str
    gates: Sequence[str]
    limit: float
    step_limit: float
    points: Sequence[EvidencePoint]
    changes: Sequence[StageChange]


def of_account(findings: Sequence[Finding]) -> list[Finding]:
    """Those findings whose evidence is in the account: of sequential gates."""
    return [finding for finding in findings if finding.log_e is not None and finding.gate != ALLOCATION]


def account_of(findings: Sequence[Finding]) -> tuple[float, float] | None:
    """The logarithm of a unit's account as its findings tell it, and its boundary; None without sequential gates."""
    counted = of_account(findings)
    if not counted:
        return None
    limits = [finding.log_limit for finding in counted if finding.log_limit is not None]
    return log_sum_exp([finding.log_e for finding in counted if finding.log_e is not None]), limits[0]


def evidence(
    policy: Policy,
    standings: Sequence[Standing],
    accounts: Mapping[str, Mapping[str, Any]],
    decisions: Sequence[Decision],
    until: float,
) -> tuple[UnitEvidence, ...]:
    """The evidence of each unit; nothing where no gate is sequential.

    ``accounts``: unit → the state of the account that is open, as its checkpoint keeps it, absent where nothing is
    folded yet. ``decisions``: of the rollout, newest first. ``now``: epoch seconds, database's clock.
    """
    names = [gate.name for gate in policy.gates if gate.sequential]
    if not names:
        return ()
    found = {standing.unit: standing for standing in standings}
    return tuple(
        _of_unit(policy, names, found[unit], accounts.get(unit), decisions, until)
        for unit in policy.units()
        if unit in found
    )


def _of_unit(
    policy: Policy,
    names: Sequence[str],
    standing: Standing,
    account: Mapping[str, Any] | None,
    decisions: Sequence[Decision],
    until: float,
) -> UnitEvidence:
    points = [] if account is None else _kept(account, len(names))
    changes: list[StageChange] = []
    if points:
        own = [one for one in reversed(decisions) if one.at >= points[0].at and one.policy_version == policy.version]
        members = {branch.name for branch in policy.units()[standing.unit]}
        changes = [change for one in own if (change := _change(one, members)) is not None]
        closing_s = policy.settle_s + 1.0  # until a second is in what is found
        for one in own:
            _insert(points, one.at - closing_s, _seen([f for f in one.findings if f.unit == standing.unit], names))
        if standing.mode is not Mode.rolled_back:  # of one that is, the findings are those of then
            happened = max([points[-1].at, *(change.at for change in changes)])
            _insert(points, max(happened, until - closing_s), _seen(standing.findings, names))
    return UnitEvidence(
        unit=standing.unit,
        gates=names,
        limit=log_limit(len(policy.units())),
        step_limit=LOG_PROMOTE,
        points=tuple(points),
        changes=tuple(changes),
    )


def _kept(account: Mapping[str, Any], gates: int) -> list[EvidencePoint]:
    """The curve that the account keeps, each gate's evidence as the part of the account that it is."""
    part = log(gates)
    found = []
    for point in Curve.from_json(account["curve"]).points:
        against = tuple(value - part for value in point.rollback)
        total = log_sum_exp(against)
        found.append(
            EvidencePoint(at=float(point.second), share=point.share, account=total, against=against, step=point.promote)
        )
    return found


_Seen: TypeAlias = tuple[tuple[float, ...], tuple[float | None, ...]]  # of each gate: against, and for the step


def _seen(findings: Sequence[Finding], names: Sequence[str]) -> _Seen | None:
    """What findings tell; None unless they tell it of every gate."""
    own = {finding.gate: finding for finding in findings}
    known = [own[name].log_e for name in names if name in own]
    against = tuple(value for value in known if value is not None)
    return (against, tuple(own[name].log_promote for name in names)) if len(against) == len(names) else None


def _insert(points: list[EvidencePoint], at: float, seen: _Seen | None) -> None:
    """Put what was seen among the points, in the stage of the one before. ``at``: the newest second it can be of."""
    place = bisect_right(points, at, key=_time)
    if place and seen is not None:
        against, step = seen
        total, share = log_sum_exp(against), points[place - 1].share
        points.insert(place, EvidencePoint(at=at, share=share, account=total, against=against, step=step))


def _time(point: EvidencePoint) -> float:
    return point.at


def _change(decision: Decision, members: set[str]) -> StageChange | None:
    """Where a decision moved a unit; an approval moves nothing."""
    for move in decision.moves:
        to = str(move.get("to", "")).partition(", approved")[0]
        if move.get("branch") in members and move.get("from") != to:
            return StageChange(at=decision.at, action=decision.action, to=to)
    return None
