"""What reports read: figures added up. The cost goes with the number of blocks, never with that of calls.

Rows are fetched first and added up after the transaction has ended, a few at a time, so that neither the database nor
the event loop waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from math import ceil
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, func, select
from sqlalchemy import cast as as_type

from rollout.domain.evidence import Figures
from rollout.domain.report_values import Reporting
from rollout.ports import Totals
from rollout_sql.database import Database
from rollout_sql.tables import blocks

_AT_ONCE: Final = 25  # rows between two breaths of the event loop: about 1 ms
_figures = as_type(blocks.c.figures, Text)  # else the driver parses all of them at once


async def totals(
    db: Database, rollout: str, since: float | None, until: float | None, version: int | None
) -> list[Totals]:
    """By unit, arm and entry; late blocks count too."""
    b = blocks.c
    query = select(b.unit, b.arm, b.entry, _figures).where(*_span(rollout, since, until))
    if version is not None:
        query = query.where(b.version == version)
    async with db.reading() as connection:
        rows = (await connection.execute(query.order_by(b.unit, b.second))).all()
    sums: dict[tuple[str, str, int], Figures] = {}
    async for unit, arm, entry, figures in with_figures(rows):
        sums.setdefault((unit, arm, entry), Figures()).merge(figures)
    return [Totals(unit, arm, entry, figures) for (unit, arm, entry), figures in sums.items()]


async def extent(db: Database, rollout: str, since: float | None) -> tuple[int, int] | None:
    """Of the rollout's own blocks."""
    b = blocks.c
    query = select(func.min(b.second), func.max(b.second + b.span)).where(*_span(rollout, since, None), b.unit == "")
    async with db.reading() as connection:
        first, end = (await connection.execute(query)).one()
    return None if first is None else (first, end)


async def series(
    db: Database, rollout: str, unit: str, since: float, until: float, step_s: int
) -> list[tuple[int, Mapping[str, Figures]]]:
    """By step and arm."""
    b = blocks.c
    query = select(b.second, b.arm, _figures).where(*_span(rollout, since, until), b.unit == unit).order_by(b.second)
    async with db.reading() as connection:
        rows = (await connection.execute(query)).all()
    steps: dict[int, dict[str, Figures]] = {}
    async for second, arm, figures in with_figures(rows):
        steps.setdefault(second // step_s * step_s, {}).setdefault(arm, Figures()).merge(figures)
    return list(steps.items())


async def late(db: Database, rollout: str) -> int:
    """How many blocks came too late to be judged."""
    async with db.reading() as connection:
        query = select(func.coalesce(func.sum(blocks.c.late), 0)).where(blocks.c.rollout == rollout)
        return int((await connection.execute(query)).scalar_one())


async def processes(db: Database, rollout: str, since: float) -> list[Reporting]:
    """Of the rollout's own blocks, as long as they are not rolled up, which forgets whose they were."""
    b = blocks.c
    seconds = (func.count(b.second.distinct()), func.min(b.second), func.max(b.second))
    own = (b.unit == "", b.span == 1, b.process != "")
    query = select(b.process, *seconds).where(*_span(rollout, since, None), *own).group_by(b.process)
    async with db.reading() as connection:
        rows = (await connection.execute(query.order_by(b.process))).all()
    return [Reporting(process=process, seconds=count, first=first, last=last) for process, count, first, last in rows]


def _span(rollout: str, since: float | None, until: float | None) -> list[ColumnElement[bool]]:
    which = [blocks.c.rollout == rollout]
    if since is not None:
        which.append(blocks.c.second >= ceil(since))
    if until is not None:
        which.append(blocks.c.second < ceil(until))
    return which


async def with_figures(rows: Sequence[Any]) -> AsyncIterator[tuple[Any, ...]]:
    """Each row with its last column as ``Figures``."""
    for number, row in enumerate(rows, 1):
        yield (*row[:-1], Figures.from_json(json.loads(row[-1])))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
