"""``rollout doctor``: gathers the facts of a set-up and lets every check look at them.

What keeps the database from being opened at all is found by whoever opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rollout.domain import report_parts
from rollout.domain.audit import verify
from rollout.domain.checkup import CHECKS, Diagnosis, Facts, RolloutFacts
from rollout.domain.evidence import Figures
from rollout.domain.sequential.curve import Curve, Point
from rollout.domain.state import Policy, Snapshot
from rollout.domain.symptoms import SYMPTOMS
from rollout.errors import DatabaseError
from rollout.ports import Backend
from rollout.usecases.look import CONTROLLER, accounts_of, every_decision

RECENT_S = 3_600.0


async def doctor(
    backend: Backend, wall: Callable[[], float], spec: Mapping[str, Mapping[str, Any]] | None = None
) -> Diagnosis:
    """Gather the facts and run every check over them. ``spec``: the fields of each rollout in the spec file, if there
    is one."""
    facts = await gather(backend, wall, spec)
    checks = {**CHECKS, **SYMPTOMS}
    faults = [fault for check in checks.values() for fault in check(facts)]
    return Diagnosis(database=backend.url, checked=("database", "schema", *checks), faults=tuple(faults))


async def gather(backend: Backend, wall: Callable[[], float], spec: Mapping[str, Mapping[str, Any]] | None) -> Facts:
    unwritable = await _why_unwritable(backend)
    snapshot = await backend.state.load()
    read_at = wall()
    return Facts(
        snapshot=snapshot,
        wall=read_at,
        leader=await backend.state.holder(CONTROLLER),
        fenced=await backend.state.fenced(),
        unwritable=unwritable,
        spec=spec,
        rollouts=tuple([await _of_one(backend, snapshot, policy, spec) for policy in snapshot.policies.values()]),
    )


async def _why_unwritable(backend: Backend) -> str:
    """Take and give back a lease that nobody else wants: the smallest write there is."""
    try:
        lease = await backend.state.lease("doctor", "doctor", 1.0)
        if lease is not None:
            await backend.state.release(lease)
    except DatabaseError as error:
        return str(error)
    return ""


async def _of_one(
    backend: Backend, snapshot: Snapshot, policy: Policy, spec: Mapping[str, Mapping[str, Any]] | None
) -> RolloutFacts:
    name, since = policy.rollout, snapshot.now - RECENT_S
    recent = await backend.ledger.totals(name, since=since)
    pairs = Figures()
    for total in recent:
        if total.arm == "P":
            pairs.merge(total.figures)
    flags = {policy.flag or name, *(branch.flag for branch in policy.branches if branch.flag)}
    return RolloutFacts(
        policy=policy,
        states=snapshot.states.get(name, {}),
        recent=report_parts.whole(recent),
        pairs=pairs,
        newest=await _newest(backend, name, snapshot.now),
        closed={unit: await _closed(backend, name, unit) for unit in policy.units()},
        evidence=await _evidence(backend, policy, snapshot),
        late=await backend.ledger.late(name),
        breaks=verify(await every_decision(backend, name), complete=False),
        flags=tuple(flag for flag in snapshot.flags if flag.flag in flags),
        spec=None if spec is None else spec.get(name),
    )


async def _newest(backend: Backend, name: str, now: float) -> int | None:
    """The newest step of calls, exact to ten seconds within the last hour."""
    for span, step in ((RECENT_S, 10), (30 * 86_400.0, 3_600)):
        steps = await backend.ledger.series(name, "", now - span, now + 60, step)
        if steps:
            return int(steps[-1][0])
    return None


async def _evidence(backend: Backend, policy: Policy, snapshot: Snapshot) -> dict[str, Point]:
    accounts = await accounts_of(backend, policy, snapshot)
    curves = {unit: Curve.from_json(account["curve"]).points for unit, account in accounts.items()}
    return {unit: points[-1] for unit, points in curves.items() if points}


async def _closed(backend: Backend, name: str, unit: str) -> int | None:
    checkpoint = await backend.state.checkpoint(name, unit)
    return None if checkpoint is None else checkpoint.closed_second
