"""The roll-up: old blocks of one key become one block of a minute, later of an hour. No figure changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, cast, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.evidence import Figures
from rollout_sql.database import Database
from rollout_sql.documents import insert_rows
from rollout_sql.tables import blocks

_WINDOWS: Final = 1_000  # at one call: the rest waits for the next
_AT_ONCE: Final = 25
_SAME = ("rollout", "unit", "arm", "version", "entry")
_NAMES = (*_SAME, "second", "span", "process", "late", "figures")


async def roll_up(db: Database, span: int, until: int) -> int:
    """Put shorter blocks before ``until`` (epoch seconds) into blocks of ``span`` seconds; how many went into longer
    ones.

    Only whole spans, each of a unit in a transaction of its own; two who do it at once wait for each other.
    """
    whole = until // span * span
    rolled = 0
    for _ in range(_WINDOWS):
        async with db.writing() as connection:
            first = await _first(connection, span, whole)
            if first is None:
                break
            start = first.second // span * span
            window = (blocks.c.rollout == first.rollout) & (blocks.c.unit == first.unit) & (blocks.c.span < span)
            window &= (blocks.c.second >= start) & (blocks.c.second < start + span)
            rolled += await _roll(connection, window, start, span)
    return rolled


async def _first(connection: AsyncConnection, span: int, until: int) -> Any:
    b = blocks.c
    shorter = (1, 60)[: 1 if span == 60 else 2]
    query = select(b.rollout, b.unit, b.second).where(b.span.in_(shorter), b.second < until)
    return (await connection.execute(query.order_by(b.second).limit(1))).first()


async def _roll(connection: AsyncConnection, window: ColumnElement[bool], start: int, span: int) -> int:
    b = blocks.c
    query = select(b.id, *(b[name] for name in _SAME), b.late, cast(b.figures, Text)).where(window)
    rows = (await connection.execute(query.with_for_update())).all()
    ids = [row.id for row in rows]
    for at in range(0, len(ids), 1_000):
        await connection.execute(delete(blocks).where(b.id.in_(ids[at : at + 1_000])))
    longer = [
        (*key[:-1], start, span, "", late, figures.to_json()) for key, (late, figures) in (await _sums(rows)).items()
    ]
    await insert_rows(connection, blocks.name, _NAMES, longer)
    return len(rows)


async def _sums(rows: Sequence[Any]) -> dict[tuple[Any, ...], tuple[int, Figures]]:
    """Key and whether late → how many late ones, and figures."""
    sums: dict[tuple[Any, ...], tuple[int, Figures]] = {}
    for number, (_, *same, late, figures) in enumerate(rows, 1):
        key = (*same, late > 0)
        count, summed = sums.get(key, (0, Figures()))
        summed.merge(Figures.from_json(json.loads(figures)))
        sums[key] = (count + late, summed)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return sums
