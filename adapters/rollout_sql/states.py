"""Where the branches stand: compare-and-swap of one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.state import BranchState, Mode
from rollout.errors import Conflict
from rollout_sql.tables import branch_states as table

_NAMES = tuple(field.name for field in fields(BranchState))


async def swap(
    connection: AsyncConnection, before: BranchState, after: BranchState, now: float, epoch: int = 0
) -> BranchState:
    """Write ``after`` if the row is still at the version of ``before``, else ``Conflict``. A new entry begins
    ``now``.
    """
    entered = replace(after, entered_at=now) if after.entry > before.entry else after
    same = (table.c.rollout == before.rollout) & (table.c.branch == before.branch)
    written = await connection.execute(
        update(table).where(same, table.c.version == before.version).values(**_row(entered, epoch))
    )
    if written.rowcount != 1:
        stored = (await connection.execute(select(table.c.version).where(same))).scalar()
        stands = "does not exist" if stored is None else f"is at version {stored} now"
        raise Conflict(
            f"{before.rollout}/{before.branch} {stands}, the change was made for version {before.version}: "
            "nothing was written. Read it again and decide again."
        )
    return entered


async def begin(connection: AsyncConnection, state: BranchState) -> None:
    """The first state of a branch."""
    await connection.execute(insert(table).values(**_row(state)))


async def every(connection: AsyncConnection) -> Mapping[str, Mapping[str, BranchState]]:
    """Rollout → branch → state; also of branches that the code does not declare any more."""
    found: dict[str, dict[str, BranchState]] = {}
    for row in await connection.execute(select(table).order_by(table.c.rollout, table.c.branch)):
        found.setdefault(row.rollout, {})[row.branch] = _state(row)
    return found


async def of(connection: AsyncConnection, rollout: str) -> dict[str, BranchState]:
    """Branch → state."""
    rows = await connection.execute(select(table).where(table.c.rollout == rollout).order_by(table.c.branch))
    return {row.branch: _state(row) for row in rows}


def _row(state: BranchState, epoch: int = 0) -> dict[str, Any]:
    return {name: getattr(state, name) for name in _NAMES} | {"mode": state.mode.value, "epoch": epoch}


def _state(row: Any) -> BranchState:
    return BranchState(**{name: getattr(row, name) for name in _NAMES} | {"mode": Mode(row.mode)})
