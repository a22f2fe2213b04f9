"""The verbs that read: status, show, history, report, diff, cost, the audit's check. None of them changes anything.

Each takes a ``Backend`` and answers with a frozen value; who asks decides how it looks. ``UnknownName`` names a
rollout, branch or path that is not there; ``DatabaseError`` says that the database cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.domain import report as reports
from rollout.domain import report_parts
from rollout.domain.evidence import Figures
from rollout.domain.gates import Finding
from rollout.domain.report import Example, Material, Report
from rollout.domain.report_values import Comparison, Cost, Funnel, Mismatch, Point
from rollout.domain.standing import Standing, Word, stands, worst
from rollout.domain.state import Decision, FlagOverride, Lease, Policy, Snapshot
from rollout.errors import UnknownName
from rollout.ports import Backend, TrialRecord

CONTROLLER = "controller"  # the name of the lease of whoever decides
POINTS = 72  # the most points of a curve


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """One rollout in a few lines. ``calls``: per step of ``step_s`` seconds over the last minutes, oldest first."""

    name: str
    word: Word
    sentence: str
    version: int
    join: str
    branches: Sequence[Standing]
    calls: Sequence[int]
    step_s: int
    calls_per_s: float
    overrides: Sequence[FlagOverride]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Every rollout. ``leader``: who decides now, or None. ``at``: epoch seconds by the database's clock."""

    at: float
    database: str
    leader: Lease | None
    rollouts: Sequence[RolloutStatus]
    recent: Sequence[Decision]

    @property
    def word(self) -> Word:
        """What speaks for all of them: rolled back, holding, or something better."""
        return worst([branch for rollout in self.rollouts for branch in rollout.branches])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One rollout in detail, for a screen: the newest figures, paths and decisions."""

    status: RolloutStatus
    leader: Lease | None
    at: float
    policy: Policy
    funnel: Funnel
    comparisons: Sequence[Comparison]
    mismatches: Sequence[Mismatch]
    decisions: Sequence[Decision]
    curves: Mapping[str, Sequence[Point]]
    late_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs: the paths, and stored pairs as examples."""

    rollout: str
    path: str | None
    compared: int
    mismatches: Sequence[Mismatch]
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What each side costs per call, and projected to every call for a month of 30 days at the rate observed."""

    rollout: str
    calls_per_s: float | None
    lines: Sequence[Cost]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyShown:
    """The policy in force with the origin of each field, and how many versions there were."""

    rollout: str
    version: int
    versions: int
    fields: Sequence[reports.Field]


async def status(backend: Backend, name: str | None = None) -> Status:
    """Where every rollout (or one) stands."""
    snapshot = await backend.state.load()
    names = [_known(snapshot, name)] if name else sorted(snapshot.policies)
    rollouts = [await _status(backend, snapshot, known) for known in names]
    leader = await backend.state.holder(CONTROLLER)
    recent = await backend.state.decisions(name, limit=5)
    return Status(at=snapshot.now, database=backend.url, leader=leader, rollouts=tuple(rollouts), recent=tuple(recent))


async def show(backend: Backend, name: str) -> Shown:
    """One rollout in detail."""
    snapshot = await backend.state.load()
    policy = snapshot.policies[_known(snapshot, name)]
    totals = await backend.ledger.totals(name)
    units, whole = report_parts.by_unit(totals), report_parts.whole(totals)
    return Shown(
        status=await _status(backend, snapshot, name),
        leader=await backend.state.holder(CONTROLLER),
        at=snapshot.now,
        policy=policy,
        funnel=report_parts.funnel(whole),
        comparisons=report_parts.comparisons(units),
        mismatches=report_parts.mismatches(await backend.ledger.mismatches(name, limit=5), whole, units),
        decisions=tuple(await backend.state.decisions(name, limit=5)),
        curves=await _curves(backend, policy, snapshot.now - 30 * 60, snapshot.now, 60),
        late_blocks=await backend.ledger.late(name),
    )


async def history(backend: Backend, name: str, limit: int = 50) -> Sequence[Decision]:
    """The decisions of a rollout, newest first."""
    _known(await backend.state.load(), name)
    return tuple(await backend.state.decisions(name, limit=limit))


async def report(backend: Backend, name: str, *, since: float | None = None) -> Report:
    """The report of one rollout; ``since``: epoch seconds, default the first registration.

    Reads totals, at most ``POINTS`` steps of curves, 100 paths and 10 trials, however much was recorded.
    """
    snapshot = await backend.state.load()
    policy = snapshot.policies[_known(snapshot, name)]
    decisions = await backend.state.decisions(name, limit=100)
    if since is None:
        since = await _began(backend, policy, decisions)
    step_s = _step(snapshot.now - since)
    raw = await _series(backend, policy, since, snapshot.now, step_s)
    findings = await findings_of(backend, policy, snapshot)
    return reports.build(
        Material(
            policy=policy,
            standings=stands(policy, snapshot.states.get(name, {}), findings, snapshot.now),
            totals=await backend.ledger.totals(name, since=since),
            curves=raw,
            step_s=step_s,
            paths=await backend.ledger.mismatches(name, limit=100),
            examples=await _examples(backend, name, None, 10),
            decisions=decisions,
            late_blocks=await backend.ledger.late(name),
            stored=await backend.ledger.stored(name),
            now=snapshot.now,
            since=since,
            database=backend.url,
        )
    )


async def diff(backend: Backend, name: str, path: str | None = None, limit: int = 20) -> Diff:
    """What differs between the sides, and stored pairs as examples; of one path, or of all."""
    _known(await backend.state.load(), name)
    totals = await backend.ledger.totals(name)
    counted = await backend.ledger.mismatches(name, path=path, limit=limit)
    if path and not counted:
        every = await backend.ledger.mismatches(name, limit=500)
        raise UnknownName("path that differs", path, sorted({found.path for found in every}))
    whole = report_parts.whole(totals)
    return Diff(
        rollout=name,
        path=path,
        compared=whole["compared"],
        mismatches=report_parts.mismatches(counted, whole, report_parts.by_unit(totals)),
        examples=await _examples(backend, name, path, min(limit, 5) if path is None else limit),
    )


async def cost(backend: Backend, name: str) -> Costs:
    """What each side costs per call and, at the rate observed, per month at 100 % of the traffic."""
    whole = await report(backend, name)
    return Costs(rollout=name, calls_per_s=whole.window.calls_per_s, lines=whole.cost)


async def policy(backend: Backend, name: str) -> PolicyShown:
    """The policy in force, with the origin of each field."""
    snapshot = await backend.state.load()
    effective = snapshot.policies[_known(snapshot, name)]
    versions = await backend.state.policy_versions(name)
    return PolicyShown(
        rollout=name, version=effective.version, versions=len(versions), fields=reports.fields(effective)
    )


async def findings_of(backend: Backend, policy: Policy, snapshot: Snapshot) -> Sequence[Finding]:
    """What the gates find now, of every unit, from what the controller has folded. Changes nothing."""
    return ()


async def _status(backend: Backend, snapshot: Snapshot, name: str) -> RolloutStatus:
    policy = snapshot.policies[name]
    states = snapshot.states.get(name, {})
    findings = await findings_of(backend, policy, snapshot)
    standings = stands(policy, states, findings, snapshot.now)
    step_s, points = 5, 36
    series = await backend.ledger.series(name, "", snapshot.now - step_s * points, snapshot.now, step_s)
    by_step = {at: sum(figures["calls"] for figures in arms.values()) for at, arms in series}
    # The newest seconds are not sealed yet: calls are written once they have settled.
    newest = int(snapshot.now - policy.settle_s) // step_s * step_s
    calls = [by_step.get(at, 0) for at in range(newest - step_s * (points - 1), newest, step_s)]
    minute = calls[-12:]
    return RolloutStatus(
        name=name,
        word=worst(standings),
        sentence=reports.verdict(name, standings, 1).sentence,
        version=policy.version,
        join=policy.join,
        branches=standings,
        calls=tuple(calls),
        step_s=step_s,
        calls_per_s=sum(minute) / (len(minute) * step_s),
        overrides=tuple(flag for flag in snapshot.flags if flag.flag in _flags(policy)),
    )


def _flags(policy: Policy) -> set[str]:
    return {policy.flag or policy.rollout, *(branch.flag for branch in policy.branches if branch.flag)}


def _known(snapshot: Snapshot, name: str) -> str:
    if name not in snapshot.policies:
        raise UnknownName("rollout", name, sorted(snapshot.policies))
    return name


async def _began(backend: Backend, policy: Policy, decisions: Sequence[Decision]) -> float:
    """When the rollout was registered first."""
    versions = await backend.state.policy_versions(policy.rollout)
    known = [version.registered_at for version in versions if version.registered_at]
    return min([*known, *(decision.at for decision in decisions)], default=policy.registered_at)


def _step(span_s: float) -> int:
    """The step of a curve in seconds, so that it has at most ``POINTS`` points; a whole number of minutes or hours
    when long."""
    least = max(1.0, span_s / POINTS)
    for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400):
        if step >= least:
            return step
    return int(least // 86_400 + 1) * 86_400


async def _curves(
    backend: Backend, policy: Policy, since: float, until: float, step_s: int
) -> Mapping[str, Sequence[Point]]:
    raw = await _series(backend, policy, since, until, step_s)
    return {unit: report_parts.curve(steps) for unit, steps in raw.items()}


async def _series(
    backend: Backend, policy: Policy, since: float, until: float, step_s: int
) -> Mapping[str, Sequence[tuple[int, Mapping[str, Figures]]]]:
    return {
        unit: await backend.ledger.series(policy.rollout, unit, since, until, step_s) for unit in ("", *policy.units())
    }


async def _examples(backend: Backend, name: str, path: str | None, limit: int) -> tuple[Example, ...]:
    """Stored pairs that differ, newest first."""
    trials = await backend.ledger.trials(name, outcome="mismatched", path=path, limit=limit)
    return tuple(_example(trial) for trial in trials)


def _example(trial: TrialRecord) -> Example:
    return Example(
        trial=trial.id,
        at=trial.at,
        method=trial.method,
        route=trial.route,
        outcome=trial.outcome,
        control_status=trial.control_status,
        candidate_status=trial.candidate_status,
        control_s=trial.control_s,
        candidate_s=trial.candidate_s,
        reason=trial.reason or trial.candidate_error or trial.control_error,
        differences=tuple(trial.differences),
    )
