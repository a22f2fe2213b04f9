"""The beginning of every change: the revision row, locked and raised, and the time of the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout_sql.database import Database
from rollout_sql.tables import meta

CHANNEL: Final = "rollout_changed"


@dataclass(frozen=True, slots=True)
class Moment:
    """The revision that a change makes, and when, in epoch seconds by the database's clock."""

    revision: int
    now: float


async def begin_change(connection: AsyncConnection, db: Database) -> Moment:
    """Wait for one's turn and raise the revision. PostgreSQL tells every listener at the commit (and none if there is
    none).
    """
    raised = (
        update(meta).where(meta.c.name == "revision").values(number=meta.c.number + 1).returning(meta.c.number, db.now)
    )
    revision, now = (await connection.execute(raised)).one()
    if not db.sqlite:
        await connection.execute(select(func.pg_notify(CHANNEL, str(revision))))
    return Moment(revision, now)
