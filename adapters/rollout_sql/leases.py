"""Leases: who may decide. A row per name with an epoch that rises whenever the holder changes."""

from __future__ import annotations

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.state import Lease
from rollout.errors import Fenced
from rollout_sql.database import Database
from rollout_sql.tables import leases as table


async def take(connection: AsyncConnection, db: Database, name: str, holder: str, ttl_s: float) -> Lease | None:
    """Take a lease that is free or run out, or renew one's own; None if another holds it. One statement, so no two
    win.
    """
    statement = text(f"""
        INSERT INTO rollout_leases (name, holder, epoch, expires_at) VALUES (:name, :holder, 1, {db.now_sql} + :ttl)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
            epoch = rollout_leases.epoch + CASE WHEN rollout_leases.holder = excluded.holder THEN 0 ELSE 1 END
        WHERE rollout_leases.holder IN ('', excluded.holder) OR rollout_leases.expires_at <= {db.now_sql}
        RETURNING epoch, expires_at""")
    row = (await connection.execute(statement, {"name": name, "holder": holder, "ttl": float(ttl_s)})).first()
    return Lease(name, holder, row.epoch, row.expires_at) if row else None


async def holder(connection: AsyncConnection, db: Database, name: str) -> Lease | None:
    """Who holds it now."""
    held = select(table).where(table.c.name == name, table.c.holder != "", table.c.expires_at > db.now)
    row = (await connection.execute(held)).first()
    return Lease(row.name, row.holder, row.epoch, row.expires_at) if row else None


async def release(connection: AsyncConnection, lease: Lease) -> None:
    """Give it back if it is still held; the row stays, so that the epoch goes on rising."""
    mine = (table.c.name == lease.name) & (table.c.holder == lease.holder) & (table.c.epoch == lease.epoch)
    await connection.execute(update(table).where(mine).values(holder="", expires_at=0.0))


async def require(connection: AsyncConnection, lease: Lease, now: float) -> None:
    """``Fenced`` unless the lease is held: by this holder, in this epoch, not run out. The row is locked until the
    commit, so nobody takes it over before what was decided under it is written.
    """
    mine = (table.c.name == lease.name) & (table.c.holder == lease.holder) & (table.c.epoch == lease.epoch)
    held = select(table.c.epoch).where(mine, table.c.expires_at > now).with_for_update(read=True)
    if (await connection.execute(held)).first() is None:
        raise Fenced(
            f'{lease.holder} does not hold the lease "{lease.name}" of epoch {lease.epoch} any more: '
            "nothing was written. Another controller leads; take the lease again before the next decision."
        )
