"""What the controller knows at its last tick: gate states, and up to which second they are folded."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.ports import GateCheckpoint
from rollout_sql.tables import gate_states as table
from rollout_sql.upsert import upsert

_NAMES = ("rollout", "unit", "entry", "version", "closed_second", "states")


async def read(connection: AsyncConnection, rollout: str, unit: str) -> GateCheckpoint | None:
    """The checkpoint of a unit; None before the first tick."""
    row = (await connection.execute(select(table).where(table.c.rollout == rollout, table.c.unit == unit))).first()
    return GateCheckpoint(**{name: getattr(row, name) for name in _NAMES}) if row else None


async def save(connection: AsyncConnection, checkpoints: Sequence[GateCheckpoint]) -> None:
    """Store them, in one order for everybody, so that two writers cannot deadlock."""
    newest = {(one.rollout, one.unit): one for one in checkpoints}
    if newest:
        rows = [{name: getattr(newest[key], name) for name in _NAMES} for key in sorted(newest)]
        await connection.execute(upsert(table, connection, rows))
