"""The state store: what was decided. Each change is one transaction that begins at the revision row, so changes take
turns.

That one row makes three promises cheap: the revision rises by one with each change, the audit's chain never forks,
and no two changes deadlock. It is held for a few statements, and there are few changes.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.state import BranchState, Change, Decision, FlagOverride, Lease, Policy, Snapshot
from rollout.errors import DatabaseError, Fenced
from rollout.ports import GateCheckpoint
from rollout_sql import audit, gates, leases, policies, states
from rollout_sql.database import Database
from rollout_sql.moment import Moment, begin_change
from rollout_sql.sentences import plain
from rollout_sql.tables import flags, meta
from rollout_sql.upsert import upsert
from rollout_sql.watch import Watch


class SqlStateStore:
    """A ``StateStore`` over a database; the docstrings of the port hold."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._seen: int | None = None  # the revision that a reader here knew last
        self._watches: set[Watch] = set()

    # What is in force

    async def load(self) -> Snapshot:
        async with self._db.reading() as connection:
            revision, now = (
                await connection.execute(select(meta.c.number, self._db.now).where(meta.c.name == "revision"))
            ).one()
            snapshot = Snapshot(
                revision=revision,
                policies=await policies.newest(connection),
                states=await states.every(connection),
                flags=[
                    _override(row)
                    for row in await connection.execute(select(flags).order_by(flags.c.flag, flags.c.key))
                ],
                now=now,
            )
        self._seen = revision
        return snapshot

    async def now(self) -> float:
        async with self._db.reading() as connection:
            return float((await connection.execute(select(self._db.now))).scalar_one())

    async def revision(self) -> int:
        async with self._db.reading() as connection:
            self._seen = await _counter(connection, "revision")
        return self._seen

    def changes(self) -> AsyncIterator[int]:
        """Counts from the revision that ``load`` or ``revision`` returned last: nothing in between is missed."""
        return self._follow(self._seen)

    async def _follow(self, seen: int | None) -> AsyncIterator[int]:
        watch = Watch(self._db)
        self._watches.add(watch)
        try:
            while (revision := await watch.next(seen)) is not None:
                seen = revision
                yield revision
        finally:
            await watch.close()
            self._watches.discard(watch)  # not before: close() waits for those that are still closing

    # Decisions

    async def transition(self, change: Change) -> list[BranchState]:
        async with self._fencing(), self._changing() as (connection, moment):
            if change.lease:
                await leases.require(connection, change.lease, moment.now)
            epoch = change.lease.epoch if change.lease else 0
            pairs = zip(change.before, change.after, strict=True)
            written = [await states.swap(connection, before, after, moment.now, epoch) for before, after in pairs]
            await audit.append(connection, change.decision, moment.now)
        return written

    async def record(self, decision: Decision) -> Decision:
        async with self._changing() as (connection, moment):
            return await audit.append(connection, decision, moment.now)

    async def decisions(self, rollout: str | None = None, limit: int = 50, before: int | None = None) -> list[Decision]:
        async with self._db.reading() as connection:
            return await audit.read(connection, rollout, limit, before)

    # Policies

    async def register(self, policy: Policy, actor: str) -> Policy:
        async with self._db.reading() as connection:
            unchanged = await policies.unchanged(connection, policy)
        if unchanged:
            return unchanged
        async with self._changing() as (connection, moment):
            return await policies.register(connection, policy, plain(actor), moment.now)

    async def apply(
        self, rollout: str, fields: Mapping[str, Any] | None, origin: str, actor: str, reason: str = ""
    ) -> Policy:
        async with self._changing() as (connection, moment):
            return await policies.apply(connection, rollout, fields, origin, plain(actor), reason, moment.now)

    async def policy_versions(self, rollout: str) -> list[Policy]:
        async with self._db.reading() as connection:
            return await policies.versions(connection, rollout)

    # Leases and gates

    async def lease(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        async with self._db.writing() as connection:
            return await leases.take(connection, self._db, name, holder, ttl_s)

    async def holder(self, name: str) -> Lease | None:
        async with self._db.reading() as connection:
            return await leases.holder(connection, self._db, name)

    async def release(self, lease: Lease) -> None:
        async with self._db.writing() as connection:
            await leases.release(connection, lease)

    async def checkpoint(self, rollout: str, unit: str) -> GateCheckpoint | None:
        async with self._db.reading() as connection:
            return await gates.read(connection, rollout, unit)

    async def checkpoints(self, rollouts: Collection[str] | None = None) -> dict[tuple[str, str], GateCheckpoint]:
        async with self._db.reading() as connection:
            return await gates.every(connection, rollouts)

    async def save_checkpoints(self, checkpoints: Sequence[GateCheckpoint], lease: Lease | None) -> None:
        async with self._fencing(), self._db.writing() as connection:
            if lease:
                await leases.require(connection, lease, (await connection.execute(select(self._db.now))).scalar_one())
            await gates.save(connection, checkpoints)

    async def fenced(self) -> int:
        async with self._db.reading() as connection:
            return await _counter(connection, "fenced")

    async def told(self) -> int | None:
        async with self._db.reading() as connection:
            return (await connection.execute(select(meta.c.number).where(meta.c.name == "told"))).scalar()

    async def save_told(self, number: int, lease: Lease) -> None:
        async with self._fencing(), self._db.writing() as connection:
            await leases.require(connection, lease, (await connection.execute(select(self._db.now))).scalar_one())
            await connection.execute(upsert(meta, connection, [{"name": "told", "number": number}]))

    # Flags and the secret

    async def set_flag(self, override: FlagOverride) -> None:
        row = {"flag": override.flag, "key": override.key or "", "value": override.value}
        row |= {"reason": plain(override.reason), "actor": plain(override.actor)}
        async with self._changing() as (connection, moment):
            await connection.execute(upsert(flags, connection, [row | {"at": moment.now}]))
            await audit.append_flag(connection, override, moment.now)

    async def clear_flag(self, flag: str, key: str | None, actor: str, reason: str) -> bool:
        cleared = FlagOverride(flag=flag, value="cleared", key=key or None, reason=reason, actor=actor)
        with suppress(_NothingThere):
            async with self._changing() as (connection, moment):
                gone = await connection.execute(delete(flags).where(flags.c.flag == flag, flags.c.key == (key or "")))
                if not gone.rowcount:
                    raise _NothingThere
                await audit.append_flag(connection, cleared, moment.now)
            return True
        return False

    async def secret(self) -> bytes:
        async with self._db.reading() as connection:
            found = await _secret(connection)
        if found is None:
            async with self._db.writing(durable=True) as connection:
                offered = {"name": "secret", "number": 0, "secret": secrets.token_bytes(32)}
                await connection.execute(upsert(meta, connection, [offered], keep=True))
                found = await _secret(connection)
        assert found is not None
        return found

    async def close(self) -> None:
        """End every ``changes()``, also one that nobody waits for now."""
        for watch in tuple(self._watches):
            await watch.close()

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[tuple[AsyncConnection, Moment]]:
        async with self._db.writing(durable=True) as connection:
            yield connection, await begin_change(connection, self._db)

    @asynccontextmanager
    async def _fencing(self) -> AsyncIterator[None]:
        """Counts a refused write, in a transaction of its own: that of the write is rolled back."""
        try:
            yield
        except Fenced:
            with suppress(DatabaseError):
                async with self._db.writing() as connection:
                    await connection.execute(
                        update(meta).where(meta.c.name == "fenced").values(number=meta.c.number + 1)
                    )
            raise


class _NothingThere(Exception):
    """Rolls a change back that turned out to be none."""


async def _counter(connection: AsyncConnection, name: str) -> int:
    return int((await connection.execute(select(meta.c.number).where(meta.c.name == name))).scalar_one())


async def _secret(connection: AsyncConnection) -> bytes | None:
    found = (await connection.execute(select(meta.c.secret).where(meta.c.name == "secret"))).scalar()
    return bytes(found) if found is not None else None


def _override(row: Any) -> FlagOverride:
    return FlagOverride(
        flag=row.flag, value=row.value, key=row.key or None, reason=row.reason, actor=row.actor, at=row.at
    )
