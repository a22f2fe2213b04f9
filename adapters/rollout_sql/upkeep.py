"""Housekeeping: old blocks are rolled up, old trials, subjects and batches go. In small transactions: writers wait
for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, delete, func, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.places import under_way
from rollout.domain.state import Policy
from rollout_sql import mismatches, states
from rollout_sql.database import Database
from rollout_sql.rollup import roll_up
from rollout_sql.tables import batches, branch_runs, first_calls, trials
from rollout_sql.tables import mismatches as counts

HOUR: Final = 3_600
DAY: Final = 86_400
_AT_ONCE: Final = 1_000
_SETTLED_S: Final = 300.0  # a mismatch may be written before the trials that it names


async def maintain(db: Database, policies: Mapping[str, Policy]) -> Mapping[str, int]:
    """What ``Ledger.maintain`` says; what was done, by name."""
    async with db.reading() as connection:
        now = float((await connection.execute(select(db.now))).scalar_one())
    rolled = await roll_up(db, 60, int(now) - HOUR) + await roll_up(db, HOUR, int(now) - DAY)
    dropped = keys = 0
    for rollout, policy in policies.items():
        expired = now - policy.ttl_s
        dropped += await _drop_trials(db, (trials.c.rollout == rollout) & (trials.c.at < expired))
        dropped += await _drop_trials(db, trials.c.rollout == rollout, keep=policy.max_trials)
        keys += await _drop_subjects(db, policy, expired)
    if dropped:
        await _forget_samples(db, now)
    known = await _drop(db, batches, batches.c.at < now - DAY)
    return {"blocks_rolled_up": rolled, "trials_dropped": dropped, "subjects_dropped": keys, "batches_dropped": known}


async def purge(db: Database, rollout: str | None, older_than: float | None, key_hash: str | None) -> int:
    """What ``Ledger.purge`` says; how many trials went."""
    dropped = await _drop_trials(db, _which(trials, trials.c.at, rollout, older_than, key_hash))
    await _drop(db, first_calls, _which(first_calls, first_calls.c.started_at, rollout, older_than, key_hash))
    await _forget_samples(db, None)
    return dropped


def _which(
    table: Table, at: ColumnElement[float], rollout: str | None, older_than: float | None, key_hash: str | None
) -> ColumnElement[bool]:
    which: list[ColumnElement[bool]] = []
    if rollout is not None:
        which.append(table.c.rollout == rollout)
    if older_than is not None:
        which.append(at < older_than)
    if key_hash is not None:
        which.append(table.c.key_hash == key_hash)
    return and_(true(), *which)


async def _drop_trials(db: Database, which: ColumnElement[bool], keep: int = 0) -> int:
    """Delete trials with their runs, the oldest first, all but the newest ``keep``."""
    excess = await _count(db, trials, which) - keep if keep else None
    dropped = 0
    while excess is None or dropped < excess:
        most = _AT_ONCE if excess is None else min(_AT_ONCE, excess - dropped)
        async with db.writing() as connection:
            query = select(trials.c.id).where(which).order_by(trials.c.id).limit(most)
            ids = (await connection.execute(query)).scalars().all()
            await connection.execute(delete(branch_runs).where(branch_runs.c.trial.in_(ids)))
            await connection.execute(delete(trials).where(trials.c.id.in_(ids)))
        dropped += len(ids)
        if len(ids) < most:
            break
    return dropped


async def _drop_subjects(db: Database, policy: Policy, before: float) -> int:
    """Delete those of stages that are over."""
    of_rollout = first_calls.c.rollout == policy.rollout
    stage = (first_calls.c.unit, first_calls.c.version, first_calls.c.entry)
    async with db.reading() as connection:  # apart: looking through all keys would keep writers waiting
        present = await connection.execute(select(*stage).where(of_rollout).distinct())
        over = {tuple(row) for row in present} - under_way(policy, await states.of(connection, policy.rollout))
    dropped = 0
    for unit, version, entry in sorted(over):
        which = of_rollout & (stage[0] == unit) & (stage[1] == version) & (stage[2] == entry)
        dropped += await _drop(db, first_calls, which & (first_calls.c.started_at < before))
    return dropped


async def _drop(db: Database, table: Table, which: ColumnElement[bool]) -> int:
    """Delete rows, some at a time."""
    key = tuple_(*table.primary_key.columns)
    dropped = 0
    while True:
        async with db.writing() as connection:
            some = select(*table.primary_key.columns).where(which).limit(_AT_ONCE)
            gone = (await connection.execute(delete(table).where(key.in_(some)))).rowcount
        dropped += gone
        if gone < _AT_ONCE:
            return dropped


async def _count(db: Database, table: Table, which: ColumnElement[bool]) -> int:
    async with db.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(table).where(which))).scalar_one())


async def _forget_samples(db: Database, now: float | None) -> None:
    """Take trials that are no more out of the samples; without any left, the example goes too. ``now``: spare new
    ones.
    """
    async with db.writing() as connection:
        await mismatches.take_turn(connection)
        old = true() if now is None else counts.c.first_at < now - _SETTLED_S
        rows = (await connection.execute(select(*counts.primary_key.columns, counts.c.trials).where(old))).all()
        named = sorted({trial for row in rows for trial in row.trials})
        there = await _existing(connection, named)
        for row in rows:
            left = [trial for trial in row.trials if trial in there]
            if len(left) < len(row.trials):
                await connection.execute(update(counts).where(_same(row)).values(_emptied(left)))


def _emptied(left: list[str]) -> dict[str, Any]:
    return {"trials": left} if left else {"trials": left, "example": None}


def _same(row: Any) -> ColumnElement[bool]:
    return and_(*(column == row._mapping[column.name] for column in counts.primary_key.columns))


async def _existing(connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        query = select(trials.c.id).where(trials.c.id.in_(ids[start : start + _AT_ONCE]))
        found.update((await connection.execute(query)).scalars())
    return found
