"""Policies: each version as the code declares it, with a spec's fields on top. The newest one is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.durations import percent
from rollout.domain.layers import layered, plain_fields
from rollout.domain.state import BranchState, Decision, Policy, Trigger
from rollout.errors import Refused, UnknownName
from rollout_sql import audit, states
from rollout_sql.refit import lowered, moved_to
from rollout_sql.tables import policies as table


async def unchanged(connection: AsyncConnection, policy: Policy) -> Policy | None:
    """The policy in force if the code declares the same as last time and every branch has a state; else None."""
    row = await _newest(connection, policy.rollout)
    if row is None or row.code != policy.to_dict():
        return None
    known = await states.of(connection, policy.rollout)
    return _policy(row) if all(branch.name in known for branch in policy.branches) else None


async def register(connection: AsyncConnection, policy: Policy, actor: str, now: float) -> Policy:
    """A new version of what the code declares, with the applied fields still on top; new branches begin in shadow.

    A branch that stands at a share that the ramp has no more goes down to the next one that it has.
    """
    await _begin_new(connection, policy, now)
    row = await _newest(connection, policy.rollout)
    if row is not None and row.code == policy.to_dict():  # another process of the same code was first
        return _policy(row)
    applied, version = (row.applied, row.version + 1) if row else ({}, 1)
    effective = _layered(policy, applied, version, now)
    moves = []
    for state in (await states.of(connection, policy.rollout)).values():
        after = moved_to(effective.ramp, state) or lowered(effective.ramp, state)
        moves += await _move(connection, state, after, now)
    await _insert(connection, policy, effective, applied, actor)
    await audit.append(connection, _decision("register", Trigger.start, effective, actor, "", moves), now)
    return effective


async def apply(
    connection: AsyncConnection,
    rollout: str,
    fields: Mapping[str, Any] | None,
    origin: str,
    actor: str,
    reason: str,
    now: float,
) -> Policy:
    """A new version with these fields too on top of the code's, or with none if they are None. ``Refused`` if a
    branch stands at a share that the ramp would not have; ``UnknownName`` for a rollout that is not registered or a
    field that no spec may set.
    """
    row = await _newest(connection, rollout)
    if row is None:
        known = await connection.execute(select(table.c.rollout).distinct())
        raise UnknownName("rollout", rollout, list(known.scalars()))
    given = {name: [value, origin] for name, value in plain_fields(fields or {}).items()}
    applied = {} if fields is None else {**row.applied, **given}
    declared = Policy.from_dict(rollout, row.version, row.code, row.registered_at)
    effective = _layered(declared, applied, row.version + 1, now)
    moves = []
    for state in (await states.of(connection, rollout)).values():
        after = moved_to(effective.ramp, state)
        if after is None:
            raise Refused(
                f"{rollout}/{state.branch} stands at {percent(state.share)}, which the ramp "
                f'"{effective.ramp.text()}" does not have: nothing was applied. '
                f"Keep {percent(state.share)} in the ramp, or move the branch to one of its shares first."
            )
        moves += await _move(connection, state, after, now)
    await _insert(connection, declared, effective, applied, actor)
    await audit.append(connection, _decision("apply", Trigger.person, effective, actor, reason, moves), now)
    return effective


async def newest(connection: AsyncConnection) -> dict[str, Policy]:
    """Rollout → the policy in force."""
    last = select(table.c.rollout, func.max(table.c.version).label("version")).group_by(table.c.rollout).subquery()
    query = select(table).join(last, (table.c.rollout == last.c.rollout) & (table.c.version == last.c.version))
    return {row.rollout: _policy(row) for row in await connection.execute(query.order_by(table.c.rollout))}


async def versions(connection: AsyncConnection, rollout: str) -> list[Policy]:
    """Every version, newest first."""
    rows = await connection.execute(select(table).where(table.c.rollout == rollout).order_by(table.c.version.desc()))
    return [_policy(row) for row in rows]


async def _newest(connection: AsyncConnection, rollout: str) -> Any:
    query = select(table).where(table.c.rollout == rollout).order_by(table.c.version.desc()).limit(1)
    return (await connection.execute(query)).first()


async def _begin_new(connection: AsyncConnection, policy: Policy, now: float) -> None:
    known = await states.of(connection, policy.rollout)
    for branch in policy.branches:
        if branch.name not in known:
            await states.begin(connection, BranchState(rollout=policy.rollout, branch=branch.name, entered_at=now))


async def _move(
    connection: AsyncConnection, before: BranchState, after: BranchState, now: float
) -> list[dict[str, str]]:
    if after is before:
        return []
    await states.swap(connection, before, after, now)
    texts = [f"{state.at_text()} {state.mode.text}" for state in (before, after)]
    return [{"branch": before.branch, "from": texts[0], "to": texts[1]}] if texts[0] != texts[1] else []


async def _insert(
    connection: AsyncConnection, declared: Policy, effective: Policy, applied: Mapping[str, Any], actor: str
) -> None:
    row = {
        "rollout": effective.rollout,
        "version": effective.version,
        "actor": actor,
        "registered_at": effective.registered_at,
    }
    row |= {"code": declared.to_dict(), "applied": dict(applied), "effective": effective.to_dict()}
    await connection.execute(insert(table).values(**row))


def _layered(declared: Policy, applied: Mapping[str, Any], version: int, now: float) -> Policy:
    fields = {name: value for name, (value, _) in applied.items()}
    return layered(declared, fields, {name: origin for name, (_, origin) in applied.items()}, version=version, at=now)


def _policy(row: Any) -> Policy:
    return Policy.from_dict(row.rollout, row.version, row.effective, row.registered_at)


def _decision(
    action: str, trigger: Trigger, policy: Policy, actor: str, reason: str, moves: Sequence[Mapping[str, str]]
) -> Decision:
    return Decision(
        rollout=policy.rollout,
        action=action,
        actor=actor,
        trigger=trigger,
        reason=reason,
        moves=tuple(moves),
        policy_version=policy.version,
    )
