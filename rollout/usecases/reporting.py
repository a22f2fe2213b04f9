"""The verbs that report: the whole report, what differs, what it costs. Each reads sums, never single calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.domain import report as reports
from rollout.domain import report_parts, report_sample
from rollout.domain.report import Example, Material, Report
from rollout.domain.report_values import Bill, Comparison, Cost, Mismatch, ModelCost, Sample
from rollout.domain.state import Decision, Policy
from rollout.errors import UnknownName
from rollout.ports import Backend, MismatchCount, TrialRecord
from rollout.usecases.look import MOST_PATHS, Series, accounts_of, known, paths_of, series, standings_of
from rollout.usecases.stopped import stops_of

POINTS = 72  # the most points of a curve
NEWEST_S = 15.0  # before the second that is sealed now: what a process may be late with its blocks
REPORTING_S = 600.0  # how long ago a process may have counted its last call to be told of
EXAMPLES_OF, EXAMPLES = 12, 2  # so many paths, the most frequent ones, have so many examples each


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs: the paths, and stored pairs as examples. ``comparisons``: of every unit, also without a
    difference. ``policy_at``: when the policy in force began."""

    rollout: str
    policy_version: int
    policy_at: float
    path: str | None
    compared: int
    comparisons: Sequence[Comparison]
    mismatches: Sequence[Mismatch]
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What each side costs per call, and projected to every call for a month of 30 days at the rate observed.
    ``models``: by branch and model, of the stored trials that ``sample`` tells of."""

    rollout: str
    calls_per_s: float | None
    lines: Sequence[Cost]
    bill: Bill | None
    models: Sequence[ModelCost]
    sample: Sample | None


async def report(backend: Backend, name: str, *, since: float | None = None) -> Report:
    """The report of one rollout; ``since``: epoch seconds, default the first registration.

    Reads totals, at most ``POINTS`` steps of curves, the newest seconds, 100 paths with some examples, and 2 000
    trials, however much was recorded.
    """
    snapshot = await backend.state.load()
    policy = snapshot.policies[known(snapshot, name)]
    decisions = await backend.state.decisions(name, limit=100)
    versions = await backend.state.policy_versions(name)
    asked = since
    if since is None:
        since = _began(policy, versions, decisions)
    stops = await stops_of(backend, policy, snapshot.states.get(name, {}))
    paths = await paths_of(backend, policy, 100)
    totals = await backend.ledger.totals(name, since=asked)
    stored = await backend.ledger.stored(name)
    curves = await _curves(backend, policy, since, snapshot.now)
    return reports.build(
        Material(
            policy=policy,
            standings=await standings_of(backend, policy, snapshot, stops),
            accounts=await accounts_of(backend, policy, snapshot),
            totals=totals,
            ever=totals if asked is None else await backend.ledger.totals(name),
            curves=curves,
            extent=await backend.ledger.extent(name, asked),
            newest=await _newest(backend, policy, snapshot.now),
            paths=paths,
            examples=await _first_examples(backend, paths),
            trials=await backend.ledger.sample(name, report_sample.MOST, since=asked),
            kept={version.version: version.store_sample for version in versions},
            decisions=decisions,
            late_blocks=await backend.ledger.late(name),
            processes=await backend.ledger.processes(name, snapshot.now - REPORTING_S),
            stored=stored,
            rows=stored[0] if asked is None else 0,
            now=snapshot.now,
            since=since,
            database=backend.url,
        )
    )


async def diff(backend: Backend, name: str, path: str | None = None, limit: int = 20) -> Diff:
    """What differs between the sides, and stored pairs as examples; of one path, or of all."""
    snapshot = await backend.state.load()
    policy = snapshot.policies[known(snapshot, name)]
    totals = await backend.ledger.totals(name)
    counted = await paths_of(backend, policy, limit, path)
    if path and not counted:
        every = await backend.ledger.mismatches(name, limit=MOST_PATHS)
        raise UnknownName("path that differs", path, sorted({found.path for found in every}))
    whole, units = report_parts.whole(totals), report_parts.by_unit(totals)
    return Diff(
        rollout=name,
        policy_version=policy.version,
        policy_at=policy.registered_at,
        path=path,
        compared=whole["compared"],
        comparisons=report_parts.comparisons(units),
        mismatches=report_parts.mismatches(counted, whole, units, policy),
        examples=await _examples(backend, name, path, min(limit, 5) if path is None else limit),
    )


async def cost(backend: Backend, name: str) -> Costs:
    """What each side costs per call and, at the rate observed, per month at 100 % of the traffic."""
    whole = await report(backend, name)
    return Costs(
        rollout=name,
        calls_per_s=whole.window.calls_per_s,
        lines=whole.cost,
        bill=whole.bill,
        models=whole.models,
        sample=whole.sample,
    )


def _began(policy: Policy, versions: Sequence[Policy], decisions: Sequence[Decision]) -> float:
    """When the rollout was registered first."""
    known = [version.registered_at for version in versions if version.registered_at]
    return min([*known, *(decision.at for decision in decisions)], default=policy.registered_at)


def step_of(span_s: float) -> int:
    """The step of a curve in seconds, so that it has at most ``POINTS`` points; a whole number of minutes or hours
    when long."""
    least = max(1.0, span_s / POINTS)
    for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400):
        if step >= least:
            return step
    return int(least // 86_400 + 1) * 86_400


async def _curves(backend: Backend, policy: Policy, since: float, until: float) -> Series:
    """Curves of at most ``POINTS`` steps. Where there were calls in a small part of the span only, of that part."""
    step_s = step_of(until - since)
    found = await series(backend, policy, since, until, step_s)
    for _ in range(3):  # each look is at least four times as close
        busy = [at for at, arms in found[""] if any(figures["calls"] for figures in arms.values())]
        if not busy or step_s == 1 or busy[-1] - busy[0] + step_s >= (until - since) / 4:
            break
        since, until = float(busy[0]), min(until, float(busy[-1] + step_s))
        step_s = step_of(until - since)
        found = await series(backend, policy, since, until, step_s)
    return found


async def _newest(backend: Backend, policy: Policy, now: float) -> Series:
    """The last seconds that are sealed, one by one, of each unit."""
    since = now - policy.settle_s - NEWEST_S
    return {unit: await backend.ledger.series(policy.rollout, unit, since, now, 1) for unit in policy.units()}


async def _first_examples(backend: Backend, paths: Sequence[MismatchCount]) -> tuple[Example, ...]:
    """Of each of the most frequent paths the first trials that are still stored, oldest first: a rule that does not
    ask what time it is, so that two people look at the same pairs."""
    named = [path.trials for path in paths[:EXAMPLES_OF]]
    stored = {
        trial.id: trial for trial in await backend.ledger.trials_of(sorted({one for ids in named for one in ids}))
    }
    chosen = {one for ids in named for one in [each for each in ids if each in stored][:EXAMPLES]}
    return tuple(_example(stored[one]) for one in sorted(chosen))


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
