"""What gates and reports read: figures added up. The cost goes with the number of blocks, never with that of calls.

Rows are fetched first and added up after the transaction has ended, a few at a time, so that neither the database nor
the event loop waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from math import ceil
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, TextClause, func, select, text
from sqlalchemy import cast as as_type

from rollout.domain.closed import ClosedBlocks
from rollout.domain.evidence import Figures, UnitBlock
from rollout.ports import Span, Totals
from rollout_sql.database import Database
from rollout_sql.documents import packed
from rollout_sql.tables import blocks

_AT_ONCE: Final = 25  # rows between two breaths of the event loop: about 1 ms

# One query for all spans, which come as a list of lists. Joined in this order, so that each looks up its own.
_SPANS_SQLITE: Final = """
    SELECT key AS place, json_extract(value, '$[0]') AS rollout, json_extract(value, '$[1]') AS unit,
        json_extract(value, '$[2]') AS entry, json_extract(value, '$[3]') AS version,
        json_extract(value, '$[4]') AS after, json_extract(value, '$[5]') AS until
    FROM json_each(:spans)"""
_SPANS_POSTGRES: Final = """
    SELECT CAST(place AS integer) - 1 AS place, value->>0 AS rollout, value->>1 AS unit,
        CAST(value->>2 AS bigint) AS entry, CAST(value->>3 AS bigint) AS version,
        CAST(value->>4 AS bigint) AS after, CAST(value->>5 AS bigint) AS until
    FROM jsonb_array_elements(CAST(:spans AS jsonb)) WITH ORDINALITY AS span (value, place)"""
_BLOCKS: Final = """
    SELECT s.place, b.second, b.arm, CAST(b.figures AS text)
    FROM spans AS s CROSS JOIN rollout_blocks AS b
    WHERE b.rollout = s.rollout AND b.unit = s.unit AND b.entry = s.entry AND b.version = s.version
        AND b.second > s.after AND b.second <= s.until AND b.late = 0"""
# Truncation, not rounding: SQLite's cast truncates, PostgreSQL's rounds but for what floor has left.
_SCORED: Final = """
    SELECT s.place, {second} AS second, f.arm, f.marks, f.latency, f.cost, f.control_cost, count(*)
    FROM spans AS s CROSS JOIN rollout_first_calls AS f
    WHERE f.rollout = s.rollout AND f.unit = s.unit AND f.version = s.version AND f.entry = s.entry
        AND f.started_at >= s.after + 1 AND f.started_at < s.until + 1
    GROUP BY 1, 2, 3, 4, 5, 6, 7"""

_figures = as_type(blocks.c.figures, Text)  # else the driver parses all of them at once


async def blocks_of(db: Database, spans: Sequence[Span]) -> list[list[UnitBlock]]:
    """Of each span ``after < second <= until``, by time, without the late ones."""
    wanted = packed([[one.rollout, one.unit, one.entry, one.version, one.after, one.until] for one in spans])
    async with db.reading() as connection:
        rows = (await connection.execute(_query(db, _BLOCKS), {"spans": wanted})).all()
        keys = (await connection.execute(_query(db, _SCORED), {"spans": wanted})).all()
    found = [ClosedBlocks() for _ in spans]
    async for place, second, arm, figures in _read(rows):
        found[place].add(second, arm, figures)
    for place, second, *alike in keys:
        found[place].score(second, *alike)
    return [one.by_time() for one in found]


async def totals(db: Database, rollout: str, since: float | None, until: float | None) -> list[Totals]:
    """By unit, arm and entry; late blocks count too."""
    b = blocks.c
    query = select(b.unit, b.arm, b.entry, _figures).where(*_span(rollout, since, until))
    async with db.reading() as connection:
        rows = (await connection.execute(query.order_by(b.unit, b.second))).all()
    sums: dict[tuple[str, str, int], Figures] = {}
    async for unit, arm, entry, figures in _read(rows):
        sums.setdefault((unit, arm, entry), Figures()).merge(figures)
    return [Totals(unit, arm, entry, figures) for (unit, arm, entry), figures in sums.items()]


async def series(
    db: Database, rollout: str, unit: str, since: float, until: float, step_s: int
) -> list[tuple[int, Mapping[str, Figures]]]:
    """By step and arm."""
    b = blocks.c
    query = select(b.second, b.arm, _figures).where(*_span(rollout, since, until), b.unit == unit).order_by(b.second)
    async with db.reading() as connection:
        rows = (await connection.execute(query)).all()
    steps: dict[int, dict[str, Figures]] = {}
    async for second, arm, figures in _read(rows):
        steps.setdefault(second // step_s * step_s, {}).setdefault(arm, Figures()).merge(figures)
    return list(steps.items())


async def late(db: Database, rollout: str) -> int:
    """How many blocks came too late to be judged."""
    async with db.reading() as connection:
        query = select(func.coalesce(func.sum(blocks.c.late), 0)).where(blocks.c.rollout == rollout)
        return int((await connection.execute(query)).scalar_one())


def _span(rollout: str, since: float | None, until: float | None) -> list[ColumnElement[bool]]:
    which = [blocks.c.rollout == rollout]
    if since is not None:
        which.append(blocks.c.second >= ceil(since))
    if until is not None:
        which.append(blocks.c.second < ceil(until))
    return which


def _query(db: Database, query: str) -> TextClause:
    spans = _SPANS_SQLITE if db.sqlite else _SPANS_POSTGRES
    second = f"CAST({'f.started_at' if db.sqlite else 'floor(f.started_at)'} AS bigint)"
    return text(f"WITH spans AS ({spans}) {query.format(second=second)}")


async def _read(rows: Sequence[Any]) -> AsyncIterator[tuple[Any, ...]]:
    """Each row with its last column as ``Figures``."""
    for number, row in enumerate(rows, 1):
        yield (*row[:-1], Figures.from_json(json.loads(row[-1])))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
