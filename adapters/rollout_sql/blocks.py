"""Writing batches: known or new, and the blocks in it. Rows of one key need not be merged: whoever reads adds them
up.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.evidence import Block, BlockKey
from rollout.ports import Batch
from rollout_sql.database import Database
from rollout_sql.documents import insert_rows
from rollout_sql.gates import Closed

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


async def write(connection: AsyncConnection, blocks: Sequence[Block], closed: Closed) -> None:
    """Add blocks; one whose second the controller has closed already is marked late."""
    rows = [(*_key(block.key), int(_is_late(block.key, closed)), block.figures.to_json()) for block in blocks]
    await insert_rows(connection, "rollout_blocks", _NAMES, rows)


def _is_late(key: BlockKey, closed: Closed) -> bool:
    return closed.is_late(key.rollout, key.unit, key.entry, key.second)


def _key(key: BlockKey) -> tuple[str, str, str, int, int, int, int, str]:
    return key.rollout, key.unit, key.arm, key.version, key.entry, key.second, key.span, key.process
