"""The verbs that read: status, show, history, report, diff, cost, the audit's check. None of them changes anything.

Each takes a ``Backend`` and answers with a frozen value; who asks decides how it looks. ``UnknownName`` names a
rollout, branch or path that is not there; ``DatabaseError`` says that the database cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.domain import report as reports
from rollout.domain import report_parts
from rollout.domain.audit import Break, verify
from rollout.domain.bound import Bound, bound_of
from rollout.domain.evidence import Figures
from rollout.domain.gates import Finding, GateState
from rollout.domain.judgement import ACCOUNT, Case
from rollout.domain.lifecycle import members_of, mode_of
from rollout.domain.report_evidence import UnitEvidence, evidence
from rollout.domain.report_values import Comparison, ErrorLine, Funnel, Losses, Mismatch, Point
from rollout.domain.standing import Standing, Word, stands, worst
from rollout.domain.state import Decision, FlagOverride, Lease, Mode, Policy, Snapshot
from rollout.engine.judging import evidence_of
from rollout.errors import UnknownName
from rollout.ports import Backend, MismatchCount
from rollout.usecases.stopped import found_then, newest, stops_of

Series = Mapping[str, Sequence[tuple[int, Mapping[str, Figures]]]]  # unit → (second, arm → figures)
MOST_PATHS = 500  # that are read at once: so many are counted of a rollout, each once for a kind
CONTROLLER = "controller"  # the name of the lease of whoever decides


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """One rollout in a few lines. ``calls``: per step of ``step_s`` seconds over the last minutes, oldest first.

    ``evidence_per_s``: so many calls a second the gates see at least; None where each caller counts once, as nobody
    knows how many are new.
    """

    name: str
    word: Word
    sentence: str
    version: int
    join: str
    branches: Sequence[Standing]
    calls: Sequence[int]
    step_s: int
    calls_per_s: float
    evidence_per_s: float | None
    overrides: Sequence[FlagOverride]
    flag_failures: Mapping[str, int]  # over the same minutes: flags that were off for want of an answer, by reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Every rollout. ``leader``: who decides now, or None. ``at``: epoch seconds by the database's clock. ``recent``:
    the newest decisions, and however old the rollbacks of what stands rolled back, at most a few of each, newest first.
    """

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
    """One rollout in detail, for a screen: the evidence, the newest figures, paths and decisions, which are as
    ``recent`` of a ``Status``."""

    status: RolloutStatus
    leader: Lease | None
    at: float
    policy: Policy
    bound: Bound
    evidence: Sequence[UnitEvidence]
    funnel: Funnel
    losses: Losses
    comparisons: Sequence[Comparison]
    mismatches: Sequence[Mismatch]
    errors: Sequence[ErrorLine]
    decisions: Sequence[Decision]
    curves: Mapping[str, Sequence[Point]]
    late_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyShown:
    """The policy in force with the origin of each field, and how many versions there were."""

    rollout: str
    version: int
    versions: int
    fields: Sequence[reports.Field]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """Whether the audit is whole: how many decisions of how many rollouts were checked, and where a chain breaks."""

    rollouts: int
    decisions: int
    breaks: Sequence[Break]


async def status(backend: Backend, name: str | None = None) -> Status:
    """Where every rollout (or one) stands."""
    snapshot = await backend.state.load()
    names = [known(snapshot, name)] if name else sorted(snapshot.policies)
    stops = {each: await _stops(backend, snapshot, each) for each in names}
    rollouts = [await _status(backend, snapshot, each, stops[each]) for each in names]
    recent = _recent_of(
        await backend.state.decisions(name, limit=_FEW),
        [decision for by_unit in stops.values() for decision in by_unit.values()],
    )
    leader = await backend.state.holder(CONTROLLER)
    return Status(at=snapshot.now, database=backend.url, leader=leader, rollouts=tuple(rollouts), recent=recent)


async def show(backend: Backend, name: str) -> Shown:
    """One rollout in detail."""
    snapshot = await backend.state.load()
    policy = snapshot.policies[known(snapshot, name)]
    totals = await backend.ledger.totals(name)
    units, whole = report_parts.by_unit(totals), report_parts.whole(totals)
    stops = await _stops(backend, snapshot, name)
    status = await _status(backend, snapshot, name, stops)
    accounts = await accounts_of(backend, policy, snapshot)
    decisions = await backend.state.decisions(name, limit=50)
    curves, last = await _recent(backend, policy, snapshot.now)
    rows, _, _ = await backend.ledger.stored(name)
    funnel, late_blocks = report_parts.funnel(whole, rows), await backend.ledger.late(name)
    return Shown(
        status=status,
        leader=await backend.state.holder(CONTROLLER),
        at=snapshot.now,
        policy=policy,
        bound=bound_of(policy),
        evidence=evidence(policy, status.branches, accounts, decisions, last),
        funnel=funnel,
        losses=report_parts.losses(funnel, late_blocks),
        comparisons=report_parts.comparisons(units),
        mismatches=report_parts.mismatches(await paths_of(backend, policy, 5), whole, units, policy),
        errors=report_parts.errors(units),
        decisions=_recent_of(decisions[:_FEW], list(stops.values())),
        curves=curves,
        late_blocks=late_blocks,
    )


async def history(
    backend: Backend, name: str, limit: int = 50, *, branch: str | None = None, action: str | None = None
) -> Sequence[Decision]:
    """The newest ``limit`` decisions of a rollout, newest first. ``branch``: only what moved it, or one of a group;
    ``action``: only those of a kind, as ``"rollback"``."""
    snapshot = await backend.state.load()
    policy = snapshot.policies[known(snapshot, name)]
    branches = () if branch is None else _branches(policy, branch)
    return tuple(await newest(backend, name, limit, branches=branches, action=action or ""))


def _branches(policy: Policy, name: str) -> Sequence[str]:
    """The branch of a name, or those of a group."""
    found = [one.name for one in policy.branches if name in (one.name, one.unit)]
    if not found:
        raise UnknownName("branch", name, [one.name for one in policy.branches])
    return found


async def policy(backend: Backend, name: str) -> PolicyShown:
    """The policy in force, with the origin of each field."""
    snapshot = await backend.state.load()
    effective = snapshot.policies[known(snapshot, name)]
    versions = await backend.state.policy_versions(name)
    return PolicyShown(
        rollout=name, version=effective.version, versions=len(versions), fields=reports.fields(effective)
    )


async def audit(backend: Backend, name: str | None = None) -> AuditCheck:
    """Follow the hash chain of every rollout's decisions (or of one), from the first on.

    Numbers run through the decisions of all rollouts: only all of them together show that none is missing.
    """
    snapshot = await backend.state.load()
    decisions = await every_decision(backend, known(snapshot, name) if name else None)
    breaks = verify(decisions, complete=name is None)
    rollouts = {decision.rollout for decision in decisions}
    return AuditCheck(rollouts=len(rollouts), decisions=len(decisions), breaks=tuple(breaks))


async def every_decision(backend: Backend, rollout: str | None) -> list[Decision]:
    """All decisions of a rollout (None: of all), oldest first, read in pages."""
    found: list[Decision] = []
    before: int | None = None
    while page := await backend.state.decisions(rollout, limit=500, before=before):
        found += page
        before = page[-1].number
    return found[::-1]


async def paths_of(backend: Backend, policy: Policy, limit: int, path: str | None = None) -> list[MismatchCount]:
    """The paths that differ (or just this one): those first that were seen since the policy in force began, then the
    most frequent. More are read than are asked for, or what was mended would hide what differs now."""
    counted = await backend.ledger.mismatches(policy.rollout, path=path, limit=max(limit, MOST_PATHS))
    return sorted(counted, key=lambda one: one.last_at < policy.registered_at)[:limit]


async def standings_of(
    backend: Backend, policy: Policy, snapshot: Snapshot, stops: Mapping[str, Decision]
) -> tuple[Standing, ...]:
    """Where every branch stands, and what the gates find of it now; changes nothing.

    ``stops``: as of ``stops_of``. Of a unit that was rolled back: what the gates found then, for that is what people
    ask.
    """
    states = snapshot.states.get(policy.rollout, {})
    found: dict[str, Sequence[Finding]] = {}
    behind: dict[str, float] = {}
    for unit in policy.units():
        members = members_of(policy, states, unit)
        if not members:
            continue
        if mode_of(members) is Mode.rolled_back:
            found[unit] = found_then(stops[unit], unit) if unit in stops else ()
            continue
        case = Case(policy=policy, unit=unit, states=states, flags=snapshot.flags, now=snapshot.now)
        evidence = await evidence_of(backend.state, backend.ledger, case)
        behind[unit] = evidence.behind_s
        found[unit] = evidence.findings(case)
    reasons = {unit: decision.reason for unit, decision in stops.items()}
    return stands(policy, states, found, snapshot.flags, snapshot.now, behind_s=behind, reasons=reasons)


async def accounts_of(backend: Backend, policy: Policy, snapshot: Snapshot) -> Mapping[str, GateState]:
    """What the database knows of each unit's account, if that is the one which is open now."""
    states = snapshot.states.get(policy.rollout, {})
    stored = await backend.state.checkpoints([policy.rollout])
    found: dict[str, GateState] = {}
    for unit in policy.units():
        known, members = stored.get((policy.rollout, unit)), members_of(policy, states, unit)
        if known is None or not members or ACCOUNT not in known.states:
            continue
        if (known.account, known.version) == (max(state.account for state in members), policy.version):
            found[unit] = known.states[ACCOUNT]
    return found


_RECENT_S = 30 * 60
_FEW_MINUTES = 5  # that make no curve
_FEW = 5  # decisions beside what stands


async def _stops(backend: Backend, snapshot: Snapshot, name: str) -> Mapping[str, Decision]:
    return await stops_of(backend, snapshot.policies[name], snapshot.states.get(name, {}))


def _recent_of(newest: Sequence[Decision], stops: Sequence[Decision]) -> tuple[Decision, ...]:
    """The newest decisions, and the newest rollbacks among ``stops``: somebody is here because of them."""
    rollbacks = {one.number: one for one in stops if one.action == "rollback"}
    shown = {number: rollbacks[number] for number in sorted(rollbacks, reverse=True)[:_FEW]}
    shown |= {one.number: one for one in newest}
    return tuple(shown[number] for number in sorted(shown, reverse=True))


async def _status(backend: Backend, snapshot: Snapshot, name: str, stops: Mapping[str, Decision]) -> RolloutStatus:
    policy = snapshot.policies[name]
    standings = await standings_of(backend, policy, snapshot, stops)
    step_s, points = 5, 36
    series = await backend.ledger.series(name, "", snapshot.now - step_s * points, snapshot.now, step_s)
    by_step = {at: sum(figures["calls"] for figures in arms.values()) for at, arms in series}
    whole = Figures()
    for _, arms in series:
        for figures in arms.values():
            whole.merge(figures)
    # The newest seconds are not sealed yet: calls are written once they have settled.
    newest = int(snapshot.now - policy.settle_s) // step_s * step_s
    calls = [by_step.get(at, 0) for at in range(newest - step_s * (points - 1), newest, step_s)]
    minute = calls[-12:]
    calls_per_s = sum(minute) / (len(minute) * step_s)
    return RolloutStatus(
        name=name,
        word=worst(standings),
        sentence=reports.verdict(name, standings, 1, join=policy.join).sentence,
        version=policy.version,
        join=policy.join,
        branches=standings,
        calls=tuple(calls),
        step_s=step_s,
        calls_per_s=calls_per_s,
        evidence_per_s=None if policy.scores_keys else calls_per_s * policy.sample,
        overrides=tuple(flag for flag in snapshot.flags if flag.flag in _flags(policy)),
        flag_failures=whole.starting("flag:"),
    )


def _flags(policy: Policy) -> set[str]:
    return {policy.flag or policy.rollout, *(branch.flag for branch in policy.branches if branch.flag)}


def known(snapshot: Snapshot, name: str) -> str:
    if name not in snapshot.policies:
        raise UnknownName("rollout", name, sorted(snapshot.policies))
    return name


async def _recent(backend: Backend, policy: Policy, now: float) -> tuple[Mapping[str, Sequence[Point]], float]:
    """The curves of the last half hour, in minutes, or finer where they would be few; and when the last calls came, 0
    if none did.
    """
    step_s, since = 60, now - _RECENT_S
    curves = await _curves(backend, policy, since, now, step_s)
    if 0 < len(whole := curves.get("", ())) <= _FEW_MINUTES:
        step_s, since = 5, whole[0].at
        curves = await _curves(backend, policy, since, now, step_s)
    last = max((point.at for point in curves.get("", ()) if point.calls), default=None)
    return curves, 0.0 if last is None else min(now, last + step_s)


async def _curves(
    backend: Backend, policy: Policy, since: float, until: float, step_s: int
) -> Mapping[str, Sequence[Point]]:
    raw = await series(backend, policy, since, until, step_s)
    return {unit: report_parts.curve(steps) for unit, steps in raw.items()}


async def series(backend: Backend, policy: Policy, since: float, until: float, step_s: int) -> Series:
    """Figures by step of time: of the rollout itself (unit ``""``) and of each unit."""
    return {
        unit: await backend.ledger.series(policy.rollout, unit, since, until, step_s) for unit in ("", *policy.units())
    }
