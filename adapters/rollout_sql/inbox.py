"""The inbox over SQLAlchemy. A lease is the row's ``due_at``, set ahead while somebody holds it: when it runs out, the
event is simply due again.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.inbox import MOST_STEPS, Stored
from rollout.errors import Fenced
from rollout.ports import DeadEvent, InboxCounts, InboxEvent, LeasedEvent
from rollout_sql.backend import open_database
from rollout_sql.database import Database
from rollout_sql.inbox_table import inbox
from rollout_sql.sentences import plain
from rollout_sql.upsert import upsert

_AT_ONCE: Final = 500  # rows that one transaction deletes


async def open_inbox(url: str, *, migrate: bool | None = None, create: bool = True, process: str = "") -> SqlInbox:
    """Open the inbox in the database at ``url``, with a pool of connections of its own; as ``open_backend`` does, with
    the same errors. Close it with ``await inbox.close()``.
    """
    return SqlInbox(await open_database(url, migrate=migrate, create=create, process=process))


class SqlInbox:
    """An ``Inbox`` over a database; the docstrings of the port hold."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def put(self, event: InboxEvent, most: int) -> Stored:
        try:
            async with self._db.writing(durable=True) as connection:
                row = _row(event, await self._now(connection))
                if not (await connection.execute(upsert(inbox, connection, [row], keep=True))).rowcount:
                    return Stored.known
                kept = select(func.count()).where(inbox.c.webhook == event.webhook, inbox.c.state != "done")
                if (await connection.execute(kept)).scalar_one() > most:
                    raise _Full
        except _Full:
            return Stored.full
        return Stored.new

    async def take(self, webhook: str, holder: str, most: int, lease_s: float) -> list[LeasedEvent]:
        async with self._db.writing() as connection:
            now = await self._now(connection)
            due = (
                select(inbox.c.id)
                .where(inbox.c.webhook == webhook, inbox.c.state == "waiting", inbox.c.due_at <= now)
                .order_by(inbox.c.due_at)
                .limit(most)
                .with_for_update(skip_locked=True)  # SQLite has one writer, and leaves this out
            )
            ids = (await connection.execute(due)).scalars().all()
            taken = (
                update(inbox)
                .where(inbox.c.webhook == webhook, inbox.c.id.in_(ids))
                .values(
                    attempt=inbox.c.attempt + 1, epoch=inbox.c.epoch + 1, holder=plain(holder), due_at=now + lease_s
                )
                .returning(*inbox.c)
            )
            rows = (await connection.execute(taken)).all() if ids else []
        return [_leased(row) for row in sorted(rows, key=lambda row: (row.received_at, row.id))]

    async def renew(self, event: LeasedEvent, lease_s: float) -> None:
        await self._change(event, due_at=self._db.now + lease_s)

    async def finish(self, event: LeasedEvent, step: str) -> None:
        async with self._db.writing() as connection:
            row = (await connection.execute(select(inbox.c.done).where(_held(event)).with_for_update())).first()
            if row is None:
                raise _fenced(event)
            if step in row.done:
                return
            if len(row.done) >= MOST_STEPS:
                raise ValueError(f'event "{event.id}" has {MOST_STEPS} finished steps already; name fewer of them')
            await connection.execute(update(inbox).where(_held(event)).values(done=[*row.done, step]))

    async def complete(self, event: LeasedEvent) -> None:
        await self._change(event, state="done", holder="", body=b"", error="", ended_at=self._db.now)

    async def postpone(self, event: LeasedEvent, wait_s: float, error: str) -> None:
        await self._change(event, holder="", due_at=self._db.now + wait_s, error=plain(error))

    async def bury(self, event: LeasedEvent, error: str) -> None:
        await self._change(event, state="dead", holder="", error=plain(error), ended_at=self._db.now)

    async def give_back(self, event: LeasedEvent) -> None:
        await self._change(event, holder="", due_at=self._db.now, attempt=inbox.c.attempt - 1)

    async def revive(self, webhook: str, event_id: str) -> bool:
        dead = and_(inbox.c.webhook == webhook, inbox.c.id == event_id, inbox.c.state == "dead")
        async with self._db.writing() as connection:
            again = update(inbox).where(dead).values(state="waiting", attempt=0, due_at=self._db.now, ended_at=None)
            return bool((await connection.execute(again)).rowcount)

    async def counts(self, webhook: str) -> InboxCounts:
        held = inbox.c.holder != ""
        figures = (
            select(
                inbox.c.state, held.label("held"), func.count().label("n"), func.min(inbox.c.received_at).label("at")
            )
            .where(inbox.c.webhook == webhook, inbox.c.state != "done")
            .group_by(inbox.c.state, held)
        )
        async with self._db.reading() as connection:
            rows = {(row.state, bool(row.held)): row for row in await connection.execute(figures)}
        waiting, under_way, dead = (rows.get(kind) for kind in (("waiting", False), ("waiting", True), ("dead", False)))
        return InboxCounts(
            waiting=waiting.n if waiting else 0,
            under_way=under_way.n if under_way else 0,
            dead=dead.n if dead else 0,
            oldest_at=min((row.at for row in (waiting, under_way) if row), default=None),
        )

    async def dead(self, webhook: str, limit: int = 50) -> list[DeadEvent]:
        latest = (
            select(inbox)
            .where(inbox.c.webhook == webhook, inbox.c.state == "dead")
            .order_by(inbox.c.ended_at.desc(), inbox.c.id)
            .limit(limit)
        )
        async with self._db.reading() as connection:
            return [_dead(row) for row in await connection.execute(latest)]

    async def expire(self, webhook: str, ttl_s: float) -> int:
        key = tuple_(inbox.c.webhook, inbox.c.id)
        old = (
            select(inbox.c.webhook, inbox.c.id)
            .where(inbox.c.webhook == webhook, inbox.c.state != "waiting", inbox.c.received_at < self._db.now - ttl_s)
            .limit(_AT_ONCE)
        )
        expired = 0
        while True:
            async with self._db.writing() as connection:
                gone = (await connection.execute(delete(inbox).where(key.in_(old)))).rowcount
            expired += gone
            if gone < _AT_ONCE:
                return expired

    async def close(self) -> None:
        await self._db.close()

    async def _now(self, connection: AsyncConnection) -> float:
        return float((await connection.execute(select(self._db.now))).scalar_one())

    async def _change(self, event: LeasedEvent, **values: Any) -> None:
        """Change an event that is still held; ``Fenced`` if it is not."""
        async with self._db.writing() as connection:
            if not (await connection.execute(update(inbox).where(_held(event)).values(**values))).rowcount:
                raise _fenced(event)


class _Full(Exception):
    """Rolls the event back that was one too many."""


def _held(event: LeasedEvent) -> ColumnElement[bool]:
    mine = (inbox.c.holder == plain(event.holder)) & (inbox.c.epoch == event.epoch) & (inbox.c.state == "waiting")
    return (inbox.c.webhook == event.webhook) & (inbox.c.id == event.id) & mine


def _fenced(event: LeasedEvent) -> Fenced:
    return Fenced(
        f'{event.holder} does not hold event "{event.id}" of webhook "{event.webhook}" any more: nothing was written. '
        "Its lease ran out and another took it, or it has ended; stop working on it."
    )


def _row(event: InboxEvent, now: float) -> dict[str, Any]:
    return {
        "webhook": event.webhook,
        "id": event.id,
        "state": "waiting",
        "body": event.body,
        "done": [],
        "attempt": 0,
        "epoch": 0,
        "holder": "",
        "due_at": now,
        "received_at": now,
        "ended_at": None,
        "error": "",
    }


def _leased(row: Any) -> LeasedEvent:
    return LeasedEvent(
        webhook=row.webhook,
        id=row.id,
        body=bytes(row.body),
        received_at=row.received_at,
        attempt=row.attempt,
        done=frozenset(row.done),
        holder=row.holder,
        epoch=row.epoch,
    )


def _dead(row: Any) -> DeadEvent:
    return DeadEvent(
        id=row.id,
        received_at=row.received_at,
        died_at=row.ended_at,
        attempts=row.attempt,
        done=frozenset(row.done),
        error=row.error,
    )
