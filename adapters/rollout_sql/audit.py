"""The audit: decisions, only ever appended, each with the hash of the one before of its rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.gates import Finding
from rollout.domain.state import Decision, FlagOverride, Trigger
from rollout_sql import policies
from rollout_sql.sentences import plain
from rollout_sql.tables import decisions


async def append(connection: AsyncConnection, decision: Decision, now: float) -> Decision:
    """Number, date and chain a decision, and store it. The caller holds the revision row: numbers have no gap, no
    chain forks.
    """
    number = (await connection.execute(select(func.max(decisions.c.number)))).scalar() or 0
    chain = select(decisions.c.hash).where(decisions.c.rollout == decision.rollout)
    previous = (await connection.execute(chain.order_by(decisions.c.number.desc()).limit(1))).scalar() or ""
    clean = replace(decision, reason=plain(decision.reason), actor=plain(decision.actor))
    sealed = clean.sealed(number=number + 1, at=now, previous=previous)
    await connection.execute(insert(decisions).values(**sealed.content(), hash=sealed.hash))
    return sealed


async def append_flag(connection: AsyncConnection, override: FlagOverride, now: float) -> Decision:
    """The decision of a flag that was set or cleared, in the chain of the rollout that it steers, else in one of its
    own name.
    """
    what = f"{override.flag} {override.value} for {override.key or 'everybody'}"
    decision = Decision(
        rollout=await _rollout_of(connection, override.flag),
        action="flag",
        actor=override.actor,
        trigger=Trigger.person,
        reason=f"{what}: {override.reason}" if override.reason else what,
    )
    return await append(connection, decision, now)


async def _rollout_of(connection: AsyncConnection, flag: str) -> str:
    for name, policy in (await policies.newest(connection)).items():
        if flag in (policy.flag or name, *(branch.flag for branch in policy.branches)):
            return name
    return flag


async def read(connection: AsyncConnection, rollout: str | None, limit: int, before: int | None) -> list[Decision]:
    """Newest first. ``before``: numbers below it."""
    query = select(decisions).order_by(decisions.c.number.desc()).limit(limit)
    if rollout is not None:
        query = query.where(decisions.c.rollout == rollout)
    if before is not None:
        query = query.where(decisions.c.number < before)
    return [_decision(row) for row in await connection.execute(query)]


def _decision(row: Any) -> Decision:
    return Decision(
        rollout=row.rollout,
        action=row.action,
        actor=row.actor,
        trigger=Trigger(row.trigger),
        reason=row.reason,
        moves=tuple(row.moves),
        findings=tuple(Finding.from_dict(finding) for finding in row.findings),
        policy_version=row.policy_version,
        at=row.at,
        number=row.number,
        previous=row.previous,
        hash=row.hash,
    )
