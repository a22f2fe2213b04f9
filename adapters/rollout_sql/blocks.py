"""Writing batches: known or new, and the blocks in it. Rows of one key need not be merged: whoever reads adds them
up.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.evidence import Block, BlockKey
from rollout.ports import Batch
from rollout_sql.database import Database
from rollout_sql.documents import insert_rows
from rollout_sql.tables import gate_states

_NAMES = ("rollout", "unit", "arm", "version", "entry", "second", "span", "process", "late", "figures")


async def first_time(connection: AsyncConnection, db: Database, batch: Batch) -> bool:
    """Whether the batch was not written before. From here on it is, if the transaction ends well: a second writer of
    the same batch waits for the end of the first.
    """
    mark = text(
        f"INSERT INTO rollout_batches (id, process, at) VALUES (:id, :process, {db.now_sql}) "
        "ON CONFLICT (id) DO NOTHING RETURNING id"
    )
    return (await connection.execute(mark, {"id": batch.id, "process": batch.process})).first() is not None


async def write(connection: AsyncConnection, blocks: Sequence[Block]) -> None:
    """Add blocks; one whose second the controller has closed already is marked late."""
    if not blocks:
        return
    closed = await _closed(connection, {block.key.rollout for block in blocks})
    rows = [(*_key(block.key), int(_is_late(block.key, closed)), block.figures.to_json()) for block in blocks]
    await insert_rows(connection, "rollout_blocks", _NAMES, rows)


async def _closed(connection: AsyncConnection, rollouts: set[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """(rollout, unit) → (entry, closed second) of the last tick."""
    columns = (gate_states.c.rollout, gate_states.c.unit, gate_states.c.entry, gate_states.c.closed_second)
    rows = await connection.execute(select(*columns).where(gate_states.c.rollout.in_(sorted(rollouts))))
    return {(row.rollout, row.unit): (row.entry, row.closed_second) for row in rows}


def _is_late(key: BlockKey, closed: dict[tuple[str, str], tuple[int, int]]) -> bool:
    entry, second = closed.get((key.rollout, key.unit), (-1, -1))
    return key.entry <= entry and key.second <= second


def _key(key: BlockKey) -> tuple[str, str, str, int, int, int, int, str]:
    return key.rollout, key.unit, key.arm, key.version, key.entry, key.second, key.span, key.process
